//! Why a calibration cannot be fitted.

use crate::model::ModelKind;

/// What keeps a fit from being made; each says what the person can do about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// There is nothing to fit to.
    #[error("no calibration samples: no frame has a target")]
    NoSamples,
    /// Samples came, none with gaze on the screen.
    #[error(
        "none of {n_samples} calibration samples is usable: {n_lost} without gaze (no face, eyes \
         closed), {n_rejected} whose line of gaze misses the screen plane"
    )]
    NoGaze {
        /// Samples given.
        n_samples: usize,
        /// Of these, without gaze.
        n_lost: usize,
        /// Of these, looking away from the screen plane.
        n_rejected: usize,
    },
    /// The model asked for needs more targets.
    #[error("{kind} needs at least {needed} targets with gaze on them, {found} found")]
    TooFewTargets {
        /// The model asked for.
        kind: ModelKind,
        /// Distinct targets with usable samples.
        found: usize,
        /// The least number.
        needed: usize,
    },
    /// The targets lie on a point or a line, so a gain along the other direction is unknown.
    #[error(
        "{kind} needs targets that span the screen both ways: their spread is {spread_deg:.2}° in \
         the narrow direction, at least {needed_deg}° needed"
    )]
    DegenerateLayout {
        /// The model asked for.
        kind: ModelKind,
        /// Standard deviation of the targets in the narrow direction, deg.
        spread_deg: f32,
        /// The least.
        needed_deg: f32,
    },
    /// A sample holds NaN or infinity.
    #[error("sample {seq}: {part} is not a finite number")]
    NonFinite {
        /// The sample's frame number.
        seq: u64,
        /// `target`, `gaze`, `origin`, `head`, `features` or `sigma`.
        part: &'static str,
    },
    /// The numbers are finite and yet too large to solve with.
    #[error("the {kind} model has no solution: the samples' numbers are out of range")]
    Unsolvable {
        /// The model.
        kind: ModelKind,
    },
    /// A setting of the fit is not a share.
    #[error("tie tolerance is {found}; allowed: 0 to 1")]
    TieTolerance {
        /// What was given.
        found: f32,
    },
}
