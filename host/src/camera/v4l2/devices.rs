//! The cameras of this machine, their names, and what their errors mean.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use linuxvideo::format::Format;
use linuxvideo::{BufType, CapabilityFlags, Device, VideoCaptureDevice};
use rustix::io::Errno;

use super::super::spec::base_name;
use super::super::{CameraError, CameraInfo, SourceSettings};
use super::controls;
use super::offers::{Offer, choose, offers};

/// The cameras of this machine.
pub(in crate::camera) fn list() -> Vec<CameraInfo> {
    let mut cameras = Vec::new();
    for device in devices() {
        let mut controls = Vec::new();
        let (formats, problem) = match open_device(&device) {
            Ok(opened) => {
                controls = controls::list(&opened);
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
            stable_id: linked(&device),
            card: card_name(&device),
            device,
            controls,
            formats,
            problem,
        });
    }
    cameras
}

/// `/dev/video*` in the order of their numbers.
pub(super) fn devices() -> Vec<PathBuf> {
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

/// Where udev keeps names that do not change, the better ones first.
const LINK_FOLDERS: [&str; 2] = ["/dev/v4l/by-id", "/dev/v4l/by-path"];

/// The name of a device that stays the same over reboots and sockets.
pub(super) fn linked(device: &Path) -> Option<PathBuf> {
    stable_link(device, &LINK_FOLDERS)
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
pub(super) fn open_device(device: &Path) -> Result<Device, CameraError> {
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
pub(super) fn keep_format(device: Device) -> io::Result<VideoCaptureDevice> {
    match device.format(BufType::VIDEO_CAPTURE)? {
        Format::VideoCapture(current) => device.video_capture(current),
        _ => Err(Errno::INVAL.into()),
    }
}

/// What the system's error means for the user.
pub(super) fn explain(device: &Path, action: &'static str, error: io::Error) -> CameraError {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
