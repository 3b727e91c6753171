//! The real program on the synthetic observer: start, subscribe, stop.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use gaze_tests::{Client, Daemon, run_gazed};

const GAZED: &str = env!("CARGO_BIN_EXE_gazed");

const ALL: &str = r#"{"type":"subscribe"}"#;
const EVENTS: &str = r#"{"type":"subscribe","types":["fixation","saccade","blink"]}"#;
const SYNTHETIC: &[&str] = &["--source", "synthetic:3"];

#[test]
fn the_header_comes_first_and_samples_and_fixations_follow() {
    let daemon = Daemon::start(GAZED, SYNTHETIC);
    let mut client = daemon.connect(ALL);
    let header = client.record();
    assert_eq!(
        (&header["type"], &header["version"]),
        (&"header".into(), &1.into())
    );
    assert_eq!(header["models"].as_array().map(Vec::len), Some(5));
    let first = client.record_of("sample");
    let second = client.record_of("sample");
    assert!(second["seq"].as_u64() > first["seq"].as_u64());
    assert_eq!(second["validity"], "uncalibrated", "{second}");
    assert!(
        second["por"]["x_mm"].is_number() && second["latency_us"].is_number(),
        "{second}"
    );
    let fixation = client.record_of("fixation");
    assert!(fixation["offset_us"].as_u64() > fixation["onset_us"].as_u64());
}

#[test]
fn two_programs_receive_the_same_events_while_a_third_never_reads() {
    let daemon = Daemon::start(GAZED, SYNTHETIC);
    let _never_reads = daemon.connect(ALL);
    let mut one = daemon.connect(EVENTS);
    let mut other = daemon.connect(EVENTS);
    assert_eq!(one.record()["type"], "header");
    assert_eq!(other.record()["type"], "header");
    // The second may have come an event later than the first.
    let first = other.line().unwrap();
    while one.line().unwrap() != first {}
    for _ in 0..3 {
        assert_eq!(one.line(), other.line());
    }
}

