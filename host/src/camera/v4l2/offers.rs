//! What a camera offers, and what of it is taken.

use linuxvideo::format::{FrameIntervals, FrameSizes, PixelFormat as FourCc};
use linuxvideo::{BufType, Device, Fract};

use super::super::SourceSettings;
use super::super::luma::PixelFormat;

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

/// A rate this far below the wanted one still counts as reaching it: 25 for 30, lest a smaller
/// picture is taken for five frames more.
const RATE_SLACK: f64 = 0.8;

/// One size of one format, as the driver offers it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Offer {
    pub(super) fourcc: [u8; 4],
    pub(super) width: u32,
    pub(super) height: u32,
    /// Greatest rate; none when the driver does not say.
    pub(super) fps: Option<f64>,
}

/// Everything that the driver offers, formats that cannot be read among it. A range of sizes
/// counts with its ends and what of it comes nearest to the wanted size.
pub(super) fn offers(device: &Device, settings: &SourceSettings) -> Vec<Offer> {
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
pub(super) fn choose(offers: &[Offer], settings: &SourceSettings) -> Option<Offer> {
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

pub(super) fn format_of(fourcc: [u8; 4]) -> Option<PixelFormat> {
    FORMATS
        .iter()
        .find(|(known, _)| *known == fourcc)
        .map(|(_, format)| *format)
}

/// `YUYV`; a set highest bit means that the bytes of a sample are swapped.
pub(super) fn fourcc_name(fourcc: [u8; 4]) -> String {
    let letters = fourcc.map(|byte| char::from(byte & 0x7F));
    let name: String = letters.iter().filter(|&&letter| letter > ' ').collect();
    let is_swapped = fourcc[3] & 0x80 != 0;
    name + if is_swapped { "-BE" } else { "" }
}

/// The names of the formats, each once.
pub(super) fn list_formats(offers: &[Offer]) -> String {
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
pub(super) fn interval_of(fps: f64) -> Fract {
    Fract::new(1000, (fps * 1000.0).round().max(1.0) as u32)
}

pub(super) fn fps_of(interval: Fract) -> Option<f64> {
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
