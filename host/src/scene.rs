//! The objects on the screen that applications announce, from scene pixels to millimetres.

use gaze_calibration::ScreenGeometry;
use gaze_signal::{EventBuf, ObjectBox, ObjectError, Objects};

use crate::record::{SceneMessage, SceneObjectId, SceneUpdateMessage};

/// Why a scene message was not taken; nothing of it has been applied then.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// A size that cannot be mapped to the screen.
    #[error("scene {scene_id}: {width_px} x {height_px} px must be finite and above 0")]
    BadSize {
        /// The scene.
        scene_id: String,
        /// Width given.
        width_px: f32,
        /// Height given.
        height_px: f32,
    },
    /// An update for a scene that is not shown.
    #[error("scene_update for {update:?}, but the current scene is {current:?}")]
    OtherScene {
        /// Named by the update.
        update: String,
        /// The one announced last, if any.
        current: Option<String>,
    },
    /// One object is wrong.
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
    current: Option<Current>,
    objects: Objects,
}

#[derive(Clone, Debug)]
struct Current {
    scene_id: String,
    mm_per_px: [f32; 2],
}

impl Scene {
    /// An empty screen.
    pub fn new(objects: Objects) -> Self {
        Scene {
            current: None,
            objects,
        }
    }

    /// The objects and where they are.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The objects, for following the gaze.
    pub fn objects_mut(&mut self) -> &mut Objects {
        &mut self.objects
    }

    /// Replaces everything on the screen; a visit to an object that stays under the same id goes on
    /// as a new visit.
    ///
    /// # Errors
    /// [`SceneError`]; the old scene stays.
    pub fn replace(
        &mut self,
        message: &SceneMessage,
        screen: &ScreenGeometry,
        out: &mut EventBuf,
    ) -> Result<(), SceneError> {
        let SceneMessage {
            scene_id,
            width_px,
            height_px,
            objects,
            ..
        } = message;
        let is_size = |size: f32| size.is_finite() && size > 0.0;
        if !is_size(*width_px) || !is_size(*height_px) {
            return Err(SceneError::BadSize {
                scene_id: scene_id.clone(),
                width_px: *width_px,
                height_px: *height_px,
            });
        }
        let current = Current {
            scene_id: scene_id.clone(),
            mm_per_px: [screen.width_mm() / width_px, screen.height_mm() / height_px],
        };
        let mut new_objects = self.objects.clone();
        let mut ended = EventBuf::new();
        new_objects.clear(&mut ended);
        for object in objects {
            current.apply(&object.id, |id| {
                new_objects.add(id, current.to_mm(object.box_px))
            })?;
        }
        self.objects.clear(out);
        self.objects = new_objects;
        self.current = Some(current);
        Ok(())
    }

    /// Adds, moves and removes some objects.
    ///
    /// # Errors
    /// [`SceneError`]; the scene stays as it was.
    pub fn update(
        &mut self,
        message: &SceneUpdateMessage,
        out: &mut EventBuf,
    ) -> Result<(), SceneError> {
        let current = match &self.current {
            Some(current) if current.scene_id == message.scene_id => current,
            other => {
                return Err(SceneError::OtherScene {
                    update: message.scene_id.clone(),
                    current: other.as_ref().map(|current| current.scene_id.clone()),
                });
            }
        };
        let mut changed = self.objects.clone();
        let mut ended = out.clone();
        for id in &message.remove {
            current.apply(id, |id| changed.remove(id, &mut ended))?;
        }
        for moved in &message.moved {
            current.apply(&moved.id, |id| {
                changed.move_to(id, current.to_mm(moved.box_px))
            })?;
        }
        for object in &message.add {
            current.apply(&object.id, |id| {
                changed.add(id, current.to_mm(object.box_px))
            })?;
        }
        self.objects = changed;
        *out = ended;
        Ok(())
    }
}

impl Current {
    fn to_mm(&self, [x, y, width, height]: [f32; 4]) -> ObjectBox {
        ObjectBox {
            x_mm: x * self.mm_per_px[0],
            y_mm: y * self.mm_per_px[1],
            width_mm: width * self.mm_per_px[0],
            height_mm: height * self.mm_per_px[1],
        }
    }

    fn apply(
        &self,
        id: &SceneObjectId,
        change: impl FnOnce(&str) -> Result<(), ObjectError>,
    ) -> Result<(), SceneError> {
        let object = id.to_string();
        change(&object).map_err(|reason| SceneError::Object {
            scene_id: self.scene_id.clone(),
            object,
            reason,
        })
    }
}

