//! `gazed board info | test | flash-help`.

use std::time::Duration;

use gaze_protocol::wire::PROTOCOL_VERSION;

use super::sink::PortChoice;
use super::trial::{self, Bench, BoardError};
use crate::terminal::say;

/// How long `info` listens, so that the clock's drift can be told.
const LISTEN: Duration = Duration::from_secs(6);

/// Prints what board is there, how it fares, and how good its clock is.
///
/// # Errors
/// [`BoardError`].
pub fn info(port: &PortChoice) -> Result<(), BoardError> {
    let mut bench = open(port)?;
    say(name(&bench))?;
    bench.pass(LISTEN)?;
    let status = bench.status()?;
    let clock = bench.conversation.clock();
    if let (Some(round_trip_us), Some(drift_ppm)) = (clock.round_trip_us(), clock.drift_ppm()) {
        say(format_args!("round trip    {:.2} ms", round_trip_us / 1e3))?;
        say(format_args!("clock drift   {drift_ppm:+.0} ppm"))?;
    }
    for (what, count) in [
        ("broken frames", status.frames_broken),
        ("repeated messages", status.messages_repeated),
        ("refused messages", status.messages_refused),
        ("dropped replies", status.replies_dropped),
        ("missed exposures", status.exposures_missed),
        ("skipped light pulses", status.lights_skipped),
        ("pin faults", status.pin_faults),
    ] {
        say(format_args!("{what:<20} {count}"))?;
    }
    Ok(())
}

/// Puts the board through its promises; each step that holds is a line.
///
/// The lamp and the switch go on and off: take away what must not move.
///
/// # Errors
/// [`BoardError`], the first step that does not hold.
pub fn test(port: &PortChoice) -> Result<(), BoardError> {
    let mut bench = open(port)?;
    say(name(&bench))?;
    trial::run(&mut bench, &mut |what| say(format_args!("ok  {what}")))
}

/// How to put the program on a board.
pub const fn flash_help() -> &'static str {
    FLASH_HELP
}

fn open(port: &PortChoice) -> Result<Bench, BoardError> {
    Bench::open(port.open()?)
}

fn name(bench: &Bench) -> String {
    let [major, minor, patch] = bench.firmware;
    format!(
        "board {}, firmware {major}.{minor}.{patch}, protocol {PROTOCOL_VERSION}",
        bench.board
    )
}

const FLASH_HELP: &str = "\
Raspberry Pi Pico
  1. Build it:       cargo xtask nostd       (in gazed's sources; it names the file)
  2. Hold BOOTSEL on the Pico while plugging it in; it becomes a drive.
  3. Copy gaze-rp2040.uf2 onto the drive; it restarts by itself.
  4. Look at it:     gazed board info        (port: /dev/gazed-board or /dev/ttyACM0)
  5. Try it:         gazed board test        (LED and switch go on and off)
  6. Use it:         [board] port = \"auto\" in /etc/gazed/gazed.toml

Wiring and limits: firmware/boards/rp2040/README.md.";
