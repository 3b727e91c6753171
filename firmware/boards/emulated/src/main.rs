//! The event detectors on an emulated Cortex-M: the same trace, the same events, bit for bit.
//!
//! Ends with exit code 0 when everything that `gaze-signal` makes of the golden trace is what the
//! host made of it, else with 1 and the first line that differs.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::fmt::{self, Write};

use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS, exit};
use cortex_m_semihosting::hprintln;
use panic_semihosting as _;

#[path = "../../../signal/tests/suite/trace.rs"]
mod trace;

const TRACE: &str = include_str!("../../../signal/tests/golden/trace.txt");
const EVENTS: &str = include_str!("../../../signal/tests/golden/events.txt");

/// Takes text and compares it with what is expected, without keeping it.
struct Comparison {
    expected: &'static str,
    lines: usize,
}

impl Write for Comparison {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(rest) = self.expected.strip_prefix(text) else {
            let line = self.expected.lines().next().unwrap_or("the end");
            hprintln!(
                "line {}: found {:?} where {:?} is expected",
                self.lines + 1,
                text,
                line
            );
            return Err(fmt::Error);
        };
        self.lines += text.matches('\n').count();
        self.expected = rest;
        Ok(())
    }
}

#[entry]
fn main() -> ! {
    let mut comparison = Comparison {
        expected: EVENTS,
        lines: 0,
    };
    let is_same = trace::replay(TRACE, &mut comparison).is_ok() && comparison.expected.is_empty();
    if is_same {
        hprintln!(
            "{} samples give the same {} lines as on the host",
            TRACE.lines().count(),
            comparison.lines
        );
        exit(EXIT_SUCCESS);
    } else {
        hprintln!("not the events of the host");
        exit(EXIT_FAILURE);
    }
    panic!("the emulator did not take the exit");
}
