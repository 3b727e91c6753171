//! A recorded video: Y4M and MJPEG are read here, everything else through ffmpeg.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::Path;

use gaze_protocol::Timestamp;

use super::error::StreamFault;
use super::ffmpeg::FfmpegVideo;
use super::jpeg::JpegPicture;
use super::picture::first_bytes;
use super::spec::base_name;
use super::y4m::{self, HeaderFault, Next, Y4mHeader};
use super::{CameraError, Captured, FrameSource, SourceSettings, StopFlag, steady_time_us};
use crate::frame::Frame;

/// Opens a video by what is in it, whatever its name.
pub(super) fn open(
    path: &Path,
    settings: &SourceSettings,
) -> Result<Box<dyn FrameSource>, CameraError> {
    let fault = |source| CameraError::File {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(fault)?.is_dir() {
        return Err(fault(std::io::ErrorKind::IsADirectory.into()));
    }
    let start = first_bytes(path).map_err(fault)?;
    if start.starts_with(&[0xFF, 0xD8, 0xFF]) {
        return Ok(Box::new(MjpegVideo::open(path, settings)?));
    }
    if start.starts_with(y4m::MAGIC)
        && let Some(video) = Y4mVideo::open(path, settings)?
    {
        return Ok(Box::new(video));
    }
    Ok(Box::new(FfmpegVideo::open(path, settings)?))
}

/// JPEG pictures one after the other.
struct MjpegVideo {
    name: String,
    reader: BufReader<File>,
    picture: JpegPicture,
    /// The first picture is read when the video is opened.
    is_read: bool,
    next_seq: u64,
    fps: f64,
    stop: StopFlag,
    frame_size: Option<(usize, usize)>,
}

impl MjpegVideo {
    fn open(path: &Path, settings: &SourceSettings) -> Result<Self, CameraError> {
        let fault = |source| CameraError::File {
            path: path.to_owned(),
            source,
        };
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(fault)?);
        let mut picture = JpegPicture::default();
        let is_read = picture.read_from(&mut reader).map_err(fault)?;
        Ok(MjpegVideo {
            name: base_name(path),
            frame_size: picture.size(),
            reader,
            picture,
            is_read,
            next_seq: 0,
            fps: settings.fps,
            stop: settings.stop.clone(),
        })
    }
}

impl FrameSource for MjpegVideo {
    fn capture(&mut self, frame: &mut Frame) -> Result<Captured, CameraError> {
        if self.stop.is_raised() {
            return Ok(Captured::EndOfStream);
        }
        if !std::mem::take(&mut self.is_read) {
            let is_picture =
                self.picture
                    .read_from(&mut self.reader)
                    .map_err(|error| CameraError::Stream {
                        source_name: self.name.clone(),
                        reason: StreamFault::Read(error.to_string()),
                    })?;
            if !is_picture {
                return Ok(Captured::EndOfStream);
            }
        }
        let time_us = steady_time_us(self.next_seq, self.fps);
        frame.begin(self.next_seq, Timestamp(time_us));
        self.picture.decode(frame);
        self.next_seq += 1;
        Ok(Captured::Frame)
    }

    fn description(&self) -> String {
        format!("video:{}", self.name)
    }

    fn frame_size(&self) -> Option<(usize, usize)> {
        self.frame_size
    }
}

/// A Y4M file.
struct Y4mVideo {
    name: String,
    reader: BufReader<File>,
    header: Y4mHeader,
    file_bytes: u64,
    next_seq: u64,
    fps: f64,
    stop: StopFlag,
}

impl Y4mVideo {
    /// None: more than 8 bits a sample, which is left to ffmpeg.
    fn open(path: &Path, settings: &SourceSettings) -> Result<Option<Self>, CameraError> {
        let fault = |source| CameraError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(fault)?;
        let file_bytes = file.seek(std::io::SeekFrom::End(0)).map_err(fault)?;
        file.rewind().map_err(fault)?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let header = match Y4mHeader::read(&mut reader) {
            Ok(header) => header,
            Err(HeaderFault::Deep) => return Ok(None),
            Err(HeaderFault::Io(error)) => return Err(fault(error)),
            Err(HeaderFault::Fault(reason)) => {
                return Err(CameraError::Stream {
                    source_name: base_name(path),
                    reason,
                });
            }
        };
        Ok(Some(Y4mVideo {
            name: base_name(path),
            reader,
            fps: header.fps.unwrap_or(settings.fps),
            header,
            file_bytes,
            next_seq: 0,
            stop: settings.stop.clone(),
        }))
    }
}

impl FrameSource for Y4mVideo {
    fn capture(&mut self, frame: &mut Frame) -> Result<Captured, CameraError> {
        if self.stop.is_raised() {
            return Ok(Captured::EndOfStream);
        }
        let fault = |reason| CameraError::Stream {
            source_name: self.name.clone(),
            reason,
        };
        let time_us = steady_time_us(self.next_seq, self.fps);
        frame.begin(self.next_seq, Timestamp(time_us));
        match self.header.read_frame(&mut self.reader, frame) {
            Ok(Next::Frame) => {}
            Ok(Next::End) => return Ok(Captured::EndOfStream),
            Ok(Next::Broken) => {
                return Err(fault(StreamFault::Y4mFrame { seq: self.next_seq }));
            }
            Err(error) => return Err(fault(StreamFault::Read(error.to_string()))),
        }
        self.next_seq += 1;
        Ok(Captured::Frame)
    }

    fn description(&self) -> String {
        format!("video:{}", self.name)
    }

    fn frame_size(&self) -> Option<(usize, usize)> {
        Some((self.header.width, self.header.height))
    }

    /// Exact unless frames carry parameters of their own.
    fn frame_count(&self) -> Option<u64> {
        let frame_bytes = self.header.frame_bytes() + b"FRAME\n".len() as u64;
        let frames_bytes = self.file_bytes.checked_sub(self.header.header_bytes)?;
        (frames_bytes % frame_bytes == 0).then_some(frames_bytes / frame_bytes)
    }
}
