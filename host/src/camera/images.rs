//! A folder of pictures, or a single one.

use std::path::{Path, PathBuf};

use gaze_protocol::Timestamp;

use super::picture::{PictureReader, has_extension, size_of_file};
use super::spec::base_name;
use super::{CameraError, Captured, FrameSource, SourceSettings, steady_time_us};
use crate::frame::{Frame, FrameName};

/// Files that stand beside pictures and are none.
const SIDECARS: [&str; 14] = [
    "csv", "tsv", "txt", "md", "json", "jsonl", "toml", "yaml", "yml", "xml", "html", "npy", "npz",
    "gz",
];

/// Pictures in the byte order of their names. Subfolders, hidden files and tables or texts (by
/// their extension: `.csv`, `.txt`, `.json` and their like) are not read; any other file counts as
/// a picture, so that a broken one is told and not passed over. Pixels are those of the file: a
/// note in it to turn the picture (EXIF) is not followed.
pub(super) struct Images {
    name: String,
    files: Vec<PathBuf>,
    next: usize,
    fps: f64,
    frame_size: Option<(usize, usize)>,
    reader: PictureReader,
    stop: super::StopFlag,
}

impl Images {
    pub(super) fn open(path: &Path, settings: &SourceSettings) -> Result<Self, CameraError> {
        let files = list_pictures(path)?;
        if files.is_empty() {
            return Err(CameraError::NoPictures {
                path: path.to_owned(),
            });
        }
        Ok(Images {
            name: base_name(path),
            frame_size: common_size(&files),
            files,
            next: 0,
            fps: settings.fps,
            reader: PictureReader::default(),
            stop: settings.stop.clone(),
        })
    }
}

impl FrameSource for Images {
    fn capture(&mut self, frame: &mut Frame) -> Result<Captured, CameraError> {
        let Some(file) = self.files.get(self.next) else {
            return Ok(Captured::EndOfStream);
        };
        if self.stop.is_raised() {
            return Ok(Captured::EndOfStream);
        }
        let seq = self.next as u64;
        frame.begin(seq, Timestamp(steady_time_us(seq, self.fps)));
        frame.name = FrameName::File(base_name(file));
        self.reader.read(file, frame);
        self.next += 1;
        Ok(Captured::Frame)
    }

    fn description(&self) -> String {
        format!("images:{}", self.name)
    }

    fn frame_size(&self) -> Option<(usize, usize)> {
        self.frame_size
    }

    fn frame_count(&self) -> Option<u64> {
        Some(self.files.len() as u64)
    }
}

fn list_pictures(path: &Path) -> Result<Vec<PathBuf>, CameraError> {
    let fault = |source| CameraError::File {
        path: path.to_owned(),
        source,
    };
    if !std::fs::metadata(path).map_err(fault)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fault)? {
        let file = entry.map_err(fault)?.path();
        let is_hidden = file
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        // A link to nowhere counts: it is a picture that cannot be read. A pipe or a device has no end.
        let is_none = std::fs::metadata(&file).is_ok_and(|file| !file.is_file());
        if !is_hidden && !is_none && !has_extension(&file, &SIDECARS) {
            files.push(file);
        }
    }
    files.sort_by(|a, b| name_bytes(a).cmp(name_bytes(b)));
    Ok(files)
}

fn name_bytes(path: &Path) -> &[u8] {
    path.file_name()
        .map_or(&[], std::ffi::OsStr::as_encoded_bytes)
}

/// The size that all readable pictures share. Stops at the first that differs.
fn common_size(files: &[PathBuf]) -> Option<(usize, usize)> {
    let mut sizes = files.iter().filter_map(|file| size_of_file(file));
    let first = sizes.next()?;
    sizes.all(|size| size == first).then_some(first)
}
