//! The host's conversation with the real device logic: over a bad line in virtual time, and over a
//! terminal with the daemon's own thread.

#[path = "../firmware/tests/suite/mocks.rs"]
#[expect(dead_code, reason = "the firmware's own tests use all of it")]
mod mocks;

use std::convert::Infallible;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use gaze_firmware::{Device, Identity, Pins};
use gaze_host::board::{BoardInput, BoardNews, BoardPlan, BoardSink, Conversation, PortChoice};
use gaze_host::channel;
use gaze_host::stop::StopFlag;
use gaze_protocol::event::{ObjectId, ObjectVisit};
use gaze_protocol::message::{MIN_REST_MS, Output, OutputSettings, StrobeSettings};
use gaze_protocol::{GazeEvent, GazeSample, Timestamp, Validity};
use proptest::prelude::*;
use serial2::SerialPort;

use mocks::{Line, Wire};

type Board<Io> = Device<Wire, Wire, Wire, Wire, Wire, Io>;

/// A device and its lamp.
fn board<Io: Read + Write + ReadReady + WriteReady>(io: Io) -> (Board<Io>, Wire) {
    let lamp = Wire::default();
    let pins = Pins {
        illuminator: Wire::default(),
        trigger: Wire::default(),
        switch: Wire::default(),
        lamp: lamp.clone(),
        servo: Wire::default(),
    };
    let identity = Identity {
        board: "test".try_into().expect("it is short"),
        firmware: [1, 2, 3],
    };
    (Device::new(identity, pins, io), lamp)
}

fn yes() -> ObjectId {
    "yes".try_into().expect("it is short")
}

fn plan() -> BoardPlan {
    let lamp = OutputSettings {
        object: yes(),
        dwell_ms: 300,
        hold_ms: 10_000,
        rest_ms: MIN_REST_MS,
        ends_with_visit: true,
    };
    BoardPlan {
        silence_ms: 500,
        strobe: Some(StrobeSettings {
            period_us: 100_000,
            trigger_us: 500,
            light_delay_us: 0,
            light_us: 1_000,
        }),
        outputs: vec![(Output::Lamp, lamp)],
    }
}

/// A host and a board in virtual time; the board's clock began later and runs faster.
struct Pair {
    conversation: Conversation,
    board: Board<Line>,
    lamp: Wire,
    line: Line,
    now_us: u64,
    news: Vec<BoardNews>,
}

impl Pair {
    fn new(nonce: u32) -> Self {
        let line = Line::default();
        let (board, lamp) = board(line.clone());
        Pair {
            conversation: Conversation::new(plan(), nonce),
            board,
            lamp,
            line,
            now_us: 3_600_000_000,
            news: Vec::new(),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.now_us)
    }

    /// A millisecond; `spoil` may do to the bytes of either direction what it likes.
    fn turn(&mut self, spoil: &mut dyn FnMut(&mut Vec<u8>)) {
        self.now_us += 1_000;
        let mut said = Vec::new();
        let now = self.now();
        self.conversation.keep_looking(now);
        self.conversation.step(now, &mut said, &mut self.news);
        spoil(&mut said);
        self.line.to_board.borrow_mut().extend(said);
        let board_us = (self.now_us - 3_500_000_000) as f64 * 1.000_08;
        // A board's loop turns many times in a millisecond.
        for n in 0..20 {
            self.board.step(Timestamp(board_us as u64 + n * 50));
        }
        let mut heard: Vec<u8> = self.line.to_host.borrow_mut().drain(..).collect();
        spoil(&mut heard);
        self.conversation.hear(&heard, now, &mut self.news);
    }

    /// Turns over a good line until `is_so`; gives the milliseconds, at most `limit_ms`.
    fn turn_until(&mut self, limit_ms: u64, is_so: impl Fn(&Pair) -> bool) -> u64 {
        for ms in 0..limit_ms {
            if is_so(self) {
                return ms;
            }
            self.turn(&mut |_| {});
        }
        limit_ms
    }
}

