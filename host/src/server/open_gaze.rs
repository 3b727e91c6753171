//! The Open Gaze API v2 (Gazepoint), over TCP: on with `outputs.open_gaze = "127.0.0.1:4242"`.
//!
//! PsychoPy's ioHub, PyGaze, OpenSesame and what else speaks to a Gazepoint tracker connect
//! unchanged. Each client has groups of its own; screen, calibration points and user data are
//! shared, as on the tracker.
//!
//! ```python
//! import socket
//! tracker = socket.create_connection(("127.0.0.1", 4242))
//! for group in ("TIME", "POG_FIX", "POG_BEST", "DATA"):
//!     tracker.sendall(f'<SET ID="ENABLE_SEND_{group}" STATE="1" />\r\n'.encode())
//! for line in tracker.makefile():
//!     print(line.strip())        # <REC TIME="3.66667" FPOGX="0.41203" … />
//! ```
//!
//! - Points of regard are shares of the screen with the origin top-left. One camera gives one point
//!   for both eyes: it is BPOG and APOG; LPOG and RPOG are never valid. FPOG is the mean of the
//!   fixation that goes on, FPOGV is 0 while no fixation is known.
//! - `LPCX` and the like are the iris's place in the picture; sizes of pupils are not known, so
//!   `LPV`, `LPUPILV` and `LPMMV` are 0. `LEYEX` … lie half a mean distance between the eyes to
//!   the left and right of the measured midpoint. Cursor, keyboard, biometrics, TTL: never valid.
//! - `TIME` is seconds since the first frame, `TIME_TICK` microseconds of the machine's monotonic
//!   clock (`TIME_TICK_FREQUENCY` is 1,000,000).
//! - `USER_DATA` has no blanks and no `=`: each is set as `_`, which the answer shows. Clients split
//!   records there.
//! - `SCREEN_SIZE` is what `[screen]` says, else 1920 x 1080 px, until a client sets it.
//!
//! A calibration has the client's points and timing, and is the session that the page runs too: a point is on for
//! CALIBRATE_DELAY, then its samples count for CALIBRATE_TIMEOUT. A result that is good enough is kept and put in
//! force. The client shows the points: CALIBRATE_SHOW shows nothing here.
//!
//! PsychoPy on the same machine: let gazed listen on `127.0.0.2:4242` and name the tracker so, or it
//! takes our clock for its own and shifts event times.

mod calibration;
mod message;
mod rec;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use calibration::{Plan, Telling};
use message::{Command, Element, Parser, Verb};
use rec::{GROUPS, Past, UserData};

use super::driving::{self, Driving};
use super::fan_out::Hub;
use super::output::Dialect;
use crate::metrics::Counter;
use crate::record::{
    CalibrateMessage, Calibration, Header, Purpose, Record, Stage, TargetResult, TimedRecord,
};

/// The points of a calibration when nobody says otherwise.
const DEFAULT_POINTS: [[f64; 2]; 5] = [
    [0.5, 0.5],
    [0.85, 0.15],
    [0.85, 0.85],
    [0.15, 0.85],
    [0.15, 0.15],
];

/// Most points of a calibration.
const MOST_POINTS: usize = 64;

/// Longest value of user data, bytes.
const MOST_USER_DATA: usize = 1024;

/// Ticks a second of `TIME_TICK`.
const TICKS_PER_S: u64 = 1_000_000;

/// The screen when nobody says otherwise: x, y, width, height; px.
const DEFAULT_SCREEN_PX: [f64; 4] = [0.0, 0.0, 1920.0, 1080.0];

/// What all clients share.
#[derive(Debug)]
pub(super) struct OpenGazeShared {
    screen_px: Option<[f64; 4]>,
    plan: Plan,
    /// Whether a calibration that a client started goes on.
    is_calibrating: bool,
    /// Calibrations that clients have started.
    starts: u64,
    /// As CALIBRATE_SHOW was set; the targets are the client's to show.
    is_showing: bool,
    /// What came out of the last one.
    result: Vec<TargetResult>,
    user: UserData,
    /// Counts the values set, so that each client sends a value of one record once.
    user_change: u64,
    user_is_for_one: bool,
    /// Settings that are kept and have no effect.
    switches: Vec<(String, String)>,
}

impl Default for OpenGazeShared {
    fn default() -> Self {
        OpenGazeShared {
            screen_px: None,
            plan: Plan {
                points: DEFAULT_POINTS.to_vec(),
                timeout_s: 1.25,
                delay_s: 0.5,
            },
            is_calibrating: false,
            starts: 0,
            is_showing: false,
            result: Vec::new(),
            user: UserData::default(),
            user_change: 0,
            user_is_for_one: false,
            switches: Vec::new(),
        }
    }
}

