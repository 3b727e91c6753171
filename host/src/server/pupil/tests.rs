//! The request port and the backbone, without sockets.

use super::*;
use crate::metrics::Metrics;
use crate::personal::PersonalMessage;
use crate::record::{Calibration, CalibrationResult, Purpose};
use crate::server::{Control, ControlRequest, ServerSettings};

fn shared() -> Arc<PupilShared> {
    // Nobody listens: as when the tracking stage has ended.
    shared_with(crossbeam_channel::bounded(1).0)
}

fn shared_with(controls: crossbeam_channel::Sender<ControlRequest>) -> Arc<PupilShared> {
    let (_, stopping) = tokio::sync::watch::channel(false);
    let metrics = Arc::new(Metrics::new());
    let (paths, _) = crossbeam_channel::bounded(1);
    let hub = Hub::new(
        ServerSettings::default(),
        metrics,
        controls,
        paths,
        stopping,
    );
    Arc::new(PupilShared::new(Arc::new(hub), 50021, 50022))
}

fn ask(shared: &PupilShared, request: &str) -> String {
    let mut out = Vec::new();
    let mut driving = Driving::new(Arc::clone(&shared.hub));
    answer(shared, &mut driving, vec![vec![], request.into()], &mut out);
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
        ("R session", "OK"),
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
    let mut driving = Driving::new(Arc::clone(&shared.hub));
    answer(&shared, &mut driving, parts, &mut out);
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

#[test]
fn c_starts_the_session_and_a_result_that_is_not_good_enough_is_discarded() {
    let (controls, asked) = crossbeam_channel::bounded(4);
    let shared = shared_with(controls);
    let mut remote = Remote::new(Arc::clone(&shared));
    assert_eq!(command(&shared, &mut remote.driving, "C"), "OK");
    let message = |request: ControlRequest| match request.control {
        Control::Personal(PersonalMessage::Calibrate(message)) => message,
        other => panic!("{other:?}"),
    };
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
