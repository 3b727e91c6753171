//! Where the head is and how it is turned, from landmarks and the camera's geometry.

use std::sync::LazyLock;

use gaze_protocol::GazeAngles;
use nalgebra::{Matrix2x3, Matrix2x6, Matrix3, Matrix6, Rotation3, Vector2, Vector3, Vector6};

use super::picture::CameraMatrix;
use super::{HeadPose, N_LANDMARKS};

/// One landmark on the generic head.
struct ModelPoint {
    /// Index in the landmark order.
    landmark: usize,
    /// Position on the head, mm: x towards the observer's left, y down, z away from the camera
    /// when the head looks into it; 0,0,0 is the midpoint of the four eye corners.
    position_mm: [f64; 3],
    /// Weight of its residual, 1 / spread between people (mm) relative to the eye corners.
    weight: f64,
}

const fn point(landmark: usize, position_mm: [f64; 3], weight: f64) -> ModelPoint {
    ModelPoint {
        landmark,
        position_mm,
        weight,
    }
}

/// The generic head: median of the 3-D landmarks of the 5,161 unpadded training faces (LFW, YouTube
/// Faces, Helen, Caltech), aligned by weighted Procrustes, made symmetrical, scaled to an eye
/// distance of 63 mm (mean of adults, Dodgson 2004) and turned upright onto MediaPipe's canonical
/// face. The standard deviation between people is 1 mm at the eye corners, 2.5 mm at the nose tip,
/// 5 mm at the mouth and the forehead, 6 mm at the chin and 3.5 mm at the sides; the mouth and the
/// chin also move when people speak.
const HEAD: [ModelPoint; 11] = [
    point(0, [-45.0, -0.6, 2.7], 1.0),
    point(8, [-18.0, 0.6, -2.7], 1.0),
    point(24, [18.0, 0.6, -2.7], 1.0),
    point(16, [45.0, -0.6, 2.7], 1.0),
    point(42, [0.0, 38.3, -42.1], 0.5),
    point(43, [-26.1, 67.9, -6.5], 0.2),
    point(44, [26.1, 67.9, -6.5], 0.2),
    point(45, [0.0, -53.9, -12.5], 0.3),
    point(46, [0.0, 116.0, -7.0], 0.15),
    point(47, [-71.3, 21.3, 56.0], 0.3),
    point(48, [71.3, 21.3, 56.0], 0.3),
];

/// Distance between the midpoints of the eyes' corners on the generic head, mm.
const EYE_DISTANCE_MM: f64 = 63.0;

/// Steps of the Gauss-Newton method at most; it stops when a step turns the head by less than
/// [`SMALL_STEP`]. From the start values 3 to 5 are needed.
const MAX_STEPS: usize = 10;

/// A point of a head that is nearer to the camera is a solution gone astray.
const MIN_DEPTH_MM: f64 = 1.0;

/// Radians, and shares of the distance.
const SMALL_STEP: f64 = 1e-6;

/// Rotation and position of the head in camera axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RigidPose {
    /// Head axes to camera axes.
    pub rotation: Rotation3<f64>,
    /// Midpoint between the eyes, mm.
    pub position_mm: Vector3<f64>,
}

impl RigidPose {
    /// The pose in the terms of the records.
    pub fn to_head_pose(self) -> HeadPose {
        let GazeAngles { yaw_rad, pitch_rad } = self.facing();
        // Upright axes of a head that faces the same way: x level, y down.
        let z = self.rotation * Vector3::z();
        let level = Vector3::y().cross(&z);
        let x = level.try_normalize(1e-9).unwrap_or_else(Vector3::x);
        let y = z.cross(&x);
        let own_x = self.rotation * Vector3::x();
        HeadPose {
            position_mm: self.position_mm.map(|v| v as f32).into(),
            yaw_rad,
            pitch_rad,
            roll_rad: own_x.dot(&y).atan2(own_x.dot(&x)) as f32,
        }
    }

    /// Whether the whole head is in front of the camera.
    fn is_ahead(&self) -> bool {
        HEAD.iter().all(|point| {
            let z = (self.rotation * Vector3::from(point.position_mm) + self.position_mm).z;
            z > MIN_DEPTH_MM && z.is_finite()
        })
    }

    /// Where the face points, as gaze angles.
    pub fn facing(self) -> GazeAngles {
        let facing = -(self.rotation * Vector3::z());
        GazeAngles::from_vector(facing.map(|v| v as f32).into())
    }

    /// A place on the head, mm from the midpoint between the eyes, in camera axes.
    pub fn place_mm(&self, on_head_mm: [f64; 3]) -> [f32; 3] {
        (self.rotation * Vector3::from(on_head_mm) + self.position_mm)
            .map(|v| v as f32)
            .into()
    }
}

/// Midpoint of the corners of an eye on the generic head, mm.
pub fn eye_on_head_mm(is_left: bool) -> [f64; 3] {
    let half = EYE_DISTANCE_MM / 2.0;
    [if is_left { half } else { -half }, 0.0, 0.0]
}

