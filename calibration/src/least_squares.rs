//! Robust ridge least squares on tangents, with whole targets left out.

use nalgebra::{SMatrix, SymmetricEigen};

use gaze_protocol::PointOfRegard;

use crate::error::CalibrationError;
use crate::fit::{Candidate, MeanError, Ridge};
use crate::model::{Affine, CalibrationModel, HeadTerm, ModelKind, Offset, Quadratic};
use crate::normal::{CURVATURE, GAIN, HEAD, Moment, Normal, Standard, Sums, Terms};
use crate::pairing::{Group, Kept};
use crate::quality::{self, FickDeg, Quality, TargetQuality};
use crate::screen::ScreenGeometry;

/// Strengths that are tried. At 0.01 a gain keeps 99 % of what the data ask for, at 10 the part is
/// as good as gone.
const GRID: [f32; 7] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

/// The strength at which outliers are looked for before the strength is chosen.
const PROVISIONAL: f32 = 1e-2;

/// Of strengths whose errors are within this of the best, the strongest wins: on real eyes
/// (README) choosing the very best was worse on targets not seen.
const STRENGTH_TIE: f32 = 0.01;

/// The head's part must take this share off the error, or it is left out.
const HEAD_GAIN: f32 = 0.01;

/// The head's part is pulled at least this much: with 9 or 18 samples on real eyes (README) a
/// weaker pull was worse, with 45 it made no difference.
const MIN_HEAD_STRENGTH: f32 = 0.1;

/// Heads that hardly move would turn the noise of the pose into gaze: 2°, the noise of a head pose
/// from webcam landmarks.
const MIN_HEAD_SPREAD_RAD: f64 = 0.035;

/// Huber's threshold in standard deviations; 4 % of two-dimensional normal errors are beyond.
const HUBER_THRESHOLD: f64 = 2.5;

/// Median length of a two-dimensional normal error in standard deviations: √(2 ln 2).
pub(crate) const RAYLEIGH_MEDIAN: f64 = 1.177_410_022_515_474_6;

/// Errors below this are never outliers: 0.2°, below any webcam gaze network's noise.
const NOISE_FLOOR: f64 = 0.0035;

/// Rounds of reweighting; weights settle in five or six.
const HUBER_ROUNDS: usize = 10;

/// Targets nearer to the one left out than this share of the screen's diagonal are left out with
/// it: they would tell the answer.
const NEIGHBOUR_SHARE: f32 = 0.05;

/// Least standard deviation of the targets in the narrow direction for gains to be fitted, deg.
const MIN_SPREAD_DEG: f32 = 1.0;

/// One number pair for each sample kept, by target.
type BySample = Vec<Vec<[f64; 2]>>;

/// The samples, standardised, and which targets are left out together.
pub(crate) struct Problem {
    /// Targets with at least one sample kept.
    groups: Vec<Group>,
    /// Samples of targets with none kept: lost, rejected.
    without_target: [usize; 2],
    terms: Vec<Vec<Terms>>,
    /// What has to be added to each sample's tangent.
    wanted: BySample,
    /// For each target, the targets that are left out with it, itself first.
    folds: Vec<Vec<usize>>,
    gaze: Standard,
    head: Standard,
    layout_spread_deg: f32,
}

/// A fitted kind.
pub(crate) struct Solution {
    pub kind: ModelKind,
    pub ridge: Ridge,
    pub model: CalibrationModel,
    pub left_out: Option<MeanError>,
    /// What the fold without the sample's target adds to the sample's tangent.
    left_out_shift: Option<BySample>,
}

impl Solution {
    pub(crate) fn candidate(&self) -> Candidate {
        Candidate {
            kind: self.kind,
            ridge: self.ridge,
            left_out: self.left_out,
        }
    }
}

