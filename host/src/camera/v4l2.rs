//! Cameras of Linux, through V4L2.
//!
//! The driver's own time stamps are not to be had from the crate in use, so a frame's time is that
//! of its arrival: the moment at which waiting for it ended. It is later than the exposure by the
//! read-out and the transfer, which for a USB camera is about the length of a frame.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use linuxvideo::format::{Format, FrameIntervals, FrameSizes, PixFormat, PixelFormat as FourCc};
use linuxvideo::stream::ReadStream;
use linuxvideo::{BufType, CapabilityFlags, Device, Fract, VideoCaptureDevice};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::child::{TICK, timespec};
use super::jpeg::JpegPicture;
use super::luma::{self, PixelFormat};
use super::spec::base_name;
use super::{CameraError, CameraInfo, Captured, FrameSource, LiveClock, SourceSettings, StopFlag};
use crate::frame::Frame;

/// The drivers' codes of the formats that can be read, and what they are to us.
const FORMATS: [([u8; 4], PixelFormat); 15] = [
    (*b"GREY", PixelFormat::Grey),
    (*b"NV12", PixelFormat::Nv12),
    (*b"NV21", PixelFormat::Nv12),
    (*b"NV16", PixelFormat::Nv12),
    (*b"YU12", PixelFormat::Yuv420),
    (*b"YV12", PixelFormat::Yuv420),
    (*b"422P", PixelFormat::Yuv420),
    (*b"YUYV", PixelFormat::Yuyv),
    (*b"YVYU", PixelFormat::Yuyv),
    (*b"UYVY", PixelFormat::Uyvy),
    (*b"VYUY", PixelFormat::Uyvy),
    (*b"RGB3", PixelFormat::Rgb24),
    (*b"BGR3", PixelFormat::Bgr24),
    (*b"MJPG", PixelFormat::Mjpeg),
    (*b"JPEG", PixelFormat::Mjpeg),
];

/// Where udev keeps names that do not change, the better ones first.
const LINK_FOLDERS: [&str; 2] = ["/dev/v4l/by-id", "/dev/v4l/by-path"];

/// A rate this far below the wanted one still counts as reaching it: 25 for 30, lest a smaller
/// picture is taken for five frames more.
const RATE_SLACK: f64 = 0.8;

/// An open camera that streams.
pub(super) struct Camera {
    device: PathBuf,
    stream: ReadStream,
    format: PixelFormat,
    fourcc: FourCc,
    width: usize,
    height: usize,
    stride: usize,
    fps: Option<f64>,
    picture: JpegPicture,
    clock: LiveClock,
    stop: StopFlag,
    timeout: Duration,
}

/// One size of one format, as the driver offers it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Offer {
    fourcc: [u8; 4],
    width: u32,
    height: u32,
    /// Greatest rate; none when the driver does not say.
    fps: Option<f64>,
}

impl Camera {
    /// Opens a device and starts its stream.
    pub(super) fn open(device: &Path, settings: &SourceSettings) -> Result<Self, CameraError> {
        let opened = open_device(device)?;
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
            format,
            fourcc,
            width,
            height,
            stride,
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
        let (format, width, height, stride) = (self.format, self.width, self.height, self.stride);
        let picture = &mut self.picture;
        // The driver's buffer is held as short as possible: decoding waits until it is back.
        let is_compressed = self
            .stream
            .dequeue(|buffer| {
                if buffer.is_error() {
                    frame.fail("the driver marked the picture as damaged");
                    return Ok(false);
                }
                if format == PixelFormat::Mjpeg {
                    if picture.read_from(&mut &buffer[..])? {
                        return Ok(true);
                    }
                    frame.fail("the driver gave no JPEG picture");
                    return Ok(false);
                }
                let luma = frame.resize(width, height);
                if !luma::extract(format, &buffer, stride, width, height, luma) {
                    frame.fail("the driver gave less than a picture");
                }
                Ok(false)
            })
            .map_err(|error| explain(&self.device, "taking a picture", error))?;
        if is_compressed {
            self.picture.decode(frame);
            self.picture.forget();
        }
        Ok(Captured::Frame)
    }

    fn description(&self) -> String {
        let rate = self
            .fps
            .map_or_else(String::new, |fps| format!(" {fps:.0}/s"));
        format!(
            "v4l2:{} {}x{} {}{rate}",
            base_name(&self.device),
            self.width,
            self.height,
            fourcc_name(self.fourcc.as_fourcc())
        )
    }

