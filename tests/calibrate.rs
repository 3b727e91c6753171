//! A synthetic person calibrates from a recording, and the profile is used.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use gaze_observer::{Observer, ObserverSettings, ScriptKind, ScriptTarget};
use gaze_protocol::{PointOfRegard, Span, Timestamp};
use gaze_tests::{Daemon, Ran, run_gazed};
use serde_json::Value;

const GAZED: &str = env!("CARGO_BIN_EXE_gazed");

const SCREEN_MM: [f32; 2] = [531.0, 299.0];
const FRAMES_PER_TARGET: u64 = 6;
/// The eyes have arrived by then: reaction and saccade take a quarter of a second.
const SETTLED_MS: u64 = 500;
const TARGET_MS: u64 = 1000;

/// A 3x3 grid at 10, 50 and 90 % of the screen, then four places between for validation.
fn targets() -> Vec<PointOfRegard> {
    let at = |x: f32, y: f32| PointOfRegard {
        x_mm: x * SCREEN_MM[0],
        y_mm: y * SCREEN_MM[1],
    };
    let grid = [0.1, 0.5, 0.9]
        .into_iter()
        .flat_map(|y| [0.1, 0.5, 0.9].map(|x| at(x, y)));
    let between = [(0.3, 0.3), (0.7, 0.3), (0.3, 0.7), (0.7, 0.7)].map(|(x, y)| at(x, y));
    grid.chain(between).collect()
}

/// Renders a person who looks at each target in turn; gives the table's lines.
fn record(folder: &Path) -> Vec<String> {
    let script = targets()
        .into_iter()
        .map(|point| ScriptTarget {
            point,
            duration: Span::from_ms(TARGET_MS),
        })
        .collect();
    let settings = ObserverSettings {
        seed: 11,
        script: ScriptKind::Targets(script),
        ..ObserverSettings::default()
    };
    let [width, height] = [settings.width_px, settings.height_px];
    let mut observer = Observer::new(settings).unwrap();
    let mut luma = vec![0; (width * height) as usize];
    let mut lines = Vec::new();
    for (n, target) in targets().into_iter().enumerate() {
        for frame in 0..FRAMES_PER_TARGET {
            let at_ms = n as u64 * TARGET_MS + SETTLED_MS + frame * 33;
            observer.render(Timestamp(at_ms * 1000), &mut luma);
            let name = format!("{n:02}-{frame}.png");
            image::GrayImage::from_raw(width, height, luma.clone())
                .unwrap()
                .save(folder.join(&name))
                .unwrap();
            lines.push(format!("{name},{},{}", target.x_mm, target.y_mm));
        }
    }
    lines
}

/// Mean distance between the point of regard and the target over these rows, mm.
fn mean_error_mm(records: &str, rows: &[String], validity: &str) -> f32 {
    let mut errors = Vec::new();
    for record in records
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
    {
        let Some(row) = rows
            .iter()
            .find(|row| record["frame"].as_str() == row.split(',').next())
        else {
            continue;
        };
        let mut target = row
            .split(',')
            .skip(1)
            .map(|number| number.parse::<f64>().unwrap());
        if let (Some(x), Some(y)) = (
            record["por"]["x_mm"].as_f64(),
            record["por"]["y_mm"].as_f64(),
        ) {
            assert_eq!(record["validity"], validity, "{record}");
            errors.push((x - target.next().unwrap()).hypot(y - target.next().unwrap()) as f32);
        }
    }
    assert!(
        errors.len() * 2 > rows.len(),
        "more than half of the frames have a point of regard"
    );
    errors.iter().sum::<f32>() / errors.len() as f32
}

