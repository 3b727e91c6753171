//! The correction a profile holds: a small map on the geometric line of gaze.

use gaze_protocol::{GazeAngles, PointOfRegard};
use serde::{Deserialize, Serialize};

use crate::screen::{ScreenGeometry, Sight};

/// Numbers in [`CalibrationInput::features`].
pub const N_FEATURES: usize = 12;

/// What the vision stage knows of one frame, as calibration takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationInput {
    /// Direction of gaze before calibration, camera axes.
    pub angles: GazeAngles,
    /// Where the line of gaze starts, camera axes, mm.
    pub origin_mm: [f32; 3],
    /// Head: positive towards the observer's left, rad.
    pub head_yaw_rad: f32,
    /// Head: positive up, rad.
    pub head_pitch_rad: f32,
    /// Head: positive clockwise in the picture, rad.
    pub head_roll_rad: f32,
    /// The gaze network's features.
    pub features: [f32; N_FEATURES],
    /// Standard deviation per axis that the network states, rad; 0 when it states none.
    pub sigma_rad: f32,
}

impl CalibrationInput {
    /// The name of the first part that is not a finite number, if there is one.
    pub fn non_finite(&self) -> Option<&'static str> {
        let parts: [(&'static str, &[f32]); 5] = [
            ("gaze", &[self.angles.yaw_rad, self.angles.pitch_rad]),
            ("origin", &self.origin_mm),
            (
                "head",
                &[self.head_yaw_rad, self.head_pitch_rad, self.head_roll_rad],
            ),
            ("features", &self.features),
            ("sigma", &[self.sigma_rad]),
        ];
        parts
            .into_iter()
            .find(|(_, numbers)| numbers.iter().any(|x| !x.is_finite()))
            .map(|(name, _)| name)
    }
}

/// What a person's gains are before anything is known of them: screen x, then y.
///
/// Networks see less of a turn than there is, above all up and down, where lids hide the eye. On
/// three real people (README) the gains that undo it are 1.0 to 1.4 across and 1.0 to 2.2 down; the
/// prior lies near the cautious end, so that nobody is overdone.
pub const PRIOR_GAIN: [f32; 2] = [1.1, 1.3];

/// With fewer places than this, leaving one out leaves too little to judge by: strengths and kind
/// are then supposed, not chosen.
pub const FEW_PLACES: usize = 6;

/// The kinds of model, simplest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// The same angle is added everywhere, with the gains of [`PRIOR_GAIN`].
    Offset,
    /// The person's own gains and cross-talk of the two axes as well.
    Affine,
    /// Curvature as well.
    Quadratic,
    /// An affine map, and the network's own features.
    Features,
}

impl ModelKind {
    /// All kinds, simplest first.
    pub const ALL: [ModelKind; 4] = [
        ModelKind::Offset,
        ModelKind::Affine,
        ModelKind::Quadratic,
        ModelKind::Features,
    ];

    /// The least number of places on the screen that it can be fitted to.
    pub const fn min_targets(self) -> usize {
        match self {
            ModelKind::Offset => 1,
            ModelKind::Affine => 3,
            ModelKind::Quadratic | ModelKind::Features => FEW_PLACES,
        }
    }

    /// Its name in files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            ModelKind::Offset => "offset",
            ModelKind::Affine => "affine",
            ModelKind::Quadratic => "quadratic",
            ModelKind::Features => "features",
        }
    }
}

impl std::fmt::Display for ModelKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A person's correction of the geometric line of gaze.
///
/// It maps the tangents of [`Sight`] — the direction of gaze in the screen's axes — and leaves the
/// eye's foot point and distance as they are: kappa and the network's bias and gain belong to the
/// eye and turn with it, so the correction holds when the head moves. Where left-out targets show
/// that the network mistakes a turn of the head for a turn of the eye, a [`HeadTerm`] takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CalibrationModel {
    /// `gain · t + shift`, the gains not the person's own
    Offset(Offset),
    /// `gain · t + shift`, and the head's part
    Affine(Affine),
    /// `gain · t + shift + curvature · (zx², zx zy, zy²)`, and the head's part
    Quadratic(Quadratic),
    /// `gain · t + shift + weights · features`, and the head's part
    Features(Features),
}