#[test]
fn a_look_lights_the_lamp_after_the_dwell_and_looking_away_puts_it_out() {
    let mut pair = Pair::new(1);
    assert!(pair.turn_until(200, |pair| pair.conversation.is_running()) < 200);
    pair.turn_until(50, |_| false);
    let now = pair.now();
    pair.conversation.look(yes(), now, now);
    let dwell_ms = pair.turn_until(1_000, |pair| pair.lamp.level() == 1);
    assert!((300..=305).contains(&dwell_ms), "{dwell_ms}");
    let exposures = |news: &&BoardNews| matches!(news, BoardNews::Exposed { .. });
    assert!(pair.news.iter().filter(exposures).count() >= 3);
    let mut said = Vec::new();
    let now = pair.now();
    pair.conversation.look_away(now, &mut said);
    pair.line.to_board.borrow_mut().extend(said);
    pair.turn(&mut |_| {});
    assert!(pair.lamp.level() == 0);
}

#[test]
fn a_board_that_starts_anew_is_set_up_anew() {
    let mut pair = Pair::new(1);
    pair.turn_until(200, |pair| pair.conversation.is_running());
    let (board, lamp) = board(pair.line.clone());
    (pair.board, pair.lamp) = (board, lamp);
    pair.news.clear();
    let found_ms = pair.turn_until(5_000, |pair| pair.news.contains(&BoardNews::Running));
    assert!(found_ms < 5_000);
    let now = pair.now();
    pair.conversation.look(yes(), now, now);
    assert!(pair.turn_until(1_000, |pair| pair.lamp.level() == 1) < 1_000);
}

#[test]
fn the_strobe_stops_while_the_camera_rests_and_goes_on_when_it_wakes() {
    let exposures_in_a_second = |pair: &mut Pair| {
        // What was said a moment ago is obeyed.
        pair.turn_until(50, |_| false);
        pair.news.clear();
        pair.turn_until(1_000, |_| false);
        let exposures = |news: &&BoardNews| matches!(news, BoardNews::Exposed { .. });
        pair.news.iter().filter(exposures).count()
    };
    let mut pair = Pair::new(1);
    pair.turn_until(200, |pair| pair.conversation.is_running());
    // Every 100 ms.
    assert!((9..=11).contains(&exposures_in_a_second(&mut pair)));
    pair.conversation.strobe(false);
    assert_eq!(exposures_in_a_second(&mut pair), 0);
    // A board that starts anew meanwhile is not told to strobe.
    (pair.board, pair.lamp) = board(pair.line.clone());
    let found_ms = pair.turn_until(5_000, |pair| pair.news.contains(&BoardNews::Running));
    assert!(found_ms < 5_000);
    assert_eq!(exposures_in_a_second(&mut pair), 0);
    pair.conversation.strobe(true);
    assert!((9..=11).contains(&exposures_in_a_second(&mut pair)));
    // Both before anything was said: the last word counts.
    pair.conversation.strobe(false);
    pair.conversation.strobe(true);
    assert!((9..=11).contains(&exposures_in_a_second(&mut pair)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a bad line does for two seconds: when it is good again, a look lights the lamp.
    #[test]
    fn after_any_trouble_host_and_board_find_each_other_again(
        trouble in prop::collection::vec((0..5_u8, any::<prop::sample::Index>(), any::<u8>()), 200),
    ) {
        let mut pair = Pair::new(7);
        let mut kept: Vec<u8> = Vec::new();
        for (n, (kind, at, value)) in trouble.iter().cycle().take(2_000).enumerate() {
            let is_bad = n % 3 != 0;
            pair.turn(&mut |bytes| {
                if bytes.is_empty() || !is_bad {
                    return;
                }
                let at = at.index(bytes.len());
                match kind {
                    0 => bytes.clear(),
                    1 => bytes[at] = *value,
                    2 => { bytes.remove(at); }
                    // What was said before comes again, in front of what is said now.
                    3 => { bytes.splice(0..0, kept.drain(..)); }
                    _ => kept = bytes.clone(),
                }
            });
        }
        pair.turn_until(10_000, |pair| {
            pair.conversation.is_running() && pair.conversation.n_open_commands() == 0
        });
        let now = pair.now();
        pair.conversation.look(yes(), now, now);
        prop_assert!(pair.turn_until(3_000, |pair| pair.lamp.level() == 1) < 3_000);
    }
}

/// The board's end of a terminal.
struct Terminal {
    port: SerialPort,
    byte: Option<u8>,
}

impl ErrorType for Terminal {
    type Error = Infallible;
}

impl ReadReady for Terminal {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        if self.byte.is_none() {
            let mut byte = [0];
            let n = self.port.read(&mut byte).unwrap_or(0);
            self.byte = (n == 1).then_some(byte[0]);
        }
        Ok(self.byte.is_some())
    }
}

impl Read for Terminal {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let Some(byte) = self.byte.take() else {
            return Ok(0);
        };
        bytes[0] = byte;
        Ok(1)
    }
}

