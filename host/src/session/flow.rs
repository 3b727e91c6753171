//! How a session goes on: from target to target, to the fit, to the targets that judge it.

use std::collections::VecDeque;

use gaze_calibration::{FitOptions, FitReport, Quality, TargetSample, fit_with_pose, judge};
use gaze_protocol::{PointOfRegard, Span, Timestamp};

use super::steady::{Rest, Seen, Steady, Trouble};
use super::{
    COMMAND_ARRIVAL, ELSEWHERE, ELSEWHERE_DEG, FOLLOWED, Look, MAX_ATTEMPTS, MAX_FAILED_IN_A_ROW,
    MAX_SAMPLES, OTHER_HEAD_MM, OTHER_HEAD_WITHIN, PURSUIT, Session, State, outcome,
};
use crate::record::{Purpose, Stage, Timing};
use crate::tracking::calibration_input;
use crate::vision::Observation;

impl Session {
    /// Shows the next target; after the last fits, and after the last to judge is done.
    pub(super) fn advance(&mut self) {
        match self.queue.pop_front() {
            Some(place) => self.show(place),
            None if self.options.timing.tells_targets_later() => {
                self.state = State::Waiting;
            }
            None => self.fit_or_judge(),
        }
    }

    pub(super) fn show(&mut self, place: usize) {
        self.places[place].attempts += 1;
        self.state = State::Looking {
            place,
            look: None,
            progress: 0.0,
        };
    }

    /// Takes a frame while a target is shown.
    pub(super) fn look(&mut self, seen: Seen) {
        let timing = self.options.timing;
        let State::Looking {
            place,
            look,
            progress,
        } = &mut self.state
        else {
            return;
        };
        let place = *place;
        let is_moving = self.options.pursuit && !self.places[place].is_validation;
        let point = self.screen.from_normalised(self.places[place].share);
        let pace = if self.options.slow { 2 } else { 1 };
        let look = look.get_or_insert_with(|| match timing {
            _ if is_moving => Look::Moving {
                from: seen.at,
                to: seen.at + Span(PURSUIT.as_us() * pace),
                seen: Vec::new(),
            },
            Timing::Steady => Look::Steady(Steady::new(seen.at, self.options.slow)),
            Timing::Fixed {
                delay_ms,
                duration_ms,
            } => timed(seen.at, seen.at, delay_ms, duration_ms),
            // No target is shown under `by_reference`.
            Timing::ByCommand | Timing::ByReference => Look::Timed {
                from: seen.at + COMMAND_ARRIVAL,
                to: None,
                samples: Vec::new(),
            },
        });
        let found = match look {
            Look::Steady(steady) => steady.step(seen),
            Look::Timed { from, to, samples } => {
                let is_over = to.is_some_and(|to| seen.at > to);
                if seen.at >= *from && !is_over && samples.len() < MAX_SAMPLES {
                    samples.push(TargetSample {
                        seq: seen.seq,
                        target: point,
                        input: seen.input,
                    });
                }
                match to {
                    Some(to) if seen.at >= *to => Rest::Done,
                    Some(to) => {
                        let left = to.since(seen.at).as_us() as f32;
                        let whole = to.since(*from).as_us().max(1) as f32;
                        Rest::Going((1.0 - left / whole).clamp(0.0, 1.0))
                    }
                    None => Rest::Going(0.0),
                }
            }
            Look::Moving {
                from,
                to,
                seen: all,
            } => {
                all.push(seen);
                let share = seen.at.since(*from).as_us() as f32 / to.since(*from).as_us() as f32;
                let n_lost = all.iter().filter(|seen| seen.tangent.is_none()).count();
                match share {
                    share if share < 1.0 => Rest::Going(share),
                    _ if 2 * n_lost > all.len() => Rest::Failed(Trouble::NoGaze),
                    _ => Rest::Done,
                }
            }
        };
        let over_at = match look {
            Look::Timed { to, .. } => *to,
            _ => None,
        };
        match found {
            // In steps that clients are told.
            Rest::Going(share) if is_moving => *progress = share,
            Rest::Going(share) => *progress = (share * 10.0).floor() / 10.0,
            Rest::Done => {
                self.take(place);
                if let Some(over_at) = over_at {
                    self.begin_timed(over_at, seen.at);
                }
            }
            Rest::Failed(trouble) => self.failed(place, trouble),
        }
    }

