//! Every pin's sequence of levels, and the times at which it changes.

use embedded_hal_mock::eh1::MockError;
use embedded_hal_mock::eh1::digital::{Mock as Pin, State, Transaction};
use embedded_hal_mock::eh1::pwm::{Mock as Pwm, Transaction as Duty};
use gaze_firmware::{Device, Pins};
use gaze_protocol::Timestamp;
use gaze_protocol::message::{
    BoardMessage, HostMessage, LIGHT_ASKED_DIVISOR, MAX_LIGHT_US, MIN_REST_MS, Output, Refusal,
    SafeCause, StrobeSettings, SwitchCause,
};

use crate::bench::{Bench, Host, STROBE, identity, looking, settings};
use crate::mocks::{Line, Wire};

fn pin(levels: &[State]) -> Pin {
    let steps: Vec<_> = levels
        .iter()
        .map(|&level| Transaction::set(level))
        .collect();
    Pin::new(&steps)
}

/// The whole life of a board, pin by pin: start, a session, an exposure with light, an output by
/// hand, a dwell on the lamp and the servo, silence.
#[test]
fn every_pin_goes_through_its_sequence() {
    use State::{High, Low};
    // Off at the start and when the session begins; the strobe begins; silence.
    let mut illuminator = pin(&[Low, Low, Low, High, Low, Low]);
    let mut trigger = pin(&[Low, Low, Low, High, Low, High, Low]);
    let mut switch = pin(&[Low, Low, High, Low, Low]);
    let mut lamp = pin(&[Low, Low, High, Low]);
    let mut servo = Pwm::new(&[
        Duty::max_duty_cycle(40_000),
        Duty::set_duty_cycle(2_000),
        Duty::max_duty_cycle(40_000),
        Duty::set_duty_cycle(2_000),
        Duty::max_duty_cycle(40_000),
        Duty::set_duty_cycle(4_000),
        Duty::max_duty_cycle(40_000),
        Duty::set_duty_cycle(2_000),
    ]);
    let line = Line::default();
    let pins = Pins {
        illuminator: illuminator.clone(),
        trigger: trigger.clone(),
        switch: switch.clone(),
        lamp: lamp.clone(),
        servo: servo.clone(),
    };
    let mut device = Device::new(identity(), pins, line.clone());
    let mut host = Host::new(line);
    let mut step = |host: &mut Host, now: u64, message: Option<HostMessage>| {
        if let Some(message) = message {
            let frame = host.frame(Some(now), message);
            host.send(&frame);
        }
        for _ in 0..16 {
            device.step(Timestamp(now));
        }
    };
    host.session = 5;
    step(&mut host, 0, None);
    let hello = HostMessage::Hello {
        nonce: 5,
        silence_ms: 1000,
    };
    step(&mut host, 1_000, Some(hello));
    let strobe = StrobeSettings {
        period_us: 1_000_000,
        trigger_us: 400,
        light_delay_us: 200,
        light_us: 1_000,
    };
    step(&mut host, 2_000, Some(HostMessage::Strobe(Some(strobe))));
    step(&mut host, 2_200, None);
    step(&mut host, 2_400, None);
    step(&mut host, 3_200, None);
    let by_hand = HostMessage::Set {
        output: Output::Switch,
        hold_ms: 50,
    };
    step(&mut host, 10_000, Some(by_hand));
    step(&mut host, 60_000, None);
    for output in [Output::Lamp, Output::Servo] {
        let settings = settings(100, 5_000, false);
        step(
            &mut host,
            70_000,
            Some(HostMessage::Output(output, settings)),
        );
    }
    step(&mut host, 80_000, Some(looking(1, 75_000)));
    step(&mut host, 175_000, None);
    step(&mut host, 1_002_000, None);
    // Silence: 1,000 ms after the last message, at 80 ms.
    step(&mut host, 1_080_000, None);
    for pin in [&mut illuminator, &mut trigger, &mut switch, &mut lamp] {
        pin.done();
    }
    servo.done();
    assert!(device.is_safe());
}