#[test]
fn a_calibration_from_a_recording_is_used_and_better_than_none() {
    let folder = tempfile::tempdir().unwrap();
    let (state, rows, said) = calibrated(folder.path());
    assert!(
        said.contains("accuracy") && said.contains("chosen"),
        "{said}"
    );
    let validation = &rows[9 * FRAMES_PER_TARGET as usize..];
    let frames = folder.path().join("frames");
    let [frames, state] = [frames.to_str().unwrap(), &state];

    let process = |user: &[&str]| {
        let mut arguments = vec![
            "process",
            frames,
            "--out",
            "-",
            "--independent",
            "--state",
            state,
        ];
        arguments.extend(user);
        let ran = run_gazed(GAZED, &arguments);
        assert!(ran.status.success(), "{ran:?}");
        ran.stdout
    };
    let without = mean_error_mm(&process(&[]), validation, "uncalibrated");
    let with = mean_error_mm(&process(&["--user", "anna"]), validation, "valid");
    // The constant guess, the middle of the screen, is 122 mm off.
    assert!(
        with < without && with < 50.0,
        "with {with} mm, without {without} mm"
    );

    let nobody = run_gazed(
        GAZED,
        &[
            "process", frames, "--out", "-", "--user", "bert", "--state", state,
        ],
    );
    assert_eq!(nobody.status.code(), Some(78), "{nobody:?}");
    assert!(nobody.stderr.contains("bert"), "{nobody:?}");

    let other_screen = process(&["--user", "anna", "--screen-mm", "300x200"]);
    assert!(other_screen.contains(r#""validity":"stale_calibration""#));
}

/// Fits anna's profile to pictures, each taken alone.
fn fit(input: &str, targets: &str, state: &str) -> Ran {
    let mut arguments = vec!["calibrate", "fit", "--input", input, "--targets", targets];
    arguments.extend(["--screen-mm", "531x299", "--user", "anna"]);
    arguments.extend(["--state", state, "--independent"]);
    run_gazed(GAZED, &arguments)
}

/// A profile of `anna` in a state folder, made from a recording of a synthetic person: that folder, the rows of
/// all targets, of which the first nine are fitted, and what was said. The pictures are in `frames`.
fn calibrated(folder: &Path) -> (String, Vec<String>, String) {
    let frames = folder.join("frames");
    std::fs::create_dir(&frames).unwrap();
    let rows = record(&frames);
    let mut table = "frame,x_mm,y_mm\n".to_owned();
    for row in &rows[..9 * FRAMES_PER_TARGET as usize] {
        writeln!(table, "{row}").unwrap();
    }
    let targets = folder.join("targets.csv");
    std::fs::write(&targets, table).unwrap();
    let state = folder.join("state").to_str().unwrap().to_owned();
    let [frames, targets] = [&frames, &targets].map(|path| path.to_str().unwrap());
    let ran = fit(frames, targets, &state);
    assert!(ran.status.success(), "{ran:?}");
    (state, rows, ran.stdout)
}

#[test]
fn a_target_that_is_nowhere_near_the_screen_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let targets = folder.path().join("targets.csv");
    std::fs::write(&targets, "frame,x_mm,y_mm\n0,10,10\n1,1e9,10\n").unwrap();
    let [folder, targets] = [folder.path(), &targets].map(|path| path.to_str().unwrap());
    let ran = fit(folder, targets, folder);
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("line 3") && ran.stderr.contains("531x299"),
        "{ran:?}"
    );
}

