//! Laws of the wire format: what is sent arrives or is known to be lost, and noise is never a
//! message.

use gaze_protocol::Timestamp;
use gaze_protocol::event::{OBJECT_ID_CAPACITY, ObjectId};
use gaze_protocol::message::{
    BoardMessage, FromBoard, FromHost, HostMessage, Output, OutputSettings, Refusal, SafeCause,
    Status, StrobeSettings, SwitchCause, Visit,
};
use gaze_protocol::wire::{Decoder, MAX_FRAME_BYTES, PROTOCOL_VERSION, WireError, encode};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::DeserializeOwned;

fn object() -> impl Strategy<Value = ObjectId> {
    vec(any::<u8>(), 0..=OBJECT_ID_CAPACITY).prop_map(|bytes| {
        let mut id = ObjectId::new();
        for letter in String::from_utf8_lossy(&bytes).chars() {
            let _ = id.push(letter);
        }
        id
    })
}

fn output() -> impl Strategy<Value = Output> {
    prop::sample::select(&Output::ALL[..])
}

fn host_message() -> impl Strategy<Value = HostMessage> {
    let numbers = || any::<u32>();
    prop_oneof![
        (numbers(), any::<u16>())
            .prop_map(|(nonce, silence_ms)| HostMessage::Hello { nonce, silence_ms }),
        Just(HostMessage::Ping),
        Just(HostMessage::Safe),
        Just(HostMessage::Report),
        Just(HostMessage::Strobe(None)),
        (numbers(), numbers(), numbers(), numbers()).prop_map(
            |(period_us, trigger_us, light_delay_us, light_us)| {
                HostMessage::Strobe(Some(StrobeSettings {
                    period_us,
                    trigger_us,
                    light_delay_us,
                    light_us,
                }))
            }
        ),
        (output(), object(), any::<[u16; 3]>(), any::<bool>()).prop_map(
            |(output, object, [dwell_ms, hold_ms, rest_ms], ends_with_visit)| {
                HostMessage::Output(
                    output,
                    OutputSettings {
                        object,
                        dwell_ms,
                        hold_ms,
                        rest_ms,
                        ends_with_visit,
                    },
                )
            }
        ),
        (output(), any::<u16>()).prop_map(|(output, hold_ms)| HostMessage::Set { output, hold_ms }),
        (numbers(), object(), any::<u64>()).prop_map(|(visit, object, onset)| {
            HostMessage::Looking(Visit {
                visit,
                object,
                onset: Timestamp(onset),
            })
        }),
        numbers().prop_map(|visit| HostMessage::Away { visit }),
    ]
}

fn from_host() -> impl Strategy<Value = FromHost> {
    (
        any::<u32>(),
        any::<u32>(),
        any::<Option<u64>>(),
        host_message(),
    )
        .prop_map(|(session, seq, sent_at, message)| FromHost {
            session,
            seq,
            sent_at: sent_at.map(Timestamp),
            message,
        })
}

/// Everything that a decoder makes of a stream of bytes.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Vec<Result<T, WireError>> {
    let mut decoder = Decoder::new();
    let results = bytes.iter().filter_map(|&byte| decoder.push(byte));
    results.collect()
}

/// Those of `found` appear in `sent` in the same order.
fn is_subsequence(found: &[FromHost], sent: &[FromHost]) -> bool {
    let mut rest = sent.iter();
    found.iter().all(|message| rest.any(|sent| sent == message))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_sent_arrives(messages in vec(from_host(), 0..8)) {
        let mut line = Vec::new();
        for message in &messages {
            line.extend_from_slice(&encode(message).unwrap());
        }
        let found: Vec<_> = decode::<FromHost>(&line).into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(found, messages);
    }

    #[test]
    fn noise_is_never_a_message_and_the_decoder_is_in_step_after_it(
        noise in vec(any::<u8>(), 0..2000),
        message in from_host(),
    ) {
        let mut line = noise;
        line.push(0);
        for result in decode::<FromHost>(&line) {
            prop_assert!(result.is_err());
        }
        line.extend_from_slice(&encode(&message).unwrap());
        prop_assert_eq!(decode::<FromHost>(&line).pop(), Some(Ok(message)));
    }

    #[test]
    fn a_lost_changed_or_added_byte_spoils_no_more_than_the_frames_beside_it(
        messages in vec(from_host(), 3..8),
        place in any::<prop::sample::Index>(),
        change in 0..4_u8,
        value in any::<u8>(),
    ) {
        let mut line = Vec::new();
        for message in &messages {
            line.extend_from_slice(&encode(message).unwrap());
        }
        let place = place.index(line.len());
        match change {
            0 => {
                line.remove(place);
            }
            1 => line[place] = value,
            2 => line.insert(place, value),
            _ => {
                let next = (place + 1) % line.len();
                line.swap(place, next);
            }
        }
        let found: Vec<_> = decode::<FromHost>(&line).into_iter().filter_map(Result::ok).collect();
        prop_assert!(is_subsequence(&found, &messages));
        // The frame that the byte is in, and the next one where it was the end of a frame; a swap
        // of the last byte with the first touches the two at the ends.
        prop_assert!(found.len() + 2 >= messages.len(), "{} of {}", found.len(), messages.len());
    }

    #[test]
    fn frames_that_are_lost_repeated_or_swapped_are_those_frames_and_no_others(
        messages in vec(from_host(), 1..6),
        order in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let chosen: Vec<_> = order.iter().map(|index| index.get(&messages).clone()).collect();
        let line: Vec<u8> = chosen.iter().flat_map(|message| encode(message).unwrap()).collect();
        let found: Vec<_> = decode::<FromHost>(&line).into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(found, chosen);
    }
}

