//! Whether the face is placed so that gaze will be as good as it gets.

use crate::record::Placement;
use crate::vision::Observation;

/// Distances that webcams and the networks are good for, mm.
const NEAREST_MM: f32 = 350.0;
const FURTHEST_MM: f32 = 900.0;

/// The middle of the face stays this share of the picture away from its border.
const MARGIN: f32 = 0.2;

/// Heads turned further than this away from the camera hide an eye (25°).
const MOST_TURNED_RAD: f32 = 0.44;

/// How the face of a frame is placed; words are from the person's side.
pub(super) fn of(observation: &Observation) -> Placement {
    let Some(face) = &observation.face else {
        return Placement {
            is_good: false,
            words: "no face in the picture: sit before the camera, with light on your face"
                .to_owned(),
            face: None,
            distance_mm: None,
        };
    };
    let [x, y, width, height] = face.box_px;
    let [columns, rows] = observation.size_px.map(|side| side.max(1) as f32);
    let middle = [(x + 0.5 * width) / columns, (y + 0.5 * height) / rows];
    let distance_mm = face.head.position_mm[2];
    let words = if distance_mm < NEAREST_MM {
        "too near: move back a little"
    } else if distance_mm > FURTHEST_MM {
        "too far: come nearer"
    } else if middle[0] < MARGIN {
        // The picture is not mirrored: its left is the person's right.
        "move to your left, or turn the camera"
    } else if middle[0] > 1.0 - MARGIN {
        "move to your right, or turn the camera"
    } else if middle[1] < MARGIN {
        "too high in the picture: tilt the camera up, or sit lower"
    } else if middle[1] > 1.0 - MARGIN {
        "too low in the picture: tilt the camera down, or sit higher"
    } else if face.head.yaw_rad.abs() > MOST_TURNED_RAD {
        "turn your face to the screen"
    } else if face.left_eye.is_none() && face.right_eye.is_none() {
        "your eyes are not seen: more light from the front, hair out of the eyes"
    } else if observation.n_faces > 1 {
        "somebody else is in the picture: one person alone, please"
    } else {
        ""
    };
    let rounded = |number: f32, step: f32| (number / step).round() * step;
    Placement {
        is_good: words.is_empty(),
        words: if words.is_empty() {
            "well placed"
        } else {
            words
        }
        .to_owned(),
        // Coarse, so that a record comes when something changed.
        face: Some(middle.map(|share| rounded(share, 0.02))),
        distance_mm: Some(rounded(distance_mm, 10.0)),
    }
}
