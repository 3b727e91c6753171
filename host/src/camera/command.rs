//! Frames from a child process: `rpicam-vid`, `ffmpeg`, or any program that writes MJPEG, Y4M or
//! raw frames to its standard output.

use std::io::{self, BufRead, BufReader, Read};
use std::time::Instant;

use super::child::{ChildStream, LastLine};
use super::error::StreamFault;
use super::jpeg::JpegPicture;
use super::luma::{self, PixelFormat};
use super::spec::{CommandLine, base_name};
use super::y4m::{self, HeaderFault, Next, Y4mHeader};
use super::{CameraError, Captured, FrameSource, LiveClock, SourceSettings};
use crate::frame::Frame;

/// What the child writes.
enum StreamKind {
    Mjpeg(JpegPicture),
    Y4m(Y4mHeader),
    Raw {
        format: PixelFormat,
        width: usize,
        height: usize,
        bytes: Vec<u8>,
    },
}

/// A program that writes frames. Times are times of arrival.
pub(super) struct Command {
    name: String,
    child: BufReader<ChildStream<LastLine>>,
    kind: StreamKind,
    clock: LiveClock,
    has_ended: bool,
}

impl Command {
    /// Starts the program and waits for its first bytes.
    pub(super) fn open(line: &CommandLine, settings: &SourceSettings) -> Result<Self, CameraError> {
        let name = base_name(std::path::Path::new(line.program()));
        let child = ChildStream::start(
            line.program(),
            line.arguments(),
            LastLine::default(),
            settings.stop.clone(),
            settings.timeout,
        )?;
        let mut child = BufReader::with_capacity(1 << 16, child);
        let kind = match tell_kind(&mut child, settings) {
            Ok(kind) => kind,
            Err(Start::Io(error)) => return Err(child.get_mut().explain_start(Some(error))),
            Err(Start::Fault(StreamFault::Empty)) => {
                return Err(child.get_mut().explain_start(None));
            }
            Err(Start::Fault(reason)) => {
                return Err(CameraError::Stream {
                    source_name: name,
                    reason,
                });
            }
        };
        Ok(Command {
            name,
            child,
            kind,
            clock: LiveClock::new(settings),
            has_ended: false,
        })
    }

    fn end(&mut self, error: Option<io::Error>) -> Result<Captured, CameraError> {
        self.has_ended = true;
        match self.child.get_mut().explain(error) {
            Some(error) => Err(error),
            None => Ok(Captured::EndOfStream),
        }
    }
}

impl Command {
    /// Reads the next picture; one that is not wanted has no number and is not decoded.
    fn next(&mut self, frame: &mut Frame, is_wanted: bool) -> Result<Captured, CameraError> {
        if self.has_ended {
            return Ok(Captured::EndOfStream);
        }
        // The picture's own time is not known; the arrival of its last byte is.
        let outcome = match &mut self.kind {
            StreamKind::Mjpeg(picture) => match picture.read_from(&mut self.child) {
                Ok(true) => {
                    if is_wanted {
                        self.clock.stamp(frame, Instant::now());
                        picture.decode(frame);
                    }
                    Ok(Next::Frame)
                }
                Ok(false) => Ok(Next::End),
                Err(error) => Err(error),
            },
            StreamKind::Y4m(header) => {
                let outcome = header.read_frame(&mut self.child, frame);
                if is_wanted && matches!(outcome, Ok(Next::Frame)) {
                    self.clock.stamp(frame, Instant::now());
                }
                outcome
            }
            StreamKind::Raw {
                format,
                width,
                height,
                bytes,
            } => match read_full(&mut self.child, bytes) {
                Ok(0) => Ok(Next::End),
                Ok(_) if !is_wanted => Ok(Next::Frame),
                Ok(count) => {
                    self.clock.stamp(frame, Instant::now());
                    let luma = frame.resize(*width, *height);
                    let is_whole = count == bytes.len()
                        && luma::extract(*format, bytes, 0, *width, *height, luma);
                    if !is_whole {
                        frame.fail("the raw frame is cut short");
                    }
                    Ok(Next::Frame)
                }
                Err(error) => Err(error),
            },
        };
        match outcome {
            Ok(Next::Frame) => Ok(Captured::Frame),
            Ok(Next::End) => self.end(None),
            Ok(Next::Broken) => Err(CameraError::Stream {
                source_name: self.name.clone(),
                reason: StreamFault::Y4mFrame {
                    seq: self.clock.next_seq,
                },
            }),
            Err(error) => self.end(Some(error)),
        }
    }
}

impl FrameSource for Command {
    fn capture(&mut self, frame: &mut Frame) -> Result<Captured, CameraError> {
        self.next(frame, true)
    }

    fn skip(&mut self, spare: &mut Frame) -> Result<Captured, CameraError> {
        self.next(spare, false)
    }

    fn description(&self) -> String {
        let (kind, size) = match &self.kind {
            StreamKind::Mjpeg(_) => ("mjpeg", None),
            StreamKind::Y4m(header) => ("y4m", Some((header.width, header.height))),
            StreamKind::Raw {
                format,
                width,
                height,
                ..
            } => (format.name(), Some((*width, *height))),
        };
        match size {
            Some((width, height)) => format!("command:{} {width}x{height} {kind}", self.name),
            None => format!("command:{} {kind}", self.name),
        }
    }

    fn stable_id(&self) -> String {
        format!("command:{}", self.name)
    }

    fn frame_size(&self) -> Option<(usize, usize)> {
        match &self.kind {
            StreamKind::Mjpeg(_) => None,
            StreamKind::Y4m(header) => Some((header.width, header.height)),
            StreamKind::Raw { width, height, .. } => Some((*width, *height)),
        }
    }

    fn clock_zero(&self) -> Option<Instant> {
        self.clock.zero
    }
}

enum Start {
    Io(io::Error),
    Fault(StreamFault),
}

/// Looks at the first bytes, unless the settings say what they are.
fn tell_kind(child: &mut impl BufRead, settings: &SourceSettings) -> Result<StreamKind, Start> {
    match settings.format {
        Some(PixelFormat::Mjpeg) => return Ok(StreamKind::Mjpeg(JpegPicture::default())),
        Some(format) => {
            let (width, height) = (settings.width_px as usize, settings.height_px as usize);
            let rows = format.row_bytes(width).unwrap_or(0) * height;
            return Ok(StreamKind::Raw {
                format,
                width,
                height,
                bytes: vec![0; rows + format.colour_bytes(width, height)],
            });
        }
        None => {}
    }
    let ahead = child.fill_buf().map_err(Start::Io)?;
    if ahead.is_empty() {
        return Err(Start::Fault(StreamFault::Empty));
    }
    // Pipes are written in larger pieces than this.
    if ahead.starts_with(y4m::MAGIC) {
        return match Y4mHeader::read(child) {
            Ok(header) => Ok(StreamKind::Y4m(header)),
            Err(HeaderFault::Io(error)) => Err(Start::Io(error)),
            Err(HeaderFault::Fault(reason)) => Err(Start::Fault(reason)),
            Err(HeaderFault::Deep) => Err(Start::Fault(StreamFault::Y4mHeader(
                "more than 8 bits a sample".into(),
            ))),
        };
    }
    if ahead[0] == 0xFF {
        return Ok(StreamKind::Mjpeg(JpegPicture::default()));
    }
    Err(Start::Fault(StreamFault::UnknownFormat))
}

/// Fills `bytes`, less at the end of the stream.
fn read_full(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < bytes.len() {
        match reader.read(&mut bytes[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
