//! What comes after I-VT and I-DT alike: merging neighbours, dropping short ones, the saccades.

use gaze_protocol::{GazeEvent, Saccade, Span, Timestamp};

use crate::event_buf::EventBuf;
use crate::fixation::{SampleSums, UsableSample, angle_between_rad};
use crate::life::Open;
use crate::noise::Noise;
use crate::settings::{SettingProblems, settings};

/// A fixation that nothing has followed for this long is over.
const STALE: Span = Span::from_ms(1000);

settings! {
    /// When candidate fixations are one, or two with a saccade between.
    pub struct RunSettings {
        /// Fixations no further apart than this in time may be one, ms; 0 to 500. Default 75
        /// (Tobii).
        pub merge_within_ms: u32,
        /// And no further than this in angle between their centres, deg; 0 to 10. Default 0.5
        /// (Tobii). Where a detector's threshold rises with the noise, at least the noise.
        pub merge_distance_deg: f32,
        /// A longer way from one fixation to the next is no saccade, ms; 20 to 1000. Default 200: the
        /// largest saccades take 100 ms (Carpenter 1988), and up to two frames at 30 Hz are lost
        /// at the ends.
        pub longest_saccade_ms: u32,
    }
}

impl Default for RunSettings {
    fn default() -> Self {
        RunSettings {
            merge_within_ms: 75,
            merge_distance_deg: 0.5,
            longest_saccade_ms: 200,
        }
    }
}

impl RunSettings {
    /// Every setting that is out of range.
    pub fn check(&self) -> SettingProblems {
        let mut problems = SettingProblems::default();
        problems.range_ms("runs.merge_within_ms", self.merge_within_ms, 0, 500);
        let merge = self.merge_distance_deg;
        problems.range("runs.merge_distance_deg", merge, 0.0, 10.0);
        problems.range_ms("runs.longest_saccade_ms", self.longest_saccade_ms, 20, 1000);
        problems
    }

    /// "merge ≤ max(0.5°, 2 × precision)": with noise, centres of one fixation differ by more.
    pub(crate) fn merge_rad(&self, noise_factor: f32, noise: &Noise) -> f32 {
        let merge_rad = self.merge_distance_deg.to_radians();
        if noise_factor > 0.0 {
            merge_rad.max(noise.sigma_rad())
        } else {
            merge_rad
        }
    }
}

/// Turns runs of resting samples into fixations.
///
/// A fixation is reported as soon as the next one has lasted for the shortest fixation's time.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    shortest_fixation: Span,
    merge_within: Span,
    longest_saccade: Span,
    /// The last fixation that was long enough.
    current: Option<SampleSums>,
    is_continuing: bool,
    /// A run too short so far.
    young: Option<SampleSums>,
    /// Greatest velocity since `current` ended, radians a second.
    peak_rad_s: f32,
    /// The same up to the first sample of `young`.
    peak_before_young_rad_s: f32,
    blinked: bool,
}

impl Runs {
    /// `settings` have been checked.
    pub fn new(settings: RunSettings, shortest_fixation_ms: u32) -> Self {
        let span = |ms: u32| Span::from_ms(u64::from(ms));
        Runs {
            shortest_fixation: span(shortest_fixation_ms),
            merge_within: span(settings.merge_within_ms),
            longest_saccade: span(settings.longest_saccade_ms),
            current: None,
            is_continuing: false,
            young: None,
            peak_rad_s: 0.0,
            peak_before_young_rad_s: 0.0,
            blinked: false,
        }
    }

    /// A sample in no run, reached at `velocity_rad_s`.
    pub fn pass(&mut self, velocity_rad_s: f32) {
        self.end_run(0.0);
        self.peak_rad_s = self.peak_rad_s.max(velocity_rad_s);
    }

    /// The eyes were closed between the last sample and the next.
    pub fn blink(&mut self, merge_rad: f32) {
        self.end_run(merge_rad);
        self.blinked = true;
    }

    /// Ends the run; the next sample begins another.
    pub fn end_run(&mut self, merge_rad: f32) {
        if self.is_continuing {
            self.is_continuing = false;
            self.peak_rad_s = 0.0;
            self.blinked = false;
        } else if let Some(young) = self.young.take()
            && self.is_same_place(&young, merge_rad)
            && let Some(current) = &mut self.current
        {
            current.absorb(&young);
            self.peak_rad_s = 0.0;
            self.blinked = false;
        }
    }

    /// A sample at rest, reached at `velocity_rad_s`.
    pub fn rest(
        &mut self,
        sample: &UsableSample,
        velocity_rad_s: f32,
        merge_rad: f32,
        out: &mut EventBuf,
    ) {
        let sums = SampleSums::new(sample);
        if self.is_continuing
            && let Some(current) = &mut self.current
        {
            current.absorb(&sums);
            return;
        }
        self.peak_rad_s = self.peak_rad_s.max(velocity_rad_s);
        self.report_if_stale(sample.at, out);
        match &mut self.young {
            Some(young) => young.absorb(&sums),
            None => {
                self.peak_before_young_rad_s = self.peak_rad_s;
                self.young = Some(sums);
            }
        }
        let shortest = self.shortest_fixation.as_us();
        if let Some(young) = self.young.take_if(|young| young.duration_us() >= shortest) {
            self.promote(young, merge_rad, out);
        }
    }

    /// The fixation that goes on, or that nothing has followed yet.
    pub fn open(&self) -> Option<Open> {
        self.current.map(SampleSums::to_open)
    }

    /// Reports what is open and forgets it.
    pub fn flush(&mut self, merge_rad: f32, out: &mut EventBuf) {
        self.end_run(merge_rad);
        if let Some(current) = self.current.take() {
            out.push(GazeEvent::Fixation(current.to_fixation()));
        }
        self.young = None;
        self.peak_rad_s = 0.0;
        self.blinked = false;
    }

    fn promote(&mut self, young: SampleSums, merge_rad: f32, out: &mut EventBuf) {
        self.is_continuing = true;
        if self.is_same_place(&young, merge_rad)
            && let Some(current) = &mut self.current
        {
            current.absorb(&young);
            return;
        }
        if let Some(before) = self.current.replace(young) {
            out.push(GazeEvent::Fixation(before.to_fixation()));
            if !self.blinked && young.first.since(before.last) <= self.longest_saccade {
                out.push(GazeEvent::Saccade(Saccade {
                    onset: before.last,
                    offset: young.first,
                    amplitude_rad: angle_between_rad(before.mean_rad, young.mean_rad),
                    peak_velocity_rad_s: self.peak_before_young_rad_s,
                    landing: young.por(),
                    id: 0,
                }));
            }
        }
    }

    fn is_same_place(&self, young: &SampleSums, merge_rad: f32) -> bool {
        self.current.as_ref().is_some_and(|current| {
            let is_soon = young.first.since(current.last) <= self.merge_within;
            (is_soon || self.blinked)
                && angle_between_rad(current.mean_rad, young.mean_rad) <= merge_rad
        })
    }

    fn report_if_stale(&mut self, at: Timestamp, out: &mut EventBuf) {
        if let Some(current) = self
            .current
            .take_if(|current| at.since(current.last) > STALE)
        {
            out.push(GazeEvent::Fixation(current.to_fixation()));
            self.blinked = false;
        }
    }
}