impl std::fmt::Display for SceneObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SceneObjectId::Text(text) => f.write_str(text),
            SceneObjectId::Number(number) => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use gaze_protocol::PointOfRegard;
    use gaze_signal::ObjectSettings;

    use super::*;
    use crate::record::ClientMessage;

    fn scene_of(text: &str) -> SceneMessage {
        match serde_json::from_str(text).unwrap() {
            ClientMessage::Scene(message) => message,
            other => panic!("{other:?}"),
        }
    }

    fn update_of(text: &str) -> SceneUpdateMessage {
        match serde_json::from_str(text).unwrap() {
            ClientMessage::SceneUpdate(message) => message,
            other => panic!("{other:?}"),
        }
    }

    fn shop() -> (Scene, EventBuf) {
        let mut scene = Scene::new(Objects::new(ObjectSettings::default()).unwrap());
        let mut out = EventBuf::new();
        let message = scene_of(
            r#"{"type":"scene","scene_id":"shop","width_px":1000,"height_px":500,"px_per_deg":null,
                "task":"free_viewing","target":null,"image":null,
                "objects":[{"id":"a","box":[0,0,100,100],"class":null,"score":1.0},{"id":7,"box":[900,400,100,100]}]}"#,
        );
        let screen = ScreenGeometry::new(500.0, 250.0).unwrap();
        scene.replace(&message, &screen, &mut out).unwrap();
        (scene, out)
    }

    #[test]
    fn scene_pixels_map_to_the_screens_millimetres() {
        let (mut scene, _) = shop();
        let hit = |scene: &mut Scene, x_mm, y_mm| {
            scene
                .objects_mut()
                .hit(PointOfRegard { x_mm, y_mm })
                .map(str::to_owned)
        };
        assert_eq!(hit(&mut scene, 25.0, 25.0).as_deref(), Some("a"));
        assert_eq!(hit(&mut scene, 475.0, 225.0).as_deref(), Some("7"));
        assert_eq!(hit(&mut scene, 250.0, 125.0), None);
    }

    #[test]
    fn an_update_with_one_mistake_changes_nothing() {
        let (mut scene, mut out) = shop();
        let update = update_of(
            r#"{"type":"scene_update","scene_id":"shop","move":[{"id":"a","box":[500,250,10,10]}],"remove":["b"]}"#,
        );
        let error = scene.update(&update, &mut out).unwrap_err().to_string();
        assert_eq!(error, "scene shop, object b: no object has this id");
        assert!(
            scene
                .objects_mut()
                .hit(PointOfRegard {
                    x_mm: 25.0,
                    y_mm: 25.0
                })
                .is_some()
        );
    }

    #[test]
    fn objects_are_added_moved_and_removed() {
        let (mut scene, mut out) = shop();
        let update = update_of(
            r#"{"type":"scene_update","scene_id":"shop","add":[{"id":"c","box":[500,0,20,20]}],
                "move":[{"id":"a","box":[500,250,10,10]}],"remove":[7]}"#,
        );
        scene.update(&update, &mut out).unwrap();
        assert_eq!(scene.objects_mut().len(), 2);
        assert!(
            scene
                .objects_mut()
                .hit(PointOfRegard {
                    x_mm: 252.0,
                    y_mm: 127.0
                })
                .is_some()
        );
    }

    #[test]
    fn an_update_of_another_scene_names_both() {
        let (mut scene, mut out) = shop();
        let update = update_of(r#"{"type":"scene_update","scene_id":"bank"}"#);
        let error = scene.update(&update, &mut out).unwrap_err().to_string();
        assert_eq!(
            error,
            r#"scene_update for "bank", but the current scene is Some("shop")"#
        );
    }

    #[test]
    fn a_scene_without_size_is_refused_and_the_old_one_stays() {
        let (mut scene, mut out) = shop();
        let mut message =
            scene_of(r#"{"type":"scene","scene_id":"x","width_px":0,"height_px":5,"objects":[]}"#);
        let screen = ScreenGeometry::new(500.0, 250.0).unwrap();
        assert!(scene.replace(&message, &screen, &mut out).is_err());
        message.width_px = f32::NAN;
        assert!(scene.replace(&message, &screen, &mut out).is_err());
        assert_eq!(scene.objects_mut().len(), 2);
    }
}
