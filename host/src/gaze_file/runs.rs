//! Rows with one label in a row become an event.

use std::io::Write;

use gaze_signal::Label;

use super::{Labelled, letter};

/// Shorter fixations and pursuits are labelled but are no events, µs (REMoDNaV: 40 ms; pursuit
/// takes 100 ms to show).
const SHORTEST_FIXATION_US: u64 = 40_000;
const SHORTEST_PURSUIT_US: u64 = 100_000;

/// One line of the events file. Numbers of gaze are none where the event has no gaze.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EventRow {
    pub label: Label,
    /// First sample.
    pub onset_us: u64,
    /// First sample after it; at the end of a recording, one interval after the last.
    pub offset_us: u64,
    pub samples: u64,
    /// From the sample before it, where that has gaze, to its last; degrees.
    pub amplitude_deg: Option<f64>,
    /// Greatest velocity between two samples.
    pub peak_velocity_deg_s: Option<f64>,
    /// (max x − min x) + (max y − min y).
    pub dispersion_deg: Option<f64>,
    /// Mean x and y.
    pub centroid_deg: Option<[f64; 2]>,
}

impl EventRow {
    pub const HEADER: &str = "recording,label,onset_us,offset_us,samples,amplitude_deg,\
        peak_velocity_deg_s,dispersion_deg,centroid_x_deg,centroid_y_deg";

    pub fn write(&self, recording: &str, out: &mut impl Write) -> std::io::Result<()> {
        let number = |number: Option<f64>| number.map_or(String::new(), |n| format!("{n:.4}"));
        writeln!(
            out,
            "{recording},{},{},{},{},{},{},{},{},{}",
            letter(self.label),
            self.onset_us,
            self.offset_us,
            self.samples,
            number(self.amplitude_deg),
            number(self.peak_velocity_deg_s),
            number(self.dispersion_deg),
            number(self.centroid_deg.map(|[x, _]| x)),
            number(self.centroid_deg.map(|[_, y]| y)),
        )
    }
}

/// The event being read.
#[derive(Clone, Debug)]
struct Run {
    label: Label,
    onset_us: u64,
    last_us: u64,
    samples: u64,
    with_gaze: u64,
    from_deg: Option<[f64; 2]>,
    last_deg: Option<[f64; 2]>,
    min_deg: [f64; 2],
    max_deg: [f64; 2],
    sum_deg: [f64; 2],
    peak_deg_s: Option<f64>,
}

/// Follows one recording after another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    run: Option<Run>,
    /// The last row, and the time from the one before to it.
    last: Option<(u64, Option<[f64; 2]>)>,
    interval_us: u64,
}

impl Runs {
    /// Takes the next row; gives the event that ended before it.
    pub fn step(&mut self, labelled: &Labelled) -> Option<EventRow> {
        let (at_us, gaze) = (labelled.row.at.as_us(), labelled.row.gaze_deg);
        let ended = self
            .run
            .take_if(|run| run.label != labelled.label)
            .and_then(|run| run.end(at_us));
        let before = self.last.replace((at_us, gaze));
        let run = self.run.get_or_insert(Run {
            label: labelled.label,
            onset_us: at_us,
            last_us: at_us,
            samples: 0,
            with_gaze: 0,
            from_deg: before.and_then(|(_, gaze)| gaze).or(gaze),
            last_deg: None,
            min_deg: [f64::INFINITY; 2],
            max_deg: [f64::NEG_INFINITY; 2],
            sum_deg: [0.0; 2],
            peak_deg_s: None,
        });
        run.samples += 1;
        run.last_us = at_us;
        if let Some((before_us, before_deg)) = before {
            self.interval_us = at_us - before_us;
            if let (Some(from), Some(to)) = (before_deg, gaze)
                && at_us > before_us
            {
                let speed = distance(from, to) / ((at_us - before_us) as f64 * 1e-6);
                run.peak_deg_s = Some(run.peak_deg_s.map_or(speed, |peak| peak.max(speed)));
            }
        }
        if let Some(gaze) = gaze {
            run.with_gaze += 1;
            run.last_deg = Some(gaze);
            for (axis, deg) in gaze.into_iter().enumerate() {
                run.min_deg[axis] = run.min_deg[axis].min(deg);
                run.max_deg[axis] = run.max_deg[axis].max(deg);
                run.sum_deg[axis] += deg;
            }
        }
        ended
    }

    /// Ends the recording; gives its last event.
    pub fn finish(&mut self) -> Option<EventRow> {
        let interval_us = std::mem::take(&mut self.interval_us);
        self.last = None;
        let run = self.run.take()?;
        let end_us = run.last_us.saturating_add(interval_us);
        run.end(end_us)
    }
}

impl Run {
    /// The event, which ended before the sample at `offset_us`; none if it is too short to be one.
    fn end(self, offset_us: u64) -> Option<EventRow> {
        let lasted_us = offset_us - self.onset_us;
        let shortest_us = match self.label {
            Label::Fixation => SHORTEST_FIXATION_US,
            Label::Pursuit => SHORTEST_PURSUIT_US,
            Label::Saccade | Label::Blink | Label::Oscillation => 0,
        };
        if lasted_us < shortest_us {
            return None;
        }
        let has_gaze = self.with_gaze > 0;
        let extent = |axis: usize| self.max_deg[axis] - self.min_deg[axis];
        let count = self.with_gaze as f64;
        Some(EventRow {
            label: self.label,
            onset_us: self.onset_us,
            offset_us,
            samples: self.samples,
            amplitude_deg: self
                .from_deg
                .zip(self.last_deg)
                .map(|(from, to)| distance(from, to)),
            peak_velocity_deg_s: self.peak_deg_s,
            dispersion_deg: has_gaze.then(|| extent(0) + extent(1)),
            centroid_deg: has_gaze.then(|| self.sum_deg.map(|sum| sum / count)),
        })
    }
}

fn distance(from: [f64; 2], to: [f64; 2]) -> f64 {
    (to[0] - from[0]).hypot(to[1] - from[1])
}
