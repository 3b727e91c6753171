//! What holds for every stream.

use std::collections::{HashMap, HashSet};

use gaze_protocol::{
    EventKind, GazeAngles, GazeEvent, GazeSample, PointOfRegard, Timestamp, Validity,
};
use gaze_signal::{
    Detector, EventBuf, EventDetector, EventSettings, Label, LabelStream, ObjectBox,
    ObjectSettings, Objects, OneEuro, OneEuroSettings, velocity_rad_s,
};
use proptest::prelude::*;

use crate::simulated::{
    Camera, Habits, blinks, detect, fixations, gaps, pursuits, record, saccades, story,
};

fn detectors() -> impl Strategy<Value = Detector> {
    prop_oneof![
        Just(Detector::Adaptive),
        Just(Detector::Ivt),
        Just(Detector::Idt),
        Just(Detector::Network),
    ]
}

fn validities() -> impl Strategy<Value = Validity> {
    prop_oneof![
        6 => Just(Validity::Valid),
        1 => Just(Validity::NoFace),
        1 => Just(Validity::EyeClosed),
        1 => Just(Validity::LowConfidence),
        1 => Just(Validity::Uncalibrated),
    ]
}

fn sample_at(us: u64, validity: Validity, yaw_rad: f32, pitch_rad: f32) -> GazeSample {
    let angles = GazeAngles { yaw_rad, pitch_rad };
    let por = PointOfRegard {
        x_mm: yaw_rad * 600.0,
        y_mm: pitch_rad * 600.0,
    };
    GazeSample {
        seq: 0,
        captured_at: Timestamp(us),
        validity,
        lids_are_down: false,
        angles: Some(angles),
        por: Some(por),
        line_of_gaze: Some(angles),
        sigma_rad: None,
    }
}

/// Samples that make sense, in runs: (number of frames, validity, place, noise).
fn sensible_stream() -> impl Strategy<Value = Vec<GazeSample>> {
    let run = (
        1..25usize,
        validities(),
        -0.4f32..0.4,
        -0.3f32..0.3,
        0.0f32..0.02,
    );
    let frame_us = prop_oneof![
        Just(1000u64),
        Just(4000),
        Just(16_667),
        Just(33_333),
        Just(40_000)
    ];
    (prop::collection::vec(run, 1..20), frame_us, any::<u64>()).prop_map(
        |(runs, frame_us, seed)| {
            let mut dice = crate::simulated::Dice::new(seed);
            let mut us = 0;
            let mut samples = Vec::new();
            for (frames, validity, yaw, pitch, noise) in runs {
                for _ in 0..frames {
                    us += (frame_us as f64 * dice.between(0.9, 1.1)) as u64;
                    let off = |dice: &mut crate::simulated::Dice| noise * dice.normal() as f32;
                    let (x, y) = (yaw + off(&mut dice), pitch + off(&mut dice));
                    samples.push(sample_at(us, validity, x, y));
                }
            }
            samples
        },
    )
}

/// Samples that make none: any times, any numbers, NaN and infinities among them.
fn senseless_stream() -> impl Strategy<Value = Vec<GazeSample>> {
    let number = || {
        prop_oneof![
            4 => -0.5f32..0.5,
            1 => any::<f32>(),
            1 => Just(f32::NAN),
            1 => Just(f32::INFINITY),
        ]
    };
    let step_us = prop_oneof![
        6 => 0i64..50_000,
        1 => -100_000i64..0,
        1 => -5_000_000i64..40_000_000,
        1 => any::<i64>(),
    ];
    let sample = (step_us, validities(), number(), number(), any::<bool>());
    prop::collection::vec(sample, 0..300).prop_map(|steps| {
        let mut us = 0u64;
        let of = |(step, validity, yaw, pitch, has_line)| {
            us = us.saturating_add_signed(step);
            let mut sample = sample_at(us, validity, yaw, pitch);
            sample.line_of_gaze = sample.line_of_gaze.filter(|_| has_line);
            sample
        };
        steps.into_iter().map(of).collect()
    })
}

fn with(detector: Detector) -> EventSettings {
    EventSettings {
        detector,
        ..EventSettings::default()
    }
}

fn shortest_ms(detector: Detector) -> f64 {
    match detector {
        Detector::Adaptive | Detector::Ivt => 60.0,
        Detector::Idt => 100.0,
        Detector::Network => 40.0,
    }
}

