//! The encoder and the step, each prepared for the sizes of scenes that came up.

use gaze_models::contract::{
    APPEARANCE_VALUES, CODE_VALUES, DWELL_COMPONENTS, PATH_VALUES, SCANPATH_SIZES, TRACE_VALUES,
};
use gaze_models::{Model, Sampling, ScanpathModels};

use super::objects;
use super::prediction::{DWELL_CENTRE, DWELL_SCALE, Prediction};
use crate::inference::{Engine, InferenceError, Network};
use crate::scene::SceneTable;

/// What the observer is taken to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ScanpathModel {
    /// What the scene says.
    #[default]
    Auto,
    /// Looks around.
    FreeViewing,
    /// Looks for the target.
    Search,
}

/// The scanpath transformer in an engine.
pub struct Networks {
    models: ScanpathModels,
    engine: Engine,
    task: ScanpathModel,
    prepared: [Option<Prepared>; SCANPATH_SIZES.len()],
}

struct Prepared {
    encoder: Network,
    step: Network,
}

/// A scene's objects after the encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedScene {
    n_objects: usize,
    /// Which of [`SCANPATH_SIZES`].
    size: usize,
    objects: Vec<f32>,
    codes: Vec<f32>,
}

/// One dwell on an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dwell {
    /// The object's place in its scene.
    pub object: usize,
    /// How long, ms; none where it is not known.
    pub duration_ms: Option<f32>,
    /// Where it ended, screen diagonals from the screen's centre; none: the box's centre is taken.
    pub gaze: Option<[f32; 2]>,
}

/// What the step network remembers of a path. Its size depends on the scene alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    traces: Vec<f32>,
    path: Vec<f32>,
}

impl Memory {
    /// The memory for a scene whose objects have changed; `from` gives each new place the old one.
    pub(super) fn moved_to(&self, scene: &EncodedScene, from: &[Option<usize>]) -> Memory {
        let mut traces = vec![0.0; scene.slots() * TRACE_VALUES];
        let (rows, _) = traces.as_chunks_mut::<TRACE_VALUES>();
        let (old, _) = self.traces.as_chunks::<TRACE_VALUES>();
        for (row, from) in rows.iter_mut().zip(from) {
            if let Some(from) = from {
                *row = old[*from];
            }
        }
        Memory {
            traces,
            path: self.path.clone(),
        }
    }
}

impl EncodedScene {
    fn slots(&self) -> usize {
        SCANPATH_SIZES[self.size].slots
    }
}

impl Networks {
    /// The networks, not yet prepared for any size.
    pub fn new(models: ScanpathModels, engine: Engine) -> Self {
        Networks {
            models,
            engine,
            task: ScanpathModel::Auto,
            prepared: [const { None }; SCANPATH_SIZES.len()],
        }
    }

    /// Takes every scene for what `task` says instead of what the scene says.
    pub fn for_task(mut self, task: ScanpathModel) -> Self {
        self.task = task;
        self
    }

    /// How paths are sampled.
    pub fn sampling(&self) -> Sampling {
        self.models.sampling
    }

    fn prepared(&mut self, size: usize) -> Result<&mut Prepared, InferenceError> {
        let slot = &mut self.prepared[size];
        if slot.is_none() {
            let contracts = &SCANPATH_SIZES[size];
            let load = |model: &Model, contract| {
                Network::load(
                    self.engine,
                    &Model {
                        contract,
                        ..model.clone()
                    },
                )
            };
            *slot = Some(Prepared {
                encoder: load(&self.models.encoder, &contracts.encoder)?,
                step: load(&self.models.step, &contracts.step)?,
            });
        }
        Ok(slot.as_mut().expect("it was just prepared"))
    }

