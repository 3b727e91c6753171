//! `gazed-gpio`: the board's logic on the pins of a Linux machine, as those of a Raspberry Pi.
//!
//! Only pins, clock and line; see `gaze-firmware` for what it does. The line is a terminal whose name is given:
//! gazed opens it like the serial port of any board.
//!
//! **There is no light and no exposure trigger.** A program on Linux may be held up for longer than a pulse may
//! last, with the light on; nothing can promise its end. Those two need a microcontroller.

#![forbid(unsafe_code)]

mod manager;
mod pins;
mod terminal;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use gaze_firmware::{Device, Identity, Pins};
use gaze_protocol::Timestamp;

use manager::Manager;
use pins::{Digital, Servo};
use terminal::Terminal;

/// Longest wait for bytes, and so how late an output may go off.
const TURN: Duration = Duration::from_millis(1);

/// Switches and lamps on GPIO pins, told by gazed.
#[derive(Debug, Parser)]
#[command(name = "gazed-gpio", version)]
struct Arguments {
    /// The chip with the pins of the 40-pin header (`gpiodetect` lists chips)
    #[arg(long, value_name = "DEVICE", default_value = "/dev/gpiochip0")]
    chip: PathBuf,
    /// GPIO of the switch
    #[arg(long, value_name = "N")]
    switch: Option<u32>,
    /// GPIO of the lamp
    #[arg(long, value_name = "N")]
    lamp: Option<u32>,
    /// PWM channel of the servo: its folder in /sys/class/pwm, exported
    #[arg(long, value_name = "DIR")]
    servo: Option<PathBuf>,
    /// Name of the terminal that gazed opens: `[board] port` in its settings
    #[arg(long, value_name = "PATH", default_value = "/run/gazed-gpio/board")]
    port: PathBuf,
    /// Group that may open it
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Prints what the pins would do, and touches none
    #[arg(long, conflicts_with = "off")]
    simulate: bool,
    /// Turns everything off and ends, whatever another gazed-gpio left
    #[arg(long)]
    off: bool,
}

impl Arguments {
    /// The pins, all off.
    fn pins(&self) -> Result<Pins<Digital, Digital, Digital, Digital, Servo>> {
        let digital = |name: &'static str, line: Option<u32>| match line {
            _ if self.simulate => Ok(Digital::Simulated { name }),
            Some(line) => Digital::open(&self.chip, line, name),
            None => Ok(Digital::Unwired),
        };
        Ok(Pins {
            illuminator: Digital::Unwired,
            trigger: Digital::Unwired,
            switch: digital("switch", self.switch)?,
            lamp: digital("lamp", self.lamp)?,
            servo: match &self.servo {
                _ if self.simulate => Servo::Simulated { is_on: false },
                Some(channel) => Servo::open(channel)?,
                None => Servo::Unwired,
            },
        })
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let pins = arguments.pins()?;
    if arguments.off {
        return Ok(());
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot take signals")?;
    }
    let terminal = Terminal::open(&arguments.port, arguments.group.as_deref())?;
    let ready = terminal.waiter()?;
    let manager = Manager::from_environment()?;
    let identity = Identity {
        board: "linux".try_into().unwrap_or_default(),
        firmware: [0, 1, 0],
    };
    let mut device = Device::new(identity, pins, terminal);
    let zero = Instant::now();
    let mut alive_at = zero;
    manager.say("READY=1")?;
    while !stop.load(Ordering::Relaxed) {
        ready.wait(TURN)?;
        device.step(Timestamp(zero.elapsed().as_micros() as u64));
        if alive_at.elapsed() >= manager.period {
            alive_at = Instant::now();
            manager.say("WATCHDOG=1")?;
        }
    }
    // Whatever was on is off before this ends: opening the pins turns them off.
    drop(device);
    arguments.pins()?;
    std::fs::remove_file(&arguments.port).ok();
    Ok(())
}
