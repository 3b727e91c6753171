//! The shape of head, ears, neck and shoulders.
//!
//! Head-local axes: origin midway between the eyes' rotation centres, x to the observer's left,
//! y down, z into the head. The skull is a stack of elliptic rings; features of the face are
//! bumps on it; around each eye the face bends onto a sphere just outside the eyeball, on which
//! the lids lie.

use core::f32::consts::PI;

use crate::appearance::{Appearance, HairStyle};
use crate::geometry::{Curve, Vec3, bell, mix, smoothstep, vec3};
use crate::mesh::Mesh;
use crate::random::noise;

/// Radius of the sphere that the outer face of the lids lies on: eyeball 12 mm, cornea to
/// 13.2 mm, and a little.
pub(crate) const LID_RADIUS: f32 = 13.5;

/// Height of the line between the lips on the reference face, mm below the pupils.
pub(crate) const MOUTH_Y: f32 = 68.0;

/// Half width of the skull's rings by height (reference face; y down), mm.
const WIDTH: Curve<10> = Curve::new([
    (-44.0, 75.0),
    (-30.0, 75.0),
    (0.0, 72.5),
    (25.0, 70.0),
    (50.0, 65.0),
    (75.0, 57.0),
    (95.0, 45.0),
    (108.0, 32.0),
    (118.0, 17.0),
    (124.0, 2.0),
]);
/// Depth of the rings' widest place.
const MIDDLE: Curve<8> = Curve::new([
    (-60.0, 78.0),
    (0.0, 88.0),
    (40.0, 86.0),
    (70.0, 74.0),
    (90.0, 56.0),
    (105.0, 36.0),
    (116.0, 16.0),
    (124.0, 6.0),
]);
/// Depth of the profile in the middle of the face, without the nose.
const FRONT: Curve<15> = Curve::new([
    (-46.0, -18.5),
    (-40.0, -19.0),
    (-22.0, -18.5),
    (-6.0, -14.5),
    (10.0, -15.5),
    (30.0, -18.5),
    (48.0, -20.0),
    (60.0, -22.0),
    (75.0, -20.5),
    (85.0, -16.5),
    (100.0, -19.0),
    (110.0, -17.0),
    (117.0, -10.0),
    (121.0, -2.0),
    (124.0, 6.0),
]);
const BACK: Curve<5> = Curve::new([
    (-60.0, 172.0),
    (-10.0, 176.0),
    (40.0, 150.0),
    (80.0, 100.0),
    (124.0, 30.0),
]);
/// How far the nose's ridge stands out.
const NOSE: Curve<9> = Curve::new([
    (-8.0, 0.0),
    (2.0, 3.5),
    (14.0, 9.0),
    (28.0, 16.0),
    (37.0, 20.5),
    (42.0, 21.0),
    (47.0, 17.0),
    (53.0, 4.0),
    (57.0, 0.0),
]);
/// Heights where the dome of the skull starts and ends.
const DOME_START: f32 = -44.0;
const DOME_HEIGHT: f32 = 70.0;

pub(crate) struct HeadShape {
    pub ipd: f32,
    width_scale: f32,
    upper_scale: f32,
    lower_scale: f32,
    features: Appearance,
    pub eye_centres: [Vec3; 2],
}

/// Points of the face that are landmarks; head-local.
pub(crate) struct FaceMarks {
    /// Nose tip, mouth corners (image left, right), forehead, chin, face sides (image left,
    /// right).
    pub face: [Vec3; 7],
    /// Points whose extent is the face's box.
    pub outline: Vec<Vec3>,
}

struct Ring {
    half_width: f32,
    middle: f32,
    front: f32,
    back: f32,
}

impl HeadShape {
    pub fn new(appearance: &Appearance) -> Self {
        let half = 0.5 * appearance.ipd_mm;
        HeadShape {
            ipd: appearance.ipd_mm,
            width_scale: appearance.face_width,
            upper_scale: appearance.upper_face,
            lower_scale: appearance.lower_face,
            features: appearance.clone(),
            eye_centres: [vec3(-half, 0.0, 0.0), vec3(half, 0.0, 0.0)],
        }
    }

