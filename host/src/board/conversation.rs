//! The host's side of the protocol: times and bytes in, bytes and news out. It opens nothing and
//! waits for nothing, so that tests can put a board of their own at the other end.
//!
//! Greeting (say `Hello` until welcomed) → syncing (ping until the board's clock is known) →
//! running (settings, pings, visits). Whatever goes wrong leads back to greeting: a board that has
//! no session, that went to its safe state by itself, or that has said nothing for long.

use gaze_protocol::event::ObjectId;
use gaze_protocol::message::{
    BoardMessage, FromBoard, FromHost, HostMessage, Output, OutputSettings, Refusal, SafeCause,
    Status, StrobeSettings, SwitchCause, Visit,
};
use gaze_protocol::wire::{Decoder, WireError, encode};
use gaze_protocol::{Span, Timestamp};

use super::clock::{ClockEstimate, PingTimes};

/// Time between two `Hello`s.
const GREET_EVERY: Span = Span::from_ms(500);

/// Time between two pings while the clock is being learned.
const SYNC_EVERY: Span = Span::from_ms(10);

/// A command that is not answered is said again after this.
const REPEAT_AFTER: Span = Span::from_ms(250);

/// A board that has said nothing for this long is greeted anew.
const GONE_AFTER: Span = Span::from_ms(2000);

/// Pings whose answers may still come.
const PINGS_UNDERWAY: usize = 16;

/// What the board is to do in every session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardPlan {
    /// Silence after which the board goes to its safe state, ms.
    pub silence_ms: u16,
    /// Exposure trigger and illuminator.
    pub strobe: Option<StrobeSettings>,
    /// What the outputs do.
    pub outputs: Vec<(Output, OutputSettings)>,
}

/// What has happened at the board; times are the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardNews {
    /// A session has begun.
    Welcome {
        /// What kind of board it is.
        board: String,
        /// Version of its program.
        firmware: [u8; 3],
    },
    /// The board's clock is known and its settings are on their way.
    Running,
    /// The board speaks another version of the protocol.
    OtherVersion {
        /// Its version.
        found: u8,
    },
    /// A command was obeyed.
    Done(HostMessage),
    /// A command was not obeyed and will not be said again.
    Refused(HostMessage, Refusal),
    /// An exposure began.
    Exposed {
        /// Its number.
        exposure: u32,
        /// When.
        at: Timestamp,
    },
    /// An output went on or off.
    Switched {
        /// Which.
        output: Output,
        /// Whether it is on now.
        is_on: bool,
        /// When.
        at: Timestamp,
        /// What it was for.
        why: SwitchCause,
    },
    /// The board is in its safe state.
    Safe(SafeCause),
    /// The answer to [`HostMessage::Report`].
    Status(Status),
    /// The board is not heard any more, or has lost the session; it is greeted anew.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Syncing,
    Running,
}

/// A command that has not been answered.
#[derive(Clone, Debug)]
struct Command {
    message: HostMessage,
    /// Number and time of its last saying; none: not yet said.
    said: Option<(u32, Timestamp)>,
}

/// A visit that the host knows to be open.
#[derive(Clone, Debug)]
struct OpenVisit {
    number: u32,
    object: ObjectId,
    onset: Timestamp,
    /// The last sample that bore it out.
    seen_at: Timestamp,
    said_at: Option<Timestamp>,
}

/// One host's conversation with one board.
#[derive(Debug)]
pub struct Conversation {
    plan: BoardPlan,
    /// Whether the plan's strobe, if it has one, is wanted now.
    is_strobing: bool,
    phase: Phase,
    session: u32,
    seq: u32,
    clock: ClockEstimate,
    decoder: Decoder,
    commands: Vec<Command>,
    pings: Vec<(u32, Timestamp)>,
    /// The last `Hello` or ping.
    said_at: Option<Timestamp>,
    heard_at: Timestamp,
    visit: Option<OpenVisit>,
    n_visits: u32,
    n_broken: u64,
}

impl Conversation {
    /// A conversation that begins with `Hello`; `nonce` names its first session and should be
    /// random.
    pub fn new(plan: BoardPlan, nonce: u32) -> Self {
        Conversation {
            plan,
            is_strobing: true,
            phase: Phase::Greeting,
            session: nonce,
            seq: 0,
            clock: ClockEstimate::default(),
            decoder: Decoder::new(),
            commands: Vec::new(),
            pings: Vec::new(),
            said_at: None,
            heard_at: Timestamp(0),
            visit: None,
            n_visits: 0,
            n_broken: 0,
        }
    }

    /// Whether commands reach the board.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// What is known of the board's clock.
    pub fn clock(&self) -> &ClockEstimate {
        &self.clock
    }

    /// Frames that could not be read.
    pub fn n_broken(&self) -> u64 {
        self.n_broken
    }

    /// Commands that have not been answered.
    pub fn n_open_commands(&self) -> usize {
        self.commands.len()
    }

    /// Adds a command to those of the plan; it is said until it is answered.
    pub fn command(&mut self, message: HostMessage) {
        self.commands.push(Command {
            message,
            said: None,
        });
    }

