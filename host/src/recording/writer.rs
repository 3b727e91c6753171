//! Writes blocks, whole, at the end of the file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::{
    BLOCK_MAGIC, BlockSettings, FULL_BLOCK, MAGIC, MAX_LINE_BYTES, RecordingError, SyncPolicy,
    VERSION, block_numbers, checksum,
};

/// A recording that is being made.
#[derive(Debug)]
pub struct RecordingWriter {
    path: PathBuf,
    file: File,
    settings: BlockSettings,
    lines: Vec<u8>,
    n_lines: u32,
    first_line_at: Option<Instant>,
    next_block: u32,
    safe_lines: u64,
    /// Length of the file up to its last whole block.
    safe_bytes: u64,
    /// Whether a block could not be written: nothing is written after that.
    has_failed: bool,
}

impl RecordingWriter {
    /// Makes the file, and its folder where it is missing; both for their owner alone, because gaze
    /// tells who somebody is.
    ///
    /// # Errors
    /// [`RecordingError::Exists`], [`RecordingError::NoRoom`] or [`RecordingError::File`].
    pub fn create(path: &Path, settings: BlockSettings) -> Result<Self, RecordingError> {
        let failed = |error| RecordingError::of_writing(path, error);
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        if let Some(folder) = folder {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(failed)?;
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let mut head = MAGIC.to_vec();
        head.extend(VERSION.to_le_bytes());
        file.write_all(&head).map_err(failed)?;
        if settings.sync == SyncPolicy::Block {
            file.sync_data().map_err(failed)?;
            // The name must outlive a power cut as well.
            let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
            folder.sync_all().map_err(failed)?;
        }
        Ok(RecordingWriter {
            path: path.to_owned(),
            file,
            settings,
            lines: Vec::with_capacity(FULL_BLOCK),
            n_lines: 0,
            first_line_at: None,
            next_block: 0,
            safe_lines: 0,
            safe_bytes: head.len() as u64,
            has_failed: false,
        })
    }

    /// Takes a line, without its break; writes a block when that fills it.
    ///
    /// # Errors
    /// [`RecordingError::LineTooLong`] for one of 1 MiB or more; [`RecordingError::File`].
    pub fn push(&mut self, line: &[u8]) -> Result<(), RecordingError> {
        if line.len() > MAX_LINE_BYTES {
            return Err(RecordingError::LineTooLong {
                path: self.path.clone(),
            });
        }
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
        self.n_lines += 1;
        self.first_line_at.get_or_insert_with(Instant::now);
        if self.lines.len() >= FULL_BLOCK {
            self.end_block()?;
        }
        self.end_block_if_due()
    }

    /// Writes a block when its time has come.
    ///
    /// # Errors
    /// [`RecordingError::File`].
    pub fn end_block_if_due(&mut self) -> Result<(), RecordingError> {
        let longest = Duration::from_millis(self.settings.block_ms);
        if self
            .first_line_at
            .is_some_and(|first| first.elapsed() >= longest)
        {
            self.end_block()?;
        }
        Ok(())
    }

    /// Lines in blocks that are written, and, as the settings say, on the disk.
    pub fn safe_lines(&self) -> u64 {
        self.safe_lines
    }

    /// Writes what is left and closes the recording; gives the number of its lines. After a block
    /// that could not be written, the recording stays as it is, without an end.
    ///
    /// # Errors
    /// [`RecordingError::File`].
    pub fn finish(mut self) -> Result<u64, RecordingError> {
        if self.has_failed {
            return Ok(self.safe_lines);
        }
        if self.n_lines > 0 {
            self.end_block()?;
        }
        self.end_block()?;
        self.file.sync_all().map_err(|source| self.failed(source))?;
        Ok(self.safe_lines)
    }

    fn end_block(&mut self) -> Result<(), RecordingError> {
        if self.has_failed {
            // The error was returned when it happened; what comes after it is lost.
            return Ok(());
        }
        let mut payload = DeflateEncoder::new(Vec::new(), Compression::default());
        let payload = payload
            .write_all(&self.lines)
            .and_then(|()| payload.finish())
            .map_err(|source| self.failed(source))?;
        let numbers = block_numbers(
            self.next_block,
            self.n_lines,
            self.lines.len() as u32,
            payload.len() as u32,
        );
        let mut block = BLOCK_MAGIC.to_vec();
        block.extend(numbers);
        block.extend(checksum(&numbers, &payload).to_le_bytes());
        block.extend(payload);
        if let Err(source) = self.append(&block) {
            self.has_failed = true;
            // A part of the block may be there. Where it cannot be taken away it is the torn end that
            // readers know.
            let _ = self.file.set_len(self.safe_bytes);
            return Err(self.failed(source));
        }
        self.safe_bytes += block.len() as u64;
        self.safe_lines += u64::from(self.n_lines);
        self.next_block += 1;
        self.n_lines = 0;
        self.lines.clear();
        self.first_line_at = None;
        Ok(())
    }

    fn append(&mut self, block: &[u8]) -> std::io::Result<()> {
        self.file.write_all(block)?;
        match self.settings.sync {
            SyncPolicy::Block => self.file.sync_data(),
            SyncPolicy::End => Ok(()),
        }
    }

    fn failed(&self, source: std::io::Error) -> RecordingError {
        RecordingError::of_writing(&self.path, source)
    }
}
