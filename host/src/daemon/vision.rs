//! The thread of the networks.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{EyesInUse, RunError};
use crate::channel::{EventSender, FrameReceiver};
use crate::metrics::{Metrics, Stage};
use crate::server::PreviewSlot;
use crate::stop::StopFlag;
use crate::vision::{Observation, Vision};

/// How often a thread without work looks at the stop flag.
const LOOK_UP: Duration = Duration::from_millis(100);

pub(super) struct VisionThread {
    pub(super) vision: Vision,
    pub(super) eyes: EyesInUse,
    pub(super) preview: Arc<PreviewSlot>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: StopFlag,
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
