//! An observer on paper: a seeded script of fixations, saccades and blinks, seen by a noisy camera.

use gaze_protocol::{GazeAngles, GazeEvent, GazeSample, PointOfRegard, Timestamp, Validity};
use gaze_signal::{EventBuf, EventDetector, EventSettings};

/// A small seeded generator (SplitMix64), so that a seed means the same on every machine.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly in `min..max`.
    pub fn between(&mut self, min: f64, max: f64) -> f64 {
        min + (max - min) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn one_in(&mut self, n: f64) -> bool {
        self.between(0.0, n) < 1.0
    }

    /// From the standard normal distribution.
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (self.between(1e-12, 1.0), self.between(0.0, 1.0));
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// What the camera and the estimate do to the gaze.
#[derive(Clone, Copy, Debug)]
pub struct Camera {
    pub rate_hz: f64,
    /// Frame times are off by up to this share of the interval.
    pub jitter: f64,
    /// One frame in this many is lost.
    pub one_lost_in: f64,
    /// Standard deviation per axis of noise that is new in each frame, deg.
    pub noise_deg: f64,
    /// Standard deviation per axis of a bias that changes within seconds, deg.
    pub bias_deg: f64,
    /// How alike the noise of neighbouring frames is (AR(1) coefficient), 0 to 1.
    pub likeness: f64,
}

impl Camera {
    pub fn webcam(noise_deg: f64) -> Self {
        Camera {
            rate_hz: 30.0,
            jitter: 0.05,
            one_lost_in: 200.0,
            noise_deg,
            bias_deg: 0.5,
            likeness: 0.0,
        }
    }
}

/// What the observer does.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    pub shortest_fixation_ms: f64,
    pub longest_fixation_ms: f64,
    pub smallest_saccade_deg: f64,
    pub largest_saccade_deg: f64,
    /// One fixation in this many is interrupted by a blink.
    pub one_blink_in: f64,
}

impl Default for Habits {
    fn default() -> Self {
        Habits {
            shortest_fixation_ms: 155.0,
            longest_fixation_ms: 900.0,
            smallest_saccade_deg: 3.0,
            largest_saccade_deg: 15.0,
            one_blink_in: 6.0,
        }
    }
}

/// A stretch of time, ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    pub from_ms: f64,
    pub to_ms: f64,
}

impl Stretch {
    pub fn overlap_ms(&self, other: &Stretch) -> f64 {
        (self.to_ms.min(other.to_ms) - self.from_ms.max(other.from_ms)).max(0.0)
    }

    pub fn iou(&self, other: &Stretch) -> f64 {
        let both = self.overlap_ms(other);
        both / (self.to_ms - self.from_ms + other.to_ms - other.from_ms - both).max(1e-9)
    }
}

/// The script and what the camera made of it.
pub struct Recording {
    pub fixations: Vec<Stretch>,
    pub blinks: Vec<Stretch>,
    pub saccade_count: usize,
    pub samples: Vec<GazeSample>,
}

#[derive(Clone, Copy)]
struct Rest {
    time: Stretch,
    at_deg: [f64; 2],
}

/// Plays `seconds` of a script drawn from `habits` to `camera`.
pub fn record(seed: u64, seconds: f64, habits: Habits, camera: Camera) -> Recording {
    let mut dice = Dice::new(seed);
    let (rests, blinks) = script(&mut dice, seconds, habits);
    let samples = film(&mut dice, &rests, &blinks, camera);
    Recording {
        saccade_count: rests.len() - 1,
        fixations: rests.iter().map(|rest| rest.time).collect(),
        blinks,
        samples,
    }
}

