//! The name of a source, as users write it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::picture;

const FORMS: &str = "auto, v4l2:/dev/video0, nokhwa:0, video:FILE, images:DIR, command:'PROGRAM ARGS…', \
                     synthetic, synthetic:SEED";

/// Which source to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// The first camera that works.
    Auto,
    /// A V4L2 device: `/dev/video0`, or a stable name under `/dev/v4l/by-id`.
    V4l2(PathBuf),
    /// A camera that the crate `nokhwa` reads; built in off Linux and with the feature `nokhwa`.
    Nokhwa {
        /// Its number or name.
        camera: String,
    },
    /// A recorded video.
    Video(PathBuf),
    /// A folder of pictures, or a single picture.
    Images(PathBuf),
    /// A program that writes frames to its standard output.
    Command(CommandLine),
    /// A rendered observer.
    Synthetic {
        /// Same seed, same pictures.
        seed: u64,
    },
}

/// A program and its arguments; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine(Vec<String>);

impl CommandLine {
    /// From a list of words, the program first.
    ///
    /// # Errors
    /// [`SpecError::NoProgram`] when the list is empty or the program has no name.
    pub fn from_words(words: Vec<String>) -> Result<Self, SpecError> {
        match words.first() {
            Some(program) if !program.is_empty() => Ok(CommandLine(words)),
            _ => Err(SpecError::NoProgram),
        }
    }

    /// The program.
    pub fn program(&self) -> &str {
        &self.0[0]
    }

    /// Its arguments.
    pub fn arguments(&self) -> &[String] {
        &self.0[1..]
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match shlex::try_join(self.0.iter().map(String::as_str)) {
            Ok(line) => f.write_str(&line),
            // A word with a NUL byte cannot be quoted; it cannot be run either.
            Err(_) => write!(f, "{:?}", self.0),
        }
    }
}

/// Why a source's name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The word before the colon is not a kind of source.
    #[error("source {given:?}: {kind:?} is not a kind of source; the forms are {FORMS}")]
    UnknownKind {
        /// The whole text.
        given: String,
        /// What should have been a kind.
        kind: String,
    },
    /// Nothing after the colon.
    #[error("source {given:?}: {missing} is missing after the colon; the forms are {FORMS}")]
    Missing {
        /// The whole text.
        given: String,
        /// What should be there.
        missing: &'static str,
    },
    /// Something after a kind that takes nothing.
    #[error("source {given:?}: `auto` takes nothing after it; the forms are {FORMS}")]
    Surplus {
        /// The whole text.
        given: String,
    },
    /// The seed is not a whole number.
    #[error("source {given:?}: the seed has to be a whole number from 0 to 18446744073709551615")]
    Seed {
        /// The whole text.
        given: String,
    },
    /// A quote is not closed, or a backslash ends the line.
    #[error("source {given:?}: the command has a quote that is not closed")]
    Quotes {
        /// The whole text.
        given: String,
    },
    /// An empty command.
    #[error("the command is empty; it is written as command:'PROGRAM ARGS…'")]
    NoProgram,
    /// A bare path that is not there.
    #[error("{}: {reason}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// The system's own words.
        reason: String,
    },
}

impl SourceSpec {
    /// The source behind a bare path: a folder of pictures, a single picture, or a video.
    ///
    /// # Errors
    /// [`SpecError::Path`] when there is no such file, or it cannot be read.
    pub fn from_path(path: &Path) -> Result<Self, SpecError> {
        let fault = |error: std::io::Error| SpecError::Path {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        if std::fs::metadata(path).map_err(fault)?.is_dir() {
            return Ok(SourceSpec::Images(path.to_owned()));
        }
        let is_picture = picture::file_is_picture(path).map_err(fault)?;
        Ok(if is_picture {
            SourceSpec::Images(path.to_owned())
        } else {
            SourceSpec::Video(path.to_owned())
        })
    }

    /// Whether it shows the present, and not what was recorded.
    pub fn is_live(&self) -> bool {
        !matches!(self, SourceSpec::Video(_) | SourceSpec::Images(_))
    }

    /// Whether the settings' controls are for it.
    pub fn has_controls(&self) -> bool {
        matches!(self, SourceSpec::Auto | SourceSpec::V4l2(_))
    }

    /// A source's name or a bare path, as `gazed process INPUT` takes them.
    ///
    /// # Errors
    /// [`SpecError`], of the name when it has the form of one, else of the path.
    pub fn from_name_or_path(given: &str) -> Result<Self, SpecError> {
        match given.parse() {
            Err(SpecError::UnknownKind { .. }) => SourceSpec::from_path(Path::new(given)),
            other => other,
        }
    }
}

impl FromStr for SourceSpec {
    type Err = SpecError;

