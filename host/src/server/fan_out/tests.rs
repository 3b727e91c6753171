//! Who gets what, and who is dropped.

use super::*;
use crate::record::Interval;

fn hub(client_queue: usize) -> Hub {
    let settings = ServerSettings {
        client_queue,
        max_clients: 2,
        ..ServerSettings::default()
    };
    Hub::alone(settings).0
}

fn blink(onset_us: u64) -> Outgoing {
    Outgoing::new(TimedRecord {
        record: Record::Blink(Interval {
            onset_us,
            offset_us: onset_us + 100_000,
            id: 1,
        }),
        at: None,
    })
}

fn line_of(text: &str) -> Line {
    Line::of_line(Line::error(String::new()).record().clone(), text)
}

fn sample_line() -> Outgoing {
    Outgoing {
        kind: Some(RecordKind::Sample),
        line: line_of("{}"),
        is_going_on: false,
    }
}

fn header() -> Outgoing {
    Outgoing {
        kind: None,
        line: line_of("{\"type\":\"header\"}"),
        is_going_on: false,
    }
}

fn drain(admission: &mut Admission) -> Vec<Line> {
    std::iter::from_fn(|| admission.waiting.try_recv().ok()).collect()
}

#[test]
fn a_line_is_the_same_object_on_both_transports() {
    let object = "{\"frame\":\"ö.png\"}";
    let line = line_of(object);
    assert_eq!(line.message().as_str(), object);
    assert_eq!(line.bytes(), [object.as_bytes(), b"\n"].concat());
    assert_eq!(line.frame(), [&b"\x81\x12"[..], object.as_bytes()].concat());
}

#[test]
fn a_frames_head_holds_lengths_of_7_16_and_64_bits() {
    for (length, head) in [
        (125, &b"\x81\x7d"[..]),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ] {
        let frame = line_of(&"x".repeat(length)).frame();
        assert_eq!(frame.len(), head.len() + length);
        assert!(frame.starts_with(head), "{length}");
    }
}

#[test]
fn a_record_that_nobody_asked_for_is_not_turned_into_text() {
    let hub = hub(8);
    hub.fan_out(&header());
    let mut client = hub.admit("test").unwrap();
    let unwanted = blink(1);
    hub.fan_out(&unwanted);
    hub.subscribe(client.id, KindSet::of(&[RecordKind::Fixation]));
    hub.fan_out(&unwanted);
    assert!(unwanted.line.0.1.get().is_none());
    assert_eq!(drain(&mut client), [header().line]);
}

#[test]
fn a_client_gets_the_header_and_then_the_kinds_it_asked_for() {
    let hub = hub(8);
    hub.fan_out(&header());
    let mut client = hub.admit("test").unwrap();
    hub.fan_out(&blink(1));
    hub.subscribe(client.id, KindSet::of(&[RecordKind::Blink]));
    hub.fan_out(&sample_line());
    hub.fan_out(&blink(2));
    let got = drain(&mut client);
    assert_eq!(got, [header().line, blink(2).line]);
}

#[test]
fn a_client_that_comes_before_the_header_waits_for_it() {
    let hub = hub(8);
    let mut client = hub.admit("test").unwrap();
    hub.subscribe(client.id, KindSet::of(&[]));
    hub.fan_out(&blink(1));
    assert!(drain(&mut client).is_empty());
    hub.fan_out(&header());
    hub.fan_out(&blink(2));
    assert_eq!(drain(&mut client), [header().line, blink(2).line]);
}

#[test]
fn another_header_reaches_everybody_who_has_the_old_one() {
    let hub = hub(8);
    hub.fan_out(&header());
    let mut subscribed = hub.admit("test").unwrap();
    let mut silent = hub.admit("test").unwrap();
    hub.subscribe(subscribed.id, KindSet::of(&[RecordKind::Blink]));
    hub.fan_out(&blink(1));
    hub.fan_out(&header());
    let got = drain(&mut subscribed);
    assert_eq!(got, [header().line, blink(1).line, header().line]);
    assert!(drain(&mut silent).is_empty());
}

#[test]
fn a_full_queue_drops_samples_and_counts_them_but_an_event_ends_the_client() {
    let hub = hub(3);
    hub.fan_out(&header());
    let slow = hub.admit("slow").unwrap();
    let mut quick = hub.admit("quick").unwrap();
    for client in [&slow, &quick] {
        hub.subscribe(client.id, KindSet::of(&[]));
    }
    for _ in 0..5 {
        hub.fan_out(&sample_line());
        drain(&mut quick);
    }
    assert_eq!(hub.clients()[0].samples_dropped, 3);
    assert_eq!(hub.metrics.counted(Counter::ClientSamplesDropped), 3);
    hub.fan_out(&blink(1));
    assert_eq!(drain(&mut quick), [blink(1).line]);
    let left: Vec<_> = hub
        .clients()
        .into_iter()
        .map(|client| client.name)
        .collect();
    assert_eq!(left, ["quick 2"]);
    assert_eq!(hub.metrics.counted(Counter::ClientsDropped), 1);
}

#[test]
fn a_client_uses_gaze_from_its_subscription_until_it_leaves() {
    let demand = Demand::default();
    let hub = hub(8).counting_in(demand.clone());
    let client = hub.admit("test").unwrap();
    assert!(demand.unused_for().is_some());
    for kinds in [&[RecordKind::Blink][..], &[]] {
        hub.subscribe(client.id, KindSet::of(kinds));
        assert_eq!(demand.count()[&UserKind::Subscriber], 1);
    }
    hub.forget(client.id);
    assert!(demand.unused_for().is_some());
}

#[test]
fn no_more_clients_than_the_settings_allow() {
    let hub = hub(1);
    let first = hub.admit("test").unwrap();
    hub.admit("test").unwrap();
    assert!(hub.admit("test").is_err());
    hub.forget(first.id);
    assert!(hub.admit("test").is_ok());
}

fn picture(seq: u64) -> Outgoing {
    let picture = crate::record::Picture {
        seq,
        t_us: seq,
        jpeg: String::new(),
    };
    Outgoing::new(TimedRecord {
        record: Record::Picture(picture),
        at: None,
    })
}

#[test]
fn pictures_go_to_those_who_name_them_and_are_dropped_before_events_are() {
    let hub = hub(100);
    hub.fan_out(&header());
    let mut all = hub.admit("test").unwrap();
    let mut recorder = hub.admit("test").unwrap();
    hub.subscribe(all.id, KindSet::of(&[]));
    hub.subscribe(recorder.id, KindSet::of(&RecordKind::ALL));
    for seq in 0..70 {
        hub.fan_out(&picture(seq));
    }
    hub.fan_out(&blink(1));
    assert_eq!(drain(&mut all), [header().line, blink(1).line]);
    let got = drain(&mut recorder);
    // The header, 63 pictures and the event.
    assert_eq!(got.len(), MOST_BEFORE_PICTURE + 1);
    assert_eq!(got.last(), Some(&blink(1).line));
    assert_eq!(hub.metrics.counted(Counter::PicturesDropped), 7);
}
