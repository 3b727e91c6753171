//! Tells blinks from data gaps, and both from a moment of doubt that changes nothing.
//!
//! Samples without usable gaze make a *run*. Two runs with closed eyes that make one blink together
//! are one, so that a stray frame in a blink does not make it two. What a run was:
//!
//! - a **blink**: eyes seen closed, for no longer than the longest blink, the whole run no shorter
//!   than the shortest. Unsure samples at its edges (the lids on their way) belong to the run.
//!   By default a fixation goes on over a blink when the gaze is back at the same place;
//! - a **data gap**: no face, no frames at all, eyes closed for longer, or low confidence, for
//!   longer than the gap fill. A fixation ends at the last sample before it;
//! - else **nothing**: a run no longer than the gap fill is bridged.

use gaze_protocol::{Blink, DataGap, EventKind, GazeEvent, GazeSample, Span, Timestamp, Validity};

use crate::event_buf::EventBuf;
use crate::life::Open;
use crate::settings::{SettingProblems, settings};

settings! {
    /// What counts as a blink, and what as a gap.
    pub struct BlinkSettings {
        /// Shortest blink, ms; 10 to 200. Default 50; blinks last 100 to 400 ms (Schiffman 2001),
        /// of which a camera sees the lids shut for half.
        pub shortest_blink_ms: u32,
        /// Longest blink, ms; 100 to 2000. Default 500; longer closures are sleepiness or intent
        /// (Caffier et al. 2003) and become gaps.
        pub longest_blink_ms: u32,
        /// The eyes must stay open for this long before a blink is over, ms; 0 to 500. Default 75:
        /// two frames of a 30 Hz camera. It is also the delay of the report.
        pub reopen_ms: u32,
        /// Holes up to this long change nothing, ms; 0 to 500. Default 75, the gap fill of the
        /// Tobii I-VT filter (Olsen 2012).
        pub gap_fill_ms: u32,
        /// Two samples further apart than this mean that the camera was away, ms; 50 to 5000.
        /// Default 250.
        pub longest_frame_interval_ms: u32,
        /// Whether a fixation ends where a blink begins. Default false: the fixation before and
        /// after is one when the gaze comes back to the same place.
        pub blink_ends_fixation: bool,
    }
}

impl Default for BlinkSettings {
    fn default() -> Self {
        BlinkSettings {
            shortest_blink_ms: 50,
            longest_blink_ms: 500,
            reopen_ms: 75,
            gap_fill_ms: 75,
            longest_frame_interval_ms: 250,
            blink_ends_fixation: false,
        }
    }
}

impl BlinkSettings {
    /// Every setting that is out of range.
    pub fn check(&self) -> SettingProblems {
        let mut problems = SettingProblems::default();
        problems.range_ms("blink.shortest_blink_ms", self.shortest_blink_ms, 10, 200);
        problems.range_ms("blink.longest_blink_ms", self.longest_blink_ms, 100, 2000);
        if self.shortest_blink_ms <= 200 && self.longest_blink_ms >= 100 {
            let key = "blink.longest_blink_ms";
            problems.range_ms(key, self.longest_blink_ms, self.shortest_blink_ms, 2000);
        }
        problems.range_ms("blink.reopen_ms", self.reopen_ms, 0, 500);
        problems.range_ms("blink.gap_fill_ms", self.gap_fill_ms, 0, 500);
        problems.range_ms(
            "blink.longest_frame_interval_ms",
            self.longest_frame_interval_ms,
            50,
            5000,
        );
        problems
    }
}

/// What a sample is to the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Usable,
    Unsure,
    Closed,
    NoFace,
}

impl Presence {
    /// Lids that are down make it closed, shut or not.
    /// A usable sample without a sane line of gaze (none, NaN, more than half a turn) is unsure.
    pub fn of(sample: &GazeSample) -> Self {
        if sample.lids_are_down {
            return Presence::Closed;
        }
        match sample.validity {
            Validity::NoFace => Presence::NoFace,
            Validity::EyeClosed => Presence::Closed,
            Validity::LowConfidence => Presence::Unsure,
            Validity::Valid | Validity::StaleCalibration | Validity::Uncalibrated => {
                let is_sane = sample.line_of_gaze.is_some_and(|gaze| {
                    gaze.yaw_rad.abs() <= core::f32::consts::PI
                        && gaze.pitch_rad.abs() <= core::f32::consts::PI
                });
                if is_sane {
                    Presence::Usable
                } else {
                    Presence::Unsure
                }
            }
        }
    }
}

