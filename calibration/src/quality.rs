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

use crate::screen::Sight;

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

/// The quality of a calibration, as reports and profiles state it.
///
/// Accuracy and error come from models fitted without the target they are measured on; with one
/// target there is no such number and they are none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Distinct targets with at least one sample kept.
    pub n_targets: usize,
    /// Samples given, lost and rejected ones included.
    pub n_samples: usize,
    /// Samples without gaze: closed eyes, no face.
    pub n_lost: usize,
    /// Samples with gaze that were not used: the eye was elsewhere, or its line misses the screen.
    pub n_rejected: usize,
    /// `n_lost / n_samples`, 0 to 1.
    pub data_loss: f32,
    /// Leave-one-target-out: mean over targets of [`accuracy`], deg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_deg: Option<f32>,
    /// Leave-one-target-out: mean over targets of the mean angle between sample and target, deg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_deg: Option<f32>,
    /// Leave-one-target-out: mean over targets of the mean distance between sample and target, mm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_mm: Option<f32>,
    /// Mean over targets with two samples or more of [`precision_sd_deg`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision_sd_deg: Option<f32>,
    /// Mean over targets with two successive samples of [`precision_rms_s2s_deg`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision_rms_s2s_deg: Option<f32>,
    /// Mean over targets with three samples or more of [`bcea_deg2`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bcea_deg2: Option<f32>,
    /// One entry for each target that has a sample kept, in the order first shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetQuality>,
}

/// The quality of the gaze on one target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetQuality {
    /// Where the target was.
    pub target: PointOfRegard,
    /// Samples used.
    pub n_used: usize,
    /// Samples without gaze.
    pub n_lost: usize,
    /// Samples with gaze that were not used.
    pub n_rejected: usize,
    /// Leave-one-target-out: angle between mean gaze and target, deg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_deg: Option<f32>,
    /// Its horizontal part, positive when gaze is right of the target, deg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azimuth_deg: Option<f32>,
    /// Its vertical part, positive when gaze is above the target, deg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elevation_deg: Option<f32>,
    /// Leave-one-target-out: mean distance between sample and target, mm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_mm: Option<f32>,
    /// Precision SD, deg; none below two samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision_sd_deg: Option<f32>,
    /// Precision RMS-S2S, deg; none without two successive samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision_rms_s2s_deg: Option<f32>,
    /// BCEA at P = 0.68, square degrees; none below three samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bcea_deg2: Option<f32>,
}

impl Quality {
    /// The name of the first number that is not finite, if there is one.
    pub fn non_finite(&self) -> Option<&'static str> {
        let whole = [
            ("data_loss", Some(self.data_loss)),
            ("accuracy_deg", self.accuracy_deg),
            ("error_deg", self.error_deg),
            ("error_mm", self.error_mm),
            ("precision_sd_deg", self.precision_sd_deg),
            ("precision_rms_s2s_deg", self.precision_rms_s2s_deg),
            ("bcea_deg2", self.bcea_deg2),
        ];
        let each = self.targets.iter().flat_map(|target| {
            [
                ("target", Some(target.target.x_mm)),
                ("target", Some(target.target.y_mm)),
                ("accuracy_deg", target.accuracy_deg),
                ("azimuth_deg", target.azimuth_deg),
                ("elevation_deg", target.elevation_deg),
                ("error_mm", target.error_mm),
                ("precision_sd_deg", target.precision_sd_deg),
                ("precision_rms_s2s_deg", target.precision_rms_s2s_deg),
                ("bcea_deg2", target.bcea_deg2),
            ]
        });
        whole
            .into_iter()
            .chain(each)
            .find(|(_, number)| number.is_some_and(|x| !x.is_finite()))
            .map(|(name, _)| name)
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

    /// Six samples, the third missing.
    fn six() -> Vec<Option<FickDeg>> {
        gaze(&[
            (1.0, -2.0),
            (1.4, -2.3),
            (f64::NAN, f64::NAN),
            (0.7, -1.8),
            (1.1, -2.6),
            (1.9, -2.2),
        ])
    }

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9 /* f64, degrees */
    }

    /// Expected numbers: ETDQualitizer 1.2.0, `accuracy`, on the same samples.
    #[test]
    fn accuracy_agrees_with_etdqualitizer() {
        let target = |azimuth, elevation| FickDeg { azimuth, elevation };
        let near = accuracy(&six(), target(1.5, -2.5)).unwrap();
        assert!(close(near.offset, 0.425029138916081));
        assert!(close(near.azimuth, -0.27982981720099026));
        assert!(close(near.elevation, 0.31991538895048355));
        let far = gaze(&[(20.0, 12.0), (21.0, 11.0), (19.5, 13.0)]);
        let far = accuracy(&far, target(18.0, 14.0)).unwrap();
        assert!(close(far.offset, 2.9088047732444497));
        assert!(close(far.azimuth, 2.1223741639167883));
        assert!(close(far.elevation, -1.989593918523844));
    }

    /// Expected numbers: ETDQualitizer 1.2.0, `std`, `rms_s2s`, `bcea`, `data_loss_from_invalid`.
    #[test]
    fn precision_and_loss_agree_with_etdqualitizer() {
        assert!(close(precision_sd_deg(&six()).unwrap(), 0.4890807704254993));
        assert!(close(
            precision_rms_s2s_deg(&six()).unwrap(),
            0.7852812659593164
        ));
        assert!(close(bcea_deg2(&six()).unwrap(), 0.9045583972183905));
        assert!(close(data_loss(&six()).unwrap(), 0.16666666666666664));
    }

    #[test]
    fn what_cannot_be_measured_is_none() {
        let lost = gaze(&[(f64::NAN, 0.0), (f64::NAN, 0.0)]);
        assert_eq!(accuracy(&lost, FickDeg::default()), None);
        assert_eq!(precision_sd_deg(&lost), None);
        assert_eq!(bcea_deg2(&lost), None);
        assert_eq!(data_loss(&lost), Some(1.0));
        assert_eq!(data_loss(&[]), None);
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
