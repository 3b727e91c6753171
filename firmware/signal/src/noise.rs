//! How noisy the gaze is right now, from the samples themselves.

/// Steps that the estimate looks back on: two seconds at 30 Hz.
const STEPS: usize = 64;
/// How many steps the first guess counts for.
const FIRST_GUESS_STEPS: usize = 12;
/// Half of all steps of a steady gaze are shorter than this many times the standard deviation per
/// axis: the differences have variance 2σ² per axis, so their squared length is 2σ² times a
/// χ² variable with two degrees of freedom, of which the median is 2 ln 2.
const MEDIAN_SQUARED_STEP_PER_VARIANCE: f32 = 4.0 * core::f32::consts::LN_2;

/// Standard deviation of the noise, from the median step between neighbouring samples.
///
/// The median leaves saccades out as long as they are fewer than half of the steps, as the MAD does
/// in adaptive event detection (Nyström & Holmqvist 2010; Engbert & Kliegl 2003). Noise that is
/// alike from sample to sample, such as drift, does not show in it.
#[derive(Clone, Debug)]
pub(crate) struct Noise {
    squared_steps: [f32; STEPS],
    next: usize,
    smallest_rad: f32,
    largest_rad: f32,
    sigma_rad: f32,
}

impl Noise {
    pub fn new(first_rad: f32, smallest_rad: f32, largest_rad: f32) -> Self {
        let first_rad = first_rad.clamp(smallest_rad, largest_rad);
        let median = first_rad * first_rad * MEDIAN_SQUARED_STEP_PER_VARIANCE;
        let mut squared_steps = [f32::NAN; STEPS];
        squared_steps[..FIRST_GUESS_STEPS].fill(median);
        Noise {
            squared_steps,
            next: FIRST_GUESS_STEPS,
            smallest_rad,
            largest_rad,
            sigma_rad: first_rad,
        }
    }

    /// Takes in the step between two neighbouring samples.
    pub fn step(&mut self, from_rad: [f32; 2], to_rad: [f32; 2]) {
        let dx = to_rad[0] - from_rad[0];
        let dy = to_rad[1] - from_rad[1];
        self.squared_steps[self.next] = dx * dx + dy * dy;
        self.next = (self.next + 1) % STEPS;
        let mut sorted = self.squared_steps;
        // NaN marks the places that are still free; they sort to the end.
        let filled = sorted.iter().filter(|step| !step.is_nan()).count();
        let (_, median, _) = sorted.select_nth_unstable_by(filled / 2, f32::total_cmp);
        let sigma_rad = libm::sqrtf(*median / MEDIAN_SQUARED_STEP_PER_VARIANCE);
        self.sigma_rad = sigma_rad.clamp(self.smallest_rad, self.largest_rad);
    }

    /// Standard deviation per axis, radians, within the limits set.
    pub fn sigma_rad(&self) -> f32 {
        self.sigma_rad
    }
}
