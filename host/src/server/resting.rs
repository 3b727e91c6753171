//! The fixation that goes on, put together from the records of its life.

use gaze_protocol::EventKind;

use crate::record::{OpenEvent, Record, Sample};

/// Follows the records.
#[derive(Clone, Debug, Default)]
pub(super) struct Resting {
    last: Option<OpenEvent>,
    is_on: bool,
}

impl Resting {
    /// Takes any record.
    pub(super) fn take(&mut self, record: &Record) {
        match record {
            Record::EventBegin(open) | Record::EventUpdate(open) => {
                if open.event == EventKind::Fixation {
                    self.last = Some(open.clone());
                    self.is_on = true;
                } else if self.last.as_ref().is_some_and(|last| last.id == open.id) {
                    // Taken for something else now.
                    self.is_on = false;
                }
            }
            Record::Fixation(fixation) => {
                let is_newer = self.last.as_ref().is_none_or(|last| last.id <= fixation.id);
                if is_newer {
                    self.is_on = false;
                    self.last = Some(OpenEvent {
                        id: fixation.id,
                        event: EventKind::Fixation,
                        onset_us: fixation.onset_us,
                        until_us: fixation.offset_us,
                        por: fixation.por.clone(),
                    });
                }
            }
            _ => {}
        }
    }

    /// The fixation that goes on while this sample is seen; none while no gaze is.
    pub(super) fn now(&self, sample: &Sample) -> Option<&OpenEvent> {
        self.last
            .as_ref()
            .filter(|_| self.is_on && sample.validity.is_usable())
    }

    /// The last one, whether it goes on or not.
    pub(super) fn last(&self) -> Option<&OpenEvent> {
        self.last.as_ref()
    }
}
