//! Both eyes of a tracked face: their patches, the eye network, and gaze in camera axes.

use gaze_calibration::Eyes;
use gaze_models::contract::{EYE_VALUES, EYES, FEATURES, PATCH_COLUMNS, PATCH_ROWS};
use gaze_models::{Model, Thresholds};
use gaze_protocol::{GazeAngles, Timestamp};
use nalgebra::{Matrix3, Vector3};

use super::crop::Crop;
use super::face::sigmoid;
use super::head_pose::{RigidPose, eye_on_head_mm};
use super::landmarks::{FaceAxes, LEFT_EYE_CORNERS, N_LANDMARKS, RIGHT_EYE_CORNERS, eye_center};
use super::lids::Lids;
use super::picture::{CameraMatrix, Picture};
use super::{EyeObservation, GazeEstimate};
use crate::inference::{Backend, Engine, InferenceError, Network};

/// Width of an eye's patch in units of [`FaceAxes::scale_px`].
const PATCH_WIDTH: f32 = 0.85;

/// Share of its patch that must lie inside the picture for an eye to be seen.
const MIN_SHARE_INSIDE: f32 = 0.6;

/// Rows of the network's tensors.
const RIGHT: usize = 0;
const LEFT: usize = 1;

/// What the eyes of one face do.
#[derive(Clone, Copy, Debug)]
pub struct EyesObservation {
    /// The observer's right and left eye; none when it is not seen.
    pub right_left: [Option<EyeObservation>; 2],
    /// Whether the lids are down: the eyes are shut, or closing or opening.
    pub lids_are_down: bool,
    /// Gaze of the open eyes; none when no seen eye is open.
    pub gaze: Option<GazeEstimate>,
    /// The network's features, for calibration.
    pub features: [f32; FEATURES],
}

/// What the network was last asked, in its own terms.
#[derive(Clone, Copy, Debug)]
pub struct EyesInput<'a> {
    /// Both patches, `[2, rows, columns]`, luma / 255; the observer's right eye first, the left one
    /// mirrored.
    pub patches: &'a [f32],
    /// Yaw and pitch of the head in the network's frame, rad.
    pub head: [f32; 2],
    /// 1 for the right and the left eye where they were used, else 0.
    pub present: [f32; 2],
}

/// The eye network with its buffers, and what it has learnt of the person's lids.
pub struct EyeNet {
    network: Network,
    lids: Lids,
    visible_logit: f32,
    patches: Vec<f32>,
    head: [f32; 2],
    present: [f32; 2],
    /// Whether gaze may be taken from the right and the left eye.
    in_use: [bool; 2],
}

/// What the network says in one run.
struct Answer {
    gaze: [f32; 2],
    log_sigma: [f32; 1],
    eye: [f32; 2 * EYE_VALUES],
    features: [f32; FEATURES],
}

impl EyeNet {
    /// Loads the network.
    ///
    /// # Errors
    /// Those of [`crate::inference::load`].
    pub fn load(
        engine: Engine,
        model: &Model,
        thresholds: &Thresholds,
    ) -> Result<Self, InferenceError> {
        Ok(EyeNet::new(
            crate::inference::load(engine, model)?,
            thresholds,
        ))
    }

    /// A network that runs in `backend`.
    pub fn new(backend: Box<dyn Backend>, thresholds: &Thresholds) -> Self {
        EyeNet {
            network: Network::new(&EYES, backend),
            lids: Lids::new(thresholds.closed_openness),
            visible_logit: thresholds.visible_logit,
            patches: vec![0.0; 2 * PATCH_ROWS * PATCH_COLUMNS],
            in_use: [true; 2],
            head: [0.0; 2],
            present: [0.0; 2],
        }
    }