    /// Whether the camera looks, and wants trigger and light; at the beginning it does. A board
    /// with a strobe is told of each change.
    pub fn strobe(&mut self, is_wanted: bool) {
        if self.is_strobing == is_wanted {
            return;
        }
        self.is_strobing = is_wanted;
        let Some(message) = self.strobe_now() else {
            return;
        };
        let is_strobe = |command: &Command| matches!(command.message, HostMessage::Strobe(_));
        let open = self.commands.iter_mut().find(|command| is_strobe(command));
        if let Some(open) = open {
            // What was not answered yet is overtaken.
            let said = None;
            *open = Command { message, said };
        } else if self.phase != Phase::Greeting {
            self.command(message);
        }
    }

    /// The gaze came to an object; gives the number of the visit.
    pub fn look(&mut self, object: ObjectId, onset: Timestamp, now: Timestamp) -> u32 {
        self.n_visits = self.n_visits.wrapping_add(1);
        self.visit = Some(OpenVisit {
            number: self.n_visits,
            object,
            onset,
            seen_at: now,
            said_at: None,
        });
        self.n_visits
    }

    /// A sample came: what is known of the gaze still holds.
    pub fn keep_looking(&mut self, now: Timestamp) {
        if let Some(visit) = &mut self.visit {
            visit.seen_at = now;
        }
    }

    /// The gaze left what it was on.
    pub fn look_away(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        if let Some(visit) = self.visit.take()
            && self.phase == Phase::Running
        {
            let visit = visit.number;
            self.say(now, HostMessage::Away { visit }, out);
        }
    }

    /// Says what is due; to be called every few milliseconds.
    pub fn step(&mut self, now: Timestamp, out: &mut Vec<u8>, news: &mut Vec<BoardNews>) {
        let since_said = self.said_at.map(|said_at| now.since(said_at));
        let is_due = |every: Span| since_said.is_none_or(|since| since >= every);
        match self.phase {
            Phase::Greeting if is_due(GREET_EVERY) => self.greet(now, out),
            Phase::Syncing if is_due(SYNC_EVERY) => self.ping(now, out),
            Phase::Running if is_due(self.often()) => self.ping(now, out),
            _ => {}
        }
        if self.phase != Phase::Greeting && now.since(self.heard_at) >= GONE_AFTER {
            self.start_anew(news);
        }
        if self.phase == Phase::Running {
            self.say_commands(now, out);
            self.say_visit(now, out);
        }
    }

    /// Everything off: the host goes, and says so.
    pub fn say_goodbye(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        if self.phase != Phase::Greeting {
            self.say(now, HostMessage::Safe, out);
        }
    }

    /// Takes bytes from the board.
    pub fn hear(&mut self, bytes: &[u8], now: Timestamp, news: &mut Vec<BoardNews>) {
        for &byte in bytes {
            match self.decoder.push::<FromBoard>(byte) {
                None => {}
                Some(Ok(frame)) => self.take(frame, now, news),
                Some(Err(WireError::Version { found })) => {
                    news.push(BoardNews::OtherVersion { found });
                }
                Some(Err(_)) => self.n_broken += 1,
            }
        }
    }

    fn take(&mut self, frame: FromBoard, now: Timestamp, news: &mut Vec<BoardNews>) {
        let is_ours = frame.session == self.session;
        match frame.message {
            BoardMessage::Refused {
                why: Refusal::NoSession,
                ..
            } if self.phase != Phase::Greeting => return self.start_anew(news),
            _ if !is_ours => return,
            BoardMessage::Welcome {
                nonce,
                ref board,
                firmware,
            } if nonce == self.session => {
                if self.phase == Phase::Greeting {
                    self.phase = Phase::Syncing;
                    self.said_at = None;
                    let board = board.to_string();
                    news.push(BoardNews::Welcome { board, firmware });
                }
            }
            BoardMessage::Welcome { .. } => return,
            BoardMessage::Pong { ping, received_at } => {
                self.take_pong(ping, received_at, frame.sent_at, now, news);
            }
            BoardMessage::Done { of } => {
                if let Some(message) = self.answered(of) {
                    news.push(BoardNews::Done(message));
                }
            }
            BoardMessage::Refused { of, why } => self.take_refusal(of, why, news),
            BoardMessage::Exposed { exposure, at } => {
                if let Some(at) = self.clock.to_host(at) {
                    news.push(BoardNews::Exposed { exposure, at });
                }
            }
            BoardMessage::Switched {
                output,
                is_on,
                at,
                why,
            } => {
                if let Some(at) = self.clock.to_host(at) {
                    news.push(BoardNews::Switched {
                        output,
                        is_on,
                        at,
                        why,
                    });
                }
            }
            BoardMessage::Safe(cause) => {
                news.push(BoardNews::Safe(cause));
                if matches!(cause, SafeCause::Silence | SafeCause::Start) {
                    return self.start_anew(news);
                }
            }
            BoardMessage::Status(status) => {
                let report = |command: &Command| command.message == HostMessage::Report;
                if let Some(at) = self.commands.iter().position(report) {
                    self.commands.remove(at);
                }
                news.push(BoardNews::Status(status));
            }
        }
        self.heard_at = now;
    }

