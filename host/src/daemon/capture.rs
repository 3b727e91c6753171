//! The thread of the source: opens it, reads it, and opens it again when it is lost.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::SharedClock;
use crate::camera::{self, CameraError, Captured, FrameSource, Resume, SourceSettings, SourceSpec};
use crate::channel::{Disconnected, FrameSender};
use crate::clock::StreamClock;
use crate::metrics::{Activity, Counter, Metrics, Stage};

/// Waits between attempts to open a lost source: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// A source that was just opened, for the header.
pub(super) struct Opened {
    pub(super) description: String,
    pub(super) camera_id: String,
    pub(super) frame_size: Option<(usize, usize)>,
}

pub(super) struct CaptureThread {
    pub(super) spec: SourceSpec,
    pub(super) settings: SourceSettings,
    pub(super) frames: FrameSender,
    pub(super) opened: crossbeam_channel::Sender<Opened>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: SharedClock,
}

/// How reading a source ended.
enum Ended {
    /// The stop flag, a file's end, or nobody reads any more.
    ForGood,
    /// The camera failed.
    Failed(CameraError),
}

impl CaptureThread {
    pub(super) fn run(mut self) {
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

    /// Notes the source's clock for the tracking thread; the same zero keeps the same clock.
    fn keep_clock(&self, zero: Option<Instant>) -> Option<StreamClock> {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if clock.map(|clock| clock.zero()) != zero {
            *clock = zero.map(StreamClock::new);
        }
        *clock
    }
}
