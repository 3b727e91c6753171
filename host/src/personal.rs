//! Whose calibration is in force, and what changes it: sessions, recentring, clicks and dwells.
//!
//! Lives beside [`Tracking`] in its thread, sees every observation after it, and is what clients'
//! `calibrate`, `recentre`, `click`, `user` and `undo` messages end at.

use gaze_calibration::{
    CameraSetup, Eyes, NetworkHashes, Profile, ProfileStore, ScreenGeometry, Source, StaleReason,
    Upkeep, UserName,
};
use gaze_protocol::{PointOfRegard, Span, Timestamp};
use tracing::{info, warn};

use crate::clock::unix_now_s;
use crate::config::ScreenConfig;
use crate::record::{
    self, CalibrateMessage, CalibrationRecord, ClickMessage, Header, Purpose, RecentreMessage,
    ScreenRecord,
};
use crate::session::Session;
use crate::setup;
use crate::terminal::in_full;
use crate::tracking::{Calibration, Tracking, calibration_input};
use crate::vision::{CameraMatrix, Observation};

/// What changes a person's calibration, as clients ask it.
#[derive(Clone, Debug, PartialEq)]
pub enum PersonalMessage {
    /// Drives a session.
    Calibrate(CalibrateMessage),
    /// One target that moves the calibration in force.
    Recentre(RecentreMessage),
    /// The person clicked there.
    Click(ClickMessage),
    /// Somebody else, or nobody.
    User(Option<UserName>),
    /// Takes back what was learnt, and with `profile` the profile too.
    Undo {
        /// Whether the profile before the one in force is taken back.
        profile: bool,
    },
    /// The client that drove the session has gone.
    Abandon,
}

/// The settings of [`Personal`].
#[derive(Clone, Debug)]
pub struct PersonalSettings {
    /// Where profiles lie; none when there is no place for them.
    pub store: Option<ProfileStore>,
    /// The profile in force at the start.
    pub profile: Option<Profile>,
    /// The screen at the start.
    pub screen: ScreenGeometry,
    /// What the settings say of it; see [`setup::screen`].
    pub given_screen: ScreenConfig,
    /// The camera's geometry where the vision stage does not guess it.
    pub lens: Option<CameraMatrix>,
    /// The networks that gaze comes from.
    pub networks: NetworkHashes,
    /// Whether clicks and dwells move the calibration in force.
    pub learns_from_use: bool,
}

/// Whose calibration is in force, and what changes it.
#[derive(Debug)]
pub struct Personal {
    settings: PersonalSettings,
    /// What the source calls its camera; none before a source is open.
    camera_id: Option<String>,
    /// The setup that the profile in force was held against.
    held_against: Option<CameraSetup>,
    session: Option<Session>,
    told: Option<record::Calibration>,
    upkeep: Upkeep,
    /// The shift of clicks and dwells that is in force.
    shift: [f32; 2],
    now: Timestamp,
    /// Whether profile or screen may have changed since [`Personal::describe_in`].
    has_changed: bool,
}

impl Personal {
    /// Nobody is being calibrated.
    pub fn new(settings: PersonalSettings) -> Self {
        Personal {
            settings,
            camera_id: None,
            held_against: None,
            session: None,
            told: None,
            upkeep: Upkeep::default(),
            shift: [0.0; 2],
            now: Timestamp(0),
            has_changed: true,
        }
    }

    /// Whose profile is in force.
    pub fn user(&self) -> Option<&UserName> {
        self.settings.profile.as_ref().map(|profile| &profile.user)
    }

    /// The profile in force.
    pub fn profile(&self) -> Option<&Profile> {
        self.settings.profile.as_ref()
    }

    /// The screen that points of regard are on.
    pub fn screen(&self) -> &ScreenGeometry {
        &self.settings.screen
    }

    /// Writes profile and screen into the header, where they have changed since the last call;
    /// tells whether the header is another one now.
    pub fn describe_in(&mut self, header: &mut Header) -> bool {
        if !std::mem::take(&mut self.has_changed) {
            return false;
        }
        let described = Header {
            screen: ScreenRecord::of(self.screen()),
            user: self.user().map(ToString::to_string),
            calibration: self
                .profile()
                .map(|profile| CalibrationRecord::of(profile, &self.stale_reasons())),
            ..header.clone()
        };
        let is_another = described != *header;
        *header = described;
        is_another
    }

