//! Vectors, rotations, poses and the pinhole camera, in the axes of `gaze_protocol`.

use std::ops::{Add, Mul, Neg, Sub};

/// A point or direction; millimetres where it is a point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Vec3 {
    pub x: f32,
    pub y: f32,
    pub z: f32,
}

pub(crate) const fn vec3(x: f32, y: f32, z: f32) -> Vec3 {
    Vec3 { x, y, z }
}

impl Vec3 {
    pub fn dot(self, other: Vec3) -> f32 {
        self.x * other.x + self.y * other.y + self.z * other.z
    }

    pub fn cross(self, other: Vec3) -> Vec3 {
        vec3(
            self.y * other.z - self.z * other.y,
            self.z * other.x - self.x * other.z,
            self.x * other.y - self.y * other.x,
        )
    }

    pub fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// The unit vector of the same direction; a zero vector stays zero.
    pub fn unit(self) -> Vec3 {
        self * (1.0 / self.length().max(1e-20))
    }

    pub fn to_array(self) -> [f32; 3] {
        [self.x, self.y, self.z]
    }
}

impl From<[f32; 3]> for Vec3 {
    fn from([x, y, z]: [f32; 3]) -> Self {
        vec3(x, y, z)
    }
}

impl Add for Vec3 {
    type Output = Vec3;
    fn add(self, o: Vec3) -> Vec3 {
        vec3(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}

impl Sub for Vec3 {
    type Output = Vec3;
    fn sub(self, o: Vec3) -> Vec3 {
        vec3(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}

impl Mul<f32> for Vec3 {
    type Output = Vec3;
    fn mul(self, k: f32) -> Vec3 {
        vec3(self.x * k, self.y * k, self.z * k)
    }
}

impl Neg for Vec3 {
    type Output = Vec3;
    fn neg(self) -> Vec3 {
        vec3(-self.x, -self.y, -self.z)
    }
}

/// A rotation; the rows are the target frame's axes in the source frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rotation {
    pub rows: [Vec3; 3],
}

impl Rotation {
    pub const IDENTITY: Rotation = Rotation {
        rows: [
            vec3(1.0, 0.0, 0.0),
            vec3(0.0, 1.0, 0.0),
            vec3(0.0, 0.0, 1.0),
        ],
    };

    /// Head-local axes (x, y, z as the camera's for a head that faces it) to camera axes.
    ///
    /// Yaw · pitch · roll: the facing direction (0, 0, −1) depends on yaw and pitch alone, as
    /// the gaze vector of `gaze_protocol` does; roll turns about it, clockwise in the picture.
    pub fn from_angles(yaw_rad: f32, pitch_rad: f32, roll_rad: f32) -> Self {
        let (sy, cy) = libm::sincosf(yaw_rad);
        let (sp, cp) = libm::sincosf(pitch_rad);
        let (sr, cr) = libm::sincosf(roll_rad);
        let yaw = Rotation {
            rows: [vec3(cy, 0.0, -sy), vec3(0.0, 1.0, 0.0), vec3(sy, 0.0, cy)],
        };
        let pitch = Rotation {
            rows: [vec3(1.0, 0.0, 0.0), vec3(0.0, cp, sp), vec3(0.0, -sp, cp)],
        };
        let roll = Rotation {
            rows: [vec3(cr, -sr, 0.0), vec3(sr, cr, 0.0), vec3(0.0, 0.0, 1.0)],
        };
        yaw.times(&pitch).times(&roll)
    }

    /// (yaw, pitch, roll) of [`Rotation::from_angles`].
    pub fn angles(&self) -> [f32; 3] {
        let facing = -self.column(2);
        let yaw = libm::atan2f(facing.x, -facing.z);
        let pitch = libm::atan2f(-facing.y, libm::hypotf(facing.x, facing.z));
        let upright = Rotation::from_angles(yaw, pitch, 0.0);
        let across = upright.inverse_apply(self.column(0));
        [yaw, pitch, libm::atan2f(across.y, across.x)]
    }

    pub fn column(&self, i: usize) -> Vec3 {
        let [a, b, c] = self.rows.map(Vec3::to_array);
        vec3(a[i], b[i], c[i])
    }

    pub fn times(&self, right: &Rotation) -> Rotation {
        let columns = [right.column(0), right.column(1), right.column(2)];
        Rotation {
            rows: self.rows.map(|row| {
                vec3(
                    row.dot(columns[0]),
                    row.dot(columns[1]),
                    row.dot(columns[2]),
                )
            }),
        }
    }

    pub fn apply(&self, v: Vec3) -> Vec3 {
        vec3(
            self.rows[0].dot(v),
            self.rows[1].dot(v),
            self.rows[2].dot(v),
        )
    }

    pub fn inverse_apply(&self, v: Vec3) -> Vec3 {
        self.rows[0] * v.x + self.rows[1] * v.y + self.rows[2] * v.z
    }
}

/// Where a rigid body is: local axes to camera axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pose {
    pub position: Vec3,
    pub rotation: Rotation,
}

impl Pose {
    pub fn to_camera(self, local: Vec3) -> Vec3 {
        self.rotation.apply(local) + self.position
    }

    pub fn to_local(self, camera: Vec3) -> Vec3 {
        self.rotation.inverse_apply(camera - self.position)
    }
}

/// A camera without lens distortion; the principal point is the middle of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pinhole {
    pub width_px: u32,
    pub height_px: u32,
    pub focal_px: f32,
}

impl Pinhole {
    pub fn principal_px(&self) -> [f32; 2] {
        [
            (self.width_px as f32 - 1.0) / 2.0,
            (self.height_px as f32 - 1.0) / 2.0,
        ]
    }

