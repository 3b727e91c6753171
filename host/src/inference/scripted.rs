//! A backend that returns given outputs, for tests of the stage around it.

use super::{Backend, InferenceError};

/// What a scripted backend returns: one list of values per output, in the contract's order.
pub enum Script {
    /// The same in every run.
    Always(Vec<Vec<f32>>),
    /// One after the other; the last one for ever.
    Sequence(Vec<Vec<Vec<f32>>>),
    /// Computed from the inputs.
    Computed(Computation),
}

/// From all inputs to all outputs.
pub type Computation = Box<dyn FnMut(&[&[f32]]) -> Vec<Vec<f32>> + Send>;

/// A backend that follows `script`.
pub fn scripted(script: Script) -> Box<dyn Backend> {
    Box::new(Scripted { script, runs: 0 })
}

struct Scripted {
    script: Script,
    runs: usize,
}

impl Backend for Scripted {
    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), InferenceError> {
        let computed;
        let values = match &mut self.script {
            Script::Always(values) => &*values,
            Script::Sequence(sequence) => &sequence[self.runs.min(sequence.len() - 1)],
            Script::Computed(compute) => {
                computed = compute(inputs);
                &computed
            }
        };
        self.runs += 1;
        for (output, values) in outputs.iter_mut().zip(values) {
            output.copy_from_slice(values);
        }
        Ok(())
    }
}
