//! The settings: one TOML file, read once, checked whole.
//!
//! Order: built-in defaults, then the file, then the command line. Every key names its unit. A
//! file with mistakes is refused with all of them listed, each with its key, the value found and
//! what is allowed; nothing is clamped or ignored in silence.

mod chain;
mod outlets;
mod power;
mod source;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use gaze_signal::{EventSettings, ObjectSettings};
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

pub use self::chain::{FilterConfig, ScreenConfig, UserConfig, VisionConfig};
use self::outlets::check_outputs;
pub use self::outlets::{RecordingConfig, ServerConfig};
pub use self::power::PowerConfig;
pub use self::source::SourceConfig;
use crate::board::BoardConfig;
use crate::server::OutputSettings;

/// Where the system-wide file lies.
pub const SYSTEM_PATH: &str = "/etc/gazed/gazed.toml";

/// The screen when nobody says otherwise: a 24-inch monitor, mm.
pub const DEFAULT_SCREEN_MM: [f32; 2] = [531.0, 299.0];

/// All settings of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where frames come from.
    pub source: SourceConfig,
    /// When the camera rests, and when fewer frames are taken.
    pub power: PowerConfig,
    /// The networks and the camera's geometry.
    pub vision: VisionConfig,
    /// The screen that is looked at.
    pub screen: ScreenConfig,
    /// Whose profile to use.
    pub user: UserConfig,
    /// Smoothing of the point of regard by the 1€ filter.
    pub filter: FilterConfig,
    /// Fixations, saccades, blinks and gaps; keys as in [`EventSettings`].
    pub events: EventSettings,
    /// Visits to objects; keys as in [`ObjectSettings`].
    pub objects: ObjectSettings,
    /// Sockets and page.
    pub server: ServerConfig,
    /// Protocols of other programs.
    pub outputs: OutputSettings,
    /// How `gazed record` writes.
    pub recording: RecordingConfig,
    /// The microcontroller beside the camera.
    pub board: BoardConfig,
}

/// Why a settings file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read settings from {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("{path} is not valid TOML: {source}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        source: Box<toml::de::Error>,
    },
    /// Keys or values are wrong; all of them are here.
    #[error("{path} has {} mistake(s):{}", problems.len(), list(problems))]
    Problems {
        /// The file.
        path: PathBuf,
        /// One sentence for each.
        problems: Vec<String>,
    },
}

fn list(problems: &[String]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  - {problem}"))
        .collect()
}

