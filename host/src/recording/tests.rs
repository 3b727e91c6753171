//! Recordings that are written, cut, damaged and read back.

use std::fs;

use proptest::prelude::*;

use super::*;

const SETTINGS: BlockSettings = BlockSettings {
    block_ms: 60_000,
    sync: SyncPolicy::End,
};

fn line(n: u64) -> String {
    format!(r#"{{"type":"blink","onset_us":{n},"offset_us":{}}}"#, n + 1)
}

/// A recording whose lines fill some blocks.
fn recorded(path: &Path, n_lines: u64) -> Vec<u8> {
    let mut writer = RecordingWriter::create(path, SETTINGS).unwrap();
    let mut all = Vec::new();
    for n in 0..n_lines {
        writer.push(line(n).as_bytes()).unwrap();
        all.extend(line(n).as_bytes());
        all.push(b'\n');
    }
    assert_eq!(writer.finish().unwrap(), n_lines);
    all
}

fn read_back(path: &Path) -> Result<(Vec<u8>, RecordingEnd), RecordingError> {
    let mut reader = RecordingReader::open(path)?;
    let mut all = Vec::new();
    while let Some(lines) = reader.next_block()? {
        all.extend(lines);
    }
    Ok((all, reader.end().unwrap()))
}

#[test]
fn what_was_recorded_is_read_back_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deeper/a.gazed");
    let written = recorded(&path, 5000);
    assert!(written.len() > 3 * FULL_BLOCK);
    assert_eq!(read_back(&path).unwrap(), (written, RecordingEnd::Closed));
}

#[test]
fn a_recording_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deeper/a.gazed");
    recorded(&path, 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[test]
fn the_longest_line_is_read_back_and_a_longer_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gazed");
    let mut writer = RecordingWriter::create(&path, SETTINGS).unwrap();
    // As full as a block can be before the longest line.
    let short = vec![b'a'; FULL_BLOCK - 2];
    let longest = vec![b'b'; MAX_LINE_BYTES];
    writer.push(&short).unwrap();
    writer.push(&longest).unwrap();
    let error = writer.push(&[b'c'; MAX_LINE_BYTES + 1]).unwrap_err();
    assert!(matches!(error, RecordingError::LineTooLong { .. }));
    assert_eq!(writer.finish().unwrap(), 2);
    let (lines, end) = read_back(&path).unwrap();
    assert_eq!(end, RecordingEnd::Closed);
    assert_eq!(lines.len(), short.len() + longest.len() + 2);
}

#[test]
fn a_recording_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gazed");
    let written = recorded(&path, 3);
    let refused = RecordingWriter::create(&path, SETTINGS).unwrap_err();
    assert!(matches!(refused, RecordingError::Exists { .. }));
    assert_eq!(read_back(&path).unwrap().0, written);
}

#[test]
fn a_file_cut_anywhere_gives_its_whole_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gazed");
    let written = recorded(&path, 3000);
    let bytes = fs::read(&path).unwrap();
    let cut = folder.path().join("cut.gazed");
    for size in (12..bytes.len()).step_by(bytes.len() / 97) {
        fs::write(&cut, &bytes[..size]).unwrap();
        let (lines, end) = read_back(&cut).unwrap();
        assert!(written.starts_with(&lines));
        assert_ne!(end, RecordingEnd::Closed);
        if let RecordingEnd::Torn { bytes } = end {
            assert!(bytes > 0 && bytes < size as u64);
        }
    }
    fs::write(&cut, &bytes[..11]).unwrap();
    let error = read_back(&cut).unwrap_err();
    assert!(matches!(error, RecordingError::NotARecording { .. }));
}

#[test]
fn damage_before_the_last_block_is_an_error_that_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gazed");
    recorded(&path, 3000);
    let mut bytes = fs::read(&path).unwrap();
    // In the payload of the first block, which begins at byte 12.
    bytes[100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    match read_back(&path) {
        Err(RecordingError::Damaged { block, offset, .. }) => assert_eq!((block, offset), (0, 12)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_version_and_other_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gazed");
    recorded(&path, 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    fs::write(&path, &bytes).unwrap();
    let error = read_back(&path).unwrap_err();
    assert!(error.to_string().contains("has version 2"), "{error}");
    fs::write(&path, "frame,x_mm,y_mm\n0001.jpg,53.1,29.9\n").unwrap();
    let error = read_back(&path).unwrap_err();
    assert!(matches!(error, RecordingError::NotARecording { .. }));
    let error = read_back(&folder.path().join("none")).unwrap_err();
    assert!(matches!(error, RecordingError::Missing { .. }));
}

#[test]
fn names_lie_in_the_state_folder_and_paths_where_they_say() {
    let state = Path::new("/state");
    assert_eq!(
        path_of("monday", state),
        Path::new("/state/recordings/monday.gazed")
    );
    assert_eq!(path_of("monday.gazed", state), Path::new("monday.gazed"));
    assert_eq!(path_of("./monday", state), Path::new("./monday"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_the_reader_panic(tail in proptest::collection::vec(any::<u8>(), 0..400), keep in 0usize..60) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gazed");
        recorded(&path, 4);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(12 + keep);
        bytes.extend(tail);
        fs::write(&path, &bytes).unwrap();
        // Whole blocks or an error; never more than was written.
        if let Ok((lines, _)) = read_back(&path) {
            prop_assert!(lines.len() <= 4 * line(0).len() + 8);
        }
    }
}
