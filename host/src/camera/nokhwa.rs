//! Cameras through the crate `nokhwa`: those of macOS, and those of Linux by another road than
//! [`super::v4l2`].
//!
//! nokhwa waits for a picture as long as it takes. It does so in a thread of its own, for which
//! the capture thread waits with a time-out. Times are times of arrival.

use std::thread;
use std::time::{Duration, Instant};

use ::nokhwa::utils::{
    CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType, Resolution,
};
use ::nokhwa::{Buffer, Camera as Device, NokhwaError};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::jpeg::JpegPicture;
use super::luma::{self, PixelFormat};
use super::{CameraError, Captured, FrameSource, LiveClock, SourceSettings};
use crate::frame::Frame;
use crate::stop::StopFlag;

/// Longest wait between two looks at the stop flag.
const TICK: Duration = Duration::from_millis(50);

/// nokhwa's formats and ours, the ones that cost least first.
const FORMATS: [(FrameFormat, PixelFormat); 6] = [
    (FrameFormat::GRAY, PixelFormat::Grey),
    (FrameFormat::NV12, PixelFormat::Nv12),
    (FrameFormat::YUYV, PixelFormat::Yuyv),
    (FrameFormat::RAWRGB, PixelFormat::Rgb24),
    (FrameFormat::RAWBGR, PixelFormat::Bgr24),
    (FrameFormat::MJPEG, PixelFormat::Mjpeg),
];

/// What the waiting thread hands over.
struct Arrival {
    picture: Buffer,
    at: Instant,
}

/// An open camera.
pub(super) struct Camera {
    name: String,
    size: (usize, usize),
    format: &'static str,
    arrivals: Receiver<Result<Arrival, String>>,
    jpeg: JpegPicture,
    clock: LiveClock,
    stop: StopFlag,
    timeout: Duration,
}

impl Camera {
    /// Opens the camera with this number or name.
    pub(super) fn open(camera: &str, settings: &SourceSettings) -> Result<Self, CameraError> {
        let name = format!("nokhwa:{camera}");
        let (opened_sender, opened) = bounded(1);
        let (sender, arrivals) = bounded(1);
        let waiter = Waiter {
            index: camera.parse().map_or_else(
                |_| CameraIndex::String(camera.to_owned()),
                CameraIndex::Index,
            ),
            width_px: settings.width_px,
            height_px: settings.height_px,
            fps: settings.fps.round().max(1.0) as u32,
            format: settings.format,
        };
        let fault = |reason: String| CameraError::Library {
            device: name.clone(),
            reason,
        };
        thread::Builder::new()
            .name("gaze-nokhwa".to_owned())
            .spawn(move || waiter.run(&opened_sender, &sender))
            .map_err(|error| fault(error.to_string()))?;
        let granted = receive(&opened, &name, &settings.stop, settings.timeout)?
            .ok_or(CameraError::Stopped)?
            .map_err(fault)?;
        let size = (
            granted.resolution().width() as usize,
            granted.resolution().height() as usize,
        );
        let format = format_of(granted.format()).name();
        Ok(Camera {
            name,
            size,
            format,
            arrivals,
            jpeg: JpegPicture::default(),
            clock: LiveClock::new(settings),
            stop: settings.stop.clone(),
            timeout: settings.timeout,
        })
    }
}

impl FrameSource for Camera {
    fn capture(&mut self, frame: &mut Frame) -> Result<Captured, CameraError> {
        let Some(arrival) = receive(&self.arrivals, &self.name, &self.stop, self.timeout)? else {
            return Ok(Captured::EndOfStream);
        };
        let Arrival { picture, at } = arrival.map_err(|reason| CameraError::Library {
            device: self.name.clone(),
            reason,
        })?;
        self.clock.stamp(frame, at);
        let (width, height) = (
            picture.resolution().width() as usize,
            picture.resolution().height() as usize,
        );
        let format = format_of(picture.source_frame_format());
        if format == PixelFormat::Mjpeg {
            match self.jpeg.read_from(&mut picture.buffer()) {
                Ok(true) => self.jpeg.decode(frame),
                _ => frame.fail("the driver gave no JPEG picture"),
            }
            self.jpeg.forget();
        } else {
            let luma = frame.resize(width, height);
            if !luma::extract(format, picture.buffer(), 0, width, height, luma) {
                frame.fail("the driver gave less than a picture");
            }
        }
        Ok(Captured::Frame)
    }

