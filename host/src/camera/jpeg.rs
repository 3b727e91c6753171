//! JPEG pictures, alone or one after the other (MJPEG), as grey values.

use std::io::{self, BufRead, Cursor};
use std::time::Instant;

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::luma::grey_of_rgb;
use super::picture::check_size;
use crate::frame::Frame;

/// Longest JPEG that is kept; a picture of 48 megapixels stays below it.
const MAX_JPEG_BYTES: usize = 64 << 20;

const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;
const HUFFMAN_TABLES: u8 = 0xC4;

/// One JPEG picture, still compressed. Its buffers are reused from picture to picture.
#[derive(Debug, Default)]
pub(super) struct JpegPicture {
    bytes: Vec<u8>,
    patched: Vec<u8>,
    /// Where the first scan's marker stands.
    first_scan_at: Option<usize>,
    has_tables: bool,
    is_complete: bool,
    /// The last picture broke off at the start of this one, which is read already.
    is_started: bool,
}

impl JpegPicture {
    /// Reads the next picture of a stream, skipping whatever stands before it. False at the end.
    ///
    /// A picture that breaks off, at the end of the stream or because another one starts, is a
    /// picture too; [`JpegPicture::decode`] says so.
    pub(super) fn read_from(&mut self, reader: &mut impl BufRead) -> io::Result<bool> {
        self.bytes.clear();
        self.first_scan_at = None;
        self.has_tables = false;
        self.is_complete = false;
        if !std::mem::take(&mut self.is_started) && !skip_to_start(reader)? {
            return Ok(false);
        }
        self.bytes.extend([0xFF, START_OF_IMAGE]);
        match self.read_segments(reader) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Reads on to the end of the picture, following its markers.
    fn read_segments(&mut self, reader: &mut impl BufRead) -> io::Result<()> {
        let mut is_scan = false;
        while self.bytes.len() < MAX_JPEG_BYTES {
            copy_to_marker(reader, &mut self.bytes)?;
            let mut code = next_byte(reader)?;
            while code == 0xFF {
                code = next_byte(reader)?;
            }
            match code {
                START_OF_IMAGE => {
                    self.bytes.pop();
                    self.is_started = true;
                    return Ok(());
                }
                END_OF_IMAGE => {
                    self.bytes.push(code);
                    self.is_complete = true;
                    return Ok(());
                }
                // A stuffed zero, a restart mark, or the obsolete TEM: nothing follows.
                0x00 | 0x01 | 0xD0..=0xD7 => self.bytes.push(code),
                // Inside a scan only these may follow; anything else is damage, which the decoder
                // reports and which must not be taken for a length.
                _ if is_scan && !matches!(code, 0xC4 | 0xDA..=0xDF | 0xE0..=0xEF | 0xFE) => {
                    self.bytes.push(code);
                }
                _ => {
                    if code == START_OF_SCAN {
                        is_scan = true;
                        self.first_scan_at.get_or_insert(self.bytes.len() - 1);
                    }
                    if code == HUFFMAN_TABLES {
                        self.has_tables = true;
                    }
                    self.bytes.push(code);
                    let length = [next_byte(reader)?, next_byte(reader)?];
                    self.bytes.extend(length);
                    let rest = usize::from(u16::from_be_bytes(length)).saturating_sub(2);
                    copy_exact(reader, &mut self.bytes, rest)?;
                }
            }
        }
        Ok(())
    }

    /// Drops what was read ahead; the next picture comes from another stream.
    pub(super) fn forget(&mut self) {
        self.is_started = false;
    }

    /// Columns and rows as the header states them.
    pub(super) fn size(&self) -> Option<(usize, usize)> {
        size_of(Cursor::new(&self.bytes))
    }

    /// Writes the picture's grey values into `frame`, or why it cannot be read, and how long it took.
    pub(super) fn decode(&mut self, frame: &mut Frame) {
        let began = Instant::now();
        self.unpack(frame);
        frame.decoding = Some(began.elapsed());
    }

    fn unpack(&mut self, frame: &mut Frame) {
        if !self.is_complete {
            frame.fail("the JPEG picture is cut short");
            return;
        }
        // Webcams leave out the tables that every MJPEG stream shares.
        let bytes = match self.first_scan_at {
            Some(at) if !self.has_tables => {
                self.patched.clear();
                self.patched.extend_from_slice(&self.bytes[..at]);
                self.patched.extend_from_slice(&standard_huffman_tables());
                self.patched.extend_from_slice(&self.bytes[at..]);
                &self.patched
            }
            _ => &self.bytes,
        };
        // Strict first, so that damage is told; lenient only for the harmless filling between
        // headers that some cameras write.
        let outcome = match decode_into(bytes, true, frame) {
            Err(reason) if reason.contains("[strict-mode]") => decode_into(bytes, false, frame),
            outcome => outcome,
        };
        if let Err(reason) = outcome {
            frame.fail(format_args!("the JPEG picture cannot be read: {reason}"));
        }
    }
}

/// Columns and rows in a JPEG's header.
pub(super) fn size_of(reader: impl BufRead + io::Seek) -> Option<(usize, usize)> {
    let mut decoder = JpegDecoder::new(reader);
    decoder.decode_headers().ok()?;
    decoder.dimensions()
}

fn decode_into(bytes: &[u8], is_strict: bool, frame: &mut Frame) -> Result<(), String> {
    let words = |error: DecodeErrors| error.to_string();
    let options = DecoderOptions::default()
        .set_strict_mode(is_strict)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::Luma);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(words)?;
    let (width, height) = decoder.dimensions().ok_or("no size in the header")?;
    check_size(width, height)?;
    match decoder.input_colorspace() {
        Some(ColorSpace::YCbCr | ColorSpace::Luma) => decoder
            .decode_into(frame.resize(width, height))
            .map_err(words),
        _ => {
            decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::RGB));
            let rgb = decoder.decode().map_err(words)?;
            let luma = frame.resize(width, height);
            for (grey, rgb) in luma.iter_mut().zip(rgb.chunks_exact(3)) {
                *grey = grey_of_rgb([rgb[0], rgb[1], rgb[2]]);
            }
            Ok(())
        }
    }
}