impl Problem {
    pub(crate) fn new(
        groups: Vec<Group>,
        screen: &ScreenGeometry,
    ) -> Result<Self, CalibrationError> {
        let (groups, empty): (Vec<Group>, Vec<Group>) =
            groups.into_iter().partition(|group| !group.kept.is_empty());
        let n_lost = empty.iter().map(|group| group.n_lost).sum();
        let n_rejected = empty.iter().map(|group| group.n_rejected).sum();
        if groups.is_empty() {
            return Err(if empty.is_empty() {
                CalibrationError::NoSamples
            } else {
                CalibrationError::NoGaze {
                    n_samples: n_lost + n_rejected,
                    n_lost,
                    n_rejected,
                }
            });
        }
        let gaze = Standard::of(&groups, 0.0, |kept| kept.sight.tangent);
        let head = Standard::of(&groups, MIN_HEAD_SPREAD_RAD, |kept| {
            [kept.input.head_yaw_rad, kept.input.head_pitch_rad]
        });
        let terms = by_sample(&groups, |_, kept| {
            let [zx, zy] = gaze.apply(kept.sight.tangent);
            let [yaw, pitch] = head.apply([kept.input.head_yaw_rad, kept.input.head_pitch_rad]);
            Terms::from([1.0, zx, zy, yaw, pitch, zx * zx, zx * zy, zy * zy])
        });
        let wanted = by_sample(&groups, |group, kept| {
            let goal = kept.sight.tangent_to(group.target);
            [0, 1].map(|axis| f64::from(goal[axis]) - f64::from(kept.sight.tangent[axis]))
        });
        Ok(Problem {
            folds: folds(&groups, screen),
            layout_spread_deg: layout_spread_deg(&groups),
            groups,
            without_target: [n_lost, n_rejected],
            terms,
            wanted,
            gaze,
            head,
        })
    }

    /// Whether the targets can carry this kind.
    pub(crate) fn carries(&self, kind: ModelKind) -> Result<(), CalibrationError> {
        let found = self.groups.len();
        if found < kind.min_targets() {
            return Err(CalibrationError::TooFewTargets {
                kind,
                found,
                needed: kind.min_targets(),
            });
        }
        if kind != ModelKind::Offset && self.layout_spread_deg < MIN_SPREAD_DEG {
            return Err(CalibrationError::DegenerateLayout {
                kind,
                spread_deg: self.layout_spread_deg,
                needed_deg: MIN_SPREAD_DEG,
            });
        }
        Ok(())
    }

    /// Fits one kind: outliers, then strengths, then outliers at those strengths. `simpler` is the
    /// next simpler kind's solution, whose strengths it keeps.
    pub(crate) fn solve(
        &self,
        kind: ModelKind,
        simpler: Option<&Solution>,
    ) -> Result<Solution, CalibrationError> {
        let unsolvable = CalibrationError::Unsolvable { kind };
        let inherited = simpler.map_or(Ridge::default(), |solution| solution.ridge);
        let provisional = match kind {
            ModelKind::Offset => Ridge::default(),
            ModelKind::Affine => Ridge {
                gain: Some(PROVISIONAL),
                ..Ridge::default()
            },
            ModelKind::Quadratic => Ridge {
                curvature: Some(PROVISIONAL),
                ..inherited
            },
        };
        let weights = self
            .reweight(&provisional)
            .ok_or_else(|| unsolvable.clone())?
            .weights;
        let sums = self.sums(&weights);
        let ridge = match kind {
            ModelKind::Offset => provisional,
            ModelKind::Affine => {
                let plain = self.strongest_of_tied(&sums, |strength| Ridge {
                    gain: Some(strength),
                    ..Ridge::default()
                });
                let with_head = self.strongest_of_tied(&sums, |strength| Ridge {
                    gain: Some(strength),
                    head: Some(strength.max(MIN_HEAD_STRENGTH)),
                    curvature: None,
                });
                match (plain, with_head) {
                    (Some((_, plain)), Some((ridge, error)))
                        if error < plain * (1.0 - HEAD_GAIN) =>
                    {
                        ridge
                    }
                    (Some((ridge, _)), _) => ridge,
                    (None, _) => provisional,
                }
            }
            ModelKind::Quadratic => self
                .strongest_of_tied(&sums, |strength| Ridge {
                    curvature: Some(strength),
                    ..inherited
                })
                .map_or(provisional, |(ridge, _)| ridge),
        };

        let fitted = self.reweight(&ridge).ok_or_else(|| unsolvable.clone())?;
        let left_out_shift = self.left_out_shifts(&self.sums(&fitted.weights), &ridge);
        let left_out = left_out_shift.as_ref().map(|shift| self.error_with(shift));
        let model = self.to_model(kind, &ridge, &fitted.coefficients);
        let is_finite = |error: MeanError| error.mm.is_finite() && error.deg.is_finite();
        if model.bad_parameter().is_some() || !left_out.is_none_or(is_finite) {
            return Err(unsolvable);
        }
        Ok(Solution {
            kind,
            ridge,
            model,
            left_out,
            left_out_shift,
        })
    }

