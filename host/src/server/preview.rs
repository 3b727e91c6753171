//! Pictures for the page: handed over by the vision thread only when somebody watches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use jpeg_encoder::{ColorType, Encoder};
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tracing::warn;

use super::pictures::EveryFrame;
use crate::frame::Frame;
use crate::vision::{EyeObservation, FaceObservation, Observation};

/// Least time between two pictures: 15 a second look fluent and cost a twentieth of a core.
const PERIOD: Duration = Duration::from_millis(66);

/// Widest picture, px.
const MAX_WIDTH: usize = 640;

/// JPEG quality, 1 to 100: blocks do not show, 640x480 has about 30 KB.
const QUALITY: u8 = 70;

/// The newest frame and what was seen in it, on its way from the vision thread to the page.
///
/// The server asks for one picture at a time, so the vision thread copies at most 15 frames a
/// second, and none when nobody watches: then [`offer`](PreviewSlot::offer) is one atomic load.
#[derive(Debug, Default)]
pub struct PreviewSlot {
    is_wanted: AtomicBool,
    is_filled: Notify,
    content: Mutex<Preview>,
    /// For those who record pictures.
    pub(super) every_frame: Arc<EveryFrame>,
}

/// One frame with what was seen in it.
#[derive(Debug, Default)]
struct Preview {
    width: usize,
    height: usize,
    luma: Vec<u8>,
    observation: Option<Observation>,
}

impl PreviewSlot {
    /// An empty slot.
    pub fn new() -> Self {
        PreviewSlot::default()
    }

    /// Whether a picture is wanted now.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// Copies the frame and what was seen in it, if a picture is wanted now, for the page or by those who
    /// record every picture. Call it for every frame; pictures that could not be read are left out.
    pub fn offer(&self, frame: &Frame, observation: &Observation) {
        let is_picture =
            frame.width > 0 && frame.height > 0 && frame.luma.len() == frame.width * frame.height;
        if is_picture {
            self.every_frame.offer(frame);
        }
        if !is_picture || !self.is_wanted() {
            return;
        }
        self.is_wanted.store(false, Ordering::Relaxed);
        {
            let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
            content.width = frame.width;
            content.height = frame.height;
            content.luma.clear();
            content.luma.extend_from_slice(&frame.luma);
            content.observation = Some(observation.clone());
        }
        self.is_filled.notify_one();
    }
}

/// A message for `/picture`: four bytes little-endian length of the JSON overlay, the overlay,
/// then the JPEG.
pub(super) type PictureMessage = Bytes;

/// Where the encoder leaves the newest picture; the page's connections subscribe.
pub(super) fn pictures() -> watch::Sender<PictureMessage> {
    watch::channel(Bytes::new()).0
}

/// Encodes pictures while somebody is subscribed to them, for ever.
pub(super) async fn encode(
    slot: Arc<PreviewSlot>,
    pictures: watch::Sender<PictureMessage>,
    watched: Arc<Notify>,
) {
    let mut pace = tokio::time::interval(PERIOD);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        if pictures.receiver_count() == 0 {
            slot.is_wanted.store(false, Ordering::Relaxed);
            watched.notified().await;
            continue;
        }
        pace.tick().await;
        slot.is_wanted.store(true, Ordering::Relaxed);
        slot.is_filled.notified().await;
        let slot = Arc::clone(&slot);
        // Milliseconds: records do not wait for it.
        let encoding = tokio::task::spawn_blocking(move || {
            let content = slot.content.lock().unwrap_or_else(PoisonError::into_inner);
            message(&content)
        });
        match encoding.await.expect("encoding ends only with the server") {
            Ok(message) => drop(pictures.send_replace(message)),
            Err(error) => warn!("a picture for the page could not be encoded: {error}"),
        }
    }
}

/// The overlay and the picture of one frame in one message.
fn message(preview: &Preview) -> Result<PictureMessage, jpeg_encoder::EncodingError> {
    let overlay = preview
        .observation
        .as_ref()
        .map(Overlay::of)
        .map(|overlay| serde_json::to_vec(&overlay).expect("an overlay holds only plain values"))
        .unwrap_or_default();
    let step = preview.width.max(preview.height).div_ceil(MAX_WIDTH);
    let smaller = (step > 1).then(|| shrink(preview, step));
    let luma = smaller.as_ref().unwrap_or(&preview.luma);
    let [width, height] = [preview.width, preview.height].map(|side| side / step);
    let mut message = Vec::with_capacity(64 * 1024);
    message.extend_from_slice(&(overlay.len() as u32).to_le_bytes());
    message.extend_from_slice(&overlay);
    // At most MAX_WIDTH in both directions by now, so the sizes fit.
    Encoder::new(&mut message, QUALITY).encode(
        luma,
        width as u16,
        height as u16,
        ColorType::Luma,
    )?;
    Ok(Bytes::from(message))
}

