//! Robust ridge least squares on tangents, with whole targets left out.

use nalgebra::SMatrix;

use gaze_protocol::PointOfRegard;

use crate::error::CalibrationError;
use crate::fit::{Candidate, MeanError, Ridge};
use crate::grouping::{Group, Kept};
use crate::layout::{folds, layout_spread_deg, n_places};
use crate::model::{
    Affine, CalibrationModel, FEW_PLACES, Features, HeadTerm, ModelKind, N_FEATURES, Offset,
    PRIOR_GAIN, Quadratic,
};
use crate::normal::{
    CURVATURE, FEATURES, GAIN, HEAD, Moment, Normal, Standard, Sums, TERMS, Terms, WIDE,
};
use crate::quality::{self, Quality, errors_of, mean_of};
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

/// The pull on gains with few places. On real eyes (README) the error with three and five targets
/// is flat from 0.1 to 0.3.
const FEW_PLACES_STRENGTH: f32 = 0.3;

/// Least standard deviation of the targets in the narrow direction for gains to be fitted, deg.
const MIN_SPREAD_DEG: f32 = 3.0;

/// One number pair for each sample kept, by target.
type BySample = Vec<Vec<[f64; 2]>>;

/// The samples, standardised, and which targets are left out together.
pub(crate) struct Problem {
    /// Targets with at least one sample kept.
    groups: Vec<Group>,
    /// Samples of targets with none kept: lost, rejected.
    without_target: [usize; 2],
    terms: Vec<Vec<Terms<TERMS>>>,
    /// What has to be added to each sample's tangent times [`PRIOR_GAIN`].
    wanted: BySample,
    /// For each target, the targets that are left out with it, itself first.
    folds: Vec<Vec<usize>>,
    gaze: Standard<2>,
    head: Standard<2>,
    features: Standard<N_FEATURES>,
    layout_spread_deg: f32,
    n_places: usize,
}

