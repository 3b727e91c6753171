//! What the page draws of the scene: the objects that the tracking stage has accepted.

use serde::Serialize;

use super::SceneChange;
use crate::record::{SceneObject, SceneObjectId};

/// The announced objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct SceneView {
    scene_id: String,
    width_px: f32,
    height_px: f32,
    objects: Vec<ObjectView>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct ObjectView {
    id: String,
    #[serde(rename = "box")]
    box_px: [f32; 4],
    class: Option<String>,
}

impl ObjectView {
    fn of(object: SceneObject) -> Self {
        ObjectView {
            id: text(object.id),
            box_px: object.box_px,
            class: object.class,
        }
    }
}

/// The id as `object_enter` and `object_leave` write it.
fn text(id: SceneObjectId) -> String {
    match id {
        SceneObjectId::Text(text) => text,
        SceneObjectId::Number(number) => number.to_string(),
    }
}

impl SceneView {
    /// The objects' names and boxes: x, y, width, height as shares of the screen.
    pub(super) fn areas(&self) -> impl Iterator<Item = (&str, [f32; 4])> {
        let [width_px, height_px] = [self.width_px, self.height_px];
        self.objects.iter().map(move |object| {
            let [x, y, width, height] = object.box_px;
            let area = [
                x / width_px,
                y / height_px,
                width / width_px,
                height / height_px,
            ];
            (object.id.as_str(), area)
        })
    }

    /// Applies a change that the tracking stage has accepted; in its order: removed, moved, added.
    pub(super) fn apply(&mut self, change: SceneChange) {
        match change {
            SceneChange::Replace(scene) => {
                *self = SceneView {
                    scene_id: scene.scene_id,
                    width_px: scene.width_px,
                    height_px: scene.height_px,
                    objects: scene.objects.into_iter().map(ObjectView::of).collect(),
                };
            }
            SceneChange::Update(update) => {
                let removed: Vec<_> = update.remove.into_iter().map(text).collect();
                self.objects.retain(|object| !removed.contains(&object.id));
                for moved in update.moved {
                    let id = text(moved.id);
                    for object in self.objects.iter_mut().filter(|object| object.id == id) {
                        object.box_px = moved.box_px;
                    }
                }
                self.objects
                    .extend(update.add.into_iter().map(ObjectView::of));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ClientMessage;

    fn change(json: &str) -> SceneChange {
        match serde_json::from_str(json).unwrap() {
            ClientMessage::Scene(scene) => SceneChange::Replace(scene),
            ClientMessage::SceneUpdate(update) => SceneChange::Update(update),
            _ => unreachable!("not a scene"),
        }
    }

    #[test]
    fn the_view_follows_the_accepted_changes() {
        let mut view = SceneView::default();
        view.apply(change(
            r#"{"type":"scene","scene_id":"s","width_px":100,"height_px":50,"task":"search",
                "objects":[{"id":1,"box":[0,0,10,10],"class":"cup"},{"id":"b","box":[5,5,5,5]}]}"#,
        ));
        view.apply(change(
            r#"{"type":"scene_update","scene_id":"s","remove":["b"],
                "move":[{"id":1,"box":[1,2,3,4]}],"add":[{"id":2,"box":[9,9,1,1]}]}"#,
        ));
        let ids: Vec<_> = view
            .objects
            .iter()
            .map(|object| object.id.as_str())
            .collect();
        assert_eq!(ids, ["1", "2"]);
        let moved = &view.objects[0];
        assert_eq!(
            (moved.box_px, moved.class.as_deref()),
            ([1.0, 2.0, 3.0, 4.0], Some("cup"))
        );
    }
}
