//! YUV4MPEG2 (Y4M): a text header, then raw frames. 8 bits a sample.

use std::io::{self, BufRead, Read};

use super::error::StreamFault;
use super::luma::stretch_limited_range;
use super::picture::MAX_PICTURE_PX;
use crate::frame::Frame;

/// How a Y4M file starts.
pub(super) const MAGIC: &[u8] = b"YUV4MPEG2";

/// Longest header line; real ones have about 80 bytes.
const MAX_LINE_BYTES: u64 = 4096;

/// What the header says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Y4mHeader {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Frames a second, where the file says.
    pub(super) fps: Option<f64>,
    /// Bytes after the grey plane of each frame.
    colour_bytes: usize,
    /// 16 is black and 235 white.
    is_limited_range: bool,
    /// Length of the header line with its line break.
    pub(super) header_bytes: u64,
}

/// Why there is no header.
#[derive(Debug)]
pub(super) enum HeaderFault {
    /// Reading failed.
    Io(io::Error),
    /// Not a header that can be used.
    Fault(StreamFault),
    /// A valid one, with more than 8 bits a sample.
    Deep,
}

/// What came next in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A frame, whole or cut short (then it has an error).
    Frame,
    /// The end.
    End,
    /// Something else.
    Broken,
}

impl Y4mHeader {
    /// Reads the header line.
    pub(super) fn read(reader: &mut impl BufRead) -> Result<Self, HeaderFault> {
        let line = read_line(reader).map_err(HeaderFault::Io)?;
        let bad = |what: String| HeaderFault::Fault(StreamFault::Y4mHeader(what));
        let text = std::str::from_utf8(&line)
            .ok()
            .and_then(|text| text.strip_suffix('\n'))
            .ok_or_else(|| bad("it does not end in a line break".into()))?;
        let mut words = text.split(' ');
        if words.next().map(str::as_bytes) != Some(MAGIC) {
            return Err(bad("it does not start with YUV4MPEG2".into()));
        }
        let (mut width, mut height, mut fps) = (0, 0, None);
        let (mut colours, mut is_full_range) = ("420", false);
        for word in words.filter(|word| !word.is_empty()) {
            let number = || word[1..].parse::<usize>();
            match word.as_bytes()[0] {
                b'W' => width = number().map_err(|_| bad(format!("width {word:?}")))?,
                b'H' => height = number().map_err(|_| bad(format!("height {word:?}")))?,
                b'F' => fps = parse_rate(&word[1..]),
                b'C' => colours = &word[1..],
                b'X' if word.eq_ignore_ascii_case("XCOLORRANGE=FULL") => is_full_range = true,
                _ => {}
            }
        }
        match width.checked_mul(height) {
            Some(1..=MAX_PICTURE_PX) => {}
            Some(0) => return Err(bad(format!("the size is {width}x{height}"))),
            _ => return Err(HeaderFault::Fault(StreamFault::TooLarge { width, height })),
        }
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let colour_bytes = match colours {
            "mono" => 0,
            "420" | "420jpeg" | "420paldv" | "420mpeg2" => 2 * half_width * half_height,
            "411" => 2 * width.div_ceil(4) * height,
            "422" => 2 * half_width * height,
            "444" => 2 * width * height,
            "444alpha" => 3 * width * height,
            deep if deep.starts_with("mono1") || deep.contains('p') => {
                return Err(HeaderFault::Deep);
            }
            other => return Err(bad(format!("the colour space {other:?} is not known"))),
        };
        Ok(Y4mHeader {
            width,
            height,
            fps,
            colour_bytes,
            is_limited_range: colours != "mono" && !is_full_range,
            header_bytes: line.len() as u64,
        })
    }

    /// Bytes of a frame behind its own header line.
    pub(super) fn frame_bytes(&self) -> u64 {
        (self.width * self.height + self.colour_bytes) as u64
    }

