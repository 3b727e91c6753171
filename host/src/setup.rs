//! From settings to stages: loads networks and profile, and puts the chain together.

use std::path::{Path, PathBuf};

use gaze_calibration::{
    Eyes, NetworkHashes, Profile, ProfileError, ProfileStore, ScreenError, ScreenGeometry,
    ScreenPose, StaleReason, UserName,
};
use gaze_models::{Model, ModelError, Models, ScanpathModels};
use gaze_signal::SettingProblem;
use tracing::warn;

use crate::config::{Config, ConfigError, DEFAULT_SCREEN_MM, ScreenConfig};
use crate::inference::InferenceError;
use crate::personal::{Personal, PersonalSettings};
use crate::record::{CalibrationRecord, Header, ModelRecord, ScreenRecord, VERSION};
use crate::scanpath::{Follower, Networks};
use crate::terminal::in_full;
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
    let screen = screen(&config.screen, profile.as_ref())?;
    let models = models(config)?;
    let networks = networks(&models);
    let reasons = profile.as_ref().map_or(Vec::new(), |profile| {
        profile.stale_reasons(&profile.camera, &screen, &networks)
    });
    let mut vision = vision(config, &models, is_independent)?;
    vision.use_eyes(profile.as_ref().map_or(Eyes::Both, |profile| profile.eyes));
    let sigma_limit_rad = config
        .vision
        .sigma_limit_deg
        .map_or(models.thresholds.low_confidence_sigma_rad, f32::to_radians);
    let tracking = Tracking::new(TrackingSettings {
        screen,
        calibration: profile
            .as_ref()
            .map(|profile| calibration(profile, &reasons)),
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
        calibration: profile
            .as_ref()
            .map(|profile| CalibrationRecord::of(profile, &reasons)),
        screen: ScreenRecord::of(&screen),
    };
    let personal = Personal::new(PersonalSettings {
        store: profiles(config).ok(),
        screen,
        given_screen: config.screen.clone(),
        lens: given_lens(config),
        networks,
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

/// Reads settings and the files that they name: networks, token, certificate.
///
/// # Errors
/// [`ConfigError`]; [`ConfigError::Problems`] has every mistake.
pub fn check_files(path: &Path) -> Result<(), ConfigError> {
    let config = Config::load(path)?;
    let access = config.server.access().mistakes_in_files();
    let mut problems: Vec<String> = access.iter().map(|error| in_full(error)).collect();
    problems.extend(models(&config).err().map(|error| in_full(&error)));
    problems.extend(scanpath(&config).err().map(|error| in_full(&error)));
    if problems.is_empty() {
        return Ok(());
    }
    let path = path.to_owned();
    Err(ConfigError::Problems { path, problems })
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

/// The networks that a profile holds for.
pub fn networks(models: &Models) -> NetworkHashes {
    NetworkHashes {
        landmarks: models.landmarks.sha256.clone(),
        eyes: models.eyes.sha256.clone(),
    }
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

/// The vision stage alone.
///
/// # Errors
/// [`SetupError::Inference`].
pub fn vision(
    config: &Config,
    models: &Models,
    is_independent: bool,
) -> Result<Vision, SetupError> {
    let settings = VisionSettings {
        camera: given_lens(config),
        is_smoothing: !is_independent,
    };
    Ok(Vision::new(models, config.vision.engine, settings)?)
}

/// The camera's geometry where the settings say it. A profile's is not used: it is that of the
/// pictures it was made on, and these may be others.
fn given_lens(config: &Config) -> Option<CameraMatrix> {
    config.vision.camera_matrix_px.map(CameraMatrix::from)
}

/// The settings with the default user where they name none and there is one with a profile that
/// can be read; a default that cannot be used is said and passed over, and so is a named person who
/// has no profile yet: she is calibrated by the daemon that this is for.
pub fn with_default_user(config: &Config) -> Config {
    let mut config = config.clone();
    let Ok(store) = profiles(&config) else {
        return config;
    };
    if let Some(name) = &config.user.name {
        let found = UserName::new(name).and_then(|name| store.load(&name));
        if matches!(found, Err(ProfileError::Missing { .. })) {
            warn!(
                "{name} has no profile yet, so gaze is uncalibrated: calibrate on the live page, key c"
            );
            config.user.name = None;
        }
        return config;
    }
    let usable = store
        .default_user()
        .and_then(|user| user.map(|user| store.load(&user).map(|_| user)).transpose());
    match usable {
        Ok(user) => config.user.name = user.map(String::from),
        Err(error) => warn!("the default user's calibration is not used: {error}"),
    }
    config
}

/// The screen: what the settings say; what they do not say as on the profile's screen, where it is
/// that one; else [`DEFAULT_SCREEN_MM`], the camera at its upper edge.
///
/// # Errors
/// [`ScreenError`].
pub fn screen(
    given: &ScreenConfig,
    profile: Option<&Profile>,
) -> Result<ScreenGeometry, ScreenError> {
    let given_mm = given.width_mm.zip(given.height_mm);
    // The profile's screen, unless that is of another size.
    let known = profile
        .map(|profile| profile.screen)
        .filter(|known| given_mm.is_none_or(|sides| has_sides(known, sides)));
    let (width_mm, height_mm) = known
        .map(|known| (known.width_mm(), known.height_mm()))
        .or(given_mm)
        .unwrap_or(DEFAULT_SCREEN_MM.into());
    let pose = match (given.camera_above_mm, known) {
        (None, Some(known)) => known.pose(),
        (above_mm, _) => ScreenPose {
            offset_mm: [0.0, above_mm.unwrap_or(0.0), 0.0],
            tilt_rad: 0.0,
        },
    };
    let screen = ScreenGeometry::new(width_mm, height_mm)?.with_pose(pose)?;
    let known_px = known.and_then(|known| known.size_px());
    match given
        .width_px
        .zip(given.height_px)
        .or(known_px.map(Into::into))
    {
        Some((width_px, height_px)) => screen.with_size_px(width_px, height_px),
        None => Ok(screen),
    }
}

/// Whether a screen has these sides, but for a ruler's reading error.
fn has_sides(screen: &ScreenGeometry, (width_mm, height_mm): (f32, f32)) -> bool {
    (width_mm - screen.width_mm()).abs() <= SAME_SIDE_MM
        && (height_mm - screen.height_mm()).abs() <= SAME_SIDE_MM
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

/// A profile holds for the screen it was made on and the networks it was made with; the size of the
/// pictures is compared frame by frame.
fn calibration(profile: &Profile, reasons: &[StaleReason]) -> Calibration {
    for reason in reasons {
        warn!(
            "the calibration of {} is stale: {reason}; {}",
            profile.user,
            reason.remedy()
        );
    }
    Calibration {
        model: profile.model,
        frame_size_px: profile.camera.frame_size_px.map(|side| side as usize),
        is_stale: !reasons.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{camera, profile};

    #[test]
    fn each_setting_of_the_screen_counts_and_the_profile_fills_the_rest() {
        let mut profile = profile("anna", camera("webcam", [640, 480]));
        profile.screen = ScreenGeometry::new(500.0, 300.0)
            .unwrap()
            .with_size_px(1280, 720)
            .unwrap()
            .with_pose(ScreenPose {
                offset_mm: [0.0, 12.0, 0.0],
                tilt_rad: 0.1,
            })
            .unwrap();
        let of = |given: ScreenConfig| screen(&given, Some(&profile)).unwrap();
        assert_eq!(of(ScreenConfig::default()), profile.screen);

        let resolution = of(ScreenConfig {
            width_px: Some(1920),
            height_px: Some(1080),
            ..ScreenConfig::default()
        });
        assert_eq!(resolution.size_px(), Some([1920, 1080]));
        assert_eq!(resolution.pose(), profile.screen.pose());

        let moved = of(ScreenConfig {
            camera_above_mm: Some(0.0),
            ..ScreenConfig::default()
        });
        assert_eq!(
            (moved.pose().offset_mm, moved.width_mm()),
            ([0.0; 3], 500.0)
        );

        // Measured again: the same screen.
        let measured = of(ScreenConfig {
            width_mm: Some(500.5),
            height_mm: Some(299.5),
            ..ScreenConfig::default()
        });
        assert_eq!(measured, profile.screen);

        let other = of(ScreenConfig {
            width_mm: Some(600.0),
            height_mm: Some(340.0),
            ..ScreenConfig::default()
        });
        assert_eq!(
            (other.width_mm(), other.size_px(), other.pose().offset_mm),
            (600.0, None, [0.0; 3])
        );
    }

    #[test]
    fn without_settings_and_profile_the_screen_is_the_default() {
        let screen = screen(&ScreenConfig::default(), None).unwrap();
        assert_eq!([screen.width_mm(), screen.height_mm()], DEFAULT_SCREEN_MM);
        assert_eq!(screen.pose().offset_mm, [0.0; 3]);
    }
}
