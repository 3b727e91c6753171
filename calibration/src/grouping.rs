//! The samples of each target, and which of them show an eye on it.

use gaze_protocol::PointOfRegard;

use crate::error::CalibrationError;
use crate::fit::TargetSample;
use crate::least_squares::{RAYLEIGH_MEDIAN, median};
use crate::model::CalibrationInput;
use crate::screen::{ScreenGeometry, Sight};

/// Targets nearer than this are one target, mm.
pub const SAME_TARGET_MM: f32 = 1.0;

/// A target needs this many samples before one of them can be called an outlier.
const MIN_SAMPLES_TO_REJECT: usize = 5;

/// Outliers are beyond this many standard deviations (from the median absolute deviation) ...
const REJECT_SD: f64 = 3.5;

/// ... and beyond 1° of the median, whatever the deviation: steady eyes are not outliers.
const REJECT_FLOOR: f64 = 0.0175;

/// The samples of one target.
#[derive(Debug)]
pub(crate) struct Group {
    pub target: PointOfRegard,
    /// Samples to fit to, in the order of frames.
    pub kept: Vec<Kept>,
    /// Samples given, in the order of frames; whether each is in `kept`.
    is_kept: Vec<bool>,
    pub n_lost: usize,
    pub n_rejected: usize,
}

/// A sample to fit to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub sight: Sight,
    /// Where the target was for this sample; near the group's.
    pub target: PointOfRegard,
    /// What it was seen from.
    pub input: CalibrationInput,
    /// 0 to 2; 1 for a sample of usual confidence.
    pub weight: f64,
}

impl Group {
    /// One entry for each sample given; none where it is not kept.
    pub(crate) fn in_order<T>(&self, of: impl Fn(&Kept) -> T) -> Vec<Option<T>> {
        let mut kept = self.kept.iter();
        self.is_kept
            .iter()
            .map(|&is_kept| if is_kept { kept.next().map(&of) } else { None })
            .collect()
    }
}

/// How samples are put together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grouping {
    /// Targets nearer than this are one target, mm.
    radius_mm: f32,
    /// Whether samples whose eye was elsewhere are rejected.
    is_rejecting: bool,
}

impl Grouping {
    /// Targets that rest.
    pub(crate) const TARGETS: Grouping = Grouping {
        radius_mm: SAME_TARGET_MM,
        is_rejecting: true,
    };
    /// A target on a path: about twenty places on a screen.
    pub(crate) const PURSUIT: Grouping = Grouping {
        radius_mm: 50.0,
        is_rejecting: true,
    };
    /// Every sample counts, as when a calibration is judged.
    pub(crate) const UNREJECTED: Grouping = Grouping {
        radius_mm: SAME_TARGET_MM,
        is_rejecting: false,
    };
}

/// Groups samples by target and rejects those whose eye was elsewhere.
pub(crate) fn group_by_target(
    samples: &[TargetSample],
    screen: &ScreenGeometry,
    grouping: &Grouping,
) -> Result<Vec<Group>, CalibrationError> {
    let mut members: Vec<(PointOfRegard, Vec<&TargetSample>)> = Vec::new();
    for sample in samples {
        let target = sample.target;
        let part = if !(target.x_mm.is_finite() && target.y_mm.is_finite()) {
            Some("target")
        } else {
            sample.input.as_ref().and_then(CalibrationInput::non_finite)
        };
        if let Some(part) = part {
            return Err(CalibrationError::NonFinite {
                seq: sample.seq,
                part,
            });
        }
        let same = members.iter_mut().find(|(place, _)| {
            (place.x_mm - target.x_mm).hypot(place.y_mm - target.y_mm) <= grouping.radius_mm
        });
        match same {
            Some((_, group)) => group.push(sample),
            None => members.push((target, vec![sample])),
        }
    }
    let usual_sigma = usual_sigma(samples);
    Ok(members
        .into_iter()
        .map(|(target, mut samples)| {
            samples.sort_by_key(|sample| sample.seq);
            keep(target, &samples, screen, usual_sigma, grouping.is_rejecting)
        })
        .collect())
}

