//! Every frame's picture, for `gazed record --frames`.
//!
//! The vision thread hands over a copy of each frame while somebody records pictures, and none
//! otherwise. They become records like others, but only a client of the Unix socket that names the
//! kind `picture` gets them, and only where `recording.frames` of the settings allows it. What there
//! is no room for is dropped and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jpeg_encoder::{ColorType, Encoder};
use tokio::sync::Notify;
use tracing::warn;

use super::fan_out::{Hub, Outgoing};
use crate::frame::Frame;
use crate::metrics::Counter;
use crate::record::{MAX_PICTURE_BYTES, Picture, Record, TimedRecord};

/// Frames between the vision thread and the encoder.
const MOST_WAITING: usize = 8;

/// JPEG quality, 1 to 100: the networks shall see what they saw.
const QUALITY: u8 = 95;

/// Frames on their way from the vision thread to the encoder.
#[derive(Debug, Default)]
pub(super) struct EveryFrame {
    is_wanted: AtomicBool,
    has_come: Notify,
    waiting: Mutex<VecDeque<Raw>>,
    n_dropped: AtomicU64,
}

#[derive(Debug)]
struct Raw {
    seq: u64,
    t_us: u64,
    size_px: [usize; 2],
    luma: Vec<u8>,
}

impl EveryFrame {
    /// Whether somebody records pictures.
    pub(super) fn want(&self, is_wanted: bool) {
        self.is_wanted.store(is_wanted, Relaxed);
    }

    /// Copies a readable frame if pictures are wanted.
    pub(super) fn offer(&self, frame: &Frame) {
        if !self.is_wanted.load(Relaxed) {
            return;
        }
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() == MOST_WAITING {
                self.n_dropped.fetch_add(1, Relaxed);
                return;
            }
            waiting.push_back(Raw {
                seq: frame.seq,
                t_us: frame.captured_at.as_us(),
                size_px: [frame.width, frame.height],
                luma: frame.luma.clone(),
            });
        }
        self.has_come.notify_one();
    }

    async fn next(&self) -> Raw {
        loop {
            let next = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.pop_front()
            };
            match next {
                Some(raw) => return raw,
                None => self.has_come.notified().await,
            }
        }
    }
}

impl Raw {
    /// None where the picture is too large for a record.
    fn picture(&self) -> Option<Picture> {
        let [width, height] = self.size_px.map(|side| u16::try_from(side).ok());
        let mut jpeg = Vec::with_capacity(64 * 1024);
        Encoder::new(&mut jpeg, QUALITY)
            .encode(&self.luma, width?, height?, ColorType::Luma)
            .ok()?;
        (jpeg.len() <= MAX_PICTURE_BYTES).then(|| Picture {
            seq: self.seq,
            t_us: self.t_us,
            jpeg: BASE64_STANDARD.encode(jpeg),
        })
    }
}

/// Encodes what comes and sends it, for ever.
pub(super) async fn encode(frames: Arc<EveryFrame>, hub: Arc<Hub>) {
    let mut has_warned = false;
    loop {
        let raw = frames.next().await;
        // Milliseconds: records do not wait for it.
        let encoding = tokio::task::spawn_blocking(move || raw.picture());
        match encoding.await.expect("encoding ends only with the server") {
            Some(picture) => {
                let record = Record::Picture(picture);
                hub.fan_out(&Outgoing::new(TimedRecord { record, at: None }));
                hub.flush();
            }
            None => {
                hub.metrics.count(Counter::PicturesDropped);
                if !std::mem::replace(&mut has_warned, true) {
                    warn!(
                        "a picture has more than {MAX_PICTURE_BYTES} bytes and is not recorded: let the camera take smaller ones"
                    );
                }
            }
        }
        for _ in 0..frames.n_dropped.swap(0, Relaxed) {
            hub.metrics.count(Counter::PicturesDropped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(seq: u64) -> Frame {
        let mut frame = Frame::new();
        frame.seq = seq;
        frame.resize(16, 8).fill(100 + seq as u8);
        frame
    }

    #[test]
    fn frames_are_copied_only_while_wanted_and_those_without_room_are_counted() {
        let frames = EveryFrame::default();
        frames.offer(&frame(0));
        assert!(frames.waiting.lock().unwrap().is_empty());
        frames.want(true);
        for seq in 1..=MOST_WAITING as u64 + 3 {
            frames.offer(&frame(seq));
        }
        assert_eq!(frames.n_dropped.load(Relaxed), 3);
        let waiting = frames.waiting.lock().unwrap();
        assert_eq!(waiting.len(), MOST_WAITING);
        assert_eq!(waiting[0].seq, 1);
    }

    #[test]
    fn a_picture_is_a_grey_jpeg_of_the_frame() {
        let raw = Raw {
            seq: 7,
            t_us: 9,
            size_px: [16, 8],
            luma: vec![107; 128],
        };
        let picture = raw.picture().unwrap();
        assert_eq!((picture.seq, picture.t_us), (7, 9));
        let jpeg = BASE64_STANDARD.decode(&picture.jpeg).unwrap();
        let mut decoder = zune_jpeg::JpegDecoder::new(std::io::Cursor::new(jpeg));
        let luma = decoder.decode().unwrap();
        assert_eq!(decoder.dimensions(), Some((16, 8)));
        // One step of quantisation.
        assert!(luma.iter().all(|luma| luma.abs_diff(107) <= 1));
    }
}
