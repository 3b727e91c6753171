//! Seeded numbers, and the table of smooth noise that skin, iris and cloth are textured with.

use std::sync::OnceLock;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::geometry::whole;

/// A stream of numbers that depends on its seed and name alone.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// `stream` separates uses of one seed, so that drawing one more number for the script does
    /// not change the face.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Random(generator)
    }

    /// 0 ≤ x < 1.
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// About normal (a sum of uniforms): tails end at 3.5 SD, which suits body measures.
    pub fn normal(&mut self, mean: f32, sd: f32) -> f32 {
        let sum: f32 = (0..4).map(|_| self.unit()).sum();
        // Four uniforms have variance 4/12.
        mean + sd * (sum - 2.0) * 1.732_050_8
    }

    pub fn normal_within(&mut self, mean: f32, sd: f32, low: f32, high: f32) -> f32 {
        self.normal(mean, sd).clamp(low, high)
    }

    pub fn seed(&mut self) -> u32 {
        self.0.next_u32()
    }
}

/// Cells a side; a power of two, so that wrapping is a mask.
const NOISE_SIZE: usize = 256;
/// Values a side: the first row and column again at the end, so that neighbours need no wrapping.
const PITCH: usize = NOISE_SIZE + 1;
/// Grains of sensor noise.
const GRAINS: usize = 1 << 16;

/// Smooth noise on a torus of 256 × 256 cells, and grains of sensor noise.
pub(crate) struct Noise {
    value: Box<[f32; PITCH * PITCH]>,
    grain: Vec<f32>,
}

/// The one table; its content is part of what a seed means.
pub(crate) fn noise() -> &'static Noise {
    static TABLE: OnceLock<Noise> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut random = Random::new(0x6a7e, 1);
        let mut value = Box::new([0.0; PITCH * PITCH]);
        for row in 0..NOISE_SIZE {
            for column in 0..NOISE_SIZE {
                value[row * PITCH + column] = random.uniform(-1.0, 1.0);
            }
            value[row * PITCH + NOISE_SIZE] = value[row * PITCH];
        }
        for column in 0..PITCH {
            value[NOISE_SIZE * PITCH + column] = value[column];
        }
        Noise {
            value,
            grain: (0..GRAINS).map(|_| random.normal(0.0, 1.0)).collect(),
        }
    })
}

impl Noise {
    /// Bilinear between independent values at whole numbers; −1 to 1. |x| and |y| < 4096.
    #[inline]
    pub fn at(&self, x: f32, y: f32) -> f32 {
        // Truncation towards zero would mirror the noise at the axes; the offset keeps it positive.
        let (ix, fx) = whole(x + 4096.0);
        let (iy, fy) = whole(y + 4096.0);
        const MASK: usize = NOISE_SIZE - 1;
        let index = (iy & MASK) * PITCH + (ix & MASK);
        let (upper, lower) = (
            &self.value[index..index + 2],
            &self.value[index + PITCH..][..2],
        );
        let top = upper[0] + (upper[1] - upper[0]) * fx;
        let bottom = lower[0] + (lower[1] - lower[0]) * fx;
        top + (bottom - top) * fy
    }

    /// Independent normal numbers of SD 1 for a row of pixels; at most 8192.
    pub fn grains(&self, seed: u32, count: usize) -> &[f32] {
        let start = seed as usize % (GRAINS - 8192);
        &self.grain[start..start + count]
    }

    /// Three octaves, each half of the one before; about −1 to 1.
    #[inline]
    pub fn fractal(&self, x: f32, y: f32) -> f32 {
        0.57 * self.at(x, y)
            + 0.29 * self.at(x * 2.03 + 17.0, y * 2.03 + 5.0)
            + 0.14 * self.at(x * 4.1 + 7.0, y * 4.1 + 31.0)
    }
}

/// A hash of a pixel and a frame, for sensor noise.
#[inline]
pub(crate) fn hash(x: u32, seed: u32) -> u32 {
    let mut h = x.wrapping_mul(0x9E37_79B1) ^ seed;
    h = (h ^ (h >> 15)).wrapping_mul(0x85EB_CA77);
    h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE3D);
    h ^ (h >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_numbers_and_streams_differ() {
        let draw = |seed, stream| Random::new(seed, stream).seed();
        assert_eq!(draw(3, 1), draw(3, 1));
        assert_ne!(draw(3, 1), draw(3, 2));
        assert_ne!(draw(3, 1), draw(4, 1));
    }

    #[test]
    fn normal_numbers_have_the_spread_they_are_asked_for() {
        let mut random = Random::new(1, 1);
        let n = 20_000;
        let mut sum = 0.0;
        let mut squares = 0.0;
        for _ in 0..n {
            let x = random.normal(2.0, 0.5);
            sum += x;
            squares += (x - 2.0) * (x - 2.0);
        }
        let n = n as f32;
        assert!((sum / n - 2.0).abs() < 0.02 /* 4 standard errors */);
        assert!(((squares / n).sqrt() - 0.5).abs() < 0.02);
    }
}
