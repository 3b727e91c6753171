//! Which messages count: those of this session, once each, in order, and fresh.

use gaze_protocol::message::{CLOCK_TOLERANCE, FromHost, Refusal, SILENCE_MS};
use gaze_protocol::{Span, Timestamp};

/// The host that the board listens to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Session {
    current: Option<Current>,
    /// The nonce of this session or of the one that ended last; it is never used again.
    last_nonce: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    nonce: u32,
    silence: Span,
    last_seq: Option<u32>,
    /// When the newest fresh message was said; not later than it came.
    heard_at: Option<Timestamp>,
}

/// Why a message does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// The host has to know.
    Refused(Refusal),
    /// A copy, or overtaken by a later one: nothing to say about it.
    Repeated,
}

impl Session {
    /// Begins a session; false when `silence_ms` is out of its range or the last session had this
    /// nonce already (a `Hello` that came twice).
    pub fn begin(&mut self, nonce: u32, silence_ms: u16) -> bool {
        let is_new = self.last_nonce != Some(nonce) && SILENCE_MS.contains(&silence_ms);
        if is_new {
            self.last_nonce = Some(nonce);
            self.current = Some(Current {
                nonce,
                silence: Span::from_ms(u64::from(silence_ms)),
                last_seq: None,
                heard_at: None,
            });
        }
        is_new
    }

    /// Ends the session: the host has to say `Hello` again.
    pub fn end(&mut self) {
        self.current = None;
    }

    /// The nonce of the session.
    pub fn nonce(&self) -> Option<u32> {
        self.current.map(|current| current.nonce)
    }

    /// The time after which what the host has said no longer holds; zero without a session.
    pub fn silence(&self) -> Span {
        self.current.map_or(Span(0), |current| current.silence)
    }

    /// Whether a message other than `Hello` counts; one that is fresh is a sign of life.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub fn admit(&mut self, frame: &FromHost, now: Timestamp) -> Result<(), NotAdmitted> {
        let current = self
            .current
            .as_mut()
            .filter(|current| current.nonce == frame.session)
            .ok_or(NotAdmitted::Refused(Refusal::NoSession))?;
        if current.last_seq.is_some_and(|last| frame.seq <= last) {
            return Err(NotAdmitted::Repeated);
        }
        current.last_seq = Some(frame.seq);
        let is_fresh = frame.sent_at.is_some_and(|sent_at| {
            now.since(sent_at) < current.silence && sent_at.since(now) <= CLOCK_TOLERANCE
        });
        if is_fresh {
            // What was said holds for the silence time from then on, however late it came.
            let said_at = frame.sent_at.map(|sent_at| sent_at.min(now));
            current.heard_at = current.heard_at.max(said_at);
        } else if frame.message.must_be_fresh() {
            return Err(NotAdmitted::Refused(Refusal::Stale));
        }
        Ok(())
    }

    /// Whether the host has been heard within the silence time.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.current.is_some_and(|current| {
            current
                .heard_at
                .is_some_and(|heard_at| now.since(heard_at) < current.silence)
        })
    }
}

#[cfg(test)]
mod tests {
    use gaze_protocol::message::{HostMessage, Output};

    use super::*;

    const NOW: Timestamp = Timestamp(10_000_000);

    fn frame(session: u32, seq: u32, sent_at: Option<u64>) -> FromHost {
        FromHost {
            session,
            seq,
            sent_at: sent_at.map(Timestamp),
            message: HostMessage::Set {
                output: Output::Lamp,
                hold_ms: 10,
            },
        }
    }

    fn session() -> Session {
        let mut session = Session::default();
        assert!(session.begin(7, 200));
        session
    }

    #[test]
    fn without_a_session_and_in_another_one_nothing_counts() {
        let refused = Err(NotAdmitted::Refused(Refusal::NoSession));
        let message = frame(7, 0, Some(NOW.as_us()));
        assert_eq!(Session::default().admit(&message, NOW), refused);
        let other = frame(8, 0, Some(NOW.as_us()));
        assert_eq!(session().admit(&other, NOW), refused);
    }

    #[test]
    fn a_copy_and_an_overtaken_message_do_not_count() {
        let mut session = session();
        let at = Some(NOW.as_us());
        assert_eq!(session.admit(&frame(7, 5, at), NOW), Ok(()));
        for seq in [5, 4, 0] {
            let repeated = session.admit(&frame(7, seq, at), NOW);
            assert_eq!(repeated, Err(NotAdmitted::Repeated));
        }
        assert_eq!(session.admit(&frame(7, 9, at), NOW), Ok(()));
    }

    #[test]
    fn old_future_and_timeless_messages_are_stale_at_the_edges() {
        for (sent_at, is_fresh) in [
            (Some(NOW.as_us() - 199_999), true),
            (Some(NOW.as_us() - 200_000), false),
            (Some(NOW.as_us() + 50_000), true),
            (Some(NOW.as_us() + 50_001), false),
            (None, false),
        ] {
            let mut session = session();
            let admitted = session.admit(&frame(7, 0, sent_at), NOW);
            assert_eq!(admitted.is_ok(), is_fresh, "{sent_at:?}");
            assert_eq!(session.is_alive(NOW), is_fresh, "{sent_at:?}");
        }
    }

    #[test]
    fn a_timeless_ping_counts_but_is_no_sign_of_life() {
        let mut session = session();
        let ping = FromHost {
            message: HostMessage::Ping,
            ..frame(7, 0, None)
        };
        assert_eq!(session.admit(&ping, NOW), Ok(()));
        assert!(!session.is_alive(NOW));
    }

    #[test]
    fn silence_ends_the_link_at_its_time() {
        let mut session = session();
        session.admit(&frame(7, 0, Some(NOW.as_us())), NOW).unwrap();
        assert!(session.is_alive(NOW + Span(199_999)));
        assert!(!session.is_alive(NOW + Span(200_000)));
    }

    #[test]
    fn a_message_that_was_long_on_its_way_holds_from_when_it_was_said() {
        let mut session = session();
        let late = frame(7, 0, Some(NOW.as_us() - 150_000));
        session.admit(&late, NOW).unwrap();
        assert!(session.is_alive(NOW + Span(49_999)));
        assert!(!session.is_alive(NOW + Span(50_000)));
    }

    #[test]
    fn a_hello_said_twice_does_not_open_the_door_to_old_messages() {
        let mut session = session();
        let at = Some(NOW.as_us());
        session.admit(&frame(7, 3, at), NOW).unwrap();
        assert!(!session.begin(7, 200));
        let again = session.admit(&frame(7, 3, at), NOW);
        assert_eq!(again, Err(NotAdmitted::Repeated));
        session.end();
        assert!(!session.begin(7, 200));
        assert!(!session.begin(8, 49));
        assert!(session.begin(8, 5000));
    }
}