impl WriteReady for Terminal {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(true)
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        Ok(self.port.write(bytes).unwrap_or(0))
    }
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A board on a thread of its own, and the path of the terminal that leads to it.
struct Remote {
    lamp: Wire,
    path: std::path::PathBuf,
    is_ended: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Remote {
    fn start() -> Remote {
        let (mut port, far_end) = SerialPort::pair().expect("the system has terminals");
        let descriptor = format!("/proc/self/fd/{}", far_end.as_raw_fd());
        let path = std::fs::read_link(descriptor).expect("it is open");
        port.set_read_timeout(Duration::from_millis(1))
            .expect("any time will do");
        let (mut device, lamp) = board(Terminal { port, byte: None });
        let is_ended = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&is_ended);
        let thread = std::thread::spawn(move || {
            let zero = Instant::now();
            while !ended.load(Ordering::SeqCst) {
                device.step(Timestamp(zero.elapsed().as_micros() as u64));
            }
            drop(far_end);
        });
        Remote {
            lamp,
            path,
            is_ended,
            thread,
        }
    }

    fn unplug(self) {
        self.is_ended.store(true, Ordering::SeqCst);
        self.thread.join().expect("the board does not panic");
    }
}

fn sample(seq: u64) -> GazeEvent {
    GazeEvent::Sample(GazeSample {
        seq,
        captured_at: Timestamp(seq * 33_333),
        validity: Validity::Valid,
        angles: None,
        por: None,
        line_of_gaze: None,
        sigma_rad: None,
        lids_are_down: false,
    })
}

fn enter() -> GazeEvent {
    GazeEvent::ObjectEnter(ObjectVisit {
        object: yes(),
        onset: Timestamp(0),
        offset: Timestamp(0),
    })
}

/// The thread of the daemon finds the board, lights its lamp while samples come, and finds the
/// next board when the cable is changed.
#[test]
fn the_daemons_thread_survives_an_unplugged_board() {
    let folder = tempfile::tempdir().expect("there is room");
    let port = folder.path().join("board");
    let (sender, inputs) = channel::events(64);
    let stop = StopFlag::new();
    let sink = BoardSink::new(
        PortChoice::Named(port.clone()),
        plan(),
        inputs,
        stop.clone(),
    );
    let thread = std::thread::spawn(move || sink.run());
    let mut seq = 0;
    // Samples at a camera's rate until it is so; a minute is for a machine that hangs.
    let mut look_until = |is_looking: bool, is_so: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !is_so() && began.elapsed() < Duration::from_secs(60) {
            let event = if seq % 30 == 0 { enter() } else { sample(seq) };
            seq += 1;
            if is_looking {
                let _ = sender.send_or_drop(BoardInput {
                    event,
                    clock_zero: None,
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        is_so()
    };
    for _ in 0..2 {
        let remote = Remote::start();
        std::os::unix::fs::symlink(&remote.path, &port).expect("the folder is ours");
        assert!(
            look_until(true, &|| remote.lamp.level() == 1),
            "the lamp stays dark"
        );
        // Tracking stands still: the lamp goes out although the thread lives.
        assert!(
            look_until(false, &|| remote.lamp.level() == 0),
            "the lamp stays on"
        );
        std::fs::remove_file(&port).expect("it is there");
        remote.unplug();
    }
    stop.raise();
    thread.join().expect("the sink does not panic");
}
