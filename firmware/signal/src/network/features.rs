//! What the network is told about each tick: speeds, turns and coherence at many time scales.
//!
//! Everything is a length of a displacement, or the angle between two, so shifting, mirroring or
//! rotating the gaze changes nothing. Displacements are differences of whole
//! numbers, which are exact, and all scales are times, so one network serves every sampling rate.
//! Longer past than the ring holds lives in running means of the velocity that leave saccades out.

use gaze_protocol::{Span, Timestamp};

use super::ticks::{DEGREES_PER_UNIT, Tick};

/// Numbers that the network is told.
pub const FEATURES: usize = 59;
/// Ticks kept: 400 ms at 250 Hz, and the look-ahead.
const RING: usize = 128;
/// Displacements from the tick forward, µs.
const AHEAD_US: [u32; 6] = [4_000, 8_000, 16_000, 24_000, 40_000, 96_000];
/// Displacements from the tick back, µs.
const BACK_US: [u32; 8] = [
    4_000, 8_000, 16_000, 24_000, 40_000, 96_000, 200_000, 400_000,
];
/// Time constants of the running means, s.
const MEANS_S: [f32; 5] = [0.06, 0.125, 0.25, 0.5, 1.0];
/// Above this the running means take the gaze for a saccade's, degrees a second.
const FAST_DEG_S: f32 = 30.0;
/// Displacements shorter than this have no direction, degrees.
const BLUR_DEG: f32 = 0.03;
/// Means slower than this have no direction, degrees a second.
const BLUR_DEG_S: f32 = 0.3;
/// Time constant of the share of missing ticks, s.
const MISSING_S: f32 = 0.1;
/// Ticks closer together than this count as this far apart, s.
const SHORTEST_STEP_S: f32 = 0.001;
/// The noise estimate starts here, degrees.
const FIRST_NOISE_DEG: f32 = 0.03;

/// A displacement in degrees.
type Degrees = [f32; 2];

/// The recent past of one stream.
#[derive(Clone, Debug)]
pub struct Features {
    ring: [Tick; RING],
    /// Ticks ever taken in.
    taken: usize,
    means: [Mean; MEANS_S.len()],
    missing: f32,
    noise_deg: f32,
    interval_s: f32,
    rest: Rest,
}

/// What came since the gaze was last fast.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    start: Tick,
    path_deg: f32,
}

/// A running mean of the velocity between saccades.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    velocity: Degrees,
    speed: f32,
    weight: f32,
}

impl Features {
    /// Nothing seen yet; `interval` is the time between ticks as far as it is known.
    pub fn new(interval: Span) -> Self {
        Features {
            ring: [Tick::default(); RING],
            taken: 0,
            means: [Mean::default(); MEANS_S.len()],
            missing: 0.0,
            noise_deg: FIRST_NOISE_DEG,
            interval_s: interval.as_s(),
            rest: Rest::default(),
        }
    }

    /// Takes in the next tick; time advances from tick to tick.
    pub fn step(&mut self, tick: Tick) {
        self.ring[self.taken % RING] = tick;
        self.taken += 1;
        if self.taken < 2 {
            self.rest.start = tick;
            return;
        }
        let last = self.tick(self.taken - 2);
        let elapsed_s = seconds(tick.at, last.at).max(SHORTEST_STEP_S);
        self.interval_s += 0.05 * (elapsed_s - self.interval_s);
        let missing = if tick.is_missing { 1.0 } else { 0.0 };
        self.missing += share(elapsed_s, MISSING_S) * (missing - self.missing);
        let here = self.taken - 1;
        let (recent, took_s) = self.back(here, 16_000);
        let speed = length(recent) / took_s;
        let step = displacement(last, tick);
        let velocity = [step[0] / elapsed_s, step[1] / elapsed_s];
        let weight = if tick.is_missing || last.is_missing {
            0.0
        } else {
            1.0 / (1.0 + (speed / FAST_DEG_S) * (speed / FAST_DEG_S))
        };
        for (mean, tau_s) in self.means.iter_mut().zip(MEANS_S) {
            let share = share(elapsed_s, tau_s);
            for (mean, velocity) in mean.velocity.iter_mut().zip(velocity) {
                *mean += share * (weight * velocity - *mean);
            }
            mean.speed += share * (weight * length(velocity) - mean.speed);
            mean.weight += share * (weight - mean.weight);
        }
        let noise_deg_s = self.noise_deg / self.interval_s.max(0.016);
        if speed > FAST_DEG_S + 2.0 * noise_deg_s {
            self.rest = Rest {
                start: tick,
                path_deg: 0.0,
            };
        } else {
            self.rest.path_deg += length(step);
        }
        if self.taken >= 3 && !tick.is_missing && !last.is_missing {
            let before = self.tick(self.taken - 3);
            let step_before = displacement(before, last);
            let bend = length([step[0] - step_before[0], step[1] - step_before[1]]);
            let rate = (1.0 / self.taken as f32).max(0.02);
            let towards = if bend > self.noise_deg {
                1.0 + rate
            } else {
                1.0 - rate
            };
            self.noise_deg = (self.noise_deg * towards).clamp(0.001, 5.0);
        }
    }

