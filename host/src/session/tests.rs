//! Sessions with a person of numbers: eyes that look where the session shows, as people do.

mod clients;
mod recentring;

use gaze_calibration::{CalibrationModel, CameraSetup, Eyes, MadeBy, Profile, UserName, judge};
use gaze_protocol::GazeAngles;

use super::*;
use crate::frame::FrameName;
use crate::record::CalibrateMessage;
use crate::testing;
use crate::vision::{EyeObservation, FaceObservation, GazeEstimate, HeadPose, N_LANDMARKS};

const FRAME_US: u64 = 33_333;
const EYES_MM: [f32; 3] = [0.0, 60.0, 600.0];

fn screen() -> ScreenGeometry {
    ScreenGeometry::new(531.0, 299.0)
        .unwrap()
        .with_size_px(1920, 1080)
        .unwrap()
}

fn anna() -> UserName {
    UserName::new("anna").unwrap()
}

fn camera() -> CameraSetup {
    testing::camera("test", [640, 480])
}

/// The profile that a session makes.
fn profile_of(session: &Session) -> Result<Profile, SessionError> {
    session.profile(camera(), testing::networks(), None, 77)
}

/// What the eyes do in one frame.
#[derive(Clone, Copy, PartialEq)]
enum Act {
    Look([f32; 2]),
    Close,
    /// Nobody is there.
    Leave,
    /// Somebody else is there, looking at the middle.
    Other,
    /// The person looks, and somebody else is beside.
    Two([f32; 2]),
}

/// A person before the screen, whose network sees 0.7 of each turn, 3° too low, with noise.
struct Person {
    at: Timestamp,
    seq: u64,
    shown_since: Option<(Timestamp, [f32; 2])>,
    gaze: [f32; 2],
    noise: u32,
}

impl Person {
    fn new() -> Self {
        Person {
            at: Timestamp(0),
            seq: 0,
            shown_since: None,
            gaze: [0.5, 0.5],
            noise: 1,
        }
    }

    fn noise(&mut self) -> f32 {
        self.noise = self
            .noise
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        // 0.7° each way.
        0.024 * ((self.noise >> 8) as f32 / (1 << 24) as f32 - 0.5)
    }

    /// The next frame: where a person looks who follows targets with 200 ms of latency, unless
    /// `act` makes something else of it.
    fn frame(&mut self, session: &Session, act: impl Fn(u64, [f32; 2]) -> Act) -> Observation {
        self.at = self.at + Span(FRAME_US);
        self.seq += 1;
        let shown = session
            .shown()
            .map(|(point, _)| session.screen().to_normalised(point));
        match (shown, self.shown_since) {
            (Some(share), Some((since, before))) if share == before => {
                if self.at.since(since) >= Span::from_ms(200) {
                    self.gaze = share;
                }
            }
            (Some(share), _) => {
                self.shown_since = Some((self.at, share));
                if session.options.pursuit {
                    self.gaze = share;
                }
            }
            (None, _) => self.shown_since = None,
        }
        let act = act(self.seq, self.gaze);
        let noise = [self.noise(), self.noise()];
        Observation {
            seq: self.seq,
            frame: FrameName::Number,
            captured_at: self.at,
            size_px: [640, 480],
            error: None,
            n_faces: match act {
                Act::Leave => 0,
                Act::Two(_) => 2,
                _ => 1,
            },
            face: face(act, noise),
        }
    }
}

fn face(act: Act, noise: [f32; 2]) -> Option<FaceObservation> {
    let (share, position_mm) = match act {
        Act::Leave => return None,
        Act::Look(share) | Act::Two(share) => (Some(share), EYES_MM),
        Act::Close => (None, EYES_MM),
        Act::Other => (Some([0.5, 0.5]), [220.0, 60.0, 700.0]),
    };
    let eye = EyeObservation {
        center_px: [320.0, 240.0],
        iris_px: [320.0, 240.0, 5.0],
        openness: 1.0,
        is_open: share.is_some(),
        confidence: 1.0,
    };
    Some(FaceObservation {
        box_px: [240.0, 160.0, 160.0, 200.0],
        confidence: 1.0,
        landmarks_px: [[0.0; 2]; N_LANDMARKS],
        left_eye: Some(eye),
        right_eye: Some(eye),
        head: HeadPose {
            position_mm,
            yaw_rad: 0.0,
            pitch_rad: 0.0,
            roll_rad: 0.0,
        },
        gaze: share.map(|share| {
            let truth = screen().direction_to(position_mm, screen().from_normalised(share));
            GazeEstimate {
                angles: GazeAngles {
                    yaw_rad: 0.7 * truth.yaw_rad + noise[0],
                    pitch_rad: 0.7 * truth.pitch_rad - 0.05 + noise[1],
                },
                sigma_rad: 0.05,
                origin_mm: position_mm,
            }
        }),
        features: [0.0; crate::vision::N_FEATURES],
        lids_are_down: share.is_none(),
    })
}

