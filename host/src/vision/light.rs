//! How well a picture is lit, for people who set a camera up.

use serde::{Deserialize, Serialize};

use super::FaceObservation;
use crate::frame::Frame;

/// Distance of the pixels that are looked at, in both directions: a 16th of them say enough.
const STEP: usize = 4;

/// Grey values from here on have lost what was in them.
const BURNT_OUT: u8 = 250;

/// Light on the face, or in the whole picture without one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Light {
    /// Mean grey value, 0 black to 255 white.
    pub mean: f32,
    /// Share of the pixels that are burnt out, 0 to 1.
    pub burnt_out: f32,
}

impl Light {
    /// Of a frame's face; none for a picture that could not be read.
    pub fn of(frame: &Frame, face: Option<&FaceObservation>) -> Option<Self> {
        let whole = [0.0, 0.0, frame.width as f32, frame.height as f32];
        Light::within(frame, face.map_or(whole, |face| face.box_px))
            .or_else(|| Light::within(frame, whole))
    }

    fn within(frame: &Frame, [x, y, width, height]: [f32; 4]) -> Option<Self> {
        // A face may reach over the edge; negative numbers become 0.
        let rows = y as usize..((y + height) as usize).min(frame.height);
        let columns = x as usize..((x + width) as usize).min(frame.width);
        let (mut n, mut sum, mut n_burnt_out) = (0u32, 0u32, 0u32);
        for row in rows.step_by(STEP) {
            for column in columns.clone().step_by(STEP) {
                let luma = frame.luma[row * frame.width + column];
                n += 1;
                sum += u32::from(luma);
                n_burnt_out += u32::from(luma >= BURNT_OUT);
            }
        }
        (n > 0).then(|| Light {
            mean: sum as f32 / n as f32,
            burnt_out: n_burnt_out as f32 / n as f32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let mut frame = Frame::new();
        let luma = frame.resize(16, 8);
        luma.fill(40);
        // The right half is white.
        for row in luma.chunks_exact_mut(16) {
            row[8..].fill(255);
        }
        frame
    }

    #[test]
    fn the_whole_picture_counts_without_a_face() {
        let light = Light::of(&frame(), None).unwrap();
        // Half of 40, half of 255.
        assert_eq!((light.mean, light.burnt_out), (147.5, 0.5));
    }

    #[test]
    fn a_face_counts_alone_even_over_the_edge() {
        let light = Light::within(&frame(), [-5.0, -5.0, 12.0, 50.0]).unwrap();
        assert_eq!((light.mean, light.burnt_out), (40.0, 0.0));
        assert_eq!(Light::within(&frame(), [30.0, 2.0, 5.0, 5.0]), None);
    }

    #[test]
    fn a_picture_that_could_not_be_read_has_no_light() {
        assert_eq!(Light::of(&Frame::new(), None), None);
    }
}
