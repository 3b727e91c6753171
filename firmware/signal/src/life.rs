//! The life of an event: a number when it begins, corrections while it lasts, the same number at
//! its end.
//!
//! The detectors say what has ended and what goes on; here that becomes a story. Every event that
//! was said to begin comes to an end, once.

use gaze_protocol::{EventId, EventKind, GazeEvent, OpenEvent, PointOfRegard, Span, Timestamp};

use crate::event_buf::EventBuf;

/// An event of which nothing but its length is new is told again after this time.
const UPDATE_EVERY: Span = Span::from_ms(250);

/// What goes on, without a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub kind: EventKind,
    pub onset: Timestamp,
    pub until: Timestamp,
    pub por: Option<PointOfRegard>,
}

/// Numbers all events of one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lives {
    last_id: EventId,
    /// The fixation, saccade or pursuit that was said to begin.
    gaze: Option<OpenEvent>,
    /// The blink or gap that was.
    absence: Option<OpenEvent>,
}

impl Lives {
    /// Numbers the events of `out` from index `first` on, then tells what began or changed.
    pub fn step(
        &mut self,
        out: &mut EventBuf,
        first: usize,
        gaze: Option<Open>,
        absence: Option<Open>,
    ) {
        for event in out.since(first) {
            self.number(event);
        }
        follow(&mut self.last_id, &mut self.absence, absence, out);
        follow(&mut self.last_id, &mut self.gaze, gaze, out);
    }

    fn number(&mut self, event: &mut GazeEvent) {
        use EventKind::{Blink, Fixation, Gap, Pursuit, Saccade};
        let (kinds, open, id, until): (&[EventKind], _, _, _) = match event {
            GazeEvent::Fixation(event) => {
                (&[Fixation], &mut self.gaze, &mut event.id, event.offset)
            }
            GazeEvent::Saccade(event) => (&[Saccade], &mut self.gaze, &mut event.id, event.offset),
            GazeEvent::Pursuit(event) => (&[Pursuit], &mut self.gaze, &mut event.id, event.offset),
            GazeEvent::Blink(event) => (
                &[Blink, Gap],
                &mut self.absence,
                &mut event.id,
                event.offset,
            ),
            GazeEvent::Gap(event) => (
                &[Blink, Gap],
                &mut self.absence,
                &mut event.id,
                event.offset,
            ),
            GazeEvent::Sample(_)
            | GazeEvent::Begin(_)
            | GazeEvent::Update(_)
            | GazeEvent::ObjectEnter(_)
            | GazeEvent::ObjectLeave(_) => return,
        };
        let begun = open.take_if(|open| kinds.contains(&open.kind) && open.onset <= until);
        *id = match begun {
            Some(begun) => begun.id,
            None => next(&mut self.last_id),
        };
    }
}

fn next(last_id: &mut EventId) -> EventId {
    *last_id = last_id.wrapping_add(1).max(1);
    *last_id
}

fn follow(
    last_id: &mut EventId,
    told: &mut Option<OpenEvent>,
    open: Option<Open>,
    out: &mut EventBuf,
) {
    let Some(open) = open else { return };
    let numbered = |id| OpenEvent {
        id,
        kind: open.kind,
        onset: open.onset,
        until: open.until,
        por: open.por,
    };
    match told {
        None => {
            let event = numbered(next(last_id));
            *told = Some(event);
            out.push(GazeEvent::Begin(event));
        }
        Some(told) => {
            let is_new = told.kind != open.kind
                || told.onset != open.onset
                || open.until.since(told.until) >= UPDATE_EVERY;
            if is_new {
                *told = numbered(told.id);
                out.push(GazeEvent::Update(*told));
            }
        }
    }
}
