//! The thread of calibration, filter, events and scene: what it finds goes to everybody.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};
use gaze_protocol::GazeEvent;
use tracing::warn;

use super::capture::SourceNews;
use super::scanpath::{Put, ScanpathInput, ScanpathInputs};
use super::{EyesInUse, SharedClock};
use crate::board::BoardInput;
use crate::camera::ShownSlot;
use crate::channel::EventSender;
use crate::clock::StreamClock;
use crate::demand::{Demand, User, UserKind};
use crate::metrics::{Counter, Metrics, TimedStage};
use crate::personal::{Personal, PersonalMessage};
use crate::record::{self, Header, Record};
use crate::scanpath::Dwelled;
use crate::scene::{SceneChange, SceneTable};
use crate::server::{Control, ControlRequest, Publisher};
use crate::tracking::Tracking;
use crate::vision::Observation;

pub(super) struct TrackingThread {
    pub(super) tracking: Tracking,
    pub(super) personal: Personal,
    pub(super) shown: ShownSlot,
    pub(super) eyes: EyesInUse,
    pub(super) header: Header,
    /// The header that was published last.
    pub(super) published: Option<Header>,
    pub(super) events: Option<EventSender<GazeEvent>>,
    /// The program that takes `events`, as a user of gaze.
    pub(super) receiver: Option<User>,
    /// A calibration under way, as a user of gaze.
    pub(super) calibrating: Option<User>,
    pub(super) demand: Demand,
    /// Time of the newest frame, µs.
    pub(super) last_frame_us: Option<u64>,
    pub(super) scanpath: Option<ScanpathInputs>,
    pub(super) board: Option<EventSender<BoardInput>>,
    pub(super) publisher: Option<Publisher>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: SharedClock,
}

impl TrackingThread {
    pub(super) fn run(
        mut self,
        observations: &Receiver<Observation>,
        controls: &Receiver<ControlRequest>,
        news: &Receiver<SourceNews>,
    ) {
        let mut controls = controls.clone();
        let mut news = news.clone();
        loop {
            select! {
                recv(observations) -> observation => match observation {
                    Ok(observation) => {
                        // What its frame comes from was sent before it.
                        news.try_iter().for_each(|source| self.source_changed(source));
                        self.step(&observation);
                    }
                    Err(_) => break,
                },
                recv(controls) -> request => match request {
                    Ok(request) => self.control(request),
                    Err(_) => controls = crossbeam_channel::never(),
                },
                recv(news) -> source => match source {
                    Ok(source) => self.source_changed(source),
                    Err(_) => news = crossbeam_channel::never(),
                },
            }
        }
        let events = self.tracking.finish();
        let scene = self.tracking.scene().cloned();
        self.publish_events(&events, scene.as_deref());
    }

    fn source_changed(&mut self, source: SourceNews) {
        if let SourceNews::Opened(source) = source {
            self.personal.opened(source.camera_id);
            self.header.source = source.description;
            self.header.frame_size_px = source.frame_size.map(|(width, height)| [width, height]);
        }
        self.publish_header();
    }

    /// Publishes the header, unless it is the one that everybody has. The first one waits for the
    /// source, or for the first failure to open it: those who subscribe before wait for it.
    fn publish_header(&mut self) {
        let Some(publisher) = &self.publisher else {
            return;
        };
        if self.published.as_ref() != Some(&self.header) {
            publisher.publish(Record::Header(self.header.clone()), None);
            self.published = Some(self.header.clone());
        }
    }

    fn step(&mut self, observation: &Observation) {
        let began = Instant::now();
        if self
            .personal
            .hold_against(observation.size_px, &mut self.tracking)
        {
            self.tell(None);
        }
        let tracked = self.tracking.step(observation);
        self.metrics.record(TimedStage::Tracking, began.elapsed());
        self.metrics.count(Counter::FramesTracked);
        let clock = self.clock();
        let captured_us = observation.captured_at.as_us();
        self.last_frame_us = Some(captured_us);
        let latency = clock.map(|clock| clock.age(captured_us));
        if let Some(latency) = latency {
            self.metrics.record(TimedStage::EndToEnd, latency);
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
            self.close_receiver();
        }
        self.tell_board(&GazeEvent::Sample(tracked.sample));
        let scene = self.tracking.scene().cloned();
        self.publish_events(&tracked.events, scene.as_deref());
        self.follow_person(observation, &tracked.events);
    }

    fn close_receiver(&mut self) {
        self.events = None;
        self.receiver = None;
    }

    fn clock(&self) -> Option<StreamClock> {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a client's change, and shows the new scene to everybody who draws it or predicts on it.
    fn changed_scene(&mut self, change: &SceneChange) -> Result<(), String> {
        let before = self.tracking.scene().cloned();
        let events = self
            .tracking
            .change_scene(change)
            .map_err(|error| error.to_string())?;
        // The visits that the change ended were on the scene as it was.
        self.publish_events(&events, before.as_deref());
        if let Some(table) = self.tracking.scene() {
            if let Some(publisher) = &self.publisher {
                publisher.show(Arc::clone(table));
            }
            let table = Arc::clone(table);
            self.predict_after(match change {
                SceneChange::Replace(_) => ScanpathInput::Shown(table),
                SceneChange::Update(_) => ScanpathInput::Changed(table),
            });
        }
        Ok(())
    }

    /// Hands something to the scanpath stage, which never lets this one wait.
    fn predict_after(&self, input: ScanpathInput) {
        let Some(inputs) = &self.scanpath else { return };
        if inputs.put(input) == Put::DwellDropped {
            self.metrics.count(Counter::DwellsDropped);
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
            Control::Personal(PersonalMessage::Click(_)) if self.is_blind() => {
                Err("the click was not used: no frame has come for a second".to_owned())
            }
            Control::Personal(message) => {
                let result = self.personal.take(message, &mut self.tracking);
                let calibration = self.personal.tell();
                self.tell(calibration);
                result
            }
        };
        request.answer(result);
    }

    /// Whether the newest frame is of long ago: the camera is off or lost.
    fn is_blind(&self) -> bool {
        const LONG_AGO: Duration = Duration::from_secs(1);
        self.clock()
            .zip(self.last_frame_us)
            .is_none_or(|(clock, frame_us)| clock.age(frame_us) > LONG_AGO)
    }

    /// Publishes where a calibration stands, and keeps the header and the synthetic observer with it.
    fn tell(&mut self, calibration: Option<record::Calibration>) {
        self.shown.set(self.personal.shown());
        if !self.personal.is_calibrating() {
            self.calibrating = None;
        } else if self.calibrating.is_none() {
            self.calibrating = Some(self.demand.enter(UserKind::Calibration));
        }
        *self.eyes.lock().unwrap_or_else(PoisonError::into_inner) = self.personal.eyes();
        if self.personal.describe_in(&mut self.header) && self.published.is_some() {
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

    fn publish_events(&mut self, events: &gaze_signal::EventBuf, scene: Option<&SceneTable>) {
        let clock = self.clock();
        for event in events.iter() {
            self.tell_board(event);
            if let Some(publisher) = &self.publisher
                && let Some(record) = Record::from_event(event, &self.header.screen, scene)
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
                self.close_receiver();
            }
        }
    }
}
