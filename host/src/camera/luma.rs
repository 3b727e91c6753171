//! Grey values out of the pixel formats that cameras speak.

use std::fmt;
use std::str::FromStr;

/// A pixel format of a camera or a raw stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// 8-bit grey.
    Grey,
    /// Planar 4:2:0, a grey plane first (`YU12`, `YV12`, rpicam's `yuv420`).
    Yuv420,
    /// A grey plane, then interleaved colour (`NV12`, `NV21`).
    Nv12,
    /// Packed 4:2:2, grey in the even bytes.
    Yuyv,
    /// Packed 4:2:2, grey in the odd bytes.
    Uyvy,
    /// Red, green, blue.
    Rgb24,
    /// Blue, green, red.
    Bgr24,
    /// A JPEG picture each.
    Mjpeg,
}

impl PixelFormat {
    /// Every format, the ones that cost least first.
    pub const ALL: [PixelFormat; 8] = [
        PixelFormat::Grey,
        PixelFormat::Nv12,
        PixelFormat::Yuv420,
        PixelFormat::Yuyv,
        PixelFormat::Uyvy,
        PixelFormat::Rgb24,
        PixelFormat::Bgr24,
        PixelFormat::Mjpeg,
    ];

    /// Name in settings and descriptions.
    pub fn name(self) -> &'static str {
        match self {
            PixelFormat::Grey => "grey",
            PixelFormat::Yuv420 => "yuv420",
            PixelFormat::Nv12 => "nv12",
            PixelFormat::Yuyv => "yuyv",
            PixelFormat::Uyvy => "uyvy",
            PixelFormat::Rgb24 => "rgb24",
            PixelFormat::Bgr24 => "bgr24",
            PixelFormat::Mjpeg => "mjpeg",
        }
    }

    /// Bytes of a row without padding; none for compressed pictures.
    pub(super) fn row_bytes(self, width: usize) -> Option<usize> {
        match self {
            PixelFormat::Grey | PixelFormat::Yuv420 | PixelFormat::Nv12 => Some(width),
            PixelFormat::Yuyv | PixelFormat::Uyvy => Some(width.div_ceil(2) * 4),
            PixelFormat::Rgb24 | PixelFormat::Bgr24 => Some(width * 3),
            PixelFormat::Mjpeg => None,
        }
    }

    /// Bytes after the rows that carry grey: the colour planes, without padding.
    pub(super) fn colour_bytes(self, width: usize, height: usize) -> usize {
        match self {
            PixelFormat::Yuv420 | PixelFormat::Nv12 => 2 * width.div_ceil(2) * height.div_ceil(2),
            _ => 0,
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of a pixel format is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "pixel format {given:?} is not known; \
     there are grey, yuv420, nv12, yuyv, uyvy, rgb24, bgr24 and mjpeg"
)]
pub struct UnknownPixelFormat {
    /// What was given.
    pub given: String,
}

impl FromStr for PixelFormat {
    type Err = UnknownPixelFormat;

    fn from_str(given: &str) -> Result<Self, UnknownPixelFormat> {
        PixelFormat::ALL
            .into_iter()
            .find(|format| format.name() == given)
            .ok_or_else(|| UnknownPixelFormat {
                given: given.to_owned(),
            })
    }
}

/// Writes the grey values of an uncompressed picture into `luma` (`width * height` bytes).
///
/// `stride` is the distance between rows in `raw`, bytes. Returns false when `raw` is too short
/// or the format is compressed; `luma` is in no defined state then.
pub fn extract(
    format: PixelFormat,
    raw: &[u8],
    stride: usize,
    width: usize,
    height: usize,
    luma: &mut [u8],
) -> bool {
    let Some(row_bytes) = format.row_bytes(width) else {
        return false;
    };
    let stride = stride.max(row_bytes);
    if width == 0 || height == 0 || raw.len() < stride * (height - 1) + row_bytes {
        return false;
    }
    for (row, out) in raw.chunks(stride).zip(luma.chunks_exact_mut(width)) {
        extract_row(format, &row[..row_bytes], out);
    }
    true
}

