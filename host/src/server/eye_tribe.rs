//! The Eye Tribe's API (JSON over TCP): on with `outputs.eye_tribe = "127.0.0.1:6555"`.
//!
//! ```python
//! import json, socket
//! tracker = socket.create_connection(("127.0.0.1", 6555))
//! tracker.sendall(b'{"category":"tracker","request":"set","values":{"push":true,"version":1}}\n')
//! for line in tracker.makefile():
//!     message = json.loads(line)
//!     if "frame" in message.get("values", {}):
//!         print(message["values"]["frame"]["avg"])
//! ```
//!
//! `raw` and `avg` are the point of regard and the mean of the fixation that goes on, px with the
//! origin top-left, for both eyes alike. The screen's pixels are those that the client sets
//! (`screenresw`, `screenresh`: for its own connection), else those of `[screen]`, else 1920 x 1080;
//! a size that it sets (`screenpsyw`, `screenpsyh`, m) is the screen of the calibrations that it
//! drives. What cannot be set is answered with 400, and nothing of that message is set. `time` is
//! milliseconds of the machine's monotonic clock. `psize` is 0: pupils are not measured.
//!
//! `calibration` requests drive the session that the page runs too: the client shows its points, and
//! says `pointstart` with the place of each in px and `pointend` when it is over. A `pointend` that is
//! refused (403) leaves its point to be ended again. The last one, the `pointcount`th that was taken, is
//! answered with `calibresult`, once the result is there; one that can be accepted is kept and put in
//! force. When there will be none, because the client begins anew or aborts, or somebody else begins a
//! calibration, it is answered with 403. `clear` leaves the person uncalibrated until the daemon is
//! started again, or a client names the person; no profile is deleted. When another calibration comes
//! into force, whoever made it, each client gets a message with `statuscode` 800.

mod calibration;
mod screen;

use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use calibration::Guided;
use screen::{ClientScreen, Refused};

use super::MAX_BAD_MESSAGES;
use super::fan_out::Hub;
use super::output::Dialect;
use super::resting::Resting;
use crate::clock::{CaptureTime, civil_date};
use crate::metrics::{Counter, Metrics};
use crate::record::{Eye, Header, OpenEvent, Record, Sample, ScreenMessage, TimedRecord};

/// Longest message of a client.
const MAX_MESSAGE: usize = 16 * 1024;

/// How often a client should say that it is there.
const HEARTBEAT_MS: u32 = 3000;

/// Bits of a frame's `state`.
const STATE_GAZE: u32 = 1;
const STATE_EYES: u32 = 2;
const STATE_PRESENCE: u32 = 4;
const STATE_LOST: u32 = 16;

const OK: u32 = 200;
const BAD_REQUEST: u32 = 400;
const NOT_FOUND: u32 = 404;
/// The calibration in force is another one: clients should ask for it.
const CALIBRATION_CHANGED: u32 = 800;

/// The version of the protocol that is spoken.
const VERSION: u64 = 1;

/// One client's conversation.
#[derive(Debug)]
pub(super) struct EyeTribe {
    metrics: Arc<Metrics>,
    buffer: Vec<u8>,
    bad_in_a_row: u32,
    is_pushing: bool,
    header: Option<Header>,
    screen: ClientScreen,
    frame: Option<Value>,
    resting: Resting,
    frame_rate_hz: f64,
    last_t_us: Option<u64>,
    is_calibrated: bool,
    guided: Guided,
}

impl EyeTribe {
    pub(super) fn new(hub: &Arc<Hub>) -> Self {
        EyeTribe {
            metrics: Arc::clone(&hub.metrics),
            buffer: Vec::new(),
            bad_in_a_row: 0,
            is_pushing: false,
            header: None,
            screen: ClientScreen::default(),
            frame: None,
            resting: Resting::default(),
            frame_rate_hz: 30.0,
            last_t_us: None,
            is_calibrated: false,
            guided: Guided::new(Arc::clone(hub)),
        }
    }
}

