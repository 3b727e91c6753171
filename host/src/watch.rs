//! `gazed watch`: prints what a running daemon sends, a line for each record.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tracing::info;

use crate::cli::WatchArgs;
use crate::client::{ConnectError, connect, subscription};
use crate::config::ServerConfig;
use crate::record::{
    Calibration, Eyes, Header, Interval, NextObject, NextObjects, ObjectVisit, Por, Record,
    RecordKind, Sample,
};
use crate::server::{NoSocketPath, SocketUse, socket_path};

/// Pause between two attempts to connect when waiting for a daemon; short beside the tenth of a second
/// that a daemon takes to its first sample.
const RETRY: Duration = Duration::from_millis(20);

/// Longest pause between two connections that a daemon ends at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What to watch.
#[derive(Clone, Debug)]
pub struct WatchSettings {
    /// The daemon's socket; see [`crate::server::socket_path`].
    pub socket: PathBuf,
    /// Kinds of record; empty means all.
    pub kinds: Vec<RecordKind>,
    /// Print the records as they come (JSON Lines) and not in words.
    pub is_json: bool,
    /// Wait for a daemon that is not there yet, and again when it has gone.
    pub waits: bool,
}

/// Why watching ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// There is no place for a socket.
    #[error(transparent)]
    NoSocketPath(#[from] NoSocketPath),
    /// The daemon cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Nobody listens yet.
    #[error("{0}; --wait waits for it")]
    NoDaemon(ConnectError),
    /// The daemon closed the connection.
    #[error(
        "{}: gazed has stopped, or this program did not read fast enough; --wait goes on when it is back", path.display()
    )]
    Ended {
        /// The socket.
        path: PathBuf,
    },
    /// The output failed.
    #[error("cannot write the output: {0}")]
    Output(#[source] std::io::Error),
}

/// How one connection ended.
enum Ended {
    ByDaemon {
        /// Records that came before.
        n_records: u64,
    },
    /// Whoever read the output has gone (`gazed watch | head`).
    ByReader,
}

/// Prints everything to standard output until that is closed, which is a success. The socket is the
/// one named, else that of the settings.
///
/// # Errors
/// [`WatchError`]; without `--wait` also when the daemon stops.
pub fn watch(arguments: &WatchArgs, config: &ServerConfig) -> Result<ExitCode, WatchError> {
    let given = arguments.socket.as_deref().or(config.socket.as_deref());
    let settings = WatchSettings {
        socket: socket_path(given, SocketUse::Connect)?,
        kinds: Vec::new(),
        is_json: arguments.json,
        waits: arguments.wait,
    };
    print_records(&settings, &mut std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints records until `out` is closed, which is a success. Each line is flushed as it comes.
///
/// # Errors
/// [`WatchError`]; without [`WatchSettings::waits`] also when the daemon stops.
pub fn print_records(settings: &WatchSettings, out: &mut impl Write) -> Result<(), WatchError> {
    let mut pause = RETRY;
    loop {
        let stream = match connect(&settings.socket) {
            Err(ConnectError::NoDaemon { path }) if settings.waits => {
                info!("waiting for gazed at {}", path.display());
                wait_for(&path)?
            }
            Err(nobody @ ConnectError::NoDaemon { .. }) => {
                return Err(WatchError::NoDaemon(nobody));
            }
            connected => connected?,
        };
        match print_all(stream, settings, out)? {
            Ended::ByReader => return Ok(()),
            Ended::ByDaemon { n_records } if settings.waits => {
                pause = next_pause(pause, n_records);
                std::thread::sleep(pause);
            }
            Ended::ByDaemon { .. } => {
                let path = settings.socket.clone();
                return Err(WatchError::Ended { path });
            }
        }
    }
}

fn wait_for(path: &Path) -> Result<UnixStream, ConnectError> {
    loop {
        match connect(path) {
            Err(ConnectError::NoDaemon { .. }) => std::thread::sleep(RETRY),
            connected => return connected,
        }
    }
}

/// How long to wait after a connection that a daemon has ended: longer each time that it sent
/// nothing, because it is full or not gazed at all.
fn next_pause(last: Duration, n_records: u64) -> Duration {
    match n_records {
        0 => (last * 2).min(LONGEST_PAUSE),
        _ => RETRY,
    }
}

fn print_all(
    stream: UnixStream,
    settings: &WatchSettings,
    out: &mut impl Write,
) -> Result<Ended, WatchError> {
    let message = subscription(&settings.kinds);
    if writeln!(&stream, "{message}").is_err() {
        return Ok(Ended::ByDaemon { n_records: 0 });
    }
    let mut records = BufReader::new(stream);
    let mut line = String::new();
    let mut words = String::new();
    let mut n_records = 0;
    loop {
        line.clear();
        match records.read_line(&mut line) {
            Ok(n) if n > 0 && line.ends_with('\n') => {}
            // Closed, perhaps in the middle of a line.
            _ => return Ok(Ended::ByDaemon { n_records }),
        }
        n_records += 1;
        words.clear();
        let shown = if settings.is_json {
            &line
        } else {
            match serde_json::from_str(&line) {
                Ok(record) => in_words(&record, &mut words),
                // A record of a newer daemon: better raw than not at all.
                Err(_) => words.push_str(&line),
            }
            &words
        };
        match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Ended::ByReader),
            Err(error) => return Err(WatchError::Output(error)),
        }
    }
}

