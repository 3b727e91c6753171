//! Why a profile cannot be read or written.

use std::io;
use std::path::{Path, PathBuf};

use super::{OLDEST_VERSION, PROFILE_VERSION};

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
    #[error(
        "{path} is a profile of version {found}; this program reads versions {OLDEST_VERSION} to {PROFILE_VERSION}"
    )]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
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
