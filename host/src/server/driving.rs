//! A calibration that a client of another protocol drives; the session is the same as the page's.

use std::sync::Arc;

use gaze_calibration::UserName;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::fan_out::Hub;
use super::{Control, ControlRequest};
use crate::personal::PersonalMessage;
use crate::record::{CalibrateMessage, Calibration, Stage};

/// Whose calibration it is when nobody is named in the settings.
const DEFAULT_USER: &str = "default";

/// Said when the tracking stage has no room for a message.
pub(super) const BUSY: &str = "gazed is busy; try again";

/// The session's answer to a message: what is wrong with it.
pub(super) type Answer = oneshot::Receiver<Result<(), String>>;

/// Hands a message to the session; none when it is too busy.
pub(super) fn ask(hub: &Hub, message: CalibrateMessage) -> Option<Answer> {
    ask_personal(hub, PersonalMessage::Calibrate(message))
}

/// The same for what is not the session's alone.
pub(super) fn ask_personal(hub: &Hub, message: PersonalMessage) -> Option<Answer> {
    let (request, answer) = ControlRequest::new(Control::Personal(message));
    hub.controls.try_send(request).ok().map(|()| answer)
}

/// The person that the daemon follows, for protocols that do not know of people.
pub(super) fn present_user(hub: &Hub) -> Option<UserName> {
    UserName::new(hub.user().as_deref().unwrap_or(DEFAULT_USER)).ok()
}

/// Looks whether an answer is there; a session that has ended refuses all.
pub(super) fn poll(answer: &mut Answer) -> Option<Result<(), String>> {
    match answer.try_recv() {
        Err(TryRecvError::Empty) => None,
        Ok(answer) => Some(answer),
        Err(TryRecvError::Closed) => Some(Err(String::from("gazed is stopping"))),
    }
}

/// Whether a step of a session that accepts by itself is its last: a result that can be accepted is
/// accepted with the next frame, unless there are words about why it cannot be kept.
pub(super) fn is_at_end(calibration: &Calibration) -> bool {
    match calibration.stage {
        Stage::Accepted | Stage::Discarded => true,
        Stage::Review => {
            let result = calibration.result.as_ref();
            result.is_none_or(|result| !result.can_accept) || calibration.message.is_some()
        }
        _ => false,
    }
}

/// A start that has not been answered yet, and whether the session is this client's.
#[derive(Debug)]
pub(super) struct Driving {
    hub: Arc<Hub>,
    starting: Option<Answer>,
    is_on: bool,
}

impl Driving {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Driving {
            hub,
            starting: None,
            is_on: false,
        }
    }

    /// Asks for a session; says whether it could be asked.
    pub(super) fn start(&mut self, message: CalibrateMessage) -> bool {
        self.starting = ask(&self.hub, message);
        self.is_on = self.starting.is_some();
        self.is_on
    }

    /// Whether the session, as far as is known, is this client's.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// The session is over.
    pub(super) fn end(&mut self) {
        self.is_on = false;
    }

    /// Whether [`Self::refused`] has something to look for.
    pub(super) fn is_waiting(&self) -> bool {
        self.starting.is_some()
    }

    /// Why the session that was asked for was refused; once.
    pub(super) fn refused(&mut self) -> Option<String> {
        let answer = poll(self.starting.as_mut()?)?;
        self.starting = None;
        let why = answer.err()?;
        self.is_on = false;
        Some(why)
    }
}
