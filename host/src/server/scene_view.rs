//! The scene as the page draws it.

use serde::Serialize;

use crate::record::SceneObjectId;
use crate::scene::SceneTable;

/// The announced objects; empty before the first scene.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct SceneView<'a> {
    scene_id: &'a str,
    width_px: f32,
    height_px: f32,
    objects: Vec<ObjectView<'a>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct ObjectView<'a> {
    /// As `object_enter` and `object_leave` write it.
    id: &'a SceneObjectId,
    #[serde(rename = "box")]
    box_px: [f32; 4],
    class: Option<&'a str>,
}

impl<'a> SceneView<'a> {
    pub(super) fn of(table: Option<&'a SceneTable>) -> Self {
        let Some(table) = table else {
            return SceneView::default();
        };
        let [width_px, height_px] = table.size_px();
        let objects = table.ids().iter().enumerate();
        SceneView {
            scene_id: table.scene_id(),
            width_px,
            height_px,
            objects: objects
                .map(|(place, id)| ObjectView {
                    id,
                    box_px: table.box_px(place),
                    class: table.class(place),
                })
                .collect(),
        }
    }
}
