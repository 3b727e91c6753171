//! `gazed report NAME`: a person's calibration as one HTML page with its figures inside, and the
//! same numbers as JSON beside it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gaze_calibration::{MadeBy, Measures, Profile, ProfileError, Quality, TargetQuality};

use crate::markup::escaped;
use crate::users::date;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Writes `NAME.html` and `NAME.json` into a folder; gives the page's path.
///
/// # Errors
/// [`ReportError::Write`].
pub fn write(profile: &Profile, folder: &Path) -> Result<PathBuf, ReportError> {
    let page = folder.join(format!("{}.html", profile.user));
    let numbers = folder.join(format!("{}.json", profile.user));
    let failed = |path: &Path, source| ReportError::Write {
        path: path.to_owned(),
        source,
    };
    let json =
        serde_json::to_string_pretty(profile).map_err(|source| failed(&numbers, source.into()))?;
    for (path, text) in [(&page, html(profile)), (&numbers, json)] {
        std::fs::write(path, text).map_err(|source| failed(path, source))?;
    }
    Ok(page)
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:920px;margin:2em auto;padding:0 1em;color:#16202a}\
h1,h2{line-height:1.2}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:3px 10px;text-align:right;border-bottom:1px solid #d5dce3}th:first-child,td:first-child{text-align:left}\
svg{max-width:100%;border:1px solid #d5dce3;border-radius:6px}.quiet{color:#5b6976}";

/// The page.
fn html(profile: &Profile) -> String {
    let mut out = String::new();
    let screen = &profile.screen;
    let name = &profile.user;
    let [columns, rows] = profile.camera.frame_size_px;
    // Writing to a string cannot fail; names and camera ids are the only text that is not ours.
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>gazed: {name}</title><style>{STYLE}</style>\
         <h1>Calibration of {name}</h1><p class=\"quiet\">{}, {} eye(s), camera {} at {columns}×{rows} px, screen {:.0}×{:.0} mm</p>",
        date(profile.created_unix_s),
        format!("{:?}", profile.eyes).to_lowercase(),
        escaped(&profile.camera.id),
        screen.width_mm(),
        screen.height_mm(),
    );
    if let Some(validation) = &profile.validation {
        let when = match profile.made_by {
            MadeBy::Recentring => " They judged it before it was recentred.",
            MadeBy::Session | MadeBy::Recording => "",
        };
        let _ = write!(
            out,
            "<h2>Targets that judge it</h2><p class=\"quiet\">None of these was used to fit.{when}</p>"
        );
        quality(&mut out, profile, validation);
    }
    out.push_str("<h2>Targets that it was fitted to</h2><p class=\"quiet\">Each is predicted by a model that has not seen it; precision by the model itself. Kind and strengths of the model were chosen by these errors, so they flatter: targets that judge it do not.</p>");
    quality(&mut out, profile, &profile.quality);
    fitting(&mut out, profile);
    bias_by_position(&mut out, profile);
    out.push_str("</html>\n");
    out
}

fn number(number: Option<f32>, digits: usize) -> String {
    number.map_or("–".to_owned(), |number| format!("{number:.digits$}"))
}

fn quality(out: &mut String, profile: &Profile, quality: &Quality) {
    map(out, profile, quality);
    out.push_str("<table><tr><th>target, mm<th>accuracy °<th>cm<th>px<th>right +, °<th>up +, °<th>SD °<th>cm<th>px<th>RMS-S2S °<th>BCEA deg²<th>samples<th>lost %</tr>");
    for target in &quality.targets {
        let place = format!("{:.0}, {:.0}", target.target.x_mm, target.target.y_mm);
        row(out, profile, &place, &target.measures);
    }
    row(out, profile, "<b>all</b>", &quality.all);
    out.push_str("</table>");
}

fn row(out: &mut String, profile: &Profile, name: &str, measures: &Measures) {
    let size_px = profile.screen.size_px();
    let px = |mm: Option<f32>| {
        let ([width, _], mm) = size_px.zip(mm)?;
        Some(mm * width as f32 / profile.screen.width_mm())
    };
    let cm = |mm: Option<f32>| mm.map(|mm| mm / 10.0);
    let _ = write!(
        out,
        "<tr><td>{name}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
        number(measures.accuracy_deg, 2),
        number(cm(measures.accuracy_mm), 1),
        number(px(measures.accuracy_mm), 0),
        number(measures.azimuth_deg, 2),
        number(measures.elevation_deg, 2),
        number(measures.precision_sd_deg, 2),
        number(cm(measures.precision_sd_mm), 1),
        number(px(measures.precision_sd_mm), 0),
        number(measures.precision_rms_s2s_deg, 2),
        number(measures.bcea_deg2, 2),
        measures.n_samples(),
        number(measures.data_loss().map(|share| 100.0 * share), 1),
    );
}

/// The screen with each target, mean gaze on it, and one standard deviation around that.
fn map(out: &mut String, profile: &Profile, quality: &Quality) {
    let (width, height) = (profile.screen.width_mm(), profile.screen.height_mm());
    let margin = 0.06 * width;
    let _ = write!(
        out,
        "<svg viewBox=\"{} {} {} {}\" width=\"860\" role=\"img\" aria-label=\"targets and gaze\"><rect width=\"{width}\" height=\"{height}\" fill=\"#f3f5f7\"/>",
        -margin,
        -margin,
        width + 2.0 * margin,
        height + 2.0 * margin
    );
    let unit = width / 200.0;
    for target in &quality.targets {
        let (x, y) = (target.target.x_mm, target.target.y_mm);
        let _ = write!(
            out,
            "<path d=\"M{} {y}h{}M{x} {}v{}\" stroke=\"#16202a\" stroke-width=\"{}\"/>",
            x - 2.0 * unit,
            4.0 * unit,
            y - 2.0 * unit,
            4.0 * unit,
            0.4 * unit
        );
        let Some(gaze) = target.gaze else { continue };
        let spread = target
            .measures
            .precision_sd_deg
            .zip(target.eyes_mm)
            .map_or(0.0, |(deg, eyes)| {
                eyes[2] * deg.to_radians().tan() / 2f32.sqrt()
            });
        let _ = write!(
            out,
            "<circle cx=\"{0}\" cy=\"{1}\" r=\"{spread}\" fill=\"#0072b2\" fill-opacity=\".15\"/><line x1=\"{x}\" y1=\"{y}\" x2=\"{0}\" y2=\"{1}\" stroke=\"#0072b2\" stroke-width=\"{2}\"/><circle cx=\"{0}\" cy=\"{1}\" r=\"{unit}\" fill=\"#0072b2\"/>",
            gaze.x_mm,
            gaze.y_mm,
            0.4 * unit
        );
        if let Some(deg) = target.measures.accuracy_deg {
            let _ = write!(
                out,
                "<text x=\"{}\" y=\"{}\" font-size=\"{}\" fill=\"#5b6976\">{deg:.1}°</text>",
                x + 2.5 * unit,
                y - 2.0 * unit,
                4.0 * unit
            );
        }
    }
    out.push_str("</svg>");
}

fn fitting(out: &mut String, profile: &Profile) {
    let fitting = &profile.fitting;
    let _ = write!(
        out,
        "<h2>The model</h2><p>{}: {}.</p><table><tr><th><th>error, mm<th>error, °</tr>",
        profile.kind(),
        escaped(&fitting.reason)
    );
    let known = [
        ("without calibration", fitting.uncalibrated),
        ("always the middle of the targets", fitting.constant_guess),
    ]
    .map(|(name, error)| (name.to_owned(), error));
    let fitted = fitting
        .candidates
        .iter()
        .map(|candidate| (candidate.kind.to_string(), candidate.left_out));
    for (name, error) in known.into_iter().chain(fitted) {
        let _ = write!(
            out,
            "<tr><td>{name}<td>{}<td>{}</tr>",
            number(error.map(|error| error.mm), 1),
            number(error.map(|error| error.deg), 2)
        );
    }
    out.push_str("</table>");
    if let Some(rate) = fitting.rate_hz {
        let _ = write!(
            out,
            "<p>Effective rate: {rate:.1} samples with gaze a second.</p>"
        );
    }
}

/// How the error depends on where the head was: each target against each axis of the eyes' place.
fn bias_by_position(out: &mut String, profile: &Profile) {
    let targets: Vec<&TargetQuality> = profile
        .quality
        .targets
        .iter()
        .chain(
            profile
                .validation
                .iter()
                .flat_map(|quality| &quality.targets),
        )
        .collect();
    out.push_str("<h2>Bias by the head's position</h2><p class=\"quiet\">One point a target: the eyes' place (camera axes) against the horizontal (blue) and vertical (orange) bias.</p>");
    for (axis, name) in [
        (0, "x: to the observer's left"),
        (1, "y: down"),
        (2, "z: distance"),
    ] {
        let points: Vec<(f32, Option<f32>, Option<f32>)> = targets
            .iter()
            .filter_map(|target| {
                let measures = &target.measures;
                Some((
                    target.eyes_mm?[axis],
                    measures.azimuth_deg,
                    measures.elevation_deg,
                ))
            })
            .collect();
        scatter(out, name, &points);
    }
}

fn scatter(out: &mut String, name: &str, points: &[(f32, Option<f32>, Option<f32>)]) {
    let low = points.iter().map(|p| p.0).fold(f32::INFINITY, f32::min);
    let high = points.iter().map(|p| p.0).fold(f32::NEG_INFINITY, f32::max);
    let most = points
        .iter()
        .flat_map(|p| [p.1, p.2])
        .flatten()
        .map(f32::abs)
        .fold(1f32, f32::max);
    if points.is_empty() {
        return;
    }
    let across = |mm: f32| 40.0 + 220.0 * (mm - low) / (high - low).max(1.0);
    let down = |deg: f32| 75.0 - 60.0 * deg / most;
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 280 175\" width=\"280\" role=\"img\" aria-label=\"bias by {name}\"><line x1=\"40\" x2=\"270\" y1=\"75\" y2=\"75\" stroke=\"#8793a0\"/><g font-size=\"10\" fill=\"#5b6976\"><text x=\"4\" y=\"20\">+{most:.1}°</text><text x=\"4\" y=\"138\">−{most:.1}°</text><text x=\"40\" y=\"155\">{low:.0} mm</text><text x=\"225\" y=\"155\">{high:.0} mm</text><text x=\"90\" y=\"170\">{name}</text></g>"
    );
    for (mm, azimuth, elevation) in points {
        for (deg, colour) in [(azimuth, "#0072b2"), (elevation, "#b85c00")] {
            if let Some(deg) = deg {
                let (x, y) = (across(*mm), down(*deg));
                let _ = write!(
                    out,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\" fill-opacity=\".8\"/>"
                );
            }
        }
    }
    out.push_str("</svg>");
}
