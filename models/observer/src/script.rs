//! What the observer does with the eyes: fixations, saccades, pursuit and blinks, by seed.
//!
//! Segments follow one another without gaps; the script grows as it is asked for later times, so
//! it never ends. A blink is a segment of its own, between two fixations.

use std::collections::VecDeque;

use gaze_protocol::{PointOfRegard, Span, Timestamp};

use crate::random::Random;

/// What kind of movement a moment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLabel {
    /// The gaze rests.
    Fixation,
    /// The gaze jumps.
    Saccade,
    /// The gaze follows a moving thing.
    Pursuit,
    /// The lids close and open; the line of gaze is that of the eye behind them.
    Blink,
}

impl EventLabel {
    /// F, S, P or B, as in hand-labelled recordings.
    pub const fn letter(self) -> char {
        match self {
            EventLabel::Fixation => 'F',
            EventLabel::Saccade => 'S',
            EventLabel::Pursuit => 'P',
            EventLabel::Blink => 'B',
        }
    }
}

/// One scripted movement, `onset` ≤ t < `offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScriptEvent {
    /// When it starts.
    pub onset: Timestamp,
    /// When the next one starts.
    pub offset: Timestamp,
    /// What it is.
    pub label: EventLabel,
    /// Where on the screen the gaze is at the onset.
    pub from: PointOfRegard,
    /// Where it is at the offset.
    pub to: PointOfRegard,
}

/// A point to look at for a time, as a calibration shows them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScriptTarget {
    /// Where, in the screen plane; may lie outside the screen.
    pub point: PointOfRegard,
    /// How long, the saccade to it included.
    pub duration: Span,
}

/// Which script is played.
#[derive(Clone, Debug, PartialEq)]
pub enum ScriptKind {
    /// Looking around on the screen: fixations of 150 to 600 ms, now and then pursuit.
    Free,
    /// Looking at given points in turn. The last is looked at for ever.
    Targets(Vec<ScriptTarget>),
}

/// What somebody else shows the observer, who looks at it as soon as a person would.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// Where, in the screen plane.
    pub point: PointOfRegard,
    /// Whether it moves smoothly, so that the eyes pursue it rather than jump to it.
    pub is_moving: bool,
}

/// From the appearance of a target to the first movement of the eyes: 200 ms (Carpenter 1988).
const SACCADE_LATENCY_US: u64 = 200_000;

/// How far pursuit lies behind its target: 100 ms (Carl & Gellman 1987, the open loop).
const PURSUIT_LATENCY_US: u64 = 100_000;

/// Pursuit that is further behind than this is given up for a saccade.
const PURSUED_DEG: f32 = 2.5;

/// Events that ended so long before a time are forgotten with it: more than the head looks back.
const KEPT: Span = Span::from_ms(2_000);

/// Pieces in which a script is written whose next target is not known yet.
const FOLLOWED_PIECE_US: u64 = 30_000;

/// How long a distraction holds the eyes.
const DISTRACTION_US: u64 = 700_000;

/// Blinks a minute of a seated reader: 15 to 20 (Bentivoglio et al. 1997 found 17 at rest).
pub(crate) const BLINKS_PER_MINUTE: f32 = 17.0;

/// Saccade duration = slope · amplitude + intercept (Carpenter 1988, main sequence).
const SACCADE_MS_PER_DEG: f32 = 2.2;
const SACCADE_INTERCEPT_MS: f32 = 21.0;

pub(crate) struct ScriptSettings {
    pub seed: u64,
    pub kind: ScriptKind,
    pub screen_mm: [f32; 2],
    /// Where the eyes are while the script is written: saccade amplitudes are angles from here.
    /// Camera axes.
    pub eyes_mm: [f32; 3],
    /// 0 for none.
    pub blinks_per_minute: f32,
}

pub(crate) struct Script {
    settings: ScriptSettings,
    random: Random,
    events: Vec<ScriptEvent>,
    /// Before each of the events was written: what to go back to when it is forgotten.
    before: Vec<Due>,
    due: Due,
    /// What is shown to the observer from outside, and when the eyes react to it.
    shown: Option<(Shown, u64)>,
    /// Where a moving target has been, with times, µs: the eyes are where it was.
    path: VecDeque<(u64, PointOfRegard)>,
    /// Shown targets so far, and the one at which something else takes the eyes away once.
    n_shown: usize,
    distraction: Distraction,
}