fn look(_: u64, gaze: [f32; 2]) -> Act {
    Act::Look(gaze)
}

/// A session that is driven until it is neither placing nor showing; the seconds that takes.
fn run(session: &mut Session, act: impl Fn(u64, [f32; 2]) -> Act) -> f32 {
    let mut person = Person::new();
    session.step(&person.frame(session, &act));
    if matches!(session.state, State::Placing) && session.options.placing {
        session.command(&CalibrateMessage::Next).unwrap();
    }
    let began = person.at;
    while matches!(session.state, State::Looking { .. } | State::Placing) {
        let frame = person.frame(session, &act);
        session.step(&frame);
        assert!(person.seq < 30_000, "a session has an end");
    }
    person.at.since(began).as_s()
}

fn session(change: impl FnOnce(&mut StartMessage)) -> Session {
    let mut options = StartMessage::new(anna());
    change(&mut options);
    Session::new(options, screen()).unwrap()
}

#[test]
fn nine_targets_and_four_to_judge_take_half_a_minute_and_give_a_profile() {
    let mut session = session(|options| options.seed = 4);
    let seconds = run(&mut session, look);
    // 13 targets of 1.5 s: half a second to arrive and a second of rest.
    assert!((18.0..25.0).contains(&seconds), "{seconds} s");
    let result = session.record().result.unwrap();
    assert!(result.can_accept, "{}", result.verdict);
    assert_eq!(result.targets.len(), 13);
    assert!(result.accuracy_deg.unwrap() < 0.6, "{result:?}");
    assert!(result.uncalibrated_deg.unwrap() > 3.0);
    let profile = profile_of(&session).unwrap();
    assert_eq!(profile.quality.targets.len(), 9);
    assert_eq!(profile.validation.unwrap().targets.len(), 4);
    assert!((profile.fitting.rate_hz.unwrap() - 30.0).abs() < 2.0);
}

#[test]
fn no_target_is_both_fitted_and_judged() {
    for targets in [1, 5, 9, 13] {
        let mut session = session(|options| options.targets = targets);
        run(&mut session, look);
        let profile = profile_of(&session).unwrap();
        let fitted = profile.quality.targets;
        assert_eq!(fitted.len(), targets as usize);
        for judged in profile.validation.unwrap().targets {
            assert!(fitted.iter().all(|target| target.target != judged.target));
        }
    }
}

