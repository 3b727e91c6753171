//! How many frames are taken: fewer when the networks cannot keep up with the camera, or the machine
//! is hot; more again when that is over.
//!
//! Of the camera's frames every first, second, third, … is taken, so that what is taken is evenly
//! spaced; the others are not even decoded. Load and heat each hold one number, and the larger counts.
//!
//! - **Load**: the time that the networks take a frame, as share of the time between frames taken.
//!   Above 0.9 for two seconds it is too much, and as many frames are passed over as bring the share
//!   to 0.75.
//! - **Heat**: a temperature above the setting, or firmware that slows the processor down, passes over
//!   one frame more, every 20 s until it is over.
//!
//! Whether more frames could be taken again cannot be computed: a processor with less to do runs
//! slower to save power, and then seems as busy as before. So it is tried, 10 s after the last change
//! (heat: when the machine has been 5 °C below the setting for a minute). If that proves too much
//! within 20 s, the next try comes after twice the time, up to ten minutes.

use std::fmt;

use gaze_protocol::{Span, Timestamp};

use crate::machine::Health;

/// Load is judged over so much time.
const WINDOW: Span = Span::from_ms(1000);
/// Samples further apart are not compared: the camera was away.
const AWAY: Span = Span::from_ms(1000);
/// Share of the time between frames above which the networks cannot keep up: the rest is for what
/// comes between, and for frames that take longer than the mean.
const TOO_MUCH: f32 = 0.9;
/// The share that is aimed at.
const AIM: f32 = 0.75;
/// So many windows in a row must be too much.
const OVER_WINDOWS: u32 = 2;

/// How much cooler than the setting it must be, °C.
const COOLER_C: f32 = 5.0;
/// Heat follows load slowly: a change is given so much time to show.
const COOLING: Span = Span::from_ms(20_000);

/// A try that fails within this time was too early.
const FAILS_WITHIN: Span = Span::from_ms(20_000);
const LOAD_PATIENCE: Span = Span::from_ms(10_000);
const HEAT_PATIENCE: Span = Span::from_ms(60_000);
const LONGEST_PATIENCE: Span = Span::from_ms(600_000);

/// The settings of [`Pace`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaceSettings {
    /// Whether load counts; heat always does.
    pub adapts: bool,
    /// The temperature from which on it is hot, °C.
    pub warm_above_c: f32,
    /// Not fewer frames are taken, a second; above 0.
    pub slowest_per_s: f32,
}

/// What the stage is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// A frame that was taken has been through the networks.
    Frame {
        /// Its number: one more for each frame taken.
        seq: u64,
        /// How long the networks took.
        took: Span,
    },
    /// How the machine is; wanted every few seconds.
    Machine(Health),
}

/// Another number of frames is to be taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaceChange {
    /// Every how many-th frame of the camera is taken; 1: all.
    pub keep_every: u32,
    /// How many that is a second; none when the camera's rate is not known yet.
    pub frames_per_s: Option<f32>,
    /// Why not all; none: all are.
    pub cause: Option<PaceCause>,
}

/// Why fewer frames are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PaceCause {
    /// The networks take so long a frame.
    Load {
        /// Mean time.
        took: Span,
    },
    /// The processor is hot, or slowed down.
    Heat(Health),
}

/// Decides how many frames are taken.
#[derive(Debug)]
pub struct Pace {
    settings: PaceSettings,
    load: Level,
    heat: Level,
    window: Option<Window>,
    over_windows: u32,
    /// Time between two frames of the camera, µs.
    base_us: Option<f32>,
    took: Span,
    health: Health,
    /// When heat was last answered.
    answered_at: Option<Timestamp>,
    told: u32,
}

/// One reason's say.
#[derive(Debug)]
struct Level {
    keep_every: u32,
    /// When one step back may be tried.
    relax_at: Timestamp,
    first_patience: Span,
    patience: Span,
    /// When one was last tried.
    tried_at: Option<Timestamp>,
}

/// The frames of about a second.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: (Timestamp, u64),
    to: (Timestamp, u64),
    n: u32,
    took_us: u64,
}

