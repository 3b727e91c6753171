//! The stage as a whole, on scripted networks: finding, following, losing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::face::tests::{THRESHOLDS, cells};
use super::landmarks::tests::frontal_points;
use super::*;
use crate::inference::scripted::{Script, scripted};

/// Two faces in the finder's 192 x 144 pixels (logit, cx, cy, w, h), one nearer to the middle.
const CENTRAL: [f32; 5] = [3.0, 90.0, 70.0, 60.0, 60.0];
const OUTER: [f32; 5] = [5.0, 160.0, 70.0, 40.0, 40.0];

/// How often each network ran.
#[derive(Default)]
struct Runs {
    face: AtomicUsize,
    landmarks: AtomicUsize,
}

/// A stage whose finder sees `faces` and whose landmark network says that a face is where it was
/// looked for, as `presence` (logits, one a run, the last one for ever) has it.
fn stage(faces: &[[f32; 5]], presence: &'static [f32]) -> (Vision, Arc<Runs>) {
    let runs = Arc::new(Runs::default());
    let cells = cells(faces);
    let counted = Arc::clone(&runs);
    let face = scripted(Script::Computed(Box::new(move |_| {
        counted.face.fetch_add(1, Ordering::Relaxed);
        vec![cells.clone()]
    })));
    let counted = Arc::clone(&runs);
    let points = frontal_points().concat();
    let landmarks = scripted(Script::Computed(Box::new(move |_| {
        let run = counted.landmarks.fetch_add(1, Ordering::Relaxed);
        let logit = presence[run.min(presence.len() - 1)];
        vec![points.clone(), vec![logit], vec![1.0; 2]]
    })));
    let eye = [0.5, 0.5, 0.1, 3.0, 3.0, -3.0];
    let eyes = scripted(Script::Always(vec![
        vec![0.0; 2],
        vec![-3.0],
        [eye, eye].concat(),
        vec![0.0; N_FEATURES],
    ]));
    let settings = VisionSettings::default();
    let stage = Vision::with_backends([face, landmarks, eyes], &THRESHOLDS, settings);
    (stage, runs)
}

fn frame(seq: u64, width: usize, height: usize) -> Frame {
    Frame {
        seq,
        captured_at: Timestamp(seq * 33_333),
        width,
        height,
        luma: vec![128; width * height],
        ..Frame::new()
    }
}

fn see(stage: &mut Vision, frame: &Frame) -> Option<FaceObservation> {
    stage
        .step(frame)
        .expect("scripted networks do not fail")
        .face
}

#[test]
fn the_finder_runs_once_and_then_the_face_is_followed() {
    let (mut stage, runs) = stage(&[CENTRAL], &[3.0]);
    for seq in 0..5 {
        assert!(see(&mut stage, &frame(seq, 640, 480)).is_some());
    }
    assert_eq!(runs.face.load(Ordering::Relaxed), 1);
    // Twice when found, once in each of the four frames after.
    assert_eq!(runs.landmarks.load(Ordering::Relaxed), 6);
}

#[test]
fn a_face_that_goes_away_is_lost_and_searched_for_again() {
    // Found (2 runs), followed (1), gone: lost (1), and the finder's face is none (1); then back.
    let (mut stage, runs) = stage(&[CENTRAL], &[3.0, 3.0, 3.0, -3.0, -3.0, 3.0]);
    let seen: Vec<bool> = (0..4)
        .map(|seq| see(&mut stage, &frame(seq, 640, 480)).is_some())
        .collect();
    assert_eq!(seen, [true, true, false, true]);
    assert_eq!(runs.face.load(Ordering::Relaxed), 3);
    assert!(stage.is_tracking());
}

/// A stage that finds a face, whose finder then sees what `later` says, run by run.
fn stage_with_finder(later: &'static [bool]) -> (Vision, Arc<Runs>) {
    let runs = Arc::new(Runs::default());
    let (some, none) = (cells(&[CENTRAL]), cells(&[]));
    let counted = Arc::clone(&runs);
    let face = scripted(Script::Computed(Box::new(move |_| {
        let run = counted.face.fetch_add(1, Ordering::Relaxed);
        let sees = run == 0 || later[(run - 1).min(later.len() - 1)];
        vec![if sees { some.clone() } else { none.clone() }]
    })));
    let points = frontal_points().concat();
    let landmarks = scripted(Script::Always(vec![points, vec![3.0], vec![1.0; 2]]));
    let eye = [0.5, 0.5, 0.1, 3.0, 3.0, -3.0];
    let eyes = scripted(Script::Always(vec![
        vec![0.0; 2],
        vec![-3.0],
        [eye, eye].concat(),
        vec![0.0; N_FEATURES],
    ]));
    let settings = VisionSettings::default();
    let stage = Vision::with_backends([face, landmarks, eyes], &THRESHOLDS, settings);
    (stage, runs)
}

#[test]
fn the_finder_confirms_the_track_once_a_second() {
    let (mut stage, runs) = stage_with_finder(&[true]);
    // Ten seconds at 30 frames a second.
    for seq in 0..300 {
        assert!(see(&mut stage, &frame(seq, 640, 480)).is_some());
    }
    // Found in frame 0; frame 30 is 10 us short of a second, so each 31st frame asks.
    assert_eq!(runs.face.load(Ordering::Relaxed), 1 + 9);
}

#[test]
fn a_track_that_the_finder_denies_ends_after_three_seconds() {
    let (mut stage, _) = stage_with_finder(&[false]);
    let seen = (0..150)
        .take_while(|&seq| see(&mut stage, &frame(seq, 640, 480)).is_some())
        .count();
    // 3 s and at most the 250 ms until it is asked again.
    assert!((90..=98).contains(&seen), "{seen} frames");
    assert!(!stage.is_tracking());
}