    /// Height on the reference face.
    pub fn reference_y(&self, y: f32) -> f32 {
        if y < 0.0 {
            y / self.upper_scale
        } else {
            y / self.lower_scale
        }
    }

    pub fn face_y(&self, y: f32) -> f32 {
        if y < 0.0 {
            y * self.upper_scale
        } else {
            y * self.lower_scale
        }
    }

    pub fn reference_x(&self, x: f32) -> f32 {
        x / self.width_scale
    }

    fn ring(&self, y: f32) -> Ring {
        let dome = if y < DOME_START {
            let up = ((DOME_START - y) / DOME_HEIGHT).min(1.0);
            (1.0 - up * up).max(0.0).sqrt()
        } else {
            1.0
        };
        let middle = MIDDLE.at(y);
        let jaw = mix(1.0, self.features.jaw_width, smoothstep(35.0, 90.0, y));
        Ring {
            half_width: (WIDTH.at(y) * jaw * dome).max(0.5),
            middle,
            front: middle - (middle - FRONT.at(y) + self.chin(y)) * dome,
            back: middle + (BACK.at(y) - middle) * dome,
        }
    }

    fn chin(&self, y: f32) -> f32 {
        self.features.chin * bell((y - 104.0) * (y - 104.0) / 120.0)
    }

    /// What the features add to the depth of the face, at reference coordinates.
    fn relief(&self, x: f32, y: f32) -> f32 {
        let f = &self.features;
        let ax = x.abs();
        let spot = |cx: f32, cy: f32, sx: f32, sy: f32| {
            let dx = (ax - cx) / sx;
            let dy = (y - cy) / sy;
            bell(0.5 * (dx * dx + dy * dy))
        };
        let mut out = 0.0;
        // Nose: a ridge that widens downwards, a ball, two wings.
        let nose_y = 6.0 + (y - 6.0) / f.nose_length;
        if (-12.0..64.0).contains(&nose_y) {
            let ridge = NOSE.at(nose_y) * f.nose_height
                + f.nose_hook * bell((nose_y - 18.0) * (nose_y - 18.0) / 90.0);
            let widening = smoothstep(5.0, 42.0, nose_y);
            let half = mix(6.0, 9.0 * f.nose_width, widening);
            let cross = bell(0.5 * (x / half) * (x / half) * 1.1);
            out += ridge * cross;
            let wing = |cx: f32, cy: f32, s: f32| {
                let dx = (ax - cx * f.nose_width) / (s * f.nose_width);
                let dy = (nose_y - cy) / s;
                bell(0.5 * (dx * dx + dy * dy))
            };
            out += 8.0 * wing(12.5, 45.0, 4.6);
            out += 2.5 * wing(0.0, 43.0, 5.5);
            // The side of the nose runs down onto the cheek.
            out += 4.5 * spot(11.0, 22.0, 7.0, 14.0);
        }
        // Brow ridge over each eye, and the socket under it.
        out += (2.0 + f.brow_ridge) * spot(26.0, -19.0, 15.0, 6.5);
        out -= (2.6 + f.eye_depth) * spot(33.0, -4.0, 15.0, 8.0);
        out += 3.0 * spot(34.0, 13.5, 14.0, 7.0);
        out -= 2.5 * spot(17.0, 2.0, 6.0, 9.0);
        // Cheekbones and the hollow below.
        out += (5.0 + f.cheek) * spot(44.0, 27.0, 17.0, 13.0);
        out -= (1.5 + 2.0 * f.age) * spot(43.0, 62.0, 15.0, 16.0);
        out += 2.0 * f.smile.max(0.0) * spot(36.0, 42.0, 13.0, 11.0);
        // Lips, the groove between them, the hollow above the chin.
        if (52.0..96.0).contains(&y) {
            let lips = f.lip_fullness;
            let m = f.mouth_half_width;
            let arch = 1.2 * f.smile * (ax / m) * (ax / m);
            let lip_y = y + arch;
            let band = |cy: f32, s: f32| bell(0.5 * ((lip_y - cy) / s) * ((lip_y - cy) / s));
            let across = bell(0.5 * (ax / (0.62 * m)) * (ax / (0.62 * m)));
            out += across
                * (3.6 * lips * band(MOUTH_Y - 4.5, 3.4) + 3.4 * lips * band(MOUTH_Y + 5.5, 3.8));
            out -= across * 3.0 * band(MOUTH_Y, 1.6);
        }
        // Forehead bumps.
        out += 1.5 * spot(24.0, -50.0, 18.0, 14.0);
        out
    }

