//! The thread of the source: opens it, reads it, and opens it again when it is lost.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{RunError, SharedClock};
use crate::camera::{self, CameraError, Captured, FrameSource, Resume, SourceSettings, SourceSpec};
use crate::channel::{Disconnected, FrameSender};
use crate::clock::StreamClock;
use crate::demand::Demand;
use crate::frame::Frame;
use crate::metrics::{Activity, Counter, Metrics, TimedStage};
use crate::retry::{LastProblem, Waits};

/// What the tracking thread learns of the source.
pub(super) enum SourceNews {
    /// It was opened.
    Opened(Opened),
    /// It cannot be opened yet, and is tried again.
    Awaited,
}

/// A source that was just opened, for the header.
pub(super) struct Opened {
    pub(super) description: String,
    pub(super) camera_id: String,
    pub(super) frame_size: Option<(usize, usize)>,
}

pub(super) struct CaptureThread {
    pub(super) spec: SourceSpec,
    /// Whether a service manager started the daemon.
    pub(super) is_service: bool,
    pub(super) settings: SourceSettings,
    pub(super) frames: FrameSender,
    pub(super) news: crossbeam_channel::Sender<SourceNews>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: SharedClock,
    pub(super) demand: Demand,
    /// How long nobody must use gaze before the source is closed; none: it stays open.
    pub(super) idle_after: Option<Duration>,
    /// Every how many-th frame of a live source is taken.
    pub(super) keep_every: Arc<AtomicU32>,
    /// Set while the source is closed because nobody uses gaze; the board's strobe follows.
    pub(super) is_resting: Arc<AtomicBool>,
}

/// How reading a source ended.
enum Ended {
    /// The stop flag, a file's end, or nobody reads any more.
    ForGood,
    /// Nobody uses gaze.
    Unused,
    /// The camera failed.
    Failed(CameraError),
}

impl CaptureThread {
    pub(super) fn run(mut self) -> Result<(), RunError> {
        let (mut waits, mut last_problem) = (Waits::new(), LastProblem::default());
        while !self.settings.stop.is_raised() {
            let error = match camera::open(&self.spec, &self.settings) {
                Err(error) if self.may_show_the_observer(&error) => {
                    info!("{error}: showing the synthetic observer");
                    self.spec = SourceSpec::Synthetic { seed: 0 };
                    continue;
                }
                Err(CameraError::Stopped) => return Ok(()),
                Err(error) => error,
                Ok(mut source) => {
                    info!("reading {}", source.description());
                    self.metrics
                        .set_state(Activity::Streaming, &source.description());
                    last_problem.forget();
                    match self.read(source.as_mut(), &mut waits) {
                        Ended::ForGood => return Ok(()),
                        Ended::Unused => {
                            drop(source);
                            self.rest();
                            continue;
                        }
                        Ended::Failed(error) => error,
                    }
                }
            };
            if !error.is_recoverable() {
                return Err(error.into());
            }
            let problem = error.to_string();
            if last_problem.note(&problem) {
                warn!("{problem}; trying again");
                // Taken at once, as below.
                let _ = self.news.send(SourceNews::Awaited);
            }
            self.metrics.set_state(Activity::SourceLost, &problem);
            self.metrics.count(Counter::SourceRetries);
            self.settings.stop.wait(waits.next());
        }
        Ok(())
    }

    /// Whether the synthetic observer may stand in: on a machine without any camera, for a person who
    /// tries gazed out. A camera that is busy or late is waited for, and so is every camera of a
    /// service, whose subscribers must not take a rendered person for a real one.
    fn may_show_the_observer(&self, error: &CameraError) -> bool {
        matches!(error, CameraError::NoCamera { refused } if refused.is_empty())
            && self.spec == SourceSpec::Auto
            && self.settings.resume.is_none()
            && !self.is_service
    }

    /// Sleeps, the source closed, until somebody uses gaze or all ends.
    fn rest(&self) {
        self.metrics
            .set_state(Activity::Idle, "nobody uses gaze: the camera is off");
        info!("nobody uses gaze: the camera is off until somebody does");
        self.is_resting.store(true, Relaxed);
        self.demand.wait();
        self.is_resting.store(false, Relaxed);
        // From here on the watchdog wants to see frames, or attempts.
        self.metrics
            .set_state(Activity::Starting, "opening the camera");
    }

    fn read(&mut self, source: &mut dyn FrameSource, waits: &mut Waits) -> Ended {
        let opened = Opened {
            description: source.description(),
            camera_id: source.stable_id(),
            frame_size: source.frame_size(),
        };
        // The tracking thread takes it at once; if it has ended, so does this one below.
        let _ = self.news.send(SourceNews::Opened(opened));
        let mut last_fault = None;
        let idle_after = self.idle_after.filter(|_| self.spec.is_live());
        loop {
            let unused_for = self.demand.unused_for();
            let is_unused = unused_for
                .zip(idle_after)
                .is_some_and(|(unused_for, idle_after)| unused_for >= idle_after);
            if is_unused {
                return Ended::Unused;
            }
            let mut frame = self.frames.spare();
            let captured = self
                .pass_over(source, &mut frame)
                .unwrap_or_else(|| source.capture(&mut frame));
            match captured {
                Ok(Captured::EndOfStream) => return Ended::ForGood,
                Err(error) => return Ended::Failed(error),
                Ok(Captured::Frame) => {}
            }
            waits.start_over();
            let zero = source.clock_zero();
            if let Some(clock) = self.keep_clock(zero) {
                let clock_zero = clock.zero();
                self.settings.resume = Some(Resume {
                    clock_zero,
                    next_seq: frame.seq + 1,
                });
                let age = clock.age(frame.captured_at.as_us());
                self.metrics.record(TimedStage::Capture, age);
            }
            if let Some(took) = frame.decoding {
                self.metrics.record(TimedStage::Decoding, took);
            }
            self.metrics.count(Counter::FramesCaptured);
            if frame.error.is_some() {
                self.metrics.count(Counter::FramesUnreadable);
            }
            // A bad cable spoils every frame: each new reason is said once, the frames are counted.
            if frame.error != last_fault {
                if let Some(error) = &frame.error {
                    warn!("frame {}: {error}", frame.seq);
                }
                last_fault.clone_from(&frame.error);
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

    /// Lets the frames go by that are not to be taken; a source that ends or fails meanwhile says so.
    fn pass_over(
        &self,
        source: &mut dyn FrameSource,
        spare: &mut Frame,
    ) -> Option<Result<Captured, CameraError>> {
        if !self.spec.is_live() {
            return None;
        }
        for _ in 1..self.keep_every.load(Relaxed) {
            match source.skip(spare) {
                Ok(Captured::Frame) => self.metrics.count(Counter::FramesPassedOver),
                ended => return Some(ended),
            }
        }
        None
    }

    /// Notes the source's clock for the tracking thread; the same zero keeps the same clock.
    fn keep_clock(&self, zero: Option<Instant>) -> Option<StreamClock> {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if clock.map(|clock| clock.zero()) != zero {
            *clock = zero.map(StreamClock::new);
        }
        *clock
    }
}
