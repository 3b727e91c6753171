//! `gazed scanpath` on drawn scenes, and the predictions of a running daemon.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use gaze_tests::{Daemon, run_gazed};
use serde_json::Value;

const GAZED: &str = env!("CARGO_BIN_EXE_gazed");

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../models/golden/scanpath")
        .join(name)
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn run(arguments: &[&str]) {
    let mut all = vec!["--config", "/dev/null", "scanpath"];
    all.extend(arguments);
    let ran = run_gazed(GAZED, &all);
    assert!(ran.status.success(), "{ran:?}");
}

fn score(engine: &str) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("scored.jsonl");
    run(&[
        "score",
        "--scenes",
        golden("scenes.jsonl").to_str().unwrap(),
        "--paths",
        golden("paths.jsonl.gz").to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--engine",
        engine,
    ]);
    let (found, expected) = (lines(&out), lines(&golden("scores.jsonl")));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found["scene_id"], expected["scene_id"]);
        assert_eq!(found["observer"], expected["observer"]);
        let close = |found: &Value, expected: &Value| match (found.as_f64(), expected.as_f64()) {
            // The decoders of pictures and the order of sums differ a little.
            (Some(found), Some(expected)) => {
                (found - expected).abs() <= 2e-3 * expected.abs().max(1.0)
            }
            _ => found.is_null() && expected.is_null(),
        };
        let of = |line: &Value, key: &str| line[key].as_array().unwrap().clone();
        let (steps, wanted) = (of(found, "steps"), of(expected, "steps"));
        assert_eq!(steps.len(), wanted.len());
        for (step, wanted) in steps.iter().zip(&wanted) {
            assert!(
                close(&step["logprob"], &wanted["logprob"]),
                "{found}\n{expected}"
            );
            assert_eq!(step["top1"], wanted["top1"], "{found}\n{expected}");
        }
        let times = (
            of(found, "duration_logprob"),
            of(expected, "duration_logprob"),
        );
        assert_eq!(times.0.len(), times.1.len());
        assert!(
            times.0.iter().zip(&times.1).all(|(a, b)| close(a, b)),
            "{found}\n{expected}"
        );
    }
}

#[test]
fn paths_are_scored_as_pytorch_scores_them() {
    score("tract");
}

#[cfg(feature = "ort")]
#[test]
fn onnx_runtime_scores_them_alike() {
    score("ort");
}

#[test]
fn exactly_so_many_paths_are_predicted_and_the_seed_repeats_them() {
    let folder = tempfile::tempdir().unwrap();
    let predict = |name: &str, seed: &str| {
        let out = folder.path().join(name);
        run(&[
            "predict",
            "--scenes",
            golden("scenes.jsonl").to_str().unwrap(),
            "--samples",
            "2",
            "--seed",
            seed,
            "--out",
            out.to_str().unwrap(),
        ]);
        std::fs::read_to_string(out).unwrap()
    };
    let first = predict("a.jsonl", "3");
    assert_eq!(first, predict("b.jsonl", "3"));
    let scenes = lines(&golden("scenes.jsonl"));
    let found = lines(&folder.path().join("a.jsonl"));
    assert_eq!(found.len(), 2 * scenes.len());
    for (k, path) in found.iter().enumerate() {
        assert_eq!(path["scene_id"], scenes[k / 2]["scene_id"]);
        assert_eq!(path["observer"], format!("model-{}", k % 2 + 1));
        assert!(!path["fixations"].as_array().unwrap().is_empty());
    }
}

#[test]
fn a_scene_is_drawn_with_the_persons_paths_and_the_models() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("scene.svg");
    run(&[
        "show",
        "drawn-7",
        "--scenes",
        golden("scenes.jsonl").to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);
    let drawn = std::fs::read_to_string(out).unwrap();
    for part in ["made-up-2", "model-3", "data:image/png;base64,", "<circle"] {
        assert!(drawn.contains(part), "{part} is missing");
    }
}

#[test]
fn what_is_wrong_with_a_file_names_line_and_object() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let scenes = file(
        "scenes.jsonl",
        r#"{"scene_id":"s","width_px":9,"height_px":9,"objects":[{"id":"x","box":[0,0,5,5]}]}"#,
    );
    let fixation = r#"{"object":"y","x_px":1,"y_px":1,"duration_ms":1}"#;
    let path = |scene: &str| {
        format!(r#"{{"scene_id":"{scene}","observer":"o","fixations":[{fixation}]}}"#)
    };
    let out = file("out.jsonl", "");
    for (paths, said) in [
        (file("a", &path("s")), "line 1: scene s has no object y"),
        (file("b", &path("t")), "line 1: there is no scene t"),
        (file("c", "\n{}"), "line 2: missing field"),
    ] {
        let arguments = [
            "scanpath", "score", "--scenes", &scenes, "--paths", &paths, "--out", &out,
        ];
        let ran = run_gazed(GAZED, &arguments);
        assert!(
            !ran.status.success() && ran.stderr.contains(said),
            "{ran:?}"
        );
    }
}

/// Three objects, one of them so large that the synthetic gaze is on it wherever it is.
const SCENE: &str = r#"{"type":"scene","scene_id":"s","width_px":100,"height_px":100,"objects":[
    {"id":"left","box":[-200,-200,250,500]},{"id":"right","box":[50,-200,250,500]},
    {"id":"far","box":[900,900,9,9]}]}"#;

#[test]
fn next_objects_follow_a_dwell_and_bad_scenes_do_not_stop_them() {
    let daemon = Daemon::start(GAZED, &["--source", "synthetic:3"]);
    let mut client =
        daemon.connect(r#"{"type":"subscribe","types":["object_leave","next_objects"]}"#);
    assert_eq!(client.record()["type"], "header");
    client.send(r#"{"type":"scanpath_request","samples":1}"#);
    assert_eq!(client.record()["type"], "error");
    let with_target = SCENE.replace(r#""objects""#, r#""target":"nothing","objects""#);
    client.send(&with_target.replace('\n', ""));
    let refused = client.record();
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("the target nothing"),
        "{refused}"
    );
    client.send(&SCENE.replace('\n', ""));
    client.send(r#"{"type":"scanpath_request","samples":2,"seed":1}"#);
    let sampled = client.record_of("scanpaths");
    assert_eq!(sampled["paths"].as_array().map(Vec::len), Some(2));
    let leave = client.record_of("object_leave");
    let next = client.record();
    assert_eq!(next["type"], "next_objects", "{next}");
    assert_eq!(
        (&next["after"], &next["offset_us"]),
        (&leave["object"], &leave["offset_us"])
    );
    let objects = next["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 2);
    let sum: f64 = objects
        .iter()
        .map(|next| next["probability"].as_f64().unwrap())
        .sum();
    assert!((sum - 1.0).abs() < 1e-4, "{next}");
    // An object goes while it may be looked at: the daemon goes on and no longer expects it.
    client.send(r#"{"type":"scene_update","scene_id":"s","remove":["far"],"add":[{"id":"new","box":[800,900,9,9]}]}"#);
    let next = client.record_of("next_objects");
    let ids: Vec<_> = next["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|next| &next["object"])
        .collect();
    assert!(!ids.iter().any(|id| *id == "far"), "{next}");
}