/// One client's conversation.
#[derive(Debug)]
pub(super) struct OpenGaze {
    shared: Arc<Mutex<OpenGazeShared>>,
    hub: Arc<Hub>,
    parser: Parser,
    is_sending: bool,
    /// Bits in the order of [`GROUPS`].
    groups: u32,
    past: Past,
    header: Option<Header>,
    frame_size_px: [usize; 2],
    frame_rate_hz: f64,
    last_t_us: Option<u64>,
    user_sent: u64,
    telling: Telling,
    driving: Driving,
    /// Number of the calibration that this client started.
    started: Option<u64>,
}

/// A client that leaves takes its calibration along: nobody shows the points any more.
impl Drop for OpenGaze {
    fn drop(&mut self) {
        let mut shared = self.shared();
        let is_driving = self.started == Some(shared.starts) && shared.is_calibrating;
        shared.is_calibrating &= !is_driving;
        drop(shared);
        if is_driving {
            driving::ask(&self.hub, CalibrateMessage::Discard);
        }
    }
}

impl OpenGaze {
    pub(super) fn new(shared: Arc<Mutex<OpenGazeShared>>, hub: Arc<Hub>) -> Self {
        // A value for one record is not for those who come after it.
        let user_sent = {
            let shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.user_change
        };
        OpenGaze {
            shared,
            driving: Driving::new(Arc::clone(&hub)),
            hub,
            parser: Parser::default(),
            is_sending: false,
            groups: 0,
            past: Past::default(),
            header: None,
            frame_size_px: [0; 2],
            frame_rate_hz: 0.0,
            last_t_us: None,
            user_sent,
            telling: Telling::default(),
            started: None,
        }
    }
}

impl Dialect for OpenGaze {
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> ControlFlow<()> {
        let mut parser = std::mem::take(&mut self.parser);
        let fed = parser.feed(bytes, |command| match command {
            Some(command) => self.answer(&command, out),
            None => {
                self.hub.metrics.count(Counter::MessagesRefused);
                Element::new(out, "NACK").end();
            }
        });
        self.parser = parser;
        match fed {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => {
                self.hub.metrics.count(Counter::MessagesRefused);
                ControlFlow::Break(())
            }
        }
    }

    fn tell(&mut self, record: &TimedRecord, out: &mut Vec<u8>) {
        self.past.take(&record.record);
        match &record.record {
            Record::Header(header) => self.header = Some(header.clone()),
            Record::Sample(sample) => {
                self.frame_size_px = sample.size_px;
                if let Some(last_t_us) = self.last_t_us.replace(sample.t_us)
                    && sample.t_us > last_t_us
                {
                    self.frame_rate_hz = 1e6 / (sample.t_us - last_t_us) as f64;
                }
                if self.is_sending {
                    let user = self.user_data();
                    rec::write(record, sample, &self.past, self.groups, &user, out);
                }
            }
            Record::Calibration(calibration) => self.tell_calibration(calibration, out),
            _ => {}
        }
    }

    fn is_waiting(&self) -> bool {
        self.driving.is_waiting()
    }

    fn tick(&mut self, out: &mut Vec<u8>) {
        if self.driving.refused().is_some() {
            // The client waits for a result: there is none.
            self.end_driving();
            self.telling.refuse(out);
        }
    }
}

impl OpenGaze {
    fn tell_calibration(&mut self, calibration: &Calibration, out: &mut Vec<u8>) {
        if calibration.purpose != Purpose::Calibrate {
            return;
        }
        // Nothing is told of one that others have started.
        if let Some(targets) = self.telling.tell(calibration, out) {
            self.shared().result = targets.to_vec();
            self.end_driving();
            if calibration.stage == Stage::Review {
                // Not good enough to be kept, and nobody is there to judge.
                driving::ask(&self.hub, CalibrateMessage::Discard);
            }
        }
    }

    fn end_driving(&mut self) {
        self.started = None;
        self.driving.end();
        self.shared().is_calibrating = false;
    }

