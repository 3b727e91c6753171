//! The 1€ filter: smooths a resting point strongly and a moving one hardly at all.
//!
//! Casiez, Roussel & Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
//! Interactive Systems", CHI 2012. Differs: the time step comes from each sample, both axes share
//! one cutoff (from the length of the velocity vector, so that turning the screen changes
//! nothing), and a long hole starts afresh.

use gaze_protocol::{PointOfRegard, Span, Timestamp};

use crate::settings::{SettingProblem, SettingProblems, settings};

settings! {
    /// How much to smooth a point of regard.
    pub struct OneEuroSettings {
        /// Cutoff of a point at rest, Hz; 0.05 to 30. Lower is steadier. Default 1.0, the paper's
        /// starting point.
        pub min_cutoff_hz: f32,
        /// How fast the cutoff rises with speed, Hz for each mm/s; 0 to 10. Higher lags less.
        /// Default 0.03: a 10° jump at 60 cm (about 3000 mm/s between two frames at 30 Hz) is
        /// followed to nine tenths within two frames, while noise of 0.5° raises the cutoff of a
        /// resting point by about 2 Hz.
        pub beta_hz_per_mm_s: f32,
        /// Cutoff for the speed itself, Hz; 0.05 to 30. Default 1.0, as in the paper.
        pub speed_cutoff_hz: f32,
        /// A hole in the samples longer than this starts afresh, ms; 20 to 5000. Default 150: about
        /// the shortest time in which the eyes have moved on to something else.
        pub reset_after_ms: u32,
    }
}

impl Default for OneEuroSettings {
    fn default() -> Self {
        OneEuroSettings {
            min_cutoff_hz: 1.0,
            beta_hz_per_mm_s: 0.03,
            speed_cutoff_hz: 1.0,
            reset_after_ms: 150,
        }
    }
}

impl OneEuroSettings {
    /// Every setting that is out of range.
    pub fn check(&self) -> SettingProblems {
        let mut problems = SettingProblems::default();
        problems.range("one_euro.min_cutoff_hz", self.min_cutoff_hz, 0.05, 30.0);
        problems.range(
            "one_euro.beta_hz_per_mm_s",
            self.beta_hz_per_mm_s,
            0.0,
            10.0,
        );
        problems.range("one_euro.speed_cutoff_hz", self.speed_cutoff_hz, 0.05, 30.0);
        problems.range_ms("one_euro.reset_after_ms", self.reset_after_ms, 20, 5000);
        problems
    }
}

/// What the filter remembers of the last point.
#[derive(Clone, Copy, Debug)]
struct Last {
    at: Timestamp,
    input: [f32; 2],
    output: [f32; 2],
    velocity_mm_s: [f32; 2],
}

/// Smooths points of regard as they come.
#[derive(Clone, Debug)]
pub struct OneEuro {
    settings: OneEuroSettings,
    last: Option<Last>,
}

impl OneEuro {
    /// A filter that has seen nothing.
    ///
    /// # Errors
    /// The first setting that is out of range; `check` finds them all.
    pub fn new(settings: OneEuroSettings) -> Result<Self, SettingProblem> {
        settings.check().into_result()?;
        Ok(OneEuro {
            settings,
            last: None,
        })
    }

    /// The smoothed point; none when `point` is not finite.
    ///
    /// Each axis of the result lies between its last result and `point`, so never outside the
    /// range of the inputs since the last reset. A time that repeats or steps back a little gives
    /// the last result again; one that steps back by more than `reset_after_ms`, like one that
    /// jumps ahead by it, starts afresh.
    pub fn step(&mut self, at: Timestamp, point: PointOfRegard) -> Option<PointOfRegard> {
        let input = [point.x_mm, point.y_mm];
        if !input.iter().all(|v| v.is_finite()) {
            return None;
        }
        let hole = Span::from_ms(u64::from(self.settings.reset_after_ms));
        let last = self
            .last
            .filter(|last| at.since(last.at) <= hole && last.at.since(at) <= hole);
        let next = match last {
            None => Last {
                at,
                input,
                output: input,
                velocity_mm_s: [0.0; 2],
            },
            Some(last) if at <= last.at => last,
            Some(last) => self.follow(last, at, input),
        };
        self.last = Some(next);
        let [x_mm, y_mm] = next.output;
        Some(PointOfRegard { x_mm, y_mm })
    }

    /// Forgets everything: after a blink, a lost face, another observer.
    pub fn reset(&mut self) {
        self.last = None;
    }

