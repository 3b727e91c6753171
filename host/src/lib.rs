//! The gaze daemon as a library: camera frame in, gaze events out.
//!
//! ```text
//!             ┌─ capture thread ─┐      ┌────────── vision thread ──────────┐
//!  FrameSource│ camera → Frame   │ ───► │ Frame → face → eyes → Observation │
//!             └──────────────────┘latest└───────────────┬───────────────────┘
//!                                                       ▼ bounded
//!  ┌──────────────── tracking thread ───────────────┐   ┌─ server thread ─┐
//!  │ calibration → point of regard → 1€ filter →    │──►│ fan-out, page,  │
//!  │ fixation, saccade, blink, gap → objects → Record│   │ sockets         │
//!  └─────────────────────▲──────────────────────────┘   └─────────────────┘
//!                        └── calibration and scene messages from programs (bounded)
//! ```

pub mod board;
pub mod calibrate;
pub mod camera;
pub mod channel;
pub mod cli;
pub mod client;
pub mod clock;
pub mod coach;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod demand;
pub mod doctor;
pub mod edid;
pub mod explain;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gaze_file;
pub mod inference;
pub mod machine;
pub mod markup;
pub mod metrics;
pub mod notify;
pub mod output_file;
pub mod pace;
pub mod personal;
pub mod process;
pub mod random;
pub mod record;
pub mod recording;
pub mod report;
mod retry;
pub mod scanpath;
pub mod scene;
pub mod server;
pub mod session;
pub mod setup;
pub mod stop;
pub mod terminal;
#[cfg(test)]
mod testing;
pub mod tracking;
pub mod users;
pub mod vision;
pub mod watch;
