//! A BIDS 1.11 dataset: one subject and one run, in a dataset of its own or added to one that is there.
//!
//! ```text
//! dataset_description.json  README  participants.tsv
//! sub-X/beh/sub-X_task-Y_recording-eye1_physio.tsv.gz         timestamp, x, y, validity
//! sub-X/beh/sub-X_task-Y_recording-eye1_physioevents.tsv.gz   onset, duration, trial_type, message
//! sub-X/beh/sub-X_task-Y_events.tsv                           the objects that were entered
//! ```
//!
//! One camera sees both eyes, so the recorded eye is `cyclopean`; coordinates are `gaze-on-screen`
//! with the origin in the top-left corner, in pixels where the screen's are known, else in
//! millimetres. `timestamp` is microseconds since the first frame; missing gaze is `n/a`.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};

use super::{ExportError, create, write_json, write_text};
use crate::record::{Header, Record, Sample, TimedRecord};
use crate::recording::table::{Event, word};

/// The version of BIDS that is followed.
const BIDS_VERSION: &str = "1.11.0";

/// Subject and task, letters and digits.
#[derive(Clone, Debug)]
pub struct BidsNames {
    /// Without `sub-`.
    pub subject: String,
    /// Without `task-`.
    pub task: String,
}

impl Default for BidsNames {
    fn default() -> Self {
        BidsNames {
            subject: "01".to_owned(),
            task: "gaze".to_owned(),
        }
    }
}

impl BidsNames {
    pub(super) fn check(&self) -> Result<(), ExportError> {
        for (key, found) in [("--subject", &self.subject), ("--task", &self.task)] {
            if found.is_empty() || !found.chars().all(|char| char.is_ascii_alphanumeric()) {
                return Err(ExportError::BadName {
                    key,
                    found: found.clone(),
                });
            }
        }
        Ok(())
    }
}

/// The screen's unit in the dataset.
struct Unit {
    name: &'static str,
    per_width: f32,
    per_height: f32,
}

impl Unit {
    fn of(header: &Header) -> Self {
        let screen = &header.screen;
        match (screen.width_px, screen.height_px) {
            (Some(width), Some(height)) => Unit {
                name: "pixel",
                per_width: width as f32,
                per_height: height as f32,
            },
            _ => Unit {
                name: "mm",
                per_width: screen.width_mm,
                per_height: screen.height_mm,
            },
        }
    }
}

pub(super) fn write(
    header: &Header,
    records: &[TimedRecord],
    folder: &Path,
    names: &BidsNames,
) -> Result<(), ExportError> {
    let samples: Vec<&Sample> = records
        .iter()
        .filter_map(|record| match &record.record {
            Record::Sample(sample) => Some(sample),
            _ => None,
        })
        .collect();
    let BidsNames { subject, task } = names;
    let beh = folder.join(format!("sub-{subject}/beh"));
    let stem = format!("sub-{subject}_task-{task}");
    let unit = Unit::of(header);
    let physio = format!("{stem}_recording-eye1_physio");
    write_gz(&beh, &format!("{physio}.tsv.gz"), |out| {
        write_samples(&samples, &unit, out)
    })?;
    let sidecar = physio_sidecar(header, &samples, &unit);
    write_json(&beh, &format!("{physio}.json"), &sidecar)?;
    let events = format!("{stem}_recording-eye1_physioevents");
    write_gz(&beh, &format!("{events}.tsv.gz"), |out| {
        write_physio_events(records, out)
    })?;
    write_json(&beh, &format!("{events}.json"), &physio_events_sidecar())?;
    let task_events = task_events(records, samples[0].t_us);
    write_text(&beh, &format!("{stem}_events.tsv"), &task_events)?;
    let sidecar = task_events_sidecar(header, &samples);
    write_json(&beh, &format!("{stem}_events.json"), &sidecar)?;
    // Last: a subject that could not be added is not listed.
    write_dataset(header, folder, subject)
}

/// Describes the dataset where nobody has yet, and lists the subject.
fn write_dataset(header: &Header, folder: &Path, subject: &str) -> Result<(), ExportError> {
    let description = json!({
        "Name": "Gaze recorded with gazed",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "gazed", "Version": env!("CARGO_PKG_VERSION"),
            "Description": header.program}],
    });
    keep_or_write(write_json(folder, "dataset_description.json", &description))?;
    keep_or_write(write_text(
        folder,
        "README",
        "Gaze on a screen, estimated from an ordinary camera by gazed. Coordinates have their\n\
         origin in the screen's top-left corner. Say here who looked at what, and why.\n",
    ))?;
    list_participant(folder, subject)
}

