//! A person's profile and the text it is kept as: TOML with a version and a checksum.
//!
//! ```text
//! format = "gazed-profile"        four header lines, in this order
//! version = 3
//! bytes = 1234                    length of what follows the header
//! checksum = "1c291ca3"           CRC-32 (IEEE) of what follows the header
//!
//! user = "anna"                   the rest: [networks], [camera], [screen], [model],
//!                                 [fitting], [quality], [validation]
//! ```
//!
//! Version 2 is the same without `[networks]`.

mod error;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::error::ProfileError;
use crate::fit::{FitReport, MeanError};
use crate::model::{CalibrationModel, ModelKind};
use crate::quality::Quality;
use crate::screen::ScreenGeometry;
use crate::user::UserName;

/// Version of the file format that this program writes.
pub const PROFILE_VERSION: u32 = 3;

/// The oldest version that this program reads.
pub const OLDEST_VERSION: u32 = 2;

/// First line of every profile.
const FORMAT_LINE: &str = "format = \"gazed-profile\"";

/// The camera that a profile was made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraSetup {
    /// Stable name of the camera, or of the source the frames came from.
    pub id: String,
    /// Width and height of its frames, px.
    pub frame_size_px: [u32; 2],
    /// The lens.
    pub intrinsics: Intrinsics,
}

/// A pinhole camera, px.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intrinsics {
    /// Focal length along x.
    pub fx_px: f32,
    /// Focal length along y.
    pub fy_px: f32,
    /// Principal point, x.
    pub cx_px: f32,
    /// Principal point, y.
    pub cy_px: f32,
}

/// The networks that gaze came from, each by the SHA-256 of its file in hex: another network errs in
/// other ways, and its features mean other things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkHashes {
    /// The landmark network, which says how the head is turned and where the eyes are.
    pub landmarks: String,
    /// The eye network, which says where they look.
    pub eyes: String,
}

/// Which eyes gaze is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Eyes {
    /// Whichever is open.
    #[default]
    Both,
    /// The observer's left eye alone.
    Left,
    /// The observer's right eye alone.
    Right,
}

/// How a profile came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MadeBy {
    /// A live session with targets.
    #[default]
    Session,
    /// A recording and its table of targets.
    Recording,
    /// The profile before, moved so that one target is met.
    Recentring,
}

/// How the model was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fitting {
    /// Why this kind of model, in words.
    pub reason: String,
    /// Error on the targets without calibration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncalibrated: Option<MeanError>,
    /// Error of guessing the mean target every time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constant_guess: Option<MeanError>,
    /// Samples with gaze a second while targets were looked at, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_hz: Option<f32>,
    /// The kinds that were fitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<FittedKind>,
}

/// A kind of model and its error on targets that it had not seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FittedKind {
    /// The kind.
    pub kind: ModelKind,
    /// Leave-one-target-out; none with one target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<MeanError>,
}

impl From<&FitReport> for Fitting {
    fn from(report: &FitReport) -> Self {
        Fitting {
            reason: report.reason.to_string(),
            uncalibrated: Some(report.uncalibrated),
            constant_guess: Some(report.constant_guess),
            rate_hz: None,
            candidates: report
                .candidates
                .iter()
                .map(|candidate| FittedKind {
                    kind: candidate.kind,
                    left_out: candidate.left_out,
                })
                .collect(),
        }
    }
}

/// A person's calibration and what it holds for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Whose it is.
    pub user: UserName,
    /// When it was made: seconds since 1970-01-01 UTC, as the caller says.
    pub created_unix_s: u64,
    /// How it came about.
    pub made_by: MadeBy,
    /// The eyes it holds for.
    pub eyes: Eyes,
    /// The networks it was made with; none when it came from a file of version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<NetworkHashes>,
    /// The camera it was made with.
    pub camera: CameraSetup,
    /// The screen it was made on.
    pub screen: ScreenGeometry,
    /// The correction.
    pub model: CalibrationModel,
    /// How the model was found.
    pub fitting: Fitting,
    /// How good it was when it was made: each target predicted by a model that had not seen it.
    pub quality: Quality,
    /// How good it was on further targets, where some were shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Quality>,
}

impl Profile {
    /// The file's contents.
    ///
    /// # Errors
    /// [`ProfileError::Value`] for a profile that could not be read back.
    pub fn to_text(&self) -> Result<String, ProfileError> {
        self.check(Path::new(self.user.as_str()))?;
        let body = toml::to_string(self).map_err(|source| ProfileError::Serialise {
            user: self.user.to_string(),
            source,
        })?;
        let body = format!("\n{body}");
        Ok(format!(
            "{FORMAT_LINE}\nversion = {PROFILE_VERSION}\nbytes = {}\nchecksum = \"{:08x}\"\n{body}",
            body.len(),
            crc32(body.as_bytes())
        ))
    }

