//! `gazed board test`: puts a real board through what it promises, step by step.

use std::io;
use std::time::{Duration, Instant};

use gaze_protocol::Timestamp;
use gaze_protocol::event::ObjectId;
use gaze_protocol::message::{
    HostMessage, MIN_REST_MS, Output, OutputSettings, Refusal, SafeCause, Status, StrobeSettings,
    SwitchCause,
};

use super::conversation::{BoardNews, BoardPlan, Conversation};
use super::line::{LineError, SerialLine};
use super::sink::random;

/// Long, so that a busy machine does not fail a good board.
const SILENCE_MS: u16 = 1500;

/// A board that has not done something after this long does not do it.
const PATIENCE: Duration = Duration::from_secs(5);

/// 50 exposures a second, with a light pulse of 1 ms.
const STROBE: StrobeSettings = StrobeSettings {
    period_us: 20_000,
    trigger_us: 500,
    light_delay_us: 0,
    light_us: 1_000,
};

const N_EXPOSURES: usize = 20;

/// Why a board cannot be used, or has failed.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// The port.
    #[error(transparent)]
    Line(#[from] LineError),
    /// It speaks another version.
    #[error(
        "the board speaks protocol version {found} and gazed {}; flash it anew: `gazed board flash-help`",
        gaze_protocol::wire::PROTOCOL_VERSION
    )]
    OtherVersion {
        /// Its version.
        found: u8,
    },
    /// Something did not happen.
    #[error("failed: {what} (waited {} s)", PATIENCE.as_secs())]
    Not {
        /// What should have happened.
        what: &'static str,
    },
    /// Something else happened.
    #[error("failed: {what}: {found}")]
    Wrong {
        /// What should have happened.
        what: &'static str,
        /// What did.
        found: String,
    },
    /// What was found cannot be printed.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

/// A board at a port, spoken to by this thread.
pub(super) struct Bench {
    line: SerialLine,
    pub(super) conversation: Conversation,
    zero: Instant,
    pub(super) board: String,
    pub(super) firmware: [u8; 3],
    /// News that nobody has asked for yet.
    news: Vec<BoardNews>,
}

impl Bench {
    /// Greets the board and learns its clock.
    pub(super) fn open(line: SerialLine) -> Result<Self, BoardError> {
        let plan = BoardPlan {
            silence_ms: SILENCE_MS,
            strobe: None,
            outputs: Vec::new(),
        };
        let mut bench = Bench {
            line,
            conversation: Conversation::new(plan, random()),
            zero: Instant::now(),
            board: String::new(),
            firmware: [0; 3],
            news: Vec::new(),
        };
        let welcome = bench.wait_for("the board answers", |news| match news {
            BoardNews::Welcome { board, firmware } => Some((board.clone(), *firmware)),
            _ => None,
        })?;
        (bench.board, bench.firmware) = welcome;
        bench.wait_for("the board's clock is learned", |news| {
            matches!(news, BoardNews::Running).then_some(())
        })?;
        Ok(bench)
    }

    pub(super) fn status(&mut self) -> Result<Status, BoardError> {
        self.conversation.command(HostMessage::Report);
        self.wait_for("the board reports", |news| match news {
            BoardNews::Status(status) => Some(*status),
            _ => None,
        })
    }