#[test]
fn profiles_are_listed_exported_imported_taken_back_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (state, _, _) = calibrated(folder.path());
    let users = |arguments: &[&str]| {
        let mut all = vec!["users"];
        all.extend(arguments);
        all.extend(["--state", &state]);
        run_gazed(GAZED, &all)
    };
    let said = |arguments: &[&str]| {
        let ran = users(arguments);
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
        ran.stdout
    };
    assert!(said(&["list"]).contains("anna"));

    // With pictures of another size it is stale from the first sample on.
    let settings = folder.path().join("small.toml");
    std::fs::write(&settings, "[source]\nwidth_px = 320\nheight_px = 240\n").unwrap();
    let command = ["--config", settings.to_str().unwrap(), "run"];
    let arguments = [
        "--source",
        "synthetic:3",
        "--user",
        "anna",
        "--state",
        &state,
    ];
    let daemon = Daemon::start_as(GAZED, &command, &arguments);
    let mut client = daemon.connect(r#"{"type":"subscribe","types":["sample"]}"#);
    assert_eq!(client.record_of("sample")["validity"], "stale_calibration");
    drop(daemon);
    assert!(said(&["show", "anna"]).contains("accuracy"));
    let file = folder.path().join("anna.toml");
    let file = file.to_str().unwrap();
    said(&["export", "anna", file]);
    let again = users(&["export", "anna", file]);
    assert!(again.stderr.contains("nothing is overwritten"), "{again:?}");
    said(&["import", file, "--as", "ben"]);
    said(&["import", file]);
    assert!(said(&["show", "anna"]).contains("anna.1.toml"));
    assert!(said(&["undo", "anna"]).contains("taken back"));
    assert_eq!(said(&["default", "ben"]), "ben\n");
    assert!(said(&["list"]).contains("* ben"));
    let unsure = users(&["delete", "ben"]);
    assert!(
        !unsure.status.success() && unsure.stderr.contains("--yes"),
        "{unsure:?}"
    );
    said(&["delete", "ben", "--yes"]);
    assert_eq!(said(&["default"]), "no default user\n");

    // A profile that was cut, edited, comes from a newer version or holds NaN is refused by name.
    let whole = std::fs::read_to_string(file).unwrap();
    for (broken, expected) in [
        (whole[..whole.len() - 9].to_owned(), "cut short"),
        (whole.replacen("531", "530", 1), "changed or damaged"),
        (whole.replacen("version = 3", "version = 4", 1), "version 4"),
        (
            whole.replacen("fx_px = ", "fx_px = nan # ", 1),
            "changed or damaged",
        ),
    ] {
        let bad = folder.path().join("bad.toml");
        std::fs::write(&bad, broken).unwrap();
        let ran = users(&["import", bad.to_str().unwrap()]);
        assert!(ran.stderr.contains(expected), "{expected}: {ran:?}");
    }
    assert!(said(&["list"]).contains("anna"));

    let report = run_gazed(
        GAZED,
        &[
            "report",
            "anna",
            "--state",
            &state,
            "--out",
            folder.path().to_str().unwrap(),
        ],
    );
    assert!(report.status.success(), "{report:?}");
    let page = std::fs::read_to_string(folder.path().join("anna.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("RMS-S2S"), "{page}");
    let json = std::fs::read_to_string(folder.path().join("anna.json")).unwrap();
    let numbers: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        numbers["quality"]["targets"].as_array().map(Vec::len),
        Some(9)
    );
}

const SIGKILL: i32 = 9;

/// Rounds of killing; more where a moment is still missing, which on a busy machine may pass unseen for long.
const ROUNDS: usize = 40;
const MOST_ROUNDS: usize = 1000;

/// A program that is killed while it replaces the profile leaves the old one or the new one.
#[test]
fn a_kill_at_any_moment_leaves_a_whole_profile() {
    let folder = tempfile::tempdir().unwrap();
    let (state, _, _) = calibrated(folder.path());
    let file = folder.path().join("anna.toml");
    let file = file.to_str().unwrap();
    let export = run_gazed(GAZED, &["users", "export", "anna", file, "--state", &state]);
    assert!(export.status.success(), "{export:?}");
    let profiles = Path::new(&state).join("profiles");
    let names = || {
        let entries = std::fs::read_dir(&profiles).unwrap();
        entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect::<Vec<String>>()
    };
    let n_older = || {
        names()
            .iter()
            .filter(|name| name.ends_with(".toml"))
            .count()
            - 1
    };
    let mut killed = [0; 4];
    for round in 0..MOST_ROUNDS {
        let n_older_before = n_older();
        let missed = killed.iter().position(|&times| times == 0);
        let moment = match missed {
            _ if round < ROUNDS => round % killed.len(),
            Some(moment) => moment,
            None => break,
        };
        let mut child = std::process::Command::new(GAZED)
            .args(["users", "import", file, "--state", &state])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Its own: a program that was killed before may have left another.
        let temporary = profiles.join(format!(".anna.{}.tmp", child.id()));
        let mut is_kept = false;
        let mut has_kept = || {
            is_kept = is_kept || n_older() > n_older_before;
            is_kept
        };
        // As it starts; as it writes the new profile; as it has kept the old one; as the new one is
        // in its place, and the program has not ended.
        let mut has_come = || match moment {
            0 => true,
            1 => temporary.exists(),
            2 => has_kept(),
            _ => has_kept() && !temporary.exists(),
        };
        while !has_come() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        let was_killed = ended.signal() == Some(SIGKILL);
        assert!(was_killed || ended.success(), "round {round}: {ended}");
        killed[moment] += u32::from(was_killed);
        let show = run_gazed(GAZED, &["users", "show", "anna", "--state", &state]);
        assert!(show.status.success(), "round {round}: {show:?}");
        assert!(
            !show.stdout.contains("cannot be used"),
            "round {round}: {show:?}"
        );
    }
    assert!(!killed.contains(&0), "{killed:?}");
}

/// `gazed calibrate` drives the running daemon's session; the synthetic observer looks where it
/// shows its targets. Killed and started again, the daemon is still calibrated.
#[test]
fn the_terminal_calibrates_and_a_restart_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let run = ["--source", "synthetic:5", "--state", state];
    let daemon = Daemon::start(GAZED, &run);
    let socket = daemon.socket();
    let ran = run_gazed(
        GAZED,
        &[
            "calibrate",
            "--user",
            "anna",
            "--targets",
            "1",
            "--screen-mm",
            "531x299",
            "--yes",
            "--socket",
            socket.to_str().unwrap(),
        ],
    );
    assert!(ran.status.success(), "{ran:?}");
    assert!(
        ran.stdout.contains("kept as the profile of anna"),
        "{ran:?}"
    );
    let mut client = daemon.connect(r#"{"type":"subscribe","types":["sample"]}"#);
    while client.record_of("sample")["validity"] != "valid" {}
    daemon.signal("KILL");
    daemon.wait();
    let again = Daemon::start(GAZED, &run);
    let mut client = again.connect(r#"{"type":"subscribe","types":["sample","calibration"]}"#);
    assert_eq!(client.record()["user"], "anna");
    while client.record_of("sample")["validity"] != "valid" {}

    // A click without a calibration under way is taken or ignored with a reason; nonsense is refused.
    client.send(r#"{"type":"click","x":7,"y":0.5}"#);
    let refused = client.record_of("error");
    assert!(
        refused["message"].as_str().unwrap().contains("0 to 1"),
        "{refused}"
    );
    client.send(r#"{"type":"calibrate","do":"accept"}"#);
    let refused = client.record_of("error");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("no calibration"),
        "{refused}"
    );
    client.send(r#"{"type":"recentre"}"#);
    loop {
        let record = client.record_of("calibration");
        assert_eq!(record["purpose"], "recentre");
        match record["stage"].as_str().unwrap() {
            "accepted" => break,
            "discarded" => panic!("{record}"),
            _ => {}
        }
    }
    client.send(r#"{"type":"undo","profile":true}"#);
    client.send(r#"{"type":"user","name":"nobody"}"#);
    let refused = client.record_of("error");
    assert!(
        refused["message"].as_str().unwrap().contains("nobody"),
        "{refused}"
    );
    let other = run_gazed(
        GAZED,
        &[
            "process",
            "synthetic:5",
            "--frames",
            "3",
            "--out",
            "-",
            "--user",
            "anna",
            "--state",
            state,
            "--screen-mm",
            "300x200",
        ],
    );
    assert!(
        other.stdout.contains(r#""validity":"stale_calibration""#),
        "{other:?}"
    );
}
