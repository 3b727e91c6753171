//! What a frame costs a Pi 4: instructions counted in the emulator, where one takes one nanosecond.
//!
//! The emulator counts; it does not know caches and pipelines. So milliseconds are given as a range, for
//! instructions per cycle from [`IPC`].

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use crate::deb::{Architecture, release, said_by};
use crate::machine::{Clock, Machine};
use crate::shell::{run, scratch};

/// Frames in the emulator: a warm-up of 30, and two seconds.
const FRAMES: usize = 90;
const FRAME_BYTES: usize = 640 * 480;

/// The Pi 4's clock.
const GHZ: f64 = 1.5;

/// Instructions per cycle of a Cortex-A72, which decodes three: assumed, from half of that in dense loops
/// to a quarter where memory and branches are waited for. Not measured on a Pi.
const IPC: [f64; 2] = [0.8, 1.6];

/// What others' gaze network takes on a Pi 4, ms (DFT Gaze, as published).
const PUBLISHED_MS: f64 = 426.66;

/// `cargo xtask cost`.
#[derive(Args)]
pub struct CostArgs {
    /// The rebuilt DFT Gaze network (models/training, `gaze_models.export`), to be counted as well
    #[arg(long, value_name = "FILE.onnx")]
    dft: Option<PathBuf>,
    /// Shape of its input
    #[arg(long, value_name = "SHAPE", default_value = "1x3x224x224")]
    dft_input: String,
    /// The example `frame_time` for arm64, built already
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Counts and prints the table.
pub fn run_all(arguments: &CostArgs) -> Result<()> {
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => {
            run(&mut release(
                Architecture::Arm64,
                &["--example", "frame_time"],
            )?)?;
            Architecture::Arm64
                .release_folder()
                .join("examples/frame_time")
        }
    };
    let frames = frames(&binary)?;
    let mut files: Vec<(&Path, &str)> = vec![(&binary, "frame_time"), (&frames, "frames.raw")];
    if let Some(dft) = &arguments.dft {
        files.push((dft, "dft.onnx"));
    }
    let mut machine = Machine::start(&files, Clock::Instructions)?;
    let ours = counted(&mut machine, "time /payload/frames.raw")?;
    let whole = count(&ours, "frame_ms")? + count(&ours, "yuyv_ms")?;
    println!("\n| stage | million instructions | ms at {GHZ} GHz |\n|---|---|---|");
    row("**tracked frame: YUYV buffer to event**", whole);
    for (stage, key) in STAGES {
        row(stage, count(&ours, key)?);
    }
    if arguments.dft.is_some() {
        let line = format!("network /payload/dft.onnx {}", arguments.dft_input);
        let theirs = counted(&mut machine, &line)?;
        row(
            &format!("DFT Gaze, rebuilt, network alone (published: {PUBLISHED_MS} ms)"),
            count(&theirs, "network_ms")?,
        );
    }
    let [most, least] = IPC.map(|ipc| 60.0 * whole * 1e-3 / (GHZ * ipc) * 100.0);
    println!("60 frames/s take {least:.0} to {most:.0} % of a core.");
    Ok(())
}

/// Stages beside the whole, and their keys in what `frame_time` prints.
const STAGES: &[(&str, &str)] = &[
    ("of which YUYV to grey", "yuyv_ms"),
    ("of which landmarks: crop and network", "landmarks_ms"),
    ("– the network alone", "landmarks_network_ms"),
    ("of which head pose", "head_pose_ms"),
    ("of which eyes: patches and network", "eyes_ms"),
    ("– the network alone", "eyes_network_ms"),
    ("of which calibration, filter, events", "tracking_ms"),
    (
        "beside it: face finder, once a second and while nobody is there",
        "finder_ms",
    ),
    (
        "beside it: a JPEG picture to grey, for cameras that send MJPEG",
        "jpeg_ms",
    ),
];

fn row(stage: &str, millions: f64) {
    let [most, least] = IPC.map(|ipc| millions / (GHZ * ipc));
    println!("| {stage} | {millions:.2} | {least:.1} to {most:.1} |");
}

/// The synthetic observer's frames.
fn frames(binary: &Path) -> Result<PathBuf> {
    let folder = scratch("cost")?;
    let all = folder.join("all.raw");
    let few = folder.join("frames.raw");
    said_by(
        binary,
        Architecture::Arm64,
        &["write", &all.to_string_lossy()],
    )?;
    let mut bytes = vec![0; FRAMES * FRAME_BYTES];
    std::fs::File::open(&all)?.read_exact(&mut bytes)?;
    std::fs::File::create(&few)?.write_all(&bytes)?;
    std::fs::remove_file(all)?;
    Ok(few)
}

/// What `frame_time` prints in the emulator: "milliseconds" are millions of instructions.
fn counted(machine: &mut Machine, arguments: &str) -> Result<Value> {
    let said = machine.ok(&format!("/payload/frame_time {arguments}"))?;
    let json = said
        .lines()
        .find(|line| line.starts_with('{'))
        .with_context(|| format!("frame_time printed no JSON: {said}"))?;
    Ok(serde_json::from_str(json)?)
}

fn count(counts: &Value, key: &str) -> Result<f64> {
    counts[key].as_f64().with_context(|| format!("no {key}"))
}
