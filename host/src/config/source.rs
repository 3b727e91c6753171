//! `[source]`: where frames come from.

use serde::Deserialize;

use super::{check_range, from_text, some_from_text};
use crate::camera::{Controls, PixelFormat, SourceSettings, SourceSpec};

/// Where frames come from.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceConfig {
    /// `auto`, `v4l2:/dev/video0`, `video:FILE`, `images:DIR`, `command:'…'`, `synthetic`.
    #[serde(deserialize_with = "from_text")]
    pub source: SourceSpec,
    /// Asked of the camera, which may grant another; 16 to 8192.
    pub width_px: u32,
    /// Asked of the camera; 16 to 8192.
    pub height_px: u32,
    /// Asked of the camera, and the rate that pictures are given; 1 to 1000.
    pub frames_per_s: f32,
    /// Asked of the camera; for a command, how its raw frames are laid out. None: the best that the
    /// camera offers, and MJPEG or Y4M from a command.
    #[serde(deserialize_with = "some_from_text")]
    pub format: Option<PixelFormat>,
    /// What the camera is set to when it is opened; V4L2 only.
    pub controls: Controls,
}

impl Default for SourceConfig {
    fn default() -> Self {
        SourceConfig {
            source: SourceSpec::Auto,
            width_px: 640,
            height_px: 480,
            frames_per_s: 30.0,
            format: None,
            controls: Controls::default(),
        }
    }
}

impl SourceConfig {
    /// What is asked of the source.
    pub fn settings(&self) -> SourceSettings {
        SourceSettings {
            width_px: self.width_px,
            height_px: self.height_px,
            fps: f64::from(self.frames_per_s),
            format: self.format,
            controls: self.controls.clone(),
            ..SourceSettings::default()
        }
    }

    pub(super) fn check(&self, problems: &mut Vec<String>) {
        for (key, px) in [("width_px", self.width_px), ("height_px", self.height_px)] {
            let key = format!("source.{key}");
            check_range(problems, &key, Some(px as f32), [16.0, 8192.0]);
        }
        let rate = Some(self.frames_per_s);
        check_range(problems, "source.frames_per_s", rate, [1.0, 1000.0]);
        if !self.controls.is_empty() && !self.source.has_controls() {
            problems.push(format!(
                "source.controls: {} has none; they are for cameras of V4L2 (auto, v4l2:…), \
                 and a program takes options of its own, as rpicam-vid --shutter",
                self.source
            ));
        }
    }
}
