//! One picture from a camera or a file, as grey values.

use std::time::Duration;

use gaze_protocol::Timestamp;

/// Where a frame stands in its source; written to the `frame` field of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameName {
    /// A video or a camera: the frame's number.
    Number,
    /// A folder of pictures: the file's base name.
    File(String),
}

/// One picture. Buffers are reused from frame to frame, so a steady stream allocates nothing.
///
/// gazed sees grey only: cameras deliver luma directly (the Y of YUYV, the luma plane of JPEG),
/// infrared cameras have nothing else, and a third of the bytes are moved. Coloured pictures are
/// turned to grey by Rec. 601 weights. Files fill the range 0 to 255 (video of limited range is
/// stretched); a raw camera's luma stays as the camera sends it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Number of the frame within its source, from 0; every decoded frame has one.
    pub seq: u64,
    /// Name in the records.
    pub name: FrameName,
    /// Time of exposure: the camera's time of arrival, the container's time for files.
    /// Microseconds since the source's first frame.
    pub captured_at: Timestamp,
    /// Columns. 0 for a picture that could not be read.
    pub width: usize,
    /// Rows. 0 for a picture that could not be read.
    pub height: usize,
    /// Grey values, `[height, width]` row-major, 0 black to 255 white.
    pub luma: Vec<u8>,
    /// How long it took to unpack a compressed picture; none for any other.
    pub decoding: Option<Duration>,
    /// Why the picture could not be read; such a frame still gets its sample.
    pub error: Option<String>,
}

impl Frame {
    /// An empty frame, ready to be filled by a source.
    pub fn new() -> Self {
        Frame {
            seq: 0,
            name: FrameName::Number,
            captured_at: Timestamp(0),
            width: 0,
            height: 0,
            luma: Vec::new(),
            decoding: None,
            error: None,
        }
    }

    /// Gives the picture its number and time.
    pub(crate) fn begin(&mut self, seq: u64, captured_at: Timestamp) {
        self.seq = seq;
        self.name = FrameName::Number;
        self.captured_at = captured_at;
        self.decoding = None;
    }

    /// Sets the size of a readable picture and hands out the buffer of `width * height` bytes,
    /// whatever is in it.
    pub(crate) fn resize(&mut self, width: usize, height: usize) -> &mut [u8] {
        self.error = None;
        self.width = width;
        self.height = height;
        self.luma.resize(width * height, 0);
        &mut self.luma
    }

    /// Marks the picture as unreadable.
    pub(crate) fn fail(&mut self, reason: impl ToString) {
        self.resize(0, 0);
        self.error = Some(reason.to_string());
    }
}

impl Default for Frame {
    fn default() -> Self {
        Frame::new()
    }
}
