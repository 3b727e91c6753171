//! The room behind the observer: a wall with soft light, furniture-like boxes, a window.

use crate::geometry::mix;
use crate::random::{Random, noise};

/// Paints the room's luminance; `light` is the light on things in the room, in the units of
/// `light.rs`.
pub(crate) fn paint(seed: u64, width_px: u32, height_px: u32, light: f32, out: &mut Vec<f32>) {
    // The room is out of focus: it is painted coarsely and enlarged smoothly.
    const COARSE: usize = 4;
    let (w, h) = (width_px as usize, height_px as usize);
    let (cw, ch) = (w / COARSE + 2, h / COARSE + 2);
    let coarse = paint_coarse(seed, cw, ch, light);
    out.clear();
    out.resize(w * h, 0.0);
    for y in 0..h {
        let sy = y as f32 / COARSE as f32;
        let (iy, fy) = (sy as usize, sy - (sy as usize) as f32);
        let (top, bottom) = (&coarse[iy * cw..], &coarse[(iy + 1) * cw..]);
        let row = &mut out[y * w..(y + 1) * w];
        for (x, pixel) in row.iter_mut().enumerate() {
            let sx = x as f32 / COARSE as f32;
            let (ix, fx) = (sx as usize, sx - (sx as usize) as f32);
            *pixel = mix(
                mix(top[ix], top[ix + 1], fx),
                mix(bottom[ix], bottom[ix + 1], fx),
                fy,
            );
        }
    }
}

fn paint_coarse(seed: u64, cw: usize, ch: usize, light: f32) -> Vec<f32> {
    let mut r = Random::new(seed, 40);
    let wall = r.uniform(0.04, 0.6) * light;
    let [slope_x, slope_y] = [r.normal(0.0, 0.35), r.normal(0.0, 0.3)];
    let grain = r.uniform(0.0, 0.2);
    let offset = r.uniform(0.0, 200.0);
    let mut image: Vec<f32> = (0..cw * ch)
        .map(|i| {
            let x = (i % cw) as f32 / cw as f32 - 0.5;
            let y = (i / cw) as f32 / ch as f32 - 0.5;
            let soft = noise().fractal(x * 4.0 + offset, y * 4.0);
            wall * (1.0 + slope_x * x + slope_y * y + grain * soft).max(0.05)
        })
        .collect();
    let boxes = (r.unit() * 9.0) as usize;
    for _ in 0..boxes {
        let width = r.uniform(0.04, 0.4) * cw as f32;
        let height = r.uniform(0.05, 0.7) * ch as f32;
        let left = r.uniform(-0.1, 1.0) * cw as f32;
        let top = r.uniform(-0.1, 1.0) * ch as f32;
        let tone = r.unit() * r.unit() * 0.8 * light;
        let shelves = if r.chance(0.3) {
            r.uniform(2.0, 9.0)
        } else {
            0.0
        };
        fill(&mut image, cw, [left, top, width, height], |x, y| {
            let board = if shelves > 0.0 {
                let in_shelf = (y / height * shelves).fract();
                let books = noise().at(x * 0.9 + offset, (y / height * shelves).floor() * 7.0);
                if in_shelf < 0.12 {
                    0.5
                } else {
                    1.0 + 0.6 * books
                }
            } else {
                1.0
            };
            tone * board
        });
    }
    if r.chance(0.2) {
        let width = r.uniform(0.15, 0.45) * cw as f32;
        let height = r.uniform(0.3, 0.8) * ch as f32;
        let left = r.uniform(0.0, 0.8) * cw as f32;
        let top = r.uniform(-0.2, 0.3) * ch as f32;
        let glow = light * r.uniform(1.0, 5.0);
        let bars = r.uniform(1.0, 4.0).floor();
        fill(&mut image, cw, [left, top, width, height], |x, _| {
            let bar = (x / width * bars).fract();
            if bar < 0.06 { wall } else { glow }
        });
    }
    let passes = 1 + (r.unit() * 3.0) as usize;
    for _ in 0..passes {
        soften(&mut image, cw, ch);
    }
    image
}

fn fill(
    image: &mut [f32],
    cw: usize,
    [left, top, width, height]: [f32; 4],
    tone: impl Fn(f32, f32) -> f32,
) {
    let ch = image.len() / cw;
    let range = |from: f32, size: f32, limit: usize| {
        (from.max(0.0) as usize).min(limit)..((from + size).max(0.0) as usize).min(limit)
    };
    for y in range(top, height, ch) {
        for x in range(left, width, cw) {
            image[y * cw + x] = tone(x as f32 - left, y as f32 - top);
        }
    }
}

fn soften(image: &mut [f32], cw: usize, ch: usize) {
    let source = image.to_vec();
    for y in 1..ch - 1 {
        for x in 1..cw - 1 {
            let i = y * cw + x;
            image[i] = 0.25 * source[i]
                + 0.125 * (source[i - 1] + source[i + 1] + source[i - cw] + source[i + cw])
                + 0.0625
                    * (source[i - cw - 1]
                        + source[i - cw + 1]
                        + source[i + cw - 1]
                        + source[i + cw + 1]);
        }
    }
}
