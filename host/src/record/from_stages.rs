//! Turns what the stages produce into records.

use gaze_calibration::{Profile, ScreenGeometry, StaleReason};
use gaze_protocol::event::ObjectId;
use gaze_protocol::{GazeEvent, GazeSample, OpenEvent as OpenGazeEvent, PointOfRegard};

use super::{
    CalibrationRecord, Eye, Eyes, Face, Fixation, FrameRecord, Gaze, Head, Interval, ObjectVisit,
    OpenEvent, Por, Pursuit, Record, Saccade, Sample, ScreenRecord, StaleRecord,
};
use crate::frame::FrameName;
use crate::scene::SceneTable;
use crate::vision::{EyeObservation, Observation};

impl CalibrationRecord {
    /// What a profile says of itself, and why it does not hold, where it does not.
    pub fn of(profile: &Profile, stale: &[StaleReason]) -> Self {
        let quality = &profile.quality;
        let of_targets = quality.targets.iter();
        CalibrationRecord {
            model: profile.kind().to_string(),
            created_unix_s: profile.created_unix_s,
            accuracy_deg: quality.all.accuracy_deg,
            worst_accuracy_deg: of_targets
                .clone()
                .filter_map(|target| target.measures.accuracy_deg)
                .max_by(f32::total_cmp),
            precision_sd_deg: quality.all.precision_sd_deg,
            data_loss: quality.all.data_loss(),
            targets_mm: of_targets
                .map(|target| [target.target.x_mm, target.target.y_mm])
                .collect(),
            stale: StaleRecord::of(stale),
        }
    }
}

impl StaleRecord {
    /// None without a reason. What no shift mends decides the remedy.
    pub fn of(reasons: &[StaleReason]) -> Option<Self> {
        let gravest = reasons
            .iter()
            .min_by_key(|reason| reason.can_be_recentred())?;
        let words: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        Some(StaleRecord {
            message: format!("{}: {}", words.join("; "), gravest.remedy()),
            can_recentre: gravest.can_be_recentred(),
        })
    }
}

impl ScreenRecord {
    /// The screen as the header states it.
    pub fn of(screen: &ScreenGeometry) -> Self {
        ScreenRecord {
            width_mm: screen.width_mm(),
            height_mm: screen.height_mm(),
            width_px: screen.size_px().map(|[width, _]| width),
            height_px: screen.size_px().map(|[_, height]| height),
        }
    }

    fn por(&self, por: PointOfRegard) -> Por {
        Por {
            x_mm: por.x_mm,
            y_mm: por.y_mm,
            x: por.x_mm / self.width_mm,
            y: por.y_mm / self.height_mm,
        }
    }
}

impl Record {
    /// The sample record of one frame.
    ///
    /// `latency_us` is the time from exposure to now; none for files. `drift_deg` is what clicks and
    /// dwells tell; none for files too.
    pub fn from_sample(
        observation: &Observation,
        sample: &GazeSample,
        screen: &ScreenRecord,
        latency_us: Option<u64>,
        drift_deg: Option<f32>,
    ) -> Record {
        let face = observation.face.as_ref();
        Record::Sample(Sample {
            seq: observation.seq,
            frame: match &observation.frame {
                FrameName::Number => FrameRecord::Number(observation.seq),
                FrameName::File(name) => FrameRecord::File(name.clone()),
            },
            size_px: observation.size_px,
            t_us: observation.captured_at.as_us(),
            validity: sample.validity,
            face: face.map(|face| Face {
                box_px: face.box_px,
                confidence: face.confidence,
            }),
            eyes: face.map(|face| Eyes {
                left: face.left_eye.map(eye),
                right: face.right_eye.map(eye),
            }),
            head: face.map(|face| Head {
                position_mm: face.head.position_mm,
                yaw_rad: face.head.yaw_rad,
                pitch_rad: face.head.pitch_rad,
                roll_rad: face.head.roll_rad,
            }),
            gaze: face.and_then(|face| face.gaze).map(|gaze| Gaze {
                yaw_rad: gaze.angles.yaw_rad,
                pitch_rad: gaze.angles.pitch_rad,
                sigma_rad: gaze.sigma_rad,
                origin_mm: gaze.origin_mm,
            }),
            features: face.map(|face| face.features.to_vec()),
            por: sample.por.map(|por| screen.por(por)),
            latency_us,
            error: observation.error.clone(),
            drift_deg,
        })
    }

