//! Lab Streaming Layer: two streams, on with `outputs.lsl = {}`.
//!
//! | stream | type | what |
//! |---|---|---|
//! | `gazed` | `Gaze`, 15 channels of 64-bit numbers, one sample a frame | named in its description; a missing value is NaN |
//! | `gazed events` | `Markers`, one channel of text | each other record as on the socket, JSON |
//!
//! ```python
//! import pylsl                                           # pip install pylsl
//! gaze = pylsl.StreamInlet(pylsl.resolve_byprop("type", "Gaze")[0])
//! labels = pylsl.StreamInlet.info(gaze).get_channel_labels()
//! while True:
//!     values, time = gaze.pull_sample()
//!     print(time, dict(zip(labels, values)))
//! ```
//!
//! - Time stamps are the LSL clock at exposure, and of an event at its onset, as far as the camera
//!   tells when that was. They are not replaced by a clock of ours: that is in the channel
//!   `device_time`, the monotonic clock in seconds (`mono_us` of the records).
//! - `validity` is a number; the description's `validity` says which: 0 valid, 1 no_face,
//!   2 eye_closed, 3 low_confidence, 4 stale_calibration, 5 uncalibrated.
//! - `object` numbers the announced object that is looked at: objects get numbers from 1 as they are
//!   first looked at, and a marker `{"type":"object_number","number":1,"object":"yes"}` says so.
//!
//! liblsl is loaded while the daemon runs: from `library`, or under its usual names. When it is not
//! there a warning says so, and everything else goes on. **liblsl opens its ports on every network
//! interface and asks nobody who connects.** The service's unit keeps it on this machine
//! (`IPAddressDeny`), a daemon started by hand does not: a firewall must.

use std::sync::Arc;

use gaze_lsl::{Format, Lsl, LslError, Outlet, StreamInfo};
use gaze_protocol::{GazeAngles, Validity};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::LslSettings;
use super::fan_out::{Hub, Line};
use super::settings::machine_name;
use crate::clock::CaptureTime;
use crate::record::{Eyes, Record, Sample, SceneObjectId, TimedRecord};

/// A channel: label, eye, type, unit, coordinate system.
type Channel = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// The channels of the stream `Gaze`, in the words of LSL's meta-data for gaze (XDF wiki, "Gaze
/// Meta-Data").
const CHANNELS: [Channel; 15] = [
    ("por_x", "both", "ScreenX", "normalized", "screen-top-left"),
    ("por_y", "both", "ScreenY", "normalized", "screen-top-left"),
    (
        "por_x_mm",
        "both",
        "ScreenX",
        "millimeters",
        "screen-top-left",
    ),
    (
        "por_y_mm",
        "both",
        "ScreenY",
        "millimeters",
        "screen-top-left",
    ),
    ("gaze_x", "both", "DirectionX", "normalized", "camera"),
    ("gaze_y", "both", "DirectionY", "normalized", "camera"),
    ("gaze_z", "both", "DirectionZ", "normalized", "camera"),
    ("head_x", "both", "HeadX", "millimeters", "camera"),
    ("head_y", "both", "HeadY", "millimeters", "camera"),
    ("head_z", "both", "HeadZ", "millimeters", "camera"),
    ("confidence", "both", "Confidence", "normalized", ""),
    ("validity", "both", "Validity", "", ""),
    ("frame", "both", "FrameNumber", "", ""),
    ("object", "both", "ObjectId", "", ""),
    ("device_time", "both", "Timestamp", "seconds", ""),
];

/// What `validity` may be, in the order of its numbers.
const VALIDITIES: [Validity; 6] = [
    Validity::Valid,
    Validity::NoFace,
    Validity::EyeClosed,
    Validity::LowConfidence,
    Validity::StaleCalibration,
    Validity::Uncalibrated,
];

/// Streams until the daemon stops. `_alive` is held until then.
pub(super) async fn stream(settings: LslSettings, hub: Arc<Hub>, _alive: mpsc::Sender<()>) {
    let mut streams = match Streams::open(&settings) {
        Ok(streams) => streams,
        Err(error) => return warn!("outputs.lsl: {error}; no stream is offered"),
    };
    hub.follow("lsl", &[], |line| streams.tell(line)).await;
}

/// Both outlets.
struct Streams {
    lsl: Lsl,
    gaze: Outlet,
    markers: Outlet,
    objects: Objects,
}

