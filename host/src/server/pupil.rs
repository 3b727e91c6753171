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
//! | `pupil.0.3d` `pupil.1.3d` | the right and the left eye, where seen: `norm_pos` and `ellipse` are the iris in the picture; pupils are not measured, so `diameter` is 0 |
//! | `gaze.3d.01.` | the point of regard; the world picture is the screen, so `norm_pos` is a share of it from the bottom-left corner |
//! | `fixations` | the fixation that goes on, with every sample of it, under one `id` |
//! | `blinks` | `onset` and `offset` of closed eyes |
//! | `surfaces.screen` | the screen |
//! | `surfaces.<id>` | each announced object |
//! | `notify.…`, anything else | what clients send, passed on to all |
//!
//! Positions in mm are on the screen's own axes: origin top-left, x right, y down, z away from the
//! observer. Requests: `SUB_PORT`, `PUB_PORT`, `t`, `T <seconds>`, `v`; `R`, `r` and `C`, `c`
//! publish the notification that Pupil publishes and are answered `OK`. Nothing is recorded for
//! `R`: that is `gazed record`. A message to the request port is passed on.
//!
//! `C`, or the notification `calibration.should_start`, begins a calibration of the person that the
//! daemon follows; `c`, or `calibration.should_stop`, ends it. As with Pupil Capture the client
//! shows nothing: the page `/calibrate`, open on the screen, shows nine targets and four that judge.
//! A result that can be accepted is kept and put in force. Every calibration, whoever began it, is
//! told as `notify.calibration.started` and `…successful`, `…failed` (with `reason`) or `…stopped`.

mod messages;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use super::driving::{self, Driving};
use super::fan_out::Hub;
use super::output::Dialect;
use super::zmtp::{Connection, Heard, SocketType, push_message};
use crate::clock::CaptureTime;
use crate::metrics::Counter;
use crate::record::{CalibrateMessage, Record, RecordKind, Stage, StartMessage, TimedRecord};

use messages::Messages;

/// Messages of clients that may wait for a subscriber: with the longest ones, 4 MiB.
const BACKBONE_QUEUE: usize = 64;

/// Bytes of them that are written to a subscriber in one go; the rest waits for the next.
const MOST_AT_ONCE: usize = 256 << 10;

/// Most subscriptions of one client, and longest prefix.
const MAX_SUBSCRIPTIONS: usize = 256;
const MAX_PREFIX: usize = 256;

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

/// A client of the request port.
#[derive(Debug)]
pub(super) struct Remote {
    shared: Arc<PupilShared>,
    connection: Connection,
    driving: Driving,
}

impl Remote {
    pub(super) fn new(shared: Arc<PupilShared>) -> Self {
        Remote {
            connection: Connection::new(SocketType::Rep),
            driving: Driving::new(Arc::clone(&shared.hub)),
            shared,
        }
    }
}

impl Dialect for Remote {
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> ControlFlow<()> {
        let Remote {
            shared,
            connection,
            driving,
        } = self;
        let fed = connection.feed(bytes, out, |heard, out| {
            if let Heard::Message(parts) = heard {
                answer(shared, driving, parts, out);
            }
        });
        ended(shared, fed.is_err())
    }

    fn tell(&mut self, record: &TimedRecord, _: &mut Vec<u8>) {
        follow(&self.shared, &mut self.driving, record);
    }

    fn kinds(&self) -> Option<&'static [RecordKind]> {
        Some(&[RecordKind::Calibration])
    }

    fn is_waiting(&self) -> bool {
        self.driving.is_waiting()
    }

    fn tick(&mut self, _: &mut Vec<u8>) {
        tell_refusal(&self.shared, &mut self.driving);
    }
}

