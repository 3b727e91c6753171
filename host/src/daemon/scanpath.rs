//! The thread of the scanpath transformer.

use crossbeam_channel::{Receiver, select};

use crate::inference::InferenceError;
use crate::record::{Record, ScanpathRequest};
use crate::scanpath::sample::sample_live;
use crate::scanpath::{Dwelled, Follower, ObjectTable};
use crate::server::{PathsRequest, Publisher};

/// What the scanpath stage is told, in the order of its happening.
pub(super) enum ScanpathInput {
    /// A new scene.
    Shown(ObjectTable),
    /// The scene with other objects.
    Changed(ObjectTable),
    /// A completed dwell.
    Dwelled(Dwelled),
}

pub(super) struct ScanpathThread {
    pub(super) follower: Follower,
    pub(super) publisher: Publisher,
}

impl ScanpathThread {
    pub(super) fn run(
        mut self,
        inputs: &Receiver<ScanpathInput>,
        paths: &Receiver<PathsRequest>,
    ) -> Result<(), InferenceError> {
        let mut paths = paths.clone();
        loop {
            select! {
                recv(inputs) -> input => match input {
                    Ok(input) => self.take(input)?,
                    Err(_) => return Ok(()),
                },
                recv(paths) -> request => match request {
                    Ok(request) => {
                        // What the client announced before it asked comes first.
                        while let Ok(input) = inputs.try_recv() {
                            self.take(input)?;
                        }
                        self.answer(request)?;
                    }
                    Err(_) => paths = crossbeam_channel::never(),
                },
            }
        }
    }

    fn take(&mut self, input: ScanpathInput) -> Result<(), InferenceError> {
        match input {
            ScanpathInput::Shown(table) => self.follower.show(table)?,
            ScanpathInput::Changed(table) => self.follower.change(table)?,
            ScanpathInput::Dwelled(dwelled) => {
                if let Some(next) = self.follower.step(&dwelled)? {
                    self.publisher.publish(Record::NextObjects(next), None);
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, request: PathsRequest) -> Result<(), InferenceError> {
        let ScanpathRequest { samples, seed } = request.request;
        let paths = sample_live(&mut self.follower, samples, seed)?;
        request.answer(paths.ok_or_else(|| {
            "scanpath_request: no scene is shown; announce one with \"scene\"".to_owned()
        }));
        Ok(())
    }
}