    /// CALIBRATE_START and CALIBRATE_SHOW, and what came out.
    fn answer_session(&mut self, command: &Command, is_set: bool, out: &mut Vec<u8>) -> bool {
        match (command.id.as_str(), is_set) {
            ("CALIBRATE_START", true) => {
                let Some(is_on) = command.state() else {
                    return false;
                };
                if is_on && !self.start() {
                    return false;
                }
                if !is_on && std::mem::take(&mut self.shared().is_calibrating) {
                    driving::ask(&self.hub, CalibrateMessage::Discard);
                }
                Element::with_id(out, "ACK", &command.id)
                    .with("STATE", u8::from(is_on))
                    .end();
            }
            ("CALIBRATE_START", false) => {
                let is_on = self.shared().is_calibrating;
                Element::with_id(out, "ACK", &command.id)
                    .with("STATE", u8::from(is_on))
                    .end();
            }
            ("CALIBRATE_SHOW", _) => {
                if is_set {
                    let Some(is_on) = command.state() else {
                        return false;
                    };
                    self.shared().is_showing = is_on;
                }
                let is_on = self.shared().is_showing;
                Element::with_id(out, "ACK", &command.id)
                    .with("STATE", u8::from(is_on))
                    .end();
            }
            ("CALIBRATE_RESULT_SUMMARY", _) => {
                let [_, _, width, height] = self.screen_px();
                let (error_px, n_valid) =
                    calibration::summary(&self.shared().result, [width, height]);
                Element::with_id(out, "ACK", &command.id)
                    .real("AVE_ERROR", error_px)
                    .with("VALID_POINTS", n_valid)
                    .end();
            }
            _ => return false,
        }
        true
    }

    fn start(&mut self) -> bool {
        let Some(user) = driving::present_user(&self.hub) else {
            return false;
        };
        // Without points the session would show its own, which this client does not.
        if self.shared().plan.points.is_empty() {
            return false;
        }
        let start = self.shared().plan.start(user);
        if !self.driving.start(CalibrateMessage::Start(start)) {
            return false;
        }
        let mut shared = self.shared();
        shared.is_calibrating = true;
        shared.starts += 1;
        let number = shared.starts;
        drop(shared);
        self.started = Some(number);
        self.telling.begin();
        true
    }

    fn shared(&self) -> MutexGuard<'_, OpenGazeShared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value for this record; one that is for one record is empty from then on.
    fn user_data(&mut self) -> UserData {
        let shared = self.shared();
        let is_over = shared.user_is_for_one && self.user_sent == shared.user_change;
        let (user, change) = (shared.user.clone(), shared.user_change);
        drop(shared);
        self.user_sent = change;
        if is_over { UserData::default() } else { user }
    }

    fn answer(&mut self, command: &Command, out: &mut Vec<u8>) {
        let is_set = command.verb == Verb::Set;
        if self.answer_groups(command, is_set, out)
            || self.answer_calibration(command, is_set, out)
            || self.answer_session(command, is_set, out)
            || self.answer_device(command, is_set, out)
        {
            return;
        }
        self.hub.metrics.count(Counter::MessagesRefused);
        Element::with_id(out, "NACK", &command.id).end();
    }

    /// ENABLE_SEND_…; says whether it was one and could be used.
    fn answer_groups(&mut self, command: &Command, is_set: bool, out: &mut Vec<u8>) -> bool {
        let Some(group) = command.id.strip_prefix("ENABLE_SEND_") else {
            return false;
        };
        let is_on = if group == "DATA" {
            if is_set {
                let Some(state) = command.state() else {
                    return false;
                };
                self.is_sending = state;
            }
            self.is_sending
        } else {
            let Some(index) = GROUPS.iter().position(|name| *name == group) else {
                return false;
            };
            if is_set {
                match command.state() {
                    Some(true) => self.groups |= 1 << index,
                    Some(false) => self.groups &= !(1 << index),
                    None => return false,
                }
            }
            self.groups & (1 << index) != 0
        };
        Element::with_id(out, "ACK", &command.id)
            .with("STATE", u8::from(is_on))
            .end();
        true
    }

    /// What a calibration is set up with.
    fn answer_calibration(&mut self, command: &Command, is_set: bool, out: &mut Vec<u8>) -> bool {
        let mut shared = self.shared();
        let ack = Element::with_id;
        match command.id.as_str() {
            "CALIBRATE_TIMEOUT" | "CALIBRATE_DELAY" => {
                let is_delay = command.id == "CALIBRATE_DELAY";
                if is_set {
                    match command.number("VALUE") {
                        Some(value) if (0.0..=60.0).contains(&value) => {
                            let shared = &mut *shared;
                            let place = if is_delay {
                                &mut shared.plan.delay_s
                            } else {
                                &mut shared.plan.timeout_s
                            };
                            *place = value;
                        }
                        _ => return false,
                    }
                }
                let value = if is_delay {
                    shared.plan.delay_s
                } else {
                    shared.plan.timeout_s
                };
                ack(out, "ACK", &command.id).with("VALUE", value).end();
            }
            "CALIBRATE_CLEAR" | "CALIBRATE_RESET" => {
                if is_set {
                    shared.plan.points.clear();
                    if command.id == "CALIBRATE_RESET" {
                        shared.plan.points.extend(DEFAULT_POINTS);
                    }
                }
                ack(out, "ACK", &command.id)
                    .with("PTS", shared.plan.points.len())
                    .end();
            }
            "CALIBRATE_ADDPOINT" => {
                if is_set {
                    let (Some(x), Some(y)) = (command.number("X"), command.number("Y")) else {
                        return false;
                    };
                    let is_on_screen = [x, y].iter().all(|share| (0.0..=1.0).contains(share));
                    if !is_on_screen || shared.plan.points.len() == MOST_POINTS {
                        return false;
                    }
                    shared.plan.points.push([x, y]);
                }
                let mut element =
                    ack(out, "ACK", &command.id).with("PTS", shared.plan.points.len());
                for (index, [x, y]) in shared.plan.points.iter().enumerate() {
                    let n = index + 1;
                    element = element
                        .real(format_args!("X{n}"), *x)
                        .real(format_args!("Y{n}"), *y);
                }
                element.end();
            }
            _ => return false,
        }
        true
    }

