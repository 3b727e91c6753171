//! Calibration that a client drives: its points, its timing; the session is the same as the page's.

use gaze_calibration::UserName;

use super::message::Element;
use crate::record::{Calibration, CalibrationResult, Stage, StartMessage, TargetResult, Timing};

/// What clients have set up.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Shares of the screen.
    pub(super) points: Vec<[f64; 2]>,
    /// How long samples of a point count, s.
    pub(super) timeout_s: f64,
    /// How long a point is on before that, s.
    pub(super) delay_s: f64,
}

impl Plan {
    /// The session that clients have set up, for this person.
    pub(super) fn start(&self, user: UserName) -> StartMessage {
        let ms = |seconds: f64| (seconds * 1000.0).round() as u32;
        StartMessage {
            points: self
                .points
                .iter()
                .map(|[x, y]| [*x as f32, *y as f32])
                .collect(),
            timing: Timing::Fixed {
                delay_ms: ms(self.delay_s),
                duration_ms: ms(self.timeout_s).max(100),
            },
            validation: 0,
            placing: false,
            accept: true,
            ..StartMessage::new(user)
        }
    }
}

/// A calibration as one client has been told of it.
#[derive(Debug)]
pub(super) struct Telling {
    /// The point on show, its attempt, and where it is.
    shown: Option<(usize, u32, [f32; 2])>,
    /// Whether a point was shown: what ends before that is the session that this one replaced.
    has_begun: bool,
    is_over: bool,
}

impl Default for Telling {
    /// There is none.
    fn default() -> Self {
        Telling {
            shown: None,
            has_begun: false,
            is_over: true,
        }
    }
}

impl Telling {
    /// A session has been started.
    pub(super) fn begin(&mut self) {
        *self = Telling {
            shown: None,
            has_begun: false,
            is_over: false,
        };
    }

    /// The session could not be started: a result without points.
    pub(super) fn refuse(&mut self, out: &mut Vec<u8>) {
        self.is_over = true;
        Element::with_id(out, "CAL", "CALIB_RESULT").end();
    }

    /// Tells what is new; gives the result when there is one.
    pub(super) fn tell<'a>(
        &mut self,
        calibration: &'a Calibration,
        out: &mut Vec<u8>,
    ) -> Option<&'a [TargetResult]> {
        if self.is_over {
            return None;
        }
        let next = calibration
            .target
            .filter(|_| calibration.stage == Stage::Target)
            .map(|target| (target.index, target.attempt, [target.x, target.y]));
        if next != self.shown {
            if let Some((index, _, place)) = self.shown {
                point(out, "CALIB_RESULT_PT", index, place);
            }
            if let Some((index, _, place)) = next {
                self.has_begun = true;
                point(out, "CALIB_START_PT", index, place);
            }
            self.shown = next;
        }
        let is_at_end = matches!(
            calibration.stage,
            Stage::Review | Stage::Accepted | Stage::Discarded
        );
        if !is_at_end || !self.has_begun {
            return None;
        }
        self.is_over = true;
        let targets = calibration
            .result
            .as_ref()
            .map_or(&[][..], |result: &CalibrationResult| &result.targets);
        let mut element = Element::with_id(out, "CAL", "CALIB_RESULT");
        for (n, target) in (1..).zip(targets) {
            let [x, y] = target.gaze.unwrap_or_default().map(f64::from);
            let is_valid = u8::from(target.gaze.is_some());
            element = element
                .real(format_args!("CALX{n}"), f64::from(target.target[0]))
                .real(format_args!("CALY{n}"), f64::from(target.target[1]));
            for side in ["L", "R"] {
                element = element
                    .real(format_args!("{side}X{n}"), x)
                    .real(format_args!("{side}Y{n}"), y)
                    .with(format_args!("{side}V{n}"), is_valid);
            }
        }
        element.end();
        Some(targets)
    }
}

fn point(out: &mut Vec<u8>, id: &str, index: usize, [x, y]: [f32; 2]) {
    Element::with_id(out, "CAL", id)
        .with("PT", index + 1)
        .real("CALX", f64::from(x))
        .real("CALY", f64::from(y))
        .end();
}

/// Mean distance between gaze and point on a screen of this size, px, and the number of points
/// with gaze.
pub(super) fn summary(targets: &[TargetResult], size_px: [f64; 2]) -> (f64, usize) {
    let errors: Vec<f64> = targets
        .iter()
        .filter_map(|target| {
            let [x, y] = target.gaze?;
            let dx = f64::from(x - target.target[0]) * size_px[0];
            let dy = f64::from(y - target.target[1]) * size_px[1];
            Some(dx.hypot(dy))
        })
        .collect();
    // The sum of nothing is -0.
    let mean = errors.iter().sum::<f64>().abs() / errors.len().max(1) as f64;
    (mean, errors.len())
}
