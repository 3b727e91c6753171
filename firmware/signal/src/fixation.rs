//! What all detectors share: samples to work on, and the running sums of a fixation.

use gaze_protocol::{EventKind, Fixation, GazeAngles, PointOfRegard, Span, Timestamp};

use crate::life::Open;

/// A sample that has gaze to work on; all numbers are finite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UsableSample {
    pub at: Timestamp,
    pub gaze: GazeAngles,
    pub por: Option<PointOfRegard>,
}

impl UsableSample {
    /// (yaw, pitch), radians.
    pub fn gaze_rad(&self) -> [f32; 2] {
        [self.gaze.yaw_rad, self.gaze.pitch_rad]
    }
}

/// One or more samples summed up: what is kept of a fixation, however long it lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SampleSums {
    pub first: Timestamp,
    pub last: Timestamp,
    pub count: u32,
    /// (yaw, pitch) of the line of gaze, radians.
    pub mean_rad: [f32; 2],
    min_rad: [f32; 2],
    max_rad: [f32; 2],
    por_count: u32,
    por_mean_mm: [f32; 2],
}

impl SampleSums {
    pub fn new(sample: &UsableSample) -> Self {
        let gaze = sample.gaze_rad();
        let por = sample.por.map(|por| [por.x_mm, por.y_mm]);
        SampleSums {
            first: sample.at,
            last: sample.at,
            count: 1,
            mean_rad: gaze,
            min_rad: gaze,
            max_rad: gaze,
            por_count: u32::from(por.is_some()),
            por_mean_mm: por.unwrap_or_default(),
        }
    }

    /// Adds what came later. The means are running means, so that nothing grows with time.
    pub fn absorb(&mut self, later: &SampleSums) {
        self.last = later.last;
        self.mean_rad = pooled(self.mean_rad, self.count, later.mean_rad, later.count);
        self.count = self.count.saturating_add(later.count);
        self.por_mean_mm = pooled(
            self.por_mean_mm,
            self.por_count,
            later.por_mean_mm,
            later.por_count,
        );
        self.por_count = self.por_count.saturating_add(later.por_count);
        for axis in 0..2 {
            self.min_rad[axis] = self.min_rad[axis].min(later.min_rad[axis]);
            self.max_rad[axis] = self.max_rad[axis].max(later.max_rad[axis]);
        }
    }

    /// Time from the first sample to the last, microseconds.
    pub fn duration_us(&self) -> u64 {
        self.last.since(self.first).as_us()
    }

    /// Halfway between the first sample and the last.
    pub fn middle(&self) -> Timestamp {
        self.first + Span(self.duration_us() / 2)
    }

    /// (max x − min x) + (max y − min y), radians.
    pub fn dispersion_rad(&self) -> f32 {
        self.max_rad[0] - self.min_rad[0] + self.max_rad[1] - self.min_rad[1]
    }

    /// [`Self::dispersion_rad`] if `later` were absorbed.
    pub fn dispersion_with_rad(&self, later: &SampleSums) -> f32 {
        let axis = |i: usize| {
            self.max_rad[i].max(later.max_rad[i]) - self.min_rad[i].min(later.min_rad[i])
        };
        axis(0) + axis(1)
    }

    pub fn por(&self) -> Option<PointOfRegard> {
        let [x_mm, y_mm] = self.por_mean_mm;
        (self.por_count > 0).then_some(PointOfRegard { x_mm, y_mm })
    }

    pub fn to_fixation(self) -> Fixation {
        Fixation {
            onset: self.first,
            offset: self.last,
            por: self.por(),
            centroid_rad: self.mean_rad,
            dispersion_rad: self.dispersion_rad(),
            id: 0,
        }
    }

    /// A fixation that goes on.
    pub fn to_open(self) -> Open {
        Open {
            kind: EventKind::Fixation,
            onset: self.first,
            until: self.last,
            por: self.por(),
        }
    }
}

fn pooled(mean: [f32; 2], count: u32, other: [f32; 2], other_count: u32) -> [f32; 2] {
    let all = count.saturating_add(other_count);
    if all == 0 {
        return mean;
    }
    let share = other_count as f32 / all as f32;
    core::array::from_fn(|axis| mean[axis] * (1.0 - share) + other[axis] * share)
}

/// The angle between two mean lines of gaze, radians.
pub(crate) fn angle_between_rad(from: [f32; 2], to: [f32; 2]) -> f32 {
    let angles = |[yaw_rad, pitch_rad]: [f32; 2]| GazeAngles { yaw_rad, pitch_rad };
    angles(from).angle_to(angles(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(us: u64, yaw_rad: f32, por: Option<PointOfRegard>) -> SampleSums {
        let pitch_rad = 0.5 * yaw_rad;
        SampleSums::new(&UsableSample {
            at: Timestamp(us),
            gaze: GazeAngles { yaw_rad, pitch_rad },
            por,
        })
    }

    #[test]
    fn sums_have_the_mean_and_the_extent_of_their_samples() {
        let point = |x_mm| PointOfRegard { x_mm, y_mm: 1.0 };
        let mut all = sums(10, 0.1, Some(point(4.0)));
        all.absorb(&sums(20, 0.3, None));
        let mut pair = sums(30, 0.2, Some(point(7.0)));
        pair.absorb(&sums(40, 0.6, Some(point(10.0))));
        assert!((all.dispersion_with_rad(&pair) - 0.75).abs() < 1e-6);
        all.absorb(&pair);
        let fixation = all.to_fixation();
        assert_eq!(
            (fixation.onset, fixation.offset),
            (Timestamp(10), Timestamp(40))
        );
        assert!((fixation.centroid_rad[0] - 0.3).abs() < 1e-6);
        assert!((fixation.centroid_rad[1] - 0.15).abs() < 1e-6);
        // (0.6 − 0.1) + (0.3 − 0.05).
        assert!((fixation.dispersion_rad - 0.75).abs() < 1e-6);
        let por = fixation.por.expect("three samples have one");
        assert!((por.x_mm - 7.0).abs() < 1e-5);
        assert_eq!(all.middle(), Timestamp(25));
    }
}
