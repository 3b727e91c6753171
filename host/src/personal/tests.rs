use gaze_signal::{EventSettings, ObjectSettings};

use super::*;
use crate::config::Config;
use crate::record::{StaleRecord, StartMessage};
use crate::testing::{camera, networks, nobody, profile};
use crate::tracking::TrackingSettings;

const SMALL: [u32; 2] = [640, 480];
const LARGE: [u32; 2] = [1280, 720];

fn name(user: &str) -> UserName {
    UserName::new(user).unwrap()
}

fn tracking() -> Tracking {
    Tracking::new(TrackingSettings {
        screen: ScreenGeometry::new(531.0, 299.0).unwrap(),
        calibration: None,
        sigma_limit_rad: 0.2,
        filter: None,
        events: EventSettings::default(),
        objects: ObjectSettings::default(),
    })
    .unwrap()
}

/// A folder with these profiles, the last of each person in force.
fn folder(profiles: &[Profile]) -> (tempfile::TempDir, ProfileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = ProfileStore::new(folder.path());
    for profile in profiles {
        store.save(profile).unwrap();
    }
    (folder, store)
}

fn personal(store: &ProfileStore, given_screen: ScreenConfig) -> Personal {
    Personal::new(PersonalSettings {
        store: Some(store.clone()),
        profile: None,
        screen: ScreenGeometry::new(531.0, 299.0).unwrap(),
        given_screen,
        lens: None,
        networks: networks(),
        learns_from_use: true,
    })
}

/// Opens the camera and takes a picture of it.
fn see(personal: &mut Personal, tracking: &mut Tracking, size: [u32; 2]) {
    personal.opened("webcam".to_owned());
    let picture = nobody(1, size.map(|side| side as usize));
    personal.hold_against(picture.size_px, tracking);
    tracking.step(&picture);
    personal.step(&picture, tracking);
}

#[test]
fn another_user_gets_the_profile_that_fits_the_camera_in_use() {
    let (_folder, store) = folder(&[
        profile("anna", camera("webcam", LARGE)),
        profile("anna", camera("webcam", SMALL)),
    ]);
    let (mut personal, mut tracking) = (personal(&store, ScreenConfig::default()), tracking());
    see(&mut personal, &mut tracking, LARGE);
    let user = PersonalMessage::User(Some(name("anna")));
    personal.take(&user, &mut tracking).unwrap();
    let found = personal.profile().unwrap();
    assert_eq!(found.camera.frame_size_px, LARGE);
    assert!(personal.stale_reasons().is_empty());
}

#[test]
fn pictures_of_another_size_have_another_lens() {
    let (folder, _store) = folder(&[]);
    let store = ProfileStore::new(folder.path().join("profiles"));
    let shipped = setup::networks(&gaze_models::Models::embedded().unwrap());
    for size in [LARGE, SMALL] {
        let profile = Profile {
            networks: Some(shipped.clone()),
            ..profile("anna", camera("webcam", size))
        };
        store.save(&profile).unwrap();
    }
    let mut config = Config::default();
    config.user.name = Some("anna".to_owned());
    config.user.state = Some(folder.path().to_owned());
    let mut chain = setup::chain(&config, false).unwrap();
    see(&mut chain.personal, &mut chain.tracking, LARGE);
    let held_against = chain.personal.held_against.clone().unwrap();
    assert_eq!(held_against, camera("webcam", LARGE));
    // The profile for that size is found, which it is by its lens too.
    assert_eq!(chain.personal.profile().unwrap().camera, held_against);
}