/// Whether all numbers of an event are finite.
fn is_finite(event: &GazeEvent) -> bool {
    let por_is_finite = |por: &Option<PointOfRegard>| {
        por.is_none_or(|por| por.x_mm.is_finite() && por.y_mm.is_finite())
    };
    match event {
        GazeEvent::Fixation(f) => {
            f.centroid_rad.iter().all(|v| v.is_finite())
                && f.dispersion_rad.is_finite()
                && por_is_finite(&f.por)
        }
        GazeEvent::Saccade(s) => {
            s.amplitude_rad.is_finite()
                && s.peak_velocity_rad_s.is_finite()
                && por_is_finite(&s.landing)
        }
        GazeEvent::Pursuit(pursuit) => {
            pursuit.amplitude_rad.is_finite() && por_is_finite(&pursuit.por)
        }
        // Times and names only, or what came in.
        GazeEvent::Sample(_)
        | GazeEvent::Begin(_)
        | GazeEvent::Update(_)
        | GazeEvent::Blink(_)
        | GazeEvent::Gap(_)
        | GazeEvent::ObjectEnter(_)
        | GazeEvent::ObjectLeave(_) => true,
    }
}

fn shifted(samples: &[GazeSample], us: u64) -> Vec<GazeSample> {
    let shift = |sample: &GazeSample| GazeSample {
        captured_at: Timestamp(sample.captured_at.as_us() + us),
        ..*sample
    };
    samples.iter().map(shift).collect()
}

fn mirrored(samples: &[GazeSample]) -> Vec<GazeSample> {
    let mirror = |sample: &GazeSample| GazeSample {
        line_of_gaze: sample.line_of_gaze.map(|gaze| GazeAngles {
            yaw_rad: -gaze.yaw_rad,
            ..gaze
        }),
        por: sample.por.map(|por| PointOfRegard {
            x_mm: -por.x_mm,
            ..por
        }),
        ..*sample
    };
    samples.iter().map(mirror).collect()
}

