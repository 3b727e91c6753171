//! `manifest.toml`: one table a network, written by the exporter.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::contract::{Contract, TensorContract};
use crate::scanpath::Sampling;
use crate::{ModelError, Thresholds};

/// The vision stage's part of the file.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) face: Entry,
    pub(crate) landmarks: Entry,
    pub(crate) eyes: Entry,
}

/// The scanpath transformer's part of the file; what else there is does not matter to it, so that a
/// folder may hold these two networks alone.
#[derive(Debug, Deserialize)]
pub(crate) struct ScanpathManifest {
    pub(crate) scanpath_encoder: Entry,
    pub(crate) scanpath_step: Entry,
}

/// One network's table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    name: String,
    pub(crate) file: String,
    pub(crate) sha256: String,
    pub(crate) parameters: u64,
    pub(crate) macs: u64,
    pub(crate) card: String,
    pub(crate) golden_cases: usize,
    pub(crate) golden_tolerance: f32,
    inputs: BTreeMap<String, Vec<usize>>,
    outputs: BTreeMap<String, Vec<usize>>,
    thresholds: BTreeMap<String, f32>,
}

/// Reads the file's text.
pub(crate) fn parse(text: &str) -> Result<Manifest, ModelError> {
    toml::from_str(text).map_err(|error| ModelError::Manifest {
        reason: error.to_string(),
    })
}

/// Reads the scanpath transformer's part of the file's text.
pub(crate) fn parse_scanpath(text: &str) -> Result<ScanpathManifest, ModelError> {
    toml::from_str(text).map_err(|error| ModelError::Manifest {
        reason: error.to_string(),
    })
}

impl ScanpathManifest {
    /// How paths are sampled.
    pub(crate) fn sampling(&self) -> Result<Sampling, ModelError> {
        let factor = |key| {
            let is_allowed = |value: f32| value > 0.0 && value <= 10.0;
            let allowed = "above 0 and at most 10";
            in_range(
                "scanpath_step",
                &self.scanpath_step,
                key,
                is_allowed,
                allowed,
            )
        };
        Ok(Sampling {
            temperature: factor("sampling_temperature")?,
            end_temperature: factor("sampling_end_temperature")?,
            dwell_spread: factor("sampling_dwell_spread")?,
            draws_per_path: self.draws_per_path()?,
        })
    }
}

impl ScanpathManifest {
    fn draws_per_path(&self) -> Result<usize, ModelError> {
        let is_allowed = |value: f32| (1.0..=100.0).contains(&value) && value.fract() == 0.0;
        let key = "sampling_draws_per_path";
        let allowed = "a whole number from 1 to 100";
        in_range(
            "scanpath_step",
            &self.scanpath_step,
            key,
            is_allowed,
            allowed,
        )
        .map(|draws| draws as usize)
    }
}

impl Manifest {
    /// The thresholds, each in its range.
    pub(crate) fn thresholds(&self) -> Result<Thresholds, ModelError> {
        Ok(Thresholds {
            face_score: share("face", &self.face, "score")?,
            face_overlap: share("face", &self.face, "nms_iou")?,
            presence: share("landmarks", &self.landmarks, "presence")?,
            closed_openness: share("eyes", &self.eyes, "closed_openness")?,
            visible_logit: in_range(
                "eyes",
                &self.eyes,
                "visible_logit",
                f32::is_finite,
                "any number",
            )?,
            low_confidence_sigma_rad: in_range(
                "eyes",
                &self.eyes,
                "low_confidence_sigma_rad",
                |value| value > 0.0 && value < std::f32::consts::PI,
                "above 0 and below pi",
            )?,
        })
    }
}

fn share(name: &'static str, entry: &Entry, key: &'static str) -> Result<f32, ModelError> {
    let is_allowed = |value: f32| value > 0.0 && value < 1.0;
    in_range(name, entry, key, is_allowed, "above 0 and below 1")
}

fn in_range(
    name: &'static str,
    entry: &Entry,
    key: &'static str,
    is_allowed: impl Fn(f32) -> bool,
    allowed: &'static str,
) -> Result<f32, ModelError> {
    match entry.thresholds.get(key).copied() {
        None => Err(ModelError::MissingThreshold { name, key }),
        Some(value) if is_allowed(value) => Ok(value),
        Some(found) => Err(ModelError::Range {
            name,
            key,
            found,
            allowed,
        }),
    }
}

