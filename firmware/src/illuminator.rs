//! The infrared illuminator: short pulses within limits of their own.
//!
//! # Eye safety
//!
//! The limits are those of the exempt group of IEC 62471:2006 ("Photobiological safety of lamps
//! and lamp systems") for people who look at the lamp for hours. They hold for an illuminator with
//!
//! - a wavelength of 850 nm or longer,
//! - at most 2.5 W/sr of radiant intensity on its axis **while it is on** (for example four 850 nm
//!   emitters of 0.6 W/sr each at 1 A),
//! - an apparent emitting area of at least 3 mm across for each emitter (a lens or a diffuser),
//! - eyes no nearer than 100 mm (the standard assesses lamps at 200 mm; a camera that one looks
//!   into may be nearer).
//!
//! Two hazards apply to invisible near infrared:
//!
//! **Cornea and lens** (4.3.7). Irradiance averaged over time at most 100 W/m² beyond 1000 s.
//!
//! ```text
//! while on: E = I / d² = 2.5 W/sr / (0.1 m)²       = 250 W/m²
//! averaged: E × duty   = 250 W/m² × 1/5            =  50 W/m²   half of 100
//! ```
//!
//! **Retina, weak visual stimulus** (4.3.6). Burn-hazard-weighted radiance at most 6000/α
//! W/(m² sr) beyond 10 s, with R(850 nm) = 10^((700 − 850)/500) = 0.50 and α the angle under which
//! an emitter is seen, here 3 mm / 100 mm = 0.03 rad.
//!
//! ```text
//! while on: L = I / A = 2.5 / 4 W/sr / (π (1.5 mm)²) = 88 kW/(m² sr) for each emitter
//! weighted: L × R     = 44 kW/(m² sr)
//! averaged: × 1/5     = 8.8 kW/(m² sr)               limit 6000/0.03 = 200 kW/(m² sr)
//! one pulse of 5 ms (4.3.5): limit 50,000/(α t^¼) = 50,000/(0.03 × 0.266) = 6.3 MW/(m² sr)
//! ```
//!
//! So the duty decides, and [`LIGHT_DUTY_DIVISOR`] leaves a factor of two. Whoever builds a
//! stronger lamp has to compute anew: this is arithmetic, not a certificate.
//!
//! # How the limits are kept
//!
//! Commands outside the limits are refused, and beneath that this module keeps them by itself,
//! with what the pin really did: a pulse never lasts longer than [`MAX_LIGHT_US`] and one turn of
//! the board's loop, and after each pulse the light stays off for four times as long as it was on.
//! If the loop is late, the pause grows by the same factor. If the loop stands still, the board's
//! watchdog resets it after 100 ms and the pin's pull-down turns the light off: at most
//! 0.1 s × 250 W/m² = 25 J/m² at the cornea, where 18,000 t^¼ = 10,100 J/m² are allowed. A board
//! without a watchdog and a pull-down must not have this light. A pin that cannot be set low is
//! tried again in every turn; a transistor that has failed closed is beyond any program.

use embedded_hal::digital::OutputPin;
use gaze_protocol::message::{LIGHT_DUTY_DIVISOR, MAX_LIGHT_US};
use gaze_protocol::{Span, Timestamp};

/// The light and what it has done.
#[derive(Debug)]
pub struct Illuminator<P> {
    pin: P,
    state: State,
    /// No pulse begins before this.
    dark_until: Timestamp,
    skipped: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Dark,
    /// A pulse is to begin.
    Due {
        at: Timestamp,
        length: Span,
    },
    Lit {
        since: Timestamp,
        length: Span,
    },
}

impl<P: OutputPin> Illuminator<P> {
    /// A dark light.
    pub const fn new(pin: P) -> Self {
        Illuminator {
            pin,
            state: State::Dark,
            dark_until: Timestamp(0),
            skipped: 0,
        }
    }

    /// Asks for a pulse. It is cut to [`MAX_LIGHT_US`]; one that would come too soon after the
    /// last is left out and counted.
    pub fn pulse(&mut self, at: Timestamp, length: Span) {
        let length = length.min(Span(u64::from(MAX_LIGHT_US)));
        if length == Span(0) {
            return;
        }
        let is_busy = !matches!(self.state, State::Dark);
        if is_busy || at < self.dark_until {
            self.skipped = self.skipped.saturating_add(1);
        } else {
            self.state = State::Due { at, length };
        }
    }

    /// Begins or ends the pulse that is due; to be called as often as possible.
    ///
    /// # Errors
    /// The pin's own; the light counts as lit until the pin has been set low.
    pub fn step(&mut self, now: Timestamp) -> Result<(), P::Error> {
        match self.state {
            State::Due { at, length } if now >= at => {
                self.state = State::Lit { since: now, length };
                self.pin.set_high()
            }
            State::Lit { since, length } if now.since(since) >= length => self.darken(now),
            _ => Ok(()),
        }
    }

