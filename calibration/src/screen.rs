//! Where the screen is and what lies on it: mm ↔ px ↔ shares of the screen ↔ visual angle.

use gaze_protocol::{GazeAngles, PointOfRegard};
use serde::{Deserialize, Serialize};

/// Rays that run closer to the plane than this do not meet it: beyond 80° from the normal the
/// point of regard moves 33 times as fast as it does straight ahead.
const MIN_COS_TO_NORMAL: f32 = 0.174;

/// Largest side of a screen that is accepted, mm: a cinema's, not a mistaken unit.
const MAX_SIDE_MM: f32 = 50_000.0;

/// Largest distance between camera and screen that is accepted, mm.
const MAX_OFFSET_MM: f32 = 50_000.0;

/// Largest lean of the screen against the camera that is accepted, rad (75°).
const MAX_TILT_RAD: f32 = 1.309;

/// The active area of a screen and where it stands relative to the camera.
///
/// Screen plane: mm, origin at the top-left of the active area, x right and y down as the observer
/// sees it. Camera axes and signs are those of [`gaze_protocol`]. A value of this type has been
/// checked: sizes are positive and finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredScreen", into = "StoredScreen")]
pub struct ScreenGeometry {
    width_mm: f32,
    height_mm: f32,
    size_px: Option<[u32; 2]>,
    pose: ScreenPose,
}

/// Where the screen stands, in camera axes.
///
/// The default is the usual place: the camera in the middle of the screen's upper edge, looking
/// straight along the screen's normal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScreenPose {
    /// The middle of the upper edge of the active area, camera axes, mm. A camera 10 mm above the
    /// edge has `[0, 10, 0]`.
    pub offset_mm: [f32; 3],
    /// How far the screen leans back against the camera's picture plane, rad; positive when the
    /// lower edge is nearer to the observer.
    pub tilt_rad: f32,
}

/// A screen that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScreenError {
    /// A side is not a length.
    #[error("screen {side} is {found} mm; allowed: above 0, at most {MAX_SIDE_MM} mm")]
    Side {
        /// `width` or `height`.
        side: &'static str,
        /// What was given.
        found: f32,
    },
    /// A side has no pixels.
    #[error("screen {side} is 0 px; allowed: at least 1 px")]
    NoPixels {
        /// `width` or `height`.
        side: &'static str,
    },
    /// The screen is not near the camera, or the number is not finite.
    #[error("screen offset along {axis} is {found} mm; allowed: within ±{MAX_OFFSET_MM} mm")]
    Offset {
        /// `x`, `y` or `z`.
        axis: char,
        /// What was given.
        found: f32,
    },
    /// The screen leans too far.
    #[error("screen tilt is {found} rad; allowed: within ±{MAX_TILT_RAD} rad (75°)")]
    Tilt {
        /// What was given.
        found: f32,
    },
}

/// An eye and its line of gaze, seen from the screen: what calibration corrects.
///
/// The foot is the point of the screen plane nearest to the eye. The point of regard is
/// `foot + distance · tangent`, so a tangent is the direction of gaze in the screen's own axes,
/// whatever the eye's position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sight {
    /// The eye's foot point.
    pub foot: PointOfRegard,
    /// From the eye to the screen plane, mm; positive.
    pub distance_mm: f32,
    /// Slope of the line of gaze against the screen's normal, along screen x and y.
    pub tangent: [f32; 2],
}

impl Sight {
    /// Where the line of gaze meets the screen plane.
    pub fn point_of_regard(&self) -> PointOfRegard {
        PointOfRegard {
            x_mm: self.foot.x_mm + self.distance_mm * self.tangent[0],
            y_mm: self.foot.y_mm + self.distance_mm * self.tangent[1],
        }
    }

    /// The tangent of the line from this eye to `point`.
    pub fn tangent_to(&self, point: PointOfRegard) -> [f32; 2] {
        [
            (point.x_mm - self.foot.x_mm) / self.distance_mm,
            (point.y_mm - self.foot.y_mm) / self.distance_mm,
        ]
    }
}