    /// What the network was last asked; zeros before the first face.
    pub fn input(&self) -> EyesInput<'_> {
        EyesInput {
            patches: &self.patches,
            head: self.head,
            present: self.present,
        }
    }

    /// Forgets the person's lids.
    pub fn reset(&mut self) {
        self.lids.reset();
    }

    /// Takes gaze from these eyes alone; the other is still looked at.
    pub fn use_eyes(&mut self, eyes: Eyes) {
        self.in_use = [eyes != Eyes::Left, eyes != Eyes::Right];
    }

    /// Looks at the eyes of the face with these landmarks and this pose, taken at `at`.
    ///
    /// An eye that turns out to be hidden or closed is left out of the gaze: the network runs once
    /// more with the other one alone.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn look(
        &mut self,
        picture: &Picture,
        at: Timestamp,
        landmarks_px: &[[f32; 2]; N_LANDMARKS],
        axes: &FaceAxes,
        pose: &RigidPose,
        camera: &CameraMatrix,
    ) -> Result<EyesObservation, InferenceError> {
        let centers = [RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS].map(|k| eye_center(landmarks_px, k));
        let crops = eye_crops(centers, axes);
        for (crop, patch) in crops
            .iter()
            .zip(self.patches.chunks_exact_mut(PATCH_ROWS * PATCH_COLUMNS))
        {
            crop.cut(picture, PATCH_COLUMNS, patch);
        }
        let normalised = NormalisedFrame::new(axes, camera);
        let facing = normalised.angles_into(pose.facing());
        let inside = crops.map(|crop| crop.share_inside(picture) >= MIN_SHARE_INSIDE);
        let mut answer = self.run(facing, inside)?;
        let mut eyes: [Option<EyeObservation>; 2] = std::array::from_fn(|row| {
            inside[row]
                .then(|| self.decode(&answer, row, &crops[row], centers[row]))
                .flatten()
        });
        let lids = self
            .lids
            .step(at, eyes.map(|eye| eye.map(|eye| eye.openness)));
        for (eye, is_open) in eyes.iter_mut().zip(lids.is_open) {
            if let Some(eye) = eye {
                eye.is_open = is_open;
            }
        }
        let usable: [bool; 2] =
            std::array::from_fn(|row| self.in_use[row] && eyes[row].is_some_and(|eye| eye.is_open));
        let has_gaze = usable[RIGHT] || usable[LEFT];
        if has_gaze && usable != inside {
            answer = self.run(facing, usable)?;
        }
        Ok(EyesObservation {
            right_left: eyes,
            lids_are_down: lids.are_down,
            gaze: has_gaze.then(|| GazeEstimate {
                angles: normalised.angles_out_of(GazeAngles {
                    yaw_rad: answer.gaze[0],
                    pitch_rad: answer.gaze[1],
                }),
                sigma_rad: answer.log_sigma[0]
                    .clamp(MIN_LOG_SIGMA, MAX_LOG_SIGMA)
                    .exp(),
                origin_mm: match usable {
                    [true, false] => pose.place_mm(eye_on_head_mm(false)),
                    [false, true] => pose.place_mm(eye_on_head_mm(true)),
                    _ => pose.place_mm([0.0; 3]),
                },
            }),
            features: answer.features,
        })
    }

    fn run(&mut self, facing: GazeAngles, present: [bool; 2]) -> Result<Answer, InferenceError> {
        let mut answer = Answer {
            gaze: [0.0; 2],
            log_sigma: [0.0; 1],
            eye: [0.0; 2 * EYE_VALUES],
            features: [0.0; FEATURES],
        };
        self.head = [facing.yaw_rad, facing.pitch_rad];
        self.present = present.map(|is_present| f32::from(u8::from(is_present)));
        self.network.run(
            &[&self.patches, &self.head, &self.present],
            &mut [
                &mut answer.gaze,
                &mut answer.log_sigma,
                &mut answer.eye,
                &mut answer.features,
            ],
        )?;
        Ok(answer)
    }

    /// One eye in the picture, not yet judged open; none when the network does not see it.
    fn decode(
        &self,
        answer: &Answer,
        row: usize,
        crop: &Crop,
        center_px: [f32; 2],
    ) -> Option<EyeObservation> {
        let values = &answer.eye[row * EYE_VALUES..][..EYE_VALUES];
        let (openness, visible_logit) = (sigmoid(values[3]), values[4]);
        if visible_logit < self.visible_logit {
            return None;
        }
        let [x, y] = crop.to_picture([values[0], values[1]]);
        Some(EyeObservation {
            center_px,
            iris_px: [x, y, values[2].max(0.0) * crop.width_px()],
            openness,
            is_open: false,
            confidence: sigmoid(visible_logit),
        })
    }
}

/// Bounds of the stated ln σ: 0.06° and 180°; a network that says more says nothing.
const MIN_LOG_SIGMA: f32 = -7.0;
const MAX_LOG_SIGMA: f32 = 1.15;

