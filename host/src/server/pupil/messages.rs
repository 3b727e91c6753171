//! Records in the words of Pupil Core.

use std::borrow::Cow;
use std::sync::Arc;

use gaze_protocol::{GazeAngles, Validity};
use serde_json::{Value, json};

use super::notification;
use crate::record::{
    Calibration, Eye, Header, Por, Purpose, Record, Sample, SceneObjectId, Stage, TimedRecord,
};
use crate::scene::SceneTable;
use crate::server::fan_out::Hub;
use crate::server::resting::Resting;

/// The topic of gaze, its trailing dot included.
const GAZE_TOPIC: &str = "gaze.3d.01.";

/// The screen as a surface.
const SCREEN: &str = "screen";

/// Radius of the eye-ball, mm, as Pupil's eye model has it.
const EYEBALL_MM: f64 = 10.392;

/// Half of the mean distance between the pupils, mm (Dodgson 2004: 63 mm).
const HALF_BETWEEN_EYES_MM: f64 = 31.5;

/// What of the past the messages tell.
#[derive(Debug, Default)]
pub(super) struct Messages {
    header: Option<Header>,
    is_closed: bool,
    resting: Resting,
    /// Greatest spread of the gaze in the fixation so far: least and greatest x and y, mm.
    spread_mm: Option<(u32, [f32; 4])>,
    scene: Option<Arc<SceneTable>>,
    scene_change: u64,
    calibration: Calibrating,
}

/// What has been told of a calibration.
#[derive(Debug, Default)]
struct Calibrating {
    is_started: bool,
    /// Why the result cannot be kept.
    verdict: Option<String>,
}

impl Calibrating {
    /// The notification that a step of a session makes: subject and what is said besides.
    fn take(&mut self, calibration: &Calibration) -> Option<(&'static str, Value)> {
        if calibration.purpose != Purpose::Calibrate {
            return None;
        }
        match calibration.stage {
            Stage::Accepted | Stage::Discarded if !std::mem::take(&mut self.is_started) => None,
            Stage::Accepted => Some(("calibration.successful", json!({}))),
            Stage::Discarded => Some(match self.verdict.take() {
                Some(reason) => ("calibration.failed", json!({ "reason": reason })),
                None => ("calibration.stopped", json!({})),
            }),
            stage => {
                let result = calibration.result.as_ref();
                self.verdict = result
                    .filter(|result| stage == Stage::Review && !result.can_accept)
                    .map(|result| result.verdict.clone());
                let is_new = !std::mem::replace(&mut self.is_started, true);
                is_new.then(|| ("calibration.started", json!({})))
            }
        }
    }
}