/// What a turn of the head adds: `gain · (yaw, pitch)`, each standardised and held within ±reach,
/// so that a head turned further than in the fit adds no more than it did there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadTerm {
    /// For screen x, then y.
    pub gain: [[f32; 2]; 2],
    /// Mean yaw and pitch in the fit, rad.
    pub centre_rad: [f32; 2],
    /// Standard deviation of yaw and pitch in the fit, at least 2°, rad.
    pub spread_rad: [f32; 2],
    /// Largest standardised |yaw| and |pitch| in the fit; positive.
    pub reach: [f32; 2],
}

impl HeadTerm {
    fn shift(&self, input: &CalibrationInput) -> [f32; 2] {
        let head = [input.head_yaw_rad, input.head_pitch_rad];
        let h = [0, 1].map(|axis| {
            ((head[axis] - self.centre_rad[axis]) / self.spread_rad[axis])
                .clamp(-self.reach[axis], self.reach[axis])
        });
        self.gain.map(|[yaw, pitch]| yaw * h[0] + pitch * h[1])
    }
}

/// `t' = gain · t + shift` by axis.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offset {
    /// Added to the tangent along screen x and y.
    pub shift: [f32; 2],
    /// Along screen x and y; [`PRIOR_GAIN`] in a fit.
    pub gain: [f32; 2],
}

/// `t' = gain · t + shift`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affine {
    /// Added to the tangent along screen x and y.
    pub shift: [f32; 2],
    /// Row by row; the identity for a perfect network.
    pub gain: [[f32; 2]; 2],
    /// What a turn of the head adds, where it was found to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadTerm>,
}

/// `t' = gain · t + shift + curvature · (zx², zx zy, zy²)`, z = (t − centre) / spread held within
/// ±reach: beyond the targets seen in the fit the map goes on as a straight one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quadratic {
    /// Added to the tangent along screen x and y.
    pub shift: [f32; 2],
    /// Row by row.
    pub gain: [[f32; 2]; 2],
    /// For screen x, then y.
    pub curvature: [[f32; 3]; 2],
    /// Mean tangent in the fit.
    pub centre: [f32; 2],
    /// Standard deviation of the tangents in the fit; positive.
    pub spread: [f32; 2],
    /// Largest |z| in the fit; positive.
    pub reach: [f32; 2],
    /// What a turn of the head adds, where it was found to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadTerm>,
}

/// `t' = gain · t + shift + weights · z`, z the network's features standardised and held within
/// what the fit saw, so that an odd picture adds no more than a picture of the fit did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// Added to the tangent along screen x and y.
    pub shift: [f32; 2],
    /// Row by row.
    pub gain: [[f32; 2]; 2],
    /// For screen x, then y.
    pub weights: [[f32; N_FEATURES]; 2],
    /// Mean features in the fit.
    pub centre: [f32; N_FEATURES],
    /// Standard deviation of the features in the fit; positive.
    pub spread: [f32; N_FEATURES],
    /// Largest |z| in the fit; positive.
    pub reach: [f32; N_FEATURES],
    /// What a turn of the head adds, where it was found to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadTerm>,
}

impl Features {
    fn shift_of(&self, features: &[f32; N_FEATURES]) -> [f32; 2] {
        let z: [f32; N_FEATURES] = std::array::from_fn(|i| {
            ((features[i] - self.centre[i]) / self.spread[i]).clamp(-self.reach[i], self.reach[i])
        });
        self.weights
            .map(|weights| weights.iter().zip(&z).map(|(weight, z)| weight * z).sum())
    }
}

impl CalibrationModel {
    /// The model that changes nothing.
    pub const IDENTITY: CalibrationModel = CalibrationModel::Offset(Offset {
        shift: [0.0; 2],
        gain: [1.0; 2],
    });

    /// Which kind it is.
    pub fn kind(&self) -> ModelKind {
        match self {
            CalibrationModel::Offset(_) => ModelKind::Offset,
            CalibrationModel::Affine(_) => ModelKind::Affine,
            CalibrationModel::Quadratic(_) => ModelKind::Quadratic,
            CalibrationModel::Features(_) => ModelKind::Features,
        }
    }

