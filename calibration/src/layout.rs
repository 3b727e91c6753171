//! Where the targets of a calibration are: which are left out together, how many places they cover.

use nalgebra::{SMatrix, SymmetricEigen};

use gaze_protocol::PointOfRegard;

use crate::grouping::Group;
use crate::screen::ScreenGeometry;

/// Targets nearer to the one left out than this share of the screen's diagonal are left out with
/// it: they would tell the answer.
const NEIGHBOUR_SHARE: f32 = 0.05;

/// Targets nearer to each other than this share of the screen's diagonal are one place: a tenth of
/// the screen tells little of its curvature or of a person's gains.
const PLACE_SHARE: f32 = 0.15;

/// Which targets are left out together: a target and its near neighbours, unless none would stay.
pub(crate) fn folds(groups: &[Group], screen: &ScreenGeometry) -> Vec<Vec<usize>> {
    let radius_mm = NEIGHBOUR_SHARE * screen.width_mm().hypot(screen.height_mm());
    (0..groups.len())
        .map(|index| {
            let here = groups[index].target;
            let mut fold = vec![index];
            fold.extend((0..groups.len()).filter(|&other| {
                let there = groups[other].target;
                other != index && (here.x_mm - there.x_mm).hypot(here.y_mm - there.y_mm) < radius_mm
            }));
            if fold.len() == groups.len() {
                fold.truncate(1);
            }
            fold
        })
        .collect()
}

/// How many places of the screen the targets cover.
pub(crate) fn n_places(groups: &[Group], screen: &ScreenGeometry) -> usize {
    let radius_mm = PLACE_SHARE * screen.width_mm().hypot(screen.height_mm());
    let mut places: Vec<PointOfRegard> = Vec::new();
    for group in groups {
        let here = group.target;
        let is_new = places
            .iter()
            .all(|there| (here.x_mm - there.x_mm).hypot(here.y_mm - there.y_mm) >= radius_mm);
        if is_new {
            places.push(here);
        }
    }
    places.len()
}

/// Standard deviation of the target directions in their narrow direction, degrees.
pub(crate) fn layout_spread_deg(groups: &[Group]) -> f32 {
    let goals: Vec<SMatrix<f64, 2, 1>> = groups
        .iter()
        .map(|group| {
            group.kept[0]
                .sight
                .tangent_to(group.target)
                .map(f64::from)
                .into()
        })
        .collect();
    let n = goals.len() as f64;
    let mean = goals.iter().sum::<SMatrix<f64, 2, 1>>() / n;
    let covariance: SMatrix<f64, 2, 2> = goals
        .iter()
        .map(|goal| (goal - mean) * (goal - mean).transpose() / n)
        .sum();
    let narrow = SymmetricEigen::new(covariance).eigenvalues.min().max(0.0);
    narrow.sqrt().atan().to_degrees() as f32
}
