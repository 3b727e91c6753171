//! Landmarks of one face.

use gaze_models::contract::{CROP_SIZE, LANDMARKS, LANDMARKS_COUNT};
use gaze_models::{Model, Thresholds};

use super::crop::Crop;
use super::face::sigmoid;
use super::picture::Picture;
use crate::inference::{Backend, Engine, InferenceError, Network};

/// Landmarks of a face.
pub const N_LANDMARKS: usize = LANDMARKS_COUNT;

/// Corners of the observer's right eye (image left): outer, inner.
pub const RIGHT_EYE_CORNERS: [usize; 2] = [0, 8];
/// Corners of the observer's left eye (image right): outer, inner.
pub const LEFT_EYE_CORNERS: [usize; 2] = [16, 24];
/// Mouth corners: image left, image right.
pub const MOUTH_CORNERS: [usize; 2] = [43, 44];

/// Side of the face crop, in units of the larger of eye distance and eye-to-mouth distance.
const CROP_SIDE: f32 = 3.2;
/// Centre of the face crop, from the midpoint between the eyes towards that of the mouth.
const CROP_SHIFT: f32 = 0.35;
/// Smallest and largest face crop that is tried: px, and shares of the picture's longer side.
const MIN_SIDE_PX: f32 = 20.0;
const MAX_SIDE_SHARE: f32 = 6.0;
/// Share of the crop that must lie inside the picture.
const MIN_SHARE_INSIDE: f32 = 0.3;

/// The position, direction and size of a face in the picture, from eyes and mouth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaceAxes {
    /// Midpoint between the eyes; px.
    pub eyes_px: [f32; 2],
    /// Unit vector from the eye at image left to the one at image right.
    pub direction: [f32; 2],
    /// The larger of eye distance and eye-to-mouth distance; px. It hardly changes when the head
    /// turns, because turning shortens only one of the two.
    pub scale_px: f32,
    /// Midpoint between the mouth corners; px.
    mouth_px: [f32; 2],
}

impl FaceAxes {
    /// The axes of a face; none when the points have no extent.
    pub fn new(
        right_eye: [f32; 2],
        left_eye: [f32; 2],
        mouth_corners: [[f32; 2]; 2],
    ) -> Option<Self> {
        let eyes_px = middle(right_eye, left_eye);
        let mouth_px = middle(mouth_corners[0], mouth_corners[1]);
        let between = [left_eye[0] - right_eye[0], left_eye[1] - right_eye[1]];
        let eye_distance = between[0].hypot(between[1]);
        let mouth_distance = (mouth_px[0] - eyes_px[0]).hypot(mouth_px[1] - eyes_px[1]);
        let scale_px = eye_distance.max(mouth_distance);
        // Also false for NaN.
        (eye_distance > 1e-3 && scale_px.is_finite()).then(|| FaceAxes {
            eyes_px,
            direction: between.map(|v| v / eye_distance),
            scale_px,
            mouth_px,
        })
    }

    /// The axes of landmarks; an eye's centre is the midpoint of its corners.
    pub fn of_landmarks(points: &[[f32; 2]; N_LANDMARKS]) -> Option<Self> {
        FaceAxes::new(
            eye_center(points, RIGHT_EYE_CORNERS),
            eye_center(points, LEFT_EYE_CORNERS),
            MOUTH_CORNERS.map(|k| points[k]),
        )
    }

    /// The middle of the face; px.
    pub fn center_px(&self) -> [f32; 2] {
        std::array::from_fn(|k| self.eyes_px[k] + CROP_SHIFT * (self.mouth_px[k] - self.eyes_px[k]))
    }

    /// The square that the landmark network looks at; none when it is no face's: too small, too
    /// large, or outside the picture.
    pub fn face_crop(&self, picture: &Picture) -> Option<Crop> {
        let side = CROP_SIDE * self.scale_px;
        let crop = Crop::new(self.center_px(), self.direction, side, side);
        let is_face = (MIN_SIDE_PX..=MAX_SIDE_SHARE * picture.longer_side_px()).contains(&side)
            && crop.share_inside(picture) >= MIN_SHARE_INSIDE;
        is_face.then_some(crop)
    }
}

