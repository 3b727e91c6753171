//! What a host and a board say to each other.
//!
//! ```text
//!  host                                board
//!   │ Hello { nonce, silence_ms } ──────► │  everything off, a new session
//!   │ ◄────────── Welcome { nonce, … }    │
//!   │ Ping ─────────────────────────────► │
//!   │ ◄──────── Pong { received_at }      │  the host learns the board's clock
//!   │ Output(…), Strobe(…) ─────────────► │
//!   │ ◄──────── Done | Refused            │
//!   │ Looking(visit), again and again ──► │  dwell is decided here
//!   │ ◄──────── Switched, Exposed, Safe   │
//! ```
//!
//! All times are microseconds of the **board's** clock; the host converts, because it alone knows
//! both. Nothing the host says holds for longer than the session's silence time: a visit has to be
//! said again while it lasts, and when the host falls silent the board goes to its safe state.

use heapless::String;
use serde::{Deserialize, Serialize};

use crate::event::ObjectId;
use crate::units::{Span, Timestamp};

/// Shortest and longest silence that a session may ask for, ms.
pub const SILENCE_MS: core::ops::RangeInclusive<u16> = 50..=5000;

/// How far a message's time may lie ahead of the board's clock: the error of the host's estimate.
pub const CLOCK_TOLERANCE: Span = Span::from_ms(50);

/// Longest name of a board, bytes.
pub const BOARD_NAME_CAPACITY: usize = 24;

/// One message from the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromHost {
    /// The nonce of the session that it belongs to.
    pub session: u32,
    /// Goes up with every message of a session; a board drops what does not advance.
    pub seq: u32,
    /// When it was sent; none before the host knows the board's clock.
    pub sent_at: Option<Timestamp>,
    /// What it says.
    pub message: HostMessage,
}

/// What a host says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostMessage {
    /// Begins a session: all outputs off, settings forgotten.
    Hello {
        /// Names the session; random, so that no message of an older session fits it.
        nonce: u32,
        /// Silence after which the board goes to its safe state, [`SILENCE_MS`].
        silence_ms: u16,
    },
    /// Asks for the board's time; also a sign of life.
    Ping,
    /// Sets the exposure trigger and the illuminator; none stops both.
    Strobe(Option<StrobeSettings>),
    /// Says what an output does.
    Output(Output, OutputSettings),
    /// Switches an output by hand, within its limits.
    Set {
        /// Which.
        output: Output,
        /// On for this long at most, ms, up to [`MAX_HOLD_MS`]; 0 switches it off.
        hold_ms: u16,
    },
    /// The gaze is on an object; said again while it stays there.
    Looking(Visit),
    /// The visit is over.
    Away {
        /// Its number.
        visit: u32,
    },
    /// Everything off, at once.
    Safe,
    /// Asks for [`BoardMessage::Status`].
    Report,
}

impl HostMessage {
    /// Whether it can make something happen, so that it has to be fresh.
    pub const fn must_be_fresh(&self) -> bool {
        matches!(
            self,
            HostMessage::Strobe(Some(_))
                | HostMessage::Output(..)
                | HostMessage::Set { .. }
                | HostMessage::Looking(_)
        )
    }
}

/// A visit to an object, as long as it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Counts visits; the same for every message about one visit.
    pub visit: u32,
    /// What is looked at.
    pub object: ObjectId,
    /// When the gaze came to it, board's clock.
    pub onset: Timestamp,
}

/// An output of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Output {
    /// A transistor or relay that closes a contact.
    Switch,
    /// A light that a person sees.
    Lamp,
    /// A hobby servo between two positions.
    Servo,
}

impl Output {
    /// Every output, in the order of their numbers.
    pub const ALL: [Output; 3] = [Output::Switch, Output::Lamp, Output::Servo];

    /// Its word in settings and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Output::Switch => "switch",
            Output::Lamp => "lamp",
            Output::Servo => "servo",
        }
    }
}

/// Longest time that an output is on without a pause, ms.
pub const MAX_HOLD_MS: u16 = 10_000;

/// Shortest pause between two times that an output is on, ms: at most three flashes in any second,
/// which is safe for photosensitive people (WCAG 2.3.1). However short a flash is, the fourth
/// begins three pauses after the first, which is more than a second.
pub const MIN_REST_MS: u16 = 334;

/// Longest dwell, ms.
pub const MAX_DWELL_MS: u16 = 10_000;

/// What an output does with visits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSettings {
    /// The object that it belongs to; empty: any.
    pub object: ObjectId,
    /// Time on the object before it comes on, ms, 0 to [`MAX_DWELL_MS`].
    pub dwell_ms: u16,
    /// Longest time on, ms, 1 to [`MAX_HOLD_MS`].
    pub hold_ms: u16,
    /// Shortest time off, ms, from [`MIN_REST_MS`].
    pub rest_ms: u16,
    /// Whether it goes off when the visit ends; otherwise it stays on for `hold_ms`.
    pub ends_with_visit: bool,
}

