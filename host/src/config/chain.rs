//! `[vision]`, `[screen]`, `[user]`, `[filter]`: what is made of the frames.

use std::path::PathBuf;

use gaze_calibration::UserName;
use gaze_signal::OneEuroSettings;
use serde::Deserialize;

use super::{check_range, from_text};
use crate::inference::Engine;

/// The networks and the camera's geometry.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VisionConfig {
    /// `tract` or `ort`.
    #[serde(deserialize_with = "from_text")]
    pub engine: Engine,
    /// A folder with a manifest, instead of the models inside the program.
    pub models: Option<PathBuf>,
    /// fx, fy, cx, cy of the pictures; unknown means that the focal length is the picture's longer
    /// side.
    pub camera_matrix_px: Option<[f32; 4]>,
    /// Gaze whose stated sigma is above this is `low_confidence`; unknown means the
    /// model's own limit; 0.1 to 90.
    pub sigma_limit_deg: Option<f32>,
}

/// The screen that is looked at.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScreenConfig {
    /// Width of the active area; unknown means the profile's, else [`DEFAULT_SCREEN_MM`](super::DEFAULT_SCREEN_MM).
    pub width_mm: Option<f32>,
    /// Height of the active area.
    pub height_mm: Option<f32>,
    /// Width in pixels, where known.
    pub width_px: Option<u32>,
    /// Height in pixels, where known.
    pub height_px: Option<u32>,
    /// How far the camera stands above the upper edge of the active area; unknown means the
    /// profile's where it was made on this screen, else 0; -5000 to 5000.
    pub camera_above_mm: Option<f32>,
}

/// Whose profile to use.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserConfig {
    /// Name of the profile; none means the default of `gazed users default` in the daemon, and
    /// uncalibrated gaze where there is none.
    pub name: Option<String>,
    /// The folder that holds profiles; unknown means the service's state folder, or the user's own.
    pub state: Option<PathBuf>,
    /// Whether clicks that applications report, and dwells on small objects, correct the drift of
    /// gaze while the daemon runs. No profile is changed by it.
    pub learns_from_use: bool,
}

impl UserConfig {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if let Some(name) = &self.name
            && let Err(error) = UserName::new(name)
        {
            problems.push(format!("user.name: {error}"));
        }
    }
}

impl Default for UserConfig {
    fn default() -> Self {
        UserConfig {
            name: None,
            state: None,
            learns_from_use: true,
        }
    }
}

/// Smoothing of the point of regard.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterConfig {
    /// Whether to smooth.
    pub is_on: bool,
    /// The 1€ filter's settings.
    pub one_euro: OneEuroSettings,
}

impl Default for FilterConfig {
    fn default() -> Self {
        FilterConfig {
            is_on: true,
            one_euro: OneEuroSettings::default(),
        }
    }
}

impl VisionConfig {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let key = "vision.sigma_limit_deg";
        check_range(problems, key, self.sigma_limit_deg, [0.1, 90.0]);
        let Some([fx, fy, cx, cy]) = self.camera_matrix_px else {
            return;
        };
        for (name, value, allowed) in [
            ("fx", fx, [1.0, 1e6]),
            ("fy", fy, [1.0, 1e6]),
            ("cx", cx, [-1e6, 1e6]),
            ("cy", cy, [-1e6, 1e6]),
        ] {
            let key = format!("vision.camera_matrix_px: {name}");
            check_range(problems, &key, Some(value), allowed);
        }
    }
}

impl ScreenConfig {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let px = |px: Option<u32>| px.map(|px| px as f32);
        for (key, value, allowed) in [
            ("width_mm", self.width_mm, [20.0, 10_000.0]),
            ("height_mm", self.height_mm, [20.0, 10_000.0]),
            ("width_px", px(self.width_px), [1.0, 100_000.0]),
            ("height_px", px(self.height_px), [1.0, 100_000.0]),
            ("camera_above_mm", self.camera_above_mm, [-5000.0, 5000.0]),
        ] {
            check_range(problems, &format!("screen.{key}"), value, allowed);
        }
        if self.width_mm.is_some() != self.height_mm.is_some() {
            problems.push("screen.width_mm and screen.height_mm go together".to_owned());
        }
        if self.width_px.is_some() != self.height_px.is_some() {
            problems.push("screen.width_px and screen.height_px go together".to_owned());
        }
    }
}