impl Messages {
    /// Hands to `send` every message of a record whose topic somebody `wants`. `seconds` turns a
    /// monotonic time, µs, into Pupil time.
    pub(super) fn of(
        &mut self,
        record: &TimedRecord,
        hub: &Hub,
        seconds: impl Fn(u64) -> f64,
        wants: impl Fn(&str) -> bool,
        mut send: impl FnMut(&str, Value),
    ) {
        self.resting.take(&record.record);
        let sample = match &record.record {
            Record::Header(header) => {
                self.header = Some(header.clone());
                return;
            }
            Record::Sample(sample) => sample,
            Record::Calibration(calibration) => {
                if let Some((subject, more)) = self.calibration.take(calibration) {
                    let (topic, datum) = notification(subject, more);
                    if wants(&topic) {
                        send(&topic, datum);
                    }
                }
                return;
            }
            _ => return,
        };
        // A stream without a clock has its own time.
        let mono_us = record.at.map_or(sample.t_us, |at| at.mono_us);
        let timestamp = seconds(mono_us);
        let onset = |onset_us: u64| seconds((mono_us + onset_us).saturating_sub(sample.t_us));
        // Nothing is made that nobody wants.
        let mut send_wanted = |topic: &str, datum: &dyn Fn() -> Value| {
            if wants(topic) {
                send(topic, datum());
            }
        };
        let has_gaze = sample.por.is_some() && wants(GAZE_TOPIC);
        let pupils = pupils(sample, timestamp, |topic| has_gaze || wants(topic));
        for (topic, pupil) in &pupils {
            send_wanted(topic, &|| pupil.clone());
        }
        if let Some(is_closed) = self.lids(sample) {
            send_wanted("blinks", &|| blink(is_closed, timestamp));
        }
        let Some(por) = sample.por.as_ref() else {
            return;
        };
        let confidence = confidence(sample);
        send_wanted(GAZE_TOPIC, &|| self.gaze(sample, por, timestamp, &pupils));
        let fixation = self.fixation(sample, onset);
        if let Some(fixation) = &fixation {
            send_wanted("fixations", &|| fixation.datum(timestamp, confidence));
        }
        self.look_at_scene(hub);
        let screen = (Cow::Borrowed(SCREEN), [0.0, 0.0, 1.0, 1.0]);
        let objects = self.scene.iter().flat_map(|scene| {
            let names = scene.ids().iter().map(surface_of);
            names.zip((0..scene.len()).map(move |place| scene.area(place)))
        });
        for (name, [left, top, width, height]) in std::iter::once(screen).chain(objects) {
            let share = |por: &Por| {
                let x = f64::from(por.x - left) / f64::from(width);
                let y = f64::from(por.y - top) / f64::from(height);
                [x, 1.0 - y]
            };
            let on_surface = OnSurface {
                name: &name,
                at: share(por),
                timestamp,
                confidence,
                fixation: fixation
                    .as_ref()
                    .map(|fixation| (fixation, share(&fixation.place))),
            };
            send_wanted(&format!("surfaces.{name}"), &|| on_surface.datum());
        }
    }

    fn look_at_scene(&mut self, hub: &Hub) {
        let change = hub.scene_change();
        if change != self.scene_change {
            self.scene_change = change;
            self.scene = hub.scene();
        }
    }