/// The median of the stated standard deviations; none when none is stated.
fn usual_sigma(samples: &[TargetSample]) -> Option<f64> {
    let mut sigmas: Vec<f64> = samples
        .iter()
        .filter_map(|sample| Some(f64::from(sample.input?.sigma_rad)))
        .filter(|&sigma| sigma > 0.0)
        .collect();
    median(&mut sigmas)
}

fn keep(
    target: PointOfRegard,
    samples: &[&TargetSample],
    screen: &ScreenGeometry,
    usual_sigma: Option<f64>,
    is_rejecting: bool,
) -> Group {
    let sights: Vec<Option<Sight>> = samples
        .iter()
        .map(|sample| {
            let input = sample.input.as_ref()?;
            screen.sight(input.origin_mm, input.angles)
        })
        .collect();
    // What the correction would have to add: the same for all samples of an eye that rests.
    let wanted: Vec<[f64; 2]> = samples
        .iter()
        .zip(&sights)
        .filter_map(|(sample, sight)| Some((sample, sight.as_ref()?)))
        .map(|(sample, sight)| {
            let goal = sight.tangent_to(sample.target);
            [0, 1].map(|axis| f64::from(goal[axis]) - f64::from(sight.tangent[axis]))
        })
        .collect();
    let limit = rejection_limit(&wanted).filter(|_| is_rejecting);
    let mut group = Group {
        target,
        kept: Vec::with_capacity(wanted.len()),
        is_kept: Vec::with_capacity(samples.len()),
        n_lost: 0,
        n_rejected: 0,
    };
    let mut wanted = wanted.iter();
    for (sample, sight) in samples.iter().zip(&sights) {
        let Some(input) = &sample.input else {
            group.n_lost += 1;
            group.is_kept.push(false);
            continue;
        };
        let on_target = sight.filter(|_| {
            let wanted = wanted.next().expect("one for each sight");
            limit.is_none_or(|(middle, limit)| {
                (wanted[0] - middle[0]).hypot(wanted[1] - middle[1]) <= limit
            })
        });
        group.is_kept.push(on_target.is_some());
        match on_target {
            Some(sight) => group.kept.push(Kept {
                sight,
                target: sample.target,
                input: *input,
                weight: confidence_weight(input.sigma_rad, usual_sigma),
            }),
            None => group.n_rejected += 1,
        }
    }
    group
}

/// The median of `wanted` and how far from it a sample may lie; none with too few samples.
fn rejection_limit(wanted: &[[f64; 2]]) -> Option<([f64; 2], f64)> {
    if wanted.len() < MIN_SAMPLES_TO_REJECT {
        return None;
    }
    let mut axis = [0, 1].map(|axis| wanted.iter().map(|w| w[axis]).collect::<Vec<f64>>());
    let middle = [median(&mut axis[0])?, median(&mut axis[1])?];
    let mut deviations: Vec<f64> = wanted
        .iter()
        .map(|w| (w[0] - middle[0]).hypot(w[1] - middle[1]))
        .collect();
    let sd = median(&mut deviations)? / RAYLEIGH_MEDIAN;
    Some((middle, (REJECT_SD * sd).max(REJECT_FLOOR)))
}

