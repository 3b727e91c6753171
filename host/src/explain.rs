//! `gazed explain`: pictures of the pixels that drove an estimate of gaze.
//!
//! For each picture with a face two PNGs are written, one an eye: on the left the patch that the eye
//! network saw, on the right the same with the relevance of each pixel in red. How much of the
//! relevance the head's angles had, and not the pixels, is printed.
//!
//! Whether relevance means anything is measured along the way: the gaze must change more when the
//! most relevant blocks of the patches are blanked than when any others are (region perturbation,
//! Samek et al. 2017).

pub mod relevance;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use gaze_models::contract::{EYES, PATCH_COLUMNS, PATCH_ROWS};
use gaze_protocol::GazeAngles;
use image::{ImageBuffer, Rgb};

use crate::config::Config;
use crate::frame::FrameName;
use crate::process::{Input, ProcessError, Step, each_frame};
use crate::setup::{self, SetupError};
use crate::vision::eyes::EyesInput;
use relevance::{EyeNetwork, RelevanceError, Run, Values};

/// Why a picture cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The input cannot be read, or the chain not be put together.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The eye network.
    #[error(transparent)]
    Relevance(#[from] RelevanceError),
    /// A picture cannot be written.
    #[error("cannot write {path}: {reason}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl From<SetupError> for ExplainError {
    fn from(error: SetupError) -> Self {
        ExplainError::Process(error.into())
    }
}

const PATCH: usize = PATCH_ROWS * PATCH_COLUMNS;
/// Side of the blocks that are blanked together, px of the patch.
const BLOCK: usize = 4;
const BLOCKS_ACROSS: usize = PATCH_COLUMNS / BLOCK;
/// Shares of the blocks of both patches that are blanked.
const BLANKED: [f32; 4] = [0.05, 0.1, 0.2, 0.4];
/// Random orders that the relevant one is compared with, for each picture.
const RANDOM_ORDERS: u32 = 5;
/// Pixels of the PNG for each pixel of the patch.
const ZOOM: u32 = 6;

/// What drove one estimate.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Relevance of each pixel of both patches, the observer's right eye first, as the network saw
    /// them; zero or above.
    pub pixels: Vec<f32>,
    /// Relevance of the head's angles and of which eyes were to be used.
    pub rest: f32,
    /// Relevance of the output: |yaw| + |pitch| in the network's frame, rad.
    pub total: f32,
    /// Gaze in the network's frame.
    pub gaze: GazeAngles,
}

/// The eye network, opened up.
pub struct Explainer {
    network: EyeNetwork,
}

impl Explainer {
    /// Reads the eye network.
    ///
    /// # Errors
    /// [`RelevanceError`].
    pub fn new(onnx: &[u8]) -> Result<Self, RelevanceError> {
        Ok(Explainer {
            network: EyeNetwork::read(onnx)?,
        })
    }

    fn run(&self, patches: &[f32], seen: &EyesInput) -> Result<Run, RelevanceError> {
        let values = [patches, &seen.head, &seen.present];
        let inputs = EYES.inputs.iter().zip(values).map(|(tensor, values)| {
            let values = Values {
                shape: tensor.shape.to_vec(),
                values: values.to_vec(),
            };
            (tensor.name, values)
        });
        self.network.run(&inputs.collect::<HashMap<_, _>>())
    }

    fn gaze(run: &Run) -> GazeAngles {
        let gaze = &run["gaze"].values;
        GazeAngles {
            yaw_rad: gaze[0],
            pitch_rad: gaze[1],
        }
    }

    /// Explains what the network says of these patches.
    ///
    /// # Errors
    /// [`RelevanceError`].
    pub fn explain(&self, seen: &EyesInput) -> Result<Explanation, RelevanceError> {
        let run = self.run(seen.patches, seen)?;
        let gaze = Explainer::gaze(&run);
        let relevance = vec![gaze.yaw_rad.abs(), gaze.pitch_rad.abs()];
        let total = relevance.iter().sum();
        let mut of = self.network.trace(&run, "gaze", relevance)?;
        let pixels = of.remove("patches").unwrap_or_else(|| vec![0.0; 2 * PATCH]);
        let rest = of.values().flatten().sum();
        Ok(Explanation {
            pixels,
            rest,
            total,
            gaze,
        })
    }