    /// The strongest of the strengths whose leave-one-target-out errors tie with the best, and its
    /// error, mm; none with one target.
    fn strongest_of_tied(&self, sums: &Sums, ridge: impl Fn(f32) -> Ridge) -> Option<(Ridge, f32)> {
        let errors: Vec<(Ridge, f32)> = GRID
            .iter()
            .filter_map(|&strength| {
                let ridge = ridge(strength);
                let shift = self.left_out_shifts(sums, &ridge)?;
                Some((ridge, self.error_with(&shift).mm))
            })
            .collect();
        let best = errors
            .iter()
            .map(|(_, mm)| *mm)
            .fold(f32::INFINITY, f32::min);
        let bound = best * (1.0 + STRENGTH_TIE);
        errors.into_iter().rfind(|(_, mm)| *mm <= bound)
    }

    /// Iteratively reweighted least squares with Huber's weights.
    fn reweight(&self, ridge: &Ridge) -> Option<Reweighted> {
        let mut weights: Vec<Vec<f64>> = by_sample(&self.groups, |_, kept| kept.weight);
        let mut lengths: Vec<f64> = Vec::new();
        for _ in 0..HUBER_ROUNDS {
            let coefficients = self.sums(&weights).total()?.solve(ridge)?;
            let residuals = self.residuals(&coefficients);
            lengths.clear();
            lengths.extend(residuals.iter().flatten());
            let sd = (median(&mut lengths)? / RAYLEIGH_MEDIAN).max(NOISE_FLOOR);
            for ((weights, residuals), group) in
                weights.iter_mut().zip(&residuals).zip(&self.groups)
            {
                for ((weight, length), kept) in weights.iter_mut().zip(residuals).zip(&group.kept) {
                    // A residual of 0 divides to infinity, whose minimum with 1 is 1.
                    *weight = kept.weight * (HUBER_THRESHOLD * sd / length).min(1.0);
                }
            }
        }
        let coefficients = self.sums(&weights).total()?.solve(ridge)?;
        Some(Reweighted {
            weights,
            coefficients,
        })
    }

    /// Lengths of what the model leaves over.
    fn residuals(&self, coefficients: &Moment) -> Vec<Vec<f64>> {
        self.terms
            .iter()
            .zip(&self.wanted)
            .map(|(terms, wanted)| {
                terms
                    .iter()
                    .zip(wanted)
                    .map(|(terms, wanted)| {
                        let shift = coefficients.tr_mul(terms);
                        (wanted[0] - shift[0]).hypot(wanted[1] - shift[1])
                    })
                    .collect()
            })
            .collect()
    }

    /// Normal equations by target; each target's weights are divided by its number of samples.
    fn sums(&self, weights: &[Vec<f64>]) -> Sums {
        let by_target = self
            .terms
            .iter()
            .zip(&self.wanted)
            .zip(weights)
            .map(|((terms, wanted), weights)| {
                let share = 1.0 / terms.len() as f64;
                let mut normal = Normal::default();
                for ((terms, wanted), weight) in terms.iter().zip(wanted).zip(weights) {
                    let weight = weight * share;
                    let wanted = SMatrix::<f64, 2, 1>::from(*wanted);
                    normal.gram.ger(weight, terms, terms, 1.0);
                    normal.moment.ger(weight, terms, &wanted, 1.0);
                }
                normal
            })
            .collect();
        Sums { by_target }
    }

