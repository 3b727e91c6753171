//! `gazed scanpath predict`, and the paths that an application asks for: sampled scanpaths.

use std::path::Path;
use std::sync::Arc;

use super::files::{FileError, Scenes};
use super::networks::{Dwell, EncodedScene, Memory, Networks};
use super::prediction::Prediction;
use super::score::encode;
use crate::inference::InferenceError;
use crate::output_file::LinesOut;
use crate::random::SplitMix64;
use crate::record::{Scanpath, ScanpathFixation};
use crate::scene::SceneTable;

/// Longest sampled path, dwells; people's longest in the training's sets has 85.
const LONGEST: usize = 100;

/// Paths that are drawn at least when typical ones are picked.
const FEWEST_DRAWS: usize = 24;

/// Paths that all others are compared with.
const JUDGES: usize = 64;

/// Samples `n_samples` paths for every scene of a file, in its order. The same seed gives the same
/// paths, whatever other scenes there are.
///
/// # Errors
/// [`FileError`].
pub fn predict_files(
    networks: &mut Networks,
    scenes: &Path,
    n_samples: usize,
    seed: u64,
    out: &Path,
) -> Result<(), FileError> {
    let found = Scenes::read(scenes)?;
    let mut lines = LinesOut::new(out, &[scenes]);
    for scene in &found.scenes {
        let encoded = encode(networks, scene)?;
        for path in sample(networks, &scene.table, &encoded, n_samples, seed)? {
            lines.write(&path)?;
        }
    }
    Ok(lines.finish()?)
}

/// Samples paths of one scene; see [`Sampling`].
///
/// # Errors
/// [`InferenceError`].
pub fn sample(
    networks: &mut Networks,
    table: &SceneTable,
    encoded: &EncodedScene,
    n_samples: usize,
    seed: u64,
) -> Result<Vec<Scanpath>, InferenceError> {
    let table = Arc::new(table.clone());
    let mut sampling = Sampling::new(networks, table, encoded.clone(), n_samples, seed)?;
    while !sampling.is_done() {
        sampling.step(networks)?;
    }
    Ok(sampling.paths())
}

/// Paths of one scene from their beginning, drawn one by one. The typical ones are kept: several
/// times as many are drawn, and those that agree most with the others stay, the most typical first.
/// Each has at least one fixation; on a scene without objects that is one on none, at the screen's
/// centre.
pub struct Sampling {
    table: Arc<SceneTable>,
    encoded: EncodedScene,
    begun: (Memory, Option<Prediction>),
    seed: u64,
    n_samples: usize,
    n_drawn: usize,
    drawn: Vec<Vec<Visit>>,
}

impl Sampling {
    /// No path is drawn yet.
    ///
    /// # Errors
    /// [`InferenceError`].
    pub fn new(
        networks: &mut Networks,
        table: Arc<SceneTable>,
        encoded: EncodedScene,
        n_samples: usize,
        seed: u64,
    ) -> Result<Self, InferenceError> {
        let n_drawn = match networks.sampling().draws_per_path {
            1 => n_samples,
            more => (more * n_samples).max(FEWEST_DRAWS),
        };
        Ok(Sampling {
            begun: networks.begin(&encoded, None)?,
            table,
            encoded,
            seed,
            n_samples,
            n_drawn,
            drawn: Vec::with_capacity(n_drawn),
        })
    }

    /// Whether all paths are drawn.
    pub fn is_done(&self) -> bool {
        self.drawn.len() == self.n_drawn
    }

    /// Draws one path.
    ///
    /// # Errors
    /// [`InferenceError`].
    pub fn step(&mut self, networks: &mut Networks) -> Result<(), InferenceError> {
        let number = self.drawn.len() as u64;
        let mut random = Random::of(self.seed, self.table.scene_id(), number);
        let path = draw_path(networks, &self.encoded, &self.begun, &mut random)?;
        self.drawn.push(path);
        Ok(())
    }

    /// The paths that were drawn, or the typical ones of them.
    pub fn paths(self) -> Vec<Scanpath> {
        let mut kept = self.drawn;
        if kept.len() > self.n_samples {
            kept = most_typical(kept, self.n_samples);
        }
        let paths = kept.iter().enumerate().map(|(number, visits)| Scanpath {
            scene_id: self.table.scene_id().to_owned(),
            observer: format!("model-{}", number + 1),
            fixations: fixations(&self.table, visits),
        });
        paths.collect()
    }
}

