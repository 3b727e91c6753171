//! The synthetic observer: a scripted person before the default screen and camera.

use core::f32::consts::TAU;

use gaze_protocol::{PointOfRegard, Timestamp};
use thiserror::Error;

use crate::appearance::Appearance;
use crate::geometry::{Pinhole, Pose, Rotation, Vec3, vec3};
use crate::light::Lighting;
use crate::random::{Random, hash};
use crate::scene::{Moment, Scene};
use crate::script::{
    BLINKS_PER_MINUTE, EventLabel, Script, ScriptEvent, ScriptKind, ScriptSettings, Shown,
    blink_opening, screen_to_camera,
};
use crate::sensor::Sensor;
use crate::truth::{BlinkTruth, GroundTruth};

/// What the observer and the camera are like.
#[derive(Clone, Debug, PartialEq)]
pub struct ObserverSettings {
    /// Decides face, light, room and script.
    pub seed: u64,
    /// Width of the frame, 64 to 4096.
    pub width_px: u32,
    /// Height of the frame, 64 to 4096.
    pub height_px: u32,
    /// Focal length; 0.3 to 4 times the longer side.
    pub focal_px: f32,
    /// Active area of the screen, 20 to 3000 mm each way. The camera is in the middle of its
    /// upper edge.
    pub screen_mm: [f32; 2],
    /// Rate of the frames that [`Observer::next_frame`] renders, 1 to 1000.
    pub frames_per_s: f32,
    /// Distance of the eyes from the camera, 300 to 1200 mm.
    pub distance_mm: f32,
    /// What the eyes do.
    pub script: ScriptKind,
    /// 0 for none, to 60.
    pub blinks_per_minute: f32,
    /// Whether the head moves a little and follows the gaze a little.
    pub head_moves: bool,
    /// Whether glasses are worn; none leaves it to the seed.
    pub glasses: Option<bool>,
}

impl Default for ObserverSettings {
    /// A reader at 60 cm from a 24-inch screen with a 640 × 480 webcam.
    fn default() -> Self {
        ObserverSettings {
            seed: 1,
            width_px: 640,
            height_px: 480,
            focal_px: 640.0,
            screen_mm: [531.0, 299.0],
            frames_per_s: 30.0,
            distance_mm: 600.0,
            script: ScriptKind::Free,
            blinks_per_minute: BLINKS_PER_MINUTE,
            head_moves: true,
            glasses: None,
        }
    }
}

/// A setting that cannot be rendered.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ObserverError {
    /// A number outside its range.
    #[error("observer setting {key}: {value} is not within {low} to {high}")]
    OutOfRange {
        /// Name of the setting.
        key: &'static str,
        /// What it was.
        value: f32,
        /// Least allowed.
        low: f32,
        /// Greatest allowed.
        high: f32,
    },
    /// A target script without targets.
    #[error("observer setting script: the list of targets is empty")]
    NoTargets,
}

impl ObserverSettings {
    fn check(&self) -> Result<(), ObserverError> {
        let longer = self.width_px.max(self.height_px) as f32;
        let ranges = [
            ("width_px", self.width_px as f32, 64.0, 4096.0),
            ("height_px", self.height_px as f32, 64.0, 4096.0),
            ("focal_px", self.focal_px, 0.3 * longer, 4.0 * longer),
            ("screen_mm[0]", self.screen_mm[0], 20.0, 3000.0),
            ("screen_mm[1]", self.screen_mm[1], 20.0, 3000.0),
            ("frames_per_s", self.frames_per_s, 1.0, 1000.0),
            ("distance_mm", self.distance_mm, 300.0, 1200.0),
            ("blinks_per_minute", self.blinks_per_minute, 0.0, 60.0),
        ];
        for (key, value, low, high) in ranges {
            // Written so that NaN is refused.
            if !(value >= low && value <= high) {
                return Err(ObserverError::OutOfRange {
                    key,
                    value,
                    low,
                    high,
                });
            }
        }
        if self.script == ScriptKind::Targets(Vec::new()) {
            return Err(ObserverError::NoTargets);
        }
        Ok(())
    }
}

/// Slow swaying: (cycles a second, phase) of two sines by axis.
type Sway = [[(f32, f32); 2]; 6];

/// A person who looks at things, as a webcam sees them.
pub struct Observer {
    settings: ObserverSettings,
    scene: Scene,
    script: Script,
    rest: Vec3,
    rest_angles: [f32; 3],
    sway: Sway,
    /// Position and angles added to the head's own.
    moved: (Vec3, [f32; 3]),
    frames: u64,
}

impl Observer {
    /// # Errors
    /// [`ObserverError`] names the first setting that is out of range.
    pub fn new(settings: ObserverSettings) -> Result<Self, ObserverError> {
        settings.check()?;
        let seed = settings.seed;
        let mut r = Random::new(seed, 60);
        let mut appearance = Appearance::from_seed(seed);
        match settings.glasses {
            Some(false) => appearance.glasses = None,
            Some(true) if appearance.glasses.is_none() => {
                appearance.glasses = Some(crate::appearance::glasses(&mut Random::new(seed, 21)));
            }
            _ => {}
        }
        if let Some(glasses) = &mut appearance.glasses {
            // A reader at a screen wears no sunglasses.
            glasses.tint = glasses.tint.min(0.1);
        }
        let rest = vec3(
            r.normal(0.0, 15.0),
            r.uniform(-10.0, 60.0),
            settings.distance_mm,
        );
        let rest_angles = [
            r.normal(0.0, 0.04),
            r.normal(-0.04, 0.05),
            r.normal(0.0, 0.03),
        ];
        let mut sway: Sway = Default::default();
        for axis in &mut sway {
            *axis = [
                (r.uniform(0.03, 0.12), r.uniform(0.0, TAU)),
                (r.uniform(0.15, 0.4), r.uniform(0.0, TAU)),
            ];
        }
        let camera = Pinhole {
            width_px: settings.width_px,
            height_px: settings.height_px,
            focal_px: settings.focal_px,
        };
        let scene = Scene::new(
            appearance,
            Lighting::from_seed(seed, settings.screen_mm),
            Sensor::from_seed(seed),
            camera,
            seed,
        );
        let script = Script::new(ScriptSettings {
            seed,
            kind: settings.script.clone(),
            screen_mm: settings.screen_mm,
            eyes_mm: rest.to_array(),
            blinks_per_minute: settings.blinks_per_minute,
        });
        Ok(Observer {
            settings,
            scene,
            script,
            rest,
            rest_angles,
            sway,
            moved: Default::default(),
            frames: 0,
        })
    }

