//! The folder of profiles: one file a person, replaced whole, older ones kept.
//!
//! `NAME.toml` is the profile in force; saving keeps the one before as `NAME.1.toml`,
//! `NAME.2.toml` and so on, the highest number being the latest. `default` names who is meant when
//! nobody is named. A profile is written to a temporary file, `.NAME.PID.tmp` (`.NAME.PID~.tmp`
//! for the copy of an older one where the disk knows no links), flushed to the disk and renamed, so
//! a crash leaves the old one or the new one. What a crash leaves of a temporary file is never
//! read, and removed at a later save.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::profile::{CameraSetup, NetworkHashes, Profile, ProfileError};
use crate::screen::ScreenGeometry;
use crate::user::UserName;

/// A larger file is not a profile; a profile of a thousand targets has 300 KB.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// A temporary file that is older has lost its writer: writing takes milliseconds.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// The file that names the default user.
const DEFAULT: &str = "default";

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
        self.read(&self.path(user), user)
    }

    /// Reads a profile from a file that may lie anywhere, as `users import` does.
    ///
    /// # Errors
    /// As [`Profile::from_text`].
    pub fn read_file(path: &Path) -> Result<Profile, ProfileError> {
        Profile::from_text(&read_text(path)?, path)
    }

    /// Reads one of a person's own files.
    fn read(&self, path: &Path, user: &UserName) -> Result<Profile, ProfileError> {
        let profile = match ProfileStore::read_file(path) {
            Err(ProfileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(ProfileError::Missing {
                    user: user.to_string(),
                    path: path.to_owned(),
                });
            }
            profile => profile?,
        };
        if profile.user != *user {
            return Err(ProfileError::OtherUser {
                path: path.to_owned(),
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
        let is_new = !self.folder.exists();
        fs::create_dir_all(&self.folder)
            .map_err(|source| failed("create", &self.folder, source))?;
        if is_new {
            give_to_owner_of_folder(&self.folder);
        }
        let temporary = self.temporary_path(profile.user.as_str());
        let written = write_flushed(&temporary, &text)
            .and_then(|()| self.remove_abandoned(profile.user.as_str()))
            .and_then(|()| self.keep_present(&profile.user, |from, to| fs::hard_link(from, to)))
            .and_then(|()| {
                fs::rename(&temporary, &path).map_err(|source| failed("replace", &path, source))
            });
        if let Err(error) = written {
            // What failed is said below; a temporary file that stays is removed at a later save.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        flush_folder(&self.folder);
        Ok(path)
    }

    /// The person's profile in force or, where that does not hold for the present setup, the latest
    /// older one that does: a profile for each camera, resolution and screen, and after going back to
    /// an older program the one made with its networks.
    ///
    /// # Errors
    /// As [`ProfileStore::load`]; an older profile that cannot be read is passed over.
    pub fn load_for(
        &self,
        user: &UserName,
        camera: &CameraSetup,
        screen: &ScreenGeometry,
        networks: &NetworkHashes,
    ) -> Result<Profile, ProfileError> {
        let present = self.load(user)?;
        let holds = |profile: &Profile| profile.stale_reasons(camera, screen, networks).is_empty();
        if holds(&present) {
            return Ok(present);
        }
        let older = self.history(user)?.into_iter().rev().find_map(|path| {
            let profile = self.read(&path, user).ok()?;
            holds(&profile).then_some(profile)
        });
        Ok(older.unwrap_or(present))
    }

    /// Takes back an older profile: that of this number, else the latest. The present one is kept
    /// among the older ones. Returns what is now in force.
    ///
    /// # Errors
    /// [`ProfileError::NoOlder`] without one; others as [`ProfileStore::load`] and
    /// [`ProfileStore::save`].
    pub fn take_back(&self, user: &UserName, number: Option<u64>) -> Result<Profile, ProfileError> {
        let numbers = self.history_numbers(user)?;
        let number = number
            .or(numbers.last().copied())
            .filter(|number| numbers.contains(number))
            .ok_or_else(|| ProfileError::NoOlder {
                user: user.to_string(),
                numbers: numbers.clone(),
            })?;
        let profile = self.read(&self.history_path(user, number), user)?;
        self.save(&profile)?;
        Ok(profile)
    }

    /// Removes a person: the profile in force, all older ones, and the default if it is theirs.
    /// Returns how many profiles there were.
    ///
    /// # Errors
    /// [`ProfileError::Missing`] without any; [`ProfileError::Io`].
    pub fn delete(&self, user: &UserName) -> Result<usize, ProfileError> {
        let mut paths = self.history(user)?;
        // The one in force goes last: until then nothing seems to be missing.
        let present = self.path(user);
        if present.exists() {
            paths.push(present.clone());
        }
        if paths.is_empty() {
            return Err(ProfileError::Missing {
                user: user.to_string(),
                path: present,
            });
        }
        if self.default_user()?.as_ref() == Some(user) {
            let path = self.default_path();
            fs::remove_file(&path).map_err(|source| failed("remove", &path, source))?;
        }
        for path in self.temporary_files(user.as_str())?.iter().chain(&paths) {
            fs::remove_file(path).map_err(|source| failed("remove", path, source))?;
        }
        flush_folder(&self.folder);
        Ok(paths.len())
    }

    /// Whose profile is used when nobody is named; none without a default.
    ///
    /// # Errors
    /// [`ProfileError::UserName`] when the file holds no name; [`ProfileError::Io`].
    pub fn default_user(&self) -> Result<Option<UserName>, ProfileError> {
        match fs::read_to_string(self.default_path()) {
            Ok(name) => UserName::new(name.trim()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("read", &self.default_path(), source)),
        }
    }

    /// Makes somebody the default.
    ///
    /// # Errors
    /// [`ProfileError::Missing`] for somebody without a profile; [`ProfileError::Io`].
    pub fn set_default_user(&self, user: &UserName) -> Result<(), ProfileError> {
        if !self.path(user).exists() {
            return Err(ProfileError::Missing {
                user: user.to_string(),
                path: self.path(user),
            });
        }
        let path = self.default_path();
        let temporary = self.temporary_path(DEFAULT);
        write_flushed(&temporary, format!("{user}\n"))?;
        self.remove_abandoned(DEFAULT)?;
        fs::rename(&temporary, &path).map_err(|source| failed("replace", &path, source))?;
        flush_folder(&self.folder);
        Ok(())
    }

    fn default_path(&self) -> PathBuf {
        self.folder.join(DEFAULT)
    }

    /// Where this process writes before it renames: processes do not write into each other's files.
    fn temporary_path(&self, name: &str) -> PathBuf {
        self.folder
            .join(format!(".{name}.{}.tmp", std::process::id()))
    }

    /// All processes' temporary files of this name.
    fn temporary_files(&self, name: &str) -> Result<Vec<PathBuf>, ProfileError> {
        let is_of_name = |file: &str| {
            let process = file
                .strip_prefix('.')
                .and_then(|rest| rest.strip_prefix(name)?.strip_prefix('.'))
                .and_then(|rest| rest.strip_suffix(".tmp"))
                .map(|rest| rest.strip_suffix('~').unwrap_or(rest));
            process.is_some_and(|process| process.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let mut files = self.file_names()?;
        files.retain(|file| is_of_name(file));
        Ok(files.iter().map(|file| self.folder.join(file)).collect())
    }

    /// Removes temporary files that a process left when it was killed.
    fn remove_abandoned(&self, name: &str) -> Result<(), ProfileError> {
        let now = SystemTime::now();
        for path in self.temporary_files(name)? {
            let is_abandoned = fs::metadata(&path)
                .and_then(|file| file.modified())
                .is_ok_and(|written| {
                    now.duration_since(written)
                        .is_ok_and(|age| age > ABANDONED_AFTER)
                });
            if is_abandoned {
                // Another process may have removed it just now.
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
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
    /// Where the file system has no links, such as FAT on a memory card, it is copied. `link` makes
    /// the second name.
    fn keep_present(
        &self,
        user: &UserName,
        link: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> Result<(), ProfileError> {
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
            match link(&present, &kept).map_err(|error| (error.kind(), error)) {
                Ok(()) => return Ok(()),
                Err((io::ErrorKind::AlreadyExists, _)) => number += 1,
                Err((io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied, _)) => {
                    return self.copy_whole(user, &present, &kept);
                }
                Err((_, source)) => return Err(failed("keep", &present, source)),
            }
        }
    }

    /// Copies a file so that under the new name there is all of it or nothing.
    fn copy_whole(&self, user: &UserName, from: &Path, to: &Path) -> Result<(), ProfileError> {
        let temporary = self
            .folder
            .join(format!(".{user}.{}~.tmp", std::process::id()));
        let copied = read_bytes(from)
            .and_then(|text| write_flushed(&temporary, text))
            .and_then(|()| {
                fs::rename(&temporary, to).map_err(|source| failed("keep", from, source))
            });
        if copied.is_err() {
            // What failed is said; the rest of a temporary file is never read.
            let _ = fs::remove_file(&temporary);
        }
        copied
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
        return Err(ProfileError::not_a_profile(path, "it is larger than 4 MiB"));
    }
    String::from_utf8(read_bytes(path)?)
        .map_err(|_| ProfileError::not_a_profile(path, "it is not UTF-8 text"))
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
        .map_err(|source| failed("write", path, source))?;
    give_to_owner_of_folder(path);
    Ok(())
}

/// Gives what root writes to whoever owns the folder around it: a service has a user of its own, who must be
/// able to read what an administrator imports. Nobody but root can give files away, nor need they.
#[cfg(unix)]
fn give_to_owner_of_folder(path: &Path) {
    use std::os::unix::fs::{MetadataExt, chown};
    let around = path.parent().map(fs::metadata);
    if let (Some(Ok(around)), Ok(own)) = (around, fs::metadata(path))
        && around.uid() != own.uid()
    {
        // A file that stays root's is refused aloud by whoever cannot read it.
        let _ = chown(path, Some(around.uid()), Some(around.gid()));
    }
}

#[cfg(not(unix))]
fn give_to_owner_of_folder(_: &Path) {}

/// Waits until the folder's own entries are on the disk, where the system can say so: some file
/// systems cannot. What was done is done whether or not a power cut in the next seconds can take it
/// back, so this is no failure of it.
fn flush_folder(folder: &Path) {
    if cfg!(unix) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

#[cfg(test)]
mod tests;
