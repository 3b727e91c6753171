//! Streams of a few samples, with the events worked out by hand.

use gaze_protocol::{EventKind, Fixation, GazeEvent, GazeSample, Saccade, Validity};
use gaze_signal::{BlinkSettings, Detector, EventDetector, EventSettings};

use crate::simulated::{blinks, detect, fixations, gaps, saccades, sample, story};

const ALL: [Detector; 3] = [Detector::Adaptive, Detector::Ivt, Detector::Idt];
/// One frame at 30 Hz.
const FRAME_MS: f64 = 1000.0 / 30.0;

/// Frames at 30 Hz, written down run by run.
#[derive(Default)]
struct Film(Vec<GazeSample>);

impl Film {
    fn now_ms(&self) -> f64 {
        self.0.len() as f64 * FRAME_MS
    }

    fn frames(mut self, count: usize, validity: Validity, gaze_deg: [f64; 2]) -> Self {
        for _ in 0..count {
            let seq = self.0.len() as u64;
            self.0.push(sample(seq, self.now_ms(), validity, gaze_deg));
        }
        self
    }

    fn look(self, count: usize, x_deg: f64) -> Self {
        self.frames(count, Validity::Valid, [x_deg, 0.0])
    }

    fn miss(self, count: usize, validity: Validity) -> Self {
        self.frames(count, validity, [0.0, 0.0])
    }

    fn events(&self, detector: Detector) -> Vec<GazeEvent> {
        let settings = EventSettings {
            detector,
            ..EventSettings::default()
        };
        detect(settings, &self.0)
    }
}

/// First and last frame of each stretch.
fn frames(stretches: &[crate::simulated::Stretch]) -> Vec<(i64, i64)> {
    let frame = |ms: f64| (ms / FRAME_MS).round() as i64;
    let both = |s: &crate::simulated::Stretch| (frame(s.from_ms), frame(s.to_ms));
    stretches.iter().map(both).collect()
}

fn only_fixation(events: &[GazeEvent]) -> Fixation {
    match events {
        [GazeEvent::Fixation(fixation)] => *fixation,
        other => panic!("expected one fixation, found {other:?}"),
    }
}

fn first_saccade(events: &[GazeEvent]) -> Saccade {
    let of = |event: &GazeEvent| match event {
        GazeEvent::Saccade(saccade) => Some(*saccade),
        _ => None,
    };
    events.iter().find_map(of).expect("there is a saccade")
}

#[test]
fn steady_gaze_becomes_one_fixation() {
    for detector in ALL {
        let film = Film::default().frames(30, Validity::Valid, [5.0, -2.0]);
        let fixation = only_fixation(&film.events(detector));
        assert_eq!(fixation.onset.as_us(), 0, "{detector:?}");
        assert_eq!(fixation.offset.as_us(), 966_666);
        let [yaw, pitch] = fixation.centroid_rad.map(f32::to_degrees);
        assert!(
            (yaw - 5.0).abs() < 1e-4 && (pitch + 2.0).abs() < 1e-4 /* f32 means */
        );
        assert!(fixation.dispersion_rad.abs() < 1e-7);
        // 265.5 − 600 tan 5° and 150 + 600 tan 2°.
        let por = fixation.por.expect("all samples have one");
        assert!((por.x_mm - 213.0).abs() < 0.01 && (por.y_mm - 170.95).abs() < 0.01);
    }
}

#[test]
fn a_jump_becomes_two_fixations_and_the_saccade_between() {
    for detector in ALL {
        let events = Film::default().look(12, 0.0).look(12, 6.0).events(detector);
        assert_eq!(
            frames(&fixations(&events)),
            [(0, 11), (12, 23)],
            "{detector:?}"
        );
        assert_eq!(frames(&saccades(&events)), [(11, 12)]);
        let saccade = first_saccade(&events);
        assert!(
            (saccade.amplitude_rad.to_degrees() - 6.0).abs() < 1e-3 /* f32 */
        );
        // 6° within one frame of 33.334 ms (times are whole microseconds).
        assert!((saccade.peak_velocity_rad_s.to_degrees() - 180.0).abs() < 0.1);
    }
}