fn script(dice: &mut Dice, seconds: f64, habits: Habits) -> (Vec<Rest>, Vec<Stretch>) {
    let mut rests = Vec::new();
    let mut blinks: Vec<Stretch> = Vec::new();
    let mut now_ms = 0.0;
    let mut at_deg = [0.0, 0.0];
    while now_ms < seconds * 1000.0 {
        // Skewed towards short ones, as in reading and free viewing.
        let share = dice.between(0.0, 1.0).powi(2);
        let (short, long) = (habits.shortest_fixation_ms, habits.longest_fixation_ms);
        let mut duration_ms = short + share * (long - short);
        let last_blink_ms = blinks.last().map_or(f64::MIN, |blink| blink.to_ms);
        if dice.one_in(habits.one_blink_in) && now_ms - last_blink_ms > 500.0 {
            let blink_ms = dice.between(100.0, 300.0);
            // Enough of the fixation is seen before and after to know it by.
            let before_ms = dice.between(160.0, 160.0 + duration_ms / 2.0);
            let after_ms = dice.between(160.0, 160.0 + duration_ms / 2.0);
            duration_ms = before_ms + blink_ms + after_ms;
            blinks.push(Stretch {
                from_ms: now_ms + before_ms,
                to_ms: now_ms + before_ms + blink_ms,
            });
        }
        let time = Stretch {
            from_ms: now_ms,
            to_ms: now_ms + duration_ms,
        };
        rests.push(Rest { time, at_deg });
        let (amplitude_deg, next_deg) = next_place(dice, at_deg, habits);
        at_deg = next_deg;
        // Main sequence: 2.2 ms a degree and 21 ms (Carpenter 1988).
        now_ms = time.to_ms + 21.0 + 2.2 * amplitude_deg;
    }
    (rests, blinks)
}

fn next_place(dice: &mut Dice, from_deg: [f64; 2], habits: Habits) -> (f64, [f64; 2]) {
    loop {
        let (small, large) = (habits.smallest_saccade_deg, habits.largest_saccade_deg);
        let share = dice.between(0.0, 1.0).powi(2);
        let amplitude_deg = small + share * (large - small);
        let direction = dice.between(0.0, std::f64::consts::TAU);
        let x = from_deg[0] + amplitude_deg * direction.cos();
        let y = from_deg[1] + amplitude_deg * direction.sin();
        if x.abs() < 20.0 && y.abs() < 12.0 {
            return (amplitude_deg, [x, y]);
        }
    }
}

fn gaze_at(rests: &[Rest], ms: f64) -> [f64; 2] {
    let index = rests.partition_point(|rest| rest.time.to_ms < ms);
    let Some(rest) = rests.get(index) else {
        return rests[rests.len() - 1].at_deg;
    };
    if ms >= rest.time.from_ms || index == 0 {
        return rest.at_deg;
    }
    let before = rests[index - 1];
    let t = (ms - before.time.to_ms) / (rest.time.from_ms - before.time.to_ms);
    // Minimum jerk.
    let share = t * t * t * (10.0 - 15.0 * t + 6.0 * t * t);
    [0, 1].map(|axis| before.at_deg[axis] + share * (rest.at_deg[axis] - before.at_deg[axis]))
}

