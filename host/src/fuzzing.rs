//! One function for each parser of bytes that come from outside, for the fuzz targets of `tests/fuzz`.
//!
//! Built for fuzzing and for tests alone, so that private parsers stay private. Each function must
//! come back, whatever it is given; the test below gives each the inputs kept in
//! `tests/fuzz/corpus`.

#![expect(
    clippy::missing_panics_doc,
    reason = "a panic is what these functions are for: it is the finding"
)]

use std::path::{Path, PathBuf};

use gaze_calibration::{Profile, ScreenGeometry};
use gaze_protocol::event::ObjectId;
use gaze_protocol::message::{FromBoard, FromHost};
use gaze_protocol::wire::Decoder;
use gaze_protocol::{GazeAngles, GazeEvent, GazeSample, Timestamp, Validity};
use gaze_signal::{Detector, EventBuf, EventDetector, EventSettings, ObjectSettings, Objects};

use crate::board::{BoardConfig, Conversation};
use crate::config::Config;
use crate::gaze_file::{self, FileDetector};
use crate::record::{ClientMessage, TimedRecord};
use crate::scanpath::files::{Scenes, paths};
use crate::scene::{Scene, SceneChange};

pub use crate::camera::fuzzing::{mjpeg, picture, y4m};
pub use crate::recording::fuzzing::recording;
pub use crate::server::fuzzing::{eye_tribe, open_gaze, pupil};

#[cfg(test)]
mod seeds;

/// A target.
pub type Target = fn(&[u8]);

/// All of them; each has a file of its name in `tests/fuzz/fuzz_targets`.
pub const TARGETS: [(&str, Target); 16] = [
    ("client_message", client_message),
    ("config", config),
    ("eye_tribe", eye_tribe),
    ("event_stream", event_stream),
    ("gaze_csv", gaze_csv),
    ("mjpeg", mjpeg),
    ("open_gaze", open_gaze),
    ("picture", picture),
    ("profile", profile),
    ("pupil", pupil),
    ("record", record),
    ("recording", recording),
    ("scanpath_files", scanpath_files),
    ("serial_line", serial_line),
    ("targets", targets),
    ("y4m", y4m),
];

/// The rest of the bytes in pieces as long as the first one says; 0 means all at once.
pub(crate) fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (length, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let length = if *length == 0 {
        rest.len().max(1)
    } else {
        usize::from(*length)
    };
    rest.chunks(length)
}

/// Puts the bytes into a file, for what reads files; one file a thread, which is written over.
pub(crate) fn with_file(bytes: &[u8], read: impl FnOnce(&Path)) {
    let thread = format!("{:?}", std::thread::current().id());
    let name = format!("gazed-fuzz-{}-{thread}", std::process::id());
    let path: PathBuf = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).expect("the folder for temporary files can be written");
    read(&path);
    std::fs::remove_file(&path).expect("it was just written");
}

/// What clients of the socket and the page send, one JSON object a line.
pub fn client_message(bytes: &[u8]) {
    let screen = |width_mm, height_mm| {
        ScreenGeometry::new(width_mm, height_mm).expect("a screen has this size")
    };
    let objects = Objects::new(ObjectSettings::default()).expect("defaults are in range");
    let mut scene = Scene::new(objects);
    let mut out = EventBuf::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        out.clear();
        let change = match serde_json::from_slice(line) {
            Ok(ClientMessage::Scene(message)) => SceneChange::Replace(message),
            Ok(ClientMessage::SceneUpdate(message)) => SceneChange::Update(message),
            _ => continue,
        };
        let _ = scene.change(&change, &screen(531.0, 299.0));
        scene.set_screen(&screen(20.0, 10_000.0));
        scene.objects_mut().step(&sample(0, [0.1, -0.1]), &mut out);
    }
}

/// Records, as clients of gazed read them. What was read is written as it was.
pub fn record(bytes: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<TimedRecord>(bytes) {
        let line = record.to_line();
        let again: TimedRecord = serde_json::from_str(&line).expect("a record can be read again");
        assert_eq!(again.to_line(), line);
    }
}

/// The settings.
pub fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Config::parse(text, Path::new("gazed.toml"));
    }
}

/// A person's calibration: what was read is written so that it can be read.
pub fn profile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let path = Path::new("profile.toml");
    let _ = Profile::from_text(text, path);
    // Once more with a header that fits: no mutation would find the checksum.
    let body = text.splitn(5, '\n').nth(4).unwrap_or_default();
    let header = format!(
        "format = \"gazed-profile\"\nversion = 2\nbytes = {}\nchecksum = \"{:08x}\"\n",
        body.len(),
        crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(body.as_bytes())
    );
    if let Ok(profile) = Profile::from_text(&(header + body), path) {
        let text = profile
            .to_text()
            .expect("a profile that was read can be written");
        Profile::from_text(&text, path).expect("what is written can be read");
    }
}

/// What was shown when, for a calibration from a recording.
pub fn targets(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = gaze_calibration::parse_targets(text);
    }
}

