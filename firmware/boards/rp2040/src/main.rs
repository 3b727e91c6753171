//! The board's logic on a Raspberry Pi Pico.
//!
//! Only pins, clocks and the USB line; see `gaze-firmware` for what it does and this folder's
//! README for the wiring. The Pico is a USB serial port of its host.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

mod usb_line;

use cortex_m_rt::entry;
use gaze_firmware::{Device, Identity, Pins};
use gaze_protocol::Timestamp;
use panic_halt as _;
use rp_pico::hal::clocks::{Clock, init_clocks_and_plls};
use rp_pico::hal::fugit::ExtU32;
use rp_pico::hal::usb::UsbBus;
use rp_pico::hal::{Sio, Timer, Watchdog, pwm};
use rp_pico::pac::Peripherals;
use usb_device::bus::UsbBusAllocator;

use usb_line::UsbLine;

/// A loop that stands still for this long is reset, and every pin goes low. (The light's limits
/// reckon with it.)
const WATCHDOG_MS: u32 = 100;

/// A servo's signal has a period of 20 ms: its clock is divided to 1 MHz.
const SERVO_TOP: u16 = 19_999;

#[entry]
fn main() -> ! {
    run();
    // The chip has no clock or its peripherals are taken: nothing to do but wait for a reset.
    loop {
        core::hint::spin_loop();
    }
}

/// Never returns, unless the chip cannot be set up.
fn run() -> Option<()> {
    let mut chip = Peripherals::take()?;
    let mut watchdog = Watchdog::new(chip.WATCHDOG);
    let clocks = init_clocks_and_plls(
        rp_pico::XOSC_CRYSTAL_FREQ,
        chip.XOSC,
        chip.CLOCKS,
        chip.PLL_SYS,
        chip.PLL_USB,
        &mut chip.RESETS,
        &mut watchdog,
    )
    .ok()?;
    let timer = Timer::new(chip.TIMER, &mut chip.RESETS, &clocks);
    let sio = Sio::new(chip.SIO);
    let pins = rp_pico::Pins::new(
        chip.IO_BANK0,
        chip.PADS_BANK0,
        sio.gpio_bank0,
        &mut chip.RESETS,
    );

    let mut servo = pwm::Slices::new(chip.PWM, &mut chip.RESETS).pwm1;
    let megahertz = clocks.system_clock.freq().to_MHz();
    servo.set_div_int(u8::try_from(megahertz).unwrap_or(u8::MAX));
    servo.set_top(SERVO_TOP);
    servo.channel_a.output_to(pins.gpio2);
    servo.enable();

    let usb = UsbBusAllocator::new(UsbBus::new(
        chip.USBCTRL_REGS,
        chip.USBCTRL_DPRAM,
        clocks.usb_clock,
        true,
        &mut chip.RESETS,
    ));
    let mut device = Device::new(
        Identity {
            board: "pico".try_into().unwrap_or_default(),
            firmware: [0, 1, 0],
        },
        Pins {
            illuminator: pins.gpio16.into_push_pull_output(),
            trigger: pins.gpio17.into_push_pull_output(),
            switch: pins.gpio18.into_push_pull_output(),
            lamp: pins.led.into_push_pull_output(),
            servo: servo.channel_a,
        },
        UsbLine::new(&usb)?,
    );
    watchdog.start(WATCHDOG_MS.millis());
    loop {
        watchdog.feed();
        device.step(Timestamp(timer.get_counter().ticks()));
    }
}
