//! The network: features to logits, one tick at a time.

use super::features::FEATURES;
use super::weights::{
    CANDIDATE_BIAS, CANDIDATE_STATE_BIAS, DENSE, DENSE_BIAS, GATES_BIAS, INPUT, MEAN, OUT,
    OUT_BIAS, OUT_INNER, SCALE, STATE,
};

/// Outputs of the dense layer.
pub const WIDTH: usize = 32;
/// Numbers that the network remembers.
pub const HIDDEN: usize = 40;
/// Logits: fixation, saccade, pursuit, blink, oscillation.
pub const CLASSES: usize = 5;
/// Reset gates, update gates, candidates.
pub const GATES: usize = 3 * HIDDEN;

/// One dense layer, one gated recurrent unit (Cho et al. 2014, in PyTorch's form), one dense layer.
#[derive(Clone, Debug)]
pub struct Gru {
    state: [f32; HIDDEN],
}

impl Gru {
    /// Remembers nothing.
    pub const fn new() -> Self {
        Gru {
            state: [0.0; HIDDEN],
        }
    }

    /// Takes in one tick's features; gives the logits of its classes.
    pub fn step(&mut self, features: &[f32; FEATURES]) -> [f32; CLASSES] {
        let mut inner = DENSE_BIAS;
        for (i, row) in DENSE.iter().enumerate() {
            add(&mut inner, row, (features[i] - MEAN[i]) * SCALE[i]);
        }
        for value in &mut inner {
            *value = value.max(0.0);
        }
        // Gates from the input and from the state; the candidates' state part stays apart, since
        // the reset gate goes between.
        let mut gates = [0.0; GATES];
        gates[..2 * HIDDEN].copy_from_slice(&GATES_BIAS);
        gates[2 * HIDDEN..].copy_from_slice(&CANDIDATE_BIAS);
        for (row, value) in INPUT.iter().zip(inner) {
            if value > 0.0 {
                add(&mut gates, row, value);
            }
        }
        let mut from_state = [0.0; GATES];
        from_state[2 * HIDDEN..].copy_from_slice(&CANDIDATE_STATE_BIAS);
        for (row, value) in STATE.iter().zip(self.state) {
            add(&mut from_state, row, value);
        }
        for i in 0..HIDDEN {
            let reset = sigmoid(gates[i] + from_state[i]);
            let keep = sigmoid(gates[HIDDEN + i] + from_state[HIDDEN + i]);
            let candidate = tanh(gates[2 * HIDDEN + i] + reset * from_state[2 * HIDDEN + i]);
            self.state[i] = candidate + keep * (self.state[i] - candidate);
        }
        let mut logits = OUT_BIAS;
        for (row, value) in OUT.iter().zip(self.state) {
            add(&mut logits, row, value);
        }
        for (row, value) in OUT_INNER.iter().zip(inner) {
            add(&mut logits, row, value);
        }
        logits
    }
}

/// `sums += row · value`: the outputs lie side by side, so that compilers use vector instructions
/// without changing the order of any sum.
fn add<const N: usize>(sums: &mut [f32; N], row: &[f32; N], value: f32) {
    for (sum, weight) in sums.iter_mut().zip(row) {
        *sum += weight * value;
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

/// By `expf`, which is a third of the time of `tanhf` and as good here (error below 1e-6).
fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}
