//! Clients that show targets of their own.

use super::*;
use crate::record::Reference;

#[test]
fn a_client_times_its_own_targets() {
    let mut session = session(|options| {
        options.points = vec![[0.1, 0.1], [0.9, 0.1], [0.5, 0.9], [0.1, 0.9], [0.9, 0.9]];
        options.timing = Timing::Fixed {
            delay_ms: 500,
            duration_ms: 1000,
        };
        options.validation = 0;
        options.placing = false;
        options.accept = true;
    });
    // In the client's order, 1.5 s each.
    let seconds = run(&mut session, look);
    assert!((7.4..8.2).contains(&seconds), "{seconds} s");
    assert!(session.accepts_by_itself());
    assert_eq!(session.places[1].share, [0.9, 0.1]);
}

#[test]
fn a_clients_own_clock_holds_for_every_target_and_over_missing_frames() {
    let n = 9;
    let mut session = session(|options| {
        options.points = vec![[0.5, 0.5]; n];
        options.timing = Timing::Fixed {
            delay_ms: 500,
            duration_ms: 1000,
        };
        options.validation = 0;
        options.placing = false;
    });
    let mut person = Person::new();
    let mut seen_at = std::collections::HashMap::new();
    let mut began = None;
    while matches!(session.state, State::Looking { .. } | State::Placing) {
        // From 5.5 to 7.0 s no frame comes: half of the fourth target, and half of the fifth.
        if person.seq == 165 {
            person.at = person.at + Span::from_ms(1500);
        }
        let frame = person.frame(&session, look);
        session.step(&frame);
        began = began.or(session.shown().map(|_| person.at));
        seen_at.insert(person.seq, person.at);
    }
    let began = began.unwrap();
    for (k, place) in session.places.iter().enumerate() {
        let from = began + Span::from_ms(1500 * k as u64 + 500);
        let to = began + Span::from_ms(1500 * k as u64 + 1500);
        let samples = place.samples.as_ref().unwrap();
        let times: Vec<_> = samples.iter().map(|sample| seen_at[&sample.seq]).collect();
        let is_within = times.iter().all(|at| (from..=to).contains(at));
        assert!(
            is_within,
            "target {k}: {times:?} not from {from:?} to {to:?}"
        );
        // A second at 30 frames/s, but for the two whose frames were missing.
        let n_expected = if matches!(k, 3 | 4) { 1..30 } else { 30..32 };
        assert!(
            n_expected.contains(&times.len()),
            "target {k}: {}",
            times.len()
        );
    }
}

#[test]
fn a_client_says_when_each_target_is_over() {
    let mut session = session(|options| {
        options.timing = Timing::ByCommand;
        options.placing = false;
    });
    let mut person = Person::new();
    let shares = [[0.1, 0.1], [0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.9, 0.9]];
    for [x, y] in shares {
        session.command(&CalibrateMessage::Show { x, y }).unwrap();
        for _ in 0..40 {
            let frame = person.frame(&session, look);
            session.step(&frame);
        }
        session.command(&CalibrateMessage::Next).unwrap();
        assert_eq!(session.record().stage, Stage::Waiting);
    }
    session.command(&CalibrateMessage::Finish).unwrap();
    assert_eq!(session.record().stage, Stage::Review);
    assert_eq!(profile_of(&session).unwrap().quality.targets.len(), 5);
}

/// A client shows five targets for 40 frames each and says afterwards where they were; the eyes come
/// `late` frames after each.
fn told_afterwards(late: u64) -> (Session, Vec<Reference>) {
    let mut session = session(|options| {
        options.timing = Timing::ByReference;
        options.placing = false;
    });
    let mut person = Person::new();
    let shares = [[0.1, 0.1], [0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.9, 0.9]];
    let place = |seq: u64| shares[(seq / 40).min(4) as usize];
    let mut references = Vec::new();
    for _ in 0..200 {
        let frame = person.frame(&session, |seq, _| {
            Act::Look(place((seq - 1).saturating_sub(late)))
        });
        let [x, y] = place(frame.seq - 1);
        // The client's own clock ticks between frames.
        let t_us = frame.captured_at.as_us() + 9_000;
        references.push(Reference { t_us, x, y });
        session.step(&frame);
    }
    (session, references)
}

#[test]
fn a_client_may_say_afterwards_where_its_targets_were() {
    let (mut session, references) = told_afterwards(6);
    let (first, second) = references.split_at(90);
    for references in [first, second] {
        let references = references.to_vec();
        session
            .command(&CalibrateMessage::References { references })
            .unwrap();
    }
    session.command(&CalibrateMessage::Finish).unwrap();
    assert_eq!(session.record().stage, Stage::Review);
    let quality = profile_of(&session).unwrap().quality;
    assert_eq!(quality.targets.len(), 5);
    // Ten frames of the way to a target, 300 ms, are not among its samples.
    for place in &session.places {
        assert_eq!(place.samples.as_ref().unwrap().len(), 30);
    }
}

#[test]
fn references_out_of_order_and_an_end_without_any_are_refused() {
    let (mut session, mut references) = told_afterwards(6);
    let finished = session.command(&CalibrateMessage::Finish).unwrap_err();
    assert!(finished.to_string().contains("0 references"), "{finished}");
    references.swap(3, 4);
    let refused = session.command(&CalibrateMessage::References { references });
    assert!(refused.unwrap_err().to_string().contains("order"));
    assert_eq!(session.record().stage, Stage::Waiting);
}
