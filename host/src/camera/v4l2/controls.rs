//! Controls of a V4L2 camera.

use std::fmt;
use std::path::Path;

use linuxvideo::Device;
use linuxvideo::controls::{Cid, ControlDesc, ControlFlags, CtrlType};

use super::super::CameraError;
use super::super::controls::{ControlFault, Controls, EXPOSURE_US, GAIN};

/// `V4L2_EXPOSURE_MANUAL`: neither the time nor the iris is automatic.
const EXPOSURE_MANUAL: i32 = 1;

/// `V4L2_CID_EXPOSURE_ABSOLUTE` counts in 100 µs.
const EXPOSURE_UNIT_US: i64 = 100;

/// A control as the driver describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    id: Cid,
    /// In the form of `v4l2-ctl`.
    name: String,
    min: i32,
    max: i32,
    step: i32,
}

/// What is set, in this order: the name that asked for it, the control, the value.
type Plan<'a> = Vec<(&'a str, Cid, i32)>;

/// Sets what the settings ask for.
pub(super) fn apply(
    device: &mut Device,
    path: &Path,
    wanted: &Controls,
) -> Result<(), CameraError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let refuse = |name: &str, value: i32, fault| CameraError::Control {
        device: path.display().to_string(),
        control: name.to_owned(),
        value,
        fault,
    };
    let known = known(device);
    for (name, id, value) in
        plan(&known, wanted).map_err(|(name, value, fault)| refuse(name, value, fault))?
    {
        device
            .write_control_raw(id, value)
            .map_err(|error| refuse(name, value, ControlFault::Refused(error)))?;
        match device.read_control_raw(id) {
            Ok(granted) if granted != value => tracing::warn!(
                "{}: the camera sets {name} to {granted} instead of {value}",
                path.display()
            ),
            // Some can be written only.
            _ => {}
        }
    }
    Ok(())
}

/// Everything that can be set, for people.
pub(super) fn list(device: &Device) -> Vec<String> {
    known(device).iter().map(Known::to_string).collect()
}

fn known(device: &Device) -> Vec<Known> {
    let told = device.controls().flatten();
    let mut known: Vec<Known> = told.filter_map(|control| Known::of(&control)).collect();
    // The library passes over the first of all controls when it lists them; the range is not to be had.
    if device.read_control_raw(Cid::BRIGHTNESS).is_ok() {
        known.insert(0, Known::without_range(Cid::BRIGHTNESS, "brightness"));
    }
    known
}

/// Which controls are set to which values, automatics first: what they hold cannot be set.
fn plan<'a>(
    known: &[Known],
    wanted: &'a Controls,
) -> Result<Plan<'a>, (&'a str, i32, ControlFault)> {
    let has = |id: Cid| known.iter().any(|control| control.id == id);
    let mut plan = Plan::new();
    for (name, value) in wanted.iter() {
        let is_exposure = name == EXPOSURE_US;
        let found = known.iter().find(|control| {
            if is_exposure {
                control.id == Cid::EXPOSURE_ABSOLUTE
            } else {
                control.name == name
            }
        });
        let Some(control) = found else {
            let known = known.iter().map(Known::to_string).collect();
            return Err((name, value, ControlFault::Unknown { known }));
        };
        let unit = if is_exposure { EXPOSURE_UNIT_US } else { 1 };
        let value_in_units = control
            .value(value, unit)
            .map_err(|fault| (name, value, fault))?;
        if is_exposure && has(Cid::EXPOSURE_AUTO) {
            plan.push((name, Cid::EXPOSURE_AUTO, EXPOSURE_MANUAL));
        }
        if name == GAIN && has(Cid::AUTOGAIN) {
            plan.push((name, Cid::AUTOGAIN, 0));
        }
        plan.push((name, control.id, value_in_units));
    }
    plan.sort_by_key(|(name, id, _)| {
        let is_automatic =
            *id == Cid::EXPOSURE_AUTO || *id == Cid::AUTOGAIN || name.contains("auto");
        !is_automatic
    });
    Ok(plan)
}

impl Known {
    /// None for what is no number, or cannot be set.
    fn of(control: &ControlDesc) -> Option<Self> {
        let is_number = matches!(
            control.control_type(),
            CtrlType::INTEGER | CtrlType::BOOLEAN | CtrlType::MENU | CtrlType::INTEGER_MENU
        );
        let is_settable = !control.flags().contains(ControlFlags::READ_ONLY);
        (is_number && is_settable).then(|| Known {
            id: control.id(),
            name: plain_name(control.name()),
            min: control.minimum(),
            max: control.maximum(),
            step: control.step().max(1),
        })
    }

    /// A control whose range the driver alone knows; it takes the nearest that it can.
    fn without_range(id: Cid, name: &str) -> Self {
        Known {
            id,
            name: name.to_owned(),
            min: i32::MIN,
            max: i32::MAX,
            step: 1,
        }
    }

