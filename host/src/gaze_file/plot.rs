//! `gazed plot events`: x, y, velocity and the events of one recording as an SVG picture, above the
//! human labels where the file has some.

use std::fmt::Write as _;
use std::path::Path;

use gaze_signal::Label;

use crate::markup::escaped;
use crate::output_file;

use super::{FileDetector, GazeFileError, Labelled, Summary, label_rows, letter};

/// Width of a second, and of the space left of the charts, px.
const SECOND_PX: f64 = 160.0;
const LEFT_PX: f64 = 70.0;
/// Height of the bands, of a chart, and of the space between, px.
const BAND_PX: f64 = 22.0;
const CHART_PX: f64 = 130.0;
const SPACE_PX: f64 = 16.0;
/// Names of other recordings that an error lists.
const NAMES_LISTED: usize = 5;

/// Draws the recording `name` (the first where none is named) of `input` into `out`.
///
/// # Errors
/// [`GazeFileError`]: a file that cannot be read or written, a line that makes no sense, or a
/// recording that is not there.
pub fn plot(
    input: &Path,
    detector: FileDetector,
    name: Option<&str>,
    out: &Path,
) -> Result<Summary, GazeFileError> {
    let mut summary = Summary::default();
    let (mut wanted, mut rows, mut names) = (name.map(str::to_owned), Vec::new(), Vec::new());
    label_rows(
        input,
        detector,
        &mut summary,
        &mut |name: &str, labelled: Labelled| {
            if *wanted.get_or_insert_with(|| name.to_owned()) == name {
                rows.push(labelled);
            } else if names.len() < NAMES_LISTED && names.last().is_none_or(|last| last != name) {
                names.push(name.to_owned());
            }
            Ok::<(), GazeFileError>(())
        },
    )?;
    let wanted = wanted.unwrap_or_default();
    if rows.is_empty() && name.is_some() {
        return Err(GazeFileError::NoSuchRecording {
            path: input.to_owned(),
            name: wanted,
            names: names.join(", "),
        });
    }
    let written = output_file::write(out, &[input], &picture(&wanted, &rows));
    written.map_err(|source| GazeFileError::Write {
        path: out.to_owned(),
        source,
    })?;
    Ok(summary)
}

/// What one kind of event is drawn in.
fn colour(letter: char) -> &'static str {
    match letter {
        'F' => "#7cb3e0",
        'S' => "#e0695c",
        'P' => "#7fc97f",
        'O' => "#e9b44c",
        _ => "#c9c9c9",
    }
}

