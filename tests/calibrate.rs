//! A synthetic person calibrates from a recording, and the profile is used.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::path::Path;

use gaze_observer::{Observer, ObserverSettings, ScriptKind, ScriptTarget};
use gaze_protocol::{PointOfRegard, Span, Timestamp};
use gaze_tests::run_gazed;
use serde_json::Value;

const GAZED: &str = env!("CARGO_BIN_EXE_gazed");

const SCREEN_MM: [f32; 2] = [531.0, 299.0];
const FRAMES_PER_TARGET: u64 = 6;
/// The eyes have arrived by then: reaction and saccade take a quarter of a second.
const SETTLED_MS: u64 = 500;
const TARGET_MS: u64 = 1000;

/// A 3x3 grid at 10, 50 and 90 % of the screen, then four places between for validation.
fn targets() -> Vec<PointOfRegard> {
    let at = |x: f32, y: f32| PointOfRegard {
        x_mm: x * SCREEN_MM[0],
        y_mm: y * SCREEN_MM[1],
    };
    let grid = [0.1, 0.5, 0.9]
        .into_iter()
        .flat_map(|y| [0.1, 0.5, 0.9].map(|x| at(x, y)));
    let between = [(0.3, 0.3), (0.7, 0.3), (0.3, 0.7), (0.7, 0.7)].map(|(x, y)| at(x, y));
    grid.chain(between).collect()
}

/// Renders a person who looks at each target in turn; gives the table's lines.
fn record(folder: &Path) -> Vec<String> {
    let script = targets()
        .into_iter()
        .map(|point| ScriptTarget {
            point,
            duration: Span::from_ms(TARGET_MS),
        })
        .collect();
    let settings = ObserverSettings {
        seed: 11,
        script: ScriptKind::Targets(script),
        ..ObserverSettings::default()
    };
    let [width, height] = [settings.width_px, settings.height_px];
    let mut observer = Observer::new(settings).unwrap();
    let mut luma = vec![0; (width * height) as usize];
    let mut lines = Vec::new();
    for (n, target) in targets().into_iter().enumerate() {
        for frame in 0..FRAMES_PER_TARGET {
            let at_ms = n as u64 * TARGET_MS + SETTLED_MS + frame * 33;
            observer.render(Timestamp(at_ms * 1000), &mut luma);
            let name = format!("{n:02}-{frame}.png");
            image::GrayImage::from_raw(width, height, luma.clone())
                .unwrap()
                .save(folder.join(&name))
                .unwrap();
            lines.push(format!("{name},{},{}", target.x_mm, target.y_mm));
        }
    }
    lines
}

/// Mean distance between the point of regard and the target over these rows, mm.
fn mean_error_mm(records: &str, rows: &[String], validity: &str) -> f32 {
    let mut errors = Vec::new();
    for record in records
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
    {
        let Some(row) = rows
            .iter()
            .find(|row| record["frame"].as_str() == row.split(',').next())
        else {
            continue;
        };
        let mut target = row
            .split(',')
            .skip(1)
            .map(|number| number.parse::<f64>().unwrap());
        if let (Some(x), Some(y)) = (
            record["por"]["x_mm"].as_f64(),
            record["por"]["y_mm"].as_f64(),
        ) {
            assert_eq!(record["validity"], validity, "{record}");
            errors.push((x - target.next().unwrap()).hypot(y - target.next().unwrap()) as f32);
        }
    }
    assert!(
        errors.len() * 2 > rows.len(),
        "more than half of the frames have a point of regard"
    );
    errors.iter().sum::<f32>() / errors.len() as f32
}

#[test]
fn a_calibration_from_a_recording_is_used_and_better_than_none() {
    let folder = tempfile::tempdir().unwrap();
    let frames = folder.path().join("frames");
    std::fs::create_dir(&frames).unwrap();
    let rows = record(&frames);
    let (fitted, validation) = rows.split_at(9 * FRAMES_PER_TARGET as usize);
    let mut table = "frame,x_mm,y_mm\n".to_owned();
    for row in fitted {
        writeln!(table, "{row}").unwrap();
    }
    let targets = folder.path().join("targets.csv");
    std::fs::write(&targets, table).unwrap();
    let state = folder.path().join("state");
    let [frames, targets, state] = [&frames, &targets, &state].map(|path| path.to_str().unwrap());

    let fit = run_gazed(
        GAZED,
        &[
            "calibrate",
            "fit",
            "--input",
            frames,
            "--targets",
            targets,
            "--screen-mm",
            "531x299",
            "--user",
            "anna",
            "--state",
            state,
            "--independent",
        ],
    );
    assert!(fit.status.success(), "{fit:?}");
    assert!(
        fit.stdout.contains("accuracy") && fit.stdout.contains("chosen"),
        "{}",
        fit.stdout
    );

    let process = |user: &[&str]| {
        let mut arguments = vec![
            "process",
            frames,
            "--out",
            "-",
            "--independent",
            "--state",
            state,
        ];
        arguments.extend(user);
        let ran = run_gazed(GAZED, &arguments);
        assert!(ran.status.success(), "{ran:?}");
        ran.stdout
    };
    let without = mean_error_mm(&process(&[]), validation, "uncalibrated");
    let with = mean_error_mm(&process(&["--user", "anna"]), validation, "valid");
    // The constant guess, the middle of the screen, is 122 mm off.
    assert!(
        with < without && with < 50.0,
        "with {with} mm, without {without} mm"
    );

    let nobody = run_gazed(
        GAZED,
        &[
            "process", frames, "--out", "-", "--user", "bert", "--state", state,
        ],
    );
    assert_eq!(nobody.status.code(), Some(78), "{nobody:?}");
    assert!(nobody.stderr.contains("bert"), "{nobody:?}");

    let other_screen = process(&["--user", "anna", "--screen-mm", "300x200"]);
    assert!(other_screen.contains(r#""validity":"stale_calibration""#));
}
