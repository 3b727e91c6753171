//! `gazed scanpath score`: how well people's paths were expected.

use std::path::Path;

use serde::Serialize;
use tracing::warn;

use super::appearance::ScenePicture;
use super::files::{FileError, FileScene, Scenes, paths};
use super::networks::{EncodedScene, Networks};
use crate::inference::InferenceError;
use crate::output_file::LinesOut;

/// One path's line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scored {
    /// The scene.
    pub scene_id: String,
    /// Who looked.
    pub observer: String,
    /// One a dwell, the first included.
    pub steps: Vec<ScoredStep>,
    /// Natural log density per ms of each dwell's duration, given the object; null where the
    /// duration is not known.
    pub duration_logprob: Vec<Option<f32>>,
}

/// One choice of the next object.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScoredStep {
    /// Natural log probability of the object looked at next among all but the current one.
    pub logprob: f32,
    /// Whether it was the most probable of those.
    pub top1: bool,
}

/// Scores every path of a file, in its order, each alone.
///
/// # Errors
/// [`FileError`] names the line.
pub fn score_files(
    networks: &mut Networks,
    scenes: &Path,
    of_people: &Path,
    out: &Path,
) -> Result<(), FileError> {
    let read = Scenes::read(scenes)?;
    let mut lines = LinesOut::new(out, &[scenes, of_people]);
    let scenes = read;
    let mut encoded: Vec<Option<EncodedScene>> = vec![None; scenes.scenes.len()];
    for path in paths(of_people)? {
        let (line, path) = path?;
        let wrong = |reason: String| FileError::Line {
            path: of_people.to_owned(),
            line,
            reason,
        };
        let place = scenes
            .place_of(&path.scene_id)
            .ok_or_else(|| wrong(format!("there is no scene {}", path.scene_id)))?;
        let scene = &scenes.scenes[place];
        if encoded[place].is_none() {
            encoded[place] = Some(encode(networks, scene)?);
        }
        let (start, dwells) = path.dwells(&scene.table).map_err(wrong)?;
        let mut scored = Scored {
            scene_id: path.scene_id,
            observer: path.observer,
            steps: Vec::with_capacity(dwells.len()),
            duration_logprob: Vec::with_capacity(dwells.len()),
        };
        if let Some(encoded) = encoded[place].as_ref().filter(|_| !dwells.is_empty()) {
            let (mut memory, mut prediction) = networks.begin(encoded, start)?;
            for dwell in dwells {
                let Some(expected) = &prediction else { break };
                scored
                    .steps
                    .push(score_step(&expected.log_probabilities(1.0), dwell.object));
                scored.duration_logprob.push(
                    dwell
                        .duration_ms
                        .map(|ms| expected.dwell_log_density(dwell.object, ms)),
                );
                let (next, following) = networks.advance(encoded, &memory, dwell)?;
                memory = next;
                prediction = Some(following);
            }
        }
        lines.write(&scored)?;
    }
    Ok(lines.finish()?)
}

fn score_step(candidates: &[(usize, f32)], object: usize) -> ScoredStep {
    let of_object = candidates
        .iter()
        .find(|(place, _)| *place == object)
        .map_or(f32::MIN, |(_, log_probability)| *log_probability);
    ScoredStep {
        logprob: of_object,
        top1: candidates
            .iter()
            .all(|(place, other)| *place == object || *other < of_object),
    }
}

/// Encodes a scene of a file with its picture; one that cannot be read is told and done without.
///
/// # Errors
/// [`InferenceError`].
pub fn encode(networks: &mut Networks, scene: &FileScene) -> Result<EncodedScene, InferenceError> {
    let table = &scene.table;
    let picture = scene.image.as_ref().and_then(|image| {
        ScenePicture::read(image)
            .inspect_err(|error| warn!("scene {} without its picture: {error}", table.scene_id()))
            .ok()
    });
    let looks = picture.map(|picture| {
        let [width, height] = table.size_px().map(f64::from);
        let boxes: Vec<_> = (0..table.len())
            .map(|place| {
                let [x, y, w, h] = table.box_px(place).map(f64::from);
                [x / width, y / height, w / width, h / height]
            })
            .collect();
        picture.appearance(&boxes)
    });
    networks.encode(table, looks.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_is_top() {
        let candidates = [(0, -1.0), (2, -0.5)];
        let top = ScoredStep {
            logprob: -0.5,
            top1: true,
        };
        let other = ScoredStep {
            logprob: -1.0,
            top1: false,
        };
        assert_eq!(score_step(&candidates, 2), top);
        assert_eq!(score_step(&candidates, 0), other);
        assert!(score_step(&[(0, 0.0)], 0).top1);
    }
}