fn frame_of_version(version: u8, body: &[u8]) -> Vec<u8> {
    let mut plain = vec![version];
    plain.extend_from_slice(body);
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&plain);
    plain.extend_from_slice(&crc.to_le_bytes());
    let mut frame = cobs::encode_vec(&plain);
    frame.push(0);
    frame
}

#[test]
fn a_frame_by_hand() {
    let ping = FromHost {
        session: 7,
        seq: 300,
        sent_at: None,
        message: HostMessage::Ping,
    };
    // Session 7; 300 as a varint: 0xAC 0x02; no time: 0; message number 1.
    let body = [7, 0xac, 0x02, 0, 1];
    assert_eq!(
        encode(&ping).unwrap().as_slice(),
        frame_of_version(PROTOCOL_VERSION, &body)
    );
}

#[test]
fn another_version_is_told_from_noise() {
    for version in [0, PROTOCOL_VERSION + 1, 255] {
        let frame = frame_of_version(version, &[1, 2, 3]);
        assert_eq!(
            decode::<FromHost>(&frame),
            [Err(WireError::Version { found: version })]
        );
    }
}

#[test]
fn a_body_with_bytes_left_over_or_missing_is_refused() {
    for body in [&[7, 1, 0, 1, 0][..], &[7, 1, 0], &[7, 1, 0, 200]] {
        let frame = frame_of_version(PROTOCOL_VERSION, body);
        assert_eq!(decode::<FromHost>(&frame), [Err(WireError::Body)]);
    }
}

#[test]
fn every_longest_message_fits_a_frame() {
    let mut object = ObjectId::new();
    while object.push('x').is_ok() {}
    let largest = u32::MAX;
    let messages = [
        HostMessage::Looking(Visit {
            visit: largest,
            object: object.clone(),
            onset: Timestamp(u64::MAX),
        }),
        HostMessage::Output(
            Output::Servo,
            OutputSettings {
                object,
                dwell_ms: u16::MAX,
                hold_ms: u16::MAX,
                rest_ms: u16::MAX,
                ends_with_visit: true,
            },
        ),
    ];
    for message in messages {
        let sent = FromHost {
            session: largest,
            seq: largest,
            sent_at: Some(Timestamp(u64::MAX)),
            message,
        };
        let frame = encode(&sent).unwrap();
        assert!(frame.len() <= MAX_FRAME_BYTES);
        assert_eq!(decode::<FromHost>(&frame), [Ok(sent)]);
    }
}

#[test]
fn every_answer_of_a_board_arrives() {
    let messages = [
        BoardMessage::Welcome {
            nonce: 9,
            board: "emulated".try_into().unwrap(),
            firmware: [1, 2, 3],
        },
        BoardMessage::Pong {
            ping: 4,
            received_at: Timestamp(12),
        },
        BoardMessage::Done { of: 1 },
        BoardMessage::Refused {
            of: 2,
            why: Refusal::Stale,
        },
        BoardMessage::Exposed {
            exposure: 3,
            at: Timestamp(u64::MAX),
        },
        BoardMessage::Switched {
            output: Output::Lamp,
            is_on: true,
            at: Timestamp(5),
            why: SwitchCause::Dwell { visit: 8 },
        },
        BoardMessage::Safe(SafeCause::Silence),
        BoardMessage::Status(Status {
            frames_broken: u32::MAX,
            messages_repeated: u32::MAX,
            messages_refused: u32::MAX,
            replies_dropped: u32::MAX,
            exposures_missed: u32::MAX,
            lights_skipped: u32::MAX,
            pin_faults: u32::MAX,
        }),
    ];
    for message in messages {
        let sent = FromBoard {
            session: 1,
            seq: u32::MAX,
            sent_at: Timestamp(u64::MAX),
            message,
        };
        assert_eq!(decode::<FromBoard>(&encode(&sent).unwrap()), [Ok(sent)]);
    }
}

#[test]
fn bytes_without_end_take_no_more_room() {
    let mut decoder = Decoder::new();
    for _ in 0..100_000 {
        assert_eq!(decoder.push::<FromHost>(1), None);
    }
    assert_eq!(decoder.push::<FromHost>(0), Some(Err(WireError::TooLong)));
    assert_eq!(decoder.push::<FromHost>(0), None);
}