    fn take_pong(
        &mut self,
        ping: u32,
        board_received_at: Timestamp,
        board_sent_at: Timestamp,
        now: Timestamp,
        news: &mut Vec<BoardNews>,
    ) {
        let Some(at) = self.pings.iter().position(|(seq, _)| *seq == ping) else {
            return;
        };
        let (_, sent_at) = self.pings.remove(at);
        self.clock.add(PingTimes {
            sent_at,
            board_received_at,
            board_sent_at,
            received_at: now,
        });
        if self.phase == Phase::Syncing && self.clock.is_known() {
            self.phase = Phase::Running;
            news.push(BoardNews::Running);
        }
    }

    fn take_refusal(&mut self, of: u32, why: Refusal, news: &mut Vec<BoardNews>) {
        if why == Refusal::Stale {
            // The estimate of the clock is wrong, or the line was stuck: learn it anew. The
            // command stays and is said again.
            self.clock.clear();
            self.pings.clear();
            self.phase = Phase::Syncing;
        } else if let Some(message) = self.answered(of) {
            news.push(BoardNews::Refused(message, why));
        }
    }

    /// Takes the command that was answered off the list.
    fn answered(&mut self, of: u32) -> Option<HostMessage> {
        let is_it = |command: &Command| command.said.is_some_and(|(seq, _)| seq == of);
        let at = self.commands.iter().position(is_it)?;
        Some(self.commands.remove(at).message)
    }

    /// A new session, with a name that no board has heard.
    fn start_anew(&mut self, news: &mut Vec<BoardNews>) {
        self.phase = Phase::Greeting;
        self.session = self.session.wrapping_add(1);
        self.seq = 0;
        self.clock.clear();
        self.pings.clear();
        self.commands.clear();
        self.said_at = None;
        news.push(BoardNews::Lost);
    }

    fn greet(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        let outputs = self.plan.outputs.iter();
        let outputs =
            outputs.map(|(output, settings)| HostMessage::Output(*output, settings.clone()));
        // Those of an earlier greeting that was not heard are still there.
        if self.commands.is_empty() {
            self.commands = self
                .strobe_now()
                .into_iter()
                .chain(outputs)
                .map(|message| Command {
                    message,
                    said: None,
                })
                .collect();
        }
        self.said_at = Some(now);
        self.heard_at = now;
        // Ends half a frame that may lie on the line.
        out.push(0);
        let hello = HostMessage::Hello {
            nonce: self.session,
            silence_ms: self.plan.silence_ms,
        };
        self.say(now, hello, out);
    }

    /// What a board with a strobe is to do with it now.
    fn strobe_now(&self) -> Option<HostMessage> {
        let strobe = self.plan.strobe?;
        Some(HostMessage::Strobe(self.is_strobing.then_some(strobe)))
    }

    fn ping(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        self.said_at = Some(now);
        if self.pings.len() == PINGS_UNDERWAY {
            self.pings.remove(0);
        }
        let seq = self.say(now, HostMessage::Ping, out);
        self.pings.push((seq, now));
    }

    fn say_commands(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        for n in 0..self.commands.len() {
            let command = &self.commands[n];
            let is_due = command
                .said
                .is_none_or(|(_, said_at)| now.since(said_at) >= REPEAT_AFTER);
            if is_due {
                let message = command.message.clone();
                let seq = self.say(now, message, out);
                self.commands[n].said = Some((seq, now));
            }
        }
    }

    /// Says the open visit, as long as samples bear it out.
    fn say_visit(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        let (often, silence) = (self.often(), self.silence());
        let Some(visit) = &mut self.visit else { return };
        let is_due = visit
            .said_at
            .is_none_or(|said_at| now.since(said_at) >= often);
        if !is_due || now.since(visit.seen_at) >= silence {
            return;
        }
        // A visit older than the board's clock began, as far as the board is concerned, at zero.
        let onset = self.clock.to_board(visit.onset).unwrap_or_default();
        visit.said_at = Some(now);
        let looking = HostMessage::Looking(Visit {
            visit: visit.number,
            object: visit.object.clone(),
            onset,
        });
        self.say(now, looking, out);
    }

    fn say(&mut self, now: Timestamp, message: HostMessage, out: &mut Vec<u8>) -> u32 {
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        let frame = FromHost {
            session: self.session,
            seq,
            sent_at: self.clock.to_board(now),
            message,
        };
        let frame = encode(&frame).expect("the longest message fits a frame");
        out.extend_from_slice(&frame);
        seq
    }

    fn silence(&self) -> Span {
        Span::from_ms(u64::from(self.plan.silence_ms))
    }

    /// How often the board is told what still holds, so that three losses in a row do no harm.
    fn often(&self) -> Span {
        Span(self.silence().as_us() / 4)
    }
}