    /// Names, sizes, and settings without effect here.
    fn answer_device(&mut self, command: &Command, is_set: bool, out: &mut Vec<u8>) -> bool {
        let ack = |out| Element::with_id(out, "ACK", &command.id);
        match command.id.as_str() {
            "TIME_TICK_FREQUENCY" => ack(out).with("FREQ", TICKS_PER_S).end(),
            "SCREEN_SIZE" => {
                if is_set {
                    let rect = ["X", "Y", "WIDTH", "HEIGHT"].map(|key| command.number(key));
                    let [Some(x), Some(y), Some(width), Some(height)] = rect else {
                        return false;
                    };
                    if width <= 0.0 || height <= 0.0 {
                        return false;
                    }
                    self.shared().screen_px = Some([x, y, width, height]);
                }
                let [x, y, width, height] = self.screen_px();
                ack(out)
                    .with("X", x)
                    .with("Y", y)
                    .with("WIDTH", width)
                    .with("HEIGHT", height)
                    .end();
            }
            "CAMERA_SIZE" => ack(out)
                .with("WIDTH", self.frame_size_px[0])
                .with("HEIGHT", self.frame_size_px[1])
                .end(),
            "PRODUCT_ID" => ack(out)
                .with("VALUE", "gazed")
                .with("BUS", "CAMERA")
                .with("RATE", self.frame_rate_hz.round())
                .end(),
            "SERIAL_ID" => ack(out).with("VALUE", 0).end(),
            "COMPANY_ID" => ack(out).with("VALUE", "gazed").end(),
            "API_ID" => ack(out).with("VALUE", "2.0").end(),
            "TRACKER_ID" => ack(out)
                .with("ACTIVE_ID", 0)
                .with("MAX_ID", 0)
                .with("SEARCH", "NONE")
                .end(),
            "USER_DATA" => {
                let mut shared = self.shared();
                if is_set {
                    let Some(value) = command.attribute("VALUE") else {
                        return false;
                    };
                    if value.len() > MOST_USER_DATA {
                        return false;
                    }
                    shared.user = UserData::of(value);
                    shared.user_change += 1;
                    shared.user_is_for_one = command.number("DUR") == Some(1.0);
                }
                ack(out).with("VALUE", &shared.user.0).end();
            }
            "TRACKER_DISPLAY"
            | "TRACKER_DISPLAY_TRAY"
            | "AAC_FILTER"
            | "MARKER_PIX"
            | "TTL_WRITE" => {
                return self.answer_switch(command, is_set, out);
            }
            _ => return false,
        }
        true
    }

    /// A setting that is kept and told, and has no effect on a camera without display and TTL.
    fn answer_switch(&mut self, command: &Command, is_set: bool, out: &mut Vec<u8>) -> bool {
        let key = match command.id.as_str() {
            "TRACKER_DISPLAY" | "TRACKER_DISPLAY_TRAY" | "MARKER_PIX" => "STATE",
            _ => "VALUE",
        };
        let mut shared = self.shared();
        if is_set {
            let Some(value) = command.number(key) else {
                return false;
            };
            let value = value.to_string();
            match shared.switches.iter_mut().find(|(id, _)| *id == command.id) {
                Some((_, kept)) => *kept = value,
                None => shared.switches.push((command.id.clone(), value)),
            }
        }
        let kept = shared.switches.iter().find(|(id, _)| *id == command.id);
        let value = kept.map_or("0", |(_, value)| value.as_str());
        Element::with_id(out, "ACK", &command.id)
            .with(key, value)
            .end();
        true
    }

    fn screen_px(&self) -> [f64; 4] {
        let of_header = self.header.as_ref().and_then(|header| {
            let screen = &header.screen;
            let (width, height) = screen.width_px.zip(screen.height_px)?;
            Some([0.0, 0.0, f64::from(width), f64::from(height)])
        });
        self.shared()
            .screen_px
            .or(of_header)
            .unwrap_or(DEFAULT_SCREEN_PX)
    }
}

#[cfg(test)]
mod tests;
