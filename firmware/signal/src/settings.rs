//! What the algorithms can be told, with ranges and sources; refused as a whole when out of range.

use core::fmt;

/// One setting outside its range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SettingProblem {
    /// The setting, as `section.key` below the table that holds these settings.
    pub key: &'static str,
    /// What was asked for, in the unit that the key names.
    pub value: f32,
    /// Smallest value allowed.
    pub min: f32,
    /// Largest value allowed.
    pub max: f32,
}

impl fmt::Display for SettingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SettingProblem {
            key,
            value,
            min,
            max,
        } = self;
        write!(f, "{key} = {value} is outside {min} to {max}")
    }
}

/// More than there are settings in any one struct, so that no problem is left out.
pub const MAX_SETTING_PROBLEMS: usize = 32;

/// Every setting that is out of range; empty when all are good.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SettingProblems {
    found: heapless::Vec<SettingProblem, MAX_SETTING_PROBLEMS>,
}

impl SettingProblems {
    /// Whether every setting is in range.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The problems, in the order of the settings.
    pub fn iter(&self) -> core::slice::Iter<'_, SettingProblem> {
        self.found.iter()
    }

    /// `Ok` with nothing found, else the first that was found.
    ///
    /// # Errors
    /// The first problem.
    pub fn into_result(self) -> Result<(), SettingProblem> {
        self.found.first().map_or(Ok(()), |first| Err(*first))
    }

    /// Notes `key` unless `min <= value <= max`. NaN is outside every range.
    pub(crate) fn range(&mut self, key: &'static str, value: f32, min: f32, max: f32) {
        if !(min..=max).contains(&value) {
            let problem = SettingProblem {
                key,
                value,
                min,
                max,
            };
            let noted = self.found.push(problem);
            debug_assert!(noted.is_ok(), "MAX_SETTING_PROBLEMS is too small");
        }
    }

    /// [`Self::range`] for whole milliseconds.
    pub(crate) fn range_ms(&mut self, key: &'static str, value: u32, min: u32, max: u32) {
        self.range(key, value as f32, min as f32, max as f32);
    }

    pub(crate) fn append(&mut self, other: SettingProblems) {
        for problem in &other.found {
            let noted = self.found.push(*problem);
            debug_assert!(noted.is_ok(), "MAX_SETTING_PROBLEMS is too small");
        }
    }
}

impl fmt::Display for SettingProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.found.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl core::error::Error for SettingProblem {}

/// Declares a settings struct: the derives that all of them share.
macro_rules! settings {
    ($(#[$doc:meta])* pub struct $name:ident { $($body:tt)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
        pub struct $name { $($body)* }
    };
}
pub(crate) use settings;
