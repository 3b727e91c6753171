//! The fan-out: every record goes to every client that asked for its kind.
//!
//! ```text
//!                    bounded            bounded, one a client
//!  tracking ─Publisher─► fan-out ─► queue ─► Unix socket   (JSON Lines)
//!                           │  └──► wire ──► WebSocket     (`/events`)
//!  vision ──PreviewSlot──► encoder ───────► WebSocket      (`/picture`)
//!           tracking ◄── ControlRequest ◄── any client
//! ```
//!
//! One thread runs everything on one current-thread runtime: a client costs a task, not a thread.
//! A record is turned into text and framed once, when somebody wants it, and shared; over a plain WebSocket the fan-out
//! writes it itself, and a client's task wakes only when it has no room. Every queue is bounded. When a client's queue is
//! full, samples are dropped and counted; an event is never dropped, so a client that has no room
//! for one is disconnected, and so is a client that takes nothing for
//! [`ServerSettings::write_timeout`]. The others do not notice.
//!
//! # Talking to the server
//!
//! The Unix socket carries one JSON object a line in both directions; the WebSocket `/events`
//! carries the same objects, one a text message. A client that only connects gets nothing: it
//! asks with `{"type":"subscribe","types":["fixation","blink"]}` (absent or empty `types`: all but `picture`, which
//! the Unix socket alone gives, and only where the settings allow it).
//! The first reply is the `header`, as soon as the source is open or known to be missing, then the
//! records of those kinds follow. Another header comes whenever something in it has changed.
//! Another `subscribe` changes the kinds and is answered with a header again. `scene` and `scene_update` announce
//! screen objects, subscribed or not; nothing is answered when they are accepted. `calibrate`,
//! `recentre`, `click`, `user` and `undo` concern the person's calibration: see
//! [`crate::record::CalibrateMessage`] and [`crate::record::ClientMessage`].
//! `{"type":"time","echo":1}` is answered with a `time` record that carries the number and both
//! clocks, to compare one's own with; `{"type":"scanpath_request","samples":5}` with a `scanpaths`
//! record. A message that
//! cannot be used is answered with an `error` record and the connection stays open; it is closed
//! after [`MAX_MESSAGE_BYTES`] without a line's end, or after [`MAX_BAD_MESSAGES`] in a row. A
//! client may close its sending half and go on reading.

mod access;
mod driving;
mod error;
pub mod eye_tribe;
mod fan_out;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod http;
mod listener;
#[cfg(feature = "lsl")]
pub mod lsl;
pub mod mqtt;
pub mod open_gaze;
mod origin;
mod output;
mod page;
mod pictures;
#[cfg(target_os = "linux")]
pub mod pointer;
mod preview;
pub mod pupil;
mod resting;
mod scene_view;
mod session;
mod settings;
mod socket_path;
mod status;
mod unix_socket;
mod wire;
mod zmtp;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::clock::CaptureTime;
use crate::demand::Demand;
use crate::metrics::{Counter, Metrics};
use crate::personal::PersonalMessage;
use crate::record::{Record, RecordKind, Scanpath, ScanpathRequest, TimedRecord};
use crate::scene::{SceneChange, SceneTable};

use eye_tribe::EyeTribe;
use fan_out::{Hub, Outgoing};
use listener::{PageListener, SocketListener};
use open_gaze::{OpenGaze, OpenGazeShared};
use output::{OutputPort, Protocol};
use page::PageState;
use pupil::PupilShared;
use status::RecentMetrics;

pub use access::AccessError;
pub use error::ServerError;
pub use preview::PreviewSlot;
pub use settings::{
    AccessSettings, Clicks, LslSettings, MqttSettings, OutputSettings, PointerSettings,
    ServerSettings, TlsSettings,
};
pub use socket_path::{NoSocketPath, SocketUse, socket_path};

/// Longest message of a client.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Unusable messages in a row after which a client is disconnected.
pub const MAX_BAD_MESSAGES: u32 = 16;

/// Where the page is by default.
pub const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7880);

/// Group whose members may connect to the service's socket, as `gazed.service` sets it up.
pub const SERVICE_GROUP: &str = "gaze";

/// How long clients have to take what is queued when the daemon stops.
const DRAIN_TIME: Duration = Duration::from_millis(300);

/// Most records that are taken from the tracking stage in one go.
const MOST_AT_ONCE: usize = 32;

/// A message of a client to the tracking stage, for it to take and answer.
#[derive(Debug)]
pub struct ControlRequest {
    /// What the client asks.
    pub control: Control,
    answer: oneshot::Sender<Result<(), String>>,
}

