//! The settings: one TOML file, read once, checked whole.
//!
//! Order: built-in defaults, then the file, then the command line. Every key names its unit. A
//! file with mistakes is refused with all of them listed, each with its key, the value found and
//! what is allowed; nothing is clamped or ignored in silence.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use gaze_signal::{EventSettings, ObjectSettings, OneEuroSettings};
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use crate::board::BoardConfig;
use crate::camera::{PixelFormat, SourceSpec};
use crate::inference::Engine;
use crate::recording::SyncPolicy;
use crate::server::{MqttSettings, OutputSettings};

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
}

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
    /// Width of the active area; unknown means the profile's, else [`DEFAULT_SCREEN_MM`].
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

/// Sockets and page.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Path of the event socket; unknown means the usual places.
    pub socket: Option<PathBuf>,
    /// Group whose members may connect to the socket.
    pub group: Option<String>,
    /// Address of the page and the WebSocket; loopback.
    pub listen: SocketAddr,
    /// Records that may wait for one client; 16 to 65536.
    pub queue_records: u32,
}

/// How `gazed record` writes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordingConfig {
    /// A block is written this long after its first record at the latest; 10 to 60000.
    pub block_ms: u32,
    /// When the disk is waited for.
    pub sync: SyncPolicy,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        RecordingConfig {
            block_ms: 1000,
            sync: SyncPolicy::Block,
        }
    }
}

impl Default for SourceConfig {
    fn default() -> Self {
        SourceConfig {
            source: SourceSpec::Auto,
            width_px: 640,
            height_px: 480,
            frames_per_s: 30.0,
            format: None,
        }
    }
}

impl Default for FilterConfig {
    fn default() -> Self {
        FilterConfig {
            is_on: true,
            one_euro: OneEuroSettings::default(),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            socket: None,
            group: None,
            listen: crate::server::DEFAULT_LISTEN,
            queue_records: 512,
        }
    }
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
        Config::parse(&text, path)
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
        let mut range = |key: &str, value: Option<f32>, min: f32, max: f32| {
            if let Some(value) = value.filter(|value| !(min..=max).contains(value)) {
                problems.push(format!("{key} = {value} is outside {min} to {max}"));
            }
        };
        let Config {
            source,
            vision,
            screen,
            server,
            outputs,
            recording,
            ..
        } = self;
        range(
            "source.width_px",
            Some(source.width_px as f32),
            16.0,
            8192.0,
        );
        range(
            "source.height_px",
            Some(source.height_px as f32),
            16.0,
            8192.0,
        );
        range(
            "source.frames_per_s",
            Some(source.frames_per_s),
            1.0,
            1000.0,
        );
        range("vision.sigma_limit_deg", vision.sigma_limit_deg, 0.1, 90.0);
        range("screen.width_mm", screen.width_mm, 20.0, 10_000.0);
        range("screen.height_mm", screen.height_mm, 20.0, 10_000.0);
        range(
            "screen.width_px",
            screen.width_px.map(|px| px as f32),
            1.0,
            100_000.0,
        );
        range(
            "screen.height_px",
            screen.height_px.map(|px| px as f32),
            1.0,
            100_000.0,
        );
        range(
            "screen.camera_above_mm",
            screen.camera_above_mm,
            -5000.0,
            5000.0,
        );
        range(
            "server.queue_records",
            Some(server.queue_records as f32),
            16.0,
            65_536.0,
        );
        range(
            "recording.block_ms",
            Some(recording.block_ms as f32),
            10.0,
            60_000.0,
        );
        if let Some([fx, fy, cx, cy]) = vision.camera_matrix_px {
            range("vision.camera_matrix_px: fx", Some(fx), 1.0, 1e6);
            range("vision.camera_matrix_px: fy", Some(fy), 1.0, 1e6);
            range("vision.camera_matrix_px: cx", Some(cx), -1e6, 1e6);
            range("vision.camera_matrix_px: cy", Some(cy), -1e6, 1e6);
        }
        if screen.width_mm.is_some() != screen.height_mm.is_some() {
            problems.push("screen.width_mm and screen.height_mm go together".to_owned());
        }
        if screen.width_px.is_some() != screen.height_px.is_some() {
            problems.push("screen.width_px and screen.height_px go together".to_owned());
        }
        if !server.listen.ip().is_loopback() {
            problems.push(format!(
                "server.listen = {}: must be a loopback address: gaze and picture do not leave the machine",
                server.listen
            ));
        }
        for (key, address) in [
            ("open_gaze", outputs.open_gaze),
            ("pupil", outputs.pupil),
            ("eye_tribe", outputs.eye_tribe),
        ] {
            if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
                problems.push(format!(
                    "outputs.{key} = {address}: must be a loopback address: this protocol does not ask who connects"
                ));
            }
        }
        problems.extend(outputs.mqtt.iter().flat_map(MqttSettings::check));
        self.board.check(problems);
        let sections = [
            ("filter", self.filter.one_euro.check()),
            ("events", self.events.check()),
            ("objects", self.objects.check()),
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
            "server.listen = 0.0.0.0:80: must be a loopback address",
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
