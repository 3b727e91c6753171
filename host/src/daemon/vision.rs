//! The thread of the networks.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use gaze_protocol::{Span, Timestamp};
use tracing::{info, warn};

use super::{EyesInUse, RunError};
use crate::channel::{EventSender, FrameReceiver};
use crate::frame::Frame;
use crate::machine::Health;
use crate::metrics::{Metrics, TimedStage, View};
use crate::pace::{Pace, Reading};
use crate::server::PreviewSlot;
use crate::stop::StopFlag;
use crate::vision::{Observation, Vision};

/// How often a thread without work looks at the stop flag. The source's end, which comes with the
/// flag, wakes it at once.
const LOOK_UP: Duration = Duration::from_secs(1);

/// How often the machine's temperature is read, and the light in the picture.
const LOOK_AROUND_AFTER: Span = Span::from_ms(1000);

pub(super) struct VisionThread {
    pub(super) vision: Vision,
    pub(super) eyes: EyesInUse,
    pub(super) preview: Arc<PreviewSlot>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: StopFlag,
    /// None for files, which are played as they are.
    pub(super) pace: Option<Pace>,
    /// What `pace` decides, for the capture thread.
    pub(super) keep_every: Arc<AtomicU32>,
    /// Time of the frame at which machine and view were last looked at.
    pub(super) looked_at: Option<Timestamp>,
}

impl VisionThread {
    pub(super) fn run(
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
            let took = began.elapsed();
            self.metrics.record(TimedStage::Vision, took);
            self.look_around(&frame, &observation, took);
            self.preview.offer(&frame, &observation);
            frames.give_back(frame);
            if observations.send(observation).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Sees to the pace with every frame, and to the machine and the view every few seconds.
    fn look_around(&mut self, frame: &Frame, observation: &Observation, took: Duration) {
        let at = frame.captured_at;
        let is_due = self
            .looked_at
            .is_none_or(|looked_at| at.since(looked_at) >= LOOK_AROUND_AFTER);
        if is_due {
            self.looked_at = Some(at);
            self.metrics.set_view(View::of(frame, observation));
        }
        let Some(pace) = &mut self.pace else { return };
        let seen = Reading::Frame {
            seq: frame.seq,
            took: Span(took.as_micros() as u64),
        };
        let machine = is_due.then(|| Reading::Machine(Health::read()));
        for reading in std::iter::once(seen).chain(machine) {
            let Some(change) = pace.step(at, reading) else {
                continue;
            };
            if change.cause.is_some() {
                warn!("{change}");
            } else {
                info!("{change}");
            }
            self.keep_every.store(change.keep_every, Relaxed);
            self.metrics.set_pace(change);
        }
    }
}