/// Skips to behind the next start-of-image marker. False at the end of the stream.
fn skip_to_start(reader: &mut impl BufRead) -> io::Result<bool> {
    let mut is_after_ff = false;
    loop {
        let ahead = reader.fill_buf()?;
        if ahead.is_empty() {
            return Ok(false);
        }
        let mut found = None;
        for (at, &byte) in ahead.iter().enumerate() {
            if is_after_ff && byte == START_OF_IMAGE {
                found = Some(at + 1);
                break;
            }
            is_after_ff = byte == 0xFF;
        }
        let used = found.unwrap_or(ahead.len());
        reader.consume(used);
        if found.is_some() {
            return Ok(true);
        }
    }
}

/// Copies everything up to and including the next 0xFF.
fn copy_to_marker(reader: &mut impl BufRead, out: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let ahead = reader.fill_buf()?;
        if ahead.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let marker = ahead.iter().position(|&byte| byte == 0xFF);
        let used = marker.map_or(ahead.len(), |at| at + 1);
        out.extend_from_slice(&ahead[..used]);
        reader.consume(used);
        if marker.is_some() {
            return Ok(());
        }
        if out.len() > MAX_JPEG_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn copy_exact(reader: &mut impl BufRead, out: &mut Vec<u8>, mut count: usize) -> io::Result<()> {
    while count > 0 {
        let ahead = reader.fill_buf()?;
        if ahead.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let used = ahead.len().min(count);
        out.extend_from_slice(&ahead[..used]);
        reader.consume(used);
        count -= used;
    }
    Ok(())
}

fn next_byte(reader: &mut impl BufRead) -> io::Result<u8> {
    let ahead = reader.fill_buf()?;
    let byte = *ahead.first().ok_or(io::ErrorKind::UnexpectedEof)?;
    reader.consume(1);
    Ok(byte)
}

/// The tables of ITU-T T.81, annex K.3, as one segment; MJPEG streams that carry none mean these.
fn standard_huffman_tables() -> Vec<u8> {
    let mut segment = vec![0xFF, HUFFMAN_TABLES, 0, 0];
    for (class_and_id, lengths, values) in [
        (0x00, &DC_GREY_LENGTHS, &DC_VALUES[..]),
        (0x10, &AC_GREY_LENGTHS, &AC_GREY_VALUES[..]),
        (0x01, &DC_COLOUR_LENGTHS, &DC_VALUES[..]),
        (0x11, &AC_COLOUR_LENGTHS, &AC_COLOUR_VALUES[..]),
    ] {
        segment.push(class_and_id);
        segment.extend(lengths);
        segment.extend(values);
    }
    let length = (segment.len() - 2) as u16;
    segment[2..4].copy_from_slice(&length.to_be_bytes());
    segment
}

const DC_GREY_LENGTHS: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
const DC_COLOUR_LENGTHS: [u8; 16] = [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0];
const DC_VALUES: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const AC_GREY_LENGTHS: [u8; 16] = [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d];
const AC_COLOUR_LENGTHS: [u8; 16] = [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77];
#[rustfmt::skip]
const AC_GREY_VALUES: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
    0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
    0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
    0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
    0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
    0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
    0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
    0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
    0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];
#[rustfmt::skip]
const AC_COLOUR_VALUES: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
    0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
    0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
    0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
    0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
    0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
    0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
    0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
    0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];

#[cfg(test)]
mod tests {
    use jpeg_encoder::{ColorType, Encoder};
    use proptest::prelude::*;

    use super::*;

    /// A JPEG of one grey, as most cameras would write it.
    fn grey_jpeg(grey: u8, width: u16, height: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        let rgb = vec![grey; usize::from(width) * usize::from(height) * 3];
        Encoder::new(&mut bytes, 90)
            .encode(&rgb, width, height, ColorType::Rgb)
            .expect("a picture in memory");
        bytes
    }

