//! Numbers for the README: each measured against something else in the same run.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::shell::{cargo, command, output, python, root, run, scratch, target};

/// Times that the daemon is started to see how long it takes.
const N_STARTS: usize = 11;

/// How long the daemon runs before its memory is read.
const SETTLE: Duration = Duration::from_secs(20);

/// Dwells after which the prediction is timed.
const N_DWELLS: usize = 50;

/// Half an hour of frames at 30/s, and a minute.
const LONG_RUN_FRAMES: u64 = 54_000;
const SHORT_RUN_FRAMES: u64 = 1_800;

/// Runs the benches and prints their table.
pub fn run_all(long: bool) -> Result<()> {
    run(&mut cargo(&[
        "build",
        "--release",
        "-p",
        "gaze-host",
        "--bin",
        "gazed",
        "--example",
        "frame_time",
    ]))?;
    let release = target().join("release");
    let mut rows = vec![machine()?];
    rows.extend(frame_time(&release)?);
    rows.extend(daemon(&release)?);
    rows.push(growth(
        &release,
        if long {
            LONG_RUN_FRAMES
        } else {
            SHORT_RUN_FRAMES
        },
    )?);
    println!("\n| what | measured |\n|---|---|");
    for (what, measured) in rows {
        println!("| {what} | {measured} |");
    }
    Ok(())
}

/// The scanpath transformer on a scene of 32 objects, one core, beside its references where a Python
/// with PyTorch is given.
pub fn scanpath(python: Option<&Path>) -> Result<()> {
    run(&mut cargo(&[
        "build",
        "--release",
        "-p",
        "gaze-host",
        "--bin",
        "gazed",
        "--example",
        "scanpath_time",
    ]))?;
    let text = output(
        command("taskset", &["-c", "0"]).arg(target().join("release/examples/scanpath_time")),
    )?;
    let ours: Value = serde_json::from_str(&text).context("scanpath_time printed no JSON")?;
    println!("| 32 objects, one core | measured |\n|---|---|");
    println!(
        "| one step, tract, median of 300 | {} ms |",
        ours["step_ms"]
    );
    println!(
        "| encoding the scene, tract, median of 300 | {} ms |",
        ours["encode_ms"]
    );
    println!(
        "| preparing both networks for a size, once | {} ms |",
        ours["prepare_ms"]
    );
    println!("| both files | {} bytes |", ours["bytes"]);
    let delays = next_objects(&target().join("release"))?;
    println!(
        "| end of a dwell to `next_objects` in another program, median and greatest of {N_DWELLS} | {:.2} and {:.2} ms |",
        delays[N_DWELLS / 2],
        delays[N_DWELLS - 1]
    );
    let Some(python) = python else {
        println!("| conditional logit, OAT | not timed: give --python |");
        return Ok(());
    };
    let text = output(
        command("taskset", &["-c", "0"])
            .arg(python)
            .args(["-m", "gaze_models.scanpath_speed"])
            .current_dir(root().join("models/training")),
    )?;
    let theirs: Value = serde_json::from_str(&text).context("scanpath_speed printed no JSON")?;
    println!(
        "| conditional logit, a path of five dwells, PyTorch | {} ms |",
        theirs["logit_ms"]
    );
    println!(
        "| OAT ({} parameters), the same, PyTorch | {} ms |",
        theirs["oat_parameters"], theirs["oat_ms"]
    );
    Ok(())
}

