//! The law that matters most: whatever the line does to the bytes, nothing is on unless the host
//! said so a moment ago.

use std::collections::VecDeque;

use gaze_protocol::message::{HostMessage, MIN_REST_MS, Output};
use proptest::prelude::*;

use crate::bench::{Bench, STROBE, looking, settings};

const SILENCE_MS: u16 = 200;

/// What happens to a frame on its way.
#[derive(Clone, Debug)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    /// Arrives after the next so many frames.
    Late(usize),
    /// One byte is changed.
    Changed(prop::sample::Index, u8),
    /// Two neighbouring bytes change places.
    Swapped(prop::sample::Index),
    /// Noise comes first.
    AfterNoise(Vec<u8>),
    /// It is of another session.
    OtherSession,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        2 => Just(Fate::Twice),
        2 => (1..30_usize).prop_map(Fate::Late),
        1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, to)| Fate::Changed(at, to)),
        1 => any::<prop::sample::Index>().prop_map(Fate::Swapped),
        1 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Fate::AfterNoise),
        1 => Just(Fate::OtherSession),
    ]
}

/// What the host says next.
#[derive(Clone, Debug)]
enum Say {
    Ping,
    Look(u32),
    Away(u32),
    Set(Output, u16),
    Strobe,
    Nothing,
}

fn say() -> impl Strategy<Value = Say> {
    let output = prop::sample::select(&Output::ALL[..]);
    prop_oneof![
        3 => Just(Say::Ping),
        6 => (0..3_u32).prop_map(Say::Look),
        1 => (0..3_u32).prop_map(Say::Away),
        2 => (output, 0..400_u16).prop_map(|(output, hold_ms)| Say::Set(output, hold_ms)),
        1 => Just(Say::Strobe),
        3 => Just(Say::Nothing),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_is_on_without_a_valid_and_fresh_command(
        turns in prop::collection::vec((say(), fate(), 1..120_u64), 1..120),
    ) {
        let mut bench = Bench::live();
        for output in Output::ALL {
            let ends_with_visit = output == Output::Lamp;
            bench.say(HostMessage::Output(output, settings(100, 400, ends_with_visit)));
        }
        // When the last message left that could have been obeyed (even if it was lost), and the
        // last that could switch an output.
        let mut last_sent_at = bench.now;
        let mut last_cause_at = None;
        let mut late: VecDeque<(usize, Vec<u8>)> = VecDeque::new();
        let mut went_off_at = [None; 3];
        let mut was_on = [false; 3];
        let visit_began_at = bench.now;
        for (say, fate, gap_ms) in turns {
            let message = match say {
                Say::Ping => Some(HostMessage::Ping),
                Say::Look(visit) => Some(looking(visit, visit_began_at)),
                Say::Away(visit) => Some(HostMessage::Away { visit }),
                Say::Set(output, hold_ms) => Some(HostMessage::Set { output, hold_ms }),
                Say::Strobe => Some(HostMessage::Strobe(Some(STROBE))),
                Say::Nothing => None,
            };
            if let Some(message) = message {
                let is_cause = matches!(
                    message,
                    HostMessage::Looking(_) | HostMessage::Set { hold_ms: 1.., .. }
                );
                if matches!(fate, Fate::OtherSession) {
                    bench.host.session += 1;
                }
                let mut frame = bench.host.frame(Some(bench.now), message);
                let is_own = !matches!(fate, Fate::OtherSession);
                if !is_own {
                    bench.host.session -= 1;
                }
                if is_own {
                    last_sent_at = bench.now;
                }
                if is_own && is_cause {
                    last_cause_at = Some(bench.now);
                }
                match fate {
                    Fate::Lost => frame.clear(),
                    Fate::Twice => frame.extend(frame.clone()),
                    Fate::Late(n) => {
                        late.push_back((n, std::mem::take(&mut frame)));
                    }
                    Fate::Changed(at, to) => {
                        let at = at.index(frame.len());
                        frame[at] = to;
                    }
                    Fate::Swapped(at) => {
                        let at = at.index(frame.len() - 1);
                        frame.swap(at, at + 1);
                    }
                    Fate::AfterNoise(mut noise) => {
                        noise.extend(frame);
                        frame = noise;
                    }
                    Fate::Arrives | Fate::OtherSession => {}
                }
                bench.host.send(&frame);
            }
            for (n, _) in &mut late {
                *n = n.saturating_sub(1);
            }
            while let Some((0, frame)) = late.front() {
                let frame = frame.clone();
                bench.host.send(&frame);
                late.pop_front();
            }
            for _ in 0..gap_ms {
                bench.turn(1_000);
                let since_sent_ms = (bench.now - last_sent_at) / 1000;
                let silence_ms = u64::from(SILENCE_MS);
                // A message holds for the silence time from when it was sent, however late it comes.
                let is_silent = since_sent_ms >= silence_ms;
                let mut any_on = bench.illuminator.level() == 1 || bench.trigger.level() == 1;
                for output in Output::ALL {
                    let is_on = bench.is_on(output);
                    prop_assert_eq!(is_on, bench.device.is_on(output));
                    any_on |= is_on;
                    if is_on {
                        // Caused by a look or a switch that was obeyed within the silence time,
                        // and its hold from then on; by hand the hold can be renewed, but then
                        // that is the cause.
                        let cause = last_cause_at.map(|at| (bench.now - at) / 1000);
                        prop_assert!(
                            cause.is_some_and(|ms| ms <= silence_ms + 400),
                            "{output:?} is on {cause:?} ms after its cause"
                        );
                    }
                    let n = output as usize;
                    if is_on && !was_on[n] && let Some(off_at) = went_off_at[n] {
                        let rested_ms: u64 = (bench.now - off_at) / 1000;
                        prop_assert!(rested_ms >= u64::from(MIN_REST_MS));
                    }
                    if !is_on && was_on[n] {
                        went_off_at[n] = Some(bench.now);
                    }
                    was_on[n] = is_on;
                }
                prop_assert!(!(is_silent && any_on), "on after {since_sent_ms} ms of silence");
                prop_assert!(!bench.device.is_safe() || !any_on);
            }
        }
    }

    #[test]
    fn noise_alone_switches_nothing(noise in prop::collection::vec(any::<u8>(), 0..5_000)) {
        let mut bench = Bench::live();
        bench.say(HostMessage::Output(Output::Lamp, settings(0, 400, false)));
        for chunk in noise.chunks(32) {
            bench.host.send(chunk);
            bench.turn(1_000);
            for output in Output::ALL {
                prop_assert!(!bench.is_on(output));
            }
            prop_assert_eq!((bench.illuminator.level(), bench.trigger.level()), (0, 0));
        }
    }
}