/// What describes a dataset that is there already stays as its owner wrote it.
fn keep_or_write(written: Result<(), ExportError>) -> Result<(), ExportError> {
    match written {
        Err(ExportError::Exists { .. }) => Ok(()),
        written => written,
    }
}

/// Adds the subject to `participants.tsv`, unless it is there; other columns of it are `n/a`.
fn list_participant(folder: &Path, subject: &str) -> Result<(), ExportError> {
    const FILE: &str = "participants.tsv";
    let path = folder.join(FILE);
    let present = match std::fs::read_to_string(&path) {
        Ok(present) => present,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write_text(folder, FILE, &format!("participant_id\nsub-{subject}\n"));
        }
        Err(source) => return Err(ExportError::Write { path, source }),
    };
    let id = format!("sub-{subject}");
    let mut lines = present.lines();
    let n_columns = lines.next().map_or(1, |names| names.split('\t').count());
    if lines.any(|line| line.split('\t').next() == Some(&*id)) {
        return Ok(());
    }
    let line_break = if present.ends_with('\n') { "" } else { "\n" };
    let row = format!("{line_break}{id}{}\n", "\tn/a".repeat(n_columns - 1));
    std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(row.as_bytes()))
        .map_err(|source| ExportError::Write { path, source })
}

fn write_samples(samples: &[&Sample], unit: &Unit, out: &mut dyn Write) -> io::Result<()> {
    for sample in samples {
        write!(out, "{}\t", sample.t_us)?;
        match &sample.por {
            Some(por) => write!(
                out,
                "{:.3}\t{:.3}",
                por.x * unit.per_width,
                por.y * unit.per_height
            )?,
            None => write!(out, "n/a\tn/a")?,
        }
        writeln!(out, "\t{}", word(&sample.validity))?;
    }
    Ok(())
}

fn physio_sidecar(header: &Header, samples: &[&Sample], unit: &Unit) -> Value {
    let mut sidecar = json!({
        "SamplingFrequency": sampling_frequency_hz(samples),
        "StartTime": 0,
        "Columns": ["timestamp", "x_coordinate", "y_coordinate", "validity"],
        "PhysioType": "eyetrack",
        "RecordedEye": "cyclopean",
        "SampleCoordinateSystem": "gaze-on-screen",
        "Manufacturer": "gazed",
        "ManufacturersModelName": header.source,
        "SoftwareVersions": header.program,
        "EyeTrackingMethod": "appearance-based gaze estimation, one camera, both eyes",
        "timestamp": {"Description": "Time of exposure since the first frame", "Units": "us"},
        "x_coordinate": {"Description": "Point of regard from the screen's left edge", "Units": unit.name},
        "y_coordinate": {"Description": "Point of regard from the screen's top edge", "Units": unit.name},
        "validity": {"Description": "What the sample is worth", "Levels": {
            "valid": "calibrated gaze",
            "uncalibrated": "gaze without a calibration",
            "stale_calibration": "gaze with a calibration that no longer fits",
            "low_confidence": "gaze that the network itself is unsure of",
            "eye_closed": "a face with closed eyes",
            "no_face": "no face in the picture",
        }},
    });
    let more = sidecar.as_object_mut().expect("it was made above");
    if let Some(distance_mm) = median(samples.iter().filter_map(|sample| {
        let head = sample.head.as_ref()?;
        Some(head.position_mm[2])
    })) {
        more.insert("EyeTrackerDistance".into(), json!(distance_mm / 1000.0));
    }
    if let Some(calibration) = &header.calibration {
        more.insert("CalibrationCount".into(), json!(1));
        let [per_mm_x, per_mm_y] = [
            unit.per_width / header.screen.width_mm,
            unit.per_height / header.screen.height_mm,
        ];
        let places: Vec<[f32; 2]> = calibration
            .targets_mm
            .iter()
            .map(|[x, y]| [x * per_mm_x, y * per_mm_y])
            .collect();
        more.insert("CalibrationPosition".into(), json!(places));
        more.insert("CalibrationUnit".into(), json!(unit.name));
        insert_some(more, "AverageCalibrationError", calibration.accuracy_deg);
        insert_some(
            more,
            "MaximalCalibrationError",
            calibration.worst_accuracy_deg,
        );
    }
    sidecar
}

fn insert_some(map: &mut Map<String, Value>, key: &str, value: Option<f32>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), json!(value));
    }
}

