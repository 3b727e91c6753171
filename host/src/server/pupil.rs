//! The network API of Pupil Core (ZeroMQ and msgpack): on with `outputs.pupil = "127.0.0.1:50020"`.
//!
//! The next two ports carry the backbone: `SUB_PORT` is the address's port + 1, `PUB_PORT` + 2.
//!
//! ```python
//! import msgpack, zmq                                    # pip install pyzmq msgpack
//! remote = zmq.Context.instance().socket(zmq.REQ)
//! remote.connect("tcp://127.0.0.1:50020")
//! remote.send_string("SUB_PORT")
//! gaze = zmq.Context.instance().socket(zmq.SUB)
//! gaze.connect("tcp://127.0.0.1:" + remote.recv_string())
//! gaze.subscribe("gaze.")
//! while True:
//!     topic, datum = gaze.recv_multipart()
//!     print(topic.decode(), msgpack.loads(datum)["norm_pos"])
//! ```
//!
//! | topic | what |
//! |---|---|
//! | `pupil.0.3d` `pupil.1.3d` | the right and the left eye, where seen: `norm_pos` and `ellipse` are the iris in the picture; pupils are not measured, so `diameter` and `diameter_3d` are 0 |
//! | `gaze.3d.01.` | the point of regard; the world picture is the screen, so `norm_pos` is a share of it from the bottom-left corner |
//! | `fixations` | the fixation that goes on, with every sample of it, under one `id` |
//! | `blinks` | `onset` and `offset` of closed eyes |
//! | `surfaces.screen` | the screen |
//! | `surfaces.<id>` | each announced object; one that is called `screen` is `surfaces._screen` |
//! | `notify.…`, anything else | what clients send, passed on to all |
//!
//! Positions in mm are on the screen's own axes: origin top-left, x right, y down, z away from the
//! observer. Requests: `SUB_PORT`, `PUB_PORT`, `t`, `T <seconds>`, `v`; `C`, `c` publish the
//! notification that Pupil publishes and are answered `OK`. `R` and `r` publish theirs, for other
//! programs that record; gazed does not (`gazed record` does), says so in its answer instead of `OK`,
//! and never publishes `recording.started`. A message to the request port is passed on.
//!
//! `C`, or the notification `calibration.should_start`, begins a calibration of the person that the
//! daemon follows; `c`, or `calibration.should_stop`, ends it. As with Pupil Capture the client
//! shows nothing: the page `/calibrate`, open on the screen, shows nine targets and four that judge.
//! A client that shows targets of its own, as in a headset, sends the notification `start_plugin` with a `name` that
//! begins with `HMD`, or `calibration.should_start` with `hmd_video_frame_size`; then
//! `calibration.add_ref_data`, once or more often, with `ref_data`: `norm_pos` on the screen and `timestamp` (Pupil
//! time) of each of its frames; and `calibration.should_stop`, which fits.
//!
//! A result that can be accepted is kept and put in force. Every calibration, whoever began it, is
//! told as `notify.calibration.started` and `…successful`, `…failed` (with `reason`) or `…stopped`.

mod messages;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use super::driving::{self, Answer, Driving};
use super::fan_out::Hub;
use super::output::Dialect;
use super::zmtp::{Connection, Heard, SocketType, push_message};
use crate::clock::CaptureTime;
use crate::metrics::Counter;
use crate::record::{
    CalibrateMessage, Record, RecordKind, Reference, Stage, StartMessage, TimedRecord, Timing,
};

use messages::Messages;

/// Messages of clients that may wait for a subscriber: with the longest ones, 4 MiB.
const BACKBONE_QUEUE: usize = 64;

/// Bytes of them that are written to a subscriber in one go; the rest waits for the next.
const MOST_AT_ONCE: usize = 256 << 10;

/// Most subscriptions of one client, and longest prefix.
const MAX_SUBSCRIPTIONS: usize = 256;
const MAX_PREFIX: usize = 256;

/// The answer to `R` and `r`.
const NOT_RECORDED: &str = "Nothing is recorded here: use `gazed record NAME`.";

/// A message of a client, on its way to all subscribers.
type Parts = Arc<Vec<Vec<u8>>>;

/// What all clients share.
#[derive(Debug)]
pub(super) struct PupilShared {
    hub: Arc<Hub>,
    backbone: broadcast::Sender<Parts>,
    /// "Pupil time" minus the monotonic clock, µs.
    time_offset_us: AtomicI64,
    sub_port: u16,
    pub_port: u16,
}

impl PupilShared {
    pub(super) fn new(hub: Arc<Hub>, sub_port: u16, pub_port: u16) -> Self {
        PupilShared {
            hub,
            backbone: broadcast::channel(BACKBONE_QUEUE).0,
            time_offset_us: AtomicI64::new(0),
            sub_port,
            pub_port,
        }
    }

