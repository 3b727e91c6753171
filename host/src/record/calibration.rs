//! Records and messages of live calibration.
//!
//! Any client can drive a calibration: the page, `gazed calibrate`, a program of yours. It sends
//! `calibrate` messages and follows the `calibration` records, which say what to show and how far
//! it is. One session runs at a time; every client sees its records, and a client that subscribes
//! in the middle gets the latest one first, so that a page can be reloaded.
//!
//! ```text
//! → {"type":"calibrate","do":"start","user":"anna","targets":9}
//! ← {"type":"calibration","stage":"placing","placement":{"is_good":false,"words":"come nearer",…},…}
//! → {"type":"calibrate","do":"next"}
//! ← {"type":"calibration","stage":"target","target":{"index":0,"of":13,"x":0.9,"y":0.1,"progress":0.0,…},…}
//!   … one target after the other, then
//! ← {"type":"calibration","stage":"review","result":{"accuracy_deg":1.2,"can_accept":true,…},…}
//! → {"type":"calibrate","do":"accept"}
//! ← {"type":"calibration","stage":"accepted",…}
//! ```
//!
//! A program that shows targets by itself gives `points` and says how they are timed: with
//! `"timing":{"kind":"fixed","delay_ms":750,"duration_ms":1500}` each point is on for that long and
//! the session goes on by itself; with `"timing":{"kind":"by_command"}` the program says `show`
//! with the place of each target and `next` when it is over, and `finish` after the last; with
//! `"timing":{"kind":"by_reference"}` it says afterwards, in one or more `references`, where its target
//! was at what time, and `finish` at the end.
//! `"placing":false` begins without waiting for `next`, `"validation":0` leaves validation out, and
//! `"accept":true` accepts by itself a result that can be accepted.

use gaze_calibration::{Eyes, ModelKind, UserName};
use serde::{Deserialize, Serialize};

/// What a client asks of a calibration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum CalibrateMessage {
    /// Begins a session; one that is under way is discarded.
    Start(StartMessage),
    /// Begins with the targets, or ends the present one under `by_command`.
    Next,
    /// Stops for as long as it takes; the present target will be shown again.
    Pause,
    /// Goes on.
    Resume,
    /// Shows one target again: that of this index in the result, or without one the target before.
    Redo {
        /// Index in `result.targets`.
        index: Option<usize>,
    },
    /// Shows the next target at this place, as shares of the screen; `by_command` alone.
    Show {
        /// 0 left, 1 right.
        x: f32,
        /// 0 top, 1 bottom.
        y: f32,
    },
    /// Where the target was, and when; `by_reference` alone.
    References {
        /// Places in the order of their times, at most 36000 in a session.
        references: Vec<Reference>,
    },
    /// There are no more targets; `by_command` and `by_reference` alone.
    Finish,
    /// Keeps the result and puts it in force.
    Accept,
    /// All of it again, with the same options.
    Repeat,
    /// Ends without a change.
    Discard,
}

/// The options of a session.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartMessage {
    /// Whose calibration it is.
    pub user: UserName,
    /// 1, 5, 9 or 13 places.
    #[serde(default = "nine")]
    pub targets: u32,
    /// A smoothly moving target instead of places.
    #[serde(default)]
    pub pursuit: bool,
    /// Places of the client's own, as shares of the screen, instead of `targets`; at most 64.
    #[serde(default)]
    pub points: Vec<[f32; 2]>,
    /// How targets are timed.
    #[serde(default)]
    pub timing: Timing,
    /// Places for validation, 0 to 4; none of them is used to fit.
    #[serde(default = "four")]
    pub validation: u32,
    /// Which eyes.
    #[serde(default)]
    pub eyes: Eyes,
    /// Twice the time for everything.
    #[serde(default)]
    pub slow: bool,
    /// Whether to wait for the face to be well placed and for `next`.
    #[serde(default = "yes")]
    pub placing: bool,
    /// Whether to accept a result that can be accepted without being asked.
    #[serde(default)]
    pub accept: bool,
    /// Decides the order of targets.
    #[serde(default)]
    pub seed: u64,
    /// The screen, where the client knows it better than gazed.
    #[serde(default)]
    pub screen: Option<ScreenMessage>,
}

fn nine() -> u32 {
    9
}

fn four() -> u32 {
    4
}

fn yes() -> bool {
    true
}

impl StartMessage {
    /// The usual session: nine targets, four for validation, both eyes.
    pub fn new(user: UserName) -> Self {
        StartMessage {
            user,
            targets: nine(),
            pursuit: false,
            points: Vec::new(),
            timing: Timing::Steady,
            validation: four(),
            eyes: Eyes::Both,
            slow: false,
            placing: true,
            accept: false,
            seed: 0,
            screen: None,
        }
    }
}

/// How long a target is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Timing {
    /// Until the eyes have been steady on it long enough.
    #[default]
    Steady,
    /// For a fixed time, whatever the eyes do.
    Fixed {
        /// From its appearance to the first sample that counts; 0 to 60000.
        delay_ms: u32,
        /// How long samples count; 100 to 60000.
        duration_ms: u32,
    },
    /// Until the client says so.
    ByCommand,
    /// As the client says afterwards.
    ByReference,
}

