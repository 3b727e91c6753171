//! tract: the engine inside the program.

use std::sync::Arc;

use gaze_models::{Model, TensorContract};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

use super::{Backend, Engine, InferenceError};

/// A network in tract, its shapes fixed and its graph optimised for them.
pub(super) struct TractBackend {
    name: &'static str,
    state: TypedSimpleState,
    /// Filled anew for every run; tract shares them only while it runs.
    inputs: Vec<Arc<Tensor>>,
}

impl TractBackend {
    pub(super) fn load(model: &Model) -> Result<Self, InferenceError> {
        let name = model.contract.name;
        let engine = |error: TractError| failed(name, &error);
        let mut graph = tract_onnx::onnx()
            .model_for_read(&mut &model.onnx[..])
            .map_err(engine)?;
        order_inputs(name, model.contract.inputs, &mut graph)?;
        order_outputs(name, model.contract.outputs, &mut graph)?;
        let graph = graph.into_optimized().map_err(engine)?;
        for (slot, tensor) in model.contract.outputs.iter().enumerate() {
            let fact = graph.output_fact(slot).map_err(engine)?;
            let agrees = fact.datum_type == f32::datum_type()
                && fact.shape.as_concrete() == Some(tensor.shape);
            if !agrees {
                return Err(mismatch(name, tensor, format!("{fact:?}")));
            }
        }
        let inputs = model
            .contract
            .inputs
            .iter()
            .map(|tensor| Tensor::zero::<f32>(tensor.shape).map(Arc::new))
            .collect::<TractResult<_>>()
            .map_err(engine)?;
        let state = graph
            .into_runnable()
            .and_then(|plan| plan.spawn())
            .map_err(engine)?;
        Ok(TractBackend {
            name,
            state,
            inputs,
        })
    }

    fn run_graph(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> TractResult<()> {
        for (tensor, values) in self.inputs.iter_mut().zip(inputs) {
            Arc::make_mut(tensor)
                .try_as_plain_ram_mut()?
                .as_slice_mut::<f32>()?
                .copy_from_slice(values);
        }
        let shared = self
            .inputs
            .iter()
            .map(|t| t.clone().into_tvalue())
            .collect();
        let found = self.state.run(shared)?;
        for (tensor, values) in found.iter().zip(outputs) {
            values.copy_from_slice(tensor.try_as_plain_ram()?.as_slice::<f32>()?);
        }
        Ok(())
    }
}

impl Backend for TractBackend {
    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), InferenceError> {
        let name = self.name;
        self.run_graph(inputs, outputs)
            .map_err(|error| failed(name, &error))
    }
}

/// Puts the graph's inputs into the contract's order and fixes their shapes.
fn order_inputs(
    name: &'static str,
    tensors: &'static [TensorContract],
    graph: &mut InferenceModel,
) -> Result<(), InferenceError> {
    let outlets = graph.inputs.clone();
    let names: Vec<String> = outlets
        .iter()
        .map(|outlet| graph.node(outlet.node).name.clone())
        .collect();
    let mut ordered = Vec::new();
    for tensor in tensors {
        let Some(slot) = names.iter().position(|found| found == tensor.name) else {
            return Err(missing(name, "input", tensor, names));
        };
        let found = graph
            .outlet_fact(outlets[slot])
            .map_err(|error| failed(name, &error))?
            .clone();
        let expected = InferenceFact::dt_shape(f32::datum_type(), tensor.shape);
        if !admits(&found, tensor) {
            return Err(mismatch(name, tensor, format!("{found:?}")));
        }
        graph
            .set_outlet_fact(outlets[slot], expected)
            .map_err(|error| failed(name, &error))?;
        ordered.push(outlets[slot]);
    }
    if outlets.len() != ordered.len() {
        return Err(unused(name, "inputs", names));
    }
    graph
        .set_input_outlets(&ordered)
        .map_err(|error| failed(name, &error))
}

/// Whether an input of the file can have the contract's shape: its numbers agree, and what it leaves
/// free (a symbol) may be anything.
fn admits(found: &InferenceFact, tensor: &TensorContract) -> bool {
    let is_f32 = found
        .datum_type
        .concretize()
        .is_none_or(|kind| kind == f32::datum_type());
    let dims: Vec<_> = found.shape.dims().collect();
    let is_long_enough = found.shape.is_open() || dims.len() == tensor.shape.len();
    let agrees = dims.iter().zip(tensor.shape).all(|(dim, &expected)| {
        dim.concretize()
            .and_then(|dim| dim.to_i64().ok())
            .is_none_or(|dim| dim == expected as i64)
    });
    is_f32 && is_long_enough && agrees
}

/// Puts the graph's outputs into the contract's order.
fn order_outputs(
    name: &'static str,
    tensors: &'static [TensorContract],
    graph: &mut InferenceModel,
) -> Result<(), InferenceError> {
    let outlets = graph.outputs.clone();
    let names: Vec<String> = outlets
        .iter()
        .map(|outlet| graph.outlet_label(*outlet).unwrap_or_default().to_owned())
        .collect();
    let mut ordered = Vec::new();
    for tensor in tensors {
        let Some(slot) = names.iter().position(|found| found == tensor.name) else {
            return Err(missing(name, "output", tensor, names));
        };
        ordered.push(outlets[slot]);
    }
    graph
        .select_output_outlets(&ordered)
        .map_err(|error| failed(name, &error))
}

fn failed(name: &'static str, error: &TractError) -> InferenceError {
    InferenceError::Engine {
        name,
        engine: Engine::Tract,
        // The alternate form carries the whole chain of causes.
        reason: format!("{error:#}"),
    }
}

fn unused(name: &'static str, kind: &str, found: Vec<String>) -> InferenceError {
    InferenceError::Engine {
        name,
        engine: Engine::Tract,
        reason: format!("the file has the {kind} {found:?}, more than the contract"),
    }
}

fn missing(
    name: &'static str,
    kind: &'static str,
    tensor: &TensorContract,
    found: Vec<String>,
) -> InferenceError {
    InferenceError::MissingTensor {
        name,
        kind,
        tensor: tensor.name,
        found,
    }
}

fn mismatch(name: &'static str, tensor: &TensorContract, found: String) -> InferenceError {
    InferenceError::ShapeMismatch {
        name,
        tensor: tensor.name,
        found,
        expected: tensor.shape.to_vec(),
    }
}
