//! Fit of 13 targets × 60 samples, with a head that rests and with one that moves (then the screen's
//! pose is looked for as well: what a live session does), and one prediction.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gaze_calibration::{CalibrationInput, FitOptions, ScreenGeometry, TargetSample, fit_with_pose};
use gaze_protocol::{GazeAngles, PointOfRegard};

/// A person whose network sees 0.7 of each turn, with 1.5° of noise, and whose eyes are this far to
/// the left or right of the middle, and turned so far, on every other target.
fn samples(screen: &ScreenGeometry, sway_mm: f32) -> Vec<TargetSample> {
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        0.05 * ((state >> 8) as f32 / (1 << 24) as f32 - 0.5)
    };
    let shares = [0.1, 0.5, 0.9];
    let grid = shares.into_iter().flat_map(|y| shares.map(|x| [x, y]));
    let inner = [[0.3, 0.3], [0.7, 0.3], [0.3, 0.7], [0.7, 0.7]];
    let mut samples = Vec::new();
    for (n, share) in grid.chain(inner).enumerate() {
        let side = if n % 2 == 0 { 1.0 } else { -1.0 };
        let origin_mm = [5.0 + sway_mm * side, 80.0, 600.0 + sway_mm * side];
        let target: PointOfRegard = screen.from_normalised(share);
        let true_gaze = screen.direction_to(origin_mm, target);
        for _ in 0..60 {
            let angles = GazeAngles {
                yaw_rad: 0.7 * true_gaze.yaw_rad + 0.03 + noise(),
                pitch_rad: 0.7 * true_gaze.pitch_rad - 0.05 + noise(),
            };
            samples.push(TargetSample {
                seq: samples.len() as u64,
                target,
                input: Some(CalibrationInput {
                    angles,
                    origin_mm,
                    head_yaw_rad: 0.002 * sway_mm * side,
                    head_pitch_rad: 0.0,
                    head_roll_rad: 0.0,
                    features: std::array::from_fn(|_| noise()),
                    sigma_rad: 0.05,
                }),
            });
        }
    }
    samples
}

fn benchmark(criterion: &mut Criterion) {
    let screen = ScreenGeometry::new(531.0, 299.0).expect("a monitor's size is allowed");
    let options = FitOptions::default();
    let [resting, moving] = [0.0, 40.0].map(|sway_mm| samples(&screen, sway_mm));
    for (name, samples) in [("head rests", &resting), ("head moves", &moving)] {
        criterion.bench_function(&format!("fit 13 targets x 60 samples, {name}"), |bencher| {
            bencher.iter(|| fit_with_pose(black_box(samples), &screen, &options));
        });
    }
    let (report, screen) = fit_with_pose(&resting, &screen, &options)
        .expect("the samples are finite and span the screen");
    let model = report.model;
    let input = resting[0].input.expect("every sample has gaze");
    criterion.bench_function("predict", |bencher| {
        bencher.iter(|| model.predict(black_box(&input), &screen));
    });
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
