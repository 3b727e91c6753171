//! Which object is looked at, for how long, by this board's clock.

use gaze_protocol::message::Visit;
use gaze_protocol::{Span, Timestamp};

/// The visit that is open, if it has been confirmed lately.
#[derive(Clone, Debug, Default)]
pub struct Dwell {
    open: Option<Open>,
}

#[derive(Clone, Debug)]
struct Open {
    visit: Visit,
    confirmed_at: Timestamp,
}

impl Dwell {
    /// The host said at `said_at` that the gaze is on an object: a new visit, or the open one
    /// again. The onset of a visit is that of its first message.
    pub fn confirm(&mut self, visit: Visit, said_at: Timestamp) {
        match &mut self.open {
            Some(open) if open.visit.visit == visit.visit => {
                open.confirmed_at = open.confirmed_at.max(said_at);
            }
            _ => {
                self.open = Some(Open {
                    visit,
                    confirmed_at: said_at,
                });
            }
        }
    }

    /// The host says that a visit is over.
    pub fn end(&mut self, visit: u32) {
        self.open.take_if(|open| open.visit.visit == visit);
    }

    /// Nothing is looked at.
    pub fn clear(&mut self) {
        self.open = None;
    }

    /// Ends a visit that has not been confirmed within `lease`.
    pub fn step(&mut self, now: Timestamp, lease: Span) {
        self.open
            .take_if(|open| now.since(open.confirmed_at) >= lease);
    }

    /// The open visit.
    pub fn visit(&self) -> Option<&Visit> {
        self.open.as_ref().map(|open| &open.visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(visit: u32, onset: u64) -> Visit {
        Visit {
            visit,
            object: "yes".try_into().unwrap(),
            onset: Timestamp(onset),
        }
    }

    #[test]
    fn a_visit_lasts_as_long_as_it_is_confirmed() {
        let mut dwell = Dwell::default();
        dwell.confirm(visit(1, 100), Timestamp(1_000));
        dwell.step(Timestamp(1_499), Span(500));
        assert_eq!(dwell.visit(), Some(&visit(1, 100)));
        // Said again: the lease is renewed, the onset stays.
        dwell.confirm(visit(1, 700), Timestamp(1_499));
        dwell.step(Timestamp(1_998), Span(500));
        assert_eq!(dwell.visit(), Some(&visit(1, 100)));
        dwell.step(Timestamp(1_999), Span(500));
        assert_eq!(dwell.visit(), None);
    }

    #[test]
    fn a_new_visit_replaces_the_open_one_and_only_the_open_one_can_end() {
        let mut dwell = Dwell::default();
        dwell.confirm(visit(1, 0), Timestamp(10));
        dwell.confirm(visit(2, 20), Timestamp(30));
        dwell.end(1);
        assert_eq!(dwell.visit(), Some(&visit(2, 20)));
        dwell.end(2);
        assert_eq!(dwell.visit(), None);
    }
}
