//! A calibration session: which target to show, when the eyes have rested on it, what came out.
//!
//! ```text
//! placing ─► targets to fit ─► fit ─┬─► targets to judge ─► review ─► accepted | discarded
//!    │           ▲    ▲             │                        │ redo, repeat
//!    │           │    └─ eye was elsewhere: again            │
//!    └── pause, face gone, another face: paused ─────────────┘
//! ```
//!
//! A state machine that is stepped with each observation and told what clients ask; time comes from
//! the observations. The page, `gazed calibrate` and other programs drive the same one, by the
//! messages of [`crate::record`].

mod commands;
mod error;
mod flow;
mod outcome;
mod placement;
mod places;
mod references;
mod steady;
mod telling;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use gaze_calibration::{
    CalibrationError, CalibrationModel, FitReport, Quality, ScreenGeometry, TargetSample,
};
use gaze_protocol::{Span, Timestamp};

use crate::record::{Placement, Purpose, ScreenMessage, Stage, StartMessage, Timing};
use crate::vision::Observation;
use references::References;

pub use error::SessionError;
use steady::{Seen, Steady};

/// Attempts at one target before it is given up.
const MAX_ATTEMPTS: u32 = 3;

/// So many failed attempts in a row stop the session, so that the person can see to it.
const MAX_FAILED_IN_A_ROW: u32 = 3;

/// A face that is gone for this long has left.
const GONE: Span = Span::from_ms(1500);

/// A face that is back for this long stays.
const BACK: Span = Span::from_ms(1000);

/// A head does not move further than this from one frame to the next, mm: it is another head.
const OTHER_HEAD_MM: f32 = 150.0;

/// Frames further apart than this are not compared.
const OTHER_HEAD_WITHIN: Span = Span::from_ms(400);

/// A session that nobody drives ends after this long.
const FORGOTTEN: Span = Span::from_ms(15 * 60_000);

/// A target whose error is this many times the median of all, and above [`ELSEWHERE_DEG`], was not
/// looked at.
const ELSEWHERE: f32 = 2.5;
const ELSEWHERE_DEG: f32 = 4.0;

/// Gaze that is not this much better than guessing the middle of the targets did not follow them.
const FOLLOWED: f32 = 0.8;

/// Under `by_command`, samples count from this long after a target's appearance.
const COMMAND_ARRIVAL: Span = Span::from_ms(300);

/// How long a moving target is followed.
const PURSUIT: Span = Span::from_ms(30_000);

/// Recentring moves gaze by 15° at most: more is no drift.
const MAX_RECENTRING_TANGENT: f32 = 0.27;

/// Most samples of one target, a minute at 60/s.
const MAX_SAMPLES: usize = 3600;

/// Most places that a client may give.
const MAX_POINTS: usize = 64;

/// A place to show a target at, and what was seen there.
#[derive(Clone, Debug)]
struct Place {
    share: [f32; 2],
    is_validation: bool,
    attempts: u32,
    /// What was seen; none until it is taken, or when it was missed.
    samples: Option<Vec<TargetSample>>,
    lasted: Span,
    /// Whether it was looked at again because the eyes had been elsewhere.
    is_retaken: bool,
}

impl Place {
    fn new(share: [f32; 2], is_validation: bool) -> Self {
        Place {
            share,
            is_validation,
            attempts: 0,
            samples: None,
            lasted: Span(0),
            is_retaken: false,
        }
    }
}

/// How the present target is looked at.
#[derive(Clone, Debug)]
enum Look {
    Steady(Steady),
    /// Samples from `from` to `to` count, or to the next command.
    Timed {
        from: Timestamp,
        to: Option<Timestamp>,
        samples: Vec<TargetSample>,
    },
    Moving {
        from: Timestamp,
        to: Timestamp,
        seen: Vec<Seen>,
    },
}

#[derive(Clone, Debug)]
enum State {
    Placing,
    /// `look` begins with the first frame after the target is shown.
    Looking {
        place: usize,
        look: Option<Look>,
        progress: f32,
    },
    Waiting,
    Paused {
        goes_on_by_itself: bool,
        back_since: Option<Timestamp>,
    },
    Review,
    Ended(Stage),
}