/// What a client asks of the tracking stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    /// Other objects on the screen.
    Scene(SceneChange),
    /// Calibration, and whose.
    Personal(PersonalMessage),
}

/// A client's wish for sampled paths, for the scanpath stage to answer.
#[derive(Debug)]
pub struct PathsRequest {
    /// How many, and which.
    pub request: ScanpathRequest,
    answer: oneshot::Sender<PathsAnswer>,
}

/// The paths, or why there are none.
pub type PathsAnswer = Result<Vec<Scanpath>, String>;

impl PathsRequest {
    /// A request and the place where its answer arrives.
    pub fn new(request: ScanpathRequest) -> (Self, oneshot::Receiver<PathsAnswer>) {
        let (answer, answered) = oneshot::channel();
        (PathsRequest { request, answer }, answered)
    }

    /// Whether the client has gone away.
    pub fn is_forgotten(&self) -> bool {
        self.answer.is_closed()
    }

    /// Gives the client its paths, or says why there are none.
    pub fn answer(self, answer: PathsAnswer) {
        // A client that has gone away needs no answer.
        let _ = self.answer.send(answer);
    }
}

impl ControlRequest {
    /// A request and the place where its answer arrives; for tests of the tracking stage.
    pub fn new(control: Control) -> (Self, oneshot::Receiver<Result<(), String>>) {
        let (answer, answered) = oneshot::channel();
        (ControlRequest { control, answer }, answered)
    }

    /// Tells the client that its message was taken, or what was wrong with it.
    pub fn answer(self, result: Result<(), String>) {
        // A client that has gone away needs no answer.
        let _ = self.answer.send(result);
    }
}

/// What the tracking stage sends, in the order of its happening.
#[derive(Debug)]
enum FromTracking {
    Record(Outgoing),
    Scene(Arc<SceneTable>),
}

impl FromTracking {
    fn kind(&self) -> Option<RecordKind> {
        match self {
            FromTracking::Record(outgoing) => outgoing.kind(),
            FromTracking::Scene(_) => None,
        }
    }
}

/// The tracking stage's end of the server.
#[derive(Clone, Debug)]
pub struct Publisher {
    records: mpsc::Sender<FromTracking>,
    metrics: Arc<Metrics>,
}

impl Publisher {
    /// Sends a record to every client that asked for its kind.
    ///
    /// `at`: when it was, where that is known. A header is kept for clients to come. When the queue
    /// to the server is full, a sample is dropped and counted, and an event waits for room. After
    /// the server has ended, nothing happens. Must not be called from a task of an async runtime.
    pub fn publish(&self, record: Record, at: Option<CaptureTime>) {
        self.publish_outgoing(Outgoing::new(TimedRecord { record, at }));
    }

    /// Shows another scene to the page and to outputs with surfaces, in order with the records.
    pub fn show(&self, scene: Arc<SceneTable>) {
        self.send(FromTracking::Scene(scene));
    }

    /// The same for a record that is a line already, which is passed on byte for byte.
    pub fn publish_line(&self, record: TimedRecord, line: &str) {
        self.publish_outgoing(Outgoing::of_line(record, line));
    }

    fn publish_outgoing(&self, outgoing: Outgoing) {
        self.metrics.count(Counter::RecordsPublished);
        self.send(FromTracking::Record(outgoing));
    }

    fn send(&self, sent: FromTracking) {
        match self.records.try_send(sent) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(sent)) => match sent.kind() {
                Some(RecordKind::Sample) => self.metrics.count(Counter::SamplesDropped),
                Some(RecordKind::Picture) => self.metrics.count(Counter::PicturesDropped),
                // The server never waits for the tracking stage, so this wait ends.
                _ => drop(self.records.blocking_send(sent)),
            },
        }
    }
}

/// What the server is connected to.
#[derive(Debug)]
pub struct ServerLinks {
    /// Pictures for the page.
    pub preview: Arc<PreviewSlot>,
    /// To the tracking stage. When it is full, the client that asks waits.
    pub controls: crossbeam_channel::Sender<ControlRequest>,
    /// To the scanpath stage. When it is full, the client that asks waits.
    pub paths: crossbeam_channel::Sender<PathsRequest>,
    /// Who is subscribed and who watches is counted here.
    pub demand: Demand,
}

