//! Cutting a turned, scaled and perhaps mirrored rectangle out of a picture.

use super::picture::Picture;

/// A rectangle in the picture: crop units run from 0,0 at its first corner to 1,1 at the last.
///
/// `x_axis` and `y_axis` are its full width and height as vectors in the picture, so a mirrored
/// crop is one whose `x_axis` points the other way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crop {
    center_px: [f32; 2],
    x_axis_px: [f32; 2],
    y_axis_px: [f32; 2],
}

/// Bits behind the binary point of a sampling position.
const FRACTION_BITS: u32 = 16;
/// Bits of a bilinear weight.
const WEIGHT_BITS: u32 = 8;
const WEIGHT_ONE: u32 = 1 << WEIGHT_BITS;

impl Crop {
    /// A rectangle around `center_px`. `direction` is the unit vector of its rows; its columns run
    /// along `direction` turned by a quarter, downwards in an upright picture.
    pub fn new(center_px: [f32; 2], direction: [f32; 2], width_px: f32, height_px: f32) -> Self {
        let [ux, uy] = direction;
        Crop {
            center_px,
            x_axis_px: [width_px * ux, width_px * uy],
            y_axis_px: [-height_px * uy, height_px * ux],
        }
    }

    /// The same rectangle with its columns in reverse order.
    pub fn mirrored(self) -> Self {
        Crop {
            x_axis_px: self.x_axis_px.map(|value| -value),
            ..self
        }
    }

    /// Middle of the rectangle; px of the picture.
    pub fn center_px(&self) -> [f32; 2] {
        self.center_px
    }

    /// Length of its rows; px of the picture.
    pub fn width_px(&self) -> f32 {
        self.x_axis_px[0].hypot(self.x_axis_px[1])
    }

    /// The place in the picture of a place in the crop.
    pub fn to_picture(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (x, y) = (x - 0.5, y - 0.5);
        std::array::from_fn(|k| self.center_px[k] + x * self.x_axis_px[k] + y * self.y_axis_px[k])
    }

    /// The place in the crop of a place in the picture.
    pub fn to_crop(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (dx, dy) = (x - self.center_px[0], y - self.center_px[1]);
        // The axes are at right angles.
        let along = |[ax, ay]: [f32; 2]| 0.5 + (dx * ax + dy * ay) / (ax * ax + ay * ay);
        [along(self.x_axis_px), along(self.y_axis_px)]
    }

    /// Share of the rectangle's area that lies inside the picture, measured on an 8 x 8 grid.
    pub fn share_inside(&self, picture: &Picture) -> f32 {
        let (right, bottom) = (picture.width() as f32 - 0.5, picture.height() as f32 - 0.5);
        let inside = (0..64)
            .map(|k| [(k % 8) as f32 / 8.0 + 0.0625, (k / 8) as f32 / 8.0 + 0.0625])
            .map(|place| self.to_picture(place))
            .filter(|[x, y]| (-0.5..right).contains(x) && (-0.5..bottom).contains(y))
            .count();
        inside as f32 / 64.0
    }

    /// Cuts the rectangle out as `out.len() / columns` rows of luma / 255.
    ///
    /// The pixel in column i and row j is taken at the crop's ((i + 0.5) / columns,
    /// (j + 0.5) / rows), bilinear; outside the picture there is 0. Where a pixel of the crop covers
    /// more than 1.5 pixels of the picture it is the mean of n x n such samples, n = that ratio
    /// rounded, at most 4.
    pub fn cut(&self, picture: &Picture, columns: usize, out: &mut [f32]) {
        let rows = out.len() / columns;
        let ratio = self.width_px() / columns as f32;
        let n = if ratio > 1.5 {
            (ratio.round() as usize).clamp(2, 4)
        } else {
            1
        };
        let fine_columns = columns * n;
        let step = self.x_axis_px.map(|v| fixed(v / fine_columns as f32));
        let scale = 1.0 / (255.0 * (WEIGHT_ONE * WEIGHT_ONE) as f32 * (n * n) as f32);
        for (j, out_row) in out.chunks_exact_mut(columns).enumerate() {
            out_row.fill(0.0);
            for fine_row in j * n..(j + 1) * n {
                let start = self.to_picture([
                    0.5 / fine_columns as f32,
                    (fine_row as f32 + 0.5) / (rows * n) as f32,
                ]);
                let line = Line {
                    start: start.map(fixed),
                    step,
                };
                if line.is_inside(picture, fine_columns) {
                    line.add(out_row, n, |x, y| inner_sample(picture, x, y));
                } else {
                    line.add(out_row, n, |x, y| edge_sample(picture, x, y));
                }
            }
            for value in out_row {
                *value *= scale;
            }
        }
    }
}

