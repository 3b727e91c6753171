//! The live page and its port: HTTP, and WebSockets for records and pictures.
//!
//! | path | what |
//! |---|---|
//! | `/` | the page; `/page.css`, `/page.js` and `/icon.svg` belong to it |
//! | `/calibrate` | the calibration page, with `/calibrate.css` and `/calibrate.js`; `#recentre` shows one target at once |
//! | `/screens` | the connected screens as their EDID describes them, as JSON |
//! | `/events` | WebSocket: the records, as on the Unix socket; `?types=fixation,blink` (or `?types=` for all) subscribes at once |
//! | `/picture` | WebSocket: at most 15 pictures a second; each binary message is the length of the overlay (4 bytes, little-endian), the overlay (JSON), and a grey JPEG |
//! | `/status` | rates, latencies and counts as JSON |
//! | `/scene` | the announced objects as JSON; `scene_change` of the status goes up with them |
//!
//! Every request is checked by [`super::origin`], and where a token is set by [`super::access`];
//! nothing is loaded from elsewhere, nothing is stored in the browser's cache, and there is no
//! cookie but the one that stands for the token.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, watch};
use tracing::warn;

use super::MAX_MESSAGE_BYTES;
use super::access::{Entry, Gate};
use super::fan_out::{Hub, Line, Written};
use super::http::{self, Peer, Place, Plain};
use super::listener::PageDoor;
use super::origin::{self, Door};
use super::preview::PictureMessage;
use super::scene_view::SceneView;
use super::session::ClientSession;
use super::status::RecentMetrics;
use super::wire::Wire;
use crate::demand::UserKind;
use crate::edid;
use crate::metrics::Counter;
use crate::record::RecordKind;

const PAGE: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const CALIBRATE_PAGE: &str = include_str!("page/calibrate.html");
const CALIBRATE_STYLE: &str = include_str!("page/calibrate.css");
const CALIBRATE_SCRIPT: &str = include_str!("page/calibrate.js");
const ENTER_PAGE: &str = include_str!("page/enter.html");
const ICON: &str = include_str!("page/icon.svg");

/// What is read of a client at once.
const READ_BUFFER: usize = 2048;

/// How long a client has to take the closing message.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Connections for the page and its numbers, beside those of clients.
const MORE_CONNECTIONS: usize = 64;

/// Said with every answer: nothing from elsewhere, in no frame, in no cache.
fn headers(door: Door) -> HeaderMap {
    // `'self'` covers the WebSockets in current browsers; older ones want them named.
    let sockets = match door.loopback_port {
        Some(port) => {
            let scheme = door.scheme.replace("http", "ws");
            format!(" {scheme}localhost:{port} {scheme}127.0.0.1:{port}")
        }
        None => String::new(),
    };
    // The form that asks for the token is the page's only one.
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'{sockets}; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy).expect("the policy is ASCII");
    let value = HeaderValue::from_static;
    HeaderMap::from_iter([
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, value("nosniff")),
        (header::REFERRER_POLICY, value("no-referrer")),
        (header::CACHE_CONTROL, value("no-store")),
        (header::X_FRAME_OPTIONS, value("DENY")),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            value("same-origin"),
        ),
    ])
}

/// What the page's requests are answered from.
#[derive(Clone, Debug)]
pub(super) struct PageState {
    pub(super) hub: Arc<Hub>,
    pub(super) recent: Arc<RecentMetrics>,
    pub(super) pictures: watch::Sender<PictureMessage>,
    /// Wakes the encoder when a watcher comes.
    pub(super) watched: Arc<Notify>,
    /// Held by each WebSocket until it has ended.
    pub(super) alive: mpsc::WeakSender<()>,
}

/// Serves the page for ever.
pub(super) async fn serve(listener: tokio::net::TcpListener, page: PageDoor, state: PageState) {
    let door = Door {
        loopback_port: page
            .address
            .ip()
            .is_loopback()
            .then_some(page.address.port()),
        scheme: if page.tls.is_some() {
            "https://"
        } else {
            "http://"
        },
    };
    let headers = headers(door);
    let guard = Arc::new(Guard {
        door,
        gate: page.gate,
        hub: Arc::clone(&state.hub),
    });
    let max_connections = state.hub.settings.max_clients + MORE_CONNECTIONS;
    let routes = Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", PAGE)))
        .route(
            "/page.css",
            get(async || file("text/css; charset=utf-8", STYLE)),
        )
        .route("/icon.svg", get(async || file("image/svg+xml", ICON)))
        .route(
            "/page.js",
            get(async || file("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route(
            "/calibrate",
            get(async || file("text/html; charset=utf-8", CALIBRATE_PAGE)),
        )
        .route(
            "/calibrate.css",
            get(async || file("text/css; charset=utf-8", CALIBRATE_STYLE)),
        )
        .route(
            "/calibrate.js",
            get(async || file("text/javascript; charset=utf-8", CALIBRATE_SCRIPT)),
        )
        .route("/screens", get(async || json(&edid::connected())))
        .route("/events", get(events))
        .route("/picture", get(picture))
        .route("/status", get(status))
        .route("/scene", get(scene))
        .with_state(state)
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            let headers = headers.clone();
            let guard = Arc::clone(&guard);
            async move {
                let mut response = match guard.refusal(&request) {
                    None => next.run(request).await,
                    Some(refusal) => refusal,
                };
                response.headers_mut().extend(headers);
                response
            }
        }));
    http::serve(listener, page.tls, routes, max_connections).await;
}

