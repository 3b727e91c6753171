//! Fitting: samples on targets → the simplest model that predicts targets it has not seen.

use nalgebra::{SMatrix, SymmetricEigen};

use gaze_protocol::PointOfRegard;

use crate::error::CalibrationError;
use crate::model::{Affine, CalibrationInput, CalibrationModel, ModelKind, Offset, Quadratic};
use crate::pairing::{Group, Kept, group_by_target};
use crate::quality::{self, FickDeg, Quality, TargetQuality};
use crate::screen::ScreenGeometry;

/// Strengths that are tried, relative to the variance of the standardised inputs: at 0.1 a gain
/// that the data call 2 becomes 1.91, at 1 it becomes 1.5.
const RIDGE_GRID: [f64; 9] = [1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0];

/// The strength at which outliers are looked for before the strength is chosen.
const RIDGE_PROVISIONAL: f64 = 1e-2;

/// Of strengths whose errors are within this of the best, the strongest wins.
const RIDGE_TIE: f64 = 0.01;

/// Huber's threshold in standard deviations; 4 % of two-dimensional normal errors are beyond.
const HUBER_THRESHOLD: f64 = 2.5;

/// Median of a two-dimensional normal error's length in standard deviations: √(2 ln 2).
const RAYLEIGH_MEDIAN: f64 = 1.177_410_022_515_474_6;

/// Errors below this are never outliers: 0.2°, below any webcam gaze network's noise.
const NOISE_FLOOR: f64 = 0.0035;

/// Rounds of reweighting; weights settle in five or six.
const HUBER_ROUNDS: usize = 10;

/// Targets nearer to the one left out than this share of the screen's diagonal are left out with
/// it: they would tell the answer.
const NEIGHBOUR_SHARE: f32 = 0.05;

/// Least standard deviation of the targets in the narrow direction for gains to be fitted, deg.
const MIN_SPREAD_DEG: f32 = 1.0;

/// One frame of a calibration: where the person was asked to look and what was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetSample {
    /// The frame's number; samples of one target are in this order.
    pub seq: u64,
    /// Where the target was.
    pub target: PointOfRegard,
    /// What was seen; none when gaze was lost (no face, eyes closed).
    pub input: Option<CalibrationInput>,
}

/// How to fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FitOptions {
    /// The kind of model; none leaves the choice to leave-one-target-out.
    pub kind: Option<ModelKind>,
    /// A simpler model whose error is within this share of the best wins; 0 to 1.
    pub tie_tolerance: f32,
}

impl Default for FitOptions {
    fn default() -> Self {
        FitOptions {
            kind: None,
            tie_tolerance: 0.03,
        }
    }
}

/// A fitted model and why to believe it.
#[derive(Clone, Debug, PartialEq)]
pub struct FitReport {
    /// The model.
    pub model: CalibrationModel,
    /// Why this kind.
    pub reason: ChoiceReason,
    /// Every kind that was fitted, simplest first.
    pub candidates: Vec<Candidate>,
    /// Every kind that could not be fitted, and why.
    pub refused: Vec<(ModelKind, CalibrationError)>,
    /// Mean over targets of the error without calibration.
    pub uncalibrated: MeanError,
    /// Mean over targets of the error of guessing the mean of the targets every time; a
    /// calibration that is not clearly better has learnt nothing of the gaze.
    pub constant_guess: MeanError,
    /// Accuracy, precision and data loss of the model.
    pub quality: Quality,
}

/// A kind of model and its leave-one-target-out error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The kind.
    pub kind: ModelKind,
    /// Chosen strength of the pull of gains towards 1; none for an offset.
    pub ridge: Option<f32>,
    /// Chosen strength of the pull of curvature towards 0; only for a quadratic model.
    pub curvature_ridge: Option<f32>,
    /// Mean over targets, each predicted by a model that has not seen it; none with one target.
    pub left_out: Option<MeanError>,
}

/// A mean error, as a length on the screen and as an angle at the eye.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanError {
    /// mm on the screen.
    pub mm: f32,
    /// Degrees of visual angle.
    pub deg: f32,
}

