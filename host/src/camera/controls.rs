//! Controls of a camera that the settings ask for: exposure, gain, what else its driver has.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// Exposure time in microseconds, whatever the driver counts in; switches automatic exposure off.
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "controls are V4L2's")
)]
pub(super) const EXPOSURE_US: &str = "exposure_us";

/// Gain as the driver counts it; switches automatic gain off.
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "controls are V4L2's")
)]
pub(super) const GAIN: &str = "gain";

/// Values by name: `exposure_us`, `gain`, or a driver's own name in the form of `v4l2-ctl
/// --list-ctrls` (`gazed list-cameras` prints them): `white_balance_automatic`, `zoom_absolute`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Controls(BTreeMap<String, ControlValue>);

/// A number, or a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "must be a whole number, true or false")]
enum ControlValue {
    Switch(bool),
    Number(i32),
}

impl Controls {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values; a switch is 0 or 1.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i32)> {
        self.0.iter().map(|(name, value)| {
            let value = match *value {
                ControlValue::Switch(is_on) => i32::from(is_on),
                ControlValue::Number(number) => number,
            };
            (name.as_str(), value)
        })
    }
}

impl<'a> FromIterator<(&'a str, i32)> for Controls {
    fn from_iter<I: IntoIterator<Item = (&'a str, i32)>>(pairs: I) -> Self {
        let values = pairs.into_iter();
        Controls(
            values
                .map(|(name, value)| (name.to_owned(), ControlValue::Number(value)))
                .collect(),
        )
    }
}

/// Why a control cannot be set.
#[derive(Debug)]
pub enum ControlFault {
    /// The camera has no such control.
    Unknown {
        /// Those that it has, with their ranges.
        known: Vec<String>,
    },
    /// The value is not one of the control's.
    OutOfRange {
        /// Smallest.
        min: i64,
        /// Greatest.
        max: i64,
        /// Distance of neighbours.
        step: i64,
    },
    /// The driver refuses it.
    Refused(std::io::Error),
}

impl fmt::Display for ControlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlFault::Unknown { known } if known.is_empty() => {
                f.write_str("this camera has no controls")
            }
            ControlFault::Unknown { known } => {
                write!(
                    f,
                    "this camera has no such control; it has {}",
                    known.join(", ")
                )
            }
            ControlFault::OutOfRange { min, max, step: 1 } => {
                write!(f, "this camera takes {min} to {max}")
            }
            ControlFault::OutOfRange { min, max, step } => {
                write!(f, "this camera takes {min} to {max} in steps of {step}")
            }
            ControlFault::Refused(error) => write!(
                f,
                "the driver refuses it ({error}); a control that an automatic holds is refused \
                 until the automatic is switched off"
            ),
        }
    }
}
