//! Labels become fixations, saccades and pursuits.
//!
//! A fixation may go on over a blink. Whether gaze is about to go missing is known when a label is
//! decided, for a label waits; so a fixation that ends just before it goes missing is held until
//! gaze rests again, at the same place or elsewhere. What the labels have in between is the lids'
//! way down and up: no saccade is made of it.

use gaze_protocol::{EventKind, GazeEvent, Pursuit, Saccade, Span, Timestamp};

use super::steady::Label;
use crate::event_buf::EventBuf;
use crate::fixation::{SampleSums, angle_between_rad};
use crate::life::Open;
use crate::settings::{SettingProblems, settings};

settings! {
    /// What the network's labels have to come to.
    pub struct NetworkSettings {
        /// Shorter fixations are dropped, ms; 0 to 500. Default 40 (REMoDNaV).
        pub shortest_fixation_ms: u32,
        /// Shorter pursuits are dropped, ms; 0 to 1000. Default 100: pursuit takes that long to show.
        pub shortest_pursuit_ms: u32,
        /// Rests before and after a blink that are no further apart than this are one fixation, deg;
        /// 0 to 10. Default 1.5: what half a degree of noise does to the place of a short rest.
        pub merge_over_blink_deg: f32,
    }
}

impl Default for NetworkSettings {
    fn default() -> Self {
        NetworkSettings {
            shortest_fixation_ms: 40,
            shortest_pursuit_ms: 100,
            merge_over_blink_deg: 1.5,
        }
    }
}

impl NetworkSettings {
    /// Every setting that is out of range.
    pub fn check(&self) -> SettingProblems {
        let mut problems = SettingProblems::default();
        let fixation = self.shortest_fixation_ms;
        problems.range_ms("network.shortest_fixation_ms", fixation, 0, 500);
        let pursuit = self.shortest_pursuit_ms;
        problems.range_ms("network.shortest_pursuit_ms", pursuit, 0, 1000);
        let merge = self.merge_over_blink_deg;
        problems.range("network.merge_over_blink_deg", merge, 0.0, 10.0);
        problems
    }
}

/// Ticks that a fixation's place before a blink is the mean of.
const RECENT_TICKS: u32 = 8;

/// Ticks in a row with one label.
#[derive(Clone, Copy, Debug)]
struct Segment {
    label: Label,
    sums: SampleSums,
    first_rad: [f32; 2],
    /// Where gaze was last, the mean of about `RECENT_TICKS`.
    recent_rad: [f32; 2],
    ticks: u32,
    /// Greatest velocity from tick to tick, radians a second.
    peak_rad_s: f32,
}

impl Segment {
    fn new(label: Label, sums: SampleSums, peak_rad_s: f32) -> Self {
        Segment {
            label,
            sums,
            first_rad: sums.mean_rad,
            recent_rad: sums.mean_rad,
            ticks: 1,
            peak_rad_s,
        }
    }

    fn absorb(&mut self, sums: &SampleSums, velocity_rad_s: f32) {
        self.sums.absorb(sums);
        self.ticks = self.ticks.saturating_add(1);
        let gain = 1.0 / self.ticks.min(RECENT_TICKS) as f32;
        for (recent_rad, now_rad) in self.recent_rad.iter_mut().zip(sums.mean_rad) {
            *recent_rad += gain * (now_rad - *recent_rad);
        }
        self.peak_rad_s = self.peak_rad_s.max(velocity_rad_s);
    }
}

/// Follows the labels.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    shortest_fixation: Span,
    shortest_pursuit: Span,
    merge_over_blink_rad: f32,
    /// A fixation that ended where gaze went missing, and may go on.
    held: Option<Segment>,
    current: Option<Segment>,
    /// The last tick with gaze, unless gaze is missing since.
    last: Option<SampleSums>,
    /// The last tick before the current segment.
    before: Option<SampleSums>,
}

impl Segments {
    /// `settings` have been checked.
    pub fn new(settings: NetworkSettings) -> Self {
        let span = |ms: u32| Span::from_ms(u64::from(ms));
        Segments {
            shortest_fixation: span(settings.shortest_fixation_ms),
            shortest_pursuit: span(settings.shortest_pursuit_ms),
            merge_over_blink_rad: settings.merge_over_blink_deg.to_radians(),
            held: None,
            current: None,
            last: None,
            before: None,
        }
    }

