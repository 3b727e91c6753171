//! Fixations as the most probable partition of the stream into places of rest.
//!
//! At 30 Hz a fixation is a handful of samples, and the noise of a webcam is as large as a small
//! saccade: neither one step (velocity) nor the extent of all samples (dispersion, which grows with
//! time under noise) tells them apart. The mean of a few samples does. So this detector keeps a
//! short list of hypotheses about when the last saccade was, each with the place where the gaze has
//! rested since, and scores each by how well it foretold every sample. One sample far away costs a
//! hypothesis little (a glitch, a frame exposed during a saccade); a handful of samples that agree
//! on another place make the hypothesis win that a new fixation began with the first of them.
//!
//! Bayesian online change-point detection (Adams & MacKay 2007, arXiv 0710.3742), its best path
//! instead of its posterior, with a Kalman filter (random walk) for the place, so that slow drift of
//! the estimate is followed. Costs are −2 ln of the likelihood. The measure is that of I-DT,
//! distance from the centroid, with the noise as its unit.
//!
//! Samples that come faster than 80 Hz are averaged in bins of 12.5 ms, so that memory and delay are
//! bounded at any rate.

use gaze_protocol::{GazeEvent, Saccade, Span, Timestamp};

use crate::blink::Link;
use crate::event_buf::EventBuf;
use crate::fixation::{SampleSums, UsableSample, angle_between_rad};
use crate::life::Open;
use crate::noise::Noise;
use crate::settings::{SettingProblems, settings};

/// Hypotheses kept: one a bin for the longest delay (24 at 80 Hz and 300 ms), and some older ones.
const HYPOTHESES: usize = 28;
/// Fixations of a hypothesis that have ended but are not yet reported.
const UNDECIDED: usize = 3;
/// Samples closer together than this are averaged.
const BIN: Span = Span(12_500);
/// How young a fixation is of which the estimate still settles.
const SETTLES_WITHIN: Span = Span::from_ms(300);
/// Fewest bins of a fixation: two could be one glitch and its echo.
const FEWEST_BINS: u16 = 3;

settings! {
    /// Fixations as the most probable partition. Costs are −2 ln likelihood: a sample costs 2 on
    /// average where it belongs.
    pub struct AdaptiveSettings {
        /// Shortest fixation, from its first sample to its last, ms; 20 to 500. Default 60 (Tobii
        /// I-VT: shorter ones are discarded). At least three samples in any case.
        pub shortest_fixation_ms: u32,
        /// How far the estimate may drift during a fixation, deg for the square root of a second;
        /// 0 to 5. Default 0.4.
        pub drift_deg_per_sqrt_s: f32,
        /// Cost of passing over a sample as not belonging to the fixation around it; 4 to 100.
        /// Default 16: a sample further than 4 SD away.
        pub outlier_cost: f32,
        /// Cost of a new fixation; 4 to 200. Default 16. Higher misses small saccades, lower splits
        /// fixations.
        pub fixation_cost: f32,
        /// A decision is taken as soon as all other explanations cost this much more; 0 to 100.
        /// Default 10: odds of 150 to 1.
        pub decision_margin: f32,
        /// And at the latest this long after the new fixation began, ms; 50 to 300. Default 300.
        pub longest_delay_ms: u32,
        /// Neighbours whose places are no further apart than this are one fixation, deg; 0 to 10.
        /// Default 1.0; Tobii I-VT merges up to 0.5, and for trackers with more noise up to 3. It
        /// also is the smallest saccade that can be reported.
        pub merge_distance_deg: f32,
        /// A webcam's estimate may still move towards its place after a large saccade: within 300 ms
        /// of landing, rests that are no further apart than this share of the saccade are one
        /// fixation; 0 to 0.3. Default 0.15: of 443 fixations of 20 rendered observers
        /// (`synthetic:201` to `208` and `301` to `312`, 300 frames each) 439 are reported once
        /// instead of 433, and at 0.2 first saccades of 3° go missing.
        pub settling_share: f32,
        /// A longer way from one fixation to the next is no saccade, ms; 20 to 1000. Default 200:
        /// the largest saccades take 100 ms (Carpenter 1988), and up to two frames at 30 Hz are
        /// lost at the ends.
        pub longest_saccade_ms: u32,
    }
}