/// A large saccade, a fixation, and a last small step of settling that is too short for a fixation of its own.
#[test]
fn a_fixation_that_settles_in_its_last_frames_ends() {
    let mut dice = crate::simulated::Dice::new(7);
    let mut samples = Vec::new();
    for (frames, yaw, noise) in [(40, 0.0, 0.003), (7, 0.256, 0.001), (2, 0.28, 0.001)] {
        for _ in 0..frames {
            let us = 16_667 * (samples.len() as u64 + 1);
            let x = yaw + noise * dice.normal() as f32;
            let y = noise * dice.normal() as f32;
            samples.push(sample_at(us, Validity::Valid, x, y));
        }
    }
    let told = story(with(Detector::Adaptive), &samples);
    let begun = told.iter().filter_map(|event| match event {
        GazeEvent::Begin(event) if event.kind == EventKind::Fixation => Some(event.id),
        _ => None,
    });
    let begun: Vec<_> = begun.collect();
    let ended = told.iter().filter_map(|event| match event {
        GazeEvent::Fixation(event) => Some(event.id),
        _ => None,
    });
    assert_eq!(begun.len(), 2);
    assert_eq!(ended.collect::<Vec<_>>(), begun);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_are_ordered_disjoint_and_no_shorter_than_asked(
        samples in sensible_stream(),
        detector in detectors(),
    ) {
        let events = detect(with(detector), &samples);
        let mut moves = fixations(&events);
        for fixation in &moves {
            prop_assert!(fixation.to_ms - fixation.from_ms >= shortest_ms(detector));
        }
        for saccade in saccades(&events) {
            // It begins where a fixation ends; the network sees saccades between anything.
            let is_network = detector == Detector::Network;
            prop_assert!(is_network || saccade.to_ms - saccade.from_ms <= 200.0);
            prop_assert!(is_network || moves.iter().any(|f| (f.to_ms - saccade.from_ms).abs() < 1e-6));
        }
        for pursuit in pursuits(&events) {
            prop_assert!(pursuit.to_ms - pursuit.from_ms >= 100.0);
        }
        moves.extend(saccades(&events));
        moves.extend(pursuits(&events));
        moves.sort_by(|a, b| a.from_ms.total_cmp(&b.from_ms));
        let mut absences = blinks(&events);
        absences.extend(gaps(&events));
        for kind in [fixations(&events), saccades(&events), blinks(&events), gaps(&events)] {
            prop_assert!(kind.is_sorted_by(|a, b| a.from_ms < b.from_ms));
        }
        absences.sort_by(|a, b| a.from_ms.total_cmp(&b.from_ms));
        for stretches in [moves, absences] {
            for pair in stretches.windows(2) {
                prop_assert!(pair[0].from_ms <= pair[0].to_ms);
                prop_assert!(pair[0].to_ms <= pair[1].from_ms, "{pair:?}");
            }
        }
        let gaps = gaps(&events);
        for fixation in fixations(&events) {
            for gap in &gaps {
                prop_assert!(fixation.overlap_ms(gap) <= 0.0);
            }
        }
    }

    #[test]
    fn what_begins_ends_once_under_its_number(
        samples in prop_oneof![sensible_stream(), senseless_stream()],
        detector in detectors(),
    ) {
        let mut open = HashMap::new();
        let mut ended = HashSet::new();
        for event in story(with(detector), &samples) {
            let (id, kind, until) = match event {
                GazeEvent::Begin(event) => {
                    prop_assert!(!ended.contains(&event.id));
                    prop_assert!(open.insert(event.id, event).is_none());
                    continue;
                }
                GazeEvent::Update(event) => {
                    // Time goes on, save where a gap turns out to have been a blink that is over.
                    let follows = open.insert(event.id, event).is_some_and(|before| {
                        before.until <= event.until || before.kind != event.kind
                    });
                    prop_assert!(follows);
                    continue;
                }
                GazeEvent::Fixation(event) => (event.id, EventKind::Fixation, event.offset),
                GazeEvent::Saccade(event) => (event.id, EventKind::Saccade, event.offset),
                GazeEvent::Pursuit(event) => (event.id, EventKind::Pursuit, event.offset),
                GazeEvent::Blink(event) => (event.id, EventKind::Blink, event.offset),
                GazeEvent::Gap(event) => (event.id, EventKind::Gap, event.offset),
                _ => continue,
            };
            prop_assert!(id > 0 && ended.insert(id), "{id} ends twice");
            if let Some(begun) = open.remove(&id) {
                let is_absence = |kind| matches!(kind, EventKind::Blink | EventKind::Gap);
                prop_assert!(begun.kind == kind || is_absence(begun.kind) && is_absence(kind));
                prop_assert!(begun.onset <= until);
            }
        }
        prop_assert!(open.is_empty(), "{open:?} never end");
    }

    #[test]
    fn only_time_differences_count(
        samples in sensible_stream(),
        detector in detectors(),
        shift_us in 1u64..1_000_000_000_000,
    ) {
        let events = detect(with(detector), &samples);
        let later = detect(with(detector), &shifted(&samples, shift_us));
        let onsets = |events: &[GazeEvent]| -> Vec<u64> {
            fixations(events).iter().chain(&saccades(events)).chain(&blinks(events))
                .chain(&gaps(events)).flat_map(|s| [s.from_ms, s.to_ms])
                .map(|ms| (ms * 1000.0).round() as u64).collect()
        };
        let back: Vec<u64> = onsets(&later).iter().map(|us| us - shift_us).collect();
        prop_assert_eq!(onsets(&events), back);
    }

    /// Places on a grid of a hundredth of a degree, as trackers write them, shifted along it.
    #[test]
    fn the_network_does_not_care_where_on_the_screen(
        samples in sensible_stream(),
        shift in -900i32..900,
        mirror in any::<bool>(),
    ) {
        let labels = |shift: i32, sign: f32| {
            let mut stream = LabelStream::default();
            let mut labels = Vec::new();
            let mut take = |label: Label, samples: u32| labels.push((label, samples));
            for sample in &samples {
                let grid = |rad: f32| (rad.to_degrees() * 100.0).round() as i32;
                let gaze = sample.line_of_gaze.filter(|_| sample.validity.is_usable());
                let gaze = gaze.map(|gaze| GazeAngles {
                    yaw_rad: (sign * (grid(gaze.yaw_rad) + shift) as f32 * 0.01).to_radians(),
                    pitch_rad: ((grid(gaze.pitch_rad) - shift) as f32 * 0.01).to_radians(),
                });
                stream.step(sample.captured_at, gaze, &mut take);
            }
            stream.finish(&mut take);
            labels
        };
        prop_assert_eq!(labels(0, 1.0), labels(shift, if mirror { -1.0 } else { 1.0 }));
    }

    #[test]
    fn left_and_right_are_treated_alike(samples in sensible_stream(), detector in detectors()) {
        let events = detect(with(detector), &samples);
        let other = detect(with(detector), &mirrored(&samples));
        prop_assert_eq!(events.len(), other.len());
        for (event, other) in events.iter().zip(&other) {
            match (event, other) {
                (GazeEvent::Fixation(a), GazeEvent::Fixation(b)) => {
                    prop_assert_eq!((a.onset, a.offset), (b.onset, b.offset));
                    prop_assert_eq!(a.dispersion_rad.to_bits(), b.dispersion_rad.to_bits());
                    prop_assert!((a.centroid_rad[0] + b.centroid_rad[0]).abs() < 1e-9);
                }
                (GazeEvent::Saccade(a), GazeEvent::Saccade(b)) => {
                    prop_assert_eq!((a.onset, a.offset), (b.onset, b.offset));
                    prop_assert_eq!(a.amplitude_rad.to_bits(), b.amplitude_rad.to_bits());
                }
                (a, b) => prop_assert_eq!(a, b),
            }
        }
    }

    #[test]
    fn rubbish_in_gives_no_panic_and_no_rubbish_out(
        samples in senseless_stream(),
        detector in detectors(),
    ) {
        let events = detect(with(detector), &samples);
        prop_assert!(events.iter().all(is_finite), "{events:?}");
        let mut screen = Objects::new(ObjectSettings::default()).expect("defaults are in range");
        let area = ObjectBox { x_mm: -50.0, y_mm: -50.0, width_mm: 100.0, height_mm: 100.0 };
        screen.add("box", area).expect("it fits");
        for sample in &samples {
            let mut out = EventBuf::new();
            screen.step(sample, &mut out);
            prop_assert!(out.as_slice().len() <= 2);
            prop_assert!(velocity_rad_s(&samples[0], sample).is_none_or(f32::is_finite));
        }
    }

    #[test]
    fn one_step_never_fills_the_buffer(samples in senseless_stream(), detector in detectors()) {
        let mut stage = EventDetector::new(with(detector)).expect("defaults are in range");
        for sample in &samples {
            let mut out = EventBuf::new();
            stage.step(sample, &mut out);
            prop_assert!(out.as_slice().len() <= 22);
            prop_assert!(stage.noise_rad().is_none_or(|rad| rad > 0.0 && rad < 0.2));
        }
    }

    #[test]
    fn smoothing_stays_within_what_it_was_given(
        points in prop::collection::vec((0u64..60_000, any::<f32>(), -500.0f32..500.0), 1..100),
        beta_hz_per_mm_s in 0.0f32..10.0,
    ) {
        let settings = OneEuroSettings { beta_hz_per_mm_s, ..OneEuroSettings::default() };
        let mut filter = OneEuro::new(settings).expect("in range");
        let mut us = 0;
        let mut seen: Option<[f32; 4]> = None;
        for (step_us, x_mm, y_mm) in points {
            us += step_us;
            let smooth = filter.step(Timestamp(us), PointOfRegard { x_mm, y_mm });
            prop_assert_eq!(smooth.is_some(), x_mm.is_finite());
            let Some(smooth) = smooth else { continue };
            let [x0, x1, y0, y1] = seen.unwrap_or([x_mm, x_mm, y_mm, y_mm]);
            let range = [x0.min(x_mm), x1.max(x_mm), y0.min(y_mm), y1.max(y_mm)];
            prop_assert!((range[0]..=range[1]).contains(&smooth.x_mm));
            prop_assert!((range[2]..=range[3]).contains(&smooth.y_mm));
            seen = Some(range);
        }
    }
}

#[test]
fn a_stream_after_another_gives_the_same_events_as_alone() {
    let recording = record(1, 20.0, Habits::default(), Camera::webcam(0.1));
    let settings = EventSettings::default();
    let alone = detect(settings, &recording.samples);
    let mut stage = EventDetector::new(settings).expect("defaults are in range");
    let mut last = Vec::new();
    for _ in 0..2 {
        last.clear();
        let mut out = EventBuf::new();
        for sample in &recording.samples {
            out.clear();
            stage.step(sample, &mut out);
            last.extend(out.iter().cloned());
        }
        out.clear();
        stage.finish(&mut out);
        last.extend(out.iter().cloned());
    }
    // The noise estimate is kept from stream to stream, so only what does not hang on it is alike.
    assert_eq!(fixations(&alone).len(), fixations(&last).len());
    assert_eq!(blinks(&alone), blinks(&last));
}