/// The patches of the observer's right and left eye; the left one mirrored, so that both look like
/// a right eye.
fn eye_crops(centers: [[f32; 2]; 2], axes: &FaceAxes) -> [Crop; 2] {
    let width = PATCH_WIDTH * axes.scale_px;
    let height = width * PATCH_ROWS as f32 / PATCH_COLUMNS as f32;
    let crop = |center| Crop::new(center, axes.direction, width, height);
    [crop(centers[RIGHT]), crop(centers[LEFT]).mirrored()]
}

/// The frame in which the network speaks: a camera in the same place that looks at the midpoint
/// between the eyes and is turned so that they lie level. Gaze into the camera is (0, 0) in it,
/// wherever in the picture the face is.
struct NormalisedFrame {
    /// Camera axes to the frame's axes.
    rotation: Matrix3<f32>,
}

impl NormalisedFrame {
    fn new(axes: &FaceAxes, camera: &CameraMatrix) -> Self {
        let z = Vector3::from(camera.ray(axes.eyes_px));
        let level = Vector3::new(axes.direction[0], axes.direction[1], 0.0);
        // The ray has z > 0 and `level` has none, so what is left of it is never nothing.
        let x = (level - z * z.dot(&level)).normalize();
        let y = z.cross(&x);
        NormalisedFrame {
            rotation: Matrix3::from_rows(&[x.transpose(), y.transpose(), z.transpose()]),
        }
    }

    fn angles_into(&self, camera: GazeAngles) -> GazeAngles {
        GazeAngles::from_vector((self.rotation * Vector3::from(camera.to_vector())).into())
    }

