//! The records: what sockets, files and `gazed watch` carry, one JSON object a line.
//!
//! This page is the client's manual; [`crate::server`] tells how to connect and subscribe. `type`
//! comes first and keys keep the order shown here. A change of meaning raises [`VERSION`]; new
//! keys at the end of a record do not.
//!
//! Pixels (`_px`) are those of the original full frame, x right, y down, the centre of the top-left
//! pixel is 0,0. `_mm` of `head` and `gaze` are camera axes; of `por`, the screen plane from its
//! top-left corner. Angles are radians with the signs of [`gaze_protocol`]; `_us` are microseconds
//! since the source's first frame. Left and right are the observer's own. Numbers that are not
//! known are `null`, never 0.
//!
//! Records of a running daemon end with two clocks: `mono_us`, the record's time (`t_us`, or the
//! `onset_us` of an event) on the machine's monotonic clock, and `unix_us`, the same since 1970; see
//! [`crate::clock::CaptureTime`]. Recordings that are processed have no such time and no such keys.
//!
//! Without a face, `face`, `eyes`, `head`, `gaze`, `features` and `por` are null. With one, `face`,
//! `eyes` and `head` are always there; an eye that is not seen is null; a seen eye always has
//! `iris_px`, an estimate while it is closed; `gaze` is null only for `eye_closed`.
//!
//! `low_confidence` gaze is there and doubtful: the network states a larger uncertainty than the
//! limit, or the lids are half down, as at the edges of a blink. No event but a blink comes of it.
//!
//! # The life of an event
//!
//! `fixation`, `saccade`, `pursuit`, `blink` and `gap` come once, when the event is over. Before that, `event_begin`
//! tells that it began, and `event_update` what is known of it four times a second, and at once when its onset or
//! kind was corrected; all have the event's `id`. Every event that began ends, with that `id`. An event that is
//! shorter than the delay with which it is known (most saccades) comes complete, without a beginning. Times in an
//! `event_begin` lie in the past: a fixation is known to be one when it has lasted for the shortest fixation's time.

mod calibration;
mod from_stages;
mod scene;

pub use calibration::{
    CalibrateMessage, Calibration, CalibrationResult, Placement, Purpose, Reference, ScreenMessage,
    Stage, StartMessage, Target, TargetResult, Timing,
};
pub use scene::{
    MovedObject, NextObject, NextObjects, Scanpath, ScanpathFixation, ScanpathRequest, Scanpaths,
    SceneMessage, SceneObject, SceneObjectId, SceneUpdateMessage, Task,
};

use gaze_protocol::{EventId, EventKind, Validity};
use serde::{Deserialize, Serialize};

use crate::clock::CaptureTime;

/// Version of the records, in the header.
pub const VERSION: u32 = 1;

/// Most bytes of a JPEG in a [`Picture`]: in base 64 its line has less than 1 MiB.
pub const MAX_PICTURE_BYTES: usize = 786_000;

/// The first record of every stream; it comes again whenever something in it has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// Program and its version: `gazed 0.1.0`.
    pub program: String,
    /// What is read; files by base name; empty while no source could be opened.
    pub source: String,
    /// Width and height, px; null before the first frame or when pictures differ in size.
    pub frame_size_px: Option<[usize; 2]>,
    /// The networks in use.
    pub models: Vec<ModelRecord>,
    /// The profile in use.
    pub user: Option<String>,
    /// The screen that `por` is on.
    pub screen: ScreenRecord,
    /// How good the profile was when it was made; null without one.
    #[serde(default)]
    pub calibration: Option<CalibrationRecord>,
}

/// The quality of a calibration, as its profile states it. Accuracy and precision are in degrees of
/// visual angle, each target predicted without itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationRecord {
    /// `offset`, `affine`, `quadratic` or `features`.
    pub model: String,
    /// When the profile was made, seconds since 1970.
    pub created_unix_s: u64,
    /// Mean over targets of the angle between mean gaze and target.
    pub accuracy_deg: Option<f32>,
    /// Greatest of the same.
    pub worst_accuracy_deg: Option<f32>,
    /// Mean over targets of the standard deviation.
    pub precision_sd_deg: Option<f32>,
    /// Share of samples without gaze, 0 to 1; none where no sample was kept count of.
    pub data_loss: Option<f32>,
    /// x and y of each target.
    pub targets_mm: Vec<[f32; 2]>,
    /// Why it does not hold for this camera, this screen and these networks; null while it does.
    #[serde(default)]
    pub stale: Option<StaleRecord>,
}

