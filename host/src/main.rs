//! `gazed`: arguments → logging → settings → command → exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use gaze_host::cli::Cli;
use gaze_host::commands;
use gaze_host::config::ConfigError;
use gaze_host::daemon::{RunError, StartError};
use gaze_host::process::ProcessError;
use gaze_host::setup::SetupError;
use tracing_subscriber::EnvFilter;

/// Exit codes as in sysexits.h: a mistake in settings, models or profile; an internal fault.
const EX_CONFIG: u8 = 78;
const EX_SOFTWARE: u8 = 70;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gazed: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn start_logging() {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,tract=error"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // Under systemd the journal has its own clock.
    log.without_time().init();
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let is_setup = error.is::<ConfigError>()
        || error.is::<SetupError>()
        || matches!(error.downcast_ref(), Some(StartError::Setup(_)))
        || matches!(error.downcast_ref(), Some(ProcessError::Setup(_)));
    if is_setup {
        EX_CONFIG
    } else {
        match error.downcast_ref() {
            // A file that is not there is for the user to mend.
            None | Some(RunError::Source(_)) => 1,
            Some(_) => EX_SOFTWARE,
        }
    }
}
