//! One golden suite, run on every inference engine: what PyTorch gave when a network was exported,
//! the engine must give again.
//!
//! With the feature `ort` the suite runs on ONNX Runtime as well (`ORT_DYLIB_PATH` names its library).

use std::path::{Path, PathBuf};

use gaze_host::inference::{self, Engine, InferenceError};
use gaze_models::contract::SCANPATH_SIZES;
use gaze_models::{Model, Models, ScanpathModels, TensorContract};

fn models_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

/// The golden cases of one tensor, one list of values a case.
fn golden(model: &Model, direction: &str, tensor: &TensorContract) -> Vec<Vec<f32>> {
    let name = format!("{}.{direction}.{}.f32", model.name(), tensor.name);
    let path = models_folder().join("golden").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let values: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|word| f32::from_le_bytes(word.try_into().expect("four bytes")))
        .collect();
    let cases: Vec<_> = values.chunks(tensor.len()).map(<[f32]>::to_vec).collect();
    assert_eq!(cases.len(), model.golden.cases, "{}", path.display());
    cases
}

/// Runs every golden case of every network twice, in order: a backend keeps buffers, and the second
/// pass shows that nothing of a case leaks into the next.
fn reproduces_the_goldens(engine: Engine) {
    let models = Models::embedded().expect("the shipped models obey their contracts");
    let scanpath = scanpath_of_golden_size();
    for model in models.iter().chain(&scanpath) {
        let contract = model.contract;
        let mut backend = inference::load(engine, model).expect("a shipped model loads");
        let read = |direction, tensors: &[TensorContract]| -> Vec<_> {
            tensors
                .iter()
                .map(|tensor| golden(model, direction, tensor))
                .collect()
        };
        let inputs = read("in", contract.inputs);
        let expected = read("out", contract.outputs);
        for case in (0..model.golden.cases).chain(0..model.golden.cases) {
            let given: Vec<&[f32]> = inputs.iter().map(|cases| &*cases[case]).collect();
            let mut found: Vec<Vec<f32>> = contract
                .outputs
                .iter()
                .map(|t| vec![0.0; t.len()])
                .collect();
            let mut buffers: Vec<&mut [f32]> = found.iter_mut().map(Vec::as_mut_slice).collect();
            backend
                .run(&given, &mut buffers)
                .expect("a golden case runs");
            for ((tensor, found), expected) in contract.outputs.iter().zip(&found).zip(&expected) {
                compare(engine, model, tensor, case, found, &expected[case]);
            }
        }
    }
}

/// The scanpath transformer's networks with the number of objects that their golden cases have.
fn scanpath_of_golden_size() -> [Model; 2] {
    let ScanpathModels { encoder, step, .. } =
        ScanpathModels::embedded().expect("the shipped networks obey their contracts");
    let size = SCANPATH_SIZES
        .iter()
        .find(|size| size.slots == 16)
        .expect("a size of 16");
    let fixed = |model, contract| Model { contract, ..model };
    [fixed(encoder, &size.encoder), fixed(step, &size.step)]
}

fn compare(
    engine: Engine,
    model: &Model,
    tensor: &TensorContract,
    case: usize,
    found: &[f32],
    expected: &[f32],
) {
    for (k, (found, expected)) in found.iter().zip(expected).enumerate() {
        // The exporter's own measure; its tolerance covers another order of summation.
        let error = (found - expected).abs() / expected.abs().max(1.0);
        assert!(
            error <= model.golden.tolerance,
            "{engine}: {} {}[{k}] of case {case} is {found}, expected {expected}",
            model.name(),
            tensor.name,
        );
    }
}

#[test]
fn tract_reproduces_the_goldens() {
    reproduces_the_goldens(Engine::Tract);
}

#[cfg(feature = "ort")]
#[test]
fn onnx_runtime_reproduces_the_goldens() {
    reproduces_the_goldens(Engine::Ort);
}

#[cfg(not(feature = "ort"))]
#[test]
fn an_engine_that_is_not_built_says_how_to_build_it() {
    let models = Models::embedded().expect("the shipped models obey their contracts");
    let error = inference::load(Engine::Ort, &models.face)
        .err()
        .expect("ort is not built");
    assert!(error.to_string().contains("--features ort"), "{error}");
}

/// A model whose file is that of another network.
fn exchanged(engine: Engine) -> InferenceError {
    let models = Models::embedded().expect("the shipped models obey their contracts");
    let model = Model {
        onnx: models.eyes.onnx.clone(),
        ..models.face.clone()
    };
    inference::load(engine, &model)
        .err()
        .expect("the eye network is no face finder")
}

#[test]
fn a_file_with_other_tensors_is_refused_with_their_names() {
    let error = exchanged(Engine::Tract).to_string();
    assert!(
        error.contains("face") && error.contains("image") && error.contains("patches"),
        "{error}"
    );
}

#[test]
fn a_file_that_is_no_network_is_refused() {
    let models = Models::embedded().expect("the shipped models obey their contracts");
    let model = Model {
        onnx: b"not an ONNX file".as_slice().into(),
        ..models.face
    };
    let error = inference::load(Engine::Tract, &model)
        .err()
        .expect("it is no network");
    assert!(
        matches!(error, InferenceError::Engine { name: "face", .. }),
        "{error}"
    );
}

#[cfg(feature = "ort")]
#[test]
fn onnx_runtime_refuses_other_tensors_too() {
    assert!(matches!(
        exchanged(Engine::Ort),
        InferenceError::MissingTensor {
            tensor: "image",
            ..
        }
    ));
}
