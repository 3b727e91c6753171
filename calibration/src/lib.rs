//! Per-user calibration: from the gaze a network states to the point a person regards.
//!
//! # Procedure
//!
//! 1. [`parse_targets`] and [`pair`] bring the frames of a recording and the targets that were
//!    shown together.
//! 2. [`fit_with_pose`] groups them by target, rejects samples whose eye was elsewhere, fits every kind of
//!    [`CalibrationModel`] that the targets can carry ([`fit()`]), chooses by leave-one-target-out,
//!    and refines the screen's pose where the head has moved.
//! 3. A [`Profile`] keeps the model with the camera and the screen it holds for.
//! 4. [`CalibrationModel::predict`] turns each frame's gaze into a point of regard.
//!
//! Models, equations, what is minimised, references and measurements: `README.md` beside this crate.

#![forbid(unsafe_code)]

pub mod error;
pub mod fit;
mod grouping;
mod layout;
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
    CameraSetup, Eyes, FittedKind, Fitting, Intrinsics, MadeBy, NetworkHashes, Profile,
    ProfileError,
};
pub use quality::{Measures, Quality, TargetQuality, judge};
pub use screen::{ScreenError, ScreenGeometry, ScreenPose, Sight};
pub use stale::StaleReason;
pub use store::ProfileStore;
pub use upkeep::{Ignored, Source, Upkeep};
pub use user::UserName;