    /// Depth of the face's front at a head-local (x, y), lids closed over the eyes.
    pub fn front_z(&self, x: f32, y: f32) -> f32 {
        let ref_y = self.reference_y(y);
        let ring = self.ring(ref_y);
        let across = (self.reference_x(x) / ring.half_width).clamp(-0.999, 0.999);
        let inward = (1.0 - across * across).sqrt();
        self.bend(x, y, ref_y, &ring, inward)
    }

    fn bend(&self, x: f32, y: f32, ref_y: f32, ring: &Ring, inward: f32) -> f32 {
        let bare = ring.middle - (ring.middle - ring.front) * inward;
        let fade = smoothstep(0.0, 0.45, inward);
        let face = bare - fade * self.relief(self.reference_x(x), ref_y);
        // The lids: the nearer of the face and the sphere around the eye, with a soft seam.
        let side = if x < 0.0 { 0 } else { 1 };
        let centre = self.eye_centres[side];
        let dx = x - centre.x;
        let dy = y - centre.y;
        let distance2 = dx * dx + dy * dy;
        if distance2 > 26.0 * 26.0 {
            return face;
        }
        // Lids are flatter than the ball towards the cheek, and a little towards the brow.
        let flat = dy * if dy > 0.0 { 0.66 } else { 0.85 };
        soft_min(face, sphere_z(dx * dx + flat * flat), 5.0)
    }

    pub fn front_point(&self, x: f32, y: f32) -> Vec3 {
        vec3(x, y, self.front_z(x, y))
    }

    /// How much hair stands on the skull: 0 none, 1 full. (x, y, z) head-local; `soft`: half the
    /// width of the hair's edge, mm.
    pub fn hair_cover(&self, p: Vec3, soft: f32) -> f32 {
        let f = &self.features;
        let y = self.reference_y(p.y);
        let x = self.reference_x(p.x);
        // Turn around the head's axis: 0 in front, 1 at the ears, 2 behind.
        let turn = libm::atan2f(x.abs(), 85.0 - p.z) / (PI / 2.0);
        let line = match f.hair_style {
            HairStyle::Bald => {
                // A wreath from ear to ear around the back, or nothing.
                return smoothstep(0.95, 1.2, turn)
                    * smoothstep(-50.0, -25.0, y)
                    * (1.0 - smoothstep(45.0, 60.0, y));
            }
            HairStyle::Bangs => -0.5 * f.hairline,
            HairStyle::Short | HairStyle::Long => -f.hairline,
        };
        // The hairline drops from the forehead to the temples and to the nape.
        let temple = smoothstep(0.42, 0.72, turn);
        let side = smoothstep(0.70, 0.86, turn);
        let nape = smoothstep(1.0, 1.25, turn);
        let edge = mix(mix(mix(line, -40.0, temple), 2.0, side), 70.0, nape);
        1.0 - smoothstep(edge - soft, edge + soft, y)
    }

