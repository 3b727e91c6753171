//! The chain on the synthetic observer, whose gaze, blinks and fixations are known.

use gaze_host::frame::Frame;
use gaze_host::inference::Engine;
use gaze_host::tracking::{Tracking, TrackingSettings};
use gaze_host::vision::{Vision, VisionSettings};
use gaze_models::Models;
use gaze_observer::{EventLabel, Observer, ObserverSettings, ScriptEvent};
use gaze_protocol::{GazeEvent, Timestamp};
use gaze_signal::{EventSettings, ObjectSettings};

/// People that no network was trained on.
const SEEDS: [u64; 8] = [201, 202, 203, 204, 205, 206, 207, 208];
const FRAMES: u64 = 300;
const FRAME_US: u64 = 33_333;

/// What came of one person's ten seconds.
#[derive(Default)]
struct Outcome {
    /// Angle between true and estimated gaze, each frame with gaze, rad.
    errors: Vec<f32>,
    /// How many of them lie within the angle that the network states.
    within_sigma: usize,
    /// Frames with open eyes, and those of them without gaze.
    open_frames: usize,
    open_without_gaze: usize,
    /// Onset and offset, µs.
    fixations: Vec<(u64, u64)>,
    blinks: Vec<(u64, u64)>,
    script: Vec<ScriptEvent>,
}

fn look_at(seed: u64) -> Outcome {
    let models = Models::embedded().unwrap();
    let mut vision = Vision::new(&models, Engine::Tract, VisionSettings::default()).unwrap();
    let settings = ObserverSettings {
        seed,
        ..ObserverSettings::default()
    };
    let [width_mm, height_mm] = settings.screen_mm;
    let mut tracking = Tracking::new(TrackingSettings {
        screen: gaze_calibration::ScreenGeometry::new(width_mm, height_mm).unwrap(),
        calibration: None,
        sigma_limit_rad: models.thresholds.low_confidence_sigma_rad,
        filter: None,
        events: EventSettings::default(),
        objects: ObjectSettings::default(),
    })
    .unwrap();
    let mut frame = Frame::new();
    (frame.width, frame.height) = (settings.width_px as usize, settings.height_px as usize);
    frame.luma = vec![0; frame.width * frame.height];
    let mut observer = Observer::new(settings).unwrap();
    let mut outcome = Outcome::default();
    let mut take = |event: &GazeEvent| match event {
        GazeEvent::Fixation(fixation) => {
            outcome
                .fixations
                .push((fixation.onset.as_us(), fixation.offset.as_us()));
        }
        GazeEvent::Blink(blink) => outcome
            .blinks
            .push((blink.onset.as_us(), blink.offset.as_us())),
        _ => {}
    };
    for seq in 0..FRAMES {
        (frame.seq, frame.captured_at) = (seq, Timestamp(seq * FRAME_US));
        let truth = observer.render(frame.captured_at, &mut frame.luma);
        let tracked = tracking.step(&vision.step(&frame).unwrap());
        if truth.blink.is_none() {
            outcome.open_frames += 1;
            match tracked.sample.angles {
                Some(angles) => {
                    let error = angles.angle_to(truth.gaze);
                    let sigma_rad = tracked.sample.sigma_rad.expect("gaze comes with its sigma");
                    outcome.errors.push(error);
                    outcome.within_sigma += usize::from(error <= sigma_rad);
                }
                None => outcome.open_without_gaze += 1,
            }
        }
        tracked.events.iter().for_each(&mut take);
    }
    tracking.finish().iter().for_each(&mut take);
    outcome.script = observer.events(Timestamp(FRAMES * FRAME_US)).to_vec();
    outcome
}

/// Scripted events of a kind that lie wholly in the recording, onset and offset.
fn scripted(script: &[ScriptEvent], label: EventLabel) -> Vec<(u64, u64)> {
    let end = (FRAMES - 1) * FRAME_US;
    script
        .iter()
        .filter(|event| {
            event.label == label && event.onset.as_us() > 0 && event.offset.as_us() < end
        })
        .map(|event| (event.onset.as_us(), event.offset.as_us()))
        .collect()
}

/// How many of `reported` cover this one by half of the shorter of the two.
fn reports(reported: &[(u64, u64)], (onset, offset): (u64, u64)) -> usize {
    let overlaps = |&&(from, to): &&(u64, u64)| {
        let common = to.min(offset).saturating_sub(from.max(onset));
        2 * common >= (to - from).min(offset - onset)
    };
    reported.iter().filter(overlaps).count()
}

/// What the script has within a quarter of a second of a fixation.
fn around(script: &[ScriptEvent], (onset, offset): (u64, u64)) -> String {
    let near = |event: &&ScriptEvent| {
        let (from, to) = (event.onset.as_us(), event.offset.as_us());
        event.label != EventLabel::Fixation && from < offset + 250_000 && to + 250_000 > onset
    };
    let words = |event: &ScriptEvent| {
        let ms = (event.offset.as_us() - event.onset.as_us()) / 1000;
        let from_ms = (event.onset.as_us() as f64 - onset as f64) / 1000.0;
        format!("{:?} of {ms} ms from {from_ms:+.0} ms", event.label)
    };
    let all: Vec<String> = script.iter().filter(near).map(words).collect();
    all.join(", ")
}

