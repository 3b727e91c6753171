//! Calibration with a client's own points, one after the other, as it says.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{BAD_REQUEST, NOT_FOUND, OK};
use crate::personal::PersonalMessage;
use crate::record::{
    CalibrateMessage, Calibration, Purpose, ScreenMessage, Stage, StartMessage, TargetResult,
    Timing,
};
use crate::server::driving::{self, Answer};
use crate::server::fan_out::Hub;

/// Most points of a calibration.
const MOST_POINTS: u64 = 64;

/// Requests whose answers may be waited for.
const MAX_PENDING: usize = 8;

const FORBIDDEN: u32 = 403;

const NONE_ON: &str = "no calibration goes on";
const REPLACED: &str = "another calibration was begun";

/// A point that is worse than this is of questionable quality, deg.
const GOOD_DEG: f32 = 3.0;

/// The answer to a request.
#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) request: String,
    pub(super) status: u32,
    pub(super) values: Value,
}

impl Reply {
    fn good(request: &str) -> Self {
        Reply {
            request: request.to_owned(),
            status: OK,
            values: json!({}),
        }
    }

    fn bad(request: &str, status: u32, why: &str) -> Self {
        Reply {
            request: request.to_owned(),
            status,
            values: json!({ "statusmessage": why }),
        }
    }
}

/// What the session's answer to a request leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is a calibration, or there is none.
    Start,
    /// One point less is left; after the last one the session is asked to finish.
    PointEnd,
    /// The result, which is the client's answer, or no calibration any more.
    Finish,
    /// The client's answer alone.
    Other,
}

/// How far the session is known to be, by its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Records are of the session before.
    Asked,
    /// It is placing, as every session is until its first target.
    Placing,
    /// It has shown a target: one that is placing now is another session.
    Shown,
}

/// A request that the session has not answered.
#[derive(Debug)]
struct Pending {
    request: String,
    step: Step,
    answer: Answer,
}

/// A client's calibration.
#[derive(Debug)]
pub(super) struct Guided {
    hub: Arc<Hub>,
    /// Points whose end the session has not taken yet; none when no calibration goes on.
    points_left: Option<u64>,
    progress: Progress,
    /// In the order in which the session was asked.
    pending: VecDeque<Pending>,
    /// The session is asked to finish: the last `pointend` waits for the result.
    is_finishing: bool,
    /// The answer to a last `pointend` whose result will not come.
    owed: Option<Reply>,
    result: Option<Value>,
}