    /// The eyes that gaze is to be taken from.
    pub fn eyes(&self) -> Eyes {
        match (&self.session, &self.settings.profile) {
            (Some(session), _) if session.purpose() == Purpose::Calibrate => session.eyes(),
            (_, Some(profile)) => profile.eyes,
            _ => Eyes::Both,
        }
    }

    /// Whether a calibration or a recentring is under way.
    pub fn is_calibrating(&self) -> bool {
        self.session.is_some()
    }

    /// What the session shows, for the synthetic observer: where, and whether it moves.
    pub fn shown(&self) -> Option<(PointOfRegard, bool)> {
        self.session.as_ref().and_then(Session::shown)
    }

    /// How far gaze has wandered since calibration, degrees.
    pub fn drift_deg(&self) -> Option<f32> {
        self.upkeep.drift_deg(self.now)
    }

    /// A source was opened; the profile is held against its camera by [`Personal::hold_against`].
    pub fn opened(&mut self, camera_id: String) {
        self.camera_id = Some(camera_id);
        self.held_against = None;
    }

    /// Takes a frame, after `tracking` has; gives the record to publish if a session has moved on.
    pub fn step(
        &mut self,
        observation: &Observation,
        tracking: &mut Tracking,
    ) -> Option<record::Calibration> {
        self.now = observation.captured_at;
        let input = observation.face.as_ref().and_then(calibration_input);
        self.upkeep.see(self.now, input.as_ref());
        let shift = self.upkeep.shift(self.now);
        if shift != self.shift {
            self.shift = shift;
            self.put_in_force(tracking);
        }
        let session = self.session.as_mut()?;
        session.step(observation);
        if session.accepts_by_itself()
            && let Err(why) = self.accept(tracking)
        {
            warn!("the calibration cannot be kept: {why}");
            if let Some(session) = &mut self.session {
                session.keep_for_review(&why);
            }
        }
        self.tell()
    }

    /// The record to publish after a message or a frame, if something has changed.
    pub fn tell(&mut self) -> Option<record::Calibration> {
        let session = self.session.as_mut()?;
        let record = session.record_if_changed(self.told.as_ref())?;
        self.told = Some(record.clone());
        if session.is_over() {
            self.session = None;
            self.told = None;
        }
        Some(record)
    }

    /// Does what a client asks.
    ///
    /// # Errors
    /// What is wrong with it, in words; nothing has changed then.
    pub fn take(
        &mut self,
        message: &PersonalMessage,
        tracking: &mut Tracking,
    ) -> Result<(), String> {
        match message {
            PersonalMessage::Calibrate(message) => self.calibrate(message, tracking),
            PersonalMessage::Recentre(message) => self.recentre(message),
            PersonalMessage::Click(message) => self.click(message),
            PersonalMessage::User(name) => self.use_profile_of(name.as_ref(), tracking),
            PersonalMessage::Undo { profile } => self.undo(*profile, tracking),
            PersonalMessage::Abandon => {
                if let Some(session) = &mut self.session {
                    session.abandon();
                }
                Ok(())
            }
        }
    }

    /// A dwell of gaze on a small object.
    pub fn dwelt(&mut self, at: Timestamp, middle: PointOfRegard) {
        // What gaze itself chose is weak evidence; that it breaks a rule is usual.
        let _ = self.confirm(at, middle, Source::Dwell);
    }

    fn calibrate(
        &mut self,
        message: &CalibrateMessage,
        tracking: &mut Tracking,
    ) -> Result<(), String> {
        match message {
            CalibrateMessage::Start(options) => {
                if self.settings.store.is_none() {
                    return Err(
                        "there is no folder for profiles: set HOME, or start gazed with --state DIR"
                            .to_owned(),
                    );
                }
                let session = Session::new(options.clone(), self.settings.screen)
                    .map_err(|error| error.to_string())?;
                info!("calibrating {}", session.user());
                self.told = None;
                self.session = Some(session);
                Ok(())
            }
            CalibrateMessage::Accept => self.accept(tracking),
            message => self
                .session
                .as_mut()
                .ok_or_else(|| "no calibration is under way: say start first".to_owned())?
                .command(message)
                .map_err(|error| error.to_string()),
        }
    }