#[test]
fn a_program_that_sends_rubbish_is_told_so_and_others_are_unharmed() {
    let daemon = Daemon::start(GAZED, SYNTHETIC);
    let mut client = daemon.connect(EVENTS);
    assert_eq!(client.record()["type"], "header");
    let mut rubbish = Client::silent(&daemon.socket());
    rubbish.send("\u{1}\u{2} not JSON");
    assert_eq!(rubbish.record()["type"], "error");
    rubbish.send(r#"{"type":"subscribe","types":["smell"]}"#);
    assert_eq!(rubbish.record()["type"], "error");
    assert!(client.line().is_some());
}

#[test]
fn an_announced_object_is_entered_and_a_wrong_one_is_refused() {
    let daemon = Daemon::start(GAZED, SYNTHETIC);
    let mut client =
        daemon.connect(r#"{"type":"subscribe","types":["object_enter","object_leave"]}"#);
    assert_eq!(client.record()["type"], "header");
    client.send(r#"{"type":"scene","scene_id":"s","width_px":100,"height_px":100,"objects":[{"id":"x","box":[0,0,0,5]}]}"#);
    let refused = client.record();
    assert_eq!(refused["type"], "error");
    assert!(
        refused["message"].as_str().unwrap().contains("object x"),
        "{refused}"
    );
    // Larger than the screen, so that the gaze is on it wherever it is.
    client.send(r#"{"type":"scene","scene_id":"s","width_px":100,"height_px":100,"objects":[{"id":0,"box":[-200,-200,500,500]}]}"#);
    // Ids come back as they were announced, the one of a visit that the next scene ends as well.
    assert_eq!(client.record()["object"], 0);
    client.send(r#"{"type":"scene","scene_id":"t","width_px":100,"height_px":100,"objects":[{"id":"0","box":[-200,-200,500,500]}]}"#);
    let (leave, enter) = (client.record(), client.record());
    assert_eq!(
        (&leave["type"], &leave["object"]),
        (&"object_leave".into(), &0.into())
    );
    assert_eq!(
        (&enter["type"], &enter["object"]),
        (&"object_enter".into(), &"0".into())
    );
}

/// A file of settings whose daemon closes the camera a second after the last user.
fn idle_after_a_second(folder: &std::path::Path) -> String {
    let file = folder.join("idle.toml");
    std::fs::write(&file, "[power]\nidle_after_s = 1\n").expect("the folder is ours");
    file.to_str().expect("a readable path").to_owned()
}

#[test]
fn the_camera_rests_while_nobody_uses_gaze_and_clients_see_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let settings = idle_after_a_second(folder.path());
    let mut daemon = Daemon::start(GAZED, &["--source", "synthetic:3", "--config", &settings]);
    let mut client = daemon.connect(ALL);
    // By then there is gaze that can be missing.
    client.record_of("fixation");
    let before = client.record_of("sample");
    drop(client);
    daemon.wait_for_message("left");
    daemon.wait_for_message("the camera is off");
    assert_eq!(daemon.status()["state"]["activity"], "idle");
    // It is off for long enough to be missed, by the daemon's own clock; asking the time is no use of gaze.
    let mut asks = Client::silent(&daemon.socket());
    let mut now_us = || {
        asks.send(r#"{"type":"time"}"#);
        asks.record()["mono_us"].as_u64().unwrap()
    };
    let off_at_us = now_us();
    while now_us() < off_at_us + 600_000 {}
    let mut client = daemon.connect(ALL);
    assert_eq!(client.record()["type"], "header");
    let after = client.record_of("sample");
    let away_us = after["t_us"].as_u64().unwrap() - before["t_us"].as_u64().unwrap();
    assert!(away_us >= 600_000, "{away_us}");
    // Frames that were not taken have no numbers.
    assert!(after["seq"].as_u64().unwrap() > before["seq"].as_u64().unwrap());
    let gap = client.record_of("gap");
    let [onset_us, offset_us] = ["onset_us", "offset_us"].map(|key| gap[key].as_u64().unwrap());
    assert!(
        onset_us >= before["t_us"].as_u64().unwrap() && offset_us - onset_us > 500_000,
        "{gap}"
    );
    assert_eq!(daemon.status()["state"]["activity"], "streaming");
    assert_eq!(daemon.status()["users"]["subscriber"], 1);
}

#[test]
fn a_calibration_wakes_the_camera() {
    let folder = tempfile::tempdir().unwrap();
    let settings = idle_after_a_second(folder.path());
    let mut daemon = Daemon::start(GAZED, &["--source", "synthetic:3", "--config", &settings]);
    daemon.wait_for_message("the camera is off");
    let mut client = Client::silent(&daemon.socket());
    client.send(r#"{"type":"calibrate","do":"start","user":"anna"}"#);
    daemon.wait_for_message("reading synthetic");
    assert_eq!(daemon.status()["users"]["calibration"], 1);
}

#[test]
fn numbers_that_no_scene_has_are_refused_and_gaze_goes_on() {
    let daemon = Daemon::start(GAZED, SYNTHETIC);
    let mut client = daemon.connect(r#"{"type":"subscribe","types":["object_enter"]}"#);
    assert_eq!(client.record()["type"], "header");
    for area in ["[1e30,0,9,9]", "[0,0,9,1e38]", "[0,0,1e-45,9]"] {
        client.send(&format!(
            r#"{{"type":"scene","scene_id":"s","width_px":100,"height_px":100,"objects":[{{"id":"x","box":{area}}},{{"id":"y","box":[0,0,9,9]}}]}}"#
        ));
        client.send(r#"{"type":"scanpath_request","samples":1,"seed":0}"#);
        let refused = client.record();
        let why = refused["message"].as_str().unwrap();
        assert!(why.contains("object x"), "{refused}");
        let why = client.record();
        assert!(
            why["message"].as_str().unwrap().contains("no scene"),
            "{why}"
        );
    }
    client.send(r#"{"type":"scene","scene_id":"s","width_px":100,"height_px":100,"objects":[{"id":"all","box":[-200,-200,500,500]}]}"#);
    assert_eq!(client.record()["object"], "all");
}

#[test]
fn watch_finds_the_socket_of_the_settings() {
    use std::io::BufRead;
    let daemon = Daemon::start(GAZED, SYNTHETIC);
    // It listens once somebody could connect.
    drop(daemon.connect(ALL));
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("gazed.toml");
    std::fs::write(
        &settings,
        format!("[server]\nsocket = {:?}\n", daemon.socket()),
    )
    .unwrap();
    let mut watch = std::process::Command::new(GAZED)
        .args(["--config", settings.to_str().unwrap(), "watch", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut lines = std::io::BufReader::new(watch.stdout.take().unwrap());
    lines.read_line(&mut first).unwrap();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(first.starts_with(r#"{"type":"header""#), "{first}");
}

#[test]
fn sigterm_ends_it_with_success_and_removes_the_socket() {
    for signal in ["TERM", "INT"] {
        let daemon = Daemon::start(GAZED, SYNTHETIC);
        let mut client = daemon.connect(ALL);
        client.record_of("sample");
        let socket = daemon.socket();
        daemon.signal(signal);
        let (status, said) = daemon.wait();
        assert!(status.success(), "{status}: {said}");
        assert!(!socket.exists());
    }
}

#[test]
fn the_service_manager_hears_that_it_is_ready_alive_and_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut word = [0; 64];
    let mut heard = || {
        let n = manager.recv(&mut word).unwrap();
        String::from_utf8_lossy(&word[..n]).trim_end().to_owned()
    };
    let is_order = |word: &String| !word.starts_with("STATUS=");
    let notify_socket = format!("NOTIFY_SOCKET={}", path.display());
    let command = ["WATCHDOG_USEC=1000", &notify_socket, GAZED, "run"];
    let daemon = Daemon::start_as("env", &command, SYNTHETIC);
    let mut orders = std::iter::repeat_with(&mut heard).filter(is_order);
    assert_eq!(orders.next().as_deref(), Some("READY=1"));
    assert_eq!(orders.next().as_deref(), Some("WATCHDOG=1"));
    daemon.signal("TERM");
    let (status, said) = daemon.wait();
    assert!(status.success(), "{status}: {said}");
    let last = std::iter::repeat_with(heard)
        .filter(is_order)
        .find(|word| word != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}

#[test]
fn a_file_that_ends_ends_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.png", "b.png"] {
        image::GrayImage::new(32, 24)
            .save(folder.path().join(name))
            .unwrap();
    }
    let source = format!("images:{}", folder.path().display());
    let (status, said) = Daemon::start(GAZED, &["--source", &source]).wait();
    assert!(status.success(), "{status}: {said}");
}

#[test]
fn a_camera_that_is_not_there_is_waited_for() {
    let mut daemon = Daemon::start(GAZED, &["--source", "v4l2:/dev/video-that-is-not-there"]);
    let said = daemon.wait_for_message("no such camera");
    assert!(said.contains("list-cameras"), "{said}");
    daemon.signal("TERM");
    let (status, said) = daemon.wait();
    assert!(status.success(), "{status}: {said}");
}

#[test]
fn a_file_that_is_not_there_is_not_waited_for() {
    let (status, said) = Daemon::start(GAZED, &["--source", "video:not-there.mjpeg"]).wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("not-there.mjpeg"), "{said}");
}

#[test]
fn sigterm_before_the_first_frame_ends_it_with_success() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    make_fifo(&runs);
    let source = format!(
        "command:sh -c 'echo > {}; exec sleep 100'",
        runs.to_str().unwrap()
    );
    let daemon = Daemon::start(GAZED, &["--source", &source]);
    // The program has opened its end: it runs, and gives no frame.
    std::fs::read(&runs).unwrap();
    daemon.signal("TERM");
    let (status, said) = daemon.wait();
    assert!(status.success(), "{status}: {said}");
}

fn make_fifo(path: &std::path::Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("coreutils are there").success());
}

#[test]
fn a_reader_that_has_gone_is_no_mistake() {
    for arguments in [
        ["version"].as_slice(),
        &["completions", "bash"],
        &["board", "flash-help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = Command::new(GAZED).args(arguments).stdout(writer).output();
        let ran = ran.unwrap();
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn an_input_that_cannot_be_read_leaves_the_output_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.jsonl");
    std::fs::write(&out, "kept").unwrap();
    let missing = folder.path().join("missing");
    let [missing, out] = [&missing, &out].map(|path| path.to_str().unwrap());
    let ran = run_gazed(GAZED, &["process", missing, "--out", out]);
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert_eq!(ran.stderr.matches("os error 2").count(), 1, "{ran:?}");
    assert_eq!(std::fs::read_to_string(out).unwrap(), "kept");
}

#[test]
fn a_pipe_among_pictures_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    make_fifo(&folder.path().join("a.png"));
    image::GrayImage::new(32, 24)
        .save(folder.path().join("b.png"))
        .unwrap();
    let ran = run_gazed(
        GAZED,
        &["process", folder.path().to_str().unwrap(), "--out", "-"],
    );
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(ran.stdout.matches(r#""type":"sample""#).count(), 1);
}

#[test]
fn somebody_without_a_profile_is_tracked_uncalibrated() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let mut arguments = SYNTHETIC.to_vec();
    arguments.extend(["--user", "anna", "--state", state]);
    let daemon = Daemon::start(GAZED, &arguments);
    let mut client = daemon.connect(ALL);
    assert_eq!(client.record_of("header")["user"], serde_json::Value::Null);
    assert_eq!(client.record_of("sample")["validity"], "uncalibrated");
}

#[test]
fn check_config_reads_the_files_that_settings_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gazed.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        run_gazed(GAZED, &["check-config", file.to_str().unwrap()])
    };
    let ran = check("[vision]\nmodels = \"nowhere\"\n[server]\ntoken_file = \"token\"\n");
    assert_eq!(ran.status.code(), Some(78), "{ran:?}");
    // Beside the settings, wherever the program is started.
    for file in ["nowhere", "token"] {
        let path = folder.path().join(file);
        assert!(ran.stderr.contains(path.to_str().unwrap()), "{ran:?}");
    }
    let ran = check("[user]\nname = \"../anna\"\n");
    assert_eq!(ran.status.code(), Some(78), "{ran:?}");
    assert!(ran.stderr.contains("user.name"), "{ran:?}");
}

#[test]
fn settings_with_mistakes_are_refused_with_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gazed.toml");
    std::fs::write(
        &file,
        "[screen]\nwidth_cm = 5\n[source]\nframes_per_s = -1\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    for arguments in [["check-config", file].as_slice(), &["--config", file]] {
        let ran = run_gazed(GAZED, arguments);
        assert_eq!(ran.status.code(), Some(78), "{ran:?}");
        assert!(
            ran.stderr.contains("screen.width_cm") && ran.stderr.contains("source.frames_per_s"),
            "{ran:?}"
        );
    }
}

#[test]
fn mistakes_in_settings_and_profiles_have_an_exit_code_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let missing = folder.path().join("no-models");
    let [missing, settings] = [missing, folder.path().join("gazed.toml")];
    std::fs::write(&settings, "[server]\ngroup = \"no-such-group\"\n").unwrap();
    let [missing, settings] = [&missing, &settings].map(|path| path.to_str().unwrap());
    for arguments in [
        ["users", "--state", state, "show", "nobody"].as_slice(),
        &["report", "nobody", "--state", state],
        &["--config", settings, "run", "--source", "synthetic"],
        &["explain", state, "--out", state, "--models", missing],
    ] {
        let ran = run_gazed(GAZED, arguments);
        assert_eq!(ran.status.code(), Some(78), "{ran:?}");
    }
}

#[test]
fn a_model_that_breaks_its_contract_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../models");
    std::fs::create_dir(folder.path().join("onnx")).unwrap();
    for file in ["manifest.toml", "onnx/face.onnx", "onnx/landmarks.onnx"] {
        std::fs::copy(format!("{models}/{file}"), folder.path().join(file)).unwrap();
    }
    std::fs::write(folder.path().join("onnx/eyes.onnx"), b"not a network").unwrap();
    let ran = run_gazed(
        GAZED,
        &[
            "--config",
            "/dev/null",
            "run",
            "--models",
            folder.path().to_str().unwrap(),
        ],
    );
    assert_eq!(ran.status.code(), Some(78), "{ran:?}");
    assert!(ran.stderr.contains("eyes"), "{ran:?}");
}