    /// Off at once; a pulse that is due is forgotten.
    ///
    /// # Errors
    /// The pin's own.
    pub fn darken(&mut self, now: Timestamp) -> Result<(), P::Error> {
        self.pin.set_low()?;
        if let State::Lit { since, .. } = self.state {
            // Even the shortest pulse has a length.
            let lit_us = now.since(since).as_us().max(1);
            let duty_us = lit_us.saturating_mul(u64::from(LIGHT_DUTY_DIVISOR));
            self.dark_until = since + Span(duty_us);
        }
        self.state = State::Dark;
        Ok(())
    }

    /// Whether the pin is high, or may be.
    pub const fn is_lit(&self) -> bool {
        matches!(self.state, State::Lit { .. })
    }

    /// Pulses left out to keep within the limits.
    pub const fn skipped(&self) -> u32 {
        self.skipped
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use embedded_hal_mock::eh1::digital::{Mock, State as Level, Transaction};
    use proptest::prelude::*;

    use super::*;

    /// A pin that notes whether it is high.
    #[derive(Default)]
    struct Meter {
        is_high: bool,
    }

    impl embedded_hal::digital::ErrorType for Meter {
        type Error = core::convert::Infallible;
    }

    impl OutputPin for Meter {
        fn set_low(&mut self) -> Result<(), Self::Error> {
            self.is_high = false;
            Ok(())
        }
        fn set_high(&mut self) -> Result<(), Self::Error> {
            self.is_high = true;
            Ok(())
        }
    }

    #[test]
    fn a_pulse_goes_up_at_its_time_and_down_after_its_length() {
        let mut pin = Mock::new(&[Transaction::set(Level::High), Transaction::set(Level::Low)]);
        let mut light = Illuminator::new(pin.clone());
        light.pulse(Timestamp(1000), Span(300));
        for now in [0, 999, 1000, 1299, 1300, 2000] {
            light.step(Timestamp(now)).unwrap();
            assert_eq!(light.is_lit(), (1000..1300).contains(&now));
        }
        pin.done();
    }

    #[test]
    fn exposures_without_light_leave_out_nothing() {
        let mut light = Illuminator::new(Meter::default());
        light.pulse(Timestamp(0), Span(1_000));
        light.step(Timestamp(0)).unwrap();
        light.pulse(Timestamp(10), Span(0));
        assert_eq!(light.skipped(), 0);
    }

    #[test]
    fn a_pulse_is_cut_and_the_next_waits_for_four_times_its_length() {
        let mut pin = Mock::new(&[
            Transaction::set(Level::High),
            Transaction::set(Level::Low),
            Transaction::set(Level::High),
            Transaction::set(Level::Low),
        ]);
        let mut light = Illuminator::new(pin.clone());
        light.pulse(Timestamp(0), Span::from_ms(60_000));
        light.step(Timestamp(0)).unwrap();
        light.step(Timestamp(4_999)).unwrap();
        assert!(light.is_lit());
        light.step(Timestamp(5_000)).unwrap();
        assert!(!light.is_lit());
        light.pulse(Timestamp(24_999), Span(10));
        light.step(Timestamp(24_999)).unwrap();
        assert_eq!((light.is_lit(), light.skipped()), (false, 1));
        light.pulse(Timestamp(25_000), Span(10));
        light.step(Timestamp(25_000)).unwrap();
        assert!(light.is_lit());
        light.darken(Timestamp(25_001)).unwrap();
        pin.done();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whatever is asked for and however irregular the loop is: from any pulse on, the light
        /// is on for no more than its share of the time.
        #[test]
        fn no_request_and_no_loop_exceeds_the_duty(
            turns in prop::collection::vec((1..3_000_u64, any::<bool>(), 0..20_000_u64), 1..400),
        ) {
            let mut light = Illuminator::new(Meter::default());
            let mut now = 0;
            let mut pulses: Vec<(u64, u64)> = Vec::new();
            let mut rose_at = None;
            for (gap_us, is_asked, length_us) in turns {
                now += gap_us;
                if is_asked {
                    light.pulse(Timestamp(now), Span(length_us));
                }
                light.step(Timestamp(now)).unwrap();
                prop_assert_eq!(light.pin.is_high, light.is_lit());
                match (rose_at, light.is_lit()) {
                    (None, true) => rose_at = Some(now),
                    (Some(since), false) => {
                        // The longest pulse and one turn of the loop.
                        prop_assert!(now - since < u64::from(MAX_LIGHT_US) + 3_000);
                        pulses.push((since, now));
                        rose_at = None;
                    }
                    _ => {}
                }
            }
            for first in 0..pulses.len() {
                let mut lit_us = 0;
                for pair in pulses[first..].windows(2) {
                    lit_us += pair[0].1 - pair[0].0;
                    let window_us = pair[1].0 - pulses[first].0;
                    prop_assert!(lit_us * u64::from(LIGHT_DUTY_DIVISOR) <= window_us);
                }
            }
        }
    }
}