/// A calibration session.
#[derive(Clone, Debug)]
pub struct Session {
    purpose: Purpose,
    options: StartMessage,
    screen: ScreenGeometry,
    /// For recentring: the model in force.
    present: Option<CalibrationModel>,
    places: Vec<Place>,
    queue: VecDeque<usize>,
    state: State,
    message: Option<String>,
    placement: Option<Placement>,
    failed_in_a_row: u32,
    fitted: Option<Result<FitReport, CalibrationError>>,
    validation: Option<Quality>,
    /// What that lacks on the target.
    recentring: Option<[f32; 2]>,
    now: Option<Timestamp>,
    heard_at: Option<Timestamp>,
    face_seen_at: Option<Timestamp>,
    last_head: Option<(Timestamp, [f32; 3])>,
    /// Faces in the newest frame.
    n_faces: usize,
    /// So many faces are no reason to pause: the person knows of them.
    tolerated_faces: usize,
    published_at: Option<Timestamp>,
    /// Under `by_reference`.
    references: References,
}

impl Session {
    /// A session for a new profile on this screen; the client may know the screen better.
    ///
    /// # Errors
    /// [`SessionError`] names the option that is out of range.
    pub fn new(options: StartMessage, screen: ScreenGeometry) -> Result<Self, SessionError> {
        let screen = match options.screen {
            Some(given) => screen_of(given)?.with_pose(screen.pose())?,
            None => screen,
        };
        if let Timing::Fixed {
            delay_ms,
            duration_ms,
        } = options.timing
            && (delay_ms > 60_000 || !(100..=60_000).contains(&duration_ms))
        {
            return Err(SessionError::Times {
                delay_ms,
                duration_ms,
            });
        }
        if options.points.len() > MAX_POINTS {
            return Err(SessionError::Points {
                found: options.points.len(),
            });
        }
        for &share in &options.points {
            checked(share)?;
        }
        let n_validation = options.validation as usize;
        let Some(validation) = places::VALIDATION.get(..n_validation) else {
            return Err(SessionError::Validation {
                found: options.validation,
            });
        };
        let is_clients_own = options.timing.tells_targets_later();
        let shares = if is_clients_own {
            Vec::new()
        } else if options.pursuit {
            vec![places::on_path(0.0)]
        } else if options.points.is_empty() {
            let mut shares = places::grid(options.targets).ok_or(SessionError::Targets {
                found: options.targets,
            })?;
            places::shuffle(&mut shares, options.seed);
            shares
        } else {
            // The client's own order.
            options.points.clone()
        };
        let to_judge = if is_clients_own { &[][..] } else { validation };
        let mut judged = to_judge.to_vec();
        places::shuffle(&mut judged, options.seed.wrapping_add(1));
        let places = shares
            .into_iter()
            .map(|share| Place::new(share, false))
            .chain(judged.into_iter().map(|share| Place::new(share, true)))
            .collect();
        Ok(Session::begin(
            Purpose::Calibrate,
            options,
            screen,
            None,
            places,
        ))
    }

    /// One target that moves `present` so that it is met.
    ///
    /// # Errors
    /// [`SessionError::Place`].
    pub fn recentre(
        user: gaze_calibration::UserName,
        share: [f32; 2],
        present: CalibrationModel,
        screen: ScreenGeometry,
    ) -> Result<Self, SessionError> {
        checked(share)?;
        let options = StartMessage {
            placing: false,
            validation: 0,
            accept: true,
            ..StartMessage::new(user)
        };
        let places = vec![Place::new(share, false)];
        Ok(Session::begin(
            Purpose::Recentre,
            options,
            screen,
            Some(present),
            places,
        ))
    }

    fn begin(
        purpose: Purpose,
        options: StartMessage,
        screen: ScreenGeometry,
        present: Option<CalibrationModel>,
        places: Vec<Place>,
    ) -> Self {
        let mut session = Session {
            purpose,
            options,
            screen,
            present,
            places,
            queue: VecDeque::new(),
            state: State::Placing,
            message: None,
            placement: None,
            failed_in_a_row: 0,
            fitted: None,
            validation: None,
            recentring: None,
            now: None,
            heard_at: None,
            face_seen_at: None,
            last_head: None,
            n_faces: 0,
            tolerated_faces: 1,
            published_at: None,
            references: References::default(),
        };
        session.rewind();
        session
    }

