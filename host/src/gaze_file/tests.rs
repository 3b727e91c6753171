use super::*;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gaze.csv");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn run(text: &str, detector: FileDetector) -> Result<(String, String), GazeFileError> {
    let (folder, path) = file(text);
    let (out, event_file) = (
        folder.path().join("labels.csv"),
        folder.path().join("events.csv"),
    );
    events(&path, detector, &out, Some(&event_file))?;
    Ok((
        std::fs::read_to_string(out).unwrap(),
        std::fs::read_to_string(event_file).unwrap(),
    ))
}

const HEADER: &str = "recording,t_us,x_deg,y_deg,valid\n";

/// Half a second here, a jump of 8° within 32 ms, and half a second there; at 250 Hz.
fn jump(name: &str) -> String {
    let x_deg = |i: i32| ((i - 125).clamp(0, 8)) as f64;
    let noise = |i: i32| f64::from(i * 37 % 7 - 3) * 0.005;
    (0..250)
        .map(|i| {
            format!(
                "{name},{},{:.3},{:.3},1\n",
                i * 4000,
                x_deg(i) + noise(i),
                noise(i + 3)
            )
        })
        .collect()
}

#[test]
fn every_detector_finds_two_fixations_and_the_saccade_between() {
    for detector in [
        FileDetector::Network,
        FileDetector::Adaptive,
        FileDetector::Ivt,
        FileDetector::IvtNoise,
        FileDetector::Idt,
    ] {
        let (labels, events) = run(&format!("{HEADER}{}", jump("a")), detector).unwrap();
        assert_eq!(labels.lines().count(), 251);
        let kinds: String = events.lines().skip(1).map(|line| &line[2..3]).collect();
        assert_eq!(kinds, "FSF", "{detector:?}\n{events}");
        let saccade = events.lines().nth(2).unwrap();
        let onset: u64 = saccade.split(',').nth(2).unwrap().parse().unwrap();
        assert!(
            (480_000..=520_000).contains(&onset),
            "{detector:?} {saccade}"
        );
    }
}

#[test]
fn time_restarts_with_each_recording_and_each_is_as_if_alone() {
    let alone = run(&format!("{HEADER}{}", jump("b")), FileDetector::Network)
        .unwrap()
        .0;
    let both = run(
        &format!("{HEADER}{}{}", jump("a"), jump("b")),
        FileDetector::Network,
    )
    .unwrap()
    .0;
    let second: Vec<&str> = both.lines().skip(251).collect();
    assert_eq!(second, alone.lines().skip(1).collect::<Vec<_>>());
}

#[test]
fn a_label_is_what_was_known_at_its_delay() {
    // Cutting the file changes no label that is older than 40 ms at the cut.
    let whole = run(&format!("{HEADER}{}", jump("a")), FileDetector::Network)
        .unwrap()
        .0;
    let rows = jump("a");
    for cut in [20, 126, 130, 140, 200] {
        let part: String = rows
            .lines()
            .take(cut)
            .map(|line| format!("{line}\n"))
            .collect();
        let part = run(&format!("{HEADER}{part}"), FileDetector::Network)
            .unwrap()
            .0;
        let known = part.lines().take(1 + cut - 10);
        assert!(known.eq(whole.lines().take(1 + cut - 10)), "cut at {cut}");
    }
}

