//! How often each detector reports a scripted fixation or blink exactly once, by noise.
//!
//! `cargo run --release -p gaze-signal --example detectors`

#[path = "../tests/suite/simulated.rs"]
mod simulated;

use gaze_signal::{Detector, EventSettings};
use simulated::{Camera, Habits, detect, gaps, play, pursuits, record};

const ALL: [Detector; 4] = [
    Detector::Adaptive,
    Detector::Ivt,
    Detector::Idt,
    Detector::Network,
];

fn main() {
    println!(
        "20 min each; fixations of 155 to 900 ms, saccades of 3° or more, a bias of SD 0.5° that"
    );
    println!("changes within 1.5 s, 5 % jitter, one frame in 200 lost\n");
    println!(
        "| rate Hz | noise SD deg | likeness | detector | fixations once % | missed | split | blinks once % | saccades % | report after ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (rate_hz, noise_deg, likeness) in [
        (30.0, 0.1, 0.0),
        (30.0, 0.3, 0.0),
        (30.0, 0.5, 0.0),
        (30.0, 0.8, 0.0),
        (30.0, 1.0, 0.0),
        (30.0, 0.5, 0.6),
        (25.0, 0.5, 0.0),
        (60.0, 0.5, 0.0),
        (250.0, 0.5, 0.0),
    ] {
        for detector in ALL {
            let settings = EventSettings {
                detector,
                ..EventSettings::default()
            };
            let camera = Camera {
                rate_hz,
                likeness,
                ..Camera::webcam(noise_deg)
            };
            let scores = play(settings, Habits::default(), camera, 10);
            let percent = |part: usize, all: usize| 100.0 * part as f64 / all.max(1) as f64;
            println!(
                "| {rate_hz} | {noise_deg} | {likeness} | {detector:?} | {:.1} | {} | {} | {:.1} | {:.1} | {:.0} |",
                percent(scores.fixations.once, scores.fixations.scripted),
                scores.fixations.missed,
                scores.fixations.split,
                percent(scores.blinks.once, scores.blinks.scripted),
                percent(scores.saccades[1], scores.saccades[0]),
                scores.delay_ms,
            );
        }
    }
    println!();
    let recording = record(1, 1200.0, Habits::default(), Camera::webcam(0.5));
    for detector in ALL {
        let settings = EventSettings {
            detector,
            ..EventSettings::default()
        };
        let start = std::time::Instant::now();
        let events = detect(settings, &recording.samples);
        let us = start.elapsed().as_secs_f64() * 1e6 / recording.samples.len() as f64;
        println!(
            "{detector:?}: {us:.2} µs a sample, {} gaps, {} pursuits where there are none, {} bytes",
            gaps(&events).len(),
            pursuits(&events).len(),
            size_of::<gaze_signal::EventDetector>()
        );
    }
}