/// Midpoint of an eye's corners.
pub fn eye_center(points: &[[f32; 2]; N_LANDMARKS], [outer, inner]: [usize; 2]) -> [f32; 2] {
    middle(points[outer], points[inner])
}

fn middle(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
    [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0]
}

/// The landmarks of one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Landmarks {
    /// Places in the picture; px.
    pub points_px: [[f32; 2]; N_LANDMARKS],
    /// Probability that a face is well inside the crop.
    pub presence: f32,
}

/// The landmark network with its buffers.
pub struct LandmarkNet {
    network: Network,
    presence_threshold: f32,
    face: Vec<f32>,
}

impl LandmarkNet {
    /// Loads the network.
    ///
    /// # Errors
    /// Those of [`crate::inference::load`].
    pub fn load(
        engine: Engine,
        model: &Model,
        thresholds: &Thresholds,
    ) -> Result<Self, InferenceError> {
        Ok(LandmarkNet::new(
            crate::inference::load(engine, model)?,
            thresholds,
        ))
    }

    /// A network that runs in `backend`.
    pub fn new(backend: Box<dyn Backend>, thresholds: &Thresholds) -> Self {
        LandmarkNet {
            network: Network::new(&LANDMARKS, backend),
            presence_threshold: thresholds.presence,
            face: vec![0.0; CROP_SIZE * CROP_SIZE],
        }
    }