impl Default for AdaptiveSettings {
    fn default() -> Self {
        AdaptiveSettings {
            shortest_fixation_ms: 60,
            drift_deg_per_sqrt_s: 0.4,
            outlier_cost: 16.0,
            fixation_cost: 16.0,
            decision_margin: 10.0,
            longest_delay_ms: 300,
            merge_distance_deg: 1.0,
            settling_share: 0.15,
            longest_saccade_ms: 200,
        }
    }
}

impl AdaptiveSettings {
    /// Every setting that is out of range.
    pub fn check(&self) -> SettingProblems {
        let mut problems = SettingProblems::default();
        let shortest = self.shortest_fixation_ms;
        problems.range_ms("adaptive.shortest_fixation_ms", shortest, 20, 500);
        let drift = self.drift_deg_per_sqrt_s;
        problems.range("adaptive.drift_deg_per_sqrt_s", drift, 0.0, 5.0);
        problems.range("adaptive.outlier_cost", self.outlier_cost, 4.0, 100.0);
        problems.range("adaptive.fixation_cost", self.fixation_cost, 4.0, 200.0);
        problems.range("adaptive.decision_margin", self.decision_margin, 0.0, 100.0);
        problems.range_ms("adaptive.longest_delay_ms", self.longest_delay_ms, 50, 300);
        let merge = self.merge_distance_deg;
        problems.range("adaptive.merge_distance_deg", merge, 0.0, 10.0);
        problems.range("adaptive.settling_share", self.settling_share, 0.0, 0.3);
        problems.range_ms(
            "adaptive.longest_saccade_ms",
            self.longest_saccade_ms,
            20,
            1000,
        );
        problems
    }
}

/// A fixation that has ended under some hypothesis.
#[derive(Clone, Copy, Debug)]
struct Ended {
    sums: SampleSums,
    /// Where the gaze rested last: after drift, not the mean over the whole.
    place_rad: [f32; 2],
    /// Greatest velocity on the way to what followed.
    peak_rad_s: f32,
    /// Whether the eyes were closed on the way.
    blinked: bool,
}

/// One explanation of the stream since the last decision.
#[derive(Clone, Debug)]
struct Hypothesis {
    cost: f32,
    ended: heapless::Vec<Ended, UNDECIDED>,
    /// The fixation that goes on.
    sums: SampleSums,
    bins: u16,
    /// Where it is, and the variance of that per axis.
    place_rad: [f32; 2],
    variance_rad2: f32,
    /// Time of the last bin, whether it belonged or was passed over.
    at: Timestamp,
    /// Greatest velocity since the last bin that belonged.
    peak_rad_s: f32,
    /// Whether the eyes were closed since then.
    blinked: bool,
}

/// What a hypothesis says about the oldest thing that is not yet decided.
#[derive(Clone, Copy, PartialEq, Eq)]
struct OldestClaim {
    first: Timestamp,
    /// Last sample, and first one of the fixation after; none while the fixation goes on.
    ended: Option<(Timestamp, Timestamp)>,
}

impl Hypothesis {
    fn oldest_claim(&self) -> OldestClaim {
        match self.ended.first() {
            None => OldestClaim {
                first: self.sums.first,
                ended: None,
            },
            Some(oldest) => OldestClaim {
                first: oldest.sums.first,
                ended: Some((oldest.sums.last, self.second().0.first)),
            },
        }
    }

    /// The fixation after the oldest that has ended, and its place.
    fn second(&self) -> (&SampleSums, [f32; 2]) {
        match self.ended.get(1) {
            Some(ended) => (&ended.sums, ended.place_rad),
            None => (&self.sums, self.place_rad),
        }
    }

    /// Takes `earlier` for the beginning of the oldest fixation left.
    fn continue_from(&mut self, earlier: &Ended) {
        let mut sums = earlier.sums;
        match self.ended.first_mut() {
            Some(oldest) => {
                sums.absorb(&oldest.sums);
                oldest.sums = sums;
            }
            None => {
                sums.absorb(&self.sums);
                self.sums = sums;
                // What had ended was a fixation, and so is what goes on from it.
                self.bins = self.bins.saturating_add(FEWEST_BINS);
            }
        }
    }

    fn is_fixation(&self, shortest: Span) -> bool {
        self.bins >= FEWEST_BINS && self.sums.duration_us() >= shortest.as_us()
    }
}

/// One bin of samples.
#[derive(Clone, Copy, Debug)]
struct Observation {
    sums: SampleSums,
    /// From the bin before; 0 where there is none to compare with.
    velocity_rad_s: f32,
    noise_variance_rad2: f32,
}

