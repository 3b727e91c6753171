//! Sources on real files and real child processes, made by the tests.

use std::path::{Path, PathBuf};

use jpeg_encoder::{ColorType, Encoder};

mod files;
mod live;

use super::*;
use crate::frame::FrameName;

/// A folder that goes when the test ends.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    fn root(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file in a temporary folder");
        path
    }
}

fn pgm(width: usize, height: usize, grey: u8) -> Vec<u8> {
    let mut bytes = format!("P5\n{width} {height}\n255\n").into_bytes();
    bytes.resize(bytes.len() + width * height, grey);
    bytes
}

fn jpeg(width: u16, height: u16, grey: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let luma = vec![grey; usize::from(width) * usize::from(height)];
    Encoder::new(&mut bytes, 95)
        .encode(&luma, width, height, ColorType::Luma)
        .expect("a picture in memory");
    bytes
}

fn y4m(header: &str, frames: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("YUV4MPEG2 {header}\n").into_bytes();
    for frame in frames {
        bytes.extend(b"FRAME\n");
        bytes.extend_from_slice(frame);
    }
    bytes
}

fn read_all(mut source: Box<dyn FrameSource>) -> (Vec<Frame>, Option<CameraError>) {
    let mut frames = Vec::new();
    loop {
        let mut frame = Frame::new();
        match source.capture(&mut frame) {
            Ok(Captured::Frame) => frames.push(frame),
            Ok(Captured::EndOfStream) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}