    /// The landmarks of the face that `axes` says is there; none when it is not.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn locate(
        &mut self,
        picture: &Picture,
        axes: &FaceAxes,
    ) -> Result<Option<Landmarks>, InferenceError> {
        let Some(crop) = axes.face_crop(picture) else {
            return Ok(None);
        };
        crop.cut(picture, CROP_SIZE, &mut self.face);
        let mut points = [0.0; 2 * N_LANDMARKS];
        let mut presence = [0.0];
        let mut openness = [0.0; 2];
        self.network.run(
            &[&self.face],
            &mut [&mut points, &mut presence, &mut openness],
        )?;
        let presence = sigmoid(presence[0]);
        Ok((presence >= self.presence_threshold).then(|| Landmarks {
            points_px: std::array::from_fn(|k| crop.to_picture([points[2 * k], points[2 * k + 1]])),
            presence,
        }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::face::tests::THRESHOLDS;
    use super::*;
    use crate::inference::scripted::{Script, scripted};

    /// Places of a frontal face in crop units, in the right order; symmetric about x = 0.5.
    pub(in crate::vision) fn frontal_points() -> [[f32; 2]; N_LANDMARKS] {
        // Eye distance d = 1 / 3.2 of the crop; the eyes lie 0.35 d above its centre when the
        // mouth is d below them.
        let d = 1.0 / CROP_SIDE;
        let eyes_y = 0.5 - CROP_SHIFT * d;
        let mut points = [[0.5, 0.5]; N_LANDMARKS];
        for (first, side) in [(0usize, -1.0f32), (16, 1.0)] {
            let center = 0.5 + side * d / 2.0;
            for k in 0..16 {
                // Outer corner first, over the upper lid to the inner corner and back.
                let angle = k as f32 / 16.0 * 2.0 * std::f32::consts::PI;
                points[first + k] = [
                    center + side * 0.2 * d * angle.cos(),
                    eyes_y - 0.07 * d * angle.sin(),
                ];
            }
            let iris = if first == 0 { 32 } else { 37 };
            for k in 0..5 {
                points[iris + k] = [center, eyes_y];
            }
        }
        points[42] = [0.5, eyes_y + 0.6 * d];
        points[43] = [0.5 - 0.4 * d, eyes_y + d];
        points[44] = [0.5 + 0.4 * d, eyes_y + d];
        points[45] = [0.5, eyes_y - 0.9 * d];
        points[46] = [0.5, eyes_y + 1.8 * d];
        points[47] = [0.5 - 1.05 * d, eyes_y + 0.3 * d];
        points[48] = [0.5 + 1.05 * d, eyes_y + 0.3 * d];
        points
    }

    #[test]
    fn the_face_crop_is_the_contracts_square() {
        let axes = FaceAxes::new(
            [100.0, 100.0],
            [160.0, 100.0],
            [[110.0, 180.0], [150.0, 180.0]],
        )
        .expect("the points have extent");
        // Eye distance 60, mouth 80 below: scale 80, side 256, centre 28 below the eyes.
        assert_eq!(axes.scale_px, 80.0);
        let luma = vec![0u8; 640 * 480];
        let crop = axes
            .face_crop(&Picture::new(640, 480, &luma))
            .expect("it lies in the picture");
        assert_eq!(crop.center_px(), [130.0, 128.0]);
        assert!((crop.width_px() - 256.0).abs() < 1e-3 /* f32 */);
        let corner = crop.to_picture([0.0, 0.0]);
        assert!(
            (corner[0] - 2.0).abs() < 1e-3 && (corner[1] - 0.0).abs() < 1e-3 /* f32 */
        );
    }

    #[test]
    fn a_crop_outside_the_picture_or_of_no_size_is_no_face() {
        let luma = vec![0u8; 640 * 480];
        let picture = Picture::new(640, 480, &luma);
        let crop = |x: f32, d: f32| {
            FaceAxes::new(
                [x, 100.0],
                [x + d, 100.0],
                [[x, 100.0 + d], [x + d, 100.0 + d]],
            )
            .and_then(|axes| axes.face_crop(&picture))
        };
        assert!(crop(100.0, 60.0).is_some());
        assert!(crop(-400.0, 60.0).is_none());
        assert!(crop(100.0, 2.0).is_none());
        assert!(crop(100.0, 9000.0).is_none());
        assert!(crop(100.0, 0.0).is_none());
        assert!(crop(f32::NAN, 60.0).is_none());
        assert!(crop(f32::INFINITY, 60.0).is_none());
    }

    #[test]
    fn points_of_the_crop_become_points_of_the_picture() {
        let points: Vec<f32> = frontal_points().concat();
        let backend = scripted(Script::Always(vec![points, vec![2.0], vec![1.0, 1.0]]));
        let mut net = LandmarkNet::new(backend, &THRESHOLDS);
        let axes = FaceAxes::new(
            [100.0, 100.0],
            [180.0, 100.0],
            [[120.0, 180.0], [160.0, 180.0]],
        )
        .expect("the points have extent");
        let luma = vec![0u8; 640 * 480];
        let found = net
            .locate(&Picture::new(640, 480, &luma), &axes)
            .expect("scripted")
            .expect("presence is high");
        assert!((found.presence - 0.8808).abs() < 1e-4 /* sigmoid(2) */);
        // The frontal face has the eyes where the crop was cut, so they come back.
        let again = FaceAxes::of_landmarks(&found.points_px).expect("the points have extent");
        for k in 0..2 {
            assert!(
                (again.eyes_px[k] - axes.eyes_px[k]).abs() < 1e-2 /* f32 */
            );
        }
        assert!((again.scale_px - 80.0).abs() < 1e-2 /* f32 */);
    }

    #[test]
    fn low_presence_is_no_face() {
        let points: Vec<f32> = frontal_points().concat();
        let backend = scripted(Script::Always(vec![points, vec![-0.1], vec![1.0, 1.0]]));
        let mut net = LandmarkNet::new(backend, &THRESHOLDS);
        let axes = FaceAxes::new(
            [100.0, 100.0],
            [180.0, 100.0],
            [[120.0, 180.0], [160.0, 180.0]],
        )
        .expect("the points have extent");
        let luma = vec![0u8; 640 * 480];
        let found = net
            .locate(&Picture::new(640, 480, &luma), &axes)
            .expect("scripted");
        assert_eq!(found, None);
    }
}
