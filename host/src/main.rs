//! `gazed`: arguments → logging → settings → command → exit code.

use std::process::ExitCode;

use clap::Parser;
use gaze_calibration::ProfileError;
use gaze_host::calibrate::CalibrateError;
use gaze_host::cli::Cli;
use gaze_host::commands;
use gaze_host::config::ConfigError;
use gaze_host::daemon::{RunError, StartError};
use gaze_host::explain::ExplainError;
use gaze_host::process::ProcessError;
use gaze_host::server::{AccessError, ServerError};
use gaze_host::setup::SetupError;
use gaze_host::users::UsersError;
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
        .with_ansi(false)
        .with_target(false);
    // Under systemd the journal has its own clock.
    log.without_time().init();
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if is_of_setup(error) {
        return EX_CONFIG;
    }
    match error.downcast_ref() {
        // A file that is not there is for the user to mend.
        None | Some(RunError::Source(_)) => 1,
        Some(_) => EX_SOFTWARE,
    }
}

/// Whether settings, models or a profile are to blame.
fn is_of_setup(error: &anyhow::Error) -> bool {
    let in_process = |error: &ProcessError| matches!(error, ProcessError::Setup(_));
    error.is::<ConfigError>()
        || error.is::<SetupError>()
        || error.is::<ProfileError>()
        || error.is::<AccessError>()
        || matches!(error.downcast_ref(), Some(StartError::Setup(_)))
        || matches!(error.downcast_ref(), Some(UsersError::Profile(_)))
        || error.downcast_ref().is_some_and(in_process)
        || error.downcast_ref().is_some_and(|error| match error {
            ExplainError::Process(error) => in_process(error),
            _ => false,
        })
        || error.downcast_ref().is_some_and(|error| match error {
            CalibrateError::Setup(_) | CalibrateError::Profile(_) => true,
            CalibrateError::Process(error) => in_process(error),
            _ => false,
        })
        || matches!(
            error.downcast_ref(),
            Some(
                ServerError::Access(_)
                    | ServerError::NoSuchGroup { .. }
                    | ServerError::NotLoopback { .. }
                    | ServerError::OutputNotLoopback { .. }
                    | ServerError::SocketPathTooLong { .. }
            )
        )
}
