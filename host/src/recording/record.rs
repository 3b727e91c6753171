//! `gazed record`: from a running daemon, or from lines, to a file.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;

use super::{BlockSettings, MAX_LINE_BYTES, RecordingError, RecordingWriter};
use crate::client::{self, ConnectError};
use crate::record::RecordKind;
use crate::stop::StopFlag;

/// How often a silent stream lets the recorder look at the clock and at the stop flag.
const LOOK_UP: Duration = Duration::from_millis(50);

/// What is recorded, and where to.
#[derive(Clone, Debug)]
pub struct RecordSettings {
    /// The recording's file.
    pub path: PathBuf,
    /// The daemon's socket.
    pub socket: PathBuf,
    /// Pictures too; the daemon's settings must allow it.
    pub frames: bool,
    /// Lines of records instead of a daemon; `-` is standard input.
    pub from: Option<PathBuf>,
    /// Blocks and the disk.
    pub blocks: BlockSettings,
    /// Print the number of safe records after each block.
    pub acknowledges: bool,
}

/// What was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Records of all kinds.
    pub n_records: u64,
    /// Frames whose pictures are among them.
    pub n_pictures: u64,
    /// Samples of frames that could be read.
    pub n_samples: u64,
}

/// Why recording ended badly. What was written until then is whole.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The daemon cannot be reached.
    #[error(transparent)]
    Daemon(#[from] ConnectError),
    /// The recording cannot be written.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The daemon gives no pictures.
    #[error("--frames: {message}")]
    NoFrames {
        /// Its words.
        message: String,
    },
    /// The daemon closed the connection.
    #[error(
        "{}: gazed has stopped, or this program did not read fast enough; what came before is kept: go on with a recording of another name", path.display()
    )]
    Ended {
        /// The socket.
        path: PathBuf,
    },
    /// The lines cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file of lines, or the socket.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The acknowledgements cannot be printed.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
}

/// What every record has.
#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: String,
    /// Of a sample without a picture.
    error: Option<String>,
    /// Of an error.
    message: Option<String>,
}

/// Records until the stream ends or the flag is raised.
///
/// # Errors
/// [`RecordError`].
pub fn record(settings: &RecordSettings, stop: &StopFlag) -> Result<Recorded, RecordError> {
    match &settings.from {
        None => {
            let stream = client::connect(&settings.socket)?;
            subscribe(&stream, settings.frames).map_err(|source| RecordError::Read {
                path: settings.socket.clone(),
                source,
            })?;
            let source = Source::Daemon(&settings.socket);
            take_all(BufReader::new(stream), source, settings, stop)
        }
        Some(path) => {
            let file = if path == Path::new("-") {
                io::stdin().as_fd().try_clone_to_owned().map(File::from)
            } else {
                File::open(path)
            };
            let file = file.map_err(|source| RecordError::Read {
                path: path.clone(),
                source,
            })?;
            let lines = BufReader::new(Impatient(file));
            take_all(lines, Source::Lines(path), settings, stop)
        }
    }
}

fn subscribe(mut stream: &UnixStream, frames: bool) -> io::Result<()> {
    stream.set_read_timeout(Some(LOOK_UP))?;
    let kinds = if frames { &RecordKind::ALL[..] } else { &[] };
    writeln!(stream, "{}", client::subscription(kinds))
}

/// A file, a pipe or a terminal whose silence is told every [`LOOK_UP`].
struct Impatient(File);

impl Read for Impatient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK_UP.as_nanos() as _,
        };
        let mut waited = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut waited, Some(&timeout))? {
            0 => Err(ErrorKind::TimedOut.into()),
            _ => self.0.read(into),
        }
    }
}

