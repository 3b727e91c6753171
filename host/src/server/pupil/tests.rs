//! The request port and the backbone, without sockets.

use super::*;
use crate::personal::PersonalMessage;
use crate::record::{Calibration, CalibrationResult, Purpose};
use crate::scene::SceneTable;
use crate::server::{Control, ControlRequest, ServerSettings};

fn shared() -> Arc<PupilShared> {
    // Nobody listens: as when the tracking stage has ended.
    shared_of_session().0
}

fn shared_of_session() -> (
    Arc<PupilShared>,
    crossbeam_channel::Receiver<ControlRequest>,
) {
    let (hub, asked) = Hub::alone(ServerSettings::default());
    let shared = PupilShared::new(Arc::new(hub), 50021, 50022);
    (Arc::new(shared), asked)
}

fn ask(shared: &Arc<PupilShared>, request: &str) -> String {
    let mut out = Vec::new();
    let mut speaker = Speaker::asking(Arc::clone(shared));
    speaker.answer(&[vec![], request.into()], &mut out);
    // An empty part, then a short one with the answer.
    assert_eq!(&out[..3], [1, 0, 0]);
    String::from_utf8(out[4..].to_vec()).unwrap()
}

#[test]
fn requests_are_answered_in_pupils_words() {
    let shared = shared();
    for (request, answer) in [
        ("SUB_PORT", "50021"),
        ("PUB_PORT", "50022"),
        ("R session", NOT_RECORDED),
        ("r", NOT_RECORDED),
        ("c", "OK"),
        ("T 12.5", "Timesync successful."),
        ("T tea", "'tea' cannot be converted to float."),
        ("T inf", "'inf' cannot be converted to float."),
        ("make coffee", "Unknown command."),
    ] {
        assert_eq!(ask(&shared, request), answer, "{request}");
    }
}

#[test]
fn the_clock_starts_where_it_is_set() {
    let shared = shared();
    ask(&shared, "T -1000.0");
    let seconds: f64 = ask(&shared, "t").parse().unwrap();
    // Later than it was set, and not by an hour.
    assert!((-1000.0..2600.0).contains(&seconds), "{seconds}");
}

#[test]
fn what_is_sent_to_the_request_port_reaches_the_backbone() {
    let shared = shared();
    let mut backbone = shared.backbone.subscribe();
    let mut out = Vec::new();
    let parts = vec![vec![], b"annotation".to_vec(), b"\x80".to_vec()];
    Speaker::asking(Arc::clone(&shared)).answer(&parts, &mut out);
    assert!(out.ends_with(b"Message forwarded."));
    let heard = backbone.try_recv().unwrap();
    assert_eq!(*heard, [b"annotation".to_vec(), b"\x80".to_vec()]);
}

#[test]
fn a_calibration_that_cannot_begin_is_refused_aloud() {
    let shared = shared();
    let mut backbone = shared.backbone.subscribe();
    assert_eq!(ask(&shared, "C"), "OK");
    let topics: Vec<Vec<u8>> = std::iter::from_fn(|| backbone.try_recv().ok())
        .map(|parts| parts[0].clone())
        .collect();
    assert_eq!(
        topics,
        [
            b"notify.calibration.should_start".to_vec(),
            b"notify.calibration.failed".to_vec()
        ]
    );
}

fn step(stage: Stage, verdict: Option<&str>) -> TimedRecord {
    let result = verdict.map(|verdict| CalibrationResult {
        can_accept: false,
        verdict: verdict.to_owned(),
        model: None,
        reason: None,
        uncalibrated_deg: None,
        accuracy_deg: None,
        accuracy_cm: None,
        accuracy_px: None,
        precision_sd_deg: None,
        precision_sd_cm: None,
        precision_sd_px: None,
        precision_rms_s2s_deg: None,
        data_loss: 0.0,
        targets: Vec::new(),
    });
    let record = Record::Calibration(Calibration {
        t_us: None,
        purpose: Purpose::Calibrate,
        user: "default".to_owned(),
        stage,
        message: None,
        placement: None,
        target: None,
        result,
    });
    TimedRecord { record, at: None }
}

