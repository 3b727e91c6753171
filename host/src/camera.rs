//! Where frames come from: one trait, and the sources behind it.

use crate::frame::Frame;

/// What [`FrameSource::capture`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Captured {
    /// The frame was filled (perhaps with an error in it: see [`Frame::error`]).
    Frame,
    /// A file or a child process has ended; a camera never does.
    EndOfStream,
}

/// A camera, a file, or the synthetic observer.
pub trait FrameSource {
    /// Waits for the next picture and writes it into `frame`, reusing its buffer. Sets every field.
    ///
    /// # Errors
    /// [`CameraError`] when the device or the file as a whole fails. A single unreadable picture is
    /// not an error of the source: it is a frame whose `error` is set.
    fn capture(&mut self, frame: &mut Frame) -> Result<Captured, CameraError>;

    /// What is being read, for the header record, without absolute paths: `v4l2:video0 640x480 YUYV 30/s`.
    fn description(&self) -> String;

    /// Size of the pictures where it is known before the first one.
    fn frame_size(&self) -> Option<(usize, usize)>;

    /// Number of frames of a file, where it is known; for progress bars.
    fn frame_count(&self) -> Option<u64> {
        None
    }
}

/// Why a source cannot deliver.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// Opening or reading failed.
    #[error("{source_name}: {reason}")]
    Io {
        /// Device or file.
        source_name: String,
        /// What failed, in words.
        reason: String,
    },
}
