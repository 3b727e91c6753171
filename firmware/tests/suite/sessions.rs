//! Handshake, versions, settings, status.

use gaze_protocol::message::{
    BoardMessage, HostMessage, MIN_REST_MS, Output, OutputSettings, Refusal, SafeCause, Status,
};
use gaze_protocol::wire::PROTOCOL_VERSION;

use crate::bench::{Bench, STROBE, settings};

#[test]
fn a_hello_is_welcomed_and_begins_with_everything_off() {
    let mut bench = Bench::live();
    let set = HostMessage::Set {
        output: Output::Lamp,
        hold_ms: 5_000,
    };
    bench.say(set.clone());
    bench.say(HostMessage::Strobe(Some(STROBE)));
    bench.greet(78, 500);
    let said = bench.host.heard();
    assert!(said.contains(&BoardMessage::Safe(SafeCause::NewSession)));
    assert!(said.contains(&BoardMessage::Welcome {
        nonce: 78,
        board: "bench".try_into().unwrap(),
        firmware: [0, 1, 0],
    }));
    assert!(!bench.is_on(Output::Lamp));
    // The rest that the last session owes is kept.
    let answer = bench.say(set);
    assert!(matches!(
        answer[..],
        [BoardMessage::Refused {
            why: Refusal::TooSoon,
            ..
        }]
    ));
}

#[test]
fn a_silence_time_out_of_range_is_refused() {
    for silence_ms in [0, 49, 5_001, u16::MAX] {
        let mut bench = Bench::new();
        bench.greet(1, silence_ms);
        assert!(matches!(
            bench.host.heard()[..],
            [BoardMessage::Refused {
                why: Refusal::OutOfRange,
                ..
            }]
        ));
    }
}

#[test]
fn another_version_is_answered_and_changes_nothing() {
    let mut bench = Bench::live();
    let set = HostMessage::Set {
        output: Output::Lamp,
        hold_ms: 5_000,
    };
    let frame = bench.host.frame(Some(bench.now), set);
    // The same frame as another version would send it.
    let mut plain = frame.clone();
    let n = cobs::decode_in_place(&mut plain).unwrap();
    let mut plain = plain[..n - 4].to_vec();
    plain[0] = PROTOCOL_VERSION + 1;
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&plain);
    plain.extend_from_slice(&crc.to_le_bytes());
    let mut other = cobs::encode_vec(&plain);
    other.push(0);
    bench.host.send(&other);
    bench.pass(10);
    assert!(!bench.is_on(Output::Lamp));
    assert!(bench.host.heard().contains(&BoardMessage::Refused {
        of: 0,
        why: Refusal::Version
    }));
}

#[test]
fn settings_out_of_range_are_refused_by_name_of_the_command() {
    let good = settings(500, 500, true);
    let wrong = [
        OutputSettings {
            dwell_ms: 10_001,
            ..good.clone()
        },
        OutputSettings {
            hold_ms: 0,
            ..good.clone()
        },
        OutputSettings {
            hold_ms: 10_001,
            ..good.clone()
        },
        OutputSettings {
            rest_ms: MIN_REST_MS - 1,
            ..good.clone()
        },
    ];
    let mut bench = Bench::live();
    for settings in wrong {
        let answer = bench.say(HostMessage::Output(Output::Lamp, settings));
        let of = bench.host.seq;
        let why = Refusal::OutOfRange;
        assert_eq!(answer, [BoardMessage::Refused { of, why }]);
    }
    let answer = bench.say(HostMessage::Output(Output::Lamp, good));
    assert_eq!(answer, [BoardMessage::Done { of: bench.host.seq }]);
}

#[test]
fn the_status_counts_what_was_not_obeyed() {
    let mut bench = Bench::live();
    let ping = bench.host.frame(Some(bench.now), HostMessage::Ping);
    bench.host.send(&ping);
    bench.host.send(&ping);
    bench.host.send(&[1, 2, 3, 0]);
    let stale = bench.host.frame(Some(0), HostMessage::Strobe(Some(STROBE)));
    bench.host.send(&stale);
    bench.pass(5);
    bench.host.heard();
    let answer = bench.say(HostMessage::Report);
    let expected = Status {
        frames_broken: 1,
        messages_repeated: 1,
        messages_refused: 1,
        ..Status::default()
    };
    assert_eq!(answer, [BoardMessage::Status(expected)]);
}

#[test]
fn a_pong_carries_the_boards_time() {
    let mut bench = Bench::live();
    let answer = bench.say(HostMessage::Ping);
    assert_eq!(
        answer,
        [BoardMessage::Pong {
            ping: bench.host.seq,
            received_at: gaze_protocol::Timestamp(bench.now),
        }]
    );
}

#[test]
fn safe_turns_everything_off_at_once() {
    let mut bench = Bench::live();
    bench.say(HostMessage::Set {
        output: Output::Switch,
        hold_ms: 5_000,
    });
    assert!(bench.is_on(Output::Switch));
    let answer = bench.say(HostMessage::Safe);
    assert!(!bench.is_on(Output::Switch));
    assert!(answer.contains(&BoardMessage::Safe(SafeCause::Asked)));
}
