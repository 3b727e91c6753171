//! `gazed record`, `gazed replay`, `gazed export`.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, select};

use crate::cli::{ExportArgs, RecordArgs, ReplayArgs};
use crate::config::Config;
use crate::demand::Demand;
use crate::metrics::Metrics;
use crate::output_file;
use crate::recording::{
    self, BidsNames, BlockSettings, Exports, RecordSettings, RecordingEnd, ReplayError,
};
use crate::server::{
    ControlRequest, PathsRequest, PreviewSlot, ServerLinks, SocketUse, socket_path,
};
use crate::setup;
use crate::stop::{CaughtSignals, StopFlag};

pub(super) fn record(arguments: RecordArgs, config: Config) -> Result<ExitCode> {
    let path = path_of(&arguments.name, arguments.state, &config)?;
    let settings = RecordSettings {
        socket: socket_path(
            arguments
                .socket
                .as_deref()
                .or(config.server.socket.as_deref()),
            SocketUse::Connect,
        )?,
        frames: arguments.frames,
        from: arguments.from,
        blocks: BlockSettings {
            block_ms: u64::from(config.recording.block_ms),
            sync: config.recording.sync,
        },
        acknowledges: arguments.acknowledge,
        path: path.clone(),
    };
    let stop = stop_on_signals()?;
    let recorded = recording::record(&settings, &stop)?;
    eprintln!("{} records in {}", recorded.n_records, path.display());
    if settings.frames {
        eprintln!(
            "{} pictures; {} of {} samples have none: dropped, or on its way at the end",
            recorded.n_pictures,
            recorded.n_samples.saturating_sub(recorded.n_pictures),
            recorded.n_samples
        );
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn replay(arguments: ReplayArgs, mut config: Config) -> Result<ExitCode> {
    let path = path_of(&arguments.name, arguments.state, &config)?;
    if let Some(out) = arguments.out {
        let file: Box<dyn Write> = if out == Path::new("-") {
            Box::new(io::stdout().lock())
        } else {
            let file = output_file::create(&out, &[&path]);
            Box::new(file.with_context(|| format!("cannot write {}", out.display()))?)
        };
        return match recording::write_lines(&path, &mut BufWriter::new(file)) {
            Ok(end) => Ok(say_end(&path, end)),
            // Whoever read the output has gone (`gazed replay … | head`).
            Err(ReplayError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => Err(error.into()),
        };
    }
    if let Some(socket) = arguments.socket {
        config.server.socket = Some(socket);
    }
    if let Some(listen) = arguments.listen {
        config.server.listen = listen;
    }
    let server = super::bind_server(&config, &Arc::new(Metrics::new()))?;
    let publisher = server.publisher();
    let stop = stop_on_signals()?;
    let (controls, asked) = crossbeam_channel::bounded(1);
    let (paths, asked_for_paths) = crossbeam_channel::bounded(1);
    std::thread::Builder::new()
        .name("gaze-replay".to_owned())
        .spawn(move || refuse_all(&asked, &asked_for_paths))
        .context("cannot start the thread that answers clients")?;
    let links = ServerLinks {
        preview: Arc::new(PreviewSlot::new()),
        controls,
        paths,
        demand: Demand::default(),
    };
    let serving = std::thread::Builder::new()
        .name("gaze-server".to_owned())
        .spawn(move || server.run(links))
        .context("cannot start the server")?;
    let played = recording::play(&path, arguments.speed, &publisher, &stop);
    drop(publisher);
    let served = serving.join();
    served.unwrap_or_else(|_| panic!("the server's own message is above"))?;
    match played {
        Ok(end) => Ok(say_end(&path, end)),
        Err(ReplayError::Stopped) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    }
}

/// Answers whoever wants to change something, or predict, until the server ends: nobody is tracked.
fn refuse_all(asked: &Receiver<ControlRequest>, asked_for_paths: &Receiver<PathsRequest>) {
    const WHY: &str =
        "this is a replay of a recording: scenes, calibrations and paths need a running gazed";
    loop {
        select! {
            recv(asked) -> request => match request {
                Ok(request) => request.answer(Err(WHY.to_owned())),
                Err(_) => return,
            },
            recv(asked_for_paths) -> request => match request {
                Ok(request) => request.answer(Err(WHY.to_owned())),
                Err(_) => return,
            },
        }
    }
}

pub(super) fn export(arguments: ExportArgs, config: Config) -> Result<ExitCode> {
    let path = path_of(&arguments.name, arguments.state, &config)?;
    let exports = Exports {
        csv: arguments.csv,
        parquet: arguments.parquet,
        bids: arguments.bids,
        frames: arguments.frames,
        names: BidsNames {
            subject: arguments.subject,
            task: arguments.task,
        },
    };
    let end = recording::export(&path, &exports)?;
    Ok(say_end(&path, end))
}

fn path_of(name: &str, state: Option<PathBuf>, config: &Config) -> Result<PathBuf> {
    let state = match state {
        Some(state) => state,
        None => setup::state_folder(config)?,
    };
    Ok(recording::path_of(name, &state))
}

/// Says it when a recording does not end as it should; all that is in it was used.
fn say_end(path: &Path, end: RecordingEnd) -> ExitCode {
    match end {
        RecordingEnd::Closed => {}
        RecordingEnd::Open => eprintln!(
            "{}: was not closed: the recorder was killed, or still records",
            path.display()
        ),
        RecordingEnd::Torn { bytes } => eprintln!(
            "{}: ends within a block: the recorder was killed, or the power failed; its last {bytes} bytes are not used",
            path.display()
        ),
    }
    ExitCode::SUCCESS
}

/// A flag that Ctrl-C and `kill` raise.
fn stop_on_signals() -> Result<StopFlag> {
    let stop = StopFlag::new();
    CaughtSignals::new()
        .and_then(|signals| signals.raise(stop.clone()))
        .context("cannot take signals")?;
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::personal::PersonalMessage;
    use crate::record::ScanpathRequest;
    use crate::server::Control;

    #[test]
    fn clients_of_a_replay_are_told_that_it_is_one() {
        let (controls, asked) = crossbeam_channel::bounded(1);
        let (paths, asked_for_paths) = crossbeam_channel::bounded(1);
        let answering = std::thread::spawn(move || refuse_all(&asked, &asked_for_paths));
        let (request, answer) = ControlRequest::new(Control::Personal(PersonalMessage::Abandon));
        controls.send(request).unwrap();
        let why = answer.blocking_recv().unwrap().unwrap_err();
        assert!(why.contains("this is a replay"), "{why}");
        let (request, answer) = PathsRequest::new(ScanpathRequest {
            samples: 1,
            seed: 0,
        });
        paths.send(request).unwrap();
        let why = answer.blocking_recv().unwrap().unwrap_err();
        assert!(why.contains("this is a replay"), "{why}");
        drop((controls, paths));
        answering.join().unwrap();
    }
}