/// The server, its ports open, not yet running.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    socket: Option<SocketListener>,
    page: Option<PageListener>,
    outputs: Vec<OutputPort>,
    pointer: Option<PointerDevice>,
    sender: mpsc::Sender<FromTracking>,
    records: mpsc::Receiver<FromTracking>,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Opens the page's port and the socket, so that errors show before anything else starts.
    ///
    /// The port comes first: of two daemons started at the same moment on the same settings, one
    /// ends there and does not touch the other's socket. The socket file of a dead daemon is
    /// replaced. Creates the socket's folder if it is missing.
    ///
    /// # Errors
    /// [`ServerError`], each with what to do about it.
    pub fn bind(settings: ServerSettings, metrics: Arc<Metrics>) -> Result<Self, ServerError> {
        let page = settings
            .listen
            .map(|address| PageListener::bind(address, &settings.access))
            .transpose()?;
        let socket = settings
            .socket
            .as_deref()
            .map(|path| SocketListener::bind(path, settings.socket_group.as_deref()))
            .transpose()?;
        let outputs = OutputPort::bind_all(&settings.outputs)?;
        let pointer = settings
            .outputs
            .pointer
            .as_ref()
            .map(|_| PointerDevice::create())
            .transpose()
            .map_err(|source| ServerError::Pointer { source })?;
        let (sender, records) = mpsc::channel(settings.record_queue.max(1));
        Ok(Server {
            settings,
            socket,
            page,
            outputs,
            pointer,
            sender,
            records,
            metrics,
        })
    }

    /// Where the page is; the real port when the settings asked for any (port 0).
    pub fn page_address(&self) -> Option<SocketAddr> {
        self.page.as_ref().map(PageListener::address)
    }

    /// Whether the page is encrypted, and whether it asks for a token.
    pub fn page_access(&self) -> (bool, bool) {
        let AccessSettings { token_file, tls } = &self.settings.access;
        (tls.is_some(), token_file.is_some())
    }

    /// Where the socket is.
    pub fn socket_path(&self) -> Option<&Path> {
        self.socket.as_ref().map(SocketListener::path)
    }

    /// The outputs that are on: name in the settings and address.
    pub fn outputs(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.outputs
            .iter()
            .map(|output| (output.protocol().name(), output.address()))
    }

    /// The sending end, for the tracking stage. The server runs until all are dropped.
    pub fn publisher(&self) -> Publisher {
        Publisher {
            records: self.sender.clone(),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// Serves until every [`Publisher`] is dropped, then gives clients 0.3 s to take what is
    /// queued, and removes the socket. Blocks; it is the body of the thread `gaze-server`.
    ///
    /// # Errors
    /// [`ServerError::Runtime`]: the event loop cannot start. Clients' troubles end only them.
    pub fn run(self, links: ServerLinks) -> Result<(), ServerError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|source| ServerError::Runtime { source })?;
        let ended = runtime.block_on(self.serve(links));
        // Whatever still waits for a client is dropped with the runtime.
        runtime.shutdown_background();
        ended
    }
}

impl Server {
    async fn serve(self, links: ServerLinks) -> Result<(), ServerError> {
        let failed = |source| ServerError::Runtime { source };
        let mut records = self.records;
        // From here on the publishers alone keep the queue open.
        drop(self.sender);
        let (stop, stopping) = watch::channel(false);
        let (alive, mut last_alive) = mpsc::channel(1);
        let recent = Arc::new(RecentMetrics::new(Arc::clone(&self.metrics)));
        let hub = Hub::new(
            self.settings,
            self.metrics,
            links.controls,
            links.paths,
            stopping,
        );
        let frames = Arc::clone(&links.preview.every_frame);
        let hub = hub.counting_in(links.demand).giving(Arc::clone(&frames));
        let hub = Arc::new(hub);
        tokio::spawn(pictures::encode(frames, Arc::clone(&hub)));
        let mut socket_file = None;
        let mut accepting = None;
        if let Some(socket) = self.socket {
            let (listener, file) = socket.into_async().map_err(failed)?;
            socket_file = Some(file);
            accepting = Some(tokio::spawn(unix_socket::accept(
                listener,
                Arc::clone(&hub),
                alive.clone(),
            )));
        }
        if let Some(page) = self.page {
            let (door, listener) = page.into_async().map_err(failed)?;
            let pictures = preview::pictures();
            let watched = Arc::new(Notify::new());
            let state = PageState {
                hub: Arc::clone(&hub),
                recent: Arc::clone(&recent),
                pictures: pictures.clone(),
                watched: Arc::clone(&watched),
                alive: alive.downgrade(),
            };
            tokio::spawn(preview::encode(links.preview, pictures, watched));
            tokio::spawn(page::serve(listener, door, state));
        }
        let shared = OutputsShared::new(&hub, &self.outputs);
        for output in self.outputs {
            let protocol = output.protocol();
            let listener = output.into_async().map_err(failed)?;
            tokio::spawn(serve_output(
                protocol,
                listener,
                Arc::clone(&hub),
                shared.clone(),
                alive.downgrade(),
            ));
        }
        if let Some(mqtt) = hub.settings.outputs.mqtt.clone() {
            tokio::spawn(mqtt::publish(mqtt, Arc::clone(&hub), alive.clone()));
        }
        spawn_lsl(&hub, &alive);
        if let (Some(pointer), Some(device)) = (hub.settings.outputs.pointer.clone(), self.pointer)
        {
            tokio::spawn(device.point(pointer, Arc::clone(&hub), alive.clone()));
        }
        tokio::spawn(recent.keep());
        let mut sent = Vec::with_capacity(MOST_AT_ONCE);
        while records.recv_many(&mut sent, MOST_AT_ONCE).await > 0 {
            for sent in sent.drain(..) {
                match sent {
                    FromTracking::Record(outgoing) => hub.fan_out(&outgoing),
                    FromTracking::Scene(scene) => hub.show(scene),
                }
            }
            hub.flush();
        }
        // No new clients; those that are there get what is queued, until the time is up.
        drop(socket_file);
        if let Some(accepting) = accepting {
            accepting.abort();
        }
        stop.send_replace(true);
        drop(alive);
        let _ = tokio::time::timeout(DRAIN_TIME, last_alive.recv()).await;
        Ok(())
    }
}

