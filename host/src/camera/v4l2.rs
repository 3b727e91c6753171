//! Cameras of Linux, through V4L2.
//!
//! The driver's own time stamps are not to be had from the crate in use, so a frame's time is that
//! of its arrival: the moment at which waiting for it ended. It is later than the exposure by the
//! read-out and the transfer, which for a USB camera is about the length of a frame.

mod controls;
mod devices;
mod offers;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use linuxvideo::format::{PixFormat, PixelFormat as FourCc};
use linuxvideo::stream::ReadStream;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::child::{TICK, timespec};
use super::jpeg::JpegPicture;
use super::luma::{self, PixelFormat};
use super::spec::base_name;
use super::{CameraError, Captured, FrameSource, LiveClock, SourceSettings, StopFlag};
use crate::frame::Frame;

pub(super) use devices::list;
use devices::{devices, explain, keep_format, linked, open_device};
use offers::{choose, format_of, fourcc_name, fps_of, interval_of, list_formats, offers};

/// An open camera that streams.
pub(super) struct Camera {
    device: PathBuf,
    stream: ReadStream,
    layout: Layout,
    fourcc: FourCc,
    fps: Option<f64>,
    picture: JpegPicture,
    clock: LiveClock,
    stop: StopFlag,
    timeout: Duration,
}

/// How a picture lies in the driver's buffer.
#[derive(Clone, Copy)]
struct Layout {
    format: PixelFormat,
    width: usize,
    height: usize,
    /// Bytes from row to row.
    stride: usize,
}

impl Layout {
    /// Takes the grey values of a buffer, or keeps its JPEG for later; says whether it did that.
    fn take(self, buffer: &[u8], picture: &mut JpegPicture, frame: &mut Frame) -> io::Result<bool> {
        let Layout {
            format,
            width,
            height,
            stride,
        } = self;
        if format == PixelFormat::Mjpeg {
            let is_there = picture.read_from(&mut &buffer[..])?;
            if !is_there {
                frame.fail("the driver gave no JPEG picture");
            }
            return Ok(is_there);
        }
        let luma = frame.resize(width, height);
        if !luma::extract(format, buffer, stride, width, height, luma) {
            frame.fail("the driver gave less than a picture");
        }
        Ok(false)
    }
}