/// What comes next in a script.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    /// When the next blink is due.
    blink_us: u64,
    /// Targets not yet written, for [`ScriptKind::Targets`].
    target: usize,
}

/// The one distraction of an observer who follows targets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Distraction {
    /// At the target of this number, counted from 1.
    At(usize),
    /// Looks elsewhere until then.
    Until(u64),
    Over,
}

impl Script {
    pub fn new(settings: ScriptSettings) -> Self {
        let seed = settings.seed;
        let mut random = Random::new(seed, 10);
        let start = match &settings.kind {
            ScriptKind::Targets(targets) if !targets.is_empty() => targets[0].point,
            _ => PointOfRegard {
                x_mm: settings.screen_mm[0] * random.uniform(0.4, 0.6),
                y_mm: settings.screen_mm[1] * random.uniform(0.4, 0.6),
            },
        };
        let mut script = Script {
            settings,
            random,
            events: Vec::new(),
            before: Vec::new(),
            due: Due::default(),
            shown: None,
            path: VecDeque::new(),
            n_shown: 0,
            distraction: Distraction::At(3 + (seed % 4) as usize),
        };
        script.schedule_blink(0);
        // The first event has no saccade before it.
        match script.target_duration(0) {
            Some(duration) => {
                script.due.target = 1;
                script.fixate(start, duration.as_us());
            }
            None => {
                let duration = script.fixation_us();
                script.fixate(start, duration);
            }
        }
        script
    }

    /// From `at` on, the observer looks at what is shown instead of playing the script; none gives
    /// the script back, at the target after the one that was looked at. What was written for later
    /// times is forgotten.
    ///
    /// The eyes react after the latency of a saccade, blink as ever, and at one of the targets
    /// (the third to the sixth, by seed) something else takes them away for a while.
    pub fn show(&mut self, at: Timestamp, shown: Option<Shown>) {
        let before = self.shown.map(|(shown, _)| shown);
        if before == shown {
            return;
        }
        self.forget_after(at);
        let pending = self.shown.map(|(_, reacts_at)| reacts_at);
        self.shown = None;
        let is_pursued = shown.is_some_and(|shown| shown.is_moving)
            && before.is_some_and(|before| before.is_moving);
        if !is_pursued {
            self.path.clear();
        }
        let Some(shown) = shown else { return };
        let reacts_at = match pending {
            // A target that moves on does not put off the reaction to it.
            Some(pending) if is_pursued => pending,
            _ => at.as_us() + SACCADE_LATENCY_US,
        };
        if !is_pursued {
            self.n_shown += 1;
        }
        if shown.is_moving {
            self.path.push_back((at.as_us(), shown.point));
            // Of what lies further back than the eyes, one point is needed to go on from.
            while self
                .path
                .get(1)
                .is_some_and(|&(when, _)| when + 2 * PURSUIT_LATENCY_US < at.as_us())
            {
                self.path.pop_front();
            }
        }
        self.shown = Some((shown, reacts_at));
    }

    /// Where the eyes have to be at a time: where a moving target was 100 ms before.
    fn followed(&self, shown: Shown, at_us: u64) -> PointOfRegard {
        let at_us = at_us.saturating_sub(PURSUIT_LATENCY_US);
        let next = self.path.partition_point(|&(when, _)| when <= at_us);
        let (Some(&(from_us, from)), to) = (
            next.checked_sub(1).and_then(|last| self.path.get(last)),
            self.path.get(next),
        ) else {
            return self.path.front().map_or(shown.point, |&(_, first)| first);
        };
        let Some(&(to_us, to)) = to else { return from };
        let share = (at_us - from_us) as f32 / (to_us - from_us).max(1) as f32;
        PointOfRegard {
            x_mm: from.x_mm + share * (to.x_mm - from.x_mm),
            y_mm: from.y_mm + share * (to.y_mm - from.y_mm),
        }
    }

    /// Forgets what ended some time before `at`, which nobody will ask for again.
    pub fn forget_before(&mut self, at: Timestamp) {
        let n = self
            .events
            .partition_point(|event| event.offset + KEPT < at)
            // The last one says where the script goes on.
            .min(self.events.len().saturating_sub(1));
        self.events.drain(..n);
        self.before.drain(..n);
    }