    /// Back to the beginning, nothing taken.
    fn rewind(&mut self) {
        for place in &mut self.places {
            *place = Place::new(place.share, place.is_validation);
        }
        if self.options.timing.tells_targets_later() {
            self.places.clear();
        }
        self.references = References::default();
        self.queue = self.untaken(false);
        self.fitted = None;
        self.validation = None;
        self.recentring = None;
        self.failed_in_a_row = 0;
        self.message = None;
        self.state = State::Placing;
    }

    /// Whose calibration it is.
    pub fn user(&self) -> &gaze_calibration::UserName {
        &self.options.user
    }

    /// The screen that the targets are on.
    pub fn screen(&self) -> &ScreenGeometry {
        &self.screen
    }

    /// What it is for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The eyes it is for.
    pub fn eyes(&self) -> gaze_calibration::Eyes {
        self.options.eyes
    }

    /// Whether it has ended, one way or the other.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// Whether the result waits to be kept, and may be kept without being asked.
    pub fn accepts_by_itself(&self) -> bool {
        matches!(self.state, State::Review) && self.options.accept && self.can_accept().is_ok()
    }

    /// Takes a frame.
    pub fn step(&mut self, observation: &Observation) {
        let now = observation.captured_at;
        self.now = Some(now);
        self.placement = Some(placement::of(observation));
        self.n_faces = observation.n_faces;
        let heard_at = *self.heard_at.get_or_insert(now);
        if self.is_over() {
            return;
        }
        if now.since(heard_at) > FORGOTTEN {
            return self.end(Stage::Discarded, "discarded: nobody went on with it");
        }
        let has_other_head = self.watch_head(observation);
        let face_seen_at = *self.face_seen_at.get_or_insert(now);
        let is_crowded = self.n_faces > self.tolerated_faces;
        match &mut self.state {
            State::Placing => {
                if !self.options.placing && observation.face.is_some() {
                    self.advance();
                    self.begin_timed(now, now);
                }
            }
            State::Looking { place, .. } => {
                let place = *place;
                if self.options.timing == Timing::Steady && has_other_head {
                    self.pause_at(place, "the face jumped: is somebody else in the picture? One person alone, please", false);
                } else if self.options.timing == Timing::Steady && is_crowded {
                    self.pause_at(
                        place,
                        "somebody else is in the picture: it goes on when you are alone, or when you say so",
                        true,
                    );
                } else if self.options.timing == Timing::Steady && now.since(face_seen_at) > GONE {
                    self.pause_at(
                        place,
                        "no face in the picture: it goes on when you are back",
                        true,
                    );
                } else {
                    self.look(self.seen(observation));
                }
            }
            State::Paused {
                goes_on_by_itself,
                back_since,
            } => {
                if observation.face.is_none() || is_crowded {
                    *back_since = None;
                } else if now.since(*back_since.get_or_insert(now)) >= BACK && *goes_on_by_itself {
                    self.message = None;
                    self.advance();
                }
            }
            State::Waiting if self.options.timing == Timing::ByReference => {
                let seen = self.seen(observation);
                self.references.see(seen);
            }
            State::Waiting | State::Review | State::Ended(_) => {}
        }
    }

    fn end(&mut self, stage: Stage, words: &str) {
        self.message = Some(words.to_owned());
        self.state = State::Ended(stage);
    }
}

/// The screen as a client knows it.
fn screen_of(given: ScreenMessage) -> Result<ScreenGeometry, SessionError> {
    let screen = ScreenGeometry::new(given.width_mm, given.height_mm)?;
    match (given.width_px, given.height_px) {
        (Some(width_px), Some(height_px)) => Ok(screen.with_size_px(width_px, height_px)?),
        (None, None) => Ok(screen),
        _ => Err(SessionError::HalfResolution),
    }
}

fn checked([x, y]: [f32; 2]) -> Result<[f32; 2], SessionError> {
    let is_near = |share: f32| (-0.5..=1.5).contains(&share);
    if is_near(x) && is_near(y) {
        Ok([x, y])
    } else {
        Err(SessionError::Place { x, y })
    }
}