impl Entry {
    /// Compares the entry with what the program needs.
    pub(crate) fn check(&self, contract: &'static Contract) -> Result<(), ModelError> {
        let name = contract.name;
        if self.name != name {
            return Err(ModelError::Manifest {
                reason: format!("the table [{name}] has the name {:?}", self.name),
            });
        }
        // NaN is outside every range.
        if !(self.golden_tolerance > 0.0 && self.golden_tolerance < 1.0) {
            return Err(ModelError::Range {
                name,
                key: "golden_tolerance",
                found: self.golden_tolerance,
                allowed: "above 0 and below 1",
            });
        }
        check_tensors(name, "inputs", &self.inputs, contract.inputs)?;
        check_tensors(name, "outputs", &self.outputs, contract.outputs)
    }
}

fn check_tensors(
    name: &'static str,
    kind: &'static str,
    found: &BTreeMap<String, Vec<usize>>,
    expected: &'static [TensorContract],
) -> Result<(), ModelError> {
    let mut names: Vec<String> = expected.iter().map(|t| t.name.to_owned()).collect();
    names.sort();
    if !found.keys().eq(&names) {
        return Err(ModelError::Tensors {
            name,
            kind,
            found: found.keys().cloned().collect(),
            expected: names,
        });
    }
    for tensor in expected {
        let shape = &found[tensor.name];
        if shape != tensor.shape {
            return Err(ModelError::Shape {
                name,
                tensor: tensor.name,
                found: shape.clone(),
                expected: tensor.shape.to_vec(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{EYES, FACE, LANDMARKS};

    fn table(contract: &Contract, thresholds: &str) -> String {
        let shapes = |tensors: &[TensorContract]| -> String {
            tensors
                .iter()
                .map(|t| format!("{} = {:?}\n", t.name, t.shape))
                .collect()
        };
        format!(
            "[{name}]\nname = \"{name}\"\nfile = \"onnx/{name}.onnx\"\nsha256 = \"00\"\n\
             parameters = 1\nmacs = 2\ncard = \"cards/{name}.md\"\ngolden_cases = 8\n\
             golden_tolerance = 1e-3\n[{name}.inputs]\n{inputs}[{name}.outputs]\n{outputs}\
             [{name}.thresholds]\n{thresholds}\n",
            name = contract.name,
            inputs = shapes(contract.inputs),
            outputs = shapes(contract.outputs),
        )
    }

    fn text() -> String {
        table(&FACE, "score = 0.5\nnms_iou = 0.3")
            + &table(&LANDMARKS, "presence = 0.5")
            + &table(
                &EYES,
                "closed_openness = 0.2\nvisible_logit = 0.0\nlow_confidence_sigma_rad = 0.15",
            )
    }

    #[test]
    fn a_manifest_that_agrees_with_the_contracts_is_accepted() {
        let manifest = parse(&text()).expect("the manifest is well formed");
        manifest.face.check(&FACE).expect("face agrees");
        manifest
            .landmarks
            .check(&LANDMARKS)
            .expect("landmarks agree");
        manifest.eyes.check(&EYES).expect("eyes agree");
        let thresholds = manifest.thresholds().expect("all thresholds are there");
        assert!(
            (thresholds.low_confidence_sigma_rad - 0.15).abs() < 1e-6 /* decimal to f32 */
        );
    }

    #[test]
    fn another_shape_is_refused_with_both_shapes() {
        let text = text().replace("cells = [1, 540, 15]", "cells = [1, 540, 16]");
        let error = parse(&text)
            .expect("the manifest is well formed")
            .face
            .check(&FACE)
            .expect_err("16 numbers a cell");
        assert_eq!(
            error.to_string(),
            "model face: cells is [1, 540, 16] in the manifest, this program needs [1, 540, 15]"
        );
    }

    #[test]
    fn a_missing_tensor_is_refused_by_name() {
        let text = text().replace("present = [1, 2]\n", "");
        let error = parse(&text)
            .expect("the manifest is well formed")
            .eyes
            .check(&EYES)
            .expect_err("an input is missing");
        assert!(matches!(
            error,
            ModelError::Tensors {
                name: "eyes",
                kind: "inputs",
                ..
            }
        ));
    }

    #[test]
    fn a_threshold_outside_its_range_is_refused() {
        let text = text().replace("nms_iou = 0.3", "nms_iou = 1.5");
        let error = parse(&text)
            .expect("the manifest is well formed")
            .thresholds()
            .expect_err("a share is below 1");
        assert_eq!(
            error.to_string(),
            "model face: nms_iou is 1.5, allowed is above 0 and below 1"
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let text = text().replace("parameters = 1", "parameters = 1\ncolour = 3");
        assert!(matches!(parse(&text), Err(ModelError::Manifest { .. })));
    }
}
