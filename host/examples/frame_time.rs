//! Times one 640x480 frame with a tracked face, decoded pixels to events, on one core.
//!
//! ```sh
//! cargo run --release -p gaze-host --example frame_time -- write frames.raw
//! cargo run --release -p gaze-host --example frame_time -- time frames.raw
//! ```
//!
//! `write` renders the synthetic observer; the frames are grey, one after the other. `time` prints
//! one line of JSON, medians in milliseconds: `frame_ms` the whole, `vision_ms` the vision stage,
//! `tracking_ms` calibration to events; then the parts of the vision stage, each timed alone:
//! `landmarks_ms`, `head_pose_ms`, `eyes_ms`, and `finder_ms`, which does not run while a face is
//! tracked. `frames` counts the frames timed.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use gaze_host::config::Config;
use gaze_host::frame::Frame;
use gaze_host::inference::Engine;
use gaze_host::setup;
use gaze_host::vision::eyes::EyeNet;
use gaze_host::vision::face::FaceFinder;
use gaze_host::vision::landmarks::{FaceAxes, LandmarkNet};
use gaze_host::vision::{CameraMatrix, Picture, head_pose};
use gaze_models::Models;
use gaze_observer::{Observer, ObserverSettings};
use gaze_protocol::Timestamp;
use serde_json::json;

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
/// Ten seconds at 30 frames/s, and the frames before that are not timed.
const FRAMES: usize = 330;
const WARM_UP_FRAMES: usize = 30;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &*arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        ["write", file] => write(Path::new(file)),
        ["time", file] => time(Path::new(file)),
        _ => bail!("usage: frame_time write FILE | frame_time time FILE"),
    }
}

fn write(file: &Path) -> Result<()> {
    let mut observer = Observer::new(ObserverSettings::default())?;
    let mut frames = Vec::with_capacity(FRAMES * WIDTH * HEIGHT);
    let mut luma = vec![0; WIDTH * HEIGHT];
    for _ in 0..FRAMES {
        observer.next_frame(&mut luma);
        frames.extend_from_slice(&luma);
    }
    std::fs::write(file, frames).with_context(|| format!("cannot write {}", file.display()))
}

fn read(file: &Path) -> Result<Vec<Frame>> {
    let raw = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let frames: Vec<Frame> = raw
        .chunks_exact(WIDTH * HEIGHT)
        .zip(0u64..)
        .map(|(luma, seq)| Frame {
            seq,
            captured_at: Timestamp(seq * 1_000_000 / 30),
            width: WIDTH,
            height: HEIGHT,
            luma: luma.to_vec(),
            ..Frame::new()
        })
        .collect();
    ensure!(
        frames.len() > WARM_UP_FRAMES,
        "{} holds {} frames, more than {WARM_UP_FRAMES} are needed",
        file.display(),
        frames.len()
    );
    Ok(frames)
}

fn time(file: &Path) -> Result<()> {
    let frames = read(file)?;
    let mut chain = setup::chain(&Config::default(), false)?;
    let (mut vision_ms, mut tracking_ms, mut frame_ms) = (Vec::new(), Vec::new(), Vec::new());
    for (number, frame) in frames.iter().enumerate() {
        let is_timed = number >= WARM_UP_FRAMES && chain.vision.is_tracking();
        let began = Instant::now();
        let observation = chain.vision.step(frame)?;
        let seen = Instant::now();
        let tracked = chain.tracking.step(&observation);
        let done = Instant::now();
        drop(tracked);
        if is_timed && observation.face.is_some() {
            vision_ms.push(ms(began, seen));
            tracking_ms.push(ms(seen, done));
            frame_ms.push(ms(began, done));
        }
    }
    ensure!(!frame_ms.is_empty(), "no frame shows a face");
    let parts = Parts::time(&frames[WARM_UP_FRAMES..])?;
    let report = json!({
        "frame_ms": median(&mut frame_ms),
        "vision_ms": median(&mut vision_ms),
        "tracking_ms": median(&mut tracking_ms),
        "landmarks_ms": parts.landmarks_ms,
        "head_pose_ms": parts.head_pose_ms,
        "eyes_ms": parts.eyes_ms,
        "finder_ms": parts.finder_ms,
        "frames": frame_ms.len(),
    });
    println!("{report}");
    Ok(())
}

/// Medians of the parts of the vision stage.
struct Parts {
    finder_ms: f64,
    landmarks_ms: f64,
    head_pose_ms: f64,
    eyes_ms: f64,
}

impl Parts {
    fn time(frames: &[Frame]) -> Result<Parts> {
        let models = Models::embedded()?;
        let (engine, thresholds) = (Engine::default(), &models.thresholds);
        let mut finder = FaceFinder::load(engine, &models.face, thresholds)?;
        let mut landmark_net = LandmarkNet::load(engine, &models.landmarks, thresholds)?;
        let mut eye_net = EyeNet::load(engine, &models.eyes, thresholds)?;
        let camera = CameraMatrix::guess(WIDTH, HEIGHT);
        let mut times: [Vec<f64>; 4] = Default::default();
        for frame in frames {
            let picture = Picture::of(frame).context("the frame has pixels")?;
            let began = Instant::now();
            let faces = finder.find(&picture)?;
            let found = Instant::now();
            let Some([right_eye, left_eye, _, mouth @ ..]) = faces.first().map(|f| f.points_px)
            else {
                continue;
            };
            let Some(axes) = FaceAxes::new(right_eye, left_eye, mouth) else {
                continue;
            };
            let before = Instant::now();
            let Some(landmarks) = landmark_net.locate(&picture, &axes)? else {
                continue;
            };
            let located = Instant::now();
            let pose = head_pose::solve(&landmarks.points_px, &camera);
            let posed = Instant::now();
            let (Some(pose), Some(axes)) = (pose, FaceAxes::of_landmarks(&landmarks.points_px))
            else {
                continue;
            };
            eye_net.look(
                &picture,
                frame.captured_at,
                &landmarks.points_px,
                &axes,
                &pose,
                &camera,
            )?;
            let looked = Instant::now();
            let parts = [
                ms(began, found),
                ms(before, located),
                ms(located, posed),
                ms(posed, looked),
            ];
            for (times, part) in times.iter_mut().zip(parts) {
                times.push(part);
            }
        }
        ensure!(!times[0].is_empty(), "the finder finds no face");
        let [finder_ms, landmarks_ms, head_pose_ms, eyes_ms] =
            times.map(|mut times| median(&mut times));
        Ok(Parts {
            finder_ms,
            landmarks_ms,
            head_pose_ms,
            eyes_ms,
        })
    }
}

fn ms(from: Instant, to: Instant) -> f64 {
    1000.0 * (to - from).as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
