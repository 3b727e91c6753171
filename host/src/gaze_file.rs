//! `gazed events`: eye-movement events of a recording made by any eye tracker.
//!
//! ```text
//! rows.rs: CSV, row by row ──► labels.rs: a label for each row, as it was known in time
//!                          ──► runs.rs: rows with one label become an event
//! plot.rs: the same as a picture
//! ```
//!
//! The file is read once and never held: what it gives is what the live stream would have given.

mod labels;
mod plot;
mod rows;
mod runs;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use gaze_protocol::Span;
use gaze_signal::Label;

pub use labels::FileDetector;
use labels::Labels;
pub use plot::plot;
pub use rows::RowError;
use rows::{Row, Rows};
use runs::{EventRow, Runs};

use crate::output_file::{self, csv_field};

/// Why a recording could not be labelled.
#[derive(Debug, thiserror::Error)]
pub enum GazeFileError {
    /// The recording.
    #[error(transparent)]
    Rows(#[from] RowError),
    /// An output file.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A recording that was asked for is not in the file.
    #[error("{path} has no recording {name}; it has {names}", path = path.display())]
    NoSuchRecording {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// What there is, the first few.
        names: String,
    },
}

/// What a run over a file came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Rows labelled.
    pub samples: u64,
    /// Recordings.
    pub recordings: u64,
    /// Events written.
    pub events: u64,
    /// Longest time that a label waited for.
    pub delay: Span,
}

/// A row with its label.
pub(crate) struct Labelled {
    row: Row,
    label: Label,
}

/// Gives every row its label, in order; `take` gets them as they are decided.
fn label_rows<E: From<GazeFileError>>(
    path: &Path,
    detector: FileDetector,
    summary: &mut Summary,
    take: &mut impl FnMut(&str, Labelled) -> Result<(), E>,
) -> Result<(), E> {
    let mut rows = Rows::open(path).map_err(GazeFileError::from)?;
    let mut labels = Labels::new(detector);
    let (mut name, mut waiting) = (String::new(), VecDeque::<Row>::new());
    let mut decided = Vec::new();
    loop {
        let next = rows.next().map_err(GazeFileError::from)?;
        if next.is_none_or(|row| row.begins_recording) {
            labels.finish(&mut decided);
            give(&name, &mut waiting, &mut decided, take)?;
        }
        let Some(row) = next else { return Ok(()) };
        if row.begins_recording {
            rows.recording().clone_into(&mut name);
            summary.recordings += 1;
        }
        summary.samples += 1;
        labels.step(&row, &mut decided);
        waiting.push_back(row);
        give(&name, &mut waiting, &mut decided, take)?;
        summary.delay = summary.delay.max(labels.delay());
    }
}

/// Hands rows on whose labels are known.
fn give<E>(
    name: &str,
    waiting: &mut VecDeque<Row>,
    decided: &mut Vec<Label>,
    take: &mut impl FnMut(&str, Labelled) -> Result<(), E>,
) -> Result<(), E> {
    for label in decided.drain(..) {
        let row = waiting.pop_front().expect("a label is of a row");
        // Whatever the stream around it looks like, this row has no gaze.
        let label = row.gaze_deg.map_or(Label::Blink, |_| label);
        take(name, Labelled { row, label })?;
    }
    Ok(())
}

/// Reads `input` and writes the label of each row to `out` and the events to `events`.
///
/// # Errors
/// [`GazeFileError`]: a file that cannot be read or written, or a line of `input` that makes no
/// sense.
pub fn events(
    input: &Path,
    detector: FileDetector,
    out: &Path,
    events: Option<&Path>,
) -> Result<Summary, GazeFileError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| GazeFileError::Write { path, source }
    };
    let create = |path: &Path, others: &[&Path]| -> Result<BufWriter<File>, GazeFileError> {
        let file = output_file::create(path, others).map_err(failed(path))?;
        Ok(BufWriter::with_capacity(1 << 18, file))
    };
    let mut label_file = create(out, &[input])?;
    writeln!(label_file, "recording,t_us,label").map_err(failed(out))?;
    let event_file = events.map(|path| create(path, &[input, out]));
    let mut event_file = event_file.transpose()?;
    if let (Some(file), Some(path)) = (&mut event_file, events) {
        writeln!(file, "{}", EventRow::HEADER).map_err(failed(path))?;
    }
    let mut summary = Summary::default();
    let mut runs = Runs::default();
    let mut written = 0;
    let mut write_event = |name: &str, event: Option<EventRow>| match (&mut event_file, events) {
        (Some(file), Some(path)) => {
            let Some(event) = event else { return Ok(()) };
            written += 1;
            event.write(&csv_field(name), file).map_err(failed(path))
        }
        _ => Ok(()),
    };
    let mut last_name = String::new();
    label_rows(
        input,
        detector,
        &mut summary,
        &mut |name: &str, labelled: Labelled| {
            if name != last_name {
                write_event(&last_name, runs.finish())?;
                name.clone_into(&mut last_name);
            }
            let (at, label) = (labelled.row.at.as_us(), letter(labelled.label));
            writeln!(label_file, "{},{at},{label}", csv_field(name)).map_err(failed(out))?;
            write_event(name, runs.step(&labelled))
        },
    )?;
    write_event(&last_name, runs.finish())?;
    label_file.flush().map_err(failed(out))?;
    if let (Some(file), Some(path)) = (&mut event_file, events) {
        file.flush().map_err(failed(path))?;
    }
    summary.events = written;
    Ok(summary)
}

/// A label's letter.
fn letter(label: Label) -> char {
    match label {
        Label::Fixation => 'F',
        Label::Saccade => 'S',
        Label::Pursuit => 'P',
        Label::Oscillation => 'O',
        Label::Blink => 'B',
    }
}

#[cfg(test)]
mod tests;
