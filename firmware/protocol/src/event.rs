//! Eye-movement events: what the tracking stage reports once an event is complete.

use heapless::String;

use crate::sample::{GazeSample, PointOfRegard};
use crate::units::Timestamp;

/// Longest object id, in bytes. Longer ids are refused where a scene enters.
pub const OBJECT_ID_CAPACITY: usize = 64;

/// The name an application gave an object on the screen.
pub type ObjectId = String<OBJECT_ID_CAPACITY>;

/// The eyes rest on one place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fixation {
    /// First sample.
    pub onset: Timestamp,
    /// Last sample.
    pub offset: Timestamp,
    /// Mean point of regard, where the samples had one.
    pub por: Option<PointOfRegard>,
    /// Mean line of gaze, (yaw, pitch), radians.
    pub centroid_rad: [f32; 2],
    /// (max x − min x) + (max y − min y) of the line of gaze, radians of visual angle.
    pub dispersion_rad: f32,
}

/// The eyes jump from one place to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saccade {
    /// Last sample before the jump.
    pub onset: Timestamp,
    /// First sample after it.
    pub offset: Timestamp,
    /// Angle between the places where the gaze rested before and after, radians.
    pub amplitude_rad: f32,
    /// Greatest mean angular velocity between two neighbouring samples from onset to offset,
    /// radians a second. At camera rates far below the true peak.
    pub peak_velocity_rad_s: f32,
    /// Mean point of regard where the gaze came to rest, as far as it was known at the report.
    pub landing: Option<PointOfRegard>,
}

/// Both visible eyes close and open again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blink {
    /// First closed sample.
    pub onset: Timestamp,
    /// First open sample after it.
    pub offset: Timestamp,
}

/// A stretch without usable gaze that is not a blink: no face, a lost camera, eyes shut for long,
/// low confidence for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataGap {
    /// First sample without gaze; when frames stopped coming, the last one that came.
    pub onset: Timestamp,
    /// First sample with gaze again, or the end of the stream.
    pub offset: Timestamp,
}

/// The point of regard is on an object that an application announced.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectVisit {
    /// The object.
    pub object: ObjectId,
    /// First sample on it.
    pub onset: Timestamp,
    /// First sample off it; for an entry, the same as `onset`.
    pub offset: Timestamp,
}

/// What other programs subscribe to.
#[derive(Clone, Debug, PartialEq)]
pub enum GazeEvent {
    /// One for each frame.
    Sample(GazeSample),
    /// A completed fixation.
    Fixation(Fixation),
    /// A completed saccade.
    Saccade(Saccade),
    /// A completed blink.
    Blink(Blink),
    /// A completed gap.
    Gap(DataGap),
    /// The gaze entered an object.
    ObjectEnter(ObjectVisit),
    /// The gaze left an object; the visit's length is the dwell.
    ObjectLeave(ObjectVisit),
}
