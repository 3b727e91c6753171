//! Normal equations of a ridge regression whose parts are pulled with strengths of their own.

use nalgebra::SMatrix;

use crate::fit::Ridge;
use crate::grouping::{Group, Kept};
use crate::model::N_FEATURES;

/// Terms of the models on angles: 1, zx, zy, head yaw, head pitch, zx², zx zy, zy².
pub(crate) const TERMS: usize = 8;

/// Terms of the model on the network's features: those on angles, then the features.
pub(crate) const WIDE: usize = TERMS + N_FEATURES;

pub(crate) const GAIN: std::ops::Range<usize> = 1..3;
pub(crate) const HEAD: std::ops::Range<usize> = 3..5;
pub(crate) const CURVATURE: std::ops::Range<usize> = 5..8;
pub(crate) const FEATURES: std::ops::Range<usize> = TERMS..WIDE;

pub(crate) type Moment<const N: usize> = SMatrix<f64, N, 2>;
pub(crate) type Terms<const N: usize> = SMatrix<f64, N, 1>;

/// Normal equations of each target.
pub(crate) struct Sums<const N: usize> {
    pub by_target: Vec<Normal<N>>,
}

impl<const N: usize> Sums<N> {
    /// All targets; none without weight.
    pub(crate) fn total(&self) -> Option<Normal<N>> {
        let mut total = Normal::default();
        for target in &self.by_target {
            total.gram += target.gram;
            total.moment += target.moment;
        }
        (total.gram[(0, 0)] > 0.0).then_some(total)
    }
}

/// Normal equations.
#[derive(Clone)]
pub(crate) struct Normal<const N: usize> {
    pub gram: SMatrix<f64, N, N>,
    pub moment: Moment<N>,
}

impl<const N: usize> Default for Normal<N> {
    fn default() -> Self {
        Normal {
            gram: SMatrix::zeros(),
            moment: SMatrix::zeros(),
        }
    }
}

impl<const N: usize> Normal<N> {
    /// Ridge: the intercept is free, the other terms are pulled to 0 in proportion to the total
    /// weight. Terms that are not there come out as 0.
    pub(crate) fn solve(&self, ridge: &Ridge) -> Option<Moment<N>> {
        let weight = self.gram[(0, 0)];
        let mut gram = self.gram;
        let mut moment = self.moment;
        for (range, strength) in [
            (GAIN, ridge.gain),
            (HEAD, ridge.head),
            (CURVATURE, ridge.curvature),
            (FEATURES, ridge.features),
        ] {
            for term in range.filter(|term| *term < N) {
                if let Some(strength) = strength {
                    gram[(term, term)] += f64::from(strength) * weight;
                } else {
                    gram.row_mut(term).fill(0.0);
                    gram.column_mut(term).fill(0.0);
                    gram[(term, term)] = 1.0;
                    moment.row_mut(term).fill(0.0);
                }
            }
        }
        let solution = gram.cholesky()?.solve(&moment);
        solution.iter().all(|x| x.is_finite()).then_some(solution)
    }
}

/// Mean, standard deviation and reach of some inputs over targets that weigh the same.
pub(crate) struct Standard<const K: usize> {
    pub centre: [f64; K],
    /// Positive.
    pub spread: [f64; K],
    /// Largest standardised length on each axis; positive.
    pub reach: [f64; K],
}

impl<const K: usize> Standard<K> {
    pub(crate) fn of(
        groups: &[Group],
        least_spread: f64,
        input: impl Fn(&Kept) -> [f32; K],
    ) -> Self {
        let mut centre = [0.0; K];
        let mut squares = [0.0; K];
        let mut n = 0.0;
        for group in groups {
            let share = 1.0 / group.kept.len() as f64;
            n += 1.0;
            for kept in &group.kept {
                let x = input(kept).map(f64::from);
                for axis in 0..K {
                    centre[axis] += share * x[axis];
                    squares[axis] += share * x[axis] * x[axis];
                }
            }
        }
        let centre = centre.map(|sum| sum / n);
        let spread = std::array::from_fn(|axis| {
            let variance: f64 = squares[axis] / n - centre[axis] * centre[axis];
            // Rounding leaves up to 1e-16 of equal numbers. Without any spread the standardised
            // input is 0 for every sample; 1 keeps it so.
            let spread = if variance > 1e-14 {
                variance.sqrt()
            } else {
                1.0
            };
            spread.max(least_spread)
        });
        let mut standard = Standard {
            centre,
            spread,
            reach: [0.0; K],
        };
        for kept in groups.iter().flat_map(|group| &group.kept) {
            let z = standard.apply(input(kept));
            standard.reach = std::array::from_fn(|axis| standard.reach[axis].max(z[axis].abs()));
        }
        // An input that never moved has no term; any positive reach will do.
        standard.reach = standard.reach.map(|z| if z > 0.0 { z } else { 1.0 });
        standard
    }

    pub(crate) fn apply(&self, x: [f32; K]) -> [f64; K] {
        std::array::from_fn(|axis| (f64::from(x[axis]) - self.centre[axis]) / self.spread[axis])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two targets whose standardised x is −1 and 1 and which want −0.2 and 0.4 along x.
    fn two_targets() -> Sums<TERMS> {
        let by_target = [(-1.0, -0.2), (1.0, 0.4)]
            .map(|(zx, wanted)| {
                let mut terms = Terms::<TERMS>::zeros();
                terms[0] = 1.0;
                terms[1] = zx;
                Normal {
                    gram: terms * terms.transpose(),
                    moment: terms * SMatrix::<f64, 1, 2>::new(wanted, 0.0),
                }
            })
            .to_vec();
        Sums { by_target }
    }

    #[test]
    fn the_intercept_is_free_and_the_slope_is_pulled() {
        let total = two_targets().total().unwrap();
        let mut ridge = Ridge::default();
        let found = total.solve(&ridge).unwrap();
        assert!((found[(0, 0)] - 0.1).abs() < 1e-12);
        assert!(found[(1, 0)].abs() < 1e-12);
        // 0.3 of the data, 1 / (1 + 0.5) of it against the pull.
        ridge.gain = Some(0.5);
        let found = total.solve(&ridge).unwrap();
        assert!((found[(0, 0)] - 0.1).abs() < 1e-12);
        assert!((found[(1, 0)] - 0.2).abs() < 1e-12);
    }

    #[test]
    fn no_weight_is_no_solution() {
        let nothing = Sums {
            by_target: vec![Normal::<TERMS>::default()],
        };
        assert!(nothing.total().is_none());
    }
}