#[test]
fn a_frame_exposed_during_the_jump_belongs_to_neither_fixation() {
    for detector in [Detector::Adaptive, Detector::Ivt] {
        let film = Film::default().look(12, 0.0).look(1, 4.0).look(12, 12.0);
        let events = film.events(detector);
        assert_eq!(
            frames(&fixations(&events)),
            [(0, 11), (13, 24)],
            "{detector:?}"
        );
        assert_eq!(frames(&saccades(&events)), [(11, 13)]);
        // The faster half: 8° in a frame.
        let peak = first_saccade(&events).peak_velocity_rad_s.to_degrees();
        assert!((peak - 240.0).abs() < 0.1, "{peak}");
    }
}

#[test]
fn the_saccade_is_reported_soon_after_the_eyes_have_landed() {
    let film = Film::default().look(12, 0.0).look(30, 6.0);
    let mut detector = EventDetector::new(EventSettings::default()).expect("defaults are in range");
    let mut out = gaze_signal::EventBuf::new();
    let is_saccade = |event: &GazeEvent| matches!(event, GazeEvent::Saccade(_));
    let decided = film.0.iter().position(|sample| {
        out.clear();
        detector.step(sample, &mut out);
        out.iter().any(is_saccade)
    });
    // Landed on frame 12; the adaptive detector needs three to four frames to be sure.
    let decided = decided.expect("the jump is seen");
    assert!((14..=15).contains(&decided), "frame {decided}");
    assert!(matches!(
        out.as_slice(),
        [
            GazeEvent::Fixation(_),
            GazeEvent::Saccade(_),
            GazeEvent::Begin(_)
        ]
    ));
}

#[test]
fn one_stray_frame_does_not_split_a_fixation() {
    let film = Film::default().look(12, 0.0).look(1, -9.0).look(12, 0.0);
    let fixation = only_fixation(&film.events(Detector::Adaptive));
    assert!(fixation.centroid_rad[0].abs() < 1e-6);
    for detector in [Detector::Ivt, Detector::Idt] {
        assert_eq!(
            frames(&fixations(&film.events(detector))),
            [(0, 24)],
            "{detector:?}"
        );
    }
}

#[test]
fn slow_drift_is_one_fixation() {
    let mut film = Film::default();
    for frame in 0..150 {
        film = film.look(1, f64::from(frame) / 30.0);
    }
    let fixation = only_fixation(&film.events(Detector::Adaptive));
    assert!((fixation.dispersion_rad.to_degrees() - 4.967).abs() < 1e-2);
}

#[test]
fn ten_minutes_of_steady_gaze_are_one_fixation() {
    let film = Film::default().look(18_000, 3.0);
    for detector in ALL {
        let fixation = only_fixation(&film.events(detector));
        assert_eq!(fixation.offset.as_us(), 599_966_666, "{detector:?}");
        assert!((fixation.centroid_rad[0].to_degrees() - 3.0).abs() < 1e-4);
    }
}

#[test]
fn a_blink_does_not_split_a_fixation_when_the_gaze_comes_back() {
    for detector in ALL {
        let film = Film::default()
            .look(12, 2.0)
            .miss(5, Validity::EyeClosed)
            .look(12, 2.0);
        let events = film.events(detector);
        assert_eq!(frames(&fixations(&events)), [(0, 28)], "{detector:?}");
        assert_eq!(frames(&blinks(&events)), [(12, 17)]);
        assert!(gaps(&events).is_empty() && saccades(&events).is_empty());
    }
}

