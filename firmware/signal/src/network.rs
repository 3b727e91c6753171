//! Fixation, saccade, pursuit, blink or oscillation, tick by tick, from a small recurrent network.
//!
//! ```text
//! samples ──► ticks.rs: at most one every 4 ms ──► features.rs: speeds and turns at many scales
//!         ──► gru.rs (weights.rs): logits ──► steady.rs: labels that do not flicker
//!         ──► segments.rs: fixations, saccades and pursuits
//! ```
//!
//! A label waits for what comes after its tick: for three ticks or 40 ms, whichever is longer, and
//! 100 ms at most. The interval between ticks is the median of a stream's first three. Where they
//! are 4 ms or less that is 40 ms, at 31 Hz it is 96 ms. A label once given stays.
//!
//! Trained on people looking at films and at points (`models/training`, GazeCom and lookAtPoint)
//! at 25 to 1000 Hz and with noise added; see `firmware/signal/README.md`.

mod features;
mod gru;
mod segments;
mod steady;
mod ticks;
mod weights;

use gaze_protocol::{GazeAngles, Span, Timestamp};

use crate::event_buf::EventBuf;
use crate::fixation::{SampleSums, UsableSample};
use crate::life::Open;
pub use features::FEATURES;
use features::Features;
use gru::Gru;
pub use segments::NetworkSettings;
use segments::Segments;
pub use steady::Label;
use steady::Steady;
use ticks::{Summed, Ticks};

/// Ticks from which the sampling rate is taken: three intervals, the fewest that a label waits for.
const FIRST_TICKS: usize = 4;
/// A label waits for this long, or for three ticks where that is more.
const SHORT_WAIT: Span = Span::from_ms(40);
/// And for this long at most.
const LONG_WAIT: Span = Span::from_ms(100);
/// Without a sample for longer than this, what comes is a new stream.
const LONGEST_HOLE: Span = Span::from_ms(250);
/// Most ticks that a label waits for, and some.
const WAITING: usize = 16;

/// How many ticks a label waits for, at this interval between ticks.
fn ticks_ahead(interval: Span) -> usize {
    let interval_us = interval.as_us().max(1);
    let short = (SHORT_WAIT.as_us() / interval_us) as usize;
    let long = (LONG_WAIT.as_us() / interval_us) as usize;
    short.max(3).min(long).min(WAITING - 4)
}

/// What the network is told, tick by tick; used by the network and by its training.
#[derive(Clone, Debug, Default)]
pub struct FeatureStream {
    ticks: Ticks,
    last_at: Option<Timestamp>,
    /// Until the sampling rate is known.
    first: heapless::Vec<Summed, FIRST_TICKS>,
    flow: Option<Flow>,
}

/// A stream whose rate is known.
#[derive(Clone, Debug)]
struct Flow {
    features: Features,
    interval: Span,
    ahead: usize,
    /// Whether ticks hold several samples, the first of which waits for the last.
    ticks_are_shared: bool,
    is_first: bool,
    /// Sample counts and sums of the ticks that wait.
    waiting: heapless::Deque<(u32, Option<SampleSums>), WAITING>,
}

/// One tick's row.
#[derive(Clone, Debug)]
pub struct FeatureRow {
    /// The numbers.
    pub values: [f32; FEATURES],
    /// Samples that the tick stands for.
    pub samples: u32,
    /// Whether a new stream begins with it.
    pub is_first: bool,
    interval: Span,
    sums: Option<SampleSums>,
    /// Whether gaze goes missing within the ticks that the row waited for.
    is_closing: bool,
}

impl FeatureStream {
    /// Takes the sample at `at`, which is not before the last one; none while gaze is missing.
    /// `give` gets the rows that are now known.
    pub fn step(
        &mut self,
        at: Timestamp,
        gaze: Option<GazeAngles>,
        give: &mut impl FnMut(FeatureRow),
    ) {
        let sample = gaze.map(|gaze| UsableSample {
            at,
            gaze,
            por: None,
        });
        self.step_usable(at, sample.as_ref(), give);
    }

    fn step_usable(
        &mut self,
        at: Timestamp,
        sample: Option<&UsableSample>,
        give: &mut impl FnMut(FeatureRow),
    ) {
        let mut ticks = heapless::Vec::new();
        let is_hole = |last: Timestamp| at.since(last) > LONGEST_HOLE;
        if self.last_at.is_some_and(is_hole) {
            self.finish(give);
        }
        self.last_at = Some(at);
        self.ticks.step(at, sample, &mut ticks);
        for tick in ticks {
            self.take(tick, give);
        }
    }