impl Streams {
    fn open(settings: &LslSettings) -> Result<Self, LslError> {
        let lsl = Lsl::load(settings.library.as_deref())?;
        let machine = machine_name();
        let gaze = lsl.outlet(&gaze_info(&machine))?;
        let markers = lsl.outlet(&marker_info(&machine))?;
        let version = lsl.version();
        info!(
            "lsl: streams `gazed` and `gazed events` by liblsl {}.{}, on every network interface",
            version / 100,
            version % 100
        );
        Ok(Streams {
            lsl,
            gaze,
            markers,
            objects: Objects::default(),
        })
    }

    fn tell(&mut self, line: &Line) {
        let record = line.record();
        let at_s = self.at_s(record);
        if let Some((number, object)) = self.objects.take(&record.record) {
            let said = json!({"type": "object_number", "number": number, "object": object});
            self.mark(&said.to_string(), at_s);
        }
        match &record.record {
            Record::Sample(sample) => {
                let values = values(sample, record.at, self.objects.looked_at);
                self.gaze.push(&values, at_s);
            }
            _ => self.mark(line.message().as_str(), at_s),
        }
    }

    fn mark(&mut self, text: &str, at_s: f64) {
        if let Err(error) = self.markers.push_text(text, at_s) {
            // JSON has no zero bytes.
            warn!("lsl: a marker was not sent: {error}");
        }
    }

    /// The LSL clock when the record's moment was; a record without one is of now.
    fn at_s(&self, record: &TimedRecord) -> f64 {
        let age_us = record.at.map_or(0, |at| {
            CaptureTime::now().mono_us.saturating_sub(at.mono_us)
        });
        self.lsl.local_clock_s() - age_us as f64 * 1e-6
    }
}

fn gaze_info(machine: &str) -> StreamInfo {
    let channels = CHANNELS
        .iter()
        .map(|&(label, eye, kind, unit, system)| {
            [
                ("label", label),
                ("eye", eye),
                ("type", kind),
                ("unit", unit),
                ("coordinate_system", system),
            ]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name, value.to_owned()))
            .collect()
        })
        .collect();
    let mut about = about();
    about.extend(VALIDITIES.iter().enumerate().map(|(number, validity)| {
        let word = crate::recording::word(validity);
        (vec!["validity", NUMBERS[number]], word)
    }));
    StreamInfo {
        name: "gazed".to_owned(),
        content: "Gaze".to_owned(),
        format: Format::Double,
        source_id: format!("gazed-{machine}"),
        about,
        channels,
    }
}

/// Names of elements do not begin with a digit.
const NUMBERS: [&str; 6] = ["v0", "v1", "v2", "v3", "v4", "v5"];

fn marker_info(machine: &str) -> StreamInfo {
    let channel = [("label", "record"), ("type", "Marker"), ("format", "JSON")];
    StreamInfo {
        name: "gazed events".to_owned(),
        content: "Markers".to_owned(),
        format: Format::Text,
        source_id: format!("gazed-{machine}-events"),
        about: about(),
        channels: vec![channel.map(|(name, value)| (name, value.to_owned())).into()],
    }
}

