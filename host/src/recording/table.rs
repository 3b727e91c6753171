//! Records as tables: what CSV and Parquet hold.

use std::io::{self, Write};

use crate::clock::CaptureTime;
use crate::output_file::csv_field;
use crate::record::{Eye, Por, Record, Sample, TimedRecord};

/// Columns of equal length.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
}

/// One column; missing values are none.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) values: Values,
}

/// The values of a column.
#[derive(Debug)]
pub(super) enum Values {
    Whole(Vec<Option<u64>>),
    Real(Vec<Option<f32>>),
    Text(Vec<Option<String>>),
}

/// One value.
pub(super) enum Cell {
    Whole(Option<u64>),
    Real(Option<f32>),
    Text(Option<String>),
}

impl Table {
    /// A table without rows, its columns those of this row.
    fn like(row: impl IntoIterator<Item = (&'static str, Cell)>) -> Self {
        let mut table = Table::default();
        table.push(row);
        for column in &mut table.columns {
            column.values.clear();
        }
        table
    }

    /// Adds a row; every row has the same columns.
    fn push(&mut self, row: impl IntoIterator<Item = (&'static str, Cell)>) {
        for (index, (name, cell)) in row.into_iter().enumerate() {
            if self.columns.len() == index {
                let values = match cell {
                    Cell::Whole(_) => Values::Whole(Vec::new()),
                    Cell::Real(_) => Values::Real(Vec::new()),
                    Cell::Text(_) => Values::Text(Vec::new()),
                };
                self.columns.push(Column { name, values });
            }
            match (&mut self.columns[index].values, cell) {
                (Values::Whole(values), Cell::Whole(value)) => values.push(value),
                (Values::Real(values), Cell::Real(value)) => values.push(value),
                (Values::Text(values), Cell::Text(value)) => values.push(value),
                _ => unreachable!("a column's cells are made by one line of `row` below"),
            }
        }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.len())
    }

    /// Comma-separated, a header first, missing values empty (RFC 4180, lines end in LF).
    pub(super) fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        writeln!(out, "{}", names.join(","))?;
        for row in 0..self.n_rows() {
            for (index, column) in self.columns.iter().enumerate() {
                if index > 0 {
                    out.write_all(b",")?;
                }
                match &column.values {
                    Values::Whole(values) => write_some(out, values[row].as_ref())?,
                    Values::Real(values) => write_some(out, values[row].as_ref())?,
                    Values::Text(values) => {
                        write_some(out, values[row].as_deref().map(csv_field).as_ref())?;
                    }
                }
            }
            out.write_all(b"\n")?;
        }
        out.flush()
    }
}

impl Values {
    fn clear(&mut self) {
        match self {
            Values::Whole(values) => values.clear(),
            Values::Real(values) => values.clear(),
            Values::Text(values) => values.clear(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Values::Whole(values) => values.len(),
            Values::Real(values) => values.len(),
            Values::Text(values) => values.len(),
        }
    }
}

fn write_some(out: &mut impl Write, value: Option<&impl std::fmt::Display>) -> io::Result<()> {
    value.map_or(Ok(()), |value| write!(out, "{value}"))
}

/// The samples and events of a recording.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) samples: Table,
    pub(super) events: Table,
}

impl Tables {
    pub(super) fn new() -> Self {
        Tables {
            samples: Table::default(),
            events: Table::like(Event::default().row(None)),
        }
    }

    pub(super) fn push(&mut self, record: &TimedRecord) {
        match &record.record {
            Record::Sample(sample) => self.samples.push(sample_row(sample, record)),
            other => {
                if let Some(event) = Event::of(other) {
                    self.events.push(event.row(record.at));
                }
            }
        }
    }
}