    /// The corrected point of regard; none when the line of gaze misses the screen plane.
    ///
    /// Allocation-free.
    pub fn predict(
        &self,
        input: &CalibrationInput,
        screen: &ScreenGeometry,
    ) -> Option<PointOfRegard> {
        let sight = screen.sight(input.origin_mm, input.angles)?;
        let point = self.correct(&sight, input).point_of_regard();
        (point.x_mm.is_finite() && point.y_mm.is_finite()).then_some(point)
    }

    /// The corrected line of gaze of the same eye; `input` is what `sight` was seen from.
    pub fn correct(&self, sight: &Sight, input: &CalibrationInput) -> Sight {
        let [mut x, mut y] = self.map(sight.tangent);
        if let CalibrationModel::Features(model) = self {
            let [dx, dy] = model.shift_of(&input.features);
            (x, y) = (x + dx, y + dy);
        }
        let [dx, dy] = self.head().map_or([0.0; 2], |head| head.shift(input));
        Sight {
            tangent: [x + dx, y + dy],
            ..*sight
        }
    }

    /// The same model with a tangent added to all it gives: what recentring changes.
    pub fn shifted(&self, by: [f32; 2]) -> CalibrationModel {
        let mut moved = *self;
        let shift = match &mut moved {
            CalibrationModel::Offset(model) => &mut model.shift,
            CalibrationModel::Affine(model) => &mut model.shift,
            CalibrationModel::Quadratic(model) => &mut model.shift,
            CalibrationModel::Features(model) => &mut model.shift,
        };
        *shift = [shift[0] + by[0], shift[1] + by[1]];
        moved
    }

    /// The head's part.
    pub fn head(&self) -> Option<&HeadTerm> {
        match self {
            CalibrationModel::Offset(_) => None,
            CalibrationModel::Affine(model) => model.head.as_ref(),
            CalibrationModel::Quadratic(model) => model.head.as_ref(),
            CalibrationModel::Features(model) => model.head.as_ref(),
        }
    }

    /// The corrected tangent, without the head's part.
    fn map(&self, t: [f32; 2]) -> [f32; 2] {
        match self {
            CalibrationModel::Offset(Offset { shift, gain }) => {
                [gain[0] * t[0] + shift[0], gain[1] * t[1] + shift[1]]
            }
            CalibrationModel::Affine(model) => straight(t, &model.shift, &model.gain),
            CalibrationModel::Features(model) => straight(t, &model.shift, &model.gain),
            CalibrationModel::Quadratic(model) => {
                let z = |axis: usize| {
                    ((t[axis] - model.centre[axis]) / model.spread[axis])
                        .clamp(-model.reach[axis], model.reach[axis])
                };
                let (zx, zy) = (z(0), z(1));
                let bend = |[xx, xy, yy]: [f32; 3]| xx * zx * zx + xy * zx * zy + yy * zy * zy;
                let [x, y] = straight(t, &model.shift, &model.gain);
                [x + bend(model.curvature[0]), y + bend(model.curvature[1])]
            }
        }
    }

    /// The name of the first parameter that cannot be: not finite, or a spread or reach that is
    /// not positive.
    pub fn bad_parameter(&self) -> Option<&'static str> {
        let bad = |numbers: &[f32]| numbers.iter().any(|x| !x.is_finite());
        let no_size = |numbers: &[f32]| numbers.iter().any(|x| !x.is_finite() || *x <= 0.0);
        let (shift, gain, quadratic) = match self {
            CalibrationModel::Offset(Offset { shift, gain }) => {
                if bad(gain) {
                    return Some("gain");
                }
                (shift, None, None)
            }
            CalibrationModel::Affine(model) => (&model.shift, Some(&model.gain), None),
            CalibrationModel::Quadratic(model) => (&model.shift, Some(&model.gain), Some(model)),
            CalibrationModel::Features(model) => (&model.shift, Some(&model.gain), None),
        };
        if bad(shift) {
            return Some("shift");
        }
        if gain.is_some_and(|gain| bad(gain.as_flattened())) {
            return Some("gain");
        }
        if let Some(head) = self.head()
            && (bad(head.gain.as_flattened())
                || bad(&head.centre_rad)
                || no_size(&head.spread_rad)
                || no_size(&head.reach))
        {
            return Some("head");
        }
        if let CalibrationModel::Features(model) = self
            && (bad(model.weights.as_flattened())
                || bad(&model.centre)
                || no_size(&model.spread)
                || no_size(&model.reach))
        {
            return Some("features");
        }
        let model = quadratic?;
        if bad(model.curvature.as_flattened()) {
            Some("curvature")
        } else if bad(&model.centre) {
            Some("centre")
        } else if no_size(&model.spread) {
            Some("spread")
        } else if no_size(&model.reach) {
            Some("reach")
        } else {
            None
        }
    }
}

