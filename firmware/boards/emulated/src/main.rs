//! The event detectors on an emulated Cortex-M: the same trace, the same events, bit for bit.
//!
//! Then says what a sample costs: the emulator counts one nanosecond an instruction, and its timer is
//! held against a loop of known length.
//!
//! Ends with exit code 0 when everything that `gaze-signal` makes of the golden trace is what the
//! host made of it, else with 1 and the first line that differs.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::fmt::{self, Write};

use cortex_m::Peripherals;
use cortex_m::asm::delay;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS, exit};
use cortex_m_semihosting::hprintln;
use gaze_signal::{Detector, EventBuf, EventDetector, EventSettings, LabelStream};
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

/// Samples that the cost is measured on: from here on the network's memory is full.
const SKIPPED: usize = 60;
const MEASURED: usize = 60;
/// Instructions of the loop that the timer is held against: two a round.
const KNOWN: u32 = 2_000_000;

/// Ticks of the timer, which counts down through 24 bits, while `work` is done.
fn ticks(work: impl FnOnce()) -> u32 {
    let before = SYST::get_current();
    work();
    before.wrapping_sub(SYST::get_current()) & 0x00ff_ffff
}

/// Instructions a sample, mean, of each detector.
fn measure(timer: &mut SYST) {
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(0x00ff_ffff);
    timer.clear_current();
    timer.enable_counter();
    let known = u64::from(ticks(|| delay(KNOWN))).max(1);
    for detector in [Detector::Adaptive, Detector::Ivt, Detector::Idt, Detector::Network] {
        let settings = EventSettings {
            detector,
            ..EventSettings::default()
        };
        let Ok(mut stage) = EventDetector::new(settings) else {
            continue;
        };
        let (mut events, mut sum) = (EventBuf::new(), 0);
        for (index, line) in TRACE.lines().take(SKIPPED + MEASURED).enumerate() {
            let Some(sample) = trace::parse(line) else {
                continue;
            };
            events.clear();
            let took = ticks(|| stage.step(&sample, &mut events));
            if index >= SKIPPED {
                sum += u64::from(took);
            }
        }
        let instructions = sum * u64::from(KNOWN) / known / MEASURED as u64;
        hprintln!("{:?}: {} instructions a sample", detector, instructions);
    }
    hprintln!(
        "RAM: {} bytes an event detector of any kind, {} the network's labels alone",
        size_of::<EventDetector>(),
        size_of::<LabelStream>()
    );
}

#[entry]
fn main() -> ! {
    let mut comparison = Comparison {
        expected: EVENTS,
        lines: 0,
    };
    let is_same = trace::replay(TRACE, &mut comparison).is_ok() && comparison.expected.is_empty();
    if let Some(mut peripherals) = Peripherals::take() {
        measure(&mut peripherals.SYST);
    }
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
