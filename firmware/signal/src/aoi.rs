//! Which of the objects on the screen is being looked at, and for how long.
//!
//! Objects are rectangles in millimetres on the screen plane that applications announce. A visit
//! begins when the point of regard has rested on an object for a moment and ends when it has been
//! away for a moment; both moments and a margin around the object under regard keep noise at a
//! border from flickering, and a blink does not end a visit. Times in the events are those of the
//! first sample on and the first sample off, not those of the decision.

use gaze_protocol::event::ObjectId;
use gaze_protocol::{GazeEvent, GazeSample, ObjectVisit, PointOfRegard, Span, Timestamp};

use crate::LONGEST_STEP_BACK;
use crate::event_buf::EventBuf;
use crate::settings::{SettingProblem, SettingProblems, settings};

/// Most objects at a time.
pub const MAX_OBJECTS: usize = 128;

/// The most time that one sample can speak for, so that a sample after a hole does not decide
/// alone; one and a half frames of a 30 Hz camera.
const LONGEST_EVIDENCE: Span = Span::from_ms(50);

settings! {
    /// When a visit to an object begins and ends.
    pub struct ObjectSettings {
        /// Gaze this far outside an object still counts as on it, mm; 0 to 100. Default 0. Where
        /// objects overlap after growing, the one that really holds the point wins, then the
        /// smaller one.
        pub margin_mm: f32,
        /// The object under regard is this much larger on all sides, mm; 0 to 100. Default 5:
        /// about 0.5° at 60 cm, the noise of a webcam.
        pub leave_margin_mm: f32,
        /// Time on an object before it counts as entered, ms; 0 to 1000. Default 60, the shortest
        /// fixation (Tobii I-VT: shorter ones are discarded). Samples elsewhere count against it.
        pub enter_after_ms: u32,
        /// Time off an object before it counts as left, ms; 0 to 2000. Default 100. Samples back
        /// on it count against it.
        pub leave_after_ms: u32,
        /// Time without any point of regard before the object counts as left, ms; 0 to 5000.
        /// Default 500, the longest blink.
        pub absent_after_ms: u32,
    }
}

impl Default for ObjectSettings {
    fn default() -> Self {
        ObjectSettings {
            margin_mm: 0.0,
            leave_margin_mm: 5.0,
            enter_after_ms: 60,
            leave_after_ms: 100,
            absent_after_ms: 500,
        }
    }
}

impl ObjectSettings {
    /// Every setting that is out of range.
    pub fn check(&self) -> SettingProblems {
        let mut problems = SettingProblems::default();
        problems.range("objects.margin_mm", self.margin_mm, 0.0, 100.0);
        problems.range("objects.leave_margin_mm", self.leave_margin_mm, 0.0, 100.0);
        problems.range_ms("objects.enter_after_ms", self.enter_after_ms, 0, 1000);
        problems.range_ms("objects.leave_after_ms", self.leave_after_ms, 0, 2000);
        problems.range_ms("objects.absent_after_ms", self.absent_after_ms, 0, 5000);
        problems
    }
}

/// A rectangle on the screen plane; millimetres, origin top-left, y down. May reach outside the
/// screen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObjectBox {
    /// Left edge.
    pub x_mm: f32,
    /// Upper edge.
    pub y_mm: f32,
    /// Greater than zero.
    pub width_mm: f32,
    /// Greater than zero.
    pub height_mm: f32,
}

impl ObjectBox {
    /// Whether `point` is in the rectangle grown by `margin_mm`; edges belong to it.
    pub fn contains(&self, point: PointOfRegard, margin_mm: f32) -> bool {
        let dx = point.x_mm - self.x_mm;
        let dy = point.y_mm - self.y_mm;
        (-margin_mm..=self.width_mm + margin_mm).contains(&dx)
            && (-margin_mm..=self.height_mm + margin_mm).contains(&dy)
    }

    fn area_mm2(&self) -> f32 {
        self.width_mm * self.height_mm
    }