/// Inverse variance with the usual variance as a floor, so that no sample counts more than twice.
fn confidence_weight(sigma_rad: f32, usual_sigma: Option<f64>) -> f64 {
    let sigma = f64::from(sigma_rad);
    match usual_sigma {
        Some(usual) if sigma > 0.0 => 2.0 / (1.0 + (sigma / usual).powi(2)),
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::N_FEATURES;
    use gaze_protocol::GazeAngles;

    fn screen() -> ScreenGeometry {
        ScreenGeometry::new(531.0, 299.0).unwrap()
    }

    fn input(yaw_rad: f32) -> CalibrationInput {
        CalibrationInput {
            angles: GazeAngles {
                yaw_rad,
                pitch_rad: -0.1,
            },
            origin_mm: [0.0, 0.0, 600.0],
            head_yaw_rad: 0.0,
            head_pitch_rad: 0.0,
            head_roll_rad: 0.0,
            features: [0.0; N_FEATURES],
            sigma_rad: 0.05,
        }
    }

    fn sample(seq: u64, x_mm: f32, input: Option<CalibrationInput>) -> TargetSample {
        TargetSample {
            seq,
            target: PointOfRegard { x_mm, y_mm: 50.0 },
            input,
        }
    }

    #[test]
    fn the_same_place_is_one_target_whatever_the_order() {
        let samples = [
            sample(3, 100.0, Some(input(0.1))),
            sample(1, 200.0, Some(input(0.1))),
            sample(2, 100.9, Some(input(0.1))),
            sample(0, 100.0, None),
        ];
        let groups = group_by_target(&samples, &screen(), &Grouping::TARGETS).unwrap();
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].kept.len(), groups[0].n_lost), (2, 1));
        // Frame 0 was lost, frames 2 and 3 are kept.
        let order = groups[0].in_order(|_| ());
        assert_eq!(order, [None, Some(()), Some(())]);
    }

    #[test]
    fn an_eye_that_was_elsewhere_is_rejected() {
        let yaws = [0.100, 0.102, 0.098, 0.101, 0.099, 0.100, 0.3];
        let samples: Vec<TargetSample> = (0..)
            .zip(yaws)
            .map(|(seq, yaw)| sample(seq, 100.0, Some(input(yaw))))
            .collect();
        let groups = group_by_target(&samples, &screen(), &Grouping::TARGETS).unwrap();
        assert_eq!((groups[0].kept.len(), groups[0].n_rejected), (6, 1));
    }

    #[test]
    fn a_steady_eye_loses_no_samples() {
        // Half a degree off five equal samples: within the floor.
        let yaws = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1087];
        let samples: Vec<TargetSample> = (0..)
            .zip(yaws)
            .map(|(seq, yaw)| sample(seq, 100.0, Some(input(yaw))))
            .collect();
        assert_eq!(
            group_by_target(&samples, &screen(), &Grouping::TARGETS).unwrap()[0].n_rejected,
            0
        );
    }

    #[test]
    fn gaze_away_from_the_screen_is_rejected_not_lost() {
        let samples = [sample(0, 100.0, Some(input(3.0)))];
        let groups = group_by_target(&samples, &screen(), &Grouping::TARGETS).unwrap();
        assert_eq!((groups[0].n_lost, groups[0].n_rejected), (0, 1));
    }

    #[test]
    fn a_sample_that_is_no_number_is_named() {
        let mut bad = input(0.1);
        bad.features[3] = f32::NAN;
        assert_eq!(
            group_by_target(
                &[sample(9, 100.0, Some(bad))],
                &screen(),
                &Grouping::TARGETS
            )
            .unwrap_err(),
            CalibrationError::NonFinite {
                seq: 9,
                part: "features"
            }
        );
        assert_eq!(
            group_by_target(
                &[sample(9, f32::INFINITY, None)],
                &screen(),
                &Grouping::TARGETS
            )
            .unwrap_err(),
            CalibrationError::NonFinite {
                seq: 9,
                part: "target"
            }
        );
    }

    #[test]
    fn an_unsure_sample_weighs_less_and_none_more_than_twice() {
        let usual = Some(0.05);
        assert!((confidence_weight(0.05, usual) - 1.0).abs() < 1e-6);
        // 2 / (1 + 3²)
        assert!((confidence_weight(0.15, usual) - 0.2).abs() < 1e-6);
        assert!(confidence_weight(1e-6, usual) <= 2.0);
        assert!((confidence_weight(0.0, usual) - 1.0).abs() < 1e-12);
        assert!((confidence_weight(0.2, None) - 1.0).abs() < 1e-12);
    }
}