    /// Begins the target on show where the one before was over: a client that shows its targets by
    /// its own clock waits for no frame, and what is lost at each target adds up.
    pub(super) fn begin_timed(&mut self, shown_at: Timestamp, now: Timestamp) {
        if let Timing::Fixed {
            delay_ms,
            duration_ms,
        } = self.options.timing
            && let State::Looking {
                place,
                look: look @ None,
                ..
            } = &mut self.state
            && (!self.options.pursuit || self.places[*place].is_validation)
        {
            *look = Some(timed(shown_at, now, delay_ms, duration_ms));
        }
    }

    /// Keeps what was seen of a target and goes on.
    pub(super) fn take(&mut self, place: usize) {
        let point = self.screen.from_normalised(self.places[place].share);
        let state = std::mem::replace(&mut self.state, State::Waiting);
        let State::Looking {
            look: Some(look), ..
        } = state
        else {
            return self.advance();
        };
        let (samples, lasted) = match look {
            Look::Steady(steady) => (steady.samples(point), steady.lasted()),
            Look::Timed { from, samples, .. } => {
                let now = self.now.unwrap_or(from);
                (samples, now.since(from))
            }
            Look::Moving { from, to, seen } => (
                outcome::along_path(&seen, from, to, &self.screen),
                to.since(from),
            ),
        };
        let taken = &mut self.places[place];
        taken.samples = Some(samples);
        taken.lasted = lasted;
        self.failed_in_a_row = 0;
        self.message = None;
        self.advance();
    }

    /// Puts a target that was not looked at back, or gives it up.
    pub(super) fn failed(&mut self, place: usize, trouble: Trouble) {
        self.failed_in_a_row += 1;
        if self.failed_in_a_row >= MAX_FAILED_IN_A_ROW {
            let words = match trouble {
                Trouble::NoGaze => {
                    "your eyes are closed or hidden most of the time: more light from the front helps; go on when ready"
                }
                Trouble::Restless => {
                    "your eyes do not come to rest on the target: look at its middle until it is gone; go on when ready"
                }
            };
            return self.pause_at(place, words, false);
        }
        if self.places[place].attempts < MAX_ATTEMPTS {
            self.message = Some("once more: the eyes were elsewhere".to_owned());
            self.queue.push_back(place);
        }
        self.advance();
    }

    /// Fits what is taken; then shows the targets to judge by, and judges.
    pub(super) fn fit_or_judge(&mut self) {
        if self.purpose == Purpose::Recentre {
            self.recentring = self.missing_on_target();
            self.state = State::Review;
            if let Err(verdict) = self.can_accept() {
                self.end(Stage::Discarded, &verdict);
            }
            return;
        }
        let options = FitOptions {
            is_pursuit: self.options.pursuit,
            ..FitOptions::default()
        };
        let found = fit_with_pose(&self.samples(false), &self.screen, &options);
        self.fitted = Some(found.map(|(report, screen)| {
            // Targets keep their places on the screen; where that stands has become clearer.
            self.screen = screen;
            report
        }));
        if self.again_where_the_eyes_were_elsewhere(false) {
            return self.advance();
        }
        let Some(Ok(report)) = &self.fitted else {
            self.state = State::Review;
            return;
        };
        if self.did_not_follow(report) {
            self.state = State::Review;
            return;
        }
        self.queue = self.untaken(true);
        if let Some(place) = self.queue.pop_front() {
            return self.show(place);
        }
        // A validation without a single look at a target says nothing.
        self.validation = judge(&self.samples(true), &report.model, &self.screen).ok();
        if self.again_where_the_eyes_were_elsewhere(true) {
            return self.advance();
        }
        self.state = State::Review;
    }

