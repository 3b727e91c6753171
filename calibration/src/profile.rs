//! A person's profile: one TOML file a person, versioned, checksummed, never overwritten.
//!
//! ```text
//! format = "gazed-profile"        four header lines, in this order
//! version = 1
//! bytes = 1234                    length of what follows the header
//! checksum = "1c291ca3"           CRC-32 (IEEE) of what follows the header
//!
//! user = "anna"                   the rest: [camera], [screen], [model], [quality]
//! ```
//!
//! `NAME.toml` is the profile in force; saving keeps the one before as `NAME.1.toml`,
//! `NAME.2.toml` and so on, the highest number being the latest. A profile is written to a
//! temporary file, flushed to the disk and renamed, so a crash leaves the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{CalibrationModel, ModelKind};
use crate::quality::Quality;
use crate::screen::ScreenGeometry;

/// Version of the file format that this program writes and reads.
pub const PROFILE_VERSION: u32 = 1;

/// First line of every profile.
const FORMAT_LINE: &str = "format = \"gazed-profile\"";

/// Longest name of a person, in bytes.
pub const USER_NAME_CAPACITY: usize = 64;

/// A larger file is not a profile; a profile of a thousand targets has 300 KB.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Sides of a screen differ when they do so by more than this, mm: a ruler's reading error.
const SIDE_TOLERANCE_MM: f32 = 1.0;

/// The screen has moved when its offset differs by more than this, mm.
const OFFSET_TOLERANCE_MM: f32 = 2.0;

/// The screen has been tilted when its tilt differs by more than this, rad (0.5°).
const TILT_TOLERANCE_RAD: f32 = 0.0087;

/// The lens differs when a focal length does so by more than this share.
const FOCAL_TOLERANCE: f32 = 0.01;

/// The name of a person; a value of this type can be part of a file name.
///
/// 1 to 64 ASCII letters, digits, `-`, `_` and `.`; does not begin with `.` and does not end in
/// `.` and digits (that is how older profiles are named).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

