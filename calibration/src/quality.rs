//! How good a calibration is: accuracy, precision, data loss.
//!
//! The estimators are those of ETDQualitizer 1.2.0 on Fick angles (azimuth to the observer's right,
//! elevation up, as seen from the eye, relative to the screen's normal):
//!
//! - accuracy: the angle between the mean gaze direction (mean of unit vectors) and the target;
//! - precision SD: √(sd² of azimuth + sd² of elevation), divisor n (`ddof = 0`);
//! - precision RMS-S2S: √(mean of squared steps between successive samples); a step next to a
//!   missing sample is left out;
//! - BCEA at P = 0.68, divisor n − 1 (`ddof = 1`);
//! - data loss: share of samples without gaze.

use gaze_protocol::PointOfRegard;
use serde::{Deserialize, Serialize};

use crate::error::CalibrationError;
use crate::fit::{MeanError, TargetSample};
use crate::grouping::{Group, Grouping, group_by_target};
use crate::model::CalibrationModel;
use crate::screen::{ScreenGeometry, Sight};

/// Share of samples inside the BCEA ellipse, as ETDQualitizer.
pub const BCEA_P: f64 = 0.68;

/// A direction as Fick angles, degrees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FickDeg {
    /// Azimuth, positive to the observer's right.
    pub azimuth: f64,
    /// Elevation, positive up.
    pub elevation: f64,
}

impl FickDeg {
    /// The direction of a tangent of [`Sight`] (screen x right, screen y down).
    pub fn from_tangent(tangent: [f32; 2]) -> Self {
        FickDeg::from_vector([f64::from(tangent[0]), -f64::from(tangent[1]), 1.0])
    }

    /// The direction of a line of gaze.
    pub fn of(sight: &Sight) -> Self {
        FickDeg::from_tangent(sight.tangent)
    }

    fn from_vector([x, y, z]: [f64; 3]) -> Self {
        FickDeg {
            azimuth: x.atan2(z).to_degrees(),
            elevation: y.atan2(x.hypot(z)).to_degrees(),
        }
    }

    fn to_vector(self) -> [f64; 3] {
        let (sin_a, cos_a) = self.azimuth.to_radians().sin_cos();
        let (sin_e, cos_e) = self.elevation.to_radians().sin_cos();
        [cos_e * sin_a, sin_e, cos_e * cos_a]
    }
}

/// Accuracy of the gaze on one target, degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AccuracyDeg {
    /// Angle between mean gaze and target.
    pub offset: f64,
    /// Its horizontal part, positive when gaze is right of the target.
    pub azimuth: f64,
    /// Its vertical part, positive when gaze is above the target.
    pub elevation: f64,
}

/// The angle between the mean gaze direction and the target; none without gaze.
pub fn accuracy(gaze: &[Option<FickDeg>], target: FickDeg) -> Option<AccuracyDeg> {
    let [gx, gy, gz] = mean_direction(gaze.iter().flatten().copied())?;
    let (sa, ca) = target.azimuth.to_radians().sin_cos();
    let (se, ce) = target.elevation.to_radians().sin_cos();
    let forward = sa * gx + ca * gz;
    let x = ca * gx - sa * gz;
    let y = ce * gy - se * forward;
    let z = se * gy + ce * forward;
    let relative = FickDeg::from_vector([x, y, z]);
    Some(AccuracyDeg {
        offset: x.hypot(y).atan2(z).to_degrees(),
        azimuth: relative.azimuth,
        elevation: relative.elevation,
    })
}

/// Precision as SD, degrees; none without gaze.
pub fn precision_sd_deg(gaze: &[Option<FickDeg>]) -> Option<f64> {
    let moments = Moments::of(gaze)?;
    Some(((moments.aa + moments.ee) / moments.n).sqrt())
}

/// Precision as RMS of sample-to-sample steps, degrees; none without two successive samples.
pub fn precision_rms_s2s_deg(gaze: &[Option<FickDeg>]) -> Option<f64> {
    let mut sum = 0.0;
    let mut n = 0.0;
    for pair in gaze.windows(2) {
        if let [Some(a), Some(b)] = pair {
            sum += (b.azimuth - a.azimuth).powi(2) + (b.elevation - a.elevation).powi(2);
            n += 1.0;
        }
    }
    (n > 0.0).then(|| (sum / n).sqrt())
}