    /// Pupil time of a moment of the monotonic clock, s.
    fn seconds(&self, mono_us: u64) -> f64 {
        (mono_us as i64 + self.time_offset_us.load(Relaxed)) as f64 * 1e-6
    }

    /// The monotonic clock at a Pupil time, µs; none before it began.
    fn mono_us(&self, seconds: f64) -> Option<u64> {
        let us = (seconds * 1e6) as i64;
        u64::try_from(us.checked_sub(self.time_offset_us.load(Relaxed))?).ok()
    }

    fn pass_on(&self, parts: Vec<Vec<u8>>) {
        // Nobody subscribed: nobody misses it.
        let _ = self.backbone.send(Arc::new(parts));
    }

    fn notify(&self, subject: &str, more: Value) {
        let (topic, notification) = notification(subject, more);
        self.pass_on(vec![topic.into_bytes(), packed(&notification)]);
    }
}

/// A notification and its topic.
fn notification(subject: &str, more: Value) -> (String, Value) {
    let topic = format!("notify.{subject}");
    let mut notification = json!({ "subject": subject, "topic": topic });
    if let (Some(map), Value::Object(more)) = (notification.as_object_mut(), more) {
        map.extend(more);
    }
    (topic, notification)
}

/// As msgpack.
fn packed(value: &Value) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("maps with text keys and plain values can be packed")
}

/// A client that speaks: of the request port, or one that publishes.
#[derive(Debug)]
pub(super) struct Speaker {
    shared: Arc<PupilShared>,
    connection: Connection,
    /// Whether each message wants an answer.
    is_asking: bool,
    driving: Driving,
    /// Whether the client has started a plugin that calibrates with targets of its own.
    has_targets: bool,
    /// Whether the session that it began is told of its targets afterwards.
    is_by_reference: bool,
    /// The monotonic clock at the source's first frame, µs; known once a calibration has seen a frame.
    zero_us: Option<u64>,
    /// Messages to the session that it has not answered.
    pending: Vec<Answer>,
}

/// What is heard of a notification here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Heeded {
    /// Of a plugin.
    name: Option<String>,
    hmd_video_frame_size: Option<IgnoredAny>,
    ref_data: Vec<RefDatum>,
}

/// Where the target was at what Pupil time; the same for both eyes.
#[derive(Deserialize)]
struct RefDatum {
    norm_pos: [f64; 2],
    timestamp: f64,
}

impl Speaker {
    /// A client of the request port.
    pub(super) fn asking(shared: Arc<PupilShared>) -> Self {
        Speaker {
            connection: Connection::new(SocketType::Rep),
            is_asking: true,
            driving: Driving::new(Arc::clone(&shared.hub)),
            has_targets: false,
            is_by_reference: false,
            zero_us: None,
            pending: Vec::new(),
            shared,
        }
    }

    /// A client that publishes.
    pub(super) fn publishing(shared: Arc<PupilShared>) -> Self {
        Speaker {
            connection: Connection::new(SocketType::Sub),
            is_asking: false,
            ..Speaker::asking(shared)
        }
    }

    fn publish(&mut self, message: &[Vec<u8>]) {
        self.shared.pass_on(message.to_vec());
        if let [topic, payload, ..] = message {
            self.obey(topic, payload);
        }
    }

    /// Answers a request: what is before the empty part leads back, the rest is the request.
    fn answer(&mut self, parts: &[Vec<u8>], out: &mut Vec<u8>) {
        let Some(empty) = parts.iter().position(Vec::is_empty) else {
            return;
        };
        let (way_back, request) = parts.split_at(empty + 1);
        let answer = match request {
            [] => return,
            [only] => self.command(&String::from_utf8_lossy(only)),
            _ => {
                self.publish(request);
                "Message forwarded.".to_owned()
            }
        };
        let mut message: Vec<&[u8]> = way_back.iter().map(Vec::as_slice).collect();
        message.push(answer.as_bytes());
        push_message(out, &message);
    }

