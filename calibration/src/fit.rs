//! Fitting: samples on targets → the simplest model that predicts targets it has not seen.

use gaze_protocol::PointOfRegard;
use serde::{Deserialize, Serialize};

use crate::error::CalibrationError;
use crate::grouping::{Grouping, group_by_target};
use crate::least_squares::{Problem, Solution};
use crate::model::{CalibrationInput, CalibrationModel, ModelKind};
use crate::quality::Quality;
use crate::screen::ScreenGeometry;

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
    /// Whether the target moved along a path: samples are then put together by place.
    pub is_pursuit: bool,
}

impl FitOptions {
    fn grouping(&self) -> Grouping {
        if self.is_pursuit {
            Grouping::PURSUIT
        } else {
            Grouping::TARGETS
        }
    }
}

impl Default for FitOptions {
    fn default() -> Self {
        FitOptions {
            kind: None,
            tie_tolerance: 0.03,
            is_pursuit: false,
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
    /// How its parts are pulled to nothing.
    pub ridge: Ridge,
    /// Mean over targets, each predicted by a model that has not seen it; none with one target.
    pub left_out: Option<MeanError>,
}

/// The strength of the pull on each part of a model, relative to the variance of its inputs: at
/// 0.1 a gain that the data put 1 above the usual one is put 0.91 above it, at 1 0.5. None: the
/// part is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ridge {
    /// On gains, towards the usual ones.
    pub gain: Option<f32>,
    /// On the head's part, towards 0.
    pub head: Option<f32>,
    /// On curvature, towards 0.
    pub curvature: Option<f32>,
    /// On the network's features, towards 0.
    pub features: Option<f32>,
}

/// A mean error, as a length on the screen and as an angle at the eye.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Too few places to leave one out: the person's gains, held close to the usual ones.
    FewPlaces,
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
            ChoiceReason::FewPlaces => {
                f.write_str("with so few places the usual gains are moved a little, and no more")
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
/// target weighs the same. Gains are pulled towards the usual ones and curvature towards 0, as
/// strongly as leave-one-target-out likes best; the kind is chosen by leave-one-target-out too, the
/// simplest winning ties. Samples whose eye was elsewhere are rejected within their target (median
/// absolute deviation), what is left is weighted by Huber's rule. With one target the model is an
/// offset.
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
    let problem = Problem::new(
        group_by_target(samples, screen, &options.grouping())?,
        screen,
    )?;

    let (solutions, refused) = solve_all(options.kind, |kind, affine| {
        problem.carries(kind)?;
        problem.solve(kind, affine)
    })?;
    let (index, reason) = choose(&solutions, &refused, options, problem.has_few_places())?;
    let chosen = &solutions[index];
    Ok(FitReport {
        model: chosen.model,
        reason,
        candidates: solutions.iter().map(Solution::candidate).collect(),
        refused,
        uncalibrated: problem.uncalibrated(),
        constant_guess: problem.constant_guess(),
        quality: problem.quality(chosen),
    })
}

type Refused = Vec<(ModelKind, CalibrationError)>;

/// Fits every kind up to the one asked for; `solve` fits one, given the affine map's solution. A
/// kind that cannot be fitted is refused and stops no other; without the simplest there is nothing.
fn solve_all(
    asked: Option<ModelKind>,
    solve: impl Fn(ModelKind, Option<&Solution>) -> Result<Solution, CalibrationError>,
) -> Result<(Vec<Solution>, Refused), CalibrationError> {
    let mut solutions: Vec<Solution> = Vec::with_capacity(ModelKind::ALL.len());
    let mut refused = Vec::new();
    for kind in ModelKind::ALL {
        // What is asked for needs the affine map's strengths, and no richer kind's.
        if asked.is_some_and(|asked| kind > asked) {
            break;
        }
        let affine = solutions.iter().find(|one| one.kind == ModelKind::Affine);
        match solve(kind, affine) {
            Ok(solution) => solutions.push(solution),
            Err(reason) if kind == ModelKind::Offset => return Err(reason),
            Err(reason) => refused.push((kind, reason)),
        }
    }
    Ok((solutions, refused))
}

/// Picks among the fitted kinds; the index is into `solutions`.
fn choose(
    solutions: &[Solution],
    refused: &[(ModelKind, CalibrationError)],
    options: &FitOptions,
    has_few_places: bool,
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
    if has_few_places
        && let Some(index) = solutions.iter().position(|s| s.kind == ModelKind::Affine)
    {
        return Ok((index, ChoiceReason::FewPlaces));
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

#[cfg(test)]
mod tests;