    /// Cuts what is written after a time, so that the script can go on otherwise.
    fn forget_after(&mut self, at: Timestamp) {
        let kept = self.events.partition_point(|event| event.onset < at).max(1);
        if let Some(&due) = self.before.get(kept) {
            self.due = due;
        }
        self.events.truncate(kept);
        self.before.truncate(kept);
        if let Some(last) = self.events.last_mut()
            && last.label == EventLabel::Fixation
            && last.offset > at
        {
            // Movements and blinks are finished; a look can end any time.
            last.offset = at.max(last.onset + Span(1));
        }
    }

    /// The events that start before `until`.
    pub fn events(&mut self, until: Timestamp) -> &[ScriptEvent] {
        self.extend(until);
        let count = self.events.partition_point(|event| event.onset < until);
        &self.events[..count]
    }

    /// The event at a time, and where on the screen the gaze is.
    pub fn at(&mut self, at: Timestamp) -> (ScriptEvent, PointOfRegard) {
        self.extend(at + Span(1));
        // Before what is still known it rests where that begins.
        let index = self
            .events
            .partition_point(|event| event.onset <= at)
            .saturating_sub(1);
        let event = self.events[index];
        (event, gaze_of(&event, at))
    }

    /// Where the gaze is, averaged over the time before `at` with falling weights: what a slower
    /// head follows.
    pub fn smoothed(&mut self, at: Timestamp) -> PointOfRegard {
        let mut sum = [0.0f32; 2];
        let mut weights = 0.0;
        for (i, weight) in [0.6f32, 1.0, 1.0, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1]
            .into_iter()
            .enumerate()
        {
            let (_, point) = self.at(at - Span::from_ms(120 * i as u64));
            sum[0] += weight * point.x_mm;
            sum[1] += weight * point.y_mm;
            weights += weight;
        }
        PointOfRegard {
            x_mm: sum[0] / weights,
            y_mm: sum[1] / weights,
        }
    }

    fn end_us(&self) -> u64 {
        self.events.last().map_or(0, |event| event.offset.as_us())
    }

    fn gaze_end(&self) -> PointOfRegard {
        self.events
            .last()
            .map_or(PointOfRegard::default(), |event| event.to)
    }

    fn extend(&mut self, until: Timestamp) {
        while self.end_us() < until.as_us() {
            if let Some((shown, reacts_at)) = self.shown {
                self.write_shown(shown, reacts_at);
                continue;
            }
            match self.settings.kind {
                ScriptKind::Free => self.write_free(),
                ScriptKind::Targets(_) => self.write_target(),
            }
        }
    }

    fn push(&mut self, label: EventLabel, to: PointOfRegard, duration_us: u64) {
        let onset = self.end_us();
        let from = self.events.last().map_or(to, |event| event.to);
        self.before.push(self.due);
        self.events.push(ScriptEvent {
            onset: Timestamp(onset),
            offset: Timestamp(onset + duration_us),
            label,
            from,
            to,
        });
    }

    /// A fixation at the present point for a time, cut by a blink if one is due within it.
    fn fixate(&mut self, point: PointOfRegard, duration_us: u64) {
        // A piece of fixation on either side of a blink is a fixation too, so it has to last.
        const SHORTEST_PIECE_US: u64 = 150_000;
        let onset = self.end_us();
        let end = onset + duration_us;
        let blink_us = (self.random.uniform(120.0, 300.0) * 1000.0) as u64;
        let latest = end.saturating_sub(SHORTEST_PIECE_US + blink_us);
        let earliest = onset + SHORTEST_PIECE_US;
        if self.due.blink_us <= latest && earliest <= latest {
            let blink_onset = self.due.blink_us.max(earliest);
            self.push(EventLabel::Fixation, point, blink_onset - onset);
            self.push(EventLabel::Blink, point, blink_us);
            self.schedule_blink(blink_onset + blink_us);
            let rest = end - self.end_us();
            // A long look is blinked through more than once.
            self.fixate(point, rest);
        } else {
            self.push(EventLabel::Fixation, point, duration_us);
        }
    }

    fn schedule_blink(&mut self, after_us: u64) {
        if self.settings.blinks_per_minute <= 0.0 {
            self.due.blink_us = u64::MAX;
            return;
        }
        // A dead time of one second and an exponential rest keep the mean rate.
        let mean_s = (60.0 / self.settings.blinks_per_minute - 1.0).max(0.2);
        let wait_s = 1.0 - mean_s * libm::logf(1.0 - self.random.unit());
        self.due.blink_us = after_us + (wait_s * 1e6) as u64;
    }