fn sample_row(sample: &Sample, record: &TimedRecord) -> [(&'static str, Cell); 23] {
    let por = sample.por.as_ref();
    let head = sample.head.as_ref();
    let gaze = sample.gaze.as_ref();
    let eyes = sample.eyes.as_ref();
    let openness = |eye: Option<&Eye>| Cell::Real(eye.map(|eye| eye.openness));
    [
        ("seq", Cell::Whole(Some(sample.seq))),
        ("t_us", Cell::Whole(Some(sample.t_us))),
        ("mono_us", Cell::Whole(record.at.map(|at| at.mono_us))),
        ("unix_us", Cell::Whole(record.at.map(|at| at.unix_us))),
        ("validity", Cell::Text(Some(word(&sample.validity)))),
        ("x_mm", Cell::Real(por.map(|por| por.x_mm))),
        ("y_mm", Cell::Real(por.map(|por| por.y_mm))),
        ("x", Cell::Real(por.map(|por| por.x))),
        ("y", Cell::Real(por.map(|por| por.y))),
        ("yaw_rad", Cell::Real(gaze.map(|gaze| gaze.yaw_rad))),
        ("pitch_rad", Cell::Real(gaze.map(|gaze| gaze.pitch_rad))),
        ("sigma_rad", Cell::Real(gaze.map(|gaze| gaze.sigma_rad))),
        (
            "head_x_mm",
            Cell::Real(head.map(|head| head.position_mm[0])),
        ),
        (
            "head_y_mm",
            Cell::Real(head.map(|head| head.position_mm[1])),
        ),
        (
            "head_z_mm",
            Cell::Real(head.map(|head| head.position_mm[2])),
        ),
        ("head_yaw_rad", Cell::Real(head.map(|head| head.yaw_rad))),
        (
            "head_pitch_rad",
            Cell::Real(head.map(|head| head.pitch_rad)),
        ),
        ("head_roll_rad", Cell::Real(head.map(|head| head.roll_rad))),
        (
            "left_openness",
            openness(eyes.and_then(|eyes| eyes.left.as_ref())),
        ),
        (
            "right_openness",
            openness(eyes.and_then(|eyes| eyes.right.as_ref())),
        ),
        (
            "face_confidence",
            Cell::Real(sample.face.as_ref().map(|face| face.confidence)),
        ),
        ("latency_us", Cell::Whole(sample.latency_us)),
        ("error", Cell::Text(sample.error.clone())),
    ]
}

/// An event of any kind.
#[derive(Default)]
pub(super) struct Event<'a> {
    pub(super) kind: &'static str,
    pub(super) id: Option<u32>,
    pub(super) onset_us: u64,
    pub(super) offset_us: u64,
    pub(super) por: Option<&'a Por>,
    pub(super) dispersion_deg: Option<f32>,
    pub(super) amplitude_deg: Option<f32>,
    pub(super) peak_velocity_deg_s: Option<f32>,
    pub(super) object: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// None for records that are no event.
    pub(super) fn of(record: &'a Record) -> Option<Self> {
        let interval = |kind, interval: &crate::record::Interval| Event {
            kind,
            id: Some(interval.id),
            onset_us: interval.onset_us,
            offset_us: interval.offset_us,
            ..Event::default()
        };
        let visit = |kind, visit: &'a crate::record::ObjectVisit| Event {
            kind,
            onset_us: visit.onset_us,
            offset_us: visit.offset_us,
            object: Some(visit.object.as_str()),
            ..Event::default()
        };
        Some(match record {
            Record::Fixation(fixation) => Event {
                kind: "fixation",
                id: Some(fixation.id),
                onset_us: fixation.onset_us,
                offset_us: fixation.offset_us,
                por: fixation.por.as_ref(),
                dispersion_deg: Some(fixation.dispersion_deg),
                ..Event::default()
            },
            Record::Saccade(saccade) => Event {
                kind: "saccade",
                id: Some(saccade.id),
                onset_us: saccade.onset_us,
                offset_us: saccade.offset_us,
                por: saccade.por.as_ref(),
                amplitude_deg: Some(saccade.amplitude_deg),
                peak_velocity_deg_s: Some(saccade.peak_velocity_deg_s),
                ..Event::default()
            },
            Record::Pursuit(pursuit) => Event {
                kind: "pursuit",
                id: Some(pursuit.id),
                onset_us: pursuit.onset_us,
                offset_us: pursuit.offset_us,
                por: pursuit.por.as_ref(),
                amplitude_deg: Some(pursuit.amplitude_deg),
                ..Event::default()
            },
            Record::Blink(blink) => interval("blink", blink),
            Record::Gap(gap) => interval("gap", gap),
            Record::ObjectEnter(enter) => visit("object_enter", enter),
            Record::ObjectLeave(leave) => visit("object_leave", leave),
            _ => return None,
        })
    }

    fn row(&self, at: Option<CaptureTime>) -> [(&'static str, Cell); 12] {
        [
            ("type", Cell::Text(Some(self.kind.to_owned()))),
            ("id", Cell::Whole(self.id.map(u64::from))),
            ("onset_us", Cell::Whole(Some(self.onset_us))),
            ("offset_us", Cell::Whole(Some(self.offset_us))),
            ("mono_us", Cell::Whole(at.map(|at| at.mono_us))),
            ("unix_us", Cell::Whole(at.map(|at| at.unix_us))),
            ("x_mm", Cell::Real(self.por.map(|por| por.x_mm))),
            ("y_mm", Cell::Real(self.por.map(|por| por.y_mm))),
            ("dispersion_deg", Cell::Real(self.dispersion_deg)),
            ("amplitude_deg", Cell::Real(self.amplitude_deg)),
            ("peak_velocity_deg_s", Cell::Real(self.peak_velocity_deg_s)),
            ("object", Cell::Text(self.object.map(str::to_owned))),
        ]
    }
}

/// A unit variant's name as it stands in the records.
pub(crate) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => unreachable!("only enums without fields are given"),
    }
}
