//! `cargo xtask fuzz`: every parser of bytes that come from outside, for some seconds each.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::shell::{command, is_installed, root, run, scratch};

/// Options of the step.
#[derive(clap::Args)]
pub struct FuzzArgs {
    /// Seconds for each target
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// These targets alone; their names are those of the files in tests/fuzz/fuzz_targets
    targets: Vec<String>,
}

/// Runs the targets one after the other and stops at the first finding, whose input it names.
///
/// New inputs are collected in the target folder; what is kept of them in `tests/fuzz/corpus` is taken by
/// `cargo test` as well.
pub fn run_all(arguments: &FuzzArgs) -> Result<()> {
    ensure!(
        is_installed("cargo-fuzz"),
        "cargo-fuzz is missing: cargo install cargo-fuzz; it also needs: rustup toolchain install nightly"
    );
    let mut targets = arguments.targets.clone();
    if targets.is_empty() {
        targets = known()?;
    }
    for target in targets {
        let collected = scratch("fuzz")?.join(&target);
        std::fs::create_dir_all(&collected)?;
        let mut fuzz = command("rustup", &["run", "nightly", "cargo", "fuzz", "run"]);
        // There is no unsafe code of ours that a sanitizer could watch; without one it is twice as fast.
        fuzz.args(["--fuzz-dir", "tests/fuzz", "--sanitizer", "none"])
            .arg(&target)
            .arg(collected)
            .arg(PathBuf::from("tests/fuzz/corpus").join(&target))
            .arg("--")
            .arg(format!("-max_total_time={}", arguments.seconds))
            // Seconds for one input, its longest length, and what all of it may take of memory.
            .args(["-timeout=20", "-max_len=65536", "-rss_limit_mb=2048"])
            .arg("-print_final_stats=1")
            // This step's own toolchain must not choose that of the build.
            .env_remove("CARGO")
            .env_remove("RUSTUP_TOOLCHAIN");
        run(&mut fuzz)?;
    }
    Ok(())
}

fn known() -> Result<Vec<String>> {
    let folder = root().join("tests/fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))? {
        let name = entry?.file_name();
        names.extend(
            name.to_string_lossy()
                .strip_suffix(".rs")
                .map(str::to_owned),
        );
    }
    names.sort();
    Ok(names)
}