    /// Runs the encoder. `appearance`: what each object looks like, none without a picture.
    ///
    /// # Errors
    /// [`InferenceError`].
    ///
    /// # Panics
    /// Never: an [`SceneTable`] has at most as many objects as the largest size has slots.
    pub fn encode(
        &mut self,
        table: &SceneTable,
        appearance: Option<&[[f32; APPEARANCE_VALUES]]>,
    ) -> Result<EncodedScene, InferenceError> {
        let size = SCANPATH_SIZES
            .iter()
            .position(|size| table.len() <= size.slots)
            .expect("a table has at most as many objects as the largest size");
        let slots = SCANPATH_SIZES[size].slots;
        let objects = objects::rows(table, slots);
        let mut looks = vec![0.0; slots * APPEARANCE_VALUES];
        if let Some(appearance) = appearance {
            looks[..table.len() * APPEARANCE_VALUES].copy_from_slice(appearance.as_flattened());
        }
        let is_search = match self.task {
            ScanpathModel::Auto => table.is_search(),
            ScanpathModel::FreeViewing => false,
            ScanpathModel::Search => true,
        };
        let task = [is_search, appearance.is_some()].map(|flag| f32::from(u8::from(flag)));
        let mut codes = vec![0.0; slots * CODE_VALUES];
        if !table.is_empty() {
            let inputs: [&[f32]; 3] = [&objects, &looks, &task];
            self.prepared(size)?
                .encoder
                .run(&inputs, &mut [&mut codes])?;
        }
        Ok(EncodedScene {
            n_objects: table.len(),
            size,
            objects,
            codes,
        })
    }

    /// Begins a path. `gaze`: where it was when the scene came up, screen diagonals from the
    /// screen's centre. Nothing can be predicted on a scene without objects.
    ///
    /// # Errors
    /// [`InferenceError`].
    pub fn begin(
        &mut self,
        scene: &EncodedScene,
        gaze: Option<[f32; 2]>,
    ) -> Result<(Memory, Option<Prediction>), InferenceError> {
        let nothing = Memory {
            traces: vec![0.0; scene.slots() * TRACE_VALUES],
            path: vec![0.0; PATH_VALUES],
        };
        if scene.n_objects == 0 {
            return Ok((nothing, None));
        }
        let (memory, prediction) = self.step(scene, &nothing, None, [0.0; 2], gaze)?;
        Ok((memory, Some(prediction)))
    }

    /// Takes in a dwell; gives the new memory and what comes next.
    ///
    /// # Errors
    /// [`InferenceError`].
    pub fn advance(
        &mut self,
        scene: &EncodedScene,
        memory: &Memory,
        dwell: Dwell,
    ) -> Result<(Memory, Prediction), InferenceError> {
        let relative = dwell.duration_ms.map_or([0.0; 2], |duration_ms| {
            [
                (duration_ms.max(1.0).ln() - DWELL_CENTRE) / DWELL_SCALE,
                1.0,
            ]
        });
        self.step(scene, memory, Some(dwell.object), relative, dwell.gaze)
    }

    fn step(
        &mut self,
        scene: &EncodedScene,
        memory: &Memory,
        object: Option<usize>,
        dwell: [f32; 2],
        gaze: Option<[f32; 2]>,
    ) -> Result<(Memory, Prediction), InferenceError> {
        let slots = scene.slots();
        let mut chosen = vec![0.0; slots];
        if let Some(object) = object {
            chosen[object] = 1.0;
        }
        let gaze = gaze.map_or([0.0; 3], |[x, y]| [x, y, 1.0]);
        let mut new = Memory {
            traces: vec![0.0; slots * TRACE_VALUES],
            path: vec![0.0; PATH_VALUES],
        };
        let mut logits = vec![0.0; slots];
        let mut end = [0.0];
        let mut dwells = vec![0.0; slots * 3 * DWELL_COMPONENTS];
        self.prepared(scene.size)?.step.run(
            &[
                &scene.objects,
                &scene.codes,
                &memory.traces,
                &memory.path,
                &chosen,
                &dwell,
                &gaze,
            ],
            &mut [
                &mut new.traces,
                &mut new.path,
                &mut logits,
                &mut end,
                &mut dwells,
            ],
        )?;
        let prediction = Prediction::new(object, scene.n_objects, &logits, end[0], &dwells);
        Ok((new, prediction))
    }
}
