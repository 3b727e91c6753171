//! The running chain: the one file that makes threads and connects them.
//!
//! | thread | owns | when behind |
//! |---|---|---|
//! | `gaze-capture` | the source | never waits: replaces the unread frame and counts it |
//! | `gaze-vision` | the networks | works on the newest frame only |
//! | `gaze-tracking` | calibration, filter, events, scene | blocks vision; takes microseconds |
//! | `gaze-scanpath` | the scanpath transformer | takes the newest scene only; misses dwells and counts them |
//! | `gaze-board` | the serial line to the microcontroller, if there is one | misses samples and counts them |
//! | `gaze-server` | clients, page | drops a client's samples and counts them; a client that cannot take an event is disconnected |
//!
//! To end: the stop flag is raised, the capture thread returns, and the channels close downstream
//! in order, so that what was seen is still reported.

mod capture;
mod scanpath;
mod tracking;
mod vision;

use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;
use gaze_calibration::Eyes;
use gaze_protocol::GazeEvent;

use self::capture::CaptureThread;
use self::scanpath::ScanpathThread;
use self::tracking::TrackingThread;
use self::vision::VisionThread;
use crate::board::BoardSink;
use crate::camera::{CameraError, ShownSlot, SourceSettings};
use crate::channel::{self, EventSender};
use crate::clock::StreamClock;
use crate::config::Config;
use crate::demand::{Demand, UserKind};
use crate::inference::InferenceError;
use crate::metrics::Metrics;
use crate::notify;
use crate::pace::Pace;
use crate::server::{PreviewSlot, Server, ServerError, ServerLinks};
use crate::setup::{self, Chain, SetupError};
use crate::stop::StopFlag;

/// Observations between vision and tracking: a second of frames at webcam rates.
const OBSERVATION_QUEUE: usize = 32;

/// Clients' messages that may wait for the tracking stage.
const CONTROL_QUEUE: usize = 8;

/// Events that may wait for a program that has the chain in its own process.
const LIBRARY_QUEUE: usize = 1024;

/// Events that may wait for the board's thread.
const BOARD_QUEUE: usize = 64;

/// Where the events of a chain go.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Sockets and page.
    pub server: Option<Server>,
    /// A channel in this process. When it is full samples are dropped; an event that does not fit
    /// closes it.
    pub events: Option<EventSender<GazeEvent>>,
    /// Where latencies and counts are kept; shared with the server.
    pub metrics: Arc<Metrics>,
}

/// Why the chain cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings, models or profile.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The system gives no thread.
    #[error("cannot start thread {name}: {source}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Why a running chain ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The source fails in a way that waiting does not mend.
    #[error(transparent)]
    Source(#[from] CameraError),
    /// A network failed.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// The server's event loop failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A thread panicked; its message is above.
    #[error("thread {name} panicked")]
    Panicked {
        /// Its name.
        name: &'static str,
    },
}

/// A running chain. Dropping it without [`Daemon::join`] leaves the threads to end by themselves.
#[derive(Debug)]
pub struct Daemon {
    stop: StopFlag,
    threads: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    name: &'static str,
    handle: JoinHandle<Result<(), RunError>>,
}

/// Starts the chain in this process, without sockets, and gives its events.
///
/// # Errors
/// [`StartError`] for bad settings, models or profile. A camera that is missing is not an error:
/// the chain waits for it.
pub fn start_here(config: &Config) -> Result<(Daemon, Receiver<GazeEvent>), StartError> {
    let (sender, receiver) = channel::events(LIBRARY_QUEUE);
    let outputs = Outputs {
        events: Some(sender),
        ..Outputs::default()
    };
    Ok((Daemon::start(config, outputs)?, receiver))
}