/// Finds the pose whose projection lies nearest to the landmarks (weighted least squares).
///
/// Start: the affine camera that maps the model to the landmarks, made a rotation. Then Gauss-Newton
/// on the perspective projection; where that leads nowhere, the start. None when the landmarks have
/// no extent: these are not the points of a face.
pub fn solve(landmarks_px: &[[f32; 2]; N_LANDMARKS], camera: &CameraMatrix) -> Option<RigidPose> {
    let seen = HEAD.map(|point| {
        let [x, y] = landmarks_px[point.landmark].map(f64::from);
        Vector2::new(
            (x - f64::from(camera.cx_px)) / f64::from(camera.fx_px),
            (y - f64::from(camera.cy_px)) / f64::from(camera.fy_px),
        )
    });
    let start = affine_start(&seen)?;
    [refine(start, &seen), Some(start)]
        .into_iter()
        .flatten()
        .find(RigidPose::is_ahead)
}

/// Follows the Gauss-Newton steps until they are small.
fn refine(mut pose: RigidPose, seen: &[Vector2<f64>; HEAD.len()]) -> Option<RigidPose> {
    for _ in 0..MAX_STEPS {
        let step = gauss_newton_step(&pose, seen)?;
        let turn = step.fixed_rows::<3>(0).into_owned();
        let shift = step.fixed_rows::<3>(3).into_owned();
        let distance = pose.position_mm.norm();
        pose.rotation = Rotation3::new(turn) * pose.rotation;
        pose.position_mm += shift;
        if turn.norm() < SMALL_STEP && shift.norm() < SMALL_STEP * distance {
            break;
        }
    }
    Some(pose)
}

/// Weighted mean of the model, and the inverse of its weighted scatter.
static MODEL_SCATTER: LazyLock<(Vector3<f64>, Matrix3<f64>)> = LazyLock::new(|| {
    let weights: f64 = HEAD.iter().map(|p| p.weight * p.weight).sum();
    let weighted = |p: &ModelPoint| Vector3::from(p.position_mm) * (p.weight * p.weight);
    let mean = HEAD.iter().map(weighted).sum::<Vector3<f64>>() / weights;
    let scatter = HEAD
        .iter()
        .map(|p| {
            let offset = Vector3::from(p.position_mm) - mean;
            offset * offset.transpose() * (p.weight * p.weight)
        })
        .sum::<Matrix3<f64>>();
    let inverse = scatter.try_inverse().expect("the generic head is not flat");
    (mean, inverse)
});

/// The pose of scaled orthographic projection; `seen` on the plane at distance 1.
fn affine_start(seen: &[Vector2<f64>; HEAD.len()]) -> Option<RigidPose> {
    let (model_mean, inverse_scatter) = &*MODEL_SCATTER;
    let weights: f64 = HEAD.iter().map(|p| p.weight * p.weight).sum();
    let seen_mean = HEAD
        .iter()
        .zip(seen)
        .map(|(p, s)| s * (p.weight * p.weight))
        .sum::<Vector2<f64>>()
        / weights;
    let mixed: Matrix2x3<f64> = HEAD
        .iter()
        .zip(seen)
        .map(|(p, s)| {
            let offset = Vector3::from(p.position_mm) - model_mean;
            (s - seen_mean) * offset.transpose() * (p.weight * p.weight)
        })
        .sum();
    let affine = mixed * inverse_scatter;
    let first = affine.row(0).transpose();
    let second = affine.row(1).transpose();
    let scale = (first.norm() + second.norm()) / 2.0;
    if !(scale > 1e-9 && scale.is_finite()) {
        return None;
    }
    let x = first.try_normalize(1e-12)?;
    let y = (second - x * x.dot(&second)).try_normalize(1e-12)?;
    let rotation = Rotation3::from_matrix_unchecked(Matrix3::from_rows(&[
        x.transpose(),
        y.transpose(),
        x.cross(&y).transpose(),
    ]));
    let distance = 1.0 / scale;
    let mean_mm = Vector3::new(seen_mean.x * distance, seen_mean.y * distance, distance);
    Some(RigidPose {
        rotation,
        position_mm: mean_mm - rotation * model_mean,
    })
}