    fn angles_out_of(&self, normalised: GazeAngles) -> GazeAngles {
        let vector = self.rotation.transpose() * Vector3::from(normalised.to_vector());
        GazeAngles::from_vector(vector.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::face::tests::THRESHOLDS;
    use super::*;
    use crate::inference::scripted::{Script, scripted};
    use crate::vision::head_pose;
    use crate::vision::landmarks::tests::frontal_points;

    const SIZE: (usize, usize) = (641, 481);

    /// A frontal face with an eye distance of 80 px; its eyes' midpoint at `eyes_px`.
    fn landmarks(eyes_px: [f32; 2]) -> [[f32; 2]; N_LANDMARKS] {
        let crop = Crop::new([eyes_px[0], eyes_px[1] + 28.0], [1.0, 0.0], 256.0, 256.0);
        frontal_points().map(|place| crop.to_picture(place))
    }

    /// Outputs: gaze (yaw, pitch), then (openness logit, visible logit) of the right and left eye.
    fn answer(gaze: [f32; 2], right: [f32; 2], left: [f32; 2]) -> Vec<Vec<f32>> {
        let eye = |[open, visible]: [f32; 2]| [0.25, 0.5, 0.1, open, visible, -3.0];
        vec![
            gaze.to_vec(),
            vec![(0.05f32).ln()],
            [eye(right), eye(left)].concat(),
            vec![0.5; FEATURES],
        ]
    }

    fn look(script: Script, eyes_px: [f32; 2]) -> EyesObservation {
        look_with(Eyes::Both, script, eyes_px)
    }

    fn look_with(eyes: Eyes, script: Script, eyes_px: [f32; 2]) -> EyesObservation {
        let luma = vec![0u8; SIZE.0 * SIZE.1];
        let picture = Picture::new(SIZE.0, SIZE.1, &luma);
        let camera = CameraMatrix::guess(SIZE.0, SIZE.1);
        let points = landmarks(eyes_px);
        let axes = FaceAxes::of_landmarks(&points).expect("a face");
        let pose = head_pose::solve(&points, &camera).expect("a face");
        let mut net = EyeNet::new(scripted(script), &THRESHOLDS);
        net.use_eyes(eyes);
        net.look(&picture, Timestamp(0), &points, &axes, &pose, &camera)
            .expect("scripted")
    }

    #[test]
    fn the_iris_of_the_left_eye_is_mirrored_back() {
        let seen = look(
            Script::Always(answer([0.0, 0.0], [3.0, 3.0], [3.0, 3.0])),
            [320.0, 240.0],
        );
        let [right, left] = seen.right_left.map(|eye| eye.expect("visible"));
        // Patches are 0.85 x 80 = 68 px wide; 0.25 lies 17 px from the middle, to the outer side.
        assert_eq!(right.center_px.map(f32::round), [280.0, 240.0]);
        assert!(
            (right.iris_px[0] - 263.0).abs() < 1e-2, /* f32 */
            "{right:?}"
        );
        assert!(
            (left.iris_px[0] - 377.0).abs() < 1e-2, /* f32 */
            "{left:?}"
        );
        assert!((left.iris_px[2] - 6.8).abs() < 1e-2 /* f32 */);
        let sigma = seen.gaze.expect("both eyes are open").sigma_rad;
        assert!((sigma - 0.05).abs() < 1e-4 /* f32 */);
    }

    #[test]
    fn gaze_into_the_camera_points_back_along_the_ray() {
        // The eyes lie 320 px right of the middle, half the focal length 641: 26.5° to +x.
        let seen = look(
            Script::Always(answer([0.0, 0.0], [3.0, 3.0], [3.0, 3.0])),
            [640.0 - 120.0, 240.0],
        );
        let gaze = seen.gaze.expect("open").angles;
        let expected = -(200.0f32 / 641.0).atan();
        assert!(
            (gaze.yaw_rad - expected).abs() < 1e-4, /* f32 */
            "{gaze:?}"
        );
        assert!(gaze.pitch_rad.abs() < 1e-4 /* f32 */);
    }

    #[test]
    fn gaze_in_the_middle_is_the_networks() {
        let seen = look(
            Script::Always(answer([0.2, -0.1], [3.0, 3.0], [3.0, 3.0])),
            [320.0, 240.0],
        );
        let gaze = seen.gaze.expect("open").angles;
        assert!((gaze.yaw_rad - 0.2).abs() < 1e-5 && (gaze.pitch_rad + 0.1).abs() < 1e-5);
    }

    #[test]
    fn both_eyes_closed_give_no_gaze_but_irises() {
        let seen = look(
            Script::Always(answer([0.0, 0.0], [-3.0, 3.0], [-3.0, 3.0])),
            [320.0, 240.0],
        );
        assert!(seen.gaze.is_none());
        assert!(
            seen.right_left
                .iter()
                .all(|eye| eye.is_some_and(|eye| !eye.is_open))
        );
    }

    #[test]
    fn gaze_can_be_taken_from_one_eye_alone() {
        let script = Script::Computed(Box::new(|inputs| {
            // Gaze tells which eyes were said to be present.
            answer(
                [0.1 * inputs[2][0], 0.1 * inputs[2][1]],
                [3.0, 3.0],
                [3.0, 3.0],
            )
        }));
        let seen = look_with(Eyes::Left, script, [320.0, 240.0]);
        // Both are still looked at.
        assert!(seen.right_left.iter().all(Option::is_some));
        let gaze = seen.gaze.expect("both eyes are open");
        assert!(gaze.angles.yaw_rad.abs() < 1e-5 && (gaze.angles.pitch_rad - 0.1).abs() < 1e-5);
    }

    #[test]
    fn a_hidden_eye_is_left_out_of_the_gaze() {
        let script = Script::Computed(Box::new(|inputs| {
            // Gaze tells which eyes were said to be present.
            answer(
                [0.1 * inputs[2][0], 0.1 * inputs[2][1]],
                [3.0, 3.0],
                [3.0, -1.0],
            )
        }));
        let seen = look(script, [320.0, 240.0]);
        assert!(seen.right_left[0].is_some() && seen.right_left[1].is_none());
        let gaze = seen.gaze.expect("one eye is open");
        assert!((gaze.angles.yaw_rad - 0.1).abs() < 1e-5 && gaze.angles.pitch_rad.abs() < 1e-5);
        // The right eye lies at the picture's left.
        assert!(
            (gaze.origin_mm[0] + 31.5).abs() < 1.0 /* pose of a face unlike the generic one */
        );
    }

    #[test]
    fn an_eye_outside_the_picture_is_not_seen() {
        let script = Script::Computed(Box::new(|inputs| {
            answer(
                [0.1 * inputs[2][0], 0.1 * inputs[2][1]],
                [3.0, 3.0],
                [3.0, 3.0],
            )
        }));
        // The left eye at x = 650 of 641.
        let seen = look(script, [610.0, 240.0]);
        assert!(seen.right_left[0].is_some() && seen.right_left[1].is_none());
        assert!(seen.gaze.is_some());
    }
}
