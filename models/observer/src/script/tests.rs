use super::*;

fn free_script(seed: u64) -> Script {
    Script::new(ScriptSettings {
        seed,
        kind: ScriptKind::Free,
        screen_mm: [531.0, 299.0],
        eyes_mm: [0.0, 40.0, 600.0],
        blinks_per_minute: BLINKS_PER_MINUTE,
    })
}

#[test]
fn events_follow_one_another_without_gaps() {
    let mut script = free_script(4);
    let events = script.events(Timestamp(120_000_000)).to_vec();
    assert_eq!(events[0].onset, Timestamp(0));
    for pair in events.windows(2) {
        assert_eq!(pair[0].offset, pair[1].onset);
        assert_eq!(pair[0].to, pair[1].from);
    }
}

#[test]
fn durations_and_velocities_are_human() {
    let mut script = free_script(8);
    let minutes = 20.0;
    let events = script.events(Timestamp(1_200_000_000)).to_vec();
    let mut blinks = 0;
    for event in &events {
        let ms = event.offset.since(event.onset).as_us() as f32 / 1000.0;
        match event.label {
            EventLabel::Fixation => assert!((149.0..=601.0).contains(&ms), "{event:?}"),
            EventLabel::Saccade => {
                let degrees = script.angle_between(event.from, event.to).to_degrees();
                assert!((ms - 2.2 * degrees - 21.0).abs() < 0.01);
                // Minimum jerk peaks at 1.875 of the mean velocity.
                let peak = 1.875 * degrees / (ms / 1000.0);
                assert!((100.0..900.0).contains(&peak), "{peak} deg/s");
            }
            EventLabel::Pursuit => assert!(ms >= 299.0),
            EventLabel::Blink => {
                blinks += 1;
                assert!((119.0..=301.0).contains(&ms));
            }
        }
    }
    let rate = blinks as f32 / minutes;
    assert!((13.0..20.0).contains(&rate), "{rate} blinks a minute");
}

#[test]
fn targets_are_looked_at_in_turn_and_the_last_for_ever() {
    let point = |x_mm, y_mm| PointOfRegard { x_mm, y_mm };
    let targets = [point(10.0, 10.0), point(500.0, 10.0), point(250.0, 280.0)];
    let mut script = Script::new(ScriptSettings {
        seed: 1,
        kind: ScriptKind::Targets(
            targets
                .iter()
                .map(|&point| ScriptTarget {
                    point,
                    duration: Span::from_ms(1000),
                })
                .collect(),
        ),
        screen_mm: [531.0, 299.0],
        eyes_mm: [0.0, 40.0, 600.0],
        blinks_per_minute: 0.0,
    });
    for (at_ms, expected) in [(500, 0), (999, 0), (1500, 1), (2500, 2), (900_000, 2)] {
        let (event, gaze) = script.at(Timestamp(at_ms * 1000));
        assert_eq!(event.label, EventLabel::Fixation, "at {at_ms} ms");
        assert_eq!(gaze, targets[expected]);
    }
    let (event, _) = script.at(Timestamp(1_010_000));
    assert_eq!(event.label, EventLabel::Saccade);
}

#[test]
fn a_blink_closes_fast_and_opens_slowly() {
    assert!((blink_opening(0.0) - 1.0).abs() < 1e-6);
    assert!(blink_opening(0.3) == 0.0);
    assert!((blink_opening(1.0) - 1.0).abs() < 1e-6);
    assert!(blink_opening(0.125) < 0.6 && blink_opening(0.75) > 0.4);
}

fn at(x_mm: f32, y_mm: f32) -> Shown {
    Shown {
        point: PointOfRegard { x_mm, y_mm },
        is_moving: false,
    }
}