/// Area of the bivariate contour ellipse at P = 0.68, square degrees; none below three samples or
/// without spread along both axes.
pub fn bcea_deg2(gaze: &[Option<FickDeg>]) -> Option<f64> {
    let moments = Moments::of(gaze)?;
    if moments.n < 3.0 || moments.aa <= 0.0 || moments.ee <= 0.0 {
        return None;
    }
    let k = (1.0 / (1.0 - BCEA_P)).ln();
    // 2 k π sx sy √(1 − ρ²) = 2 k π √(det of the covariance)
    let det = (moments.aa * moments.ee - moments.ae * moments.ae).max(0.0);
    Some(2.0 * k * std::f64::consts::PI * det.sqrt() / (moments.n - 1.0))
}

/// Share of samples without gaze, 0 to 1; none without samples.
pub fn data_loss(gaze: &[Option<FickDeg>]) -> Option<f64> {
    let lost = gaze.iter().filter(|direction| direction.is_none()).count();
    (!gaze.is_empty()).then(|| lost as f64 / gaze.len() as f64)
}

/// The unit vector of the mean of directions.
pub(crate) fn mean_direction(directions: impl Iterator<Item = FickDeg>) -> Option<[f64; 3]> {
    let mut sum = [0.0; 3];
    for direction in directions {
        for (total, part) in sum.iter_mut().zip(direction.to_vector()) {
            *total += part;
        }
    }
    let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
    (norm > 0.0).then(|| sum.map(|x| x / norm))
}

/// The mean of directions as Fick angles.
pub(crate) fn mean_fick(directions: impl Iterator<Item = FickDeg>) -> Option<FickDeg> {
    mean_direction(directions).map(FickDeg::from_vector)
}

/// Centred second moments of azimuth and elevation (sums, not divided).
struct Moments {
    n: f64,
    aa: f64,
    ee: f64,
    ae: f64,
}

impl Moments {
    fn of(gaze: &[Option<FickDeg>]) -> Option<Moments> {
        let valid = || gaze.iter().flatten();
        let n = valid().count() as f64;
        if n == 0.0 {
            return None;
        }
        let mean_a = valid().map(|g| g.azimuth).sum::<f64>() / n;
        let mean_e = valid().map(|g| g.elevation).sum::<f64>() / n;
        let mut moments = Moments {
            n,
            aa: 0.0,
            ee: 0.0,
            ae: 0.0,
        };
        for g in valid() {
            let (a, e) = (g.azimuth - mean_a, g.elevation - mean_e);
            moments.aa += a * a;
            moments.ee += e * e;
            moments.ae += a * e;
        }
        Some(moments)
    }
}

/// How good the gaze is: on one target, or as the mean over targets.
///
/// In a fit, accuracy and error come from models that have not seen the target they are measured
/// on; with one target there is no such number and they are none. Kind and strengths were chosen by
/// the same errors, so they flatter: a validation ([`judge`]) does not, and wins where there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measures {
    /// Samples used.
    pub n_used: usize,
    /// Samples without gaze: closed eyes, no face.
    pub n_lost: usize,
    /// Samples with gaze that were not used: the eye was elsewhere, or its line misses the screen.
    pub n_rejected: usize,
    /// [`accuracy`], deg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_deg: Option<f32>,
    /// The same on the screen: distance between mean gaze and target, mm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_mm: Option<f32>,
    /// Its horizontal part, positive when gaze is right of the target, deg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azimuth_deg: Option<f32>,
    /// Its vertical part, positive when gaze is above the target, deg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elevation_deg: Option<f32>,
    /// Mean angle between sample and target, deg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_deg: Option<f32>,
    /// Mean distance between sample and target, mm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_mm: Option<f32>,
    /// [`precision_sd_deg`]; none below two samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision_sd_deg: Option<f32>,
    /// The same on the screen: root mean square of the distances from the mean point, mm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision_sd_mm: Option<f32>,
    /// [`precision_rms_s2s_deg`]; none without two successive samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision_rms_s2s_deg: Option<f32>,
    /// [`bcea_deg2`]; none below three samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bcea_deg2: Option<f32>,
}

/// The quality of the gaze on one target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetQuality {
    /// Where the target was.
    pub target: PointOfRegard,
    /// Mean point of regard on it, where gaze was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gaze: Option<PointOfRegard>,
    /// Mean place of the eyes, camera axes, mm, where gaze was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eyes_mm: Option<[f32; 3]>,
    /// How good.
    pub measures: Measures,
}

/// The quality of a calibration, as reports and profiles state it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Counts over all targets, means over the targets that have the number.
    pub all: Measures,
    /// One entry for each target that has a sample kept, in the order first shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetQuality>,
}

impl Measures {
    /// Samples given, lost and rejected ones included.
    pub fn n_samples(&self) -> usize {
        self.n_used + self.n_lost + self.n_rejected
    }