    /// Queues the targets that were not looked at, each once; whether there are any.
    pub(super) fn again_where_the_eyes_were_elsewhere(&mut self, is_validation: bool) -> bool {
        if self.options.timing != Timing::Steady || self.options.pursuit {
            return false;
        }
        let fitted = self.fitted.as_ref().and_then(|fitted| fitted.as_ref().ok());
        let quality = if is_validation {
            self.validation.as_ref()
        } else {
            fitted.map(|report| &report.quality)
        };
        let Some(quality) = quality else { return false };
        let error = |quality: &Quality| {
            let mut errors: Vec<f32> = quality
                .targets
                .iter()
                .filter_map(|target| target.measures.error_deg)
                .collect();
            errors.sort_unstable_by(f32::total_cmp);
            errors
                .get(errors.len() / 2)
                .copied()
                .filter(|_| errors.len() >= 5)
        };
        // Validation targets are held against the fit's usual error.
        let Some(usual) = fitted.and_then(|report| error(&report.quality)) else {
            return false;
        };
        let limit = (ELSEWHERE * usual).max(ELSEWHERE_DEG);
        let doubtful: Vec<PointOfRegard> = quality
            .targets
            .iter()
            .filter(|target| target.measures.error_deg.is_some_and(|error| error > limit))
            .map(|target| target.target)
            .collect();
        for index in 0..self.places.len() {
            let place = &mut self.places[index];
            let point = self.screen.from_normalised(place.share);
            let is_doubtful = doubtful
                .iter()
                .any(|there| (there.x_mm - point.x_mm).hypot(there.y_mm - point.y_mm) < 1.0);
            if is_doubtful && place.is_validation == is_validation && !place.is_retaken {
                place.is_retaken = true;
                place.samples = None;
                place.attempts = place.attempts.min(MAX_ATTEMPTS - 1);
                self.queue.push_back(index);
            }
        }
        if !self.queue.is_empty() {
            self.message = Some("once more: the eyes seem to have been elsewhere".to_owned());
        }
        !self.queue.is_empty()
    }

    pub(super) fn samples(&self, is_validation: bool) -> Vec<TargetSample> {
        self.places
            .iter()
            .filter(|place| place.is_validation == is_validation)
            .filter_map(|place| place.samples.as_deref())
            .flatten()
            .copied()
            .collect()
    }

    /// Whether gaze is hardly better than guessing the middle of the targets.
    pub(super) fn did_not_follow(&self, report: &FitReport) -> bool {
        report.quality.targets.len() >= 5
            && report
                .quality
                .all
                .error_mm
                .is_some_and(|error| error > FOLLOWED * report.constant_guess.mm)
    }

    /// The places of one kind that are not taken yet, in their order.
    pub(super) fn untaken(&self, is_validation: bool) -> VecDeque<usize> {
        (0..self.places.len())
            .filter(|&index| {
                let place = &self.places[index];
                place.is_validation == is_validation
                    && place.samples.is_none()
                    && place.attempts < MAX_ATTEMPTS
            })
            .collect()
    }

    pub(super) fn seen(&self, observation: &Observation) -> Seen {
        let input = observation.face.as_ref().and_then(calibration_input);
        Seen {
            at: observation.captured_at,
            seq: observation.seq,
            input,
            tangent: input
                .and_then(|input| self.screen.sight(input.origin_mm, input.angles))
                .map(|sight| sight.tangent),
        }
    }

    /// The person goes on, whoever else is in the picture: a portrait, or somebody who keeps still.
    pub(super) fn tolerate_faces(&mut self) {
        self.tolerated_faces = self.n_faces.max(1);
    }

    /// Notes where the head is; says whether it is another than in the frame before.
    pub(super) fn watch_head(&mut self, observation: &Observation) -> bool {
        let Some(face) = &observation.face else {
            return false;
        };
        let (now, here) = (observation.captured_at, face.head.position_mm);
        self.face_seen_at = Some(now);
        let last = self.last_head.replace((now, here));
        last.is_some_and(|(at, there)| {
            let apart = (0..3)
                .map(|i| (here[i] - there[i]).powi(2))
                .sum::<f32>()
                .sqrt();
            now.since(at) < OTHER_HEAD_WITHIN && apart > OTHER_HEAD_MM
        })
    }
}

/// A look at a target that is on since `shown_at`, told of at `now`: later than that only as much as
/// eyes need that wait to be told, also after frames were missing.
fn timed(shown_at: Timestamp, now: Timestamp, delay_ms: u32, duration_ms: u32) -> Look {
    let delay = Span::from_ms(u64::from(delay_ms));
    let from = shown_at + delay;
    Look::Timed {
        from: from.max(now + delay.min(COMMAND_ARRIVAL)),
        to: Some(from + Span::from_ms(u64::from(duration_ms))),
        samples: Vec::new(),
    }
}