    /// 150 to 600 ms, more short than long ones.
    fn fixation_us(&mut self) -> u64 {
        let share = libm::powf(self.random.unit(), 1.6);
        ((150.0 + 450.0 * share) * 1000.0) as u64
    }

    fn target_duration(&self, index: usize) -> Option<Span> {
        match &self.settings.kind {
            ScriptKind::Targets(targets) => targets.get(index).map(|target| target.duration),
            ScriptKind::Free => None,
        }
    }

    fn saccade_to(&mut self, to: PointOfRegard) -> u64 {
        let amplitude_deg = self.angle_between(self.gaze_end(), to).to_degrees();
        let ms = SACCADE_MS_PER_DEG * amplitude_deg + SACCADE_INTERCEPT_MS;
        let duration_us = (ms * 1000.0) as u64;
        self.push(EventLabel::Saccade, to, duration_us);
        duration_us
    }

    fn write_target(&mut self) {
        // Chunks of a minute stand for "for ever" behind the last target.
        const LAST_CHUNK_US: u64 = 60_000_000;
        let ScriptKind::Targets(targets) = &self.settings.kind else {
            return;
        };
        let Some(target) = targets.get(self.due.target).copied() else {
            let point = self.gaze_end();
            self.fixate(point, LAST_CHUNK_US);
            return;
        };
        let taken = self.saccade_to(target.point);
        self.due.target += 1;
        let rest = target.duration.as_us().saturating_sub(taken);
        self.fixate(target.point, rest);
    }

    /// A piece of looking at what is shown.
    fn write_shown(&mut self, shown: Shown, reacts_at: u64) {
        let (here, now) = (self.gaze_end(), self.end_us());
        let goal = match shown.is_moving {
            true => self.followed(shown, now + FOLLOWED_PIECE_US),
            false => shown.point,
        };
        if self.due.blink_us <= now {
            let duration_us = (self.random.uniform(120.0, 300.0) * 1000.0) as u64;
            self.push(EventLabel::Blink, here, duration_us);
            self.schedule_blink(self.end_us());
            return;
        }
        if now < reacts_at {
            self.rest(here, FOLLOWED_PIECE_US.min(reacts_at - now));
            return;
        }
        match self.distraction {
            Distraction::At(n) if n <= self.n_shown && !shown.is_moving => {
                let elsewhere = self.next_point(shown.point);
                self.saccade_to(elsewhere);
                self.distraction = Distraction::Until(self.end_us() + DISTRACTION_US);
            }
            Distraction::Until(end) if now < end => self.rest(here, FOLLOWED_PIECE_US),
            Distraction::Until(_) => self.distraction = Distraction::Over,
            _ if here == goal => self.rest(here, FOLLOWED_PIECE_US),
            _ if shown.is_moving && self.angle_between(here, goal).to_degrees() < PURSUED_DEG => {
                self.push(EventLabel::Pursuit, goal, FOLLOWED_PIECE_US);
            }
            _ => {
                self.saccade_to(goal);
            }
        }
    }

    /// Goes on looking at a point: the last fixation grows.
    fn rest(&mut self, point: PointOfRegard, duration_us: u64) {
        match self.events.last_mut() {
            Some(last) if last.label == EventLabel::Fixation && last.to == point => {
                last.offset = last.offset + Span(duration_us);
            }
            _ => self.push(EventLabel::Fixation, point, duration_us),
        }
    }

    fn write_free(&mut self) {
        let here = self.gaze_end();
        let blink_is_due = self.due.blink_us <= self.end_us();
        if blink_is_due {
            // Many blinks come with a shift of gaze: the eye turns behind the lids.
            let to = if self.random.chance(0.35) {
                self.next_point(here)
            } else {
                here
            };
            let duration_us = (self.random.uniform(120.0, 300.0) * 1000.0) as u64;
            self.push(EventLabel::Blink, to, duration_us);
            self.schedule_blink(self.end_us());
        } else if self.random.chance(0.06) {
            let start = self.next_point(here);
            self.saccade_to(start);
            let end = self.next_point(start);
            let degrees = self.angle_between(start, end).to_degrees();
            let speed_deg_s = self.random.uniform(6.0, 18.0);
            let duration_us = (degrees / speed_deg_s * 1e6) as u64;
            self.push(EventLabel::Pursuit, end, duration_us.max(300_000));
            return;
        } else {
            let to = self.next_point(here);
            self.saccade_to(to);
        }
        let duration_us = self.fixation_us();
        let point = self.gaze_end();
        // Free fixations are short: the blink waits until one is over.
        self.push(EventLabel::Fixation, point, duration_us);
    }

