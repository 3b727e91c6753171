//! Pictures and videos from bytes, for `crate::fuzzing`.

use super::jpeg::JpegPicture;
use super::picture::{PictureReader, size_of_file};
use super::y4m::{Next, Y4mHeader};
use crate::frame::Frame;
use crate::fuzzing::with_file;

/// Frames of one input, so that a few bytes do not become minutes.
const MOST_FRAMES: usize = 16;

/// A still picture of any kind.
pub fn picture(bytes: &[u8]) {
    with_file(bytes, |path| {
        let _ = size_of_file(path);
        PictureReader::default().read(path, &mut Frame::new());
    });
}

/// JPEG pictures one after the other.
pub fn mjpeg(bytes: &[u8]) {
    let (mut picture, mut reader, mut frame) = (JpegPicture::default(), bytes, Frame::new());
    for _ in 0..MOST_FRAMES {
        match picture.read_from(&mut reader) {
            Ok(true) => picture.decode(&mut frame),
            _ => return,
        }
        let _ = picture.size();
    }
}

/// A Y4M video.
pub fn y4m(bytes: &[u8]) {
    let (mut reader, mut frame) = (bytes, Frame::new());
    let Ok(header) = Y4mHeader::read(&mut reader) else {
        return;
    };
    for _ in 0..MOST_FRAMES {
        let Ok(Next::Frame) = header.read_frame(&mut reader, &mut frame) else {
            return;
        };
    }
}
