//! Where the screen stands relative to the camera, as far as a calibration can tell.
//!
//! A wrong pose looks like a wrong gaze as long as the head rests: offset and gains take it up. Only
//! when the head has moved between targets do the two differ, so the pose is left alone unless the
//! eyes were at different places, and each step away from what was supposed must pay for itself on
//! targets left out.

use crate::error::CalibrationError;
use crate::fit::{FitOptions, FitReport, TargetSample, fit};
use crate::model::ModelKind;
use crate::screen::{ScreenGeometry, ScreenPose};

/// Eyes that move less than this between targets tell nothing of the pose, mm (standard deviation
/// along an axis).
const LEAST_MOVEMENT_MM: f32 = 15.0;

/// A step must take this share off the left-out error.
const LEAST_GAIN: f32 = 0.03;

/// Most samples that the steps are tried on, evenly from all: 15 of each of 13 targets.
const MOST_SEARCHED: usize = 200;

/// Steps that are tried, and how far from what was supposed they may lead altogether.
const STEP_MM: f32 = 20.0;
const STEP_RAD: f32 = 0.07;
const MOST_STEPS: i32 = 2;

/// Fits, and refines the screen's pose where the samples support it.
///
/// Gives the fit and the screen that it holds for: the one given, unless moving or tilting it takes
/// at least 3 % off the leave-one-target-out error, by at most 40 mm and 8°. Steps are tried with an
/// affine map; where they lead is then judged with all kinds.
///
/// # Errors
/// As [`fit`].
pub fn fit_with_pose(
    samples: &[TargetSample],
    screen: &ScreenGeometry,
    options: &FitOptions,
) -> Result<(FitReport, ScreenGeometry), CalibrationError> {
    let supposed = fit(samples, screen, options)?;
    if !has_moved(samples) {
        return Ok((supposed, *screen));
    }
    let found = search(samples, screen, options, &supposed);
    let is_better = |report: &FitReport| {
        let error = |report: &FitReport| report.quality.all.error_mm;
        error(report)
            .zip(error(&supposed))
            .is_some_and(|(new, old)| new < (1.0 - LEAST_GAIN) * old)
    };
    match found.and_then(|moved| Some((fit(samples, &moved, options).ok()?, moved))) {
        Some((report, moved)) if is_better(&report) => Ok((report, moved)),
        _ => Ok((supposed, *screen)),
    }
}

/// The pose that an affine map (or an offset, where there is no more) likes best, if it is another
/// than the one supposed. The richer kinds take many times longer, and would bend where the screen
/// should move.
fn search(
    samples: &[TargetSample],
    screen: &ScreenGeometry,
    options: &FitOptions,
    supposed: &FitReport,
) -> Option<ScreenGeometry> {
    let options = FitOptions {
        kind: Some(supposed.model.kind().min(ModelKind::Affine)),
        ..*options
    };
    // Where the screen stands shows in the targets' means: a few samples of each tell them.
    let every = samples.len().div_ceil(MOST_SEARCHED);
    let some: Vec<TargetSample> = samples.iter().step_by(every.max(1)).copied().collect();
    let error = |screen: &ScreenGeometry| fit(&some, screen, &options).ok()?.quality.all.error_mm;
    let mut best = (error(screen)?, None);
    let mut steps = [0i32; 3];
    // What was tried once was worse than the best of now, or is it.
    let mut tried_before = vec![steps];
    // One parameter at a time, each once: the height, the depth, the tilt.
    for parameter in 0..steps.len() {
        for direction in [-1, 1] {
            while steps[parameter].abs() < MOST_STEPS {
                let mut tried = steps;
                tried[parameter] += direction;
                if tried_before.contains(&tried) {
                    break;
                }
                tried_before.push(tried);
                let found = moved(screen, tried).and_then(|moved| Some((error(&moved)?, moved)));
                match found {
                    Some((mm, moved)) if mm < (1.0 - LEAST_GAIN) * best.0 => {
                        best = (mm, Some(moved));
                        steps = tried;
                    }
                    _ => break,
                }
            }
        }
    }
    best.1
}

fn moved(screen: &ScreenGeometry, [down, away, tilt]: [i32; 3]) -> Option<ScreenGeometry> {
    let ScreenPose {
        offset_mm: [x, y, z],
        tilt_rad,
    } = screen.pose();
    screen
        .with_pose(ScreenPose {
            offset_mm: [x, y + STEP_MM * down as f32, z + STEP_MM * away as f32],
            tilt_rad: tilt_rad + STEP_RAD * tilt as f32,
        })
        .ok()
}

/// Whether the eyes were at different places.
fn has_moved(samples: &[TargetSample]) -> bool {
    let inputs = || samples.iter().filter_map(|sample| sample.input.as_ref());
    let n = inputs().count() as f32;
    (0..3).any(|axis| {
        let mean = inputs().map(|input| input.origin_mm[axis]).sum::<f32>() / n;
        let squares = inputs()
            .map(|input| (input.origin_mm[axis] - mean).powi(2))
            .sum::<f32>();
        (squares / n).sqrt() > LEAST_MOVEMENT_MM
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CalibrationInput, N_FEATURES, PRIOR_GAIN};

    /// Nine targets on a screen that stands 40 mm lower than supposed, seen from near and far.
    fn samples(moves: f32) -> (Vec<TargetSample>, ScreenGeometry) {
        let supposed = ScreenGeometry::new(531.0, 299.0).unwrap();
        let true_screen = moved(&supposed, [2, 0, 0]).unwrap();
        let mut samples = Vec::new();
        for y in [0.1, 0.5, 0.9] {
            for x in [0.1, 0.5, 0.9] {
                let target = true_screen.from_normalised([x, y]);
                for k in 0..6u64 {
                    let share = (samples.len() % 7) as f32 / 3.0 - 1.0;
                    let origin_mm = [20.0 * moves * share, 60.0, 600.0 + 150.0 * moves * share];
                    // The network sees less of each turn than there is, as supposed of it.
                    let mut sight = true_screen
                        .sight(origin_mm, true_screen.direction_to(origin_mm, target))
                        .unwrap();
                    for (tangent, gain) in sight.tangent.iter_mut().zip(PRIOR_GAIN) {
                        *tangent /= gain;
                    }
                    let seen = sight.point_of_regard();
                    samples.push(TargetSample {
                        seq: k,
                        target,
                        input: Some(CalibrationInput {
                            angles: true_screen.direction_to(origin_mm, seen),
                            origin_mm,
                            head_yaw_rad: 0.0,
                            head_pitch_rad: 0.0,
                            head_roll_rad: 0.0,
                            features: [0.0; N_FEATURES],
                            sigma_rad: 0.05,
                        }),
                    });
                }
            }
        }
        (samples, supposed)
    }

    #[test]
    fn a_screen_that_stands_lower_is_found_when_the_head_moves() {
        let (samples, supposed) = samples(1.0);
        let (report, screen) = fit_with_pose(&samples, &supposed, &FitOptions::default()).unwrap();
        assert!(
            (screen.pose().offset_mm[1] - 40.0).abs() < 1.0,
            "{screen:?}"
        );
        let before = fit(&samples, &supposed, &FitOptions::default()).unwrap();
        let error = |report: &FitReport| report.quality.all.error_mm.unwrap();
        assert!(error(&report) < 0.5 * error(&before));
    }

    #[test]
    fn a_head_that_rests_leaves_the_screen_where_it_was_supposed() {
        let (samples, supposed) = samples(0.0);
        let (_, screen) = fit_with_pose(&samples, &supposed, &FitOptions::default()).unwrap();
        assert_eq!(screen, supposed);
    }
}
