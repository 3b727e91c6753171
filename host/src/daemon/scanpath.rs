//! The thread of the scanpath transformer, and what waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, TryRecvError, select};
use tracing::error;

use crate::record::{Record, Scanpath, ScanpathRequest};
use crate::scanpath::{Dwelled, Follower};
use crate::scene::SceneTable;
use crate::server::{PathsRequest, Publisher};

/// Scenes and dwells that may wait, at a few dwells a second.
const MOST_WAITING: usize = 64;

/// What the scanpath stage is told, in the order of its happening.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ScanpathInput {
    /// A new scene.
    Shown(Arc<SceneTable>),
    /// The scene with other objects.
    Changed(Arc<SceneTable>),
    /// A completed dwell.
    Dwelled(Dwelled),
}

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Waits,
    /// It waits, but the oldest dwell that waited had to go.
    DwellDropped,
}

/// The end that the tracking stage puts into. It never waits, however long the networks take: of
/// scenes only the newest counts, and when too many dwells wait the oldest goes.
#[derive(Clone)]
pub(super) struct ScanpathInputs {
    waiting: Arc<Mutex<VecDeque<ScanpathInput>>>,
    wake: Sender<()>,
}

/// The end that the scanpath stage takes from.
pub(super) struct WaitingInputs {
    waiting: Arc<Mutex<VecDeque<ScanpathInput>>>,
    woken: Receiver<()>,
}

/// A queue for the scanpath stage.
pub(super) fn inputs() -> (ScanpathInputs, WaitingInputs) {
    let waiting = Arc::default();
    let (wake, woken) = crossbeam_channel::bounded(1);
    let inputs = ScanpathInputs {
        waiting: Arc::clone(&waiting),
        wake,
    };
    (inputs, WaitingInputs { waiting, woken })
}

fn locked(waiting: &Mutex<VecDeque<ScanpathInput>>) -> MutexGuard<'_, VecDeque<ScanpathInput>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ScanpathInputs {
    pub(super) fn put(&self, input: ScanpathInput) -> Put {
        let mut put = Put::Waits;
        let mut waiting = locked(&self.waiting);
        if let ScanpathInput::Shown(_) = input {
            // It begins anew, whatever was before.
            waiting.clear();
        }
        if let ScanpathInput::Changed(newer) = &input
            && let Some(ScanpathInput::Shown(table) | ScanpathInput::Changed(table)) =
                waiting.back_mut()
        {
            *table = Arc::clone(newer);
        } else {
            if waiting.len() >= MOST_WAITING {
                put = Put::DwellDropped;
                drop_oldest_dwell(&mut waiting);
            }
            waiting.push_back(input);
        }
        drop(waiting);
        // When it is full, the other end wakes anyway.
        let _ = self.wake.try_send(());
        put
    }
}

/// Scenes that then follow each other become one.
fn drop_oldest_dwell(waiting: &mut VecDeque<ScanpathInput>) {
    let is_dwell = |input: &ScanpathInput| matches!(input, ScanpathInput::Dwelled(_));
    let Some(oldest) = waiting.iter().position(is_dwell) else {
        return;
    };
    waiting.remove(oldest);
    if let Some(ScanpathInput::Changed(newer)) = waiting.get(oldest).cloned()
        && let Some(before) = oldest.checked_sub(1)
        && let ScanpathInput::Shown(table) | ScanpathInput::Changed(table) = &mut waiting[before]
    {
        *table = newer;
        waiting.remove(oldest);
    }
}

pub(super) struct ScanpathThread {
    pub(super) follower: Follower,
    pub(super) publisher: Publisher,
}

impl ScanpathThread {
    pub(super) fn run(mut self, inputs: &WaitingInputs, paths: &Receiver<PathsRequest>) {
        let mut paths = paths.clone();
        loop {
            select! {
                recv(inputs.woken) -> woken => {
                    self.take_waiting(inputs);
                    if woken.is_err() {
                        return;
                    }
                }
                recv(paths) -> request => match request {
                    Ok(request) => {
                        // What the client announced before it asked comes first.
                        self.take_waiting(inputs);
                        let answer = self.sample(&request, inputs);
                        request.answer(answer);
                    }
                    Err(_) => paths = crossbeam_channel::never(),
                },
            }
        }
    }

