//! A person's profile and the text it is kept as: TOML with a version and a checksum.
//!
//! ```text
//! format = "gazed-profile"        four header lines, in this order
//! version = 2
//! bytes = 1234                    length of what follows the header
//! checksum = "1c291ca3"           CRC-32 (IEEE) of what follows the header
//!
//! user = "anna"                   the rest: [camera], [screen], [model], [fitting],
//!                                 [quality], [validation]
//! ```

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fit::{FitReport, MeanError};
use crate::model::{CalibrationModel, ModelKind};
use crate::quality::Quality;
use crate::screen::ScreenGeometry;
use crate::user::UserName;

/// Version of the file format that this program writes and reads.
pub const PROFILE_VERSION: u32 = 2;

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

/// Why a profile cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// A name that cannot be a person's.
    #[error("user name {found:?}: {rule}")]
    UserName {
        /// What was given, cut to 64 characters.
        found: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The person has no profile.
    #[error("no profile for {user}: {path} does not exist; make one with `gazed calibrate`")]
    Missing {
        /// The person.
        user: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// There is no such older profile.
    #[error("{user} has no such older profile; there are {numbers:?}")]
    NoOlder {
        /// The person.
        user: String,
        /// Numbers of those that there are.
        numbers: Vec<u64>,
    },
    /// The disk said no.
    #[error("cannot {action} {path}")]
    Io {
        /// `read`, `write`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("{path} is not a gazed profile: {reason}")]
    NotAProfile {
        /// The file.
        path: PathBuf,
        /// What is wrong with its header.
        reason: &'static str,
    },
    /// The file comes from another version of this program.
    #[error("{path} is a profile of version {found}; this program reads version {supported}")]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// What this program reads.
        supported: u32,
    },
    /// The end is missing.
    #[error(
        "{path} is cut short: {found} of {expected} bytes; take back an older profile or calibrate again"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes after the header.
        found: usize,
        /// Bytes that its header promises.
        expected: usize,
    },
    /// The file is not what was written.
    #[error(
        "{path} was changed or damaged: checksum {found:08x}, its header says {expected:08x}; take back an older profile or calibrate again"
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// Of the contents.
        found: u32,
        /// In the header.
        expected: u32,
    },
    /// The contents do not make a profile.
    #[error("{path}: {source}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A number that cannot be.
    #[error("{path}: {key} is not allowed: {reason}")]
    Value {
        /// The file, or the name of the profile that is to be written.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// The file is another person's.
    #[error("{path} is the profile of {found}, not of {expected}")]
    OtherUser {
        /// The file.
        path: PathBuf,
        /// In the file.
        found: String,
        /// By its name.
        expected: String,
    },
    /// The profile cannot be put into words.
    #[error("cannot write the profile of {user} as TOML")]
    Serialise {
        /// The person.
        user: String,
        /// Why.
        #[source]
        source: toml::ser::Error,
    },
}

impl ProfileError {
    /// The file is something else, for this reason.
    pub(crate) fn not_a_profile(path: &Path, reason: &'static str) -> Self {
        ProfileError::NotAProfile {
            path: path.to_owned(),
            reason,
        }
    }
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

