//! A sample as a REC element.

use std::collections::VecDeque;

use gaze_protocol::Validity;

use super::message::Element;
use crate::record::{Eye, Interval, Por, Record, Sample, TimedRecord};
use crate::server::resting::Resting;

/// The groups of fields that a client can ask for, in the order in which they are sent.
pub(super) const GROUPS: [&str; 24] = [
    "COUNTER",
    "TIME",
    "TIME_TICK",
    "POG_FIX",
    "POG_LEFT",
    "POG_RIGHT",
    "POG_BEST",
    "POG_AAC",
    "PUPIL_LEFT",
    "PUPIL_RIGHT",
    "EYE_LEFT",
    "EYE_RIGHT",
    "CURSOR",
    "KB",
    "BLINK",
    "PUPILMM",
    "DIAL",
    "GSR",
    "HR",
    "HR_PULSE",
    "HR_IBI",
    "TTL",
    "PIX",
    "USER_DATA",
];

/// Half of the mean distance between the pupils, m (Dodgson 2004: 63 mm).
const HALF_BETWEEN_EYES_M: f64 = 0.0315;

/// A minute, for the rate of blinks.
const MINUTE_US: u64 = 60_000_000;

/// Most blinks of a minute that are counted.
const MOST_BLINKS: usize = 240;

/// What of the past a REC tells.
#[derive(Debug, Default)]
pub(super) struct Past {
    resting: Resting,
    blink_id: u64,
    is_closed: bool,
    last_blink_us: u64,
    /// Ends of the last minute's blinks.
    blinks: VecDeque<u64>,
}

impl Past {
    /// Takes any record, a sample before it is written.
    pub(super) fn take(&mut self, record: &Record) {
        self.resting.take(record);
        match record {
            Record::Blink(blink) => self.blinked(blink),
            Record::Sample(sample) => self.see(sample),
            _ => {}
        }
    }

    fn blinked(&mut self, blink: &Interval) {
        self.last_blink_us = blink.offset_us.saturating_sub(blink.onset_us);
        if self.blinks.len() == MOST_BLINKS {
            self.blinks.pop_front();
        }
        self.blinks.push_back(blink.offset_us);
    }

    fn see(&mut self, sample: &Sample) {
        let is_closed = sample.validity == Validity::EyeClosed;
        if is_closed && !self.is_closed {
            self.blink_id += 1;
        }
        self.is_closed = is_closed;
        let oldest = sample.t_us.saturating_sub(MINUTE_US);
        while self.blinks.front().is_some_and(|blink| *blink < oldest) {
            self.blinks.pop_front();
        }
    }
}

/// The value that applications put into the stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct UserData(pub(super) String);

impl UserData {
    /// Without what clients split records at: PsychoPy's would refuse every record after it.
    pub(super) fn of(value: &str) -> Self {
        let is_split_at = |char: char| char.is_whitespace() || char.is_control() || char == '=';
        UserData(value.replace(is_split_at, "_"))
    }
}

/// Writes the groups that are on, as bits in the order of [`GROUPS`].
pub(super) fn write(
    record: &TimedRecord,
    sample: &Sample,
    past: &Past,
    groups: u32,
    user: &UserData,
    out: &mut Vec<u8>,
) {
    let mut rec = Element::new(out, "REC");
    for (index, group) in GROUPS.iter().enumerate() {
        if groups & (1 << index) != 0 {
            rec = write_group(rec, group, record, sample, past, user);
        }
    }
    rec.end();
}