impl Dialect for EyeTribe {
    /// Objects follow each other with or without a line's end between.
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> ControlFlow<()> {
        self.buffer.extend(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut requests = serde_json::Deserializer::from_slice(&buffer).into_iter::<Value>();
        loop {
            match requests.next() {
                Some(Ok(request)) => self.answer(&request, out),
                Some(Err(error)) if !error.is_eof() => {
                    self.metrics.count(Counter::MessagesRefused);
                    send(
                        out,
                        &json!({"statuscode": BAD_REQUEST, "values": {"statusmessage": error.to_string()}}),
                    );
                    return ControlFlow::Break(());
                }
                _ => break,
            }
        }
        self.buffer = buffer[requests.byte_offset()..].to_vec();
        if self.buffer.len() > MAX_MESSAGE || self.bad_in_a_row >= MAX_BAD_MESSAGES {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn tell(&mut self, record: &TimedRecord, out: &mut Vec<u8>) {
        self.resting.take(&record.record);
        match &record.record {
            Record::Header(header) => {
                let of = |header: &Header| (header.user.clone(), header.calibration.clone());
                let before = self.header.replace(header.clone());
                if before.is_some_and(|before| of(&before) != of(header)) {
                    send(
                        out,
                        &json!({"category": "calibration", "statuscode": CALIBRATION_CHANGED}),
                    );
                }
            }
            Record::Sample(sample) => {
                if let Some(last_t_us) = self.last_t_us.replace(sample.t_us)
                    && sample.t_us > last_t_us
                {
                    self.frame_rate_hz = 1e6 / (sample.t_us - last_t_us) as f64;
                }
                self.is_calibrated = sample.validity == gaze_protocol::Validity::Valid;
                let resting = self.resting.now(sample);
                let frame = frame(sample, resting, record.at, self.screen_px());
                if self.is_pushing {
                    send(
                        out,
                        &json!({"category": "tracker", "statuscode": OK, "values": {"frame": frame}}),
                    );
                }
                self.frame = Some(frame);
            }
            Record::Calibration(calibration) => {
                let screen_px = self.screen_px();
                if let Some(answer) = self.guided.follow(calibration, screen_px) {
                    self.reply(answer, out);
                }
            }
            _ => {}
        }
    }

    fn is_waiting(&self) -> bool {
        self.guided.is_waiting()
    }

    fn tick(&mut self, out: &mut Vec<u8>) {
        for answer in self.guided.look() {
            self.reply(answer, out);
        }
    }
}

impl EyeTribe {
    fn answer(&mut self, request: &Value, out: &mut Vec<u8>) {
        let word = |key: &str| request[key].as_str().unwrap_or_default();
        let (category, verb) = (word("category"), word("request"));
        let values = &request["values"];
        let (status, values) = match (category, verb) {
            ("heartbeat", _) => {
                self.bad_in_a_row = 0;
                return send(out, &json!({"category": "heartbeat", "statuscode": OK}));
            }
            ("tracker", "get") => self.get(values),
            ("tracker", "set") => self.set(values),
            ("calibration", _) => {
                let (screen_px, screen) = (self.screen_px(), self.screen_to_calibrate_on());
                if let Some(answer) = self.guided.hear(verb, values, screen_px, screen) {
                    self.reply(answer, out);
                }
                return;
            }
            _ => (
                NOT_FOUND,
                json!({"statusmessage": "no such category or request"}),
            ),
        };
        self.judge(status);
        send(
            out,
            &json!({"category": category, "request": verb, "statuscode": status, "values": values}),
        );
    }

    /// Sends the answer to a calibration request.
    fn reply(&mut self, answer: calibration::Reply, out: &mut Vec<u8>) {
        let calibration::Reply {
            request,
            status,
            values,
        } = answer;
        self.judge(status);
        send(
            out,
            &json!({"category": "calibration", "request": request, "statuscode": status, "values": values}),
        );
    }

    fn judge(&mut self, status: u32) {
        if status == OK {
            self.bad_in_a_row = 0;
        } else {
            self.bad_in_a_row += 1;
            self.metrics.count(Counter::MessagesRefused);
        }
    }

    fn get(&self, wanted: &Value) -> (u32, Value) {
        let mut found = Map::new();
        for key in wanted
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            let Some(value) = self.value(key) else {
                return (
                    NOT_FOUND,
                    json!({"statusmessage": format!("no value {key}")}),
                );
            };
            found.insert(key.to_owned(), value);
        }
        if found.is_empty() {
            return (
                BAD_REQUEST,
                json!({"statusmessage": "values must be a list of names"}),
            );
        }
        (OK, found.into())
    }

    fn value(&self, key: &str) -> Option<Value> {
        let [width_px, height_px] = self.screen_px();
        let size_mm = self.screen_mm();
        let metres = |side: usize| size_mm.map(|size_mm| size_mm[side] / 1000.0);
        Some(match key {
            "push" => self.is_pushing.into(),
            "heartbeatinterval" => HEARTBEAT_MS.into(),
            "version" => VERSION.into(),
            // 0 connected, 4 no stream.
            "trackerstate" => u32::from(self.frame.is_none()).wrapping_mul(4).into(),
            "framerate" => self.frame_rate_hz.round().into(),
            "iscalibrated" => self.is_calibrated.into(),
            "iscalibrating" => self.guided.is_on().into(),
            "calibresult" if self.guided.result().is_some() => self.guided.result()?.clone(),
            "calibresult" => {
                let calibration = self
                    .header
                    .as_ref()
                    .and_then(|header| header.calibration.as_ref());
                // Without a calibration `result` is false, and the degrees mean nothing.
                let deg = calibration.and_then(|calibration| calibration.accuracy_deg);
                let deg = deg.unwrap_or_default();
                json!({
                    "result": self.is_calibrated, "deg": deg, "degl": deg, "degr": deg, "calibpoints": [],
                })
            }
            "frame" => self.frame.clone().unwrap_or_else(empty_frame),
            "screenindex" => self.screen.index.into(),
            "screenresw" => width_px.into(),
            "screenresh" => height_px.into(),
            "screenpsyw" => metres(0).into(),
            "screenpsyh" => metres(1).into(),
            _ => return None,
        })
    }

    fn set(&mut self, values: &Value) -> (u32, Value) {
        let Some(values) = values.as_object() else {
            return (
                BAD_REQUEST,
                json!({"statusmessage": "values must be an object"}),
            );
        };
        let (mut is_pushing, mut screen) = (self.is_pushing, self.screen);
        for (key, value) in values {
            let taken = match (key.as_str(), value) {
                ("push", Value::Bool(push)) => {
                    is_pushing = *push;
                    Ok(())
                }
                ("push", _) => Err(Refused::Value("it is true or false")),
                ("version", version) if version.as_u64() == Some(VERSION) => Ok(()),
                ("version", _) => Err(Refused::Value("the version that is spoken is 1")),
                _ => screen.set(key, value),
            };
            if let Err(why) = taken {
                let why = format!("cannot set {key} to {value}: {why}");
                return (BAD_REQUEST, json!({ "statusmessage": why }));
            }
        }
        (self.is_pushing, self.screen) = (is_pushing, screen);
        (OK, json!({}))
    }

    fn screen_px(&self) -> [u32; 2] {
        let known = self.header.as_ref().and_then(|header| {
            let screen = &header.screen;
            Some([screen.width_px?, screen.height_px?])
        });
        let [width_px, height_px] = known.unwrap_or([1920, 1080]);
        [
            self.screen.width_px.unwrap_or(width_px),
            self.screen.height_px.unwrap_or(height_px),
        ]
    }

    /// Width and height, where they are known.
    fn screen_mm(&self) -> Option<[f32; 2]> {
        let known = self.header.as_ref().map(|header| &header.screen);
        let [width_mm, height_mm] = [
            self.screen.width_mm.or(known.map(|screen| screen.width_mm)),
            self.screen
                .height_mm
                .or(known.map(|screen| screen.height_mm)),
        ];
        Some([width_mm?, height_mm?])
    }

    /// The client's own screen, where it has said how large that is.
    fn screen_to_calibrate_on(&self) -> Option<ScreenMessage> {
        self.screen.width_mm.or(self.screen.height_mm)?;
        let [width_mm, height_mm] = self.screen_mm()?;
        let [width_px, height_px] = self.screen_px();
        Some(ScreenMessage {
            width_mm,
            height_mm,
            width_px: Some(width_px),
            height_px: Some(height_px),
        })
    }
}

fn send(out: &mut Vec<u8>, message: &Value) {
    out.extend(message.to_string().into_bytes());
    out.push(b'\n');
}

fn frame(
    sample: &Sample,
    resting: Option<&OpenEvent>,
    at: Option<CaptureTime>,
    screen_px: [u32; 2],
) -> Value {
    let [width_px, height_px] = screen_px.map(f64::from);
    let place = |por: Option<&crate::record::Por>| {
        por.map_or(
            json!({"x": 0.0, "y": 0.0}),
            |por| json!({"x": f64::from(por.x) * width_px, "y": f64::from(por.y) * height_px}),
        )
    };
    let usable = sample.por.as_ref().filter(|_| sample.validity.is_usable());
    let raw = place(usable);
    let average = place(
        resting
            .and_then(|fixation| fixation.por.as_ref())
            .or(usable),
    );
    let eye = |eye: Option<&Eye>| {
        let center = eye.map_or([0.0; 2], |eye| {
            [
                f64::from(eye.iris_px[0]) / sample.size_px[0].max(1) as f64,
                f64::from(eye.iris_px[1]) / sample.size_px[1].max(1) as f64,
            ]
        });
        json!({
            "raw": raw, "avg": average, "psize": 0.0,
            "pcenter": {"x": center[0], "y": center[1]},
        })
    };
    let eyes = sample.eyes.as_ref();
    let mut state = 0;
    if sample.face.is_none() {
        state |= STATE_LOST;
    } else {
        state |= STATE_PRESENCE | STATE_EYES;
    }
    if usable.is_some() {
        state |= STATE_GAZE;
    }
    json!({
        "timestamp": timestamp(at.map_or(0, |at| at.unix_us)),
        "time": at.map_or(sample.t_us, |at| at.mono_us) / 1000,
        "fix": resting.is_some(),
        "state": state,
        "raw": raw,
        "avg": average,
        "lefteye": eye(eyes.and_then(|eyes| eyes.left.as_ref())),
        "righteye": eye(eyes.and_then(|eyes| eyes.right.as_ref())),
    })
}

/// Before the first sample.
fn empty_frame() -> Value {
    let nowhere = json!({"x": 0.0, "y": 0.0});
    let eye = json!({"raw": nowhere, "avg": nowhere, "psize": 0.0, "pcenter": nowhere});
    json!({
        "timestamp": timestamp(0), "time": 0, "fix": false, "state": STATE_LOST,
        "raw": nowhere, "avg": nowhere, "lefteye": eye, "righteye": eye,
    })
}

/// `2016-09-13 09:18:52.091`, UTC.
fn timestamp(unix_us: u64) -> String {
    let (days, ms) = (unix_us / 86_400_000_000, unix_us / 1000 % 86_400_000);
    let [year, month, day] = civil_date(days as i64);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:03}",
        ms / 3_600_000,
        ms / 60_000 % 60,
        ms / 1000 % 60,
        ms % 1000
    )
}

#[cfg(test)]
mod tests;