    /// The same profile after recentring: its model moved by this tangent.
    pub fn recentred(&self, shift: [f32; 2], created_unix_s: u64) -> Profile {
        Profile {
            created_unix_s,
            made_by: MadeBy::Recentring,
            model: self.model.shifted(shift),
            ..self.clone()
        }
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
    if found != PROFILE_VERSION {
        return Err(ProfileError::UnknownVersion {
            path: path.to_owned(),
            found,
            supported: PROFILE_VERSION,
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

/// CRC-32 (IEEE 802.3), bit by bit: profiles are a few kilobytes.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let polynomial = if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
            crc = (crc >> 1) ^ polynomial;
        }
    }
    !crc
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::{Affine, HeadTerm, Offset, Quadratic};
    use crate::quality::{Measures, TargetQuality};
    use crate::screen::ScreenPose;
    use gaze_protocol::PointOfRegard;
    use proptest::prelude::*;

    pub(crate) fn profile() -> Profile {
        Profile {
            user: UserName::new("anna").unwrap(),
            created_unix_s: 1_767_225_600,
            made_by: MadeBy::Session,
            eyes: Eyes::Both,
            camera: CameraSetup {
                id: "usb-Example_Webcam-video-index0".to_owned(),
                frame_size_px: [640, 480],
                intrinsics: Intrinsics {
                    fx_px: 640.0,
                    fy_px: 640.0,
                    cx_px: 319.5,
                    cy_px: 239.5,
                },
            },
            screen: ScreenGeometry::new(531.0, 299.0).unwrap(),
            model: CalibrationModel::Offset(Offset {
                shift: [0.01, -0.02],
                gain: [1.0; 2],
            }),
            fitting: Fitting {
                reason: "asked for".to_owned(),
                ..Fitting::default()
            },
            quality: Quality::over(vec![TargetQuality {
                target: PointOfRegard {
                    x_mm: 265.5,
                    y_mm: 149.5,
                },
                gaze: None,
                eyes_mm: Some([0.0, 80.0, 600.0]),
                measures: Measures {
                    n_used: 2,
                    n_lost: 1,
                    precision_sd_deg: Some(0.7),
                    ..Measures::default()
                },
            }]),
            validation: None,
        }
    }

    fn path() -> &'static Path {
        Path::new("anna.toml")
    }

    #[test]
    fn a_profile_reads_back_as_it_was_written() {
        let text = profile().to_text().unwrap();
        assert_eq!(Profile::from_text(&text, path()).unwrap(), profile());
        assert!(text.starts_with("format = \"gazed-profile\"\nversion = 2\nbytes = "));
        // The whole file is TOML, header included.
        assert!(text.parse::<toml::Table>().is_ok());
    }

    #[test]
    fn the_checksum_is_the_usual_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_newer_version_is_refused_naming_both() {
        let text = profile().to_text().unwrap();
        let newer = text.replacen("version = 2", "version = 7", 1);
        let error = Profile::from_text(&newer, path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "anna.toml is a profile of version 7; this program reads version 2"
        );
    }

    #[test]
    fn a_profile_cut_anywhere_is_refused() {
        let text = profile().to_text().unwrap();
        for end in 0..text.len() {
            assert!(
                Profile::from_text(&text[..end], path()).is_err(),
                "at {end}"
            );
        }
        let error = Profile::from_text(&text[..text.len() - 1], path()).unwrap_err();
        assert!(matches!(error, ProfileError::Truncated { .. }));
    }

    #[test]
    fn an_edited_profile_is_refused() {
        let text = profile().to_text().unwrap();
        let edited = text.replacen("319.5", "319.6", 1);
        let error = Profile::from_text(&edited, path()).unwrap_err();
        assert!(matches!(error, ProfileError::Checksum { .. }));
        let longer = format!("{text}\n[more]\n");
        let error = Profile::from_text(&longer, path()).unwrap_err();
        assert!(matches!(error, ProfileError::Checksum { .. }));
    }

    /// The text with a good header for whatever its body says.
    fn resealed(text: &str, from: &str, to: &str) -> String {
        assert!(text.contains(from), "{from} not in {text}");
        let body = text.splitn(5, '\n').nth(4).unwrap().replacen(from, to, 1);
        format!(
            "{FORMAT_LINE}\nversion = 2\nbytes = {}\nchecksum = \"{:08x}\"\n{body}",
            body.len(),
            crc32(body.as_bytes())
        )
    }

    #[test]
    fn values_that_cannot_be_are_refused_even_with_a_good_checksum() {
        let text = profile().to_text().unwrap();
        let refusal = |from: &str, to: &str| {
            Profile::from_text(&resealed(&text, from, to), path()).unwrap_err()
        };
        let key = |error: ProfileError| match error {
            ProfileError::Value { key, .. } => key,
            other => panic!("{other}"),
        };
        assert_eq!(key(refusal("shift = [0.01", "shift = [nan")), "shift");
        assert_eq!(
            key(refusal("fx_px = 640.0", "fx_px = -1.0")),
            "camera.intrinsics"
        );
        assert_eq!(
            key(refusal(
                "precision_sd_deg = 0.7",
                "precision_sd_deg = inf #"
            )),
            "precision_sd_deg"
        );
        assert!(matches!(
            refusal("width_mm = 531.0", "width_mm = -531.0"),
            ProfileError::Syntax { .. }
        ));
        assert!(matches!(
            refusal("user = \"anna\"", "user = \"../anna\""),
            ProfileError::Syntax { .. }
        ));
        assert!(matches!(
            refusal("created_unix_s", "unheard_of"),
            ProfileError::Syntax { .. }
        ));
    }

    #[test]
    fn a_profile_that_could_not_be_read_back_is_not_written() {
        let mut bad = profile();
        bad.model = CalibrationModel::Offset(Offset {
            shift: [f32::NAN, 0.0],
            gain: [1.0; 2],
        });
        assert!(matches!(
            bad.to_text(),
            Err(ProfileError::Value { key: "shift", .. })
        ));
        let mut bad = profile();
        bad.camera.id.clear();
        assert!(bad.to_text().is_err());
    }

    fn number() -> impl Strategy<Value = f32> {
        -1e3f32..1e3
    }

    fn numbers() -> impl Strategy<Value = [f32; 2]> {
        [number(), number()]
    }

    fn sizes() -> impl Strategy<Value = [f32; 2]> {
        [1e-6f32..1e3, 1e-6f32..1e3]
    }

    fn head() -> impl Strategy<Value = Option<HeadTerm>> {
        proptest::option::of(
            ([numbers(), numbers()], numbers(), sizes(), sizes()).prop_map(
                |(gain, centre_rad, spread_rad, reach)| HeadTerm {
                    gain,
                    centre_rad,
                    spread_rad,
                    reach,
                },
            ),
        )
    }

    fn model() -> impl Strategy<Value = CalibrationModel> {
        let affine = || (numbers(), [numbers(), numbers()], head());
        let bend = [
            [number(), number(), number()],
            [number(), number(), number()],
        ];
        prop_oneof![
            (numbers(), numbers())
                .prop_map(|(shift, gain)| CalibrationModel::Offset(Offset { shift, gain })),
            affine().prop_map(|(shift, gain, head)| {
                CalibrationModel::Affine(Affine { shift, gain, head })
            }),
            (affine(), bend, numbers(), sizes(), sizes()).prop_map(
                |((shift, gain, head), curvature, centre, spread, reach)| {
                    CalibrationModel::Quadratic(Quadratic {
                        shift,
                        gain,
                        curvature,
                        centre,
                        spread,
                        reach,
                        head,
                    })
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn parsing_what_was_written_gives_the_same_profile(
            model in model(),
            name in "[A-Za-z0-9_-]{1,64}",
            id in "[^\\p{C}]{1,60}",
            created_unix_s in 0u64..(1 << 62),
            sides in [1e-3f32..5e4, 1e-3f32..5e4],
            offset_mm in [number(), number(), number()],
            tilt_rad in -1.3f32..1.3,
            size_px in proptest::option::of((1u32.., 1u32..)),
            share in 0f32..1.0,
            known in proptest::option::of(0f32..100.0),
        ) {
            let mut screen = ScreenGeometry::new(sides[0], sides[1])
                .unwrap()
                .with_pose(ScreenPose { offset_mm, tilt_rad })
                .unwrap();
            if let Some((width, height)) = size_px {
                screen = screen.with_size_px(width, height).unwrap();
            }
            let mut written = profile();
            written.user = UserName::new(&name).unwrap();
            written.created_unix_s = created_unix_s;
            written.camera.id = id;
            written.screen = screen;
            written.model = model;
            written.fitting.rate_hz = Some(share);
            written.quality.all.accuracy_deg = known;
            written.quality.targets[0].measures.bcea_deg2 = known;
            written.validation = known.map(|_| written.quality.clone());
            let text = written.to_text().unwrap();
            prop_assert_eq!(Profile::from_text(&text, path()).unwrap(), written);
        }

        #[test]
        fn a_garbled_profile_is_refused_without_a_panic(
            position in 0usize..1000,
            byte in 0u8..128,
            drop in 0usize..3,
        ) {
            let text = profile().to_text().unwrap();
            let mut bytes = text.clone().into_bytes();
            let position = position % bytes.len();
            bytes.splice(position..(position + drop).min(text.len()), [byte]);
            let garbled = String::from_utf8(bytes).unwrap();
            let read = Profile::from_text(&garbled, path());
            if garbled != text {
                // A byte of the header may change its spelling (00 before a number) but not what
                // it says.
                prop_assert!(read.is_err() || read.unwrap() == profile());
            }
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in "\\PC{0,200}") {
            prop_assert!(Profile::from_text(&text, path()).is_err());
        }

        #[test]
        fn a_good_header_before_any_text_is_refused_without_a_panic(body in "[ -~\n]{0,200}") {
            let text = format!(
                "{FORMAT_LINE}\nversion = 2\nbytes = {}\nchecksum = \"{:08x}\"\n{body}",
                body.len(),
                crc32(body.as_bytes())
            );
            prop_assert!(Profile::from_text(&text, path()).is_err());
        }
    }
}
