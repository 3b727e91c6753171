//! What came out of a session: the result that clients see, recentring, the path of pursuit.

use gaze_calibration::{
    CameraSetup, FitOptions, Fitting, MadeBy, MeanError, ModelKind, NetworkHashes, Profile,
    ScreenGeometry, TargetQuality, TargetSample, fit,
};
use gaze_protocol::{Span, Timestamp};

use super::{MAX_RECENTRING_TANGENT, Purpose, Session, SessionError, State, places, steady};
use crate::record::{CalibrationResult, TargetResult};

/// How far the eyes may lie behind a moving target: pursuit of a path that can be foreseen lies 0
/// to 150 ms behind, and frames another frame.
const LAGS_MS: [u64; 6] = [0, 40, 80, 120, 160, 220];

/// The samples of a moving target, each with the place that the eyes followed: of some lags the one
/// that a straight model fits best.
pub(super) fn along_path(
    seen: &[steady::Seen],
    from: Timestamp,
    to: Timestamp,
    screen: &ScreenGeometry,
) -> Vec<TargetSample> {
    let whole = to.since(from).as_us().max(1) as f32;
    let lagging = |lag_ms: u64| -> Vec<TargetSample> {
        seen.iter()
            // The first second goes by until the eyes follow.
            .filter(|seen| seen.at.since(from) > Span::from_ms(1000))
            .map(|seen| {
                let followed = seen.at - Span::from_ms(lag_ms);
                let share = followed.since(from).as_us() as f32 / whole;
                TargetSample {
                    seq: seen.seq,
                    target: screen.from_normalised(places::on_path(share)),
                    input: seen.input,
                }
            })
            .collect()
    };
    let options = FitOptions {
        kind: Some(ModelKind::Affine),
        is_pursuit: true,
        ..FitOptions::default()
    };
    let error = |samples: &[TargetSample]| {
        let report = fit(samples, screen, &options).ok()?;
        report.quality.all.error_mm
    };
    LAGS_MS
        .into_iter()
        .map(|lag_ms| {
            let samples = lagging(lag_ms);
            (error(&samples).unwrap_or(f32::INFINITY), samples)
        })
        .min_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, samples)| samples)
        .unwrap_or_default()
}

impl Session {
    /// The profile that the result makes with this camera and these networks.
    ///
    /// # Errors
    /// [`SessionError`] when there is no result, or none that can be kept.
    pub fn profile(
        &self,
        camera: CameraSetup,
        networks: NetworkHashes,
        present: Option<&Profile>,
        created_unix_s: u64,
    ) -> Result<Profile, SessionError> {
        if !matches!(self.state, State::Review) {
            return Err(SessionError::Moment {
                command: "accept",
                stage: self.stage(),
            });
        }
        self.can_accept()
            .map_err(|verdict| SessionError::NotGoodEnough { verdict })?;
        if let (Some(missing), Some(present)) = (self.recentring, present) {
            return Ok(present.recentred(missing, camera, self.screen, created_unix_s));
        }
        let Some(Ok(report)) = &self.fitted else {
            return Err(SessionError::NotGoodEnough {
                verdict: "there is no model".to_owned(),
            });
        };
        Ok(Profile {
            user: self.options.user.clone(),
            created_unix_s,
            made_by: MadeBy::Session,
            eyes: self.options.eyes,
            networks: Some(networks),
            camera,
            screen: self.screen,
            model: report.model,
            fitting: Fitting {
                rate_hz: self.rate_hz(),
                ..Fitting::from(report)
            },
            quality: report.quality.clone(),
            validation: self.validation.clone(),
        })
    }

    /// What the present model's tangents lack on the target of a recentring; none without gaze on it.
    pub(super) fn missing_on_target(&self) -> Option<[f32; 2]> {
        let present = self.present.as_ref()?;
        let missing: Vec<[f32; 2]> = self
            .samples(false)
            .iter()
            .filter_map(|sample| {
                let input = sample.input?;
                let sight = self.screen.sight(input.origin_mm, input.angles)?;
                let goal = sight.tangent_to(sample.target);
                let found = present.correct(&sight, &input).tangent;
                Some([goal[0] - found[0], goal[1] - found[1]])
            })
            .collect();
        (!missing.is_empty()).then(|| steady::middle(&missing))
    }

    /// Samples with gaze a second while targets were looked at.
    pub(super) fn rate_hz(&self) -> Option<f32> {
        let taken = || self.places.iter().filter(|place| place.samples.is_some());
        let seconds: f32 = taken().map(|place| place.lasted.as_s()).sum();
        let with_gaze = taken()
            .flat_map(|place| place.samples.iter().flatten())
            .filter(|sample| sample.input.is_some())
            .count();
        (seconds > 0.0).then(|| with_gaze as f32 / seconds)
    }

