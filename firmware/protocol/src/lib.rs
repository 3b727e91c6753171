//! The vocabulary that every part of gazed shares: units, gaze samples and eye-movement events.
//!
//! `no_std`, no allocation: the same types run on the host and on a microcontroller.
//!
//! # Frames and signs
//!
//! This is the one place that defines them; a sign flip anywhere else is a bug.
//!
//! ```text
//!          camera axes (mm)                     screen plane (mm)
//!      seen from the observer's seat        as the observer sees it
//!
//!               camera                      (0,0) ┌──────────── x ►
//!        +x ◄─────●                               │
//!                 │╲                              │    · point of regard
//!                 │  ╲ z, towards the             │
//!              +y ▼    observer                 y ▼
//! ```
//!
//! - **Picture**: pixels, x right, y down, the centre of the top-left pixel is (0, 0). The picture
//!   is not mirrored, so the observer's left is the picture's right.
//! - **Camera**: millimetres, right-handed; x to the picture's right (the observer's left), y down,
//!   z away from the camera.
//! - **Gaze**: yaw is positive towards the observer's left (+x), pitch is positive up. The gaze
//!   vector is `(cos p · sin y, −sin p, −cos p · cos y)`: straight into the camera is (0, 0).
//! - **Head**: yaw and pitch are signed like gaze; roll is positive clockwise in the picture.
//! - **Screen**: millimetres, origin at the top-left of the active area, x right and y down as the
//!   observer sees it.
//! - **Left and right** eyes are the observer's own.
//!
//! Angles are radians and times are microseconds inside the program; degrees, pixels and
//! milliseconds appear only in settings, reports and pictures.

#![no_std]

#[cfg(test)]
extern crate std;

pub mod event;
#[cfg(feature = "wire")]
pub mod message;
pub mod sample;
pub mod units;
#[cfg(feature = "wire")]
pub mod wire;

pub use event::{
    Blink, DataGap, EventId, EventKind, Fixation, GazeEvent, ObjectVisit, OpenEvent, Pursuit,
    Saccade,
};
pub use sample::{GazeAngles, GazeSample, PointOfRegard, Validity};
pub use units::{Span, Timestamp};