/// From `object_leave` to `next_objects` as a subscriber gets them, ms, in order of size. A scene of
/// 32 objects, two of them so large that the synthetic gaze goes from one to the other.
fn next_objects(release: &Path) -> Result<Vec<f64>> {
    let mut objects = vec![
        r#"{"id":"left","box":[-200,-200,250,500]}"#.to_owned(),
        r#"{"id":"right","box":[50,-200,250,500]}"#.to_owned(),
    ];
    objects.extend((0..30).map(|k| format!(r#"{{"id":{k},"box":[{},900,9,9]}}"#, 900 + 20 * k)));
    let daemon = Running::start(release)?;
    let mut watch = daemon.first_sample(release)?;
    watch.kill()?;
    watch.wait()?;
    let mut connection = UnixStream::connect(daemon.folder.join("gazed.sock"))?;
    connection.set_read_timeout(Some(SETTLE))?;
    writeln!(
        connection,
        r#"{{"type":"subscribe","types":["object_leave","next_objects"]}}"#
    )?;
    writeln!(
        connection,
        r#"{{"type":"scene","scene_id":"s","width_px":100,"height_px":100,"objects":[{}]}}"#,
        objects.join(",")
    )?;
    let (mut delays, mut left, mut is_first) = (Vec::new(), None, true);
    for line in BufReader::new(connection).lines() {
        let line = line.context("the daemon sent no next_objects")?;
        if line.contains(r#""type":"object_leave""#) {
            left = Some(Instant::now());
        } else if line.contains(r#""type":"next_objects""#)
            && let Some(left) = left.take()
        {
            // The first may have waited for the networks to be prepared for the scene's size.
            if !std::mem::take(&mut is_first) {
                delays.push(left.elapsed().as_secs_f64() * 1e3);
            }
            if delays.len() == N_DWELLS {
                break;
            }
        }
    }
    ensure!(delays.len() == N_DWELLS, "the daemon ended early");
    delays.sort_by(f64::total_cmp);
    Ok(delays)
}

type Row = (String, String);

fn machine() -> Result<Row> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let name = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let commit = output(&mut command("git", &["rev-parse", "--short", "HEAD"]))?;
    Ok((
        "machine, commit".to_owned(),
        format!("{name}, {}", commit.trim()),
    ))
}

/// One frame with a tracked face, decoded pixels to event, beside MediaPipe on the same frames and
/// the same core.
fn frame_time(release: &Path) -> Result<Vec<Row>> {
    let frames = scratch("frame-time")?.join("frames.raw");
    let python = python("mediapipe", &["mediapipe==0.10.21"])?;
    let pinned = |program: &Path| {
        let mut pinned = command("taskset", &["-c", "0"]);
        pinned.arg(program);
        pinned
    };
    let frame_time = release.join("examples/frame_time");
    let file = frames.to_string_lossy().into_owned();
    run(pinned(&frame_time).args(["write", &file]))?;
    let ours = || -> Result<Value> {
        let text = output(pinned(&frame_time).args(["time", &file]))?;
        serde_json::from_str(&text).context("frame_time printed no JSON")
    };
    let first = ours()?;
    let script = root().join("tests/xtask/bench/mediapipe_facemesh.py");
    let text = output(pinned(&python).arg(script).arg(&file))?;
    let last = text.lines().last().unwrap_or_default();
    let theirs: Value =
        serde_json::from_str(last).context("the MediaPipe script printed no JSON")?;
    let second = ours()?;
    let ms = |value: &Value, key: &str| value[key].as_f64().with_context(|| format!("no {key}"));
    // Before and after the other, so that a machine that slows down favours nobody.
    let ours_ms = 0.5 * (ms(&first, "frame_ms")? + ms(&second, "frame_ms")?);
    let theirs_ms = ms(&theirs, "frame_ms")?;
    let mut rows = vec![
        (
            "tracked frame 640x480, pixels to event, one core, median".to_owned(),
            format!("{ours_ms:.2} ms"),
        ),
        (
            "MediaPipe 0.10.21 FaceMesh with iris, same frames and core".to_owned(),
            format!("{theirs_ms:.2} ms"),
        ),
        ("ratio".to_owned(), format!("{:.2}", ours_ms / theirs_ms)),
    ];
    for part in ["landmarks_ms", "eyes_ms", "finder_ms"] {
        if let Some(time) = second[part].as_f64() {
            rows.push((
                format!("of which or beside it: {part}"),
                format!("{time:.2} ms"),
            ));
        }
    }
    Ok(rows)
}

struct Running {
    child: Child,
    folder: PathBuf,
}

impl Running {
    fn start(release: &Path) -> Result<Running> {
        let folder = scratch("daemon")?;
        let child = Command::new(release.join("gazed"))
            .args([
                "run",
                "--source",
                "synthetic",
                "--listen",
                "127.0.0.1:0",
                "--socket",
            ])
            .arg(folder.join("gazed.sock"))
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Running { child, folder })
    }

    /// Subscribes and waits for the first sample.
    fn first_sample(&self, release: &Path) -> Result<Child> {
        let mut watch = Command::new(release.join("gazed"))
            .args(["watch", "--json", "--wait", "--socket"])
            .arg(self.folder.join("gazed.sock"))
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(watch.stdout.take().context("it is piped")?);
        let mut lines = output.lines();
        let found = lines.find(|line| {
            line.as_ref()
                .is_ok_and(|line| line.contains(r#""type":"sample""#))
        });
        found.context("the daemon sent no sample")??;
        // Keeps reading, so that the subscriber stays a good one.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(watch)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended here and nowhere else; errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From start to first sample in another program, and memory while it runs.
fn daemon(release: &Path) -> Result<Vec<Row>> {
    let mut starts = Vec::new();
    let mut memory = String::new();
    for n in 0..N_STARTS {
        let began = Instant::now();
        let daemon = Running::start(release)?;
        let mut watch = daemon.first_sample(release)?;
        starts.push(began.elapsed());
        if n + 1 == N_STARTS {
            std::thread::sleep(SETTLE);
            memory = format!(
                "{:.1} MiB (peak {:.1})",
                memory_mib(daemon.child.id(), "VmRSS")?,
                memory_mib(daemon.child.id(), "VmHWM")?
            );
        }
        watch.kill()?;
        watch.wait()?;
    }
    starts.sort();
    let size = std::fs::metadata(release.join("gazed"))?.len();
    Ok(vec![
        (
            format!("start of the daemon to first sample in another program, median of {N_STARTS}"),
            format!("{} ms", starts[N_STARTS / 2].as_millis()),
        ),
        (
            "resident memory, synthetic observer, one subscriber".to_owned(),
            memory,
        ),
        ("program".to_owned(), format!("{:.1} MB", size as f64 / 1e6)),
    ])
}

fn memory_mib(pid: u32, key: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("no {key} for {pid}"))?;
    Ok(kib / 1024.0)
}

/// A long run faster than real time: memory at a tenth of it and at the end, and no frame without
/// its sample.
fn growth(release: &Path, n_frames: u64) -> Result<Row> {
    let n = n_frames.to_string();
    let mut child = Command::new(release.join("gazed"))
        .args(["process", "synthetic", "--frames", &n, "--out", "-"])
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(child.stdout.take().context("it is piped")?).lines();
    let (mut samples, mut events, mut early, mut late) = (0, 0_u64, 0.0, 0.0);
    for line in lines {
        let line = line?;
        if !line.contains(r#""type":"sample""#) {
            events += 1;
            continue;
        }
        ensure!(
            line.contains(&format!(r#""seq":{samples},"#)),
            "sample {samples} is missing"
        );
        samples += 1;
        if samples == n_frames / 10 {
            early = memory_mib(child.id(), "VmRSS")?;
        } else if samples == n_frames * 99 / 100 {
            late = memory_mib(child.id(), "VmRSS")?;
        }
    }
    ensure!(
        child.wait()?.success() && samples == n_frames,
        "the run ended after {samples} samples"
    );
    Ok((
        format!(
            "memory at a tenth and at the end of {} min of media time",
            n_frames / 1800
        ),
        format!("{early:.1} → {late:.1} MiB; {samples} samples, {events} other records, none lost"),
    ))
}