fn film(dice: &mut Dice, rests: &[Rest], blinks: &[Stretch], camera: Camera) -> Vec<GazeSample> {
    let end_ms = rests[rests.len() - 1].time.to_ms;
    let interval_ms = 1000.0 / camera.rate_hz;
    let mut bias = [dice.normal(), dice.normal()];
    let mut noise = [dice.normal(), dice.normal()];
    let mut samples = Vec::new();
    let mut edges = Vec::new();
    for blink in blinks {
        // What the lids do to the estimate just before and after: nothing, doubt, or rubbish.
        for (from_ms, to_ms) in [
            (blink.from_ms - dice.between(0.0, 50.0), blink.from_ms),
            (blink.to_ms, blink.to_ms + dice.between(0.0, 50.0)),
        ] {
            let kind = dice.between(0.0, 3.0) as u8;
            edges.push((Stretch { from_ms, to_ms }, kind, dice.between(3.0, 12.0)));
        }
    }
    let mut frame = 0u64;
    loop {
        let ms = (frame as f64 + dice.between(-camera.jitter, camera.jitter)) * interval_ms;
        if ms > end_ms {
            return samples;
        }
        // An AR(1) process for the bias with a time constant of 1.5 s.
        let keep = (-interval_ms / 1500.0).exp();
        for axis in 0..2 {
            bias[axis] = keep * bias[axis] + (1.0 - keep * keep).sqrt() * dice.normal();
            let (alike, new) = (camera.likeness, (1.0 - camera.likeness.powi(2)).sqrt());
            noise[axis] = alike * noise[axis] + new * dice.normal();
        }
        frame += 1;
        if dice.one_in(camera.one_lost_in) {
            continue;
        }
        let mut gaze_deg = gaze_at(rests, ms);
        for axis in 0..2 {
            gaze_deg[axis] += camera.bias_deg * bias[axis] + camera.noise_deg * noise[axis];
        }
        let holds = |stretch: &Stretch| (stretch.from_ms..stretch.to_ms).contains(&ms);
        let mut validity = Validity::Valid;
        if blinks.iter().any(holds) {
            validity = Validity::EyeClosed;
        } else if let Some((_, kind, fall_deg)) = edges.iter().find(|edge| holds(&edge.0)) {
            match kind {
                0 => validity = Validity::LowConfidence,
                // The lid hides the iris from above, and the gaze seems to fall.
                1 => gaze_deg[1] -= fall_deg,
                _ => {}
            }
        }
        samples.push(sample(samples.len() as u64, ms, validity, gaze_deg));
    }
}

/// A sample as the host makes it, for a screen of 531x299 mm at 600 mm.
pub fn sample(seq: u64, ms: f64, validity: Validity, gaze_deg: [f64; 2]) -> GazeSample {
    let [yaw, pitch] = gaze_deg.map(f64::to_radians);
    let angles = GazeAngles {
        yaw_rad: yaw as f32,
        pitch_rad: pitch as f32,
    };
    let has_gaze = validity.has_gaze();
    let por = PointOfRegard {
        x_mm: (265.5 - 600.0 * yaw.tan()) as f32,
        y_mm: (150.0 - 600.0 * pitch.tan()) as f32,
    };
    GazeSample {
        seq,
        captured_at: Timestamp((ms.max(0.0) * 1000.0) as u64),
        validity,
        lids_are_down: false,
        angles: has_gaze.then_some(angles),
        por: has_gaze.then_some(por),
        line_of_gaze: has_gaze.then_some(angles),
        sigma_rad: has_gaze.then_some(0.01),
    }
}

/// The completed events of a stream, its end included.
pub fn detect(settings: EventSettings, samples: &[GazeSample]) -> Vec<GazeEvent> {
    let mut events = story(settings, samples);
    events.retain(|event| !matches!(event, GazeEvent::Begin(_) | GazeEvent::Update(_)));
    events
}

/// All that is told of a stream, its end included.
pub fn story(settings: EventSettings, samples: &[GazeSample]) -> Vec<GazeEvent> {
    let mut detector = EventDetector::new(settings).expect("the settings are in range");
    let mut out = EventBuf::new();
    let mut events = Vec::new();
    for sample in samples {
        out.clear();
        detector.step(sample, &mut out);
        events.extend(out.iter().cloned());
    }
    out.clear();
    detector.finish(&mut out);
    events.extend(out.iter().cloned());
    assert_eq!(out.lost(), 0);
    events
}

/// Stretches are the same when they share this much of the time that either covers: frames are
/// 33 ms apart, so a blink of 100 ms in which one frame is lost is seen for half of its time.
const SAME: f64 = 0.4;

/// How reports answer to the script.
#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    /// What the script had.
    pub scripted: usize,
    /// Reported exactly once, and at the right time.
    pub once: usize,
    /// Not reported, or reported as part of another.
    pub missed: usize,
    /// Reported in several pieces.
    pub split: usize,
    /// Reports of something that was not there.
    pub invented: usize,
}

