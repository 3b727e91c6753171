//! Shrinking a whole picture into the finder's input.

use gaze_models::contract::{FACE_COLUMNS, FACE_ROWS};

use super::picture::Picture;

/// Fits pictures of any size into the finder's 192 x 144 input; keeps its buffers.
#[derive(Default)]
pub struct Letterbox {
    /// Weighted sum of the rows that one output row covers, per column of the picture.
    column_sums: Vec<f32>,
}

/// How the picture lies in the input: from its top-left corner, by one scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Input pixels per pixel of the picture.
    scale: f32,
}

impl Scale {
    /// The largest scale at which the picture fits.
    pub fn of(picture: &Picture) -> Self {
        let columns = FACE_COLUMNS as f32 / picture.width() as f32;
        let rows = FACE_ROWS as f32 / picture.height() as f32;
        Scale {
            scale: columns.min(rows),
        }
    }

    /// The place in the picture of a place in the input; pixel centres are whole numbers in both.
    pub fn to_picture(self, place: [f32; 2]) -> [f32; 2] {
        place.map(|value| (value + 0.5) / self.scale - 0.5)
    }

    /// The length in the picture of a length in the input.
    pub fn length_to_picture(self, length: f32) -> f32 {
        length / self.scale
    }
}

impl Letterbox {
    /// Writes the picture as luma / 255 into the top-left of `out`, `[FACE_ROWS, FACE_COLUMNS]`;
    /// the rest is 0.
    ///
    /// Shrunk by area: each pixel is the mean over the rectangle of the picture that it covers,
    /// pixels cut by the rectangle's edge by their share. A smaller picture is enlarged linearly.
    pub fn fit(&mut self, picture: &Picture, out: &mut [f32]) -> Scale {
        let fitted = Scale::of(picture);
        // A last row or column that is less than half covered is left out.
        let covered = |size: usize| (size as f32 * fitted.scale).round() as usize;
        let columns = covered(picture.width()).clamp(1, FACE_COLUMNS);
        let rows = covered(picture.height()).clamp(1, FACE_ROWS);
        self.column_sums.clear();
        self.column_sums.resize(picture.width(), 0.0);
        out.fill(0.0);
        for (row, out_row) in out.chunks_exact_mut(FACE_COLUMNS).take(rows).enumerate() {
            self.column_sums.fill(0.0);
            for (source_row, weight) in fitted.taps(row, picture.height()) {
                for (sum, &luma) in self.column_sums.iter_mut().zip(picture.row(source_row)) {
                    *sum += weight * f32::from(luma);
                }
            }
            for (column, value) in out_row.iter_mut().take(columns).enumerate() {
                let sum: f32 = fitted
                    .taps(column, picture.width())
                    .map(|(source_column, weight)| weight * self.column_sums[source_column])
                    .sum();
                *value = sum / 255.0;
            }
        }
        fitted
    }
}

impl Scale {
    /// The source pixels that make up pixel `index` of the input, with their weights (sum 1).
    fn taps(self, index: usize, limit: usize) -> impl Iterator<Item = (usize, f32)> {
        let per_pixel = 1.0 / self.scale;
        let last = limit as f32;
        let is_shrunk = self.scale < 1.0;
        // Shrunk: pixel k of the source spans k to k + 1. Enlarged: it is a point at k, and the
        // interval of one pixel around the sampling position covers the two nearest by their
        // linear weights; the outermost pixels go on outside.
        let (start, end) = if is_shrunk {
            let start = index as f32 * per_pixel;
            (start, (start + per_pixel).min(last))
        } else {
            let start = ((index as f32 + 0.5) * per_pixel - 0.5).clamp(0.0, last - 1.0);
            (start, start + 1.0)
        };
        let length = end - start;
        (start as usize..(end.ceil() as usize).min(limit)).map(move |pixel| {
            let (left, right) = (pixel as f32, pixel as f32 + 1.0);
            (pixel, (right.min(end) - left.max(start)) / length)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(width: usize, height: usize, luma: &[u8]) -> (Vec<f32>, Scale) {
        let mut out = vec![9.0; FACE_ROWS * FACE_COLUMNS];
        let scale = Letterbox::default().fit(&Picture::new(width, height, luma), &mut out);
        (out, scale)
    }

    #[test]
    fn twice_the_size_gives_means_of_four() {
        let mut luma = vec![0u8; 384 * 288];
        (luma[0], luma[1], luma[384], luma[385]) = (10, 20, 30, 40);
        let (out, scale) = fit(384, 288, &luma);
        assert!((out[0] * 255.0 - 25.0).abs() < 1e-4 /* f32 */);
        assert_eq!(scale.to_picture([0.0, 0.0]), [0.5, 0.5]);
        assert_eq!(scale.length_to_picture(3.0), 6.0);
    }

    #[test]
    fn a_cut_pixel_counts_by_its_share() {
        // 288 columns: each pixel covers 1.5; the second one half of column 1 and all of column 2.
        let mut luma = vec![0u8; 288 * 216];
        for row in luma.chunks_exact_mut(288) {
            (row[1], row[2]) = (60, 90);
        }
        let (out, _) = fit(288, 216, &luma);
        assert!(
            (out[1] * 255.0 - (0.5 * 60.0 + 90.0) / 1.5).abs() < 1e-3 /* f32 */
        );
    }

    #[test]
    fn a_tall_picture_leaves_the_right_side_black() {
        let luma = vec![255u8; 100 * 288];
        let (out, scale) = fit(100, 288, &luma);
        // Scale 0.5: 50 columns.
        assert!((out[49] - 1.0).abs() < 1e-5 /* f32 */);
        assert_eq!(out[50], 0.0);
        assert_eq!(scale.to_picture([49.0, 143.0]), [98.5, 286.5]);
    }

    #[test]
    fn half_the_size_is_enlarged_linearly() {
        let mut luma = vec![0u8; 96 * 72];
        luma[0] = 200;
        let (out, _) = fit(96, 72, &luma);
        // Input pixel 1 lies at 0.25 of the picture, input pixel 0 beyond its first pixel.
        assert!((out[0] * 255.0 - 200.0).abs() < 1e-3 /* f32 */);
        assert!((out[1] * 255.0 - 150.0).abs() < 1e-3 /* f32 */);
    }

    #[test]
    fn any_size_gives_grey_values() {
        for (width, height) in [(1, 1), (1, 999), (999, 1), (191, 145), (80, 80), (3000, 7)] {
            let luma = vec![255u8; width * height];
            let (out, _) = fit(width, height, &luma);
            assert!(
                out.iter().all(|value| (0.0..=1.0001).contains(value)),
                "{width}x{height}"
            );
            assert!(
                (out[0] - 1.0).abs() < 1e-4, /* f32 */
                "{width}x{height}"
            );
        }
    }
}
