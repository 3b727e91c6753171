//! The trials of the package in the virtual Pi: an emulated arm64 Debian with systemd and a camera.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::deb::{Architecture, gpio_program, pack, program, version};
use crate::machine::{Clock, Machine};
use crate::shell::{root, scratch};

/// `cargo xtask pi`.
#[derive(Args)]
pub struct PiArgs {
    /// A program for arm64 that is built already
    #[arg(long, value_name = "FILE")]
    binary: Option<std::path::PathBuf>,
    /// Trials of tests/pi/trials.sh, `reboot` and `power` to run instead of all; `install` is run before them
    trials: Vec<String>,
}

/// The trials after `install`, in their order; `reboot` and `power` are done to the machine from outside.
const ALL: &[&str] = &[
    "subscriber",
    "formats",
    "waking",
    "profile",
    "pins",
    "pointer",
    "camera",
    "clock",
    "disk",
    "kills",
    "watchdog",
    "upgrade",
    "reboot",
    "started",
    "recording",
    "power",
    "started",
    "recorded",
    "removal",
];

/// Installs the package in the virtual Pi and puts it through its trials. The transcript is kept.
pub fn run_all(arguments: &PiArgs) -> Result<()> {
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => program(Architecture::Arm64)?,
    };
    let version = version()?;
    let newer = pack(&binary, Architecture::Arm64, &format!("{version}+newer"))?;
    let package = pack(&binary, Architecture::Arm64, &version)?;
    let gpio = gpio_program(Architecture::Arm64)?;
    let gpio_unit = root().join("firmware/boards/linux/gazed-gpio.service");
    let script = root().join("tests/pi/trials.sh");
    let profile = root().join("tests/pi/anna.toml");
    let files: [(&Path, &str); 6] = [
        (&package, "gazed.deb"),
        (&newer, "newer.deb"),
        (&gpio, "gazed-gpio"),
        (&gpio_unit, "gazed-gpio.service"),
        (&script, "trials.sh"),
        (&profile, "anna.toml"),
    ];
    let began = Instant::now();
    let mut machine = Machine::start(&files, Clock::Real)?;
    let result = trials(&mut machine, &arguments.trials);
    let kept = scratch("pi")?.join("transcript.txt");
    std::fs::write(&kept, machine.transcript())?;
    println!(
        "\n{:.0} min; transcript: {}",
        began.elapsed().as_secs_f64() / 60.0,
        kept.display()
    );
    result
}

fn trials(machine: &mut Machine, chosen: &[String]) -> Result<()> {
    let chosen: Vec<&str> = match chosen {
        [] => ALL.to_vec(),
        chosen => chosen.iter().map(String::as_str).collect(),
    };
    for trial in [&["install"], chosen.as_slice()].concat() {
        match trial {
            "reboot" => machine.reboot()?,
            "power" => machine.cut_power()?,
            trial => {
                machine.ok(&format!(
                    "PATIENCE=4 bash /payload/trials.sh /payload {trial}"
                ))?;
            }
        }
    }
    Ok(())
}