/// Why a profile does not hold, and what helps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StaleRecord {
    /// In words, the remedy included.
    pub message: String,
    /// Whether recentring is enough; if not, only a calibration is.
    pub can_recentre: bool,
}

/// A network, by name and content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Name in `models/manifest.toml`.
    pub name: String,
    /// Hash of the ONNX file, hex.
    pub sha256: String,
}

/// The screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScreenRecord {
    /// Width of the active area, mm.
    pub width_mm: f32,
    /// Height of the active area, mm.
    pub height_mm: f32,
    /// Width, px; null when not known.
    pub width_px: Option<u32>,
    /// Height, px; null when not known.
    pub height_px: Option<u32>,
}

/// One frame's gaze.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Number of the frame, from 0; each decoded frame has exactly one sample.
    pub seq: u64,
    /// Base name of the picture's file, or the frame's number.
    pub frame: FrameRecord,
    /// Width and height of this frame.
    pub size_px: [usize; 2],
    /// Time of exposure.
    pub t_us: u64,
    /// What the sample is worth.
    pub validity: Validity,
    /// The observer's face.
    pub face: Option<Face>,
    /// The observer's eyes.
    pub eyes: Option<Eyes>,
    /// Position and rotation of the head.
    pub head: Option<Head>,
    /// Direction of gaze before calibration.
    pub gaze: Option<Gaze>,
    /// What calibration may use besides the angles.
    pub features: Option<Vec<f32>>,
    /// Point of regard.
    pub por: Option<Por>,
    /// From exposure to the end of the tracking stage, before the record is queued for clients; null
    /// when a file is processed.
    pub latency_us: Option<u64>,
    /// Why the picture could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How far gaze has wandered since calibration, as clicks and dwells tell; degrees, null while
    /// they are too few or too old.
    #[serde(default)]
    pub drift_deg: Option<f32>,
}

/// The name of a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FrameRecord {
    /// Video and camera: the number.
    Number(u64),
    /// Folder of pictures: the base name.
    File(String),
}

/// The face.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Face {
    /// x, y, width, height; px.
    #[serde(rename = "box")]
    pub box_px: [f32; 4],
    /// 0 to 1.
    pub confidence: f32,
}

/// The two eyes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eyes {
    /// The observer's left eye (right in the picture).
    pub left: Option<Eye>,
    /// The observer's right eye.
    pub right: Option<Eye>,
}

/// One eye.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eye {
    /// Midpoint of the eye corners; px.
    pub center_px: [f32; 2],
    /// Iris centre x, y and radius; px.
    pub iris_px: [f32; 3],
    /// 0 closed to 1 wide open.
    pub openness: f32,
    /// 0 to 1.
    pub confidence: f32,
}

/// Head pose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Midpoint between the eyes, camera axes.
    pub position_mm: [f32; 3],
    /// Positive towards the observer's left.
    pub yaw_rad: f32,
    /// Positive up.
    pub pitch_rad: f32,
    /// Positive clockwise in the picture.
    pub roll_rad: f32,
}

/// Gaze.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gaze {
    /// Positive towards the observer's left.
    pub yaw_rad: f32,
    /// Positive up.
    pub pitch_rad: f32,
    /// Angle within which 68 % of the errors lie, as the network states it.
    pub sigma_rad: f32,
    /// Where the line of gaze starts, camera axes.
    pub origin_mm: [f32; 3],
}

/// Point of regard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Por {
    /// From the screen's left edge.
    pub x_mm: f32,
    /// From the screen's top edge.
    pub y_mm: f32,
    /// `x_mm` as share of the screen's width: 0 left, 1 right; may lie outside.
    pub x: f32,
    /// `y_mm` as share of the screen's height: 0 top, 1 bottom; may lie outside.
    pub y: f32,
}

