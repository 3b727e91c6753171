//! A recorded trace as text, and all that this crate makes of it as text, to the last bit.
//!
//! Also part of the emulated board's program (`firmware/boards/emulated`), so `core` only.

use core::fmt::{self, Write};

use gaze_protocol::{
    GazeAngles, GazeEvent, GazeSample, OpenEvent, PointOfRegard, Timestamp, Validity,
};
use gaze_signal::{
    Detector, EventBuf, EventDetector, EventSettings, ObjectBox, ObjectSettings, Objects, OneEuro,
    OneEuroSettings,
};

/// One line of a trace: `t_us validity yaw_nrad pitch_nrad x_um y_um`, the numbers whole. Without
/// gaze (`no_face`, `eye_closed`) the last four are absent.
pub fn parse(line: &str) -> Option<GazeSample> {
    let mut fields = line.split_ascii_whitespace();
    let captured_at = Timestamp(fields.next()?.parse().ok()?);
    let validity = match fields.next()? {
        "valid" => Validity::Valid,
        "no_face" => Validity::NoFace,
        "eye_closed" => Validity::EyeClosed,
        "low_confidence" => Validity::LowConfidence,
        _ => return None,
    };
    let mut sample = GazeSample {
        seq: 0,
        captured_at,
        validity,
        lids_are_down: false,
        angles: None,
        por: None,
        line_of_gaze: None,
        sigma_rad: None,
    };
    if validity.has_gaze() {
        let mut number = |unit: f32| -> Option<f32> {
            let whole: i32 = fields.next()?.parse().ok()?;
            Some(whole as f32 * unit)
        };
        sample.line_of_gaze = Some(GazeAngles {
            yaw_rad: number(1e-9)?,
            pitch_rad: number(1e-9)?,
        });
        sample.por = Some(PointOfRegard {
            x_mm: number(1e-3)?,
            y_mm: number(1e-3)?,
        });
    }
    Some(sample)
}

/// Plays a trace to every detector, to two objects on the screen and to the smoothing filter.
///
/// # Errors
/// Those of `out`, and a line that is no sample.
pub fn replay(trace: &str, out: &mut impl Write) -> fmt::Result {
    for detector in [
        Detector::Adaptive,
        Detector::Ivt,
        Detector::Idt,
        Detector::Network,
    ] {
        writeln!(out, "{detector:?}")?;
        let settings = EventSettings {
            detector,
            ..EventSettings::default()
        };
        let mut stage = EventDetector::new(settings).map_err(|_| fmt::Error)?;
        let mut events = EventBuf::new();
        for line in trace.lines() {
            events.clear();
            stage.step(&parse(line).ok_or(fmt::Error)?, &mut events);
            write_events(&events, out)?;
        }
        events.clear();
        stage.finish(&mut events);
        write_events(&events, out)?;
        if let Some(noise_rad) = stage.noise_rad() {
            writeln!(out, "noise {:08x}", noise_rad.to_bits())?;
        }
    }
    replay_screen(trace, out)
}

fn replay_screen(trace: &str, out: &mut impl Write) -> fmt::Result {
    writeln!(out, "Objects")?;
    let mut screen = Objects::new(ObjectSettings::default()).map_err(|_| fmt::Error)?;
    for (id, x_mm) in [("left", 0.0), ("right", 265.5)] {
        let half = ObjectBox {
            x_mm,
            y_mm: 0.0,
            width_mm: 265.5,
            height_mm: 299.0,
        };
        screen.add(id, half).map_err(|_| fmt::Error)?;
    }
    let mut filter = OneEuro::new(OneEuroSettings::default()).map_err(|_| fmt::Error)?;
    let mut events = EventBuf::new();
    for (index, line) in trace.lines().enumerate() {
        let mut sample = parse(line).ok_or(fmt::Error)?;
        sample.por = sample
            .por
            .and_then(|por| filter.step(sample.captured_at, por));
        events.clear();
        screen.step(&sample, &mut events);
        write_events(&events, out)?;
        if index % 50 == 0 {
            writeln!(out, "smooth {} {}", index, Por(sample.por))?;
        }
    }
    events.clear();
    screen.finish(&mut events);
    write_events(&events, out)
}

/// Numbers as the bits of their f32, so that nothing is rounded away.
fn write_events(events: &EventBuf, out: &mut impl Write) -> fmt::Result {
    for event in events {
        match event {
            GazeEvent::Begin(open) => write_open("begin", open, out)?,
            GazeEvent::Update(open) => write_open("update", open, out)?,
            GazeEvent::Fixation(f) => {
                let [yaw, pitch] = f.centroid_rad.map(f32::to_bits);
                let dispersion = f.dispersion_rad.to_bits();
                let (from, to) = (f.onset.as_us(), f.offset.as_us());
                writeln!(
                    out,
                    "{} fixation {from} {to} {yaw:08x} {pitch:08x} {dispersion:08x} {}",
                    f.id,
                    Por(f.por)
                )?;
            }
            GazeEvent::Saccade(s) => {
                let amplitude = s.amplitude_rad.to_bits();
                let peak = s.peak_velocity_rad_s.to_bits();
                let (from, to) = (s.onset.as_us(), s.offset.as_us());
                writeln!(
                    out,
                    "{} saccade {from} {to} {amplitude:08x} {peak:08x} {}",
                    s.id,
                    Por(s.landing)
                )?;
            }
            GazeEvent::Pursuit(p) => {
                let amplitude = p.amplitude_rad.to_bits();
                let (from, to) = (p.onset.as_us(), p.offset.as_us());
                writeln!(
                    out,
                    "{} pursuit {from} {to} {amplitude:08x} {}",
                    p.id,
                    Por(p.por)
                )?;
            }
            GazeEvent::Blink(b) => {
                let (from, to) = (b.onset.as_us(), b.offset.as_us());
                writeln!(out, "{} blink {from} {to}", b.id)?;
            }
            GazeEvent::Gap(g) => {
                let (from, to) = (g.onset.as_us(), g.offset.as_us());
                writeln!(out, "{} gap {from} {to}", g.id)?;
            }
            GazeEvent::ObjectEnter(visit) => {
                writeln!(out, "enter {} {}", visit.object, visit.onset.as_us())?;
            }
            GazeEvent::ObjectLeave(visit) => {
                let (from, to) = (visit.onset.as_us(), visit.offset.as_us());
                writeln!(out, "leave {} {from} {to}", visit.object)?;
            }
            GazeEvent::Sample(_) => return Err(fmt::Error),
        }
    }
    Ok(())
}

fn write_open(what: &str, open: &OpenEvent, out: &mut impl Write) -> fmt::Result {
    let (from, until) = (open.onset.as_us(), open.until.as_us());
    let (id, kind) = (open.id, open.kind);
    writeln!(out, "{id} {what} {kind:?} {from} {until} {}", Por(open.por))
}

/// A point of regard as bits, or `-`.
struct Por(Option<PointOfRegard>);

impl fmt::Display for Por {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(por) => write!(f, "{:08x} {:08x}", por.x_mm.to_bits(), por.y_mm.to_bits()),
            None => f.write_str("-"),
        }
    }
}
