//! The microcontroller beside the camera: device logic, generic over `embedded-hal` and
//! `embedded-io`.
//!
//! ```text
//!             ┌───────────────────────── Device::step ─────────────────────────┐
//!  serial ──► │ Link ─► Session ─► Dwell ─► Outputs ──────────► switch, lamp,   │
//!  line   ◄── │   ▲     is it of   how long  hold, rest,        servo           │
//!             │   │     this host, is it     safe state                         │
//!             │   │     and fresh  looked at                                    │
//!             │   └──── Trigger ─► Illuminator ───────────────► trigger, light  │
//!             └────────────────────────────────────────────────────────────────┘
//! ```
//!
//! `no_std`, no allocation, no panics. A board calls [`Device::step`] in an endless loop with its
//! clock's microseconds; everything else is data. What can harm a person (the infrared light) or a
//! thing (the outputs) has limits here that no command can exceed, and is off unless the host has
//! said so a moment ago: see [`illuminator`], [`output`] and [`session`].

#![no_std]

#[cfg(test)]
extern crate std;

pub mod device;
pub mod dwell;
pub mod illuminator;
pub mod link;
pub mod output;
pub mod session;
pub mod trigger;

pub use device::{Device, Identity, Pins};
