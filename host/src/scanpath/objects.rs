//! The objects of a scene as the networks take them.

use gaze_models::class_number;
use gaze_models::contract::OBJECT_VALUES;

use crate::scene::SceneTable;

/// The networks' input for `slots` objects, row-major; empty slots have their place alone.
pub(super) fn rows(table: &SceneTable, slots: usize) -> Vec<f32> {
    let [width_px, height_px] = table.size_px();
    let diagonal = width_px.hypot(height_px);
    let target = table.target_id();
    let mut values = vec![0.0; slots * OBJECT_VALUES];
    for (place, object) in values.chunks_exact_mut(OBJECT_VALUES).enumerate() {
        object[8] = place as f32;
        let Some(id) = table.ids().get(place) else {
            continue;
        };
        let [x, y] = table.to_diagonals(table.centre_px(place));
        let [_, _, width, height] = table.box_px(place);
        object[..8].copy_from_slice(&[
            x,
            y,
            width / diagonal,
            height / diagonal,
            table.class(place).map_or(0, class_number) as f32,
            table.score(place),
            f32::from(u8::from(target == Some(id.as_str()))),
            1.0,
        ]);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> SceneTable {
        let scene = serde_json::from_str(
            r#"{"scene_id":"desk","width_px":800,"height_px":600,"task":"search","target":"b","objects":[
                {"id":"a","box":[0,0,100,100],"class":"cup"},
                {"id":"b","box":[350,250,100,100],"class":"tvmonitor","score":0.5}]}"#,
        );
        SceneTable::new(&scene.unwrap()).unwrap()
    }

    #[test]
    fn lengths_are_screen_diagonals_from_the_centre() {
        // The diagonal of 800 x 600 is 1000 px; the first box's centre is 350 px left of the
        // screen's and 250 above.
        let inputs = rows(&desk(), 3);
        assert_eq!(
            inputs[..9],
            [-0.35, -0.25, 0.1, 0.1, 42.0, 1.0, 0.0, 1.0, 0.0]
        );
        assert_eq!(
            inputs[9..18],
            [0.0, 0.0, 0.1, 0.1, 63.0, 0.5, 1.0, 1.0, 1.0]
        );
        assert_eq!(inputs[18..], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0]);
    }
}