    /// How far the gaze moves when these shares of the blocks are blanked, rad: the most relevant
    /// first, and in random orders.
    fn deletion(
        &self,
        seen: &EyesInput,
        explanation: &Explanation,
    ) -> Result<[[f32; 2]; BLANKED.len()], RelevanceError> {
        let mut weights = vec![0.0; 2 * PATCH / (BLOCK * BLOCK)];
        for (k, relevance) in explanation.pixels.iter().enumerate() {
            weights[block_of(k)] += relevance;
        }
        let mut by_relevance: Vec<usize> = (0..weights.len()).collect();
        by_relevance.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
        let mut moved = [[0.0; 2]; BLANKED.len()];
        for (moved, share) in moved.iter_mut().zip(BLANKED) {
            let n = (share * weights.len() as f32).round() as usize;
            moved[0] = self.moved_by(seen, explanation, &by_relevance[..n])?;
            for seed in 0..RANDOM_ORDERS {
                let order = shuffled(weights.len(), seed);
                moved[1] += self.moved_by(seen, explanation, &order[..n])? / RANDOM_ORDERS as f32;
            }
        }
        Ok(moved)
    }

    /// The angle by which the gaze moves when these blocks have their patch's mean.
    fn moved_by(
        &self,
        seen: &EyesInput,
        explanation: &Explanation,
        blocks: &[usize],
    ) -> Result<f32, RelevanceError> {
        let mut is_blank = vec![false; 2 * PATCH / (BLOCK * BLOCK)];
        for &block in blocks {
            is_blank[block] = true;
        }
        let mut patches = seen.patches.to_vec();
        for (eye, patch) in patches.chunks_exact_mut(PATCH).enumerate() {
            let mean = patch.iter().sum::<f32>() / PATCH as f32;
            for (k, value) in patch.iter_mut().enumerate() {
                if is_blank[block_of(eye * PATCH + k)] {
                    *value = mean;
                }
            }
        }
        let run = self.run(&patches, seen)?;
        Ok(Explainer::gaze(&run).angle_to(explanation.gaze))
    }
}

/// The block of a pixel; those of the second patch follow those of the first.
fn block_of(pixel: usize) -> usize {
    let (eye, k) = (pixel / PATCH, pixel % PATCH);
    let (row, column) = (k / PATCH_COLUMNS, k % PATCH_COLUMNS);
    (eye * PATCH_ROWS / BLOCK + row / BLOCK) * BLOCKS_ACROSS + column / BLOCK
}

/// 0..n in an order that a seed decides (Fisher and Yates; a linear congruential generator is
/// random enough here).
fn shuffled(n: usize, seed: u32) -> Vec<usize> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut order: Vec<usize> = (0..n).collect();
    for k in (1..n).rev() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        order.swap(k, (state >> 8) as usize % (k + 1));
    }
    order
}

/// What a run of the command found.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Pictures explained.
    pub n_explained: u64,
    /// Pictures without a face, or with closed eyes; each has been named.
    pub n_without_gaze: u64,
    /// Pictures that could not be read; each has been named.
    pub n_unreadable: u64,
    /// Sums over the pictures, rad: the most relevant blocks blanked, any blocks blanked.
    moved: [[f32; 2]; BLANKED.len()],
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            n_explained,
            n_without_gaze,
            ..
        } = self;
        writeln!(f, "{n_explained} explained, {n_without_gaze} without gaze")?;
        if *n_explained == 0 {
            return Ok(());
        }
        writeln!(
            f,
            "gaze moves by, mean, when blocks of the patches are blanked:"
        )?;
        writeln!(f, "  blanked  most relevant  at random")?;
        for (share, moved) in BLANKED.iter().zip(&self.moved) {
            let [relevant, random] = moved.map(|sum| (sum / *n_explained as f32).to_degrees());
            writeln!(
                f,
                "  {:5.0} %  {relevant:11.2}°  {random:8.2}°",
                100.0 * share
            )?;
        }
        Ok(())
    }
}

