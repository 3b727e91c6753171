//! Recordings played in real time, as a camera would deliver them.

use std::time::{Duration, Instant};

use gaze_protocol::Timestamp;

use super::{CameraError, Captured, FrameSource, SourceSettings, StopFlag};
use crate::frame::Frame;

/// Sleeps until `due`; false when the stop flag was raised before.
pub(super) fn sleep_until(due: Instant, stop: &StopFlag) -> bool {
    !stop.wait(due.saturating_duration_since(Instant::now()))
}

/// A file that delivers each frame when its time has come.
struct Paced {
    file: Box<dyn FrameSource>,
    zero: Option<Instant>,
    stop: StopFlag,
}

/// Wraps a file when the settings ask for real time.
pub(super) fn open(file: Box<dyn FrameSource>, settings: &SourceSettings) -> Box<dyn FrameSource> {
    if settings.paced {
        Box::new(Paced {
            file,
            zero: None,
            stop: settings.stop.clone(),
        })
    } else {
        file
    }
}

impl FrameSource for Paced {
    fn capture(&mut self, frame: &mut Frame) -> Result<Captured, CameraError> {
        if self.file.capture(frame)? == Captured::EndOfStream {
            return Ok(Captured::EndOfStream);
        }
        let Timestamp(since_first_us) = frame.captured_at;
        let since_first = Duration::from_micros(since_first_us);
        let now = Instant::now();
        let zero = *self.zero.get_or_insert(now);
        let due = zero + since_first;
        if due < now {
            // Decoding is too slow for real time: the clock waits for it, so that frames do not
            // look older and older.
            self.zero = Some(zero + (now - due));
        } else if !sleep_until(due, &self.stop) {
            return Ok(Captured::EndOfStream);
        }
        Ok(Captured::Frame)
    }

    fn description(&self) -> String {
        self.file.description()
    }

    fn stable_id(&self) -> String {
        self.file.stable_id()
    }

    fn frame_size(&self) -> Option<(usize, usize)> {
        self.file.frame_size()
    }

    fn frame_count(&self) -> Option<u64> {
        self.file.frame_count()
    }

    fn clock_zero(&self) -> Option<Instant> {
        self.zero
    }
}