impl UserName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`ProfileError::UserName`] naming the rule that it breaks.
    pub fn new(name: &str) -> Result<Self, ProfileError> {
        let refuse = |rule: &'static str| {
            Err(ProfileError::UserName {
                found: name.chars().take(USER_NAME_CAPACITY).collect(),
                rule,
            })
        };
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() {
            return refuse("at least one character");
        }
        if name.len() > USER_NAME_CAPACITY {
            return refuse("at most 64 characters");
        }
        if !name.chars().all(is_allowed) {
            return refuse("letters a-z A-Z, digits, - _ . only");
        }
        if name.starts_with('.') {
            return refuse("must not begin with a dot");
        }
        let last = name.rsplit_once('.').map(|(_, last)| last);
        if last.is_some_and(|last| last.chars().all(|c| c.is_ascii_digit())) {
            return refuse("must not end in a dot and digits");
        }
        Ok(UserName(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UserName {
    type Error = ProfileError;

    fn try_from(name: String) -> Result<Self, ProfileError> {
        UserName::new(&name)
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> String {
        name.0
    }
}

impl std::fmt::Display for UserName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

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

/// A person's calibration and what it holds for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Whose it is.
    pub user: UserName,
    /// When it was made: seconds since 1970-01-01 UTC, as the caller says.
    pub created_unix_s: u64,
    /// The camera it was made with.
    pub camera: CameraSetup,
    /// The screen it was made on.
    pub screen: ScreenGeometry,
    /// The correction.
    pub model: CalibrationModel,
    /// How good it was when it was made.
    pub quality: Quality,
}

/// Why a profile does not hold for the present camera and screen.
#[derive(Clone, Debug, PartialEq)]
pub enum StaleReason {
    /// Another camera.
    Camera {
        /// In the profile.
        profile: String,
        /// Now.
        now: String,
    },
    /// Frames of another size.
    FrameSize {
        /// In the profile, px.
        profile: [u32; 2],
        /// Now, px.
        now: [u32; 2],
    },
    /// Another focal length or principal point.
    Intrinsics,
    /// A screen of another size.
    ScreenSize {
        /// In the profile, mm.
        profile: [f32; 2],
        /// Now, mm.
        now: [f32; 2],
    },
    /// Another resolution.
    ScreenResolution {
        /// In the profile, px.
        profile: [u32; 2],
        /// Now, px.
        now: [u32; 2],
    },
    /// The screen stands elsewhere relative to the camera.
    ScreenPose,
}

impl std::fmt::Display for StaleReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StaleReason::Camera { profile, now } => {
                write!(f, "made with camera {profile}, now {now}")
            }
            StaleReason::FrameSize { profile, now } => write!(
                f,
                "made with frames of {}x{} px, now {}x{} px",
                profile[0], profile[1], now[0], now[1]
            ),
            StaleReason::Intrinsics => f.write_str("made with another camera matrix"),
            StaleReason::ScreenSize { profile, now } => write!(
                f,
                "made on a screen of {}x{} mm, now {}x{} mm",
                profile[0], profile[1], now[0], now[1]
            ),
            StaleReason::ScreenResolution { profile, now } => write!(
                f,
                "made on a screen of {}x{} px, now {}x{} px",
                profile[0], profile[1], now[0], now[1]
            ),
            StaleReason::ScreenPose => {
                f.write_str("made with the screen elsewhere relative to the camera")
            }
        }
    }
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

    /// The kind of model in it.
    pub fn kind(&self) -> ModelKind {
        self.model.kind()
    }

    /// Why the profile does not hold for this camera and screen; empty when it does.
    ///
    /// A resolution that is not known on either side is not compared.
    pub fn stale_reasons(&self, camera: &CameraSetup, screen: &ScreenGeometry) -> Vec<StaleReason> {
        let mut reasons = Vec::new();
        if self.camera.id != camera.id {
            reasons.push(StaleReason::Camera {
                profile: self.camera.id.clone(),
                now: camera.id.clone(),
            });
        }
        if self.camera.frame_size_px != camera.frame_size_px {
            reasons.push(StaleReason::FrameSize {
                profile: self.camera.frame_size_px,
                now: camera.frame_size_px,
            });
        } else if self.camera.intrinsics.differs_from(&camera.intrinsics) {
            reasons.push(StaleReason::Intrinsics);
        }
        let size = |screen: &ScreenGeometry| [screen.width_mm(), screen.height_mm()];
        if differ(&size(&self.screen), &size(screen), SIDE_TOLERANCE_MM) {
            reasons.push(StaleReason::ScreenSize {
                profile: size(&self.screen),
                now: size(screen),
            });
        }
        if let (Some(profile), Some(now)) = (self.screen.size_px(), screen.size_px())
            && profile != now
        {
            reasons.push(StaleReason::ScreenResolution { profile, now });
        }
        let (profile, now) = (self.screen.pose(), screen.pose());
        if differ(&profile.offset_mm, &now.offset_mm, OFFSET_TOLERANCE_MM)
            || differ(&[profile.tilt_rad], &[now.tilt_rad], TILT_TOLERANCE_RAD)
        {
            reasons.push(StaleReason::ScreenPose);
        }
        reasons
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
        if let Some(key) = self.quality.non_finite() {
            return refuse(key, "quality numbers are finite");
        }
        Ok(())
    }
}

impl Intrinsics {
    fn differs_from(&self, other: &Intrinsics) -> bool {
        let focal = FOCAL_TOLERANCE * self.fx_px.max(self.fy_px);
        let numbers = |i: &Intrinsics| [i.fx_px, i.fy_px, i.cx_px, i.cy_px];
        differ(&numbers(self), &numbers(other), focal)
    }
}

/// Whether any two numbers differ by more than the tolerance.
fn differ(a: &[f32], b: &[f32], tolerance: f32) -> bool {
    a.iter().zip(b).any(|(a, b)| (a - b).abs() > tolerance)
}

/// The part after the header, once its length and checksum are what the header says.
fn checked_body<'t>(text: &'t str, path: &Path) -> Result<&'t str, ProfileError> {
    let not_a_profile = |reason: &'static str| ProfileError::NotAProfile {
        path: path.to_owned(),
        reason,
    };
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

/// The folder that holds profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileStore {
    folder: PathBuf,
}

impl ProfileStore {
    /// A store in this folder; it is made at the first save.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        ProfileStore {
            folder: folder.into(),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a person's profile in force is.
    pub fn path(&self, user: &UserName) -> PathBuf {
        self.folder.join(format!("{user}.toml"))
    }

    /// Reads a person's profile.
    ///
    /// # Errors
    /// [`ProfileError::Missing`] without one; others as [`Profile::from_text`], and when the
    /// profile inside is another person's.
    pub fn load(&self, user: &UserName) -> Result<Profile, ProfileError> {
        let path = self.path(user);
        let text = match read_text(&path) {
            Err(ProfileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(ProfileError::Missing {
                    user: user.to_string(),
                    path,
                });
            }
            text => text?,
        };
        let profile = Profile::from_text(&text, &path)?;
        if profile.user != *user {
            return Err(ProfileError::OtherUser {
                path,
                found: profile.user.to_string(),
                expected: user.to_string(),
            });
        }
        Ok(profile)
    }