    /// Share of samples without gaze, 0 to 1; none without samples.
    pub fn data_loss(&self) -> Option<f32> {
        let n = self.n_samples();
        (n > 0).then(|| self.n_lost as f32 / n as f32)
    }

    fn numbers(&self) -> [(&'static str, Option<f32>); 10] {
        [
            ("accuracy_deg", self.accuracy_deg),
            ("accuracy_mm", self.accuracy_mm),
            ("azimuth_deg", self.azimuth_deg),
            ("elevation_deg", self.elevation_deg),
            ("error_deg", self.error_deg),
            ("error_mm", self.error_mm),
            ("precision_sd_deg", self.precision_sd_deg),
            ("precision_sd_mm", self.precision_sd_mm),
            ("precision_rms_s2s_deg", self.precision_rms_s2s_deg),
            ("bcea_deg2", self.bcea_deg2),
        ]
    }
}

impl Quality {
    /// The quality over these targets: counts are added, numbers averaged over the targets that
    /// have them. Azimuth and elevation of the whole are the mean bias.
    pub fn over(targets: Vec<TargetQuality>) -> Self {
        let each = || targets.iter().map(|target| &target.measures);
        let mean = |number: fn(&Measures) -> Option<f32>| mean_known(each().map(number));
        let all = Measures {
            n_used: each().map(|measures| measures.n_used).sum(),
            n_lost: each().map(|measures| measures.n_lost).sum(),
            n_rejected: each().map(|measures| measures.n_rejected).sum(),
            accuracy_deg: mean(|m| m.accuracy_deg),
            accuracy_mm: mean(|m| m.accuracy_mm),
            azimuth_deg: mean(|m| m.azimuth_deg),
            elevation_deg: mean(|m| m.elevation_deg),
            error_deg: mean(|m| m.error_deg),
            error_mm: mean(|m| m.error_mm),
            precision_sd_deg: mean(|m| m.precision_sd_deg),
            precision_sd_mm: mean(|m| m.precision_sd_mm),
            precision_rms_s2s_deg: mean(|m| m.precision_rms_s2s_deg),
            bcea_deg2: mean(|m| m.bcea_deg2),
        };
        Quality { all, targets }
    }

    /// The name of the first number that is not finite, if there is one.
    pub fn non_finite(&self) -> Option<&'static str> {
        let points = self.targets.iter().flat_map(|target| {
            let eyes = target.eyes_mm.iter().flatten();
            [target.target.x_mm, target.target.y_mm]
                .into_iter()
                .chain(target.gaze.iter().flat_map(|gaze| [gaze.x_mm, gaze.y_mm]))
                .chain(eyes.copied())
                .map(|number| ("target", Some(number)))
        });
        let measures = self.targets.iter().map(|target| &target.measures);
        std::iter::once(&self.all)
            .chain(measures)
            .flat_map(Measures::numbers)
            .chain(points)
            .find(|(_, number)| number.is_some_and(|x| !x.is_finite()))
            .map(|(name, _)| name)
    }
}

/// The mean of what is known; none when nothing is.
fn mean_known(numbers: impl Iterator<Item = Option<f32>>) -> Option<f32> {
    let (mut sum, mut n) = (0.0, 0.0);
    for number in numbers.flatten() {
        sum += number;
        n += 1.0;
    }
    (n > 0.0).then(|| sum / n)
}

/// The quality of a model on targets that were not used to fit it.
///
/// Samples whose line of gaze misses the screen plane are rejected; none for being far from the
/// target.
///
/// # Errors
/// [`CalibrationError`]: no samples, none with gaze, a number that is not finite.
pub fn judge(
    samples: &[TargetSample],
    model: &CalibrationModel,
    screen: &ScreenGeometry,
) -> Result<Quality, CalibrationError> {
    let groups = group_by_target(samples, screen, &Grouping::UNREJECTED)?;
    let targets: Vec<TargetQuality> = groups
        .iter()
        .filter(|group| !group.kept.is_empty())
        .map(|group| {
            let tangents: Vec<[f32; 2]> = group
                .kept
                .iter()
                .map(|kept| model.correct(&kept.sight, &kept.input).tangent)
                .collect();
            quality_on(group, Some(&tangents), model)
        })
        .collect();
    if targets.is_empty() {
        let lost = |group: &Group| group.n_lost;
        return Err(CalibrationError::NoGaze {
            n_samples: samples.len(),
            n_lost: groups.iter().map(lost).sum(),
            n_rejected: groups.iter().map(|group| group.n_rejected).sum(),
        });
    }
    Ok(Quality::over(targets))
}

