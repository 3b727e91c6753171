//! `gazed record`, `replay` and `export`: nothing that was acknowledged is lost, and what comes out
//! is what went in.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use gaze_tests::{Daemon, run_gazed};
use serde_json::Value;

const GAZED: &str = env!("CARGO_BIN_EXE_gazed");

/// Kills of the recorder; `GAZED_KILLS` asks for more.
const KILLS: usize = 20;

/// Records of the synthetic observer, a little more than a block of the recording.
fn lines() -> String {
    let ran = run_gazed(
        GAZED,
        &["process", "synthetic:2", "--frames", "90", "--out", "-"],
    );
    assert!(ran.status.success(), "{ran:?}");
    ran.stdout
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn replayed(recording: &Path) -> String {
    let ran = run_gazed(GAZED, &["replay", text(recording), "--out", "-"]);
    assert!(ran.status.success(), "{ran:?}");
    ran.stdout
}

#[test]
fn no_acknowledged_record_is_lost_when_the_recorder_is_killed() {
    let kills = std::env::var("GAZED_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let input = lines().repeat(20);
    for kill in 0..kills {
        let path = folder.path().join(format!("{kill}.gazed"));
        let mut recorder = Command::new(GAZED)
            .args(["record", text(&path), "--from", "-", "--acknowledge"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = recorder.stdin.take().unwrap();
        let fed = input.clone();
        let feeding = std::thread::spawn(move || {
            // Fails when the recorder is killed, as it should.
            let _ = stdin.write_all(fed.as_bytes());
        });
        let acknowledged: usize = BufReader::new(recorder.stdout.take().unwrap())
            .lines()
            .take(1 + kill % 17)
            .last()
            .unwrap()
            .unwrap()
            .parse()
            .unwrap();
        recorder.kill().unwrap();
        recorder.wait().unwrap();
        feeding.join().unwrap();
        let kept = replayed(&path);
        assert!(input.starts_with(&kept), "kill {kill}");
        assert!(
            kept.lines().count() >= acknowledged,
            "kill {kill}: {} records of {acknowledged}",
            kept.lines().count()
        );
    }
}

#[test]
fn a_full_disk_leaves_whole_blocks_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gazed");
    let from = folder.path().join("a.jsonl");
    let input = lines().repeat(20);
    fs::write(&from, &input).unwrap();
    // The shell's limit of a file's size stands for the disk: 40 units of 512 or 1024 bytes.
    let script = r#"trap '' XFSZ; ulimit -f 40; exec "$0" "$@""#;
    let ran = Command::new("sh")
        .args(["-c", script, GAZED, "record", text(&path)])
        .args(["--from", text(&from)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(
        said.contains("a.gazed: ") && said.contains("too large") && said.contains("make room"),
        "{said}"
    );
    let kept = replayed(&path);
    assert!(!kept.is_empty() && kept.len() < input.len());
    assert!(input.starts_with(&kept));
}

#[test]
fn where_it_records_to_is_said_once_it_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let (path, from) = (folder.path().join("a.gazed"), folder.path().join("a.jsonl"));
    // With the mark that some editors put first.
    fs::write(
        &from,
        "\u{feff}{\"type\":\"blink\",\"onset_us\":1,\"offset_us\":2}\n",
    )
    .unwrap();
    let record = || run_gazed(GAZED, &["record", text(&path), "--from", text(&from)]);
    let first = record();
    assert!(first.status.success(), "{first:?}");
    assert!(first.stderr.contains("recording to"), "{first:?}");
    assert!(replayed(&path).starts_with("{\"type\":\"blink\""));
    let second = record();
    assert!(second.stderr.contains("exists already"), "{second:?}");
    assert!(!second.stderr.contains("recording to"), "{second:?}");
}

#[test]
fn a_recorder_whose_daemon_ends_names_what_it_has() {
    let daemon = Daemon::start(GAZED, &["--source", "synthetic:3"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gazed");
    let socket = daemon.socket();
    let mut recorder = Command::new(GAZED)
        .args(["record", text(&path), "--acknowledge", "--socket"])
        .arg(&socket)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = String::new();
    let mut stdout = BufReader::new(recorder.stdout.take().unwrap());
    stdout.read_line(&mut acknowledged).unwrap();
    daemon.signal("TERM");
    let ran = recorder.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(
        said.contains("gazed has stopped") && !said.contains("--wait"),
        "{said}"
    );
}

#[test]
fn ctrl_c_ends_a_recording_of_a_silent_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gazed");
    let mut recorder = Command::new(GAZED)
        .args(["record", text(&path), "--from", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = recorder.stdin.take().unwrap();
    let line = "{\"type\":\"blink\",\"onset_us\":1,\"offset_us\":2}\n";
    stdin.write_all(line.as_bytes()).unwrap();
    // It says so after it takes signals.
    let mut said = String::new();
    let mut stderr = BufReader::new(recorder.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    assert!(said.contains("recording to"), "{said}");
    let id = recorder.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    assert!(recorder.wait().unwrap().success());
    drop(stdin);
    // Whether the line was read before the signal came is the system's affair.
    assert!(line.starts_with(&replayed(&path)));
}

#[test]
fn a_recording_replays_byte_for_byte_and_exports_every_sample() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gazed");
    let input = lines();
    let from = folder.path().join("a.jsonl");
    fs::write(&from, &input).unwrap();
    let ran = run_gazed(GAZED, &["record", text(&path), "--from", text(&from)]);
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(replayed(&path), input);
    assert!(fs::metadata(&path).unwrap().len() < input.len() as u64 / 2);

    let out = folder.path().join("out");
    let [csv, parquet, bids] = ["csv", "parquet", "bids"].map(|name| out.join(name));
    let arguments = [
        "export",
        text(&path),
        "--csv",
        text(&csv),
        "--parquet",
        text(&parquet),
        "--bids",
        text(&bids),
    ];
    let ran = run_gazed(GAZED, &arguments);
    assert!(ran.status.success(), "{ran:?}");
    let samples = fs::read_to_string(csv.join("samples.csv")).unwrap();
    assert_eq!(samples.lines().count(), 1 + 90);
    let records: Vec<Value> = input
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let first = records
        .iter()
        .find(|record| record["type"] == "sample")
        .unwrap();
    let row: Vec<&str> = samples.lines().nth(1).unwrap().split(',').collect();
    let column = |name: &str| {
        let names = samples.lines().next().unwrap();
        row[names.split(',').position(|found| found == name).unwrap()]
    };
    assert_eq!(column("t_us"), first["t_us"].to_string());
    assert_eq!(column("x_mm"), first["por"]["x_mm"].to_string());
    assert_eq!(column("unix_us"), "", "a processed recording has no clock");
    let is_event = |record: &&Value| {
        let complete = ["fixation", "saccade", "pursuit", "blink", "gap"];
        complete.contains(&record["type"].as_str().unwrap())
    };
    let n_events = records.iter().filter(is_event).count();
    let events = fs::read_to_string(csv.join("events.csv")).unwrap();
    assert_eq!(events.lines().count(), 1 + n_events);
    // Parquet begins and ends with its name; a reader of others' making looks inside in `xtask clients`.
    let bytes = fs::read(parquet.join("samples.parquet")).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    assert!(
        bids.join("sub-01/beh/sub-01_task-gaze_recording-eye1_physio.tsv.gz")
            .exists()
    );

    let again = run_gazed(GAZED, &arguments);
    assert_eq!(again.status.code(), Some(1));
    assert!(again.stderr.contains("exists already"), "{again:?}");
}

#[test]
fn a_running_daemon_is_recorded_until_the_recorder_is_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gazed");
    let daemon = Daemon::start(GAZED, &["--source", "synthetic:3"]);
    let mut recorder = Command::new(GAZED)
        .args(["record", text(&path), "--acknowledge", "--socket"])
        .arg(daemon.socket())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = BufReader::new(recorder.stdout.take().unwrap()).lines();
    acknowledged.next().unwrap().unwrap();
    let pid = recorder.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let last: usize = acknowledged.last().unwrap().unwrap().parse().unwrap();
    assert!(recorder.wait().unwrap().success());
    let kept = replayed(&path);
    assert_eq!(kept.lines().count(), last);
    let records: Vec<Value> = kept
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records[0]["type"], "header");
    let samples: Vec<&Value> = records
        .iter()
        .filter(|record| record["type"] == "sample")
        .collect();
    // The monotonic clock runs with the frames; the other may be set at any time.
    for pair in samples.windows(2) {
        let step = |key: &str| pair[1][key].as_u64().unwrap() - pair[0][key].as_u64().unwrap();
        assert_eq!(step("mono_us"), step("t_us"));
        assert!(pair[1]["unix_us"].is_u64());
    }
}

#[test]
fn a_replay_serves_clients_the_recorded_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gazed");
    let from = folder.path().join("a.jsonl");
    let input = lines();
    fs::write(&from, &input).unwrap();
    let ran = run_gazed(GAZED, &["record", text(&path), "--from", text(&from)]);
    assert!(ran.status.success(), "{ran:?}");
    let daemon = Daemon::start_as(GAZED, &["replay", text(&path)], &[]);
    let mut client = daemon.connect(r#"{"type":"subscribe","types":["sample"]}"#);
    assert_eq!(client.record()["type"], "header");
    let mut n_heard = 0;
    while let Some(line) = client.line() {
        assert!(input.contains(&format!("{line}\n")));
        n_heard += 1;
    }
    assert!(n_heard > 0);
    let (status, said) = daemon.wait();
    assert!(status.success(), "{said}");
}

#[test]
fn a_second_subject_joins_a_dataset_and_inputs_are_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let [path, from, bids] = ["a.gazed", "a.jsonl", "bids"].map(|name| folder.path().join(name));
    let input = lines();
    fs::write(&from, &input).unwrap();
    let ran = run_gazed(GAZED, &["record", text(&path), "--from", text(&from)]);
    assert!(ran.status.success(), "{ran:?}");
    let export = |subject| {
        let arguments = [
            "export",
            text(&path),
            "--bids",
            text(&bids),
            "--subject",
            subject,
        ];
        run_gazed(GAZED, &arguments)
    };
    for subject in ["01", "02"] {
        let ran = export(subject);
        assert!(ran.status.success(), "{ran:?}");
        assert!(bids.join(format!("sub-{subject}/beh")).is_dir());
    }
    let participants = fs::read_to_string(bids.join("participants.tsv")).unwrap();
    assert_eq!(participants, "participant_id\nsub-01\nsub-02\n");
    let again = export("02");
    assert!(again.stderr.contains("exists already"), "{again:?}");

    let ran = run_gazed(GAZED, &["replay", text(&path), "--out", text(&path)]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stderr.contains("would be lost"), "{ran:?}");
    assert_eq!(replayed(&path), input);
}

#[test]
fn rubbish_is_not_recorded_and_what_came_before_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (path, from) = (folder.path().join("a.gazed"), folder.path().join("a.jsonl"));
    let good = "{\"type\":\"blink\",\"onset_us\":1,\"offset_us\":2}\n";
    fs::write(&from, format!("{good}not a record\n")).unwrap();
    let ran = run_gazed(GAZED, &["record", text(&path), "--from", text(&from)]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stderr.contains("line 2 is not a record"), "{ran:?}");
    assert_eq!(replayed(&path), good);
    let again = run_gazed(GAZED, &["record", text(&path), "--from", text(&from)]);
    assert!(again.stderr.contains("never overwritten"), "{again:?}");
}

#[test]
fn a_rust_program_reads_records_and_asks_for_the_time() {
    use gaze_host::client::Client;
    use gaze_host::record::{Record, RecordKind};

    let daemon = Daemon::start(GAZED, &["--source", "synthetic:3"]);
    let mut client = Client::connect(Some(&daemon.socket())).unwrap();
    client.subscribe(&[RecordKind::Sample]).unwrap();
    assert!(matches!(
        client.next().unwrap().unwrap().record,
        Record::Header(_)
    ));
    let sample = client.next().unwrap().unwrap();
    assert!(sample.at.is_some() && matches!(sample.record, Record::Sample(_)));
    client.send(r#"{"type":"time","echo":4}"#).unwrap();
    let echo = client
        .map(Result::unwrap)
        .find_map(|record| match record.record {
            Record::Time(time) => time.echo.zip(record.at),
            _ => None,
        });
    let (echo, at) = echo.unwrap();
    assert_eq!(echo, 4);
    assert!(at.mono_us > sample.at.unwrap().mono_us);
}

/// A daemon whose settings allow what is asked.
fn daemon_that_gives_frames(folder: &Path) -> Daemon {
    let config = folder.join("gazed.toml");
    fs::write(&config, "[recording]\nframes = true\n").unwrap();
    Daemon::start(
        GAZED,
        &["--source", "synthetic:3", "--config", text(&config)],
    )
}

/// Records with pictures until so many records are safe, then ends the recorder so; what it said.
fn record_frames(path: &Path, daemon: &Daemon, least: usize, signal: &str) -> String {
    let mut recorder = Command::new(GAZED)
        .args(["record", text(path), "--frames", "--acknowledge"])
        .arg("--socket")
        .arg(daemon.socket())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let acknowledged = BufReader::new(recorder.stdout.take().unwrap()).lines();
    let mut safe = acknowledged.map(|line| line.unwrap().parse::<usize>().unwrap());
    assert!(safe.any(|n_records| n_records >= least));
    let pid = recorder.id().to_string();
    let killed = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(killed.unwrap().success());
    let mut said = String::new();
    let mut stderr = recorder.stderr.take().unwrap();
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    recorder.wait().unwrap();
    said
}

fn of_kind<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let is_kind = |record: &&Value| record["type"] == kind;
    records.iter().filter(is_kind).collect()
}

#[test]
fn recorded_pictures_are_exported_and_processed_again() {
    let folder = tempfile::tempdir().unwrap();
    let [path, pictures] = ["a.gazed", "pictures"].map(|name| folder.path().join(name));
    let daemon = daemon_that_gives_frames(folder.path());
    let said = record_frames(&path, &daemon, 40, "INT");
    let records: Vec<Value> = replayed(&path)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let recorded = of_kind(&records, "picture");
    let n_samples = of_kind(&records, "sample").len();
    assert!(recorded.len() > 5, "{said}");
    let counted = format!(
        "{} pictures; {} of {n_samples} samples have none",
        recorded.len(),
        n_samples.saturating_sub(recorded.len())
    );
    assert!(said.contains(&counted), "{said}");

    let ran = run_gazed(GAZED, &["export", text(&path), "--frames", text(&pictures)]);
    assert!(ran.status.success(), "{ran:?}");
    let mut names: Vec<String> = fs::read_dir(&pictures)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected: Vec<String> = recorded
        .iter()
        .map(|picture| format!("{:08}.jpg", picture["seq"].as_u64().unwrap()))
        .collect();
    assert_eq!(names, expected);

    let source = format!("images:{}", text(&pictures));
    let ran = run_gazed(GAZED, &["process", &source, "--independent", "--out", "-"]);
    assert!(ran.status.success(), "{ran:?}");
    let again: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let again = of_kind(&again, "sample");
    assert_eq!(again.len(), names.len());
    // The face is where it was, to a few pixels: JPEG, and here no face is followed from frame to frame.
    let mut n_compared = 0;
    for (sample, name) in again.iter().zip(&names) {
        assert_eq!(sample["frame"], name.as_str());
        let seq: u64 = name.trim_end_matches(".jpg").parse().unwrap();
        let before = of_kind(&records, "sample")
            .into_iter()
            .find(|sample| sample["seq"] == seq);
        let iris = |sample: &Value| sample["eyes"]["left"]["iris_px"][0].as_f64();
        if let (Some(before), Some(now)) = (before.and_then(iris), iris(sample)) {
            assert!((before - now).abs() < 8.0, "{name}: {before} {now}");
            n_compared += 1;
        }
    }
    assert!(n_compared > 3);
}

#[test]
fn a_recording_with_pictures_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gazed");
    let daemon = daemon_that_gives_frames(folder.path());
    record_frames(&path, &daemon, 30, "KILL");
    let kept = replayed(&path);
    assert!(kept.lines().count() >= 30);
    assert!(kept.contains(r#""type":"picture""#));
}

#[test]
fn a_daemon_that_does_not_give_pictures_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gazed");
    let daemon = Daemon::start(GAZED, &["--source", "synthetic:3"]);
    let socket = daemon.socket();
    let arguments = ["record", text(&path), "--frames", "--socket", text(&socket)];
    let ran = run_gazed(GAZED, &arguments);
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stderr.contains("set frames = true"), "{ran:?}");
    assert!(!path.exists());

    let from = folder.path().join("a.jsonl");
    fs::write(&from, lines()).unwrap();
    let ran = run_gazed(GAZED, &["record", text(&path), "--from", text(&from)]);
    assert!(ran.status.success(), "{ran:?}");
    let ran = run_gazed(GAZED, &["export", text(&path), "--frames", "nowhere"]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stderr.contains("gazed record --frames"), "{ran:?}");
}
