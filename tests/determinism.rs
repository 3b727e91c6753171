//! Twice the same input gives the same bytes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use gaze_tests::run_gazed;
use serde_json::Value;

const GAZED: &str = env!("CARGO_BIN_EXE_gazed");

fn process(arguments: &[&str]) -> String {
    let mut all = vec!["process"];
    all.extend(arguments);
    all.extend(["--out", "-"]);
    let ran = run_gazed(GAZED, &all);
    assert!(ran.status.success(), "{ran:?}");
    ran.stdout
}

fn records(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_same_recording_gives_the_same_bytes() {
    let arguments = ["synthetic:5", "--frames", "90"];
    let once = process(&arguments);
    assert_eq!(once, process(&arguments));
    let records = records(&once);
    assert_eq!(records[0]["type"], "header");
    let samples: Vec<&Value> = records
        .iter()
        .filter(|record| record["type"] == "sample")
        .collect();
    assert_eq!(samples.len(), 90);
    for (seq, sample) in samples.iter().enumerate() {
        assert_eq!(sample["seq"], seq);
        assert!(sample["latency_us"].is_null());
    }
    assert!(
        records.iter().any(|record| record["type"] == "fixation"),
        "three seconds hold a fixation"
    );
}

#[test]
fn pictures_taken_alone_do_not_depend_on_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut observer =
        gaze_observer::Observer::new(gaze_observer::ObserverSettings::default()).unwrap();
    let (width, height) = (640, 480);
    let mut luma = vec![0; (width * height) as usize];
    let mut save = |at_ms: u64, name: &str| {
        observer.render(gaze_protocol::Timestamp(at_ms * 1000), &mut luma);
        let picture = image::GrayImage::from_raw(width, height, luma.clone()).unwrap();
        picture.save(folder.path().join(name)).unwrap();
    };
    // The same two pictures in both orders.
    for (at_ms, names) in [(400, ["a.png", "d.png"]), (2400, ["b.png", "c.png"])] {
        for name in names {
            save(at_ms, name);
        }
    }
    let text = process(&[folder.path().to_str().unwrap(), "--independent"]);
    let gaze = |name: &str| {
        let record = records(&text)
            .into_iter()
            .find(|record| record["frame"] == name)
            .unwrap();
        assert!(record["gaze"].is_object(), "{record}");
        [
            record["gaze"].clone(),
            record["por"].clone(),
            record["eyes"].clone(),
        ]
    };
    assert_eq!(gaze("a.png"), gaze("d.png"));
    assert_eq!(gaze("b.png"), gaze("c.png"));
    assert_ne!(gaze("a.png"), gaze("b.png"));
}

#[test]
fn an_unreadable_picture_has_a_sample_with_an_error_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    image::GrayImage::new(40, 30)
        .save(folder.path().join("1.png"))
        .unwrap();
    std::fs::write(folder.path().join("2.png"), b"not a picture").unwrap();
    image::GrayImage::new(64, 48)
        .save(folder.path().join("10.png"))
        .unwrap();
    let ran = run_gazed(
        GAZED,
        &["process", folder.path().to_str().unwrap(), "--out", "-"],
    );
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(ran.stderr.contains("2.png"), "{ran:?}");
    let records = records(&ran.stdout);
    let frames: Vec<&str> = records[1..]
        .iter()
        .map(|record| record["frame"].as_str().unwrap())
        .collect();
    assert_eq!(
        frames,
        ["1.png", "10.png", "2.png"],
        "byte order of the names"
    );
    assert_eq!(records[3]["validity"], "no_face");
    assert!(records[3]["error"].is_string() && records[1].get("error").is_none());
    assert_eq!(records[2]["size_px"], serde_json::json!([64, 48]));
    assert_eq!(records[2]["t_us"], 33_333);
}

#[test]
fn an_explanation_is_two_pictures_a_frame_and_its_pixels_matter() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("why");
    let explain = |out: &std::path::Path| {
        let out = out.to_str().unwrap();
        let ran = run_gazed(
            GAZED,
            &["explain", "synthetic:5", "--frames", "6", "--out", out],
        );
        assert!(ran.status.success(), "{ran:?}");
        ran.stdout
    };
    let said = explain(&out);
    assert!(said.contains("6 explained"), "{said}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 12);
    assert_eq!(said, explain(&folder.path().join("again")));
    // The row of 20 %: relevant blocks move the gaze further than others.
    let row = said.lines().find(|line| line.contains("20 %")).unwrap();
    let numbers: Vec<f32> = row
        .split_whitespace()
        .filter_map(|word| word.strip_suffix('°')?.parse().ok())
        .collect();
    assert!(numbers[0] > numbers[1], "{said}");
}
