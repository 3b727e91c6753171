//! What each command does.

mod recordings;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gaze_calibration::UserName;
use sd_notify::NotifyState;
use tracing::{info, warn};

use crate::cli::{
    BoardCommand, CalibrateArgs, CalibrateCommand, Cli, Command, EventsArgs, ExplainArgs, FitArgs,
    PlotCommand, ProcessArgs, RunArgs,
};
use crate::config::Config;
use crate::daemon::{Daemon, Outputs};
use crate::doctor::{self, DoctorSettings};
use crate::metrics::Metrics;
use crate::notify::{Progress, Watchdog};
use crate::process::Input;
use crate::server::{Server, ServerSettings, SocketUse, socket_path};
use crate::stop::CaughtSignals;
use crate::terminal::say;
use crate::{
    board, calibrate, camera, coach, explain, gaze_file, process, report, scanpath, setup, users,
    watch,
};

/// How often the main thread looks after the watchdog.
const TURN: Duration = Duration::from_millis(500);

/// Runs the command that was given; `run` when there is none.
///
/// # Errors
/// What the command failed with, one sentence for the person at the terminal.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let named = cli.config;
    let config = || Config::find(named.as_deref());
    match cli.command {
        None => daemon(RunArgs::default(), config()?),
        Some(Command::Run(arguments)) => daemon(arguments, config()?),
        Some(Command::Watch(arguments)) => Ok(watch::watch(&arguments, &config()?.server)?),
        Some(Command::Process(arguments)) => process_recording(arguments, config()?),
        Some(Command::Explain(arguments)) => explain_recording(arguments, config()?),
        Some(Command::Record(arguments)) => recordings::record(arguments, config()?),
        Some(Command::Replay(arguments)) => recordings::replay(arguments, config()?),
        Some(Command::Export(arguments)) => recordings::export(arguments, config()?),
        Some(Command::Calibrate(CalibrateArgs {
            command: Some(CalibrateCommand::Fit(arguments)),
            ..
        })) => fit(arguments, config()?),
        Some(Command::Calibrate(arguments)) => Ok(coach::calibrate(&arguments, &config()?.server)?),
        Some(Command::Users { state, command }) => {
            let store = setup::profiles(&with_state(config()?, state))?;
            say(users::run(&command, &store)?.trim_end())?;
            if command.changes_profiles() {
                eprintln!("a gazed that runs takes this up when it starts next");
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Report { name, out, state }) => {
            let store = setup::profiles(&with_state(config()?, state))?;
            let profile = store.load(&UserName::new(&name)?)?;
            say(report::write(&profile, &out)?.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Events(arguments)) => events(&arguments),
        Some(Command::Plot {
            command: PlotCommand::Events(arguments),
        }) => {
            let (input, name) = (&arguments.input, arguments.recording.as_deref());
            gaze_file::plot(input, arguments.detector, name, &arguments.out)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Scanpath { command }) => scanpath::commands::run(command, &config()?),
        Some(Command::Doctor(arguments)) => {
            let report = doctor::examine(DoctorSettings {
                config: named.as_deref(),
                socket: arguments.socket.as_deref(),
                listen: arguments.listen,
            });
            if arguments.json {
                say(serde_json::to_string(&report)?)?;
            } else {
                say(report.to_string().trim_end())?;
            }
            Ok(report.exit_code())
        }
        Some(Command::ListCameras) => list_cameras(),
        Some(Command::CheckConfig { file }) => {
            setup::check_files(&file)?;
            say(format_args!("{}: no mistakes", file.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Version) => version(&config()?),
        Some(Command::Completions { shell }) => {
            let mut command = <Cli as clap::CommandFactory>::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "gazed", &mut script);
            say(String::from_utf8(script)?.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Board { command }) => {
            match command {
                BoardCommand::Info(arguments) => board::info(&arguments.port)?,
                BoardCommand::Test(arguments) => board::test(&arguments.port)?,
                BoardCommand::FlashHelp => say(board::flash_help())?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn with_state(mut config: Config, state: Option<PathBuf>) -> Config {
    config.user.state = state.or(config.user.state);
    config
}

fn daemon(arguments: RunArgs, mut config: Config) -> Result<ExitCode> {
    arguments.apply(&mut config);
    // Before anything that has to be left in order, such as the socket's file.
    let signals = CaughtSignals::new().context("cannot take signals")?;
    let metrics = Arc::new(Metrics::new());
    let server = bind_server(&config, &metrics)?;
    let outputs = Outputs {
        server: Some(server),
        events: None,
        metrics: Arc::clone(&metrics),
    };
    let daemon = Daemon::start(&config, outputs)?;
    let stop = daemon.stop_flag();

    signals
        .raise(stop.clone())
        .context("cannot start the thread that waits for signals")?;
    let mut watchdog = Watchdog::from_environment();
    tell_manager(NotifyState::Ready);
    let mut told = metrics.state();
    while !stop.wait(TURN) {
        let state = metrics.state();
        if state != told {
            tell_manager(NotifyState::Status(&state.message));
            told = state;
        }
        if watchdog.step(Progress::of(&metrics), Instant::now()) {
            tell_manager(NotifyState::Watchdog);
        }
    }
    tell_manager(NotifyState::Stopping);
    daemon.join()?;
    Ok(ExitCode::SUCCESS)
}

/// A word to systemd, where it started us.
fn tell_manager(word: NotifyState<'_>) {
    sd_notify::notify(&[word])
        .unwrap_or_else(|error| warn!("the service manager does not listen: {error}"));
}

/// Opens what clients connect to, and says where that is.
fn bind_server(config: &Config, metrics: &Arc<Metrics>) -> Result<Server> {
    let settings = ServerSettings {
        socket: Some(socket_path(
            config.server.socket.as_deref(),
            SocketUse::Serve,
        )?),
        socket_group: config.server.group.clone(),
        listen: Some(config.server.listen),
        access: config.server.access(),
        max_clients: config.server.max_clients as usize,
        outputs: config.outputs.clone(),
        client_queue: config.server.queue_records as usize,
        gives_frames: config.recording.frames,
        ..ServerSettings::default()
    };
    let server = Server::bind(settings, Arc::clone(metrics))?;
    if let Some(address) = server.page_address() {
        let (is_encrypted, asks_for_token) = server.page_access();
        let scheme = if is_encrypted { "https" } else { "http" };
        let asks = if asks_for_token {
            " (asks for the token)"
        } else {
            ""
        };
        info!("live page: {scheme}://{address}/{asks}");
    }
    if let Some(path) = server.socket_path() {
        info!(
            "event socket: {} (see it with: gazed watch)",
            path.display()
        );
    }
    for (name, address) in server.outputs() {
        info!("{name}: {address}");
    }
    if let Some(mqtt) = &config.outputs.mqtt {
        info!("mqtt: sends records to the broker at {}", mqtt.broker);
    }
    Ok(server)
}

fn process_recording(arguments: ProcessArgs, mut config: Config) -> Result<ExitCode> {
    let fps = arguments.fps.unwrap_or(config.source.frames_per_s);
    arguments.chain.apply(&mut config);
    let input = Input::new(
        &arguments.input,
        fps,
        arguments.independent,
        arguments.frames,
    )?;
    let n_unreadable = process::process(&config, &input, &arguments.out)?;
    Ok(after_recording(n_unreadable))
}

fn explain_recording(arguments: ExplainArgs, mut config: Config) -> Result<ExitCode> {
    let fps = config.source.frames_per_s;
    arguments.chain.apply(&mut config);
    let input = Input::new(
        &arguments.input,
        fps,
        arguments.independent,
        arguments.frames,
    )?;
    let summary = explain::explain(&config, &input, &arguments.out, |line| {
        // What is wrong with the terminal shows below; the pictures are what was asked for.
        let _ = say(line);
    })?;
    say(summary.to_string().trim_end())?;
    Ok(after_recording(summary.n_unreadable))
}

fn fit(arguments: FitArgs, mut config: Config) -> Result<ExitCode> {
    let fps = arguments.fps.unwrap_or(config.source.frames_per_s);
    arguments.chain.apply(&mut config);
    let input = Input::new(&arguments.input, fps, arguments.independent, None)?;
    let fitted = calibrate::fit_recording(&config, &input, &arguments.targets, &arguments.user)?;
    say(&fitted)?;
    Ok(after_recording(fitted.n_unreadable))
}

fn events(arguments: &EventsArgs) -> Result<ExitCode> {
    let (out, event_file) = (&arguments.out, arguments.events.as_deref());
    let started = Instant::now();
    let summary = gaze_file::events(&arguments.input, arguments.detector, out, event_file)?;
    eprintln!(
        "{} samples of {} recordings, {} events, in {:.1} s; decision delay {} ms",
        summary.samples,
        summary.recordings,
        summary.events,
        started.elapsed().as_secs_f32(),
        summary.delay.as_us() / 1000,
    );
    Ok(ExitCode::SUCCESS)
}

/// 1 when some pictures could not be read; each has been named.
fn after_recording(n_unreadable: u64) -> ExitCode {
    if n_unreadable == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("gazed: {n_unreadable} picture(s) could not be read");
    ExitCode::FAILURE
}

fn list_cameras() -> Result<ExitCode> {
    let cameras = camera::list_cameras();
    if cameras.is_empty() {
        say("no camera found; CSI cameras: gazed run --source \"command:rpicam-vid …\"")?;
    }
    for camera in cameras {
        let name = camera.stable_id.as_ref().unwrap_or(&camera.device);
        say(format_args!(
            "v4l2:{}\n  {} ({})",
            name.display(),
            camera.card,
            camera.device.display()
        ))?;
        for format in camera.formats {
            say(format_args!("  {format}"))?;
        }
        if !camera.controls.is_empty() {
            say(format_args!("  controls: {}", camera.controls.join(", ")))?;
        }
        if let Some(problem) = camera.problem {
            say(format_args!("  cannot be used: {problem}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn version(config: &Config) -> Result<ExitCode> {
    say(concat!("gazed ", env!("CARGO_PKG_VERSION")))?;
    for model in setup::models(config)?.iter() {
        say(format_args!("{:<16} {}", model.name(), model.sha256))?;
    }
    for record in setup::scanpath(config)?.1 {
        say(format_args!("{:<16} {}", record.name, record.sha256))?;
    }
    Ok(ExitCode::SUCCESS)
}
