//! Spectacles: two lenses with rims in a plane before the eyes, and temples to the ears.

use crate::appearance::GlassesAppearance;
use crate::geometry::{Vec3, smoothstep, vec3};
use crate::light::Lighting;

/// The part of the spectacles that a ray meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GlassesHit {
    /// Share of the ray that frame covers.
    pub frame: f32,
    /// Share that a lens covers.
    pub lens: f32,
    /// Where, head-local.
    pub point: Vec3,
    /// Outward normal of the lens there.
    pub normal: Vec3,
}

pub(crate) struct Glasses {
    pub appearance: GlassesAppearance,
    half_ipd: f32,
    origin: Vec3,
    normal: Vec3,
    down: Vec3,
}

impl Glasses {
    pub fn new(appearance: GlassesAppearance, ipd: f32) -> Self {
        let (sine, cosine) = libm::sincosf(appearance.lean_rad);
        Glasses {
            appearance,
            half_ipd: 0.5 * ipd,
            origin: vec3(0.0, appearance.down, -appearance.forward),
            // The upper rim leans forward: the front looks a little down.
            normal: vec3(0.0, sine, -cosine),
            down: vec3(0.0, cosine, sine),
        }
    }

    /// Where the temples start and the ears' side they run to; head-local.
    pub fn temple(&self, side: f32) -> (Vec3, Vec3) {
        let a = &self.appearance;
        let x = side * (self.half_ipd + a.half_width + 1.5);
        (
            self.origin + vec3(x, 0.0, 0.0) - self.down * (0.55 * a.half_height),
            vec3(side * 77.0, -4.0, 88.0),
        )
    }

    /// The frame's and lens's cover of a point in the plane, mm right of and below its origin.
    fn cover(&self, x: f32, y: f32, soft: f32) -> (f32, f32) {
        let a = &self.appearance;
        let dx = (x.abs() - self.half_ipd - 0.5) / a.half_width;
        let dy = (y - 2.0) / a.half_height;
        // A superellipse; its radius in mm, near enough, is value × half height.
        let n = a.squareness;
        let value = if n > 2.5 {
            let (dx2, dy2) = (dx * dx, dy * dy);
            // Between the ellipse and the rounded rectangle of order four.
            let round = (dx2 + dy2).sqrt();
            let square = (dx2 * dx2 + dy2 * dy2).sqrt().sqrt();
            round + (square - round) * ((n - 2.0) / 3.0).min(1.0)
        } else {
            (dx * dx + dy * dy).sqrt()
        };
        let out_mm = (value - 1.0) * 0.5 * (a.half_height + a.half_width);
        let within = |from: f32, to: f32| {
            (0.5 + (out_mm - from) / soft).clamp(0.0, 1.0)
                * (0.5 + (to - out_mm) / soft).clamp(0.0, 1.0)
        };
        let mut frame = within(0.0, a.rim);
        if !a.has_lower_rim && dy > 0.1 {
            frame *= 0.15;
        }
        let lens = (0.5 - out_mm / soft).clamp(0.0, 1.0);
        // The bridge.
        let inner_edge = self.half_ipd + 0.5 - a.half_width;
        if x.abs() < inner_edge + 1.0 && out_mm > 0.0 {
            let arch = y + 0.30 * a.half_height - 2.0 + 0.02 * x * x;
            let bar = ((a.rim * 0.9 - arch.abs()) / soft + 0.5).clamp(0.0, 1.0);
            frame = frame.max(bar);
        }
        (frame, lens)
    }

    /// Where a ray meets the front. `soft`: size of a sample, mm.
    pub fn hit(&self, origin: Vec3, towards: Vec3, soft: f32) -> Option<GlassesHit> {
        let facing = towards.dot(self.normal);
        if facing > -1e-3 {
            return None;
        }
        let t = (self.origin - origin).dot(self.normal) / facing;
        let point = origin + towards * t;
        let from_middle = point - self.origin;
        let x = from_middle.x;
        let y = from_middle.dot(self.down);
        let reach = self.half_ipd + self.appearance.half_width + 6.0;
        if x.abs() > reach || y.abs() > self.appearance.half_height + 9.0 {
            return None;
        }
        let (frame, lens) = self.cover(x, y, soft.max(0.15));
        if frame <= 0.0 && lens <= 0.0 {
            return None;
        }
        // Base curve: about 90 mm radius.
        let dx = (x.abs() - self.half_ipd) * x.signum();
        let normal = (self.normal + vec3(dx / 90.0, 0.0, 0.0) + self.down * (y / 90.0)).unit();
        Some(GlassesHit {
            frame,
            lens,
            point,
            normal,
        })
    }

    /// How much of a lamp's light reaches a point of the face past the frame, 0..1.
    pub fn lets_through(&self, p: Vec3, lamp: Vec3) -> f32 {
        let facing = lamp.dot(self.normal);
        if facing < 0.05 {
            return 1.0;
        }
        let t = (self.origin - p).dot(self.normal) / facing;
        if t < 0.0 {
            return 1.0;
        }
        let at = p + lamp * t - self.origin;
        // The shade blurs with the distance from the frame.
        let (frame, lens) = self.cover(at.x, at.dot(self.down), 1.0 + 0.12 * t);
        (1.0 - 0.8 * frame)
            * (1.0 - 0.7 * self.appearance.tint * lens * smoothstep(0.0, 1.0, 1.0 - frame))
    }

    /// What the lens mirrors at a hit; `towards` head-local, `pose` head to camera.
    pub fn mirrored(
        &self,
        hit: &GlassesHit,
        towards: Vec3,
        lighting: &Lighting,
        pose: &crate::geometry::Pose,
        footprint: f32,
    ) -> f32 {
        let cosine = (-towards.dot(hit.normal)).clamp(0.0, 1.0);
        let g = 1.0 - cosine;
        let g5 = g * g * g * g * g;
        let reflectance =
            (self.appearance.reflectance + (1.0 - self.appearance.reflectance) * g5).min(0.5);
        let reflected = towards + hit.normal * (2.0 * cosine);
        reflectance
            * lighting.mirrored(
                pose.to_camera(hit.point),
                pose.rotation.apply(reflected),
                2.0 * footprint / 90.0 + 0.01,
            )
    }
}
