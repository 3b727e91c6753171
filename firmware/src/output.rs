//! When an output is on: after the dwell, for no longer than its hold, with a rest between.
//!
//! An output comes on once a visit. It goes off when its hold is over, when the visit ends if it
//! is set so, by hand, and whenever the board goes to its safe state; then it rests. The rest
//! outlives sessions and settings, so that no sequence of commands makes an output flicker.

use gaze_protocol::message::{
    MAX_HOLD_MS, MIN_REST_MS, OutputSettings, Refusal, SwitchCause, Visit,
};
use gaze_protocol::{Span, Timestamp};

/// The state of one output; the pin is the device's.
#[derive(Clone, Debug)]
pub struct OutputControl {
    settings: Option<OutputSettings>,
    state: State,
    /// The last visit that it came on for.
    served: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Off {
        rests_until: Timestamp,
    },
    On {
        since: Timestamp,
        until: Timestamp,
        /// Goes off when this visit ends.
        visit: Option<u32>,
    },
}

/// An output went on or off, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switching {
    /// Whether it is on now.
    pub is_on: bool,
    /// The reason.
    pub why: SwitchCause,
}

impl Default for OutputControl {
    fn default() -> Self {
        OutputControl {
            settings: None,
            state: State::Off {
                rests_until: Timestamp(0),
            },
            served: None,
        }
    }
}

impl OutputControl {
    /// Whether the output is to be on.
    pub const fn is_on(&self) -> bool {
        matches!(self.state, State::On { .. })
    }

    /// Says what the output does with visits; the settings must have been found allowed. What is
    /// on stays on within its limits.
    pub fn configure(&mut self, settings: OutputSettings) {
        self.settings = Some(settings);
    }

    /// Visits do nothing any more, and the numbers of old ones mean nothing.
    pub fn forget(&mut self) {
        self.settings = None;
        self.served = None;
    }

    /// Switches by hand: on for `hold_ms`, or off for 0. On again while it is on gives it more
    /// time, up to the longest hold since it came on.
    ///
    /// # Errors
    /// [`Refusal::OutOfRange`] above [`MAX_HOLD_MS`], [`Refusal::TooSoon`] while it rests.
    pub fn set(&mut self, now: Timestamp, hold_ms: u16) -> Result<Option<Switching>, Refusal> {
        if hold_ms > MAX_HOLD_MS {
            return Err(Refusal::OutOfRange);
        }
        if hold_ms == 0 {
            return Ok(self.off(now, SwitchCause::Hand));
        }
        let until = now + ms(hold_ms);
        match self.state {
            State::Off { rests_until } if now < rests_until => Err(Refusal::TooSoon),
            State::Off { .. } => Ok(Some(self.on(now, until, None, SwitchCause::Hand))),
            State::On { since, .. } => {
                self.state = State::On {
                    since,
                    until: until.min(since + ms(MAX_HOLD_MS)),
                    visit: None,
                };
                Ok(None)
            }
        }
    }

    /// Follows time and the open visit.
    pub fn step(&mut self, now: Timestamp, open: Option<&Visit>) -> Option<Switching> {
        match self.state {
            State::On { until, .. } if now >= until => self.off(now, SwitchCause::HoldOver),
            State::On {
                visit: Some(visit), ..
            } if open.map(|open| open.visit) != Some(visit) => {
                self.off(now, SwitchCause::VisitOver)
            }
            State::On { .. } => None,
            State::Off { rests_until } if now < rests_until => None,
            State::Off { .. } => self.serve(now, open?),
        }
    }

    /// Comes on for a visit that is long enough.
    fn serve(&mut self, now: Timestamp, open: &Visit) -> Option<Switching> {
        let settings = self.settings.as_ref()?;
        let is_meant = settings.object.is_empty() || settings.object == open.object;
        let is_long_enough = now.since(open.onset) >= ms(settings.dwell_ms);
        if !is_meant || !is_long_enough || self.served == Some(open.visit) {
            return None;
        }
        let until = now + ms(settings.hold_ms);
        let visit = settings.ends_with_visit.then_some(open.visit);
        self.served = Some(open.visit);
        let why = SwitchCause::Dwell { visit: open.visit };
        Some(self.on(now, until, visit, why))
    }

    /// Off at once; none when it was off.
    pub fn off(&mut self, now: Timestamp, why: SwitchCause) -> Option<Switching> {
        if !self.is_on() {
            return None;
        }
        let rest_ms = self
            .settings
            .as_ref()
            .map_or(MIN_REST_MS, |settings| settings.rest_ms.max(MIN_REST_MS));
        self.state = State::Off {
            rests_until: now + ms(rest_ms),
        };
        Some(Switching { is_on: false, why })
    }

