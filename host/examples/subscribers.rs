//! Many WebSocket subscribers, some of them hostile: `cargo xtask bench server` runs it.
//!
//! `serve SECONDS` is the daemon's server without a camera: it prints its port, publishes 60
//! samples and 3 fixations a second from the line `go` on standard input on, and prints what it
//! counted. `load PORT SUBSCRIBERS HOSTILE` connects, prints `connected`, reads until the server
//! ends, and prints what arrived and how late. Both print JSON, a line each. `bare SECONDS SUBSCRIBERS` stands for
//! `serve`: a loop that does nothing but write the same bytes to each socket, for what the system itself takes.
//!
//! Latency is from just before a record is handed to the server until a subscriber's read returns
//! with its last byte; both ends read the same monotonic clock.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use gaze_host::clock::CaptureTime;
use gaze_host::demand::Demand;
use gaze_host::metrics::{Counter, Metrics};
use gaze_host::record::{Record, TimedRecord};
use gaze_host::server::{PreviewSlot, Server, ServerLinks, ServerSettings};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const RATE_HZ: u64 = 60;
/// Every so many samples there is a fixation.
const SAMPLES_PER_FIXATION: u64 = 20;

const HEADER: &str = r#"{"type":"header","version":1,"program":"bench","source":"bench","frame_size_px":[640,480],"models":[],"user":null,"screen":{"width_mm":531.0,"height_mm":299.0,"width_px":null,"height_px":null}}"#;
const SAMPLE: &str = r#"{"type":"sample","seq":0,"frame":0,"size_px":[640,480],"t_us":0,"validity":"uncalibrated","face":{"box":[203.8,112.1,231.4,231.4],"confidence":0.99},"eyes":{"left":{"center_px":[364.3,206.1],"iris_px":[365.2,205.4,8.3],"openness":0.82,"confidence":0.97},"right":{"center_px":[276.9,207.4],"iris_px":[277.5,206.7,8.2],"openness":0.83,"confidence":0.97}},"head":{"position_mm":[0.7,-22.4,588.2],"yaw_rad":0.0211,"pitch_rad":-0.0324,"roll_rad":0.0088},"gaze":{"yaw_rad":0.1023,"pitch_rad":-0.1312,"sigma_rad":0.0377,"origin_mm":[0.7,-22.4,588.2]},"features":[0.0123,-0.0431,0.1093,-0.2011,0.0456,0.0912],"por":{"x_mm":204.1,"y_mm":99.8,"x":0.38436,"y":0.33377},"latency_us":15321}"#;
const FIXATION: &str = r#"{"type":"fixation","onset_us":1233333,"offset_us":1566666,"por":{"x_mm":212.4,"y_mm":97.1,"x":0.4,"y":0.32},"dispersion_deg":1.1}"#;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &*arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        ["serve", seconds] => serve(seconds.parse()?),
        ["load", port, subscribers, hostile] => {
            load(port.parse()?, subscribers.parse()?, hostile.parse()?)
        }
        ["bare", seconds, subscribers] => bare(seconds.parse()?, subscribers.parse()?),
        _ => bail!("serve SECONDS | load PORT SUBSCRIBERS HOSTILE | bare SECONDS SUBSCRIBERS"),
    }
}

