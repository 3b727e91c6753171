//! One frame's gaze: its angles, where it meets the screen, and whether to believe it.

use crate::units::Timestamp;

/// What a sample is worth. Missing gaze is normal (a blink) and is neither zero nor an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Validity {
    /// Calibrated gaze.
    Valid,
    /// No face in the picture.
    NoFace,
    /// A face, and every visible eye is closed.
    EyeClosed,
    /// Gaze, but the network's own uncertainty is above the limit, or the lids are half down.
    LowConfidence,
    /// Gaze through a profile that no longer fits the camera, resolution, screen or networks.
    StaleCalibration,
    /// Gaze without a profile: angles are good to a few degrees, the point of regard is geometric.
    Uncalibrated,
}

impl Validity {
    /// Whether a sample of this validity carries gaze angles.
    pub const fn has_gaze(self) -> bool {
        !matches!(self, Validity::NoFace | Validity::EyeClosed)
    }

    /// Whether events are computed from a sample of this validity: gaze that the network stands by,
    /// calibrated or not.
    pub const fn is_usable(self) -> bool {
        self.has_gaze() && !matches!(self, Validity::LowConfidence)
    }
}

/// A direction of gaze in camera axes; radians.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GazeAngles {
    /// Positive towards the observer's left.
    pub yaw_rad: f32,
    /// Positive up.
    pub pitch_rad: f32,
}

impl GazeAngles {
    /// The unit vector in camera axes (x right, y down, z away from the camera).
    pub fn to_vector(self) -> [f32; 3] {
        let (sin_yaw, cos_yaw) = libm::sincosf(self.yaw_rad);
        let (sin_pitch, cos_pitch) = libm::sincosf(self.pitch_rad);
        [cos_pitch * sin_yaw, -sin_pitch, -cos_pitch * cos_yaw]
    }

    /// The angles of a vector in camera axes, of any length.
    ///
    /// A zero vector gives (0, 0).
    pub fn from_vector([x, y, z]: [f32; 3]) -> Self {
        let horizontal = libm::hypotf(x, z);
        if horizontal == 0.0 && y == 0.0 {
            return GazeAngles::default();
        }
        GazeAngles {
            yaw_rad: libm::atan2f(x, -z),
            pitch_rad: libm::atan2f(-y, horizontal),
        }
    }

    /// The angle between two directions, radians, 0 to π.
    pub fn angle_to(self, other: GazeAngles) -> f32 {
        let [ax, ay, az] = self.to_vector();
        let [bx, by, bz] = other.to_vector();
        // The half-angle form keeps its digits for small angles, where acos loses them.
        let difference = libm::hypotf(libm::hypotf(ax - bx, ay - by), az - bz);
        2.0 * libm::asinf((0.5 * difference).min(1.0))
    }
}

/// Where the line of gaze meets the screen plane; millimetres, origin top-left, y down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PointOfRegard {
    /// From the left edge of the active area.
    pub x_mm: f32,
    /// From the top edge of the active area.
    pub y_mm: f32,
}

/// One frame's gaze as every consumer sees it. One for each frame, valid or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GazeSample {
    /// Number of the frame, from 0.
    pub seq: u64,
    /// When the frame was exposed.
    pub captured_at: Timestamp,
    /// What the sample is worth.
    pub validity: Validity,
    /// Whether the lids are down, shut or on their way, compared with the person's usual opening.
    /// Half-closed eyes still have gaze, of low confidence.
    pub lids_are_down: bool,
    /// Direction of gaze in camera axes; none without a face or with closed eyes.
    pub angles: Option<GazeAngles>,
    /// Point of regard on the screen plane; none without gaze, or when the ray misses the plane.
    pub por: Option<PointOfRegard>,
    /// The line from the eyes to the point of regard as (yaw, pitch): calibrated gaze in degrees
    /// of visual angle, on which events are computed. Radians.
    pub line_of_gaze: Option<GazeAngles>,
    /// Angle within which 68 % of the errors lie, as the network states it; radians.
    pub sigma_rad: Option<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn angles(yaw_rad: f32, pitch_rad: f32) -> GazeAngles {
        GazeAngles { yaw_rad, pitch_rad }
    }

    #[test]
    fn looking_into_the_camera_points_along_minus_z() {
        let vector = angles(0.0, 0.0).to_vector();
        assert!(
            vector[0].abs() < 1e-7 && vector[1].abs() < 1e-7 /* f32 */
        );
        assert!((vector[2] + 1.0).abs() < 1e-7);
    }

    #[test]
    fn looking_to_the_observers_left_is_positive_yaw_and_plus_x() {
        assert!(angles(0.3, 0.0).to_vector()[0] > 0.0);
        assert!(GazeAngles::from_vector([0.5, 0.0, -1.0]).yaw_rad > 0.0);
    }

    #[test]
    fn looking_up_is_positive_pitch_and_minus_y() {
        assert!(angles(0.0, 0.3).to_vector()[1] < 0.0);
        assert!(GazeAngles::from_vector([0.0, -0.5, -1.0]).pitch_rad > 0.0);
    }

    #[test]
    fn angles_and_vectors_are_inverse() {
        for yaw in [-1.2f32, -0.4, 0.0, 0.7, 1.3] {
            for pitch in [-1.1f32, -0.2, 0.0, 0.5, 1.2] {
                let back = GazeAngles::from_vector(angles(yaw, pitch).to_vector());
                assert!((back.yaw_rad - yaw).abs() < 1e-5, "yaw {yaw} pitch {pitch}");
                assert!((back.pitch_rad - pitch).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn the_angle_between_directions_is_exact_on_one_axis() {
        let angle = angles(0.1, 0.0).angle_to(angles(0.35, 0.0));
        assert!((angle - 0.25).abs() < 1e-6 /* f32 */);
    }
}
