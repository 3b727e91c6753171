//! Still pictures: PNG, JPEG, BMP and the PNM family, as grey values.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use image::{DynamicImage, ImageFormat, ImageReader};

use super::jpeg::{self, JpegPicture};
use super::luma::grey_of_rgb;
use crate::frame::Frame;

/// Largest picture that is read: 8000 by 6000 or as many pixels in another shape. A bound has to
/// be somewhere, lest a few bytes of a broken header claim all memory.
pub(super) const MAX_PICTURE_PX: usize = 8000 * 6000;

/// Refuses empty pictures and such beyond [`MAX_PICTURE_PX`].
pub(super) fn check_size(width: usize, height: usize) -> Result<(), String> {
    match width.checked_mul(height) {
        Some(1..=MAX_PICTURE_PX) => Ok(()),
        Some(0) => Err(format!("the picture is empty ({width}x{height})")),
        _ => Err(format!(
            "the picture is larger ({width}x{height}) than the 48 megapixels allowed"
        )),
    }
}

/// Whether a file starts like a still picture. A JPEG that is named like a video is one.
pub(super) fn file_is_picture(path: &Path) -> io::Result<bool> {
    let kind = kind_of(&first_bytes(path)?);
    Ok(match kind {
        Some(Kind::Jpeg) => !has_extension(path, &["mjpeg", "mjpg"]),
        Some(Kind::Other(_)) => true,
        None => false,
    })
}

/// Whether a file's extension is one of these, in any case.
pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|extension| {
        extensions
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// The first 16 bytes of a file, fewer if it is shorter.
pub(super) fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(16);
    File::open(path)?.take(16).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Jpeg,
    Other(ImageFormat),
}

/// Tells pictures by their content; names lie.
fn kind_of(start: &[u8]) -> Option<Kind> {
    match start {
        [0xFF, 0xD8, ..] => Some(Kind::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Some(Kind::Other(ImageFormat::Png)),
        [b'B', b'M', ..] => Some(Kind::Other(ImageFormat::Bmp)),
        [b'P', b'1'..=b'7', next, ..] if next.is_ascii_whitespace() => {
            Some(Kind::Other(ImageFormat::Pnm))
        }
        _ => None,
    }
}

/// Reads picture files; its buffers are reused.
#[derive(Debug, Default)]
pub(super) struct PictureReader {
    bytes: Vec<u8>,
    jpeg: JpegPicture,
}

impl PictureReader {
    /// Writes the picture's grey values into `frame`, or why it cannot be read.
    pub(super) fn read(&mut self, path: &Path, frame: &mut Frame) {
        self.bytes.clear();
        let read = File::open(path).and_then(|mut file| file.read_to_end(&mut self.bytes));
        if let Err(error) = read {
            frame.fail(error);
            return;
        }
        match kind_of(&self.bytes) {
            Some(Kind::Jpeg) => {
                match self.jpeg.read_from(&mut &self.bytes[..]) {
                    Ok(_) => self.jpeg.decode(frame),
                    Err(error) => frame.fail(error),
                }
                self.jpeg.forget();
            }
            Some(Kind::Other(format)) => {
                if let Err(reason) = decode(&self.bytes, format, frame) {
                    frame.fail(reason);
                }
            }
            None if self.bytes.is_empty() => frame.fail("the file is empty"),
            None => frame.fail("not a PNG, JPEG, BMP, PGM or PPM picture"),
        }
    }
}

/// Columns and rows in a picture's header; none when it cannot be read.
pub(super) fn size_of_file(path: &Path) -> Option<(usize, usize)> {
    let kind = kind_of(&first_bytes(path).ok()?)?;
    let file = BufReader::new(File::open(path).ok()?);
    match kind {
        Kind::Jpeg => jpeg::size_of(file),
        Kind::Other(format) => {
            let (width, height) = ImageReader::with_format(file, format)
                .into_dimensions()
                .ok()?;
            Some((width as usize, height as usize))
        }
    }
}

fn decode(bytes: &[u8], format: ImageFormat, frame: &mut Frame) -> Result<(), String> {
    let words = |error: image::ImageError| error.to_string();
    let (width, height) = ImageReader::with_format(Cursor::new(bytes), format)
        .into_dimensions()
        .map_err(words)?;
    let (width, height) = (width as usize, height as usize);
    check_size(width, height)?;
    let mut limits = image::Limits::default();
    // Four channels of 16 bits, and the decoder's own row buffers.
    limits.max_alloc = Some(MAX_PICTURE_PX as u64 * 8 + (64 << 20));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let picture = reader.decode().map_err(words)?;
    let luma = frame.resize(width, height);
    match picture {
        DynamicImage::ImageLuma8(grey) => luma.copy_from_slice(grey.as_raw()),
        DynamicImage::ImageLumaA8(grey) => {
            for (out, pixel) in luma.iter_mut().zip(grey.pixels()) {
                *out = pixel.0[0];
            }
        }
        DynamicImage::ImageRgb8(colours) => {
            for (out, pixel) in luma.iter_mut().zip(colours.pixels()) {
                *out = grey_of_rgb(pixel.0);
            }
        }
        DynamicImage::ImageLuma16(grey) => {
            for (out, pixel) in luma.iter_mut().zip(grey.pixels()) {
                *out = to_8_bit(pixel.0[0]);
            }
        }
        DynamicImage::ImageLumaA16(grey) => {
            for (out, pixel) in luma.iter_mut().zip(grey.pixels()) {
                *out = to_8_bit(pixel.0[0]);
            }
        }
        // RGBA, 16-bit colours and whatever else there may be. Transparency is ignored.
        other => {
            for (out, pixel) in luma.iter_mut().zip(other.to_rgb8().pixels()) {
                *out = grey_of_rgb(pixel.0);
            }
        }
    }
    Ok(())
}

fn to_8_bit(grey: u16) -> u8 {
    ((u32::from(grey) * 255 + 32767) / 65535) as u8
}
