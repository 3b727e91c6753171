//! The settings: one TOML file, read once, checked whole.
//!
//! Order: built-in defaults, then the file, then the command line. Every key names its unit. A
//! file with mistakes is refused with all of them listed, each with its key, the value found and
//! what is allowed; nothing is clamped or ignored in silence.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::camera::SourceSpec;
use crate::inference::Engine;

/// Where the system-wide file lies.
pub const SYSTEM_PATH: &str = "/etc/gazed/gazed.toml";

/// All settings of the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[source]`: where frames come from.
    pub source: SourceConfig,
    /// `[vision]`: the networks and the camera's geometry.
    pub vision: VisionConfig,
    /// `[screen]`: the screen that is looked at.
    pub screen: ScreenConfig,
    /// `[user]`: whose profile to use.
    pub user: UserConfig,
    /// `[filter]`: smoothing of the point of regard.
    pub filter: FilterConfig,
    /// `[events]`: fixation, saccade and blink detection.
    pub events: EventsConfig,
    /// `[server]`: sockets and page.
    pub server: ServerConfig,
}

/// Where frames come from.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    /// `source`: `auto`, `v4l2:/dev/video0`, `video:FILE`, `images:DIR`, `command:'…'`, `synthetic`.
    pub source: SourceSpec,
    /// `width-px` asked of the camera; it may grant another.
    pub width_px: u32,
    /// `height-px` asked of the camera.
    pub height_px: u32,
    /// `frames-per-s` asked of the camera, and the rate that pictures are given.
    pub frames_per_s: f32,
}

/// The networks and the camera's geometry.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// `engine`: `tract` or `ort`.
    pub engine: Engine,
    /// `models`: a folder with a manifest, instead of the models inside the program.
    pub models: Option<PathBuf>,
    /// `camera-matrix-px`: fx, fy, cx, cy of the pictures; unknown means that the focal length is
    /// the picture's longer side.
    pub camera_matrix_px: Option<[f32; 4]>,
    /// `sigma-limit-deg`: gaze whose stated standard deviation is above this is `low_confidence`;
    /// unknown means the model's own limit.
    pub sigma_limit_deg: Option<f32>,
}

/// The screen that is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct ScreenConfig {
    /// `width-mm` of the active area.
    pub width_mm: f32,
    /// `height-mm` of the active area.
    pub height_mm: f32,
    /// `width-px`, where known.
    pub width_px: Option<u32>,
    /// `height-px`, where known.
    pub height_px: Option<u32>,
    /// `camera-above-mm`: how far the camera stands above the upper edge of the active area.
    pub camera_above_mm: f32,
}

/// Whose profile to use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserConfig {
    /// `name` of the profile; none means uncalibrated gaze.
    pub name: Option<String>,
    /// `state`: the folder that holds profiles; unknown means the service's state folder, or
    /// the user's own.
    pub state: Option<PathBuf>,
}

/// Smoothing of the point of regard by the 1€ filter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FilterConfig {
    /// `is-on`.
    pub is_on: bool,
    /// `min-cutoff-hz`: lower is smoother and later when the eye rests.
    pub min_cutoff_hz: f32,
    /// `beta-s-per-deg`: how fast the filter opens with velocity; higher is quicker on saccades.
    pub beta_s_per_deg: f32,
}

/// Detection of eye movements; see [`gaze_signal`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventsConfig {
    /// `detector`: `idt` or `ivt`.
    pub detector: Detector,
    /// `max-dispersion-deg` of a fixation (`idt`).
    pub max_dispersion_deg: f32,
    /// `velocity-threshold-deg-s` between fixation and saccade (`ivt`).
    pub velocity_threshold_deg_s: f32,
    /// `min-fixation-ms`.
    pub min_fixation_ms: u32,
    /// `min-blink-ms`.
    pub min_blink_ms: u32,
    /// `max-blink-ms`: longer closures are gaps.
    pub max_blink_ms: u32,
}

/// The fixation detectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    /// By dispersion.
    Idt,
    /// By velocity.
    Ivt,
}

