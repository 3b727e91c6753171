//! The vision stage: frame → face → eyes → gaze, in order, no threads.

use gaze_protocol::{GazeAngles, Timestamp};

use crate::frame::FrameName;

/// Numbers in [`FaceObservation::features`].
pub const N_FEATURES: usize = 12;

/// Landmarks in [`FaceObservation::landmarks_px`], in the order of the `landmarks` model's contract.
pub const N_LANDMARKS: usize = 49;

/// What the vision stage saw in one frame.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The frame's number.
    pub seq: u64,
    /// The frame's name in the records.
    pub frame: FrameName,
    /// The frame's time of exposure.
    pub captured_at: Timestamp,
    /// The frame's width and height, px.
    pub size_px: [usize; 2],
    /// Why the picture could not be read, if so.
    pub error: Option<String>,
    /// The observer's face, if one was found.
    pub face: Option<FaceObservation>,
}

/// A face and what its eyes do.
#[derive(Clone, Debug)]
pub struct FaceObservation {
    /// Face box: x, y of the top-left corner, width, height; px of the full frame.
    pub box_px: [f32; 4],
    /// Confidence that this is a face, 0 to 1.
    pub confidence: f32,
    /// Landmarks x, y; px of the full frame.
    pub landmarks_px: [[f32; 2]; N_LANDMARKS],
    /// The observer's left eye; none when it is not seen.
    pub left_eye: Option<EyeObservation>,
    /// The observer's right eye; none when it is not seen.
    pub right_eye: Option<EyeObservation>,
    /// Where the head is and how it is turned.
    pub head: HeadPose,
    /// Gaze; none when every seen eye is closed, or none is seen.
    pub gaze: Option<GazeEstimate>,
    /// The gaze network's features, for calibration.
    pub features: [f32; N_FEATURES],
}

/// One eye in the picture.
#[derive(Clone, Copy, Debug)]
pub struct EyeObservation {
    /// Midpoint of the two eye corners; px of the full frame.
    pub center_px: [f32; 2],
    /// Iris centre x, y and radius; px of the full frame. An estimate when the eye is closed.
    pub iris_px: [f32; 3],
    /// 0 closed to 1 wide open.
    pub openness: f32,
    /// Whether the network calls it open; a closed eye gives no gaze.
    pub is_open: bool,
    /// Confidence that the eye is seen, 0 to 1.
    pub confidence: f32,
}

/// Position and rotation of the head in camera axes.
#[derive(Clone, Copy, Debug)]
pub struct HeadPose {
    /// Midpoint between the eyes, mm.
    pub position_mm: [f32; 3],
    /// Positive towards the observer's left, rad.
    pub yaw_rad: f32,
    /// Positive up, rad.
    pub pitch_rad: f32,
    /// Positive clockwise in the picture, rad.
    pub roll_rad: f32,
}

/// The direction of gaze of one frame, before calibration.
#[derive(Clone, Copy, Debug)]
pub struct GazeEstimate {
    /// Direction in camera axes.
    pub angles: GazeAngles,
    /// Standard deviation per axis that the network states, rad.
    pub sigma_rad: f32,
    /// Where the line of gaze starts: the midpoint between the eyes (or the one eye seen), mm in
    /// camera axes.
    pub origin_mm: [f32; 3],
}
