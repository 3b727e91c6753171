//! The eyeball: where a ray meets sclera, cornea, iris and pupil, and how bright that is.
//!
//! Everything is in head-local axes with the eye's rotation centre as the origin.

use crate::appearance::Appearance;
use crate::geometry::{Vec3, mix, smoothstep, vec3};
use crate::lids::{LidPlace, Lids};
use crate::light::{Lighting, LocalLighting};
use crate::random::noise;

/// Radius of the eyeball, mm (Bekerman et al. 2014: 24.2 mm diameter).
const EYEBALL_RADIUS: f32 = 12.0;
/// Radius of the cornea's front, mm (Guestrin & Eizenman 2006).
const CORNEA_RADIUS: f32 = 7.8;
/// From the cornea's apex to the iris, mm: the depth of the anterior chamber.
const CHAMBER_DEPTH: f32 = 3.2;
/// Air to aqueous humour.
const REFRACTION: f32 = 1.0 / 1.3375;

/// One eye of one person at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Eye {
    /// −1 at image left (the observer's right eye), +1 at image right.
    pub side: f32,
    /// Rotation centre, head-local.
    pub centre: Vec3,
    /// Axis of the optics, from the centre out through the cornea, unit, head-local.
    pub axis: Vec3,
    across: Vec3,
    down: Vec3,
    pub lids: Lids,
    iris_radius: f32,
    pupil_radius: f32,
    /// From the centre to the plane of the limbus and to the cornea's centre of curvature.
    pub limbus_distance: f32,
    cornea_distance: f32,
    iris_distance: f32,
}

/// What shading an eye needs besides the eye.
pub(crate) struct EyeLight<'a> {
    pub appearance: &'a Appearance,
    pub lighting: &'a Lighting,
    pub local: &'a LocalLighting,
    /// Head-local to camera axes, for what mirrors.
    pub pose: &'a crate::geometry::Pose,
    /// Size of a sample on the face, mm.
    pub footprint: f32,
    /// Light on the skin around the eye, for the caruncle.
    pub skin_light: f32,
    /// Share of the first lamp that reaches the eye.
    pub lit: f32,
}

impl Eye {
    /// `sight`: unit vector from the rotation centre to what is looked at, head-local.
    /// `opening`: 1 as the person holds the eyes, 0 shut.
    pub fn new(
        appearance: &Appearance,
        side: f32,
        centre: Vec3,
        sight: Vec3,
        opening: f32,
    ) -> Self {
        let index = if side < 0.0 { 0 } else { 1 };
        let eye = &appearance.eyes[index];
        let elevation = libm::atan2f(-sight.y, libm::hypotf(sight.x, sight.z));
        let lids = Lids::new(eye, elevation, opening);
        // The optics point temporal of the line of sight, and below it.
        let yaw = libm::atan2f(sight.x, -sight.z) + side * eye.kappa_nasal_rad;
        let pitch = elevation - eye.kappa_up_rad;
        let angles = gaze_protocol::GazeAngles {
            yaw_rad: yaw,
            pitch_rad: pitch,
        };
        let axis: Vec3 = angles.to_vector().into();
        let across = vec3(0.0, 1.0, 0.0).cross(-axis).unit();
        let iris_radius = appearance.iris_radius;
        let limbus_distance = (EYEBALL_RADIUS * EYEBALL_RADIUS - iris_radius * iris_radius).sqrt();
        let cornea_distance =
            limbus_distance - (CORNEA_RADIUS * CORNEA_RADIUS - iris_radius * iris_radius).sqrt();
        Eye {
            side,
            centre,
            axis,
            across,
            down: (-axis).cross(across),
            lids,
            iris_radius,
            pupil_radius: appearance.pupil_radius,
            limbus_distance,
            cornea_distance,
            iris_distance: cornea_distance + CORNEA_RADIUS - CHAMBER_DEPTH,
        }
    }

    /// (temporal, up) of a head-local point.
    #[inline]
    pub fn socket(&self, p: Vec3) -> [f32; 2] {
        [self.side * (p.x - self.centre.x), self.centre.y - p.y]
    }

    /// Head-local (x, y) of a (temporal, up).
    pub fn face_xy(&self, [temporal, up]: [f32; 2]) -> [f32; 2] {
        [self.centre.x + self.side * temporal, self.centre.y - up]
    }

    /// Middle of the limbus and its four points at the picture's right, top, left and bottom of
    /// an upright head; head-local.
    pub fn iris_points(&self) -> [Vec3; 5] {
        let middle = self.centre + self.axis * self.limbus_distance;
        let r = self.iris_radius;
        [
            middle,
            middle + self.across * r,
            middle - self.down * r,
            middle - self.across * r,
            middle + self.down * r,
        ]
    }

