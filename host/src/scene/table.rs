//! The objects of a scene in its own pixels, checked once; everything else that shows a scene is made
//! from this table.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use gaze_models::contract::SCENE_OBJECTS;

use crate::record::{SceneMessage, SceneObject, SceneObjectId, SceneUpdateMessage, Task};

/// Sides that a scene may have, px; a scene of 1 x 1 has shares of the screen for pixels.
const SIDE_PX: RangeInclusive<f32> = 1e-3..=1e6;

/// How far from the scene's corner an object may lie, and how large it may be, screen diagonals. The
/// networks have only seen objects on the screen; numbers without bound would come out as none.
pub(crate) const FARTHEST_DIAGONALS: f32 = 100.0;

/// Least side of an object, screen diagonals: one that is smaller has no size on a real screen.
const SMALLEST_DIAGONALS: f32 = 1e-6;

/// Why a scene cannot be taken; names the object.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SceneTableError {
    /// A size that cannot be.
    #[error(
        "scene {scene_id}: {width_px} x {height_px} px: each side must be within {} and {}",
        SIDE_PX.start(), SIDE_PX.end()
    )]
    BadSize {
        /// The scene.
        scene_id: String,
        /// Width given.
        width_px: f32,
        /// Height given.
        height_px: f32,
    },
    /// More objects than there is room for.
    #[error(
        "scene {scene_id}, object {object}: a scene has at most {SCENE_OBJECTS} objects, this one has {found}"
    )]
    TooMany {
        /// The scene.
        scene_id: String,
        /// The first object that is too many.
        object: String,
        /// Objects given.
        found: usize,
    },
    /// Two objects of one name.
    #[error("scene {scene_id}, object {object}: an object of this id is there already")]
    DuplicateId {
        /// The scene.
        scene_id: String,
        /// The id.
        object: String,
    },
    /// A box without area, with a number that is none, or far away.
    #[error(
        "scene {scene_id}, object {object}: the box {box_px:?} needs a size greater than zero ({SMALLEST_DIAGONALS} screen diagonals), and nothing in it may be above {FARTHEST_DIAGONALS}"
    )]
    BadBox {
        /// The scene.
        scene_id: String,
        /// The object.
        object: String,
        /// x, y, width, height; px.
        box_px: [f32; 4],
    },
    /// A score that is none.
    #[error("scene {scene_id}, object {object}: the score {score} must be within 0 and 1")]
    BadScore {
        /// The scene.
        scene_id: String,
        /// The object.
        object: String,
        /// Score given.
        score: f32,
    },
    /// The target is not among the objects.
    #[error("scene {scene_id}: the target {target} is not among its objects")]
    NoTarget {
        /// The scene.
        scene_id: String,
        /// The target's id.
        target: String,
    },
    /// An update names an object that is not there.
    #[error("scene {scene_id}, object {object}: no object has this id")]
    UnknownId {
        /// The scene.
        scene_id: String,
        /// The id.
        object: String,
    },
}

/// The objects of a scene, checked. Boxes may reach outside the screen or lie beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneTable {
    scene_id: String,
    size_px: [f32; 2],
    is_search: bool,
    target: Option<usize>,
    ids: Vec<SceneObjectId>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    box_px: [f32; 4],
    class: Option<String>,
    score: f32,
}

impl SceneTable {
    /// The objects of a scene. Without a `task`, a scene with a target is a search; without a
    /// score, an object is certain.
    ///
    /// # Errors
    /// [`SceneTableError`], the first thing that is wrong.
    pub fn new(scene: &SceneMessage) -> Result<Self, SceneTableError> {
        let SceneMessage {
            scene_id,
            width_px,
            height_px,
            ..
        } = scene;
        if !SIDE_PX.contains(width_px) || !SIDE_PX.contains(height_px) {
            return Err(SceneTableError::BadSize {
                scene_id: scene_id.clone(),
                width_px: *width_px,
                height_px: *height_px,
            });
        }
        let mut table = SceneTable {
            scene_id: scene_id.clone(),
            size_px: [*width_px, *height_px],
            is_search: match scene.task {
                Some(task) => task == Task::Search,
                None => scene.target.is_some(),
            },
            target: None,
            ids: Vec::new(),
            rows: Vec::new(),
        };
        table.add(&scene.objects)?;
        if let Some(target) = &scene.target {
            table.target = table.place_of(target.as_str());
            if table.target.is_none() {
                return Err(SceneTableError::NoTarget {
                    scene_id: scene_id.clone(),
                    target: target.to_string(),
                });
            }
        }
        Ok(table)
    }