impl Pace {
    /// Every frame is taken.
    pub fn new(settings: PaceSettings) -> Self {
        Pace {
            settings,
            load: Level::new(LOAD_PATIENCE),
            heat: Level::new(HEAT_PATIENCE),
            window: None,
            over_windows: 0,
            base_us: None,
            took: Span(0),
            health: Health::default(),
            answered_at: None,
            told: 1,
        }
    }

    /// Takes a reading of the moment `at`; says when another number of frames is to be taken.
    pub fn step(&mut self, at: Timestamp, reading: Reading) -> Option<PaceChange> {
        match reading {
            Reading::Frame { seq, took } => self.frame(at, seq, took),
            Reading::Machine(health) => self.machine(at, health),
        }
        let keep_every = self.keep_every();
        if keep_every == self.told {
            return None;
        }
        self.told = keep_every;
        // What was measured before says nothing about what comes.
        self.window = None;
        self.over_windows = 0;
        Some(PaceChange {
            keep_every,
            frames_per_s: self.base_us.map(|base| 1e6 / (base * keep_every as f32)),
            cause: self.cause(),
        })
    }

    fn keep_every(&self) -> u32 {
        self.load.keep_every.max(self.heat.keep_every)
    }

    fn cause(&self) -> Option<PaceCause> {
        if self.keep_every() == 1 {
            None
        } else if self.load.keep_every >= self.heat.keep_every {
            Some(PaceCause::Load { took: self.took })
        } else {
            Some(PaceCause::Heat(self.health))
        }
    }

    /// The most that may be passed over; one until the camera's rate is known.
    fn most(&self) -> u32 {
        let base_us = self.base_us.unwrap_or(f32::INFINITY);
        ((1e6 / (base_us * self.settings.slowest_per_s)) as u32).max(1)
    }

    fn frame(&mut self, at: Timestamp, seq: u64, took: Span) {
        let Some(window) = self
            .window
            .as_mut()
            .filter(|window| at.since(window.to.0) < AWAY && seq > window.to.1)
        else {
            self.window = Some(Window {
                from: (at, seq),
                to: (at, seq),
                n: 0,
                took_us: 0,
            });
            return;
        };
        window.to = (at, seq);
        window.n += 1;
        window.took_us += took.as_us();
        let lasted = at.since(window.from.0);
        if lasted < WINDOW {
            return;
        }
        let interval_us = lasted.as_us() as f32 / (seq - window.from.1) as f32;
        let took_us = window.took_us as f32 / window.n as f32;
        self.window = Some(Window {
            from: window.to,
            n: 0,
            took_us: 0,
            ..*window
        });
        self.judge(at, interval_us, took_us);
    }

    /// Judges a window: the time between frames taken, and the networks' for one of them.
    fn judge(&mut self, at: Timestamp, interval_us: f32, took_us: f32) {
        let base_us = interval_us / self.told as f32;
        self.base_us = Some(base_us);
        self.took = Span(took_us as u64);
        if !self.settings.adapts {
            return;
        }
        if took_us <= TOO_MUCH * interval_us {
            self.over_windows = 0;
            self.load.relax(at);
            return;
        }
        self.over_windows += 1;
        if self.over_windows < OVER_WINDOWS {
            return;
        }
        self.over_windows = 0;
        let wanted = (took_us / (AIM * base_us)).ceil() as u32;
        let most = self.most();
        self.load
            .tighten(at, wanted.max(self.keep_every() + 1).min(most));
    }

    fn machine(&mut self, at: Timestamp, health: Health) {
        self.health = health;
        let warm_above_c = self.settings.warm_above_c;
        let is_above = |limit_c| health.temperature_c.is_some_and(|found| found > limit_c);
        let is_slowed = health.throttling.is_some_and(|bits| bits.is_slowed());
        if is_above(warm_above_c) || is_slowed {
            let is_answered = self
                .answered_at
                .is_some_and(|answered_at| at.since(answered_at) < COOLING);
            if !is_answered {
                self.answered_at = Some(at);
                let most = self.most();
                self.heat.tighten(at, (self.keep_every() + 1).min(most));
            }
        } else if is_above(warm_above_c - COOLER_C) {
            self.heat.wait(at);
        } else {
            self.heat.relax(at);
        }
    }
}