/// Sockets and page.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// `socket`: path of the event socket; unknown means the usual places.
    pub socket: Option<PathBuf>,
    /// `group` that may connect to the socket.
    pub group: Option<String>,
    /// `listen`: address of the page and the WebSocket; must be loopback.
    pub listen: std::net::SocketAddr,
    /// `queue-records`: records that may wait for one client.
    pub queue_records: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            source: SourceConfig {
                source: SourceSpec::Auto,
                width_px: 640,
                height_px: 480,
                frames_per_s: 30.0,
            },
            vision: VisionConfig {
                engine: Engine::Tract,
                models: None,
                camera_matrix_px: None,
                sigma_limit_deg: None,
            },
            // A 24-inch monitor, 1920 x 1080.
            screen: ScreenConfig {
                width_mm: 531.0,
                height_mm: 299.0,
                width_px: None,
                height_px: None,
                camera_above_mm: 0.0,
            },
            user: UserConfig::default(),
            filter: FilterConfig {
                is_on: true,
                min_cutoff_hz: 1.0,
                beta_s_per_deg: 0.05,
            },
            events: EventsConfig {
                detector: Detector::Idt,
                max_dispersion_deg: 2.0,
                velocity_threshold_deg_s: 30.0,
                min_fixation_ms: 100,
                min_blink_ms: 50,
                max_blink_ms: 500,
            },
            server: ServerConfig {
                socket: None,
                group: None,
                listen: std::net::SocketAddr::from(([127, 0, 0, 1], 7880)),
                queue_records: 512,
            },
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
        let mut config = Config::default();
        let mut reader = Reader {
            table,
            problems: Vec::new(),
        };
        config.read(&mut reader);
        reader.unknown_sections();
        config.check(&mut reader.problems);
        if reader.problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Problems {
                path: path.to_owned(),
                problems: reader.problems,
            })
        }
    }

    fn read(&mut self, reader: &mut Reader) {
        reader.section("source", |section| {
            section.parsed(
                "source",
                "auto, v4l2:DEVICE, video:FILE, …",
                &mut self.source.source,
            );
            section.integer("width-px", 16..=8192, &mut self.source.width_px);
            section.integer("height-px", 16..=8192, &mut self.source.height_px);
            section.number("frames-per-s", 1.0..=1000.0, &mut self.source.frames_per_s);
        });
        reader.section("vision", |section| {
            section.parsed("engine", "\"tract\" or \"ort\"", &mut self.vision.engine);
            section.path("models", &mut self.vision.models);
            section.numbers("camera-matrix-px", &mut self.vision.camera_matrix_px);
            section.optional_number(
                "sigma-limit-deg",
                0.1..=90.0,
                &mut self.vision.sigma_limit_deg,
            );
        });
        reader.section("screen", |section| {
            section.number("width-mm", 20.0..=10_000.0, &mut self.screen.width_mm);
            section.number("height-mm", 20.0..=10_000.0, &mut self.screen.height_mm);
            section.optional_integer("width-px", 1..=100_000, &mut self.screen.width_px);
            section.optional_integer("height-px", 1..=100_000, &mut self.screen.height_px);
            section.number(
                "camera-above-mm",
                -5000.0..=5000.0,
                &mut self.screen.camera_above_mm,
            );
        });
        reader.section("user", |section| {
            section.text("name", &mut self.user.name);
            section.path("state", &mut self.user.state);
        });
        reader.section("filter", |section| {
            section.boolean("is-on", &mut self.filter.is_on);
            section.number(
                "min-cutoff-hz",
                0.01..=100.0,
                &mut self.filter.min_cutoff_hz,
            );
            section.number(
                "beta-s-per-deg",
                0.0..=10.0,
                &mut self.filter.beta_s_per_deg,
            );
        });
        reader.section("events", |section| {
            let events = &mut self.events;
            section.parsed("detector", "\"idt\" or \"ivt\"", &mut events.detector);
            section.number(
                "max-dispersion-deg",
                0.1..=20.0,
                &mut events.max_dispersion_deg,
            );
            section.number(
                "velocity-threshold-deg-s",
                1.0..=1000.0,
                &mut events.velocity_threshold_deg_s,
            );
            section.integer("min-fixation-ms", 20..=2000, &mut events.min_fixation_ms);
            section.integer("min-blink-ms", 1..=1000, &mut events.min_blink_ms);
            section.integer("max-blink-ms", 50..=5000, &mut events.max_blink_ms);
        });
        reader.section("server", |section| {
            section.path("socket", &mut self.server.socket);
            section.text("group", &mut self.server.group);
            section.parsed(
                "listen",
                "an address and a port, as 127.0.0.1:7880",
                &mut self.server.listen,
            );
            section.integer("queue-records", 16..=65_536, &mut self.server.queue_records);
        });
    }

    /// What types alone do not say.
    fn check(&self, problems: &mut Vec<String>) {
        if !self.server.listen.ip().is_loopback() {
            problems.push(format!(
                "server.listen = \"{}\": must be a loopback address: gaze and picture do not leave the machine",
                self.server.listen
            ));
        }
        if self.events.min_blink_ms >= self.events.max_blink_ms {
            problems.push(format!(
                "events.min-blink-ms = {}: must be below events.max-blink-ms = {}",
                self.events.min_blink_ms, self.events.max_blink_ms
            ));
        }
        if self.screen.width_px.is_some() != self.screen.height_px.is_some() {
            problems.push("screen.width-px and screen.height-px go together".to_owned());
        }
        if let Some([fx, fy, _, _]) = self.vision.camera_matrix_px
            && (fx <= 0.0 || fy <= 0.0)
        {
            problems.push(format!(
                "vision.camera-matrix-px: focal lengths {fx}, {fy} must be above 0"
            ));
        }
    }
}