impl Daemon {
    /// Loads the networks and starts all threads.
    ///
    /// # Errors
    /// [`StartError`] for bad settings, models or profile.
    pub fn start(config: &Config, outputs: Outputs) -> Result<Daemon, StartError> {
        let Chain {
            vision,
            tracking,
            personal,
            header,
        } = setup::chain(&setup::with_default_user(config), false)?;
        let Outputs {
            server,
            events,
            metrics,
        } = outputs;
        let stop = StopFlag::new();
        let demand = Demand::new(stop.clone());
        let preview = Arc::new(PreviewSlot::default());
        let clock = Arc::new(Mutex::new(None));
        let (frame_sender, frame_receiver) = channel::latest();
        let (observation_sender, observations) = channel::events(OBSERVATION_QUEUE);
        let (control_sender, controls) = crossbeam_channel::bounded(CONTROL_QUEUE);
        let shown = ShownSlot::default();
        let keep_every = Arc::new(AtomicU32::new(1));
        let camera_rests = Arc::new(AtomicBool::new(false));
        let eyes = EyesInUse::new(Mutex::new(personal.eyes()));
        let (news_sender, news) = crossbeam_channel::bounded(1);
        let (board_sender, board) = config
            .board
            .port()
            .map(|port| {
                let (sender, inputs) = channel::events(BOARD_QUEUE);
                let sink = BoardSink::new(port, config.board.plan(), inputs, stop.clone())
                    .counting_in(demand.clone())
                    .resting_with(Arc::clone(&camera_rests));
                (sender, sink)
            })
            .unzip();

        let mut header = header;
        let mut scanpath = None;
        let mut scanpath_inputs = None;
        if let Some(server) = &server {
            let (follower, records) = setup::scanpath(config)?;
            header.models.extend(records);
            let (inputs, waiting) = scanpath::inputs();
            let publisher = server.publisher();
            scanpath = Some((
                ScanpathThread {
                    follower,
                    publisher,
                },
                waiting,
            ));
            scanpath_inputs = Some(inputs);
        }
        let (paths_sender, paths) = crossbeam_channel::bounded(CONTROL_QUEUE);
        let tracking = TrackingThread {
            tracking,
            personal,
            shown: shown.clone(),
            eyes: Arc::clone(&eyes),
            header,
            published: None,
            receiver: events.as_ref().map(|_| demand.enter(UserKind::Receiver)),
            calibrating: None,
            last_frame_us: None,
            demand: demand.clone(),
            events,
            scanpath: scanpath_inputs,
            board: board_sender,
            publisher: server.as_ref().map(Server::publisher),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
        };
        let vision = VisionThread {
            vision,
            eyes,
            preview: Arc::clone(&preview),
            metrics: Arc::clone(&metrics),
            stop: stop.clone(),
            pace: config
                .source
                .source
                .is_live()
                .then(|| Pace::new(config.power.pace())),
            keep_every: Arc::clone(&keep_every),
            looked_at: None,
        };
        let capture = CaptureThread {
            spec: config.source.source.clone(),
            is_service: notify::is_supervised(),
            settings: SourceSettings {
                stop: stop.clone(),
                shown,
                ..config.source.settings()
            },
            frames: frame_sender,
            news: news_sender,
            metrics,
            clock,
            demand: demand.clone(),
            idle_after: config.power.idle_after(),
            keep_every,
            is_resting: camera_rests,
        };

        let mut daemon = Daemon {
            stop: stop.clone(),
            threads: Vec::new(),
        };
        if let Some(server) = server {
            let links = ServerLinks {
                preview,
                controls: control_sender,
                paths: paths_sender,
                demand,
            };
            daemon.spawn("gaze-server", move || Ok(server.run(links)?))?;
        }
        if let Some((scanpath, waiting)) = scanpath {
            daemon.spawn("gaze-scanpath", move || {
                scanpath.run(&waiting, &paths);
                Ok(())
            })?;
        }
        if let Some(board) = board {
            daemon.spawn("gaze-board", move || {
                board.run();
                Ok(())
            })?;
        }
        daemon.spawn("gaze-tracking", move || {
            tracking.run(&observations, &controls, &news);
            Ok(())
        })?;
        daemon.spawn("gaze-vision", move || {
            vision.run(&frame_receiver, &observation_sender)
        })?;
        daemon.spawn("gaze-capture", move || capture.run())?;
        Ok(daemon)
    }

    fn spawn(
        &mut self,
        name: &'static str,
        body: impl FnOnce() -> Result<(), RunError> + Send + 'static,
    ) -> Result<(), StartError> {
        let stop = self.stop.clone();
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let result = body();
                // One thread at its end, whatever the reason, ends them all.
                stop.raise();
                result
            })
            .map_err(|source| StartError::Thread { name, source })?;
        self.threads.push(Thread { name, handle });
        Ok(())
    }

    /// The flag that ends the chain when it is raised, and that the chain raises at its own end.
    pub fn stop_flag(&self) -> StopFlag {
        self.stop.clone()
    }

    /// Ends the chain and waits for its threads.
    ///
    /// # Errors
    /// [`RunError`], the first that a thread ended with.
    pub fn join(self) -> Result<(), RunError> {
        self.stop.raise();
        let mut result = Ok(());
        // In the order of the data flow: capture was started last.
        for Thread { name, handle } in self.threads.into_iter().rev() {
            let ended = handle.join().unwrap_or(Err(RunError::Panicked { name }));
            result = result.and(ended);
        }
        result
    }
}

type SharedClock = Arc<Mutex<Option<StreamClock>>>;

/// The eyes that the person's calibration holds for, told from the tracking to the vision thread.
type EyesInUse = Arc<Mutex<Eyes>>;