impl ScreenGeometry {
    /// A screen of this size in the default pose, its pixels unknown.
    ///
    /// # Errors
    /// [`ScreenError::Side`] unless both sides are positive, finite and at most 50 m.
    pub fn new(width_mm: f32, height_mm: f32) -> Result<Self, ScreenError> {
        for (side, found) in [("width", width_mm), ("height", height_mm)] {
            if !(found > 0.0 && found <= MAX_SIDE_MM) {
                return Err(ScreenError::Side { side, found });
            }
        }
        Ok(ScreenGeometry {
            width_mm,
            height_mm,
            size_px: None,
            pose: ScreenPose::default(),
        })
    }

    /// The same screen with its resolution known.
    ///
    /// # Errors
    /// [`ScreenError::NoPixels`] if either is 0.
    pub fn with_size_px(self, width_px: u32, height_px: u32) -> Result<Self, ScreenError> {
        for (side, found) in [("width", width_px), ("height", height_px)] {
            if found == 0 {
                return Err(ScreenError::NoPixels { side });
            }
        }
        Ok(ScreenGeometry {
            size_px: Some([width_px, height_px]),
            ..self
        })
    }

    /// The same screen standing elsewhere.
    ///
    /// # Errors
    /// [`ScreenError::Offset`] or [`ScreenError::Tilt`] outside 50 m or 75°.
    pub fn with_pose(self, pose: ScreenPose) -> Result<Self, ScreenError> {
        for (axis, found) in ['x', 'y', 'z'].into_iter().zip(pose.offset_mm) {
            if !(-MAX_OFFSET_MM..=MAX_OFFSET_MM).contains(&found) {
                return Err(ScreenError::Offset { axis, found });
            }
        }
        if !(-MAX_TILT_RAD..=MAX_TILT_RAD).contains(&pose.tilt_rad) {
            return Err(ScreenError::Tilt {
                found: pose.tilt_rad,
            });
        }
        Ok(ScreenGeometry { pose, ..self })
    }

    /// Width of the active area, mm.
    pub fn width_mm(&self) -> f32 {
        self.width_mm
    }

    /// Height of the active area, mm.
    pub fn height_mm(&self) -> f32 {
        self.height_mm
    }

    /// Width and height, px, where known.
    pub fn size_px(&self) -> Option<[u32; 2]> {
        self.size_px
    }

    /// Where the screen stands.
    pub fn pose(&self) -> ScreenPose {
        self.pose
    }

    /// The middle of the active area.
    pub fn centre(&self) -> PointOfRegard {
        PointOfRegard {
            x_mm: 0.5 * self.width_mm,
            y_mm: 0.5 * self.height_mm,
        }
    }

    /// The eye and its line of gaze as seen from the screen.
    ///
    /// None when the eye is not in front of the screen, when the line of gaze leaves the plane or
    /// runs within 10° of it, or when a number is not finite.
    pub fn sight(&self, origin_mm: [f32; 3], angles: GazeAngles) -> Option<Sight> {
        let (foot, distance_mm) = self.foot(origin_mm)?;
        let gaze = angles.to_vector();
        let along = self.rotate(gaze);
        let towards_screen = -along[2];
        if towards_screen.is_nan() || towards_screen < MIN_COS_TO_NORMAL {
            return None;
        }
        Some(Sight {
            foot,
            distance_mm,
            tangent: [along[0] / towards_screen, along[1] / towards_screen],
        })
    }

    /// Where a line of gaze meets the screen plane: the geometric point of regard, uncalibrated.
    ///
    /// May lie outside the active area. None as for [`ScreenGeometry::sight`].
    pub fn point_of_regard(
        &self,
        origin_mm: [f32; 3],
        angles: GazeAngles,
    ) -> Option<PointOfRegard> {
        Some(self.sight(origin_mm, angles)?.point_of_regard())
    }