    fn command(&mut self, text: &str) -> String {
        let shared = Arc::clone(&self.shared);
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "SUB_PORT" => shared.sub_port.to_string(),
            "PUB_PORT" => shared.pub_port.to_string(),
            "t" => format!("{:?}", shared.seconds(CaptureTime::now().mono_us)),
            "T" => match rest.trim().parse::<f64>() {
                Ok(seconds) if seconds.is_finite() && seconds.abs() < 1e12 => {
                    let offset_us = (seconds * 1e6) as i64 - CaptureTime::now().mono_us as i64;
                    shared.time_offset_us.store(offset_us, Relaxed);
                    "Timesync successful.".to_owned()
                }
                _ => format!("'{rest}' cannot be converted to float."),
            },
            "v" => concat!("gazed ", env!("CARGO_PKG_VERSION")).to_owned(),
            "R" => {
                shared.notify("recording.should_start", json!({ "session_name": rest }));
                NOT_RECORDED.to_owned()
            }
            "r" => {
                shared.notify("recording.should_stop", json!({}));
                NOT_RECORDED.to_owned()
            }
            "C" => {
                shared.notify("calibration.should_start", json!({}));
                self.start(false);
                "OK".to_owned()
            }
            "c" => {
                shared.notify("calibration.should_stop", json!({}));
                self.stop();
                "OK".to_owned()
            }
            _ => "Unknown command.".to_owned(),
        }
    }

    /// Does what a notification asks, if it is one that is heard here.
    fn obey(&mut self, topic: &[u8], payload: &[u8]) {
        let subject = topic.strip_prefix(b"notify.").unwrap_or_default();
        let heeded = [
            &b"start_plugin"[..],
            b"calibration.should_start",
            b"calibration.should_stop",
            b"calibration.add_ref_data",
        ];
        if !heeded.contains(&subject) {
            return;
        }
        let said: Heeded = match rmp_serde::from_slice(payload) {
            Ok(said) => said,
            Err(error) if subject == b"calibration.add_ref_data" => {
                return self.fail(&format!(
                    "ref_data: {error}; expected norm_pos and timestamp of each"
                ));
            }
            Err(_) => Heeded::default(),
        };
        match subject {
            b"start_plugin" => {
                self.has_targets = said.name.is_some_and(|name| name.starts_with("HMD"));
            }
            b"calibration.should_start" => {
                self.start(self.has_targets || said.hmd_video_frame_size.is_some());
            }
            b"calibration.should_stop" => self.stop(),
            _ => self.add_references(&said.ref_data),
        }
    }

    /// Asks for a session; one by reference shows no targets, for the client does.
    fn start(&mut self, is_by_reference: bool) {
        self.pending.clear();
        self.is_by_reference = is_by_reference;
        let start = driving::present_user(&self.shared.hub).map(|user| {
            let usual = StartMessage {
                placing: false,
                accept: true,
                ..StartMessage::new(user)
            };
            if is_by_reference {
                StartMessage {
                    timing: Timing::ByReference,
                    validation: 0,
                    ..usual
                }
            } else {
                usual
            }
        });
        let is_asked =
            start.is_some_and(|start| self.driving.start(CalibrateMessage::Start(start)));
        if !is_asked {
            self.say_failed(driving::BUSY);
        }
    }

    fn stop(&mut self) {
        if self.driving.is_on() && self.is_by_reference {
            self.ask(CalibrateMessage::Finish);
        } else {
            driving::ask(&self.shared.hub, CalibrateMessage::Discard);
        }
    }

    fn add_references(&mut self, ref_data: &[RefDatum]) {
        if !self.driving.is_on() || !self.is_by_reference {
            return self.say_failed(
                "calibration.add_ref_data needs a calibration.should_start of this client, with hmd_video_frame_size or after start_plugin of an HMD calibration",
            );
        }
        let Some(zero_us) = self.zero_us else {
            return self.fail("no frame has come since the calibration began");
        };
        let references: Option<Vec<Reference>> = ref_data
            .iter()
            .map(|datum| {
                let mono_us = self.shared.mono_us(datum.timestamp)?;
                Some(Reference {
                    t_us: mono_us.checked_sub(zero_us)?,
                    x: datum.norm_pos[0] as f32,
                    // Pupil's origin is at the bottom.
                    y: 1.0 - datum.norm_pos[1] as f32,
                })
            })
            .collect();
        let Some(mut references) = references else {
            return self.fail(
                "ref_data: a timestamp lies before the camera's first frame: give Pupil time",
            );
        };
        // One eye after the other, perhaps.
        references.sort_by_key(|reference| reference.t_us);
        self.ask(CalibrateMessage::References { references });
    }

    /// Hands a message to the session that this client began.
    fn ask(&mut self, message: CalibrateMessage) {
        match driving::ask(&self.shared.hub, message) {
            Some(answer) => self.pending.push(answer),
            None => self.fail(driving::BUSY),
        }
    }

    /// Ends the session that this client began, and says why.
    fn fail(&mut self, reason: &str) {
        self.pending.clear();
        if self.driving.is_on() {
            self.driving.end();
            driving::ask(&self.shared.hub, CalibrateMessage::Discard);
        }
        self.say_failed(reason);
    }

    fn say_failed(&self, reason: &str) {
        self.shared
            .notify("calibration.failed", json!({ "reason": reason }));
    }
}