fn picture(name: &str, rows: &[Labelled]) -> String {
    let first_us = rows.first().map_or(0, |labelled| labelled.row.at.as_us());
    let x_of = |us: u64| LEFT_PX + (us - first_us) as f64 * 1e-6 * SECOND_PX;
    let end_us = rows
        .last()
        .map_or(first_us, |labelled| labelled.row.at.as_us());
    let has_human = rows.iter().any(|labelled| labelled.row.human.is_some());
    let n_bands = if has_human { 2.0 } else { 1.0 };
    let charts_y = 40.0 + n_bands * (BAND_PX + 4.0) + SPACE_PX;
    let (width, height) = (
        x_of(end_us) + 20.0,
        charts_y + 3.0 * (CHART_PX + SPACE_PX) + 24.0,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"16\" font-weight=\"bold\">{}</text>\n",
        escaped(name)
    );
    let legend = [
        (Label::Fixation, "fixation"),
        (Label::Saccade, "saccade"),
        (Label::Pursuit, "pursuit"),
        (Label::Oscillation, "oscillation"),
        (Label::Blink, "blink, no gaze"),
    ];
    for (i, (label, words)) in legend.into_iter().enumerate() {
        let x = LEFT_PX + i as f64 * 110.0;
        let fill = colour(letter(label));
        put(
            &mut svg,
            format_args!(
                "<rect x=\"{x}\" y=\"22\" width=\"12\" height=\"12\" fill=\"{fill}\"/>\
             <text x=\"{}\" y=\"32\">{words}</text>\n",
                x + 16.0
            ),
        );
    }
    let found: Vec<char> = rows.iter().map(|labelled| letter(labelled.label)).collect();
    let human: Vec<char> = rows
        .iter()
        .map(|labelled| labelled.row.human.unwrap_or(' '))
        .collect();
    let mut bands = vec![("gazed", found, true)];
    if has_human {
        bands.push(("human", human, false));
    }
    for (i, (who, letters, reaches_charts)) in bands.iter().enumerate() {
        let y = 40.0 + i as f64 * (BAND_PX + 4.0);
        put(
            &mut svg,
            format_args!("<text x=\"8\" y=\"{}\">{who}</text>\n", y + 15.0),
        );
        for (from, to) in stretches(letters) {
            let (letter, x) = (letters[from], x_of(rows[from].row.at.as_us()));
            let until = rows
                .get(to)
                .map_or(end_us, |labelled| labelled.row.at.as_us());
            let (wide, fill) = ((x_of(until) - x).max(0.5), colour(letter));
            put(
                &mut svg,
                format_args!(
                    "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{wide:.1}\" height=\"{BAND_PX}\" fill=\"{fill}\"/>\n"
                ),
            );
            if *reaches_charts && letter != 'F' {
                put(
                    &mut svg,
                    format_args!(
                        "<rect x=\"{x:.1}\" y=\"{charts_y}\" width=\"{wide:.1}\" height=\"{}\" fill=\"{fill}\" \
                     opacity=\"0.25\"/>\n",
                        height - charts_y - 24.0
                    ),
                );
            }
        }
    }
    for (i, (words, values)) in traces(rows).iter().enumerate() {
        let top = charts_y + i as f64 * (CHART_PX + SPACE_PX);
        chart(&mut svg, words, top, values, |index| {
            x_of(rows[index].row.at.as_us())
        });
    }
    for second in 0..=(end_us - first_us) / 1_000_000 {
        put(
            &mut svg,
            format_args!(
                "<text x=\"{:.0}\" y=\"{:.0}\" fill=\"#666\">{second} s</text>\n",
                LEFT_PX + second as f64 * SECOND_PX,
                height - 8.0
            ),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// x, y and velocity of each row.
fn traces(rows: &[Labelled]) -> [(&'static str, Vec<Option<f64>>); 3] {
    let axis = |axis: usize| -> Vec<Option<f64>> {
        let of = |labelled: &Labelled| labelled.row.gaze_deg.map(|gaze| gaze[axis]);
        rows.iter().map(of).collect()
    };
    let mut velocity = vec![None];
    for pair in rows.windows(2) {
        let elapsed_s = pair[1].row.at.since(pair[0].row.at).as_us() as f64 * 1e-6;
        let both = pair[0].row.gaze_deg.zip(pair[1].row.gaze_deg);
        let step = both.map(|(from, to)| (to[0] - from[0]).hypot(to[1] - from[1]));
        velocity.push(
            step.filter(|_| elapsed_s > 0.0)
                .map(|step| step / elapsed_s),
        );
    }
    velocity.truncate(rows.len());
    [
        ("x, deg", axis(0)),
        ("y, deg", axis(1)),
        ("velocity, deg/s", velocity),
    ]
}

fn chart(
    svg: &mut String,
    words: &str,
    top: f64,
    values: &[Option<f64>],
    x_of: impl Fn(usize) -> f64,
) {
    let seen = || values.iter().flatten().copied();
    let (low, high) = (
        seen().fold(f64::INFINITY, f64::min),
        seen().fold(f64::NEG_INFINITY, f64::max),
    );
    put(
        svg,
        format_args!("<text x=\"8\" y=\"{}\">{words}</text>\n", top + 12.0),
    );
    if low > high {
        return;
    }
    let span = (high - low).max(1e-6);
    put(
        svg,
        format_args!(
            "<text x=\"8\" y=\"{:.0}\" fill=\"#666\">{high:.1}</text><text x=\"8\" y=\"{:.0}\" fill=\"#666\">{low:.1}</text>\n",
            top + 28.0,
            top + CHART_PX
        ),
    );
    let seen: Vec<char> = values
        .iter()
        .map(|value| if value.is_some() { '1' } else { '0' })
        .collect();
    for (from, to) in stretches(&seen) {
        if seen[from] == '0' {
            continue;
        }
        svg.push_str("<polyline fill=\"none\" stroke=\"#333\" stroke-width=\"1\" points=\"");
        for (index, value) in values.iter().enumerate().take(to).skip(from) {
            let y = top + CHART_PX * (high - value.unwrap_or(low)) / span;
            put(svg, format_args!("{:.1},{y:.1} ", x_of(index)));
        }
        svg.push_str("\"/>\n");
    }
}

/// First and one-past-last index of each run of one letter.
fn stretches(letters: &[char]) -> Vec<(usize, usize)> {
    let mut starts: Vec<usize> = (0..letters.len())
        .filter(|i| *i == 0 || letters[*i] != letters[i - 1])
        .collect();
    starts.push(letters.len());
    starts.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

fn put(svg: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = svg.write_fmt(text);
}