impl Guided {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Guided {
            hub,
            points_left: None,
            progress: Progress::Asked,
            pending: VecDeque::new(),
            is_finishing: false,
            owed: None,
            result: None,
        }
    }

    /// Whether a calibration goes on.
    pub(super) fn is_on(&self) -> bool {
        self.points_left.is_some()
    }

    /// `calibresult` of the last calibration of this client.
    pub(super) fn result(&self) -> Option<&Value> {
        self.result.as_ref()
    }

    /// Whether an answer of the session is to be looked for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty() || self.owed.is_some()
    }

    /// Takes a request; none when its answer comes later. A calibration is on `screen` where the client
    /// has its own.
    pub(super) fn hear(
        &mut self,
        request: &str,
        values: &Value,
        [width_px, height_px]: [u32; 2],
        screen: Option<ScreenMessage>,
    ) -> Option<Reply> {
        let bad = |why: &str| Some(Reply::bad(request, BAD_REQUEST, why));
        if self.pending.len() >= MAX_PENDING && request != "abort" {
            return bad("too many requests at once");
        }
        match (request, self.points_left) {
            ("start", _) => {
                let count = values["pointcount"].as_u64();
                let Some(count) = count.filter(|count| (1..=MOST_POINTS).contains(count)) else {
                    return bad("pointcount must be 1 to 64");
                };
                let Some(user) = driving::present_user(&self.hub) else {
                    return bad("the person's name cannot be used");
                };
                let start = StartMessage {
                    timing: Timing::ByCommand,
                    validation: 0,
                    placing: false,
                    accept: true,
                    screen,
                    ..StartMessage::new(user)
                };
                let answer = driving::ask(&self.hub, CalibrateMessage::Start(start));
                if answer.is_some() {
                    self.let_go(REPLACED);
                    self.points_left = Some(count);
                    self.progress = Progress::Asked;
                    self.result = None;
                }
                self.wait_for(request, Step::Start, answer)
            }
            ("pointstart", Some(_)) => {
                let (Some(x), Some(y)) = (values["x"].as_f64(), values["y"].as_f64()) else {
                    return bad("x and y must be numbers, px");
                };
                let share = |px: f64, full: u32| (px / f64::from(full.max(1))) as f32;
                let [x, y] = [share(x, width_px), share(y, height_px)];
                self.ask(request, Step::Other, CalibrateMessage::Show { x, y })
            }
            ("pointend", Some(_)) if self.is_finishing => {
                Some(Reply::bad(request, FORBIDDEN, "the last point has ended"))
            }
            // There was no room to ask for the finish.
            ("pointend", Some(0)) => self.finish(request),
            ("pointend", Some(_)) => self.ask(request, Step::PointEnd, CalibrateMessage::Next),
            ("abort", _) => {
                if self.is_on() && driving::ask(&self.hub, CalibrateMessage::Discard).is_none() {
                    return Some(Reply::bad(request, FORBIDDEN, driving::BUSY));
                }
                self.let_go("the calibration was aborted");
                Some(Reply::good(request))
            }
            ("clear", _) => {
                self.result = None;
                let answer = driving::ask_personal(&self.hub, PersonalMessage::User(None));
                self.wait_for(request, Step::Other, answer)
            }
            ("pointstart" | "pointend", None) => Some(Reply::bad(request, FORBIDDEN, NONE_ON)),
            _ => Some(Reply::bad(request, NOT_FOUND, "no such request")),
        }
    }

    /// Hands a message to the session; an answer at once only when that cannot be done.
    fn ask(&mut self, request: &str, step: Step, message: CalibrateMessage) -> Option<Reply> {
        let answer = driving::ask(&self.hub, message);
        self.wait_for(request, step, answer)
    }

    /// Asks for the result, once all points have ended.
    fn finish(&mut self, request: &str) -> Option<Reply> {
        let refused = self.ask(request, Step::Finish, CalibrateMessage::Finish);
        self.is_finishing = refused.is_none();
        refused
    }

    fn wait_for(&mut self, request: &str, step: Step, answer: Option<Answer>) -> Option<Reply> {
        let Some(answer) = answer else {
            return Some(Reply::bad(request, FORBIDDEN, driving::BUSY));
        };
        self.pending.push_back(Pending {
            request: request.to_owned(),
            step,
            answer,
        });
        None
    }

    /// The calibration is not this client's any more: the session's answers are passed on and lead to
    /// nothing, and a `pointend` that waits for the result is told why there is none.
    fn let_go(&mut self, why: &str) {
        self.points_left = None;
        if std::mem::take(&mut self.is_finishing) {
            self.pending.retain(|pending| pending.step != Step::Finish);
            self.owed = Some(Reply::bad("pointend", FORBIDDEN, why));
        }
        for pending in &mut self.pending {
            pending.step = Step::Other;
        }
    }

    /// The answers that are there now, in the order of the requests.
    pub(super) fn look(&mut self) -> Vec<Reply> {
        let mut replies = Vec::from_iter(self.owed.take());
        while let Some(mut pending) = self.pending.pop_front() {
            let Some(answer) = driving::poll(&mut pending.answer) else {
                self.pending.push_front(pending);
                break;
            };
            replies.extend(self.take(pending.step, &pending.request, answer));
        }
        replies
    }

    /// Takes the session's answer; none when the client's comes later.
    fn take(&mut self, step: Step, request: &str, answer: Result<(), String>) -> Option<Reply> {
        match (step, answer) {
            (Step::Finish, Ok(())) => return None,
            (Step::PointEnd, Ok(())) => {
                let Some(left) = &mut self.points_left else {
                    return Some(Reply::bad(request, FORBIDDEN, NONE_ON));
                };
                *left = left.saturating_sub(1);
                if *left == 0 && !self.is_finishing {
                    return self.finish(request);
                }
            }
            (_, Ok(())) => {}
            (step, Err(why)) => {
                if matches!(step, Step::Start | Step::Finish) {
                    self.points_left = None;
                    self.is_finishing = false;
                }
                return Some(Reply::bad(request, FORBIDDEN, &why));
            }
        }
        Some(Reply::good(request))
    }

    /// Follows the session; the last `pointend` is answered when it ends.
    pub(super) fn follow(
        &mut self,
        calibration: &Calibration,
        screen_px: [u32; 2],
    ) -> Option<Reply> {
        if !self.is_on() || calibration.purpose != Purpose::Calibrate {
            return None;
        }
        match (self.progress, calibration.stage) {
            (Progress::Asked, Stage::Placing) => self.progress = Progress::Placing,
            (Progress::Asked, _) => return None,
            (Progress::Placing, Stage::Target) => self.progress = Progress::Shown,
            (Progress::Shown, Stage::Placing) => self.let_go(REPLACED),
            _ => {}
        }
        if !driving::is_at_end(calibration) {
            return None;
        }
        self.points_left = None;
        if calibration.stage == Stage::Review {
            // Not good enough to be kept by itself, and nobody is there to judge.
            driving::ask(&self.hub, CalibrateMessage::Discard);
        }
        let is_good = calibration.stage == Stage::Accepted;
        let result = calibration.result.as_ref();
        let deg = result.and_then(|result| result.accuracy_deg);
        let deg = deg.unwrap_or_default();
        let points: Vec<Value> = result
            .map_or(&[][..], |result| &result.targets)
            .iter()
            .map(|target| point(target, screen_px))
            .collect();
        let result = json!({
            "result": is_good, "deg": deg, "degl": deg, "degr": deg, "calibpoints": points,
        });
        self.result = Some(result.clone());
        // The result may come before anybody has looked for the session's own answers.
        self.pending.retain(|pending| pending.step != Step::Finish);
        std::mem::take(&mut self.is_finishing).then(|| Reply {
            request: "pointend".to_owned(),
            status: OK,
            values: json!({ "calibresult": result }),
        })
    }
}