/// One line for one record, in columns: time, kind, what, where, more.
fn in_words(record: &Record, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = match record {
        Record::Header(header) => header_in_words(header, out),
        Record::Sample(sample) => sample_in_words(sample, out),
        Record::Fixation(fixation) => writeln!(
            out,
            "{} {:<18} {}  spread {:.1}°",
            start("fixation", fixation.onset_us),
            length(fixation.onset_us, fixation.offset_us),
            place(fixation.por.as_ref()),
            fixation.dispersion_deg,
        ),
        Record::Saccade(saccade) => writeln!(
            out,
            "{} {:<18} {}  {:.1}°, peak {:.0} °/s",
            start("saccade", saccade.onset_us),
            length(saccade.onset_us, saccade.offset_us),
            place(saccade.por.as_ref()),
            saccade.amplitude_deg,
            saccade.peak_velocity_deg_s,
        ),
        Record::Pursuit(pursuit) => writeln!(
            out,
            "{} {:<18} {}  {:.1}°",
            start("pursuit", pursuit.onset_us),
            length(pursuit.onset_us, pursuit.offset_us),
            place(pursuit.por.as_ref()),
            pursuit.amplitude_deg,
        ),
        // The event's own line comes when it is over; `--json` shows these too.
        Record::EventBegin(_) | Record::EventUpdate(_) => Ok(()),
        Record::Blink(blink) => interval_in_words("blink", blink, out),
        Record::Gap(gap) => interval_in_words("gap", gap, out),
        Record::ObjectEnter(visit) => visit_in_words("enter", visit.onset_us, visit, out),
        Record::ObjectLeave(visit) => visit_in_words("leave", visit.offset_us, visit, out),
        // `watch` does not ask for the time.
        Record::Time(_) => Ok(()),
        Record::NextObjects(next) => next_in_words(next, out),
        // Only clients that ask for paths and pictures get them.
        Record::Scanpaths(_) | Record::Picture(_) => Ok(()),
        Record::Calibration(calibration) => calibration_in_words(calibration, out),
        Record::Error(error) => writeln!(out, "{:>12}  error     {}", "", error.message),
    };
}

/// The three most probable objects.
fn next_in_words(next: &NextObjects, out: &mut String) -> std::fmt::Result {
    write!(out, "{}", start("next", next.offset_us))?;
    for NextObject {
        object,
        probability,
        dwell_ms,
    } in next.objects.iter().take(3)
    {
        write!(
            out,
            " {object} {:.0} % ({dwell_ms:.0} ms)",
            100.0 * probability
        )?;
    }
    writeln!(out, "  end {:.0} %", 100.0 * next.end_probability)
}