#[test]
fn the_light_keeps_its_share_under_the_fastest_allowed_train() {
    let mut bench = Bench::live();
    let fastest = StrobeSettings {
        period_us: 6 * 2_000,
        trigger_us: 500,
        light_delay_us: 0,
        light_us: 2_000,
    };
    let answer = bench.say(HostMessage::Strobe(Some(fastest)));
    assert!(matches!(answer[0], BoardMessage::Done { .. }));
    let (mut lit_us, mut pulses) = (0, 0);
    let mut was_lit = bench.illuminator.level() == 1;
    // Two seconds in turns of 20 µs.
    for n in 0..100_000 {
        if n % 2_500 == 0 {
            let ping = bench.host.frame(Some(bench.now), HostMessage::Ping);
            bench.host.send(&ping);
        }
        bench.turn(20);
        let is_lit = bench.illuminator.level() == 1;
        lit_us += 20 * u64::from(is_lit);
        pulses += u64::from(is_lit && !was_lit);
        was_lit = is_lit;
    }
    // 2 s of 12 ms, and none left out.
    assert!((165..=168).contains(&pulses), "{pulses}");
    // A pulse ends in the turn after its 2 ms, at the latest.
    assert!(lit_us <= pulses * 2_020, "{lit_us} µs in {pulses} pulses");
}

#[test]
fn no_command_exceeds_the_limits_of_the_light() {
    let wrong = [
        StrobeSettings {
            light_us: MAX_LIGHT_US + 1,
            period_us: 1_000_000,
            ..STROBE
        },
        StrobeSettings {
            light_us: STROBE.period_us / LIGHT_ASKED_DIVISOR + 1,
            ..STROBE
        },
        StrobeSettings {
            period_us: 1_999,
            light_us: 0,
            ..STROBE
        },
        StrobeSettings {
            period_us: 1_000_001,
            ..STROBE
        },
        StrobeSettings {
            trigger_us: STROBE.period_us,
            ..STROBE
        },
    ];
    for settings in wrong {
        let mut bench = Bench::live();
        let answer = bench.say(HostMessage::Strobe(Some(settings)));
        assert!(
            matches!(
                answer[..],
                [BoardMessage::Refused {
                    why: Refusal::OutOfRange,
                    ..
                }]
            ),
            "{settings:?}"
        );
        bench.pass(100);
        assert_eq!((bench.illuminator.level(), bench.trigger.level()), (0, 0));
    }
}

#[test]
fn exposures_are_reported_with_the_time_the_pin_rose() {
    let mut bench = Bench::live();
    let started_at = bench.now;
    bench.say(HostMessage::Strobe(Some(STROBE)));
    let mut rises = Vec::new();
    let mut was_high = true;
    for _ in 0..1_000 {
        bench.turn(100);
        let is_high = bench.trigger.level() == 1;
        if is_high && !was_high {
            rises.push(bench.now);
        }
        was_high = is_high;
    }
    let exposed: Vec<_> = bench
        .host
        .heard()
        .iter()
        .filter_map(|message| match *message {
            BoardMessage::Exposed { exposure, at } => Some((exposure, at.as_us())),
            _ => None,
        })
        .collect();
    assert_eq!(exposed.len(), rises.len());
    for (n, ((exposure, at), rose_at)) in exposed.iter().zip(&rises).enumerate() {
        assert_eq!((*exposure as usize, at), (n + 1, rose_at));
        // On the grid of the first, late by a turn at most.
        let due = started_at + u64::from(*exposure) * u64::from(STROBE.period_us);
        assert!((due..due + 100).contains(at));
    }
}

#[test]
fn a_dwell_switches_an_output_and_says_for_which_visit() {
    let mut bench = Bench::live();
    bench.say(HostMessage::Output(
        Output::Switch,
        settings(500, 200, false),
    ));
    let onset = bench.now;
    let mut came_on_at = None;
    for n in 0..60 {
        if n < 40 {
            bench.say(looking(9, onset));
        }
        bench.pass(20);
        if bench.is_on(Output::Switch) && came_on_at.is_none() {
            came_on_at = Some(bench.now - onset);
        }
    }
    // Seen at the end of the 20 ms in which it happened.
    assert!((500_000..=520_000).contains(&came_on_at.unwrap()));
    assert!(!bench.is_on(Output::Switch));
}