/// An object's place, and how long it is looked at, ms.
type Visit = (usize, f32);

fn draw_path(
    networks: &mut Networks,
    encoded: &EncodedScene,
    begun: &(Memory, Option<Prediction>),
    random: &mut Random,
) -> Result<Vec<Visit>, InferenceError> {
    let sampling = networks.sampling();
    let mut visits = Vec::new();
    let (mut memory, mut prediction) = begun.clone();
    while let Some(expected) = &prediction {
        let is_over = !visits.is_empty()
            && random.uniform() < expected.end_probability(sampling.end_temperature);
        if is_over || visits.len() == LONGEST {
            break;
        }
        let candidates = expected.log_probabilities(sampling.temperature);
        let Some(object) = draw(&candidates, random.uniform()) else {
            break;
        };
        let (uniform, normal) = (random.uniform(), sampling.dwell_spread * random.normal());
        let duration_ms = expected.draw_dwell_ms(object, uniform, normal).round();
        visits.push((object, duration_ms));
        let dwell = Dwell {
            object,
            duration_ms: Some(duration_ms),
            gaze: None,
        };
        let (next, following) = networks.advance(encoded, &memory, dwell)?;
        memory = next;
        prediction = Some(following);
    }
    Ok(visits)
}

/// The paths whose sequence scores with the first [`JUDGES`] of them are highest on average; of
/// equal ones the earlier.
fn most_typical(mut drawn: Vec<Vec<Visit>>, n_kept: usize) -> Vec<Vec<Visit>> {
    let judges: Vec<_> = drawn.iter().take(JUDGES).cloned().collect();
    let agreement = |number: usize, path: &[Visit]| {
        let others = judges
            .iter()
            .enumerate()
            .filter(|(judge, _)| *judge != number);
        let sum: f32 = others.map(|(_, other)| sequence_score(path, other)).sum();
        // A judge does not judge itself.
        sum / (judges.len() - usize::from(number < judges.len())).max(1) as f32
    };
    let mut order: Vec<_> = drawn
        .iter()
        .enumerate()
        .map(|(number, path)| (agreement(number, path), number))
        .collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    order
        .into_iter()
        .take(n_kept)
        .map(|(_, number)| std::mem::take(&mut drawn[number]))
        .collect()
}

/// The longest common subsequence of two paths' objects as share of the longer path, 0 to 1.
fn sequence_score(a: &[Visit], b: &[Visit]) -> f32 {
    let mut row = vec![0; b.len() + 1];
    for (x, _) in a {
        let mut before = 0;
        for (k, (y, _)) in b.iter().enumerate() {
            let above = row[k + 1];
            row[k + 1] = if x == y {
                before + 1
            } else {
                above.max(row[k])
            };
            before = above;
        }
    }
    match a.len().max(b.len()) {
        0 => 1.0,
        longer => row[b.len()] as f32 / longer as f32,
    }
}

fn fixations(table: &SceneTable, visits: &[Visit]) -> Vec<ScanpathFixation> {
    if visits.is_empty() {
        let [width, height] = table.size_px();
        return vec![ScanpathFixation {
            object: None,
            x_px: width / 2.0,
            y_px: height / 2.0,
            duration_ms: None,
        }];
    }
    let fixation = |&(object, duration_ms): &Visit| {
        let [x_px, y_px] = table.centre_px(object);
        ScanpathFixation {
            object: Some(table.ids()[object].clone()),
            x_px,
            y_px,
            duration_ms: Some(duration_ms),
        }
    };
    visits.iter().map(fixation).collect()
}

/// Picks by probability; `uniform` is 0 to 1.
fn draw(candidates: &[(usize, f32)], uniform: f32) -> Option<usize> {
    let mut left = uniform;
    for (place, log_probability) in candidates {
        left -= log_probability.exp();
        if left < 0.0 {
            return Some(*place);
        }
    }
    // Rounding may leave a little.
    candidates.last().map(|(place, _)| *place)
}

/// What one path is drawn with.
struct Random(SplitMix64);

impl Random {
    fn of(seed: u64, scene_id: &str, number: u64) -> Random {
        let mut random = Random(SplitMix64(seed));
        for part in scene_id.bytes().map(u64::from).chain([number]) {
            random.0 = SplitMix64(random.0.draw() ^ part);
        }
        random
    }

