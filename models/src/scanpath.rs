//! The scanpath transformer: two networks and the names of the classes that they know.

use std::path::Path;

use crate::contract::SCANPATH;
use crate::{Embedded, Folder, Model, ModelError, Source, manifest};

/// The scanpath transformer, checked against its contract.
#[derive(Clone, Debug)]
pub struct ScanpathModels {
    /// Objects to codes, once per scene.
    pub encoder: Model,
    /// One dwell.
    pub step: Model,
    /// How paths are sampled.
    pub sampling: Sampling,
}

/// How sampled paths differ from what the networks say, so that they are like people's; chosen on
/// held-out scenes, see the card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// What the objects' logits are divided by.
    pub temperature: f32,
    /// What the end's logit is divided by.
    pub end_temperature: f32,
    /// What the dwells' standard deviations are multiplied by.
    pub dwell_spread: f32,
    /// So many paths are drawn for each that is kept, the typical ones; 1 keeps all.
    pub draws_per_path: usize,
}

/// One class a line, its names separated by `|`; the line's number, from 1, is the class's.
const CLASSES: &str = include_str!("../scanpath_classes.txt");

/// The number of a class that the transformer knows; 0 for any other name.
pub fn class_number(name: &str) -> usize {
    CLASSES
        .lines()
        .position(|line| line.split('|').any(|known| known == name))
        .map_or(0, |place| place + 1)
}

impl ScanpathModels {
    /// The networks inside the program.
    ///
    /// # Errors
    /// [`ModelError`] when the files disagree with the manifest they were built with.
    pub fn embedded() -> Result<ScanpathModels, ModelError> {
        ScanpathModels::load(&Embedded)
    }

    /// The networks of a folder that holds `manifest.toml` and the files it names; it may hold
    /// nothing else.
    ///
    /// # Errors
    /// [`ModelError`] names the model, what was expected and what was found.
    pub fn load_dir(folder: &Path) -> Result<ScanpathModels, ModelError> {
        ScanpathModels::load(&Folder(folder))
    }

    /// The networks in the order of the data flow.
    pub fn iter(&self) -> impl Iterator<Item = &Model> {
        [&self.encoder, &self.step].into_iter()
    }

    fn load(source: &dyn Source) -> Result<ScanpathModels, ModelError> {
        let manifest = manifest::parse_scanpath(&source.manifest()?)?;
        Ok(ScanpathModels {
            sampling: manifest.sampling()?,
            encoder: Model::load(&SCANPATH.encoder, manifest.scanpath_encoder, source)?,
            step: Model::load(&SCANPATH.step, manifest.scanpath_step, source)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transformer_inside_the_program_is_whole() {
        let models = ScanpathModels::embedded().expect("the shipped networks obey their contract");
        assert!(
            models
                .iter()
                .map(Model::name)
                .eq(["scanpath_encoder", "scanpath_step"])
        );
        let bytes: usize = models.iter().map(|model| model.onnx.len()).sum();
        assert!(
            bytes <= 1_500_000,
            "{bytes} bytes are more than a Pi's share"
        );
    }

    #[test]
    fn a_class_has_one_number_under_all_its_names() {
        assert_eq!(class_number("person"), 1);
        assert_eq!(class_number("toothbrush"), 80);
        assert_eq!(class_number("tvmonitor"), class_number("tv"));
        assert_eq!(class_number("target"), 0);
        assert_eq!(class_number(""), 0);
    }
}