fn about() -> Vec<(Vec<&'static str>, String)> {
    vec![
        (vec!["acquisition", "manufacturer"], "gazed".to_owned()),
        (
            vec!["acquisition", "version"],
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
    ]
}

/// A value for each of [`CHANNELS`].
fn values(sample: &Sample, at: Option<CaptureTime>, object: Option<u32>) -> [f64; CHANNELS.len()] {
    const MISSING: [f32; 3] = [f32::NAN; 3];
    let por = sample
        .por
        .as_ref()
        .map_or([f32::NAN; 4], |por| [por.x, por.y, por.x_mm, por.y_mm]);
    let direction = sample.gaze.as_ref().map_or(MISSING, |gaze| {
        let angles = GazeAngles {
            yaw_rad: gaze.yaw_rad,
            pitch_rad: gaze.pitch_rad,
        };
        angles.to_vector()
    });
    let head = sample
        .head
        .as_ref()
        .map_or(MISSING, |head| head.position_mm);
    let confidence = sample.eyes.as_ref().map_or(f32::NAN, best_confidence);
    let validity = VALIDITIES
        .iter()
        .position(|&validity| validity == sample.validity)
        .expect("every validity has a number");
    let wide = |value: f32| f64::from(value);
    let [por_x, por_y, por_x_mm, por_y_mm] = por.map(wide);
    let [gaze_x, gaze_y, gaze_z] = direction.map(wide);
    let [head_x, head_y, head_z] = head.map(wide);
    [
        por_x,
        por_y,
        por_x_mm,
        por_y_mm,
        gaze_x,
        gaze_y,
        gaze_z,
        head_x,
        head_y,
        head_z,
        wide(confidence),
        validity as f64,
        sample.seq as f64,
        object.map_or(f64::NAN, f64::from),
        at.map_or(f64::NAN, |at| at.mono_us as f64 * 1e-6),
    ]
}

fn best_confidence(eyes: &Eyes) -> f32 {
    [&eyes.left, &eyes.right]
        .into_iter()
        .flatten()
        .map(|eye| eye.confidence)
        .fold(f32::NAN, f32::max)
}

/// The numbers of objects.
#[derive(Debug, Default)]
struct Objects {
    /// An object's number is its place in here, from 1.
    seen: Vec<SceneObjectId>,
    looked_at: Option<u32>,
}

impl Objects {
    /// Follows visits; gives an object's number when it gets one.
    fn take(&mut self, record: &Record) -> Option<(u32, SceneObjectId)> {
        match record {
            Record::ObjectEnter(visit) => {
                let place = self.seen.iter().position(|seen| *seen == visit.object);
                let is_new = place.is_none();
                let place = place.unwrap_or_else(|| {
                    self.seen.push(visit.object.clone());
                    self.seen.len() - 1
                });
                let number = place as u32 + 1;
                self.looked_at = Some(number);
                is_new.then(|| (number, visit.object.clone()))
            }
            Record::ObjectLeave(_) => {
                self.looked_at = None;
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ObjectVisit;

    #[test]
    fn each_channel_has_its_value_and_what_is_missing_is_nan() {
        let line = r#"{"type":"sample","seq":7,"frame":7,"size_px":[640,480],"t_us":0,"validity":"uncalibrated","face":null,"eyes":{"left":null,"right":{"center_px":[276.9,207.4],"iris_px":[277.5,206.7,8.2],"openness":0.83,"confidence":0.5}},"head":{"position_mm":[1.0,-22.0,588.0],"yaw_rad":0.0,"pitch_rad":0.0,"roll_rad":0.0},"gaze":{"yaw_rad":0.0,"pitch_rad":0.0,"sigma_rad":0.03,"origin_mm":[0.0,0.0,600.0]},"features":null,"por":{"x_mm":250.0,"y_mm":75.0,"x":0.5,"y":0.25},"latency_us":15321}"#;
        let Ok(Record::Sample(mut sample)) = serde_json::from_str(line) else {
            panic!("no sample")
        };
        let at = CaptureTime {
            mono_us: 2_500_000,
            unix_us: 0,
        };
        let told = values(&sample, Some(at), Some(3));
        assert_eq!(
            told,
            [
                0.5, 0.25, 250.0, 75.0, 0.0, -0.0, -1.0, 1.0, -22.0, 588.0, 0.5, 5.0, 7.0, 3.0, 2.5
            ]
        );
        sample.por = None;
        sample.eyes = None;
        sample.head = None;
        sample.gaze = None;
        sample.validity = Validity::NoFace;
        let told = values(&sample, None, None);
        let known: Vec<_> = told.iter().filter(|value| !value.is_nan()).collect();
        assert_eq!(known, [&1.0, &7.0], "validity and frame");
    }

    #[test]
    fn objects_keep_the_number_that_they_got_first() {
        let visit = |object: &str| ObjectVisit {
            object: object.into(),
            onset_us: 0,
            offset_us: 0,
            dwell_us: None,
        };
        let mut objects = Objects::default();
        let mut enter = |object: &str| {
            let told = objects.take(&Record::ObjectEnter(visit(object)));
            let number = objects.looked_at;
            objects.take(&Record::ObjectLeave(visit(object)));
            assert_eq!(objects.looked_at, None);
            (told.map(|(number, _)| number), number)
        };
        assert_eq!(enter("yes"), (Some(1), Some(1)));
        assert_eq!(enter("no"), (Some(2), Some(2)));
        assert_eq!(enter("yes"), (None, Some(1)));
    }
}