fn straight(t: [f32; 2], shift: &[f32; 2], gain: &[[f32; 2]; 2]) -> [f32; 2] {
    [
        gain[0][0] * t[0] + gain[0][1] * t[1] + shift[0],
        gain[1][0] * t[0] + gain[1][1] * t[1] + shift[1],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen() -> ScreenGeometry {
        ScreenGeometry::new(531.0, 299.0).unwrap()
    }

    fn input(yaw_rad: f32, pitch_rad: f32) -> CalibrationInput {
        CalibrationInput {
            angles: GazeAngles { yaw_rad, pitch_rad },
            origin_mm: [0.0, 0.0, 600.0],
            head_yaw_rad: 0.0,
            head_pitch_rad: 0.0,
            head_roll_rad: 0.0,
            features: [0.0; N_FEATURES],
            sigma_rad: 0.05,
        }
    }

    #[test]
    fn the_identity_is_the_geometric_point_of_regard() {
        let here = input(-0.2, -0.1);
        assert_eq!(
            CalibrationModel::IDENTITY.predict(&here, &screen()),
            screen().point_of_regard(here.origin_mm, here.angles)
        );
    }

    #[test]
    fn an_offset_moves_by_its_tangent_times_the_distance() {
        let model = CalibrationModel::Offset(Offset {
            shift: [0.05, -0.02],
            gain: [1.0; 2],
        });
        let por = model.predict(&input(0.0, 0.0), &screen()).unwrap();
        // 265.5 + 600 · 0.05, 0 − 600 · 0.02
        assert!((por.x_mm - 295.5).abs() < 1e-3);
        assert!((por.y_mm + 12.0).abs() < 1e-3);
    }

    #[test]
    fn a_correction_holds_when_the_head_comes_nearer() {
        let model = CalibrationModel::Offset(Offset {
            shift: [0.05, 0.0],
            gain: [1.0; 2],
        });
        let mut near = input(0.0, 0.0);
        near.origin_mm = [-40.0, 0.0, 400.0];
        // 265.5 + 40 + 400 · 0.05
        let por = model.predict(&near, &screen()).unwrap();
        assert!((por.x_mm - 325.5).abs() < 1e-3);
    }

    #[test]
    fn an_affine_model_turns_half_the_gain_into_the_whole() {
        let model = CalibrationModel::Affine(Affine {
            shift: [0.01, 0.0],
            gain: [[2.0, 0.0], [0.1, 3.0]],
            head: None,
        });
        let sight = Sight {
            foot: PointOfRegard {
                x_mm: 100.0,
                y_mm: 0.0,
            },
            distance_mm: 500.0,
            tangent: [0.1, 0.05],
        };
        let tangent = model.correct(&sight, &input(0.0, 0.0)).tangent;
        assert!((tangent[0] - 0.21).abs() < 1e-6);
        assert!((tangent[1] - 0.16).abs() < 1e-6);
    }

    #[test]
    fn a_quadratic_model_is_straight_beyond_its_reach() {
        let model = CalibrationModel::Quadratic(Quadratic {
            shift: [0.0; 2],
            gain: [[1.0, 0.0], [0.0, 1.0]],
            curvature: [[0.01, 0.0, 0.0], [0.0, 0.02, 0.03]],
            centre: [0.1, 0.0],
            spread: [0.1, 0.2],
            reach: [2.0, 1.0],
            head: None,
        });
        // z = (1, 0.5): x' = 0.2 + 0.01, y' = 0.1 + 0.02 · 0.5 + 0.03 · 0.25
        let [x, y] = model.map([0.2, 0.1]);
        assert!((x - 0.21).abs() < 1e-6);
        assert!((y - 0.1175).abs() < 1e-6);
        // z = (2 of 9, 1 of 5): x' = 1 + 0.01 · 4, y' = 1 + 0.02 · 2 + 0.03
        let [x, y] = model.map([1.0, 1.0]);
        assert!((x - 1.04).abs() < 1e-6);
        assert!((y - 1.07).abs() < 1e-6);
    }

    #[test]
    fn a_head_turned_beyond_the_fit_adds_no_more() {
        let model = CalibrationModel::Affine(Affine {
            shift: [0.0; 2],
            gain: [[1.0, 0.0], [0.0, 1.0]],
            head: Some(HeadTerm {
                gain: [[0.02, 0.0], [0.0, -0.01]],
                centre_rad: [0.1, 0.0],
                spread_rad: [0.1, 0.05],
                reach: [2.0, 1.0],
            }),
        });
        let sight = screen().sight([0.0, 0.0, 600.0], GazeAngles::default());
        let mut turned = input(0.0, 0.0);
        turned.head_yaw_rad = 0.2;
        turned.head_pitch_rad = -0.025;
        // (0.02 · 1, −0.01 · −0.5)
        let [x, y] = model.correct(&sight.unwrap(), &turned).tangent;
        assert!((x - 0.02).abs() < 1e-6);
        assert!((y - 0.005).abs() < 1e-6);
        turned.head_yaw_rad = 0.9;
        turned.head_pitch_rad = -0.9;
        // (0.02 · 2, −0.01 · −1)
        let [x, y] = model.correct(&sight.unwrap(), &turned).tangent;
        assert!((x - 0.04).abs() < 1e-6);
        assert!((y - 0.01).abs() < 1e-6);
    }

    #[test]
    fn a_parameter_that_is_no_number_is_named() {
        assert_eq!(CalibrationModel::IDENTITY.bad_parameter(), None);
        let model = CalibrationModel::Affine(Affine {
            shift: [0.0; 2],
            gain: [[1.0, f32::NAN], [0.0, 1.0]],
            head: None,
        });
        assert_eq!(model.bad_parameter(), Some("gain"));
        let model = CalibrationModel::Quadratic(Quadratic {
            shift: [0.0; 2],
            gain: [[1.0, 0.0], [0.0, 1.0]],
            curvature: [[0.0; 3]; 2],
            centre: [0.0; 2],
            spread: [0.0, 1.0],
            reach: [1.0; 2],
            head: None,
        });
        assert_eq!(model.bad_parameter(), Some("spread"));
    }

    #[test]
    fn features_are_held_within_what_the_fit_saw() {
        let mut weights = [[0.0; N_FEATURES]; 2];
        weights[0][3] = 0.02;
        let model = CalibrationModel::Features(Features {
            shift: [0.01, 0.0],
            gain: [[1.0, 0.0], [0.0, 1.0]],
            weights,
            centre: [1.0; N_FEATURES],
            spread: [2.0; N_FEATURES],
            reach: [1.5; N_FEATURES],
            head: None,
        });
        let sight = screen()
            .sight([0.0, 0.0, 600.0], GazeAngles::default())
            .unwrap();
        let mut here = input(0.0, 0.0);
        here.features[3] = 3.0;
        // z = (3 − 1) / 2 = 1; then z = 5, held at 1.5.
        assert!((model.correct(&sight, &here).tangent[0] - 0.03).abs() < 1e-6);
        here.features[3] = 11.0;
        assert!((model.correct(&sight, &here).tangent[0] - 0.04).abs() < 1e-6);
        assert_eq!(model.bad_parameter(), None);
    }

    #[test]
    fn an_input_names_what_is_not_a_number() {
        assert_eq!(input(0.0, 0.0).non_finite(), None);
        assert_eq!(input(f32::NAN, 0.0).non_finite(), Some("gaze"));
    }

    #[test]
    fn gaze_away_from_the_screen_has_no_point_of_regard() {
        let away = input(std::f32::consts::PI, 0.0);
        assert_eq!(CalibrationModel::IDENTITY.predict(&away, &screen()), None);
    }
}