#[test]
fn a_blink_splits_a_fixation_when_it_is_told_to() {
    let film = Film::default()
        .look(12, 2.0)
        .miss(5, Validity::EyeClosed)
        .look(12, 2.0);
    for detector in ALL {
        let mut settings = EventSettings {
            detector,
            ..EventSettings::default()
        };
        settings.blink.blink_ends_fixation = true;
        let events = detect(settings, &film.0);
        assert_eq!(
            frames(&fixations(&events)),
            [(0, 11), (17, 28)],
            "{detector:?}"
        );
        assert_eq!(frames(&blinks(&events)), [(12, 17)]);
    }
}

#[test]
fn gaze_elsewhere_after_a_blink_is_a_new_fixation_without_a_saccade() {
    for detector in ALL {
        let film = Film::default()
            .look(12, 0.0)
            .miss(5, Validity::EyeClosed)
            .look(12, 9.0);
        let events = film.events(detector);
        assert_eq!(
            frames(&fixations(&events)),
            [(0, 11), (17, 28)],
            "{detector:?}"
        );
        assert_eq!(frames(&blinks(&events)), [(12, 17)]);
        assert!(saccades(&events).is_empty(), "nobody saw it");
    }
}

#[test]
fn unsure_and_wrong_frames_at_the_edges_belong_to_the_blink() {
    let film = Film::default()
        .look(12, 0.0)
        .frames(1, Validity::Valid, [0.0, -8.0])
        .miss(1, Validity::LowConfidence)
        .miss(4, Validity::EyeClosed)
        .miss(2, Validity::LowConfidence)
        .frames(2, Validity::Valid, [0.0, -8.0])
        .look(12, 0.0);
    let events = film.events(Detector::Adaptive);
    assert_eq!(frames(&blinks(&events)), [(14, 18)]);
    assert_eq!(frames(&fixations(&events)), [(0, 33)]);
    assert!(gaps(&events).is_empty());
}

#[test]
fn a_blink_with_half_closed_lids_and_gaze_is_a_blink() {
    let mut film = Film::default()
        .look(12, 2.0)
        .frames(5, Validity::LowConfidence, [2.0, -8.0])
        .look(12, 2.0);
    for sample in &mut film.0[12..17] {
        sample.lids_are_down = true;
    }
    for detector in ALL {
        let events = film.events(detector);
        assert_eq!(frames(&blinks(&events)), [(12, 17)], "{detector:?}");
        assert_eq!(frames(&fixations(&events)), [(0, 28)]);
    }
}

#[test]
fn an_open_frame_within_a_blink_does_not_make_it_two() {
    let film = Film::default()
        .look(12, 0.0)
        .miss(3, Validity::EyeClosed)
        .look(1, 0.0)
        .miss(3, Validity::EyeClosed)
        .look(12, 0.0);
    for detector in ALL {
        let events = film.events(detector);
        assert_eq!(frames(&blinks(&events)), [(12, 19)], "{detector:?}");
        assert_eq!(fixations(&events).len(), 1);
    }
}

#[test]
fn one_closed_frame_is_nothing() {
    let film = Film::default()
        .look(12, 0.0)
        .miss(1, Validity::EyeClosed)
        .look(12, 0.0);
    for detector in ALL {
        let fixation = only_fixation(&film.events(detector));
        assert_eq!(fixation.offset.as_us(), 800_000, "{detector:?}");
    }
}

#[test]
fn a_lost_face_is_a_gap_and_ends_the_fixation() {
    let film = Film::default()
        .look(12, 0.0)
        .miss(9, Validity::NoFace)
        .look(12, 0.0);
    for detector in ALL {
        let events = film.events(detector);
        assert_eq!(
            frames(&fixations(&events)),
            [(0, 11), (21, 32)],
            "{detector:?}"
        );
        assert_eq!(frames(&gaps(&events)), [(12, 21)]);
        assert!(blinks(&events).is_empty() && saccades(&events).is_empty());
    }
}

