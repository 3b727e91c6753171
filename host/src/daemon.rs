//! The running chain: the one file that makes threads and connects them.
//!
//! | thread | owns | when behind |
//! |---|---|---|
//! | `gaze-capture` | the source | never waits: replaces the unread frame and counts it |
//! | `gaze-vision` | the networks | works on the newest frame only |
//! | `gaze-tracking` | calibration, filter, events, scene | blocks vision; takes microseconds |
//! | `gaze-scanpath` | the scanpath transformer | blocks tracking; takes a millisecond a dwell |
//! | `gaze-board` | the serial line to the microcontroller, if there is one | misses samples and counts them |
//! | `gaze-server` | clients, page | drops a client's samples and counts them; a client that cannot take an event is disconnected |
//!
//! To end: the stop flag is raised, the capture thread returns, and the channels close downstream
//! in order, so that what was seen is still reported.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};
use gaze_calibration::Eyes;
use gaze_protocol::GazeEvent;
use tracing::{info, warn};

use crate::board::{BoardInput, BoardSink};
use crate::camera::{
    self, CameraError, Captured, FrameSource, Resume, ShownSlot, SourceSettings, SourceSpec,
};
use crate::channel::{self, Disconnected, EventSender, FrameReceiver, FrameSender};
use crate::clock::StreamClock;
use crate::config::Config;
use crate::inference::InferenceError;
use crate::metrics::{Activity, Counter, Metrics, Stage};
use crate::personal::Personal;
use crate::record::{self, CalibrationRecord, Header, Record, ScanpathRequest, ScreenRecord};
use crate::scanpath::sample::sample_live;
use crate::scanpath::{Dwelled, Follower, ObjectTable};
use crate::server::{
    Control, ControlRequest, PathsRequest, PreviewSlot, Publisher, SceneChange, Server,
    ServerError, ServerLinks,
};
use crate::setup::{self, Chain, SetupError};
use crate::stop::StopFlag;
use crate::tracking::Tracking;
use crate::vision::{Observation, Vision};

/// Observations between vision and tracking: a second of frames at webcam rates.
const OBSERVATION_QUEUE: usize = 32;

/// Clients' messages that may wait for the tracking stage.
const CONTROL_QUEUE: usize = 8;

/// Dwells and scenes that may wait for the scanpath stage, which prepares its networks when the first
/// scene comes.
const DWELL_QUEUE: usize = 64;

/// Events that may wait for a program that has the chain in its own process.
const LIBRARY_QUEUE: usize = 1024;

/// Events that may wait for the board's thread.
const BOARD_QUEUE: usize = 64;

/// How often a thread without work looks at the stop flag.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Waits between attempts to open a lost source: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(5);

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

