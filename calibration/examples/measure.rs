//! Fits and judges recorded gaze: `cargo run --release -p gaze-calibration --example measure --
//! samples.csv`, written by `python -m gaze_models.calibration`. Prints the tables of the README.
//!
//! Columns: set, session, seq, target x and y (mm), yaw, pitch, origin x y z, head yaw, pitch and
//! roll, sigma, features; a row that ends after the target has no answer. Within a session some
//! targets calibrate and all others judge; across sessions one calibrates and the next judges. A
//! frame without an answer is charged what guessing the mean calibration target would cost.

use std::collections::BTreeMap;
use std::error::Error;

use gaze_calibration::{
    CalibrationInput, CalibrationModel, FitOptions, FitReport, ModelKind, ScreenGeometry,
    TargetSample, fit,
};
use gaze_protocol::{GazeAngles, PointOfRegard};
use nalgebra::{DMatrix, DVector};

/// Frames nearest to each place, where a set has no fixed targets.
const FRAMES_A_PLACE: usize = 5;

/// A set whose targets are that many in a session has no fixed ones.
const MOST_FIXED_TARGETS: usize = 100;

const SCREEN_MM: [f32; 2] = [531.0, 299.0];

const COUNTS: [usize; 5] = [1, 3, 5, 9, 13];

/// Targets at these shares of the area that a session's targets cover.
fn places(n: usize) -> Vec<[f32; 2]> {
    let corners = [[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9]];
    let edges = [[0.5, 0.1], [0.1, 0.5], [0.9, 0.5], [0.5, 0.9]];
    let inner = [[0.3, 0.3], [0.7, 0.3], [0.3, 0.7], [0.7, 0.7]];
    let middle = [[0.5, 0.5]];
    match n {
        1 => middle.to_vec(),
        3 => vec![[0.5, 0.1], [0.1, 0.9], [0.9, 0.9]],
        5 => [&middle[..], &corners].concat(),
        9 => [&middle[..], &corners, &edges].concat(),
        _ => [&middle[..], &corners, &edges, &inner].concat(),
    }
}

/// The samples of one session.
struct Session {
    set: String,
    samples: Vec<TargetSample>,
}

fn read(path: &str) -> Result<Vec<Session>, Box<dyn Error>> {
    let text = std::fs::read_to_string(path)?;
    let mut sessions: BTreeMap<(String, String), Vec<TargetSample>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let columns: Vec<&str> = line.split(',').collect();
        let numbers = columns[2..]
            .iter()
            .filter(|column| !column.is_empty())
            .map(|column| column.parse::<f32>())
            .collect::<Result<Vec<f32>, _>>()?;
        let input = match numbers.get(3..) {
            None | Some([]) => None,
            Some(_) => Some(seen(&numbers)?),
        };
        let target = PointOfRegard {
            x_mm: numbers[1],
            y_mm: numbers[2],
        };
        let key = (columns[0].to_owned(), columns[1].to_owned());
        sessions.entry(key).or_default().push(TargetSample {
            seq: numbers[0] as u64,
            target,
            input,
        });
    }
    let in_order = |((set, _), samples)| Session { set, samples };
    Ok(sessions.into_iter().map(in_order).collect())
}

/// What was seen in a frame, of all the numbers of its row.
fn seen(numbers: &[f32]) -> Result<CalibrationInput, Box<dyn Error>> {
    let features = numbers.get(12..).and_then(|rest| rest.try_into().ok());
    Ok(CalibrationInput {
        angles: GazeAngles {
            yaw_rad: numbers[3],
            pitch_rad: numbers[4],
        },
        origin_mm: [numbers[5], numbers[6], numbers[7]],
        head_yaw_rad: numbers[8],
        head_pitch_rad: numbers[9],
        head_roll_rad: numbers[10],
        sigma_rad: numbers[11],
        features: features.ok_or("the number of features is another")?,
    })
}

fn apart(a: PointOfRegard, b: PointOfRegard) -> f32 {
    (a.x_mm - b.x_mm).hypot(a.y_mm - b.y_mm)
}

/// The samples that calibrate, and the others.
fn split(samples: &[TargetSample], n: usize) -> (Vec<TargetSample>, Vec<TargetSample>) {
    let edge = |of: fn(f32, f32) -> f32, axis: fn(&TargetSample) -> f32| {
        samples.iter().map(axis).reduce(of).unwrap_or(0.0)
    };
    let [left, right] = [f32::min, f32::max].map(|of| edge(of, |sample| sample.target.x_mm));
    let [top, bottom] = [f32::min, f32::max].map(|of| edge(of, |sample| sample.target.y_mm));
    let mut distinct: Vec<PointOfRegard> = Vec::new();
    for sample in samples {
        if distinct
            .iter()
            .all(|&target| apart(target, sample.target) > 1.0)
        {
            distinct.push(sample.target);
        }
    }
    let is_fixed = distinct.len() <= MOST_FIXED_TARGETS;
    let mut is_chosen = vec![false; samples.len()];
    for [x, y] in places(n) {
        let place = PointOfRegard {
            x_mm: left + x * (right - left),
            y_mm: top + y * (bottom - top),
        };
        let mut order: Vec<usize> = (0..samples.len()).filter(|&i| !is_chosen[i]).collect();
        order.sort_by(|&a, &b| {
            apart(samples[a].target, place).total_cmp(&apart(samples[b].target, place))
        });
        let nearest = samples[order[0]].target;
        let taken: Vec<usize> = if is_fixed {
            let is_there = |&i: &usize| apart(samples[i].target, nearest) <= 1.0;
            order.into_iter().filter(is_there).collect()
        } else {
            order.into_iter().take(FRAMES_A_PLACE).collect()
        };
        for index in taken {
            is_chosen[index] = true;
        }
    }
    let of = |wanted: bool| {
        let is = is_chosen
            .iter()
            .zip(samples)
            .filter(move |(is, _)| **is == wanted);
        is.map(|(_, sample)| *sample).collect()
    };
    (of(true), of(false))
}

