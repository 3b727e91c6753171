//! What one client says, and what is answered; the same on both transports.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::TrySendError;
use tracing::debug;

use super::fan_out::{Hub, KindSet, Line};
use super::{Control, ControlRequest, MAX_BAD_MESSAGES, MAX_MESSAGE_BYTES, PathsRequest};
use crate::clock::CaptureTime;
use crate::metrics::Counter;
use crate::personal::PersonalMessage;
use crate::record::{
    CalibrateMessage, ClientMessage, Record, RecordKind, ScanpathRequest, Scanpaths, TimeEcho,
    TimedRecord,
};
use crate::scene::SceneChange;

/// How long a message waits between two attempts to reach a busy tracking stage.
const CONTROL_RETRY: Duration = Duration::from_millis(5);

/// One client's conversation.
#[derive(Debug)]
pub(super) struct ClientSession {
    hub: Arc<Hub>,
    id: u64,
    bad_in_a_row: u32,
    /// Whether a calibration under way is this client's.
    drives_calibration: bool,
    /// Pictures are for clients of the Unix socket.
    is_on_socket: bool,
}

impl ClientSession {
    pub(super) fn new(hub: Arc<Hub>, id: u64) -> Self {
        ClientSession {
            hub,
            id,
            bad_in_a_row: 0,
            drives_calibration: false,
            is_on_socket: false,
        }
    }

    /// The same for a client of the Unix socket.
    pub(super) fn on_socket(hub: Arc<Hub>, id: u64) -> Self {
        let mut session = ClientSession::new(hub, id);
        session.is_on_socket = true;
        session
    }

    /// Sets what the client wants.
    pub(super) fn subscribe(&mut self, kinds: &[RecordKind]) -> Result<(), String> {
        if kinds.contains(&RecordKind::Picture) {
            if !self.is_on_socket {
                return Err("pictures are given over the Unix socket alone".to_owned());
            }
            if !self.hub.settings.gives_frames {
                return Err(
                    "this gazed gives no pictures: set frames = true under [recording] in its settings and start it again".to_owned(),
                );
            }
        }
        self.hub.subscribe(self.id, KindSet::of(kinds));
        Ok(())
    }

    /// Takes one message; breaks when the client must go.
    pub(super) async fn hear(&mut self, message: &[u8]) -> ControlFlow<()> {
        let message = match parse(message) {
            Ok(None) => return ControlFlow::Continue(()),
            Ok(Some(message)) => message,
            Err(why) => return self.refuse(&why),
        };
        let taken = match message {
            ClientMessage::Subscribe { types } => self.subscribe(&types),
            ClientMessage::Time { echo } => {
                let answer = TimedRecord {
                    record: Record::Time(TimeEcho { echo }),
                    at: Some(CaptureTime::now()),
                };
                self.hub.deliver(self.id, Line::new(answer));
                Ok(())
            }
            ClientMessage::ScanpathRequest(request) => self.ask_for_paths(request).await,
            ClientMessage::Scene(scene) => self.change_scene(SceneChange::Replace(scene)).await,
            ClientMessage::SceneUpdate(update) => {
                self.change_scene(SceneChange::Update(update)).await
            }
            ClientMessage::Calibrate(message) => {
                self.drives_calibration |= !matches!(message, CalibrateMessage::Discard);
                self.change_person(PersonalMessage::Calibrate(message))
                    .await
            }
            ClientMessage::Recentre(message) => {
                self.change_person(PersonalMessage::Recentre(message)).await
            }
            ClientMessage::Click(message) => {
                self.change_person(PersonalMessage::Click(message)).await
            }
            ClientMessage::User { name } => self.change_person(PersonalMessage::User(name)).await,
            ClientMessage::Undo { profile } => {
                self.change_person(PersonalMessage::Undo { profile }).await
            }
        };
        match taken {
            Ok(()) => {
                self.bad_in_a_row = 0;
                ControlFlow::Continue(())
            }
            Err(why) => self.refuse(&why),
        }
    }

    /// Takes a message that is longer than [`MAX_MESSAGE_BYTES`]: where the next one begins is
    /// not known, so the client must go.
    pub(super) fn hear_oversize(&mut self) {
        let _ = self.refuse(&format!(
            "a message has at most {MAX_MESSAGE_BYTES} bytes; this connection is closed"
        ));
    }

    async fn change_scene(&mut self, change: SceneChange) -> Result<(), String> {
        self.ask(Control::Scene(change)).await
    }

