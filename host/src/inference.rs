//! The seam between the vision stage and the engine that runs the networks.

/// One loaded network. Inputs and outputs have the fixed shapes of its contract in
/// `models/manifest.toml`, checked when it is loaded.
pub trait Backend {
    /// Runs the network once.
    ///
    /// `inputs` and `outputs` are in the manifest's order, row-major f32, and exactly as long as
    /// their shapes say.
    ///
    /// # Errors
    /// [`InferenceError`] when the engine fails; that is a bug or a broken installation.
    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), InferenceError>;
}

/// Why a network cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// The engine refused or failed.
    #[error("model {name}: {engine} says: {reason}")]
    Engine {
        /// Name in the manifest.
        name: String,
        /// `tract` or `ort`.
        engine: &'static str,
        /// The engine's own words.
        reason: String,
    },
}