    fn is_sound(&self) -> bool {
        self.x_mm.is_finite()
            && self.y_mm.is_finite()
            && self.area_mm2().is_finite()
            && self.width_mm > 0.0
            && self.height_mm > 0.0
    }
}

/// Why an object was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectError {
    /// [`MAX_OBJECTS`] are there already.
    Full,
    /// The id is empty or longer than [`OBJECT_ID_CAPACITY`](gaze_protocol::event::OBJECT_ID_CAPACITY) bytes.
    BadId,
    /// An object of this id is there already.
    DuplicateId,
    /// No object of this id is there.
    UnknownId,
    /// A coordinate is not finite, or width or height is not greater than zero.
    BadBox,
}

impl core::fmt::Display for ObjectError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            ObjectError::Full => "there are 128 objects already",
            ObjectError::BadId => "an object's id must be 1 to 64 bytes long",
            ObjectError::DuplicateId => "an object of this id is there already",
            ObjectError::UnknownId => "no object has this id",
            ObjectError::BadBox => "a box needs finite numbers and a size greater than zero",
        })
    }
}

impl core::error::Error for ObjectError {}

#[derive(Clone, Debug)]
struct Object {
    id: ObjectId,
    area: ObjectBox,
}

/// An object that the gaze may be about to visit.
#[derive(Clone, Debug)]
struct Candidate {
    object: ObjectId,
    /// First sample on it.
    onset: Timestamp,
    /// Time on it less time elsewhere.
    on: Span,
}

/// A visit that has begun.
#[derive(Clone, Debug)]
struct Visit {
    object: ObjectId,
    /// First sample on it.
    onset: Timestamp,
    /// First sample off it, while it is in doubt whether it has been left.
    off_since: Option<Timestamp>,
    /// Time off it less time back on it.
    off: Span,
}

/// The objects on the screen and the visit that is open.
#[derive(Clone, Debug)]
pub struct Objects {
    settings: ObjectSettings,
    objects: heapless::Vec<Object, MAX_OBJECTS>,
    candidate: Option<Candidate>,
    visit: Option<Visit>,
    /// Time of the last sample.
    last_at: Option<Timestamp>,
    /// Time of the last sample with a point of regard.
    last_gaze_at: Option<Timestamp>,
    /// First sample without a point of regard since then.
    absent_since: Option<Timestamp>,
}

impl Objects {
    /// An empty screen.
    ///
    /// # Errors
    /// The first setting that is out of range; `check` finds them all.
    pub fn new(settings: ObjectSettings) -> Result<Self, SettingProblem> {
        settings.check().into_result()?;
        Ok(Objects {
            settings,
            objects: heapless::Vec::new(),
            candidate: None,
            visit: None,
            last_at: None,
            last_gaze_at: None,
            absent_since: None,
        })
    }

    /// Number of objects on the screen.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether the screen is empty.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The object of the open visit.
    pub fn visited(&self) -> Option<&str> {
        self.visit.as_ref().map(|visit| visit.object.as_str())
    }

    /// Where an object is now; none of this id, none.
    pub fn place_of(&self, id: &str) -> Option<ObjectBox> {
        let object = self.objects.iter().find(|object| object.id == id)?;
        Some(object.area)
    }

    /// Puts an object on the screen.
    ///
    /// # Errors
    /// [`ObjectError`] when full, the id is taken, or id or box is no good; nothing changes then.
    pub fn add(&mut self, id: &str, area: ObjectBox) -> Result<(), ObjectError> {
        let id = object_id(id)?;
        if !area.is_sound() {
            return Err(ObjectError::BadBox);
        }
        if self.objects.iter().any(|object| object.id == id) {
            return Err(ObjectError::DuplicateId);
        }
        self.objects
            .push(Object { id, area })
            .map_err(|_| ObjectError::Full)
    }