fn extract_row(format: PixelFormat, row: &[u8], out: &mut [u8]) {
    match format {
        PixelFormat::Grey | PixelFormat::Yuv420 | PixelFormat::Nv12 => out.copy_from_slice(row),
        PixelFormat::Yuyv => {
            for (grey, pair) in out.iter_mut().zip(row.chunks_exact(2)) {
                *grey = pair[0];
            }
        }
        PixelFormat::Uyvy => {
            for (grey, pair) in out.iter_mut().zip(row.chunks_exact(2)) {
                *grey = pair[1];
            }
        }
        PixelFormat::Rgb24 => {
            for (grey, rgb) in out.iter_mut().zip(row.chunks_exact(3)) {
                *grey = grey_of_rgb([rgb[0], rgb[1], rgb[2]]);
            }
        }
        PixelFormat::Bgr24 => {
            for (grey, bgr) in out.iter_mut().zip(row.chunks_exact(3)) {
                *grey = grey_of_rgb([bgr[2], bgr[1], bgr[0]]);
            }
        }
        PixelFormat::Mjpeg => {}
    }
}

/// Rec. 601 luma, as JPEG defines it.
pub(super) fn grey_of_rgb([red, green, blue]: [u8; 3]) -> u8 {
    let weighted = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    ((weighted + 500) / 1000) as u8
}

/// Stretches limited-range luma (16 black, 235 white) to 0..255, as full-range pictures have it.
pub(super) fn stretch_limited_range(luma: &mut [u8]) {
    for grey in luma {
        let above_black = u32::from((*grey).clamp(16, 235) - 16);
        *grey = ((above_black * 255 + 109) / 219) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_formats_give_their_grey_bytes() {
        // Two rows of two pixels, each row followed by two bytes of padding.
        let yuyv = [10, 1, 20, 2, 0, 0, 30, 3, 40, 4];
        let mut luma = [0; 4];
        assert!(extract(PixelFormat::Yuyv, &yuyv, 6, 2, 2, &mut luma));
        assert_eq!(luma, [10, 20, 30, 40]);
        assert!(extract(PixelFormat::Uyvy, &yuyv, 6, 2, 2, &mut luma));
        assert_eq!(luma, [1, 2, 3, 4]);
    }

    #[test]
    fn planar_formats_give_their_first_plane() {
        let i420 = [1, 2, 3, 4, 5, 6, 100, 101, 102, 103];
        let mut luma = [0; 6];
        assert!(extract(PixelFormat::Yuv420, &i420, 3, 3, 2, &mut luma));
        assert_eq!(luma, [1, 2, 3, 4, 5, 6]);
        assert_eq!(PixelFormat::Yuv420.colour_bytes(3, 2), 4);
    }

    #[test]
    fn a_picture_cut_short_is_refused() {
        let mut luma = [0; 4];
        assert!(!extract(PixelFormat::Grey, &[1, 2, 3], 2, 2, 2, &mut luma));
        assert!(!extract(PixelFormat::Mjpeg, &[0; 100], 2, 2, 2, &mut luma));
        assert!(!extract(PixelFormat::Grey, &[], 0, 0, 0, &mut []));
    }

    #[test]
    fn colours_weigh_as_rec_601_says() {
        assert_eq!(grey_of_rgb([255, 255, 255]), 255);
        assert_eq!(grey_of_rgb([255, 0, 0]), 76);
        assert_eq!(grey_of_rgb([0, 255, 0]), 150);
        assert_eq!(grey_of_rgb([0, 0, 255]), 29);
        let mut luma = [0; 1];
        assert!(extract(
            PixelFormat::Bgr24,
            &[255, 0, 0],
            3,
            1,
            1,
            &mut luma
        ));
        assert_eq!(luma, [29]);
    }

    #[test]
    fn limited_range_is_stretched_to_full() {
        let mut luma = [0, 16, 126, 235, 255];
        stretch_limited_range(&mut luma);
        assert_eq!(luma, [0, 0, 128, 255, 255]);
    }

    #[test]
    fn formats_are_named_as_they_are_read() {
        for format in PixelFormat::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
        assert!("YUYV".parse::<PixelFormat>().is_err());
    }
}