fn write_physio_events(records: &[TimedRecord], out: &mut dyn Write) -> io::Result<()> {
    let mut events: Vec<Event> = records
        .iter()
        .filter_map(|record| Event::of(&record.record))
        .filter(|event| event.object.is_none())
        .collect();
    events.sort_by_key(|event| event.onset_us);
    for event in events {
        let duration_s = event.offset_us.saturating_sub(event.onset_us) as f64 * 1e-6;
        writeln!(
            out,
            "{}\t{duration_s:.6}\t{}\tn/a",
            event.onset_us, event.kind
        )?;
    }
    Ok(())
}

fn physio_events_sidecar() -> Value {
    json!({
        "Columns": ["onset", "duration", "trial_type", "message"],
        "OnsetSource": "timestamp",
        "onset": {"Description": "First sample, on the time of the samples", "Units": "us"},
        "duration": {"Description": "To the last sample of a fixation, else to the first sample after", "Units": "s"},
        "trial_type": {"Description": "Kind of event", "Levels": {
            "fixation": "the eyes rested on one place",
            "saccade": "the eyes jumped",
            "pursuit": "the eyes followed something that moves",
            "blink": "the eyes closed and opened",
            "gap": "gaze was missing",
        }},
        "message": {"Description": "Not used"},
    })
}

fn task_events(records: &[TimedRecord], first_us: u64) -> String {
    let mut text = String::from("onset\tduration\ttrial_type\n");
    let mut visits: Vec<Event> = records
        .iter()
        .filter(|record| matches!(record.record, Record::ObjectLeave(_)))
        .filter_map(|record| Event::of(&record.record))
        .collect();
    visits.sort_by_key(|visit| visit.onset_us);
    for visit in visits {
        let seconds = |us: u64| us as f64 * 1e-6;
        text.push_str(&format!(
            "{:.6}\t{:.6}\t{}\n",
            seconds(visit.onset_us.saturating_sub(first_us)),
            seconds(visit.offset_us.saturating_sub(visit.onset_us)),
            visit.object.unwrap_or("n/a").replace(['\t', '\n'], " "),
        ));
    }
    text
}

fn task_events_sidecar(header: &Header, samples: &[&Sample]) -> Value {
    let screen = &header.screen;
    let mut presentation = json!({
        "ScreenSize": [screen.width_mm / 1000.0, screen.height_mm / 1000.0],
        "ScreenOrigin": ["top", "left"],
    });
    let more = presentation.as_object_mut().expect("it was made above");
    if let (Some(width), Some(height)) = (screen.width_px, screen.height_px) {
        more.insert("ScreenResolution".into(), json!([width, height]));
    }
    let distances = samples.iter().filter_map(|sample| {
        let head = sample.head.as_ref()?;
        Some(head.position_mm[2])
    });
    if let Some(distance_mm) = median(distances) {
        more.insert("ScreenDistance".into(), json!(distance_mm / 1000.0));
    }
    json!({
        "trial_type": {"Description": "The announced object that was looked at"},
        "StimulusPresentation": presentation,
    })
}

/// From the median time between samples; Hz.
fn sampling_frequency_hz(samples: &[&Sample]) -> f32 {
    let intervals = samples
        .windows(2)
        .map(|pair| pair[1].t_us.saturating_sub(pair[0].t_us) as f32)
        .filter(|interval| *interval > 0.0);
    median(intervals).map_or(0.0, |interval_us| 1e6 / interval_us)
}

fn median(values: impl Iterator<Item = f32>) -> Option<f32> {
    let mut values: Vec<f32> = values.collect();
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied()
}

fn write_gz(
    folder: &Path,
    name: &str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), ExportError> {
    let (path, file) = create(folder, name)?;
    let mut out = BufWriter::new(GzEncoder::new(file, Compression::default()));
    write(&mut out)
        .and_then(|()| out.into_inner().map_err(io::IntoInnerError::into_error))
        .and_then(GzEncoder::finish)
        .and_then(|mut file| file.flush())
        .map_err(|source| ExportError::Write { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_listed_once_and_what_others_wrote_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("participants.tsv");
        list_participant(folder.path(), "01").unwrap();
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            "participant_id\nsub-01\n"
        );
        std::fs::write(&file, "participant_id\tage\nsub-01\t30").unwrap();
        for subject in ["02", "01", "02"] {
            list_participant(folder.path(), subject).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            "participant_id\tage\nsub-01\t30\nsub-02\tn/a\n"
        );
    }

    #[test]
    fn an_event_that_ends_before_it_begins_has_no_length() {
        let blink: TimedRecord =
            serde_json::from_str(r#"{"type":"blink","onset_us":20,"offset_us":10}"#).unwrap();
        let mut out = Vec::new();
        write_physio_events(&[blink], &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "20\t0.000000\tblink\tn/a\n"
        );
    }
}