/// Explains every picture of an input; PNGs go to `out`, one line a picture to `say`.
///
/// # Errors
/// [`ExplainError`].
pub fn explain(
    config: &Config,
    input: &Input,
    out: &Path,
    mut say: impl FnMut(String),
) -> Result<Summary, ExplainError> {
    let models = setup::models(config)?;
    let explainer = Explainer::new(&models.eyes.onnx)?;
    let mut vision = setup::vision(config, &models, input.is_independent)?;
    std::fs::create_dir_all(out).map_err(|error| cannot_write(out, &error))?;
    let mut summary = Summary::default();
    let mut failed = None;
    summary.n_unreadable = each_frame(&mut vision, input, |step, vision| {
        let Step::Seen(observation) = step else {
            return Ok(());
        };
        if failed.is_some() || observation.error.is_some() {
            return Ok(());
        }
        let name = match &observation.frame {
            FrameName::File(name) => name.clone(),
            FrameName::Number => format!("{:06}", observation.seq),
        };
        let without_gaze = match &observation.face {
            None => Some("no face"),
            Some(face) if face.gaze.is_none() => Some("no eye that is open"),
            Some(_) => None,
        };
        if let Some(why) = without_gaze {
            summary.n_without_gaze += 1;
            say(format!("{name}: not explained, {why}"));
            return Ok(());
        }
        match explain_one(&explainer, &vision.eyes_input(), &name, out, &mut summary) {
            Ok(line) => say(line),
            Err(error) => failed = Some(error),
        }
        Ok(())
    })?;
    failed.map_or(Ok(summary), Err)
}

fn explain_one(
    explainer: &Explainer,
    seen: &EyesInput,
    name: &str,
    out: &Path,
    summary: &mut Summary,
) -> Result<String, ExplainError> {
    let explanation = explainer.explain(seen)?;
    let moved = explainer.deletion(seen, &explanation)?;
    for (sums, moved) in summary.moved.iter_mut().zip(moved) {
        for (sum, moved) in sums.iter_mut().zip(moved) {
            *sum += moved;
        }
    }
    summary.n_explained += 1;
    let mut shares = [0.0; 2];
    let eyes = seen.patches.chunks_exact(PATCH);
    let heat = explanation.pixels.chunks_exact(PATCH);
    for (k, ((patch, heat), eye)) in eyes.zip(heat).zip(["right", "left"]).enumerate() {
        shares[k] = 100.0 * heat.iter().sum::<f32>() / explanation.total.max(f32::MIN_POSITIVE);
        let path = out.join(format!("{name}-{eye}.png"));
        picture(patch, heat, eye == "left")
            .save(&path)
            .map_err(|error| cannot_write(&path, &error))?;
    }
    let [right, left] = shares;
    let rest = 100.0 * explanation.rest / explanation.total.max(f32::MIN_POSITIVE);
    Ok(format!(
        "{name}: right eye {right:.0} %, left eye {left:.0} %, head {rest:.0} %"
    ))
}