    /// The table with objects removed, moved and added, in this order. A target that goes leaves a
    /// search without one.
    ///
    /// # Errors
    /// [`SceneTableError`].
    pub fn updated(&self, update: &SceneUpdateMessage) -> Result<Self, SceneTableError> {
        let mut changed = self.clone();
        for id in &update.remove {
            let place = changed.known(id.as_str())?;
            changed.ids.remove(place);
            changed.rows.remove(place);
            changed.target = match changed.target {
                Some(target) if target == place => None,
                Some(target) if target > place => Some(target - 1),
                other => other,
            };
        }
        for moved in &update.moved {
            let id = moved.id.as_str();
            let place = changed.known(id)?;
            changed.check_box(id, moved.box_px)?;
            changed.rows[place].box_px = moved.box_px;
        }
        changed.add(&update.add)?;
        Ok(changed)
    }

    fn add(&mut self, objects: &[SceneObject]) -> Result<(), SceneTableError> {
        let found = self.ids.len() + objects.len();
        if found > SCENE_OBJECTS {
            return Err(SceneTableError::TooMany {
                scene_id: self.scene_id.clone(),
                object: objects[SCENE_OBJECTS - self.ids.len()].id.to_string(),
                found,
            });
        }
        let mut known: HashSet<String> = self.ids.iter().map(SceneObjectId::to_string).collect();
        for object in objects {
            let id = object.id.to_string();
            self.check_box(&id, object.box_px)?;
            let score = object.score.unwrap_or(1.0);
            if !(0.0..=1.0).contains(&score) {
                return Err(SceneTableError::BadScore {
                    scene_id: self.scene_id.clone(),
                    object: id,
                    score,
                });
            }
            if !known.insert(id.clone()) {
                return Err(SceneTableError::DuplicateId {
                    scene_id: self.scene_id.clone(),
                    object: id,
                });
            }
            self.ids.push(object.id.clone());
            self.rows.push(Row {
                box_px: object.box_px,
                class: object.class.clone(),
                score,
            });
        }
        Ok(())
    }

    fn known(&self, id: &str) -> Result<usize, SceneTableError> {
        self.place_of(id).ok_or_else(|| SceneTableError::UnknownId {
            scene_id: self.scene_id.clone(),
            object: id.to_owned(),
        })
    }

    fn check_box(&self, id: &str, box_px: [f32; 4]) -> Result<(), SceneTableError> {
        let [_, _, width, height] = box_px;
        let diagonal = self.size_px[0].hypot(self.size_px[1]);
        let [smallest, farthest] = [SMALLEST_DIAGONALS, FARTHEST_DIAGONALS].map(|d| d * diagonal);
        // A number that is none is within no bounds.
        let is_near = box_px.iter().all(|number| number.abs() <= farthest);
        if is_near && width >= smallest && height >= smallest {
            return Ok(());
        }
        Err(SceneTableError::BadBox {
            scene_id: self.scene_id.clone(),
            object: id.to_owned(),
            box_px,
        })
    }

    /// The scene's name.
    pub fn scene_id(&self) -> &str {
        &self.scene_id
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The ids, in the order of the objects' places.
    pub fn ids(&self) -> &[SceneObjectId] {
        &self.ids
    }

    /// An object's id as it was announced, text or number.
    pub fn announced(&self, id: &str) -> Option<&SceneObjectId> {
        self.place_of(id).map(|place| &self.ids[place])
    }

    /// The place of an object.
    pub fn place_of(&self, id: &str) -> Option<usize> {
        self.ids.iter().position(|known| known.as_str() == id)
    }

    /// The object that is looked for.
    pub fn target_id(&self) -> Option<&str> {
        self.target.map(|target| self.ids[target].as_str())
    }

    /// The same objects with nobody knowing what is looked for, if anything.
    pub fn without_target(&self) -> SceneTable {
        SceneTable {
            is_search: false,
            target: None,
            ..self.clone()
        }
    }

    /// Whether something is looked for.
    pub fn is_search(&self) -> bool {
        self.is_search
    }

    /// An object's box: x, y, width, height; px.
    pub fn box_px(&self, place: usize) -> [f32; 4] {
        self.rows[place].box_px
    }

    /// What an object is, where its announcer said so.
    pub fn class(&self, place: usize) -> Option<&str> {
        self.rows[place].class.as_deref()
    }

    /// How certain it is that an object is there, 0 to 1.
    pub fn score(&self, place: usize) -> f32 {
        self.rows[place].score
    }

    /// An object's box as shares of the scene: x, y, width, height.
    pub fn area(&self, place: usize) -> [f32; 4] {
        let [x, y, width, height] = self.rows[place].box_px;
        let [scene_width, scene_height] = self.size_px;
        [
            x / scene_width,
            y / scene_height,
            width / scene_width,
            height / scene_height,
        ]
    }

    /// The middle of an object's box, px.
    pub fn centre_px(&self, place: usize) -> [f32; 2] {
        let [x, y, width, height] = self.rows[place].box_px;
        [x + width / 2.0, y + height / 2.0]
    }

    /// Width and height of the scene, px.
    pub fn size_px(&self) -> [f32; 2] {
        self.size_px
    }

    /// A point in screen diagonals from the screen's centre.
    pub fn to_diagonals(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [width, height] = self.size_px;
        let diagonal = width.hypot(height);
        [(x - width / 2.0) / diagonal, (y - height / 2.0) / diagonal]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::MovedObject;

    fn scene(text: &str) -> SceneMessage {
        serde_json::from_str(text).unwrap()
    }

    fn desk() -> SceneTable {
        SceneTable::new(&scene(
            r#"{"scene_id":"desk","width_px":800,"height_px":600,"task":"search","target":"b","objects":[
                {"id":"a","box":[0,0,100,100],"class":"cup"},
                {"id":"b","box":[350,250,100,100],"class":"tvmonitor","score":0.5}]}"#,
        ))
        .unwrap()
    }