impl Dialect for Speaker {
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> ControlFlow<()> {
        let mut messages = Vec::new();
        let fed = self.connection.feed(bytes, out, |heard, _| {
            if let Heard::Message(parts) = heard {
                messages.push(parts);
            }
        });
        for parts in messages {
            if self.is_asking {
                self.answer(&parts, out);
            } else {
                self.publish(&parts);
            }
        }
        ended(&self.shared, fed.is_err())
    }

    /// Follows the session that this client began.
    fn tell(&mut self, record: &TimedRecord, _: &mut Vec<u8>) {
        let Record::Calibration(calibration) = &record.record else {
            return;
        };
        if let Some((at, t_us)) = record.at.zip(calibration.t_us) {
            self.zero_us = Some(at.mono_us.saturating_sub(t_us));
        }
        if self.driving.is_on() && driving::is_at_end(calibration) {
            self.driving.end();
            if calibration.stage == Stage::Review {
                // Not good enough to be kept by itself, and nobody is there to judge.
                driving::ask(&self.shared.hub, CalibrateMessage::Discard);
            }
        }
    }

    fn kinds(&self) -> Option<&'static [RecordKind]> {
        Some(&[RecordKind::Calibration])
    }

    fn is_waiting(&self) -> bool {
        self.driving.is_waiting() || !self.pending.is_empty()
    }

    /// Says so when what this client asked of the session was refused.
    fn tick(&mut self, _: &mut Vec<u8>) {
        if let Some(reason) = self.driving.refused() {
            self.say_failed(&reason);
        }
        let mut refused = None;
        self.pending
            .retain_mut(|answer| match driving::poll(answer) {
                None => true,
                Some(answer) => {
                    refused = refused.take().or(answer.err());
                    false
                }
            });
        if let Some(reason) = refused {
            self.fail(&reason);
        }
    }
}

/// A client that subscribes.
#[derive(Debug)]
pub(super) struct Subscriber {
    shared: Arc<PupilShared>,
    connection: Connection,
    prefixes: BTreeSet<Vec<u8>>,
    backbone: broadcast::Receiver<Parts>,
    messages: Messages,
}

impl Subscriber {
    pub(super) fn new(shared: Arc<PupilShared>) -> Self {
        Subscriber {
            connection: Connection::new(SocketType::Pub),
            prefixes: BTreeSet::new(),
            backbone: shared.backbone.subscribe(),
            messages: Messages::default(),
            shared,
        }
    }

    fn pass_on(&mut self, out: &mut Vec<u8>) {
        while out.len() < MOST_AT_ONCE {
            match self.backbone.try_recv() {
                Ok(parts) => {
                    let topic = parts.first().map_or(&[][..], Vec::as_slice);
                    if self.connection.is_open() && wants(&self.prefixes, topic) {
                        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                        push_message(out, &parts);
                    }
                }
                Err(TryRecvError::Lagged(n)) => {
                    for _ in 0..n {
                        self.shared
                            .hub
                            .metrics
                            .count(Counter::ClientMessagesDropped);
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

impl Dialect for Subscriber {
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> ControlFlow<()> {
        let prefixes = &mut self.prefixes;
        let mut is_too_much = false;
        let fed = self.connection.feed(bytes, out, |heard, _| match heard {
            Heard::Subscribe(prefix) => {
                is_too_much |= prefix.len() > MAX_PREFIX || prefixes.len() == MAX_SUBSCRIPTIONS;
                if !is_too_much {
                    prefixes.insert(prefix);
                }
            }
            Heard::Cancel(prefix) => {
                prefixes.remove(&prefix);
            }
            Heard::Message(_) => {}
        });
        ended(&self.shared, fed.is_err() || is_too_much)
    }

    fn tell(&mut self, record: &TimedRecord, out: &mut Vec<u8>) {
        self.pass_on(out);
        if !self.connection.is_open() {
            return;
        }
        let (shared, prefixes) = (&self.shared, &self.prefixes);
        self.messages.of(
            record,
            &shared.hub,
            |mono_us| shared.seconds(mono_us),
            |topic| wants(prefixes, topic.as_bytes()),
            |topic, datum| push_message(out, &[topic.as_bytes(), &packed(&datum)]),
        );
    }

    fn is_waiting(&self) -> bool {
        true
    }

    fn tick(&mut self, out: &mut Vec<u8>) {
        self.pass_on(out);
    }
}

fn wants(prefixes: &BTreeSet<Vec<u8>>, topic: &[u8]) -> bool {
    prefixes.iter().any(|prefix| topic.starts_with(prefix))
}

fn ended(shared: &PupilShared, is_refused: bool) -> ControlFlow<()> {
    if is_refused {
        shared.hub.metrics.count(Counter::MessagesRefused);
        return ControlFlow::Break(());
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests;
