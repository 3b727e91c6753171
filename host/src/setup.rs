//! From settings to stages: loads networks and profile, and puts the chain together.

use std::path::PathBuf;

use gaze_calibration::{
    Eyes, Profile, ProfileError, ProfileStore, ScreenError, ScreenGeometry, ScreenPose, UserName,
};
use gaze_models::{Model, ModelError, Models, ScanpathModels};
use gaze_signal::SettingProblem;
use tracing::warn;

use crate::config::{Config, DEFAULT_SCREEN_MM, ScreenConfig};
use crate::inference::InferenceError;
use crate::personal::{Personal, PersonalSettings};
use crate::record::{CalibrationRecord, Header, ModelRecord, ScreenRecord, VERSION};
use crate::scanpath::{Follower, Networks};
use crate::tracking::{Calibration, Tracking, TrackingSettings};
use crate::vision::{CameraMatrix, Vision, VisionSettings};

/// Screens whose sides differ by no more than a ruler's reading error are the same, mm.
const SAME_SIDE_MM: f32 = 1.0;

/// Why the chain cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A network's file or manifest.
    #[error(transparent)]
    Models(#[from] ModelError),
    /// The engine refuses a network.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// The person's profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The screen's size.
    #[error(transparent)]
    Screen(#[from] ScreenError),
    /// Settings of the tracking stage.
    #[error("settings: {0}")]
    Settings(#[from] SettingProblem),
    /// There is no place for profiles and recordings.
    #[error("no folder for profiles and recordings: set HOME, or give --state DIR")]
    NoStateFolder,
}

/// The stages, ready to run, and the header that describes them.
pub struct Chain {
    /// Frame to observation.
    pub vision: Vision,
    /// Observation to sample and events.
    pub tracking: Tracking,
    /// Whose calibration, and what changes it.
    pub personal: Personal,
    /// The first record; `source` is still empty.
    pub header: Header,
}

/// Puts the chain together as the settings say; `is_independent` for pictures that do not follow
/// each other in time.
///
/// # Errors
/// [`SetupError`].
pub fn chain(config: &Config, is_independent: bool) -> Result<Chain, SetupError> {
    let profile = profile(config)?;
    let screen = screen(config, profile.as_ref())?;
    let models = models(config)?;
    let mut vision = vision(config, &models, profile.as_ref(), is_independent)?;
    vision.use_eyes(profile.as_ref().map_or(Eyes::Both, |profile| profile.eyes));
    let sigma_limit_rad = config
        .vision
        .sigma_limit_deg
        .map_or(models.thresholds.low_confidence_sigma_rad, f32::to_radians);
    let tracking = Tracking::new(TrackingSettings {
        screen,
        calibration: profile
            .as_ref()
            .map(|profile| calibration(profile, &screen)),
        sigma_limit_rad,
        filter: config.filter.is_on.then_some(config.filter.one_euro),
        events: config.events,
        objects: config.objects,
    })?;
    let header = Header {
        version: VERSION,
        program: concat!("gazed ", env!("CARGO_PKG_VERSION")).to_owned(),
        source: String::new(),
        frame_size_px: None,
        models: models.iter().map(model_record).collect(),
        user: config.user.name.clone(),
        calibration: profile.as_ref().map(CalibrationRecord::of),
        screen: ScreenRecord::of(&screen),
    };
    let personal = Personal::new(PersonalSettings {
        store: profiles(config).ok(),
        screen,
        lens: given_lens(config, profile.as_ref()),
        learns_from_use: config.user.learns_from_use,
        profile,
    });
    Ok(Chain {
        vision,
        tracking,
        personal,
        header,
    })
}

/// The networks that the settings name.
///
/// # Errors
/// [`SetupError::Models`].
pub fn models(config: &Config) -> Result<Models, SetupError> {
    Ok(match &config.vision.models {
        Some(folder) => Models::load_dir(folder)?,
        None => Models::embedded()?,
    })
}

/// The scanpath transformer that the settings name, for live scenes.
///
/// # Errors
/// [`SetupError::Models`].
pub fn scanpath(config: &Config) -> Result<(Follower, Vec<ModelRecord>), SetupError> {
    let models = match &config.vision.models {
        Some(folder) => ScanpathModels::load_dir(folder)?,
        None => ScanpathModels::embedded()?,
    };
    let records = models.iter().map(model_record).collect();
    Ok((
        Follower::new(Networks::new(models, config.vision.engine)),
        records,
    ))
}

fn model_record(model: &Model) -> ModelRecord {
    ModelRecord {
        name: model.name().to_owned(),
        sha256: model.sha256.clone(),
    }
}

/// The vision stage alone; the camera's geometry is what the settings say, else the profile's.
///
/// # Errors
/// [`SetupError::Inference`].
pub fn vision(
    config: &Config,
    models: &Models,
    profile: Option<&Profile>,
    is_independent: bool,
) -> Result<Vision, SetupError> {
    let settings = VisionSettings {
        camera: given_lens(config, profile),
        is_smoothing: !is_independent,
    };
    Ok(Vision::new(models, config.vision.engine, settings)?)
}

/// The camera's geometry where it is known: what the settings say, else the profile's.
fn given_lens(config: &Config, profile: Option<&Profile>) -> Option<CameraMatrix> {
    let given = config.vision.camera_matrix_px.map(CameraMatrix::from);
    let of_profile = profile.map(|profile| {
        let lens = profile.camera.intrinsics;
        CameraMatrix::from([lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px])
    });
    given.or(of_profile)
}

/// The settings with the default user where they name none and there is one with a profile that
/// can be read; a default that cannot be used is said and passed over.
pub fn with_default_user(config: &Config) -> Config {
    let mut config = config.clone();
    if config.user.name.is_some() {
        return config;
    }
    let Ok(store) = profiles(&config) else {
        return config;
    };
    let usable = store
        .default_user()
        .and_then(|user| user.map(|user| store.load(&user).map(|_| user)).transpose());
    match usable {
        Ok(user) => config.user.name = user.map(String::from),
        Err(error) => warn!("the default user's calibration is not used: {error}"),
    }
    config
}

/// The screen: what the settings say, else the profile's, else [`DEFAULT_SCREEN_MM`].
///
/// # Errors
/// [`SetupError::Screen`].
pub fn screen(config: &Config, profile: Option<&Profile>) -> Result<ScreenGeometry, SetupError> {
    let settings = &config.screen;
    let [width_mm, height_mm] = match (settings.width_mm, settings.height_mm, profile) {
        // The same screen: where it stands is what the calibration found, unless that is given.
        (Some(width_mm), Some(height_mm), Some(profile))
            if settings.camera_above_mm == 0.0
                && (width_mm - profile.screen.width_mm()).abs() <= SAME_SIDE_MM
                && (height_mm - profile.screen.height_mm()).abs() <= SAME_SIDE_MM =>
        {
            return with_px(profile.screen, settings);
        }
        (Some(width_mm), Some(height_mm), _) => [width_mm, height_mm],
        (_, _, Some(profile)) => return Ok(profile.screen),
        _ => DEFAULT_SCREEN_MM,
    };
    let screen = ScreenGeometry::new(width_mm, height_mm)?.with_pose(ScreenPose {
        offset_mm: [0.0, settings.camera_above_mm, 0.0],
        tilt_rad: 0.0,
    })?;
    with_px(screen, settings)
}

fn with_px(screen: ScreenGeometry, settings: &ScreenConfig) -> Result<ScreenGeometry, SetupError> {
    Ok(match (settings.width_px, settings.height_px) {
        (Some(width_px), Some(height_px)) => screen.with_size_px(width_px, height_px)?,
        _ => screen,
    })
}

/// Where profiles lie: `profiles` in the folder for state.
///
/// # Errors
/// [`SetupError::NoStateFolder`].
pub fn profiles(config: &Config) -> Result<ProfileStore, SetupError> {
    Ok(ProfileStore::new(state_folder(config)?.join("profiles")))
}

/// The folder for state: the setting, else `$STATE_DIRECTORY` (systemd), else
/// `$XDG_STATE_HOME/gazed`, else `~/.local/state/gazed`.
///
/// # Errors
/// [`SetupError::NoStateFolder`].
pub fn state_folder(config: &Config) -> Result<PathBuf, SetupError> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    config
        .user
        .state
        .clone()
        .or_else(|| variable("STATE_DIRECTORY"))
        .or_else(|| variable("XDG_STATE_HOME").map(|folder| folder.join("gazed")))
        .or_else(|| variable("HOME").map(|home| home.join(".local/state/gazed")))
        .ok_or(SetupError::NoStateFolder)
}

fn profile(config: &Config) -> Result<Option<Profile>, SetupError> {
    let Some(name) = &config.user.name else {
        return Ok(None);
    };
    Ok(Some(profiles(config)?.load(&UserName::new(name)?)?))
}

/// A profile holds for the screen it was made on; the size of the pictures is compared frame by
/// frame.
fn calibration(profile: &Profile, screen: &ScreenGeometry) -> Calibration {
    let reasons = profile.stale_reasons(&profile.camera, screen);
    for reason in &reasons {
        warn!("the calibration of {} is stale: {reason}", profile.user);
    }
    Calibration {
        model: profile.model,
        frame_size_px: profile.camera.frame_size_px.map(|side| side as usize),
        is_stale: !reasons.is_empty(),
    }
}