    fn stable_id(&self) -> String {
        let link = stable_link(&self.device, &LINK_FOLDERS);
        match link.as_deref().map(base_name) {
            Some(name) => name.to_string(),
            None => format!("v4l2:{}", base_name(&self.device)),
        }
    }

    fn frame_size(&self) -> Option<(usize, usize)> {
        Some((self.width, self.height))
    }

    fn clock_zero(&self) -> Option<Instant> {
        self.clock.zero
    }
}

/// The cameras of this machine.
pub(super) fn list() -> Vec<CameraInfo> {
    let mut cameras = Vec::new();
    for device in devices() {
        let (formats, problem) = match open_device(&device) {
            Ok(opened) => {
                let settings = SourceSettings::default();
                let offers = offers(&opened, &settings);
                let is_usable = choose(&offers, &settings).is_some();
                let problem = (!is_usable).then(|| "no usable pixel format".to_owned());
                (offers.iter().map(Offer::to_string).collect(), problem)
            }
            Err(CameraError::NotACamera { .. }) => continue,
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        cameras.push(CameraInfo {
            stable_id: stable_link(&device, &LINK_FOLDERS),
            card: card_name(&device),
            device,
            formats,
            problem,
        });
    }
    cameras
}

/// `/dev/video*` in the order of their numbers.
fn devices() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/dev") else {
        return Vec::new();
    };
    let mut devices: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let number = device_number(&entry.file_name())?;
            Some((number, entry.path()))
        })
        .collect();
    devices.sort();
    devices.into_iter().map(|(_, device)| device).collect()
}

fn device_number(name: &OsStr) -> Option<u32> {
    name.to_str()?.strip_prefix("video")?.parse().ok()
}

/// The link in the first of `folders` that has one to `device`.
fn stable_link(device: &Path, folders: &[&str]) -> Option<PathBuf> {
    let device = device.canonicalize().ok()?;
    folders.iter().find_map(|folder| {
        let mut links: Vec<PathBuf> = std::fs::read_dir(folder)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .filter(|link| {
                link.is_symlink() && link.canonicalize().is_ok_and(|target| target == device)
            })
            .collect();
        links.sort();
        links.into_iter().next()
    })
}

/// The name in sysfs is the driver's, and unlike the driver's answer it may hold any bytes.
fn card_name(device: &Path) -> String {
    let name = base_name(device);
    std::fs::read(format!("/sys/class/video4linux/{name}/name")).map_or_else(
        |_| "unnamed camera".to_owned(),
        |card| String::from_utf8_lossy(&card).trim().to_owned(),
    )
}

/// Opens a device that captures and streams.
fn open_device(device: &Path) -> Result<Device, CameraError> {
    let fault = |error| explain(device, "opening", error);
    let opened = Device::open(device).map_err(fault)?;
    let capabilities = opened.capabilities().map_err(fault)?.device_capabilities();
    if capabilities.contains(CapabilityFlags::VIDEO_CAPTURE | CapabilityFlags::STREAMING) {
        Ok(opened)
    } else {
        Err(CameraError::NotACamera {
            device: device.display().to_string(),
        })
    }
}

/// Captures in the format that the device has already.
fn keep_format(device: Device) -> io::Result<VideoCaptureDevice> {
    match device.format(BufType::VIDEO_CAPTURE)? {
        Format::VideoCapture(current) => device.video_capture(current),
        _ => Err(Errno::INVAL.into()),
    }
}

/// What the system's error means for the user.
fn explain(device: &Path, action: &'static str, error: io::Error) -> CameraError {
    let name = || device.display().to_string();
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT) => CameraError::NotFound { device: name() },
        Some(Errno::ACCESS | Errno::PERM) => CameraError::PermissionDenied { device: name() },
        Some(Errno::BUSY) => CameraError::Busy { device: name() },
        Some(Errno::NODEV | Errno::NXIO) => CameraError::Unplugged { device: name() },
        Some(Errno::NOSPC) => CameraError::NoBandwidth { device: name() },
        Some(Errno::NOTTY) => CameraError::NotACamera { device: name() },
        Some(Errno::ISDIR | Errno::INVAL) if action == "opening" => {
            CameraError::NotACamera { device: name() }
        }
        _ => CameraError::Device {
            device: name(),
            action,
            source: error,
        },
    }
}