    fn skip(&mut self, _spare: &mut Frame) -> Result<Captured, CameraError> {
        match receive(&self.arrivals, &self.name, &self.stop, self.timeout)? {
            None => Ok(Captured::EndOfStream),
            Some(Ok(_)) => Ok(Captured::Frame),
            Some(Err(reason)) => Err(CameraError::Library {
                device: self.name.clone(),
                reason,
            }),
        }
    }

    fn description(&self) -> String {
        let (width, height) = self.size;
        format!("{} {width}x{height} {}", self.name, self.format)
    }

    fn stable_id(&self) -> String {
        self.name.clone()
    }

    fn frame_size(&self) -> Option<(usize, usize)> {
        Some(self.size)
    }

    fn clock_zero(&self) -> Option<Instant> {
        self.clock.zero
    }
}

/// Waits for what the other thread sends. None: the stop flag was raised.
fn receive<T>(
    receiver: &Receiver<T>,
    name: &str,
    stop: &StopFlag,
    timeout: Duration,
) -> Result<Option<T>, CameraError> {
    let started = Instant::now();
    loop {
        if stop.is_raised() {
            return Ok(None);
        }
        match receiver.recv_timeout(TICK) {
            Ok(received) => return Ok(Some(received)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(CameraError::Unplugged {
                    device: name.to_owned(),
                });
            }
            Err(RecvTimeoutError::Timeout) if started.elapsed() >= timeout => {
                return Err(CameraError::Timeout {
                    source_name: name.to_owned(),
                    waited: timeout,
                });
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Lives in the thread that waits; ends when nobody receives any more.
struct Waiter {
    index: CameraIndex,
    width_px: u32,
    height_px: u32,
    fps: u32,
    format: Option<PixelFormat>,
}

impl Waiter {
    fn run(
        &self,
        opened: &Sender<Result<CameraFormat, String>>,
        arrivals: &Sender<Result<Arrival, String>>,
    ) {
        let mut device = match self.open() {
            Ok(device) => device,
            Err(error) => {
                // Nobody waits any more when this fails.
                let _ = opened.send(Err(error.to_string()));
                return;
            }
        };
        if opened.send(Ok(device.camera_format())).is_err() {
            return;
        }
        loop {
            let arrival = device
                .frame()
                .map(|picture| Arrival {
                    picture,
                    at: Instant::now(),
                })
                .map_err(|error| error.to_string());
            let has_failed = arrival.is_err();
            if arrivals.send(arrival).is_err() || has_failed {
                return;
            }
        }
    }

    /// Tries the formats one after the other: left to itself, nokhwa takes odd ones.
    fn open(&self) -> Result<Device, NokhwaError> {
        let (sender, granted) = bounded(1);
        ::nokhwa::nokhwa_initialize(move |is_granted| {
            let _ = sender.try_send(is_granted);
        });
        if granted.recv() != Ok(true) {
            return Err(NokhwaError::GeneralError(
                "access to the camera was refused; allow it in the system's privacy settings"
                    .to_owned(),
            ));
        }
        let mut last_error = NokhwaError::GeneralError("no usable pixel format".to_owned());
        for (format, ours) in FORMATS {
            if self.format.is_some_and(|wanted| wanted != ours) {
                continue;
            }
            let size = Resolution::new(self.width_px, self.height_px);
            let wanted = CameraFormat::new(size, format, self.fps);
            let formats = [format];
            let request =
                RequestedFormat::with_formats(RequestedFormatType::Closest(wanted), &formats);
            let opened = Device::new(self.index.clone(), request)
                .and_then(|mut device| device.open_stream().map(|()| device));
            match opened {
                Ok(device) => return Ok(device),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }
}

fn format_of(format: FrameFormat) -> PixelFormat {
    FORMATS
        .iter()
        .find(|(theirs, _)| *theirs == format)
        .map_or(PixelFormat::Grey, |(_, ours)| *ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_that_is_not_there_is_an_error() {
        let refused = Camera::open("250", &SourceSettings::default()).err();
        assert!(
            matches!(refused, Some(CameraError::Library { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn the_stop_flag_and_the_time_out_end_the_waiting() {
        let (sender, receiver) = bounded::<u8>(1);
        let stop = StopFlag::new();
        let waited = receive(&receiver, "nokhwa:0", &stop, Duration::from_millis(1));
        assert!(matches!(waited, Err(CameraError::Timeout { .. })));
        stop.raise();
        let waited = receive(&receiver, "nokhwa:0", &stop, Duration::from_secs(60));
        assert!(matches!(waited, Ok(None)));
        drop(sender);
        let waited = receive(
            &receiver,
            "nokhwa:0",
            &StopFlag::new(),
            Duration::from_secs(60),
        );
        assert!(matches!(waited, Err(CameraError::Unplugged { .. })));
    }
}
