//! The board as a whole: one `step` a turn of its loop.

use embedded_hal::digital::OutputPin;
use embedded_hal::pwm::SetDutyCycle;
use embedded_io::{Read, ReadReady, Write, WriteReady};
use gaze_protocol::message::{
    BOARD_NAME_CAPACITY, BoardMessage, FromHost, HostMessage, Output, Refusal, SILENCE_MS,
    SafeCause, Status, StrobeSettings, SwitchCause,
};
use gaze_protocol::wire::WireError;
use gaze_protocol::{Span, Timestamp};

use crate::dwell::Dwell;
use crate::illuminator::Illuminator;
use crate::link::Link;
use crate::output::{OutputControl, Switching};
use crate::session::{NotAdmitted, Session};
use crate::trigger::Trigger;

/// Period of the servo's signal, and its pulse while off and on, µs.
const SERVO_PERIOD_US: u32 = 20_000;
const SERVO_OFF_US: u32 = 1_000;
const SERVO_ON_US: u32 = 2_000;

/// What a board has. All digital pins are active high.
#[derive(Debug)]
pub struct Pins<Light, Trig, Switch, Lamp, Servo> {
    /// Infrared illuminator; needs a pull-down, so that a reset turns it off.
    pub illuminator: Light,
    /// Exposure trigger of the camera.
    pub trigger: Trig,
    /// [`Output::Switch`].
    pub switch: Switch,
    /// [`Output::Lamp`].
    pub lamp: Lamp,
    /// [`Output::Servo`]: a PWM signal with a period of 20 ms.
    pub servo: Servo,
}

/// What a board says of itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What kind of board it is.
    pub board: heapless::String<BOARD_NAME_CAPACITY>,
    /// Version of its program: major, minor, patch.
    pub firmware: [u8; 3],
}

/// The board's state; see the crate's documentation.
#[derive(Debug)]
pub struct Device<Light, Trig, Switch, Lamp, Servo, Io> {
    identity: Identity,
    link: Link<Io>,
    session: Session,
    dwell: Dwell,
    mode: Mode,
    controls: [OutputControl; Output::ALL.len()],
    illuminator: Illuminator<Light>,
    trigger: Trigger<Trig>,
    switch: Switch,
    lamp: Lamp,
    servo: Servo,
    status: Status,
}

/// Whether anything may be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Some pin has not been set low: every step tries again, and nothing comes on until then.
    Unsettled(SafeCause),
    /// Every pin has been set low.
    Safe,
    /// The host has been heard within the silence time.
    Live,
}

/// A pin could not be set.
struct PinFault;