    fn take_waiting(&mut self, inputs: &WaitingInputs) {
        loop {
            let next = locked(&inputs.waiting).pop_front();
            match next {
                Some(input) => self.take(input),
                None => return,
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

    /// Samples the paths that a client asked for; dwells and scenes come in between.
    fn sample(
        &mut self,
        request: &PathsRequest,
        inputs: &WaitingInputs,
    ) -> Result<Vec<Scanpath>, String> {
        let ScanpathRequest { samples, seed } = request.request;
        let failed = |error| {
            error!("paths cannot be sampled: {error}");
            format!("scanpath_request: {error}")
        };
        let sampling = self.follower.sampling(samples, seed).map_err(failed)?;
        let mut sampling = sampling.ok_or_else(|| {
            "scanpath_request: no scene is shown; announce one with \"scene\"".to_owned()
        })?;
        while !sampling.is_done() {
            let is_stopping = inputs.woken.try_recv() == Err(TryRecvError::Disconnected);
            self.take_waiting(inputs);
            if is_stopping || request.is_forgotten() {
                return Err("gazed is stopping".to_owned());
            }
            sampling.step(self.follower.networks()).map_err(failed)?;
        }
        Ok(sampling.paths())
    }
}

#[cfg(test)]
mod tests {
    use gaze_models::ScanpathModels;

    use super::*;
    use crate::inference::Engine;
    use crate::metrics::Metrics;
    use crate::scanpath::Networks;
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

    fn table(scene_id: &str) -> Arc<SceneTable> {
        let scene = serde_json::from_str(&format!(
            r#"{{"scene_id":"{scene_id}","width_px":800,"height_px":600,"objects":[
                {{"id":"a","box":[0,0,100,100]}},{{"id":"b","box":[300,0,100,100]}}]}}"#,
        ));
        Arc::new(SceneTable::new(&scene.unwrap()).unwrap())
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
        let (inputs, taken) = inputs();
        let (requests, asked) = crossbeam_channel::bounded(8);
        inputs.put(ScanpathInput::Shown(table("s")));
        inputs.put(ScanpathInput::Dwelled(dwelled("a")));
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

    fn waiting(inputs: &WaitingInputs) -> Vec<ScanpathInput> {
        locked(&inputs.waiting).iter().cloned().collect()
    }

    #[test]
    fn of_scenes_that_wait_the_newest_counts() {
        use ScanpathInput::{Changed, Dwelled, Shown};
        let (inputs, taken) = inputs();
        let dwell = || Dwelled(dwelled("a"));
        for input in [
            dwell(),
            Shown(table("1")),
            Changed(table("2")),
            dwell(),
            Changed(table("3")),
            Changed(table("4")),
        ] {
            assert_eq!(inputs.put(input), Put::Waits);
        }
        // What was before the first scene shown is forgotten; the dwell between stays between.
        let expected = [Shown(table("2")), dwell(), Changed(table("4"))];
        assert_eq!(waiting(&taken), expected);
        inputs.put(Shown(table("5")));
        assert_eq!(waiting(&taken), [Shown(table("5"))]);
    }

    #[test]
    fn a_stage_that_does_not_take_makes_nobody_wait() {
        use ScanpathInput::{Changed, Dwelled, Shown};
        let (inputs, taken) = inputs();
        inputs.put(Shown(table("first")));
        let mut n_dropped = 0;
        for n in 0..10 * MOST_WAITING {
            for input in [
                Dwelled(dwelled(&n.to_string())),
                Changed(table(&n.to_string())),
            ] {
                n_dropped += usize::from(inputs.put(input) == Put::DwellDropped);
            }
        }
        let waiting = waiting(&taken);
        assert!(waiting.len() <= MOST_WAITING, "{}", waiting.len());
        assert!(matches!(waiting[0], Shown(_)));
        let last = (10 * MOST_WAITING - 1).to_string();
        assert_eq!(waiting.last(), Some(&Changed(table(&last))));
        assert_eq!(waiting[waiting.len() - 2], Dwelled(dwelled(&last)));
        let n_dwells = waiting
            .iter()
            .filter(|input| matches!(input, Dwelled(_)))
            .count();
        // Room is made by dropping dwells, each of which is counted.
        assert_eq!(n_dwells + n_dropped, 10 * MOST_WAITING);
    }

    #[test]
    fn a_scene_is_taken_while_paths_are_sampled() {
        let models = ScanpathModels::embedded().unwrap();
        let (inputs, taken) = inputs();
        inputs.put(ScanpathInput::Shown(table("asked")));
        let mut thread = thread(models);
        thread.take_waiting(&taken);
        let (request, _answer) = PathsRequest::new(ScanpathRequest {
            samples: 2,
            seed: 1,
        });
        inputs.put(ScanpathInput::Shown(table("newer")));
        let paths = thread.sample(&request, &taken).unwrap();
        assert!(paths.iter().all(|path| path.scene_id == "asked"));
        assert!(waiting(&taken).is_empty());
        drop(inputs);
        // At the end of the daemon nobody waits for paths.
        assert!(thread.sample(&request, &taken).is_err());
    }
}