fn message(request: ControlRequest) -> CalibrateMessage {
    let control = request.control.clone();
    request.answer(Ok(()));
    match control {
        Control::Personal(PersonalMessage::Calibrate(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn publish(client: &mut Speaker, subject: &str, more: Value) {
    let (topic, notification) = notification(subject, more);
    client.publish(&[topic.into_bytes(), packed(&notification)]);
}

#[test]
fn a_client_with_targets_of_its_own_says_afterwards_where_they_were() {
    let (shared, asked) = shared_of_session();
    shared.time_offset_us.store(1_000_000, Relaxed);
    let mut client = Speaker::publishing(Arc::clone(&shared));
    publish(
        &mut client,
        "start_plugin",
        json!({"name": "HMD_Calibration_3D", "args": {}}),
    );
    publish(
        &mut client,
        "calibration.should_start",
        json!({"record": true}),
    );
    let CalibrateMessage::Start(start) = message(asked.try_recv().unwrap()) else {
        panic!("no start");
    };
    assert_eq!((start.timing, start.validation), (Timing::ByReference, 0));
    let mut waiting = step(Stage::Waiting, None);
    if let Record::Calibration(calibration) = &mut waiting.record {
        calibration.t_us = Some(5_000);
    }
    waiting.at = Some(CaptureTime {
        mono_us: 2_005_000,
        unix_us: 0,
    });
    client.tell(&waiting, &mut Vec::new());
    // Pupil time is a second ahead; the first frame came 2 s after the clock's beginning.
    let ref_data = json!([
        {"norm_pos": [0.25, 0.0], "timestamp": 3.5, "id": 0},
        {"norm_pos": [0.25, 0.0], "timestamp": 3.25, "id": 1},
    ]);
    publish(
        &mut client,
        "calibration.add_ref_data",
        json!({ "ref_data": ref_data }),
    );
    let references = [250_000, 500_000].map(|t_us| Reference {
        t_us,
        x: 0.25,
        y: 1.0,
    });
    let expected = CalibrateMessage::References {
        references: references.to_vec(),
    };
    assert_eq!(message(asked.try_recv().unwrap()), expected);
    publish(&mut client, "calibration.should_stop", json!({}));
    let finish = asked.try_recv().unwrap();
    assert_eq!(
        finish.control,
        Control::Personal(PersonalMessage::Calibrate(CalibrateMessage::Finish))
    );
    let mut backbone = shared.backbone.subscribe();
    finish.answer(Err("0 references".to_owned()));
    assert!(client.is_waiting());
    client.tick(&mut Vec::new());
    assert!(!client.is_waiting());
    assert_eq!(
        backbone.try_recv().unwrap()[0],
        b"notify.calibration.failed"
    );
    assert_eq!(
        message(asked.try_recv().unwrap()),
        CalibrateMessage::Discard
    );
}

#[test]
fn reference_data_that_cannot_be_used_are_refused_aloud() {
    let (shared, asked) = shared_of_session();
    let mut client = Speaker::publishing(Arc::clone(&shared));
    let mut backbone = shared.backbone.subscribe();
    for ref_data in [
        json!([{"norm_pos": [0.5, 0.5], "timestamp": 1.0}]),
        json!([{"mm_pos": [0.0, 0.0, 500.0], "timestamp": 1.0}]),
    ] {
        publish(
            &mut client,
            "calibration.add_ref_data",
            json!({ "ref_data": ref_data }),
        );
        assert_eq!(
            backbone.try_recv().unwrap()[0],
            b"notify.calibration.add_ref_data"
        );
        assert_eq!(
            backbone.try_recv().unwrap()[0],
            b"notify.calibration.failed"
        );
    }
    assert!(asked.try_recv().is_err());
}

#[test]
fn c_starts_the_session_and_a_result_that_is_not_good_enough_is_discarded() {
    let (shared, asked) = shared_of_session();
    let mut remote = Speaker::asking(Arc::clone(&shared));
    assert_eq!(remote.command("C"), "OK");
    let CalibrateMessage::Start(start) = message(asked.try_recv().unwrap()) else {
        panic!("no start");
    };
    assert!(start.accept && !start.placing);
    assert_eq!(start.user.to_string(), "default");
    remote.tell(&step(Stage::Target, None), &mut Vec::new());
    assert!(asked.try_recv().is_err());
    remote.tell(&step(Stage::Review, Some("too far off")), &mut Vec::new());
    assert_eq!(
        message(asked.try_recv().unwrap()),
        CalibrateMessage::Discard
    );
    // What is reviewed on the page is the page's.
    remote.tell(&step(Stage::Review, Some("again")), &mut Vec::new());
    assert!(asked.try_recv().is_err());
}

#[test]
fn no_object_is_mixed_with_the_screen() {
    let shared = shared();
    let scene = r#"{"scene_id":"s","width_px":100,"height_px":100,"objects":[
        {"id":"screen","box":[0,0,10,10]},{"id":"_screen","box":[20,0,10,10]},{"id":7,"box":[40,0,10,10]}]}"#;
    let table = SceneTable::new(&serde_json::from_str(scene).unwrap()).unwrap();
    shared.hub.show(Arc::new(table));
    let sample = json!({
        "type": "sample", "seq": 0, "frame": 0, "size_px": [640, 480], "t_us": 0,
        "validity": "uncalibrated", "face": null,
        "eyes": {"left": null, "right": {"center_px": [1.0, 1.0], "iris_px": [1.0, 1.0, 5.0], "openness": 1.0, "confidence": 1.0}},
        "head": null, "gaze": null, "features": null,
        "por": {"x_mm": 1.0, "y_mm": 1.0, "x": 0.1, "y": 0.1}, "latency_us": null,
    });
    let record = TimedRecord {
        record: serde_json::from_value(sample).unwrap(),
        at: None,
    };
    let mut told = Vec::new();
    Messages::default().of(
        &record,
        &shared.hub,
        |_| 0.0,
        |_| true,
        |topic, datum| told.push((topic.to_owned(), datum)),
    );
    let surfaces: Vec<&str> = told
        .iter()
        .filter_map(|(topic, _)| topic.strip_prefix("surfaces."))
        .collect();
    assert_eq!(surfaces, ["screen", "_screen", "__screen", "7"]);
    // Pupils are not measured; clients of 3d data look the key up.
    assert_eq!(
        (&*told[0].0, &told[0].1["diameter_3d"]),
        ("pupil.0.3d", &json!(0.0))
    );
}

#[test]
fn every_calibration_is_told_from_its_start_to_how_it_ended() {
    let shared = shared();
    let told = |steps: &[(Stage, Option<&str>)]| {
        let mut messages = Messages::default();
        let mut subjects = Vec::new();
        for &(stage, verdict) in steps {
            messages.of(
                &step(stage, verdict),
                &shared.hub,
                |_| 0.0,
                |topic| topic.starts_with("notify."),
                |topic, datum| {
                    assert_eq!(datum["topic"], topic);
                    let reason = datum["reason"].as_str().unwrap_or_default();
                    subjects.push(format!("{} {reason}", datum["subject"].as_str().unwrap()));
                },
            );
        }
        subjects
    };
    let [target, review] = [(Stage::Target, None), (Stage::Review, Some("too far off"))];
    assert_eq!(
        told(&[target, target, (Stage::Accepted, None), target]),
        [
            "calibration.started ",
            "calibration.successful ",
            "calibration.started "
        ]
    );
    assert_eq!(
        told(&[target, review, (Stage::Discarded, None)]),
        ["calibration.started ", "calibration.failed too far off"]
    );
    assert_eq!(
        told(&[target, (Stage::Discarded, None)]),
        ["calibration.started ", "calibration.stopped "]
    );
    // Of one that ended before anybody heard of it there is nothing to tell.
    assert!(told(&[(Stage::Discarded, None)]).is_empty());
}