    /// 0 to below 1.
    fn uniform(&mut self) -> f32 {
        (self.0.draw() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use gaze_models::ScanpathModels;

    use super::*;
    use crate::inference::Engine;

    fn paths(objects: &str, seed: u64) -> Vec<Scanpath> {
        let scene = serde_json::from_str(&format!(
            r#"{{"scene_id":"s","width_px":800,"height_px":600,"objects":[{objects}]}}"#
        ))
        .unwrap();
        let table = SceneTable::new(&scene).unwrap();
        let mut networks = Networks::new(ScanpathModels::embedded().unwrap(), Engine::Tract);
        let encoded = networks.encode(&table, None).unwrap();
        sample(&mut networks, &table, &encoded, 5, seed).unwrap()
    }

    const THREE: &str = r#"{"id":0,"box":[0,0,100,100]},{"id":"x","box":[300,0,100,100]},
        {"id":2,"box":[500,400,100,100]}"#;

    #[test]
    fn the_same_seed_gives_the_same_paths() {
        assert_eq!(paths(THREE, 1), paths(THREE, 1));
        assert_ne!(paths(THREE, 1), paths(THREE, 2));
    }

    #[test]
    fn no_object_follows_itself_and_all_have_a_time() {
        let found = paths(THREE, 3);
        assert_eq!(found.len(), 5);
        assert_eq!(found[4].observer, "model-5");
        for path in &found {
            assert!(!path.fixations.is_empty());
            assert!(
                path.fixations
                    .windows(2)
                    .all(|two| two[0].object != two[1].object)
            );
            assert!(
                path.fixations
                    .iter()
                    .all(|fixation| fixation.duration_ms >= Some(1.0))
            );
        }
    }

    #[test]
    fn one_object_is_looked_at_once_and_none_gives_the_centre() {
        for path in paths(r#"{"id":"7","box":[0,0,10,10]}"#, 1) {
            assert_eq!(path.fixations.len(), 1);
            // Text, as it is in the scene.
            assert_eq!(path.fixations[0].object, Some("7".into()));
        }
        for path in paths(r#"{"id":7,"box":[0,0,10,10]}"#, 1) {
            assert_eq!(path.fixations[0].object, Some(7.into()));
        }
        for path in paths("", 1) {
            let ScanpathFixation {
                object, x_px, y_px, ..
            } = &path.fixations[0];
            assert_eq!((object, *x_px, *y_px), (&None, 400.0, 300.0));
        }
    }

    #[test]
    fn a_sequence_score_is_the_common_part_of_the_longer_path() {
        let path = |objects: &[usize]| objects.iter().map(|&k| (k, 1.0)).collect::<Vec<_>>();
        // 1, 3 are common; the longer has four.
        assert_eq!(sequence_score(&path(&[1, 2, 3]), &path(&[4, 1, 3, 2])), 0.5);
        assert_eq!(sequence_score(&path(&[1, 2]), &path(&[1, 2])), 1.0);
        assert_eq!(sequence_score(&path(&[1]), &path(&[])), 0.0);
        assert_eq!(sequence_score(&[], &[]), 1.0);
    }

    #[test]
    fn the_typical_path_is_the_one_that_agrees_with_most() {
        let path = |objects: &[usize]| objects.iter().map(|&k| (k, 1.0)).collect::<Vec<_>>();
        let drawn = vec![
            path(&[9]),
            path(&[1, 2]),
            path(&[1, 2, 3]),
            path(&[1, 2, 3, 4]),
        ];
        // [1,2,3] scores 2/3 and 3/4 with its neighbours, more than either of them.
        assert_eq!(most_typical(drawn, 2)[0], path(&[1, 2, 3]));
    }

    #[test]
    fn normals_have_mean_0_and_deviation_1() {
        let mut random = Random::of(1, "s", 0);
        let drawn: Vec<f32> = (0..20_000).map(|_| random.normal()).collect();
        let mean = drawn.iter().sum::<f32>() / 20_000.0;
        let square = drawn.iter().map(|x| x * x).sum::<f32>() / 20_000.0;
        // Four standard errors: 4 / sqrt(20000), and 4 sqrt(2 / 20000).
        assert!(
            mean.abs() < 0.03 && (square - 1.0).abs() < 0.04,
            "{mean} {square}"
        );
    }
}
