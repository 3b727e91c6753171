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
    let duration = to_at.since(from_at);
    if duration.as_us() == 0 {
        return None;
    }
    let velocity = from.angle_to(to) / duration.as_s();
    velocity.is_finite().then_some(velocity)
}
