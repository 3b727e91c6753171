//! What clients ask of a session.

use super::{Look, Place, Session, SessionError, State, checked};
use crate::record::{CalibrateMessage, Purpose, Stage, Timing};

impl Session {
    /// Does what a client asks, save for [`CalibrateMessage::Start`] and
    /// [`CalibrateMessage::Accept`], which are the owner's to do.
    ///
    /// # Errors
    /// [`SessionError`]; nothing has changed then.
    pub fn command(&mut self, message: &CalibrateMessage) -> Result<(), SessionError> {
        self.heard_at = self.now;
        match (message, &self.state) {
            (CalibrateMessage::Next, State::Placing) => {
                if self
                    .placement
                    .as_ref()
                    .is_none_or(|placement| placement.face.is_none())
                {
                    return Err(SessionError::NoFace);
                }
                self.tolerate_faces();
                self.advance();
            }
            (
                CalibrateMessage::Next,
                State::Looking {
                    place,
                    look: Some(Look::Timed { .. }),
                    ..
                },
            ) => {
                self.take(*place);
            }
            (CalibrateMessage::Pause, State::Looking { place, .. }) => {
                let place = *place;
                self.pause_at(place, "paused", false);
            }
            (CalibrateMessage::Pause, State::Placing | State::Waiting) => {}
            (CalibrateMessage::Resume, State::Paused { .. }) => {
                self.failed_in_a_row = 0;
                self.last_head = None;
                self.message = None;
                self.tolerate_faces();
                self.advance();
            }
            (
                CalibrateMessage::Redo { index },
                State::Looking { .. } | State::Paused { .. } | State::Review,
            ) => {
                self.redo(*index)?;
            }
            (CalibrateMessage::Show { x, y }, State::Placing | State::Waiting)
                if self.options.timing == Timing::ByCommand =>
            {
                let share = checked([*x, *y])?;
                self.places.push(Place::new(share, false));
                self.show(self.places.len() - 1);
            }
            (CalibrateMessage::Finish, State::Waiting | State::Looking { .. })
                if self.options.timing == Timing::ByCommand =>
            {
                if let State::Looking { place, .. } = self.state {
                    self.take(place);
                }
                self.fit_or_judge();
            }
            (CalibrateMessage::References { references }, State::Placing | State::Waiting)
                if self.options.timing == Timing::ByReference =>
            {
                self.references.add(references)?;
            }
            (CalibrateMessage::Finish, State::Placing | State::Waiting)
                if self.options.timing == Timing::ByReference =>
            {
                self.places = self.references.places(&self.screen)?;
                self.fit_or_judge();
            }
            (CalibrateMessage::Repeat, state) if !matches!(state, State::Ended(_)) => {
                self.rewind();
                if self.purpose == Purpose::Recentre {
                    self.advance();
                }
            }
            (CalibrateMessage::Discard, state) if !matches!(state, State::Ended(_)) => {
                self.end(Stage::Discarded, "discarded: nothing has changed");
            }
            (message, _) => {
                return Err(SessionError::Moment {
                    command: name(message),
                    stage: self.stage(),
                });
            }
        }
        Ok(())
    }

    /// The client that drove the session is gone: it waits for another.
    pub fn abandon(&mut self) {
        if let State::Looking { place, .. } = self.state
            && self.options.timing == Timing::Steady
        {
            self.pause_at(place, "paused: the page was closed", false);
        }
    }

    /// The result could not be kept: it waits for another try.
    pub fn keep_for_review(&mut self, why: &str) {
        self.options.accept = false;
        self.message = Some(format!("the profile cannot be kept: {why}"));
    }

    /// Ends with the owner's word that the profile is kept.
    pub fn accepted(&mut self, words: &str) {
        self.end(Stage::Accepted, words);
    }

    pub(super) fn pause_at(&mut self, place: usize, words: &str, goes_on_by_itself: bool) {
        self.places[place].attempts -= 1;
        self.queue.push_front(place);
        self.message = Some(words.to_owned());
        self.state = State::Paused {
            goes_on_by_itself,
            back_since: None,
        };
    }

    pub(super) fn redo(&mut self, index: Option<usize>) -> Result<(), SessionError> {
        let index = match index {
            Some(index) => index,
            None => {
                // The one before the present: the last that is taken in the order of showing.
                let shown = self.places.iter().enumerate().rev();
                shown
                    .filter(|(_, place)| place.samples.is_some())
                    .map(|(index, _)| index)
                    .next()
                    .ok_or(SessionError::NoTarget { index: 0 })?
            }
        };
        if index >= self.places.len() {
            return Err(SessionError::NoTarget { index });
        }
        if let State::Looking { place, .. } = self.state {
            self.places[place].attempts -= 1;
            self.queue.push_front(place);
        }
        let place = &mut self.places[index];
        place.attempts = 0;
        place.samples = None;
        self.message = None;
        self.show(index);
        Ok(())
    }
}

/// The kind of a message, as it is written.
fn name(message: &CalibrateMessage) -> &'static str {
    match message {
        CalibrateMessage::Start(_) => "start",
        CalibrateMessage::Next => "next",
        CalibrateMessage::Pause => "pause",
        CalibrateMessage::Resume => "resume",
        CalibrateMessage::Redo { .. } => "redo",
        CalibrateMessage::Show { .. } => "show",
        CalibrateMessage::References { .. } => "references",
        CalibrateMessage::Finish => "finish",
        CalibrateMessage::Accept => "accept",
        CalibrateMessage::Repeat => "repeat",
        CalibrateMessage::Discard => "discard",
    }
}