    /// Keeps the session's result and puts it in force.
    fn accept(&mut self, tracking: &mut Tracking) -> Result<(), String> {
        let session = self
            .session
            .as_ref()
            .ok_or_else(|| "no calibration is under way".to_owned())?;
        let store = self
            .settings
            .store
            .clone()
            .ok_or_else(|| "there is no folder for profiles".to_owned())?;
        let camera = self
            .held_against
            .clone()
            .ok_or_else(|| "no frame has come yet".to_owned())?;
        let present = self.settings.profile.as_ref();
        let profile = session
            .profile(
                camera,
                self.settings.networks.clone(),
                present,
                unix_now_s(),
            )
            .map_err(|error| error.to_string())?;
        store.save(&profile).map_err(|error| in_full(&error))?;
        // The first profile of this machine is used from now on, after a restart too.
        match store.default_user() {
            Ok(None) => store
                .set_default_user(&profile.user)
                .unwrap_or_else(|error| warn!("no default user is set: {}", in_full(&error))),
            Ok(Some(_)) => {}
            Err(error) => warn!("the default user is not known: {}", in_full(&error)),
        }
        let words = match session.purpose() {
            Purpose::Calibrate => format!("kept as the profile of {}", profile.user),
            Purpose::Recentre => "recentred; undo takes it back".to_owned(),
        };
        info!("{words}");
        if let Some(session) = &mut self.session {
            session.accepted(&words);
        }
        // The session was on this screen, whatever the settings say.
        self.use_screen(profile.screen, tracking);
        let from_settings = setup::screen(&self.settings.given_screen, Some(&profile));
        if from_settings.is_ok_and(|screen| screen != profile.screen) {
            warn!(
                "the calibration was made on another screen than [screen] of the settings says: correct that, or it is stale after the next start"
            );
        }
        self.put_in_force_instead(Some(profile), tracking);
        Ok(())
    }

    fn recentre(&mut self, message: &RecentreMessage) -> Result<(), String> {
        let profile = self
            .settings
            .profile
            .as_ref()
            .ok_or_else(|| "there is no calibration to recentre: calibrate first".to_owned())?;
        let is_calibrating = self
            .session
            .as_ref()
            .is_some_and(|session| session.purpose() == Purpose::Calibrate);
        if is_calibrating {
            return Err("a calibration is under way".to_owned());
        }
        let reasons = self.stale_reasons();
        if let Some(reason) = reasons.iter().find(|reason| !reason.can_be_recentred()) {
            return Err(format!(
                "the calibration was {reason}, which one target does not mend: {}",
                reason.remedy()
            ));
        }
        let session = Session::recentre(
            profile.user.clone(),
            [message.x, message.y],
            profile.model,
            self.settings.screen,
        )
        .map_err(|error| error.to_string())?;
        self.told = None;
        self.session = Some(session);
        Ok(())
    }

    fn click(&mut self, message: &ClickMessage) -> Result<(), String> {
        /// Gaze of longer ago is not kept.
        const OLDEST_MS: u32 = 300;
        let is_on_screen = |share: f32| (0.0..=1.0).contains(&share);
        if !is_on_screen(message.x) || !is_on_screen(message.y) {
            return Err(format!(
                "a click at {}, {}: shares of the screen, 0 to 1",
                message.x, message.y
            ));
        }
        if message.age_ms > OLDEST_MS {
            return Err(format!("age_ms = {}: at most {OLDEST_MS}", message.age_ms));
        }
        if !self.settings.learns_from_use {
            return Err("user.learns_from_use is off: clicks are not used".to_owned());
        }
        let at = self.now - Span::from_ms(u64::from(message.age_ms));
        let point = self.settings.screen.from_normalised([message.x, message.y]);
        self.confirm(at, point, Source::Click)
    }

    fn confirm(
        &mut self,
        at: Timestamp,
        point: PointOfRegard,
        source: Source,
    ) -> Result<(), String> {
        let profile = self
            .settings
            .profile
            .as_ref()
            .filter(|_| self.settings.learns_from_use && self.session.is_none())
            .ok_or_else(|| "without a calibration a click tells nothing".to_owned())?;
        self.upkeep
            .confirm(at, point, source, &profile.model, &self.settings.screen)
            .map_err(|ignored| format!("the click was not used: {ignored}"))
    }

    fn use_profile_of(
        &mut self,
        name: Option<&UserName>,
        tracking: &mut Tracking,
    ) -> Result<(), String> {
        self.refuse_in_session()?;
        let profile = match (name, &self.settings.store) {
            (None, _) => None,
            (Some(_), None) => return Err("there is no folder for profiles".to_owned()),
            (Some(name), Some(store)) => Some(store.load(name).map_err(|error| in_full(&error))?),
        };
        self.change_to(profile, tracking)?;
        self.take_fitting(tracking);
        Ok(())
    }