/// Gives each report to the scripted stretch it shares most time with, and counts.
pub fn score(scripted: &[Stretch], reported: &[Stretch]) -> Score {
    let mut given: Vec<Vec<Stretch>> = vec![Vec::new(); scripted.len()];
    let mut score = Score {
        scripted: scripted.len(),
        ..Score::default()
    };
    for report in reported {
        let best = (0..scripted.len()).max_by(|a, b| {
            let shared = |i: usize| scripted[i].overlap_ms(report);
            shared(*a).total_cmp(&shared(*b))
        });
        match best.filter(|best| scripted[*best].overlap_ms(report) > 0.0) {
            Some(best) => given[best].push(*report),
            None => score.invented += 1,
        }
    }
    for (truth, reports) in scripted.iter().zip(&given) {
        match reports.as_slice() {
            [only] if truth.iou(only) >= SAME => score.once += 1,
            [] | [_] => score.missed += 1,
            _ => score.split += 1,
        }
    }
    score
}

impl Score {
    fn add(&mut self, other: Score) {
        self.scripted += other.scripted;
        self.once += other.once;
        self.missed += other.missed;
        self.split += other.split;
        self.invented += other.invented;
    }
}

/// How a detector did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scores {
    pub fixations: Score,
    pub blinks: Score,
    /// Saccades in the script, and reported.
    pub saccades: [usize; 2],
    /// Mean time from the end of a fixation to its report, ms.
    pub delay_ms: f64,
}

/// Plays `count` observers for two minutes each.
pub fn play(settings: EventSettings, habits: Habits, camera: Camera, count: u64) -> Scores {
    let mut scores = Scores::default();
    for seed in 0..count {
        let recording = record(seed, 120.0, habits, camera);
        let events = detect(settings, &recording.samples);
        scores
            .fixations
            .add(score(&recording.fixations, &fixations(&events)));
        scores
            .blinks
            .add(score(&recording.blinks, &blinks(&events)));
        scores.saccades[0] += recording.saccade_count;
        scores.saccades[1] += saccades(&events).len();
        scores.delay_ms += mean_delay_ms(settings, &recording.samples) / count as f64;
    }
    scores
}

fn mean_delay_ms(settings: EventSettings, samples: &[GazeSample]) -> f64 {
    let mut detector = EventDetector::new(settings).expect("the settings are in range");
    let (mut sum_ms, mut count) = (0.0, 0);
    for sample in samples {
        let mut out = EventBuf::new();
        detector.step(sample, &mut out);
        for event in &out {
            if let GazeEvent::Fixation(fixation) = event {
                sum_ms += sample.captured_at.since(fixation.offset).as_us() as f64 / 1000.0;
                count += 1;
            }
        }
    }
    sum_ms / f64::from(count.max(1))
}

fn stretch(onset: Timestamp, offset: Timestamp) -> Stretch {
    Stretch {
        from_ms: onset.as_us() as f64 / 1000.0,
        to_ms: offset.as_us() as f64 / 1000.0,
    }
}

pub fn fixations(events: &[GazeEvent]) -> Vec<Stretch> {
    let of = |event: &GazeEvent| match event {
        GazeEvent::Fixation(fixation) => Some(stretch(fixation.onset, fixation.offset)),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

pub fn saccades(events: &[GazeEvent]) -> Vec<Stretch> {
    let of = |event: &GazeEvent| match event {
        GazeEvent::Saccade(saccade) => Some(stretch(saccade.onset, saccade.offset)),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

pub fn pursuits(events: &[GazeEvent]) -> Vec<Stretch> {
    let of = |event: &GazeEvent| match event {
        GazeEvent::Pursuit(pursuit) => Some(stretch(pursuit.onset, pursuit.offset)),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

pub fn blinks(events: &[GazeEvent]) -> Vec<Stretch> {
    let of = |event: &GazeEvent| match event {
        GazeEvent::Blink(blink) => Some(stretch(blink.onset, blink.offset)),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

pub fn gaps(events: &[GazeEvent]) -> Vec<Stretch> {
    let of = |event: &GazeEvent| match event {
        GazeEvent::Gap(gap) => Some(stretch(gap.onset, gap.offset)),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}