    /// The head as a mesh: fine around the eyes, coarse behind.
    pub fn mesh(&self) -> Mesh {
        let turns = turns();
        let heights = heights();
        let columns = turns.len();
        let sines: Vec<(f32, f32)> = turns.iter().map(|&t| libm::sincosf(t)).collect();
        let mut points = Vec::with_capacity(columns * heights.len());
        for &ref_y in &heights {
            let ring = self.ring(ref_y);
            let y = self.face_y(ref_y);
            for &(sine, cosine) in &sines {
                let x = ring.half_width * sine * self.width_scale;
                let z = if cosine >= 0.0 {
                    self.bend(x, y, ref_y, &ring, cosine)
                } else {
                    ring.middle - (ring.back - ring.middle) * cosine
                };
                let mut p = vec3(x, y, z);
                // The hair rises gently from its edge, inside the line where it is seen to start.
                let hair = self.hair_cover(p + vec3(0.0, 8.0, 0.0), 14.0);
                if hair > 0.0 {
                    let from = vec3(0.0, (-35.0f32).min(y), 80.0);
                    let outwards = p - from;
                    let lumps = noise().at(4.0 * sine + 9.0, 0.03 * ref_y + 2.5 * cosine);
                    let thickness = hair * self.features.hair_thickness * (1.0 + 0.3 * lumps);
                    p = p + outwards.unit() * thickness;
                }
                points.push((p, self.openness(x, ref_y, cosine)));
            }
        }
        Mesh::grid(points, heights.len(), columns, true)
    }

    /// Hollows see less light: sockets, the sides of the nose, under nose, lip and chin.
    fn openness(&self, x: f32, y: f32, cosine: f32) -> f32 {
        if cosine < 0.0 {
            return 0.8;
        }
        let ax = self.reference_x(x).abs();
        let f = &self.features;
        let spot = |cx: f32, cy: f32, sx: f32, sy: f32| {
            let dx = (ax - cx) / sx;
            let dy = (y - cy) / sy;
            bell(0.5 * (dx * dx + dy * dy))
        };
        let mut dark = 0.0;
        dark += (0.16 + 0.03 * f.eye_depth) * spot(22.0, -6.0, 8.0, 7.0);
        dark += 0.12 * spot(33.0, -14.0, 18.0, 8.0);
        dark += (0.20 + 0.02 * f.brow_ridge) * spot(34.0, -9.0, 14.0, 6.0);
        dark += 0.22 * spot(16.0, 8.0, 5.0, 9.0);
        dark += 0.28 * spot(19.0, 46.0, 4.0, 7.0);
        dark += 0.28 * spot(6.0, 54.0, 8.0, 3.2);
        dark += 0.22 * spot(0.0, 82.0, 17.0, 4.0);
        dark += 0.55 * smoothstep(108.0, 124.0, y);
        dark += 0.25 * smoothstep(55.0, 70.0, ax) * smoothstep(40.0, 90.0, y);
        (1.0 - dark).max(0.25)
    }

    /// An ear: a flat ellipsoid at the side. `side` −1 at image left, +1 at image right.
    pub fn ear(&self, side: f32) -> Mesh {
        let y = self.face_y(12.0);
        let x = side * (75.0 * self.width_scale);
        let mut ear = Mesh::ellipsoid(vec3(0.0, 0.0, 0.0), vec3(4.0, 29.0, 15.0), 13, 20);
        let (sine, cosine) = libm::sincosf(side * 0.45);
        for vertex in &mut ear.vertices {
            let turn = |v: Vec3| vec3(v.x * cosine + v.z * sine, v.y, v.z * cosine - v.x * sine);
            let narrowing = mix(1.0, 0.62, smoothstep(0.0, 31.0, vertex.position.y));
            let p = vec3(
                vertex.position.x,
                vertex.position.y,
                vertex.position.z * narrowing,
            );
            vertex.position = turn(p) + vec3(x + side * 1.5, y, 94.0);
            vertex.normal = turn(vertex.normal);
            vertex.openness = 0.75;
        }
        ear
    }

