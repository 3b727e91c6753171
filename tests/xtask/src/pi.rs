//! The trials of the package in the virtual Pi: an emulated arm64 Debian with systemd and a camera.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::deb::{Architecture, pack, program, version};
use crate::machine::{Clock, Machine};
use crate::shell::{root, scratch};

/// `cargo xtask pi`.
#[derive(Args)]
pub struct PiArgs {
    /// A program for arm64 that is built already
    #[arg(long, value_name = "FILE")]
    binary: Option<std::path::PathBuf>,
    /// Trials of tests/pi/trials.sh to run instead of all; `install` is run before them
    trials: Vec<String>,
}

/// Trials between one start of the machine and the next.
const BEFORE_REBOOT: &[&str] = &[
    "subscriber",
    "formats",
    "profile",
    "camera",
    "clock",
    "disk",
    "kills",
    "watchdog",
    "upgrade",
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
    let script = root().join("tests/pi/trials.sh");
    let profile = root().join("tests/pi/anna.toml");
    let files: [(&Path, &str); 4] = [
        (&package, "gazed.deb"),
        (&newer, "newer.deb"),
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
    let try_out = |machine: &mut Machine, names: &[&str]| {
        machine
            .ok(&format!(
                "PATIENCE=4 bash /payload/trials.sh /payload {}",
                names.join(" ")
            ))
            .map(|_| ())
    };
    try_out(machine, &["install"])?;
    if !chosen.is_empty() {
        let chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
        return try_out(machine, &chosen);
    }
    try_out(machine, BEFORE_REBOOT)?;
    machine.reboot()?;
    try_out(machine, &["started", "recording"])?;
    machine.cut_power()?;
    try_out(machine, &["started", "recorded", "removal"])
}
