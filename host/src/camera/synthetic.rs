//! A rendered observer instead of a camera.

use std::time::{Duration, Instant};

use gaze_protocol::Timestamp;

use super::paced::sleep_until;
use super::{CameraError, Captured, FrameSource, Resume, SourceSettings, StopFlag};
use crate::frame::Frame;

const WIDTH_PX: usize = 640;
const HEIGHT_PX: usize = 480;
const FPS: u64 = 30;

/// The synthetic observer, 640x480 at 30 frames a second.
pub(super) struct Synthetic {
    seed: u64,
    /// Frames on the observer's own clock; runs ahead of `next_seq` when rendering is late.
    next_tick: u64,
    next_seq: u64,
    paced: bool,
    zero: Option<Instant>,
    stop: StopFlag,
}

impl Synthetic {
    pub(super) fn open(seed: u64, settings: &SourceSettings) -> Result<Self, CameraError> {
        let resume = settings.resume.filter(|_| settings.paced);
        Ok(Synthetic {
            seed,
            next_tick: resume.map_or(0, |Resume { clock_zero, .. }| {
                tick_at(clock_zero.elapsed()) + 1
            }),
            next_seq: resume.map_or(0, |resume| resume.next_seq),
            paced: settings.paced,
            zero: resume.map(|resume| resume.clock_zero),
            stop: settings.stop.clone(),
        })
    }
}

impl FrameSource for Synthetic {
    fn capture(&mut self, frame: &mut Frame) -> Result<Captured, CameraError> {
        if self.paced {
            let zero = *self.zero.get_or_insert_with(Instant::now);
            // Like a camera, it does not wait for a slow reader: late frames are left out.
            self.next_tick = self.next_tick.max(tick_at(zero.elapsed()));
            let due = zero + Duration::from_micros(time_us(self.next_tick));
            if !sleep_until(due, &self.stop) {
                return Ok(Captured::EndOfStream);
            }
        } else if self.stop.is_raised() {
            return Ok(Captured::EndOfStream);
        }
        let at = Timestamp(time_us(self.next_tick));
        frame.begin(self.next_seq, at);
        frame.resize(WIDTH_PX, HEIGHT_PX).fill(self.seed as u8);
        self.next_tick += 1;
        self.next_seq += 1;
        Ok(Captured::Frame)
    }

    fn description(&self) -> String {
        format!("synthetic:{} {WIDTH_PX}x{HEIGHT_PX} {FPS}/s", self.seed)
    }

    fn frame_size(&self) -> Option<(usize, usize)> {
        Some((WIDTH_PX, HEIGHT_PX))
    }

    fn clock_zero(&self) -> Option<Instant> {
        self.zero
    }
}

fn time_us(tick: u64) -> u64 {
    tick * 1_000_000 / FPS
}

fn tick_at(since_zero: Duration) -> u64 {
    (since_zero.as_micros() * u128::from(FPS) / 1_000_000) as u64
}