impl std::str::FromStr for Detector {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "idt" => Ok(Detector::Idt),
            "ivt" => Ok(Detector::Ivt),
            _ => Err("no such detector".to_owned()),
        }
    }
}

/// Takes sections out of the file and notes what is wrong with them.
struct Reader {
    table: Table,
    problems: Vec<String>,
}

impl Reader {
    fn section(&mut self, name: &'static str, read: impl FnOnce(&mut Section)) {
        match self.table.remove(name) {
            None => {}
            Some(Value::Table(table)) => {
                let mut section = Section {
                    name,
                    table,
                    problems: &mut self.problems,
                };
                read(&mut section);
                section.unknown_keys();
            }
            Some(other) => {
                self.problems
                    .push(format!("{name} = {other}: must be a section [{name}]"));
            }
        }
    }

    fn unknown_sections(&mut self) {
        for name in self.table.keys() {
            self.problems.push(format!(
                "{name}: no such section; there are source, vision, screen, user, filter, events, server"
            ));
        }
    }
}

/// One section: each call takes a key out and checks it; what is left over is unknown.
struct Section<'a> {
    name: &'static str,
    table: Table,
    problems: &'a mut Vec<String>,
}

impl Section<'_> {
    fn wrong(&mut self, key: &str, value: &Value, allowed: impl fmt::Display) {
        self.problems
            .push(format!("{}.{key} = {value}: must be {allowed}", self.name));
    }

    fn optional_number(
        &mut self,
        key: &str,
        range: std::ops::RangeInclusive<f64>,
        field: &mut Option<f32>,
    ) {
        let Some(value) = self.table.remove(key) else {
            return;
        };
        let number = match value {
            Value::Float(number) => Some(number),
            Value::Integer(number) => Some(number as f64),
            _ => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => *field = Some(number as f32),
            None => self.wrong(
                key,
                &value,
                format_args!("a number from {} to {}", range.start(), range.end()),
            ),
        }
    }

    fn number(&mut self, key: &str, range: std::ops::RangeInclusive<f64>, field: &mut f32) {
        let mut read = None;
        self.optional_number(key, range, &mut read);
        *field = read.unwrap_or(*field);
    }

    fn optional_integer(
        &mut self,
        key: &str,
        range: std::ops::RangeInclusive<u32>,
        field: &mut Option<u32>,
    ) {
        let Some(value) = self.table.remove(key) else {
            return;
        };
        let number = value
            .as_integer()
            .and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => *field = Some(number),
            None => self.wrong(
                key,
                &value,
                format_args!("a whole number from {} to {}", range.start(), range.end()),
            ),
        }
    }

    fn integer(&mut self, key: &str, range: std::ops::RangeInclusive<u32>, field: &mut u32) {
        let mut read = None;
        self.optional_integer(key, range, &mut read);
        *field = read.unwrap_or(*field);
    }

    fn boolean(&mut self, key: &str, field: &mut bool) {
        let Some(value) = self.table.remove(key) else {
            return;
        };
        match value.as_bool() {
            Some(read) => *field = read,
            None => self.wrong(key, &value, "true or false"),
        }
    }

    fn text(&mut self, key: &str, field: &mut Option<String>) {
        let Some(value) = self.table.remove(key) else {
            return;
        };
        match value.as_str().filter(|text| !text.is_empty()) {
            Some(text) => *field = Some(text.to_owned()),
            None => self.wrong(key, &value, "a text that is not empty"),
        }
    }

    fn path(&mut self, key: &str, field: &mut Option<PathBuf>) {
        let mut text = None;
        self.text(key, &mut text);
        if let Some(text) = text {
            *field = Some(PathBuf::from(text));
        }
    }

    fn parsed<T: std::str::FromStr>(&mut self, key: &str, allowed: &str, field: &mut T) {
        let Some(value) = self.table.remove(key) else {
            return;
        };
        match value.as_str().and_then(|text| text.parse().ok()) {
            Some(read) => *field = read,
            None => self.wrong(key, &value, allowed),
        }
    }

    fn numbers<const N: usize>(&mut self, key: &str, field: &mut Option<[f32; N]>) {
        let Some(value) = self.table.remove(key) else {
            return;
        };
        let read = value
            .as_array()
            .filter(|list| list.len() == N)
            .and_then(|list| {
                let mut numbers = [0.0; N];
                for (number, item) in numbers.iter_mut().zip(list) {
                    let read = item
                        .as_float()
                        .or(item.as_integer().map(|whole| whole as f64))?;
                    *number = read.is_finite().then_some(read as f32)?;
                }
                Some(numbers)
            });
        match read {
            Some(numbers) => *field = Some(numbers),
            None => self.wrong(key, &value, format_args!("a list of {N} numbers")),
        }
    }

    fn unknown_keys(self) {
        for (key, value) in self.table {
            self.problems
                .push(format!("{}.{key} = {value}: no such key", self.name));
        }
    }
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
    fn the_annotated_file_is_complete_and_holds_the_defaults() {
        let text = include_str!("../config/gazed.toml");
        assert_eq!(parse(text).unwrap(), Config::default());
        // With its comment signs taken off, every optional key is spelled right as well.
        let full: String = text
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(full.contains("camera-matrix-px"));
        parse(&full).unwrap();
    }

    #[test]
    fn every_mistake_is_listed_with_key_value_and_range() {
        let text = "[screen]\nwidth-mm = -3\nwidth = 5\n[server]\nlisten = \"0.0.0.0:80\"\n\
                    [filter]\nis-on = \"yes\"\n[colour]\n[events]\ndetector = \"hmm\"\nmin-blink-ms = 600";
        let Err(ConfigError::Problems { problems, .. }) = parse(text) else {
            panic!("accepted")
        };
        let all = problems.join("\n");
        for expected in [
            "screen.width-mm = -3: must be a number from 20 to 10000",
            "screen.width = 5: no such key",
            "server.listen = \"0.0.0.0:80\": must be a loopback address",
            "filter.is-on = \"yes\": must be true or false",
            "colour: no such section",
            "events.detector = \"hmm\": must be",
            "events.min-blink-ms = 600: must be below",
        ] {
            assert!(all.contains(expected), "{expected} is not in\n{all}");
        }
        assert_eq!(problems.len(), 7, "{all}");
    }

    #[test]
    fn not_a_number_is_refused() {
        assert!(parse("[screen]\nwidth-mm = nan").is_err());
        assert!(parse("[vision]\ncamera-matrix-px = [600, 600, 320, inf]").is_err());
    }
}
