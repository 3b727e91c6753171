//! What comes after I-VT and I-DT alike: merging neighbours, dropping short ones, the saccades.

use gaze_protocol::{GazeEvent, Saccade, Span, Timestamp};

use crate::event_buf::EventBuf;
use crate::fixation::{SampleSums, UsableSample, angle_between_rad};

/// A fixation that nothing has followed for this long is over.
const STALE: Span = Span::from_ms(1000);

/// When candidate fixations are one, none, or two with a saccade between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunLimits {
    pub shortest_fixation: Span,
    pub merge_within: Span,
    pub longest_saccade: Span,
}

/// Turns runs of resting samples into fixations.
///
/// A fixation is reported as soon as the next one has lasted for the shortest fixation's time.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    limits: RunLimits,
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
    pub fn new(limits: RunLimits) -> Self {
        Runs {
            limits,
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
        let shortest = self.limits.shortest_fixation.as_us();
        if let Some(young) = self.young.take_if(|young| young.duration_us() >= shortest) {
            self.promote(young, merge_rad, out);
        }
    }

    /// Reports what is open and forgets it.
    pub fn flush(&mut self, merge_rad: f32, out: &mut EventBuf) {
        self.end_run(merge_rad);
        if let Some(current) = self.current.take() {
            out.push(GazeEvent::Fixation(current.to_fixation()));
        }
        *self = Runs::new(self.limits);
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
            if !self.blinked && young.first.since(before.last) <= self.limits.longest_saccade {
                out.push(GazeEvent::Saccade(Saccade {
                    onset: before.last,
                    offset: young.first,
                    amplitude_rad: angle_between_rad(before.mean_rad, young.mean_rad),
                    peak_velocity_rad_s: self.peak_before_young_rad_s,
                    landing: young.por(),
                }));
            }
        }
    }

    fn is_same_place(&self, young: &SampleSums, merge_rad: f32) -> bool {
        self.current.as_ref().is_some_and(|current| {
            let is_soon = young.first.since(current.last) <= self.limits.merge_within;
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