    fn undo(&mut self, profile: bool, tracking: &mut Tracking) -> Result<(), String> {
        self.refuse_in_session()?;
        let taken_back = match (profile, &self.settings.store, self.user()) {
            (false, _, _) => None,
            (true, Some(store), Some(user)) => Some(
                store
                    .take_back(user, None)
                    .map_err(|error| in_full(&error))?,
            ),
            (true, _, _) => return Err("no profile is in force".to_owned()),
        };
        match taken_back {
            Some(profile) => self.change_to(Some(profile), tracking),
            None => {
                let profile = self.settings.profile.take();
                self.put_in_force_instead(profile, tracking);
                Ok(())
            }
        }
    }

    /// A session is one person's: what it moves or replaces must not change under it.
    fn refuse_in_session(&self) -> Result<(), String> {
        match &self.session {
            None => Ok(()),
            Some(session) => Err(format!(
                "{} is being calibrated: finish or discard that first",
                session.user()
            )),
        }
    }

    /// Another profile and its screen, as far as the settings do not say another.
    fn change_to(
        &mut self,
        profile: Option<Profile>,
        tracking: &mut Tracking,
    ) -> Result<(), String> {
        if profile.is_some() {
            let screen = setup::screen(&self.settings.given_screen, profile.as_ref())
                .map_err(|error| in_full(&error))?;
            self.use_screen(screen, tracking);
        }
        self.put_in_force_instead(profile, tracking);
        Ok(())
    }

    fn use_screen(&mut self, screen: ScreenGeometry, tracking: &mut Tracking) {
        if screen != self.settings.screen {
            self.settings.screen = screen;
            tracking.set_screen(screen);
        }
    }

    /// Another profile, with nothing learnt about it yet.
    fn put_in_force_instead(&mut self, profile: Option<Profile>, tracking: &mut Tracking) {
        self.settings.profile = profile;
        self.upkeep.forget();
        self.shift = [0.0; 2];
        self.put_in_force(tracking);
    }

    /// Holds the profile against camera and frames once both are known, for each frame before `tracking` takes
    /// it, so that the first sample says already that it is stale; tells whether this was done now.
    pub fn hold_against(&mut self, size_px: [usize; 2], tracking: &mut Tracking) -> bool {
        let Some(id) = &self.camera_id else {
            return false;
        };
        let frame_size_px = size_px.map(|side| side as u32);
        let is_held = self
            .held_against
            .as_ref()
            .is_some_and(|camera| camera.frame_size_px == frame_size_px);
        if is_held || frame_size_px.contains(&0) {
            return false;
        }
        let lens = self
            .settings
            .lens
            .unwrap_or_else(|| CameraMatrix::guess(size_px[0], size_px[1]));
        let camera = CameraSetup {
            id: id.clone(),
            frame_size_px,
            intrinsics: lens.into(),
        };
        self.held_against = Some(camera);
        self.take_fitting(tracking);
        true
    }

    /// Takes the person's profile that fits camera, frames and screen best.
    fn take_fitting(&mut self, tracking: &mut Tracking) {
        let Some(camera) = &self.held_against else {
            return;
        };
        let (Some(store), Some(profile)) = (&self.settings.store, &self.settings.profile) else {
            return;
        };
        match store.load_for(
            &profile.user,
            camera,
            &self.settings.screen,
            &self.settings.networks,
        ) {
            Ok(fitting) => self.settings.profile = Some(fitting),
            // What was read at the start is still in force.
            Err(error) => warn!("older profiles are not looked at: {}", in_full(&error)),
        }
        for reason in self.stale_reasons() {
            warn!("the calibration is stale: {reason}; {}", reason.remedy());
        }
        self.put_in_force(tracking);
    }

    fn stale_reasons(&self) -> Vec<StaleReason> {
        let PersonalSettings {
            screen, networks, ..
        } = &self.settings;
        match (&self.settings.profile, &self.held_against) {
            (Some(profile), Some(camera)) => profile.stale_reasons(camera, screen, networks),
            _ => Vec::new(),
        }
    }

    fn put_in_force(&mut self, tracking: &mut Tracking) {
        self.has_changed = true;
        let is_stale = !self.stale_reasons().is_empty();
        tracking.set_calibration(self.settings.profile.as_ref().map(|profile| Calibration {
            model: profile.model.shifted(self.shift),
            frame_size_px: profile.camera.frame_size_px.map(|side| side as usize),
            is_stale,
        }));
    }
}

#[cfg(test)]
mod tests;