/// Turn (rotation vector in camera axes) and shift that bring the projection nearest, linearised.
fn gauss_newton_step(pose: &RigidPose, seen: &[Vector2<f64>; HEAD.len()]) -> Option<Vector6<f64>> {
    let mut normal = Matrix6::zeros();
    let mut right = Vector6::zeros();
    for (point, seen) in HEAD.iter().zip(seen) {
        let turned = pose.rotation * Vector3::from(point.position_mm);
        let place = turned + pose.position_mm;
        if place.z <= MIN_DEPTH_MM {
            return None;
        }
        let projected = place.xy() / place.z;
        let by_place = Matrix2x3::new(
            1.0 / place.z,
            0.0,
            -projected.x / place.z,
            0.0,
            1.0 / place.z,
            -projected.y / place.z,
        );
        let mut jacobian = Matrix2x6::zeros();
        // A small turn w moves the place by w x turned = −[turned]× w.
        jacobian
            .fixed_columns_mut::<3>(0)
            .copy_from(&(-by_place * turned.cross_matrix()));
        jacobian.fixed_columns_mut::<3>(3).copy_from(&by_place);
        let weight = point.weight * point.weight;
        normal += jacobian.transpose() * jacobian * weight;
        right += jacobian.transpose() * (seen - projected) * weight;
    }
    normal.cholesky().map(|factor| factor.solve(&right))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: CameraMatrix = CameraMatrix {
        fx_px: 640.0,
        fy_px: 650.0,
        cx_px: 319.5,
        cy_px: 239.5,
    };

    /// Landmarks of the generic head, turned by the angles in the protocol's signs.
    fn seen(yaw: f64, pitch: f64, roll: f64, position_mm: [f64; 3]) -> [[f32; 2]; N_LANDMARKS] {
        // With y down and z forward a positive turn about y moves −z, where the face points,
        // towards −x; yaw is towards +x.
        let rotation = Rotation3::from_axis_angle(&Vector3::y_axis(), -yaw)
            * Rotation3::from_axis_angle(&Vector3::x_axis(), -pitch)
            * Rotation3::from_axis_angle(&Vector3::z_axis(), roll);
        let mut landmarks = [[0.0; 2]; N_LANDMARKS];
        for point in &HEAD {
            let place = rotation * Vector3::from(point.position_mm) + Vector3::from(position_mm);
            landmarks[point.landmark] = [
                (place.x / place.z * 640.0 + 319.5) as f32,
                (place.y / place.z * 650.0 + 239.5) as f32,
            ];
        }
        landmarks
    }

    #[test]
    fn a_synthetic_pose_is_found_again() {
        for (yaw, pitch, roll) in [
            (0.0, 0.0, 0.0),
            (0.5, 0.2, 0.1),
            (-0.9, -0.4, -0.5),
            (0.3, 0.6, 1.2),
            (1.0, 0.0, 0.0),
        ] {
            for position in [
                [0.0, 0.0, 600.0],
                [150.0, -80.0, 450.0],
                [-300.0, 100.0, 1500.0],
            ] {
                let pose = solve(&seen(yaw, pitch, roll, position), &CAMERA)
                    .expect("a face")
                    .to_head_pose();
                let tolerance = 0.5f32.to_radians();
                assert!(
                    (pose.yaw_rad - yaw as f32).abs() < tolerance,
                    "{pose:?} for {yaw}"
                );
                assert!(
                    (pose.pitch_rad - pitch as f32).abs() < tolerance,
                    "{pose:?} for {pitch}"
                );
                assert!(
                    (pose.roll_rad - roll as f32).abs() < tolerance,
                    "{pose:?} for {roll}"
                );
                for (found, expected) in pose.position_mm.iter().zip(position) {
                    assert!((f64::from(*found) - expected).abs() < 0.01 * position[2]);
                }
            }
        }
    }

    #[test]
    fn a_nose_nearer_to_the_left_eye_is_a_head_turned_left() {
        // The observer's left is the picture's right; the nose moves there.
        let mut landmarks = seen(0.0, 0.0, 0.0, [0.0, 0.0, 600.0]);
        landmarks[42][0] += 10.0;
        let pose = solve(&landmarks, &CAMERA).expect("a face").to_head_pose();
        assert!(pose.yaw_rad > 0.02, "{pose:?}");
    }

    #[test]
    fn a_raised_nose_is_a_head_turned_up() {
        let mut landmarks = seen(0.0, 0.0, 0.0, [0.0, 0.0, 600.0]);
        landmarks[42][1] -= 10.0;
        let pose = solve(&landmarks, &CAMERA).expect("a face").to_head_pose();
        assert!(pose.pitch_rad > 0.02, "{pose:?}");
    }

    #[test]
    fn a_left_eye_lower_in_the_picture_is_a_positive_roll() {
        let mut landmarks = seen(0.0, 0.0, 0.0, [0.0, 0.0, 600.0]);
        for corner in [16, 24] {
            landmarks[corner][1] += 10.0;
        }
        let pose = solve(&landmarks, &CAMERA).expect("a face").to_head_pose();
        assert!(pose.roll_rad > 0.02, "{pose:?}");
    }

    #[test]
    fn points_without_extent_are_no_face() {
        assert_eq!(solve(&[[5.0; 2]; N_LANDMARKS], &CAMERA), None);
    }

    #[test]
    fn any_points_give_a_finite_pose_or_none() {
        // A linear congruential generator is random enough here.
        let mut state = 1u32;
        for spread in [1.0, 100.0, 1e4, 1e8] {
            for _ in 0..200 {
                let landmarks = std::array::from_fn(|_| {
                    std::array::from_fn(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 8) as f32 / (1 << 24) as f32 * spread
                    })
                });
                if let Some(pose) = solve(&landmarks, &CAMERA) {
                    let HeadPose {
                        position_mm: [x, y, z],
                        yaw_rad,
                        pitch_rad,
                        roll_rad,
                    } = pose.to_head_pose();
                    for value in [x, y, z, yaw_rad, pitch_rad, roll_rad] {
                        assert!(value.is_finite());
                    }
                }
            }
        }
    }
}
