//! From luminance to the bytes of a webcam: blur, vignette, exposure, tone curve, noise.

use crate::geometry::whole;
use crate::random::{Random, hash, noise};
use crate::raster::Region;

#[derive(Clone, Debug)]
pub(crate) struct Sensor {
    /// SD of the lens's and the demosaicing's blur, px.
    pub blur_px: f32,
    /// Loss of light in the picture's corners, 0..1.
    pub vignette: f32,
    /// SD of the noise in steps of the 8-bit output.
    pub noise_levels: f32,
    /// Exponent of the tone curve.
    pub gamma: f32,
    /// 0 a plain curve, 1 a strong S.
    pub contrast: f32,
    /// Black level of the output, 0..255.
    pub black_levels: f32,
    /// Brightness of the face in the output, 0..1.
    pub face_brightness: f32,
    /// Straight smear, px: (x, y) from end to end.
    pub smear_px: [f32; 2],
}

/// What differs from frame to frame when light becomes bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shot {
    /// The part of the picture that was rendered.
    pub window: Region,
    /// Width and height of the whole picture.
    pub size_px: [u32; 2],
    /// Factor from luminance to the tone curve's input, where 1 is white.
    pub exposure: f32,
    pub noise_seed: u32,
}

const CURVE_STEPS: usize = 1024;

impl Sensor {
    /// A webcam in ordinary use.
    pub fn from_seed(seed: u64) -> Self {
        let mut r = Random::new(seed, 50);
        Sensor {
            blur_px: r.uniform(0.45, 0.85),
            vignette: r.uniform(0.0, 0.3),
            noise_levels: r.uniform(0.6, 2.5),
            gamma: r.uniform(0.42, 0.56),
            contrast: r.uniform(0.1, 1.0),
            black_levels: r.unit() * r.uniform(0.0, 14.0),
            face_brightness: r.normal_within(0.57, 0.09, 0.34, 0.78),
            smear_px: [0.0; 2],
        }
    }

    /// Any webcam in any light, for training.
    pub fn wild_from_seed(seed: u64) -> Self {
        let mut sensor = Sensor::from_seed(seed);
        let mut r = Random::new(seed, 51);
        if r.chance(0.35) {
            sensor.blur_px = r.uniform(0.4, 1.7);
        }
        if r.chance(0.3) {
            sensor.noise_levels = r.uniform(2.0, 7.0);
        }
        if r.chance(0.25) {
            sensor.face_brightness = r.uniform(0.2, 0.85);
        }
        if r.chance(0.12) {
            let length = r.uniform(1.0, 5.0);
            let (sine, cosine) = libm::sincosf(r.uniform(0.0, core::f32::consts::TAU));
            sensor.smear_px = [length * cosine, length * sine];
        }
        sensor
    }

    /// Develops `light` (the window's pixels, overwritten) into the window of `luma`.
    pub fn develop(&self, shot: &Shot, light: &mut [f32], scratch: &mut Vec<f32>, luma: &mut [u8]) {
        let Shot {
            window,
            size_px,
            exposure,
            noise_seed,
        } = *shot;
        let (w, h) = (window.width(), window.height());
        if w == 0 || h == 0 {
            return;
        }
        self.smear(light, scratch, w, h);
        self.soften(light, scratch, w, h);
        let curve = self.curve();
        let [full_w, full_h] = size_px.map(|n| n as f32);
        let reach = 4.0 / (full_w * full_w + full_h * full_h);
        let (left, top) = (window.x0 as usize, window.y0 as usize);
        let (cx, cy) = (0.5 * full_w, 0.5 * full_h);
        // Position on the curve, then level, by row; separate passes so that all but the look-up
        // are vector code.
        scratch.resize(scratch.len().max(w), 0.0);
        let levels = &mut scratch[..w];
        let steps = (CURVE_STEPS as f32 - 1.0) * 0.8;
        let last = CURVE_STEPS as f32 - 2.0;
        let pitch = size_px[0] as usize;
        for (y, source) in light.chunks_exact(w).enumerate() {
            let start = (top + y) * pitch + left;
            let target = &mut luma[start..start + w];
            let dy = (top + y) as f32 - cy;
            let dy2 = dy * dy;
            for (x, (value, position)) in source.iter().zip(levels.iter_mut()).enumerate() {
                let dx = (left + x) as f32 - cx;
                let fall = 1.0 - self.vignette * reach * (dx * dx + dy2);
                *position = ((value * exposure * fall).max(0.0).sqrt() * steps).min(last);
            }
            for value in levels.iter_mut() {
                let (i, rest) = whole(*value);
                let ends = &curve[i & (CURVE_STEPS - 1)..][..2];
                *value = ends[0] + (ends[1] - ends[0]) * rest;
            }
            // Each row of each frame has grains of its own.
            let row_seed = hash((top + y) as u32, noise_seed);
            let grains = &noise().grains(row_seed, left + w)[left..];
            for ((level, grain), out) in levels.iter().zip(grains).zip(target.iter_mut()) {
                let sd = self.noise_levels * (1.35 - level * (0.5 / 255.0));
                *out = whole((level + sd * grain + 0.5).clamp(0.0, 255.0)).0 as u8;
            }
        }
    }