/// The adaptive detector.
#[derive(Clone, Debug)]
pub(crate) struct Adaptive {
    settings: AdaptiveSettings,
    shortest: Span,
    longest_delay: Span,
    longest_saccade: Span,
    drift_rad2_per_s: f32,
    noise: Noise,
    /// The bin being filled.
    bin: Option<SampleSums>,
    last_sample_at: Option<Timestamp>,
    last_bin: Option<SampleSums>,
    /// Size of the saccade that led to the oldest fixation that is not reported; 0 where none did.
    arrived_over_rad: f32,
    /// Cost of there having been no fixation yet.
    idle_cost: Option<f32>,
    hypotheses: heapless::Vec<Hypothesis, HYPOTHESES>,
}

impl Adaptive {
    /// `settings` have been checked.
    pub fn new(settings: AdaptiveSettings, noise: Noise) -> Self {
        let span = |ms: u32| Span::from_ms(u64::from(ms));
        let drift_rad = settings.drift_deg_per_sqrt_s.to_radians();
        Adaptive {
            settings,
            shortest: span(settings.shortest_fixation_ms),
            longest_delay: span(settings.longest_delay_ms),
            longest_saccade: span(settings.longest_saccade_ms),
            drift_rad2_per_s: drift_rad * drift_rad,
            noise,
            bin: None,
            last_sample_at: None,
            last_bin: None,
            arrived_over_rad: 0.0,
            idle_cost: Some(0.0),
            hypotheses: heapless::Vec::new(),
        }
    }

    pub fn step(&mut self, sample: &UsableSample, link: Link, out: &mut EventBuf) {
        let last_at = self.last_sample_at.replace(sample.at);
        let is_slow = last_at.is_some_and(|last_at| sample.at.since(last_at) >= BIN);
        let is_full = self
            .bin
            .is_some_and(|bin| sample.at.since(bin.first) >= BIN);
        if is_slow || is_full || link == Link::AcrossBlink {
            self.close_bin(out);
        }
        if link == Link::AcrossBlink {
            self.cross_blink();
        }
        let sums = SampleSums::new(sample);
        match &mut self.bin {
            Some(bin) => bin.absorb(&sums),
            None => self.bin = Some(sums),
        }
        if is_slow {
            // Below 80 Hz each sample is a bin, and waiting for the next would only cost time.
            self.close_bin(out);
        }
    }

    /// Reports what is open and forgets it; the noise estimate stays.
    pub fn flush(&mut self, out: &mut EventBuf) {
        self.close_bin(out);
        while let Some(best) = self.best()
            && !self.hypotheses[best].ended.is_empty()
        {
            self.decide(best, out);
        }
        if let Some(best) = self.best()
            && self.hypotheses[best].is_fixation(self.shortest)
        {
            let fixation = self.hypotheses[best].sums.to_fixation();
            out.push(GazeEvent::Fixation(fixation));
        }
        self.hypotheses.clear();
        self.idle_cost = Some(0.0);
        self.last_sample_at = None;
        self.last_bin = None;
        self.arrived_over_rad = 0.0;
        self.noise.interrupt();
    }

    /// The oldest fixation that is not reported, once no explanation is without it.
    pub fn open(&self) -> Option<Open> {
        let best = &self.hypotheses[self.best()?];
        let first = best.oldest_claim().first;
        let is_agreed = self.idle_cost.is_none()
            && self
                .hypotheses
                .iter()
                .all(|other| other.oldest_claim().first == first);
        let sums = best.ended.first().map_or(best.sums, |ended| ended.sums);
        let is_long = !best.ended.is_empty() || best.is_fixation(self.shortest);
        (is_agreed && is_long).then(|| sums.to_open())
    }

    pub fn noise_rad(&self) -> f32 {
        self.noise.sigma_rad()
    }

