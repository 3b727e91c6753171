//! Recordings: a stream of records in a file that survives whatever ends the program.
//!
//! ```text
//! file  = "GAZEDREC" version:u32  block*
//! block = "BLOK" number:u32 lines:u32 raw_bytes:u32 stored_bytes:u32 crc32:u32  payload
//! ```
//!
//! Numbers are little-endian. The payload is record lines as they came over the socket, deflated
//! (RFC 1951); the checksum (CRC-32, IEEE) is over the four numbers before it and the payload.
//! Blocks are numbered from 0 and written whole, at the end of the file, and never changed. A
//! recording that was ended and not killed closes with an empty block.
//!
//! Pictures are kept only with `gazed record --frames`; they are records like others.

mod export;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod parquet;
mod reader;
mod record;
mod replay;
mod table;
mod writer;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use export::{BidsNames, ExportError, Exports, export};
pub use reader::{RecordingEnd, RecordingReader};
pub use record::{RecordError, RecordSettings, Recorded, record};
pub use replay::{ReplayError, play, write_lines};
pub use writer::RecordingWriter;

pub(crate) use table::word;

/// First bytes of every recording.
const MAGIC: &[u8; 8] = b"GAZEDREC";

/// Version of the format.
const VERSION: u32 = 1;

/// First bytes of every block.
const BLOCK_MAGIC: &[u8; 4] = b"BLOK";

/// Bytes of a block before its payload.
const BLOCK_HEADER: usize = 24;

/// A block is closed when its lines have so many bytes.
const FULL_BLOCK: usize = 64 * 1024;

/// Longest line, without its break.
const MAX_LINE_BYTES: usize = (1 << 20) - 1;

/// Largest payload of a block that is read: one that is not yet full, and the longest line.
const MAX_RAW_BYTES: usize = FULL_BLOCK + MAX_LINE_BYTES + 1;

/// The ending of a recording's name.
const EXTENSION: &str = "gazed";

/// When what was written is also asked to be on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncPolicy {
    /// After every block: a power cut costs at most the block that was being filled.
    #[default]
    Block,
    /// At the end: the system writes when it likes, which is kinder to an SD card; a power cut
    /// may cost half a minute.
    End,
}

/// How recordings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSettings {
    /// A block is closed this long after its first record at the latest.
    pub block_ms: u64,
    /// When the disk is waited for.
    pub sync: SyncPolicy,
}

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// There is one already.
    #[error("{}: exists already; recordings are never overwritten: choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is none.
    #[error("{}: there is no such recording", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The disk is full, or the person's share of it.
    #[error(
        "{}: {reason}: make room, or record to another disk with --state DIR; what was written before is whole", path.display()
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// Something else.
    #[error("{}: is not a recording of gazed", path.display())]
    NotARecording {
        /// The file.
        path: PathBuf,
    },
    /// From a newer program.
    #[error("{}: has version {found}; this gazed reads version {VERSION}: use a newer one", path.display())]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// In the file.
        found: u32,
    },
    /// A block was changed after it was written, and others follow it.
    #[error(
        "{}: block {block} at byte {offset} is damaged and more follow it; restore the file from a copy, or keep what is before with `head -c {offset}`", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Number of the block.
        block: u32,
        /// Where it begins.
        offset: u64,
    },
    /// A line is longer than a recording takes.
    #[error("{}: a line has more than {MAX_LINE_BYTES} bytes; no record is that long", path.display())]
    LineTooLong {
        /// The recording, or what the line came from.
        path: PathBuf,
    },
    /// A line is no record.
    #[error("{}: line {line} is not a record: {reason}", path.display())]
    NotARecord {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: u64,
        /// What was found.
        reason: String,
    },
}

impl RecordingError {
    /// What the system says of writing a file.
    fn of_writing(path: &Path, error: std::io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            ErrorKind::AlreadyExists => RecordingError::Exists { path },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                RecordingError::NoRoom {
                    path,
                    reason: error,
                }
            }
            _ => RecordingError::File {
                path,
                source: error,
            },
        }
    }
}

/// The file of a recording: `name` itself where it is a path (it has a `/` or ends in `.gazed`),
/// else `recordings/NAME.gazed` in the folder for state.
pub fn path_of(name: &str, state: &Path) -> PathBuf {
    let path = Path::new(name);
    let is_path = name.contains('/') || path.extension().is_some_and(|found| found == EXTENSION);
    if is_path {
        return path.to_owned();
    }
    state.join("recordings").join(format!("{name}.{EXTENSION}"))
}

/// The four numbers of a block as they are stored and checked.
fn block_numbers(number: u32, lines: u32, raw_bytes: u32, stored_bytes: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (place, value) in bytes
        .chunks_exact_mut(4)
        .zip([number, lines, raw_bytes, stored_bytes])
    {
        place.copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

fn checksum(numbers: &[u8; 16], payload: &[u8]) -> u32 {
    const CRC_32: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let mut digest = CRC_32.digest();
    digest.update(numbers);
    digest.update(payload);
    digest.finalize()
}

#[cfg(test)]
mod tests;