#[cfg(feature = "lsl")]
fn spawn_lsl(hub: &Arc<Hub>, alive: &mpsc::Sender<()>) {
    if let Some(lsl) = hub.settings.outputs.lsl.clone() {
        tokio::spawn(lsl::stream(lsl, Arc::clone(hub), alive.clone()));
    }
}

#[cfg(not(feature = "lsl"))]
fn spawn_lsl(hub: &Hub, _: &mpsc::Sender<()>) {
    if hub.settings.outputs.lsl.is_some() {
        tracing::warn!("outputs.lsl: this gazed was built without the feature `lsl`");
    }
}

/// The virtual pointer, where there is one.
#[cfg(target_os = "linux")]
type PointerDevice = pointer::Device<std::fs::File>;

/// uinput is Linux's own.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
enum PointerDevice {}

#[cfg(not(target_os = "linux"))]
impl PointerDevice {
    fn create() -> std::io::Result<Self> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    async fn point(self, _: PointerSettings, _: Arc<Hub>, _: mpsc::Sender<()>) {
        match self {}
    }
}

/// What the clients of one protocol share with each other.
#[derive(Clone)]
struct OutputsShared {
    open_gaze: Arc<Mutex<OpenGazeShared>>,
    pupil: Arc<PupilShared>,
}

impl OutputsShared {
    fn new(hub: &Arc<Hub>, ports: &[OutputPort]) -> Self {
        let port = |protocol| {
            let found = ports.iter().find(|port| port.protocol() == protocol);
            found.map_or(0, |port| port.address().port())
        };
        let [sub, publish] = [Protocol::PupilSub, Protocol::PupilPub].map(port);
        OutputsShared {
            open_gaze: Arc::default(),
            pupil: Arc::new(PupilShared::new(Arc::clone(hub), sub, publish)),
        }
    }
}

/// Serves one output for ever.
async fn serve_output(
    protocol: Protocol,
    listener: tokio::net::TcpListener,
    hub: Arc<Hub>,
    shared: OutputsShared,
    alive: mpsc::WeakSender<()>,
) {
    let name = protocol.name();
    output::accept(listener, name, alive, move |stream| {
        let hub = Arc::clone(&hub);
        let shared = shared.clone();
        async move {
            match protocol {
                Protocol::OpenGaze => {
                    let dialect = OpenGaze::new(shared.open_gaze, Arc::clone(&hub));
                    output::converse(stream, hub, name, dialect).await;
                }
                Protocol::PupilRemote => {
                    output::converse(stream, hub, name, pupil::Speaker::asking(shared.pupil)).await;
                }
                Protocol::PupilSub => {
                    output::converse(stream, hub, name, pupil::Subscriber::new(shared.pupil)).await;
                }
                Protocol::PupilPub => {
                    output::converse(stream, hub, name, pupil::Speaker::publishing(shared.pupil))
                        .await;
                }
                Protocol::EyeTribe => {
                    let dialect = EyeTribe::new(&hub);
                    output::converse(stream, hub, name, dialect).await;
                }
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests;
