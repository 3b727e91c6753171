//! Why a session does not do what a client asks.

use gaze_calibration::ScreenError;

use super::MAX_POINTS;
use super::references::MAX_REFERENCES;
use crate::record::Stage;

/// Why a session does not do what a client asks.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A number of targets that is not offered.
    #[error("targets = {found}: 1, 5, 9 or 13")]
    Targets {
        /// What was asked.
        found: u32,
    },
    /// More validation targets than there are.
    #[error("validation = {found}: 0 to 4")]
    Validation {
        /// What was asked.
        found: u32,
    },
    /// Too many places of the client's own.
    #[error("{found} points: at most {MAX_POINTS}")]
    Points {
        /// How many.
        found: usize,
    },
    /// Too many references, or none in time.
    #[error("{found} references: 1 to {MAX_REFERENCES} in a session, in the order of their times")]
    References {
        /// How many.
        found: usize,
    },
    /// A place that is no place.
    #[error("a target at {x}, {y}: shares of the screen, -0.5 to 1.5")]
    Place {
        /// As given.
        x: f32,
        /// As given.
        y: f32,
    },
    /// Times that are out of range.
    #[error(
        "timing: delay_ms = {delay_ms}, duration_ms = {duration_ms}: up to 60000 each, duration_ms at least 100"
    )]
    Times {
        /// As given.
        delay_ms: u32,
        /// As given.
        duration_ms: u32,
    },
    /// The screen's size is wrong.
    #[error(transparent)]
    Screen(#[from] ScreenError),
    /// One side of the screen in pixels alone.
    #[error("screen: width_px and height_px go together")]
    HalfResolution,
    /// The command does not fit the moment.
    #[error("{command} does not fit now: the calibration is at {stage:?}")]
    Moment {
        /// What was asked.
        command: &'static str,
        /// Where the session stands.
        stage: Stage,
    },
    /// Nobody sits there.
    #[error("no face in the picture yet")]
    NoFace,
    /// No target of that number.
    #[error("there is no target {index} to show again")]
    NoTarget {
        /// As given.
        index: usize,
    },
    /// The result cannot be kept.
    #[error("this result cannot be accepted: {verdict}")]
    NotGoodEnough {
        /// Why.
        verdict: String,
    },
}
