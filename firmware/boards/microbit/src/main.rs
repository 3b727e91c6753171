//! The board's logic on a BBC micro:bit v1, a Cortex-M0 that QEMU emulates.
//!
//! Only pins and clocks; see `gaze-firmware` for what it does. The serial line is the one that the
//! micro:bit's USB socket leads to, 115,200 baud. The chip has no PWM, so the servo leads nowhere.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::convert::Infallible;

use cortex_m_rt::entry;
use embedded_hal::pwm::{ErrorType, SetDutyCycle};
use gaze_firmware::{Device, Identity, Pins};
use gaze_protocol::Timestamp;
use nrf51_hal::gpio::Level;
use nrf51_hal::pac::Peripherals;
use nrf51_hal::uart::{self, Baudrate, Parity, Uart};
use nrf51_hal::wdt::{Watchdog, count};
use nrf51_hal::{Timer, gpio};
use panic_halt as _;

/// A loop that stands still for this long is reset, and every pin is an input: 100 ms of a clock of
/// 32,768 Hz. (The light's limits reckon with it.)
const WATCHDOG_TICKS: u32 = 3_277;

#[entry]
fn main() -> ! {
    // A chip that has just been reset has its peripherals.
    if let Some(peripherals) = Peripherals::take() {
        run(peripherals);
    }
    // Without a watchdog there is no light: nothing to do but wait for a reset.
    loop {
        core::hint::spin_loop();
    }
}

/// Never returns, unless the chip has no watchdog to give.
fn run(peripherals: Peripherals) -> Option<()> {
    let watchdog = match Watchdog::try_new(peripherals.WDT) {
        Ok(mut watchdog) => {
            watchdog.set_lfosc_ticks(WATCHDOG_TICKS);
            watchdog.activate::<count::One>()
        }
        // It outlives a reset by software.
        Err(running) => Watchdog::try_recover::<count::One>(running).ok()?,
    };
    let (mut watchdog,) = watchdog.handles;
    let port = gpio::p0::Parts::new(peripherals.GPIO);
    let mut timer = Timer::periodic(peripherals.TIMER0);
    timer.start(u32::MAX);
    let pins = uart::Pins {
        txd: port.p0_24.into_push_pull_output(Level::High).degrade(),
        rxd: port.p0_25.into_floating_input().degrade(),
        cts: None,
        rts: None,
    };
    let (parity, speed) = (Parity::EXCLUDED, Baudrate::BAUD115200);
    // Setting it up sends a zero whose end makes it ready to send. QEMU sends it only when the
    // line has been started before, so it is set up twice.
    let (line, pins) = Uart::new(peripherals.UART0, pins, parity, speed).free();
    let line = Uart::new(line, pins, parity, speed);
    let pins = Pins {
        // P0, P1, P2 and P8 of the edge connector.
        illuminator: port.p0_03.into_push_pull_output(Level::Low),
        trigger: port.p0_02.into_push_pull_output(Level::Low),
        switch: port.p0_01.into_push_pull_output(Level::Low),
        lamp: port.p0_18.into_push_pull_output(Level::Low),
        servo: Unwired,
    };
    let identity = Identity {
        board: "microbit".try_into().unwrap_or_default(),
        firmware: [0, 1, 0],
    };
    let mut device = Device::new(identity, pins, line);
    let mut clock = Clock::default();
    loop {
        watchdog.pet();
        device.step(clock.now(timer.read()));
    }
}

/// Microseconds beyond the 71 minutes of the timer's 32 bits.
#[derive(Default)]
struct Clock {
    turns: u32,
    last_us: u32,
}

impl Clock {
    fn now(&mut self, us: u32) -> Timestamp {
        if us < self.last_us {
            self.turns = self.turns.wrapping_add(1);
        }
        self.last_us = us;
        Timestamp(u64::from(self.turns) << 32 | u64::from(us))
    }
}

/// A PWM output that is not there.
struct Unwired;

impl ErrorType for Unwired {
    type Error = Infallible;
}

impl SetDutyCycle for Unwired {
    fn max_duty_cycle(&self) -> u16 {
        0
    }
    fn set_duty_cycle(&mut self, _: u16) -> Result<(), Infallible> {
        Ok(())
    }
}