    /// A point of the screen plane in camera axes, mm.
    pub fn to_camera(&self, point: PointOfRegard) -> [f32; 3] {
        let (sin, cos) = self.pose.tilt_rad.sin_cos();
        let [x, y, z] = self.pose.offset_mm;
        [
            x + 0.5 * self.width_mm - point.x_mm,
            y + cos * point.y_mm,
            z + sin * point.y_mm,
        ]
    }

    /// The point of the screen plane nearest to the eye, and the eye's distance from the plane, mm.
    ///
    /// None when the eye is not in front of the screen or a number is not finite.
    pub fn foot(&self, origin_mm: [f32; 3]) -> Option<(PointOfRegard, f32)> {
        let [x, y, z] = self.pose.offset_mm;
        let from_edge = self.rotate([origin_mm[0] - x, origin_mm[1] - y, origin_mm[2] - z]);
        let [right, down, distance_mm] = from_edge;
        if !distance_mm.is_finite() || distance_mm <= 0.0 {
            return None;
        }
        let foot = PointOfRegard {
            x_mm: 0.5 * self.width_mm + right,
            y_mm: down,
        };
        (foot.x_mm.is_finite() && foot.y_mm.is_finite()).then_some((foot, distance_mm))
    }

    /// The direction from an eye to a point of the screen plane, camera axes.
    pub fn direction_to(&self, origin_mm: [f32; 3], point: PointOfRegard) -> GazeAngles {
        let [x, y, z] = self.to_camera(point);
        GazeAngles::from_vector([x - origin_mm[0], y - origin_mm[1], z - origin_mm[2]])
    }

    /// The angle between two points of the screen plane as an eye sees them, rad.
    pub fn visual_angle_rad(&self, origin_mm: [f32; 3], a: PointOfRegard, b: PointOfRegard) -> f32 {
        self.direction_to(origin_mm, a)
            .angle_to(self.direction_to(origin_mm, b))
    }

    /// Shares of width and height: (0, 0) top-left, (1, 1) bottom-right; outside the screen beyond.
    pub fn to_normalised(&self, point: PointOfRegard) -> [f32; 2] {
        [point.x_mm / self.width_mm, point.y_mm / self.height_mm]
    }

    /// The point at these shares of width and height.
    pub fn from_normalised(&self, [x, y]: [f32; 2]) -> PointOfRegard {
        PointOfRegard {
            x_mm: x * self.width_mm,
            y_mm: y * self.height_mm,
        }
    }

    /// Screen pixels, (0, 0) at the top-left corner of the active area; none when the resolution
    /// is not known.
    pub fn to_px(&self, point: PointOfRegard) -> Option<[f32; 2]> {
        let [width, height] = self.size_px?;
        let [x, y] = self.to_normalised(point);
        Some([x * width as f32, y * height as f32])
    }

    /// The point at a screen pixel; none when the resolution is not known.
    pub fn from_px(&self, [x, y]: [f32; 2]) -> Option<PointOfRegard> {
        let [width, height] = self.size_px?;
        Some(self.from_normalised([x / width as f32, y / height as f32]))
    }

    /// A vector in camera axes along the screen's own axes: right, down, towards the observer.
    fn rotate(&self, [x, y, z]: [f32; 3]) -> [f32; 3] {
        let (sin, cos) = self.pose.tilt_rad.sin_cos();
        [-x, cos * y + sin * z, -sin * y + cos * z]
    }
}

/// The form in a file; checked on the way in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredScreen {
    width_mm: f32,
    height_mm: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size_px: Option<[u32; 2]>,
    #[serde(default)]
    pose: ScreenPose,
}

impl TryFrom<StoredScreen> for ScreenGeometry {
    type Error = ScreenError;