impl Config {
    /// The settings that are in force: the named file, else the system-wide one where it exists,
    /// else the defaults.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn find(named: Option<&Path>) -> Result<Config, ConfigError> {
        match named {
            Some(path) => Config::load(path),
            None if Path::new(SYSTEM_PATH).exists() => Config::load(SYSTEM_PATH.as_ref()),
            None => Ok(Config::default()),
        }
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`]; [`ConfigError::Problems`] lists every mistake at once.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut config = Config::parse(&text, path)?;
        config.take_paths_from(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Files that are named without a folder lie beside the settings, wherever the program was started.
    fn take_paths_from(&mut self, folder: &Path) {
        let tls = self.server.tls.as_mut();
        let tls = tls.map(|tls| [&mut tls.certificate, &mut tls.key]);
        let optional = [
            &mut self.server.token_file,
            &mut self.server.socket,
            &mut self.vision.models,
            &mut self.user.state,
        ];
        let named = optional.into_iter().filter_map(Option::as_mut);
        for path in named.chain(tls.into_iter().flatten()) {
            // An absolute path stays what it is.
            *path = folder.join(&path);
        }
    }

    /// Reads and checks text; `path` only names it in errors.
    ///
    /// # Errors
    /// As [`Config::load`], save for reading.
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        let table: Table = text.parse().map_err(|source| ConfigError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let mut problems = Vec::new();
        let config = read(&table, &mut problems);
        config.check(&mut problems);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Problems {
                path: path.to_owned(),
                problems,
            })
        }
    }

    /// What the types alone do not say.
    fn check(&self, problems: &mut Vec<String>) {
        let Config {
            source,
            power,
            vision,
            screen,
            user,
            filter,
            events,
            objects,
            server,
            outputs,
            recording,
            board,
        } = self;
        source.check(problems);
        power.check(problems);
        vision.check(problems);
        screen.check(problems);
        user.check(problems);
        server.check(problems);
        check_outputs(outputs, server.listen, problems);
        recording.check(problems);
        board.check(problems);
        let sections = [
            ("filter", filter.one_euro.check()),
            ("events", events.check()),
            ("objects", objects.check()),
        ];
        for (section, found) in sections {
            problems.extend(found.iter().map(|problem| format!("{section}: {problem}")));
        }
    }
}

/// Reads a table key by key, so that one mistake does not hide the next.
fn read(table: &Table, problems: &mut Vec<String>) -> Config {
    let mut good = Table::new();
    read_section(table, &mut Vec::new(), &mut good, problems);
    good.try_into()
        .expect("each of its keys was read alone, and keys do not depend on each other")
}

fn read_section(
    table: &Table,
    path: &mut Vec<String>,
    good: &mut Table,
    problems: &mut Vec<String>,
) {
    for (key, value) in table {
        path.push(key.clone());
        let is_section = alone(path, &Value::Table(Table::new()))
            .try_into::<Config>()
            .is_ok();
        match value {
            Value::Table(inner) if is_section => {
                let mut good_inner = Table::new();
                read_section(inner, path, &mut good_inner, problems);
                good.insert(key.clone(), Value::Table(good_inner));
            }
            _ => match alone(path, value).try_into::<Config>() {
                Ok(_) => {
                    good.insert(key.clone(), value.clone());
                }
                Err(error) => {
                    let reason = error.message().to_owned();
                    problems.push(format!("{} = {value}: {reason}", path.join(".")));
                }
            },
        }
        path.pop();
    }
}

/// A file with nothing but one key.
fn alone(path: &[String], value: &Value) -> Table {
    let mut value = value.clone();
    for key in path[1..].iter().rev() {
        value = Value::Table(Table::from_iter([(key.clone(), value)]));
    }
    Table::from_iter([(path[0].clone(), value)])
}

/// Notes a number that is not allowed; none is allowed.
fn check_range(problems: &mut Vec<String>, key: &str, value: Option<f32>, [min, max]: [f32; 2]) {
    if let Some(value) = value.filter(|value| !(min..=max).contains(value)) {
        problems.push(format!("{key} = {value} is outside {min} to {max}"));
    }
}

fn from_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(serde::de::Error::custom)
}

fn some_from_text<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    from_text(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("test.toml"))
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn the_annotated_file_holds_the_defaults() {
        let text = include_str!("../config/gazed.toml");
        assert_eq!(parse(text).unwrap(), Config::default());
        // With its comment signs taken off, every key without a default is spelled right as well.
        let full: String = text
            .lines()
            .map(|line| format!("{}\n", line.strip_prefix("#: ").unwrap_or(line)))
            .collect();
        assert_ne!(parse(&full).unwrap(), Config::default());
    }

    #[test]
    fn every_mistake_is_listed_with_its_key_and_value() {
        let text = "[screen]\nwidth_mm = -3\nheight_mm = 100\nwidth = 5\n[server]\nlisten = \"0.0.0.0:80\"\n\
                    [filter]\nis_on = \"yes\"\n[colour]\na = 1\n[events]\ndetector = \"hmm\"\n\
                    [events.blink]\nlongest_blink_ms = 7\n[source]\nsource = \"v4l3:x\"";
        let Err(ConfigError::Problems { problems, .. }) = parse(text) else {
            panic!("accepted")
        };
        let all = problems.join("\n");
        for expected in [
            "screen.width_mm = -3 is outside 20 to 10000",
            "screen.width = 5: unknown field",
            "server.listen = 0.0.0.0:80: beyond loopback gaze and picture need server.token_file and server.tls",
            "filter.is_on = \"yes\": invalid type",
            "colour = { a = 1 }: unknown field",
            "events.detector = \"hmm\": unknown variant",
            "blink.longest_blink_ms = 7 is outside",
            "source.source = \"v4l3:x\": source",
        ] {
            assert!(all.contains(expected), "{expected} is not in\n{all}");
        }
        assert_eq!(problems.len(), 8, "{all}");
    }

    #[test]
    fn two_outputs_at_one_port_are_a_mistake() {
        let text = "[outputs]\npupil = \"127.0.0.1:4240\"\nopen_gaze = \"127.0.0.1:4242\"\neye_tribe = \"127.0.0.1:0\"";
        let Err(ConfigError::Problems { problems, .. }) = parse(text) else {
            panic!("accepted")
        };
        // Pupil's takes 4240 to 4242.
        assert_eq!(
            problems,
            ["outputs.pupil: port 4242 is that of outputs.open_gaze"]
        );
    }

    #[test]
    fn controls_are_numbers_or_switches_of_a_v4l2_camera() {
        let config = parse("[source.controls]\nexposure_us = 8000\nir_cut = false").unwrap();
        let controls: Vec<_> = config.source.controls.iter().collect();
        assert_eq!(controls, [("exposure_us", 8000), ("ir_cut", 0)]);
        for (text, expected) in [
            (
                "[source.controls]\ngain = \"high\"",
                "source.controls.gain = \"high\": must be a whole number, true or false",
            ),
            (
                "[source]\nsource = \"synthetic\"\n[source.controls]\ngain = 3",
                "source.controls: synthetic has none",
            ),
        ] {
            let problem = parse(text).unwrap_err().to_string();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn not_a_number_is_refused() {
        assert!(parse("[screen]\nwidth_mm = nan\nheight_mm = 100").is_err());
        assert!(parse("[vision]\ncamera_matrix_px = [600, 600, 320, inf]").is_err());
        assert!(parse("[vision]\ncamera_matrix_px = [600, 600, 320]").is_err());
    }

    #[test]
    fn a_section_that_is_no_section_is_refused() {
        assert!(parse("screen = 5").is_err());
        assert!(parse("[screen.width_mm]\nx = 1").is_err());
    }
}