    /// Takes a tick's label and its samples; none where gaze is missing. `is_closing`: gaze goes
    /// missing within what is known of the time after it.
    pub fn step(
        &mut self,
        label: Label,
        sums: Option<SampleSums>,
        is_closing: bool,
        out: &mut EventBuf,
    ) {
        let Some(sums) = sums else {
            self.close(None, true, out);
            self.last = None;
            self.before = None;
            return;
        };
        let velocity_rad_s = self.last.map_or(0.0, |last| {
            let elapsed_us = sums.middle().since(last.middle()).as_us();
            angle_between_rad(last.mean_rad, sums.mean_rad) / (elapsed_us.max(1) as f32 * 1e-6)
        });
        match &mut self.current {
            Some(current) if current.label == label => current.absorb(&sums, velocity_rad_s),
            _ => {
                self.close(Some(&sums), is_closing, out);
                self.before = self.last;
                self.current = Some(Segment::new(label, sums, velocity_rad_s));
            }
        }
        self.last = Some(sums);
        self.settle(out);
    }

    /// The stream ends: completes what is open.
    pub fn finish(&mut self, out: &mut EventBuf) {
        self.close(None, false, out);
        self.release(out);
        self.last = None;
        self.before = None;
    }

    /// What goes on; a fixation or pursuit once it is long enough to be one.
    pub fn open(&self) -> Option<Open> {
        if let Some(held) = &self.held {
            return Some(held.sums.to_open());
        }
        let current = self.current.as_ref()?;
        let kind = self.kind(current)?;
        Some(Open {
            kind,
            onset: self.onset(current),
            until: current.sums.last,
            por: current.sums.por(),
        })
    }

    /// Once gaze rests again or follows something: the held fixation goes on, or is over.
    fn settle(&mut self, out: &mut EventBuf) {
        let (Some(held), Some(current)) = (&self.held, &mut self.current) else {
            return;
        };
        let lasts = Span(current.sums.duration_us());
        match current.label {
            Label::Fixation if lasts >= self.shortest_fixation => {
                let away_rad = angle_between_rad(held.recent_rad, current.sums.mean_rad);
                if away_rad <= self.merge_over_blink_rad {
                    let mut sums = held.sums;
                    sums.absorb(&current.sums);
                    current.sums = sums;
                    self.held = None;
                } else {
                    self.release(out);
                }
            }
            Label::Pursuit if lasts >= self.shortest_pursuit => self.release(out),
            _ => {}
        }
    }

    fn release(&mut self, out: &mut EventBuf) {
        if let Some(held) = self.held.take() {
            out.push(GazeEvent::Fixation(held.sums.to_fixation()));
        }
    }

    fn close(&mut self, next: Option<&SampleSums>, is_closing: bool, out: &mut EventBuf) {
        let Some(current) = self.current.take() else {
            return;
        };
        let end_rad = |fallback: Option<&SampleSums>| {
            fallback.map_or(current.sums.mean_rad, |sums| sums.mean_rad)
        };
        match self.kind(&current) {
            // `settle` has released what was held before this one.
            Some(EventKind::Fixation) if is_closing => self.held = Some(current),
            Some(EventKind::Fixation) => {
                out.push(GazeEvent::Fixation(current.sums.to_fixation()));
            }
            Some(EventKind::Pursuit) => out.push(GazeEvent::Pursuit(Pursuit {
                onset: current.sums.first,
                offset: current.sums.last,
                por: current.sums.por(),
                amplitude_rad: angle_between_rad(current.first_rad, end_rad(self.last.as_ref())),
                id: 0,
            })),
            Some(EventKind::Saccade) if self.held.is_none() => {
                let from_rad = self.before.map_or(current.first_rad, |sums| sums.mean_rad);
                out.push(GazeEvent::Saccade(Saccade {
                    onset: self.onset(&current),
                    offset: next.map_or(current.sums.last, |sums| sums.first),
                    amplitude_rad: angle_between_rad(
                        from_rad,
                        end_rad(next.or(self.last.as_ref())),
                    ),
                    peak_velocity_rad_s: current.peak_rad_s,
                    landing: next.and_then(SampleSums::por),
                    id: 0,
                }));
            }
            _ => {}
        }
    }

    /// A saccade begins with the last sample before the jump.
    fn onset(&self, segment: &Segment) -> Timestamp {
        match (segment.label, &self.before) {
            (Label::Saccade, Some(before)) => before.last,
            _ => segment.sums.first,
        }
    }

    /// What event a segment is by now, if any.
    fn kind(&self, segment: &Segment) -> Option<EventKind> {
        let lasts = Span(segment.sums.duration_us());
        match segment.label {
            Label::Fixation => (lasts >= self.shortest_fixation).then_some(EventKind::Fixation),
            Label::Pursuit => (lasts >= self.shortest_pursuit).then_some(EventKind::Pursuit),
            Label::Saccade => Some(EventKind::Saccade),
            Label::Blink | Label::Oscillation => None,
        }
    }
}