    fn try_from(stored: StoredScreen) -> Result<Self, ScreenError> {
        let screen = ScreenGeometry::new(stored.width_mm, stored.height_mm)?;
        let screen = match stored.size_px {
            Some([width, height]) => screen.with_size_px(width, height)?,
            None => screen,
        };
        screen.with_pose(stored.pose)
    }
}

impl From<ScreenGeometry> for StoredScreen {
    fn from(screen: ScreenGeometry) -> Self {
        StoredScreen {
            width_mm: screen.width_mm,
            height_mm: screen.height_mm,
            size_px: screen.size_px,
            pose: screen.pose,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn monitor() -> ScreenGeometry {
        ScreenGeometry::new(531.0, 299.0)
            .unwrap()
            .with_size_px(1920, 1080)
            .unwrap()
    }

    fn gaze(yaw_rad: f32, pitch_rad: f32) -> GazeAngles {
        GazeAngles { yaw_rad, pitch_rad }
    }

    fn point(x_mm: f32, y_mm: f32) -> PointOfRegard {
        PointOfRegard { x_mm, y_mm }
    }

    #[test]
    fn looking_into_the_camera_is_the_middle_of_the_upper_edge() {
        let por = monitor()
            .point_of_regard([0.0, 0.0, 600.0], gaze(0.0, 0.0))
            .unwrap();
        assert_eq!(por, point(265.5, 0.0));
    }

    #[test]
    fn looking_to_the_observers_right_is_larger_x() {
        // Negative yaw is the observer's right: −x of the camera, and the right of the screen.
        let por = monitor()
            .point_of_regard([0.0, 0.0, 600.0], gaze(-0.1, 0.0))
            .unwrap();
        // 265.5 + 600 · tan 0.1 = 265.5 + 60.201
        assert!((por.x_mm - 325.701).abs() < 1e-2 /* f32 at 600 mm */);
        assert!(por.y_mm.abs() < 1e-3);
    }

    #[test]
    fn looking_down_is_larger_y() {
        let por = monitor()
            .point_of_regard([0.0, 0.0, 600.0], gaze(0.0, -0.1))
            .unwrap();
        assert!((por.y_mm - 60.201).abs() < 1e-2);
    }

    #[test]
    fn a_head_moved_to_the_observers_right_moves_the_point_of_regard_right() {
        let por = monitor()
            .point_of_regard([-50.0, 0.0, 600.0], gaze(0.0, 0.0))
            .unwrap();
        assert_eq!(por, point(315.5, 0.0));
    }

    #[test]
    fn a_camera_above_the_screen_sees_the_edge_below_it() {
        let screen = monitor()
            .with_pose(ScreenPose {
                offset_mm: [0.0, 10.0, 0.0],
                tilt_rad: 0.0,
            })
            .unwrap();
        // screen_y = camera_y − offset
        let por = screen
            .point_of_regard([0.0, 110.0, 600.0], gaze(0.0, 0.0))
            .unwrap();
        assert_eq!(por, point(265.5, 100.0));
    }

    #[test]
    fn a_screen_that_leans_back_is_met_lower_by_a_lower_eye() {
        let screen = monitor()
            .with_pose(ScreenPose {
                offset_mm: [0.0; 3],
                tilt_rad: 0.1,
            })
            .unwrap();
        // Eye 100 mm below the camera looking straight ahead: the plane z = y · tan 0.1 is met at
        // y = 100, which is 100 / cos 0.1 = 100.5021 mm down the screen.
        let por = screen
            .point_of_regard([0.0, 100.0, 600.0], gaze(0.0, 0.0))
            .unwrap();
        assert!((por.y_mm - 100.5021).abs() < 1e-2);
    }

    #[test]
    fn gaze_away_from_or_along_the_screen_meets_nothing() {
        let origin = [0.0, 0.0, 600.0];
        let pi = std::f32::consts::PI;
        assert_eq!(monitor().point_of_regard(origin, gaze(pi, 0.0)), None);
        assert_eq!(monitor().point_of_regard(origin, gaze(pi / 2.0, 0.0)), None);
        assert_eq!(monitor().point_of_regard(origin, gaze(f32::NAN, 0.0)), None);
    }

    #[test]
    fn an_eye_behind_the_screen_sees_nothing_of_it() {
        assert_eq!(
            monitor().point_of_regard([0.0, 0.0, -1.0], gaze(0.0, 0.0)),
            None
        );
    }

    #[test]
    fn the_corners_are_where_pixels_and_shares_say() {
        let screen = monitor();
        assert_eq!(screen.to_px(point(531.0, 299.0)), Some([1920.0, 1080.0]));
        assert_eq!(screen.from_normalised([0.5, 0.5]), screen.centre());
        assert_eq!(screen.foot([265.5, 0.0, 1.0]), Some((point(0.0, 0.0), 1.0)));
    }

    #[test]
    fn without_a_resolution_there_are_no_pixels() {
        let screen = ScreenGeometry::new(531.0, 299.0).unwrap();
        assert_eq!(screen.to_px(screen.centre()), None);
        assert_eq!(screen.from_px([0.0, 0.0]), None);
    }

    #[test]
    fn a_centimetre_at_57_cm_is_a_degree() {
        let screen = monitor();
        let angle =
            screen.visual_angle_rad([0.0, 0.0, 573.0], point(265.5, 0.0), point(275.5, 0.0));
        // atan(10 / 573) = 0.99983°
        assert!((angle.to_degrees() - 0.99983).abs() < 1e-3);
    }

    #[test]
    fn impossible_screens_are_refused_by_name() {
        assert_eq!(
            ScreenGeometry::new(0.0, 299.0),
            Err(ScreenError::Side {
                side: "width",
                found: 0.0
            })
        );
        assert!(ScreenGeometry::new(531.0, f32::NAN).is_err());
        assert!(monitor().with_size_px(1920, 0).is_err());
        assert!(
            monitor()
                .with_pose(ScreenPose {
                    offset_mm: [0.0, f32::INFINITY, 0.0],
                    tilt_rad: 0.0
                })
                .is_err()
        );
        assert!(
            monitor()
                .with_pose(ScreenPose {
                    offset_mm: [0.0; 3],
                    tilt_rad: 1.5
                })
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn px_mm_and_shares_are_inverse(x in -200f32..800.0, y in -200f32..500.0) {
            let screen = monitor();
            let there = point(x, y);
            let px = screen.from_px(screen.to_px(there).unwrap()).unwrap();
            let share = screen.from_normalised(screen.to_normalised(there));
            for back in [px, share] {
                prop_assert!((back.x_mm - x).abs() < 1e-3 /* f32 at 800 */);
                prop_assert!((back.y_mm - y).abs() < 1e-3);
            }
        }

        #[test]
        fn gaze_at_a_point_meets_that_point(
            x in -200f32..800.0,
            y in -200f32..500.0,
            eye_x in -300f32..300.0,
            eye_y in -200f32..300.0,
            eye_z in 300f32..1500.0,
            tilt_rad in -0.4f32..0.4,
        ) {
            let screen = monitor()
                .with_pose(ScreenPose { offset_mm: [20.0, 10.0, -5.0], tilt_rad })
                .unwrap();
            let eye = [eye_x, eye_y, eye_z];
            if let Some(back) = screen.point_of_regard(eye, screen.direction_to(eye, point(x, y))) {
                prop_assert!((back.x_mm - x).abs() < 0.05 /* f32, rays up to 80° oblique */);
                prop_assert!((back.y_mm - y).abs() < 0.05);
            }
            let sight = screen.sight(eye, screen.direction_to(eye, screen.centre()));
            if let Some(sight) = sight {
                let [tx, ty] = sight.tangent_to(screen.centre());
                prop_assert!((tx - sight.tangent[0]).abs() < 1e-3);
                prop_assert!((ty - sight.tangent[1]).abs() < 1e-3);
            }
        }
    }
}
