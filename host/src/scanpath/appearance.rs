//! What an object looks like: fixed statistics of its crop and of what surrounds it.
//!
//! The training computes the same (`models/training/gaze_models/scanpath_appearance.py`, which
//! also says what each number is); a golden file keeps the two together.

use std::io::Cursor;
use std::path::Path;

use gaze_models::contract::APPEARANCE_VALUES;
use image::ImageReader;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The picture is reduced to so many pixels on its longer side.
const LONGER_SIDE: usize = 160;
/// The surround reaches this share of the box's size further on every side.
const SURROUND: f64 = 0.35;
/// Half sizes of the saliency's centres, px; the surrounds are three times as large.
const RADII: [usize; 3] = [2, 4, 8];
/// The upper part of a box in which a head would be.
const HEAD: f64 = 0.35;

/// Why a picture gives no appearance.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no picture that can be decoded.
    #[error("{}: {reason}", path.display())]
    Decode {
        /// The file.
        path: std::path::PathBuf,
        /// The decoder's words.
        reason: String,
    },
}

/// A picture of a scene, reduced.
#[derive(Clone, Debug)]
pub struct ScenePicture {
    rows: usize,
    columns: usize,
    /// Red, green, blue; 0 to 1.
    pixels: Vec<[f64; 3]>,
}

