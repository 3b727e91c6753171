//! Reads blocks up to the last whole one.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;

use super::{BLOCK_HEADER, BLOCK_MAGIC, MAGIC, MAX_RAW_BYTES, RecordingError, VERSION, checksum};
use crate::record::TimedRecord;

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingEnd {
    /// As it should.
    Closed,
    /// The recorder was killed between two blocks, or still records.
    Open,
    /// The recorder was killed, or the power failed, within a block; what is before is whole.
    Torn {
        /// Bytes of the block that was lost.
        bytes: u64,
    },
}

/// A recording that is being read.
#[derive(Debug)]
pub struct RecordingReader {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    size: u64,
    next_block: u32,
    end: Option<RecordingEnd>,
}

/// A block as it stands in the file, its checksum proven.
struct Block {
    n_lines: u32,
    raw_bytes: usize,
    payload: Vec<u8>,
}

impl RecordingReader {
    /// Opens a recording.
    ///
    /// # Errors
    /// [`RecordingError`]: missing, not a recording, or of another version.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let file = File::open(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => RecordingError::Missing {
                path: path.to_owned(),
            },
            _ => RecordingError::File {
                path: path.to_owned(),
                source,
            },
        })?;
        let mut reader = RecordingReader {
            path: path.to_owned(),
            offset: 0,
            size: 0,
            file: BufReader::new(file),
            next_block: 0,
            end: None,
        };
        let found = reader.file.get_ref().metadata();
        reader.size = found.map_err(|source| reader.failed(source))?.len();
        let mut head = [0; 12];
        if reader.size < head.len() as u64 {
            return Err(RecordingError::NotARecording { path: reader.path });
        }
        reader.read(&mut head)?;
        if &head[..8] != MAGIC {
            return Err(RecordingError::NotARecording { path: reader.path });
        }
        let version = number_at(&head, 8);
        if version != VERSION {
            return Err(RecordingError::OtherVersion {
                path: reader.path,
                found: version,
            });
        }
        Ok(reader)
    }

    /// The lines of the next block, each with its break; none at the end.
    ///
    /// # Errors
    /// [`RecordingError::Damaged`] or [`RecordingError::File`].
    pub fn next_block(&mut self) -> Result<Option<Vec<u8>>, RecordingError> {
        if self.end.is_some() {
            return Ok(None);
        }
        if self.offset == self.size {
            self.end = Some(RecordingEnd::Open);
            return Ok(None);
        }
        let begins_at = self.offset;
        let lines = match self.read_block()? {
            Some(block) if block.n_lines == 0 && self.offset == self.size => {
                self.end = Some(RecordingEnd::Closed);
                return Ok(None);
            }
            Some(block) => inflate(&block),
            None => None,
        };
        let Some(lines) = lines else {
            return self.end_at(begins_at).map(|()| None);
        };
        self.next_block += 1;
        Ok(Some(lines))
    }

    /// How it ended; none before [`Self::next_block`] has said so.
    pub fn end(&self) -> Option<RecordingEnd> {
        self.end
    }

    /// Hands out every record with its line.
    ///
    /// # Errors
    /// [`RecordingError`], or what `take` returns.
    pub fn each_record<E: From<RecordingError>>(
        mut self,
        mut take: impl FnMut(TimedRecord, &str) -> Result<(), E>,
    ) -> Result<RecordingEnd, E> {
        let mut line_number = 0;
        while let Some(block) = self.next_block()? {
            for line in block.split_inclusive(|byte| *byte == b'\n') {
                line_number += 1;
                let not_a_record = |reason: String| RecordingError::NotARecord {
                    path: self.path.clone(),
                    line: line_number,
                    reason,
                };
                let text = std::str::from_utf8(line)
                    .map_err(|error| not_a_record(error.to_string()))?
                    .trim_end_matches('\n');
                let record =
                    serde_json::from_str(text).map_err(|error| not_a_record(error.to_string()))?;
                take(record, text)?;
            }
        }
        Ok(self.end.unwrap_or(RecordingEnd::Open))
    }

    /// The block at the reader's place; none where it is not whole or not the one expected.
    fn read_block(&mut self) -> Result<Option<Block>, RecordingError> {
        let left = self.size - self.offset;
        if left < BLOCK_HEADER as u64 {
            return Ok(None);
        }
        let mut header = [0; BLOCK_HEADER];
        self.read(&mut header)?;
        let Some(stored_bytes) = stored_bytes(&header) else {
            return Ok(None);
        };
        if number_at(&header, 4) != self.next_block || left < (BLOCK_HEADER + stored_bytes) as u64 {
            return Ok(None);
        }
        let mut payload = vec![0; stored_bytes];
        self.read(&mut payload)?;
        Ok(is_whole(&header, &payload).then(|| Block {
            n_lines: number_at(&header, 8),
            raw_bytes: number_at(&header, 12) as usize,
            payload,
        }))
    }

    /// Tells the end that a kill leaves from damage within: after the former no whole block follows.
    fn end_at(&mut self, offset: u64) -> Result<(), RecordingError> {
        let damaged = RecordingError::Damaged {
            path: self.path.clone(),
            block: self.next_block,
            offset,
        };
        let bytes = self.size - offset;
        // More than one block can hold.
        if bytes > (BLOCK_HEADER + 2 * MAX_RAW_BYTES) as u64 {
            return Err(damaged);
        }
        self.file
            .seek(SeekFrom::Start(offset))
            .map_err(|source| self.failed(source))?;
        let mut rest = vec![0; bytes as usize];
        self.offset = offset;
        self.read(&mut rest)?;
        let follows = (1..rest.len()).any(|at| whole_block_at(&rest[at..]));
        if follows {
            return Err(damaged);
        }
        self.end = Some(RecordingEnd::Torn { bytes });
        Ok(())
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), RecordingError> {
        self.file
            .read_exact(bytes)
            .map_err(|source| self.failed(source))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> RecordingError {
        RecordingError::File {
            path: self.path.clone(),
            source,
        }
    }
}