impl Camera {
    /// Opens a device and starts its stream.
    pub(super) fn open(device: &Path, settings: &SourceSettings) -> Result<Self, CameraError> {
        let mut opened = open_device(device)?;
        controls::apply(&mut opened, device, &settings.controls)?;
        let offers = offers(&opened, settings);
        let fault = |action| move |error| explain(device, action, error);
        let wanted = choose(&offers, settings).ok_or_else(|| CameraError::NoUsableFormat {
            device: device.display().to_string(),
            wanted: settings.format.map_or_else(
                || "YUYV, GREY, NV12, MJPG or the like".to_owned(),
                |format| format.to_string(),
            ),
            offered: list_formats(&offers),
        })?;
        let asked = PixFormat::new(
            wanted.width,
            wanted.height,
            FourCc::from_fourcc(wanted.fourcc),
        );
        let capture = match opened.video_capture(asked) {
            // A loopback device has the format of what is played into it, and no other.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                keep_format(open_device(device)?)
            }
            outcome => outcome,
        }
        .map_err(fault("setting the picture format"))?;
        // Drivers may grant something else than was asked for; what they grant is what comes.
        let granted = capture.format();
        let fourcc = granted.pixel_format();
        let (width, height) = (granted.width() as usize, granted.height() as usize);
        let stride = granted.bytes_per_line() as usize;
        let format = format_of(fourcc.as_fourcc()).ok_or_else(|| CameraError::NoUsableFormat {
            device: device.display().to_string(),
            wanted: fourcc_name(wanted.fourcc),
            offered: fourcc.to_string(),
        })?;
        if (granted.width(), granted.height()) != (settings.width_px, settings.height_px) {
            tracing::info!(
                "{}: the camera gives {width}x{height} instead of {}x{}",
                device.display(),
                settings.width_px,
                settings.height_px
            );
        }
        // Some drivers have one rate and cannot be asked; then they keep it.
        let fps = capture
            .set_frame_interval(interval_of(settings.fps))
            .ok()
            .and_then(fps_of);
        let stream = capture
            .into_stream()
            .map_err(fault("starting the camera"))?;
        Ok(Camera {
            device: device.to_owned(),
            stream,
            layout: Layout {
                format,
                width,
                height,
                stride,
            },
            fourcc,
            fps,
            picture: JpegPicture::default(),
            clock: LiveClock::new(settings),
            stop: settings.stop.clone(),
            timeout: settings.timeout,
        })
    }

    /// Opens the first camera that delivers, in the order of the devices' numbers: a board's image
    /// processor opens like a camera and never gives a picture.
    pub(super) fn open_first(settings: &SourceSettings) -> Result<Self, CameraError> {
        let mut refused = Vec::new();
        for device in devices() {
            match Camera::open(&device, settings) {
                Ok(mut camera) => match camera.wait() {
                    Ok(Some(_)) => return Ok(camera),
                    Ok(None) => return Err(CameraError::Stopped),
                    Err(error) => refused.push(error.to_string()),
                },
                // Codecs, metadata nodes and the like are no cameras.
                Err(CameraError::NotACamera { .. }) => {}
                Err(error) => refused.push(error.to_string()),
            }
        }
        Err(CameraError::NoCamera { refused })
    }

    /// Waits for a picture. None: the stop flag was raised.
    fn wait(&mut self) -> Result<Option<Instant>, CameraError> {
        let started = Instant::now();
        loop {
            if self.stop.is_raised() {
                return Ok(None);
            }
            let waited = started.elapsed();
            if waited >= self.timeout {
                return Err(CameraError::Timeout {
                    source_name: self.device.display().to_string(),
                    waited: self.timeout,
                });
            }
            let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(TICK.min(self.timeout - waited)))) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => {
                    let events = fds[0].revents();
                    if events.contains(PollFlags::IN) {
                        return Ok(Some(Instant::now()));
                    }
                    // An error without a picture; asking for one tells which. This does not wait.
                    if let Err(error) = self.stream.dequeue(|_| Ok(())) {
                        return Err(explain(&self.device, "taking a picture", error));
                    }
                }
                Err(error) => {
                    return Err(explain(&self.device, "waiting for a picture", error.into()));
                }
            }
        }
    }
}

impl FrameSource for Camera {
    fn capture(&mut self, frame: &mut Frame) -> Result<Captured, CameraError> {
        let Some(arrived_at) = self.wait()? else {
            return Ok(Captured::EndOfStream);
        };
        self.clock.stamp(frame, arrived_at);
        let (layout, picture) = (self.layout, &mut self.picture);
        // The driver's buffer is held as short as possible: decoding waits until it is back.
        let is_compressed = self
            .stream
            .dequeue(|buffer| {
                if buffer.is_error() {
                    frame.fail("the driver marked the picture as damaged");
                    return Ok(false);
                }
                layout.take(&buffer, picture, frame)
            })
            .map_err(|error| explain(&self.device, "taking a picture", error))?;
        if is_compressed {
            self.picture.decode(frame);
            self.picture.forget();
        }
        Ok(Captured::Frame)
    }

    fn skip(&mut self, _spare: &mut Frame) -> Result<Captured, CameraError> {
        if self.wait()?.is_none() {
            return Ok(Captured::EndOfStream);
        }
        self.stream
            .dequeue(|_| Ok(Captured::Frame))
            .map_err(|error| explain(&self.device, "taking a picture", error))
    }

    fn description(&self) -> String {
        let rate = self
            .fps
            .map_or_else(String::new, |fps| format!(" {fps:.0}/s"));
        format!(
            "v4l2:{} {}x{} {}{rate}",
            base_name(&self.device),
            self.layout.width,
            self.layout.height,
            fourcc_name(self.fourcc.as_fourcc())
        )
    }

    fn stable_id(&self) -> String {
        match linked(&self.device).as_deref().map(base_name) {
            Some(name) => name,
            None => format!("v4l2:{}", base_name(&self.device)),
        }
    }

    fn frame_size(&self) -> Option<(usize, usize)> {
        Some((self.layout.width, self.layout.height))
    }