#[test]
fn a_face_that_the_finder_misses_for_a_moment_is_kept() {
    let (mut stage, _) = stage_with_finder(&[false, false, true]);
    for seq in 0..300 {
        assert!(see(&mut stage, &frame(seq, 640, 480)).is_some());
    }
}

#[test]
fn of_several_faces_the_central_one_is_taken() {
    let (mut stage, _) = stage(&[OUTER, CENTRAL], &[3.0]);
    let face = see(&mut stage, &frame(0, 640, 480)).expect("there are two");
    // (90.5 / 0.3 − 0.5) = 301 px, the middle between the eyes of a symmetrical face.
    let middle = face.box_px[0] + face.box_px[2] / 2.0;
    assert!((middle - 301.2).abs() < 1.0 /* px */, "{middle}");
}

#[test]
fn a_central_false_alarm_does_not_hide_the_real_face() {
    // The landmark network refuses the first candidate and agrees to the second.
    let (mut stage, _) = stage(&[OUTER, CENTRAL], &[-3.0, 3.0]);
    let face = see(&mut stage, &frame(0, 640, 480)).expect("the outer one is real");
    let middle = face.box_px[0] + face.box_px[2] / 2.0;
    assert!((middle - 534.5).abs() < 1.0 /* px */, "{middle}");
}

#[test]
fn a_frame_of_another_size_starts_anew() {
    let (mut stage, runs) = stage(&[CENTRAL], &[3.0]);
    see(&mut stage, &frame(0, 640, 480));
    let face = see(&mut stage, &frame(1, 1280, 960)).expect("the finder sees it again");
    assert_eq!(runs.face.load(Ordering::Relaxed), 2);
    assert!(
        (face.box_px[0] + face.box_px[2] / 2.0 - 602.8).abs() < 1.0 /* px */
    );
}

#[test]
fn an_unreadable_frame_has_no_face_and_loses_no_track() {
    let (mut stage, runs) = stage(&[CENTRAL], &[3.0]);
    see(&mut stage, &frame(0, 640, 480));
    let unreadable = Frame {
        seq: 1,
        error: Some("truncated JPEG".into()),
        ..Frame::new()
    };
    let observation = stage
        .step(&unreadable)
        .expect("it is not an engine's error");
    assert!(observation.face.is_none());
    assert_eq!(observation.error.as_deref(), Some("truncated JPEG"));
    assert!(see(&mut stage, &frame(2, 640, 480)).is_some());
    assert_eq!(runs.face.load(Ordering::Relaxed), 1);
}

#[test]
fn after_a_reset_each_frame_is_treated_alone() {
    let (mut stage, runs) = stage(&[CENTRAL], &[3.0]);
    for seq in 0..3 {
        stage.reset();
        see(&mut stage, &frame(seq, 640, 480));
    }
    assert_eq!(runs.face.load(Ordering::Relaxed), 3);
}

#[test]
fn numbers_stay_finite_whatever_the_networks_say_and_the_pictures_are() {
    let mut state = 7u32;
    let mut random = move |spread: f32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * spread
    };
    // Networks that answer at random, now and then far beyond what trained ones would.
    let spread_of = |share: f32| [0.5, 0.5, 1.0, 10.0, 1e30][(share.abs() * 4.99) as usize];
    let face = scripted(Script::Computed(Box::new(move |_| {
        let [x, y] = [random(60.0), random(50.0)];
        let side = 60.0 + random(50.0) * spread_of(random(1.0));
        vec![cells(&[[3.0, 96.0 + x, 72.0 + y, side, side]])]
    })));
    let landmarks = scripted(Script::Computed(Box::new(move |_| {
        let spread = spread_of(random(1.0));
        let points = frontal_points().concat();
        let points = points.iter().map(|v| v + 0.2 * random(spread)).collect();
        vec![points, vec![random(3.0) + 1.0], vec![1.0; 2]]
    })));
    let eyes = scripted(Script::Computed(Box::new(move |_| {
        let spread = spread_of(random(1.0));
        let mut values = |n: usize| (0..n).map(|_| random(spread)).collect();
        vec![values(2), values(1), values(12), values(12)]
    })));
    let settings = VisionSettings::default();
    let mut stage = Vision::with_backends([face, landmarks, eyes], &THRESHOLDS, settings);
    let mut seen = 0;
    for seq in 0..300 {
        let mut side = |spread: f32| 1 + random(spread).abs() as usize;
        let spread = if seq % 50 == 0 { 4000.0 } else { 900.0 };
        let frame = frame(seq, side(spread), side(spread));
        let Some(face) = see(&mut stage, &frame) else {
            continue;
        };
        seen += 1;
        let eyes = [face.left_eye, face.right_eye].into_iter().flatten();
        let gaze = face.gaze.map(|gaze| {
            let angles = [gaze.angles.yaw_rad, gaze.angles.pitch_rad, gaze.sigma_rad];
            [angles, gaze.origin_mm].concat()
        });
        let HeadPose {
            position_mm,
            yaw_rad,
            pitch_rad,
            roll_rad,
        } = face.head;
        let numbers = face
            .box_px
            .into_iter()
            .chain(face.landmarks_px.concat())
            .chain(position_mm)
            .chain([yaw_rad, pitch_rad, roll_rad, face.confidence])
            .chain(face.features)
            .chain(gaze.into_iter().flatten())
            .chain(eyes.flat_map(|eye| {
                [
                    eye.center_px[0],
                    eye.iris_px[0],
                    eye.iris_px[2],
                    eye.openness,
                ]
            }));
        for number in numbers {
            assert!(number.is_finite(), "{face:?}");
        }
    }
    assert!(
        seen > 10,
        "{seen} of 300 frames went through the whole stage"
    );
}