    /// Middle of the pupil as the cornea shows it (the entrance pupil); head-local.
    pub fn pupil_middle(&self) -> Vec3 {
        // Gullstrand's equation for the cornea's front, seen along the axis: the pupil appears
        // half a millimetre nearer than it is.
        let index = 1.0 / REFRACTION;
        let depth = 1.0 / (index / CHAMBER_DEPTH - (index - 1.0) / CORNEA_RADIUS);
        let apex = self.cornea_distance + CORNEA_RADIUS;
        self.centre + self.axis * (apex - depth)
    }

    /// The brightness that a ray through the lids' opening sees. `origin` (the camera) and
    /// `towards` (unit) are head-local; `place` is where the ray passes the lids.
    pub fn shade(&self, origin: Vec3, towards: Vec3, place: LidPlace, light: &EyeLight) -> f32 {
        let from = origin - self.centre;
        let caruncle = self.caruncle(place, light);
        let width = self.lids.width();
        let from_inner = place.share * width;
        // The caruncle fills the inner corner.
        let fleshy = 1.0 - smoothstep(1.2, 3.8, from_inner);
        let Some(globe) = self.globe(from, towards, light) else {
            return caruncle;
        };
        let ball = globe.min(4.0e3);
        if fleshy > 0.0 {
            mix(ball, caruncle, fleshy)
        } else {
            ball
        }
    }

    fn caruncle(&self, place: LidPlace, light: &EyeLight) -> f32 {
        let a = light.appearance;
        let tone = mix(a.skin_tone, 0.38, 0.6);
        let wet = noise().at(place.share * 90.0 + 11.0, place.above_lower * 2.1);
        tone * light.skin_light
            * (0.95 + 0.12 * wet)
            * mix(0.75, 1.0, (place.share * 9.0).clamp(0.0, 1.0))
    }

    fn globe(&self, from: Vec3, towards: Vec3, light: &EyeLight) -> Option<f32> {
        let cornea_centre = self.axis * self.cornea_distance;
        let on_cornea = sphere_hit(from - cornea_centre, towards, CORNEA_RADIUS)
            .map(|t| from + towards * t)
            .filter(|hit| hit.dot(self.axis) > self.limbus_distance);
        let hit = match on_cornea {
            Some(hit) => hit,
            None => from + towards * sphere_hit(from, towards, EYEBALL_RADIUS)?,
        };
        if hit.z > 1.5 {
            return None;
        }
        let [temporal, up] = [self.side * hit.x, -hit.y];
        let place = self.lids.place(temporal, up);
        let shade = self.lid_shade(place);
        let along = hit.dot(self.axis);
        let off_axis = hit - self.axis * along;
        let ring = off_axis.length();
        // The limbus is a soft edge, some tenths of a millimetre wide.
        let soft = (0.30 + 0.5 * light.footprint).min(0.9);
        let white = if along > 0.0 {
            smoothstep(self.iris_radius - soft, self.iris_radius + soft * 0.8, ring)
        } else {
            1.0
        };
        let mut out = 0.0;
        if white > 0.0 {
            out += white * self.sclera(hit, shade, light);
        }
        if white < 1.0 {
            let normal = (hit - cornea_centre) * (1.0 / CORNEA_RADIUS);
            out += (1.0 - white) * self.iris(hit, towards, normal, shade, light);
        }
        let normal = match on_cornea {
            Some(hit) => (hit - cornea_centre) * (1.0 / CORNEA_RADIUS),
            None => hit * (1.0 / EYEBALL_RADIUS),
        };
        out += self.mirror(hit, towards, normal, place, light);
        Some(out)
    }

    /// Light that the lids and lashes leave: less under the upper lid and in the corners.
    fn lid_shade(&self, place: LidPlace) -> f32 {
        let under = |distance: f32, reach: f32| {
            let t = (1.0 - distance.max(0.0) / reach).max(0.0);
            t * t
        };
        let upper = 1.0 - 0.62 * under(place.below_upper, 4.2);
        let lower = 1.0 - 0.22 * under(place.above_lower, 2.0);
        let width = self.lids.width();
        let inner = 1.0 - 0.25 * under(place.share * width, 6.0);
        let outer = 1.0 - 0.40 * under((1.0 - place.share) * width, 8.0);
        // Skin all around keeps a good part of the room's light off.
        0.78 * upper * lower * inner * outer
    }

    fn sclera(&self, hit: Vec3, shade: f32, light: &EyeLight) -> f32 {
        let a = light.appearance;
        let normal = hit * (1.0 / EYEBALL_RADIUS);
        let offset = (a.texture_seed & 63) as f32;
        let mut tone = a.sclera_tone;
        if a.veins > 0.0 && light.footprint < 0.8 {
            let bend = noise().fractal(hit.x * 0.5 + offset, hit.y * 0.5 + 40.0);
            let line = noise().at(hit.y * 1.4 + 2.5 * bend + offset, hit.x * 0.22 + 9.0);
            let vein = (1.0 - line.abs() * 5.0).max(0.0);
            tone *= 1.0 - a.veins * vein;
        }
        tone *= 1.0 + 0.05 * noise().at(hit.x * 0.3 + offset, hit.y * 0.3);
        // Light passes through the white of the eye: a soft edge of shade.
        tone * light.local.wrapped(normal, shade, light.lit * shade, 0.35)
    }

