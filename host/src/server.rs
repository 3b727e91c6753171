//! The fan-out: every record goes to every client that asked for its kind.
//!
//! ```text
//!                    bounded            bounded, one a client
//!  tracking ─Publisher─► fan-out ─► queue ─► Unix socket   (JSON Lines)
//!                           │  └──► queue ─► WebSocket     (`/events`)
//!  vision ──PreviewSlot──► encoder ───────► WebSocket      (`/picture`)
//!           tracking ◄── ControlRequest ◄── any client
//! ```
//!
//! One thread runs everything on one current-thread runtime: a client costs a task, not a thread.
//! A record is turned into text once and shared. Every queue is bounded. When a client's queue is
//! full, samples are dropped and counted; an event is never dropped, so a client that has no room
//! for one is disconnected, and so is a client that takes nothing for
//! [`ServerSettings::write_timeout`]. The others do not notice.
//!
//! # Talking to the server
//!
//! The Unix socket carries one JSON object a line in both directions; the WebSocket `/events`
//! carries the same objects, one a text message. A client that only connects gets nothing: it
//! asks with `{"type":"subscribe","types":["fixation","blink"]}` (absent or empty `types`: all).
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

pub mod eye_tribe;
mod fan_out;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod listener;
pub mod mqtt;
pub mod open_gaze;
mod origin;
mod output;
mod page;
mod preview;
pub mod pupil;
mod resting;
mod scene_view;
mod session;
mod socket_path;
mod status;
mod unix_socket;
mod zmtp;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::clock::CaptureTime;
use crate::demand::Demand;
use crate::metrics::{Counter, Metrics};
use crate::personal::PersonalMessage;
use crate::record::{Record, Scanpath, ScanpathRequest, TimedRecord};
use crate::scene::{SceneChange, SceneTable};

use eye_tribe::EyeTribe;
use fan_out::{Hub, Outgoing};
use listener::{PageListener, SocketListener};
use open_gaze::{OpenGaze, OpenGazeShared};
use output::{OutputPort, Protocol};
use page::PageState;
use pupil::PupilShared;
use status::RecentMetrics;

pub use preview::PreviewSlot;
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

/// Where the server listens and how much it queues.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Path of the Unix socket (see [`socket_path`]); none: no socket.
    pub socket: Option<PathBuf>,
    /// Group that the socket is given to; none: the process's own.
    pub socket_group: Option<String>,
    /// Address of the page; must be loopback; none: no page.
    pub listen: Option<SocketAddr>,
    /// Records between the tracking stage and the server, at least 1.
    pub record_queue: usize,
    /// Records that wait for one client, at least 1.
    pub client_queue: usize,
    /// A client that takes nothing for this long is disconnected.
    pub write_timeout: Duration,
    /// Clients at one time, on the socket, `/events` and the outputs together, at least 1.
    pub max_clients: usize,
    /// What is spoken besides.
    pub outputs: OutputSettings,
}

/// The protocols of other programs; each is off where its address is none. All addresses must be
/// loopback: none of them asks who connects.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputSettings {
    /// Address of the Open Gaze API; 127.0.0.1:4242 is where clients look for it.
    pub open_gaze: Option<SocketAddr>,
    /// Address of Pupil's request port, 127.0.0.1:50020 for clients; the next two ports as well.
    pub pupil: Option<SocketAddr>,
    /// Address of the Eye Tribe's API; 127.0.0.1:6555 for clients.
    pub eye_tribe: Option<SocketAddr>,
    /// A broker of MQTT.
    pub mqtt: Option<MqttSettings>,
}

/// Records to a broker.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSettings {
    /// Address of the broker, on loopback.
    pub broker: SocketAddr,
    /// First part of every topic.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// Second part of every topic; none: the machine's name.
    #[serde(default)]
    pub device: Option<String>,
    /// Whether Home Assistant is told that there is a sensor.
    #[serde(default)]
    pub home_assistant: bool,
}

fn default_prefix() -> String {
    "gazed".to_owned()
}

impl MqttSettings {
    /// The device's name in topics.
    fn device(&self) -> String {
        self.device.clone().unwrap_or_else(|| {
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .chars()
                .map(|char| {
                    if matches!(char, '/' | '+' | '#') {
                        '_'
                    } else {
                        char
                    }
                })
                .collect()
        })
    }

    /// Every mistake in it.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.broker.ip().is_loopback() {
            problems.push(format!(
                "outputs.mqtt.broker = {}: must be a loopback address: gaze leaves the machine by the broker's own bridge",
                self.broker
            ));
        }
        let device = self.device.as_ref().map(|device| ("device", device));
        for (key, text) in std::iter::once(("prefix", &self.prefix)).chain(device) {
            if text.is_empty() || text.len() > 200 || text.contains(['+', '#', '\0']) {
                problems.push(format!(
                    "outputs.mqtt.{key} = {text:?}: must be 1 to 200 bytes without + and #"
                ));
            }
        }
        problems
    }
}