/// Why a kind was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ChoiceReason {
    /// It was asked for.
    Requested,
    /// No other kind could be fitted to these targets.
    OnlyCandidate,
    /// Its leave-one-target-out error is the smallest.
    SmallestError,
    /// It is simpler than the best and within the tie tolerance of it.
    SimplestOfTied {
        /// The kind with the smallest error.
        best: ModelKind,
        /// How much smaller, as a share of the best error.
        behind_share: f32,
    },
}

impl std::fmt::Display for ChoiceReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ChoiceReason::Requested => f.write_str("asked for"),
            ChoiceReason::OnlyCandidate => {
                f.write_str("the only kind that these targets can carry")
            }
            ChoiceReason::SmallestError => f.write_str("smallest leave-one-target-out error"),
            ChoiceReason::SimplestOfTied { best, behind_share } => write!(
                f,
                "simplest of the tied: {best} is only {:.1} % better",
                100.0 * behind_share
            ),
        }
    }
}

/// Fits a person's model.
///
/// Samples may come in any order of targets; the same place (within 1 mm) is one target, and each
/// target weighs the same. Gains are pulled towards 1 and curvature towards 0, as strongly as
/// leave-one-target-out likes best; the kind is chosen by leave-one-target-out too, the simplest
/// winning ties. Samples whose eye was elsewhere are rejected within their target (median absolute
/// deviation), what is left is weighted by Huber's rule. With one target the model is an offset.
///
/// # Errors
/// [`CalibrationError`]: no samples, none with gaze, a number that is not finite, a tie tolerance
/// that is not a share; and, when [`FitOptions::kind`] asks for a kind, too few targets or a
/// layout that cannot carry it.
pub fn fit(
    samples: &[TargetSample],
    screen: &ScreenGeometry,
    options: &FitOptions,
) -> Result<FitReport, CalibrationError> {
    if !(0.0..=1.0).contains(&options.tie_tolerance) {
        return Err(CalibrationError::TieTolerance {
            found: options.tie_tolerance,
        });
    }
    let groups = group_by_target(samples, screen)?;
    let problem = Problem::new(groups, screen)?;

    let mut solutions = Vec::with_capacity(ModelKind::ALL.len());
    let mut refused = Vec::new();
    let mut ridge = RIDGE_PROVISIONAL;
    for kind in ModelKind::ALL {
        match problem.carries(kind) {
            Ok(()) => {
                let solution = problem.solve(kind, ridge)?;
                ridge = solution.ridge;
                solutions.push(solution);
            }
            Err(reason) => refused.push((kind, reason)),
        }
    }

    let (index, reason) = choose(&solutions, &refused, options)?;
    let chosen = &solutions[index];
    Ok(FitReport {
        model: chosen.model,
        reason,
        candidates: solutions.iter().map(Solution::candidate).collect(),
        refused,
        uncalibrated: problem.mean_error(|kept| kept.sight.tangent),
        constant_guess: problem.constant_guess(),
        quality: problem.quality(samples.len(), chosen),
    })
}

/// Picks among the fitted kinds; the index is into `solutions`.
fn choose(
    solutions: &[Solution],
    refused: &[(ModelKind, CalibrationError)],
    options: &FitOptions,
) -> Result<(usize, ChoiceReason), CalibrationError> {
    if let Some(kind) = options.kind {
        if let Some((_, reason)) = refused.iter().find(|(refused, _)| *refused == kind) {
            return Err(reason.clone());
        }
        let index = solutions
            .iter()
            .position(|solution| solution.kind == kind)
            .expect("a kind is either fitted or refused");
        return Ok((index, ChoiceReason::Requested));
    }
    let error = |index: usize| solutions[index].left_out.map(|error| error.mm);
    let best = (0..solutions.len())
        .filter(|&index| error(index).is_some())
        .min_by(|&a, &b| error(a).partial_cmp(&error(b)).expect("errors are finite"));
    let (Some(best), true) = (best, solutions.len() > 1) else {
        return Ok((0, ChoiceReason::OnlyCandidate));
    };
    let best_error = solutions[best].left_out.map_or(0.0, |error| error.mm);
    let bound = best_error * (1.0 + options.tie_tolerance);
    let simplest = (0..best)
        .find(|&index| error(index).is_some_and(|mm| mm <= bound))
        .unwrap_or(best);
    if simplest == best {
        return Ok((best, ChoiceReason::SmallestError));
    }
    let behind_share = if best_error > 0.0 {
        solutions[simplest].left_out.map_or(0.0, |error| error.mm) / best_error - 1.0
    } else {
        0.0
    };
    Ok((
        simplest,
        ChoiceReason::SimplestOfTied {
            best: solutions[best].kind,
            behind_share,
        },
    ))
}