    /// The pin could not be set low: it counts as on, and its rest begins when it has gone off.
    pub fn stays_on(&mut self, now: Timestamp) {
        self.state = State::On {
            since: now,
            until: now,
            visit: None,
        };
    }

    fn on(
        &mut self,
        now: Timestamp,
        until: Timestamp,
        visit: Option<u32>,
        why: SwitchCause,
    ) -> Switching {
        self.state = State::On {
            since: now,
            until,
            visit,
        };
        Switching { is_on: true, why }
    }
}

fn ms(ms: u16) -> Span {
    Span::from_ms(u64::from(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms * 1000)
    }

    fn control(ends_with_visit: bool) -> OutputControl {
        let mut control = OutputControl::default();
        control.configure(OutputSettings {
            object: "yes".try_into().unwrap(),
            dwell_ms: 800,
            hold_ms: 500,
            rest_ms: 1000,
            ends_with_visit,
        });
        control
    }

    fn visit(visit: u32, object: &str, onset_ms: u64) -> Visit {
        Visit {
            visit,
            object: object.try_into().unwrap(),
            onset: at(onset_ms),
        }
    }

    fn on(visit: u32) -> Option<Switching> {
        Some(Switching {
            is_on: true,
            why: SwitchCause::Dwell { visit },
        })
    }

    fn off(why: SwitchCause) -> Option<Switching> {
        Some(Switching { is_on: false, why })
    }

    #[test]
    fn it_comes_on_after_the_dwell_once_a_visit_and_goes_off_after_its_hold() {
        let mut output = control(false);
        let looking = visit(1, "yes", 100);
        assert_eq!(output.step(at(899), Some(&looking)), None);
        assert_eq!(output.step(at(900), Some(&looking)), on(1));
        // The visit ends; the pulse goes on.
        assert_eq!(output.step(at(1399), None), None);
        assert_eq!(output.step(at(1400), None), off(SwitchCause::HoldOver));
        assert_eq!(output.step(at(9000), Some(&looking)), None);
        assert_eq!(output.step(at(9000), Some(&visit(2, "yes", 8000))), on(2));
    }

    #[test]
    fn it_goes_off_with_the_visit_when_set_so() {
        let mut output = control(true);
        assert_eq!(output.step(at(800), Some(&visit(1, "yes", 0))), on(1));
        let other = visit(2, "yes", 900);
        assert_eq!(
            output.step(at(900), Some(&other)),
            off(SwitchCause::VisitOver)
        );
        // Dwell is reached at 1700, the rest is over at 1900.
        assert_eq!(output.step(at(1899), Some(&other)), None);
        assert_eq!(output.step(at(1900), Some(&other)), on(2));
    }

    #[test]
    fn only_its_own_object_counts_unless_it_is_for_any() {
        let mut output = control(false);
        assert_eq!(output.step(at(5000), Some(&visit(1, "no", 0))), None);
        output.configure(OutputSettings {
            object: "".try_into().unwrap(),
            ..output.settings.clone().unwrap()
        });
        assert_eq!(output.step(at(5000), Some(&visit(1, "no", 0))), on(1));
    }

    #[test]
    fn by_hand_it_stays_within_the_longest_hold_and_rests() {
        let mut output = OutputControl::default();
        let by_hand = SwitchCause::Hand;
        assert_eq!(output.set(at(0), MAX_HOLD_MS + 1), Err(Refusal::OutOfRange));
        let switched = output.set(at(0), 9_000).unwrap().unwrap();
        assert_eq!((switched.is_on, switched.why), (true, by_hand));
        // More time, but no more than 10 s in all.
        assert_eq!(output.set(at(8_000), 9_000), Ok(None));
        assert_eq!(output.step(at(9_999), None), None);
        assert_eq!(output.step(at(10_000), None), off(SwitchCause::HoldOver));
        assert_eq!(output.set(at(10_333), 10), Err(Refusal::TooSoon));
        assert!(output.set(at(10_334), 10).unwrap().is_some());
        assert_eq!(output.set(at(10_335), 0), Ok(off(by_hand)));
        // Forgetting the settings does not shorten the rest.
        output.forget();
        assert_eq!(output.set(at(10_600), 10), Err(Refusal::TooSoon));
    }
}