    fn clock_zero(&self) -> Option<Instant> {
        self.clock.zero
    }
}

#[cfg(test)]
mod tests {
    use jpeg_encoder::{ColorType, Encoder};

    use super::*;

    fn taken(layout: Layout, buffer: &[u8]) -> Frame {
        let (mut picture, mut frame) = (JpegPicture::default(), Frame::new());
        if layout
            .take(buffer, &mut picture, &mut frame)
            .expect("memory")
        {
            picture.decode(&mut frame);
        }
        frame
    }

    fn layout(format: PixelFormat, stride: usize) -> Layout {
        Layout {
            format,
            width: 4,
            height: 2,
            stride,
        }
    }

    #[test]
    fn yuyv_and_grey_buffers_give_their_grey_values_whatever_their_stride() {
        // Rows of 4 pixels and one of padding.
        let grey = [1, 2, 3, 4, 99, 5, 6, 7, 8, 99];
        let frame = taken(layout(PixelFormat::Grey, 5), &grey);
        assert_eq!(frame.luma, [1, 2, 3, 4, 5, 6, 7, 8]);
        let yuyv: Vec<u8> = grey.iter().flat_map(|&luma| [luma, 128]).collect();
        let frame = taken(layout(PixelFormat::Yuyv, 10), &yuyv);
        assert_eq!((frame.width, frame.height), (4, 2));
        assert_eq!(frame.luma, [1, 2, 3, 4, 5, 6, 7, 8]);
        // A buffer may be longer than its picture, but not shorter; the last row needs no padding.
        assert!(
            taken(layout(PixelFormat::Grey, 5), &[0; 64])
                .error
                .is_none()
        );
        assert!(
            taken(layout(PixelFormat::Grey, 5), &grey[..9])
                .error
                .is_none()
        );
        let short = taken(layout(PixelFormat::Grey, 5), &grey[..8]);
        assert_eq!(
            short.error.as_deref(),
            Some("the driver gave less than a picture")
        );
    }

    #[test]
    fn how_long_a_jpeg_buffer_took_is_told_and_of_a_grey_one_nothing() {
        assert_eq!(taken(layout(PixelFormat::Grey, 4), &[0; 8]).decoding, None);
        let mut jpeg = Vec::new();
        Encoder::new(&mut jpeg, 90)
            .encode(&[9; 8], 4, 2, ColorType::Luma)
            .unwrap();
        let frame = taken(layout(PixelFormat::Mjpeg, 0), &jpeg);
        assert!(frame.decoding.is_some_and(|took| !took.is_zero()));
    }

    #[test]
    fn a_jpeg_buffer_is_decoded_and_what_follows_the_picture_is_ignored() {
        let mut jpeg = Vec::new();
        Encoder::new(&mut jpeg, 95)
            .encode(&[200; 64], 8, 8, ColorType::Luma)
            .expect("a picture in memory");
        // Drivers leave what was in the buffer before.
        jpeg.extend([0; 100]);
        let mjpeg = layout(PixelFormat::Mjpeg, 0);
        let frame = taken(mjpeg, &jpeg);
        assert_eq!((frame.width, frame.height, &frame.error), (8, 8, &None));
        assert!(
            frame
                .luma
                .iter()
                .all(|luma| luma.abs_diff(200) <= 2 /* JPEG's rounding */)
        );
        assert!(taken(mjpeg, &jpeg[..200]).error.is_some());
        let none = taken(mjpeg, &[0; 100]);
        assert_eq!(
            none.error.as_deref(),
            Some("the driver gave no JPEG picture")
        );
    }

    #[test]
    fn what_is_no_camera_is_refused() {
        let refused =
            |device: &str| Camera::open(Path::new(device), &SourceSettings::default()).err();
        assert!(matches!(
            refused("/dev/gazed-no-such-device"),
            Some(CameraError::NotFound { .. })
        ));
        assert!(matches!(
            refused("/dev/null"),
            Some(CameraError::NotACamera { .. })
        ));
        assert!(matches!(
            refused("/dev"),
            Some(CameraError::NotACamera { .. })
        ));
    }
}
