//! What is known exactly about a rendered frame.

use std::fmt::Write as _;

use gaze_protocol::{GazeAngles, PointOfRegard, Timestamp};

use crate::geometry::{Pinhole, Pose, Rotation, Vec3, vec3};
use crate::script::EventLabel;

/// Position and turn of the head.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeadTruth {
    /// Midpoint of the eyes' rotation centres; camera axes, mm.
    pub position_mm: [f32; 3],
    /// Positive towards the observer's left.
    pub yaw_rad: f32,
    /// Positive up.
    pub pitch_rad: f32,
    /// Positive clockwise in the picture.
    pub roll_rad: f32,
}

/// The lids during a blink.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlinkTruth {
    /// Share of the blink that is over, 0..1.
    pub progress: f32,
    /// 1 as open as before the blink, 0 shut.
    pub opening: f32,
}

/// Everything about one frame. Pairs are [observer's right, observer's left], which is the order
/// in the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct GroundTruth {
    /// When it was exposed.
    pub at: Timestamp,
    /// Width and height of the frame.
    pub size_px: [u32; 2],
    /// Focal length; the principal point is the middle of the picture.
    pub focal_px: f32,
    /// From the midpoint of the eyes to what is looked at; camera axes.
    pub gaze: GazeAngles,
    /// From each eye's rotation centre to what is looked at; camera axes.
    pub eye_gaze: [GazeAngles; 2],
    /// `gaze` in the normalised frame: a camera turned to face the eyes' midpoint, upright with
    /// the line between the eyes.
    pub gaze_normalised: GazeAngles,
    /// What is looked at; camera axes, mm.
    pub target_mm: [f32; 3],
    /// Where that is on the screen plane; none for targets off it.
    pub por: Option<PointOfRegard>,
    /// Pose in camera axes.
    pub head: HeadTruth,
    /// Yaw, pitch and roll of the head in the normalised frame; radians.
    pub head_normalised_rad: [f32; 3],
    /// The 49 landmarks of the training sets, px.
    pub landmarks_px: [[f32; 2]; 49],
    /// Middle of each pupil as the camera sees it through the cornea; px.
    pub pupils_px: [[f32; 2]; 2],
    /// Lid opening / (0.35 × distance of the corners), 0..1.
    pub openness: [f32; 2],
    /// Whether each eye's place is in the picture and not covered; a shut eye is visible.
    pub visible: [bool; 2],
    /// Left, top, width and height of the face from forehead to chin; px.
    pub face_box_px: [f32; 4],
    /// What the eyes are doing.
    pub label: EventLabel,
    /// Set during a blink.
    pub blink: Option<BlinkTruth>,
    /// Whether the observer wears glasses.
    pub has_glasses: bool,
}

impl GroundTruth {
    /// Middle of the corners of each eye; px.
    pub fn eye_centres_px(&self) -> [[f32; 2]; 2] {
        let middle = |a: usize, b: usize| {
            let (p, q) = (self.landmarks_px[a], self.landmarks_px[b]);
            [0.5 * (p[0] + q[0]), 0.5 * (p[1] + q[1])]
        };
        [middle(0, 8), middle(16, 24)]
    }

    /// Middle of the mouth's corners; px.
    pub fn mouth_px(&self) -> [f32; 2] {
        let (p, q) = (self.landmarks_px[43], self.landmarks_px[44]);
        [0.5 * (p[0] + q[0]), 0.5 * (p[1] + q[1])]
    }

    /// Middle of the face as the landmark network's crop has it, and the measure that the crop is
    /// sized by: the distance between the eyes or from the eyes to the mouth, the greater; px.
    pub fn face_middle_px(&self) -> ([f32; 2], f32) {
        const TOWARDS_MOUTH: f32 = 0.35;
        let [right, left] = self.eye_centres_px();
        let mouth = self.mouth_px();
        let eyes = [0, 1].map(|i| 0.5 * (right[i] + left[i]));
        let across = libm::hypotf(left[0] - right[0], left[1] - right[1]);
        let down = libm::hypotf(mouth[0] - eyes[0], mouth[1] - eyes[1]);
        let middle = [0, 1].map(|i| eyes[i] + TOWARDS_MOUTH * (mouth[i] - eyes[i]));
        (middle, across.max(down))
    }