    /// Long hair beside and behind the face, down to the shoulders.
    pub fn long_hair(&self) -> Option<Mesh> {
        if self.features.hair_style != HairStyle::Long {
            return None;
        }
        let f = &self.features;
        let length = 120.0 + 70.0 * (f.hair_thickness / 24.0);
        let (rows, columns) = (26, 48);
        let mut points = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            let t = row as f32 / (rows - 1) as f32;
            let y = mix(-58.0, length, t);
            let ring = self.ring(y.min(60.0));
            // The parting opens over the forehead and closes a little below the jaw.
            let first = mix(0.30, 0.40, smoothstep(0.05, 0.4, t)) * PI
                - 0.06 * PI * smoothstep(0.6, 1.0, t)
                + 0.06 * (f.hairline - 66.0) * 0.02;
            for column in 0..columns {
                let s = column as f32 / (columns - 1) as f32;
                let turn = first + s * (2.0 * PI - 2.0 * first);
                let (sine, cosine) = libm::sincosf(turn);
                let wave = 2.0 * libm::sinf(9.0 * turn + 3.0 * t);
                let out = 4.0 + 0.7 * f.hair_thickness * smoothstep(0.0, 0.35, t) + wave;
                let x = (ring.half_width * self.width_scale + out) * sine;
                let depth = if cosine > 0.0 {
                    ring.middle - ring.front
                } else {
                    ring.back - ring.middle
                };
                let z = ring.middle - (depth + out) * cosine;
                points.push((vec3(x, self.face_y(y), z), 0.8));
            }
        }
        Some(Mesh::grid(points, rows, columns, false))
    }

    /// Neck and shoulders, in axes of their own: origin at the joint of neck and skull.
    pub fn body(&self) -> Mesh {
        let f = &self.features;
        // (height, half width, half depth, depth of the middle)
        const NECK: [(f32, f32, f32, f32); 11] = [
            (-70.0, 50.0, 48.0, 10.0),
            (-30.0, 51.0, 50.0, 8.0),
            (0.0, 53.0, 52.0, 8.0),
            (35.0, 60.0, 56.0, 10.0),
            (52.0, 88.0, 62.0, 12.0),
            (64.0, 140.0, 70.0, 16.0),
            (80.0, 178.0, 80.0, 18.0),
            (110.0, 202.0, 92.0, 18.0),
            (200.0, 215.0, 108.0, 12.0),
            (420.0, 212.0, 115.0, 0.0),
            (800.0, 205.0, 115.0, 0.0),
        ];
        let columns = 48;
        let mut points = Vec::new();
        let mut rows = 0;
        for pair in NECK.windows(2) {
            let steps = if rows == 0 { 0 } else { 1 };
            for step in steps..=4 {
                let t = step as f32 / 4.0;
                let of = |a: f32, b: f32| mix(a, b, t);
                let y = of(pair[0].0, pair[1].0);
                let shoulder = mix(1.0, f.shoulder, smoothstep(35.0, 90.0, y));
                let half_width = of(pair[0].1, pair[1].1) * shoulder;
                for column in 0..columns {
                    let turn = 2.0 * PI * column as f32 / columns as f32;
                    let (sine, cosine) = libm::sincosf(turn);
                    points.push((
                        vec3(
                            half_width * sine,
                            y,
                            of(pair[0].3, pair[1].3) - of(pair[0].2, pair[1].2) * cosine,
                        ),
                        // Under the chin and the jaw it is dark.
                        mix(0.4, 1.0, smoothstep(-25.0, 60.0, y)),
                    ));
                }
                rows += 1;
            }
        }
        Mesh::grid(points, rows, columns, true)
    }

    /// The landmarks 42 to 48 and the outline of the face.
    pub fn marks(&self) -> FaceMarks {
        let at = |x: f32, y: f32| self.front_point(x * self.width_scale, self.face_y(y));
        let f = &self.features;
        let nose = 6.0 + (42.0 - 6.0) * f.nose_length;
        let mouth_y = MOUTH_Y + 0.5 * f.mouth_open - 1.2 * f.smile;
        // The side points lie before the ears, where front_z is steep: x there is given.
        let side = |sign: f32| {
            let ring = self.ring(17.0);
            let x = 0.985 * ring.half_width * sign;
            at(x, 17.0)
        };
        let mut outline = vec![at(0.0, -53.0), at(0.0, 116.0), side(-1.0), side(1.0)];
        for (y, share) in [
            (-42.0, 0.55),
            (-20.0, 0.92),
            (50.0, 0.96),
            (80.0, 0.9),
            (104.0, 0.8),
        ] {
            let x = share * self.ring(y).half_width;
            outline.push(at(-x, y));
            outline.push(at(x, y));
        }
        FaceMarks {
            face: [
                at(0.0, nose),
                at(-f.mouth_half_width, mouth_y),
                at(f.mouth_half_width, mouth_y),
                at(0.0, -53.0),
                at(0.0, 116.0),
                side(-1.0),
                side(1.0),
            ],
            outline,
        }
    }

    /// The joint of neck and skull.
    pub fn neck_joint(&self) -> Vec3 {
        vec3(0.0, self.face_y(100.0), 78.0)
    }
}