impl Level {
    fn new(first_patience: Span) -> Self {
        Level {
            keep_every: 1,
            relax_at: Timestamp(0),
            first_patience,
            patience: first_patience,
            tried_at: None,
        }
    }

    /// Fewer frames.
    fn tighten(&mut self, at: Timestamp, keep_every: u32) {
        let was_early = self
            .tried_at
            .take()
            .is_some_and(|tried_at| at.since(tried_at) < FAILS_WITHIN);
        self.patience = if was_early {
            Span(2 * self.patience.as_us()).min(LONGEST_PATIENCE)
        } else {
            self.first_patience
        };
        self.keep_every = self.keep_every.max(keep_every);
        self.wait(at);
    }

    /// Nothing is tried for a while.
    fn wait(&mut self, at: Timestamp) {
        self.relax_at = at + self.patience;
    }

    /// More frames, if it is time to try.
    fn relax(&mut self, at: Timestamp) {
        if self.keep_every > 1 && at >= self.relax_at {
            self.keep_every -= 1;
            self.tried_at = Some(at);
            self.wait(at);
        }
    }
}

impl fmt::Display for PaceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            None => f.write_str("the machine keeps up again: every frame is taken")?,
            Some(cause) => {
                write!(f, "{cause}: one frame of {} is taken", self.keep_every)?;
            }
        }
        match self.frames_per_s {
            Some(rate) => write!(f, ", {rate:.0} a second"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PaceCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PaceCause::Load { took } => write!(
                f,
                "the networks take {:.0} ms a frame and cannot keep up with the camera",
                took.as_us() as f32 * 1e-3
            ),
            PaceCause::Heat(health) => write!(f, "{health}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Throttling;

    const SETTINGS: PaceSettings = PaceSettings {
        adapts: true,
        warm_above_c: 75.0,
        slowest_per_s: 5.0,
    };

    /// A camera of 25 frames a second and networks that take `took_ms` a frame.
    struct Run {
        pace: Pace,
        at_ms: u64,
        seq: u64,
        changes: Vec<(u64, u32)>,
    }

    impl Run {
        fn new(settings: PaceSettings) -> Self {
            Run {
                pace: Pace::new(settings),
                at_ms: 0,
                seq: 0,
                changes: Vec::new(),
            }
        }

        /// Runs for so long; with networks slower than the frames taken, some are replaced unseen.
        fn run(&mut self, seconds: u64, took_ms: u64) -> &[(u64, u32)] {
            self.changes.clear();
            let end_ms = self.at_ms + 1000 * seconds;
            while self.at_ms < end_ms {
                let between_ms = 40 * u64::from(self.pace.keep_every());
                let frames = took_ms.div_ceil(between_ms).max(1);
                self.at_ms += frames * between_ms;
                self.seq += frames;
                let reading = Reading::Frame {
                    seq: self.seq,
                    took: Span::from_ms(took_ms),
                };
                self.tell(reading);
            }
            &self.changes
        }

        fn tell(&mut self, reading: Reading) {
            if let Some(change) = self.pace.step(Timestamp(1000 * self.at_ms), reading) {
                self.changes.push((self.at_ms, change.keep_every));
            }
        }

        /// The machine at this temperature, told every 5 s for so long.
        fn heat(&mut self, seconds: u64, temperature_c: f32) -> Vec<(u64, u32)> {
            let mut changes = Vec::new();
            for _ in 0..seconds / 5 {
                self.changes.clear();
                self.tell(Reading::Machine(Health {
                    temperature_c: Some(temperature_c),
                    throttling: None,
                }));
                changes.append(&mut self.changes);
                changes.extend_from_slice(self.run(5, 4));
            }
            changes
        }
    }

    #[test]
    fn networks_that_keep_up_get_every_frame() {
        // 35 of 40 ms: 0.88.
        assert_eq!(Run::new(SETTINGS).run(60, 35), []);
    }

    #[test]
    fn after_two_windows_of_too_much_fewer_frames_are_taken() {
        // 50 ms a frame, so every second of the 40 ms frames is seen. 50 / (0.75 x 40) = 1.7: one
        // of 2. The first frame at 80 ms opens a window, which ends at 1120 ms, the second at 2160 ms.
        let mut run = Run::new(SETTINGS);
        assert_eq!(run.run(3, 50), [(2160, 2)]);
        let change = run.pace.cause();
        let took = Span::from_ms(50);
        assert_eq!(change, Some(PaceCause::Load { took }));
        // 130 / 30 = 4.3: one of 5, which is as few as 5 a second allow.
        let mut run = Run::new(SETTINGS);
        assert_eq!(run.run(5, 130).last().map(|change| change.1), Some(5));
        // 200 ms would want one of 7.
        let mut run = Run::new(SETTINGS);
        assert_eq!(run.run(30, 200).last().map(|change| change.1), Some(5));
    }

    #[test]
    fn a_try_that_fails_makes_the_next_one_wait_longer() {
        let mut run = Run::new(SETTINGS);
        let times: Vec<u64> = run
            .run(120, 50)
            .iter()
            .filter(|(_, keep_every)| *keep_every == 1)
            .map(|(at_ms, _)| *at_ms)
            .collect();
        let waits: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(waits.len() >= 2 && waits.is_sorted(), "{times:?}");
        assert!(waits[1] > waits[0] + 15_000, "{times:?}");
    }

    #[test]
    fn all_frames_come_back_when_the_networks_are_fast_again() {
        let mut run = Run::new(SETTINGS);
        // 100 / 30 = 3.3: one of 4.
        assert_eq!(run.run(4, 100).last().map(|change| change.1), Some(4));
        let steps: Vec<u32> = run.run(60, 4).iter().map(|change| change.1).collect();
        assert_eq!(steps, [3, 2, 1]);
    }

    #[test]
    fn load_does_not_count_where_the_setting_says_so() {
        let settings = PaceSettings {
            adapts: false,
            ..SETTINGS
        };
        assert_eq!(Run::new(settings).run(30, 100), []);
    }

    #[test]
    fn a_camera_that_was_away_is_no_slow_camera() {
        let mut run = Run::new(SETTINGS);
        assert_eq!(run.run(10, 35), []);
        // One long interval would make the time between frames look long, and the load small.
        run.at_ms += 3_600_000;
        assert_eq!(run.run(10, 50).len(), 1);
    }

    #[test]
    fn heat_takes_one_frame_less_every_twenty_seconds() {
        let mut run = Run::new(SETTINGS);
        run.run(5, 4);
        let steps: Vec<u32> = run.heat(60, 76.0).iter().map(|change| change.1).collect();
        assert_eq!(steps, [2, 3, 4]);
        // Between 70 and 75 °C nothing changes, however long it takes.
        assert_eq!(run.heat(300, 72.0), []);
        // Cool: the first step after a minute, and one each minute.
        let steps: Vec<u32> = run.heat(200, 60.0).iter().map(|change| change.1).collect();
        assert_eq!(steps, [3, 2, 1]);
    }

    #[test]
    fn firmware_that_slows_the_processor_down_is_heat() {
        let mut run = Run::new(SETTINGS);
        run.run(5, 4);
        run.changes.clear();
        run.tell(Reading::Machine(Health {
            temperature_c: Some(60.0),
            throttling: Some(Throttling(0x4)),
        }));
        assert_eq!(run.changes.len(), 1);
        // That it was so since it was switched on is no reason.
        let mut run = Run::new(SETTINGS);
        run.run(5, 4);
        run.changes.clear();
        run.tell(Reading::Machine(Health {
            temperature_c: Some(60.0),
            throttling: Some(Throttling(0x50000)),
        }));
        assert_eq!(run.changes, []);
    }

    #[test]
    fn a_change_is_said_in_words() {
        let change = PaceChange {
            keep_every: 2,
            frames_per_s: Some(15.0),
            cause: Some(PaceCause::Load {
                took: Span::from_ms(41),
            }),
        };
        assert_eq!(
            change.to_string(),
            "the networks take 41 ms a frame and cannot keep up with the camera: \
             one frame of 2 is taken, 15 a second"
        );
    }
}
