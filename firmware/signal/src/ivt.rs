//! Fixations by velocity threshold (I-VT).
//!
//! Salvucci & Goldberg, "Identifying Fixations and Saccades in Eye-Tracking Protocols", ETRA 2000,
//! with the stages and values of the Tobii I-VT fixation filter (Olsen 2012). Differs: it runs
//! sample by sample; it is the steps between samples that are slow or fast, so that at camera rates
//! a fixation does not lose the sample on which a saccade lands; the threshold can rise with the
//! noise.

use gaze_protocol::{Span, Timestamp};

use crate::blink::Link;
use crate::event_buf::EventBuf;
use crate::fixation::UsableSample;
use crate::noise::Noise;
use crate::runs::{RunLimits, Runs};
use crate::settings::{SettingProblems, settings};
use crate::velocity::between_rad_s;

/// Samples kept to measure velocity over the window: 20 ms at 1 kHz, and one.
const WINDOW_SAMPLES: usize = 21;

settings! {
    /// Fixations by velocity threshold.
    pub struct IvtSettings {
        /// Slower is a fixation, deg/s; 1 to 1000. Default 30 (Tobii).
        pub velocity_threshold_deg_s: f32,
        /// Velocity is measured over at least this time, ms; 0 to 100. Default 20 (Tobii). Below
        /// 50 Hz that is from one sample to the next; above 1 kHz the window is 20 samples.
        pub velocity_window_ms: u32,
        /// The threshold is at least this many times the velocity that noise alone makes (√2 · SD
        /// per axis / time); 0 to 20, 0 for a fixed threshold. Default 3: one step in 90 of white
        /// noise is faster.
        pub noise_factor: f32,
        /// Fixations no further apart than this in time may be one, ms; 0 to 500. Default 75
        /// (Tobii).
        pub merge_within_ms: u32,
        /// And no further than this in angle between their centres, deg; 0 to 10. Default 0.5
        /// (Tobii).
        pub merge_distance_deg: f32,
        /// Shorter fixations are dropped, ms; 0 to 1000. Default 60 (Tobii).
        pub shortest_fixation_ms: u32,
        /// A longer way from one fixation to the next is no saccade, ms; 20 to 1000. Default 200: the
        /// largest saccades take 100 ms (Carpenter 1988), and up to two frames at 30 Hz are lost
        /// at the ends.
        pub longest_saccade_ms: u32,
    }
}

impl Default for IvtSettings {
    fn default() -> Self {
        IvtSettings {
            velocity_threshold_deg_s: 30.0,
            velocity_window_ms: 20,
            noise_factor: 3.0,
            merge_within_ms: 75,
            merge_distance_deg: 0.5,
            shortest_fixation_ms: 60,
            longest_saccade_ms: 200,
        }
    }
}

impl IvtSettings {
    /// Every setting that is out of range.
    pub fn check(&self) -> SettingProblems {
        let mut problems = SettingProblems::default();
        let threshold = self.velocity_threshold_deg_s;
        problems.range("ivt.velocity_threshold_deg_s", threshold, 1.0, 1000.0);
        problems.range_ms("ivt.velocity_window_ms", self.velocity_window_ms, 0, 100);
        problems.range("ivt.noise_factor", self.noise_factor, 0.0, 20.0);
        problems.range_ms("ivt.merge_within_ms", self.merge_within_ms, 0, 500);
        problems.range("ivt.merge_distance_deg", self.merge_distance_deg, 0.0, 10.0);
        problems.range_ms(
            "ivt.shortest_fixation_ms",
            self.shortest_fixation_ms,
            0,
            1000,
        );
        problems.range_ms("ivt.longest_saccade_ms", self.longest_saccade_ms, 20, 1000);
        problems
    }
}

/// The I-VT detector.
#[derive(Clone, Debug)]
pub(crate) struct Ivt {
    settings: IvtSettings,
    noise: Noise,
    window: heapless::Deque<UsableSample, WINDOW_SAMPLES>,
    runs: Runs,
}

impl Ivt {
    /// `settings` have been checked.
    pub fn new(settings: IvtSettings, noise: Noise) -> Self {
        let span = |ms: u32| Span::from_ms(u64::from(ms));
        Ivt {
            settings,
            noise,
            window: heapless::Deque::new(),
            runs: Runs::new(RunLimits {
                shortest_fixation: span(settings.shortest_fixation_ms),
                merge_within: span(settings.merge_within_ms),
                longest_saccade: span(settings.longest_saccade_ms),
            }),
        }
    }

    pub fn step(&mut self, sample: &UsableSample, link: Link, out: &mut EventBuf) {
        let merge_rad = self.merge_rad();
        if link == Link::AcrossBlink {
            self.window.clear();
            self.noise.interrupt();
            self.runs.blink(merge_rad);
        }
        self.noise.step(sample.gaze_rad());
        let velocity_rad_s = match self.window_start(sample.at) {
            Some(start) => {
                let velocity = between_rad_s(start.at, start.gaze, sample.at, sample.gaze);
                let velocity_rad_s = velocity.unwrap_or(0.0);
                if velocity_rad_s >= self.threshold_rad_s(sample.at.since(start.at)) {
                    self.runs.end_run(merge_rad);
                }
                velocity_rad_s
            }
            None => 0.0,
        };
        self.runs.rest(sample, velocity_rad_s, merge_rad, out);
        if self.window.is_full() {
            self.window.pop_front();
        }
        let has_room = self.window.push_back(*sample);
        debug_assert!(has_room.is_ok());
    }

    pub fn flush(&mut self, out: &mut EventBuf) {
        self.window.clear();
        self.noise.interrupt();
        let merge_rad = self.merge_rad();
        self.runs.flush(merge_rad, out);
    }

    pub fn noise_rad(&self) -> f32 {
        self.noise.sigma_rad()
    }

    /// The newest sample that is at least the velocity window old, else the oldest there is.
    fn window_start(&self, at: Timestamp) -> Option<UsableSample> {
        let window = Span::from_ms(u64::from(self.settings.velocity_window_ms));
        let old_enough = |sample: &&UsableSample| at.since(sample.at) >= window;
        let start = self.window.iter().rev().find(old_enough);
        start.or(self.window.front()).copied()
    }

    fn threshold_rad_s(&self, duration: Span) -> f32 {
        let noise_rad = core::f32::consts::SQRT_2 * self.noise.sigma_rad();
        let noise_rad_s = self.settings.noise_factor * noise_rad / duration.as_s();
        self.settings
            .velocity_threshold_deg_s
            .to_radians()
            .max(noise_rad_s)
    }

    /// "merge ≤ max(0.5°, 2 × precision)": with noise, centres of one fixation differ by more.
    fn merge_rad(&self) -> f32 {
        let merge_rad = self.settings.merge_distance_deg.to_radians();
        if self.settings.noise_factor > 0.0 {
            merge_rad.max(self.noise.sigma_rad())
        } else {
            merge_rad
        }
    }
}