fn serve(seconds: u64) -> Result<()> {
    let metrics = Arc::new(Metrics::new());
    let settings = ServerSettings {
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        max_clients: 4096,
        ..ServerSettings::default()
    };
    let server = Server::bind(settings, Arc::clone(&metrics))?;
    let port = server.page_address().context("the page is on")?.port();
    let publisher = server.publisher();
    let (controls, _) = crossbeam_channel::bounded(1);
    let (paths, _) = crossbeam_channel::bounded(1);
    let links = ServerLinks {
        preview: Arc::new(PreviewSlot::new()),
        controls,
        paths,
        demand: Demand::default(),
    };
    let serving = std::thread::spawn(move || server.run(links));
    publisher.publish(serde_json::from_str(HEADER)?, None);
    say(&json!({ "port": port, "rss_kib": rss_kib()? }))?;
    await_go()?;
    let connected_kib = rss_kib()?;
    let cpu_share = send_records(seconds, |record, at| {
        publisher.publish(record, Some(at));
        Ok(())
    })?;
    let running_kib = rss_kib()?;
    drop(publisher);
    serving
        .join()
        .map_err(|_| anyhow::anyhow!("the server panicked"))??;
    say(&json!({
        "connected_rss_kib": connected_kib,
        "running_rss_kib": running_kib,
        "cpu_share": cpu_share,
        "samples": seconds * RATE_HZ,
        "fixations": (seconds * RATE_HZ).div_ceil(SAMPLES_PER_FIXATION),
        "samples_dropped": metrics.counted(Counter::SamplesDropped),
        "client_samples_dropped": metrics.counted(Counter::ClientSamplesDropped),
        "clients_dropped": metrics.counted(Counter::ClientsDropped),
    }))
}

fn await_go() -> Result<()> {
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// Makes the records, each when it is due; gives the share of a core that this process took.
fn send_records(
    seconds: u64,
    mut send: impl FnMut(Record, CaptureTime) -> Result<()>,
) -> Result<f64> {
    let sample: Record = serde_json::from_str(SAMPLE)?;
    let fixation: Record = serde_json::from_str(FIXATION)?;
    let began = Instant::now();
    let cpu_began = cpu_ticks()?;
    for seq in 0..seconds * RATE_HZ {
        let due = began + Duration::from_nanos(seq * 1_000_000_000 / RATE_HZ);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut record = sample.clone();
        if let Record::Sample(sample) = &mut record {
            sample.seq = seq;
        }
        // Both are there at once, whatever the first takes.
        let at = CaptureTime::now();
        send(record, at)?;
        if seq.is_multiple_of(SAMPLES_PER_FIXATION) {
            send(fixation.clone(), at)?;
        }
    }
    let cpu_s = (cpu_ticks()? - cpu_began) as f64 / 100.0;
    Ok(cpu_s / began.elapsed().as_secs_f64())
}

fn bare(seconds: u64, subscribers: usize) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    say(&json!({ "port": listener.local_addr()?.port(), "rss_kib": rss_kib()? }))?;
    let mut streams = Vec::new();
    for _ in 0..subscribers {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            request.extend(byte);
        }
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")?;
        streams.push(stream);
    }
    await_go()?;
    let connected_kib = rss_kib()?;
    let cpu_share = send_records(seconds, |record, at| {
        let text = TimedRecord {
            record,
            at: Some(at),
        }
        .to_line();
        // A frame of a WebSocket; every record here has 126 to 65535 bytes.
        let mut frame = vec![0x81, 126];
        frame.extend(u16::try_from(text.len())?.to_be_bytes());
        frame.extend(text.bytes());
        for stream in &mut streams {
            stream.write_all(&frame)?;
        }
        Ok(())
    })?;
    say(&json!({
        "connected_rss_kib": connected_kib,
        "running_rss_kib": rss_kib()?,
        "cpu_share": cpu_share,
        "samples": seconds * RATE_HZ,
        "fixations": (seconds * RATE_HZ).div_ceil(SAMPLES_PER_FIXATION),
        "clients_dropped": 0,
    }))
}

fn say(value: &serde_json::Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

fn rss_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.context("no VmRSS")?.parse()?)
}

/// Of this process, user and system, hundredths of a second.
fn cpu_ticks() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().context("no name")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

/// What one subscriber got.
#[derive(Default)]
struct Received {
    samples: u64,
    fixations: u64,
    latencies_us: Vec<u32>,
}