/// Answers a request: what is before the empty part leads back, the rest is the request.
fn answer(shared: &PupilShared, driving: &mut Driving, parts: Vec<Vec<u8>>, out: &mut Vec<u8>) {
    let Some(empty) = parts.iter().position(Vec::is_empty) else {
        return;
    };
    let (way_back, request) = parts.split_at(empty + 1);
    let answer = match request {
        [] => return,
        [only] => command(shared, driving, &String::from_utf8_lossy(only)),
        [topic, ..] => {
            shared.pass_on(request.to_vec());
            obey(shared, driving, topic);
            "Message forwarded.".to_owned()
        }
    };
    let mut message: Vec<&[u8]> = way_back.iter().map(Vec::as_slice).collect();
    message.push(answer.as_bytes());
    push_message(out, &message);
}

/// Does what a notification asks, if it is one that is heard here.
fn obey(shared: &PupilShared, driving: &mut Driving, topic: &[u8]) {
    match topic {
        b"notify.calibration.should_start" => {
            let start = driving::present_user(&shared.hub).map(|user| StartMessage {
                placing: false,
                accept: true,
                ..StartMessage::new(user)
            });
            let is_asked = start.is_some_and(|start| driving.start(CalibrateMessage::Start(start)));
            if !is_asked {
                shared.notify("calibration.failed", json!({ "reason": driving::BUSY }));
            }
        }
        b"notify.calibration.should_stop" => {
            driving::ask(&shared.hub, CalibrateMessage::Discard);
        }
        _ => {}
    }
}

/// Says so when the session that this client asked for was refused.
fn tell_refusal(shared: &PupilShared, driving: &mut Driving) {
    if let Some(reason) = driving.refused() {
        shared.notify("calibration.failed", json!({ "reason": reason }));
    }
}

/// Follows the session that this client began.
fn follow(shared: &PupilShared, driving: &mut Driving, record: &TimedRecord) {
    let Record::Calibration(calibration) = &record.record else {
        return;
    };
    if driving.is_on() && driving::is_at_end(calibration) {
        driving.end();
        if calibration.stage == Stage::Review {
            // Not good enough to be kept by itself, and nobody is there to judge.
            driving::ask(&shared.hub, CalibrateMessage::Discard);
        }
    }
}

fn command(shared: &PupilShared, driving: &mut Driving, text: &str) -> String {
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
            "OK".to_owned()
        }
        "r" => {
            shared.notify("recording.should_stop", json!({}));
            "OK".to_owned()
        }
        "C" => {
            shared.notify("calibration.should_start", json!({}));
            obey(shared, driving, b"notify.calibration.should_start");
            "OK".to_owned()
        }
        "c" => {
            shared.notify("calibration.should_stop", json!({}));
            obey(shared, driving, b"notify.calibration.should_stop");
            "OK".to_owned()
        }
        _ => "Unknown command.".to_owned(),
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

/// A client that publishes.
#[derive(Debug)]
pub(super) struct Publishing {
    shared: Arc<PupilShared>,
    connection: Connection,
    driving: Driving,
}

impl Publishing {
    pub(super) fn new(shared: Arc<PupilShared>) -> Self {
        Publishing {
            connection: Connection::new(SocketType::Sub),
            driving: Driving::new(Arc::clone(&shared.hub)),
            shared,
        }
    }
}

impl Dialect for Publishing {
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> ControlFlow<()> {
        let Publishing {
            shared,
            connection,
            driving,
        } = self;
        let fed = connection.feed(bytes, out, |heard, _| {
            if let Heard::Message(parts) = heard {
                let topic = parts.first().cloned().unwrap_or_default();
                shared.pass_on(parts);
                obey(shared, driving, &topic);
            }
        });
        ended(shared, fed.is_err())
    }

    fn tell(&mut self, record: &TimedRecord, _: &mut Vec<u8>) {
        follow(&self.shared, &mut self.driving, record);
    }

    fn kinds(&self) -> Option<&'static [RecordKind]> {
        Some(&[RecordKind::Calibration])
    }

    fn is_waiting(&self) -> bool {
        self.driving.is_waiting()
    }

    fn tick(&mut self, _: &mut Vec<u8>) {
        tell_refusal(&self.shared, &mut self.driving);
    }
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
