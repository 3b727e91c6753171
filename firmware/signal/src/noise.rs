//! How noisy the gaze is right now, from the samples themselves.

/// Steps that the estimate looks back on: four seconds at 30 Hz.
const STEPS: usize = 128;
/// How many steps the first guess counts for.
const FIRST_GUESS_STEPS: usize = 12;
/// Far steps lead from a sample to the third after it.
const FAR: usize = 3;
/// Half of all steps of a steady gaze are shorter than the root of this many variances (per axis):
/// the differences have variance 2σ² per axis, so their squared length is 2σ² times a χ² variable
/// with two degrees of freedom, of which the median is 2 ln 2.
const HALF_BELOW_VARIANCES: f32 = 4.0 * core::f32::consts::LN_2;
/// A quarter of them are shorter than the root of this many: 4 ln (4/3).
const QUARTER_BELOW_VARIANCES: f32 = 1.150_728_3;
/// How many times the near variance the far variance is when the noise is white, because more far
/// steps lead over a saccade: 1.2 to 1.35 for fixations of 155 to 900 ms at 30 Hz (simulated).
const FAR_VARIANCE_OF_WHITE_NOISE: f32 = 1.4;

/// Standard deviation of the noise, from the steps between neighbouring samples.
///
/// Quantiles leave the steps of saccades out, as the MAD does in adaptive event detection (Engbert &
/// Kliegl 2003; Nyström & Holmqvist 2010). Where steps over three samples are larger than those over
/// one by more than saccades explain, the noise is alike from sample to sample (correlation ρ): the
/// estimate then is the standard deviation of white noise that makes means of many samples equally
/// unsure, σ² · (1 + ρ) / (1 − ρ).
#[derive(Clone, Debug)]
pub(crate) struct Noise {
    near: Steps,
    far: Steps,
    recent_rad: heapless::Deque<[f32; 2], FAR>,
    smallest_rad: f32,
    largest_rad: f32,
    sigma_rad: f32,
}

impl Noise {
    pub fn new(first_rad: f32, smallest_rad: f32, largest_rad: f32) -> Self {
        let first_rad = first_rad.clamp(smallest_rad, largest_rad);
        let variance = first_rad * first_rad;
        Noise {
            near: Steps::new(variance * HALF_BELOW_VARIANCES),
            far: Steps::new(variance * QUARTER_BELOW_VARIANCES),
            recent_rad: heapless::Deque::new(),
            smallest_rad,
            largest_rad,
            sigma_rad: first_rad,
        }
    }

    /// Takes in the next sample.
    pub fn step(&mut self, gaze_rad: [f32; 2]) {
        let Some(last_rad) = self.recent_rad.back() else {
            let has_room = self.recent_rad.push_back(gaze_rad);
            debug_assert!(has_room.is_ok());
            return;
        };
        self.near.note(squared_step(*last_rad, gaze_rad));
        if self.recent_rad.is_full()
            && let Some(far_rad) = self.recent_rad.pop_front()
        {
            self.far.note(squared_step(far_rad, gaze_rad));
        }
        let has_room = self.recent_rad.push_back(gaze_rad);
        debug_assert!(has_room.is_ok());

        let near_variance = self.near.quantile(2) / HALF_BELOW_VARIANCES;
        let far_variance = self.far.quantile(4) / QUARTER_BELOW_VARIANCES;
        let ratio = far_variance / (near_variance * FAR_VARIANCE_OF_WHITE_NOISE);
        // 1 / (1 − ρ), if the noise three samples away is independent. `max` also takes NaN to 1.
        let likeness = ratio.max(1.0);
        let variance = near_variance * likeness * (2.0 * likeness - 1.0);
        // A still picture has no near steps, and any ratio.
        let sigma_rad = libm::sqrtf(variance).max(self.smallest_rad);
        self.sigma_rad = sigma_rad.min(self.largest_rad);
    }

    /// The next sample is no neighbour of the last one.
    pub fn interrupt(&mut self) {
        self.recent_rad.clear();
    }

    /// Standard deviation per axis, radians, within the limits set.
    pub fn sigma_rad(&self) -> f32 {
        self.sigma_rad
    }
}

/// The latest squared steps, and their quantiles.
#[derive(Clone, Debug)]
struct Steps {
    squared: [f32; STEPS],
    filled: usize,
    next: usize,
}

impl Steps {
    fn new(first_guess: f32) -> Self {
        Steps {
            squared: [first_guess; STEPS],
            filled: FIRST_GUESS_STEPS,
            next: FIRST_GUESS_STEPS,
        }
    }

    fn note(&mut self, squared: f32) {
        self.squared[self.next] = squared;
        self.next = (self.next + 1) % STEPS;
        self.filled = STEPS.min(self.filled + 1);
    }

    /// The squared step than which one in `part` is shorter.
    fn quantile(&self, part: usize) -> f32 {
        let mut sorted = self.squared;
        let filled = &mut sorted[..self.filled];
        let index = filled.len() / part;
        let (_, quantile, _) = filled.select_nth_unstable_by(index, f32::total_cmp);
        *quantile
    }
}

fn squared_step(from_rad: [f32; 2], to_rad: [f32; 2]) -> f32 {
    let dx = to_rad[0] - from_rad[0];
    let dy = to_rad[1] - from_rad[1];
    dx * dx + dy * dy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise() -> Noise {
        Noise::new(0.01, 0.001, 0.1)
    }

    /// Steps whose squared lengths have the quantiles of white noise with this deviation, and every
    /// twelfth a jump besides.
    fn walk(noise: &mut Noise, sigma_rad: f32, jump_rad: f32) {
        for i in 0..480u16 {
            // The quantile function of a χ² variable with two degrees of freedom is −2 ln (1 − p).
            // The gaze goes there and back, so three samples are as far as one.
            let p = f32::from((i / 2 * 37) % 100) / 100.0 + 0.005;
            let length = libm::sqrtf(-4.0 * sigma_rad * sigma_rad * libm::logf(1.0 - p));
            let place = f32::from(i / 12 % 2) * jump_rad;
            noise.step([place + if i % 2 == 0 { 0.0 } else { length }, 0.0]);
        }
    }

    #[test]
    fn the_first_guess_holds_until_there_is_something_to_see() {
        assert!((noise().sigma_rad() - 0.01).abs() < 1e-6);
        assert!((Noise::new(1.0, 0.001, 0.1).sigma_rad() - 0.1).abs() < 1e-6);
    }

    #[test]
    fn white_noise_is_found() {
        let mut noise = noise();
        walk(&mut noise, 0.02, 0.0);
        assert!(
            (noise.sigma_rad() / 0.02 - 1.0).abs() < 0.05,
            "{}",
            noise.sigma_rad()
        );
    }

    #[test]
    fn a_picture_that_stands_still_has_the_smallest_noise() {
        let mut noise = noise();
        for _ in 0..400 {
            noise.step([0.3, -0.2]);
        }
        assert!((noise.sigma_rad() - 0.001).abs() < 1e-7);
    }

    #[test]
    fn saccades_hardly_count() {
        let mut noise = noise();
        walk(&mut noise, 0.02, 0.5);
        // A twelfth of the steps are long, so the median is that of the 55th of 100 others.
        let ratio = noise.sigma_rad() / 0.02;
        assert!((ratio - 1.07).abs() < 0.06, "{ratio}");
    }
}