/// Everything that the driver offers, formats that cannot be read among it. A range of sizes
/// counts with its ends and what of it comes nearest to the wanted size.
fn offers(device: &Device, settings: &SourceSettings) -> Vec<Offer> {
    let wanted = (settings.width_px, settings.height_px);
    let mut offers = Vec::new();
    for format in device.formats(BufType::VIDEO_CAPTURE).flatten() {
        let fourcc = format.pixel_format();
        let sizes = match device.frame_sizes(fourcc) {
            Ok(FrameSizes::Discrete(sizes)) => sizes
                .iter()
                .map(|size| (size.width(), size.height()))
                .collect(),
            Ok(range) => vec![
                (range.min_width(), range.min_height()),
                (
                    within(wanted.0, range.min_width(), range.max_width()),
                    within(wanted.1, range.min_height(), range.max_height()),
                ),
                (range.max_width(), range.max_height()),
            ],
            // The driver does not say: what is asked for may be what is granted.
            Err(_) => vec![wanted],
        };
        for (width, height) in sizes {
            offers.push(Offer {
                fourcc: fourcc.as_fourcc(),
                width,
                height,
                fps: max_fps(device, fourcc, width, height),
            });
        }
    }
    offers.dedup();
    offers
}

/// Not `clamp`, which panics when a driver has its limits the wrong way round.
fn within(wanted: u32, least: u32, greatest: u32) -> u32 {
    wanted.min(greatest).max(least)
}

fn max_fps(device: &Device, fourcc: FourCc, width: u32, height: u32) -> Option<f64> {
    let shortest = match device.frame_intervals(fourcc, width, height).ok()? {
        FrameIntervals::Discrete(intervals) => intervals
            .iter()
            .filter_map(|interval| fps_of(*interval.fract()))
            .fold(0.0, f64::max),
        FrameIntervals::Stepwise(range) | FrameIntervals::Continuous(range) => {
            fps_of(*range.min())?
        }
    };
    (shortest > 0.0).then_some(shortest)
}

/// The offer that comes closest to what is wanted: first one that reaches the rate, then the
/// nearest size, then the format that costs least to turn into grey.
fn choose(offers: &[Offer], settings: &SourceSettings) -> Option<Offer> {
    let usable = offers.iter().copied().filter_map(|offer| {
        let format = format_of(offer.fourcc)?;
        let is_wanted = settings.format.is_none_or(|wanted| wanted == format);
        is_wanted.then_some((format, offer))
    });
    let cost = |(format, offer): &(PixelFormat, Offer)| {
        let is_slow = offer.fps.is_some_and(|fps| fps < RATE_SLACK * settings.fps);
        let size_gap = u64::from(offer.width.abs_diff(settings.width_px))
            + u64::from(offer.height.abs_diff(settings.height_px));
        let format_cost = PixelFormat::ALL.iter().position(|known| known == format);
        (is_slow, size_gap, format_cost)
    };
    usable.min_by_key(cost).map(|(_, offer)| offer)
}

impl std::fmt::Display for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = fourcc_name(self.fourcc);
        write!(f, "{name} {}x{}", self.width, self.height)?;
        match self.fps {
            Some(fps) => write!(f, " {fps:.0}/s"),
            None => Ok(()),
        }
    }
}

fn format_of(fourcc: [u8; 4]) -> Option<PixelFormat> {
    FORMATS
        .iter()
        .find(|(known, _)| *known == fourcc)
        .map(|(_, format)| *format)
}

/// `YUYV`; a set highest bit means that the bytes of a sample are swapped.
fn fourcc_name(fourcc: [u8; 4]) -> String {
    let letters = fourcc.map(|byte| char::from(byte & 0x7F));
    let name: String = letters.iter().filter(|&&letter| letter > ' ').collect();
    let is_swapped = fourcc[3] & 0x80 != 0;
    name + if is_swapped { "-BE" } else { "" }
}

/// The names of the formats, each once.
fn list_formats(offers: &[Offer]) -> String {
    let mut names: Vec<String> = offers
        .iter()
        .map(|offer| fourcc_name(offer.fourcc))
        .collect();
    names.dedup();
    if names.is_empty() {
        "none at all".to_owned()
    } else {
        names.join(", ")
    }
}

/// Seconds a frame, in thousandths of a frame a second.
fn interval_of(fps: f64) -> Fract {
    Fract::new(1000, (fps * 1000.0).round().max(1.0) as u32)
}

