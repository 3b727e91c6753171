//! `cargo xtask bench events`: event detectors on hand-labelled recordings, ours beside others'.

use std::path::Path;

use anyhow::Result;

use crate::shell::{cargo, command, python, root, run, scratch, target};

/// Builds the program, installs the peers and prints the table.
///
/// `data` is a folder with `gazecom/`, `lookatpoint/` and `lund2013/` as in `models/README.md`.
pub fn run_all(data: &Path) -> Result<()> {
    run(&mut cargo(&[
        "build",
        "--release",
        "-p",
        "gaze-host",
        "--bin",
        "gazed",
    ]))?;
    let offline = [
        "numpy<2",
        "scipy<1.11",
        "pandas<2.3",
        "remodnav==1.1.2",
        "I2MC==2.2.8",
    ];
    let remodnav = python("remodnav", &offline)?;
    let pymovements = python("pymovements", &["pymovements==0.28.0", "pandas"])?;
    let mut bench = command(&remodnav.to_string_lossy(), &[]);
    bench
        .arg(root().join("tests/xtask/bench/events.py"))
        .arg("run")
        .arg("--gazed")
        .arg(target().join("release/gazed"))
        .arg("--data")
        .arg(data.canonicalize()?)
        .arg("--scratch")
        .arg(scratch("events")?)
        .arg("--remodnav")
        .arg(&remodnav)
        .arg("--pymovements")
        .arg(pymovements);
    run(&mut bench)
}