#[test]
fn eyes_come_to_a_shown_target_after_the_latency_of_a_saccade() {
    let mut script = free_script(8);
    script.settings.blinks_per_minute = 0.0;
    script.due.blink_us = u64::MAX;
    let shown_at = Timestamp(2_000_000);
    script.events(shown_at + Span(500_000));
    script.show(shown_at, Some(at(53.0, 30.0)));
    // Still elsewhere at 150 ms, there at 400 ms: 200 ms of latency, below 120 ms of saccade.
    let (_, early) = script.at(shown_at + Span(150_000));
    assert_ne!(early, at(53.0, 30.0).point);
    let (event, late) = script.at(shown_at + Span(400_000));
    assert_eq!(
        (event.label, late),
        (EventLabel::Fixation, at(53.0, 30.0).point)
    );
    // Asked again the past is the same.
    assert_eq!(script.at(shown_at + Span(150_000)).1, early);
}

#[test]
fn one_of_the_shown_targets_is_not_looked_at_at_once() {
    let mut script = free_script(5);
    let mut looked_away = 0;
    for n in 0..9u64 {
        let time = Timestamp(1_500_000 * (n + 1));
        let shown = at(50.0 + 50.0 * n as f32, 150.0);
        script.show(time, Some(shown));
        let (_, gaze) = script.at(time + Span(700_000));
        looked_away += u32::from(gaze != shown.point);
        script.at(time + Span(1_500_000));
    }
    assert_eq!(looked_away, 1);
}

#[test]
fn a_moving_target_is_pursued_a_tenth_of_a_second_behind() {
    let mut script = free_script(2);
    script.due.blink_us = u64::MAX;
    // 121 mm a second to the right.
    let x_mm = |at_us: u64| 50.0 + 121.2e-6 * (at_us as f32 - 990_000.0);
    let mut lags_ms: Vec<f32> = Vec::new();
    for n in 30..120u64 {
        let time = Timestamp(33_000 * n);
        let point = PointOfRegard {
            x_mm: x_mm(time.as_us()),
            y_mm: 100.0,
        };
        let is_moving = true;
        script.show(time, Some(Shown { point, is_moving }));
        let (event, gaze) = script.at(time);
        // After the first second the eyes have caught up.
        if n > 60 {
            assert_eq!(event.label, EventLabel::Pursuit, "{event:?}");
            lags_ms.push((point.x_mm - gaze.x_mm) / 121.2e-3);
        }
    }
    // Within a twentieth of a frame: rounding of positions in f32.
    for lag_ms in lags_ms {
        assert!((lag_ms - 100.0).abs() < 2.0, "{lag_ms} ms");
    }
}

#[test]
fn targets_that_were_not_looked_at_yet_come_after_something_else_was_shown() {
    let point = |x_mm| PointOfRegard { x_mm, y_mm: 100.0 };
    let targets: Vec<ScriptTarget> = [50.0, 150.0, 250.0, 350.0]
        .into_iter()
        .map(|x_mm| ScriptTarget {
            point: point(x_mm),
            duration: Span::from_ms(1000),
        })
        .collect();
    let mut script = Script::new(ScriptSettings {
        seed: 1,
        kind: ScriptKind::Targets(targets),
        screen_mm: [531.0, 299.0],
        eyes_mm: [0.0, 40.0, 600.0],
        blinks_per_minute: 0.0,
    });
    // Somebody has asked for all of it already.
    script.events(Timestamp(10_000_000));
    script.show(Timestamp(1_500_000), Some(at(500.0, 200.0)));
    assert_eq!(script.at(Timestamp(2_900_000)).1, at(500.0, 200.0).point);
    script.show(Timestamp(3_000_000), None);
    for (at_ms, x_mm) in [(3_500, 250.0), (4_500, 350.0), (9_000, 350.0)] {
        assert_eq!(script.at(Timestamp(at_ms * 1000)).1, point(x_mm), "{at_ms}");
    }
}

#[test]
fn what_is_forgotten_changes_nothing_later() {
    let (mut whole, mut short) = (free_script(3), free_script(3));
    for second in 0..600u64 {
        let at = Timestamp(1_000_000 * second);
        assert_eq!(whole.at(at), short.at(at));
        assert_eq!(whole.smoothed(at), short.smoothed(at));
        short.forget_before(at);
    }
    assert!(short.events.len() < 50 && short.before.len() == short.events.len());
}
