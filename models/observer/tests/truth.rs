//! The pictures show what the ground truth says.

use gaze_observer::{
    EventLabel, GroundTruth, Observer, ObserverError, ObserverSettings, ScriptKind, ScriptTarget,
    random_view, random_view_within, session_view,
};
use gaze_protocol::{GazeAngles, PointOfRegard, Span, Timestamp};

/// An observer without glasses who sits still and looks at each point for a second.
fn looking_at(seed: u64, points: &[[f32; 2]]) -> Observer {
    let targets = points
        .iter()
        .map(|&[x_mm, y_mm]| ScriptTarget {
            point: PointOfRegard { x_mm, y_mm },
            duration: Span::from_ms(1000),
        })
        .collect();
    Observer::new(ObserverSettings {
        seed,
        width_px: 1280,
        height_px: 960,
        focal_px: 1280.0,
        distance_mm: 450.0,
        script: ScriptKind::Targets(targets),
        blinks_per_minute: 0.0,
        head_moves: false,
        glasses: Some(false),
        ..ObserverSettings::default()
    })
    .expect("the settings are in range")
}

fn frame(observer: &mut Observer, at_ms: u64) -> (Vec<u8>, GroundTruth) {
    let settings = observer.settings();
    let mut luma = vec![0; settings.width_px as usize * settings.height_px as usize];
    let truth = observer.render(Timestamp(at_ms * 1000), &mut luma);
    (luma, truth)
}

fn distance(a: [f32; 2], b: [f32; 2]) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// The pixels within a radius of a point: x, y, luma.
fn disc(luma: &[u8], width: usize, around: [f32; 2], radius: f32) -> Vec<(f32, f32, f32)> {
    let reach = |middle: f32| (middle - radius) as usize..(middle + radius) as usize + 2;
    reach(around[1])
        .flat_map(|y| reach(around[0]).map(move |x| (x, y)))
        .filter(|&(x, y)| distance([x as f32, y as f32], around) < radius)
        .map(|(x, y)| (x as f32, y as f32, f32::from(luma[y * width + x])))
        .collect()
}

fn mean_level(inside: &[(f32, f32, f32)]) -> f32 {
    inside.iter().map(|p| p.2).sum::<f32>() / inside.len() as f32
}

#[test]
fn equal_seeds_give_equal_bytes_in_any_order() {
    let settings = ObserverSettings {
        seed: 5,
        ..ObserverSettings::default()
    };
    let mut first = Observer::new(settings.clone()).expect("in range");
    let mut second = Observer::new(settings).expect("in range");
    let forwards: Vec<_> = [0, 500, 1700].map(|ms| frame(&mut first, ms)).into();
    let backwards: Vec<_> = [1700, 500, 0].map(|ms| frame(&mut second, ms)).into();
    for (a, b) in forwards.iter().zip(backwards.iter().rev()) {
        assert!(a == b);
    }
    assert!(forwards[0].0 != forwards[1].0);
}

#[test]
fn looking_left_moves_the_irises_to_plus_x_and_looking_up_to_minus_y() {
    // Left, right, top and bottom of the screen as the observer sees it.
    let points = [
        [20.0, 150.0],
        [511.0, 150.0],
        [265.0, -150.0],
        [265.0, 299.0],
    ];
    for seed in [1, 2, 3] {
        let mut observer = looking_at(seed, &points);
        let [left, right, up, down] = [500, 1500, 2500, 3500].map(|ms| frame(&mut observer, ms).1);
        assert!(left.gaze.yaw_rad > 0.2 && right.gaze.yaw_rad < -0.2);
        assert!(up.gaze.pitch_rad > down.gaze.pitch_rad + 0.3);
        for iris in [32, 37] {
            assert!(left.landmarks_px[iris][0] > right.landmarks_px[iris][0] + 5.0);
            assert!(up.landmarks_px[iris][1] < down.landmarks_px[iris][1] - 5.0);
        }
        for pupil in [0, 1] {
            assert!(left.pupils_px[pupil][0] > right.pupils_px[pupil][0] + 5.0);
        }
        assert!(
            up.openness[0] > down.openness[0] + 0.1,
            "lids follow the gaze"
        );
    }
}