/// Decides which requests are answered.
struct Guard {
    door: Door,
    gate: Option<Gate>,
    hub: Arc<Hub>,
}

impl Guard {
    /// What a request gets instead of its answer; none when it may pass.
    fn refusal(&self, request: &Request) -> Option<Response> {
        if let Err(refused) = origin::check(request.headers(), self.door) {
            return Some((StatusCode::FORBIDDEN, refused.words()).into_response());
        }
        let gate = self.gate.as_ref()?;
        let path = request.uri().path();
        // What the form that asks for the token is drawn with.
        if matches!(path, "/page.css" | "/icon.svg") {
            return None;
        }
        let Peer(from) = *request
            .extensions()
            .get::<Peer>()
            .expect("every connection says who it is from");
        let is_page = matches!(path, "/" | "/calibrate");
        match gate.ask(from, request.headers(), request.uri(), Instant::now()) {
            Entry::Open => None,
            Entry::OpenByAddress if is_page => {
                let told = [
                    (header::LOCATION, path.to_owned()),
                    (header::SET_COOKIE, gate.set_cookie()),
                ];
                Some((StatusCode::SEE_OTHER, told).into_response())
            }
            Entry::OpenByAddress => None,
            Entry::NoToken => Some(unknown(is_page)),
            Entry::WrongToken => {
                self.hub.metrics.count(Counter::TokensRefused);
                warn!("{from} gave a wrong token");
                Some(unknown(is_page))
            }
            Entry::Wait(wait) => {
                let seconds = wait.as_secs() + 1;
                let words = format!("429: a wrong token was given; try again in {seconds} s\n");
                let told = [(header::RETRY_AFTER, seconds.to_string())];
                Some((StatusCode::TOO_MANY_REQUESTS, told, words).into_response())
            }
        }
    }
}

/// The answer to a request without the token: a form where a person may be looking.
fn unknown(is_page: bool) -> Response {
    let told = [(header::WWW_AUTHENTICATE, "Bearer realm=\"gazed\"")];
    if is_page {
        let form = file("text/html; charset=utf-8", ENTER_PAGE);
        return (StatusCode::UNAUTHORIZED, told, form).into_response();
    }
    let words = "401: gazed asks for its token: `Authorization: Bearer TOKEN`, or `?token=TOKEN`\n";
    (StatusCode::UNAUTHORIZED, told, words).into_response()
}

fn file(content_type: &'static str, content: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type)], content)
}

async fn status(State(state): State<PageState>) -> impl IntoResponse {
    json(&state.recent.status(&state.hub))
}

async fn scene(State(state): State<PageState>) -> impl IntoResponse {
    json(&SceneView::of(state.hub.scene().as_deref()))
}

