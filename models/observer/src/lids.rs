//! The eyelids of one eye at one moment: two curves between the corners, on the lids' sphere.
//!
//! Coordinates of a socket: `temporal` to the temple and `up`, in the face's frontal plane, from
//! the eye's rotation centre; mm.

use core::f32::consts::PI;

use crate::appearance::EyeAppearance;
use crate::geometry::mix;
use crate::head::LID_RADIUS;

const STEPS: usize = 64;

/// Shares of the way from the inner (0) to the outer (1) corner at which the seven points of a
/// lid lie in the 49 landmarks; measured on MediaPipe's mean face.
const UPPER_SHARES: [f32; 7] = [0.944, 0.874, 0.759, 0.578, 0.389, 0.200, 0.067];
const LOWER_SHARES: [f32; 7] = [0.052, 0.159, 0.326, 0.504, 0.689, 0.819, 0.911];

#[derive(Clone, Debug)]
pub(crate) struct Lids {
    inner: [f32; 2],
    outer: [f32; 2],
    upper: [f32; STEPS + 1],
    lower: [f32; STEPS + 1],
    /// How far the upper margin is below its place when the eye looks ahead, middle, mm.
    pub drop: f32,
    /// Lid opening as a share of the relaxed opening straight ahead.
    pub opening: f32,
}

/// Where a point of the socket lies with regard to the lids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LidPlace {
    /// Share of the way from the inner to the outer corner; may leave 0..1.
    pub share: f32,
    /// Distances to the margins, mm; positive inside the opening.
    pub below_upper: f32,
    pub above_lower: f32,
}

impl Lids {
    /// `elevation_rad`: of the eye's line of sight in the head, up positive. `opening`: 1 as the
    /// person holds the eyes, 0 shut.
    pub fn new(eye: &EyeAppearance, elevation_rad: f32, opening: f32) -> Self {
        let iy = eye.inner_corner[1];
        let [ox, oy] = eye.outer_corner;
        let on_sphere = |height: f32, turn_rad: f32| {
            let angle = libm::asinf((height / LID_RADIUS).clamp(-0.95, 0.95)) + turn_rad;
            LID_RADIUS * libm::sinf(angle.clamp(-1.2, 0.95))
        };
        let upper_open = on_sphere(eye.upper_margin, eye.upper_follows * elevation_rad);
        // The lower lid sinks with the gaze and hardly rises with it.
        let lower_share = if elevation_rad < 0.0 { 1.0 } else { 0.35 };
        let lower_open = on_sphere(
            -eye.lower_margin,
            eye.lower_follows * lower_share * elevation_rad,
        );
        // In a blink the lower lid rises a little; the upper does the rest.
        let lower_mid = mix(lower_open + 0.9, lower_open, opening);
        let upper_mid = mix(lower_mid, upper_open.max(lower_mid), opening);
        let mut upper = [0.0; STEPS + 1];
        let mut lower = [0.0; STEPS + 1];
        for i in 0..=STEPS {
            let t = i as f32 / STEPS as f32;
            let line = mix(iy, oy, t);
            let arch = |skew: f32, power: f32| {
                let wave = libm::sinf(PI * libm::powf(t, skew)).max(0.0);
                libm::powf(wave, power)
            };
            let middle = mix(iy, oy, 0.48);
            let low = line + (lower_mid - middle) * arch(eye.lower_skew, 0.92);
            // The closed upper margin follows the lower lid.
            let bowed_up = line + (upper_open - middle) * arch(eye.upper_skew, 0.8);
            let high = mix(low, bowed_up.max(low), opening);
            lower[i] = low;
            upper[i] = high;
        }
        Lids {
            inner: eye.inner_corner,
            outer: [ox, oy],
            upper,
            lower,
            drop: eye.upper_margin - upper_mid,
            opening: ((upper_mid - lower_mid) / (eye.upper_margin + eye.lower_margin))
                .clamp(0.0, 1.2),
        }
    }