/// Mean error of a map, mm; `guess` stands in where there is no answer.
fn error(
    judged: &[TargetSample],
    guess: PointOfRegard,
    map: impl Fn(&CalibrationInput) -> Option<PointOfRegard>,
) -> f32 {
    let errors: Vec<f32> = judged
        .iter()
        .map(|sample| {
            let answer = sample.input.as_ref().and_then(&map);
            apart(answer.unwrap_or(guess), sample.target)
        })
        .collect();
    errors.iter().sum::<f32>() / errors.len() as f32
}

/// Least squares from the two angles to millimetres: the usual thing.
fn plain_affine(samples: &[TargetSample]) -> Option<DMatrix<f64>> {
    let rows: Vec<([f64; 3], PointOfRegard)> = samples
        .iter()
        .filter_map(|sample| Some((row(&sample.input?), sample.target)))
        .collect();
    let terms = DMatrix::from_row_iterator(rows.len(), 3, rows.iter().flat_map(|(row, _)| *row));
    let goals = DMatrix::from_row_iterator(
        rows.len(),
        2,
        rows.iter()
            .flat_map(|(_, target)| [target.x_mm, target.y_mm].map(f64::from)),
    );
    // The smallest solution where targets are too few.
    terms.svd(true, true).solve(&goals, 1e-9).ok()
}

fn row(input: &CalibrationInput) -> [f64; 3] {
    [
        1.0,
        f64::from(input.angles.yaw_rad),
        f64::from(input.angles.pitch_rad),
    ]
}

/// The columns of the table.
fn columns(chosen: &[TargetSample], judged: &[TargetSample]) -> Result<Vec<f32>, Box<dyn Error>> {
    let screen = ScreenGeometry::new(SCREEN_MM[0], SCREEN_MM[1])?;
    let n = chosen.len() as f32;
    let middle = PointOfRegard {
        x_mm: chosen.iter().map(|sample| sample.target.x_mm).sum::<f32>() / n,
        y_mm: chosen.iter().map(|sample| sample.target.y_mm).sum::<f32>() / n,
    };
    let without = judged
        .iter()
        .filter(|sample| sample.input.is_none())
        .count();
    let mut columns = vec![
        without as f32,
        error(judged, middle, |_| Some(middle)),
        error(judged, middle, |input| {
            CalibrationModel::IDENTITY.predict(input, &screen)
        }),
        plain_affine(chosen).map_or(f32::NAN, |map| {
            error(judged, middle, |input| {
                let point = map.transpose() * DVector::from_row_slice(&row(input));
                Some(PointOfRegard {
                    x_mm: point[0] as f32,
                    y_mm: point[1] as f32,
                })
            })
        }),
    ];
    for kind in ModelKind::ALL.map(Some).into_iter().chain([None]) {
        let options = FitOptions {
            kind,
            ..FitOptions::default()
        };
        let report = fit(chosen, &screen, &options);
        let judge = |report: &FitReport| {
            error(judged, middle, |input| report.model.predict(input, &screen))
        };
        columns.push(report.as_ref().map_or(f32::NAN, judge));
        if kind.is_none() {
            let stated = report.ok().and_then(|report| report.quality.all.error_mm);
            columns.push(stated.unwrap_or(f32::NAN));
        }
    }
    Ok(columns)
}

/// The last is the error that the fit itself states, from targets left out.
const NAMES: [&str; 10] = [
    "without answer",
    "constant guess",
    "uncalibrated",
    "plain affine",
    "offset",
    "affine",
    "quadratic",
    "features",
    "chosen",
    "stated by the fit",
];

fn print_row(first: &str, rows: &[Vec<f32>]) {
    let cells: Vec<String> = (0..NAMES.len())
        .map(|column| {
            let known: Vec<f32> = rows
                .iter()
                .map(|row| row[column])
                .filter(|mm| mm.is_finite())
                .collect();
            if known.len() == rows.len() {
                format!("{:.1}", known.iter().sum::<f32>() / known.len() as f32)
            } else {
                "–".to_owned()
            }
        })
        .collect();
    println!("| {first} | {} |", cells.join(" | "));
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("which samples.csv?")?;
    let sessions = read(&path)?;
    let mut sets: Vec<&str> = sessions
        .iter()
        .map(|session| session.set.as_str())
        .collect();
    sets.dedup();
    println!("mean error, mm; mean over sessions\n");
    println!("| set | targets | {} |", NAMES.join(" | "));
    println!("|{}", "---|".repeat(NAMES.len() + 2));
    for set in sets {
        let of_set: Vec<&Session> = sessions.iter().filter(|one| one.set == set).collect();
        for n in COUNTS {
            let rows = of_set
                .iter()
                .map(|session| {
                    // What the most targets leave over, so that all numbers are of the same samples.
                    let (_, judged) = split(&session.samples, COUNTS[COUNTS.len() - 1]);
                    columns(&split(&session.samples, n).0, &judged)
                })
                .collect::<Result<Vec<_>, _>>()?;
            print_row(&format!("{set} | {n}"), &rows);
        }
        let next = of_set
            .windows(2)
            .map(|pair| columns(&split(&pair[0].samples, 9).0, &pair[1].samples))
            .collect::<Result<Vec<_>, _>>()?;
        if !next.is_empty() {
            print_row(&format!("{set} | 9, next session"), &next);
        }
    }
    Ok(())
}