    /// Lets `time` pass in conversation.
    pub(super) fn pass(&mut self, time: Duration) -> Result<(), BoardError> {
        let began = Instant::now();
        while began.elapsed() < time {
            self.turn(true)?;
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        // An hour on, so that a moment ago has a time too.
        Timestamp(3_600_000_000 + self.zero.elapsed().as_micros() as u64)
    }

    fn turn(&mut self, is_speaking: bool) -> Result<(), BoardError> {
        let (mut heard, mut said) = (Vec::new(), Vec::new());
        self.line.read(&mut heard)?;
        let now = self.now();
        self.conversation.hear(&heard, now, &mut self.news);
        if is_speaking {
            self.conversation.keep_looking(now);
            self.conversation.step(now, &mut said, &mut self.news);
        }
        self.line.write(&said)?;
        for news in &self.news {
            if let BoardNews::OtherVersion { found } = *news {
                return Err(BoardError::OtherVersion { found });
            }
        }
        Ok(())
    }

    /// The first news that `found` takes; earlier ones are forgotten.
    fn wait_for<T>(
        &mut self,
        what: &'static str,
        found: impl FnMut(&BoardNews) -> Option<T>,
    ) -> Result<T, BoardError> {
        self.listen(what, true, found)
    }

    fn listen<T>(
        &mut self,
        what: &'static str,
        is_speaking: bool,
        mut found: impl FnMut(&BoardNews) -> Option<T>,
    ) -> Result<T, BoardError> {
        let began = Instant::now();
        loop {
            for n in 0..self.news.len() {
                if let Some(value) = found(&self.news[n]) {
                    self.news.drain(..=n);
                    return Ok(value);
                }
            }
            self.news.clear();
            if began.elapsed() > PATIENCE {
                return Err(BoardError::Not { what });
            }
            self.turn(is_speaking)?;
        }
    }

    /// Says a command and waits for the answer.
    fn ask(
        &mut self,
        what: &'static str,
        message: HostMessage,
    ) -> Result<Result<(), Refusal>, BoardError> {
        self.conversation.command(message.clone());
        self.wait_for(what, |news| match news {
            BoardNews::Done(done) if *done == message => Some(Ok(())),
            BoardNews::Refused(refused, why) if *refused == message => Some(Err(*why)),
            _ => None,
        })
    }

    fn obey(&mut self, what: &'static str, message: HostMessage) -> Result<(), BoardError> {
        self.ask(what, message)?.map_err(|why| BoardError::Wrong {
            what,
            found: format!("refused ({why:?})"),
        })
    }

    fn refuse(
        &mut self,
        what: &'static str,
        message: HostMessage,
        expected: Refusal,
    ) -> Result<(), BoardError> {
        let answer = self.ask(what, message)?;
        if answer == Err(expected) {
            return Ok(());
        }
        let found = format!("{answer:?}");
        Err(BoardError::Wrong { what, found })
    }

    fn switched(
        &mut self,
        what: &'static str,
        is_speaking: bool,
        expected: (Output, bool, SwitchCause),
    ) -> Result<(), BoardError> {
        let found = self.listen(what, is_speaking, |news| match *news {
            BoardNews::Switched {
                output, is_on, why, ..
            } => Some((output, is_on, why)),
            _ => None,
        })?;
        if found == expected {
            return Ok(());
        }
        let found = format!("{found:?}");
        Err(BoardError::Wrong { what, found })
    }
}

/// What is tried, in order. Each step leaves everything off.
const STEPS: &[(&str, Step)] = &[
    ("a light beyond its limits is refused", too_much_light),
    ("the trigger gives exposures at its rate", exposures),
    ("an output goes on by hand, and off after its hold", by_hand),
    ("an output goes on after a dwell on its object", dwell),
    ("and off when the visit is over", visit_over),
    ("an output that rests is not switched", resting),
    ("silence turns everything off", silence),
];

type Step = fn(&'static str, &mut Bench) -> Result<(), BoardError>;

/// Runs every step and says each that holds; the first that does not ends it.
///
/// # Errors
/// [`BoardError`].
pub(super) fn run(
    bench: &mut Bench,
    say: &mut dyn FnMut(&str) -> io::Result<()>,
) -> Result<(), BoardError> {
    for (what, step) in STEPS {
        step(what, bench)?;
        say(what)?;
    }
    Ok(())
}

fn too_much_light(what: &'static str, bench: &mut Bench) -> Result<(), BoardError> {
    let too_long = StrobeSettings {
        light_us: STROBE.period_us,
        ..STROBE
    };
    let strobe = HostMessage::Strobe(Some(too_long));
    bench.refuse(what, strobe, Refusal::OutOfRange)
}

fn by_hand(what: &'static str, bench: &mut Bench) -> Result<(), BoardError> {
    bench.conversation.command(HostMessage::Set {
        output: Output::Lamp,
        hold_ms: 50,
    });
    bench.switched(what, true, (Output::Lamp, true, SwitchCause::Hand))?;
    bench.switched(what, true, (Output::Lamp, false, SwitchCause::HoldOver))
}

fn dwell(what: &'static str, bench: &mut Bench) -> Result<(), BoardError> {
    let settings = OutputSettings {
        object: object("yes"),
        dwell_ms: 300,
        hold_ms: 5_000,
        rest_ms: 2_000,
        ends_with_visit: true,
    };
    bench.obey(what, HostMessage::Output(Output::Switch, settings))?;
    // Another object first: nothing may come of it.
    let now = bench.now();
    bench.conversation.look(object("no"), now, now);
    bench.pass(Duration::from_millis(500))?;
    let now = bench.now();
    let visit = bench.conversation.look(object("yes"), now, now);
    let expected = (Output::Switch, true, SwitchCause::Dwell { visit });
    bench.switched(what, true, expected)
}

fn visit_over(what: &'static str, bench: &mut Bench) -> Result<(), BoardError> {
    let mut said = Vec::new();
    let now = bench.now();
    bench.conversation.look_away(now, &mut said);
    bench.line.write(&said)?;
    let expected = (Output::Switch, false, SwitchCause::VisitOver);
    bench.switched(what, true, expected)
}

fn resting(what: &'static str, bench: &mut Bench) -> Result<(), BoardError> {
    let set = HostMessage::Set {
        output: Output::Switch,
        hold_ms: 50,
    };
    bench.refuse(what, set, Refusal::TooSoon)
}

/// Long enough for any output.
fn rest(bench: &mut Bench) -> Result<(), BoardError> {
    bench.pass(Duration::from_millis(u64::from(MIN_REST_MS) + 50))
}

fn exposures(what: &'static str, bench: &mut Bench) -> Result<(), BoardError> {
    bench.obey(what, HostMessage::Strobe(Some(STROBE)))?;
    let mut seen: Vec<(u32, Timestamp)> = Vec::new();
    bench.wait_for(what, |news| {
        if let BoardNews::Exposed { exposure, at } = *news {
            seen.push((exposure, at));
        }
        (seen.len() == N_EXPOSURES).then_some(())
    })?;
    bench.obey(what, HostMessage::Strobe(None))?;
    // One that is late does not delay the next, so their mean distance is the period, even on a
    // board that is emulated by a busy machine.
    let ((first, began_at), (last, ended_at)) = (seen[0], seen[N_EXPOSURES - 1]);
    let mean_us = ended_at.since(began_at).as_us() / u64::from(last.saturating_sub(first).max(1));
    let period_us = u64::from(STROBE.period_us);
    if mean_us.abs_diff(period_us) <= period_us / 5 {
        return Ok(());
    }
    Err(BoardError::Wrong {
        what,
        found: format!("one in {mean_us} µs instead of {period_us}"),
    })
}

fn silence(what: &'static str, bench: &mut Bench) -> Result<(), BoardError> {
    rest(bench)?;
    let set = HostMessage::Set {
        output: Output::Lamp,
        hold_ms: 10_000,
    };
    bench.conversation.command(set);
    bench.switched(what, true, (Output::Lamp, true, SwitchCause::Hand))?;
    bench.switched(what, false, (Output::Lamp, false, SwitchCause::Safe))?;
    bench.listen(what, false, |news| {
        matches!(news, BoardNews::Safe(SafeCause::Silence)).then_some(())
    })
}

fn object(name: &str) -> ObjectId {
    ObjectId::try_from(name).expect("it is short")
}
