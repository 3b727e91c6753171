//! The objects on the screen that applications announce.
//!
//! One table in scene pixels ([`SceneTable`]) is what there is; the boxes in millimetres that gaze is
//! held against, the networks' rows and what the page draws are made from it.

mod table;

use std::sync::Arc;

use gaze_calibration::ScreenGeometry;
use gaze_signal::{EventBuf, ObjectBox, ObjectError, Objects};

use crate::record::{SceneMessage, SceneUpdateMessage};

pub(crate) use table::FARTHEST_DIAGONALS;
pub use table::{SceneTable, SceneTableError};

/// What a client asks of the scene.
#[derive(Clone, Debug, PartialEq)]
pub enum SceneChange {
    /// Replace all objects.
    Replace(SceneMessage),
    /// Change some.
    Update(SceneUpdateMessage),
}

/// Why a scene message was not taken; nothing of it has been applied then.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// The scene itself.
    #[error(transparent)]
    Table(#[from] SceneTableError),
    /// An update before the first scene.
    #[error(
        "scene_update for {update:?}, but no scene is shown: announce one with \"scene\" first"
    )]
    NoScene {
        /// Named by the update.
        update: String,
    },
    /// An update for a scene that is not shown.
    #[error("scene_update for {update:?}, but the current scene is {current:?}")]
    OtherScene {
        /// Named by the update.
        update: String,
        /// The one announced last.
        current: String,
    },
    /// One object cannot be followed.
    #[error("scene {scene_id}, object {object}: {reason}")]
    Object {
        /// The scene.
        scene_id: String,
        /// The object.
        object: String,
        /// What is wrong with it.
        reason: ObjectError,
    },
}

/// The announced scene and the visits to its objects.
#[derive(Clone, Debug)]
pub struct Scene {
    table: Option<Arc<SceneTable>>,
    objects: Objects,
}

impl Scene {
    /// An empty screen.
    pub fn new(objects: Objects) -> Self {
        Scene {
            table: None,
            objects,
        }
    }

    /// The scene that was announced last.
    pub fn table(&self) -> Option<&Arc<SceneTable>> {
        self.table.as_ref()
    }

    /// The objects and where they are.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The objects, for following the gaze.
    pub fn objects_mut(&mut self) -> &mut Objects {
        &mut self.objects
    }

    /// Takes a client's change on this screen; gives the visits that it ends. Under a new scene all
    /// visits end, also that to an object of the same id.
    ///
    /// # Errors
    /// [`SceneError`]; the scene stays as it was.
    pub fn change(
        &mut self,
        change: &SceneChange,
        screen: &ScreenGeometry,
    ) -> Result<EventBuf, SceneError> {
        let mut ended = EventBuf::new();
        let mut objects = self.objects.clone();
        let table = match change {
            SceneChange::Replace(message) => {
                let table = SceneTable::new(message)?;
                objects.clear(&mut ended);
                table
            }
            SceneChange::Update(update) => {
                let table = self.shown_for(update)?.updated(update)?;
                for id in &update.remove {
                    let removed = objects.remove(id.as_str(), &mut ended);
                    removed.map_err(|reason| refused(&table, id.as_str(), reason))?;
                }
                table
            }
        };
        lay_out(&table, screen, &mut objects)?;
        self.objects = objects;
        self.table = Some(Arc::new(table));
        Ok(ended)
    }

    /// Lays the same objects out on another screen. A visit goes on if gaze still meets its object.
    ///
    /// # Panics
    /// Never: these objects were taken, and a table's boxes are sound on every screen.
    pub fn set_screen(&mut self, screen: &ScreenGeometry) {
        if let Some(table) = &self.table {
            lay_out(table, screen, &mut self.objects)
                .expect("these objects were taken, and a table's boxes are sound on every screen");
        }
    }

    fn shown_for(&self, update: &SceneUpdateMessage) -> Result<&SceneTable, SceneError> {
        match &self.table {
            Some(table) if table.scene_id() == update.scene_id => Ok(table),
            Some(table) => Err(SceneError::OtherScene {
                update: update.scene_id.clone(),
                current: table.scene_id().to_owned(),
            }),
            None => Err(SceneError::NoScene {
                update: update.scene_id.clone(),
            }),
        }
    }
}

/// Puts every object of the table where it is on the screen.
fn lay_out(
    table: &SceneTable,
    screen: &ScreenGeometry,
    objects: &mut Objects,
) -> Result<(), SceneError> {
    for (place, id) in table.ids().iter().enumerate() {
        let id = id.as_str();
        let [x, y, width, height] = table.area(place);
        let area = ObjectBox {
            x_mm: x * screen.width_mm(),
            y_mm: y * screen.height_mm(),
            width_mm: width * screen.width_mm(),
            height_mm: height * screen.height_mm(),
        };
        let is_known = objects.place_of(id).is_some();
        let put = if is_known {
            objects.move_to(id, area)
        } else {
            objects.add(id, area)
        };
        put.map_err(|reason| refused(table, id, reason))?;
    }
    Ok(())
}

