//! Square and eye crops as the training takes them, and the table of what is true about each.

use gaze_observer::{GroundTruth, View};

pub const FACE_SIZE: usize = 160;
pub const EYE_ROWS: usize = 64;
pub const EYE_COLUMNS: usize = 96;

/// Face crops are 1.35 times as wide as the landmark network's, so that training can shift,
/// scale and turn them.
const FACE_MARGIN: f32 = 1.35;
/// Eye crops are 1.6 times as wide as the eye network's patch.
const EYE_MARGIN: f32 = 1.6;
/// Side of the landmark crop and width of the eye patch, in units of the face's measure.
const FACE_SIDES: f32 = 3.2;
const EYE_WIDTHS: f32 = 0.85;
/// Half a face crop, in the same units, and a pixel or two.
pub const REACH: f32 = 0.5 * FACE_SIDES * FACE_MARGIN + 0.05;

/// An upright rectangle of the frame: middle and size, px.
#[derive(Clone, Copy, Debug)]
pub struct Crop {
    pub centre: [f32; 2],
    pub size: [f32; 2],
}

/// The face crop and the two eye crops (observer's right, left) of a view.
pub fn crops(truth: &GroundTruth) -> (Crop, [Crop; 2]) {
    let eyes = truth.eye_centres_px();
    let (centre, measure) = truth.face_middle_px();
    let side = FACE_SIDES * FACE_MARGIN * measure;
    let width = EYE_WIDTHS * EYE_MARGIN * measure;
    let height = width * EYE_ROWS as f32 / EYE_COLUMNS as f32;
    (
        Crop {
            centre,
            size: [side, side],
        },
        eyes.map(|centre| Crop {
            centre,
            size: [width, height],
        }),
    )
}

/// Resamples a crop to `columns` × `rows`: bilinear, several samples a pixel when shrinking,
/// black outside the frame.
pub fn cut(view: &View, crop: Crop, columns: usize, rows: usize, out: &mut [u8]) {
    let scale = crop.size[0] / columns as f32;
    let n = if scale > 1.5 {
        (scale.round() as usize).clamp(1, 4)
    } else {
        1
    };
    for row in 0..rows {
        for column in 0..columns {
            let mut sum = 0.0;
            for j in 0..n {
                for i in 0..n {
                    let u = (column as f32 + (i as f32 + 0.5) / n as f32) / columns as f32 - 0.5;
                    let v = (row as f32 + (j as f32 + 0.5) / n as f32) / rows as f32 - 0.5;
                    sum += bilinear(
                        view,
                        crop.centre[0] + u * crop.size[0],
                        crop.centre[1] + v * crop.size[1],
                    );
                }
            }
            out[row * columns + column] = (sum / (n * n) as f32 + 0.5) as u8;
        }
    }
}

fn bilinear(view: &View, x: f32, y: f32) -> f32 {
    let (fx, fy) = (x.floor(), y.floor());
    let (ix, iy) = (fx as i64, fy as i64);
    let at = |x: i64, y: i64| {
        let inside =
            x >= 0 && y >= 0 && x < i64::from(view.width_px) && y < i64::from(view.height_px);
        if inside {
            f32::from(view.luma[y as usize * view.width_px as usize + x as usize])
        } else {
            0.0
        }
    };
    let (tx, ty) = (x - fx, y - fy);
    let top = at(ix, iy) * (1.0 - tx) + at(ix + 1, iy) * tx;
    let bottom = at(ix, iy + 1) * (1.0 - tx) + at(ix + 1, iy + 1) * tx;
    top * (1.0 - ty) + bottom * ty
}

/// The table's columns with their values for one view.
pub fn row(seed: u64, truth: &GroundTruth) -> Vec<(String, f32)> {
    let (face, eyes) = crops(truth);
    let mut out: Vec<(String, f32)> = Vec::with_capacity(160);
    let mut put = |name: &str, value: f32| out.push((name.to_owned(), value));
    // A float holds whole numbers to 2^24: the seed is kept in two halves.
    put("seed_low", (seed & 0xFFFF) as f32);
    put("seed_high", ((seed >> 16) & 0xFFFF) as f32);
    put("width_px", truth.size_px[0] as f32);
    put("height_px", truth.size_px[1] as f32);
    put("focal_px", truth.focal_px);
    put("gaze_yaw", truth.gaze.yaw_rad);
    put("gaze_pitch", truth.gaze.pitch_rad);
    put("gaze_normalised_yaw", truth.gaze_normalised.yaw_rad);
    put("gaze_normalised_pitch", truth.gaze_normalised.pitch_rad);
    for (name, gaze) in ["right", "left"].iter().zip(truth.eye_gaze) {
        put(&format!("{name}_gaze_yaw"), gaze.yaw_rad);
        put(&format!("{name}_gaze_pitch"), gaze.pitch_rad);
    }
    put("head_yaw", truth.head.yaw_rad);
    put("head_pitch", truth.head.pitch_rad);
    put("head_roll", truth.head.roll_rad);
    for (name, value) in ["yaw", "pitch", "roll"]
        .iter()
        .zip(truth.head_normalised_rad)
    {
        put(&format!("head_normalised_{name}"), value);
    }
    for (name, value) in ["x", "y", "z"].iter().zip(truth.head.position_mm) {
        put(&format!("head_{name}_mm"), value);
    }
    let [x, y, z] = truth.head.position_mm;
    put("distance_mm", (x * x + y * y + z * z).sqrt());
    for (name, i) in [("right", 0), ("left", 1)] {
        put(&format!("{name}_openness"), truth.openness[i]);
        put(
            &format!("{name}_visible"),
            f32::from(u8::from(truth.visible[i])),
        );
    }
    put("is_blink", f32::from(u8::from(truth.blink.is_some())));
    put("has_glasses", f32::from(u8::from(truth.has_glasses)));
    for (name, value) in ["x", "y", "w", "h"].iter().zip(truth.face_box_px) {
        put(&format!("box_{name}"), value);
    }
    for (name, crop) in [("face", face), ("right", eyes[0]), ("left", eyes[1])] {
        put(&format!("{name}_crop_cx"), crop.centre[0]);
        put(&format!("{name}_crop_cy"), crop.centre[1]);
        put(&format!("{name}_crop_w"), crop.size[0]);
        put(&format!("{name}_crop_h"), crop.size[1]);
    }
    for (i, point) in truth.landmarks_px.iter().enumerate() {
        put(&format!("lm{i}_x"), point[0]);
        put(&format!("lm{i}_y"), point[1]);
    }
    out
}
