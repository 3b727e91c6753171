//! Pins of a Linux machine as `embedded-hal` knows them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use embedded_hal::digital::{self, OutputPin};
use embedded_hal::pwm::{self, SetDutyCycle};
use linux_embedded_hal::CdevPin;
use linux_embedded_hal::gpio_cdev::{Chip, LineRequestFlags};

/// Period of a servo's signal, ns, and its longest pulse in the units of `gaze-firmware`, µs.
const SERVO_PERIOD_NS: u32 = 20_000_000;
const SERVO_PERIOD_US: u16 = 20_000;

/// Pulse of a servo while off, µs; longer is on.
const SERVO_OFF_US: u16 = 1_000;

/// An output that is high or low.
#[derive(Debug)]
pub enum Digital {
    /// A line of a GPIO chip.
    Line(Line),
    /// Prints its changes.
    Simulated {
        /// What it is for.
        name: &'static str,
    },
    /// Leads nowhere.
    Unwired,
}

/// A line of a GPIO chip; its own type, for the one of the library shows nothing of itself.
pub struct Line(CdevPin);

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}", self.0.line().offset())
    }
}

impl Digital {
    /// Takes a line for itself and turns it off.
    pub fn open(chip: &Path, line: u32, name: &str) -> Result<Digital> {
        let pin = Chip::new(chip)
            .and_then(|mut chip| chip.get_line(line))
            .and_then(|line| line.request(LineRequestFlags::OUTPUT, 0, &format!("gazed {name}")))
            .and_then(CdevPin::new);
        let pin = pin.with_context(|| {
            format!(
                "{name}: line {line} of {} cannot be used (`gpioinfo` says who has it; pins belong to the group gpio)",
                chip.display()
            )
        })?;
        Ok(Digital::Line(Line(pin)))
    }

    fn set(&mut self, is_high: bool) -> Result<(), digital::ErrorKind> {
        match self {
            Digital::Line(Line(pin)) => {
                let set = if is_high {
                    pin.set_high()
                } else {
                    pin.set_low()
                };
                set.map_err(|_| digital::ErrorKind::Other)
            }
            Digital::Simulated { name } => {
                println!("{name} {}", if is_high { "on" } else { "off" });
                Ok(())
            }
            Digital::Unwired => Ok(()),
        }
    }
}

impl digital::ErrorType for Digital {
    type Error = digital::ErrorKind;
}

impl OutputPin for Digital {
    fn set_low(&mut self) -> Result<(), digital::ErrorKind> {
        self.set(false)
    }
    fn set_high(&mut self) -> Result<(), digital::ErrorKind> {
        self.set(true)
    }
}

/// A servo's signal.
#[derive(Debug)]
pub enum Servo {
    /// A PWM channel of the kernel.
    Channel {
        /// Its file `duty_cycle`.
        duty: PathBuf,
    },
    /// Prints its changes.
    Simulated {
        /// What it printed last.
        is_on: bool,
    },
    /// Leads nowhere.
    Unwired,
}

impl Servo {
    /// Starts the signal of an exported channel (`/sys/class/pwm/pwmchip0/pwm0`), in the place that means off.
    pub fn open(channel: &Path) -> Result<Servo> {
        let write = |name: &str, value: String| {
            let path = channel.join(name);
            fs::write(&path, value).with_context(|| {
                format!(
                    "servo: cannot write {} (is the channel exported, and the PWM overlay loaded?)",
                    path.display()
                )
            })
        };
        // A pulse longer than a period is refused, so the pulse goes first when the period shrinks.
        write("duty_cycle", "0".to_owned())?;
        write("period", SERVO_PERIOD_NS.to_string())?;
        write("duty_cycle", ns_of(SERVO_OFF_US))?;
        write("enable", "1".to_owned())?;
        let duty = channel.join("duty_cycle");
        Ok(Servo::Channel { duty })
    }
}

fn ns_of(us: u16) -> String {
    (u32::from(us) * 1_000).to_string()
}

impl pwm::ErrorType for Servo {
    type Error = pwm::ErrorKind;
}

impl SetDutyCycle for Servo {
    fn max_duty_cycle(&self) -> u16 {
        SERVO_PERIOD_US
    }

    fn set_duty_cycle(&mut self, duty_us: u16) -> Result<(), pwm::ErrorKind> {
        match self {
            Servo::Channel { duty } => {
                fs::write(duty, ns_of(duty_us)).map_err(|_| pwm::ErrorKind::Other)
            }
            Servo::Simulated { is_on } => {
                *is_on = duty_us > SERVO_OFF_US;
                println!("servo {}", if *is_on { "on" } else { "off" });
                Ok(())
            }
            Servo::Unwired => Ok(()),
        }
    }
}
