//! Angular velocity between two samples, from their own times.

use gaze_protocol::{GazeAngles, GazeSample, Timestamp};

/// Mean angular velocity of the line of gaze from one sample to a later one, radians a second.
///
/// None where either sample has no finite line of gaze, or where time stands still or runs
/// backwards. Holes are not judged here: the velocity over a long hole is the mean over the hole.
pub fn velocity_rad_s(earlier: &GazeSample, later: &GazeSample) -> Option<f32> {
    between_rad_s(
        earlier.captured_at,
        earlier.line_of_gaze?,
        later.captured_at,
        later.line_of_gaze?,
    )
}

pub(crate) fn between_rad_s(
    from_at: Timestamp,
    from: GazeAngles,
    to_at: Timestamp,
    to: GazeAngles,
) -> Option<f32> {
    let is_finite = |gaze: GazeAngles| gaze.yaw_rad.is_finite() && gaze.pitch_rad.is_finite();
    let duration = to_at.since(from_at);
    if duration.as_us() == 0 || !is_finite(from) || !is_finite(to) {
        return None;
    }
    Some(from.angle_to(to) / duration.as_s())
}

#[cfg(test)]
mod tests {
    use gaze_protocol::Validity;

    use super::*;

    fn sample(us: u64, yaw_deg: f32) -> GazeSample {
        let gaze = GazeAngles {
            yaw_rad: yaw_deg.to_radians(),
            pitch_rad: 0.0,
        };
        GazeSample {
            seq: 0,
            captured_at: Timestamp(us),
            validity: Validity::Valid,
            lids_are_down: false,
            angles: None,
            por: None,
            line_of_gaze: Some(gaze),
            sigma_rad: None,
        }
    }

    #[test]
    fn one_degree_in_a_thirtieth_of_a_second_is_thirty_degrees_a_second() {
        let velocity = velocity_rad_s(&sample(0, 4.0), &sample(33_333, 5.0));
        let deg_s = velocity.expect("time advances").to_degrees();
        assert!((deg_s - 30.0).abs() < 1e-3 /* 33,333 µs */);
    }

    #[test]
    fn there_is_no_velocity_where_time_stands_still_or_gaze_is_missing() {
        assert_eq!(velocity_rad_s(&sample(5, 0.0), &sample(5, 1.0)), None);
        assert_eq!(velocity_rad_s(&sample(5, 0.0), &sample(4, 1.0)), None);
        assert_eq!(velocity_rad_s(&sample(5, f32::NAN), &sample(6, 1.0)), None);
        let missing = GazeSample {
            line_of_gaze: None,
            ..sample(6, 1.0)
        };
        assert_eq!(velocity_rad_s(&sample(5, 0.0), &missing), None);
    }
}