#[test]
fn the_order_is_the_seeds() {
    let order = |seed| {
        let session = session(|options| options.seed = seed);
        session
            .places
            .iter()
            .map(|place| place.share)
            .collect::<Vec<_>>()
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}

#[test]
fn a_target_that_was_not_looked_at_is_taken_again() {
    // Steady on the wrong dot while the fourth target is shown: from 5.0 to 6.6 s.
    let wrong = |seq: u64, gaze| match seq {
        136..=184 => Act::Look([0.9, 0.9]),
        _ => Act::Look(gaze),
    };
    let mut session = session(|options| options.seed = 3);
    run(&mut session, wrong);
    let retaken = session
        .places
        .iter()
        .filter(|place| place.is_retaken)
        .count();
    assert_eq!(
        retaken,
        1,
        "{:?}",
        session
            .places
            .iter()
            .map(|p| (p.share, p.is_retaken))
            .collect::<Vec<_>>()
    );
    let result = session.record().result.unwrap();
    assert!(result.accuracy_deg.unwrap() < 0.6, "{result:?}");
}

#[test]
fn blinks_do_not_stop_it() {
    // Closed for 200 ms every two seconds.
    let blinking = |seq: u64, gaze| {
        if seq % 60 < 6 {
            Act::Close
        } else {
            Act::Look(gaze)
        }
    };
    let mut session = session(|_| ());
    run(&mut session, blinking);
    let result = session.record().result.unwrap();
    assert!(result.can_accept && result.data_loss > 0.03, "{result:?}");
}

#[test]
fn somebody_who_never_looks_cannot_accept_and_is_told_why() {
    let mut session = session(|_| ());
    run(&mut session, |_, _| Act::Look([0.3, 0.6]));
    let result = session.record().result.unwrap();
    assert!(!result.can_accept);
    assert!(
        result.verdict.contains("did not follow"),
        "{}",
        result.verdict
    );
    assert!(matches!(
        profile_of(&session),
        Err(SessionError::NotGoodEnough { .. })
    ));
    // Nothing is lost: the same again.
    session.command(&CalibrateMessage::Repeat).unwrap();
    assert_eq!(session.record().stage, Stage::Placing);
}

#[test]
fn somebody_who_blinks_all_the_time_is_told_so_and_can_go_on() {
    let mut session = session(|_| ());
    let blinking = |seq: u64, gaze| {
        if seq % 10 < 7 {
            Act::Close
        } else {
            Act::Look(gaze)
        }
    };
    run(&mut session, blinking);
    let record = session.record();
    assert_eq!(record.stage, Stage::Paused);
    assert!(record.message.unwrap().contains("eyes are closed"));
    session.command(&CalibrateMessage::Resume).unwrap();
    assert_eq!(session.record().stage, Stage::Target);
}

#[test]
fn it_waits_for_somebody_who_walks_away() {
    let mut session = session(|_| ());
    let mut person = Person::new();
    let step =
        |person: &mut Person, session: &mut Session, n: usize, act: fn(u64, [f32; 2]) -> Act| {
            for _ in 0..n {
                let frame = person.frame(session, act);
                session.step(&frame);
            }
        };
    step(&mut person, &mut session, 2, look);
    session.command(&CalibrateMessage::Next).unwrap();
    step(&mut person, &mut session, 120, look);
    let taken = session.record().target.unwrap().index;
    assert!(taken >= 2);
    step(&mut person, &mut session, 60, |_, _| Act::Leave);
    assert_eq!(session.record().stage, Stage::Paused);
    step(&mut person, &mut session, 20, |_, _| Act::Leave);
    step(&mut person, &mut session, 40, look);
    let back = session.record();
    assert_eq!(
        (back.stage, back.target.unwrap().index),
        (Stage::Target, taken)
    );
}

#[test]
fn another_face_stops_it_until_somebody_says_so() {
    let mut session = session(|_| ());
    run(&mut session, |seq, gaze| {
        if seq >= 100 {
            Act::Other
        } else {
            Act::Look(gaze)
        }
    });
    let record = session.record();
    assert_eq!(record.stage, Stage::Paused);
    assert!(record.message.unwrap().contains("somebody else"));
}

#[test]
fn a_second_person_pauses_it_until_the_first_is_alone_or_says_so() {
    let mut session = session(|_| ());
    let mut person = Person::new();
    let step =
        |person: &mut Person, session: &mut Session, frames, act: fn(u64, [f32; 2]) -> Act| {
            for _ in 0..frames {
                let frame = person.frame(session, act);
                session.step(&frame);
            }
            session.record()
        };
    let two: fn(u64, [f32; 2]) -> Act = |_, gaze| Act::Two(gaze);
    let placing = step(&mut person, &mut session, 2, two).placement.unwrap();
    assert!(!placing.is_good && placing.words.contains("somebody else"));
    step(&mut person, &mut session, 2, look);
    session.command(&CalibrateMessage::Next).unwrap();
    let paused = step(&mut person, &mut session, 2, two);
    assert_eq!(paused.stage, Stage::Paused);
    assert!(paused.message.unwrap().contains("somebody else"));
    // However long they stay together, it does not go on; alone for a second, it does.
    assert_eq!(
        step(&mut person, &mut session, 300, two).stage,
        Stage::Paused
    );
    assert_eq!(
        step(&mut person, &mut session, 40, look).stage,
        Stage::Target
    );
    // Who says so goes on with the other beside.
    assert_eq!(step(&mut person, &mut session, 2, two).stage, Stage::Paused);
    session.command(&CalibrateMessage::Resume).unwrap();
    assert_eq!(
        step(&mut person, &mut session, 10, two).stage,
        Stage::Target
    );
}

#[test]
fn a_closed_page_stops_it_and_another_goes_on() {
    let mut session = session(|_| ());
    let mut person = Person::new();
    let frame = person.frame(&session, look);
    session.step(&frame);
    session.command(&CalibrateMessage::Next).unwrap();
    session.abandon();
    assert_eq!(session.record().stage, Stage::Paused);
    assert!(session.command(&CalibrateMessage::Next).is_err());
    session.command(&CalibrateMessage::Resume).unwrap();
    assert_eq!(session.record().stage, Stage::Target);
    session.command(&CalibrateMessage::Discard).unwrap();
    assert!(session.is_over());
}

#[test]
fn one_target_can_be_shown_again_from_the_result() {
    let mut session = session(|_| ());
    run(&mut session, look);
    session
        .command(&CalibrateMessage::Redo { index: Some(2) })
        .unwrap();
    assert_eq!(session.record().stage, Stage::Target);
    run(&mut session, look);
    let result = session.record().result.unwrap();
    assert_eq!(
        result
            .targets
            .iter()
            .filter(|target| target.gaze.is_some())
            .count(),
        13
    );
    assert!(matches!(
        session.command(&CalibrateMessage::Redo { index: Some(99) }),
        Err(SessionError::NoTarget { index: 99 })
    ));
}

#[test]
fn one_target_already_helps() {
    let mut session = session(|options| options.targets = 1);
    run(&mut session, look);
    let result = session.record().result.unwrap();
    let unseen = judge(
        &session.samples(true),
        &CalibrationModel::IDENTITY,
        &screen(),
    )
    .unwrap();
    let uncalibrated = unseen.all.accuracy_deg.unwrap();
    assert!(
        result.accuracy_deg.unwrap() < 0.75 * uncalibrated,
        "{uncalibrated}"
    );
    assert!(result.can_accept);
}

#[test]
fn a_moving_target_calibrates_too() {
    let mut session = session(|options| options.pursuit = true);
    let seconds = run(&mut session, look);
    assert!((30.0..45.0).contains(&seconds), "{seconds} s");
    let result = session.record().result.unwrap();
    assert!(
        result.can_accept && result.accuracy_deg.unwrap() < 1.0,
        "{result:?}"
    );
}

#[test]
fn a_client_may_know_the_screen_without_its_pixels() {
    let given = r#"{"width_mm":500,"height_mm":300}"#;
    let mut options = StartMessage::new(anna());
    options.screen = Some(serde_json::from_str(given).unwrap());
    let session = Session::new(options, screen()).unwrap();
    assert_eq!(session.screen().size_px(), None);
    assert_eq!(session.screen().width_mm(), 500.0);
}

#[test]
fn options_out_of_range_are_named() {
    let refused = |change: fn(&mut StartMessage)| {
        let mut options = StartMessage::new(anna());
        change(&mut options);
        Session::new(options, screen()).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|options| options.targets = 7),
        "targets = 7: 1, 5, 9 or 13"
    );
    assert!(refused(|options| options.validation = 5).contains("0 to 4"));
    let half = r#"{"width_mm":500,"height_mm":300,"width_px":1920}"#;
    let mut options = StartMessage::new(anna());
    options.screen = Some(serde_json::from_str(half).unwrap());
    let error = Session::new(options, screen()).unwrap_err().to_string();
    assert!(error.contains("go together"), "{error}");
    assert!(refused(|options| options.points = vec![[f32::NAN, 0.5]]).contains("NaN"));
    assert!(refused(|options| options.points = vec![[0.5, 0.5]; 65]).contains("at most 64"));
    assert!(
        refused(|options| options.timing = Timing::Fixed {
            delay_ms: 0,
            duration_ms: 1
        })
        .contains("at least 100")
    );
}

#[test]
fn a_session_that_nobody_drives_ends() {
    let mut session = session(|options| options.eyes = Eyes::Left);
    let mut person = Person::new();
    let frame = person.frame(&session, look);
    session.step(&frame);
    person.at = Timestamp(16 * 60_000_000);
    let frame = person.frame(&session, look);
    session.step(&frame);
    assert_eq!(session.record().stage, Stage::Discarded);
}
