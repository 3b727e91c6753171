//! Staying good between calibrations: what clicks and dwells tell about drift.
//!
//! Somebody who clicks on a thing looks at it. Each such confirmation says how far the calibrated
//! line of gaze missed it; their robust middle is the drift, and a careful part of it is taken
//! back. Nothing here changes a profile: [`Upkeep::forget`] undoes all of it.
//!
//! Rules, after WebEyeTrack (Davalos et al. 2025) and WebGazer (Papoutsaki et al. 2016), which
//! learn from clicks: a confirmation counts for a while only, two at the same moment are one, and
//! one that lies too far from gaze is a click without a look.

use std::collections::VecDeque;

use gaze_protocol::{PointOfRegard, Span, Timestamp};

use crate::model::{CalibrationInput, CalibrationModel};
use crate::screen::{ScreenGeometry, Sight};

/// A confirmation older than this says nothing about now: people shift in their seats.
const TIME_TO_LIVE: Span = Span::from_ms(10 * 60_000);

/// Confirmations nearer in time than this are one.
const DEBOUNCE: Span = Span::from_ms(1000);

/// Gaze within this time before a confirmation is the look at it.
const LOOK: Span = Span::from_ms(300);

/// Least samples of a look.
const MIN_LOOK_SAMPLES: usize = 3;

/// A confirmation further than this from gaze (8°) is a click without a look.
const MAX_DISTANCE: f32 = 0.14;

/// Samples of a look spread less than this (2°), or the eyes were on their way.
const MAX_SPREAD: f32 = 0.035;

/// Most confirmations kept: older ones make room.
const CAPACITY: usize = 24;

/// Confirmations before anything is said or done.
const LEAST: f32 = 3.0;

/// So many confirmations' worth of doubt hold the correction back.
const DOUBT: f32 = 2.0;

/// Gaze is kept for this long: a dwell is told some time after its end.
const KEPT: Span = Span::from_ms(800);

/// Most samples kept: 800 ms at 120/s.
const RECENT: usize = 100;

/// Where a confirmation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An application says that the person clicked or touched there.
    Click,
    /// Gaze dwelt on a small object; counts a third, because gaze itself chose it.
    Dwell,
}

/// Why a confirmation was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// No gaze just before it.
    #[error("no steady gaze just before it")]
    NoLook,
    /// Too far from gaze.
    #[error("further than 8° from gaze: a click without a look")]
    TooFar,
    /// Too soon after the one before.
    #[error("within a second of the one before")]
    TooSoon,
}

#[derive(Clone, Copy, Debug)]
struct Confirmation {
    at: Timestamp,
    /// What has to be added to the model's tangent.
    missing: [f32; 2],
    weight: f32,
}

/// What clicks and dwells have told lately.
#[derive(Clone, Debug, Default)]
pub struct Upkeep {
    recent: VecDeque<(Timestamp, CalibrationInput)>,
    confirmations: VecDeque<Confirmation>,
}

impl Upkeep {
    /// Takes a frame's gaze, none without. Allocates nothing once it has seen a few.
    pub fn see(&mut self, at: Timestamp, input: Option<&CalibrationInput>) {
        while let Some((then, _)) = self.recent.front()
            && (at.since(*then) > KEPT || self.recent.len() >= RECENT)
        {
            self.recent.pop_front();
        }
        if let Some(input) = input {
            self.recent.push_back((at, *input));
        }
    }