/// The eyes rested on one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fixation {
    /// First sample.
    pub onset_us: u64,
    /// Last sample.
    pub offset_us: u64,
    /// Mean point of regard.
    pub por: Option<Por>,
    /// (max − min) of yaw plus (max − min) of pitch, degrees of visual angle.
    pub dispersion_deg: f32,
    /// The number that its beginning had.
    #[serde(default)]
    pub id: EventId,
}

/// The eyes followed something that moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pursuit {
    /// First sample.
    pub onset_us: u64,
    /// Last sample.
    pub offset_us: u64,
    /// Mean point of regard.
    pub por: Option<Por>,
    /// Angle between its beginning and its end, degrees of visual angle.
    pub amplitude_deg: f32,
    /// The number that its beginning had.
    #[serde(default)]
    pub id: EventId,
}

/// The eyes jumped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saccade {
    /// Last sample before the jump.
    pub onset_us: u64,
    /// First sample after it.
    pub offset_us: u64,
    /// Where it landed.
    pub por: Option<Por>,
    /// Angle between before and after, degrees of visual angle.
    pub amplitude_deg: f32,
    /// Greatest velocity between two samples, degrees a second.
    pub peak_velocity_deg_s: f32,
    /// The number that its beginning had.
    #[serde(default)]
    pub id: EventId,
}

/// The eyes closed and opened, or gaze was missing: `blink` and `gap`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// First sample without gaze.
    pub onset_us: u64,
    /// First sample with gaze again.
    pub offset_us: u64,
    /// The number that its beginning had.
    #[serde(default)]
    pub id: EventId,
}

/// An event that goes on, as far as it is known: `event_begin` and `event_update`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenEvent {
    /// Its number, the same until it is over.
    pub id: EventId,
    /// `fixation`, `saccade`, `pursuit`, `blink` or `gap`; a blink that lasts too long becomes a gap.
    pub event: EventKind,
    /// Where it began, as far as is known now.
    pub onset_us: u64,
    /// The last sample that is known to belong to it.
    pub until_us: u64,
    /// Mean point of regard so far.
    pub por: Option<Por>,
}

/// The gaze entered or left an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectVisit {
    /// The object's id, as it was announced.
    pub object: SceneObjectId,
    /// First sample on the object.
    pub onset_us: u64,
    /// First sample off it; on entering, the same as `onset_us`.
    pub offset_us: u64,
    /// `offset_us − onset_us` on leaving; null on entering.
    pub dwell_us: Option<u64>,
}

/// A frame's picture. Of all records the only one that has to be asked for by name; see
/// [`RecordKind::Picture`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// Number of the frame, as in its sample.
    pub seq: u64,
    /// Time of exposure.
    pub t_us: u64,
    /// A grey JPEG of the whole frame, in base 64; at most [`MAX_PICTURE_BYTES`] before that.
    pub jpeg: String,
}

/// Any record. `type` is the variant's name in snake case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// First of every stream.
    Header(Header),
    /// One a frame.
    Sample(Sample),
    /// A completed fixation.
    Fixation(Fixation),
    /// A completed saccade.
    Saccade(Saccade),
    /// A completed pursuit.
    Pursuit(Pursuit),
    /// A completed blink.
    Blink(Interval),
    /// A stretch without gaze that is not a blink.
    Gap(Interval),
    /// An event began.
    EventBegin(OpenEvent),
    /// An event lasts, or what is known of it was corrected.
    EventUpdate(OpenEvent),
    /// The gaze entered an object.
    ObjectEnter(ObjectVisit),
    /// The gaze left an object.
    ObjectLeave(ObjectVisit),
    /// The answer to a `time` message.
    Time(TimeEcho),
    /// Where the gaze is expected next.
    NextObjects(NextObjects),
    /// Sampled paths, to the client that asked.
    Scanpaths(Scanpaths),
    /// Where a live calibration stands, whenever that changes.
    Calibration(Calibration),
    /// A frame's picture.
    Picture(Picture),
    /// The answer to a message that could not be used. The connection stays open, unless the
    /// record says that it is closed; see [`crate::server`].
    Error(ErrorRecord),
}

/// What a client asked the time with. The clocks are read when the message is answered: halfway
/// between asking and hearing, to half the time between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeEcho {
    /// The client's own number.
    pub echo: Option<u64>,
}

/// What was wrong with a client's message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// What was wrong and what was expected.
    pub message: String,
}

