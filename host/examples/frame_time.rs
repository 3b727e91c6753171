//! Times one 640x480 frame with a tracked face, decoded pixels to events, on one core.
//!
//! ```sh
//! cargo run --release -p gaze-host --example frame_time -- write frames.raw
//! cargo run --release -p gaze-host --example frame_time -- time frames.raw
//! cargo run --release -p gaze-host --example frame_time -- network gaze.onnx 1x3x224x224
//! ```
//!
//! `write` renders the synthetic observer; the frames are grey, one after the other. `time` prints
//! one line of JSON, medians in milliseconds: `frame_ms` the whole, `vision_ms` the vision stage,
//! `tracking_ms` calibration to events; then the parts of the vision stage, each timed alone:
//! `landmarks_ms`, `head_pose_ms`, `eyes_ms`, and `finder_ms`, which does not run while a face is
//! tracked; then the three networks alone (`…_network_ms`), and what turns a camera's buffer into grey
//! (`yuyv_ms`) or decodes a picture (`jpeg_ms`). `frames` counts the frames timed.
//!
//! `network` times any ONNX network with one input of this shape.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use gaze_host::camera::{self, Captured, PixelFormat, SourceSettings, SourceSpec};
use gaze_host::config::Config;
use gaze_host::frame::Frame;
use gaze_host::inference::{self, Engine};
use gaze_host::setup;
use gaze_host::vision::eyes::EyeNet;
use gaze_host::vision::face::FaceFinder;
use gaze_host::vision::landmarks::{FaceAxes, LandmarkNet};
use gaze_host::vision::{CameraMatrix, Picture, head_pose};
use gaze_models::{Model, Models, TensorContract};
use gaze_observer::{Observer, ObserverSettings};
use gaze_protocol::Timestamp;
use serde_json::json;
use tract_onnx::prelude::*;

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
        ["network", file, shape] => network(Path::new(file), shape),
        _ => bail!("usage: frame_time write FILE | time FILE | network FILE.onnx 1x3x224x224"),
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
    let models = Models::embedded()?;
    let report = json!({
        "frame_ms": median(&mut frame_ms),
        "vision_ms": median(&mut vision_ms),
        "tracking_ms": median(&mut tracking_ms),
        "landmarks_ms": parts.landmarks_ms,
        "head_pose_ms": parts.head_pose_ms,
        "eyes_ms": parts.eyes_ms,
        "finder_ms": parts.finder_ms,
        "landmarks_network_ms": network_ms(&models.landmarks)?,
        "eyes_network_ms": network_ms(&models.eyes)?,
        "face_network_ms": network_ms(&models.face)?,
        "yuyv_ms": yuyv_ms(&frames[0])?,
        "jpeg_ms": jpeg_ms(&frames[..WARM_UP_FRAMES])?,
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

/// One network alone, on pictures of nothing: its time does not depend on what it sees.
fn network_ms(model: &Model) -> Result<f64> {
    let mut backend = inference::load(Engine::default(), model)?;
    let numbers = |tensors: &[TensorContract]| -> Vec<Vec<f32>> {
        let lengths = tensors.iter().map(|t| t.shape.iter().product());
        lengths.map(|n| vec![0.0; n]).collect()
    };
    let inputs = numbers(model.contract.inputs);
    let mut outputs = numbers(model.contract.outputs);
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    repeated(|| Ok(backend.run(&inputs, &mut outputs)?))
}

/// A camera's usual buffer, two bytes a pixel, to grey.
fn yuyv_ms(frame: &Frame) -> Result<f64> {
    let raw: Vec<u8> = frame.luma.iter().flat_map(|&grey| [grey, 128]).collect();
    let mut luma = vec![0; WIDTH * HEIGHT];
    repeated(|| {
        let stride = 2 * WIDTH;
        let is_done = camera::extract(
            PixelFormat::Yuyv,
            &raw,
            stride,
            WIDTH,
            HEIGHT,
            black_box(&mut luma),
        );
        ensure!(is_done, "the buffer is too short");
        Ok(())
    })
}

/// A camera's compressed pictures, read from a file and decoded to grey.
fn jpeg_ms(frames: &[Frame]) -> Result<f64> {
    let mut video = Vec::new();
    for frame in frames {
        let colour: Vec<u8> = frame.luma.iter().flat_map(|&grey| [grey; 3]).collect();
        let encoder = jpeg_encoder::Encoder::new(&mut video, 85);
        let (width, height) = (WIDTH as u16, HEIGHT as u16);
        encoder.encode(&colour, width, height, jpeg_encoder::ColorType::Rgb)?;
    }
    let file = std::env::temp_dir().join(format!("frame_time-{}.mjpeg", std::process::id()));
    std::fs::write(&file, video)?;
    let opened = camera::open(&SourceSpec::Video(file.clone()), &SourceSettings::unpaced());
    std::fs::remove_file(&file)?;
    let mut source = opened?;
    let mut frame = Frame::new();
    let mut times = Vec::new();
    loop {
        let began = Instant::now();
        if source.capture(&mut frame)? == Captured::EndOfStream {
            break;
        }
        times.push(ms(began, Instant::now()));
        if let Some(error) = &frame.error {
            bail!("a picture cannot be read: {error}");
        }
    }
    Ok(median(&mut times))
}

/// Times any network with one input.
fn network(file: &Path, shape: &str) -> Result<()> {
    let shape = shape
        .split('x')
        .map(str::parse)
        .collect::<Result<Vec<usize>, _>>()
        .with_context(|| format!("{shape} is not a shape like 1x3x224x224"))?;
    let mut plan = tract_onnx::onnx()
        .model_for_path(file)
        .and_then(|graph| graph.with_input_fact(0, f32::fact(&shape).into()))
        .and_then(|graph| graph.into_optimized()?.into_runnable()?.spawn())
        .map_err(|error| anyhow!("{}: {error:#}", file.display()))?;
    let input = Tensor::zero::<f32>(&shape).map_err(|error| anyhow!("{error:#}"))?;
    let network_ms = repeated(|| {
        plan.run(tvec!(input.clone().into()))
            .map_err(|error| anyhow!("{error:#}"))?;
        Ok(())
    })?;
    println!("{}", json!({ "network_ms": network_ms }));
    Ok(())
}

/// Median of one of many runs.
fn repeated(mut once: impl FnMut() -> Result<()>) -> Result<f64> {
    const RUNS: usize = 31;
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let began = Instant::now();
        once()?;
        times.push(ms(began, Instant::now()));
    }
    Ok(median(&mut times))
}

fn ms(from: Instant, to: Instant) -> f64 {
    1000.0 * (to - from).as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
