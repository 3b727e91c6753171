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
    "pyzmq==27.*",
];

/// Alone, because its dependencies are a desktop's worth and none of them is needed.
const PYGAZE: &str = "python-pygaze==0.7.6";

/// Runs `tests/clients/run.py`.
pub fn run_all() -> Result<()> {
    // As the tests build it: another selection of packages would build every dependency again.
    run(&mut cargo(&["test", "--workspace", "--no-run", "--quiet"]))?;
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
    let target = std::env::var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| root().join("target").to_string_lossy().into_owned());
    run(&mut command(
        &python,
        &["tests/clients/run.py", &format!("{target}/debug/gazed")],
    ))
}
