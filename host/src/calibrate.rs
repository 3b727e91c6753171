//! `gazed calibrate fit`: a recorded session becomes a person's profile.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use gaze_calibration::{
    CalibrationError, CalibrationInput, CameraSetup, Eyes, FitOptions, FitReport, Fitting,
    FrameGaze, MadeBy, MeanError, Profile, ProfileError, TargetsError, UserName, fit, pair,
    parse_targets,
};

use crate::clock::unix_now_s;
use crate::config::Config;
use crate::frame::FrameName;
use crate::process::{Input, ProcessError, Step, each_observation};
use crate::setup::{self, SetupError};
use crate::tracking::calibration_input;
use crate::vision::CameraMatrix;

/// The camera's name in profiles that were made from a recording.
const RECORDING: &str = "recording";

/// Why a recorded session gives no profile.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// The table of targets cannot be read.
    #[error("cannot read targets from {path}: {source}")]
    ReadTargets {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The table of targets is wrong.
    #[error("{path}: {source}")]
    Targets {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: TargetsError,
    },
    /// A target is nowhere near the screen.
    #[error(
        "{path}: line {line}: the target at {x_mm}, {y_mm} mm is nowhere near a screen of {width_mm:.0}x{height_mm:.0} mm; \
         targets are given in millimetres from its top-left corner"
    )]
    FarTarget {
        /// The file.
        path: PathBuf,
        /// Line in it, from 1.
        line: usize,
        /// The target.
        x_mm: f32,
        /// The target.
        y_mm: f32,
        /// The screen.
        width_mm: f32,
        /// The screen.
        height_mm: f32,
    },
    /// No picture could be read.
    #[error("no picture of the input could be read")]
    NoPictures,
    /// Settings, models or screen.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The recording.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The samples do not carry a calibration.
    #[error("cannot calibrate: {0}")]
    Fit(#[from] CalibrationError),
    /// The profile cannot be written.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// What a fit found, for the person at the terminal.
#[derive(Debug)]
pub struct Fitted {
    /// The fit.
    pub report: FitReport,
    /// Where the profile was written.
    pub profile: PathBuf,
    /// Rows of the table whose frame was not in the input.
    pub n_rows_without_frame: usize,
    /// Pictures that could not be read.
    pub n_unreadable: u64,
}

struct Seen {
    name: Option<String>,
    seq: u64,
    input: Option<CalibrationInput>,
}

/// Runs the networks over a recorded session, fits, and saves the profile of `user`.
///
/// # Errors
/// [`CalibrateError`]; the person's present profile stays as it is then.
pub fn fit_recording(
    config: &Config,
    input: &Input,
    targets: &Path,
    user: &str,
) -> Result<Fitted, CalibrateError> {
    // All that can be refused without running the networks comes first.
    let user = UserName::new(user)?;
    let store = setup::profiles(config)?;
    let screen = setup::screen(&config.screen, None).map_err(SetupError::from)?;
    let text = std::fs::read_to_string(targets).map_err(|source| CalibrateError::ReadTargets {
        path: targets.to_owned(),
        source,
    })?;
    let in_table = |source| CalibrateError::Targets {
        path: targets.to_owned(),
        source,
    };
    let rows = parse_targets(&text).map_err(in_table)?;
    let (width_mm, height_mm) = (screen.width_mm(), screen.height_mm());
    // Beside the screen is allowed, as far as the screen is large.
    let is_near = |mm: f32, side_mm: f32| (-side_mm..=2.0 * side_mm).contains(&mm);
    if let Some(row) = rows
        .iter()
        .find(|row| !is_near(row.target.x_mm, width_mm) || !is_near(row.target.y_mm, height_mm))
    {
        return Err(CalibrateError::FarTarget {
            path: targets.to_owned(),
            line: row.line,
            x_mm: row.target.x_mm,
            y_mm: row.target.y_mm,
            width_mm,
            height_mm,
        });
    }

    let models = setup::models(config)?;
    let mut vision = setup::vision(config, &models, input.is_independent)?;
    let mut seen = Vec::new();
    let mut sizes: BTreeMap<[usize; 2], u64> = BTreeMap::new();
    let n_unreadable = each_observation(&mut vision, input, |step| {
        if let Step::Seen(observation) = step {
            seen.push(Seen {
                name: match &observation.frame {
                    FrameName::Number => None,
                    FrameName::File(name) => Some(name.clone()),
                },
                seq: observation.seq,
                input: observation.face.as_ref().and_then(calibration_input),
            });
            if observation.error.is_none() {
                *sizes.entry(observation.size_px).or_default() += 1;
            }
        }
        Ok(())
    })?;
    let frames: Vec<FrameGaze> = seen
        .iter()
        .map(|seen| FrameGaze {
            name: seen.name.as_deref(),
            seq: seen.seq,
            input: seen.input,
        })
        .collect();
    let pairing = pair(&rows, &frames).map_err(in_table)?;
    let report = fit(&pairing.samples, &screen, &FitOptions::default())?;

    // A profile holds for pictures of one size; where sizes are mixed, for the most frequent.
    let (&frame_size, _) = sizes
        .iter()
        .max_by_key(|(_, count)| **count)
        .ok_or(CalibrateError::NoPictures)?;
    let lens = config.vision.camera_matrix_px.map_or_else(
        || CameraMatrix::guess(frame_size[0], frame_size[1]),
        CameraMatrix::from,
    );
    let profile = Profile {
        user,
        created_unix_s: unix_now_s(),
        made_by: MadeBy::Recording,
        eyes: Eyes::Both,
        networks: Some(setup::networks(&models)),
        camera: CameraSetup {
            id: RECORDING.to_owned(),
            frame_size_px: frame_size.map(|side| side as u32),
            intrinsics: lens.into(),
        },
        screen,
        model: report.model,
        fitting: Fitting::from(&report),
        quality: report.quality.clone(),
        validation: None,
    };
    Ok(Fitted {
        profile: store.save(&profile)?,
        report,
        n_rows_without_frame: pairing.without_frame.len(),
        n_unreadable,
    })
}

impl fmt::Display for Fitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FitReport {
            model,
            reason,
            candidates,
            uncalibrated,
            constant_guess,
            quality,
            ..
        } = &self.report;
        writeln!(
            f,
            "{} targets, {} frames, data loss {}, {} rejected as looking elsewhere",
            quality.targets.len(),
            quality.all.n_samples(),
            quality
                .all
                .data_loss()
                .map_or("unknown".to_owned(), |share| format!(
                    "{:.1} %",
                    100.0 * share
                )),
            quality.all.n_rejected
        )?;
        if self.n_rows_without_frame > 0 {
            writeln!(
                f,
                "{} rows of the table have no frame in the input",
                self.n_rows_without_frame
            )?;
        }
        writeln!(
            f,
            "\nerror, each target predicted by a model that has not seen it"
        )?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, error: &MeanError| {
            writeln!(f, "  {name:<16} {:7.1} mm  {:6.2} deg", error.mm, error.deg)
        };
        row(f, "constant guess", constant_guess)?;
        row(f, "uncalibrated", uncalibrated)?;
        for candidate in candidates {
            if let Some(error) = &candidate.left_out {
                row(f, &candidate.kind.to_string(), error)?;
            }
        }
        writeln!(f, "\nchosen: {} ({reason})", model.kind())?;
        let number = |number: Option<f32>| {
            number.map_or("not known with so few samples".to_owned(), |number| {
                format!("{number:.2} deg")
            })
        };
        writeln!(
            f,
            "  accuracy           {}",
            number(quality.all.accuracy_deg)
        )?;
        writeln!(
            f,
            "  precision, SD      {}",
            number(quality.all.precision_sd_deg)
        )?;
        writeln!(
            f,
            "  precision, RMS-S2S {}",
            number(quality.all.precision_rms_s2s_deg)
        )?;
        if quality.all.error_mm > Some(uncalibrated.mm) {
            writeln!(
                f,
                "\nworse than no calibration: do the frames of the table belong to its targets, and are these in \
                 millimetres? `gazed users undo` takes the profile before back"
            )?;
        }
        write!(f, "\nsaved as {}", self.profile.display())
    }
}
