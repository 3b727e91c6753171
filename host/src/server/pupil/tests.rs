//! The request port and the backbone, without sockets.

use super::*;
use crate::metrics::Metrics;
use crate::server::ServerSettings;

fn shared() -> Arc<PupilShared> {
    let (controls, _) = crossbeam_channel::bounded(1);
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
    answer(shared, vec![vec![], request.into()], &mut out);
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
    answer(&shared, parts, &mut out);
    assert!(out.ends_with(b"Message forwarded."));
    let heard = backbone.try_recv().unwrap();
    assert_eq!(*heard, [b"annotation".to_vec(), b"\x80".to_vec()]);
}

#[test]
fn a_calibration_that_is_asked_for_is_refused_aloud() {
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