/// A gaze recording of another tracker, through a detector that the first byte chooses.
pub fn gaze_csv(bytes: &[u8]) {
    let (choice, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let detector = match choice % 4 {
        0 => FileDetector::Network,
        1 => FileDetector::Adaptive,
        2 => FileDetector::IvtNoise,
        _ => FileDetector::Idt,
    };
    let nowhere = Path::new("/dev/null");
    with_file(rest, |path| {
        let _ = gaze_file::events(path, detector, nowhere, Some(nowhere));
    });
}

/// Scenes and paths; the first line that begins with `paths` parts them.
pub fn scanpath_files(bytes: &[u8]) {
    let parting = b"\npaths\n";
    let at = bytes
        .windows(parting.len())
        .position(|part| part == parting);
    let (scenes, rest) = match at {
        Some(at) => (&bytes[..at], &bytes[at + parting.len()..]),
        None => (bytes, &[][..]),
    };
    let mut known = None;
    with_file(scenes, |path| known = Scenes::read(path).ok());
    with_file(rest, |path| {
        for found in paths(path).into_iter().flatten() {
            let Ok((_, path)) = found else { continue };
            let scene = known
                .as_ref()
                .and_then(|known| Some(&known.scenes[known.place_of(&path.scene_id)?]));
            if let Some(scene) = scene {
                let _ = path.dwells(&scene.table);
            }
        }
    });
}

/// What comes over the line from a board, and over the board's from a host.
pub fn serial_line(bytes: &[u8]) {
    let mut board_side = Decoder::new();
    for byte in bytes {
        let _ = board_side.push::<FromHost>(*byte);
    }
    let mut board = Decoder::new();
    for byte in bytes {
        let _ = board.push::<FromBoard>(*byte);
    }
    let mut conversation = Conversation::new(BoardConfig::default().plan(), 7);
    let (mut out, mut news) = (Vec::new(), Vec::new());
    for (second, piece) in (1..).zip(pieces(bytes)) {
        let now = Timestamp(second * 1_000_000);
        conversation.step(now, &mut out, &mut news);
        conversation.hear(piece, now, &mut news);
        conversation.look(ObjectId::new(), now, now);
        out.clear();
        news.clear();
    }
}

/// Any times and numbers, through a detector that the first byte chooses: finite events come out.
pub fn event_stream(bytes: &[u8]) {
    let (choice, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let detector = match choice % 4 {
        0 => Detector::Network,
        1 => Detector::Adaptive,
        2 => Detector::Ivt,
        _ => Detector::Idt,
    };
    let settings = EventSettings {
        detector,
        ..EventSettings::default()
    };
    let mut stage = EventDetector::new(settings).expect("defaults are in range");
    let (mut out, mut t_us) = (EventBuf::new(), 0u64);
    for row in rest.chunks_exact(13) {
        let number =
            |at: usize| f32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
        // A signed step of 2^0 to 2^31 µs.
        let step = i64::from(row[1]) << (row[2] % 32);
        t_us = t_us.saturating_add_signed(if row[3] > 250 { -step } else { step });
        let mut sample = sample(t_us, [number(4), number(8)]);
        sample.validity = match row[0] % 8 {
            0 => Validity::NoFace,
            1 => Validity::EyeClosed,
            2 => Validity::LowConfidence,
            _ => Validity::Valid,
        };
        sample.lids_are_down = row[12] > 240;
        out.clear();
        stage.step(&sample, &mut out);
        out.iter().for_each(check);
    }
    out.clear();
    stage.finish(&mut out);
    out.iter().for_each(check);
}

fn check(event: &GazeEvent) {
    match event {
        GazeEvent::Fixation(fixation) => {
            assert!(fixation.onset <= fixation.offset);
            assert!(fixation.centroid_rad.iter().all(|rad| rad.is_finite()));
            assert!(fixation.dispersion_rad.is_finite());
        }
        GazeEvent::Saccade(saccade) => {
            assert!(saccade.onset <= saccade.offset);
            assert!(saccade.amplitude_rad.is_finite() && saccade.peak_velocity_rad_s.is_finite());
        }
        GazeEvent::Pursuit(pursuit) => {
            assert!(pursuit.onset <= pursuit.offset && pursuit.amplitude_rad.is_finite());
        }
        _ => {}
    }
}

fn sample(t_us: u64, [yaw_rad, pitch_rad]: [f32; 2]) -> GazeSample {
    let angles = GazeAngles { yaw_rad, pitch_rad };
    GazeSample {
        seq: 0,
        captured_at: Timestamp(t_us),
        validity: Validity::Valid,
        lids_are_down: false,
        angles: Some(angles),
        por: None,
        line_of_gaze: Some(angles),
        sigma_rad: None,
    }
}

#[cfg(test)]
mod tests {
    use super::seeds::seeds;
    use super::*;

    #[test]
    fn the_seeds_are_kept() {
        let is_writing = std::env::var_os("GAZE_WRITE_SEEDS").is_some();
        for seed in seeds() {
            let path = folder("corpus").join(seed.target).join(seed.name);
            if is_writing {
                std::fs::create_dir_all(path.parent().expect("it has one"))
                    .expect("it can be made");
                std::fs::write(&path, &seed.bytes).expect("it can be written");
            }
            let kept = std::fs::read(&path).unwrap_or_default();
            assert!(
                kept == seed.bytes,
                "{} is not what it was: see seeds.rs",
                path.display()
            );
        }
    }

    fn folder(of: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fuzz")
            .join(of)
    }

    /// Also what fuzzing once found: it is kept there.
    #[test]
    fn every_kept_input_is_taken() {
        for (name, target) in TARGETS {
            let mut n_inputs = 0;
            for entry in std::fs::read_dir(folder("corpus").join(name)).expect(name) {
                let path = entry.expect("it can be listed").path();
                target(&std::fs::read(&path).expect("it can be read"));
                n_inputs += 1;
            }
            assert!(n_inputs > 0, "{name} has no inputs");
        }
    }

    #[test]
    fn every_target_has_its_file() {
        let mut files: Vec<String> = std::fs::read_dir(folder("fuzz_targets"))
            .expect("the targets are there")
            .map(|entry| entry.expect("it can be listed").file_name())
            .map(|name| name.to_string_lossy().trim_end_matches(".rs").to_owned())
            .collect();
        files.sort();
        let mut names = TARGETS.map(|(name, _)| name);
        names.sort_unstable();
        assert_eq!(files, names);
    }
}