    /// Reads a file's contents; `path` is for the messages.
    ///
    /// # Errors
    /// [`ProfileError`]: not a profile, another version, cut short, changed, or with values that
    /// cannot be.
    pub fn from_text(text: &str, path: &Path) -> Result<Self, ProfileError> {
        let body = checked_body(text, path)?;
        let profile: Profile = toml::from_str(body).map_err(|source| ProfileError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        profile.check(path)?;
        Ok(profile)
    }

    /// The same profile after recentring with this camera and before this screen, where its tangents
    /// fell short of one target by `missing`: its model moved by the part of that which is drift. It
    /// holds for them from then on: the correction is one of directions, which knows neither pixels
    /// nor sizes, and what a new place of the screen adds is in the shift. Other networks have other
    /// gains, which no shift mends: it stays one of those it was made with.
    pub fn recentred(
        &self,
        missing: [f32; 2],
        camera: CameraSetup,
        screen: ScreenGeometry,
        created_unix_s: u64,
    ) -> Profile {
        Profile {
            created_unix_s,
            made_by: MadeBy::Recentring,
            camera,
            screen,
            model: self.model.shifted(self.drift_in(missing)),
            ..self.clone()
        }
    }

    /// How much of what is missing at one target is missing everywhere. Without any drift the model
    /// misses a target by about its accuracy, somewhere else at each; what is missing beyond that is
    /// drift, so drift has its share of the squares (a Wiener filter whose signal is what was seen).
    /// Without an accuracy it is taken for drift altogether.
    fn drift_in(&self, missing: [f32; 2]) -> [f32; 2] {
        let squared = |x: f32| x * x;
        let seen = squared(missing[0]) + squared(missing[1]);
        let usual = match self.quality.all.accuracy_deg {
            Some(deg) if seen > 0.0 => squared(deg.to_radians().tan()),
            _ => return missing,
        };
        missing.map(|part| part * seen / (seen + usual))
    }

    /// The kind of model in it.
    pub fn kind(&self) -> ModelKind {
        self.model.kind()
    }

    /// What serde cannot see. Sizes, poses and names are checked by their own types.
    fn check(&self, path: &Path) -> Result<(), ProfileError> {
        let refuse = |key: &'static str, reason: &'static str| {
            Err(ProfileError::Value {
                path: path.to_owned(),
                key,
                reason,
            })
        };
        let id = &self.camera.id;
        if id.is_empty() || id.len() > 256 || id.chars().any(char::is_control) {
            return refuse("camera.id", "1 to 256 bytes without control characters");
        }
        if self.camera.frame_size_px.contains(&0) {
            return refuse("camera.frame_size_px", "at least 1 px");
        }
        if let Some(NetworkHashes { landmarks, eyes }) = &self.networks
            && ![landmarks, eyes].iter().all(|hash| is_sha256(hash))
        {
            return refuse("networks", "SHA-256 in 64 digits 0-9 and a-f");
        }
        let Intrinsics {
            fx_px,
            fy_px,
            cx_px,
            cy_px,
        } = self.camera.intrinsics;
        if ![fx_px, fy_px].iter().all(|f| f.is_finite() && *f > 0.0) {
            return refuse("camera.intrinsics", "focal lengths are positive numbers");
        }
        if ![cx_px, cy_px].iter().all(|c| c.is_finite()) {
            return refuse("camera.intrinsics", "the principal point is finite");
        }
        if self.created_unix_s > i64::MAX as u64 {
            return refuse("created_unix_s", "at most 2^63 - 1");
        }
        if let Some(key) = self.model.bad_parameter() {
            return refuse(
                key,
                "model parameters are finite, spread and reach positive",
            );
        }
        let validation = self.validation.as_ref().and_then(Quality::non_finite);
        if let Some(key) = self.quality.non_finite().or(validation) {
            return refuse(key, "quality numbers are finite");
        }
        let candidates = self
            .fitting
            .candidates
            .iter()
            .filter_map(|kind| kind.left_out);
        let errors = [self.fitting.uncalibrated, self.fitting.constant_guess]
            .into_iter()
            .flatten()
            .chain(candidates)
            .flat_map(|error| [error.mm, error.deg]);
        if !errors.chain(self.fitting.rate_hz).all(f32::is_finite) {
            return refuse("fitting", "errors and rate are finite");
        }
        if self.fitting.reason.len() > 1000 {
            return refuse("fitting.reason", "at most 1000 bytes");
        }
        Ok(())
    }
}

/// The part after the header, once its length and checksum are what the header says.
fn checked_body<'t>(text: &'t str, path: &Path) -> Result<&'t str, ProfileError> {
    let not_a_profile = |reason| ProfileError::not_a_profile(path, reason);
    let mut rest = text;
    let mut next_line = || {
        let (line, after) = rest.split_once('\n')?;
        rest = after;
        Some(line)
    };
    if next_line() != Some(FORMAT_LINE) {
        return Err(not_a_profile(
            "its first line is not format = \"gazed-profile\"",
        ));
    }
    let found: u32 = next_line()
        .and_then(|line| line.strip_prefix("version = ")?.parse().ok())
        .ok_or_else(|| not_a_profile("its second line is not version = NUMBER"))?;
    if !(OLDEST_VERSION..=PROFILE_VERSION).contains(&found) {
        return Err(ProfileError::UnknownVersion {
            path: path.to_owned(),
            found,
        });
    }
    let expected_bytes: usize = next_line()
        .and_then(|line| line.strip_prefix("bytes = ")?.parse().ok())
        .ok_or_else(|| not_a_profile("its third line is not bytes = NUMBER"))?;
    let expected = next_line()
        .and_then(|line| {
            let digits = line.strip_prefix("checksum = \"")?.strip_suffix('"')?;
            u32::from_str_radix(digits, 16).ok()
        })
        .ok_or_else(|| not_a_profile("its fourth line is not checksum = \"HEX\""))?;
    if rest.len() < expected_bytes {
        return Err(ProfileError::Truncated {
            path: path.to_owned(),
            found: rest.len(),
            expected: expected_bytes,
        });
    }
    let found = crc32(rest.as_bytes());
    if found != expected {
        return Err(ProfileError::Checksum {
            path: path.to_owned(),
            found,
            expected,
        });
    }
    Ok(rest)
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// CRC-32 (IEEE 802.3), as on the wire and in recordings.
fn crc32(bytes: &[u8]) -> u32 {
    crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
