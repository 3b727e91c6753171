//! A live scene and the dwells of one person on it.

use std::sync::Arc;

use super::networks::{Dwell, EncodedScene, Memory, Networks};
use super::prediction::Prediction;
use super::sample::Sampling;
use crate::inference::InferenceError;
use crate::record::{NextObject, NextObjects};
use crate::scene::SceneTable;

/// Keeps the announced scene and the path on it, and predicts after each dwell.
///
/// A new scene begins a new path. When objects are added, moved or removed the path goes on: what
/// is known of an object follows its id. Moved objects have new codes from then on.
pub struct Follower {
    networks: Networks,
    state: Option<State>,
}

struct State {
    table: Arc<SceneTable>,
    scene: EncodedScene,
    memory: Memory,
}

/// A completed dwell, as the tracking stage reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Dwelled {
    /// The object's id.
    pub object: String,
    /// How long, ms.
    pub duration_ms: f32,
    /// When it ended, µs since the source's first frame.
    pub offset_us: u64,
}

impl Follower {
    /// Nothing on the screen.
    pub fn new(networks: Networks) -> Self {
        Follower {
            networks,
            state: None,
        }
    }

    /// Shows a new scene and begins a path on it.
    ///
    /// # Errors
    /// [`InferenceError`]; nothing is predicted until the next scene then.
    pub fn show(&mut self, table: Arc<SceneTable>) -> Result<(), InferenceError> {
        self.state = None;
        let encoded = self.networks.encode(&table, None)?;
        let (memory, _) = self.networks.begin(&encoded, None)?;
        self.state = Some(State {
            table,
            scene: encoded,
            memory,
        });
        Ok(())
    }

    /// Shows the scene with some objects added, moved or removed; the path goes on.
    ///
    /// # Errors
    /// [`InferenceError`]; nothing is predicted until the next scene then.
    pub fn change(&mut self, table: Arc<SceneTable>) -> Result<(), InferenceError> {
        let Some(State {
            table: before,
            memory,
            ..
        }) = self.state.take()
        else {
            return self.show(table);
        };
        let scene = self.networks.encode(&table, None)?;
        let ids = table.ids().iter();
        let from: Vec<_> = ids.map(|id| before.place_of(id.as_str())).collect();
        let memory = memory.moved_to(&scene, &from);
        self.state = Some(State {
            table,
            scene,
            memory,
        });
        Ok(())
    }

    /// Takes in a dwell and tells what comes next; none for an object that is not in the scene any
    /// more, and where there is no other object to look at.
    ///
    /// # Errors
    /// [`InferenceError`]; nothing is predicted until the next scene then.
    pub fn step(&mut self, dwelled: &Dwelled) -> Result<Option<NextObjects>, InferenceError> {
        let found = self.advance(dwelled);
        if found.is_err() {
            self.state = None;
        }
        found
    }

    fn advance(&mut self, dwelled: &Dwelled) -> Result<Option<NextObjects>, InferenceError> {
        let Some(state) = &mut self.state else {
            return Ok(None);
        };
        let Some(object) = state.table.place_of(&dwelled.object) else {
            return Ok(None);
        };
        let dwell = Dwell {
            object,
            duration_ms: Some(dwelled.duration_ms),
            gaze: None,
        };
        let (memory, prediction) = self.networks.advance(&state.scene, &state.memory, dwell)?;
        state.memory = memory;
        if state.table.len() < 2 {
            return Ok(None);
        }
        Ok(Some(next_objects(
            &state.table,
            object,
            dwelled.offset_us,
            &prediction,
        )))
    }

    /// Begins to sample whole paths on the scene that is shown; none while there is no scene. What
    /// is drawn is of this scene, whatever is shown in the meantime.
    ///
    /// # Errors
    /// [`InferenceError`].
    pub fn sampling(
        &mut self,
        n_samples: usize,
        seed: u64,
    ) -> Result<Option<Sampling>, InferenceError> {
        let Some(State { table, scene, .. }) = &self.state else {
            return Ok(None);
        };
        let (table, scene) = (Arc::clone(table), scene.clone());
        Sampling::new(&mut self.networks, table, scene, n_samples, seed).map(Some)
    }

    /// What [`Sampling::step`] draws with.
    pub fn networks(&mut self) -> &mut Networks {
        &mut self.networks
    }
}

