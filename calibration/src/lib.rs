//! Per-user calibration: from the gaze a network states to the point a person regards.
//!
//! # Procedure
//!
//! 1. [`parse_targets`] and [`pair`] bring the frames of a recording and the targets that were
//!    shown together.
//! 2. [`fit()`] groups them by target, rejects samples whose eye was elsewhere, fits every kind of
//!    [`CalibrationModel`] that the targets can carry, and chooses by leave-one-target-out.
//! 3. A [`Profile`] keeps the model with the camera and the screen it holds for.
//! 4. [`CalibrationModel::predict`] turns each frame's gaze into a point of regard.
//!
//! # Equations
//!
//! An eye at distance d from the screen plane, above the foot point F, looking along the tangent t
//! (the slope of the line of gaze against the screen's normal) regards F + d t. Calibration
//! corrects t alone:
//!
//! ```text
//! offset      t' = t + b
//! affine      t' = A t + b
//! quadratic   t' = A t + b + Q (zx², zx zy, zy²),  z = (t − mean) / sd
//! ```
//!
//! A, b and Q minimise Σ w |t' − t*|² + λ |A − 1|² + μ |Q|² in standardised units, t* being the
//! tangent to the target; b is free. λ and μ come from leave-one-target-out over a log grid.
//!
//! # References
//!
//! - Offset first, more only when held-out targets ask for it: Chen & Shi, *Offset calibration for
//!   appearance-based gaze estimation via gaze decomposition*, WACV 2020.
//! - A geometric mapping with a small correction: Gudi, Li & van Gemert, *Efficiency in real-time
//!   webcam gaze tracking*, 2020.
//! - Robust weights: Huber, *Robust estimation of a location parameter*, 1964.
//! - Quality measures: Niehorster et al., ETDQualitizer 1.2.0.

#![forbid(unsafe_code)]

pub mod error;
pub mod fit;
mod least_squares;
pub mod model;
mod normal;
pub mod pairing;
pub mod pose;
pub mod profile;
pub mod quality;
pub mod screen;
pub mod stale;
pub mod store;
pub mod upkeep;
pub mod user;

pub use error::CalibrationError;
pub use fit::{
    Candidate, ChoiceReason, FitOptions, FitReport, MeanError, Ridge, TargetSample, fit,
};
pub use model::{
    Affine, CalibrationInput, CalibrationModel, Features, HeadTerm, ModelKind, Offset, PRIOR_GAIN,
    Quadratic,
};
pub use pairing::{FrameGaze, Pairing, TargetRow, TargetsError, pair, parse_targets};
pub use pose::fit_with_pose;
pub use profile::{
    CameraSetup, Eyes, FittedKind, Fitting, Intrinsics, MadeBy, Profile, ProfileError,
};
pub use quality::{Measures, Quality, TargetQuality, judge};
pub use screen::{ScreenError, ScreenGeometry, ScreenPose, Sight};
pub use stale::StaleReason;
pub use store::ProfileStore;
pub use upkeep::{Ignored, Source, Upkeep};
pub use user::UserName;