    fn iris(&self, hit: Vec3, towards: Vec3, normal: Vec3, shade: f32, light: &EyeLight) -> f32 {
        let a = light.appearance;
        let cosine = -towards.dot(normal);
        let k = 1.0 - REFRACTION * REFRACTION * (1.0 - cosine * cosine);
        let inside = towards * REFRACTION + normal * (REFRACTION * cosine - k.max(0.0).sqrt());
        let sink = inside.dot(self.axis);
        let t = if sink < -1e-3 {
            (self.iris_distance - hit.dot(self.axis)) / sink
        } else {
            0.0
        };
        let on_plane = hit + inside * t.max(0.0);
        let flat = on_plane - self.axis * on_plane.dot(self.axis);
        let radius = flat.length();
        let soft = (0.08 + 0.5 * light.footprint).min(0.6);
        let open = 1.0 - smoothstep(self.pupil_radius - soft, self.pupil_radius + soft, radius);
        let r = radius / self.iris_radius;
        let (cosine, sine) = if radius > 1e-3 {
            (flat.dot(self.across) / radius, flat.dot(self.down) / radius)
        } else {
            (1.0, 0.0)
        };
        let offset = (a.texture_seed >> 8 & 63) as f32;
        let fibres = noise().at(9.0 * cosine + offset, 9.0 * sine + 1.3 * r)
            + 0.7 * noise().at(21.0 * cosine + offset, 21.0 * sine + 2.0 * r);
        let collar = crate::geometry::bell((r - 0.48) * (r - 0.48) * 60.0);
        let mut tone = a.iris_tone * (1.0 + a.iris_contrast * (0.55 * fibres + 0.5 * collar));
        tone *= 1.0 - a.limbus_dark * smoothstep(0.72, 1.0, r);
        tone *= mix(
            0.75,
            1.0,
            smoothstep(self.pupil_radius, self.pupil_radius + 1.0, radius),
        );
        // Light is gathered on the side away from the lamp.
        let lamp = light.local.first_direction();
        let gathered = 1.0 - 0.45 * r * lamp.dot(self.across * cosine + self.down * sine);
        let irradiance = light
            .local
            .wrapped(self.axis, shade, light.lit * shade, 0.3)
            * gathered;
        const PUPIL_TONE: f32 = 0.004;
        mix(tone * irradiance, PUPIL_TONE * irradiance, open)
    }

    /// What mirrors in the tear film.
    fn mirror(
        &self,
        hit: Vec3,
        towards: Vec3,
        normal: Vec3,
        place: LidPlace,
        light: &EyeLight,
    ) -> f32 {
        let cosine = (-towards.dot(normal)).clamp(0.0, 1.0);
        let grazing = 1.0 - cosine;
        let g2 = grazing * grazing;
        let fresnel = 0.021 + 0.98 * g2 * g2 * grazing;
        let reflected = towards + normal * (2.0 * cosine);
        let to_camera = light.pose.rotation.apply(reflected);
        let from = light.pose.to_camera(hit + self.centre);
        let radius = if hit.dot(self.axis) > self.limbus_distance {
            CORNEA_RADIUS
        } else {
            EYEBALL_RADIUS
        };
        let blur = 2.2 * light.footprint / radius;
        // Lids and lashes hide what is far above and below.
        let hidden =
            smoothstep(0.0, 1.6, place.below_upper) * smoothstep(-0.2, 0.8, place.above_lower);
        fresnel.min(0.35) * hidden * light.lighting.mirrored(from, to_camera, blur)
    }
}

/// Distance along a unit ray to a sphere around the origin.
fn sphere_hit(from: Vec3, towards: Vec3, radius: f32) -> Option<f32> {
    let b = from.dot(towards);
    // From the point of nearest approach, which keeps its digits far from the sphere.
    let nearest = from - towards * b;
    let h2 = radius * radius - nearest.dot(nearest);
    (h2 >= 0.0).then(|| -b - h2.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cornea_stands_13_millimetres_in_front_of_the_rotation_centre() {
        let appearance = Appearance::from_seed(1);
        let eye = Eye::new(&appearance, 1.0, Vec3::default(), vec3(0.0, 0.0, -1.0), 1.0);
        let apex = eye.cornea_distance + CORNEA_RADIUS;
        assert!((12.9..13.5).contains(&apex), "{apex}");
    }

    #[test]
    fn kappa_turns_the_optics_towards_the_temples() {
        let appearance = Appearance::from_seed(3);
        for side in [-1.0, 1.0] {
            let eye = Eye::new(
                &appearance,
                side,
                Vec3::default(),
                vec3(0.0, 0.0, -1.0),
                1.0,
            );
            assert!(eye.axis.x * side > 0.0);
        }
    }
}
