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
use gaze_host::terminal::in_full;
use gaze_host::users::UsersError;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Exit codes as in sysexits.h: a mistake in settings, models or profile; an internal fault.
const EX_CONFIG: u8 = 78;
const EX_SOFTWARE: u8 = 70;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gazed: {}", in_full(error.as_ref()));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// What is logged when `RUST_LOG` names nothing else.
const LOG_LEVELS: &str = "info,tract=error";

/// `RUST_LOG` takes levels by target (`info,gaze_host::camera=debug`). Filters by span and field would cost
/// the program a megabyte of regular expressions.
fn start_logging() {
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let (levels, mistake) = match asked.parse::<Targets>() {
        Ok(levels) if !asked.is_empty() => (levels, None),
        Ok(_) => (usual_levels(), None),
        Err(error) => (usual_levels(), Some(error)),
    };
    let log = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        // Under systemd the journal has its own clock.
        .without_time();
    tracing_subscriber::registry()
        .with(log.with_filter(levels))
        .init();
    if let Some(error) = mistake {
        tracing::warn!("RUST_LOG={asked}: {error}; {LOG_LEVELS} is used");
    }
}

fn usual_levels() -> Targets {
    LOG_LEVELS.parse().expect("the constant is well formed")
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
