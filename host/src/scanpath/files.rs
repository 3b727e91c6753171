//! Scenes and paths in files: JSON Lines, paths also compressed with gzip.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::networks::Dwell;

use crate::inference::InferenceError;
use crate::output_file::WriteError;
use crate::record::{Scanpath, ScanpathFixation, SceneMessage};
use crate::scene::{FARTHEST_DIAGONALS, SceneTable, SceneTableError};

/// Nobody looks at one place for more than a day, ms.
const LONGEST_MS: f32 = 86_400_000.0;

/// Why a file of scenes or paths cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A line is not what is expected.
    #[error("{}, line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A drawing under a name that is another kind of file's.
    #[error("{}: a drawing is SVG; name a file that ends in .svg", path.display())]
    NotSvg {
        /// The file.
        path: PathBuf,
    },
    /// A network failed.
    #[error(transparent)]
    Inference(#[from] InferenceError),
}

/// A scene of a file.
#[derive(Clone, Debug)]
pub struct FileScene {
    /// Its objects.
    pub table: SceneTable,
    /// Its picture.
    pub image: Option<PathBuf>,
}

/// The scenes of a file, in its order.
#[derive(Debug)]
pub struct Scenes {
    /// The scenes.
    pub scenes: Vec<FileScene>,
    places: HashMap<String, usize>,
}

