//! The vision stage: frame → face → eyes → gaze, in order, no threads.
//!
//! ```text
//! Frame ─► Picture ─┬─ not tracking ─► face: finder ─► points ─┐
//!                   │                                          ▼
//!                   └─ tracking: last frame's points ─► landmarks: crop, network ─► presence low: lost
//!                                                              │ smoothed
//!                                          head_pose: position │ and rotation
//!                                                              ▼
//!                                       eyes: two patches, network ─► iris, openness, gaze
//! ```
//!
//! Once a second the finder is asked whether the tracked face still is one; when it denies that for
//! three seconds, the track ends. A face just found is located twice, the second time in a crop cut
//! at the first answer, because the finder's points are coarser than landmarks.

pub mod crop;
pub mod eyes;
pub mod face;
pub mod head_pose;
pub mod landmarks;
pub mod letterbox;
pub mod lids;
pub mod light;
pub mod picture;
pub mod smoothing;
#[cfg(test)]
mod tests;

use gaze_models::{Models, Thresholds};
use gaze_protocol::{GazeAngles, Span, Timestamp};

use crate::frame::{Frame, FrameName};
use crate::inference::{self, Backend, Engine, InferenceError};

use eyes::EyeNet;
use face::{FaceFinder, FoundFace};
pub use landmarks::N_LANDMARKS;
use landmarks::{FaceAxes, LandmarkNet, Landmarks};
pub use picture::{CameraMatrix, Picture};
use smoothing::Smoothing;

/// Numbers in [`FaceObservation::features`].
pub const N_FEATURES: usize = gaze_models::contract::FEATURES;

/// Faces that are tried in one frame, in case the finder's first one turns out to be none.
const MAX_TRIES: usize = 3;

/// How often the finder is asked about the tracked face; it costs about as much as a frame.
const CONFIRM_EVERY: Span = Span::from_ms(1000);
/// How soon it is asked again when it sees none.
const ASK_AGAIN_AFTER: Span = Span::from_ms(250);
/// A track that the finder has not confirmed for so long has lost its face. It is longer than a turn
/// of the head or a hand before the mouth, which the landmark network follows and the finder may not.
const UNCONFIRMED: Span = Span::from_ms(3000);

/// What the operator may know of the camera and want of the stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VisionSettings {
    /// The camera's geometry; none means [`CameraMatrix::guess`] for each size of picture.
    pub camera: Option<CameraMatrix>,
    /// Whether landmarks and irises are smoothed over time. Pictures that do not follow each other in time
    /// want it off, or a [`Vision::reset`] before each.
    pub is_smoothing: bool,
}

impl Default for VisionSettings {
    fn default() -> Self {
        VisionSettings {
            camera: None,
            is_smoothing: true,
        }
    }
}

/// The vision stage.
pub struct Vision {
    settings: VisionSettings,
    finder: FaceFinder,
    landmark_net: LandmarkNet,
    eye_net: EyeNet,
    smoothing: Smoothing<N_LANDMARKS>,
    /// Of the right and the left eye.
    iris_smoothing: [Smoothing<1>; 2],
    track: Option<Track>,
}

/// The face that is followed.
#[derive(Clone, Copy)]
struct Track {
    /// Where it was in the last frame, unsmoothed.
    axes: FaceAxes,
    /// Size of that frame.
    size_px: [usize; 2],
    /// When the finder last saw the face.
    confirmed_at: Timestamp,
    /// When it was last asked.
    asked_at: Timestamp,
    /// How many faces it saw then.
    n_faces: usize,
}

/// The landmarks of a face, and its axes.
type Located = (Landmarks, FaceAxes);

impl Vision {
    /// Loads the three networks into an engine.
    ///
    /// # Errors
    /// [`InferenceError`] names the model that cannot be loaded, what was found and what expected.
    pub fn new(
        models: &Models,
        engine: Engine,
        settings: VisionSettings,
    ) -> Result<Self, InferenceError> {
        let backends = [
            inference::load(engine, &models.face)?,
            inference::load(engine, &models.landmarks)?,
            inference::load(engine, &models.eyes)?,
        ];
        Ok(Vision::with_backends(
            backends,
            &models.thresholds,
            settings,
        ))
    }

    /// A stage whose face, landmark and eye networks run in the given backends.
    pub fn with_backends(
        [face, landmarks, eyes]: [Box<dyn Backend>; 3],
        thresholds: &Thresholds,
        settings: VisionSettings,
    ) -> Self {
        Vision {
            settings,
            finder: FaceFinder::new(face, thresholds),
            landmark_net: LandmarkNet::new(landmarks, thresholds),
            eye_net: EyeNet::new(eyes, thresholds),
            smoothing: Smoothing::default(),
            iris_smoothing: [Smoothing::default(), Smoothing::default()],
            track: None,
        }
    }

    /// Forgets the tracked face and the past: the next frame is treated alone.
    pub fn reset(&mut self) {
        self.lose();
        self.eye_net.reset();
    }

    /// Takes gaze from these eyes alone, from the next frame on.
    pub fn use_eyes(&mut self, eyes: gaze_calibration::Eyes) {
        self.eye_net.use_eyes(eyes);
    }