    /// Whether the result may be kept; if not, why.
    pub(super) fn can_accept(&self) -> Result<(), String> {
        if self.purpose == Purpose::Recentre {
            return match self.recentring {
                None => Err("no gaze on the target".to_owned()),
                Some([x, y]) if x.hypot(y) > MAX_RECENTRING_TANGENT => Err(format!(
                    "gaze is {:.0}° off, which is more than drift: calibrate again",
                    x.hypot(y).atan().to_degrees()
                )),
                Some(_) => Ok(()),
            };
        }
        let fitted = self.places.iter().filter(|place| !place.is_validation);
        let missed = fitted
            .clone()
            .filter(|place| place.samples.is_none())
            .count();
        match &self.fitted {
            None => Err("no target has been looked at yet".to_owned()),
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(report)) if self.did_not_follow(report) => Err(format!(
                "the gaze did not follow the targets: {:.1}° off, and always guessing their middle would be {:.1}° off; look at each target until it is gone",
                report.quality.all.error_deg.unwrap_or(f32::NAN),
                report.constant_guess.deg
            )),
            Some(Ok(_)) if 2 * missed > fitted.count() => {
                Err(format!("{missed} targets were not looked at"))
            }
            Some(Ok(_)) => Ok(()),
        }
    }

    /// The result as clients see it.
    pub(super) fn result(&self) -> CalibrationResult {
        let report = self.fitted.as_ref().and_then(|fitted| fitted.as_ref().ok());
        let quality = self
            .validation
            .as_ref()
            .or(report.map(|report| &report.quality));
        let all = quality.map(|quality| quality.all);
        let accepted = self.can_accept();
        let accuracy_mm = all.and_then(|all| all.accuracy_mm);
        let precision_mm = all.and_then(|all| all.precision_sd_mm);
        CalibrationResult {
            can_accept: accepted.is_ok(),
            verdict: accepted
                .err()
                .unwrap_or_else(|| self.verdict(all.and_then(|all| all.accuracy_deg))),
            model: report.map(|report| report.model.kind()),
            reason: report.map(|report| report.reason.to_string()),
            uncalibrated_deg: report.map(|report| {
                let MeanError { deg, .. } = report.uncalibrated;
                deg
            }),
            accuracy_deg: all.and_then(|all| all.accuracy_deg),
            accuracy_cm: accuracy_mm.map(|mm| mm / 10.0),
            accuracy_px: accuracy_mm.and_then(|mm| self.to_px(mm)),
            precision_sd_deg: all.and_then(|all| all.precision_sd_deg),
            precision_sd_cm: precision_mm.map(|mm| mm / 10.0),
            precision_sd_px: precision_mm.and_then(|mm| self.to_px(mm)),
            precision_rms_s2s_deg: all.and_then(|all| all.precision_rms_s2s_deg),
            data_loss: all.and_then(|all| all.data_loss()).unwrap_or(1.0),
            targets: (0..self.places.len())
                .map(|index| self.target_result(index))
                .collect(),
        }
    }

    /// What an accuracy is good for, after the sizes of things on a screen.
    fn verdict(&self, accuracy_deg: Option<f32>) -> String {
        match accuracy_deg {
            None => "one target tells no accuracy: more targets do".to_owned(),
            Some(deg) if deg < 1.5 => "good: buttons and words can be told apart".to_owned(),
            Some(deg) if deg < 3.0 => "fair: large buttons and paragraphs can be told apart".to_owned(),
            Some(_) => "poor: only regions of the screen can be told apart; more light from the front, less movement and a second try may help".to_owned(),
        }
    }

    /// A length on the screen in pixels, where the resolution is known.
    fn to_px(&self, mm: f32) -> Option<f32> {
        let [width, _] = self.screen.size_px()?;
        Some(mm * width as f32 / self.screen.width_mm())
    }

    fn target_result(&self, index: usize) -> TargetResult {
        let place = &self.places[index];
        let point = self.screen.from_normalised(place.share);
        let report = self.fitted.as_ref().and_then(|fitted| fitted.as_ref().ok());
        let quality = if place.is_validation {
            self.validation.as_ref()
        } else {
            report.map(|report| &report.quality)
        };
        let found: Option<&TargetQuality> = quality.and_then(|quality| {
            quality.targets.iter().find(|target| {
                (target.target.x_mm - point.x_mm).hypot(target.target.y_mm - point.y_mm) < 1.0
            })
        });
        let measures = found.map(|found| found.measures);
        let accuracy_mm = measures.and_then(|measures| measures.accuracy_mm);
        let precision_mm = measures.and_then(|measures| measures.precision_sd_mm);
        TargetResult {
            index,
            is_validation: place.is_validation,
            target: place.share,
            gaze: found
                .and_then(|found| found.gaze)
                .map(|gaze| self.screen.to_normalised(gaze)),
            accuracy_deg: measures.and_then(|measures| measures.accuracy_deg),
            accuracy_cm: accuracy_mm.map(|mm| mm / 10.0),
            accuracy_px: accuracy_mm.and_then(|mm| self.to_px(mm)),
            precision_sd_deg: measures.and_then(|measures| measures.precision_sd_deg),
            precision_sd_cm: precision_mm.map(|mm| mm / 10.0),
            precision_sd_px: precision_mm.and_then(|mm| self.to_px(mm)),
            precision_rms_s2s_deg: measures.and_then(|measures| measures.precision_rms_s2s_deg),
            data_loss: measures
                .and_then(|measures| measures.data_loss())
                .unwrap_or(1.0),
        }
    }
}