    /// Output level by the square root of the exposed light, which spreads the dark end. The
    /// curve's end is white 1.25² times over.
    fn curve(&self) -> Vec<f32> {
        (0..=CURVE_STEPS)
            .map(|i| {
                let root = i as f32 / (CURVE_STEPS as f32 - 1.0) / 0.8;
                let plain = libm::powf(root * root, self.gamma);
                // Highlights roll off instead of clipping at once.
                let soft = if plain > 0.85 {
                    0.85 + 0.15 * (1.0 - libm::expf(-(plain - 0.85) / 0.15))
                } else {
                    plain
                };
                let s = soft * soft * (3.0 - 2.0 * soft);
                let value = soft + self.contrast * 0.7 * (s - soft);
                self.black_levels + value * (255.0 - self.black_levels)
            })
            .collect()
    }

    fn soften(&self, light: &mut [f32], scratch: &mut Vec<f32>, w: usize, h: usize) {
        if self.blur_px < 0.2 {
            return;
        }
        let radius = if self.blur_px > 0.9 { 4usize } else { 2 };
        let mut kernel: Vec<f32> = (0..=radius)
            .map(|i| libm::expf(-0.5 * (i * i) as f32 / (self.blur_px * self.blur_px)))
            .collect();
        let sum = kernel[0] + 2.0 * kernel[1..].iter().sum::<f32>();
        for weight in &mut kernel {
            *weight /= sum;
        }
        scratch.resize(w * h, 0.0);
        if w <= 2 * radius || h <= 2 * radius {
            return;
        }
        for y in 0..h {
            let source = &light[y * w..(y + 1) * w];
            let target = &mut scratch[y * w..(y + 1) * w];
            target.copy_from_slice(source);
            let inner = &mut target[radius..w - radius];
            for (x, out) in inner.iter_mut().enumerate() {
                let mut sum = kernel[0] * source[x + radius];
                for (k, weight) in kernel.iter().enumerate().skip(1) {
                    sum += weight * (source[x + radius - k] + source[x + radius + k]);
                }
                *out = sum;
            }
        }
        for y in radius..h - radius {
            let target = &mut light[y * w..(y + 1) * w];
            let middle = &scratch[y * w..(y + 1) * w];
            for (out, value) in target.iter_mut().zip(middle) {
                *out = kernel[0] * value;
            }
            for (k, weight) in kernel.iter().enumerate().skip(1) {
                let above = &scratch[(y - k) * w..(y - k + 1) * w];
                let below = &scratch[(y + k) * w..(y + k + 1) * w];
                for ((out, a), b) in target.iter_mut().zip(above).zip(below) {
                    *out += weight * (a + b);
                }
            }
        }
    }

    fn smear(&self, light: &mut [f32], scratch: &mut Vec<f32>, w: usize, h: usize) {
        let [sx, sy] = self.smear_px;
        let length = libm::hypotf(sx, sy);
        if length < 0.5 {
            return;
        }
        let taps = (length.max(2.0) + 1.0) as i32;
        scratch.clear();
        scratch.extend_from_slice(light);
        for y in 0..h as i32 {
            for x in 0..w as i32 {
                let mut sum = 0.0;
                for tap in 0..=taps {
                    let t = tap as f32 / taps as f32 - 0.5;
                    let px = (x as f32 + t * sx).clamp(0.0, (w - 1) as f32);
                    let py = (y as f32 + t * sy).clamp(0.0, (h - 1) as f32);
                    sum += scratch[(py + 0.5) as usize * w + (px + 0.5) as usize];
                }
                light[y as usize * w + x as usize] = sum / (taps + 1) as f32;
            }
        }
    }

    /// The curve input that gives the face its brightness.
    pub fn face_input(&self) -> f32 {
        libm::powf(self.face_brightness, 1.0 / self.gamma)
    }
}