    fn share(&self, temporal: f32) -> f32 {
        (temporal - self.inner[0]) / (self.outer[0] - self.inner[0])
    }

    #[inline]
    pub fn place(&self, temporal: f32, up: f32) -> LidPlace {
        let share = self.share(temporal);
        let scaled = share.clamp(0.0, 1.0) * STEPS as f32;
        let i = (scaled as usize).min(STEPS - 1);
        let f = scaled - i as f32;
        let step_mm = (self.outer[0] - self.inner[0]) / STEPS as f32;
        let distance = |curve: &[f32; STEPS + 1]| {
            let rise = curve[i + 1] - curve[i];
            let slope = (rise / step_mm).clamp(-1.5, 1.5);
            (up - (curve[i] + f * rise)) / (1.0 + slope * slope).sqrt()
        };
        LidPlace {
            share,
            below_upper: -distance(&self.upper),
            above_lower: distance(&self.lower),
        }
    }

    /// (temporal, up) at a share of the way, on the upper or lower margin.
    pub fn margin(&self, is_upper: bool, share: f32) -> [f32; 2] {
        let scaled = share.clamp(0.0, 1.0) * STEPS as f32;
        let i = (scaled as usize).min(STEPS - 1);
        let f = scaled - i as f32;
        let curve = if is_upper { &self.upper } else { &self.lower };
        [
            mix(self.inner[0], self.outer[0], share),
            mix(curve[i], curve[i + 1], f),
        ]
    }

    /// The 16 contour points in the order of the landmarks: outer corner, upper lid inwards,
    /// inner corner, lower lid outwards.
    pub fn contour(&self) -> [[f32; 2]; 16] {
        let mut out = [self.outer; 16];
        for (i, &share) in UPPER_SHARES.iter().enumerate() {
            out[1 + i] = self.margin(true, share);
        }
        out[8] = self.inner;
        for (i, &share) in LOWER_SHARES.iter().enumerate() {
            out[9 + i] = self.margin(false, share);
        }
        out
    }

    /// Greatest lid opening, mm.
    pub fn aperture(&self) -> f32 {
        self.upper
            .iter()
            .zip(&self.lower)
            .map(|(high, low)| high - low)
            .fold(0.0, f32::max)
    }

    /// Distance between the corners, mm, in the frontal plane.
    pub fn width(&self) -> f32 {
        libm::hypotf(self.outer[0] - self.inner[0], self.outer[1] - self.inner[1])
    }

    /// Aperture / (0.35 × distance of the corners), at most 1.
    pub fn openness(&self) -> f32 {
        (self.aperture() / (0.35 * self.width())).clamp(0.0, 1.0)
    }

    pub fn outer_corner(&self) -> [f32; 2] {
        self.outer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appearance::Appearance;

    #[test]
    fn upper_lids_follow_the_gaze_and_lower_lids_less_so() {
        let eye = Appearance::from_seed(1).eyes[0];
        let [up, down] = [0.3, -0.3].map(|pitch| Lids::new(&eye, pitch, 1.0));
        let upper = up.margin(true, 0.5)[1] - down.margin(true, 0.5)[1];
        let lower = up.margin(false, 0.5)[1] - down.margin(false, 0.5)[1];
        assert!(
            upper > 3.0 && lower > 0.5 && upper > 1.5 * lower,
            "{upper} {lower}"
        );
        assert!(up.aperture() > down.aperture());
    }

    #[test]
    fn a_shut_eye_has_no_opening() {
        for seed in 0..20 {
            let eye = Appearance::from_seed(seed).eyes[1];
            let lids = Lids::new(&eye, 0.1, 0.0);
            assert!(lids.openness() < 1e-3);
            let place = lids.place(0.0, 0.0);
            assert!(place.below_upper.min(place.above_lower) <= 0.0);
        }
    }
}