fn refused(table: &SceneTable, object: &str, reason: ObjectError) -> SceneError {
    SceneError::Object {
        scene_id: table.scene_id().to_owned(),
        object: object.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use gaze_protocol::PointOfRegard;
    use gaze_signal::ObjectSettings;

    use super::*;
    use crate::record::{ClientMessage, SceneObjectId};

    fn change_of(text: &str) -> SceneChange {
        match serde_json::from_str(text).unwrap() {
            ClientMessage::Scene(message) => SceneChange::Replace(message),
            ClientMessage::SceneUpdate(message) => SceneChange::Update(message),
            other => panic!("{other:?}"),
        }
    }

    fn screen() -> ScreenGeometry {
        ScreenGeometry::new(500.0, 250.0).unwrap()
    }

    fn empty() -> Scene {
        Scene::new(Objects::new(ObjectSettings::default()).unwrap())
    }

    fn shop() -> Scene {
        let mut scene = empty();
        let shown = change_of(
            r#"{"type":"scene","scene_id":"shop","width_px":1000,"height_px":500,"px_per_deg":null,
                "task":"free_viewing","target":null,"image":null,
                "objects":[{"id":"a","box":[0,0,100,100],"class":null,"score":1.0},{"id":7,"box":[900,400,100,100]}]}"#,
        );
        scene.change(&shown, &screen()).unwrap();
        scene
    }

    fn hit(scene: &Scene, x_mm: f32, y_mm: f32) -> Option<&str> {
        scene.objects().hit(PointOfRegard { x_mm, y_mm })
    }

    #[test]
    fn scene_pixels_map_to_the_screens_millimetres() {
        let scene = shop();
        assert_eq!(hit(&scene, 25.0, 25.0), Some("a"));
        assert_eq!(hit(&scene, 475.0, 225.0), Some("7"));
        assert_eq!(hit(&scene, 250.0, 125.0), None);
    }

    #[test]
    fn on_another_screen_the_same_pixels_are_elsewhere() {
        let mut scene = shop();
        scene.set_screen(&ScreenGeometry::new(1000.0, 500.0).unwrap());
        assert_eq!(hit(&scene, 950.0, 450.0), Some("7"));
        assert_eq!(hit(&scene, 475.0, 225.0), None);
    }

    #[test]
    fn an_update_with_one_mistake_changes_nothing() {
        let mut scene = shop();
        let update = change_of(
            r#"{"type":"scene_update","scene_id":"shop","move":[{"id":"a","box":[500,250,10,10]}],"remove":["b"]}"#,
        );
        let error = scene.change(&update, &screen()).unwrap_err().to_string();
        assert_eq!(error, "scene shop, object b: no object has this id");
        assert_eq!(hit(&scene, 25.0, 25.0), Some("a"));
        // What the table takes and the visits do not: an id of 65 bytes.
        let long = "x".repeat(65);
        let update = change_of(&format!(
            r#"{{"type":"scene_update","scene_id":"shop","remove":["a"],"add":[{{"id":"{long}","box":[0,0,9,9]}}]}}"#
        ));
        let error = scene.change(&update, &screen()).unwrap_err().to_string();
        assert!(error.contains("1 to 64 bytes"), "{error}");
        assert_eq!(hit(&scene, 25.0, 25.0), Some("a"));
        assert_eq!(
            scene.table().unwrap().ids(),
            [SceneObjectId::from("a"), 7.into()]
        );
    }

    #[test]
    fn objects_are_added_moved_and_removed() {
        let mut scene = shop();
        let update = change_of(
            r#"{"type":"scene_update","scene_id":"shop","add":[{"id":"c","box":[500,0,20,20]}],
                "move":[{"id":"a","box":[500,250,10,10]}],"remove":[7]}"#,
        );
        scene.change(&update, &screen()).unwrap();
        assert_eq!(scene.objects().len(), 2);
        assert_eq!(hit(&scene, 252.0, 127.0), Some("a"));
        assert_eq!(hit(&scene, 475.0, 225.0), None);
    }

    #[test]
    fn an_update_of_another_scene_names_both() {
        let update = change_of(r#"{"type":"scene_update","scene_id":"bank"}"#);
        let error = shop().change(&update, &screen()).unwrap_err().to_string();
        assert_eq!(
            error,
            r#"scene_update for "bank", but the current scene is "shop""#
        );
        let error = empty().change(&update, &screen()).unwrap_err().to_string();
        assert!(error.contains("no scene is shown"), "{error}");
    }

    #[test]
    fn a_scene_without_size_is_refused_and_the_old_one_stays() {
        let mut scene = shop();
        for size in ["0", "-5", "1e39"] {
            let shown = change_of(&format!(
                r#"{{"type":"scene","scene_id":"x","width_px":{size},"height_px":5,"objects":[]}}"#
            ));
            assert!(scene.change(&shown, &screen()).is_err());
        }
        assert_eq!(scene.objects().len(), 2);
    }
}