fn take_all(
    lines: impl BufRead,
    source: Source,
    settings: &RecordSettings,
    stop: &StopFlag,
) -> Result<Recorded, RecordError> {
    let mut writer = RecordingWriter::create(&settings.path, settings.blocks)?;
    // Not before: it may be impossible.
    eprintln!("recording to {}", settings.path.display());
    let taken = take_lines(lines, source, settings, stop, &mut writer);
    // Whatever ended it, what came until then is kept; the first error is the cause.
    let finished = writer.finish();
    if matches!(taken, Err(RecordError::NoFrames { .. })) {
        // Nothing was recorded: the name stays free for the next try.
        let _ = fs::remove_file(&settings.path);
    }
    let taken = taken?;
    let recorded = Recorded {
        n_records: finished?,
        ..taken
    };
    if settings.acknowledges {
        acknowledge(recorded.n_records)?;
    }
    Ok(recorded)
}

fn take_lines(
    mut lines: impl BufRead,
    source: Source,
    settings: &RecordSettings,
    stop: &StopFlag,
    writer: &mut RecordingWriter,
) -> Result<Recorded, RecordError> {
    let mut recorded = Recorded::default();
    let mut acknowledged = 0;
    let mut line = Vec::new();
    let mut n_lines = 0;
    while !stop.is_raised() {
        // One byte more than the longest line and its break tells that it is too long.
        let room = (MAX_LINE_BYTES + 2).saturating_sub(line.len()) as u64;
        match lines.by_ref().take(room).read_until(b'\n', &mut line) {
            Ok(_) if line.len() > MAX_LINE_BYTES + 1 => {
                return Err(RecordingError::LineTooLong {
                    path: source.path().to_owned(),
                }
                .into());
            }
            Ok(n) if n == 0 || source.is_cut_off(&line) => return source.end().map(|()| recorded),
            Ok(_) => {
                n_lines += 1;
                if let Some((record, typed)) = checked(&line, source.path(), n_lines)? {
                    match (typed.kind.as_str(), typed.message) {
                        // The answer to the subscription.
                        ("error", Some(message)) if settings.frames && n_lines == 1 => {
                            return Err(RecordError::NoFrames { message });
                        }
                        ("picture", _) => recorded.n_pictures += 1,
                        ("sample", _) if typed.error.is_none() => recorded.n_samples += 1,
                        _ => {}
                    }
                    writer.push(record)?;
                }
                line.clear();
            }
            Err(error) if is_silence(&error) => writer.end_block_if_due()?,
            Err(error) => {
                return Err(RecordError::Read {
                    path: source.path().to_owned(),
                    source: error,
                });
            }
        }
        if settings.acknowledges && writer.safe_lines() != acknowledged {
            acknowledged = writer.safe_lines();
            acknowledge(acknowledged)?;
        }
    }
    Ok(recorded)
}

/// Where lines come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// A daemon at this socket.
    Daemon(&'a Path),
    /// A file; its end is the recording's.
    Lines(&'a Path),
}

impl<'a> Source<'a> {
    fn path(self) -> &'a Path {
        match self {
            Source::Daemon(path) | Source::Lines(path) => path,
        }
    }

    /// A daemon that was killed may leave half a record; the last line of a file may lack its break.
    fn is_cut_off(self, line: &[u8]) -> bool {
        matches!(self, Source::Daemon(_)) && line.last() != Some(&b'\n')
    }

    fn end(self) -> Result<(), RecordError> {
        match self {
            Source::Lines(_) => Ok(()),
            Source::Daemon(path) => {
                let path = path.to_owned();
                Err(RecordError::Ended { path })
            }
        }
    }
}

/// The record in a line, without its break; none for an empty line.
fn checked<'a>(
    line: &'a [u8],
    from: &Path,
    number: u64,
) -> Result<Option<(&'a [u8], Typed)>, RecordError> {
    // Editors of some systems put a mark of the encoding before the first line.
    let line = match line.strip_prefix(b"\xEF\xBB\xBF") {
        Some(line) if number == 1 => line,
        _ => line,
    };
    let record = line.trim_ascii();
    if record.is_empty() {
        return Ok(None);
    }
    let typed = serde_json::from_slice(record).map_err(|error| RecordingError::NotARecord {
        path: from.to_owned(),
        line: number,
        reason: error.to_string(),
    })?;
    Ok(Some((record, typed)))
}

fn is_silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn acknowledge(n_records: u64) -> Result<(), RecordError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{n_records}")
        .and_then(|()| out.flush())
        .map_err(RecordError::Output)
}