    /// What is known of the tick `ahead` before the newest one.
    pub fn of_tick(&self, ahead: usize) -> [f32; FEATURES] {
        let newest = self.taken - 1;
        let here = newest - ahead.min(newest);
        let mut out = Row {
            values: [0.0; FEATURES],
            filled: 0,
        };
        let mut forward = [[0.0; 2]; AHEAD_US.len()];
        let mut forward_s = [0.0; AHEAD_US.len()];
        for (i, us) in AHEAD_US.into_iter().enumerate() {
            (forward[i], forward_s[i]) = self.forward(here, us);
            out.speed(length(forward[i]) / forward_s[i]);
        }
        let mut back = [[0.0; 2]; BACK_US.len()];
        let mut back_s = [0.0; BACK_US.len()];
        for (i, us) in BACK_US.into_iter().enumerate() {
            (back[i], back_s[i]) = self.back(here, us);
            out.speed(length(back[i]) / back_s[i]);
        }
        for i in 0..AHEAD_US.len() - 1 {
            let part = [
                forward[i + 1][0] - forward[i][0],
                forward[i + 1][1] - forward[i][1],
            ];
            out.speed(length(part) / (forward_s[i + 1] - forward_s[i]).max(SHORTEST_STEP_S));
        }
        for i in [0, 1, 2, 4] {
            let across = [forward[i][0] + back[i][0], forward[i][1] + back[i][1]];
            out.speed(length(across) / (forward_s[i] + back_s[i]));
        }
        for i in [1, 2, 4, 5] {
            out.push(turn(back[i], forward[i], BLUR_DEG));
        }
        out.push(turn(back[4], back[6], BLUR_DEG));
        out.push(turn(back[6], back[7], BLUR_DEG));
        out.push(turn(forward[4], back[6], BLUR_DEG));
        out.push(turn(forward[4], back[7], BLUR_DEG));
        let mut slow = [[0.0; 2]; MEANS_S.len()];
        for (slow, mean) in slow.iter_mut().zip(&self.means) {
            let weight = mean.weight + 1e-3;
            *slow = [mean.velocity[0] / weight, mean.velocity[1] / weight];
            out.speed(length(*slow));
            out.push(length(mean.velocity) / (mean.speed + 1e-3));
        }
        for i in 0..MEANS_S.len() - 1 {
            out.push(turn(slow[i], slow[i + 1], BLUR_DEG_S));
        }
        out.push(turn(slow[2], forward[4], BLUR_DEG));
        out.push(turn(slow[2], back[4], BLUR_DEG));
        out.push(turn(slow[4], forward[4], BLUR_DEG));
        let rested_s = seconds(self.tick(newest).at, self.rest.start.at);
        let drift = displacement(self.rest.start, self.tick(newest));
        out.speed(length(drift) / (rested_s + 0.01));
        out.push(0.5 * libm::logf(1.0 + rested_s / 0.02));
        out.push(length(drift) / (self.rest.path_deg + BLUR_DEG));
        out.push(turn(drift, slow[3], BLUR_DEG));
        out.push(self.means[1].weight);
        out.push(0.5 * libm::logf(self.noise_deg / FIRST_NOISE_DEG));
        out.push(libm::logf(self.interval_s / 0.011));
        out.push(libm::logf(self.tick(here).samples.min(4) as f32));
        out.push(if self.tick(here).is_missing { 1.0 } else { 0.0 });
        out.push(if self.tick(newest).is_missing {
            1.0
        } else {
            0.0
        });
        out.push(self.missing);
        debug_assert_eq!(out.filled, FEATURES);
        out.values
    }