    fn close_bin(&mut self, out: &mut EventBuf) {
        let Some(sums) = self.bin.take() else { return };
        let mut velocity_rad_s = 0.0;
        self.noise.step(sums.mean_rad);
        if let Some(last) = self.last_bin.replace(sums) {
            let elapsed_us = sums.middle().since(last.middle()).as_us();
            let angle_rad = angle_between_rad(last.mean_rad, sums.mean_rad);
            velocity_rad_s = angle_rad / (elapsed_us.max(1) as f32 * 1e-6);
        }
        let sigma_rad = self.noise.sigma_rad();
        let observation = Observation {
            sums,
            velocity_rad_s,
            noise_variance_rad2: sigma_rad * sigma_rad,
        };
        let newcomer = self.newcomer(&observation);
        for hypothesis in &mut self.hypotheses {
            let cost = self.settings.outlier_cost;
            foretell(hypothesis, &observation, self.drift_rad2_per_s, cost);
        }
        if let Some(cost) = &mut self.idle_cost {
            *cost += self.settings.outlier_cost;
        }
        self.admit(newcomer);
        self.level_costs();
        self.drop_hopeless(sums.last);
        self.decide_what_is_clear(sums.last, out);
    }

    /// A fixation may go on after a blink, but what may become one starts again: the lids' way down
    /// and up makes the same rubbish on both sides.
    fn cross_blink(&mut self) {
        self.last_bin = None;
        self.noise.interrupt();
        let shortest = self.shortest;
        if self
            .hypotheses
            .iter()
            .any(|hypothesis| hypothesis.is_fixation(shortest))
        {
            self.hypotheses
                .retain(|hypothesis| hypothesis.is_fixation(shortest));
        }
        for hypothesis in &mut self.hypotheses {
            hypothesis.blinked = true;
        }
    }

    /// The hypothesis that a fixation begins with this bin.
    fn newcomer(&self, observation: &Observation) -> Option<Hypothesis> {
        let shortest = self.shortest;
        let parent = self
            .hypotheses
            .iter()
            .filter(|parent| parent.is_fixation(shortest) && !parent.ended.is_full())
            .min_by(|a, b| a.cost.total_cmp(&b.cost))
            .filter(|parent| self.idle_cost.is_none_or(|idle| parent.cost <= idle));
        let mut ended = heapless::Vec::new();
        let cost = match parent {
            Some(parent) => {
                ended.extend_from_slice(&parent.ended).ok()?;
                let peak_rad_s = parent.peak_rad_s.max(observation.velocity_rad_s);
                ended
                    .push(Ended {
                        sums: parent.sums,
                        place_rad: parent.place_rad,
                        peak_rad_s,
                        blinked: parent.blinked,
                    })
                    .ok()?;
                parent.cost
            }
            None => self.idle_cost?,
        };
        Some(Hypothesis {
            cost: cost + self.settings.fixation_cost,
            ended,
            sums: observation.sums,
            bins: 1,
            place_rad: observation.sums.mean_rad,
            variance_rad2: observation.noise_variance_rad2,
            at: observation.sums.last,
            peak_rad_s: 0.0,
            blinked: false,
        })
    }

    fn admit(&mut self, newcomer: Option<Hypothesis>) {
        let Some(newcomer) = newcomer else { return };
        if self.hypotheses.is_full() {
            let worst = (0..self.hypotheses.len()).max_by(|a, b| {
                self.hypotheses[*a]
                    .cost
                    .total_cmp(&self.hypotheses[*b].cost)
            });
            if let Some(worst) = worst {
                self.hypotheses.swap_remove(worst);
            }
        }
        let admitted = self.hypotheses.push(newcomer);
        debug_assert!(admitted.is_ok());
    }

    fn best(&self) -> Option<usize> {
        (0..self.hypotheses.len()).min_by(|a, b| {
            self.hypotheses[*a]
                .cost
                .total_cmp(&self.hypotheses[*b].cost)
        })
    }

    /// Costs only matter relative to each other; kept small, they keep their digits.
    fn level_costs(&mut self) {
        let Some(best) = self.best() else { return };
        let lowest = self.hypotheses[best].cost;
        for hypothesis in &mut self.hypotheses {
            hypothesis.cost -= lowest;
        }
        if let Some(cost) = &mut self.idle_cost {
            *cost -= lowest;
        }
    }

    /// Drops what costs too much, and what says that there was a saccade long ago of which the best
    /// hypothesis knows nothing.
    fn drop_hopeless(&mut self, now: Timestamp) {
        let Some(best) = self.best() else { return };
        let best_first = self.hypotheses[best].sums.first;
        let settings = &self.settings;
        let limit = 3.0 * settings.fixation_cost.max(settings.outlier_cost);
        let longest_delay = self.longest_delay;
        self.hypotheses.retain(|hypothesis| {
            let first = hypothesis.sums.first;
            let is_stale = first > best_first && now.since(first) > longest_delay;
            hypothesis.cost <= limit && !is_stale
        });
        self.idle_cost.take_if(|cost| *cost > limit);
    }

