//! How long the scanpath transformer takes on a scene of 32 objects, as JSON; `cargo xtask bench
//! scanpath` runs it pinned to one core.

use std::time::Instant;

use anyhow::Result;
use gaze_host::inference::Engine;
use gaze_host::scanpath::{Dwell, Networks};
use gaze_host::scene::SceneTable;
use gaze_models::ScanpathModels;

const OBJECTS: usize = 32;
const ROUNDS: usize = 300;

fn median_ms(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        run()?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[ROUNDS / 2])
}

fn main() -> Result<()> {
    let objects: Vec<_> = (0..OBJECTS)
        .map(|k| {
            let (x, y) = (k % 8 * 220, k / 8 * 250);
            format!(r#"{{"id":{k},"box":[{x},{y},150,120],"class":"cup","score":0.9}}"#)
        })
        .collect();
    let scene = serde_json::from_str(&format!(
        r#"{{"scene_id":"s","width_px":1920,"height_px":1080,"target":7,"objects":[{}]}}"#,
        objects.join(",")
    ))?;
    let table = SceneTable::new(&scene)?;
    let models = ScanpathModels::embedded()?;
    let bytes: usize = models.iter().map(|model| model.onnx.len()).sum();
    let mut networks = Networks::new(models, Engine::Tract);
    let began = Instant::now();
    let encoded = networks.encode(&table, None)?;
    let prepare_ms = began.elapsed().as_secs_f64() * 1e3;
    let (memory, _) = networks.begin(&encoded, None)?;
    let dwell = Dwell {
        object: 3,
        duration_ms: Some(250.0),
        gaze: None,
    };
    let encode_ms = median_ms(|| Ok(networks.encode(&table, None).map(|_| ())?))?;
    let step_ms = median_ms(|| Ok(networks.advance(&encoded, &memory, dwell).map(|_| ())?))?;
    println!(
        r#"{{"prepare_ms":{prepare_ms:.3},"encode_ms":{encode_ms:.3},"step_ms":{step_ms:.3},"bytes":{bytes}}}"#
    );
    Ok(())
}