fn number_at(bytes: &[u8], at: usize) -> u32 {
    let four = bytes[at..at + 4].try_into();
    u32::from_le_bytes(four.expect("the range has four bytes"))
}

/// Bytes of the payload; none where this is no header, or one that nobody writes.
fn stored_bytes(header: &[u8; BLOCK_HEADER]) -> Option<usize> {
    let raw_bytes = number_at(header, 12) as usize;
    let stored_bytes = number_at(header, 16) as usize;
    let is_header = &header[..4] == BLOCK_MAGIC
        && raw_bytes <= MAX_RAW_BYTES
        && stored_bytes <= 2 * MAX_RAW_BYTES;
    is_header.then_some(stored_bytes)
}

fn is_whole(header: &[u8; BLOCK_HEADER], payload: &[u8]) -> bool {
    let numbers = header[4..20].try_into().expect("the range has 16 bytes");
    checksum(numbers, payload) == number_at(header, 20)
}

fn whole_block_at(bytes: &[u8]) -> bool {
    let Some((header, rest)) = bytes.split_first_chunk::<BLOCK_HEADER>() else {
        return false;
    };
    stored_bytes(header)
        .and_then(|stored_bytes| rest.get(..stored_bytes))
        .is_some_and(|payload| is_whole(header, payload))
}

/// The lines; none where they are not what the numbers say.
fn inflate(block: &Block) -> Option<Vec<u8>> {
    let mut lines = Vec::with_capacity(block.raw_bytes);
    // One byte more than promised shows a payload that is too long.
    let limit = block.raw_bytes as u64 + 1;
    let decoder = DeflateDecoder::new(block.payload.as_slice());
    decoder.take(limit).read_to_end(&mut lines).ok()?;
    let n_lines = lines.iter().filter(|byte| **byte == b'\n').count();
    let is_right = lines.len() == block.raw_bytes && n_lines == block.n_lines as usize;
    is_right.then_some(lines)
}