fn write_group<'a>(
    rec: Element<'a>,
    group: &str,
    record: &TimedRecord,
    sample: &Sample,
    past: &Past,
    user: &UserData,
) -> Element<'a> {
    let eyes = sample.eyes.as_ref();
    let left = eyes.and_then(|eyes| eyes.left.as_ref());
    let right = eyes.and_then(|eyes| eyes.right.as_ref());
    match group {
        "COUNTER" => rec.with("CNT", sample.seq),
        "TIME" => rec.real("TIME", seconds(sample.t_us)),
        "TIME_TICK" => rec.with("TIME_TICK", record.at.map_or(sample.t_us, |at| at.mono_us)),
        "POG_FIX" => fixation(rec, sample, past),
        // One camera gives one point of regard for both eyes.
        "POG_LEFT" => pog(rec, "L", None),
        "POG_RIGHT" => pog(rec, "R", None),
        "POG_BEST" => pog(rec, "B", usable_por(sample)),
        "POG_AAC" => pog(rec, "A", usable_por(sample)),
        "PUPIL_LEFT" => pupil(rec, "L", left, sample),
        "PUPIL_RIGHT" => pupil(rec, "R", right, sample),
        "EYE_LEFT" => eye(rec, "L", HALF_BETWEEN_EYES_M, sample),
        "EYE_RIGHT" => eye(rec, "R", -HALF_BETWEEN_EYES_M, sample),
        "CURSOR" => rec.real("CX", 0.0).real("CY", 0.0).with("CS", 0),
        "KB" => rec.with("KB", "").with("KBS", 0),
        "BLINK" => rec
            .with("BKID", if past.is_closed { past.blink_id } else { 0 })
            .real("BKDUR", seconds(past.last_blink_us))
            .with("BKPMIN", past.blinks.len()),
        // Irises are seen, pupils are not.
        "PUPILMM" => rec
            .real("LPMM", 0.0)
            .with("LPMMV", 0)
            .real("RPMM", 0.0)
            .with("RPMMV", 0),
        "DIAL" => rec.real("DIAL", 0.0).with("DIALV", 0),
        "GSR" => rec.real("GSR", 0.0).with("GSRV", 0),
        "HR" => rec.real("HR", 0.0).with("HRV", 0),
        "HR_PULSE" => rec.with("HRP", 0),
        "HR_IBI" => rec.real("HRIBI", 0.0),
        "TTL" => rec.with("TTL0", -1).with("TTL1", -1).with("TTLV", 0),
        "PIX" => rec
            .real("PIXX", 0.0)
            .real("PIXY", 0.0)
            .with("PIXS", 0)
            .with("PIXV", 0),
        _ => rec.with("USER", &user.0),
    }
}

fn usable_por(sample: &Sample) -> Option<&Por> {
    sample.por.as_ref().filter(|_| sample.validity.is_usable())
}

fn fixation<'a>(rec: Element<'a>, sample: &Sample, past: &Past) -> Element<'a> {
    let last = past.resting.last();
    let por = last.and_then(|fixation| fixation.por.as_ref());
    let onset_us = last.map_or(0, |fixation| fixation.onset_us);
    let until_us = match past.resting.now(sample) {
        Some(_) => sample.t_us,
        None => last.map_or(0, |fixation| fixation.until_us),
    };
    let is_on = past.resting.now(sample).is_some() && por.is_some();
    rec.real("FPOGX", por.map_or(0.0, |por| f64::from(por.x)))
        .real("FPOGY", por.map_or(0.0, |por| f64::from(por.y)))
        .real("FPOGS", seconds(onset_us))
        .real("FPOGD", seconds(until_us.saturating_sub(onset_us)))
        .with("FPOGID", last.map_or(0, |fixation| fixation.id))
        .with("FPOGV", u8::from(is_on))
}

fn pog<'a>(rec: Element<'a>, side: &str, por: Option<&Por>) -> Element<'a> {
    rec.real(
        format_args!("{side}POGX"),
        por.map_or(0.0, |por| f64::from(por.x)),
    )
    .real(
        format_args!("{side}POGY"),
        por.map_or(0.0, |por| f64::from(por.y)),
    )
    .with(format_args!("{side}POGV"), u8::from(por.is_some()))
}

fn pupil<'a>(rec: Element<'a>, side: &str, eye: Option<&Eye>, sample: &Sample) -> Element<'a> {
    let [x, y] = eye.map_or([0.0; 2], |eye| {
        [
            f64::from(eye.iris_px[0]) / sample.size_px[0].max(1) as f64,
            f64::from(eye.iris_px[1]) / sample.size_px[1].max(1) as f64,
        ]
    });
    // Where the eye is is known, the pupil's size is not.
    rec.real(format_args!("{side}PCX"), x)
        .real(format_args!("{side}PCY"), y)
        .real(format_args!("{side}PD"), 0.0)
        .real(format_args!("{side}PS"), 1.0)
        .with(format_args!("{side}PV"), 0)
}

fn eye<'a>(rec: Element<'a>, side: &str, offset_m: f64, sample: &Sample) -> Element<'a> {
    let [x, y, z] = sample.head.as_ref().map_or([0.0; 3], |head| {
        let [x, y, z] = head.position_mm.map(|side| f64::from(side) * 1e-3);
        let (sin, cos) = f64::from(head.yaw_rad).sin_cos();
        // The observer's left is +x of the camera; the specification's y points up.
        [x + offset_m * cos, -y, z + offset_m * sin]
    });
    rec.real(format_args!("{side}EYEX"), x)
        .real(format_args!("{side}EYEY"), y)
        .real(format_args!("{side}EYEZ"), z)
        .real(format_args!("{side}PUPILD"), 0.0)
        .with(format_args!("{side}PUPILV"), 0)
}

fn seconds(us: u64) -> f64 {
    us as f64 * 1e-6
}