    fn decide_what_is_clear(&mut self, now: Timestamp, out: &mut EventBuf) {
        while let Some(best) = self.best() {
            let hypothesis = &self.hypotheses[best];
            if hypothesis.ended.is_empty() || !hypothesis.is_fixation(self.shortest) {
                return;
            }
            let claim = hypothesis.oldest_claim();
            let margin = self.settings.decision_margin;
            let is_clear = self.idle_cost.is_none_or(|idle| idle > margin)
                && self
                    .hypotheses
                    .iter()
                    .all(|other| other.cost > margin || other.oldest_claim() == claim);
            let age = now.since(hypothesis.second().0.first);
            if !is_clear && age < self.longest_delay && !hypothesis.ended.is_full() {
                return;
            }
            self.decide(best, out);
        }
    }

    /// Reports the oldest fixation that has ended under hypothesis `best`, and the saccade after it,
    /// or joins it with the next one; and drops all hypotheses that see it differently.
    fn decide(&mut self, best: usize, out: &mut EventBuf) {
        let hypothesis = &self.hypotheses[best];
        let Some(oldest) = hypothesis.ended.first() else {
            return;
        };
        let oldest = *oldest;
        let claim = hypothesis.oldest_claim();
        let (next, next_place_rad) = hypothesis.second();
        let amplitude_rad = angle_between_rad(oldest.place_rad, next_place_rad);
        let is_settling = Span(oldest.sums.duration_us()) <= SETTLES_WITHIN;
        let settles_by_rad = self.settings.settling_share * self.arrived_over_rad;
        let merges_within_rad = self.settings.merge_distance_deg.to_radians();
        let is_one = amplitude_rad <= merges_within_rad
            || is_settling && !oldest.blinked && amplitude_rad <= settles_by_rad;
        if !is_one {
            out.push(GazeEvent::Fixation(oldest.sums.to_fixation()));
            self.arrived_over_rad = 0.0;
            if !oldest.blinked && next.first.since(oldest.sums.last) <= self.longest_saccade {
                self.arrived_over_rad = amplitude_rad;
                out.push(GazeEvent::Saccade(Saccade {
                    onset: oldest.sums.last,
                    offset: next.first,
                    amplitude_rad,
                    peak_velocity_rad_s: oldest.peak_rad_s,
                    landing: next.por(),
                    id: 0,
                }));
            }
        }
        self.idle_cost = None;
        self.hypotheses
            .retain(|other| other.oldest_claim() == claim);
        for hypothesis in &mut self.hypotheses {
            hypothesis.ended.remove(0);
            if is_one {
                hypothesis.continue_from(&oldest);
            }
        }
    }
}

/// Scores a hypothesis by one bin and moves its place towards it, unless the bin is passed over.
fn foretell(
    hypothesis: &mut Hypothesis,
    observation: &Observation,
    drift_rad2_per_s: f32,
    outlier_cost: f32,
) {
    let sums = &observation.sums;
    let elapsed_s = sums.last.since(hypothesis.at).as_s();
    let noise_rad2 = observation.noise_variance_rad2;
    hypothesis.at = sums.last;
    hypothesis.variance_rad2 += drift_rad2_per_s * elapsed_s;
    let foretold_rad2 = hypothesis.variance_rad2 + noise_rad2;
    let [dx, dy] = [
        sums.mean_rad[0] - hypothesis.place_rad[0],
        sums.mean_rad[1] - hypothesis.place_rad[1],
    ];
    let cost = (dx * dx + dy * dy) / foretold_rad2 + 2.0 * libm::logf(foretold_rad2 / noise_rad2);
    if cost > outlier_cost {
        hypothesis.cost += outlier_cost;
        hypothesis.peak_rad_s = hypothesis.peak_rad_s.max(observation.velocity_rad_s);
        return;
    }
    let gain = hypothesis.variance_rad2 / foretold_rad2;
    hypothesis.place_rad[0] += gain * dx;
    hypothesis.place_rad[1] += gain * dy;
    hypothesis.variance_rad2 *= 1.0 - gain;
    hypothesis.cost += cost;
    hypothesis.peak_rad_s = 0.0;
    hypothesis.blinked = false;
    hypothesis.sums.absorb(sums);
    hypothesis.bins = hypothesis.bins.saturating_add(1);
}