    /// The pixel of a point in camera axes. Points at or behind the camera are taken to be just
    /// in front of it.
    pub fn project(&self, point: Vec3) -> [f32; 2] {
        let [cx, cy] = self.principal_px();
        let scale = self.focal_px / point.z.max(1.0);
        [cx + point.x * scale, cy + point.y * scale]
    }

    /// The direction of a pixel's ray, not of unit length (z = 1).
    pub fn ray(&self, [x, y]: [f32; 2]) -> Vec3 {
        let [cx, cy] = self.principal_px();
        vec3((x - cx) / self.focal_px, (y - cy) / self.focal_px, 1.0)
    }
}

/// 0 below `low`, 1 above `high`, smooth between.
pub(crate) fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

pub(crate) fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// The whole part and the rest of 0 ≤ `x` < 2²², without the range checks of a cast: this is in
/// the innermost loops. On whole numbers the rest may be 1 and the whole part one less.
#[inline]
pub(crate) fn whole(x: f32) -> (usize, f32) {
    // From 2²³ on, floats are whole numbers with their value in the low bits.
    const WHOLE: f32 = 8_388_608.0;
    let shifted = (x - 0.5).max(0.0) + WHOLE;
    (
        (shifted.to_bits() & 0x007F_FFFF) as usize,
        x - (shifted - WHOLE),
    )
}

/// Close to exp(−x²/…): a bell with value 1 at `x2` = 0, e⁻¹ near 1 and exactly 0 from 8 on.
/// `x2` is a squared distance over 2σ² or the like.
pub(crate) fn bell(x2: f32) -> f32 {
    let t = (1.0 - x2 * 0.125).max(0.0);
    let t2 = t * t;
    let t4 = t2 * t2;
    t4 * t4
}

/// A curve through knots, with Hermite tangents from the neighbours.
#[derive(Clone, Debug)]
pub(crate) struct Curve<const N: usize> {
    knots: [(f32, f32); N],
}

impl<const N: usize> Curve<N> {
    /// `knots` have rising first members.
    pub const fn new(knots: [(f32, f32); N]) -> Self {
        Curve { knots }
    }

    fn slope(&self, i: usize) -> f32 {
        let a = self.knots[i.saturating_sub(1)];
        let b = self.knots[(i + 1).min(N - 1)];
        (b.1 - a.1) / (b.0 - a.0)
    }

    /// Constant beyond the ends.
    pub fn at(&self, x: f32) -> f32 {
        if x <= self.knots[0].0 {
            return self.knots[0].1;
        }
        if x >= self.knots[N - 1].0 {
            return self.knots[N - 1].1;
        }
        let mut i = 0;
        while self.knots[i + 1].0 < x {
            i += 1;
        }
        let (x0, y0) = self.knots[i];
        let (x1, y1) = self.knots[i + 1];
        let h = x1 - x0;
        let t = (x - x0) / h;
        let (t2, t3) = (t * t, t * t * t);
        y0 * (2.0 * t3 - 3.0 * t2 + 1.0)
            + self.slope(i) * h * (t3 - 2.0 * t2 + t)
            + y1 * (3.0 * t2 - 2.0 * t3)
            + self.slope(i + 1) * h * (t3 - t2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_turned_left_and_up_faces_plus_x_and_minus_y() {
        let facing = Rotation::from_angles(0.3, 0.2, 0.5).apply(vec3(0.0, 0.0, -1.0));
        assert!(facing.x > 0.0 && facing.y < 0.0 && facing.z < 0.0);
    }

    #[test]
    fn positive_roll_lowers_the_eye_at_image_right() {
        let left_eye = Rotation::from_angles(0.0, 0.0, 0.3).apply(vec3(30.0, 0.0, 0.0));
        assert!(left_eye.y > 0.0, "clockwise in the picture");
    }

    #[test]
    fn angles_come_back_from_a_rotation() {
        let [yaw, pitch, roll] = Rotation::from_angles(0.4, -0.3, 0.2).angles();
        assert!((yaw - 0.4).abs() < 1e-5 && (pitch + 0.3).abs() < 1e-5);
        assert!((roll - 0.2).abs() < 1e-5);
    }

    #[test]
    fn whole_parts_and_rests_add_up() {
        for x in [0.0f32, 0.2, 0.5, 0.99, 1.0, 1.5, 7.25, 4096.75, 4_000_000.0] {
            let (i, f) = whole(x);
            assert!(
                (i as f32 + f - x).abs() < 1e-6 && (0.0..=1.0).contains(&f),
                "{x}"
            );
        }
    }

    #[test]
    fn a_curve_passes_through_its_knots() {
        let curve = Curve::new([(0.0, 1.0), (2.0, 5.0), (3.0, 4.0)]);
        for (x, y) in [(0.0, 1.0), (2.0, 5.0), (3.0, 4.0), (9.0, 4.0)] {
            assert!((curve.at(x) - y).abs() < 1e-6);
        }
    }
}