    /// Ends the track. What is known of the person's lids stays for a face that is found again at
    /// once; it goes stale by itself.
    fn lose(&mut self) {
        self.track = None;
        self.smoothing.reset();
        self.iris_smoothing.iter_mut().for_each(Smoothing::reset);
    }

    /// What the eye network was last asked, for explanations.
    pub fn eyes_input(&self) -> eyes::EyesInput<'_> {
        self.eye_net.input()
    }

    /// Whether a face is being followed.
    pub fn is_tracking(&self) -> bool {
        self.track.is_some()
    }

    /// Looks at one frame. A frame that could not be read has no face and loses no track.
    ///
    /// # Errors
    /// [`InferenceError`] when the engine fails; that is a bug or a broken installation.
    pub fn step(&mut self, frame: &Frame) -> Result<Observation, InferenceError> {
        let face = match Picture::of(frame) {
            Some(picture) => self.observe(&picture, frame.captured_at)?,
            None => None,
        };
        Ok(Observation {
            seq: frame.seq,
            frame: frame.name.clone(),
            captured_at: frame.captured_at,
            size_px: [frame.width, frame.height],
            error: frame.error.clone(),
            n_faces: match (&face, &self.track) {
                (Some(_), Some(track)) => track.n_faces,
                _ => 0,
            },
            face,
        })
    }

    fn observe(
        &mut self,
        picture: &Picture,
        at: Timestamp,
    ) -> Result<Option<FaceObservation>, InferenceError> {
        let mut n_found = 0;
        let found = match self.follow(picture, at)? {
            Some(found) => Some(found),
            None => {
                self.lose();
                self.find(picture)?.map(|(found, n_faces)| {
                    n_found = n_faces;
                    found
                })
            }
        };
        let Some((landmarks, axes)) = found else {
            return Ok(None);
        };
        let size_px = [picture.width(), picture.height()];
        let (confirmed_at, asked_at, n_faces) = match self.track {
            Some(track) => (track.confirmed_at, track.asked_at, track.n_faces),
            None => (at, at, n_found),
        };
        self.track = Some(Track {
            axes,
            size_px,
            confirmed_at,
            asked_at,
            n_faces,
        });
        let observation = self.measure(picture, at, &landmarks, axes)?;
        if observation.is_none() {
            self.lose();
        }
        Ok(observation)
    }

    /// The tracked face, where it is now.
    fn follow(
        &mut self,
        picture: &Picture,
        at: Timestamp,
    ) -> Result<Option<Located>, InferenceError> {
        let Some(track) = &mut self.track else {
            return Ok(None);
        };
        if track.size_px != [picture.width(), picture.height()] {
            return Ok(None);
        }
        if at.since(track.confirmed_at) >= CONFIRM_EVERY
            && at.since(track.asked_at) >= ASK_AGAIN_AFTER
        {
            track.asked_at = at;
            if let Some(n_faces) = self.finder.confirms(picture, track.axes.center_px())? {
                track.confirmed_at = at;
                track.n_faces = n_faces;
            } else if at.since(track.confirmed_at) >= UNCONFIRMED {
                return Ok(None);
            }
        }
        let axes = track.axes;
        self.locate(picture, &axes)
    }

    /// The face nearest to the middle that the landmark network agrees to be one, and how many faces
    /// there are.
    fn find(&mut self, picture: &Picture) -> Result<Option<(Located, usize)>, InferenceError> {
        let mut tries = [None; MAX_TRIES];
        for (slot, face) in tries.iter_mut().zip(self.finder.find(picture)?) {
            *slot = Some(*face);
        }
        for face in tries.into_iter().flatten() {
            let Some(rough) = axes_of_found(&face) else {
                continue;
            };
            if let Some((_, better)) = self.locate(picture, &rough)?
                && let Some(found) = self.locate(picture, &better)?
            {
                return Ok(Some((found, self.finder.count_with(&face))));
            }
        }
        Ok(None)
    }

    fn locate(
        &mut self,
        picture: &Picture,
        axes: &FaceAxes,
    ) -> Result<Option<Located>, InferenceError> {
        let found = self.landmark_net.locate(picture, axes)?;
        Ok(found.and_then(|landmarks| {
            FaceAxes::of_landmarks(&landmarks.points_px).map(|axes| (landmarks, axes))
        }))
    }

    /// Everything about a face that has been located; none when its points are no face's.
    fn measure(
        &mut self,
        picture: &Picture,
        at: Timestamp,
        landmarks: &Landmarks,
        raw_axes: FaceAxes,
    ) -> Result<Option<FaceObservation>, InferenceError> {
        let points_px = if self.settings.is_smoothing {
            self.smoothing
                .step(at, &landmarks.points_px, raw_axes.scale_px)
        } else {
            landmarks.points_px
        };
        let camera = self
            .settings
            .camera
            .unwrap_or_else(|| CameraMatrix::guess(picture.width(), picture.height()));
        let (Some(axes), Some(pose)) = (
            FaceAxes::of_landmarks(&points_px),
            head_pose::solve(&points_px, &camera),
        ) else {
            return Ok(None);
        };
        let seen = self
            .eye_net
            .look(picture, at, &points_px, &axes, &pose, &camera)?;
        let mut eyes = seen.right_left;
        if self.settings.is_smoothing {
            self.smooth_irises(at, &mut eyes, raw_axes.scale_px);
        }
        let [right_eye, left_eye] = eyes;
        Ok(Some(FaceObservation {
            box_px: bounding_box(&points_px),
            confidence: landmarks.presence,
            landmarks_px: points_px,
            left_eye,
            right_eye,
            lids_are_down: seen.lids_are_down,
            head: pose.to_head_pose(),
            gaze: seen.gaze,
            features: seen.features,
        }))
    }

    /// An eye that was not seen starts anew.
    fn smooth_irises(
        &mut self,
        at: Timestamp,
        right_left: &mut [Option<EyeObservation>; 2],
        scale_px: f32,
    ) {
        for (smoothing, eye) in self.iris_smoothing.iter_mut().zip(right_left) {
            match eye {
                Some(eye) => {
                    let [x, y, _] = &mut eye.iris_px;
                    [[*x, *y]] = smoothing.step(at, &[[*x, *y]], scale_px);
                }
                None => smoothing.reset(),
            }
        }
    }
}