    /// Another point on the screen, at least 2.5 degrees away where one is found.
    fn next_point(&mut self, from: PointOfRegard) -> PointOfRegard {
        let [width, height] = self.settings.screen_mm;
        let mut to = from;
        for _ in 0..50 {
            // Amplitudes are skewed: many small ones, few across the screen.
            let reach = libm::powf(self.random.unit(), 1.5) * width;
            let direction = self.random.uniform(0.0, core::f32::consts::TAU);
            to = PointOfRegard {
                x_mm: from.x_mm + reach * libm::cosf(direction),
                y_mm: from.y_mm + 0.7 * reach * libm::sinf(direction),
            };
            let is_on_screen = to.x_mm > 0.03 * width
                && to.x_mm < 0.97 * width
                && to.y_mm > 0.03 * height
                && to.y_mm < 0.97 * height;
            if is_on_screen && self.angle_between(from, to).to_degrees() > 2.5 {
                return to;
            }
        }
        // On a small screen no try may fit: the last one, held on the screen.
        PointOfRegard {
            x_mm: to.x_mm.clamp(0.03 * width, 0.97 * width),
            y_mm: to.y_mm.clamp(0.03 * height, 0.97 * height),
        }
    }

    fn angle_between(&self, a: PointOfRegard, b: PointOfRegard) -> f32 {
        let line = |point: PointOfRegard| {
            let target = screen_to_camera(point, self.settings.screen_mm);
            let [ex, ey, ez] = self.settings.eyes_mm;
            gaze_protocol::GazeAngles::from_vector([target[0] - ex, target[1] - ey, target[2] - ez])
        };
        line(a).angle_to(line(b))
    }
}

/// A point of the screen plane in camera axes, for the default screen: camera in the middle of
/// the upper edge, screen in z = 0.
pub(crate) fn screen_to_camera(point: PointOfRegard, screen_mm: [f32; 2]) -> [f32; 3] {
    [screen_mm[0] / 2.0 - point.x_mm, point.y_mm, 0.0]
}

fn gaze_of(event: &ScriptEvent, at: Timestamp) -> PointOfRegard {
    let length = event.offset.since(event.onset).as_us().max(1) as f32;
    let t = (at.since(event.onset).as_us() as f32 / length).min(1.0);
    let share = match event.label {
        // Minimum jerk: the velocity profile of a saccade, near enough (Hogan 1984).
        EventLabel::Saccade => minimum_jerk(t),
        // Behind the closed lids, in the middle of the blink.
        EventLabel::Blink => minimum_jerk(((t - 0.25) / 0.3).clamp(0.0, 1.0)),
        EventLabel::Fixation | EventLabel::Pursuit => t,
    };
    PointOfRegard {
        x_mm: event.from.x_mm + share * (event.to.x_mm - event.from.x_mm),
        y_mm: event.from.y_mm + share * (event.to.y_mm - event.from.y_mm),
    }
}

fn minimum_jerk(t: f32) -> f32 {
    t * t * t * (10.0 + t * (6.0 * t - 15.0))
}

/// How far the lids are from open (1) to closed (0) at a share 0..1 of a blink.
///
/// Closing takes a quarter of the time and opening is about twice as slow, with the lids shut in
/// between (VanderWerf et al. 2003).
pub(crate) fn blink_opening(share: f32) -> f32 {
    const CLOSED_FROM: f32 = 0.25;
    const CLOSED_TO: f32 = 0.5;
    if share < CLOSED_FROM {
        1.0 - minimum_jerk(share / CLOSED_FROM)
    } else if share < CLOSED_TO {
        0.0
    } else {
        minimum_jerk(((share - CLOSED_TO) / (1.0 - CLOSED_TO)).min(1.0))
    }
}

#[cfg(test)]
mod tests;
