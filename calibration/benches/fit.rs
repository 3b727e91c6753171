//! Fit of 13 targets × 60 samples, and one prediction.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gaze_calibration::{CalibrationInput, FitOptions, ScreenGeometry, TargetSample, fit};
use gaze_protocol::{GazeAngles, PointOfRegard};

/// A person whose network sees 0.7 of each turn, with 1.5° of noise.
fn samples(screen: &ScreenGeometry) -> Vec<TargetSample> {
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        0.05 * ((state >> 8) as f32 / (1 << 24) as f32 - 0.5)
    };
    let shares = [0.1, 0.5, 0.9];
    let grid = shares.into_iter().flat_map(|y| shares.map(|x| [x, y]));
    let inner = [[0.3, 0.3], [0.7, 0.3], [0.3, 0.7], [0.7, 0.7]];
    let origin_mm = [5.0, 80.0, 600.0];
    let mut samples = Vec::new();
    for share in grid.chain(inner) {
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
                    head_yaw_rad: 0.0,
                    head_pitch_rad: 0.0,
                    head_roll_rad: 0.0,
                    features: [0.0; 12],
                    sigma_rad: 0.05,
                }),
            });
        }
    }
    samples
}

fn benchmark(criterion: &mut Criterion) {
    let screen = ScreenGeometry::new(531.0, 299.0).expect("a monitor's size is allowed");
    let samples = samples(&screen);
    let options = FitOptions::default();
    criterion.bench_function("fit 13 targets x 60 samples", |bencher| {
        bencher.iter(|| fit(black_box(&samples), &screen, &options));
    });
    let model = fit(&samples, &screen, &options)
        .expect("the samples are finite and span the screen")
        .model;
    let input = samples[0].input.expect("every sample has gaze");
    criterion.bench_function("predict", |bencher| {
        bencher.iter(|| model.predict(black_box(&input), &screen));
    });
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