#[test]
fn eyes_shut_for_long_are_a_gap() {
    let film = Film::default()
        .look(12, 0.0)
        .miss(20, Validity::EyeClosed)
        .look(12, 0.0);
    let events = film.events(Detector::Adaptive);
    assert_eq!(frames(&gaps(&events)), [(12, 32)]);
    assert_eq!(frames(&fixations(&events)), [(0, 11), (32, 43)]);
    assert!(blinks(&events).is_empty());
}

#[test]
fn the_longest_blink_is_a_setting() {
    let film = Film::default()
        .look(12, 0.0)
        .miss(20, Validity::EyeClosed)
        .look(12, 0.0);
    let blink = BlinkSettings {
        longest_blink_ms: 700,
        ..BlinkSettings::default()
    };
    let settings = EventSettings {
        blink,
        ..EventSettings::default()
    };
    assert_eq!(frames(&blinks(&detect(settings, &film.0))), [(12, 32)]);
}

#[test]
fn two_unsure_frames_change_nothing_and_ten_are_a_gap() {
    for detector in ALL {
        let short = Film::default()
            .look(12, 0.0)
            .miss(2, Validity::LowConfidence)
            .look(12, 0.0);
        assert_eq!(
            only_fixation(&short.events(detector)).offset.as_us(),
            833_333
        );
        let long = Film::default()
            .look(12, 0.0)
            .miss(10, Validity::LowConfidence)
            .look(12, 0.0);
        let events = long.events(detector);
        assert_eq!(frames(&gaps(&events)), [(12, 22)], "{detector:?}");
        assert_eq!(fixations(&events).len(), 2);
    }
}

#[test]
fn frames_that_stop_coming_are_a_gap() {
    let mut film = Film::default().look(12, 0.0);
    for frame in 0..12 {
        let ms = 2000.0 + f64::from(frame) * FRAME_MS;
        film.0.push(sample(12, ms, Validity::Valid, [0.0, 0.0]));
    }
    for detector in ALL {
        let events = film.events(detector);
        assert_eq!(frames(&gaps(&events)), [(11, 60)], "{detector:?}");
        assert_eq!(frames(&fixations(&events)), [(0, 11), (60, 71)]);
    }
}

#[test]
fn gaze_without_a_good_profile_counts() {
    for validity in [Validity::Uncalibrated, Validity::StaleCalibration] {
        let film = Film::default().frames(30, validity, [1.0, 1.0]);
        assert_eq!(
            only_fixation(&film.events(Detector::Adaptive))
                .onset
                .as_us(),
            0
        );
    }
}

#[test]
fn the_end_of_the_stream_completes_what_is_open() {
    let closed = Film::default().look(12, 0.0).miss(4, Validity::EyeClosed);
    let events = closed.events(Detector::Adaptive);
    assert_eq!(frames(&fixations(&events)), [(0, 11)]);
    assert_eq!(frames(&blinks(&events)), [(12, 15)]);
    let gone = Film::default().look(12, 0.0).miss(9, Validity::NoFace);
    assert_eq!(frames(&gaps(&gone.events(Detector::Adaptive))), [(12, 20)]);
}

#[test]
fn a_glance_too_short_to_be_a_fixation_is_none() {
    for detector in ALL {
        let film = Film::default().look(12, 0.0).look(2, 8.0).look(12, -8.0);
        let events = film.events(detector);
        assert_eq!(
            frames(&fixations(&events)),
            [(0, 11), (14, 25)],
            "{detector:?}"
        );
    }
}

#[test]
fn repeated_frames_are_passed_over() {
    let once = Film::default().look(12, 0.0).look(12, 6.0);
    let twice = once.0.iter().flat_map(|sample| [*sample, *sample]);
    let twice = Film(twice.collect());
    for detector in ALL {
        assert_eq!(
            once.events(detector),
            twice.events(detector),
            "{detector:?}"
        );
    }
}