#[test]
fn the_observers_left_eye_is_at_image_right_and_landmarks_keep_their_order() {
    for seed in 0..10 {
        let truth = random_view(seed).truth;
        let lm = truth.landmarks_px;
        let [right, left] = truth.eye_centres_px();
        // Along the line between the eyes, whatever the roll.
        let u = [left[0] - right[0], left[1] - right[1]];
        let along = |i: usize| lm[i][0] * u[0] + lm[i][1] * u[1];
        assert!(u[0] > 0.0);
        assert!(along(0) < along(8) && along(8) < along(24) && along(24) < along(16));
        assert!(along(33) > along(35) && along(38) > along(40));
        assert!(along(43) < along(44) && along(47) < along(48));
        assert!(lm[34][1] < lm[36][1] && lm[45][1] < lm[42][1] && lm[42][1] < lm[46][1]);
    }
}

#[test]
fn shut_lids_cover_the_iris() {
    let mut observer = Observer::new(ObserverSettings {
        seed: 4,
        distance_mm: 400.0,
        head_moves: false,
        glasses: Some(false),
        ..ObserverSettings::default()
    })
    .expect("in range");
    let blinks: Vec<_> = observer
        .events(Timestamp(60_000_000))
        .iter()
        .filter(|event| event.label == EventLabel::Blink && event.from == event.to)
        .copied()
        .collect();
    assert!(blinks.len() > 5);
    for blink in &blinks[..5] {
        let length = blink.offset.since(blink.onset).as_us();
        let (open, before) = frame(&mut observer, blink.onset.as_us() / 1000 - 1);
        let (shut, during) = frame(
            &mut observer,
            (blink.onset.as_us() + length * 4 / 10) / 1000,
        );
        assert_eq!(during.label, EventLabel::Blink);
        assert!(before.openness[0] > 0.3 && during.openness[0] < 0.02);
        assert!(during.visible[0] && during.blink.is_some_and(|b| b.opening == 0.0));
        for pupil in during.pupils_px {
            let level = |luma: &[u8]| mean_level(&disc(luma, 640, pupil, 3.5));
            // Lashes darken the line where the lids meet, so the disc is not all skin.
            assert!(
                level(&shut) > level(&open) + 12.0,
                "skin is lighter than a pupil"
            );
        }
    }
}

#[test]
fn landmarks_move_with_the_head() {
    for seed in 0..30 {
        let truth = random_view(seed).truth;
        let [right, left] = truth.eye_centres_px();
        let [x, y, z] = truth.head.position_mm;
        let middle = [0, 1].map(|i| 0.5 * (right[i] + left[i]));
        let projected = [
            (truth.size_px[0] as f32 - 1.0) / 2.0 + truth.focal_px * x / z,
            (truth.size_px[1] as f32 - 1.0) / 2.0 + truth.focal_px * y / z,
        ];
        // The corners lie in front of the rotation centres, by up to 10 mm, and on turned heads
        // beside them.
        let px_per_mm = truth.focal_px / z;
        assert!(
            distance(middle, projected) < 10.0 * px_per_mm,
            "seed {seed}"
        );
        // The nose points where the head does.
        let nose = truth.landmarks_px[42];
        let to_nose = [nose[0] - middle[0], nose[1] - middle[1]];
        let u = [(left[0] - right[0]), (left[1] - right[1])];
        let aside = (to_nose[0] * u[0] + to_nose[1] * u[1]) / (u[0] * u[0] + u[1] * u[1]);
        let turned = truth.head_normalised_rad[0];
        if turned.abs() > 0.12 {
            assert!(aside * turned > 0.0, "seed {seed}: {aside} at {turned} rad");
        }
        // Seen upright, the eyes are level.
        assert!(truth.head_normalised_rad[2].abs() < 0.25, "seed {seed}");
        let roll = u[1].atan2(u[0]);
        assert!((roll - truth.head.roll_rad).abs() < 0.3, "seed {seed}");
    }
}

#[test]
fn gaze_meets_the_screen_at_the_point_of_regard() {
    let mut observer = Observer::new(ObserverSettings::default()).expect("in range");
    let [width, _] = observer.settings().screen_mm;
    let mut luma = vec![0; 640 * 480];
    for ms in (0..4000).step_by(250) {
        let truth = observer.render(Timestamp(ms * 1000), &mut luma);
        let [x, y, z] = truth.head.position_mm;
        let [gx, gy, gz] = truth.gaze.to_vector();
        let t = -z / gz;
        let por = truth.por.expect("the script looks at the screen");
        // f32 over 700 mm.
        assert!((width / 2.0 - (x + t * gx) - por.x_mm).abs() < 0.01);
        assert!((y + t * gy - por.y_mm).abs() < 0.01);
        let back = GazeAngles::from_vector([width / 2.0 - por.x_mm - x, por.y_mm - y, -z]);
        assert!(back.angle_to(truth.gaze) < 1e-5);
        // Both eyes converge: each looks a little inwards of the midpoint's line.
        assert!(truth.eye_gaze[0].yaw_rad > truth.gaze.yaw_rad);
        assert!(truth.eye_gaze[1].yaw_rad < truth.gaze.yaw_rad);
    }
}