/// A position or a step as a binary fraction. Saturates far outside any picture.
fn fixed(value: f32) -> i64 {
    (value * (1u32 << FRACTION_BITS) as f32).round() as i64
}

/// Equally spaced sampling positions.
struct Line {
    start: [i64; 2],
    step: [i64; 2],
}

impl Line {
    /// Whether the four neighbours of every one of `count` positions are pixels.
    fn is_inside(&self, picture: &Picture, count: usize) -> bool {
        let limits = [picture.width(), picture.height()];
        (0..2).all(|k| {
            let range = 0..((limits[k] as i64 - 1) << FRACTION_BITS);
            let end = self.start[k].saturating_add(self.step[k].saturating_mul(count as i64 - 1));
            range.contains(&self.start[k]) && range.contains(&end)
        })
    }

    /// Adds to each value of `out` the next `n` samples.
    fn add(&self, out: &mut [f32], n: usize, sample: impl Fn(i64, i64) -> u32) {
        let [mut x, mut y] = self.start;
        for value in out {
            let mut sum = 0;
            for _ in 0..n {
                sum += sample(x, y);
                x = x.saturating_add(self.step[0]);
                y = y.saturating_add(self.step[1]);
            }
            *value += sum as f32;
        }
    }
}

/// Splits a position into its pixel and the weight of the next one.
fn split(position: i64) -> (i64, u32) {
    let weight = (position >> (FRACTION_BITS - WEIGHT_BITS)) as u32 & (WEIGHT_ONE - 1);
    (position >> FRACTION_BITS, weight)
}

/// Mixes four neighbours; the weights of a sample sum to `WEIGHT_ONE` squared.
fn mix(top: [u8; 2], bottom: [u8; 2], wx: u32, wy: u32) -> u32 {
    let along = |[a, b]: [u8; 2]| u32::from(a) * (WEIGHT_ONE - wx) + u32::from(b) * wx;
    along(top) * (WEIGHT_ONE - wy) + along(bottom) * wy
}

/// A sample whose four neighbours are pixels.
fn inner_sample(picture: &Picture, x: i64, y: i64) -> u32 {
    let (column, wx) = split(x);
    let (row, wy) = split(y);
    let column = column as usize;
    let pair = |row: usize| {
        let pixels = &picture.row(row)[column..column + 2];
        [pixels[0], pixels[1]]
    };
    mix(pair(row as usize), pair(row as usize + 1), wx, wy)
}