fn calibration_in_words(calibration: &Calibration, out: &mut String) -> std::fmt::Result {
    let stage = format!("{:?}", calibration.stage).to_lowercase();
    write!(
        out,
        "{} {} of {}",
        start("calibrate", calibration.t_us.unwrap_or(0)),
        stage,
        calibration.user
    )?;
    if let Some(target) = &calibration.target {
        write!(out, "  {} of {}", target.index + 1, target.of)?;
        write!(
            out,
            "  x {:>6.1} mm  y {:>6.1} mm",
            target.x_mm, target.y_mm
        )?;
    }
    if let Some(message) = &calibration.message {
        write!(out, "  {message}")?;
    }
    writeln!(out)
}

/// The first two columns.
fn start(kind: &str, t_us: u64) -> String {
    format!("{:>10.3} s  {kind:<8} ", t_us as f64 * 1e-6)
}

fn length(onset_us: u64, offset_us: u64) -> String {
    format!("{:.0} ms", offset_us.saturating_sub(onset_us) as f64 * 1e-3)
}

/// The point of regard, always equally wide.
fn place(por: Option<&Por>) -> String {
    match por {
        Some(por) => format!("x {:>6.1} mm  y {:>6.1} mm", por.x_mm, por.y_mm),
        None => format!("{:25}", ""),
    }
}

fn header_in_words(header: &Header, out: &mut String) -> std::fmt::Result {
    let size = match header.frame_size_px {
        Some([width, height]) => format!(", {width}x{height} px"),
        None => String::new(),
    };
    writeln!(
        out,
        "{}: {}{size}; screen {:.0}x{:.0} mm; {}",
        header.program,
        header.source,
        header.screen.width_mm,
        header.screen.height_mm,
        match &header.user {
            Some(user) => format!("user {user}"),
            None => String::from("no user: gaze is uncalibrated"),
        },
    )
}

fn sample_in_words(sample: &Sample, out: &mut String) -> std::fmt::Result {
    let validity = match serde_json::to_value(sample.validity) {
        Ok(serde_json::Value::String(name)) => name.replace('_', " "),
        _ => String::new(),
    };
    write!(
        out,
        "{} {validity:<18} {}",
        start("sample", sample.t_us),
        place(sample.por.as_ref()),
    )?;
    match &sample.gaze {
        Some(gaze) => write!(
            out,
            "  yaw {:>6.1}°  pitch {:>6.1}°",
            gaze.yaw_rad.to_degrees(),
            gaze.pitch_rad.to_degrees(),
        )?,
        None => write!(out, "{:28}", "")?,
    }
    if let Some(Eyes { left, right }) = &sample.eyes {
        let openness = |eye: &Option<crate::record::Eye>| match eye {
            Some(eye) => format!("{:.1}", eye.openness),
            None => String::from("  –"),
        };
        write!(out, "  eyes {} {}", openness(left), openness(right))?;
    }
    if let Some(latency_us) = sample.latency_us {
        write!(out, "  {:>5.1} ms", latency_us as f64 * 1e-3)?;
    }
    if let Some(error) = &sample.error {
        write!(out, "  {error}")?;
    }
    out.push('\n');
    Ok(())
}

fn interval_in_words(kind: &str, interval: &Interval, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "{} {}",
        start(kind, interval.onset_us),
        length(interval.onset_us, interval.offset_us),
    )
}

