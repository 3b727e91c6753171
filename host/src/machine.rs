//! How the machine is: temperature of the processor, and whether its firmware slows it down.

use std::fmt;
use std::path::Path;

use serde::{Serialize, Serializer};

/// Temperature and throttling; what the machine does not tell is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Health {
    /// Of the processor, °C.
    pub temperature_c: Option<f32>,
    /// What a Raspberry Pi's firmware does against heat and lack of power.
    pub throttling: Option<Throttling>,
}

/// The firmware's bits, as `vcgencmd get_throttled` tells them (Raspberry Pi documentation, "vcgencmd").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttling(pub u32);

/// The firmware's bits for now, and what each is.
const NOW: [(u32, &str); 4] = [
    (0, "under-voltage"),
    (1, "frequency capped"),
    (2, "throttled"),
    (3, "soft temperature limit"),
];

/// Bits for "since it was switched on" stand so much higher.
const SINCE_START: u32 = 16;

/// Kinds of thermal zone that are the processor's.
const PROCESSORS: [&str; 4] = ["cpu", "soc", "x86_pkg_temp", "coretemp"];

impl Health {
    /// Reads what the system tells; takes less than a millisecond.
    pub fn read() -> Self {
        Health::read_from("/sys".as_ref())
    }

    /// The same below another folder than `/sys`.
    fn read_from(sys: &Path) -> Self {
        Health {
            temperature_c: processor_temperature_c(&sys.join("class/thermal")),
            throttling: number(
                &sys.join("devices/platform/soc/soc:firmware/get_throttled"),
                |text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok(),
            )
            .map(Throttling),
        }
    }
}

/// The hottest zone that is the processor's.
fn processor_temperature_c(zones: &Path) -> Option<f32> {
    std::fs::read_dir(zones)
        .ok()?
        .flatten()
        .map(|zone| zone.path())
        .filter(|zone| {
            std::fs::read_to_string(zone.join("type"))
                .is_ok_and(|kind| PROCESSORS.iter().any(|known| kind.contains(known)))
        })
        // Thousandths of a degree; a zone that is switched off cannot be read.
        .filter_map(|zone| number(&zone.join("temp"), |text| text.parse::<i32>().ok()))
        .max()
        .map(|thousandths| thousandths as f32 / 1000.0)
}

fn number<T>(file: &Path, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    parse(std::fs::read_to_string(file).ok()?.trim())
}

impl Throttling {
    /// Whether the processor runs slower than it could, now.
    pub fn is_slowed(self) -> bool {
        self.0 & 0b1110 != 0
    }

    /// Whether the supply is too weak, now.
    pub fn is_under_voltage(self) -> bool {
        self.0 & 1 != 0
    }

    /// What holds now.
    pub fn now(self) -> Vec<&'static str> {
        self.named(0)
    }

    /// What has held since the machine was switched on.
    pub fn since_start(self) -> Vec<&'static str> {
        self.named(SINCE_START)
    }

    fn named(self, shift: u32) -> Vec<&'static str> {
        NOW.iter()
            .filter(|(bit, _)| self.0 >> (shift + bit) & 1 == 1)
            .map(|(_, name)| *name)
            .collect()
    }
}

impl Serialize for Throttling {
    /// `{"now":["throttled"],"since_start":[…]}`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Named {
            now: Vec<&'static str>,
            since_start: Vec<&'static str>,
        }
        Named {
            now: self.now(),
            since_start: self.since_start(),
        }
        .serialize(serializer)
    }
}

impl fmt::Display for Health {
    /// `the processor has 78 °C (throttled)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.temperature_c {
            Some(temperature_c) => write!(f, "the processor has {temperature_c:.0} °C")?,
            None => f.write_str("the processor's temperature is not known")?,
        }
        match self.throttling.map(Throttling::now) {
            Some(now) if !now.is_empty() => write!(f, " ({})", now.join(", ")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, file: &str, content: &str) {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    #[test]
    fn a_raspberry_pi_tells_temperature_and_throttling() {
        let sys = tempfile::tempdir().unwrap();
        let zone = "class/thermal/thermal_zone0";
        write(sys.path(), &format!("{zone}/type"), "cpu-thermal\n");
        write(sys.path(), &format!("{zone}/temp"), "61834\n");
        let firmware = "devices/platform/soc/soc:firmware/get_throttled";
        write(sys.path(), firmware, "50005\n");
        let health = Health::read_from(sys.path());
        assert_eq!(health.temperature_c, Some(61.834));
        let throttling = health.throttling.unwrap();
        assert_eq!(throttling.now(), ["under-voltage", "throttled"]);
        assert_eq!(throttling.since_start(), ["under-voltage", "throttled"]);
        assert!(throttling.is_slowed() && throttling.is_under_voltage());
        assert_eq!(
            health.to_string(),
            "the processor has 62 °C (under-voltage, throttled)"
        );
    }

    #[test]
    fn the_hottest_processor_counts_and_batteries_do_not() {
        let sys = tempfile::tempdir().unwrap();
        for (n, kind, thousandths) in [
            (0, "acpitz", "90000"),
            (1, "cpu0-thermal", "51000"),
            (2, "cpu1-thermal", "53000"),
            (3, "cpu2-thermal", ""),
        ] {
            let zone = format!("class/thermal/thermal_zone{n}");
            write(sys.path(), &format!("{zone}/type"), kind);
            write(sys.path(), &format!("{zone}/temp"), thousandths);
        }
        let health = Health::read_from(sys.path());
        assert_eq!(health.temperature_c, Some(53.0));
        assert_eq!(health.throttling, None);
    }

    #[test]
    fn a_machine_that_tells_nothing_is_not_an_error() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(Health::read_from(sys.path()), Health::default());
    }
}
