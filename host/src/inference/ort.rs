//! ONNX Runtime, loaded at run time.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use gaze_models::{Contract, Model, TensorContract};
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{Outlet, TensorElementType, TensorRef};

use super::{Backend, Engine, InferenceError};

/// Names ONNX Runtime's library; without it the system's loader searches for it.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// A network in ONNX Runtime.
pub(super) struct OrtBackend {
    contract: &'static Contract,
    session: Session,
}

impl OrtBackend {
    pub(super) fn load(model: &Model) -> Result<Self, InferenceError> {
        let contract = model.contract;
        let environment = environment()?;
        let session = Session::builder(&environment)
            .and_then(|builder| Ok(builder.with_optimization_level(GraphOptimizationLevel::All)?))
            .and_then(|builder| Ok(builder.with_intra_threads(1)?))
            .and_then(|builder| Ok(builder.with_inter_threads(1)?))
            .and_then(|mut builder| builder.commit_from_memory(&model.onnx))
            .map_err(|error| failed(contract.name, &error))?;
        check(contract, "input", contract.inputs, session.inputs())?;
        check(contract, "output", contract.outputs, session.outputs())?;
        Ok(OrtBackend { contract, session })
    }
}

impl Backend for OrtBackend {
    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), InferenceError> {
        let name = self.contract.name;
        let tensors = self
            .contract
            .inputs
            .iter()
            .zip(inputs)
            .map(|(tensor, values)| {
                let value = TensorRef::from_array_view((tensor.shape, *values))?;
                Ok((tensor.name, value))
            })
            .collect::<ort::Result<Vec<_>>>()
            .map_err(|error| failed(name, &error))?;
        let found = self
            .session
            .run(tensors)
            .map_err(|error| failed(name, &error))?;
        for (tensor, values) in self.contract.outputs.iter().zip(outputs) {
            let (_, data) = found[tensor.name]
                .try_extract_tensor::<f32>()
                .map_err(|error| failed(name, &error))?;
            values.copy_from_slice(data);
        }
        Ok(())
    }
}

/// The process's one environment of ONNX Runtime, made by the first network.
fn environment() -> Result<Environment, InferenceError> {
    static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);
    let mut current = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*current {
        return Ok(environment.clone());
    }
    let not_installed = |reason: String| InferenceError::NotInstalled {
        engine: Engine::Ort,
        variable: LIBRARY_VARIABLE,
        reason,
    };
    let environment = ort::init_from(library())
        .map_err(|error| not_installed(error.to_string()))?
        .with_name("gazed")
        .with_telemetry(false)
        .build()
        .map_err(|error| not_installed(error.to_string()))?;
    *current = Some(environment.clone());
    Ok(environment)
}

fn library() -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    match std::env::var_os(LIBRARY_VARIABLE) {
        Some(path) if !path.is_empty() => path.into(),
        _ => format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}").into(),
    }
}

fn check(
    contract: &'static Contract,
    kind: &'static str,
    tensors: &'static [TensorContract],
    found: &[Outlet],
) -> Result<(), InferenceError> {
    let names = || {
        found
            .iter()
            .map(|outlet| outlet.name().to_owned())
            .collect()
    };
    for tensor in tensors {
        let Some(outlet) = found.iter().find(|outlet| outlet.name() == tensor.name) else {
            return Err(InferenceError::MissingTensor {
                name: contract.name,
                kind,
                tensor: tensor.name,
                found: names(),
            });
        };
        let agrees = outlet.dtype().tensor_type() == Some(TensorElementType::Float32)
            && outlet.dtype().tensor_shape().is_some_and(|shape| {
                shape.len() == tensor.shape.len()
                    // -1: the file leaves it free.
                    && shape.iter().zip(tensor.shape).all(|(f, e)| *f == -1 || *f == *e as i64)
            });
        if !agrees {
            return Err(InferenceError::ShapeMismatch {
                name: contract.name,
                tensor: tensor.name,
                found: outlet.dtype().to_string(),
                expected: tensor.shape.to_vec(),
            });
        }
    }
    Ok(())
}

fn failed(name: &'static str, error: &ort::Error) -> InferenceError {
    InferenceError::Engine {
        name,
        engine: Engine::Ort,
        reason: error.to_string(),
    }
}