fn visit_in_words(
    kind: &str,
    t_us: u64,
    visit: &ObjectVisit,
    out: &mut String,
) -> std::fmt::Result {
    write!(out, "{} {}", start(kind, t_us), visit.object)?;
    if let Some(dwell_us) = visit.dwell_us {
        write!(out, "  after {}", length(0, dwell_us))?;
    }
    out.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn words(json: &str) -> String {
        let mut out = String::new();
        in_words(&serde_json::from_str(json).unwrap(), &mut out);
        out
    }

    #[test]
    fn lines_stand_in_columns() {
        let fixation = words(
            r#"{"type":"fixation","onset_us":12000000,"offset_us":12312400,
                "por":{"x_mm":123.5,"y_mm":45.0,"x":0.2,"y":0.15},"dispersion_deg":0.84}"#,
        );
        assert_eq!(
            fixation,
            "    12.000 s  fixation  312 ms             x  123.5 mm  y   45.0 mm  spread 0.8°\n"
        );
        let blink = words(r#"{"type":"blink","onset_us":1500000,"offset_us":1620000}"#);
        assert_eq!(blink, "     1.500 s  blink     120 ms\n");
        let leave = words(
            r#"{"type":"object_leave","object":"ok","onset_us":1000000,"offset_us":1340000,"dwell_us":340000}"#,
        );
        assert_eq!(leave, "     1.340 s  leave     ok  after 340 ms\n");
        let sample = words(
            r#"{"type":"sample","seq":1,"frame":1,"size_px":[640,480],"t_us":33333,
                "validity":"no_face","face":null,"eyes":null,"head":null,"gaze":null,
                "features":null,"por":null,"latency_us":8123}"#,
        );
        let column = |line: &str, what| line.find(what).unwrap();
        assert_eq!(column(&sample, "no face"), column(&fixation, "312 ms"));
        assert!(sample.ends_with("8.1 ms\n"));
    }

    struct Daemon {
        socket: PathBuf,
        thread: std::thread::JoinHandle<String>,
        _folder: tempfile::TempDir,
    }

    /// Takes one client, hears its subscription, says `records` and goes.
    fn daemon(records: &'static str) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("gazed.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let path = socket.clone();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            std::fs::remove_file(path).unwrap();
            let mut subscription = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            reader.read_line(&mut subscription).unwrap();
            stream.write_all(records.as_bytes()).unwrap();
            subscription
        });
        Daemon {
            socket,
            thread,
            _folder: folder,
        }
    }

    fn settings(socket: &Path, is_json: bool) -> WatchSettings {
        WatchSettings {
            socket: socket.to_path_buf(),
            kinds: Vec::new(),
            is_json,
            waits: false,
        }
    }

    #[test]
    fn json_lines_come_out_as_they_came_in_and_the_end_is_told() {
        let records =
            "{\"type\":\"header\",\"of\":\"a newer daemon\"}\n{\"type\":\"blink\"}\n{\"type\":\"bl";
        let daemon = daemon(records);
        let mut out = Vec::new();
        let ended = print_records(&settings(&daemon.socket, true), &mut out).unwrap_err();
        assert!(matches!(ended, WatchError::Ended { .. }));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            &records[..records.rfind('\n').unwrap() + 1]
        );
        assert_eq!(
            daemon.thread.join().unwrap(),
            "{\"type\":\"subscribe\",\"types\":[]}\n"
        );
    }

    #[test]
    fn a_record_of_a_newer_daemon_is_shown_raw() {
        let daemon = daemon("{\"type\":\"wink\"}\n");
        let mut out = Vec::new();
        print_records(&settings(&daemon.socket, false), &mut out).unwrap_err();
        assert_eq!(out, b"{\"type\":\"wink\"}\n");
        daemon.thread.join().unwrap();
    }

    #[test]
    fn a_reader_that_goes_is_a_good_end() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let daemon = daemon("{\"type\":\"blink\"}\n");
        print_records(&settings(&daemon.socket, true), &mut Closed).unwrap();
        daemon.thread.join().unwrap();
    }

    #[test]
    fn a_daemon_that_ends_every_connection_is_asked_less_and_less_often() {
        let mut pause = RETRY;
        for _ in 0..20 {
            pause = next_pause(pause, 0);
        }
        assert_eq!(pause, LONGEST_PAUSE);
        // One that was there and stopped is looked for at once.
        assert_eq!(next_pause(pause, 1), RETRY);
    }

    #[test]
    fn a_missing_daemon_is_named_with_the_way_to_start_one() {
        let socket = std::env::temp_dir().join("gazed-watch-nobody");
        let refused = print_records(&settings(&socket, false), &mut Vec::new()).unwrap_err();
        let words = refused.to_string();
        assert!(words.contains("gazed-watch-nobody") && words.contains("`gazed run`"));
    }
}
