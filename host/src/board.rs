//! The microcontroller beside the camera: how the daemon finds it, talks to it and keeps it in
//! step.
//!
//! ```text
//!  tracking ──BoardInput──► sink (thread) ──► Conversation ──► SerialLine ──► board
//!   events, samples              ▲              session, clock,     tty
//!                                └── BoardNews ◄ visits, commands ◄──────────
//! ```
//!
//! What the board does with it is in `firmware/README.md`.

mod clock;
mod command;
mod conversation;
mod line;
mod settings;
mod sink;
mod trial;

pub use clock::{ClockEstimate, PingTimes};
pub use command::{flash_help, info, test};
pub use conversation::{BoardNews, BoardPlan, Conversation};
pub use line::{LineError, SerialLine, find_port};
pub use settings::{BoardConfig, OutputConfig, StrobeConfig};
pub use sink::{BoardInput, BoardSink, PortChoice};
pub use trial::BoardError;
