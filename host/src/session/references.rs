//! Targets of a client that says afterwards where they were: `by_reference`.

use gaze_calibration::{ScreenGeometry, TargetSample};
use gaze_protocol::{Span, Timestamp};

use super::steady::Seen;
use super::{COMMAND_ARRIVAL, MAX_POINTS, Place, SessionError, checked};
use crate::record::Reference;

/// Most references of a session: ten minutes of them at 60/s.
pub(super) const MAX_REFERENCES: usize = 36_000;

/// Most frames that are kept for them; later ones are not.
const MAX_SEEN: usize = 36_000;

/// A frame further than this from every reference has no target: clients say where it is with each
/// frame of their own, at least ten a second.
const NEAR: Span = Span::from_ms(50);

/// Places that differ by less than this, in shares of the screen, are one.
const SAME_SHARE: f32 = 1e-3;

/// What was seen, and where the target was.
#[derive(Clone, Debug, Default)]
pub(super) struct References {
    seen: Vec<Seen>,
    references: Vec<Reference>,
}

impl References {
    pub(super) fn see(&mut self, seen: Seen) {
        if self.seen.len() < MAX_SEEN {
            self.seen.push(seen);
        }
    }

    /// Adds what a client says; all of it or nothing.
    pub(super) fn add(&mut self, more: &[Reference]) -> Result<(), SessionError> {
        let found = self.references.len() + more.len();
        let last_us = self.references.last().map_or(0, |last| last.t_us);
        let is_in_order = more.is_sorted_by_key(|reference| reference.t_us)
            && more.first().is_none_or(|first| first.t_us >= last_us);
        if found > MAX_REFERENCES || !is_in_order {
            return Err(SessionError::References { found });
        }
        for reference in more {
            checked([reference.x, reference.y])?;
        }
        self.references.extend(more);
        Ok(())
    }

    /// The places, each with the frames in which the eyes had had time to be there.
    pub(super) fn places(&self, screen: &ScreenGeometry) -> Result<Vec<Place>, SessionError> {
        if self.references.is_empty() {
            return Err(SessionError::References { found: 0 });
        }
        let mut places: Vec<Place> = Vec::new();
        let mut frames = self.seen.iter().peekable();
        for run in self.references.chunk_by(is_same_place) {
            let (first, last) = (run[0], run[run.len() - 1]);
            let share = [first.x, first.y];
            let from = Timestamp(first.t_us) + COMMAND_ARRIVAL;
            let until = Timestamp(last.t_us);
            while frames.next_if(|seen| seen.at < from).is_some() {}
            let mut samples = Vec::new();
            while let Some(seen) = frames.next_if(|seen| seen.at <= until) {
                if is_near(seen.at, run) {
                    samples.push(TargetSample {
                        seq: seen.seq,
                        target: screen.from_normalised(share),
                        input: seen.input,
                    });
                }
            }
            let lasted = until.since(from);
            let found = places.iter().position(|place| is_same(place.share, share));
            if let Some(found) = found {
                let place = &mut places[found];
                place.lasted = Span(place.lasted.as_us() + lasted.as_us());
                place.samples.get_or_insert_default().extend(samples);
                continue;
            }
            if places.len() == MAX_POINTS {
                let found = MAX_POINTS + 1;
                return Err(SessionError::Points { found });
            }
            places.push(Place {
                attempts: 1,
                samples: Some(samples),
                lasted,
                ..Place::new(share, false)
            });
        }
        Ok(places)
    }
}

fn is_same([x, y]: [f32; 2], [other_x, other_y]: [f32; 2]) -> bool {
    (x - other_x).abs() < SAME_SHARE && (y - other_y).abs() < SAME_SHARE
}

fn is_same_place(a: &Reference, b: &Reference) -> bool {
    is_same([a.x, a.y], [b.x, b.y])
}

/// Whether a reference of the run is near in time.
fn is_near(at: Timestamp, run: &[Reference]) -> bool {
    let after = run.partition_point(|reference| reference.t_us < at.as_us());
    let near = |reference: &Reference| at.as_us().abs_diff(reference.t_us) <= NEAR.as_us();
    run[after.saturating_sub(1)..(after + 1).min(run.len())]
        .iter()
        .any(near)
}