impl Scenes {
    /// Reads a file of scenes; pictures are relative to it.
    ///
    /// # Errors
    /// [`FileError`] names the line, and the object where one is wrong.
    pub fn read(path: &Path) -> Result<Scenes, FileError> {
        let mut found = Scenes {
            scenes: Vec::new(),
            places: HashMap::new(),
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        for line in lines(path)? {
            let (number, text) = line?;
            let wrong = |reason: String| FileError::Line {
                path: path.to_owned(),
                line: number,
                reason,
            };
            let scene: SceneMessage =
                serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
            let table = SceneTable::new(&scene)
                .map_err(|error: SceneTableError| wrong(error.to_string()))?;
            let place = found.scenes.len();
            if found.places.insert(scene.scene_id.clone(), place).is_some() {
                return Err(wrong(format!("scene {} is there already", scene.scene_id)));
            }
            found.scenes.push(FileScene {
                table,
                image: scene.image.map(|image| folder.join(image)),
            });
        }
        Ok(found)
    }

    /// The place of a scene.
    pub fn place_of(&self, scene_id: &str) -> Option<usize> {
        self.places.get(scene_id).copied()
    }
}

impl Scanpath {
    /// Where the gaze was when the scene came up, in screen diagonals, where that was on no
    /// object; and the dwells: fixations on no object are left out, those on the same object one
    /// after the other are one dwell, which ends where the last of them is.
    ///
    /// # Errors
    /// What is wrong, in words: an object that is not in the scene, a place far from the screen, or a
    /// duration that cannot be.
    pub fn dwells(&self, table: &SceneTable) -> Result<(Option<[f32; 2]>, Vec<Dwell>), String> {
        let mut start = None;
        let mut dwells: Vec<Dwell> = Vec::new();
        for (number, fixation) in self.fixations.iter().enumerate() {
            let ScanpathFixation {
                object,
                x_px,
                y_px,
                duration_ms,
            } = fixation;
            let at = table.to_diagonals([*x_px, *y_px]);
            if !at.iter().all(|far| far.abs() <= FARTHEST_DIAGONALS) {
                return Err(format!(
                    "fixation {} is at {x_px}, {y_px} px, more than {FARTHEST_DIAGONALS} screen diagonals away",
                    number + 1
                ));
            }
            if duration_ms.is_some_and(|lasted| !(0.0..=LONGEST_MS).contains(&lasted)) {
                return Err(format!(
                    "the duration of fixation {} must be null, or from 0 to {LONGEST_MS} ms",
                    number + 1
                ));
            }
            let gaze = Some(at);
            let Some(id) = object else {
                if number == 0 {
                    start = gaze;
                }
                continue;
            };
            let object = table
                .place_of(id.as_str())
                .ok_or_else(|| format!("scene {} has no object {id}", table.scene_id()))?;
            match dwells.last_mut() {
                Some(dwell) if dwell.object == object => {
                    dwell.gaze = gaze;
                    dwell.duration_ms = dwell.duration_ms.zip(*duration_ms).map(|(a, b)| a + b);
                }
                _ => dwells.push(Dwell {
                    object,
                    duration_ms: *duration_ms,
                    gaze,
                }),
            }
        }
        Ok((start, dwells))
    }
}

/// The paths of a file, compressed or not, one by one with the numbers of their lines.
///
/// # Errors
/// [`FileError::Read`]; each path may be a [`FileError`] of its own.
pub fn paths(
    path: &Path,
) -> Result<impl Iterator<Item = Result<(usize, Scanpath), FileError>>, FileError> {
    let name = path.to_owned();
    Ok(lines(path)?.map(move |line| {
        let (line, text) = line?;
        let found = serde_json::from_str(&text).map_err(|error| FileError::Line {
            path: name.clone(),
            line,
            reason: error.to_string(),
        })?;
        Ok((line, found))
    }))
}

/// Lines with their numbers from 1; empty ones are left out. Compression is told by the content.
fn lines(
    path: &Path,
) -> Result<impl Iterator<Item = Result<(usize, String), FileError>>, FileError> {
    let failed = {
        let path = path.to_owned();
        move |source| FileError::Read {
            path: path.clone(),
            source,
        }
    };
    let file = File::open(path).map_err(&failed)?;
    let mut reader = BufReader::new(file);
    let is_compressed = reader
        .fill_buf()
        .map_err(&failed)?
        .starts_with(&[0x1F, 0x8B]);
    let plain: Box<dyn Read> = if is_compressed {
        Box::new(MultiGzDecoder::new(reader))
    } else {
        Box::new(reader)
    };
    // A decoder that has failed says so again for ever.
    let mut has_failed = false;
    let numbered = BufReader::new(plain)
        .lines()
        .enumerate()
        .take_while(move |(_, line)| !std::mem::replace(&mut has_failed, line.is_err()));
    Ok(numbered.filter_map(move |(k, line)| match line {
        Ok(text) if text.trim().is_empty() => None,
        // Editors of some systems put a mark of the encoding before the first line.
        Ok(text) => Some(Ok((
            k + 1,
            match text.strip_prefix('\u{feff}') {
                Some(marked) if k == 0 => marked.to_owned(),
                _ => text,
            },
        ))),
        Err(source) => Some(Err(failed(source))),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> SceneTable {
        let scene = serde_json::from_str(
            r#"{"scene_id":"s","width_px":800,"height_px":600,"objects":[
                {"id":0,"box":[0,0,100,100]},{"id":1,"box":[300,0,100,100]}]}"#,
        )
        .unwrap();
        SceneTable::new(&scene).unwrap()
    }

    fn path(fixations: &str) -> Scanpath {
        serde_json::from_str(&format!(
            r#"{{"scene_id":"s","observer":"o","correct":1,"fixations":[{fixations}]}}"#
        ))
        .unwrap()
    }

    #[test]
    fn fixations_on_the_same_object_are_one_dwell() {
        let path = path(
            r#"{"object":null,"x_px":400,"y_px":300,"duration_ms":9},
               {"object":0,"x_px":1,"y_px":1,"duration_ms":100},
               {"object":null,"x_px":500,"y_px":300,"duration_ms":9},
               {"object":0,"x_px":400,"y_px":400,"duration_ms":150},
               {"object":1,"x_px":1,"y_px":1,"duration_ms":null}"#,
        );
        let (start, dwells) = path.dwells(&table()).unwrap();
        assert_eq!(start, Some([0.0, 0.0]));
        let first = Dwell {
            object: 0,
            duration_ms: Some(250.0),
            gaze: Some([0.0, 0.1]),
        };
        assert_eq!((dwells[0], dwells.len()), (first, 2));
        assert_eq!((dwells[1].object, dwells[1].duration_ms), (1, None));
    }

    #[test]
    fn an_object_that_is_not_in_the_scene_is_named() {
        let path = path(r#"{"object":7,"x_px":1,"y_px":1,"duration_ms":1}"#);
        assert_eq!(
            path.dwells(&table()).unwrap_err(),
            "scene s has no object 7"
        );
    }

    #[test]
    fn numbers_that_no_eye_can_have_name_their_fixation() {
        for (fixation, said) in [
            (
                r#"{"object":0,"x_px":1e30,"y_px":1,"duration_ms":1}"#,
                "fixation 2 is at",
            ),
            (
                r#"{"object":null,"x_px":1,"y_px":-1e39,"duration_ms":1}"#,
                "fixation 2 is at",
            ),
            (
                r#"{"object":0,"x_px":1,"y_px":1,"duration_ms":-1}"#,
                "duration of fixation 2",
            ),
            (
                r#"{"object":0,"x_px":1,"y_px":1,"duration_ms":1e39}"#,
                "duration of fixation 2",
            ),
        ] {
            let first = r#"{"object":1,"x_px":-32768,"y_px":1,"duration_ms":0}"#;
            let error = path(&format!("{first},{fixation}"))
                .dwells(&table())
                .unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_mark_of_the_encoding_before_the_first_line_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("paths.jsonl");
        let line = r#"{"scene_id":"s","observer":"o","fixations":[]}"#;
        std::fs::write(&file, format!("\u{feff}{line}\n{line}\n")).unwrap();
        let read: Result<Vec<_>, _> = paths(&file).unwrap().collect();
        assert_eq!(read.unwrap().len(), 2);
        std::fs::write(&file, format!("{line}\n\u{feff}{line}\n")).unwrap();
        let error = paths(&file).unwrap().find_map(Result::err).unwrap();
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn a_path_that_begins_on_an_object_has_no_start() {
        let path = path(r#"{"object":1,"x_px":1,"y_px":1,"duration_ms":1}"#);
        assert_eq!(path.dwells(&table()).unwrap().0, None);
    }

    #[test]
    fn a_file_that_cannot_be_unpacked_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("paths.jsonl.gz");
        std::fs::write(&file, [0x1F, 0x8B, 0x08, 0x00, 0x82, 0x82]).unwrap();
        let found: Vec<_> = paths(&file).unwrap().take(9).collect();
        assert!(
            matches!(&found[..], [Err(FileError::Read { .. })]),
            "{found:?}"
        );
    }
}