/// A client that leaves takes its calibration along: nobody shows the points any more.
impl Drop for Guided {
    fn drop(&mut self) {
        if self.is_on() {
            driving::ask(&self.hub, CalibrateMessage::Discard);
        }
    }
}

/// One camera has one answer for both eyes.
fn point(target: &TargetResult, [width_px, height_px]: [u32; 2]) -> Value {
    let px = |[x, y]: [f32; 2]| {
        json!({
            "x": f64::from(x) * f64::from(width_px), "y": f64::from(y) * f64::from(height_px),
        })
    };
    let deg = target.accuracy_deg.unwrap_or_default();
    let error_px = target.accuracy_px.unwrap_or_default();
    let spread_px = target.precision_sd_px.unwrap_or_default();
    let state = match target.accuracy_deg {
        None => 0,
        Some(deg) if deg > GOOD_DEG => 1,
        Some(_) => 2,
    };
    json!({
        "state": state,
        "cp": px(target.target),
        "mecp": px(target.gaze.unwrap_or_default()),
        "acd": {"ad": deg, "adl": deg, "adr": deg},
        "mepix": {"mep": error_px, "mepl": error_px, "mepr": error_px},
        "asdp": {"asd": spread_px, "asdl": spread_px, "asdr": spread_px},
    })
}