/// The axes of a face as the finder sees it.
fn axes_of_found(face: &FoundFace) -> Option<FaceAxes> {
    let [right_eye, left_eye, _, right_mouth, left_mouth] = face.points_px;
    FaceAxes::new(right_eye, left_eye, [right_mouth, left_mouth])
}

/// The smallest upright box around the points: x, y, width, height. Forehead, chin and face sides
/// are among them, so it is the face's.
fn bounding_box(points_px: &[[f32; 2]; N_LANDMARKS]) -> [f32; 4] {
    let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
    for point in points_px {
        for k in 0..2 {
            low[k] = low[k].min(point[k]);
            high[k] = high[k].max(point[k]);
        }
    }
    [low[0], low[1], high[0] - low[0], high[1] - low[1]]
}

/// What the vision stage saw in one frame.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The frame's number.
    pub seq: u64,
    /// The frame's name in the records.
    pub frame: FrameName,
    /// The frame's time of exposure.
    pub captured_at: Timestamp,
    /// The frame's width and height, px.
    pub size_px: [usize; 2],
    /// Why the picture could not be read, if so.
    pub error: Option<String>,
    /// Faces that may be people before the screen when the finder last looked, which is once a second:
    /// the observer's, and others at least half as wide. 0 without a face.
    pub n_faces: usize,
    /// The observer's face, if one was found.
    pub face: Option<FaceObservation>,
}

/// A face and what its eyes do.
#[derive(Clone, Debug)]
pub struct FaceObservation {
    /// Face box: x, y of the top-left corner, width, height; px of the full frame.
    pub box_px: [f32; 4],
    /// Confidence that this is a face, 0 to 1.
    pub confidence: f32,
    /// Landmarks x, y; px of the full frame.
    pub landmarks_px: [[f32; 2]; N_LANDMARKS],
    /// The observer's left eye; none when it is not seen.
    pub left_eye: Option<EyeObservation>,
    /// The observer's right eye; none when it is not seen.
    pub right_eye: Option<EyeObservation>,
    /// Whether the lids are down, shut or half-way, compared with this person's usual opening.
    pub lids_are_down: bool,
    /// Where the head is and how it is turned.
    pub head: HeadPose,
    /// Gaze; none when every seen eye is closed, or none is seen.
    pub gaze: Option<GazeEstimate>,
    /// The gaze network's features, for calibration.
    pub features: [f32; N_FEATURES],
}

/// One eye in the picture.
#[derive(Clone, Copy, Debug)]
pub struct EyeObservation {
    /// Midpoint of the two eye corners; px of the full frame.
    pub center_px: [f32; 2],
    /// Iris centre x, y and radius; px of the full frame. An estimate when the eye is closed.
    pub iris_px: [f32; 3],
    /// 0 closed to 1 wide open.
    pub openness: f32,
    /// Whether it is open enough to be looked into; a closed eye gives no gaze.
    pub is_open: bool,
    /// Confidence that the eye is seen, 0 to 1.
    pub confidence: f32,
}

/// Position and rotation of the head in camera axes.
#[derive(Clone, Copy, Debug)]
pub struct HeadPose {
    /// Midpoint between the eyes, mm.
    pub position_mm: [f32; 3],
    /// Positive towards the observer's left, rad.
    pub yaw_rad: f32,
    /// Positive up, rad.
    pub pitch_rad: f32,
    /// Positive clockwise in the picture, rad.
    pub roll_rad: f32,
}

/// The direction of gaze of one frame, before calibration.
#[derive(Clone, Copy, Debug)]
pub struct GazeEstimate {
    /// Direction in camera axes.
    pub angles: GazeAngles,
    /// Angle within which 68 % of the errors lie, as the network states it, rad.
    pub sigma_rad: f32,
    /// Where the line of gaze starts: the midpoint between the eyes (or the one eye seen), mm in
    /// camera axes.
    pub origin_mm: [f32; 3],
}