    fn gaze(
        &self,
        sample: &Sample,
        por: &Por,
        timestamp: f64,
        pupils: &[(&'static str, Value)],
    ) -> Value {
        let pupils: Vec<&Value> = pupils.iter().map(|(_, pupil)| pupil).collect();
        let [mut centers, mut normals] = [json!({}), json!({})];
        if let Some(head) = &sample.head {
            let [x, y, z] = head.position_mm.map(f64::from);
            let half_width = self
                .header
                .as_ref()
                .map_or(0.0, |header| f64::from(header.screen.width_mm) / 2.0);
            for (id, side) in [("0", -1.0), ("1", 1.0)] {
                // The observer's left is +x of the camera and the left of the screen.
                let center = [half_width - x - side * HALF_BETWEEN_EYES_MM, y, -z];
                let to = [
                    f64::from(por.x_mm) - center[0],
                    f64::from(por.y_mm) - center[1],
                    -center[2],
                ];
                let length = to
                    .iter()
                    .map(|side| side * side)
                    .sum::<f64>()
                    .sqrt()
                    .max(1.0);
                centers[id] = json!(center);
                normals[id] = json!(to.map(|side| side / length));
            }
        }
        json!({
            "topic": GAZE_TOPIC,
            "timestamp": timestamp,
            "norm_pos": [f64::from(por.x), 1.0 - f64::from(por.y)],
            "confidence": confidence(sample),
            "gaze_point_3d": [f64::from(por.x_mm), f64::from(por.y_mm), 0.0],
            "eye_centers_3d": centers,
            "gaze_normals_3d": normals,
            "base_data": pupils,
        })
    }

    /// Whether the lids have just closed or, if not, opened.
    fn lids(&mut self, sample: &Sample) -> Option<bool> {
        let is_closed = sample.validity == Validity::EyeClosed;
        (std::mem::replace(&mut self.is_closed, is_closed) != is_closed).then_some(is_closed)
    }

    fn fixation(&mut self, sample: &Sample, seconds: impl Fn(u64) -> f64) -> Option<Ongoing> {
        let por = sample.por.as_ref()?;
        let ongoing = self.resting.now(sample)?;
        let (id, onset_us, place) = (ongoing.id, ongoing.onset_us, ongoing.por.clone()?);
        Some(Ongoing {
            id,
            onset_s: seconds(onset_us),
            duration_ms: sample.t_us.saturating_sub(onset_us) as f64 * 1e-3,
            dispersion_deg: self.spread(id, por, sample),
            place,
        })
    }

    /// The fixation's dispersion since it was told of: as a `fixation` record has it, from the
    /// samples' points of regard; degrees of visual angle.
    fn spread(&mut self, id: u32, por: &Por, sample: &Sample) -> f64 {
        let here = [por.x_mm, por.x_mm, por.y_mm, por.y_mm];
        let [left, right, top, bottom] = match self.spread_mm {
            Some((of, spread)) if of == id => spread,
            _ => here,
        };
        let spread = [
            left.min(por.x_mm),
            right.max(por.x_mm),
            top.min(por.y_mm),
            bottom.max(por.y_mm),
        ];
        self.spread_mm = Some((id, spread));
        let distance_mm = sample
            .head
            .as_ref()
            .map_or(f32::MAX, |head| head.position_mm[2]);
        let [left, right, top, bottom] = spread;
        f64::from(
            ((right - left + bottom - top) / distance_mm.max(1.0))
                .atan()
                .to_degrees(),
        )
    }
}

/// The name of an object's surface: its id, unless that is the screen's name, with as many `_` before
/// as keep all names apart.
fn surface_of(object: &SceneObjectId) -> Cow<'_, str> {
    let id = object.as_str();
    if id.trim_start_matches('_') == SCREEN {
        format!("_{id}").into()
    } else {
        id.into()
    }
}

/// 0 to 1: the eyes' own, and at most a half where the gaze is not to be relied on.
fn confidence(sample: &Sample) -> f64 {
    let eyes = sample.eyes.as_ref();
    let of_eyes = [
        eyes.and_then(|eyes| eyes.left.as_ref()),
        eyes.and_then(|eyes| eyes.right.as_ref()),
    ];
    let best = of_eyes
        .into_iter()
        .flatten()
        .map(|eye| f64::from(eye.confidence))
        .fold(0.0, f64::max);
    if sample.validity.is_usable() {
        best
    } else {
        best.min(0.5)
    }
}

fn blink(is_closed: bool, timestamp: f64) -> Value {
    let kind = if is_closed { "onset" } else { "offset" };
    json!({
        "topic": "blinks", "type": kind, "confidence": 1.0, "timestamp": timestamp,
        "base_data": [], "record": true,
    })
}

/// A fixation that goes on.
struct Ongoing {
    id: u32,
    /// Pupil time.
    onset_s: f64,
    duration_ms: f64,
    dispersion_deg: f64,
    place: Por,
}

impl Ongoing {
    fn datum(&self, timestamp: f64, confidence: f64) -> Value {
        let place = &self.place;
        json!({
            "topic": "fixations",
            "id": self.id,
            "timestamp": self.onset_s,
            "duration": self.duration_ms,
            "dispersion": self.dispersion_deg,
            "norm_pos": [f64::from(place.x), 1.0 - f64::from(place.y)],
            "gaze_point_3d": [f64::from(place.x_mm), f64::from(place.y_mm), 0.0],
            "confidence": confidence,
            "method": "3d gaze",
            "base_data": [[GAZE_TOPIC, timestamp]],
        })
    }
}

/// The eyes that are seen and needed, by topic: right (0) before left (1), as Pupil counts them.
fn pupils(
    sample: &Sample,
    timestamp: f64,
    is_needed: impl Fn(&str) -> bool,
) -> Vec<(&'static str, Value)> {
    let Some(eyes) = &sample.eyes else {
        return Vec::new();
    };
    let sides = [
        ("pupil.0.3d", 0, eyes.right.as_ref(), -1.0),
        ("pupil.1.3d", 1, eyes.left.as_ref(), 1.0),
    ];
    sides
        .into_iter()
        .filter(|(topic, ..)| is_needed(topic))
        .filter_map(|(topic, id, eye, side)| {
            Some((topic, pupil(id, eye?, side, sample, timestamp)))
        })
        .collect()
}

fn pupil(id: u8, eye: &Eye, side: f64, sample: &Sample, timestamp: f64) -> Value {
    let [width, height] = sample.size_px.map(|side| side.max(1) as f64);
    let [x, y, radius] = eye.iris_px.map(f64::from);
    let normal = sample.gaze.as_ref().map(|gaze| {
        let angles = GazeAngles {
            yaw_rad: gaze.yaw_rad,
            pitch_rad: gaze.pitch_rad,
        };
        angles.to_vector().map(f64::from)
    });
    let center = sample.head.as_ref().map_or([0.0; 3], |head| {
        let [x, y, z] = head.position_mm.map(f64::from);
        [x + side * HALF_BETWEEN_EYES_MM, y, z]
    });
    let [nx, ny, nz] = normal.unwrap_or([0.0, 0.0, -1.0]);
    let on_eyeball = [
        center[0] + EYEBALL_MM * nx,
        center[1] + EYEBALL_MM * ny,
        center[2] + EYEBALL_MM * nz,
    ];
    // A direction that is not known must not look like one.
    let confidence = normal.map_or(0.0, |_| f64::from(eye.confidence));
    json!({
        "topic": format!("pupil.{id}.3d"),
        "id": id,
        "method": "gazed",
        "timestamp": timestamp,
        "confidence": confidence,
        "norm_pos": [x / width, 1.0 - y / height],
        "diameter": 0.0,
        "diameter_3d": 0.0,
        "ellipse": { "center": [x, y], "axes": [2.0 * radius, 2.0 * radius], "angle": 0.0 },
        "sphere": { "center": center, "radius": EYEBALL_MM },
        "circle_3d": { "center": on_eyeball, "normal": [nx, ny, nz], "radius": 0.0 },
        "theta": ny.clamp(-1.0, 1.0).acos(),
        "phi": nz.atan2(nx),
    })
}

/// Gaze on one surface.
struct OnSurface<'a> {
    name: &'a str,
    /// Share of the surface, origin bottom-left.
    at: [f64; 2],
    timestamp: f64,
    confidence: f64,
    /// The fixation that goes on, and where on the surface it is.
    fixation: Option<(&'a Ongoing, [f64; 2])>,
}

impl OnSurface<'_> {
    fn datum(&self) -> Value {
        let is_on = |at: [f64; 2]| at.iter().all(|share| (0.0..=1.0).contains(share));
        let same = json!([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        let base = json!([GAZE_TOPIC, self.timestamp]);
        let fixations: Vec<Value> = self
            .fixation
            .iter()
            .map(|(fixation, at)| {
                json!({
                    "topic": "fixations_on_surface",
                    "id": fixation.id,
                    "norm_pos": at,
                    "confidence": self.confidence,
                    "on_surf": is_on(*at),
                    "base_data": ["fixations", fixation.onset_s],
                    "timestamp": fixation.onset_s,
                    "duration": fixation.duration_ms,
                    "dispersion": fixation.dispersion_deg,
                })
            })
            .collect();
        json!({
            "topic": format!("surfaces.{}", self.name),
            "name": self.name,
            "timestamp": self.timestamp,
            "surf_to_img_trans": same,
            "img_to_surf_trans": same,
            "surf_to_dist_img_trans": same,
            "dist_img_to_surf_trans": same,
            "gaze_on_surfaces": [{
                "topic": format!("{GAZE_TOPIC}_on_surface"),
                "norm_pos": self.at,
                "confidence": self.confidence,
                "on_surf": is_on(self.at),
                "base_data": base,
                "timestamp": self.timestamp,
            }],
            "fixations_on_surfaces": fixations,
        })
    }
}