fn next_objects(
    table: &SceneTable,
    after: usize,
    offset_us: u64,
    prediction: &Prediction,
) -> NextObjects {
    let mut objects: Vec<_> = prediction
        .log_probabilities(1.0)
        .into_iter()
        .map(|(place, log_probability)| NextObject {
            object: table.ids()[place].clone(),
            probability: log_probability.exp(),
            dwell_ms: prediction.expected_dwell_ms(place),
        })
        .collect();
    objects.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    NextObjects {
        scene_id: table.scene_id().to_owned(),
        after: table.ids()[after].clone(),
        offset_us,
        end_probability: prediction.end_probability(1.0),
        objects,
    }
}

#[cfg(test)]
mod tests {
    use gaze_models::ScanpathModels;

    use super::*;
    use crate::inference::Engine;
    use crate::record::SceneObjectId;

    fn follower() -> Follower {
        let models = ScanpathModels::embedded().unwrap();
        let mut follower = Follower::new(Networks::new(models, Engine::Tract));
        follower.show(Arc::new(menu())).unwrap();
        follower
    }

    fn menu() -> SceneTable {
        let scene = serde_json::from_str(
            r#"{"scene_id":"menu","width_px":1920,"height_px":1080,"objects":[
                {"id":"a","box":[100,100,200,100]},{"id":"b","box":[900,500,200,100]},
                {"id":7,"box":[1700,900,200,100]}]}"#,
        );
        SceneTable::new(&scene.unwrap()).unwrap()
    }

    fn dwelled(object: &str) -> Dwelled {
        Dwelled {
            object: object.to_owned(),
            duration_ms: 300.0,
            offset_us: 1_000_000,
        }
    }

    fn change(follower: &mut Follower, text: &str) {
        let table = &follower.state.as_ref().unwrap().table;
        let changed = table.updated(&serde_json::from_str(text).unwrap()).unwrap();
        follower.change(Arc::new(changed)).unwrap();
    }

    #[test]
    fn the_other_objects_share_all_probability() {
        let found = follower().step(&dwelled("b")).unwrap().unwrap();
        let mut ids: Vec<_> = found.objects.iter().map(|next| &next.object).collect();
        ids.sort_unstable_by_key(|id| id.as_str());
        // As they were announced: a number stays one.
        let [seven, a] = [SceneObjectId::from(7), "a".into()];
        assert_eq!(ids, [&seven, &a]);
        assert_eq!(found.after, SceneObjectId::from("b"));
        let sum: f32 = found.objects.iter().map(|next| next.probability).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        assert!(found.objects[0].probability >= found.objects[1].probability);
        assert!((0.0..=1.0).contains(&found.end_probability));
        assert!(
            found
                .objects
                .iter()
                .all(|next| next.dwell_ms > 50.0 && next.dwell_ms < 5000.0)
        );
    }

    #[test]
    fn a_path_goes_on_when_other_objects_change() {
        // "a" was seen; whether "7" goes and a like one comes under another name must not matter
        // to what is known of "a".
        let mut kept = follower();
        let mut changed = follower();
        for follower in [&mut kept, &mut changed] {
            follower.step(&dwelled("a")).unwrap();
        }
        change(
            &mut changed,
            r#"{"scene_id":"menu","remove":[7],"add":[{"id":"new","box":[1700,900,200,100]}]}"#,
        );
        let of_a = |found: NextObjects| {
            found
                .objects
                .into_iter()
                .find(|next| next.object.as_str() == "a")
                .unwrap()
                .probability
        };
        let kept = of_a(kept.step(&dwelled("b")).unwrap().unwrap());
        let changed = of_a(changed.step(&dwelled("b")).unwrap().unwrap());
        assert!((kept - changed).abs() < 1e-4, "{kept} {changed}");
    }

    #[test]
    fn a_removed_object_is_neither_predicted_nor_taken() {
        let mut follower = follower();
        change(&mut follower, r#"{"scene_id":"menu","remove":["a"]}"#);
        assert_eq!(follower.step(&dwelled("a")).unwrap(), None);
        let found = follower.step(&dwelled("b")).unwrap().unwrap();
        assert_eq!(found.objects.len(), 1);
        assert_eq!(found.objects[0].object, SceneObjectId::from(7));
    }

    #[test]
    fn a_scene_of_one_object_or_none_predicts_nothing() {
        let mut follower = follower();
        change(&mut follower, r#"{"scene_id":"menu","remove":["a",7]}"#);
        assert_eq!(follower.step(&dwelled("b")).unwrap(), None);
        change(&mut follower, r#"{"scene_id":"menu","remove":["b"]}"#);
        assert_eq!(follower.step(&dwelled("b")).unwrap(), None);
    }
}