    /// Ends the stream: gives all rows that wait.
    pub fn finish(&mut self, give: &mut impl FnMut(FeatureRow)) {
        let mut ticks = heapless::Vec::new();
        self.ticks.close(&mut ticks);
        for tick in ticks {
            self.take(tick, give);
        }
        if self.flow.is_none() {
            self.start(give);
        }
        if let Some(flow) = &mut self.flow {
            while let Some(oldest) = flow.waiting.pop_front() {
                flow.give(flow.waiting.len(), oldest, give);
            }
        }
        *self = FeatureStream::default();
    }

    fn take(&mut self, tick: Summed, give: &mut impl FnMut(FeatureRow)) {
        match &mut self.flow {
            Some(flow) => flow.take(&tick, give),
            None => {
                let has_room = self.first.push(tick);
                debug_assert!(has_room.is_ok());
                if self.first.is_full() {
                    self.start(give);
                }
            }
        }
    }

    fn start(&mut self, give: &mut impl FnMut(FeatureRow)) {
        let mut intervals = heapless::Vec::<u64, FIRST_TICKS>::new();
        for pair in self.first.windows(2) {
            let has_room = intervals.push(pair[1].0.at.since(pair[0].0.at).as_us());
            debug_assert!(has_room.is_ok());
        }
        intervals.sort_unstable();
        // A stream of one sample has no rate; it does not matter then.
        let middle = intervals.get(intervals.len() / 2);
        let interval = Span(middle.copied().unwrap_or(33_333));
        let mut flow = Flow {
            features: Features::new(interval),
            interval,
            ahead: ticks_ahead(interval),
            ticks_are_shared: self.first.iter().any(|(tick, _)| tick.samples > 1),
            is_first: true,
            waiting: heapless::Deque::new(),
        };
        for tick in &self.first {
            flow.take(tick, give);
        }
        self.first.clear();
        self.flow = Some(flow);
    }
}

impl Flow {
    fn take(&mut self, (tick, sums): &Summed, give: &mut impl FnMut(FeatureRow)) {
        self.features.step(*tick);
        let has_room = self.waiting.push_back((tick.samples, *sums));
        debug_assert!(has_room.is_ok());
        if self.waiting.len() > self.ahead
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.give(self.ahead, oldest, give);
        }
    }

    fn give(
        &mut self,
        ahead: usize,
        (samples, sums): (u32, Option<SampleSums>),
        give: &mut impl FnMut(FeatureRow),
    ) {
        give(FeatureRow {
            values: self.features.of_tick(ahead),
            samples,
            is_first: core::mem::take(&mut self.is_first),
            interval: self.interval,
            sums,
            is_closing: self.waiting.iter().any(|(_, sums)| sums.is_none()),
        });
    }
}

/// The network's memory and what it decided last.
#[derive(Clone, Debug)]
struct Decider {
    gru: Gru,
    steady: Steady,
}

impl Decider {
    fn new(interval: Span) -> Self {
        Decider {
            gru: Gru::new(),
            steady: Steady::new(interval),
        }
    }

    fn step(&mut self, row: &FeatureRow) -> Label {
        if row.is_first {
            *self = Decider::new(row.interval);
        }
        self.steady.step(&self.gru.step(&row.values), row.samples)
    }
}

impl Default for Decider {
    /// Each stream's first row sets it up anew.
    fn default() -> Self {
        Decider::new(Span(0))
    }
}

/// A label for every sample, in their order.
#[derive(Clone, Debug, Default)]
pub struct LabelStream {
    features: FeatureStream,
    decider: Decider,
}

impl LabelStream {
    /// Takes the sample at `at`, which is not before the last one; none while gaze is missing. Gaze
    /// must be finite and within half a turn. `give` gets labels that are now decided, with the
    /// number of samples in a row that have them.
    pub fn step(
        &mut self,
        at: Timestamp,
        gaze: Option<GazeAngles>,
        give: &mut impl FnMut(Label, u32),
    ) {
        let decider = &mut self.decider;
        let mut decide = |row: FeatureRow| give(decider.step(&row), row.samples);
        self.features.step(at, gaze, &mut decide);
    }

    /// How long a label waits at most; zero until the stream's rate is known.
    pub fn delay(&self) -> Span {
        let flow = self.features.flow.as_ref();
        flow.map_or(Span(0), |flow| {
            let ticks = flow.ahead as u64 + u64::from(flow.ticks_are_shared);
            Span(flow.interval.as_us() * ticks)
        })
    }

