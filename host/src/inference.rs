//! The seam between the vision stage and the engine that runs the networks.
//!
//! tract is built in; ONNX Runtime stands behind the feature `ort` and is loaded at run time.
//! Both must reproduce the golden cases of every network (`tests/backends.rs`).

#[cfg(feature = "ort")]
mod ort;
pub mod scripted;
mod tract;

use std::fmt;
use std::str::FromStr;

use gaze_models::{Contract, Model, TensorContract};

/// The engines that can run a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// tract: pure Rust, inside the program.
    #[default]
    Tract,
    /// ONNX Runtime: the library at `ORT_DYLIB_PATH`, or the system's.
    Ort,
}

impl Engine {
    /// The word in settings and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Engine::Tract => "tract",
            Engine::Ort => "ort",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(word: &str) -> Result<Self, UnknownEngine> {
        match word {
            "tract" => Ok(Engine::Tract),
            "ort" => Ok(Engine::Ort),
            _ => Err(UnknownEngine {
                word: word.to_owned(),
            }),
        }
    }
}

/// A word that names no engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("engine is {word:?}, allowed are \"tract\" and \"ort\"")]
pub struct UnknownEngine {
    /// What was given.
    pub word: String,
}

/// One loaded network. Its tensors are those of its [`Contract`], checked when it was loaded.
pub trait Backend: Send {
    /// Runs the network once.
    ///
    /// `inputs` and `outputs` are in the contract's order, row-major f32, and exactly as long as
    /// their shapes say.
    ///
    /// # Errors
    /// [`InferenceError`] when the engine fails; that is a bug or a broken installation.
    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), InferenceError>;
}

/// Loads a network into an engine, on one thread.
///
/// # Errors
/// [`InferenceError`] when the engine is not there, cannot read the file, or finds other tensors
/// in it than the contract has.
pub fn load(engine: Engine, model: &Model) -> Result<Box<dyn Backend>, InferenceError> {
    match engine {
        Engine::Tract => Ok(Box::new(tract::TractBackend::load(model)?)),
        #[cfg(feature = "ort")]
        Engine::Ort => Ok(Box::new(ort::OrtBackend::load(model)?)),
        #[cfg(not(feature = "ort"))]
        Engine::Ort => Err(InferenceError::NotBuilt { engine }),
    }
}

/// A backend whose outputs are known to be finite: NaN does not get past it.
pub struct Network {
    contract: &'static Contract,
    backend: Box<dyn Backend>,
}

impl Network {
    /// A network that runs in `backend`, which must obey `contract`.
    pub fn new(contract: &'static Contract, backend: Box<dyn Backend>) -> Self {
        Network { contract, backend }
    }

    /// Loads a network into an engine.
    ///
    /// # Errors
    /// Those of [`load`].
    pub fn load(engine: Engine, model: &Model) -> Result<Self, InferenceError> {
        Ok(Network::new(model.contract, load(engine, model)?))
    }

    /// Runs the network once; see [`Backend::run`].
    ///
    /// # Errors
    /// [`InferenceError::NotFinite`] besides the engine's own errors.
    pub fn run(
        &mut self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
    ) -> Result<(), InferenceError> {
        debug_assert!(lengths_agree(
            self.contract.inputs,
            inputs.iter().map(|v| v.len())
        ));
        debug_assert!(lengths_agree(
            self.contract.outputs,
            outputs.iter().map(|v| v.len())
        ));
        self.backend.run(inputs, outputs)?;
        for (tensor, values) in self.contract.outputs.iter().zip(outputs.iter()) {
            if !values.iter().all(|value| value.is_finite()) {
                return Err(InferenceError::NotFinite {
                    name: self.contract.name,
                    output: tensor.name,
                });
            }
        }
        Ok(())
    }
}

fn lengths_agree(tensors: &[TensorContract], lengths: impl Iterator<Item = usize>) -> bool {
    tensors.iter().map(TensorContract::len).eq(lengths)
}

/// Why a network cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// The program was built without this engine.
    #[error(
        "this program was built without the engine {engine}; build it with `--features {engine}`"
    )]
    NotBuilt {
        /// The engine asked for.
        engine: Engine,
    },
    /// The engine's library cannot be loaded.
    #[error(
        "engine {engine} cannot be loaded: {reason}; install it, or set {variable} to its library"
    )]
    NotInstalled {
        /// The engine.
        engine: Engine,
        /// The environment variable that names its library.
        variable: &'static str,
        /// The loader's words.
        reason: String,
    },
    /// The engine refused or failed.
    #[error("model {name}: {engine} says: {reason}")]
    Engine {
        /// Name in the manifest.
        name: &'static str,
        /// The engine.
        engine: Engine,
        /// The engine's own words.
        reason: String,
    },
    /// The file lacks an input or output.
    #[error("model {name}: the file has no {kind} {tensor}, it has {found:?}")]
    MissingTensor {
        /// Name in the manifest.
        name: &'static str,
        /// `input` or `output`.
        kind: &'static str,
        /// Name in the contract.
        tensor: &'static str,
        /// Names in the file.
        found: Vec<String>,
    },
    /// The file has another shape than the contract.
    #[error("model {name}: {tensor} is {found}, the contract says {expected:?}")]
    ShapeMismatch {
        /// Name in the manifest.
        name: &'static str,
        /// The input or output.
        tensor: &'static str,
        /// Type and shape in the file.
        found: String,
        /// Shape in the contract, of f32.
        expected: Vec<usize>,
    },
    /// The network gave a number that is none.
    #[error("model {name}: {output} holds NaN or infinity; the file is broken")]
    NotFinite {
        /// Name in the manifest.
        name: &'static str,
        /// The output.
        output: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::scripted::{Script, scripted};
    use super::*;
    use gaze_models::contract::EYES;

    #[test]
    fn an_engine_is_named_by_one_word() {
        assert_eq!("ort".parse(), Ok(Engine::Ort));
        assert_eq!(Engine::Tract.to_string().parse(), Ok(Engine::Tract));
        assert!("Tract".parse::<Engine>().is_err());
    }

    #[test]
    fn a_number_that_is_none_does_not_get_past_a_network() {
        let mut network = Network::new(
            &EYES,
            scripted(Script::Always(vec![
                vec![0.1, f32::NAN],
                vec![0.0],
                vec![0.0; 12],
                vec![0.0; 12],
            ])),
        );
        let (mut gaze, mut log_sigma, mut eye, mut features) =
            ([0.0; 2], [0.0; 1], [0.0; 12], [0.0; 12]);
        let error = network
            .run(
                &[&[0.0; 2 * 48 * 64], &[0.0; 2], &[1.0; 2]],
                &mut [&mut gaze, &mut log_sigma, &mut eye, &mut features],
            )
            .expect_err("gaze is NaN");
        assert!(matches!(
            error,
            InferenceError::NotFinite {
                name: "eyes",
                output: "gaze"
            }
        ));
    }
}
