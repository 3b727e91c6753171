//! `gazed replay`: a recording as it was, to a file at once or to clients at its own pace.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{RecordingEnd, RecordingError, RecordingReader};
use crate::server::Publisher;
use crate::stop::StopFlag;

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The recording cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
    /// The stop flag was raised: not an error to anybody.
    #[error("stopped")]
    Stopped,
}

/// Writes the lines, byte for byte as they were recorded.
///
/// # Errors
/// [`ReplayError`]; what is before damage is written.
pub fn write_lines(path: &Path, out: &mut impl Write) -> Result<RecordingEnd, ReplayError> {
    let mut reader = RecordingReader::open(path)?;
    while let Some(lines) = reader.next_block()? {
        out.write_all(&lines).map_err(ReplayError::Output)?;
    }
    out.flush().map_err(ReplayError::Output)?;
    Ok(reader.end().unwrap_or(RecordingEnd::Open))
}

/// Publishes the lines, byte for byte as they were recorded, at the pace of their samples times
/// `speed`. Clients that come later get the rest, as from a camera.
///
/// # Errors
/// [`ReplayError`], [`ReplayError::Stopped`] when the flag was raised.
pub fn play(
    path: &Path,
    speed: f64,
    publisher: &Publisher,
    stop: &StopFlag,
) -> Result<RecordingEnd, ReplayError> {
    let mut pace = Pace { speed, began: None };
    RecordingReader::open(path)?.each_record(|record, line| {
        if let crate::record::Record::Sample(sample) = &record.record
            && stop.wait(pace.until(sample.t_us))
        {
            return Err(ReplayError::Stopped);
        }
        publisher.publish_line(record, line);
        Ok(())
    })
}

/// When the next sample is due.
struct Pace {
    speed: f64,
    /// When the first sample was played, and its time.
    began: Option<(Instant, u64)>,
}

impl Pace {
    fn until(&mut self, t_us: u64) -> Duration {
        let (began, first_us) = *self.began.get_or_insert_with(|| (Instant::now(), t_us));
        // A stream that begins anew within the recording goes on at once.
        let due = Duration::from_micros(t_us.saturating_sub(first_us)).div_f64(self.speed);
        due.saturating_sub(began.elapsed())
    }
}