    /// The person looked at `point` just before `at`, as far as `source` is to be believed.
    ///
    /// # Errors
    /// [`Ignored`] says which rule it breaks.
    pub fn confirm(
        &mut self,
        at: Timestamp,
        point: PointOfRegard,
        source: Source,
        model: &CalibrationModel,
        screen: &ScreenGeometry,
    ) -> Result<(), Ignored> {
        if let Some(last) = self.confirmations.back()
            && at.since(last.at) < DEBOUNCE
        {
            return Err(Ignored::TooSoon);
        }
        let seen: Vec<[f32; 2]> = self
            .recent
            .iter()
            .filter(|(then, _)| *then <= at && at.since(*then) <= LOOK)
            .filter_map(|(_, input)| {
                let sight = screen.sight(input.origin_mm, input.angles)?;
                Some(missing(&sight, input, point, model))
            })
            .collect();
        if seen.len() < MIN_LOOK_SAMPLES {
            return Err(Ignored::NoLook);
        }
        let middle = weighted_middle(seen.iter().map(|&missing| (missing, 1.0)).collect());
        let apart = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
        let mut spread: Vec<f32> = seen.iter().map(|&one| apart(one, middle)).collect();
        spread.sort_unstable_by(f32::total_cmp);
        if spread[spread.len() / 2] > MAX_SPREAD {
            return Err(Ignored::NoLook);
        }
        // Far from where gaze is now believed to be, what was learnt so far included.
        if apart(middle, self.shift(at)) > MAX_DISTANCE {
            return Err(Ignored::TooFar);
        }
        if self.confirmations.len() == CAPACITY {
            self.confirmations.pop_front();
        }
        self.confirmations.push_back(Confirmation {
            at,
            missing: middle,
            weight: match source {
                Source::Click => 1.0,
                Source::Dwell => 1.0 / 3.0,
            },
        });
        Ok(())
    }

    /// What to add to the model's tangents now.
    pub fn shift(&self, now: Timestamp) -> [f32; 2] {
        match self.drift(now) {
            Some((drift, weight)) => drift.map(|part| part * weight / (weight + DOUBT)),
            None => [0.0; 2],
        }
    }

    /// How far gaze has wandered since calibration, degrees of visual angle; none while
    /// confirmations are too few or too old.
    pub fn drift_deg(&self, now: Timestamp) -> Option<f32> {
        let ([x, y], _) = self.drift(now)?;
        Some(x.hypot(y).atan().to_degrees())
    }

    /// Undoes all of it.
    pub fn forget(&mut self) {
        self.confirmations.clear();
    }

    fn drift(&self, now: Timestamp) -> Option<([f32; 2], f32)> {
        let live = || {
            self.confirmations
                .iter()
                .filter(|one| now.since(one.at) < TIME_TO_LIVE)
        };
        let weight: f32 = live().map(|one| one.weight).sum();
        // A third three times is one, give or take rounding.
        if weight < LEAST - 1e-3 {
            return None;
        }
        let all = live().map(|one| (one.missing, one.weight)).collect();
        Some((weighted_middle(all), weight))
    }
}

fn missing(
    sight: &Sight,
    input: &CalibrationInput,
    point: PointOfRegard,
    model: &CalibrationModel,
) -> [f32; 2] {
    let goal = sight.tangent_to(point);
    let found = model.correct(sight, input).tangent;
    [goal[0] - found[0], goal[1] - found[1]]
}