/// How a sample hangs together with the usable one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// As if nothing were missing.
    Continuous,
    /// The eyes were closed in between; the fixation may go on.
    AcrossBlink,
    /// Whatever was open ended with the usable sample before.
    Broken,
}

/// Time without usable gaze, so far.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: Timestamp,
    first_closed: Option<Timestamp>,
    /// First sample with open eyes after the last closed one.
    reopened: Option<Timestamp>,
    /// First usable sample after it.
    usable_since: Option<Timestamp>,
    no_face_us: u64,
    camera_was_away: bool,
}

impl Run {
    fn new(start: Timestamp) -> Self {
        Run {
            start,
            first_closed: None,
            reopened: None,
            usable_since: None,
            no_face_us: 0,
            camera_was_away: false,
        }
    }

    fn note(&mut self, at: Timestamp, presence: Presence) {
        match presence {
            Presence::Usable | Presence::Unsure if self.first_closed.is_some() => {
                self.reopened.get_or_insert(at);
            }
            Presence::Closed => {
                self.first_closed.get_or_insert(at);
                self.reopened = None;
            }
            Presence::Usable | Presence::Unsure | Presence::NoFace => {}
        }
        if presence == Presence::Usable {
            self.usable_since.get_or_insert(at);
        }
    }
}

/// Most blinks and gaps that one sample can complete: two runs that were no blink together, and
/// one before a hole.
const MOST_COMPLETED: usize = 3;

/// Follows the samples' validity; see the module's text.
#[derive(Clone, Debug)]
pub(crate) struct Continuity {
    settings: BlinkSettings,
    run: Option<Run>,
    /// A run with closed eyes that is over, unless the eyes close again at once.
    before: Option<Run>,
    last: Option<(Timestamp, Presence)>,
    completed: heapless::Vec<GazeEvent, MOST_COMPLETED>,
}

impl Continuity {
    /// `settings` have been checked.
    pub fn new(settings: BlinkSettings) -> Self {
        Continuity {
            settings,
            run: None,
            before: None,
            last: None,
            completed: heapless::Vec::new(),
        }
    }

    /// How the sample at `at` links to those before it; [`Self::report`] has what is over.
    pub fn step(&mut self, at: Timestamp, presence: Presence) -> Link {
        let mut link = Link::Continuous;
        if let Some((last_at, last_presence)) = self.last.replace((at, presence)) {
            let elapsed = at.since(last_at);
            if elapsed > ms(self.settings.longest_frame_interval_ms) {
                self.end_run_if_usable();
                self.complete_before();
                let run = self.run.get_or_insert(Run::new(last_at));
                run.camera_was_away = true;
                link = Link::Broken;
            }
            if let Some(run) = &mut self.run
                && last_presence == Presence::NoFace
            {
                run.no_face_us += elapsed.as_us();
            }
        }
        if presence == Presence::Usable {
            self.use_sample(at, link)
        } else {
            self.miss_sample(at, presence, link)
        }
    }

    /// Moves the blinks and gaps that are over to `out`.
    pub fn report(&mut self, out: &mut EventBuf) {
        for event in &self.completed {
            out.push(event.clone());
        }
        self.completed.clear();
    }

    /// The blink or gap that goes on, or is over and waits whether it was all.
    pub fn open(&self) -> Option<Open> {
        if let Some(before) = &self.before {
            return Some(match self.blink(before) {
                Some(blink) => open(EventKind::Blink, blink.onset, blink.offset),
                None => open(EventKind::Gap, before.start, before.usable_since?),
            })
            .filter(|open| open.kind == EventKind::Blink || self.gap(before).is_some());
        }
        let (run, (until, _)) = (self.run.as_ref()?, self.last?);
        let until = run.usable_since.unwrap_or(until);
        let so_far = until.since(run.start);
        match run.first_closed {
            Some(onset) if !self.is_away(run) => {
                if until.since(onset) > ms(self.settings.longest_blink_ms) {
                    return Some(open(EventKind::Gap, run.start, until));
                }
                (so_far >= ms(self.settings.shortest_blink_ms))
                    .then(|| open(EventKind::Blink, onset, until))
            }
            _ => (so_far > ms(self.settings.gap_fill_ms))
                .then(|| open(EventKind::Gap, run.start, until)),
        }
    }

    /// Ends the stream; [`Self::report`] has what that completes.
    pub fn finish(&mut self) {
        if let (Some(run), Some((end, _))) = (&mut self.run, self.last)
            && run.usable_since.is_none()
        {
            run.note(end, Presence::Usable);
        }
        self.end_run_if_usable();
        self.complete_before();
        self.last = None;
    }

