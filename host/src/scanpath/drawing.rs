//! `gazed scanpath show`: a scene, people's paths and the model's as numbered circles, in SVG.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::files::{FileError, FileScene, Scenes, paths};
use super::networks::Networks;
use super::sample::sample;
use super::score::encode;
use crate::markup::escaped;
use crate::output_file::{self, WriteError};
use crate::record::Scanpath;

/// Colours of people's paths; the model's are drawn in [`OF_MODEL`].
const OF_PEOPLE: [&str; 6] = [
    "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#bcbd22",
];
const OF_MODEL: [&str; 3] = ["#d62728", "#ff7f0e", "#e377c2"];

/// What is drawn.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// The scene's name.
    pub scene_id: String,
    /// A file of scenes.
    pub scenes: PathBuf,
    /// A file of people's paths.
    pub paths: Option<PathBuf>,
    /// Most paths of people.
    pub people: usize,
    /// Paths of the model.
    pub samples: usize,
    /// Seed of those.
    pub seed: u64,
}

impl Drawing {
    /// Draws.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, networks: &mut Networks, out: &Path) -> Result<(), FileError> {
        let is_svg = |ending: &OsStr| ending.eq_ignore_ascii_case("svg");
        if out.extension().is_some_and(|ending| !is_svg(ending)) {
            return Err(FileError::NotSvg {
                path: out.to_owned(),
            });
        }
        let scenes = Scenes::read(&self.scenes)?;
        let place = scenes
            .place_of(&self.scene_id)
            .ok_or_else(|| FileError::Line {
                path: self.scenes.clone(),
                line: scenes.scenes.len(),
                reason: format!("the file ends without a scene {}", self.scene_id),
            })?;
        let scene = &scenes.scenes[place];
        let mut drawn = Vec::new();
        if let Some(of_people) = &self.paths {
            for path in paths(of_people)? {
                let (_, path) = path?;
                if path.scene_id == self.scene_id && drawn.len() < self.people {
                    drawn.push((path, OF_PEOPLE[drawn.len() % OF_PEOPLE.len()]));
                }
            }
        }
        let encoded = encode(networks, scene)?;
        let samples = sample(networks, &scene.table, &encoded, self.samples, self.seed)?;
        drawn.extend(
            samples
                .into_iter()
                .enumerate()
                .map(|(k, path)| (path, OF_MODEL[k % OF_MODEL.len()])),
        );
        let inputs: Vec<&Path> = std::iter::once(&self.scenes)
            .chain(&self.paths)
            .map(PathBuf::as_path)
            .collect();
        output_file::write(out, &inputs, &svg(scene, &drawn)).map_err(|source| {
            let path = out.to_owned();
            FileError::Write(WriteError { path, source })
        })
    }
}

/// The drawing; the picture is inside it.
fn svg(scene: &FileScene, drawn: &[(Scanpath, &str)]) -> String {
    let table = &scene.table;
    let [width, height] = table.size_px();
    let radius = width.hypot(height) / 70.0;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {}" font-family="sans-serif" font-size="{radius}">
<rect width="{width}" height="{height}" fill="#ddd"/>"##,
        height + radius * 2.0 * (drawn.len() as f32 + 1.0)
    );
    if let Some((kind, bytes)) = scene.image.as_deref().and_then(picture) {
        let _ = writeln!(
            out,
            r#"<image width="{width}" height="{height}" preserveAspectRatio="none" href="data:image/{kind};base64,{}"/>"#,
            BASE64.encode(bytes)
        );
    }
    for (place, id) in table.ids().iter().enumerate() {
        let [x, y, w, h] = table.box_px(place);
        let _ = writeln!(
            out,
            r#"<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="none" stroke="white" stroke-opacity="0.7"><title>{}</title></rect>"#,
            escaped(id.as_str())
        );
    }
    for (number, (path, colour)) in drawn.iter().enumerate() {
        let points: Vec<_> = path
            .fixations
            .iter()
            .map(|fixation| format!("{},{}", fixation.x_px, fixation.y_px))
            .collect();
        let _ = writeln!(
            out,
            r#"<g opacity="0.85"><polyline points="{}" fill="none" stroke="{colour}" stroke-width="{}"/>"#,
            points.join(" "),
            radius / 6.0
        );
        for (k, fixation) in path.fixations.iter().enumerate() {
            // The area grows with the time; 250 ms is a usual fixation.
            let share = (fixation.duration_ms.unwrap_or(250.0) / 250.0)
                .sqrt()
                .clamp(0.6, 2.5);
            let (x, y) = (fixation.x_px, fixation.y_px);
            let _ = writeln!(
                out,
                r#"<circle cx="{x}" cy="{y}" r="{}" fill="{colour}" fill-opacity="0.6"/><text x="{x}" y="{y}" fill="white" text-anchor="middle" dominant-baseline="central">{}</text>"#,
                radius * share,
                k + 1
            );
        }
        let _ = writeln!(
            out,
            r#"<text x="{radius}" y="{}" fill="{colour}">{}</text></g>"#,
            height + radius * 2.0 * (number as f32 + 1.0),
            escaped(&path.observer)
        );
    }
    out.push_str("</svg>\n");
    out
}

/// A picture's kind and bytes; none for one that is not there or that browsers do not show.
fn picture(path: &Path) -> Option<(&'static str, Vec<u8>)> {
    let bytes = std::fs::read(path).ok()?;
    let kind = match &*bytes {
        [0xFF, 0xD8, ..] => "jpeg",
        [0x89, b'P', b'N', b'G', ..] => "png",
        _ => return None,
    };
    Some((kind, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ScanpathFixation;
    use crate::scene::SceneTable;

    #[test]
    fn every_fixation_is_a_numbered_circle() {
        let scene = serde_json::from_str(
            r#"{"scene_id":"s","width_px":70,"height_px":0.001,"objects":[{"id":"a<b","box":[0,0,10,10]}]}"#,
        )
        .unwrap();
        let scene = FileScene {
            table: SceneTable::new(&scene).unwrap(),
            image: Some("/nonexistent.png".into()),
        };
        let fixation = |x_px| ScanpathFixation {
            object: None,
            x_px,
            y_px: 5.0,
            duration_ms: Some(1000.0),
        };
        let path = Scanpath {
            scene_id: "s".into(),
            observer: "x & y".into(),
            fixations: vec![fixation(1.0), fixation(2.0)],
        };
        let drawn = svg(&scene, &[(path, "#123456")]);
        assert_eq!(drawn.matches("<circle").count(), 2);
        // 1000 ms are four times a usual fixation's area: twice the radius of 1.
        assert!(
            drawn.contains(r##"<circle cx="2" cy="5" r="2" fill="#123456""##),
            "{drawn}"
        );
        assert!(
            drawn.contains(r#">2</text>"#)
                && drawn.contains("x &amp; y")
                && drawn.contains("a&lt;b")
        );
        assert!(!drawn.contains("<image"));
    }
}