    /// One JSON object on one line; angles in radians, lengths in mm.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(2048);
        let pair = |a: GazeAngles| format!("[{},{}]", a.yaw_rad, a.pitch_rad);
        let points = |list: &[[f32; 2]]| {
            let inner: Vec<String> = list
                .iter()
                .map(|p| format!("[{},{}]", p[0], p[1]))
                .collect();
            format!("[{}]", inner.join(","))
        };
        let or_null = |text: Option<String>| text.unwrap_or_else(|| "null".to_owned());
        let h = &self.head;
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{{\"t_us\":{},\"size_px\":[{},{}],\"focal_px\":{},\"gaze\":{},\"eye_gaze\":[{},{}],\
             \"gaze_normalised\":{},\"target_mm\":{:?},\"por_mm\":{},\"head\":{{\"position_mm\":{:?},\
             \"yaw_rad\":{},\"pitch_rad\":{},\"roll_rad\":{}}},\"head_normalised_rad\":{:?},\
             \"landmarks_px\":{},\"pupils_px\":{},\"openness\":{:?},\"visible\":{:?},\
             \"face_box_px\":{:?},\"label\":\"{}\",\"blink\":{},\"has_glasses\":{}}}",
            self.at.as_us(),
            self.size_px[0],
            self.size_px[1],
            self.focal_px,
            pair(self.gaze),
            pair(self.eye_gaze[0]),
            pair(self.eye_gaze[1]),
            pair(self.gaze_normalised),
            self.target_mm,
            or_null(self.por.map(|p| format!("[{},{}]", p.x_mm, p.y_mm))),
            h.position_mm,
            h.yaw_rad,
            h.pitch_rad,
            h.roll_rad,
            self.head_normalised_rad,
            points(&self.landmarks_px),
            points(&self.pupils_px),
            self.openness,
            self.visible,
            self.face_box_px,
            self.label.letter(),
            or_null(
                self.blink
                    .map(|b| format!("{{\"progress\":{},\"opening\":{}}}", b.progress, b.opening))
            ),
            self.has_glasses,
        );
        out
    }
}

/// The rotation from camera axes to the normalised frame: z to the midpoint of the eyes, x along
/// the picture direction between the eye centres.
pub(crate) fn normalising(camera: &Pinhole, eyes_px: [[f32; 2]; 2]) -> Rotation {
    let [right, left] = eyes_px;
    let middle = [0.5 * (right[0] + left[0]), 0.5 * (right[1] + left[1])];
    let z = camera.ray(middle).unit();
    let along = vec3(left[0] - right[0], left[1] - right[1], 0.0).unit();
    let x = (along - z * along.dot(z)).unit();
    Rotation {
        rows: [x, z.cross(x), z],
    }
}

/// The head's pose as angles and position.
pub(crate) fn head_truth(pose: &Pose) -> HeadTruth {
    let [yaw_rad, pitch_rad, roll_rad] = pose.rotation.angles();
    HeadTruth {
        position_mm: pose.position.to_array(),
        yaw_rad,
        pitch_rad,
        roll_rad,
    }
}

/// The direction from one point to another; camera axes.
pub(crate) fn direction(from: Vec3, to: Vec3) -> GazeAngles {
    GazeAngles::from_vector((to - from).to_array())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_in_the_middle_without_roll_is_normalised_by_doing_nothing() {
        let camera = Pinhole {
            width_px: 641,
            height_px: 481,
            focal_px: 640.0,
        };
        let rotation = normalising(&camera, [[290.0, 240.0], [350.0, 240.0]]);
        for (row, expected) in rotation.rows.iter().zip(Rotation::IDENTITY.rows) {
            assert!((*row - expected).length() < 1e-6);
        }
    }
}