    fn read_all(mut stream: &[u8]) -> Vec<Frame> {
        let mut picture = JpegPicture::default();
        let mut frames = Vec::new();
        while picture.read_from(&mut stream).expect("memory") {
            let mut frame = Frame::new();
            picture.decode(&mut frame);
            frames.push(frame);
        }
        frames
    }

    /// Removes the segments with this code from a picture's header.
    fn without_segments(bytes: &[u8], code: u8) -> Vec<u8> {
        let mut kept = bytes[..2].to_vec();
        let mut at = 2;
        while bytes[at + 1] != START_OF_SCAN {
            let length = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            if bytes[at + 1] != code {
                kept.extend_from_slice(&bytes[at..at + 2 + length]);
            }
            at += 2 + length;
        }
        kept.extend_from_slice(&bytes[at..]);
        kept
    }

    #[test]
    fn pictures_of_a_stream_come_one_by_one() {
        let mut stream = b"--boundary\r\n\r\n".to_vec();
        stream.extend(grey_jpeg(40, 16, 8));
        stream.extend(b"\r\n--boundary\xff\0\r\n");
        stream.extend(grey_jpeg(200, 5, 9));
        stream.extend([0; 7]);
        let frames = read_all(&stream);
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[0].width, frames[0].height), (16, 8));
        assert_eq!((frames[1].width, frames[1].height), (5, 9));
        // Quantisation at quality 90 moves a flat grey by less than 2.
        assert!(frames[0].luma.iter().all(|&grey| grey.abs_diff(40) < 2));
        assert!(frames[1].luma.iter().all(|&grey| grey.abs_diff(200) < 2));
    }

    #[test]
    fn a_picture_that_breaks_off_is_told_and_the_next_one_read() {
        // Noise, so that most of the picture is its scan.
        let mut whole = Vec::new();
        let noise: Vec<u8> = (0..64_u32 * 64)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        Encoder::new(&mut whole, 90)
            .encode(&noise, 64, 64, ColorType::Luma)
            .expect("a picture in memory");
        for cut in [whole.len() / 2, whole.len() - 2, whole.len() - 1] {
            let mut stream = whole[..cut].to_vec();
            stream.extend_from_slice(&whole);
            let frames = read_all(&stream);
            assert_eq!(frames.len(), 2, "cut at {cut}");
            let error = frames[0].error.as_deref();
            assert!(error.is_some_and(|error| error.contains("cut short")));
            assert_eq!((frames[0].width, frames[0].luma.len()), (0, 0));
            assert_eq!(frames[1].error, None);
        }
        for cut in 2..whole.len() {
            let frames = read_all(&whole[..cut]);
            assert_eq!(frames.len(), 1, "cut at {cut}");
            assert!(frames[0].error.is_some(), "cut at {cut}");
        }
    }

    #[test]
    fn a_webcam_picture_without_tables_is_read_like_one_with_them() {
        let mut whole = Vec::new();
        let ramp: Vec<u8> = (0..64 * 64).map(|at| (at % 64 * 4) as u8).collect();
        Encoder::new(&mut whole, 90)
            .encode(&ramp, 64, 64, ColorType::Luma)
            .expect("a picture in memory");
        let bare = without_segments(&whole, HUFFMAN_TABLES);
        assert!(bare.len() + 100 < whole.len());
        let (with, without) = (read_all(&whole), read_all(&bare));
        assert_eq!(without[0].error, None);
        assert_eq!(with[0].luma, without[0].luma);
        // Colour tables too.
        let colours = grey_jpeg(77, 32, 32);
        let bare = without_segments(&colours, HUFFMAN_TABLES);
        assert_eq!(read_all(&colours)[0].luma, read_all(&bare)[0].luma);
    }

    #[test]
    fn print_colours_become_grey() {
        let mut bytes = Vec::new();
        let ink = vec![0; 16 * 16 * 4];
        Encoder::new(&mut bytes, 95)
            .encode(&ink, 16, 16, ColorType::Cmyk)
            .expect("a picture in memory");
        let frames = read_all(&bytes);
        assert_eq!(frames[0].error, None);
        assert!(
            frames[0].luma.iter().all(|&grey| grey > 250),
            "no ink is white"
        );
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(stream in proptest::collection::vec(any::<u8>(), 0..2000)) {
            read_all(&stream);
        }

        #[test]
        fn damaged_streams_never_panic(
            hits in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..20),
            cut in any::<usize>(),
        ) {
            let mut stream = grey_jpeg(90, 24, 16);
            stream.extend(grey_jpeg(200, 16, 24));
            for (at, byte) in hits {
                let at = at % stream.len();
                stream[at] = byte;
            }
            stream.truncate(cut % (2 * stream.len()));
            read_all(&stream);
        }
    }
}