#[test]
fn a_visit_that_is_not_said_again_is_over() {
    let mut bench = Bench::live();
    bench.say(HostMessage::Output(Output::Lamp, settings(500, 200, false)));
    bench.say(looking(1, bench.now));
    // The host lives and pings, but says no more about the visit.
    bench.pass(1_000);
    assert!(
        bench
            .host
            .heard()
            .iter()
            .all(|message| !matches!(message, BoardMessage::Switched { .. }))
    );
}

#[test]
fn silence_turns_everything_off_and_ends_the_session() {
    let mut bench = Bench::live();
    bench.say(HostMessage::Strobe(Some(STROBE)));
    let set = HostMessage::Set {
        output: Output::Servo,
        hold_ms: 10_000,
    };
    bench.say(set.clone());
    assert!(bench.is_on(Output::Servo));
    for _ in 0..199 {
        bench.turn(1_000);
    }
    assert!(bench.is_on(Output::Servo));
    bench.turn(1_000);
    assert!(!bench.is_on(Output::Servo) && bench.device.is_safe());
    bench.settle();
    let said: Vec<_> = bench.host.heard();
    assert!(said.contains(&BoardMessage::Safe(SafeCause::Silence)));
    assert!(said.iter().any(|message| matches!(
        message,
        BoardMessage::Switched {
            output: Output::Servo,
            is_on: false,
            why: SwitchCause::Safe,
            ..
        }
    )));
    // The session is over, even for a fresh message.
    let answer = bench.say(set);
    assert!(matches!(
        answer[..],
        [BoardMessage::Refused {
            why: Refusal::NoSession,
            ..
        }]
    ));
    for _ in 0..200 {
        bench.turn(1_000);
        assert_eq!((bench.illuminator.level(), bench.trigger.level()), (0, 0));
    }
}

/// A lamp whose pin cannot be set.
#[test]
fn a_pin_that_fails_puts_everything_into_the_safe_state() {
    let no_pin = MockError::Io(std::io::ErrorKind::Other);
    let fault = |level| Transaction::set(level).with_error(no_pin.clone());
    let mut lamp = Pin::new(&[
        Transaction::set(State::Low),
        Transaction::set(State::Low),
        fault(State::High),
        Transaction::set(State::Low),
    ]);
    let line = Line::default();
    let [illuminator, trigger, switch, servo] = [(); 4].map(|()| Wire::default());
    let pins = Pins {
        illuminator,
        trigger,
        switch: switch.clone(),
        lamp: lamp.clone(),
        servo,
    };
    let mut device = Device::new(identity(), pins, line.clone());
    let mut host = Host::new(line);
    host.session = 3;
    let messages = [
        HostMessage::Hello {
            nonce: 3,
            silence_ms: 1000,
        },
        HostMessage::Set {
            output: Output::Switch,
            hold_ms: 1000,
        },
        HostMessage::Set {
            output: Output::Lamp,
            hold_ms: 1000,
        },
    ];
    for message in messages {
        let frame = host.frame(Some(500), message);
        host.send(&frame);
        for _ in 0..16 {
            device.step(Timestamp(500));
        }
    }
    assert_eq!(switch.level(), 0);
    let said = host.heard();
    assert!(said.contains(&BoardMessage::Safe(SafeCause::PinFault)));
    assert!(said.contains(&BoardMessage::Refused {
        of: 3,
        why: Refusal::PinFault
    }));
    lamp.done();
}