#[test]
fn frames_carry_the_label_of_their_event() {
    let mut observer = Observer::new(ObserverSettings {
        seed: 9,
        width_px: 64,
        height_px: 64,
        focal_px: 64.0,
        ..ObserverSettings::default()
    })
    .expect("in range");
    let events = observer.events(Timestamp(10_000_000)).to_vec();
    let mut luma = vec![0; 64 * 64];
    for _ in 0..250 {
        let truth = observer.next_frame(&mut luma);
        let event = events
            .iter()
            .find(|event| event.onset <= truth.at && truth.at < event.offset)
            .expect("events have no gaps");
        assert_eq!(event.label, truth.label);
        assert_eq!(truth.blink.is_some(), event.label == EventLabel::Blink);
    }
}

#[test]
fn a_view_around_the_face_is_the_same_view() {
    for seed in [2, 11, 12] {
        let whole = random_view(seed);
        let part = random_view_within(seed, 2.2);
        assert_eq!(whole.truth, part.truth);
        let (middle, measure) = part.truth.face_middle_px();
        let width = whole.width_px as usize;
        let mut compared = 0;
        let mut different = 0;
        for (i, (a, b)) in whole.luma.iter().zip(&part.luma).enumerate() {
            let (x, y) = ((i % width) as f32, (i / width) as f32);
            let off = (x - middle[0]).abs().max((y - middle[1]).abs());
            // Blur reaches a few pixels in from the part's edge.
            if off < 2.2 * measure - 8.0 {
                compared += 1;
                different += u32::from(a.abs_diff(*b) > 1);
            }
        }
        // Sample places are rounded differently, which may tip a sample on a triangle's edge.
        assert!(
            compared > 10_000 && different * 1000 < compared,
            "seed {seed}: {different}"
        );
    }
}

#[test]
fn a_session_is_one_person_who_looks_about_on_the_screen() {
    let mut looks = Vec::new();
    for seed in 900..912 {
        let view = session_view(900, seed, 2.2);
        let again = session_view(900, seed, 2.2);
        assert_eq!(view.luma, again.luma);
        assert_eq!(view.truth, again.truth);
        assert!(
            view.truth.por.is_some(),
            "seed {seed} looks past the screen"
        );
        looks.push(view.truth);
    }
    let spread = |of: fn(&GroundTruth) -> f32| {
        let values: Vec<f32> = looks.iter().map(of).collect();
        let most = values.iter().copied().fold(f32::MIN, f32::max);
        most - values.iter().copied().fold(f32::MAX, f32::min)
    };
    // One camera and one person: what differs is where the eyes look.
    assert!(spread(|truth| truth.focal_px) == 0.0);
    assert!(spread(|truth| truth.gaze.yaw_rad) > 0.05);
    let other = session_view(924, 930, 2.2);
    assert_ne!(other.truth.focal_px, looks[0].focal_px);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let refused = |settings: ObserverSettings| Observer::new(settings).err();
    let base = ObserverSettings::default();
    assert_eq!(
        refused(ObserverSettings {
            width_px: 8,
            ..base.clone()
        }),
        Some(ObserverError::OutOfRange {
            key: "width_px",
            value: 8.0,
            low: 64.0,
            high: 4096.0
        })
    );
    let nan = refused(ObserverSettings {
        distance_mm: f32::NAN,
        ..base.clone()
    });
    assert!(matches!(
        nan,
        Some(ObserverError::OutOfRange {
            key: "distance_mm",
            ..
        })
    ));
    let empty = ScriptKind::Targets(Vec::new());
    assert_eq!(
        refused(ObserverSettings {
            script: empty,
            ..base
        }),
        Some(ObserverError::NoTargets)
    );
}

#[test]
fn truth_is_written_as_one_line_of_json() {
    let json = random_view(4).truth.to_json();
    assert!(!json.contains('\n') && !json.contains("NaN") && !json.contains("inf"));
    let parsed: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(parsed["t_us"], 0);
    assert_eq!(parsed["landmarks_px"].as_array().map(Vec::len), Some(49));
}