    /// What models that have not seen a target add to the tangents of its samples; none with one
    /// target.
    fn left_out_shifts(&self, sums: &Sums, ridge: &Ridge) -> Option<BySample> {
        if self.groups.len() < 2 {
            return None;
        }
        let total = sums.total()?;
        self.folds
            .iter()
            .zip(&self.terms)
            .map(|(fold, terms)| {
                let mut rest = total.clone();
                for &left_out in fold {
                    rest.gram -= sums.by_target[left_out].gram;
                    rest.moment -= sums.by_target[left_out].moment;
                }
                let coefficients = rest.solve(ridge)?;
                let shift = |terms: &Terms| coefficients.tr_mul(terms).into();
                Some(terms.iter().map(shift).collect())
            })
            .collect()
    }

    /// Mean over targets of the mean error of their samples.
    fn mean_error(&self, tangents: &[Vec<[f32; 2]>]) -> MeanError {
        let means: Vec<MeanError> = self
            .groups
            .iter()
            .zip(tangents)
            .map(|(group, tangents)| mean_of(&errors_of(group, tangents)))
            .collect();
        mean_of(&means)
    }

    fn error_with(&self, shifts: &BySample) -> MeanError {
        let tangents: Vec<Vec<[f32; 2]>> = self
            .groups
            .iter()
            .zip(shifts)
            .map(|(group, shifts)| shifted(group, shifts))
            .collect();
        self.mean_error(&tangents)
    }

    /// The error of the geometric point of regard.
    pub(crate) fn uncalibrated(&self) -> MeanError {
        self.mean_error(&by_sample(&self.groups, |_, kept| kept.sight.tangent))
    }

    /// The error of guessing the mean target on every target.
    pub(crate) fn constant_guess(&self) -> MeanError {
        let n = self.groups.len() as f32;
        let mut guess = PointOfRegard::default();
        for group in &self.groups {
            guess.x_mm += group.target.x_mm / n;
            guess.y_mm += group.target.y_mm / n;
        }
        self.mean_error(&by_sample(&self.groups, |_, kept| {
            kept.sight.tangent_to(guess)
        }))
    }

    /// The fitted terms as a model on plain tangents and head angles.
    fn to_model(&self, kind: ModelKind, ridge: &Ridge, coefficients: &Moment) -> CalibrationModel {
        let terms = |range: std::ops::Range<usize>, output: usize| {
            range.map(move |term| coefficients[(term, output)])
        };
        let linear = [0, 1].map(|output| {
            let mut slopes = [0.0; 2];
            for ((slope, term), spread) in slopes
                .iter_mut()
                .zip(terms(GAIN, output))
                .zip(self.gaze.spread)
            {
                *slope = term / spread;
            }
            slopes
        });
        let shift = [0, 1].map(|output| {
            let at_centre =
                linear[output][0] * self.gaze.centre[0] + linear[output][1] * self.gaze.centre[1];
            (coefficients[(0, output)] - at_centre) as f32
        });
        let gain = [0, 1].map(|output| {
            [0, 1].map(|axis| {
                let identity = if output == axis { 1.0 } else { 0.0 };
                (identity + linear[output][axis]) as f32
            })
        });
        let head = ridge.head.map(|_| HeadTerm {
            gain: [0, 1]
                .map(|output| [0, 1].map(|i| coefficients[(HEAD.start + i, output)] as f32)),
            centre_rad: self.head.centre.map(|x| x as f32),
            spread_rad: self.head.spread.map(|x| x as f32),
            reach: self.head.reach.map(|x| x as f32),
        });
        match kind {
            ModelKind::Offset => CalibrationModel::Offset(Offset { shift }),
            ModelKind::Affine => CalibrationModel::Affine(Affine { shift, gain, head }),
            ModelKind::Quadratic => CalibrationModel::Quadratic(Quadratic {
                shift,
                gain,
                curvature: [0, 1].map(|output| {
                    [0, 1, 2].map(|i| coefficients[(CURVATURE.start + i, output)] as f32)
                }),
                centre: self.gaze.centre.map(|x| x as f32),
                spread: self.gaze.spread.map(|x| x as f32),
                reach: self.gaze.reach.map(|x| x as f32),
                head,
            }),
        }
    }

