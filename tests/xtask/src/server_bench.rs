//! A thousand WebSocket subscribers at 60 Hz on one core, with and without hostile clients, and beside them what the
//! system takes to write the same bytes to as many sockets.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::shell::{cargo, command, root, run};

const SECONDS: &str = "20";
const SUBSCRIBERS: u64 = 1000;
const HOSTILE: u64 = 100;

/// Runs the bench and prints its table.
pub fn run_all() -> Result<()> {
    run(&mut cargo(&[
        "build",
        "--release",
        "-p",
        "gaze-host",
        "--example",
        "subscribers",
    ]))?;
    println!(
        "\n| {SUBSCRIBERS} subscribers at 60 Hz for {SECONDS} s | none hostile | and {HOSTILE} hostile | a bare loop of writes |\n|---|---|---|---|"
    );
    let subscribers = SUBSCRIBERS.to_string();
    let serve = ["serve", SECONDS];
    let good = measure(&serve, 0)?;
    let bad = measure(&serve, HOSTILE)?;
    let bare = measure(&["bare", SECONDS, &subscribers], 0)?;
    for ((what, good), ((_, bad), (_, bare))) in good.iter().zip(bad.iter().zip(&bare)) {
        println!("| {what} | {good} | {bad} | {bare} |");
    }
    Ok(())
}

type Row = (&'static str, String);

fn measure(server: &[&str], hostile: u64) -> Result<Vec<Row>> {
    // The server has a core of its own; the load has the others, where there are any.
    let n_cores = std::thread::available_parallelism()?.get();
    let others = format!("{}-{}", 1.min(n_cores - 1), n_cores - 1);
    let mut server = Part::start("0", server)?;
    let started = server.json()?;
    let port = started["port"].to_string();
    let mut load = Part::start(
        &others,
        &[
            "load",
            &port,
            &SUBSCRIBERS.to_string(),
            &hostile.to_string(),
        ],
    )?;
    ensure!(load.line()? == "connected", "the load did not connect");
    let stdin = server.child.stdin.as_mut().context("it is piped")?;
    stdin.write_all(b"go\n")?;
    let served = server.json()?;
    let received = load.json()?;
    let number = |value: &Value| value.as_u64().context("a number is missing");
    let (samples, fixations) = (number(&served["samples"])?, number(&served["fixations"])?);
    let mut lost = 0;
    let mut lost_fixations = 0;
    for group in received["received"].as_array().context("no groups")? {
        let subscribers = number(&group["subscribers"])?;
        lost += subscribers * (samples - number(&group["samples"])?);
        lost_fixations += subscribers * (fixations - number(&group["fixations"])?);
    }
    let before = number(&started["rss_kib"])?;
    let each = |after: &Value| -> Result<String> {
        let more = number(after)?.saturating_sub(before) as f64;
        Ok(format!("{:.1} KiB", more / (SUBSCRIBERS + hostile) as f64))
    };
    let latency = |share: &str| {
        format!(
            "{:.2} ms",
            received["latency_us"][share].as_f64().unwrap_or(f64::NAN) / 1000.0
        )
    };
    Ok(vec![
        ("added latency, median", latency("p50")),
        ("added latency, 99 %", latency("p99")),
        ("added latency, greatest", latency("max")),
        (
            "events lost by good subscribers",
            lost_fixations.to_string(),
        ),
        ("samples lost by good subscribers", lost.to_string()),
        (
            "clients disconnected",
            served["clients_dropped"].to_string(),
        ),
        (
            "memory a client, connected",
            each(&served["connected_rss_kib"])?,
        ),
        (
            "memory a client, at the end",
            each(&served["running_rss_kib"])?,
        ),
        (
            "share of the core",
            format!(
                "{:.0} %",
                served["cpu_share"].as_f64().unwrap_or(f64::NAN) * 100.0
            ),
        ),
    ])
}

/// One of the two programs.
struct Part {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Part {
    fn start(cores: &str, arguments: &[&str]) -> Result<Part> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
        // A thousand sockets and a few more.
        let mut pinned = command("prlimit", &["--nofile=8192", "taskset", "-c", cores]);
        pinned
            .arg(target.join("release/examples/subscribers"))
            .args(arguments);
        let mut child = pinned
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("it is piped")?).lines();
        Ok(Part { child, lines })
    }

    fn line(&mut self) -> Result<String> {
        Ok(self.lines.next().context("it ended early")??)
    }

    fn json(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.line()?)?)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Ended here and nowhere else; errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