    /// Moves or resizes an object. A visit to it goes on if the gaze still meets it.
    ///
    /// # Errors
    /// [`ObjectError`] when there is none of this id or the box is no good.
    pub fn move_to(&mut self, id: &str, area: ObjectBox) -> Result<(), ObjectError> {
        if !area.is_sound() {
            return Err(ObjectError::BadBox);
        }
        let object = self.objects.iter_mut().find(|object| object.id == id);
        object.ok_or(ObjectError::UnknownId)?.area = area;
        Ok(())
    }

    /// Takes an object off the screen; a visit to it ends with the last sample seen.
    ///
    /// # Errors
    /// [`ObjectError::UnknownId`] when there is none of this id.
    pub fn remove(&mut self, id: &str, out: &mut EventBuf) -> Result<(), ObjectError> {
        let index = self.objects.iter().position(|object| object.id == id);
        self.objects.remove(index.ok_or(ObjectError::UnknownId)?);
        self.candidate.take_if(|candidate| candidate.object == id);
        if self.visited() == Some(id) {
            self.end_visit(out);
        }
        Ok(())
    }

    /// Takes all objects off the screen; an open visit ends with the last sample seen.
    pub fn clear(&mut self, out: &mut EventBuf) {
        self.objects.clear();
        self.finish(out);
    }

    /// The object at `point`: the smallest that holds it, else the smallest that holds it with
    /// `margin_mm`. Of equal ones the first added.
    pub fn hit(&self, point: PointOfRegard) -> Option<&str> {
        self.hit_object(point).map(|object| object.id.as_str())
    }

    /// Follows one sample; at most one object is left and one entered.
    ///
    /// A sample whose time does not advance is passed over; one that steps back by more than a
    /// second starts a new stream.
    pub fn step(&mut self, sample: &GazeSample, out: &mut EventBuf) {
        let at = sample.captured_at;
        if let Some(last_at) = self.last_at.filter(|last_at| at <= *last_at) {
            if last_at.since(at) <= LONGEST_STEP_BACK {
                return;
            }
            self.finish(out);
        }
        let por = sample.por.filter(|_| sample.validity.is_usable());
        match por.filter(|por| por.x_mm.is_finite() && por.y_mm.is_finite()) {
            Some(por) => self.look(at, por, out),
            None => self.look_nowhere(at, out),
        }
        self.last_at = Some(at);
    }

    /// Ends an open visit: the end of the stream.
    pub fn finish(&mut self, out: &mut EventBuf) {
        self.end_visit(out);
        self.candidate = None;
        self.last_at = None;
        self.last_gaze_at = None;
        self.absent_since = None;
    }

    fn look(&mut self, at: Timestamp, por: PointOfRegard, out: &mut EventBuf) {
        if self.is_absent_too_long(at) {
            self.end_visit(out);
            self.candidate = None;
        }
        let elapsed = self.last_gaze_at.map_or(Span(0), |last| at.since(last));
        let elapsed = elapsed.min(LONGEST_EVIDENCE);
        self.last_gaze_at = Some(at);
        self.absent_since = None;
        self.weigh_visit(at, elapsed, por);
        self.weigh_candidate(at, elapsed, por);
        self.decide(out);
    }

    fn look_nowhere(&mut self, at: Timestamp, out: &mut EventBuf) {
        self.absent_since.get_or_insert(at);
        if self.is_absent_too_long(at) {
            self.end_visit(out);
            self.candidate = None;
        }
    }

    fn is_absent_too_long(&self, at: Timestamp) -> bool {
        let limit = span(self.settings.absent_after_ms);
        self.last_gaze_at.is_some_and(|last| at.since(last) > limit)
    }

    fn weigh_visit(&mut self, at: Timestamp, elapsed: Span, por: PointOfRegard) {
        let Some(visit) = &mut self.visit else { return };
        let margin_mm = self.settings.margin_mm.max(self.settings.leave_margin_mm);
        let object = self.objects.iter().find(|object| object.id == visit.object);
        if object.is_some_and(|object| object.area.contains(por, margin_mm)) {
            visit.off = less(visit.off, elapsed);
            if visit.off == Span(0) {
                visit.off_since = None;
            }
        } else if visit.off_since.is_none() {
            visit.off_since = Some(at);
        } else {
            visit.off = more(visit.off, elapsed);
        }
    }