    pub(crate) fn quality(&self, n_samples: usize, solution: &Solution) -> Quality {
        let [lost, rejected] = self.without_target;
        let n_lost = lost + self.groups.iter().map(|group| group.n_lost).sum::<usize>();
        let n_rejected = rejected
            + self
                .groups
                .iter()
                .map(|group| group.n_rejected)
                .sum::<usize>();
        let targets: Vec<TargetQuality> = self
            .groups
            .iter()
            .enumerate()
            .map(|(index, group)| {
                let shifts = solution.left_out_shift.as_ref().map(|all| &all[index]);
                target_quality(group, shifts, &solution.model)
            })
            .collect();
        Quality {
            n_targets: targets.len(),
            n_samples,
            n_lost,
            n_rejected,
            data_loss: n_lost as f32 / n_samples as f32,
            accuracy_deg: mean_known(targets.iter().map(|target| target.accuracy_deg)),
            error_deg: solution.left_out.map(|error| error.deg),
            error_mm: solution.left_out.map(|error| error.mm),
            precision_sd_deg: mean_known(targets.iter().map(|target| target.precision_sd_deg)),
            precision_rms_s2s_deg: mean_known(
                targets.iter().map(|target| target.precision_rms_s2s_deg),
            ),
            bcea_deg2: mean_known(targets.iter().map(|target| target.bcea_deg2)),
            targets,
        }
    }
}

/// Quality on one target: accuracy from the fold that has not seen it, precision from the model.
fn target_quality(
    group: &Group,
    shifts: Option<&Vec<[f64; 2]>>,
    model: &CalibrationModel,
) -> TargetQuality {
    let left_out = shifts.map(|shifts| shifted(group, shifts));
    let goals = group
        .kept
        .iter()
        .map(|kept| FickDeg::from_tangent(kept.sight.tangent_to(group.target)));
    let accuracy = left_out.as_ref().and_then(|tangents| {
        let gaze: Vec<_> = tangents
            .iter()
            .map(|&tangent| Some(FickDeg::from_tangent(tangent)))
            .collect();
        quality::accuracy(&gaze, quality::mean_fick(goals)?)
    });
    let gaze = group.in_order(|kept| FickDeg::of(&model.correct(&kept.sight, &kept.input)));
    let narrow = |number: Option<f64>| number.map(|x| x as f32);
    TargetQuality {
        target: group.target,
        n_used: group.kept.len(),
        n_lost: group.n_lost,
        n_rejected: group.n_rejected,
        accuracy_deg: accuracy.map(|accuracy| accuracy.offset as f32),
        azimuth_deg: accuracy.map(|accuracy| accuracy.azimuth as f32),
        elevation_deg: accuracy.map(|accuracy| accuracy.elevation as f32),
        error_mm: left_out.map(|tangents| mean_of(&errors_of(group, &tangents)).mm),
        precision_sd_deg: narrow(quality::precision_sd_deg(&gaze).filter(|_| group.kept.len() > 1)),
        precision_rms_s2s_deg: narrow(quality::precision_rms_s2s_deg(&gaze)),
        bcea_deg2: narrow(quality::bcea_deg2(&gaze)),
    }
}

struct Reweighted {
    weights: Vec<Vec<f64>>,
    coefficients: Moment,
}