    /// Writes a person's profile and makes it the one in force; the one before is kept. Returns
    /// where it is.
    ///
    /// # Errors
    /// [`ProfileError::Io`] when the disk says no, [`ProfileError::Value`] for a profile that
    /// could not be read back; the profile in force stays as it was.
    pub fn save(&self, profile: &Profile) -> Result<PathBuf, ProfileError> {
        let text = profile.to_text()?;
        let path = self.path(&profile.user);
        fs::create_dir_all(&self.folder)
            .map_err(|source| failed("create", &self.folder, source))?;
        let temporary = self
            .folder
            .join(format!(".{}.{}.tmp", profile.user, std::process::id()));
        let written = write_flushed(&temporary, &text)
            .and_then(|()| self.keep_present(&profile.user))
            .and_then(|()| {
                fs::rename(&temporary, &path).map_err(|source| failed("replace", &path, source))
            });
        if let Err(error) = written {
            // What failed is said below; a leftover temporary file is hidden and harmless.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        flush_folder(&self.folder)?;
        Ok(path)
    }

    /// Names of all people with a profile in force, sorted.
    ///
    /// # Errors
    /// [`ProfileError::Io`] when the folder cannot be read; a folder that does not exist is empty.
    pub fn users(&self) -> Result<Vec<UserName>, ProfileError> {
        let mut users: Vec<UserName> = self
            .file_names()?
            .iter()
            .filter_map(|name| UserName::new(name.strip_suffix(".toml")?).ok())
            .collect();
        users.sort();
        Ok(users)
    }

    /// Paths of a person's older profiles, oldest first.
    ///
    /// # Errors
    /// As [`ProfileStore::users`].
    pub fn history(&self, user: &UserName) -> Result<Vec<PathBuf>, ProfileError> {
        Ok(self
            .history_numbers(user)?
            .into_iter()
            .map(|number| self.history_path(user, number))
            .collect())
    }

    /// Gives the profile in force a second name with the next number, so that it is never missing.
    fn keep_present(&self, user: &UserName) -> Result<(), ProfileError> {
        let present = self.path(user);
        if !present.exists() {
            return Ok(());
        }
        let mut number = self
            .history_numbers(user)?
            .last()
            .map_or(1, |last| last + 1);
        loop {
            let kept = self.history_path(user, number);
            match fs::hard_link(&present, &kept) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                // File systems without links, such as FAT on a memory card.
                Err(_) => {
                    let text = read_bytes(&present)?;
                    return write_flushed(&kept, text);
                }
            }
        }
    }

    fn history_path(&self, user: &UserName, number: u64) -> PathBuf {
        self.folder.join(format!("{user}.{number}.toml"))
    }

    fn history_numbers(&self, user: &UserName) -> Result<Vec<u64>, ProfileError> {
        let mut numbers: Vec<u64> = self
            .file_names()?
            .iter()
            .filter_map(|name| {
                let number = name
                    .strip_prefix(user.as_str())?
                    .strip_prefix('.')?
                    .strip_suffix(".toml")?;
                let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
                is_number.then(|| number.parse().ok())?
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn file_names(&self) -> Result<Vec<String>, ProfileError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| failed("list", &self.folder, source))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| failed("list", &self.folder, source))?;
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> ProfileError {
    ProfileError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, ProfileError> {
    fs::read(path).map_err(|source| failed("read", path, source))
}

fn read_text(path: &Path) -> Result<String, ProfileError> {
    let length = fs::metadata(path)
        .map_err(|source| failed("read", path, source))?
        .len();
    if length > MAX_FILE_BYTES {
        return Err(ProfileError::NotAProfile {
            path: path.to_owned(),
            reason: "it is larger than 4 MiB",
        });
    }
    String::from_utf8(read_bytes(path)?).map_err(|_| ProfileError::NotAProfile {
        path: path.to_owned(),
        reason: "it is not UTF-8 text",
    })
}

/// Writes a file that only its owner can read (gaze is biometric) and waits for the disk.
fn write_flushed(path: &Path, contents: impl AsRef<[u8]>) -> Result<(), ProfileError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = |file: &mut File| {
        file.write_all(contents.as_ref())?;
        file.sync_all()
    };
    options
        .open(path)
        .and_then(|mut file| write(&mut file))
        .map_err(|source| failed("write", path, source))
}

/// Waits until the folder's own entries are on the disk.
fn flush_folder(folder: &Path) -> Result<(), ProfileError> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| failed("flush", folder, source))?;
    }
    Ok(())
}
