//! Calms what trembles from frame to frame.

use gaze_protocol::Timestamp;

/// Smooths places in the picture over time: a 1€ filter for each point (Casiez, Roussel & Vogel 2012), whose
/// cut-off rises with the point's speed. Lengths are in eye distances, so that near and far faces
/// are smoothed alike.
///
/// The eyes' patches are cut at the smoothed corners: a corner that trembles by a pixel would
/// otherwise move the iris within its patch by as much. The next frame's crop is cut at the raw
/// points, so tracking does not lag. Irises are smoothed for those who look at them; gaze does not
/// come from the smoothed ones.
#[derive(Clone, Debug)]
pub struct Smoothing<const N: usize> {
    last: Option<Smoothed<N>>,
}

#[derive(Clone, Debug)]
struct Smoothed<const N: usize> {
    at: Timestamp,
    points_px: [[f32; 2]; N],
    /// Eye distances a second.
    velocity: [[f32; 2]; N],
}

/// Cut-off for a point at rest, Hz.
const MIN_CUTOFF_HZ: f32 = 2.0;
/// Rise of the cut-off, Hz for each eye distance a second: a head that moves 6 cm/s is followed
/// with a cut-off of 12 Hz.
const CUTOFF_PER_SPEED: f32 = 10.0;
/// Cut-off of the speed itself, Hz; the value of the paper.
const SPEED_CUTOFF_HZ: f32 = 1.0;

impl<const N: usize> Default for Smoothing<N> {
    fn default() -> Self {
        Smoothing { last: None }
    }
}

impl<const N: usize> Smoothing<N> {
    /// Forgets the past.
    pub fn reset(&mut self) {
        self.last = None;
    }

    /// The smoothed points of the frame taken at `at`.
    pub fn step(
        &mut self,
        at: Timestamp,
        points_px: &[[f32; 2]; N],
        scale_px: f32,
    ) -> [[f32; 2]; N] {
        let Some(last) = &mut self.last else {
            self.last = Some(Smoothed {
                at,
                points_px: *points_px,
                velocity: [[0.0; 2]; N],
            });
            return *points_px;
        };
        let dt_s = at.since(last.at).as_s();
        // A repeated frame, or time running backwards, says nothing about speed.
        if dt_s > 0.0 {
            let speed_share = low_pass_share(SPEED_CUTOFF_HZ, dt_s);
            for (k, raw) in points_px.iter().enumerate() {
                let (smooth, velocity) = (&mut last.points_px[k], &mut last.velocity[k]);
                for axis in 0..2 {
                    let raw_velocity = (raw[axis] - smooth[axis]) / (scale_px * dt_s);
                    velocity[axis] += speed_share * (raw_velocity - velocity[axis]);
                }
                let speed = velocity[0].hypot(velocity[1]);
                let share = low_pass_share(MIN_CUTOFF_HZ + CUTOFF_PER_SPEED * speed, dt_s);
                for axis in 0..2 {
                    smooth[axis] += share * (raw[axis] - smooth[axis]);
                }
            }
            last.at = at;
        }
        last.points_px
    }
}

/// Share of the newest value in an exponential low pass.
fn low_pass_share(cutoff_hz: f32, dt_s: f32) -> f32 {
    let r = 2.0 * std::f32::consts::PI * cutoff_hz * dt_s;
    r / (1.0 + r)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_calms_a_resting_point_and_follows_a_moving_one() {
        let at = |frame: u64| Timestamp(frame * 33_333);
        let mut smoothing = Smoothing::default();
        // At rest with ±0.3 px: the swing becomes less than half.
        let mut swing: f32 = 0.0;
        for frame in 0..60u64 {
            let noise = if frame.is_multiple_of(2) { 0.3 } else { -0.3 };
            let smooth = smoothing.step(at(frame), &[[100.0 + noise, 50.0]; 3], 70.0);
            if frame > 30 {
                swing = swing.max((smooth[0][0] - 100.0).abs());
            }
        }
        assert!(swing < 0.15, "{swing}");
        // Moving at 140 px/s (two eye distances a second): lags by less than one frame (4.7 px).
        let mut lag = 0.0;
        for frame in 60..90u64 {
            let x = 100.0 + 140.0 * (frame - 60) as f32 / 30.0;
            lag = x - smoothing.step(at(frame), &[[x, 50.0]; 3], 70.0)[0][0];
        }
        assert!(lag < 4.7, "{lag}");
    }

    #[test]
    fn a_repeated_frame_changes_nothing() {
        let mut smoothing = Smoothing::default();
        smoothing.step(Timestamp(0), &[[1.0, 1.0]; 2], 70.0);
        let first = smoothing.step(Timestamp(33_333), &[[2.0, 1.0]; 2], 70.0);
        let again = smoothing.step(Timestamp(33_333), &[[2.0, 1.0]; 2], 70.0);
        assert_eq!(first, again);
    }
}
