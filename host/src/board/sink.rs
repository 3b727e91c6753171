//! The thread `gaze-board`: keeps a conversation going with a board that may come and go.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use gaze_protocol::{GazeEvent, Timestamp};
use tracing::{debug, info, warn};

use super::conversation::{BoardNews, BoardPlan, Conversation};
use super::line::{LineError, SerialLine, find_port};
use crate::demand::{Demand, UserKind};
use crate::retry::{LastProblem, Waits};
use crate::stop::StopFlag;

/// The host's times begin an hour before the thread does, so that what was seen before has one.
const HOUR: Duration = Duration::from_secs(3600);

/// Which port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortChoice {
    /// The first that is a board; see [`find_port`].
    Auto,
    /// This one.
    Named(PathBuf),
}

impl PortChoice {
    /// Opens the port.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn open(&self) -> Result<SerialLine, LineError> {
        match self {
            PortChoice::Named(path) => SerialLine::open(path),
            PortChoice::Auto => SerialLine::open(&find_port().ok_or(LineError::NoBoard)?),
        }
    }
}

impl FromStr for PortChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => PortChoice::Auto,
            path => PortChoice::Named(path.into()),
        })
    }
}

/// An event of the tracking stage, on its way to the board.
#[derive(Clone, Debug)]
pub struct BoardInput {
    /// What was decided.
    pub event: GazeEvent,
    /// The zero of its times; none for a file, whose times mean nothing to a board.
    pub clock_zero: Option<Instant>,
}

/// The board's end of the daemon.
#[derive(Debug)]
pub struct BoardSink {
    port: PortChoice,
    plan: BoardPlan,
    inputs: Receiver<BoardInput>,
    stop: StopFlag,
    /// Where a board that acts on gaze counts while it answers.
    demand: Demand,
    /// Whether the camera is off because nobody uses gaze: it needs no trigger and no light then.
    camera_rests: Arc<AtomicBool>,
    zero: Instant,
}

impl BoardSink {
    /// A sink that has opened nothing yet.
    pub fn new(
        port: PortChoice,
        plan: BoardPlan,
        inputs: Receiver<BoardInput>,
        stop: StopFlag,
    ) -> Self {
        BoardSink {
            port,
            plan,
            inputs,
            stop,
            demand: Demand::default(),
            camera_rests: Arc::default(),
            zero: Instant::now(),
        }
    }

    /// Counts users of gaze where others do.
    pub fn counting_in(mut self, demand: Demand) -> Self {
        self.demand = demand;
        self
    }

    /// Stops the strobe while the camera rests.
    pub fn resting_with(mut self, camera_rests: Arc<AtomicBool>) -> Self {
        self.camera_rests = camera_rests;
        self
    }

    /// Talks to the board until the stop flag is raised, whatever happens to the cable.
    pub fn run(self) {
        let (mut waits, mut last_problem) = (Waits::new(), LastProblem::default());
        while !self.stop.is_raised() {
            let error = match self.port.open() {
                Ok(line) => {
                    last_problem.forget();
                    match self.talk(line, &mut waits) {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            let problem = error.to_string();
            if last_problem.note(&problem) {
                warn!("board: {problem}; trying again");
            }
            self.stop.wait(waits.next());
            // What was seen meanwhile is over.
            self.inputs.try_iter().for_each(drop);
        }
    }

    /// One conversation; ends well with the stop flag.
    fn talk(&self, mut line: SerialLine, waits: &mut Waits) -> Result<(), LineError> {
        let mut conversation = Conversation::new(self.plan.clone(), random());
        let (mut heard, mut said) = (Vec::new(), Vec::new());
        let mut news = Vec::new();
        let mut user = None;
        while !self.stop.is_raised() {
            line.read(&mut heard)?;
            let now = self.host_time(Instant::now());
            conversation.hear(&heard, now, &mut news);
            heard.clear();
            for input in self.inputs.try_iter() {
                self.take(&input, now, &mut conversation, &mut said);
            }
            conversation.strobe(!self.camera_rests.load(Relaxed));
            conversation.step(now, &mut said, &mut news);
            line.write(&said)?;
            said.clear();
            for item in news.drain(..) {
                match item {
                    BoardNews::Running => {
                        waits.start_over();
                        // A strobe alone needs no gaze.
                        let acts_on_gaze = !self.plan.outputs.is_empty();
                        user = acts_on_gaze.then(|| self.demand.enter(UserKind::Board));
                    }
                    BoardNews::Lost => user = None,
                    _ => {}
                }
                tell(&item);
            }
        }
        drop(user);
        conversation.say_goodbye(self.host_time(Instant::now()), &mut said);
        line.write(&said)
    }

    fn take(
        &self,
        input: &BoardInput,
        now: Timestamp,
        conversation: &mut Conversation,
        said: &mut Vec<u8>,
    ) {
        match &input.event {
            GazeEvent::Sample(_) => conversation.keep_looking(now),
            GazeEvent::ObjectEnter(visit) => {
                let onset = input.clock_zero.map_or(now, |zero| {
                    self.host_time(zero + Duration::from_micros(visit.onset.as_us()))
                });
                conversation.look(visit.object.clone(), onset, now);
            }
            GazeEvent::ObjectLeave(_) => conversation.look_away(now, said),
            _ => {}
        }
    }

    fn host_time(&self, at: Instant) -> Timestamp {
        let since = match at.checked_duration_since(self.zero) {
            Some(after) => HOUR + after,
            None => HOUR.saturating_sub(self.zero.duration_since(at)),
        };
        Timestamp(since.as_micros() as u64)
    }
}

/// A number that no board has heard lately.
pub(super) fn random() -> u32 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() as u32
}

/// What an operator should know; nothing of where anybody looks.
fn tell(news: &BoardNews) {
    match news {
        BoardNews::Welcome { board, firmware } => {
            let [major, minor, patch] = firmware;
            info!("board: {board}, firmware {major}.{minor}.{patch}");
        }
        BoardNews::Running => info!("board: in step"),
        BoardNews::Lost => warn!("board: not heard any more; greeting it anew"),
        BoardNews::OtherVersion { found } => warn!(
            "board: speaks protocol version {found}, gazed {}; flash it anew: `gazed board flash-help`",
            gaze_protocol::wire::PROTOCOL_VERSION
        ),
        BoardNews::Refused(_, why) => warn!("board: refused a setting: {why:?}"),
        BoardNews::Safe(cause) => info!("board: everything off ({cause:?})"),
        BoardNews::Done(_)
        | BoardNews::Exposed { .. }
        | BoardNews::Switched { .. }
        | BoardNews::Status(_) => debug!("board: {}", kind(news)),
    }
}

fn kind(news: &BoardNews) -> &'static str {
    match news {
        BoardNews::Done(_) => "obeyed",
        BoardNews::Exposed { .. } => "exposure",
        BoardNews::Switched { .. } => "switched",
        _ => "status",
    }
}
