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
use crate::life::Open;
use crate::noise::Noise;
use crate::runs::{RunSettings, Runs};
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
        /// Shorter fixations are dropped, ms; 0 to 1000. Default 60 (Tobii).
        pub shortest_fixation_ms: u32,
    }
}

impl Default for IvtSettings {
    fn default() -> Self {
        IvtSettings {
            velocity_threshold_deg_s: 30.0,
            velocity_window_ms: 20,
            noise_factor: 3.0,
            shortest_fixation_ms: 60,
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
        problems.range_ms(
            "ivt.shortest_fixation_ms",
            self.shortest_fixation_ms,
            0,
            1000,
        );
        problems
    }
}

/// The I-VT detector.
#[derive(Clone, Debug)]
pub(crate) struct Ivt {
    settings: IvtSettings,
    run_settings: RunSettings,
    noise: Noise,
    window: heapless::Deque<UsableSample, WINDOW_SAMPLES>,
    runs: Runs,
}

impl Ivt {
    /// `settings` have been checked.
    pub fn new(settings: IvtSettings, run_settings: RunSettings, noise: Noise) -> Self {
        Ivt {
            settings,
            noise,
            window: heapless::Deque::new(),
            runs: Runs::new(run_settings, settings.shortest_fixation_ms),
            run_settings,
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

    pub fn open(&self) -> Option<Open> {
        self.runs.open()
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

    fn merge_rad(&self) -> f32 {
        self.run_settings
            .merge_rad(self.settings.noise_factor, &self.noise)
    }
}
