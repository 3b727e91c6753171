//! Where frames come from: one trait, and the sources behind it.
//!
//! A [`SourceSpec`] names a source (`v4l2:/dev/video0`, `video:FILE`, …) and [`open`] opens it.
//! Call it in the thread that captures: a source need not be `Send`.

mod child;
mod command;
mod controls;
mod error;
mod ffmpeg;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod images;
mod jpeg;
mod luma;
#[cfg(any(feature = "nokhwa", not(target_os = "linux")))]
mod nokhwa;
mod paced;
mod picture;
mod spec;
mod synthetic;
#[cfg(target_os = "linux")]
mod v4l2;
mod video;
mod y4m;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gaze_observer::Shown;
use gaze_protocol::PointOfRegard;

use crate::frame::Frame;
use crate::stop::StopFlag;

pub use controls::{ControlFault, Controls};
pub use error::CameraError;
pub use luma::{PixelFormat, extract};
pub use spec::{CommandLine, SourceSpec, SpecError};

/// What [`FrameSource::capture`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Captured {
    /// The frame was filled (perhaps with an error in it: see [`Frame::error`]).
    Frame,
    /// A file or a child process has ended, or the stop flag was raised.
    EndOfStream,
}

/// A camera, a file, or the synthetic observer.
pub trait FrameSource {
    /// Waits for the next picture and writes it into `frame`, reusing its buffer. Sets every field.
    ///
    /// Never waits longer than [`SourceSettings::timeout`], and ends within 0.1 s of the stop flag.
    ///
    /// # Errors
    /// [`CameraError`] when the device or the file as a whole fails; the source is spent then, and
    /// has to be opened again. A single unreadable picture is not an error of the source: it is a
    /// frame whose `error` is set.
    fn capture(&mut self, frame: &mut Frame) -> Result<Captured, CameraError>;

    /// Waits for the next picture and passes over it: it has no number, and is not decoded where that
    /// can be saved. `spare` may be written to.
    ///
    /// # Errors
    /// As [`FrameSource::capture`].
    fn skip(&mut self, spare: &mut Frame) -> Result<Captured, CameraError> {
        self.capture(spare)
    }

    /// What is being read, for the header record, without absolute paths:
    /// `v4l2:video0 640x480 YUYV 30/s`.
    fn description(&self) -> String;

    /// A name of the camera that stays the same over reboots, sockets and the ways to ask for it,
    /// for profiles. A file is its own camera.
    fn stable_id(&self) -> String {
        self.description()
    }

    /// Size of the pictures where it is known before the first one.
    fn frame_size(&self) -> Option<(usize, usize)>;

    /// Number of frames of a file, where it is known; for progress bars.
    fn frame_count(&self) -> Option<u64> {
        None
    }

    /// The moment at which [`Frame::captured_at`] is zero, for live sources: a frame's age is
    /// `clock_zero.elapsed()` minus `captured_at`. None for files, and before the first frame.
    fn clock_zero(&self) -> Option<Instant> {
        None
    }
}

/// Lets a camera that is opened again go on with the numbers and the clock of the time before.
#[derive(Clone, Copy, Debug)]
pub struct Resume {
    /// [`FrameSource::clock_zero`] of the source before.
    pub clock_zero: Instant,
    /// Number of the next frame.
    pub next_seq: u64,
}

/// What is wanted from a source, whatever it is. [`SourceSettings::default`] is a good start.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Wanted columns of a camera's picture, 1 to 8192; the size of a raw command stream.
    pub width_px: u32,
    /// Wanted rows of a camera's picture, 1 to 8192; the size of a raw command stream.
    pub height_px: u32,
    /// Wanted frames a second of a camera, above 0 and up to 1000. For pictures and for videos
    /// without times of their own (MJPEG), the times are `seq / fps`.
    pub fps: f64,
    /// Wanted pixel format of a camera; none: the best it offers. For a command, the format of its
    /// raw stream; none: MJPEG or Y4M, told apart by the first bytes.
    pub format: Option<PixelFormat>,
    /// Controls that a V4L2 camera is set to; other sources have none.
    pub controls: Controls,
    /// Whether files and the synthetic observer keep real time, as a camera does. Otherwise they
    /// deliver as fast as they can. Cameras always keep their own.
    pub paced: bool,
    /// Ends a waiting [`FrameSource::capture`].
    pub stop: StopFlag,
    /// How long a camera or a command may be silent before it counts as failed.
    pub timeout: Duration,
    /// For a live source that is opened again.
    pub resume: Option<Resume>,
    /// What the synthetic observer is shown; every other source sees real people.
    pub shown: ShownSlot,
}

/// Where a calibration session shows its target to the synthetic observer, so that a demonstration
/// or a test calibrates somebody who looks at it.
#[derive(Clone, Debug, Default)]
pub struct ShownSlot(Arc<Mutex<Option<Shown>>>);

