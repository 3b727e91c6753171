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
//!                        └── scene messages from applications (bounded)
//! ```

pub mod camera;
pub mod frame;
pub mod inference;
pub mod record;
pub mod vision;
