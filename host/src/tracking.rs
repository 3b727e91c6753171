//! The tracking stage: observation → point of regard → filter → events → objects.

use std::sync::Arc;

use gaze_calibration::{CalibrationInput, CalibrationModel, ScreenGeometry};
use gaze_protocol::{GazeSample, ObjectVisit, PointOfRegard, Span, Validity};
use gaze_signal::{
    EventBuf, EventDetector, EventSettings, ObjectSettings, Objects, OneEuro, OneEuroSettings,
    SettingProblem,
};

use crate::scene::{Scene, SceneChange, SceneError, SceneTable};
use crate::vision::{FaceObservation, Observation};

/// What the tracking stage needs to know.
#[derive(Clone, Debug)]
pub struct TrackingSettings {
    /// The screen that is looked at.
    pub screen: ScreenGeometry,
    /// The person's calibration; none gives geometric points of regard.
    pub calibration: Option<Calibration>,
    /// Gaze whose stated sigma is above this is `low_confidence`, rad.
    pub sigma_limit_rad: f32,
    /// Smoothing of the point of regard; none for none.
    pub filter: Option<OneEuroSettings>,
    /// Fixations, saccades, blinks, gaps.
    pub events: EventSettings,
    /// Visits to objects.
    pub objects: ObjectSettings,
}

/// A person's calibration, as the tracking stage uses it.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// The mapping.
    pub model: CalibrationModel,
    /// Size of the pictures it was made on; for others it is stale.
    pub frame_size_px: [usize; 2],
    /// Whether the screen has changed since it was made.
    pub is_stale: bool,
}

/// What one frame gave.
#[derive(Clone, Debug)]
pub struct Tracked {
    /// The frame's sample.
    pub sample: GazeSample,
    /// The events that this frame completed, in order; usually none.
    pub events: EventBuf,
}

/// Turns observations into samples and events. Allocates nothing per frame.
#[derive(Debug)]
pub struct Tracking {
    screen: ScreenGeometry,
    calibration: Option<Calibration>,
    sigma_limit_rad: f32,
    filter: Option<OneEuro>,
    detector: EventDetector,
    scene: Scene,
}

