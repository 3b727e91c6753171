//! The vision stage (outside its engine) and the tracking stage allocate nothing once they run.

#![expect(
    unsafe_code,
    reason = "a global allocator that counts is an unsafe trait"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use gaze_calibration::{CalibrationModel, Features, HeadTerm, ScreenGeometry};
use gaze_host::frame::{Frame, FrameName};
use gaze_host::inference::{self, Backend, Engine, InferenceError};
use gaze_host::tracking::{Calibration, Tracking, TrackingSettings};
use gaze_host::vision::{
    FaceObservation, GazeEstimate, HeadPose, N_FEATURES, N_LANDMARKS, Observation, Vision,
    VisionSettings,
};
use gaze_models::Models;
use gaze_observer::{Observer, ObserverSettings};
use gaze_protocol::{GazeAngles, Timestamp};
use gaze_signal::{EventSettings, ObjectSettings, OneEuroSettings};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more, and nobody asks it.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A gaze that rests for half a second, jumps, and now and then blinks.
fn observation(seq: u64) -> Observation {
    let place = (seq / 15) as f32;
    let head = HeadPose {
        position_mm: [0.0, 100.0, 600.0],
        yaw_rad: 0.0,
        pitch_rad: 0.0,
        roll_rad: 0.0,
    };
    let is_blinking = seq % 60 > 55;
    let gaze = GazeEstimate {
        angles: GazeAngles {
            yaw_rad: 0.2 * (place * 1.7).sin(),
            pitch_rad: -0.2 + 0.1 * (place * 2.3).cos(),
        },
        sigma_rad: 0.03,
        origin_mm: head.position_mm,
    };
    let face = FaceObservation {
        box_px: [200.0, 150.0, 150.0, 180.0],
        confidence: 0.9,
        landmarks_px: [[300.0, 240.0]; N_LANDMARKS],
        left_eye: None,
        right_eye: None,
        head,
        lids_are_down: is_blinking,
        gaze: (!is_blinking).then_some(gaze),
        features: [0.0; N_FEATURES],
    };
    Observation {
        seq,
        frame: FrameName::Number,
        captured_at: Timestamp(seq * 33_333),
        size_px: [640, 480],
        error: None,
        n_faces: 1,
        face: (seq % 200 < 190).then_some(face),
    }
}

/// A model of the kind with the most parts.
fn features_model() -> CalibrationModel {
    CalibrationModel::Features(Features {
        shift: [0.01, -0.02],
        gain: [[1.1, 0.0], [0.0, 1.3]],
        weights: [[0.01; N_FEATURES]; 2],
        centre: [0.0; N_FEATURES],
        spread: [1.0; N_FEATURES],
        reach: [2.0; N_FEATURES],
        head: Some(HeadTerm {
            gain: [[0.01; 2]; 2],
            centre_rad: [0.0; 2],
            spread_rad: [0.1; 2],
            reach: [2.0; 2],
        }),
    })
}

#[test]
fn the_tracking_stage_allocates_nothing_per_frame() {
    let mut tracking = Tracking::new(TrackingSettings {
        screen: ScreenGeometry::new(531.0, 299.0).unwrap(),
        calibration: Some(Calibration {
            model: features_model(),
            frame_size_px: [640, 480],
            is_stale: false,
        }),
        sigma_limit_rad: 0.2,
        filter: Some(OneEuroSettings::default()),
        events: EventSettings::default(),
        objects: ObjectSettings::default(),
    })
    .unwrap();
    let observations: Vec<Observation> = (0..1000).map(observation).collect();
    tracking.step(&observations[0]);
    let before = ALLOCATIONS.get();
    let n_events: usize = observations[1..]
        .iter()
        .map(|seen| tracking.step(seen).events.iter().count())
        .sum();
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert!(
        n_events > 60,
        "the stream holds fixations, saccades, blinks and gaps: {n_events}"
    );
}

/// An engine whose allocations are its own business.
struct Uncounted(Box<dyn Backend>);

impl Backend for Uncounted {
    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), InferenceError> {
        let before = ALLOCATIONS.get();
        let result = self.0.run(inputs, outputs);
        ALLOCATIONS.set(before);
        result
    }
}

#[test]
fn the_vision_stage_allocates_nothing_per_frame() {
    let models = Models::embedded().unwrap();
    let backends = [&models.face, &models.landmarks, &models.eyes]
        .map(|model| inference::load(Engine::Tract, model).unwrap())
        .map(|backend| Box::new(Uncounted(backend)) as Box<dyn Backend>);
    let settings = VisionSettings::default();
    let mut vision = Vision::with_backends(backends, &models.thresholds, settings);
    let mut observer = Observer::new(ObserverSettings::default()).unwrap();
    let mut frame = Frame::new();
    (frame.width, frame.height) = (640, 480);
    frame.luma = vec![0; 640 * 480];
    let mut faces = 0;
    for seq in 0..40 {
        (frame.seq, frame.captured_at) = (seq, Timestamp(seq * 33_333));
        observer.render(frame.captured_at, &mut frame.luma);
        // Now and then the face is gone, and searched for again.
        if seq % 10 == 9 {
            frame.luma.fill(0);
        }
        let before = ALLOCATIONS.get();
        let observation = vision.step(&frame).unwrap();
        let allocations = ALLOCATIONS.get() - before;
        faces += usize::from(observation.face.is_some());
        assert!(seq == 0 || allocations == 0, "{allocations} in frame {seq}");
    }
    assert_eq!(
        faces, 36,
        "the observer's face is found in every frame that shows it"
    );
}