/// Terms of the largest model: 1, zx, zy, zx², zx zy, zy².
const TERMS: usize = 6;

type Gram = SMatrix<f64, TERMS, TERMS>;
type Moment = SMatrix<f64, TERMS, 2>;
type Terms = SMatrix<f64, TERMS, 1>;

/// Number of leading terms that a kind uses.
const fn n_terms(kind: ModelKind) -> usize {
    match kind {
        ModelKind::Offset => 1,
        ModelKind::Affine => 3,
        ModelKind::Quadratic => 6,
    }
}

/// The samples, standardised, and which targets are left out together.
struct Problem {
    groups: Vec<Group>,
    /// Terms of each sample kept, by target.
    terms: Vec<Vec<Terms>>,
    /// What has to be added to each sample's tangent, by target.
    wanted: Vec<Vec<[f64; 2]>>,
    /// For each target, the targets that are left out with it, itself first.
    folds: Vec<Vec<usize>>,
    centre: [f64; 2],
    spread: [f64; 2],
    reach: [f64; 2],
    layout_spread_deg: f32,
}

/// A fitted kind.
struct Solution {
    kind: ModelKind,
    ridge: f64,
    curvature_ridge: f64,
    model: CalibrationModel,
    /// What the fold without the sample's target adds to the sample's tangent, by target.
    left_out_shift: Option<Vec<Vec<[f64; 2]>>>,
    left_out: Option<MeanError>,
}

impl Solution {
    fn candidate(&self) -> Candidate {
        Candidate {
            kind: self.kind,
            ridge: (self.kind >= ModelKind::Affine).then_some(self.ridge as f32),
            curvature_ridge: (self.kind == ModelKind::Quadratic)
                .then_some(self.curvature_ridge as f32),
            left_out: self.left_out,
        }
    }
}

impl Problem {
    fn new(groups: Vec<Group>, screen: &ScreenGeometry) -> Result<Self, CalibrationError> {
        let used: Vec<&Group> = groups
            .iter()
            .filter(|group| !group.kept.is_empty())
            .collect();
        if used.is_empty() {
            let n_lost = groups.iter().map(|group| group.n_lost).sum();
            let n_rejected = groups.iter().map(|group| group.n_rejected).sum();
            return Err(if groups.is_empty() {
                CalibrationError::NoSamples
            } else {
                CalibrationError::NoGaze {
                    n_samples: n_lost + n_rejected,
                    n_lost,
                    n_rejected,
                }
            });
        }
        let (centre, spread) = mean_and_sd(used.iter().map(|group| {
            group
                .kept
                .iter()
                .map(|kept| kept.sight.tangent.map(f64::from))
                .collect::<Vec<_>>()
        }));
        // Without any spread the linear terms vanish for every sample; 1 keeps them finite.
        let spread = spread.map(|sd| if sd > 0.0 { sd } else { 1.0 });
        let mut reach = [0.0f64; 2];
        let mut terms = Vec::with_capacity(groups.len());
        let mut wanted = Vec::with_capacity(groups.len());
        for group in &groups {
            let mut group_terms = Vec::with_capacity(group.kept.len());
            let mut group_wanted = Vec::with_capacity(group.kept.len());
            for kept in &group.kept {
                let t = kept.sight.tangent.map(f64::from);
                let z = [0, 1].map(|axis| (t[axis] - centre[axis]) / spread[axis]);
                for axis in 0..2 {
                    reach[axis] = reach[axis].max(z[axis].abs());
                }
                group_terms.push(Terms::from([
                    1.0,
                    z[0],
                    z[1],
                    z[0] * z[0],
                    z[0] * z[1],
                    z[1] * z[1],
                ]));
                let goal = kept.sight.tangent_to(group.target).map(f64::from);
                group_wanted.push([goal[0] - t[0], goal[1] - t[1]]);
            }
            terms.push(group_terms);
            wanted.push(group_wanted);
        }
        let folds = folds(&groups, screen);
        let layout_spread_deg = layout_spread_deg(&groups);
        Ok(Problem {
            groups,
            terms,
            wanted,
            folds,
            centre,
            spread,
            reach: reach.map(|z| if z > 0.0 { z } else { 1.0 }),
            layout_spread_deg,
        })
    }