impl<Light, Trig, Switch, Lamp, Servo, Io> Device<Light, Trig, Switch, Lamp, Servo, Io>
where
    Light: OutputPin,
    Trig: OutputPin,
    Switch: OutputPin,
    Lamp: OutputPin,
    Servo: SetDutyCycle,
    Io: Read + Write + ReadReady + WriteReady,
{
    /// A device; the first step sets its pins.
    pub fn new(identity: Identity, pins: Pins<Light, Trig, Switch, Lamp, Servo>, io: Io) -> Self {
        Device {
            identity,
            link: Link::new(io),
            session: Session::default(),
            dwell: Dwell::default(),
            mode: Mode::Unsettled(SafeCause::Start),
            controls: Default::default(),
            illuminator: Illuminator::new(pins.illuminator),
            trigger: Trigger::new(pins.trigger),
            switch: pins.switch,
            lamp: pins.lamp,
            servo: pins.servo,
            status: Status::default(),
        }
    }

    /// One turn of the board's loop, at `now` by its own clock: hears the host, sets pins,
    /// answers. Never waits.
    pub fn step(&mut self, now: Timestamp) {
        if let Mode::Unsettled(why) = self.mode {
            self.go_safe(now, why);
        }
        self.link.read();
        while let Some(received) = self.link.receive() {
            match received {
                Ok(frame) => self.hear(frame, now),
                Err(WireError::Version { .. }) => {
                    self.refuse(0, Refusal::Version, now);
                }
                Err(_) => add_one(&mut self.status.frames_broken),
            }
        }
        if self.mode == Mode::Live && !self.session.is_alive(now) {
            // Said within the session, so that its host takes it for itself.
            self.go_safe(now, SafeCause::Silence);
            self.session.end();
        }
        if self.mode == Mode::Live && self.drive(now).is_err() {
            add_one(&mut self.status.pin_faults);
            self.go_safe(now, SafeCause::PinFault);
        }
        self.link.write();
    }

    /// Whether an output is on.
    pub fn is_on(&self, output: Output) -> bool {
        self.controls
            .get(output as usize)
            .is_some_and(OutputControl::is_on)
    }

    /// Whether every pin has been set low and stays so until a host is heard.
    pub fn is_safe(&self) -> bool {
        self.mode == Mode::Safe
    }

    fn hear(&mut self, frame: FromHost, now: Timestamp) {
        let FromHost { seq, .. } = frame;
        if let HostMessage::Hello { nonce, silence_ms } = frame.message {
            return self.greet(seq, nonce, silence_ms, now);
        }
        match self.session.admit(&frame, now) {
            Ok(()) => {}
            Err(NotAdmitted::Repeated) => {
                return add_one(&mut self.status.messages_repeated);
            }
            Err(NotAdmitted::Refused(why)) => return self.refuse(seq, why, now),
        }
        let is_unsettled = matches!(self.mode, Mode::Unsettled(_));
        if self.session.is_alive(now) && !is_unsettled {
            self.mode = Mode::Live;
        }
        let result = match frame.message {
            // Greeted above.
            HostMessage::Hello { .. } => return,
            HostMessage::Ping => {
                return self.say(
                    now,
                    BoardMessage::Pong {
                        ping: seq,
                        received_at: now,
                    },
                );
            }
            HostMessage::Report => {
                let status = self.status();
                return self.say(now, BoardMessage::Status(status));
            }
            HostMessage::Looking(visit) => {
                // It holds from when it was said, not from when it came; a fresh one has a time.
                let said_at = frame.sent_at.unwrap_or(now).min(now);
                return self.dwell.confirm(visit, said_at);
            }
            HostMessage::Away { visit } => return self.dwell.end(visit),
            HostMessage::Safe => {
                self.go_safe(now, SafeCause::Asked);
                match self.mode {
                    Mode::Safe => Ok(()),
                    _ => Err(Refusal::PinFault),
                }
            }
            HostMessage::Strobe(Some(_)) | HostMessage::Set { hold_ms: 1.., .. }
                if is_unsettled =>
            {
                Err(Refusal::PinFault)
            }
            HostMessage::Strobe(settings) => self.strobe(settings, now),
            HostMessage::Output(output, settings) if settings.is_allowed() => {
                if let Some(control) = self.controls.get_mut(output as usize) {
                    control.configure(settings);
                }
                Ok(())
            }
            HostMessage::Output(..) => Err(Refusal::OutOfRange),
            HostMessage::Set { output, hold_ms } => self.set_by_hand(output, hold_ms, now),
        };
        match result {
            Ok(()) => self.say(now, BoardMessage::Done { of: seq }),
            Err(why) => self.refuse(seq, why, now),
        }
    }

    /// Begins a session: everything off, nothing remembered of the last host.
    fn greet(&mut self, seq: u32, nonce: u32, silence_ms: u16, now: Timestamp) {
        if !SILENCE_MS.contains(&silence_ms) {
            return self.refuse(seq, Refusal::OutOfRange, now);
        }
        if self.session.begin(nonce, silence_ms) {
            self.go_safe(now, SafeCause::NewSession);
            self.controls.iter_mut().for_each(OutputControl::forget);
        } else if self.session.nonce() != Some(nonce) {
            // A copy of a Hello whose session has ended.
            return self.refuse(seq, Refusal::NoSession, now);
        }
        self.say(
            now,
            BoardMessage::Welcome {
                nonce,
                board: self.identity.board.clone(),
                firmware: self.identity.firmware,
            },
        );
    }

    fn strobe(&mut self, settings: Option<StrobeSettings>, now: Timestamp) -> Result<(), Refusal> {
        if settings.is_some_and(|settings| !settings.is_allowed()) {
            return Err(Refusal::OutOfRange);
        }
        let darkened = self.illuminator.darken(now).map_err(|_| PinFault);
        let set = match settings {
            Some(settings) => self.trigger.start(now, settings),
            None => self.trigger.stop(),
        };
        if darkened.and(set.map_err(|_| PinFault)).is_err() {
            add_one(&mut self.status.pin_faults);
            self.go_safe(now, SafeCause::PinFault);
            return Err(Refusal::PinFault);
        }
        Ok(())
    }

    fn set_by_hand(&mut self, output: Output, hold_ms: u16, now: Timestamp) -> Result<(), Refusal> {
        let Some(control) = self.controls.get_mut(output as usize) else {
            return Err(Refusal::OutOfRange);
        };
        if let Some(switching) = control.set(now, hold_ms)?
            && self.apply(output, switching, now).is_err()
        {
            add_one(&mut self.status.pin_faults);
            self.go_safe(now, SafeCause::PinFault);
            return Err(Refusal::PinFault);
        }
        Ok(())
    }

    /// Everything that is on, or comes on, by itself.
    fn drive(&mut self, now: Timestamp) -> Result<(), PinFault> {
        // The light first: its end is what must not be late.
        self.illuminator.step(now).map_err(|_| PinFault)?;
        if let Some(exposure) = self.trigger.step(now).map_err(|_| PinFault)? {
            if let Some(settings) = self.trigger.settings() {
                let at = now + Span(u64::from(settings.light_delay_us));
                self.illuminator
                    .pulse(at, Span(u64::from(settings.light_us)));
                self.illuminator.step(now).map_err(|_| PinFault)?;
            }
            self.say(
                now,
                BoardMessage::Exposed {
                    exposure: exposure.number,
                    at: exposure.at,
                },
            );
        }
        self.dwell.step(now, self.session.silence());
        for output in Output::ALL {
            let Some(control) = self.controls.get_mut(output as usize) else {
                continue;
            };
            if let Some(switching) = control.step(now, self.dwell.visit()) {
                self.apply(output, switching, now)?;
            }
        }
        Ok(())
    }

    /// Sets an output's pin and tells the host.
    fn apply(
        &mut self,
        output: Output,
        switching: Switching,
        now: Timestamp,
    ) -> Result<(), PinFault> {
        let Switching { is_on, why } = switching;
        let set = self.set_pin(output, is_on);
        if set.is_err()
            && !is_on
            && let Some(control) = self.controls.get_mut(output as usize)
        {
            control.stays_on(now);
        }
        set?;
        self.say(
            now,
            BoardMessage::Switched {
                output,
                is_on,
                at: now,
                why,
            },
        );
        Ok(())
    }

    fn set_pin(&mut self, output: Output, is_on: bool) -> Result<(), PinFault> {
        match output {
            Output::Switch => self.switch.set_state(is_on.into()).map_err(|_| PinFault),
            Output::Lamp => self.lamp.set_state(is_on.into()).map_err(|_| PinFault),
            Output::Servo => {
                let pulse_us = if is_on { SERVO_ON_US } else { SERVO_OFF_US };
                let duty = u32::from(self.servo.max_duty_cycle()) * pulse_us / SERVO_PERIOD_US;
                self.servo
                    .set_duty_cycle(u16::try_from(duty).unwrap_or(0))
                    .map_err(|_| PinFault)
            }
        }
    }

    /// Everything off. Every pin is set, whatever it was before and whichever of them fails; while
    /// one fails, every step does this again, and the host is not told that all is safe.
    fn go_safe(&mut self, now: Timestamp, why: SafeCause) {
        let was_safe = self.mode == Mode::Safe;
        self.dwell.clear();
        let mut left_high = u32::from(self.illuminator.darken(now).is_err());
        left_high += u32::from(self.trigger.stop().is_err());
        for output in Output::ALL {
            if self.set_pin(output, false).is_err() {
                left_high += 1;
                continue;
            }
            let switching = self
                .controls
                .get_mut(output as usize)
                .and_then(|control| control.off(now, SwitchCause::Safe));
            if let Some(Switching { is_on, why }) = switching {
                self.say(
                    now,
                    BoardMessage::Switched {
                        output,
                        is_on,
                        at: now,
                        why,
                    },
                );
            }
        }
        self.status.pin_faults = self.status.pin_faults.saturating_add(left_high);
        if left_high > 0 {
            self.mode = Mode::Unsettled(why);
            return;
        }
        self.mode = Mode::Safe;
        if !was_safe {
            self.say(now, BoardMessage::Safe(why));
        }
    }

    fn refuse(&mut self, of: u32, why: Refusal, now: Timestamp) {
        add_one(&mut self.status.messages_refused);
        self.say(now, BoardMessage::Refused { of, why });
    }

    fn say(&mut self, now: Timestamp, message: BoardMessage) {
        let session = self.session.nonce().unwrap_or(0);
        self.link.send(session, now, message);
    }

    fn status(&self) -> Status {
        Status {
            replies_dropped: self.link.dropped,
            exposures_missed: self.trigger.missed(),
            lights_skipped: self.illuminator.skipped(),
            ..self.status
        }
    }
}

fn add_one(count: &mut u32) {
    *count = count.saturating_add(1);
}
