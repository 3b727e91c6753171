//! Fixations by dispersion threshold (I-DT).
//!
//! Salvucci & Goldberg (2000), the I-DT pseudocode. Differs: windows are by time, not by sample
//! count; it runs sample by sample; the threshold can rise with the noise, and neighbours are merged
//! as after I-VT.

use crate::blink::Link;
use crate::event_buf::EventBuf;
use crate::fixation::{SampleSums, UsableSample};
use crate::life::Open;
use crate::noise::Noise;
use crate::runs::{RunSettings, Runs};
use crate::settings::{SettingProblems, settings};
use crate::velocity::between_rad_s;

/// Samples of the window. Where a window would hold more, samples closer together than its
/// sixty-fourth part are passed over until a fixation has begun.
const WINDOW_SAMPLES: usize = 64;

settings! {
    /// Fixations by dispersion threshold.
    pub struct IdtSettings {
        /// Largest (max x − min x) + (max y − min y) of a fixation, deg; 0.1 to 20. Default 1.0
        /// (Salvucci & Goldberg: 0.5 to 1; Gazepoint: 1).
        pub dispersion_threshold_deg: f32,
        /// The threshold is at least this many times the noise (SD per axis); 0 to 20, 0 for a fixed
        /// threshold. Default 6: white noise spreads over about 3 SD per axis in ten samples.
        pub noise_factor: f32,
        /// Shortest fixation and length of the window, ms; 20 to 1000. Default 100 (Salvucci &
        /// Goldberg: 100 to 200; Gazepoint: 100).
        pub shortest_fixation_ms: u32,
    }
}

impl Default for IdtSettings {
    fn default() -> Self {
        IdtSettings {
            dispersion_threshold_deg: 1.0,
            noise_factor: 6.0,
            shortest_fixation_ms: 100,
        }
    }
}

impl IdtSettings {
    /// Every setting that is out of range.
    pub fn check(&self) -> SettingProblems {
        let mut problems = SettingProblems::default();
        let threshold = self.dispersion_threshold_deg;
        problems.range("idt.dispersion_threshold_deg", threshold, 0.1, 20.0);
        problems.range("idt.noise_factor", self.noise_factor, 0.0, 20.0);
        problems.range_ms(
            "idt.shortest_fixation_ms",
            self.shortest_fixation_ms,
            20,
            1000,
        );
        problems
    }
}

/// A sample and the velocity at which it was reached.
#[derive(Clone, Copy, Debug)]
struct Reached {
    sample: UsableSample,
    velocity_rad_s: f32,
}

/// The I-DT detector.
#[derive(Clone, Debug)]
pub(crate) struct Idt {
    settings: IdtSettings,
    run_settings: RunSettings,
    noise: Noise,
    last: Option<UsableSample>,
    /// Samples that may be the beginning of a fixation.
    window: heapless::Deque<Reached, WINDOW_SAMPLES>,
    /// The fixation that has begun.
    open: Option<SampleSums>,
    runs: Runs,
}

impl Idt {
    /// `settings` have been checked.
    pub fn new(settings: IdtSettings, run_settings: RunSettings, noise: Noise) -> Self {
        Idt {
            settings,
            noise,
            last: None,
            window: heapless::Deque::new(),
            open: None,
            runs: Runs::new(run_settings, settings.shortest_fixation_ms),
            run_settings,
        }
    }

    pub fn step(&mut self, sample: &UsableSample, link: Link, out: &mut EventBuf) {
        let merge_rad = self.merge_rad();
        if link == Link::AcrossBlink {
            self.last = None;
            self.noise.interrupt();
            self.window.clear();
            if self.open.is_none() {
                self.runs.blink(merge_rad);
            }
        }
        let mut velocity_rad_s = 0.0;
        self.noise.step(sample.gaze_rad());
        if let Some(last) = self.last.replace(*sample) {
            let velocity = between_rad_s(last.at, last.gaze, sample.at, sample.gaze);
            velocity_rad_s = velocity.unwrap_or(0.0);
        }
        let sums = SampleSums::new(sample);
        let limit_rad = self.dispersion_limit_rad();
        if let Some(open) = &mut self.open {
            if open.dispersion_with_rad(&sums) <= limit_rad {
                open.absorb(&sums);
                self.runs.rest(sample, velocity_rad_s, merge_rad, out);
                return;
            }
            self.open = None;
            if link == Link::AcrossBlink {
                self.runs.blink(merge_rad);
            } else {
                self.runs.end_run(merge_rad);
            }
        }
        self.extend_window(Reached {
            sample: *sample,
            velocity_rad_s,
        });
        self.open_if_steady(limit_rad, merge_rad, out);
    }

    pub fn flush(&mut self, out: &mut EventBuf) {
        self.last = None;
        self.noise.interrupt();
        self.window.clear();
        self.open = None;
        let merge_rad = self.merge_rad();
        self.runs.flush(merge_rad, out);
    }

    pub fn open(&self) -> Option<Open> {
        self.runs.open()
    }

    pub fn noise_rad(&self) -> f32 {
        self.noise.sigma_rad()
    }

    fn extend_window(&mut self, reached: Reached) {
        let spacing_us = self.shortest_us() / (WINDOW_SAMPLES as u64 - 1) + 1;
        let last = self.window.back();
        let is_dense =
            last.is_some_and(|last| reached.sample.at.since(last.sample.at).as_us() < spacing_us);
        if is_dense {
            self.runs.pass(reached.velocity_rad_s);
            return;
        }
        if self.window.is_full() {
            self.window.pop_front();
        }
        let has_room = self.window.push_back(reached);
        debug_assert!(has_room.is_ok());
    }

    /// Drops samples from the front of the window until what is left is no longer than a shortest
    /// fixation, or is one.
    fn open_if_steady(&mut self, limit_rad: f32, merge_rad: f32, out: &mut EventBuf) {
        while let Some(sums) = self.window_sums() {
            if sums.duration_us() < self.shortest_us() {
                return;
            }
            if sums.dispersion_rad() <= limit_rad {
                self.open = Some(sums);
                while let Some(reached) = self.window.pop_front() {
                    let velocity_rad_s = reached.velocity_rad_s;
                    self.runs
                        .rest(&reached.sample, velocity_rad_s, merge_rad, out);
                }
                return;
            }
            if let Some(reached) = self.window.pop_front() {
                self.runs.pass(reached.velocity_rad_s);
            }
        }
    }

    fn window_sums(&self) -> Option<SampleSums> {
        let mut samples = self.window.iter();
        let mut sums = SampleSums::new(&samples.next()?.sample);
        for reached in samples {
            sums.absorb(&SampleSums::new(&reached.sample));
        }
        Some(sums)
    }

    fn shortest_us(&self) -> u64 {
        u64::from(self.settings.shortest_fixation_ms) * 1000
    }

    fn dispersion_limit_rad(&self) -> f32 {
        let noise_rad = self.settings.noise_factor * self.noise.sigma_rad();
        self.settings
            .dispersion_threshold_deg
            .to_radians()
            .max(noise_rad)
    }

    fn merge_rad(&self) -> f32 {
        self.run_settings
            .merge_rad(self.settings.noise_factor, &self.noise)
    }
}