    /// Ends the stream: decides what waits.
    pub fn finish(&mut self, give: &mut impl FnMut(Label, u32)) {
        let decider = &mut self.decider;
        let mut decide = |row: FeatureRow| give(decider.step(&row), row.samples);
        self.features.finish(&mut decide);
    }
}

/// The detector: labels become events.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    features: FeatureStream,
    decider: Decider,
    segments: Segments,
}

impl Network {
    /// `settings` have been checked.
    pub fn new(settings: NetworkSettings) -> Self {
        Network {
            features: FeatureStream::default(),
            decider: Decider::default(),
            segments: Segments::new(settings),
        }
    }

    /// Takes the sample at `at`; none while gaze is missing.
    pub fn step(&mut self, at: Timestamp, sample: Option<&UsableSample>, out: &mut EventBuf) {
        let (decider, segments) = (&mut self.decider, &mut self.segments);
        let mut decide = |row: FeatureRow| {
            segments.step(decider.step(&row), row.sums, row.is_closing, out);
        };
        self.features.step_usable(at, sample, &mut decide);
    }

    /// Decides what waits, completes what is open, and forgets everything.
    pub fn flush(&mut self, out: &mut EventBuf) {
        let (decider, segments) = (&mut self.decider, &mut self.segments);
        let mut decide = |row: FeatureRow| {
            segments.step(decider.step(&row), row.sums, row.is_closing, out);
        };
        self.features.finish(&mut decide);
        self.segments.finish(out);
    }

    pub fn open(&self) -> Option<Open> {
        self.segments.open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PyTorch's own numbers; f32 sums in another order differ by some 1e-6 of logits up to 20.
    const TOLERANCE: f32 = 2e-4;

    #[test]
    fn the_network_computes_what_pytorch_computes() {
        let golden = include_str!("../tests/golden/network.txt");
        let mut gru = Gru::new();
        let mut ticks = 0;
        for line in golden.lines() {
            let (input, output) = line.split_once(" | ").expect("a bar stands between");
            let mut features = [0.0; FEATURES];
            for (value, text) in features.iter_mut().zip(input.split(' ')) {
                *value = text.parse().expect("a number");
            }
            let logits = gru.step(&features);
            for (logit, text) in logits.iter().zip(output.split(' ')) {
                let expected: f32 = text.parse().expect("a number");
                assert!(
                    (logit - expected).abs() < TOLERANCE,
                    "tick {ticks}: {logit}, {expected}"
                );
            }
            ticks += 1;
        }
        assert_eq!(ticks, 60);
    }

    #[test]
    fn a_label_waits_for_40_ms_at_250_hz_and_96_ms_at_31_hz() {
        for (interval_us, ticks) in [
            (4_000, 10),
            (8_000, 5),
            (16_000, 3),
            (32_000, 3),
            (40_000, 2),
        ] {
            let found = ticks_ahead(Span(interval_us));
            assert_eq!(found, ticks);
            assert!(found as u64 * interval_us <= 100_000);
        }
    }

    #[test]
    fn the_longest_wait_of_a_label_is_the_stated_delay() {
        let gaze = GazeAngles {
            yaw_rad: 0.1,
            pitch_rad: 0.0,
        };
        for (interval_us, delay_us) in [
            (1_000, 44_000),
            (2_000, 44_000),
            (4_000, 40_000),
            (32_000, 96_000),
        ] {
            let mut stream = LabelStream::default();
            let (mut labelled, mut longest_us) = (0, 0);
            for at_us in (0..200).map(|i| i * interval_us) {
                stream.step(Timestamp(at_us), Some(gaze), &mut |_, samples| {
                    longest_us = longest_us.max(at_us - labelled * interval_us);
                    labelled += u64::from(samples);
                });
            }
            assert_eq!(
                (longest_us, stream.delay()),
                (delay_us, Span(delay_us)),
                "every {interval_us} µs"
            );
        }
    }

    #[test]
    fn every_sample_gets_one_label_whatever_the_times() {
        let mut stream = LabelStream::default();
        let mut labelled = 0;
        let mut count = |_: Label, samples: u32| labelled += samples;
        let mut at = 0u64;
        for i in 0..500u64 {
            // Standing still, fast, slow, and holes.
            at += [0, 0, 125, 4_000, 33_333, 300_000][(i * 7 % 6) as usize];
            let gaze = GazeAngles {
                yaw_rad: (i % 11) as f32 * 0.02,
                pitch_rad: 0.0,
            };
            stream.step(Timestamp(at), (i % 5 != 0).then_some(gaze), &mut count);
        }
        stream.finish(&mut count);
        assert_eq!(labelled, 500);
    }
}