impl ScenePicture {
    /// Reads a JPEG, PNG, BMP or PNM file.
    ///
    /// # Errors
    /// [`PictureError`].
    pub fn read(path: &Path) -> Result<ScenePicture, PictureError> {
        let decode = |reason: String| PictureError::Decode {
            path: path.to_owned(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|source| PictureError::Read {
            path: path.to_owned(),
            source,
        })?;
        if bytes.starts_with(&[0xFF, 0xD8]) {
            let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
            let mut decoder = JpegDecoder::new_with_options(Cursor::new(&bytes), options);
            let rgb = decoder
                .decode()
                .map_err(|error| decode(error.to_string()))?;
            let (columns, rows) = decoder
                .dimensions()
                .ok_or_else(|| decode("the picture has no size".to_owned()))?;
            return Ok(ScenePicture::reduce(&rgb, rows, columns));
        }
        let picture = ImageReader::new(Cursor::new(&bytes))
            .with_guessed_format()
            .map_err(|error| decode(error.to_string()))?
            .decode()
            .map_err(|error| decode(error.to_string()))?
            .to_rgb8();
        let (columns, rows) = (picture.width() as usize, picture.height() as usize);
        Ok(ScenePicture::reduce(picture.as_raw(), rows, columns))
    }

    /// Averages 8-bit RGB down; each new pixel is the mean of what it covers.
    fn reduce(rgb: &[u8], rows: usize, columns: usize) -> ScenePicture {
        let scale = LONGER_SIDE as f64 / rows.max(columns) as f64;
        let new = |side: usize| ((side as f64 * scale).round_ties_even() as usize).max(1);
        let (new_rows, new_columns) = (new(rows), new(columns));
        let across = stretches(columns, new_columns);
        let mut narrow = vec![[0.0; 3]; rows * new_columns];
        for row in 0..rows {
            for (column, stretch) in across.iter().enumerate() {
                let mut sum = [0.0; 3];
                for &(place, weight) in stretch {
                    let at = (row * columns + place) * 3;
                    for (sum, &value) in sum.iter_mut().zip(&rgb[at..at + 3]) {
                        *sum += weight * f64::from(value) / 255.0;
                    }
                }
                narrow[row * new_columns + column] = sum;
            }
        }
        let mut pixels = vec![[0.0; 3]; new_rows * new_columns];
        for (row, stretch) in stretches(rows, new_rows).iter().enumerate() {
            for column in 0..new_columns {
                let pixel = &mut pixels[row * new_columns + column];
                for &(place, weight) in stretch {
                    for (sum, value) in pixel.iter_mut().zip(narrow[place * new_columns + column]) {
                        *sum += weight * value;
                    }
                }
            }
        }
        ScenePicture {
            rows: new_rows,
            columns: new_columns,
            pixels,
        }
    }

    fn map(&self, value: impl Fn([f64; 3]) -> f64) -> Vec<f64> {
        self.pixels.iter().map(|&pixel| value(pixel)).collect()
    }

    fn sums(&self, values: &[f64]) -> Sums {
        Sums::new(values, self.rows, self.columns)
    }

    /// The appearance of boxes, each x, y, width, height as shares of the picture's size.
    pub fn appearance(&self, boxes: &[[f64; 4]]) -> Vec<[f32; APPEARANCE_VALUES]> {
        let (rows, columns) = (self.rows, self.columns);
        let luma = self.map(|[red, green, blue]| (red + green + blue) / 3.0);
        let red_green = self.map(|[red, green, _]| red - green);
        let blue_yellow = self.map(|[red, green, blue]| blue - (red + green) / 2.0);
        let skin = self.map(|pixel| f64::from(u8::from(is_skin(pixel))));
        let edge = edges(&luma, rows, columns);
        let mut saliency = vec![0.0; rows * columns];
        for values in [&luma, &red_green, &blue_yellow] {
            let sums = self.sums(values);
            for radius in RADII {
                for (place, total) in saliency.iter_mut().enumerate() {
                    let (row, column) = (place / columns, place % columns);
                    *total += (sums.mean_around(row, column, radius)
                        - sums.mean_around(row, column, 3 * radius))
                    .abs();
                }
            }
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let level = mean(&saliency) + 1e-3;
        saliency.iter_mut().for_each(|value| *value /= level);
        let squares = |values: &[f64]| values.iter().map(|value| value * value).collect::<Vec<_>>();
        let maps = [
            self.sums(&luma),
            self.sums(&red_green),
            self.sums(&blue_yellow),
            self.sums(&squares(&luma)),
            self.sums(&edge),
            self.sums(&saliency),
            self.sums(&skin),
            self.sums(&squares(&red_green)),
            self.sums(&squares(&blue_yellow)),
        ];
        let mean_edge = mean(&edge) + 1e-3;
        let mean_luma = mean(&luma);
        boxes
            .iter()
            .map(|&[x, y, width, height]| {
                let area = |x0, y0, x1, y1| Area::covered([x0, y0, x1, y1], rows, columns);
                let inner = area(x, y, x + width, y + height);
                let (dx, dy) = (SURROUND * width, SURROUND * height);
                let outer = area(x - dx, y - dy, x + width + dx, y + height + dy);
                let head = area(x, y, x + width, y + HEAD * height);
                let inside = maps
                    .each_ref()
                    .map(|sums| sums.over(inner) / inner.pixels());
                let ring = if outer.pixels() <= inner.pixels() {
                    inside
                } else {
                    maps.each_ref().map(|sums| {
                        (sums.over(outer) - sums.over(inner)) / (outer.pixels() - inner.pixels())
                    })
                };
                let spread = |square: f64, mean: f64| (square - mean * mean).max(0.0).sqrt();
                let highest = (inner.top..inner.bottom)
                    .flat_map(|row| {
                        &saliency[row * columns + inner.left..row * columns + inner.right]
                    })
                    .fold(0.0, |highest: f64, &value| highest.max(value));
                [
                    inside[0],
                    4.0 * inside[1],
                    4.0 * inside[2],
                    4.0 * (inside[0] - ring[0]).abs(),
                    6.0 * (inside[1] - ring[1]).abs(),
                    6.0 * (inside[2] - ring[2]).abs(),
                    4.0 * spread(inside[3], inside[0]),
                    6.0 * spread(inside[7], inside[1]),
                    6.0 * spread(inside[8], inside[2]),
                    20.0 * inside[4],
                    20.0 * (inside[4] - ring[4]),
                    inside[4] / mean_edge,
                    inside[5],
                    inside[5] - ring[5],
                    0.5 * highest,
                    2.0 * inside[6],
                    2.0 * maps[6].over(head) / head.pixels(),
                    2.0 * (inside[6] - ring[6]),
                    2.0 * (inside[0] - ring[0]),
                    2.0 * mean_luma,
                ]
                .map(|value| value as f32)
            })
            .collect()
    }
}

/// Colours that skin has in daylight pictures, after the rules of Kovac et al. (2003), wider.
fn is_skin([red, green, blue]: [f64; 3]) -> bool {
    red > 0.37
        && green > 0.16
        && blue > 0.08
        && red - green.min(blue) > 0.06
        && red - green > 0.04
        && red > blue
        && red - green < 0.4
}

/// Size of the luma's gradient; 0 across the border.
fn edges(luma: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let mut found = vec![0.0; rows * columns];
    for row in 0..rows {
        for column in 0..columns {
            let at = row * columns + column;
            let across = if column > 0 && column + 1 < columns {
                (luma[at + 1] - luma[at - 1]) / 2.0
            } else {
                0.0
            };
            let down = if row > 0 && row + 1 < rows {
                (luma[at + columns] - luma[at - columns]) / 2.0
            } else {
                0.0
            };
            found[at] = (across * across + down * down).sqrt();
        }
    }
    found
}

/// For each new pixel, the old ones that it covers and their shares of it.
fn stretches(old: usize, new: usize) -> Vec<Vec<(usize, f64)>> {
    (0..new)
        .map(|place| {
            let from = (place * old) as f64 / new as f64;
            let to = ((place + 1) * old) as f64 / new as f64;
            let covered: Vec<_> = (from.floor() as usize..(to.ceil() as usize).min(old))
                .map(|k| (k, to.min(k as f64 + 1.0) - from.max(k as f64)))
                .filter(|&(_, share)| share > 0.0)
                .collect();
            let sum: f64 = covered.iter().map(|(_, share)| share).sum();
            covered
                .into_iter()
                .map(|(k, share)| (k, share / sum))
                .collect()
        })
        .collect()
}

/// Whole pixels, the ends not included; at least one.
#[derive(Clone, Copy)]
struct Area {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Area {
    /// The pixels that a box in shares of the picture covers, cut at the border.
    fn covered([x0, y0, x1, y1]: [f64; 4], rows: usize, columns: usize) -> Area {
        let pixel = |share: f64, side: usize| (share * side as f64 + 0.5).floor();
        let start = |share, side: usize| pixel(share, side).clamp(0.0, side as f64 - 1.0) as usize;
        let end = |share, side: usize, start: usize| {
            pixel(share, side).clamp(start as f64 + 1.0, side as f64) as usize
        };
        let (left, top) = (start(x0, columns), start(y0, rows));
        Area {
            left,
            top,
            right: end(x1, columns, left),
            bottom: end(y1, rows, top),
        }
    }

    fn pixels(self) -> f64 {
        ((self.right - self.left) * (self.bottom - self.top)) as f64
    }
}

/// Sums of a map over any rectangle.
struct Sums {
    rows: usize,
    columns: usize,
    total: Vec<f64>,
}

impl Sums {
    fn new(values: &[f64], rows: usize, columns: usize) -> Sums {
        let width = columns + 1;
        let mut total = vec![0.0; (rows + 1) * width];
        for row in 0..rows {
            let mut along = 0.0;
            for column in 0..columns {
                along += values[row * columns + column];
                total[(row + 1) * width + column + 1] = total[row * width + column + 1] + along;
            }
        }
        Sums {
            rows,
            columns,
            total,
        }
    }

    fn over(&self, area: Area) -> f64 {
        let at = |row: usize, column: usize| self.total[row * (self.columns + 1) + column];
        at(area.bottom, area.right) - at(area.top, area.right) - at(area.bottom, area.left)
            + at(area.top, area.left)
    }

    /// The mean over a square of 2 `radius` + 1 pixels, cut at the border.
    fn mean_around(&self, row: usize, column: usize, radius: usize) -> f64 {
        let area = Area {
            left: column.saturating_sub(radius),
            top: row.saturating_sub(radius),
            right: (column + radius + 1).min(self.columns),
            bottom: (row + radius + 1).min(self.rows),
        };
        self.over(area) / area.pixels()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_reduced_by_means() {
        // 320 x 2 to 160 x 1: each new pixel is the mean of four.
        let mut rgb = vec![0; 320 * 2 * 3];
        rgb[..3].copy_from_slice(&[255, 0, 0]);
        let picture = ScenePicture::reduce(&rgb, 2, 320);
        assert_eq!((picture.rows, picture.columns), (1, 160));
        assert_eq!(picture.pixels[0], [0.25, 0.0, 0.0]);
        assert_eq!(picture.pixels[1], [0.0; 3]);
    }

    #[test]
    fn a_bright_square_stands_out_of_its_surround() {
        let mut rgb = vec![0; 160 * 160 * 3];
        for row in 40..80 {
            rgb[(row * 160 + 40) * 3..(row * 160 + 80) * 3].fill(255);
        }
        let picture = ScenePicture::reduce(&rgb, 160, 160);
        let found = picture.appearance(&[[0.25, 0.25, 0.25, 0.25], [0.7, 0.7, 0.2, 0.2]]);
        // Luma 1 inside, 0 around; nothing where it is dark.
        assert_eq!((found[0][0], found[0][3]), (1.0, 4.0));
        assert_eq!((found[1][0], found[1][3]), (0.0, 0.0));
        assert!(found[0][12] > found[1][12]);
    }

    #[test]
    fn a_box_beside_the_picture_is_its_nearest_pixel() {
        let picture = ScenePicture::reduce(&[90; 160 * 160 * 3], 160, 160);
        let found = picture.appearance(&[[3.0, -7.0, 0.5, 0.5]]);
        assert!(found[0].iter().all(|value| value.is_finite()));
    }
}
