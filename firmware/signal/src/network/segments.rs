//! Labels become fixations, saccades and pursuits.

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
    }
}

impl Default for NetworkSettings {
    fn default() -> Self {
        NetworkSettings {
            shortest_fixation_ms: 40,
            shortest_pursuit_ms: 100,
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
        problems
    }
}

/// Ticks in a row with one label.
#[derive(Clone, Copy, Debug)]
struct Segment {
    label: Label,
    sums: SampleSums,
    first_rad: [f32; 2],
    /// Greatest velocity from tick to tick, radians a second.
    peak_rad_s: f32,
}

/// Follows the labels.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    shortest_fixation: Span,
    shortest_pursuit: Span,
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
            current: None,
            last: None,
            before: None,
        }
    }

    /// Takes a tick's label and its samples; none where gaze is missing.
    pub fn step(&mut self, label: Label, sums: Option<SampleSums>, out: &mut EventBuf) {
        let Some(sums) = sums else {
            self.finish(out);
            return;
        };
        let velocity_rad_s = self.last.map_or(0.0, |last| {
            let elapsed_us = sums.middle().since(last.middle()).as_us();
            angle_between_rad(last.mean_rad, sums.mean_rad) / (elapsed_us.max(1) as f32 * 1e-6)
        });
        match &mut self.current {
            Some(current) if current.label == label => {
                current.sums.absorb(&sums);
                current.peak_rad_s = current.peak_rad_s.max(velocity_rad_s);
            }
            _ => {
                self.close(Some(&sums), out);
                self.before = self.last;
                self.current = Some(Segment {
                    label,
                    sums,
                    first_rad: sums.mean_rad,
                    peak_rad_s: velocity_rad_s,
                });
            }
        }
        self.last = Some(sums);
    }

    /// Gaze is missing from here on: completes what is open.
    pub fn finish(&mut self, out: &mut EventBuf) {
        self.close(None, out);
        self.last = None;
        self.before = None;
    }

    /// What goes on; a fixation or pursuit once it is long enough to be one.
    pub fn open(&self) -> Option<Open> {
        let current = self.current.as_ref()?;
        let kind = self.kind(current)?;
        Some(Open {
            kind,
            onset: self.onset(current),
            until: current.sums.last,
            por: current.sums.por(),
        })
    }

    fn close(&mut self, next: Option<&SampleSums>, out: &mut EventBuf) {
        let Some(current) = self.current.take() else {
            return;
        };
        let end_rad = |fallback: Option<&SampleSums>| {
            fallback.map_or(current.sums.mean_rad, |sums| sums.mean_rad)
        };
        match self.kind(&current) {
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
            Some(EventKind::Saccade) => {
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
