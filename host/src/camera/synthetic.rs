//! A rendered observer instead of a camera.

use std::time::{Duration, Instant};

use gaze_observer::{Observer, ObserverSettings};
use gaze_protocol::Timestamp;

use super::paced::sleep_until;
use super::{CameraError, Captured, FrameSource, ShownSlot, SourceSettings, steady_time_us};
use crate::frame::Frame;
use crate::stop::StopFlag;

/// The synthetic observer. The truth about a frame is what [`Observer::render`] returns for the
/// same seed and size at the frame's `captured_at`.
pub(super) struct Synthetic {
    observer: Observer,
    fps: f64,
    /// Frames on the observer's own clock; runs ahead of `next_seq` when rendering is late.
    next_tick: u64,
    next_seq: u64,
    paced: bool,
    zero: Option<Instant>,
    stop: StopFlag,
    shown: ShownSlot,
}

impl Synthetic {
    pub(super) fn open(seed: u64, settings: &SourceSettings) -> Result<Self, CameraError> {
        let observer = Observer::new(ObserverSettings {
            seed,
            width_px: settings.width_px,
            height_px: settings.height_px,
            focal_px: settings.width_px.max(settings.height_px) as f32,
            frames_per_s: settings.fps as f32,
            ..ObserverSettings::default()
        })
        .map_err(|error| CameraError::Synthetic {
            reason: error.to_string(),
        })?;
        let resume = settings.resume.filter(|_| settings.paced);
        Ok(Synthetic {
            observer,
            fps: settings.fps,
            next_tick: 0,
            next_seq: resume.map_or(0, |resume| resume.next_seq),
            paced: settings.paced,
            zero: resume.map(|resume| resume.clock_zero),
            stop: settings.stop.clone(),
            shown: settings.shown.clone(),
        })
    }

    /// Like a camera, it waits for nobody: frames whose time is over are left out.
    fn leave_out_what_is_over(&mut self) {
        if let Some(zero) = self.zero {
            let ticks_gone = (zero.elapsed().as_secs_f64() * self.fps) as u64;
            self.next_tick = self.next_tick.max(ticks_gone + 1);
        }
    }

    fn size(&self) -> (usize, usize) {
        let settings = self.observer.settings();
        (settings.width_px as usize, settings.height_px as usize)
    }
}

impl FrameSource for Synthetic {
    fn capture(&mut self, frame: &mut Frame) -> Result<Captured, CameraError> {
        if self.stop.is_raised() {
            return Ok(Captured::EndOfStream);
        }
        self.leave_out_what_is_over();
        let (width, height) = self.size();
        let at_us = steady_time_us(self.next_tick, self.fps);
        self.observer.show(Timestamp(at_us), self.shown.get());
        self.observer.forget_before(Timestamp(at_us));
        // Rendered before its time has come, so that a frame is as old as its time says.
        self.observer
            .render(Timestamp(at_us), frame.resize(width, height));
        frame.begin(self.next_seq, Timestamp(at_us));
        if self.paced {
            let zero = *self.zero.get_or_insert_with(Instant::now);
            if !sleep_until(zero + Duration::from_micros(at_us), &self.stop) {
                return Ok(Captured::EndOfStream);
            }
        }
        self.next_tick += 1;
        self.next_seq += 1;
        Ok(Captured::Frame)
    }

    fn skip(&mut self, _spare: &mut Frame) -> Result<Captured, CameraError> {
        self.leave_out_what_is_over();
        self.next_tick += 1;
        Ok(if self.stop.is_raised() {
            Captured::EndOfStream
        } else {
            Captured::Frame
        })
    }

    fn description(&self) -> String {
        let settings = self.observer.settings();
        format!(
            "synthetic:{} {}x{} {:.0}/s",
            settings.seed, settings.width_px, settings.height_px, self.fps
        )
    }

    /// Not with the seed, which differs from run to run.
    fn stable_id(&self) -> String {
        "synthetic".to_owned()
    }

    fn frame_size(&self) -> Option<(usize, usize)> {
        Some(self.size())
    }

    fn clock_zero(&self) -> Option<Instant> {
        self.zero
    }
}