/// Why a running chain ended by itself; a bug or a broken installation.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
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
        let preview = Arc::new(PreviewSlot::default());
        let clock = Arc::new(Mutex::new(None));
        let (frame_sender, frame_receiver) = channel::latest();
        let (observation_sender, observations) = channel::events(OBSERVATION_QUEUE);
        let (control_sender, controls) = crossbeam_channel::bounded(CONTROL_QUEUE);
        let shown = ShownSlot::default();
        let eyes = EyesInUse::new(Mutex::new(personal.eyes()));
        let (opened_sender, opened) = crossbeam_channel::bounded(1);
        let (board_sender, board) = config
            .board
            .port()
            .map(|port| {
                let (sender, inputs) = channel::events(BOARD_QUEUE);
                let sink = BoardSink::new(port, config.board.plan(), inputs, stop.clone());
                (sender, sink)
            })
            .unzip();

        let mut header = header;
        let mut scanpath = None;
        let mut dwells = None;
        if let Some(server) = &server {
            let (follower, records) = setup::scanpath(config)?;
            header.models.extend(records);
            let (sender, receiver) = crossbeam_channel::bounded(DWELL_QUEUE);
            let publisher = server.publisher();
            scanpath = Some((
                ScanpathThread {
                    follower,
                    publisher,
                },
                receiver,
            ));
            dwells = Some(sender);
        }
        let (paths_sender, paths) = crossbeam_channel::bounded(CONTROL_QUEUE);
        let tracking = TrackingThread {
            tracking,
            personal,
            shown: shown.clone(),
            eyes: Arc::clone(&eyes),
            header,
            events,
            table: None,
            dwells,
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
        };
        let capture = CaptureThread {
            spec: config.source.source.clone(),
            settings: SourceSettings {
                width_px: config.source.width_px,
                height_px: config.source.height_px,
                fps: f64::from(config.source.frames_per_s),
                format: config.source.format,
                stop: stop.clone(),
                shown,
                ..SourceSettings::default()
            },
            frames: frame_sender,
            opened: opened_sender,
            metrics,
            clock,
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
            };
            daemon.spawn("gaze-server", move || Ok(server.run(links)?))?;
        }
        if let Some((scanpath, dwells)) = scanpath {
            daemon.spawn("gaze-scanpath", move || Ok(scanpath.run(&dwells, &paths)?))?;
        }
        if let Some(board) = board {
            daemon.spawn("gaze-board", move || {
                board.run();
                Ok(())
            })?;
        }
        daemon.spawn("gaze-tracking", move || {
            tracking.run(&observations, &controls, &opened);
            Ok(())
        })?;
        daemon.spawn("gaze-vision", move || {
            vision.run(&frame_receiver, &observation_sender)
        })?;
        daemon.spawn("gaze-capture", move || {
            capture.run();
            Ok(())
        })?;
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

    /// Starts the thread that waits for signals; it is not waited for.
    ///
    /// # Errors
    /// [`StartError::Thread`].
    pub fn spawn_signal_thread(
        &self,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), StartError> {
        let name = "gaze-signal";
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map(|_| ())
            .map_err(|source| StartError::Thread { name, source })
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

/// A source that was just opened, for the header.
struct Opened {
    description: String,
    camera_id: String,
    frame_size: Option<(usize, usize)>,
}

struct CaptureThread {
    spec: SourceSpec,
    settings: SourceSettings,
    frames: FrameSender,
    opened: crossbeam_channel::Sender<Opened>,
    metrics: Arc<Metrics>,
    clock: SharedClock,
}

/// How reading a source ended.
enum Ended {
    /// The stop flag, a file's end, or nobody reads any more.
    ForGood,
    /// The camera failed.
    Failed(CameraError),
}

impl CaptureThread {
    fn run(mut self) {
        let mut retry_after = FIRST_RETRY;
        let mut last_problem = String::new();
        while !self.settings.stop.is_raised() {
            let error = match camera::open(&self.spec, &self.settings) {
                Err(error @ CameraError::NoCamera { .. })
                    if self.spec == SourceSpec::Auto && self.settings.resume.is_none() =>
                {
                    info!("{error}: showing the synthetic observer");
                    self.spec = SourceSpec::Synthetic { seed: 0 };
                    continue;
                }
                Err(error) => error,
                Ok(mut source) => {
                    info!("reading {}", source.description());
                    self.metrics
                        .set_state(Activity::Streaming, &source.description());
                    last_problem.clear();
                    match self.read(source.as_mut(), &mut retry_after) {
                        Ended::ForGood => return,
                        Ended::Failed(error) => error,
                    }
                }
            };
            // Say it once, however often it is tried again.
            let problem = error.to_string();
            if problem != last_problem {
                warn!("{problem}; trying again");
                last_problem = problem;
            }
            self.metrics.set_state(Activity::SourceLost, &last_problem);
            self.metrics.count(Counter::SourceRetries);
            self.settings.stop.wait(retry_after);
            retry_after = (retry_after * 2).min(LAST_RETRY);
        }
    }

    fn read(&mut self, source: &mut dyn FrameSource, retry_after: &mut Duration) -> Ended {
        let opened = Opened {
            description: source.description(),
            camera_id: camera::stable_id(&self.spec, source),
            frame_size: source.frame_size(),
        };
        // The tracking thread takes it at once; if it has ended, so does this one below.
        let _ = self.opened.send(opened);
        loop {
            let mut frame = self.frames.spare();
            match source.capture(&mut frame) {
                Ok(Captured::EndOfStream) => return Ended::ForGood,
                Err(error) => return Ended::Failed(error),
                Ok(Captured::Frame) => {}
            }
            *retry_after = FIRST_RETRY;
            let zero = source.clock_zero();
            if let Some(clock) = self.keep_clock(zero) {
                let clock_zero = clock.zero();
                self.settings.resume = Some(Resume {
                    clock_zero,
                    next_seq: frame.seq + 1,
                });
                let age = clock.age(frame.captured_at.as_us());
                self.metrics.record(Stage::Capture, age);
            }
            self.metrics.count(Counter::FramesCaptured);
            if let Some(error) = &frame.error {
                self.metrics.count(Counter::FramesUnreadable);
                warn!("frame {}: {error}", frame.seq);
            }
            match self.frames.publish(frame) {
                Err(Disconnected) => return Ended::ForGood,
                Ok(was_replaced) => {
                    if was_replaced {
                        self.metrics.count(Counter::FramesReplaced);
                    }
                }
            }
        }
    }
}

impl CaptureThread {
    /// Notes the source's clock for the tracking thread; the same zero keeps the same clock.
    fn keep_clock(&self, zero: Option<Instant>) -> Option<StreamClock> {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if clock.map(|clock| clock.zero()) != zero {
            *clock = zero.map(StreamClock::new);
        }
        *clock
    }
}
/// The eyes that the person's calibration holds for, told from the tracking to the vision thread.
type EyesInUse = Arc<Mutex<Eyes>>;

struct VisionThread {
    vision: Vision,
    eyes: EyesInUse,
    preview: Arc<PreviewSlot>,
    metrics: Arc<Metrics>,
    stop: StopFlag,
}

impl VisionThread {
    fn run(
        mut self,
        frames: &FrameReceiver,
        observations: &EventSender<Observation>,
    ) -> Result<(), RunError> {
        while let Ok(frame) = frames.take(LOOK_UP) {
            let Some(frame) = frame else {
                if self.stop.is_raised() {
                    break;
                }
                continue;
            };
            let began = Instant::now();
            let eyes = *self.eyes.lock().unwrap_or_else(PoisonError::into_inner);
            self.vision.use_eyes(eyes);
            let observation = self.vision.step(&frame)?;
            self.metrics.record(Stage::Vision, began.elapsed());
            self.preview.offer(&frame, &observation);
            frames.give_back(frame);
            if observations.send(observation).is_err() {
                break;
            }
        }
        Ok(())
    }
}

struct TrackingThread {
    tracking: Tracking,
    personal: Personal,
    shown: ShownSlot,
    eyes: EyesInUse,
    header: Header,
    events: Option<EventSender<GazeEvent>>,
    /// The announced objects as the scanpath stage takes them.
    table: Option<ObjectTable>,
    dwells: Option<crossbeam_channel::Sender<ScanpathInput>>,
    board: Option<EventSender<BoardInput>>,
    publisher: Option<Publisher>,
    metrics: Arc<Metrics>,
    clock: SharedClock,
}

/// What the scanpath stage is told, in the order of its happening.
enum ScanpathInput {
    /// A new scene.
    Shown(ObjectTable),
    /// The scene with other objects.
    Changed(ObjectTable),
    /// A completed dwell.
    Dwelled(Dwelled),
}

struct ScanpathThread {
    follower: Follower,
    publisher: Publisher,
}

impl ScanpathThread {
    fn run(
        mut self,
        inputs: &Receiver<ScanpathInput>,
        paths: &Receiver<PathsRequest>,
    ) -> Result<(), InferenceError> {
        let mut paths = paths.clone();
        loop {
            select! {
                recv(inputs) -> input => match input {
                    Ok(input) => self.take(input)?,
                    Err(_) => return Ok(()),
                },
                recv(paths) -> request => match request {
                    Ok(request) => {
                        // What the client announced before it asked comes first.
                        while let Ok(input) = inputs.try_recv() {
                            self.take(input)?;
                        }
                        self.answer(request)?;
                    }
                    Err(_) => paths = crossbeam_channel::never(),
                },
            }
        }
    }

    fn take(&mut self, input: ScanpathInput) -> Result<(), InferenceError> {
        match input {
            ScanpathInput::Shown(table) => self.follower.show(table)?,
            ScanpathInput::Changed(table) => self.follower.change(table)?,
            ScanpathInput::Dwelled(dwelled) => {
                if let Some(next) = self.follower.step(&dwelled)? {
                    self.publisher.publish(Record::NextObjects(next), None);
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, request: PathsRequest) -> Result<(), InferenceError> {
        let ScanpathRequest { samples, seed } = request.request;
        let paths = sample_live(&mut self.follower, samples, seed)?;
        request.answer(paths.ok_or_else(|| {
            "scanpath_request: no scene is shown; announce one with \"scene\"".to_owned()
        }));
        Ok(())
    }
}

impl TrackingThread {
    fn run(
        mut self,
        observations: &Receiver<Observation>,
        controls: &Receiver<ControlRequest>,
        opened: &Receiver<Opened>,
    ) {
        self.publish_header();
        let mut controls = controls.clone();
        let mut opened = opened.clone();
        loop {
            select! {
                recv(observations) -> observation => match observation {
                    Ok(observation) => self.step(&observation),
                    Err(_) => break,
                },
                recv(controls) -> request => match request {
                    Ok(request) => self.control(request),
                    Err(_) => controls = crossbeam_channel::never(),
                },
                recv(opened) -> source => match source {
                    Ok(source) => {
                        self.personal.opened(source.camera_id);
                        self.header.source = source.description;
                        self.header.frame_size_px =
                            source.frame_size.map(|(width, height)| [width, height]);
                        self.publish_header();
                    }
                    Err(_) => opened = crossbeam_channel::never(),
                },
            }
        }
        let events = self.tracking.finish();
        self.publish_events(&events);
    }

    fn publish_header(&self) {
        if let Some(publisher) = &self.publisher {
            publisher.publish(Record::Header(self.header.clone()), None);
        }
    }

    fn step(&mut self, observation: &Observation) {
        let began = Instant::now();
        let tracked = self.tracking.step(observation);
        self.metrics.record(Stage::Tracking, began.elapsed());
        self.metrics.count(Counter::FramesTracked);
        let clock = self.clock();
        let captured_us = observation.captured_at.as_us();
        let latency = clock.map(|clock| clock.age(captured_us));
        if let Some(latency) = latency {
            self.metrics.record(Stage::EndToEnd, latency);
        }
        if let Some(publisher) = &self.publisher {
            let latency_us = latency.map(|latency| latency.as_micros() as u64);
            let screen = &self.header.screen;
            let drift_deg = self.personal.drift_deg();
            let sample =
                Record::from_sample(observation, &tracked.sample, screen, latency_us, drift_deg);
            publisher.publish(sample, clock.map(|clock| clock.at(captured_us)));
        }
        if let Some(events) = &self.events
            && events
                .send_or_drop(GazeEvent::Sample(tracked.sample))
                .is_err()
        {
            self.events = None;
        }
        self.tell_board(&GazeEvent::Sample(tracked.sample));
        self.publish_events(&tracked.events);
        self.follow_person(observation, &tracked.events);
    }

    fn clock(&self) -> Option<StreamClock> {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a change to both, the objects that are followed and those that are predicted on, or
    /// to none.
    fn changed_scene(&mut self, change: &SceneChange) -> Result<(), String> {
        let table = match (change, &self.table) {
            (SceneChange::Replace(scene), _) => {
                Some(ObjectTable::new(scene).map_err(|error| error.to_string())?)
            }
            (SceneChange::Update(update), Some(table)) if table.scene_id() == update.scene_id => {
                let mut table = table.clone();
                table.update(update).map_err(|error| error.to_string())?;
                Some(table)
            }
            // Refused below.
            (SceneChange::Update(_), _) => None,
        };
        let events = self
            .tracking
            .change_scene(change)
            .map_err(|error| error.to_string())?;
        // The visits that the change ended were on the scene as it was.
        self.publish_events(&events);
        if let Some(table) = table {
            self.table = Some(table.clone());
            self.predict_after(match change {
                SceneChange::Replace(_) => ScanpathInput::Shown(table),
                SceneChange::Update(_) => ScanpathInput::Changed(table),
            });
        }
        Ok(())
    }

    /// Hands something to the scanpath stage; it has ended only when all ends.
    fn predict_after(&self, input: ScanpathInput) {
        if let Some(dwells) = &self.dwells {
            let _ = dwells.send(input);
        }
    }

    /// Sessions, recentring and drift, after the frame's sample is out.
    fn follow_person(&mut self, observation: &Observation, events: &gaze_signal::EventBuf) {
        for event in events.iter() {
            if let GazeEvent::ObjectLeave(visit) = event
                && let Some(middle) = self.tracking.small_object(visit)
            {
                self.personal.dwelt(visit.offset, middle);
            }
        }
        let calibration = self.personal.step(observation, &mut self.tracking);
        self.tell(calibration);
    }

    fn control(&mut self, request: ControlRequest) {
        let result = match &request.control {
            Control::Scene(change) => self.changed_scene(change),
            Control::Personal(message) => {
                let result = self.personal.take(message, &mut self.tracking);
                let calibration = self.personal.tell();
                self.tell(calibration);
                result
            }
        };
        request.answer(result);
    }

    /// Publishes where a calibration stands, and keeps the header and the synthetic observer with it.
    fn tell(&mut self, calibration: Option<record::Calibration>) {
        self.shown.set(self.personal.shown());
        *self.eyes.lock().unwrap_or_else(PoisonError::into_inner) = self.personal.eyes();
        let screen = ScreenRecord::of(self.personal.screen());
        let user = self.personal.user().map(ToString::to_string);
        if self.header.screen != screen || self.header.user != user {
            self.header.screen = screen;
            self.header.user = user;
            self.header.calibration = self.personal.profile().map(CalibrationRecord::of);
            self.publish_header();
        }
        if let (Some(calibration), Some(publisher)) = (calibration, &self.publisher) {
            let at = calibration
                .t_us
                .and_then(|t_us| Some(self.clock()?.at(t_us)));
            publisher.publish(Record::Calibration(calibration), at);
        }
    }

    /// Hands an event to the board's thread. When its queue is full the event is dropped and
    /// counted: a board that is not told goes to its safe state.
    fn tell_board(&self, event: &GazeEvent) {
        let Some(board) = &self.board else { return };
        let clock_zero = self.clock().map(|clock| clock.zero());
        let event = event.clone();
        if board.send_or_drop(BoardInput { event, clock_zero }) == Ok(false) {
            self.metrics.count(Counter::BoardEventsDropped);
        }
    }

    fn publish_events(&mut self, events: &gaze_signal::EventBuf) {
        let clock = self.clock();
        for event in events.iter() {
            self.tell_board(event);
            if let Some(publisher) = &self.publisher
                && let Some(record) = Record::from_event(event, &self.header.screen)
            {
                let t_us = record.t_us();
                let at = clock.zip(t_us).map(|(clock, t_us)| clock.at(t_us));
                publisher.publish(record, at);
            }
            if let GazeEvent::ObjectLeave(visit) = event {
                self.predict_after(ScanpathInput::Dwelled(Dwelled {
                    object: visit.object.as_str().to_owned(),
                    duration_ms: visit.offset.since(visit.onset).as_us() as f32 * 1e-3,
                    offset_us: visit.offset.as_us(),
                }));
            }
            if let Some(sender) = &self.events
                && sender.send_or_drop(event.clone()) != Ok(true)
            {
                warn!(
                    "the program that takes the events does not read them: its channel is closed"
                );
                self.events = None;
            }
        }
    }
}