/// Depth of the lids' sphere at a squared distance from the eye's axis; beyond the sphere's edge
/// it falls away steeply.
fn sphere_z(distance2: f32) -> f32 {
    const EDGE2: f32 = 0.86 * LID_RADIUS * LID_RADIUS;
    if distance2 < EDGE2 {
        -(LID_RADIUS * LID_RADIUS - distance2).sqrt()
    } else {
        let edge_z = -(LID_RADIUS * LID_RADIUS - EDGE2).sqrt();
        // The tangent at the edge, in squared distance.
        edge_z + (distance2 - EDGE2) / (-2.0 * edge_z)
    }
}

/// The smaller of two depths, rounded within ±`seam`.
fn soft_min(a: f32, b: f32, seam: f32) -> f32 {
    let h = ((seam - (a - b).abs()).max(0.0)) / seam;
    a.min(b) - h * h * seam * 0.25
}

/// Columns of the head's mesh: one degree apart where the eyes and nose are.
fn turns() -> Vec<f32> {
    let mut out = Vec::new();
    let mut degrees = -180.0f32;
    while degrees < 179.9 {
        out.push(degrees.to_radians());
        let a = (degrees + 0.01).abs();
        degrees += if a <= 48.0 {
            1.0
        } else if a < 60.0 {
            2.0
        } else if a < 100.0 {
            2.5
        } else {
            10.0
        };
    }
    out
}

/// Rows of the head's mesh on the reference face.
fn heights() -> Vec<f32> {
    let mut out = Vec::new();
    // The dome: even steps of its angle.
    for step in 0..12 {
        let angle = PI / 2.0 * (1.0 - step as f32 / 12.0);
        out.push(DOME_START - DOME_HEIGHT * 0.9995 * libm::sinf(angle));
    }
    let mut y = DOME_START;
    while y < 124.0 {
        out.push(y);
        y += if (-18.0..15.0).contains(&y) {
            1.1
        } else if (-30.0..92.0).contains(&y) {
            2.0
        } else if y < -30.0 {
            3.0
        } else {
            2.5
        };
    }
    out.push(124.0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lids_lie_on_their_sphere_in_front_of_the_eye() {
        for seed in 0..20 {
            let shape = HeadShape::new(&Appearance::from_seed(seed));
            for centre in shape.eye_centres {
                let z = shape.front_z(centre.x, 0.0);
                assert!(
                    z < -LID_RADIUS + 0.01 && z > -LID_RADIUS - 3.0,
                    "seed {seed}: {z}"
                );
            }
        }
    }

    #[test]
    fn the_nose_is_the_foremost_part_of_the_face() {
        let shape = HeadShape::new(&Appearance::from_seed(2));
        let tip = shape.front_z(0.0, shape.face_y(42.0));
        for (x, y) in [
            (0.0, 0.0),
            (30.0, 0.0),
            (30.0, 40.0),
            (0.0, 100.0),
            (0.0, -40.0),
        ] {
            assert!(tip < shape.front_z(x, y) - 5.0);
        }
    }
}