#[test]
fn rows_without_gaze_may_hold_anything_and_are_labelled_b() {
    let text = format!(
        "{HEADER}a,0,,junk,0\na,4000,NaN,1,1\na,8000,inf,-inf,1\na,8000,,1,1\na,8000,1,1,1\na,9e9,1,1,1\n"
    );
    let error = run(&text, FileDetector::Network).unwrap_err().to_string();
    assert!(
        error.contains("line 7") && error.contains("t_us"),
        "{error}"
    );
    let text = text.replace("a,9e9,1,1,1\n", "");
    let (labels, _) = run(&text, FileDetector::Network).unwrap();
    let letters: Vec<&str> = labels
        .lines()
        .skip(1)
        .map(|line| line.rsplit(',').next().unwrap())
        .collect();
    assert_eq!(letters[..4], ["B"; 4]);
    assert_eq!(letters.len(), 5);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_line() {
    let refused = |rows: &str| {
        run(&format!("{HEADER}{rows}"), FileDetector::Network)
            .unwrap_err()
            .to_string()
    };
    let backwards = refused("a,0,0,0,1\na,8000,0,0,1\na,4000,0,0,1\n");
    assert!(
        backwards.contains("line 4") && backwards.contains("backwards"),
        "{backwards}"
    );
    assert!(refused("a,0,zero,0,1\n").contains("line 2: x_deg is \"zero\""));
    assert!(refused("a,0,0,0,maybe\n").contains("line 2: valid is \"maybe\""));
    assert!(refused("a,0,0\n").contains("line"));
    let no_column = run("recording,t_us,x_deg,y_deg\n", FileDetector::Network).unwrap_err();
    assert!(no_column.to_string().contains("no column valid"));
}

#[test]
fn odd_recordings_give_one_label_a_row() {
    let rows = |count: u64, step_us: u64| -> String {
        let row = |i: u64| format!("odd,{},0,0,1\n", i * step_us);
        (0..count).map(row).collect()
    };
    for detector in [
        FileDetector::Network,
        FileDetector::Adaptive,
        FileDetector::Ivt,
    ] {
        // One sample, none, constant zero, 8 kHz, standing still, a hole of 30 s.
        for (text, count) in [
            (rows(1, 0), 1),
            (String::new(), 0),
            (rows(500, 4_000), 500),
            (rows(4_000, 125), 4_000),
            (rows(50, 0), 50),
            (format!("{}odd,30000000,5,5,1\n", rows(50, 33_333)), 51),
        ] {
            let (labels, events) = run(&format!("{HEADER}{text}"), detector).unwrap();
            assert_eq!(labels.lines().count(), 1 + count);
            assert!(!events.contains("NaN") && !events.contains("inf"));
        }
    }
}

#[test]
fn a_packed_file_gives_the_same_as_a_plain_one() {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    let text = format!("{HEADER}{}", jump("a"));
    let (folder, _) = file(&text);
    let packed = folder.path().join("gaze.csv.gz");
    let mut encoder = GzEncoder::new(File::create(&packed).unwrap(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap();
    let out = folder.path().join("labels.csv");
    events(&packed, FileDetector::Network, &out, None).unwrap();
    assert_eq!(
        std::fs::read_to_string(out).unwrap(),
        run(&text, FileDetector::Network).unwrap().0
    );
}

#[test]
fn the_picture_shows_human_labels_where_there_are_any() {
    let text = jump("a<b").replace(",1\n", ",1,F\n");
    let (folder, path) = file(&format!("recording,t_us,x_deg,y_deg,valid,label\n{text}"));
    let out = folder.path().join("plot.svg");
    plot(&path, FileDetector::Network, None, &out).unwrap();
    let svg = std::fs::read_to_string(&out).unwrap();
    assert!(
        svg.contains(">human<") && svg.contains("a&lt;b") && svg.matches("<polyline").count() == 3
    );
    let error = plot(&path, FileDetector::Network, Some("c"), &out).unwrap_err();
    assert!(
        error.to_string().contains("no recording c; it has a<b"),
        "{error}"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    /// Fields that make sense, and some that do not: a label for each row, or an error that names a line.
    #[test]
    fn any_text_is_labelled_or_refused_with_its_line(
        rows in proptest::collection::vec(
            ("[ab]", 0u64..60_000, "-?[0-9]{1,3}(\\.[0-9]{1,3})?|NaN|inf|-inf|1e30|x|", "[01]|1|1|2"),
            0..80,
        ),
        detector in proptest::sample::select(vec![
            FileDetector::Network, FileDetector::Adaptive, FileDetector::Ivt, FileDetector::Idt,
        ]),
    ) {
        let mut at = 0;
        let mut text = HEADER.to_owned();
        for (name, step, x, valid) in &rows {
            at += step;
            text += &format!("{name},{at},{x},1.5,{valid}\n");
        }
        match run(&text, detector) {
            Ok((labels, events)) => {
                proptest::prop_assert_eq!(labels.lines().count(), 1 + rows.len());
                proptest::prop_assert!(!events.contains("NaN") && !events.contains("inf"));
            }
            Err(error) => proptest::prop_assert!(error.to_string().contains("line "), "{error}"),
        }
    }
}