/// The weighted median of each axis.
fn weighted_middle(mut all: Vec<([f32; 2], f32)>) -> [f32; 2] {
    let half = 0.5 * all.iter().map(|(_, weight)| weight).sum::<f32>();
    [0, 1].map(|axis| {
        all.sort_unstable_by(|(a, _), (b, _)| a[axis].total_cmp(&b[axis]));
        let mut sum = 0.0;
        all.iter()
            .find(|(_, weight)| {
                sum += weight;
                sum >= half
            })
            .map_or(0.0, |(missing, _)| missing[axis])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::N_FEATURES;
    use gaze_protocol::GazeAngles;

    const MODEL: CalibrationModel = CalibrationModel::IDENTITY;

    fn screen() -> ScreenGeometry {
        ScreenGeometry::new(531.0, 299.0).unwrap()
    }

    /// An eye straight before the screen's point (265.5, 0) that looks along this tangent.
    fn input(x: f32, y: f32) -> CalibrationInput {
        CalibrationInput {
            angles: GazeAngles::from_vector([-x, y, -1.0]),
            origin_mm: [0.0, 0.0, 600.0],
            head_yaw_rad: 0.0,
            head_pitch_rad: 0.0,
            head_roll_rad: 0.0,
            features: [0.0; N_FEATURES],
            sigma_rad: 0.05,
        }
    }

    fn at(x: f32, y: f32) -> PointOfRegard {
        PointOfRegard {
            x_mm: 265.5 + 600.0 * x,
            y_mm: 600.0 * y,
        }
    }

    /// Looks at a place for 0.3 s before `at_s` and clicks there; gaze is off by (0.05, 0).
    fn click(upkeep: &mut Upkeep, at_s: u64, x: f32, off: f32) -> Result<(), Ignored> {
        let now = Timestamp(at_s * 1_000_000);
        for frame in (0..10).rev() {
            upkeep.see(now - Span::from_ms(30 * frame), Some(&input(x - off, 0.1)));
        }
        upkeep.confirm(now, at(x, 0.1), Source::Click, &MODEL, &screen())
    }

    #[test]
    fn three_clicks_tell_the_drift_and_most_of_it_is_taken_back() {
        let mut upkeep = Upkeep::default();
        for second in [10, 20] {
            click(&mut upkeep, second, 0.1, 0.05).unwrap();
            assert_eq!(upkeep.drift_deg(Timestamp(second * 1_000_000)), None);
        }
        click(&mut upkeep, 30, -0.2, 0.05).unwrap();
        let now = Timestamp(31_000_000);
        // atan 0.05 = 2.862°; three clicks against a doubt of two: 3/5.
        assert!((upkeep.drift_deg(now).unwrap() - 2.862).abs() < 0.01);
        assert!((upkeep.shift(now)[0] - 0.03).abs() < 1e-4);
        assert!(upkeep.shift(now)[1].abs() < 1e-4);
        // Ten minutes later they say nothing any more.
        let later = Timestamp(700_000_000);
        assert_eq!(
            (upkeep.drift_deg(later), upkeep.shift(later)),
            (None, [0.0; 2])
        );
        upkeep.forget();
        assert_eq!(upkeep.shift(now), [0.0; 2]);
    }

    #[test]
    fn clicks_without_a_look_and_double_clicks_do_not_count() {
        let mut upkeep = Upkeep::default();
        let now = Timestamp(5_000_000);
        let confirm = |upkeep: &mut Upkeep, now, point| {
            upkeep.confirm(now, point, Source::Click, &MODEL, &screen())
        };
        assert_eq!(
            confirm(&mut upkeep, now, at(0.0, 0.1)),
            Err(Ignored::NoLook)
        );
        assert_eq!(click(&mut upkeep, 5, 0.3, 0.2), Err(Ignored::TooFar));
        assert_eq!(click(&mut upkeep, 6, 0.3, 0.05), Ok(()));
        assert_eq!(
            confirm(&mut upkeep, Timestamp(6_400_000), at(0.3, 0.1)),
            Err(Ignored::TooSoon)
        );
        // On their way: a new place with every frame.
        for frame in 0..10u64 {
            let when = Timestamp(9_000_000 + 30_000 * frame);
            upkeep.see(when, Some(&input(0.03 * frame as f32, 0.1)));
        }
        assert_eq!(
            confirm(&mut upkeep, Timestamp(9_290_000), at(0.1, 0.1)),
            Err(Ignored::NoLook)
        );
    }

    #[test]
    fn one_odd_click_does_not_move_the_middle() {
        let mut upkeep = Upkeep::default();
        for (second, off) in [(10, 0.02), (20, 0.02), (30, 0.13), (40, 0.02)] {
            click(&mut upkeep, second, 0.0, off).unwrap();
        }
        let drift = upkeep.drift_deg(Timestamp(40_000_000)).unwrap();
        assert!(
            (drift - 0.02f32.atan().to_degrees()).abs() < 0.01,
            "{drift}"
        );
    }

    #[test]
    fn dwells_count_a_third() {
        let mut upkeep = Upkeep::default();
        for second in 1..=9u64 {
            let now = Timestamp(second * 10_000_000);
            for frame in (0..10).rev() {
                upkeep.see(now - Span::from_ms(30 * frame), Some(&input(0.0, 0.1)));
            }
            let point = at(0.04, 0.1);
            upkeep
                .confirm(now, point, Source::Dwell, &MODEL, &screen())
                .unwrap();
            assert_eq!(upkeep.drift_deg(now).is_some(), second == 9);
        }
    }
}
