//! Programs that others wrote, unmodified, against the real daemon on the synthetic observer.

use std::path::Path;

use anyhow::Result;

use crate::shell::{cargo, command, is_installed, need, python, root, run};

/// What the table of clients in the README was run with.
const PACKAGES: &[&str] = &[
    "bids-validator-deno==3.0.2",
    "lxml==6.*",
    "msgpack==1.*",
    "pandas==3.*",
    "pyarrow==26.*",
    "pylsl==1.18.*",
    "pyxdf==1.17.*",
    "pyzmq==27.*",
];

/// PsychoPy without its windows for building experiments, and its plugin for Gazepoint.
const PSYCHOPY: &[&str] = &[
    "psychopy-lib==2026.2.5",
    "psychopy-eyetracker-gazepoint==0.0.5",
    "real-time-screen-gaze",
    "pupil-labs-realtime-api==1.9.0",
];

/// Alone, because it asks for a numpy that PsychoPy has left behind.
const PSYCHOPY_PUPIL: &str = "psychopy-eyetracker-pupil-labs==0.8.2";

/// Alone, because its dependencies are a desktop's worth and none of them is needed.
const PYGAZE: &str = "python-pygaze==0.7.6";

/// Runs `tests/clients/run.py`.
pub fn run_all() -> Result<()> {
    let gazed = build()?;
    // The broker itself is outside of an ordinary user's path.
    need(&[("mosquitto_sub", "mosquitto-clients")])?;
    if !is_installed("mosquitto") && !Path::new("/usr/sbin/mosquitto").exists() {
        need(&[("mosquitto", "mosquitto")])?;
    }
    let python = python("clients", PACKAGES)?;
    let python = python.to_string_lossy();
    run(&mut command(
        &python,
        &["-m", "pip", "install", "--quiet", "--no-deps", PYGAZE],
    ))?;
    run(&mut command(&python, &["tests/clients/run.py", &gazed]))
}

/// Runs the clients that take a virtual display and 1.4 GB of packages.
pub fn run_heavy() -> Result<()> {
    let gazed = build()?;
    need(&[("xvfb-run", "xvfb")])?;
    let python = python("psychopy", PSYCHOPY)?;
    let python = python.to_string_lossy();
    run(&mut command(
        &python,
        &[
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            PSYCHOPY_PUPIL,
        ],
    ))?;
    run(&mut command(
        &python,
        &["tests/clients/psychopy_iohub.py", &gazed],
    ))
}

/// Builds the daemon and gives its path.
fn build() -> Result<String> {
    // As the tests build it: another selection of packages would build every dependency again.
    run(&mut cargo(&["test", "--workspace", "--no-run", "--quiet"]))?;
    let target = std::env::var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| root().join("target").to_string_lossy().into_owned());
    Ok(format!("{target}/debug/gazed"))
}