impl Tracking {
    /// A stage that has seen nothing yet.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn new(settings: TrackingSettings) -> Result<Self, SettingProblem> {
        Ok(Tracking {
            screen: settings.screen,
            calibration: settings.calibration,
            sigma_limit_rad: settings.sigma_limit_rad,
            filter: settings.filter.map(OneEuro::new).transpose()?,
            detector: EventDetector::new(settings.events)?,
            scene: Scene::new(Objects::new(settings.objects)?),
        })
    }

    /// Another calibration, from the next frame on; none for geometric points of regard.
    pub fn set_calibration(&mut self, calibration: Option<Calibration>) {
        self.calibration = calibration;
        if let Some(filter) = &mut self.filter {
            // The point of regard jumps: the filter must not draw a line to the new place.
            filter.reset();
        }
    }

    /// Another screen, from the next frame on. Announced objects keep their pixels.
    pub fn set_screen(&mut self, screen: ScreenGeometry) {
        self.screen = screen;
        self.scene.set_screen(&screen);
    }

    /// Turns one observation into its sample and the events that it completes.
    pub fn step(&mut self, observation: &Observation) -> Tracked {
        let sample = self.sample(observation);
        let mut events = EventBuf::new();
        self.detector.step(&sample, &mut events);
        self.scene.objects_mut().step(&sample, &mut events);
        Tracked { sample, events }
    }

    /// The sample of an observation that stands alone: not smoothed, and no part of any event.
    pub fn sample_alone(&mut self, observation: &Observation) -> GazeSample {
        if let Some(filter) = &mut self.filter {
            filter.reset();
        }
        self.sample(observation)
    }

    /// Completes what is open at the end of the stream.
    pub fn finish(&mut self) -> EventBuf {
        let mut events = EventBuf::new();
        self.detector.finish(&mut events);
        self.scene.objects_mut().finish(&mut events);
        events
    }

    /// Takes a scene message of an application; gives the visits that it ends.
    ///
    /// # Errors
    /// [`SceneError`]; the scene stays as it was.
    pub fn change_scene(&mut self, change: &SceneChange) -> Result<EventBuf, SceneError> {
        self.scene.change(change, &self.screen)
    }

    /// The scene that was announced last.
    pub fn scene(&self) -> Option<&Arc<SceneTable>> {
        self.scene.table()
    }

    /// The middle of an object that was dwelt on and is so small that gaze was on its middle.
    pub fn small_object(&self, visit: &ObjectVisit) -> Option<PointOfRegard> {
        /// Shorter visits pass by.
        const LEAST_DWELL_MS: u64 = 400;
        /// About 3° at 60 cm.
        const LARGEST_MM: f32 = 32.0;
        if visit.offset.since(visit.onset) < Span::from_ms(LEAST_DWELL_MS) {
            return None;
        }
        let place = self.scene.objects().place_of(visit.object.as_str())?;
        let is_small = place.width_mm.max(place.height_mm) <= LARGEST_MM;
        is_small.then_some(PointOfRegard {
            x_mm: place.x_mm + 0.5 * place.width_mm,
            y_mm: place.y_mm + 0.5 * place.height_mm,
        })
    }

    fn sample(&mut self, observation: &Observation) -> GazeSample {
        let mut sample = GazeSample {
            seq: observation.seq,
            captured_at: observation.captured_at,
            validity: Validity::NoFace,
            lids_are_down: false,
            angles: None,
            por: None,
            line_of_gaze: None,
            sigma_rad: None,
        };
        let Some(face) = &observation.face else {
            return sample;
        };
        sample.validity = Validity::EyeClosed;
        sample.lids_are_down = face.lids_are_down;
        let Some(gaze) = face.gaze else { return sample };
        sample.validity = if face.lids_are_down {
            // Half-covered eyes seem to look down.
            Validity::LowConfidence
        } else {
            self.validity(gaze.sigma_rad, observation.size_px)
        };
        sample.angles = Some(gaze.angles);
        sample.sigma_rad = Some(gaze.sigma_rad);
        let por = self.point_of_regard(face);
        // Events come from the gaze as estimated: they measure its noise themselves. A ray that
        // misses the screen plane still has a direction.
        sample.line_of_gaze = Some(por.map_or(gaze.angles, |por| {
            self.screen.direction_to(gaze.origin_mm, por)
        }));
        sample.por = por.and_then(|por| self.smooth(&sample, por));
        sample
    }

    fn validity(&self, sigma_rad: f32, size_px: [usize; 2]) -> Validity {
        if sigma_rad > self.sigma_limit_rad {
            return Validity::LowConfidence;
        }
        match &self.calibration {
            None => Validity::Uncalibrated,
            Some(calibration) => {
                if calibration.is_stale || calibration.frame_size_px != size_px {
                    Validity::StaleCalibration
                } else {
                    Validity::Valid
                }
            }
        }
    }

    fn point_of_regard(&self, face: &FaceObservation) -> Option<PointOfRegard> {
        let input = calibration_input(face)?;
        match &self.calibration {
            Some(calibration) => calibration.model.predict(&input, &self.screen),
            None => self.screen.point_of_regard(input.origin_mm, input.angles),
        }
    }

    fn smooth(&mut self, sample: &GazeSample, por: PointOfRegard) -> Option<PointOfRegard> {
        match &mut self.filter {
            // A doubtful point must not pull the filter.
            Some(filter) if sample.validity != Validity::LowConfidence => {
                filter.step(sample.captured_at, por)
            }
            _ => Some(por),
        }
    }
}

/// What calibration gets of a face; none without gaze.
pub fn calibration_input(face: &FaceObservation) -> Option<CalibrationInput> {
    let gaze = face.gaze?;
    Some(CalibrationInput {
        angles: gaze.angles,
        origin_mm: gaze.origin_mm,
        head_yaw_rad: face.head.yaw_rad,
        head_pitch_rad: face.head.pitch_rad,
        head_roll_rad: face.head.roll_rad,
        features: face.features,
        sigma_rad: gaze.sigma_rad,
    })
}