#[test]
fn gaze_blinks_and_fixations_of_the_synthetic_observer_are_found() {
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads = SEEDS.map(|seed| scope.spawn(move || look_at(seed)));
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut errors: Vec<f32> = outcomes
        .iter()
        .flat_map(|outcome| outcome.errors.clone())
        .collect();
    errors.sort_by(f32::total_cmp);
    let median_deg = errors[errors.len() / 2].to_degrees();
    let within: usize = outcomes.iter().map(|outcome| outcome.within_sigma).sum();
    let share_within = within as f32 / errors.len() as f32;
    let open: usize = outcomes.iter().map(|outcome| outcome.open_frames).sum();
    let lost: usize = outcomes
        .iter()
        .map(|outcome| outcome.open_without_gaze)
        .sum();
    let (mut blinks, mut blinks_once, mut fixations, mut fixations_once) = (0, 0, 0, 0);
    for (outcome, seed) in outcomes.iter().zip(SEEDS) {
        for blink in scripted(&outcome.script, EventLabel::Blink) {
            blinks += 1;
            blinks_once += usize::from(reports(&outcome.blinks, blink) == 1);
        }
        for fixation in scripted(&outcome.script, EventLabel::Fixation) {
            if fixation.1 - fixation.0 > 150_000 {
                fixations += 1;
                let count = reports(&outcome.fixations, fixation);
                fixations_once += usize::from(count == 1);
                if count != 1 {
                    println!(
                        "seed {seed}: the fixation of {} ms at {:.2} s is reported {count} times; {}",
                        (fixation.1 - fixation.0) / 1000,
                        fixation.0 as f64 * 1e-6,
                        around(&outcome.script, fixation)
                    );
                }
            }
        }
    }
    println!(
        "median error {median_deg:.2} deg, {:.0} % within sigma; {lost} of {open} open frames without gaze; \
         once: {blinks_once} of {blinks} blinks, {fixations_once} of {fixations} fixations",
        100.0 * share_within
    );
    // The aim is 2°, and every fixation; measured are 1.96° and all. The bounds leave room for
    // another compiler's rounding, not for a worse chain.
    assert!(
        median_deg <= 2.2,
        "median uncalibrated error {median_deg} deg"
    );
    // By its definition 68 % of errors; ten seconds of eight people are not all there is.
    assert!(
        (0.60..=0.76).contains(&share_within),
        "{share_within} of the errors within sigma"
    );
    assert!(
        lost * 100 <= open * 3,
        "{lost} of {open} frames with open eyes have no gaze"
    );
    assert_eq!(blinks_once, blinks, "each blink is reported once");
    assert!(
        fixations_once * 100 >= fixations * 98,
        "{fixations_once} of {fixations} fixations above 150 ms"
    );
}

/// Landmarks, irises and head pose of frames half a second apart, against the truth.
#[test]
fn landmarks_irises_and_head_pose_lie_near_the_truth() {
    let models = Models::embedded().unwrap();
    let settings = VisionSettings::default();
    let mut vision = Vision::new(&models, Engine::Tract, settings).unwrap();
    let mut frame = Frame::new();
    (frame.width, frame.height) = (640, 480);
    frame.luma = vec![0; frame.width * frame.height];
    let (mut landmarks, mut irises, mut yaws, mut distances) = (vec![], vec![], vec![], vec![]);
    for seed in SEEDS {
        let settings = ObserverSettings {
            seed,
            ..ObserverSettings::default()
        };
        let mut observer = Observer::new(settings).unwrap();
        vision.reset();
        for seq in 0..20 {
            (frame.seq, frame.captured_at) = (seq, Timestamp(seq * 500_000));
            let truth = observer.render(frame.captured_at, &mut frame.luma);
            let face = vision.step(&frame).unwrap().face;
            let face = face.expect("the observer's face is always in the picture");
            let [right, left] = truth.eye_centres_px();
            let eye_distance = distance(right, left);
            for (found, truth) in face.landmarks_px.iter().zip(&truth.landmarks_px) {
                landmarks.push(distance(*found, *truth) / eye_distance);
            }
            for (eye, iris) in [(face.right_eye, 32), (face.left_eye, 37)] {
                if let Some(eye) = eye.filter(|eye| eye.is_open) {
                    let [x, y, _] = eye.iris_px;
                    irises.push(distance([x, y], truth.landmarks_px[iris]) / eye_distance);
                }
            }
            yaws.push((face.head.yaw_rad - truth.head.yaw_rad).abs());
            let depth_mm = truth.head.position_mm[2];
            distances.push((face.head.position_mm[2] - depth_mm).abs() / depth_mm);
        }
    }
    // Of the eye distance; the networks reach 3 % and 1 %.
    assert!(
        median(&mut landmarks) <= 0.05,
        "landmarks: {}",
        median(&mut landmarks)
    );
    assert!(
        median(&mut irises) <= 0.02,
        "irises: {}",
        median(&mut irises)
    );
    assert!(
        median(&mut yaws) <= 0.05,
        "head yaw: {} rad",
        median(&mut yaws)
    );
    // The eye distance of the generic head, 63 mm, is not this person's.
    assert!(
        median(&mut distances) <= 0.08,
        "head distance: {}",
        median(&mut distances)
    );
}

fn distance(a: [f32; 2], b: [f32; 2]) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

fn median(values: &mut [f32]) -> f32 {
    values.sort_by(f32::total_cmp);
    values[values.len() / 2]
}