fn fps_of(interval: Fract) -> Option<f64> {
    let (seconds, frames) = (interval.numerator(), interval.denominator());
    (seconds > 0 && frames > 0).then(|| f64::from(frames) / f64::from(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(fourcc: &[u8; 4], width: u32, height: u32, fps: f64) -> Offer {
        Offer {
            fourcc: *fourcc,
            width,
            height,
            fps: Some(fps),
        }
    }

    /// What a common USB camera says of itself.
    fn usb_camera() -> Vec<Offer> {
        vec![
            offer(b"MJPG", 1280, 720, 30.0),
            offer(b"MJPG", 640, 480, 30.0),
            offer(b"YUYV", 1280, 720, 10.0),
            offer(b"YUYV", 640, 480, 30.0),
            offer(b"YUYV", 160, 120, 30.0),
            offer(b"H264", 640, 480, 60.0),
        ]
    }

    #[test]
    fn raw_pictures_are_preferred_where_they_reach_the_rate() {
        let settings = SourceSettings::default();
        let chosen = choose(&usb_camera(), &settings).expect("an offer");
        assert_eq!(chosen, offer(b"YUYV", 640, 480, 30.0));
        let settings = SourceSettings {
            width_px: 1280,
            height_px: 720,
            ..settings
        };
        let chosen = choose(&usb_camera(), &settings).expect("an offer");
        assert_eq!(chosen, offer(b"MJPG", 1280, 720, 30.0));
    }

    #[test]
    fn the_nearest_size_is_taken_and_a_wanted_format_is_kept() {
        let settings = SourceSettings {
            width_px: 800,
            height_px: 600,
            format: Some(PixelFormat::Mjpeg),
            ..SourceSettings::default()
        };
        let chosen = choose(&usb_camera(), &settings).expect("an offer");
        assert_eq!(chosen, offer(b"MJPG", 640, 480, 30.0));
        let settings = SourceSettings {
            format: Some(PixelFormat::Grey),
            ..settings
        };
        assert_eq!(choose(&usb_camera(), &settings), None);
        assert_eq!(choose(&[offer(b"H264", 640, 480, 30.0)], &settings), None);
        assert_eq!(list_formats(&usb_camera()), "MJPG, YUYV, H264");
    }

    #[test]
    fn a_slow_camera_is_better_than_none() {
        let slow = [
            offer(b"YUYV", 640, 480, 5.0),
            Offer {
                fps: None,
                ..offer(b"GREY", 1600, 1200, 0.0)
            },
        ];
        let chosen = choose(&slow[..1], &SourceSettings::default()).expect("an offer");
        assert_eq!(chosen.to_string(), "YUYV 640x480 5/s");
        // A rate that is not told may be the wanted one.
        let chosen = choose(&slow, &SourceSettings::default()).expect("an offer");
        assert_eq!(chosen.to_string(), "GREY 1600x1200");
    }

    #[test]
    fn the_systems_errors_become_words() {
        let words =
            |errno: Errno| explain(Path::new("/dev/video7"), "opening", errno.into()).to_string();
        assert!(words(Errno::NOENT).contains("no such camera"));
        assert!(words(Errno::BUSY).contains("in use by another program"));
        assert!(words(Errno::ACCESS).contains("usermod -aG video"));
        assert!(words(Errno::NODEV).contains("unplugged"));
        assert!(words(Errno::NOSPC).contains("USB port"));
        assert!(words(Errno::NOTTY).contains("not a camera"));
        assert!(words(Errno::IO).starts_with("/dev/video7: opening failed"));
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

    #[test]
    fn stable_names_are_links_to_the_device() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let device = folder.path().join("video3");
        std::fs::write(&device, b"").expect("a file");
        let link = folder.path().join("usb-A_Camera-video-index0");
        std::os::unix::fs::symlink("video3", &link).expect("a link");
        let path = folder.path().to_str().expect("a readable path");
        // The device itself stands in the folder too; links only are names.
        assert_eq!(stable_link(&device, &["/nowhere", path]), Some(link));
    }

    #[test]
    fn devices_are_ordered_by_number() {
        assert_eq!(device_number(OsStr::new("video10")), Some(10));
        assert_eq!(device_number(OsStr::new("video")), None);
        assert_eq!(device_number(OsStr::new("vbi0")), None);
    }

    #[test]
    fn formats_are_named_in_plain_letters() {
        assert_eq!(fourcc_name(*b"YUYV"), "YUYV");
        assert_eq!(fourcc_name(*b"Y16 "), "Y16");
        assert_eq!(fourcc_name([b'Y', b'1', b'6', b' ' | 0x80]), "Y16-BE");
    }

    #[test]
    fn rates_survive_their_fractions() {
        assert_eq!(fps_of(interval_of(30.0)), Some(30.0));
        assert_eq!(fps_of(Fract::new(1001, 30000)).map(f64::round), Some(30.0));
        assert_eq!(fps_of(Fract::new(0, 1)), None);
    }
}