    #[test]
    fn a_target_that_goes_leaves_a_search_without_one() {
        let mut table = desk();
        let update = |remove: Vec<&str>, moved| SceneUpdateMessage {
            scene_id: "desk".into(),
            add: vec![],
            moved,
            remove: remove.into_iter().map(SceneObjectId::from).collect(),
        };
        table = table.updated(&update(vec!["a"], vec![])).unwrap();
        assert_eq!((table.target, table.len()), (Some(0), 1));
        let moved = MovedObject {
            id: "b".into(),
            box_px: [0.0, 0.0, 0.0, 5.0],
        };
        let error = table.updated(&update(vec![], vec![moved])).unwrap_err();
        assert!(error.to_string().contains("object b"), "{error}");
        table = table.updated(&update(vec!["b"], vec![])).unwrap();
        assert!(table.target.is_none() && table.is_search() && table.is_empty());
    }

    #[test]
    fn what_is_wrong_names_the_object() {
        for (objects, target, said) in [
            (
                r#"{"id":1,"box":[0,0,5,5]},{"id":1,"box":[0,0,5,5]}"#,
                "null",
                "object 1: an object of this id",
            ),
            (r#"{"id":"x","box":[0,0,0,5]}"#, "null", "object x: the box"),
            (
                r#"{"id":"x","box":[0,0,5,5],"score":1.5}"#,
                "null",
                "object x: the score",
            ),
            (r#"{"id":"x","box":[0,0,5,5]}"#, "7", "the target 7 is not"),
        ] {
            let text = format!(
                r#"{{"scene_id":"s","width_px":9,"height_px":9,"target":{target},"objects":[{objects}]}}"#
            );
            let error = SceneTable::new(&scene(&text)).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let objects: Vec<_> = (0..10_000)
            .map(|k| format!(r#"{{"id":{k},"box":[0,0,5,5]}}"#))
            .collect();
        let text = format!(
            r#"{{"scene_id":"s","width_px":9,"height_px":9,"objects":[{}]}}"#,
            objects.join(",")
        );
        let error = SceneTable::new(&scene(&text)).unwrap_err().to_string();
        assert!(
            error.contains("object 128: ") && error.contains("10000"),
            "{error}"
        );
    }

    #[test]
    fn numbers_that_no_screen_has_are_refused() {
        let refused = |size: &str, area: &str| {
            let text =
                format!(r#"{{"scene_id":"s",{size},"objects":[{{"id":"x","box":{area}}}]}}"#);
            SceneTable::new(&scene(&text)).unwrap_err().to_string()
        };
        // The diagonal is 500 px: 50000 px is the bound.
        let size = r#""width_px":300,"height_px":400"#;
        for area in ["[1e30,0,9,9]", "[0,-50001,9,9]", "[0,0,50001,9]"] {
            let why = refused(size, area);
            assert!(why.contains("object x: the box"), "{why}");
        }
        for size in [
            r#""width_px":1e30,"height_px":400"#,
            r#""width_px":300,"height_px":1e-30"#,
            r#""width_px":300,"height_px":-1"#,
        ] {
            let why = refused(size, "[0,0,9,9]");
            assert!(why.contains("within 0.001 and 1000000"), "{why}");
        }
    }

    #[test]
    fn boxes_may_reach_outside_the_screen() {
        let text = r#"{"scene_id":"s","width_px":100,"height_px":100,"objects":[{"id":1,"box":[-50,-500,20,900]}]}"#;
        assert_eq!(SceneTable::new(&scene(text)).unwrap().len(), 1);
    }
}
