//! `gazed export`: a recording for other programs' eyes.
//!
//! | form | files |
//! |---|---|
//! | CSV | `samples.csv`, `events.csv`, `session.json` |
//! | Parquet | `samples.parquet`, `events.parquet`, `session.json` |
//! | BIDS 1.11 | a dataset with one subject: see [`bids`] |
//! | frames | `00000000.jpg` and so on, named by `seq`: what `gazed record --frames` has kept |
//!
//! `session.json` is the header: screen, networks, and the calibration with its quality. Columns
//! are named as in [`crate::record`], a row a record. Nothing is filtered or filled in.

mod bids;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::table::Tables;
use super::{RecordingEnd, RecordingError, RecordingReader, parquet};
use crate::record::{Header, Picture, Record};

pub use bids::BidsNames;

/// What to write; each to a folder of its own.
#[derive(Clone, Debug, Default)]
pub struct Exports {
    /// CSV.
    pub csv: Option<PathBuf>,
    /// Parquet.
    pub parquet: Option<PathBuf>,
    /// BIDS.
    pub bids: Option<PathBuf>,
    /// Pictures.
    pub frames: Option<PathBuf>,
    /// The names of subject and task in BIDS.
    pub names: BidsNames,
}

/// Why a recording cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// It has no header, so the screen is not known.
    #[error("{}: holds no header record; was the recorder killed in its first second?", path.display())]
    NoHeader {
        /// The recording.
        path: PathBuf,
    },
    /// It has no sample.
    #[error("{}: holds no sample; there is nothing to export", path.display())]
    NoSamples {
        /// The recording.
        path: PathBuf,
    },
    /// It has no pictures.
    #[error("{}: holds no pictures; they are recorded with `gazed record --frames`", path.display())]
    NoPictures {
        /// The recording.
        path: PathBuf,
    },
    /// A picture is not what it should be.
    #[error("{}: the picture of frame {seq} is not in base 64", path.display())]
    BadPicture {
        /// The recording.
        path: PathBuf,
        /// The frame.
        seq: u64,
    },
    /// A file is there already.
    #[error("{}: exists already; nothing is overwritten: choose another folder or remove it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The Parquet library refuses.
    #[error("cannot write {}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Its words.
        source: ::parquet::errors::ParquetError,
    },
    /// A name that BIDS does not allow.
    #[error("{key} {found:?}: BIDS allows letters and digits only")]
    BadName {
        /// `--subject` or `--task`.
        key: &'static str,
        /// What was given.
        found: String,
    },
}

/// Everything in a recording.
struct Contents {
    header: Header,
    tables: Tables,
    records: Vec<crate::record::TimedRecord>,
}

/// Writes what is asked for; says how the recording ended.
///
/// # Errors
/// [`ExportError`].
pub fn export(recording: &Path, exports: &Exports) -> Result<RecordingEnd, ExportError> {
    exports.names.check()?;
    let mut header = None;
    let mut tables = Tables::new();
    let mut records = Vec::new();
    let keeps_records = exports.bids.is_some();
    let mut n_pictures = 0;
    let end = RecordingReader::open(recording)?.each_record(|record, _| {
        if let Record::Header(found) = &record.record {
            // The last one knows most: the size of the pictures, for one.
            header = Some(found.clone());
        }
        if let Record::Picture(picture) = &record.record {
            n_pictures += 1;
            if let Some(folder) = &exports.frames {
                write_picture(picture, folder, recording)?;
            }
            return Ok(());
        }
        tables.push(&record);
        if keeps_records {
            records.push(record);
        }
        Ok::<(), ExportError>(())
    })?;
    let path = || recording.to_owned();
    if exports.frames.is_some() && n_pictures == 0 {
        return Err(ExportError::NoPictures { path: path() });
    }
    let header = header.ok_or_else(|| ExportError::NoHeader { path: path() })?;
    if tables.samples.n_rows() == 0 {
        return Err(ExportError::NoSamples { path: path() });
    }
    let contents = Contents {
        header,
        tables,
        records,
    };
    if let Some(folder) = &exports.csv {
        write_csv(&contents, folder)?;
    }
    if let Some(folder) = &exports.parquet {
        write_parquet(&contents, folder)?;
    }
    if let Some(folder) = &exports.bids {
        bids::write(&contents.header, &contents.records, folder, &exports.names)?;
    }
    Ok(end)
}

/// Eight digits sort as numbers do for a month of frames.
fn write_picture(picture: &Picture, folder: &Path, recording: &Path) -> Result<(), ExportError> {
    let jpeg = BASE64_STANDARD
        .decode(&picture.jpeg)
        .map_err(|_| ExportError::BadPicture {
            path: recording.to_owned(),
            seq: picture.seq,
        })?;
    let (path, mut file) = create(folder, &format!("{:08}.jpg", picture.seq))?;
    file.write_all(&jpeg)
        .and_then(|()| file.flush())
        .map_err(|source| ExportError::Write { path, source })
}

fn write_csv(contents: &Contents, folder: &Path) -> Result<(), ExportError> {
    let Tables { samples, events } = &contents.tables;
    for (name, table) in [("samples.csv", samples), ("events.csv", events)] {
        let (path, mut file) = create(folder, name)?;
        table
            .write_csv(&mut file)
            .map_err(|source| ExportError::Write { path, source })?;
    }
    write_session(&contents.header, folder)
}

fn write_parquet(contents: &Contents, folder: &Path) -> Result<(), ExportError> {
    let Tables { samples, events } = &contents.tables;
    for (name, table) in [("samples.parquet", samples), ("events.parquet", events)] {
        let (path, file) = create(folder, name)?;
        parquet::write(table, file).map_err(|source| ExportError::Parquet { path, source })?;
    }
    write_session(&contents.header, folder)
}

fn write_session(header: &Header, folder: &Path) -> Result<(), ExportError> {
    write_json(folder, "session.json", header)
}

fn write_json(folder: &Path, name: &str, value: &impl serde::Serialize) -> Result<(), ExportError> {
    let text = serde_json::to_string_pretty(value).expect("headers hold only plain values");
    write_text(folder, name, &format!("{text}\n"))
}

fn write_text(folder: &Path, name: &str, text: &str) -> Result<(), ExportError> {
    let (path, mut file) = create(folder, name)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.flush())
        .map_err(|source| ExportError::Write { path, source })
}

/// A new file and its folders.
fn create(folder: &Path, name: &str) -> Result<(PathBuf, BufWriter<File>), ExportError> {
    let path = folder.join(name);
    let failed = |source: io::Error| {
        let path = path.clone();
        match source.kind() {
            io::ErrorKind::AlreadyExists => ExportError::Exists { path },
            _ => ExportError::Write { path, source },
        }
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = File::create_new(&path).map_err(failed)?;
    Ok((path, BufWriter::new(file)))
}
