//! Eye-movement events: what the tracking stage reports while they last and once they are complete.

use heapless::String;

use crate::sample::{GazeSample, PointOfRegard};
use crate::units::Timestamp;

/// Longest object id, in bytes. Longer ids are refused where a scene enters.
pub const OBJECT_ID_CAPACITY: usize = 64;

/// The name an application gave an object on the screen.
pub type ObjectId = String<OBJECT_ID_CAPACITY>;

/// The number of an event within its stream, from 1; the same from its beginning to its end.
pub type EventId = u32;

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
    /// Its number.
    pub id: EventId,
}

/// The eyes follow something that moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pursuit {
    /// First sample.
    pub onset: Timestamp,
    /// Last sample.
    pub offset: Timestamp,
    /// Mean point of regard, where the samples had one.
    pub por: Option<PointOfRegard>,
    /// Angle between where it began and where it ended, radians.
    pub amplitude_rad: f32,
    /// Its number.
    pub id: EventId,
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
    /// Its number.
    pub id: EventId,
}

/// Both visible eyes close and open again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blink {
    /// First closed sample.
    pub onset: Timestamp,
    /// First open sample after it.
    pub offset: Timestamp,
    /// Its number.
    pub id: EventId,
}

/// A stretch without usable gaze that is not a blink: no face, a lost camera, eyes shut for long,
/// low confidence for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataGap {
    /// First sample without gaze; when frames stopped coming, the last one that came.
    pub onset: Timestamp,
    /// First sample with gaze again, or the end of the stream.
    pub offset: Timestamp,
    /// Its number.
    pub id: EventId,
}

/// The kinds of events that have a beginning and an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum EventKind {
    /// [`Fixation`].
    Fixation,
    /// [`Saccade`].
    Saccade,
    /// [`Pursuit`].
    Pursuit,
    /// [`Blink`].
    Blink,
    /// [`DataGap`].
    Gap,
}

/// An event that goes on, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenEvent {
    /// Its number; the completed event has the same.
    pub id: EventId,
    /// What it is taken for; a blink that lasts too long becomes a gap.
    pub kind: EventKind,
    /// Where it began.
    pub onset: Timestamp,
    /// The last sample that is known to belong to it.
    pub until: Timestamp,
    /// Mean point of regard so far.
    pub por: Option<PointOfRegard>,
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
    /// An event began. One that is short against its delay may come complete, without this.
    Begin(OpenEvent),
    /// What is known of an event that goes on was corrected, or it lasts.
    Update(OpenEvent),
    /// A completed fixation.
    Fixation(Fixation),
    /// A completed saccade.
    Saccade(Saccade),
    /// A completed pursuit.
    Pursuit(Pursuit),
    /// A completed blink.
    Blink(Blink),
    /// A completed gap.
    Gap(DataGap),
    /// The gaze entered an object.
    ObjectEnter(ObjectVisit),
    /// The gaze left an object; the visit's length is the dwell.
    ObjectLeave(ObjectVisit),
}