    fn from_str(given: &str) -> Result<Self, SpecError> {
        let (kind, after) = match given.split_once(':') {
            Some((kind, after)) => (kind, Some(after)),
            None => (given, None),
        };
        let rest = |missing| match after {
            Some(rest) if !rest.is_empty() => Ok(rest),
            _ => Err(SpecError::Missing {
                given: given.to_owned(),
                missing,
            }),
        };
        match kind {
            "auto" if after.is_none() => Ok(SourceSpec::Auto),
            "auto" => Err(SpecError::Surplus {
                given: given.to_owned(),
            }),
            "v4l2" => Ok(SourceSpec::V4l2(rest("the device")?.into())),
            "nokhwa" => Ok(SourceSpec::Nokhwa {
                camera: rest("the camera's number")?.to_owned(),
            }),
            "video" => Ok(SourceSpec::Video(rest("the file")?.into())),
            "images" => Ok(SourceSpec::Images(rest("the folder")?.into())),
            "command" => {
                let words = shlex::split(after.unwrap_or("")).ok_or_else(|| SpecError::Quotes {
                    given: given.to_owned(),
                })?;
                Ok(SourceSpec::Command(CommandLine::from_words(words)?))
            }
            "synthetic" => match after {
                None => Ok(SourceSpec::Synthetic { seed: 0 }),
                Some(seed) => match seed.parse() {
                    Ok(seed) => Ok(SourceSpec::Synthetic { seed }),
                    Err(_) => Err(SpecError::Seed {
                        given: given.to_owned(),
                    }),
                },
            },
            _ => Err(SpecError::UnknownKind {
                given: given.to_owned(),
                kind: kind.to_owned(),
            }),
        }
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceSpec::Auto => f.write_str("auto"),
            SourceSpec::V4l2(device) => write!(f, "v4l2:{}", device.display()),
            SourceSpec::Nokhwa { camera } => write!(f, "nokhwa:{camera}"),
            SourceSpec::Video(file) => write!(f, "video:{}", file.display()),
            SourceSpec::Images(folder) => write!(f, "images:{}", folder.display()),
            SourceSpec::Command(line) => write!(f, "command:{line}"),
            SourceSpec::Synthetic { seed: 0 } => f.write_str("synthetic"),
            SourceSpec::Synthetic { seed } => write!(f, "synthetic:{seed}"),
        }
    }
}

/// The last part of a path, for descriptions: no absolute paths in records.
pub(super) fn base_name(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(given: &str) -> Result<SourceSpec, SpecError> {
        given.parse()
    }

    #[test]
    fn every_form_is_understood_and_written_back() {
        for given in [
            "auto",
            "v4l2:/dev/v4l/by-id/usb-Cam_A:1-video-index0",
            "nokhwa:1",
            "video:talk.mp4",
            "images:frames",
            "command:rpicam-vid -t 0 --codec mjpeg -o -",
            "synthetic",
            "synthetic:42",
        ] {
            let parsed = spec(given).expect(given);
            assert_eq!(parsed.to_string(), given);
        }
        assert_eq!(
            spec("synthetic:0").expect("a seed"),
            SourceSpec::Synthetic { seed: 0 }
        );
    }

    #[test]
    fn command_words_are_split_as_a_shell_does() {
        let Ok(SourceSpec::Command(line)) = spec("command:'my cam' --name \"a b\" -o -") else {
            panic!("not a command");
        };
        assert_eq!(line.program(), "my cam");
        assert_eq!(line.arguments(), ["--name", "a b", "-o", "-"]);
        let again = spec(&format!("command:{line}")).expect("what was written is read");
        assert_eq!(again, SourceSpec::Command(line));
    }

    #[test]
    fn errors_name_what_was_wrong() {
        let wrong = |given: &str| spec(given).expect_err(given).to_string();
        assert!(wrong("camera:0").contains("\"camera\" is not a kind of source"));
        assert!(wrong("camera:0").contains("v4l2:/dev/video0"));
        assert!(wrong("/dev/video0").contains("not a kind"));
        assert!(wrong("v4l2").contains("the device is missing"));
        assert!(wrong("v4l2:").contains("the device is missing"));
        assert!(wrong("video:").contains("the file is missing"));
        assert!(wrong("auto:1").contains("takes nothing"));
        assert!(wrong("synthetic:x").contains("whole number"));
        assert!(wrong("synthetic:").contains("whole number"));
        assert!(wrong("command:").contains("empty"));
        assert!(wrong("command:''").contains("empty"));
        assert!(wrong("command:echo 'a").contains("not closed"));
        assert!(wrong("").contains("not a kind"));
    }
}