    /// Reads the next frame.
    pub(super) fn read_frame(
        &self,
        reader: &mut impl BufRead,
        frame: &mut Frame,
    ) -> io::Result<Next> {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok(Next::End);
        }
        let is_header = line.starts_with(b"FRAME") && matches!(line.get(5), Some(b' ' | b'\n'));
        if !is_header {
            return Ok(Next::Broken);
        }
        let luma = frame.resize(self.width, self.height);
        let colours = self.colour_bytes as u64;
        let outcome = reader.read_exact(luma).and_then(|()| {
            let skipped = io::copy(&mut reader.by_ref().take(colours), &mut io::sink())?;
            if skipped < colours {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(())
        });
        match outcome {
            Ok(()) if self.is_limited_range => stretch_limited_range(luma),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                frame.fail("the Y4M frame is cut short");
            }
            Err(error) => return Err(error),
        }
        Ok(Next::Frame)
    }
}

/// A line with its line break; without one at the end of the stream or when it is too long.
fn read_line(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader
        .by_ref()
        .take(MAX_LINE_BYTES)
        .read_until(b'\n', &mut line)?;
    Ok(line)
}

/// `30000:1001`; none for `0:0`, which means unknown.
fn parse_rate(rate: &str) -> Option<f64> {
    let (numerator, denominator) = rate.split_once(':')?;
    let (numerator, denominator): (f64, f64) = (numerator.parse().ok()?, denominator.parse().ok()?);
    let fps = numerator / denominator;
    (fps.is_finite() && fps > 0.0).then_some(fps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(line: &str) -> Result<Y4mHeader, HeaderFault> {
        Y4mHeader::read(&mut line.as_bytes())
    }

    fn is_bad(line: &str) -> bool {
        matches!(
            header(line),
            Err(HeaderFault::Fault(StreamFault::Y4mHeader(_)))
        )
    }

    #[test]
    fn a_header_gives_size_rate_and_range() {
        let read = header("YUV4MPEG2 W3 H5 F30000:1001 Ip A1:1 C420jpeg XYSCSS=420JPEG\n")
            .expect("a good header");
        assert_eq!((read.width, read.height), (3, 5));
        assert!((read.fps.expect("a rate") - 29.97).abs() < 0.001);
        assert_eq!(read.frame_bytes(), 15 + 2 * 2 * 3);
        assert!(read.is_limited_range);
        let full = header("YUV4MPEG2 W2 H2 F0:0 C444 XCOLORRANGE=FULL\n").expect("a good header");
        assert!(!full.is_limited_range);
        assert_eq!(full.fps, None);
        assert!(
            !header("YUV4MPEG2 W2 H2 Cmono\n")
                .expect("grey")
                .is_limited_range
        );
    }

    #[test]
    fn broken_headers_are_refused() {
        assert!(is_bad(""));
        assert!(is_bad("YUV4MPEG2 W2 H2"));
        assert!(is_bad("YUV4MPEG W2 H2\n"));
        assert!(is_bad("YUV4MPEG2 W2\n"));
        assert!(is_bad("YUV4MPEG2 W-2 H2\n"));
        assert!(is_bad("YUV4MPEG2 W2 H2 Codd\n"));
        assert!(matches!(
            header("YUV4MPEG2 W99999999 H99999999\n"),
            Err(HeaderFault::Fault(StreamFault::TooLarge { .. }))
        ));
        assert!(matches!(
            header("YUV4MPEG2 W2 H2 C420p10\n"),
            Err(HeaderFault::Deep)
        ));
    }

    #[test]
    fn frames_follow_until_the_end() {
        let mut stream = &b"YUV4MPEG2 W2 H1 F25:1 C444\nFRAME\n\x10\xeb\0\0\0\0FRAME Ip\n\x7e\x7e\0\0\0\0FRAME\n\x10"[..];
        let header = Y4mHeader::read(&mut stream).expect("a good header");
        let mut frame = Frame::new();
        assert_eq!(
            header.read_frame(&mut stream, &mut frame).ok(),
            Some(Next::Frame)
        );
        assert_eq!(frame.luma, [0, 255]);
        assert_eq!(
            header.read_frame(&mut stream, &mut frame).ok(),
            Some(Next::Frame)
        );
        assert_eq!(frame.luma, [128, 128]);
        assert_eq!(
            header.read_frame(&mut stream, &mut frame).ok(),
            Some(Next::Frame)
        );
        assert!(frame.error.is_some());
        assert_eq!(
            header.read_frame(&mut stream, &mut frame).ok(),
            Some(Next::End)
        );
        assert_eq!(
            header.read_frame(&mut &b"FRAMES\n"[..], &mut frame).ok(),
            Some(Next::Broken)
        );
    }
}
