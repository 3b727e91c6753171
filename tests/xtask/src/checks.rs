//! The checks of continuous integration.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::shell::{cargo, command, is_installed, need, output, python, root, run, scratch};

/// Formatting of Rust.
pub fn fmt() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

/// No warning, the feature that needs a library included.
pub fn clippy() -> Result<()> {
    run(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        "gaze-host/ort",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

/// No broken link, no missing page.
pub fn doc() -> Result<()> {
    run(cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Exposure that `systemd-analyze security` may show for the unit, 0 best to 10.
const MAX_EXPOSURE: f32 = 1.5;

/// The unit file is valid and hardened.
pub fn systemd() -> Result<()> {
    need(&[("systemd-analyze", "systemd")])?;
    let folder = scratch("systemd")?;
    // `verify` wants the program to exist; any will do.
    let text = std::fs::read_to_string(root().join("host/config/gazed.service"))?;
    let unit = folder.join("gazed.service");
    std::fs::write(&unit, text.replace("/usr/bin/gazed", "/bin/true"))?;
    let unit = unit.to_string_lossy().into_owned();
    run(&mut command(
        "systemd-analyze",
        &["verify", "--man=no", &unit],
    ))?;
    let report = output(&mut command(
        "systemd-analyze",
        &[
            "security",
            "--offline=true",
            "--no-pager",
            "--json=off",
            &unit,
        ],
    ))?;
    let exposure: f32 = report
        .lines()
        .find(|line| line.contains("Overall exposure level"))
        .and_then(|line| {
            line.split_whitespace()
                .rev()
                .find_map(|word| word.parse().ok())
        })
        .context("systemd-analyze printed no exposure level")?;
    println!("exposure {exposure} (at most {MAX_EXPOSURE})");
    ensure!(
        exposure <= MAX_EXPOSURE,
        "exposure {exposure} is above {MAX_EXPOSURE}"
    );
    Ok(())
}

/// The golden suite on ONNX Runtime's own library, out of the Python package.
pub fn ort() -> Result<()> {
    let python = python("onnxruntime", &["onnxruntime==1.24.*"])?;
    let library = output(&mut command(
        &python.to_string_lossy(),
        &[
            "-c",
            "import glob, os, onnxruntime as o; print(glob.glob(os.path.join(os.path.dirname(o.__file__), 'capi', 'libonnxruntime.so.*'))[0])",
        ],
    ))?;
    // The whole workspace, so that dependencies keep the features they were built with.
    run(cargo(&[
        "test",
        "--workspace",
        "--features",
        "gaze-tests/ort",
        "--test",
        "backends",
    ])
    .env("ORT_DYLIB_PATH", library.trim()))
}

/// The live page in a real browser, against the real daemon.
pub fn browser() -> Result<()> {
    need(&[("chromium", "chromium"), ("node", "nodejs"), ("npm", "npm")])?;
    // As the tests build it: another selection of packages would build every dependency again.
    run(&mut cargo(&["test", "--workspace", "--no-run", "--quiet"]))?;
    let folder = root().join("tests/browser");
    run(command(
        "npm",
        &["ci", "--no-audit", "--no-fund", "--ignore-scripts"],
    )
    .current_dir(&folder))?;
    let target = std::env::var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| root().join("target").to_string_lossy().into_owned());
    run(command("npm", &["test", "--silent"])
        .env("GAZED", format!("{target}/debug/gazed"))
        .current_dir(&folder))
}

/// The training pipeline's style.
pub fn training() -> Result<()> {
    let python = python("ruff", &["ruff==0.14.*"])?;
    run(&mut command(
        &python.to_string_lossy(),
        &["-m", "ruff", "check", "models/training"],
    ))
}

/// The training pipeline's tests, and each of its stages once.
pub fn smoke() -> Result<()> {
    let training = root().join("models/training");
    let package = format!("{}[dev]", training.display());
    let python = python("training", &[&package])?;
    let out = scratch("smoke")?;
    let tests = ["-m", "pytest", "--quiet"];
    run(command(&python.to_string_lossy(), &tests).current_dir(&training))?;
    run(command(
        &python.to_string_lossy(),
        &["-m", "gaze_models.smoke", "--out", &out.to_string_lossy()],
    )
    .current_dir(&training))
}

/// Licences, banned crates and sources; advisories need a network that a build has not.
pub fn deny() -> Result<()> {
    if !is_installed("cargo-deny") {
        let tools = scratch("tools")?;
        run(&mut cargo(&[
            "install",
            "--quiet",
            "--locked",
            "cargo-deny",
            "--root",
            &tools.to_string_lossy(),
        ]))?;
        let program = tools.join("bin/cargo-deny");
        return run(&mut command(&program.to_string_lossy(), DENY));
    }
    run(&mut command("cargo-deny", DENY))
}

const DENY: &[&str] = &[
    "--all-features",
    "--config",
    ".config/deny.toml",
    "check",
    "licenses",
    "bans",
    "sources",
];

/// What each crate may use of ours, and, for the no_std half, of others.
///
/// The path tells the rule: `host` and `calibration` may use `firmware/*`, never the reverse.
const ALLOWED: &[(&str, &[&str])] = &[
    (
        "gaze-protocol",
        &["cobs", "crc", "heapless", "libm", "postcard", "serde"],
    ),
    (
        "gaze-signal",
        &["gaze-protocol", "heapless", "libm", "serde"],
    ),
    (
        "gaze-firmware",
        &["embedded-hal", "embedded-io", "gaze-protocol", "heapless"],
    ),
    (
        "gaze-calibration",
        &[
            "crc",
            "gaze-protocol",
            "nalgebra",
            "serde",
            "thiserror",
            "toml",
        ],
    ),
];

/// Our own crates that may be used by crates without a row in [`ALLOWED`].
const OURS: &[(&str, &[&str])] = &[
    ("gaze-models", &[]),
    ("gaze-lsl", &[]),
    ("gaze-observer", &["gaze-protocol"]),
    (
        "gaze-host",
        &[
            "gaze-protocol",
            "gaze-signal",
            "gaze-calibration",
            "gaze-lsl",
            "gaze-models",
            "gaze-observer",
        ],
    ),
    (
        "gaze-tests",
        &[
            "gaze-protocol",
            "gaze-signal",
            "gaze-calibration",
            "gaze-models",
            "gaze-observer",
            "gaze-host",
        ],
    ),
    ("xtask", &[]),
];

/// Which crate may depend on which.
pub fn dependencies() -> Result<()> {
    let text = output(&mut cargo(&["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let mut wrong = Vec::new();
    for package in metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?
    {
        let name = package["name"].as_str().unwrap_or_default();
        let strict = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name);
        let ours = OURS.iter().find(|(crate_name, _)| *crate_name == name);
        if strict.is_none() && ours.is_none() {
            bail!("{name} has no row in the dependency table of xtask");
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().unwrap_or_default();
            // Tests may use anything.
            if dependency["kind"] == "dev" {
                continue;
            }
            let is_allowed = match (strict, ours) {
                (Some((_, allowed)), _) => allowed.contains(&used),
                (None, Some((_, allowed))) => !used.starts_with("gaze-") || allowed.contains(&used),
                (None, None) => false,
            };
            if !is_allowed {
                wrong.push(format!("{name} → {used}"));
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "dependencies against the rule: {}",
        wrong.join(", ")
    );
    println!("dependency directions hold");
    Ok(())
}