#[test]
fn every_bad_setting_is_named() {
    let mut settings = EventSettings::default();
    settings.blink.longest_blink_ms = 40;
    settings.noise.smallest_deg = f32::NAN;
    settings.adaptive.fixation_cost = 1e9;
    settings.ivt.velocity_threshold_deg_s = 0.0;
    settings.idt.shortest_fixation_ms = 0;
    let keys: Vec<&str> = settings.check().iter().map(|problem| problem.key).collect();
    let expected = [
        "blink.longest_blink_ms",
        "noise.smallest_deg",
        "adaptive.fixation_cost",
        "ivt.velocity_threshold_deg_s",
        "idt.shortest_fixation_ms",
    ];
    assert_eq!(keys, expected);
    let refused = EventDetector::new(settings).expect_err("they are out of range");
    assert_eq!(
        refused.to_string(),
        "blink.longest_blink_ms = 40 is outside 100 to 2000"
    );
    assert!(EventSettings::default().check().is_empty());
}

#[test]
fn a_fixation_is_told_while_it_lasts() {
    // Two seconds here, one there: each begins once, and the first is told again as it lasts.
    let film = Film::default().look(60, 0.0).look(30, 6.0);
    for detector in ALL {
        let settings = EventSettings {
            detector,
            ..EventSettings::default()
        };
        let story = story(settings, &film.0);
        let begun: Vec<_> = story
            .iter()
            .filter_map(|event| match event {
                GazeEvent::Begin(open) => Some((open.id, open.onset.as_us())),
                _ => None,
            })
            .collect();
        let ended: Vec<_> = story
            .iter()
            .filter_map(|event| match event {
                GazeEvent::Fixation(fixation) => Some((fixation.id, fixation.onset.as_us())),
                _ => None,
            })
            .collect();
        assert_eq!(begun, ended, "{detector:?}");
        assert_eq!(begun.len(), 2);
        let updates = story
            .iter()
            .filter(|event| matches!(event, GazeEvent::Update(open) if open.id == begun[0].0))
            .count();
        assert!((5..=9).contains(&updates), "{updates} in two seconds");
    }
}

#[test]
fn a_closure_that_lasts_begins_as_a_blink_and_ends_as_a_gap() {
    let film = Film::default()
        .look(12, 0.0)
        .miss(30, Validity::EyeClosed)
        .look(12, 0.0);
    let story = story(EventSettings::default(), &film.0);
    let absence: Vec<_> = story
        .iter()
        .filter_map(|event| match event {
            GazeEvent::Begin(open) | GazeEvent::Update(open)
                if open.kind != EventKind::Fixation =>
            {
                Some((open.id, open.kind))
            }
            GazeEvent::Gap(gap) => Some((gap.id, EventKind::Gap)),
            GazeEvent::Blink(blink) => Some((blink.id, EventKind::Blink)),
            _ => None,
        })
        .collect();
    let id = absence.first().expect("it is told").0;
    assert!(absence.iter().all(|(other, _)| *other == id));
    assert_eq!(absence.first(), Some(&(id, EventKind::Blink)));
    assert_eq!(absence.last(), Some(&(id, EventKind::Gap)));
}

#[test]
fn an_estimate_that_settles_after_a_large_saccade_is_one_fixation() {
    // 20° away, and for 100 ms 2° short of it.
    let film = |short_deg: f64| {
        Film::default()
            .look(12, 0.0)
            .look(4, 20.0 - short_deg)
            .look(14, 20.0)
    };
    let events = film(2.0).events(Detector::Adaptive);
    assert_eq!(frames(&fixations(&events)), [(0, 11), (12, 29)]);
    // More than a seventh of the way is another saccade.
    let events = film(4.0).events(Detector::Adaptive);
    assert_eq!(frames(&fixations(&events)), [(0, 11), (12, 15), (16, 29)]);
    // So is one of that size from a place where the gaze has rested.
    let rested = Film::default().look(12, 18.0).look(14, 20.0);
    let events = rested.events(Detector::Adaptive);
    assert_eq!(frames(&fixations(&events)), [(0, 11), (12, 25)]);
}
