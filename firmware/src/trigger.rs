//! The exposure trigger: a pulse for the camera once a period, with the time it really rose.

use embedded_hal::digital::OutputPin;
use gaze_protocol::message::StrobeSettings;
use gaze_protocol::{Span, Timestamp};

/// The trigger pin and when it is due.
#[derive(Debug)]
pub struct Trigger<P> {
    pin: P,
    running: Option<Running>,
    is_high: bool,
    missed: u32,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    settings: StrobeSettings,
    /// The next exposure, on the grid of the first.
    next: Exposure,
    rose_at: Timestamp,
}

/// An exposure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// Counts from 0, the missed ones too.
    pub number: u32,
    /// When the pin rose.
    pub at: Timestamp,
}

impl<P: OutputPin> Trigger<P> {
    /// A trigger that stands still.
    pub const fn new(pin: P) -> Self {
        Trigger {
            pin,
            running: None,
            is_high: false,
            missed: 0,
        }
    }

    /// Starts a train of exposures, the first now. The settings must have been found allowed.
    ///
    /// # Errors
    /// The pin's own.
    pub fn start(&mut self, now: Timestamp, settings: StrobeSettings) -> Result<(), P::Error> {
        self.stop()?;
        self.running = Some(Running {
            settings,
            next: Exposure { number: 0, at: now },
            rose_at: now,
        });
        Ok(())
    }

    /// No more exposures; the pin is low.
    ///
    /// # Errors
    /// The pin's own; the pin counts as high until it has been set low.
    pub fn stop(&mut self) -> Result<(), P::Error> {
        self.running = None;
        self.pin.set_low()?;
        self.is_high = false;
        Ok(())
    }

    /// The settings of the running train.
    pub fn settings(&self) -> Option<StrobeSettings> {
        self.running.map(|running| running.settings)
    }

    /// Raises or lowers the pin when it is due; gives the exposure that began.
    ///
    /// Exposures that were due while the board was busy are left out and counted; the grid of the
    /// first one is kept, so that lateness does not add up.
    ///
    /// # Errors
    /// The pin's own.
    pub fn step(&mut self, now: Timestamp) -> Result<Option<Exposure>, P::Error> {
        let Some(running) = &mut self.running else {
            return Ok(None);
        };
        let Running { settings, next, .. } = *running;
        if self.is_high && now.since(running.rose_at) >= Span(u64::from(settings.trigger_us)) {
            self.pin.set_low()?;
            self.is_high = false;
        }
        if now < next.at {
            return Ok(None);
        }
        let period_us = u64::from(settings.period_us).max(1);
        // Whole periods that have passed: 0 when the board is in time.
        let behind = now.since(next.at).as_us() / period_us;
        let missed = u32::try_from(behind).unwrap_or(u32::MAX);
        self.missed = self.missed.saturating_add(missed);
        let number = next.number.saturating_add(missed);
        running.next = Exposure {
            number: number.saturating_add(1),
            at: next.at + Span(behind.saturating_add(1).saturating_mul(period_us)),
        };
        running.rose_at = now;
        self.is_high = true;
        self.pin.set_high()?;
        Ok(Some(Exposure { number, at: now }))
    }

    /// Exposures that were left out.
    pub const fn missed(&self) -> u32 {
        self.missed
    }

    /// Whether the pin is high, or may be.
    pub const fn is_high(&self) -> bool {
        self.is_high
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    use super::*;

    const SETTINGS: StrobeSettings = StrobeSettings {
        period_us: 10_000,
        trigger_us: 1_000,
        light_delay_us: 0,
        light_us: 0,
    };

    fn pin(levels: &[State]) -> Mock {
        let steps: Vec<_> = levels
            .iter()
            .map(|&level| Transaction::set(level))
            .collect();
        Mock::new(&steps)
    }

    #[test]
    fn exposures_keep_the_grid_of_the_first_and_late_ones_are_counted() {
        use State::{High, Low};
        let mut pin = pin(&[Low, High, Low, High, Low, High, Low]);
        let mut trigger = Trigger::new(pin.clone());
        trigger.start(Timestamp(500), SETTINGS).unwrap();
        let mut seen = Vec::new();
        // In time, in time, then busy for three and a half periods.
        for now in [500, 1_499, 1_500, 10_499, 10_500, 45_000, 45_100, 46_000] {
            if let Some(exposure) = trigger.step(Timestamp(now)).unwrap() {
                seen.push((exposure.number, exposure.at.as_us()));
            }
        }
        // 20,500 and 30,500 were missed; 40,500 came late at 45,000.
        assert_eq!(seen, [(0, 500), (1, 10_500), (4, 45_000)]);
        assert_eq!(trigger.missed(), 2);
        assert_eq!(trigger.running.unwrap().next.at, Timestamp(50_500));
        pin.done();
    }

    #[test]
    fn a_stopped_trigger_is_low_and_quiet() {
        let mut pin = pin(&[State::Low, State::High, State::Low]);
        let mut trigger = Trigger::new(pin.clone());
        trigger.start(Timestamp(0), SETTINGS).unwrap();
        assert!(trigger.step(Timestamp(0)).unwrap().is_some());
        trigger.stop().unwrap();
        assert_eq!(trigger.step(Timestamp(1_000_000)).unwrap(), None);
        assert!(!trigger.is_high());
        pin.done();
    }
}
