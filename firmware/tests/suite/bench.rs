//! A device on the bench: a line in memory, pins that can be read, a clock that is set.

use gaze_firmware::{Device, Identity, Pins};
use gaze_protocol::Timestamp;
use gaze_protocol::message::{
    BoardMessage, FromBoard, FromHost, HostMessage, MIN_REST_MS, Output, OutputSettings,
    StrobeSettings, Visit,
};
use gaze_protocol::wire::{Decoder, encode};

use crate::mocks::{Line, Wire};

pub fn identity() -> Identity {
    Identity {
        board: "bench".try_into().expect("it is short"),
        firmware: [0, 1, 0],
    }
}

/// The name of the object that everybody looks at.
pub const YES: &str = "yes";

/// A device with readable pins and the host's end of its line.
pub struct Bench {
    pub device: Device<Wire, Wire, Wire, Wire, Wire, Line>,
    pub illuminator: Wire,
    pub trigger: Wire,
    pub outputs: [Wire; 3],
    pub host: Host,
    pub now: u64,
}

/// The host's end of a line.
pub struct Host {
    pub line: Line,
    decoder: Decoder,
    pub session: u32,
    pub seq: u32,
}

impl Host {
    pub fn new(line: Line) -> Self {
        Host {
            line,
            decoder: Decoder::new(),
            session: 0,
            seq: 0,
        }
    }

    /// A frame of the next number.
    pub fn frame(&mut self, sent_at: Option<u64>, message: HostMessage) -> Vec<u8> {
        self.seq += 1;
        let frame = FromHost {
            session: self.session,
            seq: self.seq,
            sent_at: sent_at.map(Timestamp),
            message,
        };
        encode(&frame).expect("every message fits").to_vec()
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.line.to_board.borrow_mut().extend(bytes);
    }

    /// Everything that the board has said since the last call.
    pub fn heard(&mut self) -> Vec<BoardMessage> {
        let bytes: Vec<u8> = self.line.to_host.borrow_mut().drain(..).collect();
        let messages = bytes.iter().filter_map(|&byte| self.decoder.push(byte));
        messages
            .map(|message: Result<FromBoard, _>| {
                message.expect("the way back is not disturbed").message
            })
            .collect()
    }
}

impl Bench {
    pub fn new() -> Self {
        let line = Line::default();
        let [illuminator, trigger, switch, lamp, servo] = [(); 5].map(|()| Wire::default());
        let pins = Pins {
            illuminator: illuminator.clone(),
            trigger: trigger.clone(),
            switch: switch.clone(),
            lamp: lamp.clone(),
            servo: servo.clone(),
        };
        let mut bench = Bench {
            device: Device::new(identity(), pins, line.clone()),
            illuminator,
            trigger,
            outputs: [switch, lamp, servo],
            host: Host::new(line),
            now: 1_000_000,
        };
        bench.turn(0);
        bench.host.heard();
        bench
    }

    /// A bench with a session of 200 ms silence whose host has been heard.
    pub fn live() -> Self {
        let mut bench = Bench::new();
        bench.greet(77, 200);
        bench.say(HostMessage::Ping);
        bench.host.heard();
        bench
    }

    pub fn greet(&mut self, nonce: u32, silence_ms: u16) {
        let hello = HostMessage::Hello { nonce, silence_ms };
        self.host.session = nonce;
        let frame = self.host.frame(None, hello);
        self.host.send(&frame);
        self.settle();
    }

    /// Sends a message with the right time and lets the board answer.
    pub fn say(&mut self, message: HostMessage) -> Vec<BoardMessage> {
        let frame = self.host.frame(Some(self.now), message);
        self.host.send(&frame);
        self.settle();
        self.host.heard()
    }

    /// Turns without time until the line is empty.
    pub fn settle(&mut self) {
        for _ in 0..32 {
            self.turn(0);
        }
    }

    pub fn turn(&mut self, us: u64) {
        self.now += us;
        self.device.step(Timestamp(self.now));
    }

    /// Lets `ms` pass in turns of a millisecond, with a ping every 50 ms.
    pub fn pass(&mut self, ms: u64) {
        for n in 0..ms {
            if n % 50 == 0 {
                let ping = self.host.frame(Some(self.now), HostMessage::Ping);
                self.host.send(&ping);
            }
            self.turn(1000);
        }
    }

    pub fn is_on(&self, output: Output) -> bool {
        let level = self.outputs[output as usize].level();
        match output {
            Output::Switch | Output::Lamp => level == 1,
            // 1 ms of 20 ms while off, 2 ms while on.
            Output::Servo => {
                assert!([1_000, 2_000].contains(&level), "{level}");
                level == 2_000
            }
        }
    }
}

pub fn looking(visit: u32, onset: u64) -> HostMessage {
    HostMessage::Looking(Visit {
        visit,
        object: YES.try_into().expect("it is short"),
        onset: Timestamp(onset),
    })
}

pub fn settings(dwell_ms: u16, hold_ms: u16, ends_with_visit: bool) -> OutputSettings {
    OutputSettings {
        object: YES.try_into().expect("it is short"),
        dwell_ms,
        hold_ms,
        rest_ms: MIN_REST_MS,
        ends_with_visit,
    }
}

/// 60 exposures a second with 2 ms of light.
pub const STROBE: StrobeSettings = StrobeSettings {
    period_us: 16_667,
    trigger_us: 500,
    light_delay_us: 100,
    light_us: 2_000,
};