fn cannot_write(path: &Path, error: &dyn fmt::Display) -> ExplainError {
    ExplainError::Write {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// The patch, and beside it the patch with its relevance in red; a left eye as it is in the picture
/// and not mirrored as the network sees it.
fn picture(patch: &[f32], heat: &[f32], is_mirrored: bool) -> ImageBuffer<Rgb<u8>, Vec<u8>> {
    let (width, height) = (PATCH_COLUMNS as u32 * ZOOM, PATCH_ROWS as u32 * ZOOM);
    // The brightest hundredth saturates, so that one pixel does not darken all others.
    let mut sorted = heat.to_vec();
    sorted.sort_by(f32::total_cmp);
    let top = sorted[PATCH - 1 - PATCH / 100].max(f32::MIN_POSITIVE);
    ImageBuffer::from_fn(2 * width, height, |x, y| {
        let (column, row) = ((x % width / ZOOM) as usize, (y / ZOOM) as usize);
        let column = if is_mirrored {
            PATCH_COLUMNS - 1 - column
        } else {
            column
        };
        let k = row * PATCH_COLUMNS + column;
        let grey = 255.0 * patch[k].clamp(0.0, 1.0);
        let red = if x < width {
            0.0
        } else {
            (heat[k] / top).min(1.0)
        };
        let mix = |to: f32| (grey + red * (to - grey)) as u8;
        Rgb([mix(255.0), mix(0.0), mix(0.0)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gaze_models::Models;

    /// Patches that look a little like eyes: a dark disc on a bright oval, moved by `x` pixels.
    fn eyes(x: f32) -> Vec<f32> {
        let patch = (0..PATCH).map(|k| {
            let (row, column) = ((k / PATCH_COLUMNS) as f32, (k % PATCH_COLUMNS) as f32);
            let (dy, dx) = (row - 24.0, column - 32.0);
            let is_iris = (dx - x).hypot(dy) < 7.0;
            let is_white = (dx / 20.0).hypot(dy / 9.0) < 1.0;
            match (is_white, is_iris) {
                (true, true) => 0.1,
                (true, false) => 0.8,
                _ => 0.45 + 0.05 * (0.3 * row + 0.2 * column).sin(),
            }
        });
        patch.collect::<Vec<f32>>().repeat(2)
    }

    #[test]
    fn relevance_is_neither_lost_nor_made() {
        let models = Models::embedded().expect("the embedded models are whole");
        let explainer = Explainer::new(&models.eyes.onnx).expect("every layer has a rule");
        for (x, present) in [(0.0, [1.0, 1.0]), (6.0, [1.0, 0.0]), (-8.0, [0.0, 1.0])] {
            let patches = eyes(x);
            let seen = EyesInput {
                patches: &patches,
                head: [0.2, -0.1],
                present,
            };
            let found = explainer.explain(&seen).expect("it runs");
            let sum = found.pixels.iter().sum::<f32>() + found.rest;
            assert!(found.total > 0.0);
            assert!(
                (sum - found.total).abs() < 1e-3 * found.total, /* f32 sums over five layers */
                "{sum} of {}",
                found.total
            );
            assert!(found.pixels.iter().all(|&pixel| pixel >= 0.0));
            // An eye that is not to be used has no say.
            for (patch, present) in found.pixels.chunks_exact(PATCH).zip(present) {
                assert!(present > 0.0 || patch.iter().all(|&pixel| pixel == 0.0));
            }
        }
    }

    #[test]
    fn the_values_in_between_are_those_of_the_engine_that_ships() {
        let models = Models::embedded().expect("the embedded models are whole");
        let explainer = Explainer::new(&models.eyes.onnx).expect("every layer has a rule");
        let backend = crate::inference::load(crate::inference::Engine::Tract, &models.eyes);
        let mut network = crate::inference::Network::new(&EYES, backend.expect("it loads"));
        let patches = eyes(4.0);
        let seen = EyesInput {
            patches: &patches,
            head: [0.1, 0.05],
            present: [1.0; 2],
        };
        let (mut gaze, mut sigma, mut eye, mut features) =
            ([0.0; 2], [0.0; 1], [0.0; 12], [0.0; 12]);
        network
            .run(
                &[&patches, &seen.head, &seen.present],
                &mut [&mut gaze, &mut sigma, &mut eye, &mut features],
            )
            .expect("it runs");
        let found = explainer.explain(&seen).expect("it runs").gaze;
        assert!(
            (found.yaw_rad - gaze[0]).abs() < 1e-4 /* another order of sums */
        );
        assert!((found.pitch_rad - gaze[1]).abs() < 1e-4);
    }

    #[test]
    fn a_shuffle_keeps_every_number() {
        let mut order = shuffled(384, 3);
        assert_ne!(order, (0..384).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..384).collect::<Vec<_>>());
    }
}