    fn weigh_candidate(&mut self, at: Timestamp, elapsed: Span, por: PointOfRegard) {
        let hit = self.hit_object(por).map(|object| object.id.clone());
        let hit = hit.filter(|id| self.visited() != Some(id.as_str()));
        if let (Some(candidate), Some(id)) = (&mut self.candidate, &hit)
            && candidate.object == *id
        {
            candidate.on = more(candidate.on, elapsed);
            return;
        }
        if let Some(candidate) = &mut self.candidate {
            candidate.on = less(candidate.on, elapsed);
            if candidate.on > Span(0) {
                return;
            }
        }
        self.candidate = hit.map(|object| Candidate {
            object,
            onset: at,
            on: Span(0),
        });
    }

    fn decide(&mut self, out: &mut EventBuf) {
        let leave_after = span(self.settings.leave_after_ms);
        let mut enter_after = span(self.settings.enter_after_ms);
        if let Some(visit) = &self.visit {
            if let Some(off_since) = visit.off_since
                && visit.off >= leave_after
            {
                self.end_visit_at(off_since, out);
            } else if visit.off_since.is_none() {
                // Still on the old object too (a button in a window, a neighbour in the margin).
                enter_after = enter_after.max(leave_after);
            }
        }
        let entered = self
            .candidate
            .take_if(|candidate| candidate.on >= enter_after);
        if let Some(Candidate { object, onset, .. }) = entered {
            self.end_visit_at(onset, out);
            out.push(GazeEvent::ObjectEnter(ObjectVisit {
                object: object.clone(),
                onset,
                offset: onset,
            }));
            self.visit = Some(Visit {
                object,
                onset,
                off_since: None,
                off: Span(0),
            });
        }
    }

    /// Ends an open visit where nothing follows it: at the first sample off it, if it was in doubt,
    /// else at the first without gaze, else at the last one seen.
    fn end_visit(&mut self, out: &mut EventBuf) {
        let end = self.absent_since.or(self.last_gaze_at);
        if let Some(end) = end {
            self.end_visit_at(end, out);
        }
    }

    /// Ends an open visit at the first sample off it, but no later than `latest`.
    fn end_visit_at(&mut self, latest: Timestamp, out: &mut EventBuf) {
        let Some(visit) = self.visit.take() else {
            return;
        };
        let offset = visit.off_since.map_or(latest, |off| off.min(latest));
        out.push(GazeEvent::ObjectLeave(ObjectVisit {
            object: visit.object,
            onset: visit.onset,
            offset: offset.max(visit.onset),
        }));
    }

    fn hit_object(&self, point: PointOfRegard) -> Option<&Object> {
        self.smallest(point, 0.0)
            .or_else(|| self.smallest(point, self.settings.margin_mm))
    }

    fn smallest(&self, point: PointOfRegard, margin_mm: f32) -> Option<&Object> {
        self.objects
            .iter()
            .filter(|object| object.area.contains(point, margin_mm))
            .min_by(|a, b| a.area.area_mm2().total_cmp(&b.area.area_mm2()))
    }
}

fn span(ms: u32) -> Span {
    Span::from_ms(u64::from(ms))
}

fn more(evidence: Span, time: Span) -> Span {
    Span(evidence.as_us().saturating_add(time.as_us()))
}

fn less(evidence: Span, time: Span) -> Span {
    Span(evidence.as_us().saturating_sub(time.as_us()))
}

fn object_id(id: &str) -> Result<ObjectId, ObjectError> {
    match ObjectId::try_from(id) {
        Ok(id) if !id.is_empty() => Ok(id),
        _ => Err(ObjectError::BadId),
    }
}