fn json<T: Serialize>(answer: &T) -> ([(HeaderName, &'static str); 1], String) {
    let text = serde_json::to_string(answer).expect("answers hold only plain values");
    ([(header::CONTENT_TYPE, "application/json")], text)
}

/// The query of `/events`.
#[derive(Debug, Deserialize)]
struct EventsQuery {
    types: Option<String>,
}

async fn events(
    State(state): State<PageState>,
    Extension(place): Extension<Place>,
    Extension(plain): Extension<Plain>,
    Query(query): Query<EventsQuery>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let kinds = match query.types.as_deref().map(parse_kinds).transpose() {
        Ok(kinds) => kinds,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        // Clients say little: a subscriber costs memory for as long as it stays.
        .read_buffer_size(READ_BUFFER)
        .on_upgrade(async move |socket| {
            let alive = state.alive.upgrade();
            send_events(socket, plain, &state.hub, kinds.as_deref()).await;
            drop((alive, place));
        })
}

/// The kinds in `fixation,blink`; none listed means all.
fn parse_kinds(list: &str) -> Result<Vec<RecordKind>, String> {
    list.split(',')
        .filter(|kind| !kind.is_empty())
        .map(|kind| {
            serde_json::from_value(kind.into()).map_err(|error| format!("400: types: {error}\n"))
        })
        .collect()
}

/// What is sent from here.
enum Rest {
    /// Everything.
    Lines(mpsc::Receiver<Line>),
    /// What the client had no room for when the hub wrote it.
    Wire(Arc<Wire>),
}

async fn send_events(
    mut socket: WebSocket,
    Plain(wire): Plain,
    hub: &Arc<Hub>,
    kinds: Option<&[RecordKind]>,
) {
    let admitted = match wire {
        Some(wire) => hub
            .admit_wire("page", &wire)
            .map(|(id, dropped)| (id, dropped, Rest::Wire(wire))),
        None => hub
            .admit("page")
            .map(|new| (new.id, new.dropped, Rest::Lines(new.waiting))),
    };
    let Ok((id, dropped, rest)) = admitted else {
        let full = Message::Close(Some(CloseFrame {
            code: close_code::AGAIN,
            reason: hub.fullness().into(),
        }));
        let _ = socket.send(full).await;
        return;
    };
    let mut session = ClientSession::new(Arc::clone(hub), id);
    if let Some(Err(why)) = kinds.map(|kinds| session.subscribe(kinds)) {
        // The first of many that are allowed: the connection stays.
        let _ = session.refuse(&why);
    }
    let (mut writer, reader) = socket.split();
    let patience = hub.settings.write_timeout;
    let reading = read_messages(reader, session);
    let writing = async {
        match rest {
            Rest::Lines(waiting) => write_messages(&mut writer, waiting, patience).await,
            Rest::Wire(wire) => wire.drain(patience).await,
        }
    };
    let (written, code) = hub.attend(id, &dropped, reading, writing).await;
    if written == Written::All {
        let last = close(code.unwrap_or(close_code::AWAY));
        let _ = tokio::time::timeout(LAST_WORD, writer.send(last)).await;
    }
}

fn close(code: u16) -> Message {
    Message::Close(Some(CloseFrame {
        code,
        reason: Default::default(),
    }))
}

/// Reads messages until the client leaves or must go; says with which code.
async fn read_messages(mut reader: SplitStream<WebSocket>, mut session: ClientSession) -> u16 {
    while let Some(message) = reader.next().await {
        let heard = match message {
            Ok(Message::Text(text)) => session.hear(text.as_bytes()).await,
            Ok(Message::Binary(bytes)) => session.hear(&bytes).await,
            Ok(Message::Ping(_) | Message::Pong(_)) => ControlFlow::Continue(()),
            Ok(Message::Close(_)) => {
                // The library answers it while it is asked for more.
                let _ = tokio::time::timeout(LAST_WORD, reader.next()).await;
                return close_code::NORMAL;
            }
            Err(error) => {
                if is_oversize(&error) {
                    session.hear_oversize();
                    return close_code::SIZE;
                }
                return close_code::PROTOCOL;
            }
        };
        if let ControlFlow::Break(()) = heard {
            return close_code::POLICY;
        }
    }
    close_code::NORMAL
}

/// Whether reading failed because a message is too long. The WebSocket library wraps its errors,
/// so this asks for its words.
fn is_oversize(error: &axum::Error) -> bool {
    error.to_string().contains("too long")
}

/// Sends what is queued until the queue is closed.
async fn write_messages(
    writer: &mut SplitSink<WebSocket, Message>,
    mut waiting: mpsc::Receiver<Line>,
    patience: Duration,
) -> Written {
    while let Some(line) = waiting.recv().await {
        let message = Message::Text(line.message());
        match tokio::time::timeout(patience, writer.send(message)).await {
            Err(_) => return Written::Unread,
            Ok(Err(_)) => return Written::Gone,
            Ok(Ok(())) => {}
        }
    }
    Written::All
}

async fn picture(
    State(state): State<PageState>,
    Extension(place): Extension<Place>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .max_message_size(1024)
        .on_upgrade(async move |socket| {
            send_pictures(socket, state).await;
            drop(place);
        })
}

/// Sends the newest picture, again and again; a slow watcher gets fewer.
async fn send_pictures(socket: WebSocket, state: PageState) {
    let alive = state.alive.upgrade();
    let user = state.hub.demand.enter(UserKind::Picture);
    let (mut writer, mut reader) = socket.split();
    let mut pictures = state.pictures.subscribe();
    state.watched.notify_one();
    let patience = state.hub.settings.write_timeout;
    let writing = async {
        while pictures.changed().await.is_ok() {
            let message = Message::Binary(pictures.borrow_and_update().clone());
            match tokio::time::timeout(patience, writer.send(message)).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
    };
    let reading = async { while let Some(Ok(_)) = reader.next().await {} };
    tokio::select! {
        () = writing => {}
        () = reading => {}
        () = state.hub.stopped() => {}
    }
    drop((user, alive));
}