/// Quality on one target: accuracy and error of the tangents given (by a model that has not seen
/// the target), precision and place of gaze by `model`.
pub(crate) fn quality_on(
    group: &Group,
    unseen: Option<&[[f32; 2]]>,
    model: &CalibrationModel,
) -> TargetQuality {
    let n = group.kept.len() as f32;
    let goals = group
        .kept
        .iter()
        .map(|kept| FickDeg::from_tangent(kept.sight.tangent_to(kept.target)));
    let accuracy = unseen.and_then(|tangents| {
        let gaze: Vec<_> = tangents
            .iter()
            .map(|&tangent| Some(FickDeg::from_tangent(tangent)))
            .collect();
        accuracy(&gaze, mean_fick(goals)?)
    });
    let error = unseen.map(|tangents| mean_of(&errors_of(group, tangents)));
    let gaze = group.in_order(|kept| FickDeg::of(&model.correct(&kept.sight, &kept.input)));
    let mean = |part: fn(&PointOfRegard) -> f32| {
        let sum: f32 = group
            .kept
            .iter()
            .zip(unseen.into_iter().flatten())
            .map(|(kept, &tangent)| {
                part(
                    &Sight {
                        tangent,
                        ..kept.sight
                    }
                    .point_of_regard(),
                )
            })
            .sum();
        sum / n
    };
    let eye = |axis: usize| {
        let sum: f32 = group
            .kept
            .iter()
            .map(|kept| kept.input.origin_mm[axis])
            .sum();
        sum / n
    };
    let narrow = |number: Option<f64>| number.map(|x| x as f32);
    let mean_gaze = (unseen.is_some() && n > 0.0).then(|| PointOfRegard {
        x_mm: mean(|por| por.x_mm),
        y_mm: mean(|por| por.y_mm),
    });
    let points = group
        .kept
        .iter()
        .map(|kept| model.correct(&kept.sight, &kept.input).point_of_regard());
    TargetQuality {
        target: group.target,
        gaze: mean_gaze,
        eyes_mm: (n > 0.0).then(|| [0, 1, 2].map(eye)),
        measures: Measures {
            n_used: group.kept.len(),
            n_lost: group.n_lost,
            n_rejected: group.n_rejected,
            accuracy_deg: accuracy.map(|accuracy| accuracy.offset as f32),
            accuracy_mm: mean_gaze.map(|gaze| distance_mm(gaze, group.target)),
            azimuth_deg: accuracy.map(|accuracy| accuracy.azimuth as f32),
            elevation_deg: accuracy.map(|accuracy| accuracy.elevation as f32),
            error_deg: error.map(|error| error.deg),
            error_mm: error.map(|error| error.mm),
            precision_sd_deg: narrow(precision_sd_deg(&gaze).filter(|_| group.kept.len() > 1)),
            precision_sd_mm: precision_sd_mm(points),
            precision_rms_s2s_deg: narrow(precision_rms_s2s_deg(&gaze)),
            bcea_deg2: narrow(bcea_deg2(&gaze)),
        },
    }
}

fn distance_mm(a: PointOfRegard, b: PointOfRegard) -> f32 {
    (a.x_mm - b.x_mm).hypot(a.y_mm - b.y_mm)
}

/// Root mean square of the distances from the mean point, mm; none below two points.
fn precision_sd_mm(points: impl ExactSizeIterator<Item = PointOfRegard> + Clone) -> Option<f32> {
    let n = points.len() as f32;
    let mean = |part: fn(&PointOfRegard) -> f32| points.clone().map(|p| part(&p)).sum::<f32>() / n;
    let middle = PointOfRegard {
        x_mm: mean(|p| p.x_mm),
        y_mm: mean(|p| p.y_mm),
    };
    let squares = points.map(|point| distance_mm(point, middle).powi(2));
    (n > 1.0).then(|| (squares.sum::<f32>() / n).sqrt())
}

/// The errors of a target's samples whose corrected tangents are given.
pub(crate) fn errors_of(group: &Group, tangents: &[[f32; 2]]) -> Vec<MeanError> {
    group
        .kept
        .iter()
        .zip(tangents)
        .map(|(kept, &tangent)| {
            let goal = kept.sight.tangent_to(kept.target).map(f64::from);
            let tangent = tangent.map(f64::from);
            let apart = (tangent[0] - goal[0]).hypot(tangent[1] - goal[1]);
            // |a × b| and a · b of (tx, ty, 1) and (gx, gy, 1).
            let cross = apart.hypot(tangent[0] * goal[1] - tangent[1] * goal[0]);
            let dot = tangent[0] * goal[0] + tangent[1] * goal[1] + 1.0;
            MeanError {
                mm: (f64::from(kept.sight.distance_mm) * apart) as f32,
                deg: cross.atan2(dot).to_degrees() as f32,
            }
        })
        .collect()
}