fn load(port: u16, subscribers: usize, hostile: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut readers = Vec::new();
        for _ in 0..subscribers {
            let stream = subscribe(port).await?;
            readers.push(tokio::spawn(read_all(stream)));
        }
        for n in 0..hostile {
            tokio::spawn(torment(port, n));
        }
        // Time for the hostile ones to begin.
        tokio::time::sleep(Duration::from_secs(2)).await;
        println!("connected");
        let mut all = Received::default();
        let mut by_count: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        for reader in readers {
            let received = reader.await??;
            *by_count
                .entry((received.samples, received.fixations))
                .or_default() += 1;
            all.samples += received.samples;
            all.fixations += received.fixations;
            all.latencies_us.extend(received.latencies_us);
        }
        all.latencies_us.sort_unstable();
        let percentile = |share: f64| {
            let last = all.latencies_us.len().saturating_sub(1) as f64;
            all.latencies_us.get((last * share) as usize)
        };
        let counts: Vec<_> = by_count
            .iter()
            .map(|((samples, fixations), subscribers)| {
                json!({ "samples": samples, "fixations": fixations, "subscribers": subscribers })
            })
            .collect();
        say(&json!({
            "received": counts,
            "latency_us": {
                "p50": percentile(0.5), "p90": percentile(0.9), "p99": percentile(0.99),
                "max": percentile(1.0),
            },
        }))
    })
}

/// A subscriber, its answer read up to the first record.
async fn subscribe(port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "GET /events?types= HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    ensure!(
        answer.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    Ok(stream)
}

async fn read_all(mut stream: TcpStream) -> Result<Received> {
    let mut received = Received::default();
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(received);
        }
        let now_us = CaptureTime::now().mono_us;
        let mut at = 0;
        while let Some((message, length)) = message(&buffer[at..]) {
            received.take(message, now_us);
            at += length;
        }
        buffer.drain(..at);
    }
}

/// The first text message of a server, and its length with all.
fn message(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (head, length) = match *bytes.get(1)? {
        126 => (
            4,
            usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
        ),
        length => (2, usize::from(length)),
    };
    Some((bytes.get(head..head + length)?, head + length))
}

impl Received {
    fn take(&mut self, message: &[u8], now_us: u64) {
        if message.starts_with(br#"{"type":"sample""#) {
            self.samples += 1;
        } else if message.starts_with(br#"{"type":"fixation""#) {
            self.fixations += 1;
        } else {
            return;
        }
        if let Some(sent_us) = number_after(message, br#""mono_us":"#) {
            self.latencies_us
                .push(now_us.saturating_sub(sent_us) as u32);
        }
    }
}

/// The number behind a key that stands near the end.
fn number_after(message: &[u8], key: &[u8]) -> Option<u64> {
    let from = message
        .windows(key.len())
        .rposition(|window| window == key)?
        + key.len();
    let digits = message[from..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, byte| number * 10 + u64::from(byte - b'0')))
}

/// Five ways to be a bad client, in turn; whatever comes of it.
async fn torment(port: u16, n: usize) -> Result<()> {
    let raw = TcpStream::connect(("127.0.0.1", port));
    let for_ever = Duration::from_secs(3600);
    match n % 5 {
        // Never reads.
        0 => {
            let _kept = subscribe(port).await?;
            tokio::time::sleep(for_ever).await;
        }
        // Reads a byte a second.
        1 => {
            let mut stream = subscribe(port).await?;
            loop {
                stream.read_u8().await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        // Sends rubbish.
        2 => {
            let mut stream = raw.await?;
            loop {
                stream.write_all(&[0x5a; 4096]).await?;
            }
        }
        // Half a request, and no more.
        3 => {
            let mut stream = raw.await?;
            stream
                .write_all(b"GET /events HTTP/1.1\r\nHost: 127")
                .await?;
            tokio::time::sleep(for_ever).await;
        }
        // A message of ten megabytes.
        _ => {
            let mut stream = subscribe(port).await?;
            let length = 10_u64 << 20;
            let mut head = vec![0x81, 0xff];
            head.extend(length.to_be_bytes());
            head.extend([1, 2, 3, 4]);
            stream.write_all(&head).await?;
            stream.write_all(&vec![b'x'; length as usize]).await?;
        }
    }
    Ok(())
}