    fn miss_sample(&mut self, at: Timestamp, presence: Presence, link: Link) -> Link {
        self.end_run_if_usable();
        let run = self.run.get_or_insert(Run::new(at));
        run.note(at, presence);
        let run = *run;
        if self.may_be_bridged(&run, at) {
            link
        } else {
            Link::Broken
        }
    }

    fn use_sample(&mut self, at: Timestamp, link: Link) -> Link {
        let Some(run) = &mut self.run else {
            return link;
        };
        let was_missing = run.usable_since.is_none();
        run.note(at, Presence::Usable);
        let run = *run;
        let usable_for = at.since(run.usable_since.unwrap_or(at));
        if usable_for >= ms(self.settings.reopen_ms) {
            self.end_run_if_usable();
            self.complete_before();
        }
        if was_missing && link != Link::Broken {
            self.link_after(&run, at)
        } else {
            link
        }
    }

    /// Whether a fixation may still go on after this run, seen from within it.
    fn may_be_bridged(&self, run: &Run, at: Timestamp) -> bool {
        let settings = &self.settings;
        let so_far = at.since(run.start);
        let limit = match run.first_closed {
            Some(_) => ms(settings.longest_blink_ms),
            // May be the lids on their way down.
            None => ms(settings.gap_fill_ms.saturating_mul(2)),
        };
        so_far <= limit && !self.is_away(run)
    }

    /// How a usable sample at `at` follows the run before it.
    fn link_after(&self, run: &Run, at: Timestamp) -> Link {
        let settings = &self.settings;
        let length = at.since(run.start);
        if self.is_away(run) {
            Link::Broken
        } else if run.first_closed.is_some()
            && (ms(settings.shortest_blink_ms)..=ms(settings.longest_blink_ms)).contains(&length)
        {
            if settings.blink_ends_fixation {
                Link::Broken
            } else {
                Link::AcrossBlink
            }
        } else if length <= ms(settings.gap_fill_ms) {
            Link::Continuous
        } else {
            Link::Broken
        }
    }

    fn is_away(&self, run: &Run) -> bool {
        run.camera_was_away || Span(run.no_face_us) > ms(self.settings.gap_fill_ms)
    }

    /// Ends a run that usable gaze has followed. One with closed eyes waits in `before`, joined with
    /// the one that waits there already if they make one blink.
    fn end_run_if_usable(&mut self) {
        let Some(run) = self.run.take_if(|run| run.usable_since.is_some()) else {
            return;
        };
        if let Some(before) = self.before {
            let joined = Run {
                reopened: run.reopened,
                usable_since: run.usable_since,
                no_face_us: before.no_face_us.saturating_add(run.no_face_us),
                camera_was_away: before.camera_was_away || run.camera_was_away,
                ..before
            };
            if run.first_closed.is_some() && self.blink(&joined).is_some() {
                self.before = Some(joined);
                return;
            }
            self.complete_before();
        }
        self.before = Some(run);
        if run.first_closed.is_none() {
            self.complete_before();
        }
    }

    fn complete_before(&mut self) {
        let Some(run) = self.before.take() else {
            return;
        };
        let blink = self.blink(&run).map(GazeEvent::Blink);
        if let Some(event) = blink.or(self.gap(&run).map(GazeEvent::Gap)) {
            let has_room = self.completed.push(event);
            debug_assert!(has_room.is_ok(), "MOST_COMPLETED is too small");
        }
    }

    fn blink(&self, run: &Run) -> Option<Blink> {
        let settings = &self.settings;
        let (onset, offset) = (run.first_closed?, run.reopened?);
        let is_blink = !self.is_away(run)
            && offset.since(onset) <= ms(settings.longest_blink_ms)
            && run.usable_since?.since(run.start) >= ms(settings.shortest_blink_ms);
        is_blink.then_some(Blink {
            onset,
            offset,
            id: 0,
        })
    }

    fn gap(&self, run: &Run) -> Option<DataGap> {
        let offset = run.usable_since?;
        let is_gap = offset.since(run.start) > ms(self.settings.gap_fill_ms);
        is_gap.then_some(DataGap {
            onset: run.start,
            offset,
            id: 0,
        })
    }
}

fn open(kind: EventKind, onset: Timestamp, until: Timestamp) -> Open {
    Open {
        kind,
        onset,
        until,
        por: None,
    }
}

fn ms(ms: u32) -> Span {
    Span::from_ms(u64::from(ms))
}