pub(crate) fn mean_of(errors: &[MeanError]) -> MeanError {
    let n = errors.len() as f32;
    MeanError {
        mm: errors.iter().map(|error| error.mm).sum::<f32>() / n,
        deg: errors.iter().map(|error| error.deg).sum::<f32>() / n,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaze(pairs: &[(f64, f64)]) -> Vec<Option<FickDeg>> {
        pairs
            .iter()
            .map(|&(azimuth, elevation)| {
                azimuth
                    .is_finite()
                    .then_some(FickDeg { azimuth, elevation })
            })
            .collect()
    }

    #[test]
    fn spread_on_the_screen_is_the_root_mean_square_distance_from_the_middle() {
        let points = [(0.0, 0.0), (6.0, 0.0), (0.0, 8.0), (6.0, 8.0)];
        let points = points.map(|(x_mm, y_mm)| PointOfRegard { x_mm, y_mm });
        // Each is 5 mm from (3, 4).
        assert_eq!(precision_sd_mm(points.into_iter()), Some(5.0));
        assert_eq!(precision_sd_mm(points.into_iter().take(1)), None);
    }

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9 /* f64, degrees */
    }

    /// One target of `golden/quality.json`.
    #[derive(serde::Deserialize)]
    struct Golden {
        target: [f64; 2],
        samples: Vec<Option<[f64; 2]>>,
        accuracy: [f64; 3],
        sd: f64,
        rms_s2s: f64,
        bcea: f64,
        data_loss_percent: f64,
    }

    #[derive(serde::Deserialize)]
    struct GoldenFile {
        version: String,
        cases: Vec<Golden>,
    }

    /// What ETDQualitizer 1.2.0 says of random samples; written by `golden/make_quality.py`.
    #[test]
    fn all_measures_agree_with_etdqualitizer() {
        let file: GoldenFile =
            serde_json::from_str(include_str!("../golden/quality.json")).unwrap();
        assert_eq!(file.version, "1.2.0");
        assert!(file.cases.len() >= 20);
        for case in file.cases {
            let fick = |[azimuth, elevation]: [f64; 2]| FickDeg { azimuth, elevation };
            let gaze: Vec<_> = case.samples.iter().map(|sample| sample.map(fick)).collect();
            let found = accuracy(&gaze, fick(case.target)).unwrap();
            for (found, expected) in [
                (found.offset, case.accuracy[0]),
                (found.azimuth, case.accuracy[1]),
                (found.elevation, case.accuracy[2]),
                (precision_sd_deg(&gaze).unwrap(), case.sd),
                (precision_rms_s2s_deg(&gaze).unwrap(), case.rms_s2s),
                (bcea_deg2(&gaze).unwrap(), case.bcea),
                (100.0 * data_loss(&gaze).unwrap(), case.data_loss_percent),
            ] {
                assert!(close(found, expected), "{found} for {expected}");
            }
        }
    }

    #[test]
    fn what_cannot_be_measured_is_none() {
        let lost = gaze(&[(f64::NAN, 0.0), (f64::NAN, 0.0)]);
        assert_eq!(accuracy(&lost, FickDeg::default()), None);
        assert_eq!(precision_sd_deg(&lost), None);
        assert_eq!(bcea_deg2(&lost), None);
        assert_eq!(data_loss(&lost), Some(1.0));
        assert_eq!(data_loss(&[]), None);
        assert_eq!(Measures::default().data_loss(), None);
        let apart = gaze(&[(1.0, 1.0), (f64::NAN, 0.0), (2.0, 1.0)]);
        assert_eq!(precision_rms_s2s_deg(&apart), None);
        // All on one line: no area.
        assert_eq!(
            bcea_deg2(&gaze(&[(1.0, 0.0), (2.0, 0.0), (4.0, 0.0)])),
            None
        );
    }

    #[test]
    fn a_tangent_to_the_right_and_down_is_positive_azimuth_and_negative_elevation() {
        let direction = FickDeg::from_tangent([1.0, 1.0]);
        // atan 1 = 45°, −atan(1 / √2) = −35.2644°
        assert!((direction.azimuth - 45.0).abs() < 1e-9);
        assert!((direction.elevation + 35.264_389_682_754_65).abs() < 1e-9);
    }
}
