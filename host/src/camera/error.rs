//! What can go wrong with a source, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::controls::ControlFault;

/// Why a source cannot deliver. Each message names what to do.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// `auto` found nothing to take.
    #[error("no camera found{}", list_refused(refused))]
    NoCamera {
        /// The cameras that are there, each with the reason why it cannot be used.
        refused: Vec<String>,
    },
    /// There is no such device.
    #[error("{device}: no such camera; `gazed list-cameras` shows what there is")]
    NotFound {
        /// The device as it was asked for.
        device: String,
    },
    /// The device is no V4L2 device, or not one that captures.
    #[error(
        "{device}: not a camera that can be read directly; \
         `gazed list-cameras` shows what there is, and `command:'rpicam-vid …'` reads CSI cameras"
    )]
    NotACamera {
        /// The device as it was asked for.
        device: String,
    },
    /// Another program has the camera.
    #[error("{device}: the camera is in use by another program; close that program")]
    Busy {
        /// The device as it was asked for.
        device: String,
    },
    /// The user may not open the device.
    #[error(
        "{device}: permission denied; cameras belong to the group `video`: \
         run `sudo usermod -aG video $USER` and log in again"
    )]
    PermissionDenied {
        /// The device as it was asked for.
        device: String,
    },
    /// The camera went away.
    #[error("{device}: the camera was unplugged; plug it in again")]
    Unplugged {
        /// The device as it was asked for.
        device: String,
    },
    /// The camera has no pixel format that can be turned to grey.
    #[error(
        "{device}: no usable pixel format: wanted {wanted}, the camera offers {offered}; \
         set another format, or convert with `command:'ffmpeg …'`"
    )]
    NoUsableFormat {
        /// The device as it was asked for.
        device: String,
        /// What was asked for.
        wanted: String,
        /// What the driver offers.
        offered: String,
    },
    /// The USB bus is full.
    #[error(
        "{device}: the USB bus has no room for this camera's pictures; \
         use another USB port, a smaller size, or the format mjpeg"
    )]
    NoBandwidth {
        /// The device as it was asked for.
        device: String,
    },
    /// A control cannot be set to what the settings ask for.
    #[error("{device}: source.controls.{control} = {value}: {fault}")]
    Control {
        /// The device as it was asked for.
        device: String,
        /// Its name in the settings.
        control: String,
        /// What was asked for.
        value: i32,
        /// What is wrong with it.
        fault: ControlFault,
    },
    /// The driver refused something else.
    #[error("{device}: {action} failed ({source}); unplug the camera and plug it in again")]
    Device {
        /// The device as it was asked for.
        device: String,
        /// What was tried.
        action: &'static str,
        /// The system's own words.
        source: io::Error,
    },
    /// The library that reads the camera refused.
    #[error("{device}: {reason}; is the camera plugged in, and not in use by another program?")]
    Library {
        /// The camera as it was asked for.
        device: String,
        /// The library's own words.
        reason: String,
    },
    /// This build cannot read this kind of source.
    #[error("sources of the kind {kind:?} are not built in: {remedy}")]
    NotBuiltIn {
        /// The word before the colon.
        kind: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// No picture came for too long.
    #[error(
        "{source_name}: no picture for {} s; check the camera's cable and its program",
        waited.as_secs_f32()
    )]
    Timeout {
        /// Device or program.
        source_name: String,
        /// How long was waited.
        waited: Duration,
    },
    /// A file or a folder cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file as it was asked for.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// A folder without pictures.
    #[error("{}: no pictures in this folder (subfolders are not read)", path.display())]
    NoPictures {
        /// The folder as it was asked for.
        path: PathBuf,
    },
    /// A stream of frames is broken beyond the single picture.
    #[error("{source_name}: {reason}")]
    Stream {
        /// File or program.
        source_name: String,
        /// What is wrong, and what to do.
        reason: StreamFault,
    },
    /// ffmpeg is needed for this file and is not there.
    #[error(
        "{}: this kind of video is read through ffmpeg, which is not installed: \
         run `sudo apt install ffmpeg`",
        path.display()
    )]
    FfmpegMissing {
        /// The file as it was asked for.
        path: PathBuf,
    },
    /// ffmpeg does not find a video in this file.
    #[error("{}: no video that can be read; ffmpeg says: {reason}", path.display())]
    NotAVideo {
        /// The file as it was asked for.
        path: PathBuf,
        /// ffmpeg's last words.
        reason: String,
    },
    /// A child process could not be started.
    #[error("{program}: cannot be started ({source}); is it installed and on the PATH?")]
    CommandStart {
        /// The program.
        program: String,
        /// The system's own words.
        source: io::Error,
    },
    /// A child process died.
    #[error("{program}: ended with {status}{}", quote_last_line(last_line))]
    CommandEnded {
        /// The program.
        program: String,
        /// `exit status: 1`, `signal: 9 (SIGKILL)`.
        status: String,
        /// The last line it wrote to stderr; empty when there was none.
        last_line: String,
    },
    /// A setting out of its range.
    #[error("{setting} is {value}; allowed: {allowed}")]
    Setting {
        /// Name in [`super::SourceSettings`].
        setting: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The stop flag was raised before the source was open.
    #[error("stopped before the first frame")]
    Stopped,
    /// The synthetic observer cannot be set up.
    #[error("synthetic observer: {reason}")]
    Synthetic {
        /// The observer's own words.
        reason: String,
    },
}

/// What is wrong with a stream of frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// The Y4M header cannot be used.
    #[error("not a usable Y4M header: {0}")]
    Y4mHeader(String),
    /// The bytes between Y4M frames are not a frame header.
    #[error("the Y4M stream is broken at frame {seq}")]
    Y4mFrame {
        /// Number of the frame.
        seq: u64,
    },
    /// Raw bytes of unknown meaning.
    #[error(
        "the stream is neither MJPEG nor Y4M; for raw frames give the pixel format \
         (grey, yuv420, nv12, yuyv, uyvy, rgb24, bgr24), the width and the height"
    )]
    UnknownFormat,
    /// The stream ended before its first frame.
    #[error("no frame in the stream")]
    Empty,
    /// ffmpeg's report on a frame's time is missing or not understood.
    #[error("ffmpeg gave no time for frame {seq}; gazed needs ffmpeg 4.3 or later")]
    NoTime {
        /// Number of the frame.
        seq: u64,
    },
    /// Pictures larger than gazed reads.
    #[error("pictures of {width}x{height} are larger than the 48 megapixels allowed")]
    TooLarge {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// Reading failed.
    #[error("reading failed: {0}")]
    Read(String),
}

impl CameraError {
    /// Whether opening the source again later may help: it was unplugged, busy, silent, or its
    /// program died. Otherwise somebody has to change something first.
    pub fn is_recoverable(&self) -> bool {
        matches!(
            self,
            CameraError::NoCamera { .. }
                | CameraError::NotFound { .. }
                | CameraError::Busy { .. }
                | CameraError::PermissionDenied { .. }
                | CameraError::Unplugged { .. }
                | CameraError::NoBandwidth { .. }
                | CameraError::Device { .. }
                | CameraError::Library { .. }
                | CameraError::Timeout { .. }
                | CameraError::CommandEnded { .. }
        )
    }
}

fn list_refused(refused: &[String]) -> String {
    if refused.is_empty() {
        String::new()
    } else {
        format!(" that can be used: {}", refused.join("; "))
    }
}

fn quote_last_line(line: &str) -> String {
    if line.is_empty() {
        String::new()
    } else {
        format!("; its last words: {line}")
    }
}