    async fn change_person(&mut self, message: PersonalMessage) -> Result<(), String> {
        self.ask(Control::Personal(message)).await
    }

    /// Hands a message to the tracking stage and waits for its answer, so that one client's
    /// messages stay in order and a flood of them waits in its own socket.
    async fn ask(&mut self, control: Control) -> Result<(), String> {
        let (mut request, answer) = ControlRequest::new(control);
        loop {
            match self.hub.controls.try_send(request) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => request = back,
                Err(TrySendError::Disconnected(_)) => {
                    return Err(String::from("gazed is stopping"));
                }
            }
            tokio::time::sleep(CONTROL_RETRY).await;
        }
        answer
            .await
            .unwrap_or_else(|_| Err(String::from("gazed is stopping")))
    }

    /// Asks for sampled paths and passes them on.
    async fn ask_for_paths(&mut self, request: ScanpathRequest) -> Result<(), String> {
        const ALLOWED: std::ops::RangeInclusive<usize> = 1..=100;
        if !ALLOWED.contains(&request.samples) {
            return Err(format!(
                "scanpath_request: samples is {}, allowed are 1 to 100",
                request.samples
            ));
        }
        let (mut request, answer) = PathsRequest::new(request);
        loop {
            match self.hub.paths.try_send(request) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => request = back,
                Err(TrySendError::Disconnected(_)) => {
                    return Err(String::from("gazed is stopping"));
                }
            }
            tokio::time::sleep(CONTROL_RETRY).await;
        }
        let paths = answer
            .await
            .unwrap_or_else(|_| Err(String::from("gazed is stopping")))?;
        let answer = TimedRecord {
            record: Record::Scanpaths(Scanpaths { paths }),
            at: None,
        };
        self.hub.deliver(self.id, Line::new(answer));
        Ok(())
    }

    /// Answers with an error; breaks when it was one too many.
    pub(super) fn refuse(&mut self, why: &str) -> ControlFlow<()> {
        self.hub.metrics.count(Counter::MessagesRefused);
        self.bad_in_a_row += 1;
        let is_last = self.bad_in_a_row >= MAX_BAD_MESSAGES;
        debug!("client {} sent a message that cannot be used", self.id);
        let message = if is_last {
            format!(
                "{why}; that was the last of {MAX_BAD_MESSAGES} in a row, this connection is closed"
            )
        } else {
            String::from(why)
        };
        self.hub.deliver(self.id, Line::error(message));
        if is_last {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl Drop for ClientSession {
    /// The client has gone: a calibration that it drove waits for another.
    fn drop(&mut self) {
        if self.drives_calibration {
            let (request, _) = ControlRequest::new(Control::Personal(PersonalMessage::Abandon));
            // When the tracking stage is that busy, the session waits until it is forgotten.
            let _ = self.hub.controls.try_send(request);
        }
    }
}

/// One message; none for an empty line.
fn parse(message: &[u8]) -> Result<Option<ClientMessage>, String> {
    let Ok(text) = std::str::from_utf8(message) else {
        return Err(String::from(
            "this message is not UTF-8 text; gazed expects one JSON object a line",
        ));
    };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(text).map(Some).map_err(|error| {
        format!(
            "this message cannot be used: {error}; gazed expects one JSON object a line, with a type of \"subscribe\", \"time\", \"scene\", \"scene_update\", \"scanpath_request\", \"calibrate\", \"recentre\", \"click\", \"user\" or \"undo\""
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_and_an_empty_list_of_types_mean_all() {
        for text in [
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","types":[]}"#,
        ] {
            let message = parse(text.as_bytes()).unwrap().unwrap();
            assert_eq!(message, ClientMessage::Subscribe { types: vec![] });
        }
    }

    #[test]
    fn an_empty_line_is_no_message_and_no_error() {
        assert_eq!(parse(b"  \r").unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (bad, said) in [
            (&b"hello"[..], "expected value"),
            (b"\xff\xfe", "not UTF-8"),
            (br#"{"types":[]}"#, "missing field `type`"),
            (
                br#"{"type":"subscribe","types":["fixations"]}"#,
                "unknown variant `fixations`",
            ),
            (
                br#"{"type":"scene","scene_id":"s"}"#,
                "missing field `width_px`",
            ),
            (br#"[1,2]"#, "cannot be used"),
        ] {
            let why = parse(bad).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }
}