/// The kinds of record that a client can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// [`Record::Sample`].
    Sample,
    /// [`Record::Fixation`].
    Fixation,
    /// [`Record::Saccade`].
    Saccade,
    /// [`Record::Pursuit`].
    Pursuit,
    /// [`Record::Blink`].
    Blink,
    /// [`Record::Gap`].
    Gap,
    /// [`Record::EventBegin`].
    EventBegin,
    /// [`Record::EventUpdate`].
    EventUpdate,
    /// [`Record::ObjectEnter`].
    ObjectEnter,
    /// [`Record::ObjectLeave`].
    ObjectLeave,
    /// [`Record::NextObjects`].
    NextObjects,
    /// [`Record::Calibration`].
    Calibration,
    /// [`Record::Picture`]. An empty list does not mean it; the Unix socket alone gives it, and only where
    /// the settings say `recording.frames = true`.
    Picture,
}

impl RecordKind {
    /// All kinds, pictures too.
    pub const ALL: [RecordKind; 13] = [
        RecordKind::Sample,
        RecordKind::Fixation,
        RecordKind::Saccade,
        RecordKind::Pursuit,
        RecordKind::Blink,
        RecordKind::Gap,
        RecordKind::EventBegin,
        RecordKind::EventUpdate,
        RecordKind::ObjectEnter,
        RecordKind::ObjectLeave,
        RecordKind::NextObjects,
        RecordKind::Calibration,
        RecordKind::Picture,
    ];
}

impl Record {
    /// The kind to subscribe to; headers and answers go to everybody they concern.
    pub fn kind(&self) -> Option<RecordKind> {
        Some(match self {
            Record::Header(_) | Record::Time(_) | Record::Scanpaths(_) | Record::Error(_) => {
                return None;
            }
            Record::Sample(_) => RecordKind::Sample,
            Record::Fixation(_) => RecordKind::Fixation,
            Record::Saccade(_) => RecordKind::Saccade,
            Record::Pursuit(_) => RecordKind::Pursuit,
            Record::Blink(_) => RecordKind::Blink,
            Record::Gap(_) => RecordKind::Gap,
            Record::EventBegin(_) => RecordKind::EventBegin,
            Record::EventUpdate(_) => RecordKind::EventUpdate,
            Record::ObjectEnter(_) => RecordKind::ObjectEnter,
            Record::ObjectLeave(_) => RecordKind::ObjectLeave,
            Record::NextObjects(_) => RecordKind::NextObjects,
            Record::Calibration(_) => RecordKind::Calibration,
            Record::Picture(_) => RecordKind::Picture,
        })
    }

    /// Its time, microseconds since the source's first frame: that of a sample, the onset of an
    /// event; none for headers and errors.
    pub fn t_us(&self) -> Option<u64> {
        Some(match self {
            Record::Calibration(calibration) => return calibration.t_us,
            Record::Header(_) | Record::Time(_) | Record::Scanpaths(_) | Record::Error(_) => {
                return None;
            }
            Record::NextObjects(next) => next.offset_us,
            Record::Sample(sample) => sample.t_us,
            Record::Picture(picture) => picture.t_us,
            Record::Fixation(fixation) => fixation.onset_us,
            Record::Saccade(saccade) => saccade.onset_us,
            Record::Pursuit(pursuit) => pursuit.onset_us,
            Record::Blink(interval) | Record::Gap(interval) => interval.onset_us,
            Record::EventBegin(event) | Record::EventUpdate(event) => event.onset_us,
            Record::ObjectEnter(visit) | Record::ObjectLeave(visit) => visit.onset_us,
        })
    }

    /// The record as one line of JSON, without the line break.
    ///
    /// # Panics
    /// Never: every field is a plain number, text or list.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("records hold only plain values")
    }
}

/// A record and when it was. One with a number that is too large for it is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub struct TimedRecord {
    /// The record.
    #[serde(flatten)]
    pub record: Record,
    /// When that was; none in recordings that are processed, and for headers and errors.
    #[serde(flatten)]
    pub at: Option<CaptureTime>,
}

impl TimedRecord {
    /// The record as one line of JSON, without the line break.
    ///
    /// # Panics
    /// Never: every field is a plain number, text or list.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("records hold only plain values")
    }
}

