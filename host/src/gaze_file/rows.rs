//! Gaze recordings as CSV: `recording,t_us,x_deg,y_deg,valid`, other columns ignored.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use csv::ByteRecord;
use flate2::read::MultiGzDecoder;
use gaze_protocol::Timestamp;

/// Further from the screen's centre than this is no gaze, degrees.
const FURTHEST_DEG: f64 = 180.0;

/// What is wrong with a recording.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// It cannot be read at all.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// A column is missing.
    #[error("{path} has no column {column}; it needs recording, t_us, x_deg, y_deg and valid", path = path.display())]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// Which.
        column: &'static str,
    },
    /// A field is not what its column holds.
    #[error("{path}, line {line}: {column} is {value:?}, which is not {expected}", path = path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// Counted from 1, the header included.
        line: u64,
        /// Which column.
        column: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// Time runs backwards within a recording.
    #[error("{path}, line {line}: time runs backwards within recording {recording}, from {before} to {now} µs", path = path.display())]
    Backwards {
        /// The file.
        path: PathBuf,
        /// Counted from 1, the header included.
        line: u64,
        /// Which recording.
        recording: String,
        /// The row before, µs.
        before: u64,
        /// This row, µs.
        now: u64,
    },
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    /// Time within the recording.
    pub at: Timestamp,
    /// x to the right and y down, degrees from the screen's centre; none where the tracker had no
    /// gaze or gave no finite numbers.
    pub gaze_deg: Option<[f64; 2]>,
    /// The `label` column's letter, where there is one.
    pub human: Option<char>,
    /// Whether it is the first of its recording.
    pub begins_recording: bool,
}

/// Reads a recording row by row; `.gz` files are unpacked on the way.
pub(crate) struct Rows {
    path: PathBuf,
    reader: csv::Reader<Box<dyn Read>>,
    columns: [usize; 5],
    human: Option<usize>,
    record: ByteRecord,
    recording: Vec<u8>,
    name: String,
    last_at: Option<Timestamp>,
}

impl Rows {
    pub fn open(path: &Path) -> Result<Self, RowError> {
        let failed = |source: csv::Error| RowError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(|error| failed(error.into()))?;
        let is_packed = path.extension().is_some_and(|extension| extension == "gz");
        let input: Box<dyn Read> = if is_packed {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file)))
        } else {
            Box::new(file)
        };
        let mut reader = csv::ReaderBuilder::new()
            .buffer_capacity(1 << 18)
            .from_reader(input);
        let header = reader.byte_headers().map_err(failed)?.clone();
        let find = |name: &str| header.iter().position(|column| column == name.as_bytes());
        let needed = |column: &'static str| {
            find(column).ok_or_else(|| RowError::NoColumn {
                path: path.to_owned(),
                column,
            })
        };
        let columns = [
            needed("recording")?,
            needed("t_us")?,
            needed("x_deg")?,
            needed("y_deg")?,
            needed("valid")?,
        ];
        Ok(Rows {
            path: path.to_owned(),
            human: find("label"),
            reader,
            columns,
            record: ByteRecord::new(),
            recording: Vec::new(),
            name: String::new(),
            last_at: None,
        })
    }

    /// The recording that the last row is of.
    pub fn recording(&self) -> &str {
        &self.name
    }

    /// The next row; none at the end.
    pub fn next(&mut self) -> Result<Option<Row>, RowError> {
        let is_there = self.reader.read_byte_record(&mut self.record);
        let is_there = is_there.map_err(|source| RowError::Read {
            path: self.path.clone(),
            source,
        })?;
        if !is_there {
            return Ok(None);
        }
        let [recording, t_us, x_deg, y_deg, valid] = self
            .columns
            .map(|column| self.record.get(column).unwrap_or_default());
        let begins_recording = self.last_at.is_none() || self.recording != recording;
        if begins_recording {
            recording.clone_into(&mut self.recording);
            self.name = String::from_utf8_lossy(recording).into_owned();
            self.last_at = None;
        }
        let wrong = |column, value: &[u8], expected| self.wrong(column, value, expected);
        let text = |field| std::str::from_utf8(field).unwrap_or_default().trim();
        let now: u64 = text(t_us)
            .parse()
            .map_err(|_| wrong("t_us", t_us, "a whole number of microseconds, 0 or more"))?;
        if let Some(before) = self.last_at.filter(|before| before.as_us() > now) {
            return Err(RowError::Backwards {
                path: self.path.clone(),
                line: self.line(),
                recording: self.name.clone(),
                before: before.as_us(),
                now,
            });
        }
        let is_valid = match text(valid) {
            "1" | "1.0" | "true" | "True" => true,
            "0" | "0.0" | "false" | "False" => false,
            _ => return Err(wrong("valid", valid, "0 or 1")),
        };
        let mut gaze_deg = None;
        if is_valid {
            let number = |column, field| match text(field) {
                // How many programs write a missing number.
                "" => Ok(f64::NAN),
                number => number
                    .parse::<f64>()
                    .map_err(|_| wrong(column, field, "a number of degrees")),
            };
            let gaze = [number("x_deg", x_deg)?, number("y_deg", y_deg)?];
            gaze_deg = Some(gaze).filter(|gaze| gaze.iter().all(|deg| deg.abs() <= FURTHEST_DEG));
        }
        let human = self.human.and_then(|column| self.record.get(column));
        let human = human.and_then(|field| field.first().copied().map(char::from));
        let at = Timestamp(now);
        self.last_at = Some(at);
        Ok(Some(Row {
            at,
            gaze_deg,
            human,
            begins_recording,
        }))
    }

    fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    fn wrong(&self, column: &'static str, value: &[u8], expected: &'static str) -> RowError {
        RowError::Field {
            path: self.path.clone(),
            line: self.line(),
            column,
            value: String::from_utf8_lossy(value).into_owned(),
            expected,
        }
    }
}
