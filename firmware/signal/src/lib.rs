//! Streaming gaze algorithms: smoothing, fixations, saccades, blinks, gaps and looked-at objects.
//!
//! `no_std`, no allocation, every operation through `libm`: a microcontroller decides the same
//! events as the host, bit for bit. Every algorithm is a struct with a `step` that takes one
//! sample, does a bounded amount of work in a bounded amount of memory, and reads time from the
//! samples alone.
//!
//! ```text
//! GazeSample ──► EventDetector ──► Fixation, Saccade, Pursuit, Blink, DataGap
//!     │            blink.rs: what is missing, and does it matter
//!     │            adaptive.rs | ivt.rs | idt.rs: where the gaze rests, or
//!     │            network.rs: where it rests, jumps or follows
//!     │            life.rs: what begins, lasts and ends, by number
//!     └────────► Objects ────────► ObjectEnter, ObjectLeave
//! ```
//!
//! Events are computed from `line_of_gaze`; `por` is only averaged for their positions. Give the
//! detectors the gaze as estimated, not smoothed: smoothing hides the noise from them that they
//! measure to set their thresholds, and smears saccades over several samples.

#![no_std]

#[cfg(test)]
extern crate std;

mod adaptive;
mod aoi;
mod blink;
mod detector;
mod event_buf;
mod fixation;
mod idt;
mod ivt;
mod life;
mod network;
mod noise;
mod one_euro;
mod runs;
mod settings;
mod velocity;

pub use adaptive::AdaptiveSettings;
pub use aoi::{MAX_OBJECTS, ObjectBox, ObjectError, ObjectSettings, Objects};
pub use blink::BlinkSettings;
pub use detector::{Detector, EventDetector, EventSettings, NoiseSettings};
pub use event_buf::{EVENT_BUF_CAPACITY, EventBuf};
pub use idt::IdtSettings;
pub use ivt::IvtSettings;
pub use network::{FEATURES, FeatureRow, FeatureStream, Label, LabelStream, NetworkSettings};
pub use one_euro::{OneEuro, OneEuroSettings};
pub use runs::RunSettings;
pub use settings::{MAX_SETTING_PROBLEMS, SettingProblem, SettingProblems};
pub use velocity::velocity_rad_s;

/// A time that steps back by more than this is a new stream, not a late sample.
const LONGEST_STEP_BACK: gaze_protocol::Span = gaze_protocol::Span::from_ms(1000);