/// Which targets are left out together: a target and its near neighbours, unless none would stay.
fn folds(groups: &[Group], screen: &ScreenGeometry) -> Vec<Vec<usize>> {
    let radius_mm = NEIGHBOUR_SHARE * screen.width_mm().hypot(screen.height_mm());
    (0..groups.len())
        .map(|index| {
            let here = groups[index].target;
            let mut fold = vec![index];
            fold.extend((0..groups.len()).filter(|&other| {
                let there = groups[other].target;
                other != index && (here.x_mm - there.x_mm).hypot(here.y_mm - there.y_mm) < radius_mm
            }));
            if fold.len() == groups.len() {
                fold.truncate(1);
            }
            fold
        })
        .collect()
}

/// Standard deviation of the target directions in their narrow direction, degrees.
fn layout_spread_deg(groups: &[Group]) -> f32 {
    let goals: Vec<SMatrix<f64, 2, 1>> = groups
        .iter()
        .map(|group| {
            group.kept[0]
                .sight
                .tangent_to(group.target)
                .map(f64::from)
                .into()
        })
        .collect();
    let n = goals.len() as f64;
    let mean = goals.iter().sum::<SMatrix<f64, 2, 1>>() / n;
    let covariance: SMatrix<f64, 2, 2> = goals
        .iter()
        .map(|goal| (goal - mean) * (goal - mean).transpose() / n)
        .sum();
    let narrow = SymmetricEigen::new(covariance).eigenvalues.min().max(0.0);
    narrow.sqrt().atan().to_degrees() as f32
}

/// One value for each sample kept.
fn by_sample<T>(groups: &[Group], of: impl Fn(&Group, &Kept) -> T) -> Vec<Vec<T>> {
    groups
        .iter()
        .map(|group| group.kept.iter().map(|kept| of(group, kept)).collect())
        .collect()
}

/// The tangents of a target's samples with these shifts added.
fn shifted(group: &Group, shifts: &[[f64; 2]]) -> Vec<[f32; 2]> {
    group
        .kept
        .iter()
        .zip(shifts)
        .map(|(kept, shift)| {
            [0, 1].map(|axis| (f64::from(kept.sight.tangent[axis]) + shift[axis]) as f32)
        })
        .collect()
}

/// The errors of a target's samples whose corrected tangents are given.
fn errors_of(group: &Group, tangents: &[[f32; 2]]) -> Vec<MeanError> {
    group
        .kept
        .iter()
        .zip(tangents)
        .map(|(kept, &tangent)| {
            let goal = kept.sight.tangent_to(group.target).map(f64::from);
            let tangent = tangent.map(f64::from);
            let apart = (tangent[0] - goal[0]).hypot(tangent[1] - goal[1]);
            // |a × b| and a · b of (tx, ty, 1) and (gx, gy, 1).
            let cross = apart.hypot(tangent[0] * goal[1] - tangent[1] * goal[0]);
            let dot = tangent[0] * goal[0] + tangent[1] * goal[1] + 1.0;
            MeanError {
                mm: (f64::from(kept.sight.distance_mm) * apart) as f32,
                deg: cross.atan2(dot).to_degrees() as f32,
            }
        })
        .collect()
}

fn mean_of(errors: &[MeanError]) -> MeanError {
    let n = errors.len() as f32;
    MeanError {
        mm: errors.iter().map(|error| error.mm).sum::<f32>() / n,
        deg: errors.iter().map(|error| error.deg).sum::<f32>() / n,
    }
}

/// The mean of what is known; none when nothing is.
fn mean_known(numbers: impl Iterator<Item = Option<f32>>) -> Option<f32> {
    let (mut sum, mut n) = (0.0, 0.0);
    for number in numbers.flatten() {
        sum += number;
        n += 1.0;
    }
    (n > 0.0).then(|| sum / n)
}

/// The middle number, of an even count the upper of the two; none of none. Reorders.
pub(crate) fn median(numbers: &mut [f64]) -> Option<f64> {
    if numbers.is_empty() {
        return None;
    }
    let middle = numbers.len() / 2;
    let (_, median, _) = numbers.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*median)
}
