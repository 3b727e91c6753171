//! The name of a person, safe to be part of a file name.

use serde::{Deserialize, Serialize};

use crate::profile::ProfileError;

/// Longest name of a person, in bytes.
pub const USER_NAME_CAPACITY: usize = 64;

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
            return refuse("must not end in a dot, or in a dot and digits");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_file_names_are_refused() {
        for good in ["anna", "Anna-2", "a.b_c", "x", "7"] {
            assert_eq!(UserName::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(65);
        for bad in [
            "", ".", "..", ".a", "a/b", "a b", "ä", "a\0", "a.1", "a.", &long,
        ] {
            assert!(UserName::new(bad).is_err(), "{bad:?}");
        }
    }
}