impl OutputSettings {
    /// Whether every value is within its range.
    pub const fn is_allowed(&self) -> bool {
        self.dwell_ms <= MAX_DWELL_MS
            && self.hold_ms >= 1
            && self.hold_ms <= MAX_HOLD_MS
            && self.rest_ms >= MIN_REST_MS
    }
}

/// Longest pulse of the infrared illuminator, µs. The arithmetic is in the documentation of
/// `gaze-firmware`'s illuminator.
pub const MAX_LIGHT_US: u32 = 5_000;

/// The illuminator is on for at most one part in so many of the time, whatever the commands.
pub const LIGHT_DUTY_DIVISOR: u32 = 5;

/// A command may ask for one part in so many: less than the board allows itself, so that pulses
/// that end a turn of its loop too late still fit.
pub const LIGHT_ASKED_DIVISOR: u32 = 6;

/// Time between two exposures, µs: 500 Hz to 1 Hz.
pub const STROBE_PERIOD_US: core::ops::RangeInclusive<u32> = 2_000..=1_000_000;

/// Exposure trigger and illuminator, which go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrobeSettings {
    /// Time between two exposures, µs, [`STROBE_PERIOD_US`].
    pub period_us: u32,
    /// Length of the pulse on the trigger pin, µs, up to half the period.
    pub trigger_us: u32,
    /// From the trigger to the light, µs, up to half the period.
    pub light_delay_us: u32,
    /// Length of the light pulse, µs, up to [`MAX_LIGHT_US`] and a sixth of the period
    /// ([`LIGHT_ASKED_DIVISOR`]); 0: no light.
    pub light_us: u32,
}

impl StrobeSettings {
    /// Whether every value is within its range.
    pub const fn is_allowed(&self) -> bool {
        let half_us = self.period_us / 2;
        self.period_us >= *STROBE_PERIOD_US.start()
            && self.period_us <= *STROBE_PERIOD_US.end()
            && self.trigger_us <= half_us
            && self.light_delay_us <= half_us
            && self.light_us <= MAX_LIGHT_US
            && self.light_us <= self.period_us / LIGHT_ASKED_DIVISOR
    }
}

/// One message from the board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromBoard {
    /// The session that it belongs to; 0 before the first.
    pub session: u32,
    /// Goes up with every message, so that the host can count lost ones.
    pub seq: u32,
    /// When it was made.
    pub sent_at: Timestamp,
    /// What it says.
    pub message: BoardMessage,
}

/// What a board says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BoardMessage {
    /// The answer to `Hello`.
    Welcome {
        /// The nonce that was said.
        nonce: u32,
        /// What kind of board it is.
        board: String<BOARD_NAME_CAPACITY>,
        /// Version of its program: major, minor, patch.
        firmware: [u8; 3],
    },
    /// The answer to `Ping`.
    Pong {
        /// `seq` of the ping.
        ping: u32,
        /// When the ping came.
        received_at: Timestamp,
    },
    /// A command was obeyed.
    Done {
        /// Its `seq`.
        of: u32,
    },
    /// A command was not obeyed; nothing has changed.
    Refused {
        /// Its `seq`.
        of: u32,
        /// The reason.
        why: Refusal,
    },
    /// The trigger pin went up.
    Exposed {
        /// Counts exposures of a session from 0, the missed ones too.
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
    /// Everything is off.
    Safe(SafeCause),
    /// The answer to `Report`.
    Status(Status),
}

/// Why a command was not obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It is of another session, or there is none: say `Hello`.
    NoSession,
    /// It is too old, from the future, or says no time.
    Stale,
    /// A value is out of its range.
    OutOfRange,
    /// The output has to rest first.
    TooSoon,
    /// A pin could not be set.
    PinFault,
    /// The frame was of another protocol version.
    Version,
}

/// What switched an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwitchCause {
    /// The gaze stayed on its object for the dwell time.
    Dwell {
        /// The visit.
        visit: u32,
    },
    /// `Set`.
    Hand,
    /// It was on for its longest time.
    HoldOver,
    /// The visit ended.
    VisitOver,
    /// The board went to its safe state.
    Safe,
}

/// Why the board is in its safe state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SafeCause {
    /// It has just started.
    Start,
    /// The host was silent for too long.
    Silence,
    /// The host asked for it.
    Asked,
    /// A new session began.
    NewSession,
    /// A pin could not be set.
    PinFault,
}

/// Counts since the board started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Frames that could not be read.
    pub frames_broken: u32,
    /// Messages that did not advance: repeated or out of order.
    pub messages_repeated: u32,
    /// Messages that were refused.
    pub messages_refused: u32,
    /// Replies and events that found no room on the way out.
    pub replies_dropped: u32,
    /// Exposures that were due while the board was busy.
    pub exposures_missed: u32,
    /// Light pulses left out to keep within the limits.
    pub lights_skipped: u32,
    /// Times that a pin could not be set; one that stays high is tried again in every turn.
    pub pin_faults: u32,
}
