//! `[board]` of the settings.

use std::path::PathBuf;

use gaze_protocol::event::ObjectId;
use gaze_protocol::message::{
    LIGHT_ASKED_DIVISOR, MAX_DWELL_MS, MAX_HOLD_MS, MAX_LIGHT_US, MIN_REST_MS, Output,
    OutputSettings, SILENCE_MS, STROBE_PERIOD_US, StrobeSettings,
};
use serde::Deserialize;

use super::conversation::BoardPlan;
use super::sink::PortChoice;

/// The board beside the camera.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoardConfig {
    /// `auto` or the port's path; none: no board.
    pub port: Option<PathBuf>,
    /// Silence of gazed after which the board turns everything off; 50 to 5000.
    pub silence_ms: u16,
    /// Exposure trigger and illuminator; none: off.
    pub strobe: Option<StrobeConfig>,
    /// A contact.
    pub switch: Option<OutputConfig>,
    /// A light.
    pub lamp: Option<OutputConfig>,
    /// A servo.
    pub servo: Option<OutputConfig>,
}

/// Exposure trigger and illuminator.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StrobeConfig {
    /// Time between two exposures; 2000 to 1000000.
    pub period_us: u32,
    /// Pulse on the trigger pin; up to half the period.
    pub trigger_us: u32,
    /// From the trigger to the light; up to half the period.
    pub light_delay_us: u32,
    /// Light pulse; up to 5000 and a sixth of the period; 0: no light.
    pub light_us: u32,
}

/// What an output does when an object is looked at.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputConfig {
    /// Id of the object; empty: any.
    pub object: String,
    /// Time on the object before it comes on; 0 to 10000.
    pub dwell_ms: u16,
    /// Longest time on; 1 to 10000.
    pub hold_ms: u16,
    /// Shortest time off; from [`MIN_REST_MS`](gaze_protocol::message::MIN_REST_MS).
    pub rest_ms: u16,
    /// Whether it goes off when the gaze leaves the object.
    pub ends_with_visit: bool,
}

impl Default for BoardConfig {
    fn default() -> Self {
        BoardConfig {
            port: None,
            silence_ms: 500,
            strobe: None,
            switch: None,
            lamp: None,
            servo: None,
        }
    }
}

impl Default for StrobeConfig {
    fn default() -> Self {
        StrobeConfig {
            period_us: 33_333,
            trigger_us: 1_000,
            light_delay_us: 0,
            light_us: 2_000,
        }
    }
}

impl Default for OutputConfig {
    fn default() -> Self {
        OutputConfig {
            object: String::new(),
            dwell_ms: 800,
            hold_ms: 1_000,
            rest_ms: 500,
            ends_with_visit: true,
        }
    }
}

impl BoardConfig {
    /// The port to use; none: no board.
    pub fn port(&self) -> Option<PortChoice> {
        let path = self.port.as_ref()?;
        let is_auto = path.as_os_str() == "auto";
        Some(if is_auto {
            PortChoice::Auto
        } else {
            PortChoice::Named(path.clone())
        })
    }

    /// What the board is to do; the settings must have been checked.
    pub fn plan(&self) -> BoardPlan {
        let outputs = self.outputs().into_iter();
        BoardPlan {
            silence_ms: self.silence_ms,
            strobe: self.strobe.map(StrobeConfig::settings),
            outputs: outputs
                .filter_map(|(output, config)| Some((output, config?.settings()?)))
                .collect(),
        }
    }