    fn follow(&self, last: Last, at: Timestamp, input: [f32; 2]) -> Last {
        let step_s = at.since(last.at).as_s();
        let speed_weight = weight(self.settings.speed_cutoff_hz, step_s);
        let velocity_mm_s = core::array::from_fn(|axis| {
            let velocity = (input[axis] - last.input[axis]) / step_s;
            between(last.velocity_mm_s[axis], velocity, speed_weight)
        });
        let speed_mm_s = libm::hypotf(velocity_mm_s[0], velocity_mm_s[1]);
        let cutoff_hz = self.settings.min_cutoff_hz + self.settings.beta_hz_per_mm_s * speed_mm_s;
        let point_weight = weight(cutoff_hz, step_s);
        Last {
            at,
            input,
            output: core::array::from_fn(|axis| {
                between(last.output[axis], input[axis], point_weight)
            }),
            velocity_mm_s,
        }
    }
}

/// The share of the new value in a first-order low-pass: 1 / (1 + τ/T), τ = 1 / (2π · cutoff).
fn weight(cutoff_hz: f32, step_s: f32) -> f32 {
    let turns = core::f32::consts::TAU * cutoff_hz * step_s;
    if turns.is_finite() {
        turns / (1.0 + turns)
    } else {
        1.0
    }
}

/// `old` moved towards `new` by `share` of the way, never past either through rounding, and finite
/// even where their difference is not.
fn between(old: f32, new: f32, share: f32) -> f32 {
    let value = old * (1.0 - share) + new * share;
    value
        .max(old.min(new))
        .min(old.max(new))
        .clamp(f32::MIN, f32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 / (2π) s: at a cutoff of 1 Hz the new value weighs a half.
    const HALF_STEP_US: u64 = 159_155;

    fn filter(beta_hz_per_mm_s: f32) -> OneEuro {
        let settings = OneEuroSettings {
            min_cutoff_hz: 1.0,
            beta_hz_per_mm_s,
            speed_cutoff_hz: 1.0,
            reset_after_ms: 200,
        };
        OneEuro::new(settings).expect("in range")
    }

    fn step(filter: &mut OneEuro, us: u64, x_mm: f32) -> f32 {
        let point = PointOfRegard { x_mm, y_mm: 0.0 };
        let smooth = filter.step(Timestamp(us), point).expect("x is finite");
        smooth.x_mm
    }

    #[test]
    fn without_beta_it_is_a_low_pass_of_the_smallest_cutoff() {
        let mut filter = filter(0.0);
        assert!((step(&mut filter, 0, 0.0)).abs() < 1e-6);
        assert!((step(&mut filter, HALF_STEP_US, 8.0) - 4.0).abs() < 1e-4);
        assert!((step(&mut filter, 2 * HALF_STEP_US, 8.0) - 6.0).abs() < 1e-4);
    }

    #[test]
    fn speed_raises_the_cutoff() {
        // 8 mm in 0.159 s are 50.3 mm/s, half of which passes the speed filter; with a beta of
        // 3/25.13 the cutoff is 1 + 3 = 4 Hz, the weight 4/5.
        let mut filter = filter(3.0 / 25.132_74);
        step(&mut filter, 0, 0.0);
        assert!((step(&mut filter, HALF_STEP_US, 8.0) - 6.4).abs() < 1e-4);
    }

    #[test]
    fn a_hole_starts_afresh_and_a_repeat_changes_nothing() {
        let mut filter = filter(0.0);
        step(&mut filter, 0, 0.0);
        assert!(step(&mut filter, 0, 100.0).abs() < 1e-6);
        assert!((step(&mut filter, 200_001, 100.0) - 100.0).abs() < 1e-6);
        assert!((step(&mut filter, 0, 7.0) - 7.0).abs() < 1e-6, "far back");
        filter.reset();
        assert!((step(&mut filter, 1, 50.0) - 50.0).abs() < 1e-6);
        let not_finite = PointOfRegard {
            x_mm: f32::NAN,
            y_mm: 0.0,
        };
        assert_eq!(filter.step(Timestamp(2), not_finite), None);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let settings = OneEuroSettings {
            min_cutoff_hz: 0.0,
            ..OneEuroSettings::default()
        };
        let problem = OneEuro::new(settings).expect_err("0 Hz lets nothing through");
        let text = std::format!("{problem}");
        assert_eq!(text, "one_euro.min_cutoff_hz = 0 is outside 0.05 to 30");
    }
}
