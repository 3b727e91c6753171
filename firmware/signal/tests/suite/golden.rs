//! The same trace gives the same events on every machine, bit for bit.
//!
//! `GAZE_WRITE_GOLDEN=1 cargo test -p gaze-signal golden` writes the files anew. The emulated board
//! (`firmware/boards/emulated`) compares itself with the same files.

use std::fmt::Write;
use std::path::PathBuf;

use gaze_protocol::{GazeSample, Validity};

use crate::simulated::{Camera, Habits, record};
use crate::trace::replay;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// Half a minute at a webcam, the face lost for a second and the camera for another.
fn write_trace() -> String {
    let recording = record(20, 30.0, Habits::default(), Camera::webcam(0.4));
    let mut trace = String::new();
    for sample in &recording.samples {
        let us = sample.captured_at.as_us();
        let sample = match us {
            10_000_000..11_000_000 => GazeSample {
                validity: Validity::NoFace,
                line_of_gaze: None,
                ..*sample
            },
            20_000_000..21_000_000 => continue,
            _ => *sample,
        };
        let validity = match sample.validity {
            Validity::NoFace => "no_face",
            Validity::EyeClosed => "eye_closed",
            Validity::LowConfidence => "low_confidence",
            Validity::Valid | Validity::StaleCalibration | Validity::Uncalibrated => "valid",
        };
        write!(trace, "{us} {validity}").expect("a String takes all");
        if let (Some(gaze), Some(por)) = (sample.line_of_gaze, sample.por) {
            let [yaw, pitch] =
                [gaze.yaw_rad, gaze.pitch_rad].map(|rad| (f64::from(rad) * 1e9).round() as i64);
            let [x, y] = [por.x_mm, por.y_mm].map(|mm| (f64::from(mm) * 1e3).round() as i64);
            write!(trace, " {yaw} {pitch} {x} {y}").expect("a String takes all");
        }
        trace.push('\n');
    }
    trace
}

#[test]
fn the_golden_trace_gives_the_golden_events() {
    if std::env::var_os("GAZE_WRITE_GOLDEN").is_some() {
        let trace = write_trace();
        let mut events = String::new();
        replay(&trace, &mut events).expect("each line is a sample");
        std::fs::create_dir_all(golden("")).expect("the folder can be made");
        std::fs::write(golden("trace.txt"), trace).expect("the file can be written");
        std::fs::write(golden("events.txt"), events).expect("the file can be written");
    }
    let trace = std::fs::read_to_string(golden("trace.txt")).expect("it is committed");
    let expected = std::fs::read_to_string(golden("events.txt")).expect("it is committed");
    let mut events = String::new();
    replay(&trace, &mut events).expect("each line is a sample");
    for (line, (found, expected)) in events.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {}", line + 1);
    }
    assert_eq!(events.len(), expected.len());
}