    /// Every setting that is out of its range.
    pub fn check(&self, problems: &mut Vec<String>) {
        let mut range = |key: String, value: u32, allowed: std::ops::RangeInclusive<u32>| {
            if !allowed.contains(&value) {
                let (min, max) = allowed.into_inner();
                problems.push(format!("board.{key} = {value} is outside {min} to {max}"));
            }
        };
        let silence_ms = u32::from(*SILENCE_MS.start())..=u32::from(*SILENCE_MS.end());
        range(
            "silence_ms".to_owned(),
            u32::from(self.silence_ms),
            silence_ms,
        );
        if let Some(strobe) = &self.strobe {
            let half_us = strobe.period_us / 2;
            let light_us = MAX_LIGHT_US.min(strobe.period_us / LIGHT_ASKED_DIVISOR);
            for (key, value, allowed) in [
                ("period_us", strobe.period_us, STROBE_PERIOD_US),
                ("trigger_us", strobe.trigger_us, 0..=half_us),
                ("light_delay_us", strobe.light_delay_us, 0..=half_us),
                ("light_us", strobe.light_us, 0..=light_us),
            ] {
                range(format!("strobe.{key}"), value, allowed);
            }
        }
        for (output, config) in self.outputs() {
            let Some(config) = config else { continue };
            for (key, value, min, max) in [
                ("dwell_ms", config.dwell_ms, 0, MAX_DWELL_MS),
                ("hold_ms", config.hold_ms, 1, MAX_HOLD_MS),
                ("rest_ms", config.rest_ms, MIN_REST_MS, u16::MAX),
            ] {
                range(
                    format!("{}.{key}", output.name()),
                    u32::from(value),
                    u32::from(min)..=u32::from(max),
                );
            }
        }
        for (output, config) in self.outputs() {
            if config.is_some_and(|config| config.settings().is_none()) {
                problems.push(format!(
                    "board.{}.object: an object's id has at most {} bytes",
                    output.name(),
                    gaze_protocol::event::OBJECT_ID_CAPACITY
                ));
            }
        }
    }

    fn outputs(&self) -> [(Output, Option<&OutputConfig>); 3] {
        [
            (Output::Switch, self.switch.as_ref()),
            (Output::Lamp, self.lamp.as_ref()),
            (Output::Servo, self.servo.as_ref()),
        ]
    }
}

impl StrobeConfig {
    fn settings(self) -> StrobeSettings {
        StrobeSettings {
            period_us: self.period_us,
            trigger_us: self.trigger_us,
            light_delay_us: self.light_delay_us,
            light_us: self.light_us,
        }
    }
}

impl OutputConfig {
    /// None when the object's id is too long.
    fn settings(&self) -> Option<OutputSettings> {
        Some(OutputSettings {
            object: ObjectId::try_from(self.object.as_str()).ok()?,
            dwell_ms: self.dwell_ms,
            hold_ms: self.hold_ms,
            rest_ms: self.rest_ms,
            ends_with_visit: self.ends_with_visit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let config: BoardConfig = toml::from_str(text).unwrap();
        let mut problems = Vec::new();
        config.check(&mut problems);
        problems
    }

    #[test]
    fn the_defaults_are_within_the_boards_limits() {
        let text = "port = \"auto\"\n[strobe]\n[lamp]\n[switch]\n[servo]";
        assert_eq!(problems(text), Vec::<String>::new());
        let config: BoardConfig = toml::from_str(text).unwrap();
        let plan = config.plan();
        assert!(plan.strobe.unwrap().is_allowed());
        assert_eq!(plan.outputs.len(), 3);
        assert!(
            plan.outputs
                .iter()
                .all(|(_, settings)| settings.is_allowed())
        );
        assert_eq!(config.port(), Some(PortChoice::Auto));
    }

    #[test]
    fn what_a_board_would_refuse_is_refused_with_its_key() {
        let text = "silence_ms = 10\n[strobe]\nperiod_us = 10000\nlight_us = 1667\n\
                    [lamp]\nrest_ms = 100\nhold_ms = 0";
        assert_eq!(
            problems(text),
            [
                "board.silence_ms = 10 is outside 50 to 5000",
                "board.strobe.light_us = 1667 is outside 0 to 1666",
                "board.lamp.hold_ms = 0 is outside 1 to 10000",
                "board.lamp.rest_ms = 100 is outside 334 to 65535",
            ]
        );
        let long = format!("[servo]\nobject = \"{}\"", "x".repeat(65));
        assert!(problems(&long)[0].contains("at most 64 bytes"));
    }
}