impl Timing {
    /// Whether the client tells its targets while the session runs, and none is known at its start.
    pub const fn tells_targets_later(self) -> bool {
        matches!(self, Timing::ByCommand | Timing::ByReference)
    }
}

/// Where the target was at one time.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Microseconds since the source's first frame, as in the records.
    pub t_us: u64,
    /// 0 left, 1 right.
    pub x: f32,
    /// 0 top, 1 bottom.
    pub y: f32,
}

/// A screen as a client measured it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScreenMessage {
    /// Width of the active area, mm.
    pub width_mm: f32,
    /// Height of the active area, mm.
    pub height_mm: f32,
    /// Width, px, where it is known; both or neither.
    #[serde(default)]
    pub width_px: Option<u32>,
    /// Height, px.
    #[serde(default)]
    pub height_px: Option<u32>,
}

/// Where a calibration stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Time of the sample that it follows; null before the first.
    pub t_us: Option<u64>,
    /// What it is for.
    pub purpose: Purpose,
    /// Whose.
    pub user: String,
    /// Where it stands.
    pub stage: Stage,
    /// What the person or the operator should know now.
    pub message: Option<String>,
    /// How the face is placed; with `placing` and `paused`.
    pub placement: Option<Placement>,
    /// What to show; with `target`.
    pub target: Option<Target>,
    /// What came out; with `review` and `accepted`.
    pub result: Option<CalibrationResult>,
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A new profile.
    Calibrate,
    /// One target that moves the profile in force.
    Recentre,
}

/// Where a calibration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The face is looked for; `next` begins.
    Placing,
    /// A target is shown.
    Target,
    /// Under `by_command`, between two targets; under `by_reference`, all the time.
    Waiting,
    /// Nothing is shown until `resume`, or until the face is back.
    Paused,
    /// The result is there to be accepted, repeated or discarded.
    Review,
    /// The profile is kept and in force.
    Accepted,
    /// The session ended without a change.
    Discarded,
}

/// How the face is placed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Whether gaze will be as good as it gets.
    pub is_good: bool,
    /// What to do about it.
    pub words: String,
    /// Middle of the face in the picture as shares of its size; null without a face.
    pub face: Option<[f32; 2]>,
    /// Distance of the eyes from the camera, mm.
    pub distance_mm: Option<f32>,
}

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// From 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
    /// Whether it is for validation.
    pub is_validation: bool,
    /// Whether it moves.
    pub is_moving: bool,
    /// As share of the screen's width.
    pub x: f32,
    /// As share of the screen's height.
    pub y: f32,
    /// From the screen's left edge.
    pub x_mm: f32,
    /// From the screen's top edge.
    pub y_mm: f32,
    /// 1 the first time; more when the eyes were elsewhere.
    pub attempt: u32,
    /// How much of it is done, 0 to 1.
    pub progress: f32,
}

/// What came out of a calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationResult {
    /// Whether it may be accepted.
    pub can_accept: bool,
    /// How good it is, or why it cannot be accepted.
    pub verdict: String,
    /// The kind of model; null when there is none.
    pub model: Option<ModelKind>,
    /// Why this kind.
    pub reason: Option<String>,
    /// Error on the targets without calibration, deg.
    pub uncalibrated_deg: Option<f32>,
    /// Mean over validation targets, or where there are none over targets left out of the fit in
    /// turn: angle between mean gaze and target, deg.
    pub accuracy_deg: Option<f32>,
    /// The same on the screen, cm.
    pub accuracy_cm: Option<f32>,
    /// The same, px; null when the resolution is not known.
    pub accuracy_px: Option<f32>,
    /// Precision SD, deg.
    pub precision_sd_deg: Option<f32>,
    /// The same on the screen, cm.
    pub precision_sd_cm: Option<f32>,
    /// The same, px; null when the resolution is not known.
    pub precision_sd_px: Option<f32>,
    /// Precision RMS-S2S, deg.
    pub precision_rms_s2s_deg: Option<f32>,
    /// Share of samples without gaze, 0 to 1.
    pub data_loss: f32,
    /// Each target.
    pub targets: Vec<TargetResult>,
}

/// What came out on one target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetResult {
    /// For `redo`.
    pub index: usize,
    /// Whether it was used to judge, not to fit.
    pub is_validation: bool,
    /// Where it was, as shares of the screen.
    pub target: [f32; 2],
    /// Mean gaze on it by a model that has not seen it, as shares of the screen; null when there is
    /// no such model, or the target was missed.
    pub gaze: Option<[f32; 2]>,
    /// Angle between mean gaze and target, deg.
    pub accuracy_deg: Option<f32>,
    /// The same on the screen, cm.
    pub accuracy_cm: Option<f32>,
    /// The same, px.
    pub accuracy_px: Option<f32>,
    /// Precision SD, deg; null when there is no gaze.
    pub precision_sd_deg: Option<f32>,
    /// The same on the screen, cm.
    pub precision_sd_cm: Option<f32>,
    /// The same, px.
    pub precision_sd_px: Option<f32>,
    /// Precision RMS-S2S, deg.
    pub precision_rms_s2s_deg: Option<f32>,
    /// Share of samples without gaze, 0 to 1.
    pub data_loss: f32,
}