    /// The record of an event on the announced scene, if any; none for a sample, whose record needs
    /// its observation.
    pub fn from_event(
        event: &GazeEvent,
        screen: &ScreenRecord,
        scene: Option<&SceneTable>,
    ) -> Option<Record> {
        let announced = |object: &ObjectId| {
            let id = scene.and_then(|scene| scene.announced(object.as_str()));
            id.cloned().unwrap_or_else(|| object.as_str().into())
        };
        Some(match event {
            GazeEvent::Sample(_) => return None,
            GazeEvent::Fixation(fixation) => Record::Fixation(Fixation {
                onset_us: fixation.onset.as_us(),
                offset_us: fixation.offset.as_us(),
                por: fixation.por.map(|por| screen.por(por)),
                dispersion_deg: fixation.dispersion_rad.to_degrees(),
                id: fixation.id,
            }),
            GazeEvent::Saccade(saccade) => Record::Saccade(Saccade {
                onset_us: saccade.onset.as_us(),
                offset_us: saccade.offset.as_us(),
                por: saccade.landing.map(|por| screen.por(por)),
                amplitude_deg: saccade.amplitude_rad.to_degrees(),
                peak_velocity_deg_s: saccade.peak_velocity_rad_s.to_degrees(),
                id: saccade.id,
            }),
            GazeEvent::Pursuit(pursuit) => Record::Pursuit(Pursuit {
                onset_us: pursuit.onset.as_us(),
                offset_us: pursuit.offset.as_us(),
                por: pursuit.por.map(|por| screen.por(por)),
                amplitude_deg: pursuit.amplitude_rad.to_degrees(),
                id: pursuit.id,
            }),
            GazeEvent::Begin(open) => Record::EventBegin(open_event(open, screen)),
            GazeEvent::Update(open) => Record::EventUpdate(open_event(open, screen)),
            GazeEvent::Blink(blink) => Record::Blink(Interval {
                onset_us: blink.onset.as_us(),
                offset_us: blink.offset.as_us(),
                id: blink.id,
            }),
            GazeEvent::Gap(gap) => Record::Gap(Interval {
                onset_us: gap.onset.as_us(),
                offset_us: gap.offset.as_us(),
                id: gap.id,
            }),
            GazeEvent::ObjectEnter(visit) => Record::ObjectEnter(ObjectVisit {
                object: announced(&visit.object),
                onset_us: visit.onset.as_us(),
                offset_us: visit.onset.as_us(),
                dwell_us: None,
            }),
            GazeEvent::ObjectLeave(visit) => Record::ObjectLeave(ObjectVisit {
                object: announced(&visit.object),
                onset_us: visit.onset.as_us(),
                offset_us: visit.offset.as_us(),
                dwell_us: Some(visit.offset.since(visit.onset).as_us()),
            }),
        })
    }
}

fn open_event(open: &OpenGazeEvent, screen: &ScreenRecord) -> OpenEvent {
    OpenEvent {
        id: open.id,
        event: open.kind,
        onset_us: open.onset.as_us(),
        until_us: open.until.as_us(),
        por: open.por.map(|por| screen.por(por)),
    }
}

fn eye(eye: EyeObservation) -> Eye {
    Eye {
        center_px: eye.center_px,
        iris_px: eye.iris_px,
        openness: eye.openness,
        confidence: eye.confidence,
    }
}
