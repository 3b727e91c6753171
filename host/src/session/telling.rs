//! What a session tells: its records, and what it shows.

use gaze_protocol::{PointOfRegard, Span, Timestamp};

use super::{Look, Session, State, places};
use crate::record::{self, Purpose, Stage, Target};

impl Session {
    /// What to show now, for the synthetic observer: shares of the screen, and whether it moves.
    pub fn shown(&self) -> Option<(PointOfRegard, bool)> {
        let State::Looking { place, .. } = &self.state else {
            return None;
        };
        let share = self.share_shown(*place);
        Some((
            self.screen.from_normalised(share),
            self.options.pursuit && !self.places[*place].is_validation,
        ))
    }

    /// Where it stands, for clients; none when nothing has changed that they have not been told.
    pub fn record_if_changed(
        &mut self,
        last: Option<&record::Calibration>,
    ) -> Option<record::Calibration> {
        /// Placement and progress change with every frame: ten records a second are enough.
        const LEAST: Span = Span::from_ms(100);
        let record = self.record();
        let is_told = last.is_some_and(|last| {
            record
                == record::Calibration {
                    t_us: record.t_us,
                    ..last.clone()
                }
        });
        if is_told {
            return None;
        }
        let is_same_stage = last.is_some_and(|last| {
            let place = |record: &record::Calibration| record.target.map(|t| (t.index, t.attempt));
            last.stage == record.stage
                && last.message == record.message
                && place(last) == place(&record)
                && record.target.is_none_or(|target| !target.is_moving)
        });
        let is_early = self
            .published_at
            .zip(self.now)
            .is_some_and(|(published, now)| now.since(published) < LEAST);
        if is_same_stage && is_early {
            return None;
        }
        self.published_at = self.now;
        Some(record)
    }

    /// Where it stands.
    pub fn record(&self) -> record::Calibration {
        let stage = self.stage();
        let with_placement = matches!(stage, Stage::Placing | Stage::Paused);
        record::Calibration {
            t_us: self.now.map(Timestamp::as_us),
            purpose: self.purpose,
            user: self.options.user.to_string(),
            stage,
            message: self.message.clone(),
            placement: self.placement.clone().filter(|_| with_placement),
            target: self.target(),
            result: matches!(stage, Stage::Review | Stage::Accepted)
                .then(|| self.result())
                .filter(|_| self.purpose == Purpose::Calibrate),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        match self.state {
            State::Placing => Stage::Placing,
            State::Looking { .. } => Stage::Target,
            State::Waiting => Stage::Waiting,
            State::Paused { .. } => Stage::Paused,
            State::Review => Stage::Review,
            State::Ended(stage) => stage,
        }
    }

    pub(super) fn target(&self) -> Option<Target> {
        let State::Looking {
            place, progress, ..
        } = &self.state
        else {
            return None;
        };
        let [x, y] = self.share_shown(*place);
        let shown = &self.places[*place];
        let point = self.screen.from_normalised([x, y]);
        Some(Target {
            index: self
                .places
                .iter()
                .filter(|place| place.samples.is_some())
                .count(),
            of: self.places.len(),
            is_validation: shown.is_validation,
            is_moving: self.options.pursuit && !shown.is_validation,
            x,
            y,
            x_mm: point.x_mm,
            y_mm: point.y_mm,
            attempt: shown.attempts,
            progress: *progress,
        })
    }

    pub(super) fn share_shown(&self, place: usize) -> [f32; 2] {
        match &self.state {
            State::Looking {
                look: Some(Look::Moving { .. }),
                progress,
                ..
            } => places::on_path(*progress),
            _ => self.places[place].share,
        }
    }
}
