//! `cargo xtask`: what continuous integration and releases run, one command a step.

mod bench;
mod bench_events;
mod boards;
mod checks;
mod clients;
mod cost;
mod deb;
mod fuzz;
mod machine;
mod pi;
mod server_bench;
mod shell;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Checks, benches and tools of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    /// The step
    #[command(subcommand)]
    step: Step,
}

/// One step; `ci` runs them all, save what takes long: benches, `smoke`, `fuzz`, `deb`, `pi` and `cost`.
#[derive(Subcommand)]
enum Step {
    /// Every check below, in order, stopping at the first that fails
    Ci,
    /// Formatting
    Fmt,
    /// clippy without warnings, with and without optional features
    Clippy,
    /// rustdoc without warnings
    Doc,
    /// The crates of `firmware/` on bare metal (thumbv6m): images, their sizes, emulated boards
    Nostd,
    /// The golden suite on ONNX Runtime
    Ort,
    /// The live page in headless Chromium against the real daemon
    Browser,
    /// Programs of others against the real daemon: PyGaze, pyzmq, pylsl, pandas, the BIDS validator
    Clients {
        /// PsychoPy instead, which needs 1.4 GB and a virtual display; not part of `ci`
        #[arg(long)]
        heavy: bool,
    },
    /// The unit file: `systemd-analyze verify` and its exposure
    Systemd,
    /// Which crate may depend on which
    Dependencies,
    /// Licences, banned crates and sources
    Deny,
    /// Lint of the training pipeline
    Training,
    /// Tests of the training pipeline and a run of most of its stages on drawn people; not part of `ci`,
    /// for PyTorch is 5 GB
    Smoke,
    /// Every parser of bytes from outside; needs cargo-fuzz and a nightly compiler
    Fuzz(fuzz::FuzzArgs),
    /// The Debian package, tried out in a folder; needs a release build
    Deb(deb::DebArgs),
    /// The package's trials in the virtual Pi: arm64 Debian with systemd and a camera, emulated; root
    Pi(pi::PiArgs),
    /// What a frame costs a Pi 4, in instructions, counted by an emulator; root
    Cost(cost::CostArgs),
    /// Speed and memory side by side with MediaPipe, in one run
    Bench {
        /// Half an hour of media time for the memory-growth run instead of one minute
        #[arg(long)]
        long: bool,
        /// One part alone
        #[command(subcommand)]
        part: Option<BenchPart>,
    },
}

/// A part of the benches.
#[derive(Subcommand)]
enum BenchPart {
    /// A thousand subscribers and a hundred hostile clients
    Server,
    /// The scanpath transformer's step and encoder beside the conditional logit and OAT
    Scanpath {
        /// A Python with what models/training needs, to time the references as well
        #[arg(long, value_name = "PATH")]
        python: Option<std::path::PathBuf>,
    },
    /// Event detectors on hand-labelled recordings, beside REMoDNaV, I2MC and pymovements
    Events {
        /// Folder with gazecom/, lookatpoint/ and lund2013/
        #[arg(long, value_name = "DIR")]
        data: std::path::PathBuf,
    },
}

fn main() -> Result<()> {
    match Cli::parse().step {
        Step::Ci => {
            checks::fmt()?;
            checks::dependencies()?;
            checks::clippy()?;
            checks::doc()?;
            checks::systemd()?;
            boards::all()?;
            checks::ort()?;
            checks::browser()?;
            clients::run_all()?;
            checks::training()?;
            checks::deny()
        }
        Step::Fmt => checks::fmt(),
        Step::Clippy => checks::clippy(),
        Step::Doc => checks::doc(),
        Step::Nostd => boards::all(),
        Step::Ort => checks::ort(),
        Step::Browser => checks::browser(),
        Step::Clients { heavy: false } => clients::run_all(),
        Step::Clients { heavy: true } => clients::run_heavy(),
        Step::Systemd => checks::systemd(),
        Step::Dependencies => checks::dependencies(),
        Step::Deny => checks::deny(),
        Step::Training => checks::training(),
        Step::Smoke => checks::smoke(),
        Step::Fuzz(arguments) => fuzz::run_all(&arguments),
        Step::Deb(arguments) => deb::build(&arguments),
        Step::Pi(arguments) => pi::run_all(&arguments),
        Step::Cost(arguments) => cost::run_all(&arguments),
        Step::Bench {
            part: Some(BenchPart::Server),
            ..
        } => server_bench::run_all(),
        Step::Bench {
            part: Some(BenchPart::Scanpath { python }),
            ..
        } => bench::scanpath(python.as_deref()),
        Step::Bench {
            part: Some(BenchPart::Events { data }),
            ..
        } => bench_events::run_all(&data),
        Step::Bench { part: None, long } => bench::run_all(long),
    }
}