/// A fitted kind.
pub(crate) struct Solution {
    pub kind: ModelKind,
    pub ridge: Ridge,
    pub model: CalibrationModel,
    pub left_out: Option<MeanError>,
    /// What the fold without the sample's target adds to the sample's tangent times the prior gain.
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
        let features = Standard::of(&groups, 0.0, |kept| kept.input.features);
        let terms = by_sample(&groups, |_, kept| {
            let [zx, zy] = gaze.apply(kept.sight.tangent);
            let [yaw, pitch] = head.apply([kept.input.head_yaw_rad, kept.input.head_pitch_rad]);
            Terms::<TERMS>::from([1.0, zx, zy, yaw, pitch, zx * zx, zx * zy, zy * zy])
        });
        let wanted = by_sample(&groups, |_, kept| {
            let goal = kept.sight.tangent_to(kept.target);
            [0, 1].map(|axis| f64::from(goal[axis]) - prior(kept, axis))
        });
        Ok(Problem {
            folds: folds(&groups, screen),
            layout_spread_deg: layout_spread_deg(&groups),
            n_places: n_places(&groups, screen),
            groups,
            without_target: [n_lost, n_rejected],
            terms,
            wanted,
            gaze,
            head,
            features,
        })
    }

    /// Whether too few places are known for one to be left out.
    pub(crate) fn has_few_places(&self) -> bool {
        self.n_places < FEW_PLACES
    }

    /// Whether the targets can carry this kind.
    pub(crate) fn carries(&self, kind: ModelKind) -> Result<(), CalibrationError> {
        let found = self.n_places;
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

    /// Fits one kind: outliers, then strengths, then outliers at those strengths. `affine` is the
    /// affine map's solution, whose strengths the richer kinds start from.
    pub(crate) fn solve(
        &self,
        kind: ModelKind,
        affine: Option<&Solution>,
    ) -> Result<Solution, CalibrationError> {
        let unsolvable = CalibrationError::Unsolvable { kind };
        let inherited = affine.map_or(Ridge::default(), |solution| solution.ridge);
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
            ModelKind::Features => return self.solve_wide(&inherited),
        };
        let weights = self
            .reweight(&provisional)
            .ok_or_else(|| unsolvable.clone())?
            .weights;
        let sums = self.sums(&self.terms, &weights);
        let ridge = match kind {
            ModelKind::Offset => provisional,
            ModelKind::Affine if self.has_few_places() => Ridge {
                gain: Some(FEW_PLACES_STRENGTH),
                ..Ridge::default()
            },
            ModelKind::Affine => {
                let plain = GRID.map(|strength| Ridge {
                    gain: Some(strength),
                    ..Ridge::default()
                });
                let with_head = plain.map(|ridge| Ridge {
                    head: ridge.gain.map(|strength| strength.max(MIN_HEAD_STRENGTH)),
                    ..ridge
                });
                let plain = self.strongest_of_tied(&sums, &self.terms, plain);
                let with_head = self.strongest_of_tied(&sums, &self.terms, with_head);
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
            // Gains beside a curvature are others than without: their strengths are found together.
            ModelKind::Quadratic => {
                let both = GRID.into_iter().flat_map(|curvature| {
                    GRID.map(|gain| Ridge {
                        gain: Some(gain),
                        curvature: Some(curvature),
                        ..inherited
                    })
                });
                self.strongest_of_tied(&sums, &self.terms, both)
                    .map_or(provisional, |(ridge, _)| ridge)
            }
            ModelKind::Features => unreachable!("solved above"),
        };

        let fitted = self.reweight(&ridge).ok_or_else(|| unsolvable.clone())?;
        let left_out_shift = self.left_out_shifts(
            &self.sums(&self.terms, &fitted.weights),
            &self.terms,
            &ridge,
        );
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

    /// Fits the affine map and the network's features together, with the affine map's weights and
    /// strengths: outliers are found on the angles.
    fn solve_wide(&self, affine: &Ridge) -> Result<Solution, CalibrationError> {
        let kind = ModelKind::Features;
        let unsolvable = || CalibrationError::Unsolvable { kind };
        let weights = self.reweight(affine).ok_or_else(unsolvable)?.weights;
        let mut narrow = self.terms.iter().flatten();
        let terms = by_sample(&self.groups, |_, kept| {
            let narrow = narrow.next().expect("one for each sample kept");
            let features = self.features.apply(kept.input.features);
            let mut terms = Terms::<WIDE>::zeros();
            terms.rows_mut(0, TERMS).copy_from(narrow);
            terms.rows_mut(TERMS, N_FEATURES).copy_from_slice(&features);
            terms
        });
        let sums = self.sums(&terms, &weights);
        let with = |strength: f32| Ridge {
            features: Some(strength),
            ..*affine
        };
        let ridge = self
            .strongest_of_tied(&sums, &terms, GRID.map(with))
            .map_or(with(1.0), |(ridge, _)| ridge);
        let coefficients = sums
            .total()
            .and_then(|total| total.solve(&ridge))
            .ok_or_else(unsolvable)?;
        let left_out_shift = self.left_out_shifts(&sums, &terms, &ridge);
        let left_out = left_out_shift.as_ref().map(|shift| self.error_with(shift));
        let model = self.to_model(kind, &ridge, &coefficients);
        let is_finite = |error: MeanError| error.mm.is_finite() && error.deg.is_finite();
        if model.bad_parameter().is_some() || !left_out.is_none_or(is_finite) {
            return Err(unsolvable());
        }
        Ok(Solution {
            kind,
            ridge,
            model,
            left_out,
            left_out_shift,
        })
    }

    /// The last of the strengths, given from weak to strong, whose leave-one-target-out errors tie
    /// with the best, and its error, mm; none with one target.
    fn strongest_of_tied<const N: usize>(
        &self,
        sums: &Sums<N>,
        terms: &[Vec<Terms<N>>],
        ridges: impl IntoIterator<Item = Ridge>,
    ) -> Option<(Ridge, f32)> {
        let errors: Vec<(Ridge, f32)> = ridges
            .into_iter()
            .filter_map(|ridge| {
                let shift = self.left_out_shifts(sums, terms, &ridge)?;
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
            let coefficients = self.sums(&self.terms, &weights).total()?.solve(ridge)?;
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
        let coefficients = self.sums(&self.terms, &weights).total()?.solve(ridge)?;
        Some(Reweighted {
            weights,
            coefficients,
        })
    }

    /// Lengths of what the model leaves over.
    fn residuals(&self, coefficients: &Moment<TERMS>) -> Vec<Vec<f64>> {
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
    fn sums<const N: usize>(&self, terms: &[Vec<Terms<N>>], weights: &[Vec<f64>]) -> Sums<N> {
        let by_target = terms
            .iter()
            .zip(&self.wanted)
            .zip(weights)
            .map(|((terms, wanted), weights)| {
                let share = 1.0 / terms.len() as f64;
                let mut normal = Normal::<N>::default();
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
    fn left_out_shifts<const N: usize>(
        &self,
        sums: &Sums<N>,
        terms: &[Vec<Terms<N>>],
        ridge: &Ridge,
    ) -> Option<BySample> {
        if self.groups.len() < 2 {
            return None;
        }
        let total = sums.total()?;
        self.folds
            .iter()
            .zip(terms)
            .map(|(fold, terms)| {
                let mut rest = total.clone();
                for &left_out in fold {
                    rest.gram -= sums.by_target[left_out].gram;
                    rest.moment -= sums.by_target[left_out].moment;
                }
                let coefficients = rest.solve(ridge)?;
                let shift = |terms: &Terms<N>| coefficients.tr_mul(terms).into();
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
    fn to_model<const N: usize>(
        &self,
        kind: ModelKind,
        ridge: &Ridge,
        coefficients: &Moment<N>,
    ) -> CalibrationModel {
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
                let prior = if output == axis {
                    PRIOR_GAIN[axis]
                } else {
                    0.0
                };
                (f64::from(prior) + linear[output][axis]) as f32
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
            ModelKind::Offset => CalibrationModel::Offset(Offset {
                shift,
                gain: PRIOR_GAIN,
            }),
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
            ModelKind::Features => CalibrationModel::Features(Features {
                shift,
                gain,
                weights: [0, 1].map(|output| {
                    std::array::from_fn(|i| coefficients[(FEATURES.start + i, output)] as f32)
                }),
                centre: self.features.centre.map(|x| x as f32),
                spread: self.features.spread.map(|x| x as f32),
                reach: self.features.reach.map(|x| x as f32),
                head,
            }),
        }
    }

    pub(crate) fn quality(&self, solution: &Solution) -> Quality {
        let targets = self
            .groups
            .iter()
            .enumerate()
            .map(|(index, group)| {
                let shifts = solution.left_out_shift.as_ref().map(|all| &all[index]);
                let tangents = shifts.map(|shifts| shifted(group, shifts));
                quality::quality_on(group, tangents.as_deref(), &solution.model)
            })
            .collect();
        let mut quality = Quality::over(targets);
        let [lost, rejected] = self.without_target;
        quality.all.n_lost += lost;
        quality.all.n_rejected += rejected;
        quality
    }
}

struct Reweighted {
    weights: Vec<Vec<f64>>,
    coefficients: Moment<TERMS>,
}

/// A sample's tangent with the gains that are supposed before anything is known.
fn prior(kept: &Kept, axis: usize) -> f64 {
    f64::from(PRIOR_GAIN[axis] * kept.sight.tangent[axis])
}

/// One value for each sample kept.
fn by_sample<T>(groups: &[Group], mut of: impl FnMut(&Group, &Kept) -> T) -> Vec<Vec<T>> {
    groups
        .iter()
        .map(|group| group.kept.iter().map(|kept| of(group, kept)).collect())
        .collect()
}

/// The tangents of a target's samples with the prior gains and these shifts.
fn shifted(group: &Group, shifts: &[[f64; 2]]) -> Vec<[f32; 2]> {
    group
        .kept
        .iter()
        .zip(shifts)
        .map(|(kept, shift)| [0, 1].map(|axis| (prior(kept, axis) + shift[axis]) as f32))
        .collect()
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