/// Averages squares of `step` x `step` pixels; a rest at the right and lower edge is left out.
fn shrink(preview: &Preview, step: usize) -> Vec<u8> {
    let (columns, rows) = (preview.width / step, preview.height / step);
    let mut smaller = Vec::with_capacity(columns * rows);
    for row in 0..rows {
        for column in 0..columns {
            let sum: u32 = (0..step)
                .flat_map(|y| {
                    let start = (row * step + y) * preview.width + column * step;
                    &preview.luma[start..start + step]
                })
                .map(|&luma| u32::from(luma))
                .sum();
            smaller.push((sum / (step * step) as u32) as u8);
        }
    }
    smaller
}

/// What the page draws over the picture; pixels of the full frame.
#[derive(Debug, Serialize)]
struct Overlay {
    seq: u64,
    t_us: u64,
    size_px: [usize; 2],
    face: Option<FaceOverlay>,
}

#[derive(Debug, Serialize)]
struct FaceOverlay {
    #[serde(rename = "box")]
    box_px: [f32; 4],
    confidence: f32,
    /// Whole pixels will do for dots.
    landmarks_px: Vec<[i32; 2]>,
    left: Option<EyeOverlay>,
    right: Option<EyeOverlay>,
    /// Yaw, pitch, roll.
    head_rad: [f32; 3],
    gaze: Option<GazeOverlay>,
}

#[derive(Debug, Serialize)]
struct EyeOverlay {
    center_px: [f32; 2],
    iris_px: [f32; 3],
    is_open: bool,
}

#[derive(Debug, Serialize)]
struct GazeOverlay {
    yaw_rad: f32,
    pitch_rad: f32,
}

impl Overlay {
    fn of(observation: &Observation) -> Self {
        Overlay {
            seq: observation.seq,
            t_us: observation.captured_at.as_us(),
            size_px: observation.size_px,
            face: observation.face.as_ref().map(FaceOverlay::of),
        }
    }
}

impl FaceOverlay {
    fn of(face: &FaceObservation) -> Self {
        FaceOverlay {
            box_px: face.box_px,
            confidence: face.confidence,
            landmarks_px: face
                .landmarks_px
                .iter()
                .map(|[x, y]| [x.round() as i32, y.round() as i32])
                .collect(),
            left: face.left_eye.map(EyeOverlay::of),
            right: face.right_eye.map(EyeOverlay::of),
            head_rad: [face.head.yaw_rad, face.head.pitch_rad, face.head.roll_rad],
            gaze: face.gaze.map(|gaze| GazeOverlay {
                yaw_rad: gaze.angles.yaw_rad,
                pitch_rad: gaze.angles.pitch_rad,
            }),
        }
    }
}

impl EyeOverlay {
    fn of(eye: EyeObservation) -> Self {
        EyeOverlay {
            center_px: eye.center_px,
            iris_px: eye.iris_px,
            is_open: eye.is_open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_picture_is_the_mean_of_its_squares() {
        let preview = Preview {
            width: 5,
            height: 2,
            luma: vec![10, 20, 0, 255, 99, 30, 40, 1, 0, 99],
            observation: None,
        };
        assert_eq!(shrink(&preview, 2), [25, 64]);
    }

    #[test]
    fn nothing_is_copied_when_nobody_watches() {
        let slot = PreviewSlot::new();
        let mut frame = Frame::new();
        (frame.width, frame.height, frame.luma) = (2, 1, vec![1, 2]);
        let observation = Observation {
            seq: 0,
            frame: crate::frame::FrameName::Number,
            captured_at: gaze_protocol::Timestamp(0),
            size_px: [2, 1],
            error: None,
            n_faces: 1,
            face: None,
        };
        slot.offer(&frame, &observation);
        assert!(slot.content.lock().unwrap().luma.is_empty());
        slot.is_wanted.store(true, Ordering::Relaxed);
        slot.offer(&frame, &observation);
        assert_eq!(slot.content.lock().unwrap().luma, [1, 2]);
        assert!(!slot.is_wanted());
    }
}