impl ShownSlot {
    /// Shows a point of the screen plane, and whether it moves; none shows nothing.
    pub fn set(&self, shown: Option<(PointOfRegard, bool)>) {
        let shown = shown.map(|(point, is_moving)| Shown { point, is_moving });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    fn get(&self) -> Option<Shown> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SourceSettings {
    /// 640x480 at 30 frames a second, any format, in real time, 5 s of silence allowed.
    fn default() -> Self {
        SourceSettings {
            width_px: 640,
            height_px: 480,
            fps: 30.0,
            format: None,
            controls: Controls::default(),
            paced: true,
            stop: StopFlag::new(),
            timeout: Duration::from_secs(5),
            resume: None,
            shown: ShownSlot::default(),
        }
    }
}

impl SourceSettings {
    /// For recordings that are processed frame by frame, as fast as it goes.
    pub fn unpaced() -> Self {
        SourceSettings {
            paced: false,
            ..SourceSettings::default()
        }
    }

    fn check(&self) -> Result<(), CameraError> {
        let refuse = |setting, value: String, allowed| {
            Err(CameraError::Setting {
                setting,
                value,
                allowed,
            })
        };
        for (setting, px) in [("width_px", self.width_px), ("height_px", self.height_px)] {
            if !(1..=8192).contains(&px) {
                return refuse(setting, px.to_string(), "1 to 8192");
            }
        }
        if !(self.fps > 0.0 && self.fps <= 1000.0) {
            return refuse("fps", self.fps.to_string(), "above 0, up to 1000");
        }
        Ok(())
    }
}

/// Opens a source.
///
/// [`SourceSpec::Auto`] takes the first camera that works; where there is none it fails with
/// [`CameraError::NoCamera`], and the caller may take [`SourceSpec::Synthetic`] instead.
///
/// # Errors
/// [`CameraError`], whose message names what to do.
pub fn open(
    spec: &SourceSpec,
    settings: &SourceSettings,
) -> Result<Box<dyn FrameSource>, CameraError> {
    settings.check()?;
    if !settings.controls.is_empty() && !spec.has_controls() {
        tracing::warn!("source.controls are not used: {spec} has none");
    }
    Ok(match spec {
        SourceSpec::Auto => open_first_camera(settings)?,
        SourceSpec::V4l2(device) => open_v4l2(device, settings)?,
        SourceSpec::Nokhwa { camera } => open_nokhwa(camera, settings)?,
        SourceSpec::Video(file) => paced::open(video::open(file, settings)?, settings),
        SourceSpec::Images(path) => {
            paced::open(Box::new(images::Images::open(path, settings)?), settings)
        }
        SourceSpec::Command(line) => Box::new(command::Command::open(line, settings)?),
        SourceSpec::Synthetic { seed } => Box::new(synthetic::Synthetic::open(*seed, settings)?),
    })
}

#[cfg(target_os = "linux")]
fn open_first_camera(settings: &SourceSettings) -> Result<Box<dyn FrameSource>, CameraError> {
    Ok(Box::new(v4l2::Camera::open_first(settings)?))
}

#[cfg(not(target_os = "linux"))]
fn open_first_camera(settings: &SourceSettings) -> Result<Box<dyn FrameSource>, CameraError> {
    open_nokhwa("0", settings).map_err(|error| CameraError::NoCamera {
        refused: vec![error.to_string()],
    })
}

#[cfg(target_os = "linux")]
fn open_v4l2(
    device: &Path,
    settings: &SourceSettings,
) -> Result<Box<dyn FrameSource>, CameraError> {
    Ok(Box::new(v4l2::Camera::open(device, settings)?))
}

#[cfg(not(target_os = "linux"))]
fn open_v4l2(_: &Path, _: &SourceSettings) -> Result<Box<dyn FrameSource>, CameraError> {
    Err(CameraError::NotBuiltIn {
        kind: "v4l2",
        remedy: "it is a part of Linux; write nokhwa:0 instead",
    })
}

#[cfg(any(feature = "nokhwa", not(target_os = "linux")))]
fn open_nokhwa(
    camera: &str,
    settings: &SourceSettings,
) -> Result<Box<dyn FrameSource>, CameraError> {
    Ok(Box::new(nokhwa::Camera::open(camera, settings)?))
}

#[cfg(not(any(feature = "nokhwa", not(target_os = "linux"))))]
fn open_nokhwa(_: &str, _: &SourceSettings) -> Result<Box<dyn FrameSource>, CameraError> {
    Err(CameraError::NotBuiltIn {
        kind: "nokhwa",
        remedy: "build with `--features nokhwa`, or write v4l2:/dev/video0 instead",
    })
}

/// A camera of this machine, for `gazed list-cameras`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraInfo {
    /// Device node: `/dev/video0`.
    pub device: PathBuf,
    /// Name that stays the same over reboots, under `/dev/v4l/by-id` or else `/dev/v4l/by-path`.
    pub stable_id: Option<PathBuf>,
    /// What the driver calls it.
    pub card: String,
    /// What can be set: `gain 0 to 255`.
    pub controls: Vec<String>,
    /// What it offers: `YUYV 640x480 30/s`, the best rate of each size. Empty when it cannot be
    /// asked.
    pub formats: Vec<String>,
    /// Why it cannot be used, if so.
    pub problem: Option<String>,
}

/// The cameras of this machine in the order of their numbers.
pub fn list_cameras() -> Vec<CameraInfo> {
    #[cfg(target_os = "linux")]
    return v4l2::list();
    #[cfg(not(target_os = "linux"))]
    Vec::new()
}

/// Time of frame `seq` at a steady rate, µs.
fn steady_time_us(seq: u64, fps: f64) -> u64 {
    (seq as f64 * 1e6 / fps).round() as u64
}

/// The clock of a live source: turns times of arrival into [`Frame::captured_at`].
#[derive(Clone, Copy, Debug)]
struct LiveClock {
    zero: Option<Instant>,
    next_seq: u64,
}

impl LiveClock {
    fn new(settings: &SourceSettings) -> Self {
        LiveClock {
            zero: settings.resume.map(|resume| resume.clock_zero),
            next_seq: settings.resume.map_or(0, |resume| resume.next_seq),
        }
    }

    /// Gives `frame` its number and the time of arrival `at`.
    fn stamp(&mut self, frame: &mut Frame, at: Instant) {
        let zero = *self.zero.get_or_insert(at);
        let since_zero = at.saturating_duration_since(zero);
        frame.begin(
            self.next_seq,
            gaze_protocol::Timestamp(since_zero.as_micros() as u64),
        );
        self.next_seq += 1;
    }
}

#[cfg(test)]
mod tests;