    /// A value in the driver's units, if it is one of the control's.
    fn value(&self, wanted: i32, unit: i64) -> Result<i32, ControlFault> {
        let [min, max, step] =
            [self.min, self.max, self.step].map(|number| i64::from(number) * unit);
        let wanted = i64::from(wanted);
        if !(min..=max).contains(&wanted) || (wanted - min) % step != 0 {
            return Err(ControlFault::OutOfRange { min, max, step });
        }
        Ok(i32::try_from(wanted / unit).expect("it lies between two i32"))
    }
}

impl fmt::Display for Known {
    /// `gain 0 to 255`; the exposure time also as it may be asked for in microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Known {
            name,
            min,
            max,
            step,
            ..
        } = self;
        if (*min, *max) == (i32::MIN, i32::MAX) {
            return f.write_str(name);
        }
        write!(f, "{name} {min} to {max}")?;
        if *step > 1 {
            write!(f, " in steps of {step}")?;
        }
        if self.id == Cid::EXPOSURE_ABSOLUTE {
            let [min, max] = [*min, *max].map(|number| i64::from(number) * EXPOSURE_UNIT_US);
            write!(f, " ({EXPOSURE_US} {min} to {max})")?;
        }
        Ok(())
    }
}

/// `Exposure Time, Absolute` becomes `exposure_time_absolute`, as `v4l2-ctl` has it.
fn plain_name(name: &str) -> String {
    let words: Vec<String> = name
        .split(|char: char| !char.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    words.join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(id: Cid, name: &str, [min, max, step]: [i32; 3]) -> Known {
        Known {
            id,
            name: plain_name(name),
            min,
            max,
            step,
        }
    }

    /// What a common USB camera says of itself.
    fn usb_camera() -> Vec<Known> {
        vec![
            known(Cid::CONTRAST, "Contrast", [0, 64, 1]),
            known(Cid::GAIN, "Gain", [0, 100, 1]),
            known(Cid::SHARPNESS, "Sharpness", [0, 6, 2]),
            known(Cid::EXPOSURE_AUTO, "Auto Exposure", [0, 3, 1]),
            known(
                Cid::EXPOSURE_ABSOLUTE,
                "Exposure Time, Absolute",
                [1, 5000, 1],
            ),
        ]
    }

    fn wanted(pairs: &[(&'static str, i32)]) -> Controls {
        pairs.iter().copied().collect()
    }

    fn refused(pairs: &[(&'static str, i32)]) -> String {
        let wanted = wanted(pairs);
        let (name, value, fault) = plan(&usb_camera(), &wanted).expect_err("a refusal");
        format!("{name} = {value}: {fault}")
    }

    #[test]
    fn an_exposure_time_is_set_after_the_automatic_is_off() {
        let wanted = wanted(&[("exposure_us", 8000), ("contrast", 32), ("gain", 20)]);
        let plan = plan(&usb_camera(), &wanted).expect("all of it is there");
        assert_eq!(
            plan,
            [
                ("exposure_us", Cid::EXPOSURE_AUTO, 1),
                ("contrast", Cid::CONTRAST, 32),
                ("exposure_us", Cid::EXPOSURE_ABSOLUTE, 80),
                ("gain", Cid::GAIN, 20),
            ]
        );
    }

    #[test]
    fn automatic_gain_is_switched_off_where_there_is_one() {
        let mut camera = usb_camera();
        camera.push(known(Cid::AUTOGAIN, "Gain, Automatic", [0, 1, 1]));
        let wanted = wanted(&[("gain", 20)]);
        let plan = plan(&camera, &wanted).expect("it is there");
        assert_eq!(plan, [("gain", Cid::AUTOGAIN, 0), ("gain", Cid::GAIN, 20)]);
    }

    #[test]
    fn a_refusal_names_the_control_and_its_range() {
        assert_eq!(
            refused(&[("gain", 101)]),
            "gain = 101: this camera takes 0 to 100"
        );
        assert_eq!(
            refused(&[("sharpness", 3)]),
            "sharpness = 3: this camera takes 0 to 6 in steps of 2"
        );
        assert_eq!(
            refused(&[("exposure_us", 50)]),
            "exposure_us = 50: this camera takes 100 to 500000 in steps of 100"
        );
        let unknown = refused(&[("ir_cut", 1)]);
        assert!(
            unknown.contains("no such control; it has contrast 0 to 64, gain 0 to 100"),
            "{unknown}"
        );
        assert!(
            unknown.contains("exposure_time_absolute 1 to 5000 (exposure_us 100 to 500000)"),
            "{unknown}"
        );
    }

    #[test]
    fn drivers_names_are_written_as_v4l2_ctl_writes_them() {
        for (name, plain) in [
            ("White Balance, Automatic", "white_balance_automatic"),
            ("Zoom, Absolute", "zoom_absolute"),
            ("LED1 Mode", "led1_mode"),
            ("Exposure (Absolute)", "exposure_absolute"),
        ] {
            assert_eq!(plain_name(name), plain);
        }
    }
}