/// Everything off and a session's host that is told so only when it is true.
#[test]
fn a_pin_that_stays_high_is_tried_again_until_it_is_low() {
    let mut bench = Bench::live();
    let lamp = HostMessage::Set {
        output: Output::Lamp,
        hold_ms: 5_000,
    };
    let switch = HostMessage::Set {
        output: Output::Switch,
        hold_ms: 5_000,
    };
    bench.say(lamp.clone());
    assert!(bench.is_on(Output::Lamp));
    // More attempts than a command's 32 turns make.
    bench.outputs[Output::Lamp as usize].stick(100);
    let answer = bench.say(HostMessage::Safe);
    let of = bench.host.seq;
    let refused = |of| BoardMessage::Refused {
        of,
        why: Refusal::PinFault,
    };
    assert_eq!(answer, [refused(of)]);
    assert!(bench.is_on(Output::Lamp) && !bench.device.is_safe());
    // Nothing comes on meanwhile.
    let answer = bench.say(switch.clone());
    assert_eq!(answer, [refused(of + 1)]);
    let answer = bench.say(HostMessage::Strobe(Some(STROBE)));
    assert_eq!(answer, [refused(of + 2)]);
    assert!(!bench.is_on(Output::Switch));
    bench.settle();
    let went_off_at = bench.now;
    assert!(!bench.is_on(Output::Lamp) && bench.device.is_safe());
    let said = bench.host.heard();
    assert_eq!(
        said,
        [
            BoardMessage::Switched {
                output: Output::Lamp,
                is_on: false,
                at: Timestamp(went_off_at),
                why: SwitchCause::Safe,
            },
            BoardMessage::Safe(SafeCause::Asked),
        ]
    );
    bench.say(switch);
    assert!(bench.is_on(Output::Switch));
    // Its rest begins when it has really gone off.
    bench.pass(u64::from(MIN_REST_MS) - 1);
    bench.host.heard();
    let answer = bench.say(lamp.clone());
    assert!(matches!(
        answer[..],
        [BoardMessage::Refused {
            why: Refusal::TooSoon,
            ..
        }]
    ));
    bench.pass(1);
    bench.say(lamp);
    assert!(bench.is_on(Output::Lamp));
}

#[test]
fn light_trigger_and_an_output_at_the_end_of_its_hold_are_tried_again_too() {
    let mut bench = Bench::live();
    bench.say(HostMessage::Strobe(Some(STROBE)));
    while bench.illuminator.level() == 0 {
        bench.turn(100);
    }
    bench.illuminator.stick(3);
    bench.trigger.stick(3);
    bench.say(HostMessage::Safe);
    assert_eq!((bench.illuminator.level(), bench.trigger.level()), (0, 0));
    assert!(bench.device.is_safe());

    let hold_ms = 50;
    bench.say(HostMessage::Set {
        output: Output::Servo,
        hold_ms,
    });
    bench.outputs[Output::Servo as usize].stick(5);
    bench.pass(u64::from(hold_ms) + 10);
    assert!(!bench.is_on(Output::Servo));
    let said = bench.host.heard();
    assert!(said.contains(&BoardMessage::Safe(SafeCause::PinFault)));
    assert!(said.iter().any(|message| matches!(
        message,
        BoardMessage::Switched {
            output: Output::Servo,
            is_on: false,
            ..
        }
    )));
}

/// WCAG 2.3.1, "Three Flashes or Below Threshold": no more than three in any period of a second.
#[test]
fn no_host_makes_an_output_flash_more_than_three_times_in_any_second() {
    for output in Output::ALL {
        let mut bench = Bench::live();
        let mut rises = Vec::new();
        let mut was_on = false;
        for _ in 0..5_000 {
            bench.say(HostMessage::Set { output, hold_ms: 1 });
            if bench.is_on(output) && !was_on {
                rises.push(bench.now);
            }
            bench.turn(1_000);
            was_on = bench.is_on(output);
        }
        assert!(rises.len() > 10, "{output:?}: {}", rises.len());
        for four in rises.windows(4) {
            let spanned_us = four[3] - four[0];
            assert!(
                spanned_us >= 1_000_000,
                "{output:?}: four in {spanned_us} µs"
            );
        }
    }
}