    fn tick(&self, index: usize) -> Tick {
        self.ring[index % RING]
    }

    fn oldest(&self) -> usize {
        self.taken - self.taken.min(RING)
    }

    /// From `here` to `us` later, or to the newest tick: the displacement and the time it took.
    fn forward(&self, here: usize, us: u32) -> (Degrees, f32) {
        let origin = self.tick(here);
        let until = origin.at + Span(u64::from(us));
        let newest = self.taken - 1;
        let mut after = here;
        while after < newest && self.tick(after).at < until {
            after += 1;
        }
        if self.tick(after).at <= until {
            let took_s = seconds(self.tick(after).at, origin.at).max(SHORTEST_STEP_S);
            return (displacement(origin, self.tick(after)), took_s);
        }
        let there = between(self.tick(after - 1), self.tick(after), until, origin);
        (there, us as f32 * 1e-6)
    }

    /// To `here` from `us` earlier, or from the oldest tick.
    fn back(&self, here: usize, us: u32) -> (Degrees, f32) {
        let origin = self.tick(here);
        let since = origin.at - Span(u64::from(us));
        let oldest = self.oldest();
        let mut before = here;
        while before > oldest && self.tick(before).at > since {
            before -= 1;
        }
        if self.tick(before).at >= since {
            let took_s = seconds(origin.at, self.tick(before).at).max(SHORTEST_STEP_S);
            return (displacement(self.tick(before), origin), took_s);
        }
        let [x, y] = between(self.tick(before), self.tick(before + 1), since, origin);
        ([-x, -y], us as f32 * 1e-6)
    }
}

/// One row being filled.
struct Row {
    values: [f32; FEATURES],
    filled: usize,
}

impl Row {
    fn push(&mut self, value: f32) {
        self.values[self.filled] = value;
        self.filled += 1;
    }

    /// Speeds span five decades: told by their logarithm, from a degree a second on.
    fn speed(&mut self, deg_s: f32) {
        self.push(0.5 * libm::logf(1.0 + deg_s));
    }
}

/// Seconds from `earlier` to `later`.
fn seconds(later: Timestamp, earlier: Timestamp) -> f32 {
    later.since(earlier).as_s()
}

/// The weight of what is new in a running mean.
fn share(elapsed_s: f32, tau_s: f32) -> f32 {
    elapsed_s / (elapsed_s + tau_s)
}

fn displacement(from: Tick, to: Tick) -> Degrees {
    [0, 1].map(|axis| {
        let units = to.place[axis].wrapping_sub(from.place[axis]);
        units as f32 * DEGREES_PER_UNIT
    })
}

/// Where the gaze was at `at`, between two ticks, seen from `origin`.
fn between(from: Tick, to: Tick, at: Timestamp, origin: Tick) -> Degrees {
    let part = seconds(at, from.at) / seconds(to.at, from.at);
    let (from, to) = (displacement(origin, from), displacement(origin, to));
    [0, 1].map(|axis| from[axis] + part * (to[axis] - from[axis]))
}

fn length([x, y]: Degrees) -> f32 {
    libm::sqrtf(x * x + y * y)
}

/// The cosine between two directions; smaller when either is short against `blur`.
fn turn(a: Degrees, b: Degrees, blur: f32) -> f32 {
    let dot = a[0] * b[0] + a[1] * b[1];
    dot / (libm::sqrtf((a[0] * a[0] + a[1] * a[1]) * (b[0] * b[0] + b[1] * b[1])) + blur * blur)
}
