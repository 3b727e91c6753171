//! The thread of the scanpath transformer.

use crossbeam_channel::{Receiver, select};
use tracing::error;

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
    pub(super) fn run(mut self, inputs: &Receiver<ScanpathInput>, paths: &Receiver<PathsRequest>) {
        let mut paths = paths.clone();
        loop {
            select! {
                recv(inputs) -> input => match input {
                    Ok(input) => self.take(input),
                    Err(_) => return,
                },
                recv(paths) -> request => match request {
                    Ok(request) => {
                        // What the client announced before it asked comes first.
                        while let Ok(input) = inputs.try_recv() {
                            self.take(input);
                        }
                        self.answer(request);
                    }
                    Err(_) => paths = crossbeam_channel::never(),
                },
            }
        }
    }

    /// Takes in a scene or a dwell. A network that fails ends the predictions on this scene; gaze,
    /// events and everybody's connection do not depend on it.
    fn take(&mut self, input: ScanpathInput) {
        let taken = match input {
            ScanpathInput::Shown(table) => self.follower.show(table).map(|()| None),
            ScanpathInput::Changed(table) => self.follower.change(table).map(|()| None),
            ScanpathInput::Dwelled(dwelled) => self.follower.step(&dwelled),
        };
        match taken {
            Ok(Some(next)) => self.publisher.publish(Record::NextObjects(next), None),
            Ok(None) => {}
            Err(error) => error!("nothing is predicted until the next scene: {error}"),
        }
    }

    fn answer(&mut self, request: PathsRequest) {
        let ScanpathRequest { samples, seed } = request.request;
        let paths = sample_live(&mut self.follower, samples, seed);
        request.answer(match paths {
            Ok(Some(paths)) => Ok(paths),
            Ok(None) => {
                Err("scanpath_request: no scene is shown; announce one with \"scene\"".to_owned())
            }
            Err(error) => {
                error!("paths cannot be sampled: {error}");
                Err(format!("scanpath_request: {error}"))
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gaze_models::ScanpathModels;

    use super::*;
    use crate::inference::Engine;
    use crate::metrics::Metrics;
    use crate::scanpath::{Follower, Networks};
    use crate::server::{Server, ServerSettings};

    fn thread(models: ScanpathModels) -> ScanpathThread {
        let settings = ServerSettings {
            listen: None,
            ..ServerSettings::default()
        };
        let server = Server::bind(settings, Arc::new(Metrics::new())).unwrap();
        ScanpathThread {
            follower: Follower::new(Networks::new(models, Engine::Tract)),
            publisher: server.publisher(),
        }
    }

    fn table() -> ObjectTable {
        let scene = serde_json::from_str(
            r#"{"scene_id":"s","width_px":800,"height_px":600,"objects":[
                {"id":"a","box":[0,0,100,100]},{"id":"b","box":[300,0,100,100]}]}"#,
        );
        ObjectTable::new(&scene.unwrap()).unwrap()
    }

    fn dwelled(object: &str) -> Dwelled {
        Dwelled {
            object: object.to_owned(),
            duration_ms: 300.0,
            offset_us: 1_000_000,
        }
    }

    #[test]
    fn a_network_that_fails_ends_predictions_and_nothing_else() {
        let mut models = ScanpathModels::embedded().unwrap();
        models.encoder.onnx = b"this is no network".to_vec().into();
        let (inputs, taken) = crossbeam_channel::bounded(8);
        let (requests, asked) = crossbeam_channel::bounded(8);
        inputs.send(ScanpathInput::Shown(table())).unwrap();
        inputs.send(ScanpathInput::Dwelled(dwelled("a"))).unwrap();
        let (request, answer) = PathsRequest::new(ScanpathRequest {
            samples: 1,
            seed: 0,
        });
        requests.send(request).unwrap();
        let running = std::thread::spawn(move || thread(models).run(&taken, &asked));
        // Answered after the failures: the thread is still there.
        let why = answer.blocking_recv().unwrap().unwrap_err();
        assert!(why.contains("no scene is shown"), "{why}");
        drop(inputs);
        running.join().unwrap();
    }
}
