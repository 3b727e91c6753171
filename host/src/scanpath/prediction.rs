//! What the step network says, as probabilities and times.

use gaze_models::contract::DWELL_COMPONENTS;

/// ln ms; the networks' dwells are relative to these.
pub(super) const DWELL_CENTRE: f32 = 5.6;
/// See [`DWELL_CENTRE`].
pub(super) const DWELL_SCALE: f32 = 0.7;

/// What comes after the dwells so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The object looked at last; it cannot come next.
    current: Option<usize>,
    logits: Vec<f32>,
    end_logit: f32,
    /// Log weights, means and log standard deviations of ln ms, relative to centre and scale.
    dwells: Vec<[f32; 3 * DWELL_COMPONENTS]>,
}

impl Prediction {
    pub(super) fn new(
        current: Option<usize>,
        n_objects: usize,
        logits: &[f32],
        end_logit: f32,
        dwells: &[f32],
    ) -> Self {
        let (dwells, _) = dwells.as_chunks();
        Prediction {
            current,
            logits: logits[..n_objects].to_vec(),
            end_logit,
            dwells: dwells[..n_objects].to_vec(),
        }
    }

    /// The places that can come next: all but the current one.
    pub fn candidates(&self) -> impl Iterator<Item = usize> {
        (0..self.logits.len()).filter(|&place| Some(place) != self.current)
    }

    /// The natural logarithms of the candidates' probabilities, given that the path goes on; 0 for
    /// the current object's place has no meaning. Logits are divided by `temperature` first.
    pub fn log_probabilities(&self, temperature: f32) -> Vec<(usize, f32)> {
        let scaled = |place: usize| f64::from(self.logits[place] / temperature);
        let highest = self
            .candidates()
            .map(scaled)
            .fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self
            .candidates()
            .map(|place| (scaled(place) - highest).exp())
            .sum();
        self.candidates()
            .map(|place| (place, (scaled(place) - highest - sum.ln()) as f32))
            .collect()
    }

    /// The probability that the path ends here, 0 to 1; its logit is divided by `temperature` first.
    pub fn end_probability(&self, temperature: f32) -> f32 {
        1.0 / (1.0 + (-self.end_logit / temperature).exp())
    }

    /// The mean duration of a dwell on an object, ms.
    pub fn expected_dwell_ms(&self, place: usize) -> f32 {
        components(&self.dwells[place])
            .map(|(weight, mean, deviation)| weight * (mean + deviation * deviation / 2.0).exp())
            .sum()
    }

    /// The natural logarithm of the density, per ms, of a dwell of so many ms on an object.
    pub fn dwell_log_density(&self, place: usize, duration_ms: f32) -> f32 {
        let log_ms = duration_ms.max(1.0).ln();
        let terms: Vec<f32> = components(&self.dwells[place])
            .map(|(weight, mean, deviation)| {
                let z = (log_ms - mean) / deviation;
                weight.ln() - 0.5 * z * z - deviation.ln() - 0.5 * std::f32::consts::TAU.ln()
            })
            .collect();
        let highest = terms.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        highest
            + terms
                .iter()
                .map(|term| (term - highest).exp())
                .sum::<f32>()
                .ln()
            - log_ms
    }

    /// A dwell on an object drawn with `uniform` (0 to 1, chooses the component) and `normal`
    /// (standard normal), ms.
    pub fn draw_dwell_ms(&self, place: usize, uniform: f32, normal: f32) -> f32 {
        let mut left = uniform;
        let mut drawn = 0.0;
        for (weight, mean, deviation) in components(&self.dwells[place]) {
            drawn = mean + deviation * normal;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        // An hour is longer than any dwell, and keeps the number finite.
        drawn.min(15.0).exp().max(1.0)
    }
}

/// Weight, mean and standard deviation of ln ms.
fn components(values: &[f32; 3 * DWELL_COMPONENTS]) -> impl Iterator<Item = (f32, f32, f32)> {
    (0..DWELL_COMPONENTS).map(|k| {
        (
            values[k].exp(),
            DWELL_CENTRE + DWELL_SCALE * values[DWELL_COMPONENTS + k],
            DWELL_SCALE * values[2 * DWELL_COMPONENTS + k].exp(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One component of weight 1 at ln ms 5.6 with deviation 0.7.
    const PLAIN: [f32; 9] = [0.0, -90.0, -90.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];

    fn of(current: Option<usize>, logits: &[f32]) -> Prediction {
        Prediction::new(
            current,
            logits.len(),
            logits,
            0.0,
            &PLAIN.repeat(logits.len()),
        )
    }

    #[test]
    fn the_current_object_is_no_candidate() {
        // e^0 and e^ln3 make 1/4 and 3/4, whatever the current object's logit is.
        let found = of(Some(1), &[0.0, 50.0, 3f32.ln()]).log_probabilities(1.0);
        assert_eq!(found[0].0, 0);
        assert_eq!(found[1].0, 2);
        assert!((found[0].1.exp() - 0.25).abs() < 1e-6 && (found[1].1.exp() - 0.75).abs() < 1e-6);
    }

    #[test]
    fn a_single_candidate_is_certain() {
        assert_eq!(of(None, &[-3.0]).log_probabilities(1.0), [(0, 0.0)]);
        assert_eq!(of(Some(0), &[-3.0]).log_probabilities(1.0), []);
    }

    #[test]
    fn a_low_temperature_sharpens() {
        let found = of(None, &[0.0, 3f32.ln()]).log_probabilities(0.5);
        // 1 : 3 becomes 1 : 9.
        assert!((found[1].1.exp() - 0.9).abs() < 1e-6);
    }

    #[test]
    fn a_dwells_density_is_that_of_a_log_normal() {
        let prediction = of(None, &[0.0]);
        // At the median the density is 1 / (x s sqrt(2 pi)).
        let median = 5.6f32.exp();
        let expected = -(median * 0.7 * std::f32::consts::TAU.sqrt()).ln();
        assert!((prediction.dwell_log_density(0, median) - expected).abs() < 1e-4);
        assert!((prediction.expected_dwell_ms(0) - (5.6f32 + 0.245).exp()).abs() < 0.1);
        assert!((prediction.draw_dwell_ms(0, 0.5, 1.0) - 6.3f32.exp()).abs() < 0.1);
        let mass: f32 = (1..20_000)
            .map(|ms| prediction.dwell_log_density(0, ms as f32).exp())
            .sum();
        assert!((mass - 1.0).abs() < 1e-3, "{mass}");
    }
}