    /// From `at` on, looks at what is shown instead of playing the script; none gives the script
    /// back. See [`Shown`].
    pub fn show(&mut self, at: Timestamp, shown: Option<Shown>) {
        self.script.show(at, shown);
    }

    /// Forgets the script some seconds before `at`, so that an observer who goes on for days does
    /// not grow. Earlier frames must not be asked for afterwards, and [`Observer::events`] begins
    /// later.
    pub fn forget_before(&mut self, at: Timestamp) {
        self.script.forget_before(at);
    }

    /// Moves and turns the head from where it rests: camera axes, mm; yaw, pitch and roll, rad.
    pub fn move_head(&mut self, by_mm: [f32; 3], by_rad: [f32; 3]) {
        self.moved = (by_mm.into(), by_rad);
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &ObserverSettings {
        &self.settings
    }

    /// Renders the frame exposed at `at` (since the script's start) into `luma` and returns the
    /// truth. Frames may be asked for in any order; equal times give equal bytes.
    ///
    /// # Panics
    /// If `luma` is not `width_px` × `height_px` long.
    pub fn render(&mut self, at: Timestamp, luma: &mut [u8]) -> GroundTruth {
        let size = self.settings.width_px as usize * self.settings.height_px as usize;
        assert_eq!(luma.len(), size, "luma holds width × height bytes");
        let moment = self.moment(at);
        self.scene.render(&moment, luma)
    }

    /// Renders the next frame at the settings' rate, the first at 0.
    ///
    /// # Panics
    /// If `luma` is not `width_px` × `height_px` long.
    pub fn next_frame(&mut self, luma: &mut [u8]) -> GroundTruth {
        let us = self.frames as f64 * 1e6 / f64::from(self.settings.frames_per_s);
        self.frames += 1;
        self.render(Timestamp((us + 0.5) as u64), luma)
    }

    /// The scripted events that start before `until` and are not forgotten, in order and without
    /// gaps.
    pub fn events(&mut self, until: Timestamp) -> &[ScriptEvent] {
        self.script.events(until)
    }

    fn moment(&mut self, at: Timestamp) -> Moment {
        let (event, por) = self.script.at(at);
        let head = self.head(at);
        let blink = (event.label == EventLabel::Blink).then(|| {
            let length = event.offset.since(event.onset).as_us() as f32;
            let progress = at.since(event.onset).as_us() as f32 / length;
            BlinkTruth {
                progress,
                opening: blink_opening(progress),
            }
        });
        Moment {
            at,
            head,
            target: screen_to_camera(por, self.settings.screen_mm).into(),
            por: Some(por),
            opening: blink.map_or(1.0, |b| b.opening),
            label: event.label,
            blink,
            noise_seed: hash(at.as_us() as u32, self.settings.seed as u32),
        }
    }

    fn head(&mut self, at: Timestamp) -> Pose {
        let (by, turned) = self.moved;
        let mut position = self.rest + by;
        let [mut yaw, mut pitch, mut roll] = [0, 1, 2].map(|i| self.rest_angles[i] + turned[i]);
        if self.settings.head_moves {
            let t = at.as_us() as f64 * 1e-6;
            let sway = self.sway.map(|waves| {
                waves
                    .iter()
                    .zip([0.75f32, 0.25])
                    .map(|(&(rate, phase), share)| {
                        // The phase in f64 keeps its digits over hours.
                        let turn = (t * f64::from(rate)).fract() as f32;
                        share * libm::sinf(TAU * turn + phase)
                    })
                    .sum::<f32>()
            });
            position = position + vec3(9.0 * sway[0], 5.0 * sway[1], 14.0 * sway[2]);
            let followed = self.script.smoothed(at);
            let target: Vec3 = screen_to_camera(followed, self.settings.screen_mm).into();
            let towards = crate::truth::direction(position, target);
            const FOLLOWS: f32 = 0.22;
            yaw += FOLLOWS * towards.yaw_rad + 0.035 * sway[3];
            pitch += FOLLOWS * towards.pitch_rad + 0.025 * sway[4];
            roll += 0.02 * sway[5];
        }
        Pose {
            position,
            rotation: Rotation::from_angles(yaw, pitch, roll),
        }
    }
}

/// A point of regard for a target in camera axes, if it lies in the default screen plane.
pub(crate) fn por_of(target: Vec3, screen_mm: [f32; 2]) -> Option<PointOfRegard> {
    (target.z.abs() < 1e-3).then(|| PointOfRegard {
        x_mm: screen_mm[0] / 2.0 - target.x,
        y_mm: target.y,
    })
}