    /// Indices of the targets with samples.
    fn used(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.groups.len()).filter(|&index| !self.groups[index].kept.is_empty())
    }

    /// Whether the targets can carry this kind.
    fn carries(&self, kind: ModelKind) -> Result<(), CalibrationError> {
        let found = self.used().count();
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

    /// Fits one kind: outliers, then strength, then outliers at that strength.
    fn solve(&self, kind: ModelKind, linear: f64) -> Result<Solution, CalibrationError> {
        let unsolvable = CalibrationError::Unsolvable { kind };
        let provisional = self
            .reweight(kind, linear, RIDGE_PROVISIONAL)
            .ok_or_else(|| unsolvable.clone())?;
        let strengths: Vec<(f64, f64)> = match kind {
            ModelKind::Offset => vec![(linear, RIDGE_PROVISIONAL)],
            ModelKind::Affine => RIDGE_GRID
                .iter()
                .map(|&ridge| (ridge, RIDGE_PROVISIONAL))
                .collect(),
            ModelKind::Quadratic => RIDGE_GRID.iter().map(|&ridge| (linear, ridge)).collect(),
        };
        let sums = self.sums(&provisional.weights);
        let mut errors = Vec::with_capacity(strengths.len());
        for &(ridge, curvature) in &strengths {
            let Some(shifts) = self.left_out_shifts(kind, &sums, ridge, curvature) else {
                break;
            };
            errors.push(f64::from(self.error_with(&shifts).mm));
        }
        let best = errors.iter().copied().fold(f64::INFINITY, f64::min);
        let (ridge, curvature_ridge) = errors
            .iter()
            .rposition(|&error| error <= best * (1.0 + RIDGE_TIE))
            .map_or((linear, RIDGE_PROVISIONAL), |index| strengths[index]);

        let fitted = self
            .reweight(kind, ridge, curvature_ridge)
            .ok_or_else(|| unsolvable.clone())?;
        let sums = self.sums(&fitted.weights);
        let left_out_shift = self.left_out_shifts(kind, &sums, ridge, curvature_ridge);
        let left_out = left_out_shift
            .as_ref()
            .map(|shifts| self.error_with(shifts));
        let model = self.to_model(kind, &fitted.coefficients);
        if model.bad_parameter().is_some()
            || left_out.is_some_and(|error| !error.mm.is_finite() || !error.deg.is_finite())
        {
            return Err(unsolvable);
        }
        Ok(Solution {
            kind,
            ridge,
            curvature_ridge,
            model,
            left_out_shift,
            left_out,
        })
    }

    /// Iteratively reweighted least squares with Huber's weights.
    fn reweight(&self, kind: ModelKind, ridge: f64, curvature: f64) -> Option<Reweighted> {
        let mut weights: Vec<Vec<f64>> = self
            .groups
            .iter()
            .map(|group| group.kept.iter().map(|kept| kept.weight).collect())
            .collect();
        let mut lengths: Vec<f64> = Vec::new();
        for round in 0.. {
            let sums = self.sums(&weights);
            let coefficients = sums.total()?.solve(kind, ridge, curvature)?;
            if round == HUBER_ROUNDS {
                return Some(Reweighted {
                    weights,
                    coefficients,
                });
            }
            lengths.clear();
            for index in self.used() {
                for (terms, wanted) in self.terms[index].iter().zip(&self.wanted[index]) {
                    let shift = coefficients.tr_mul(terms);
                    lengths.push((wanted[0] - shift[0]).hypot(wanted[1] - shift[1]));
                }
            }
            let sd = (median(&mut lengths.clone())? / RAYLEIGH_MEDIAN).max(NOISE_FLOOR);
            let mut length = lengths.iter();
            for index in self.used() {
                for (weight, kept) in weights[index].iter_mut().zip(&self.groups[index].kept) {
                    let relative = length.next()? / sd;
                    *weight = kept.weight * (HUBER_THRESHOLD / relative).min(1.0);
                }
            }
        }
        None
    }

    /// Gram matrices by target; each target's weights are divided by its number of samples.
    fn sums(&self, weights: &[Vec<f64>]) -> Sums {
        let mut sums = Sums {
            gram: vec![Gram::zeros(); self.groups.len()],
            moment: vec![Moment::zeros(); self.groups.len()],
        };
        for index in self.used() {
            let share = 1.0 / self.groups[index].kept.len() as f64;
            for ((terms, wanted), weight) in self.terms[index]
                .iter()
                .zip(&self.wanted[index])
                .zip(&weights[index])
            {
                let weight = weight * share;
                sums.gram[index].ger(weight, terms, terms, 1.0);
                let wanted = SMatrix::<f64, 2, 1>::from(*wanted);
                sums.moment[index].ger(weight, terms, &wanted, 1.0);
            }
        }
        sums
    }

    /// What models that have not seen a target add to the tangents of its samples; none with one
    /// target.
    fn left_out_shifts(
        &self,
        kind: ModelKind,
        sums: &Sums,
        ridge: f64,
        curvature: f64,
    ) -> Option<Vec<Vec<[f64; 2]>>> {
        if self.used().count() < 2 {
            return None;
        }
        let total = sums.total()?;
        let mut shifts = vec![Vec::new(); self.groups.len()];
        for index in self.used() {
            let mut rest = total.clone();
            for &left_out in &self.folds[index] {
                rest.gram -= sums.gram[left_out];
                rest.moment -= sums.moment[left_out];
            }
            let coefficients = rest.solve(kind, ridge, curvature)?;
            shifts[index] = self.terms[index]
                .iter()
                .map(|terms| {
                    let shift = coefficients.tr_mul(terms);
                    [shift[0], shift[1]]
                })
                .collect();
        }
        Some(shifts)
    }

    /// Mean over targets of the mean error of their samples.
    fn mean_error(&self, tangent: impl Fn(&Kept) -> [f32; 2]) -> MeanError {
        self.mean_over_targets(|index| {
            self.groups[index]
                .kept
                .iter()
                .map(|kept| error_of(&self.groups[index], kept, tangent(kept)))
                .collect()
        })
    }

    fn error_with(&self, shifts: &[Vec<[f64; 2]>]) -> MeanError {
        self.mean_over_targets(|index| {
            self.groups[index]
                .kept
                .iter()
                .zip(&shifts[index])
                .map(|(kept, shift)| error_of(&self.groups[index], kept, shifted(kept, shift)))
                .collect()
        })
    }

    fn mean_over_targets(&self, errors: impl Fn(usize) -> Vec<MeanError>) -> MeanError {
        let means: Vec<MeanError> = self.used().map(|index| mean_of(&errors(index))).collect();
        mean_of(&means)
    }

    /// The error of guessing the mean target on every target.
    fn constant_guess(&self) -> MeanError {
        let n = self.used().count() as f32;
        let mut guess = PointOfRegard::default();
        for index in self.used() {
            guess.x_mm += self.groups[index].target.x_mm / n;
            guess.y_mm += self.groups[index].target.y_mm / n;
        }
        self.mean_error(|kept| kept.sight.tangent_to(guess))
    }

    /// The fitted terms as a model on plain tangents.
    fn to_model(&self, kind: ModelKind, coefficients: &Moment) -> CalibrationModel {
        let linear =
            |output: usize, axis: usize| coefficients[(1 + axis, output)] / self.spread[axis];
        let shift = [0, 1].map(|output| {
            let at_zero = linear(output, 0) * self.centre[0] + linear(output, 1) * self.centre[1];
            (coefficients[(0, output)] - at_zero) as f32
        });
        let gain = [0, 1].map(|output| {
            [0, 1].map(|axis| {
                let identity = if output == axis { 1.0 } else { 0.0 };
                (identity + linear(output, axis)) as f32
            })
        });
        match kind {
            ModelKind::Offset => CalibrationModel::Offset(Offset {
                shift: [0, 1].map(|output| coefficients[(0, output)] as f32),
            }),
            ModelKind::Affine => CalibrationModel::Affine(Affine { shift, gain }),
            ModelKind::Quadratic => CalibrationModel::Quadratic(Quadratic {
                shift,
                gain,
                curvature: [0, 1]
                    .map(|output| [3, 4, 5].map(|term| coefficients[(term, output)] as f32)),
                centre: self.centre.map(|x| x as f32),
                spread: self.spread.map(|x| x as f32),
                reach: self.reach.map(|x| x as f32),
            }),
        }
    }

    fn quality(&self, n_samples: usize, solution: &Solution) -> Quality {
        let n_lost = self.groups.iter().map(|group| group.n_lost).sum::<usize>();
        let targets: Vec<TargetQuality> = self
            .used()
            .map(|index| {
                let shifts = solution.left_out_shift.as_ref().map(|all| &all[index]);
                self.target_quality(&self.groups[index], shifts, &solution.model)
            })
            .collect();
        Quality {
            n_targets: targets.len(),
            n_samples,
            n_lost,
            n_rejected: self.groups.iter().map(|group| group.n_rejected).sum(),
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

    fn target_quality(
        &self,
        group: &Group,
        shifts: Option<&Vec<[f64; 2]>>,
        model: &CalibrationModel,
    ) -> TargetQuality {
        let goals = group
            .kept
            .iter()
            .map(|kept| FickDeg::from_tangent(kept.sight.tangent_to(group.target)));
        let left_out = shifts.map(|shifts| {
            let gaze: Vec<Option<FickDeg>> = group
                .kept
                .iter()
                .zip(shifts)
                .map(|(kept, shift)| Some(FickDeg::from_tangent(shifted(kept, shift))))
                .collect();
            let errors: Vec<MeanError> = group
                .kept
                .iter()
                .zip(shifts)
                .map(|(kept, shift)| error_of(group, kept, shifted(kept, shift)))
                .collect();
            (gaze, mean_of(&errors))
        });
        let accuracy = left_out
            .as_ref()
            .and_then(|(gaze, _)| quality::accuracy(gaze, quality::mean_fick(goals)?));
        let gaze = group.in_order(|kept| FickDeg::of(&model.correct(&kept.sight)));
        let some = |number: Option<f64>| number.map(|x| x as f32);
        TargetQuality {
            target: group.target,
            n_used: group.kept.len(),
            n_lost: group.n_lost,
            n_rejected: group.n_rejected,
            accuracy_deg: accuracy.map(|accuracy| accuracy.offset as f32),
            azimuth_deg: accuracy.map(|accuracy| accuracy.azimuth as f32),
            elevation_deg: accuracy.map(|accuracy| accuracy.elevation as f32),
            error_mm: left_out.map(|(_, error)| error.mm),
            precision_sd_deg: some(
                quality::precision_sd_deg(&gaze).filter(|_| group.kept.len() > 1),
            ),
            precision_rms_s2s_deg: some(quality::precision_rms_s2s_deg(&gaze)),
            bcea_deg2: some(quality::bcea_deg2(&gaze)),
        }
    }
}

struct Reweighted {
    weights: Vec<Vec<f64>>,
    coefficients: Moment,
}

/// Gram matrices and moments by target.
struct Sums {
    gram: Vec<Gram>,
    moment: Vec<Moment>,
}

impl Sums {
    /// All targets; none without weight.
    fn total(&self) -> Option<Normal> {
        let normal = Normal {
            gram: self.gram.iter().sum(),
            moment: self.moment.iter().sum(),
        };
        (normal.gram[(0, 0)] > 0.0).then_some(normal)
    }
}

/// Normal equations.
#[derive(Clone)]
struct Normal {
    gram: Gram,
    moment: Moment,
}

impl Normal {
    /// Ridge: the intercept is free, the other terms are pulled to 0 in proportion to the total
    /// weight. Terms that the kind does not use come out as 0.
    fn solve(&self, kind: ModelKind, ridge: f64, curvature: f64) -> Option<Moment> {
        let weight = self.gram[(0, 0)];
        let mut gram = self.gram;
        let mut moment = self.moment;
        for term in 0..TERMS {
            if term >= n_terms(kind) {
                gram.row_mut(term).fill(0.0);
                gram.column_mut(term).fill(0.0);
                gram[(term, term)] = 1.0;
                moment.row_mut(term).fill(0.0);
            } else if term >= 3 {
                gram[(term, term)] += curvature * weight;
            } else if term >= 1 {
                gram[(term, term)] += ridge * weight;
            }
        }
        let solution = gram.cholesky()?.solve(&moment);
        solution.iter().all(|x| x.is_finite()).then_some(solution)
    }
}

/// Which targets are left out together: a target and its near neighbours, unless none would stay.
fn folds(groups: &[Group], screen: &ScreenGeometry) -> Vec<Vec<usize>> {
    let radius_mm = NEIGHBOUR_SHARE * screen.width_mm().hypot(screen.height_mm());
    let n_used = groups.iter().filter(|group| !group.kept.is_empty()).count();
    (0..groups.len())
        .map(|index| {
            let here = groups[index].target;
            let mut fold = vec![index];
            fold.extend((0..groups.len()).filter(|&other| {
                let there = groups[other].target;
                other != index
                    && !groups[other].kept.is_empty()
                    && (here.x_mm - there.x_mm).hypot(here.y_mm - there.y_mm) < radius_mm
            }));
            if fold.len() >= n_used {
                fold.truncate(1);
            }
            fold
        })
        .collect()
}

/// Standard deviation of the target directions in their narrow direction, degrees.
fn layout_spread_deg(groups: &[Group]) -> f32 {
    let goals: Vec<[f64; 2]> = groups
        .iter()
        .filter_map(|group| {
            let kept = group.kept.first()?;
            Some(kept.sight.tangent_to(group.target).map(f64::from))
        })
        .collect();
    let n = goals.len() as f64;
    let mean = [0, 1].map(|axis| goals.iter().map(|goal| goal[axis]).sum::<f64>() / n);
    let mut covariance = SMatrix::<f64, 2, 2>::zeros();
    for goal in &goals {
        let d = SMatrix::<f64, 2, 1>::new(goal[0] - mean[0], goal[1] - mean[1]);
        covariance += d * d.transpose() / n;
    }
    let narrow = SymmetricEigen::new(covariance).eigenvalues.min().max(0.0);
    narrow.sqrt().atan().to_degrees() as f32
}

/// Mean and standard deviation of both axes, each target weighing the same.
fn mean_and_sd(targets: impl Iterator<Item = Vec<[f64; 2]>>) -> ([f64; 2], [f64; 2]) {
    let (mut n, mut sum, mut squares) = (0.0, [0.0; 2], [0.0; 2]);
    for samples in targets {
        n += 1.0;
        let share = 1.0 / samples.len() as f64;
        for t in samples {
            for axis in 0..2 {
                sum[axis] += share * t[axis];
                squares[axis] += share * t[axis] * t[axis];
            }
        }
    }
    let mean = sum.map(|total| total / n);
    let sd = [0, 1].map(|axis| {
        let variance: f64 = squares[axis] / n - mean[axis] * mean[axis];
        // Rounding of equal numbers leaves up to 1e-16.
        if variance > 1e-14 {
            variance.sqrt()
        } else {
            0.0
        }
    });
    (mean, sd)
}

fn shifted(kept: &Kept, shift: &[f64; 2]) -> [f32; 2] {
    [
        kept.sight.tangent[0] + shift[0] as f32,
        kept.sight.tangent[1] + shift[1] as f32,
    ]
}

/// The error of one sample whose corrected tangent is given.
fn error_of(group: &Group, kept: &Kept, tangent: [f32; 2]) -> MeanError {
    let goal = kept.sight.tangent_to(group.target).map(f64::from);
    let tangent = tangent.map(f64::from);
    let [dx, dy] = [tangent[0] - goal[0], tangent[1] - goal[1]];
    // |a × b| and a · b of (tx, ty, 1) and (gx, gy, 1).
    let turn = tangent[0] * goal[1] - tangent[1] * goal[0];
    let cross = dx.hypot(dy).hypot(turn);
    let dot = tangent[0] * goal[0] + tangent[1] * goal[1] + 1.0;
    MeanError {
        mm: (f64::from(kept.sight.distance_mm) * dx.hypot(dy)) as f32,
        deg: cross.atan2(dot).to_degrees() as f32,
    }
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

/// The middle number; the upper of two. None of none.
pub(crate) fn median(numbers: &mut [f64]) -> Option<f64> {
    if numbers.is_empty() {
        return None;
    }
    let middle = numbers.len() / 2;
    let (_, median, _) = numbers.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*median)
}
