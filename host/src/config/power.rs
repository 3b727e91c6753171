//! `[power]`: when the camera rests, and when fewer frames are taken.

use std::time::Duration;

use serde::Deserialize;

use super::check_range;
use crate::pace::PaceSettings;

/// When the camera rests, and when fewer frames are taken. Cameras, commands and the synthetic
/// observer only; files are played as they are.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PowerConfig {
    /// The camera is closed when nobody has used gaze (see [`crate::demand`]) for so long; 0: never;
    /// up to 86400.
    pub idle_after_s: u32,
    /// Whether fewer frames are taken when the networks cannot keep up with the camera.
    pub adapts_rate: bool,
    /// Fewer frames are taken above this temperature of the processor, or while its firmware slows
    /// it down; 40 to 110.
    pub warm_above_c: f32,
    /// Not fewer than so many a second, whatever the load and the temperature; 1 to 1000.
    pub slowest_frames_per_s: f32,
}

impl Default for PowerConfig {
    fn default() -> Self {
        PowerConfig {
            idle_after_s: 60,
            adapts_rate: true,
            // The firmware of a Raspberry Pi slows the processor down from 80 °C on.
            warm_above_c: 75.0,
            slowest_frames_per_s: 5.0,
        }
    }
}

impl PowerConfig {
    /// How long nobody must use gaze before the camera is closed; none: it stays open.
    pub fn idle_after(&self) -> Option<Duration> {
        (self.idle_after_s > 0).then(|| Duration::from_secs(u64::from(self.idle_after_s)))
    }

    /// How many frames are taken.
    pub fn pace(&self) -> PaceSettings {
        PaceSettings {
            adapts: self.adapts_rate,
            warm_above_c: self.warm_above_c,
            slowest_per_s: self.slowest_frames_per_s,
        }
    }

    pub(super) fn check(&self, problems: &mut Vec<String>) {
        for (key, value, allowed) in [
            ("idle_after_s", self.idle_after_s as f32, [0.0, 86_400.0]),
            ("warm_above_c", self.warm_above_c, [40.0, 110.0]),
            (
                "slowest_frames_per_s",
                self.slowest_frames_per_s,
                [1.0, 1000.0],
            ),
        ] {
            check_range(problems, &format!("power.{key}"), Some(value), allowed);
        }
    }
}