/// Why a line is no record.
#[derive(Debug, thiserror::Error)]
pub enum NotARecord {
    /// A key or a value is not what it should be.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
    /// A number would be read as infinite.
    #[error("the number {number} is above {:e}", f32::MAX)]
    TooLarge {
        /// As it was written.
        number: serde_json::Number,
    },
}

impl TryFrom<serde_json::Value> for TimedRecord {
    type Error = NotARecord;

    fn try_from(line: serde_json::Value) -> Result<Self, NotARecord> {
        #[derive(Deserialize)]
        struct Parts {
            #[serde(flatten)]
            record: Record,
            #[serde(flatten)]
            at: Option<CaptureTime>,
        }
        if let Some(number) = too_large(&line) {
            let number = number.clone();
            return Err(NotARecord::TooLarge { number });
        }
        let Parts { record, at } = serde_json::from_value(line)?;
        Ok(TimedRecord { record, at })
    }
}

/// The first number that a record's own could not hold.
fn too_large(value: &serde_json::Value) -> Option<&serde_json::Number> {
    match value {
        serde_json::Value::Number(number) => {
            let is_too_large = |real: f64| (real as f32).is_infinite();
            number.as_f64().is_some_and(is_too_large).then_some(number)
        }
        serde_json::Value::Array(values) => values.iter().find_map(too_large),
        serde_json::Value::Object(values) => values.values().find_map(too_large),
        _ => None,
    }
}

/// What a client may send, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// Which records to send; the answer is the header. Absent or empty `types`: all but pictures.
    Subscribe {
        /// Kinds wanted.
        #[serde(default)]
        types: Vec<RecordKind>,
    },
    /// Asks for the time, to compare clocks; `echo` comes back.
    Time {
        /// The client's own number, perhaps its own time.
        #[serde(default)]
        echo: Option<u64>,
    },
    /// Replaces the objects on the screen.
    Scene(SceneMessage),
    /// Changes some objects of the scene.
    SceneUpdate(SceneUpdateMessage),
    /// Asks for whole sampled paths on the scene that is shown; the answer is a `scanpaths` record.
    ScanpathRequest(ScanpathRequest),
    /// Drives a live calibration; the answers are `calibration` records.
    Calibrate(CalibrateMessage),
    /// Shows one target, in the middle of the screen where no place is given (as shares of it),
    /// and moves the calibration in force so that it is met.
    Recentre(RecentreMessage),
    /// The person clicked or touched at this place of the screen, and so probably looked at it.
    /// Taken where `user.learns_from_use` is on; see `drift_deg` of the samples.
    Click(ClickMessage),
    /// Whose calibration to use from now on; null for none.
    User {
        /// The name.
        name: Option<gaze_calibration::UserName>,
    },
    /// Takes back what clicks and dwells have changed, and the recentring before that with
    /// `"profile":true`.
    Undo {
        /// Also takes back the profile before the one in force.
        #[serde(default)]
        profile: bool,
    },
}

/// One target to move the calibration by.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecentreMessage {
    /// 0 left, 1 right.
    #[serde(default = "middle")]
    pub x: f32,
    /// 0 top, 1 bottom.
    #[serde(default = "middle")]
    pub y: f32,
}

fn middle() -> f32 {
    0.5
}

/// A click or touch.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClickMessage {
    /// 0 left, 1 right.
    pub x: f32,
    /// 0 top, 1 bottom.
    pub y: f32,
    /// How long ago it was; at most 300 ms.
    #[serde(default)]
    pub age_ms: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_too_large_for_a_record_is_named_and_not_infinite() {
        let line = |x: &str| {
            format!(
                r#"{{"type":"fixation","onset_us":1,"offset_us":2,"por":{{"x_mm":{x},"y_mm":0.0,"x":0.0,"y":0.0}},"dispersion_deg":0.5,"id":3,"mono_us":4,"unix_us":5}}"#
            )
        };
        let read: TimedRecord = serde_json::from_str(&line("3.5")).unwrap();
        assert_eq!(read.to_line(), line("3.5"));
        let error = serde_json::from_str::<TimedRecord>(&line("1e39")).unwrap_err();
        assert!(error.to_string().contains("the number 1e"), "{error}");
    }
}