impl Default for ServerSettings {
    /// No Unix socket, the page at [`DEFAULT_LISTEN`].
    fn default() -> Self {
        ServerSettings {
            socket: None,
            socket_group: None,
            listen: Some(DEFAULT_LISTEN),
            record_queue: 1024,
            // 17 s of samples at 30 frames/s: long enough for a client that pauses to think,
            // short enough that a dead one costs half a megabyte at most.
            client_queue: 512,
            write_timeout: Duration::from_secs(10),
            max_clients: 256,
            outputs: OutputSettings::default(),
        }
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another gazed answers on the socket.
    #[error(
        "{}: another gazed is running on this socket; stop it, or give this one --socket PATH", path.display()
    )]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is there.
    #[error(
        "{}: exists and is not a socket; remove it, or choose another with --socket PATH", path.display()
    )]
    NotASocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// Unix sockets have short names.
    #[error(
        "{}: a socket's path has at most 107 bytes and this one has {}; choose a shorter one with --socket PATH",
        path.display(), path.as_os_str().len()
    )]
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// Opening the socket failed.
    #[error("{}: cannot open the event socket: {source}; choose another with --socket PATH", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The group does not exist.
    #[error(
        "server.group: there is no group {group:?}; create it with `groupadd --system {group}` or name another"
    )]
    NoSuchGroup {
        /// The name.
        group: String,
    },
    /// The socket cannot be given to the group.
    #[error(
        "{}: cannot give the socket to group {group:?}: {source}; run gazed as a member of it", path.display()
    )]
    SocketGroup {
        /// The socket.
        path: PathBuf,
        /// The group.
        group: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// The page shows a face: never on the network.
    #[error(
        "server.listen: {address} is not a loopback address; the page shows the camera picture and is for this machine alone: use 127.0.0.1:{} and, from afar, `ssh -L {0}:127.0.0.1:{0}`", address.port()
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The port is taken.
    #[error(
        "{address}: the port is taken, perhaps by another gazed; choose another with --listen 127.0.0.1:PORT (0: any free one)"
    )]
    PortInUse {
        /// The address.
        address: SocketAddr,
    },
    /// Opening the port failed.
    #[error("{address}: cannot open the page's port: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// An output is for this machine alone.
    #[error(
        "outputs.{name}: {address} is not a loopback address; this protocol does not ask who connects: use 127.0.0.1:{} and, from afar, `ssh -L {0}:127.0.0.1:{0}`", address.port()
    )]
    OutputNotLoopback {
        /// Its name in the settings.
        name: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The port of an output is taken.
    #[error(
        "outputs.{name}: {address} is taken by another program; stop it or choose another port"
    )]
    OutputPortInUse {
        /// Its name in the settings.
        name: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The port of an output cannot be opened.
    #[error("outputs.{name}: cannot open {address}: {source}")]
    Output {
        /// Its name in the settings.
        name: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// The runtime failed to start.
    #[error("the server's event loop cannot start: {source}")]
    Runtime {
        /// The system's words.
        source: std::io::Error,
    },
}

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
            Err(mpsc::error::TrySendError::Full(FromTracking::Record(outgoing)))
                if outgoing.is_sample() =>
            {
                self.metrics.count(Counter::SamplesDropped);
            }
            Err(mpsc::error::TrySendError::Full(sent)) => {
                // The server never waits for the tracking stage, so this wait ends.
                let _ = self.records.blocking_send(sent);
            }
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
        let page = settings.listen.map(PageListener::bind).transpose()?;
        let socket = settings
            .socket
            .as_deref()
            .map(|path| SocketListener::bind(path, settings.socket_group.as_deref()))
            .transpose()?;
        let outputs = OutputPort::bind_all(&settings.outputs)?;
        let (sender, records) = mpsc::channel(settings.record_queue.max(1));
        Ok(Server {
            settings,
            socket,
            page,
            outputs,
            sender,
            records,
            metrics,
        })
    }

    /// Where the page is; the real port when the settings asked for any (port 0).
    pub fn page_address(&self) -> Option<SocketAddr> {
        self.page.as_ref().map(PageListener::address)
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
        let hub = Arc::new(hub.counting_in(links.demand));
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
            let address = page.address();
            let listener = page.into_async().map_err(failed)?;
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
            tokio::spawn(page::serve(listener, address, state));
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
        tokio::spawn(recent.keep());
        while let Some(sent) = records.recv().await {
            match sent {
                FromTracking::Record(outgoing) => hub.fan_out(&outgoing),
                FromTracking::Scene(scene) => hub.show(scene),
            }
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
                    output::converse(stream, hub, name, pupil::Remote::new(shared.pupil)).await;
                }
                Protocol::PupilSub => {
                    output::converse(stream, hub, name, pupil::Subscriber::new(shared.pupil)).await;
                }
                Protocol::PupilPub => {
                    output::converse(stream, hub, name, pupil::Publishing::new(shared.pupil)).await;
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