#[test]
fn a_profile_of_another_eye_network_is_stale_and_asks_for_a_calibration() {
    let mut before = profile("anna", camera("webcam", SMALL));
    before.networks = Some(NetworkHashes {
        eyes: "b".repeat(64),
        ..networks()
    });
    let (_folder, store) = folder(&[before]);
    let (mut personal, mut tracking) = (personal(&store, ScreenConfig::default()), tracking());
    see(&mut personal, &mut tracking, SMALL);
    let user = PersonalMessage::User(Some(name("anna")));
    personal.take(&user, &mut tracking).unwrap();
    let stale = StaleRecord::of(&personal.stale_reasons()).unwrap();
    assert_eq!(
        stale.message,
        "made with another eye network (bbbbbbbb, now eeeeeeee): calibrate again"
    );
    assert!(!stale.can_recentre);
    // A shift would leave the other network's gains and call them valid.
    let recentre = PersonalMessage::Recentre(serde_json::from_str(r#"{"x":0.5,"y":0.5}"#).unwrap());
    let why = personal.take(&recentre, &mut tracking).unwrap_err();
    assert!(why.ends_with("calibrate again"), "{why}");
    let calibrate = CalibrateMessage::Start(StartMessage::new(name("anna")));
    let calibrate = PersonalMessage::Calibrate(calibrate);
    personal.take(&calibrate, &mut tracking).unwrap();
}

#[test]
fn whose_calibration_it_is_stays_while_a_session_runs() {
    let (_folder, store) = folder(&[
        profile("anna", camera("webcam", SMALL)),
        profile("anna", camera("webcam", SMALL)),
        profile("ben", camera("webcam", SMALL)),
    ]);
    let (mut personal, mut tracking) = (personal(&store, ScreenConfig::default()), tracking());
    let user = PersonalMessage::User(Some(name("anna")));
    personal.take(&user, &mut tracking).unwrap();
    let recentre = serde_json::from_str(r#"{"x":0.5,"y":0.5}"#).unwrap();
    let calibrate = CalibrateMessage::Start(StartMessage::new(name("anna")));
    for session in [
        PersonalMessage::Recentre(recentre),
        PersonalMessage::Calibrate(calibrate),
    ] {
        personal.take(&session, &mut tracking).unwrap();
        for refused in [
            PersonalMessage::User(Some(name("ben"))),
            PersonalMessage::User(None),
            PersonalMessage::Undo { profile: true },
            PersonalMessage::Undo { profile: false },
        ] {
            let why = personal.take(&refused, &mut tracking).unwrap_err();
            assert!(why.contains("anna is being calibrated"), "{why}");
        }
        let discard = PersonalMessage::Calibrate(CalibrateMessage::Discard);
        personal.take(&discard, &mut tracking).unwrap();
        // Ends the session.
        personal.tell();
    }
    let user = PersonalMessage::User(Some(name("ben")));
    personal.take(&user, &mut tracking).unwrap();
}

#[test]
fn the_settings_of_the_screen_hold_for_every_user() {
    let (_folder, store) = folder(&[profile("anna", camera("webcam", SMALL))]);
    let given = ScreenConfig {
        width_px: Some(1920),
        height_px: Some(1080),
        camera_above_mm: Some(20.0),
        ..ScreenConfig::default()
    };
    let (mut personal, mut tracking) = (personal(&store, given), tracking());
    let user = PersonalMessage::User(Some(name("anna")));
    personal.take(&user, &mut tracking).unwrap();
    assert_eq!(personal.screen().size_px(), Some([1920, 1080]));
    assert_eq!(personal.screen().pose().offset_mm, [0.0, 20.0, 0.0]);
}

#[test]
fn the_header_follows_the_profile_in_force() {
    let first = profile("anna", camera("webcam", SMALL));
    let second = Profile {
        created_unix_s: first.created_unix_s + 60,
        model: first.model.shifted([0.1, 0.0]),
        ..first.clone()
    };
    let (_folder, store) = folder(&[first.clone(), second]);
    let (mut personal, mut tracking) = (personal(&store, ScreenConfig::default()), tracking());
    let user = PersonalMessage::User(Some(name("anna")));
    personal.take(&user, &mut tracking).unwrap();
    let mut header = Header {
        version: record::VERSION,
        program: String::new(),
        source: String::new(),
        frame_size_px: None,
        models: Vec::new(),
        user: None,
        calibration: None,
        screen: ScreenRecord::of(personal.screen()),
    };
    assert!(personal.describe_in(&mut header));
    assert_eq!(header.user.as_deref(), Some("anna"));
    assert!(!personal.describe_in(&mut header));
    let undo = PersonalMessage::Undo { profile: true };
    personal.take(&undo, &mut tracking).unwrap();
    assert!(personal.describe_in(&mut header));
    assert_eq!(header.calibration, Some(CalibrationRecord::of(&first, &[])));
}