/// A sample anywhere.
fn edge_sample(picture: &Picture, x: i64, y: i64) -> u32 {
    let (column, wx) = split(x);
    let (row, wy) = split(y);
    let pixel = |row: i64, column: i64| {
        let inside = (0..picture.width() as i64).contains(&column)
            && (0..picture.height() as i64).contains(&row);
        if inside {
            picture.row(row as usize)[column as usize]
        } else {
            0
        }
    };
    let pair = |row: i64| [pixel(row, column), pixel(row, column + 1)];
    mix(pair(row), pair(row + 1), wx, wy)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 6 x 4, each pixel 10 x column + row.
    fn ramp() -> Vec<u8> {
        (0..24).map(|k| (10 * (k % 6) + k / 6) as u8).collect()
    }

    fn assert_close(found: f32, expected: f32, tolerance: f32) {
        assert!(
            (found - expected).abs() <= tolerance,
            "found {found}, expected {expected}"
        );
    }

    #[test]
    fn crop_and_picture_places_are_inverse() {
        let crop = Crop::new([31.0, 17.0], [0.8, 0.6], 40.0, 30.0);
        for crop in [crop, crop.mirrored()] {
            for place in [[0.0, 0.0], [0.2, 0.9], [1.0, 1.0], [-0.5, 1.4]] {
                let back = crop.to_crop(crop.to_picture(place));
                assert_close(back[0], place[0], 1e-5 /* f32 */);
                assert_close(back[1], place[1], 1e-5 /* f32 */);
            }
        }
    }

    #[test]
    fn a_quarter_turn_maps_the_corners_as_by_hand() {
        // Rows run downwards in the picture, so columns run to the left.
        let crop = Crop::new([10.0, 10.0], [0.0, 1.0], 8.0, 4.0);
        assert_eq!(crop.to_picture([0.0, 0.0]), [12.0, 6.0]);
        assert_eq!(crop.to_picture([1.0, 0.0]), [12.0, 14.0]);
        assert_eq!(crop.to_picture([0.0, 1.0]), [8.0, 6.0]);
    }

    #[test]
    fn an_upright_crop_of_whole_pixels_is_the_picture() {
        let luma = ramp();
        let picture = Picture::new(6, 4, &luma);
        // Pixel centres are whole numbers, so four pixels from column 1 span 0.5 to 4.5.
        let crop = Crop::new([2.5, 1.5], [1.0, 0.0], 4.0, 2.0);
        let mut out = [0.0; 8];
        crop.cut(&picture, 4, &mut out);
        let expected = [11.0, 21.0, 31.0, 41.0, 12.0, 22.0, 32.0, 42.0];
        for (found, expected) in out.iter().zip(expected) {
            assert_close(found * 255.0, expected, 1e-3 /* f32 */);
        }
        crop.mirrored().cut(&picture, 4, &mut out);
        assert_close(out[0] * 255.0, 41.0, 1e-3 /* f32 */);
    }

    #[test]
    fn half_way_between_pixels_is_their_mean() {
        let luma = ramp();
        let picture = Picture::new(6, 4, &luma);
        let mut out = [0.0; 1];
        Crop::new([2.5, 1.5], [1.0, 0.0], 1.0, 1.0).cut(&picture, 1, &mut out);
        assert_close(
            out[0] * 255.0,
            (21.0 + 31.0 + 22.0 + 32.0) / 4.0,
            1e-3, /* f32 */
        );
    }

    #[test]
    fn outside_the_picture_is_black() {
        let luma = [255u8; 16];
        let picture = Picture::new(4, 4, &luma);
        // Two samples, one in the middle of pixel (3, 1) and one at (5, 1).
        let crop = Crop::new([4.0, 1.0], [1.0, 0.0], 4.0, 1.0);
        let mut out = [9.0; 2];
        crop.cut(&picture, 2, &mut out);
        // Ratio 2: each is the mean of 2 x 2 samples, at x 2.5, 3.5 (half outside) and y 0.75, 1.25.
        assert_close(out[0], 0.75, 1e-5 /* f32 */);
        assert_close(out[1], 0.0, 0.0);
    }

    #[test]
    fn a_large_crop_averages_what_it_covers() {
        let luma: Vec<u8> = (0..64 * 64)
            .map(|k| if k % 2 == 0 { 0 } else { 200 })
            .collect();
        let picture = Picture::new(64, 64, &luma);
        let mut out = [0.0; 64];
        Crop::new([31.5, 31.5], [1.0, 0.0], 32.0, 32.0).cut(&picture, 8, &mut out);
        for value in out {
            assert_close(value * 255.0, 100.0, 1e-3 /* f32 */);
        }
    }

    #[test]
    fn a_crop_far_outside_or_of_any_size_is_harmless() {
        let luma = [200u8; 1];
        let picture = Picture::new(1, 1, &luma);
        let mut out = [0.0; 16];
        for center in [[0.0, 0.0], [1e9, -1e9], [-1e30, 1e30]] {
            for width in [1e-6, 1.0, 1e6, 1e20] {
                Crop::new(center, [0.6, -0.8], width, width).cut(&picture, 4, &mut out);
                assert!(out.iter().all(|value| (0.0..=1.0).contains(value)));
            }
        }
    }

    #[test]
    fn the_share_inside_counts_area() {
        let luma = [0u8; 100];
        let picture = Picture::new(10, 10, &luma);
        let share = |x| Crop::new([x, 4.5], [1.0, 0.0], 4.0, 4.0).share_inside(&picture);
        assert_close(share(4.5), 1.0, 0.0);
        // The left edge of the picture is at -0.5.
        assert_close(share(-0.5), 0.5, 0.0);
        assert_close(share(-9.0), 0.0, 0.0);
    }
}
