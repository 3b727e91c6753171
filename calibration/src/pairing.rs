//! Which frame belongs to which target.

use gaze_protocol::PointOfRegard;

use crate::fit::TargetSample;
use crate::model::CalibrationInput;

/// One row of a table of targets: which frame, and where the target was.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetRow {
    /// Line in the file, from 1.
    pub line: usize,
    /// File name or number, as written.
    pub frame: String,
    /// Where the target was.
    pub target: PointOfRegard,
}

/// What the chain saw in one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameGaze<'a> {
    /// The frame's name in the records: base name of the file, or none for video.
    pub name: Option<&'a str>,
    /// The frame's number.
    pub seq: u64,
    /// Its gaze; none when lost (no face, eyes closed).
    pub input: Option<CalibrationInput>,
}

/// Rows and frames brought together.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairing {
    /// One sample for each row that has a frame, by frame number.
    pub samples: Vec<TargetSample>,
    /// Rows whose frame was not in the input.
    pub without_frame: Vec<TargetRow>,
}

/// Why a table of targets cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TargetsError {
    /// There are no rows.
    #[error("no targets: expected lines `frame,x_mm,y_mm`")]
    Empty,
    /// A row has not three columns.
    #[error("line {line}: {found} columns; expected `frame,x_mm,y_mm`")]
    Columns {
        /// Line in the file, from 1.
        line: usize,
        /// Columns found.
        found: usize,
    },
    /// A row names no frame.
    #[error("line {line}: the frame is empty; expected a file name or a number")]
    NoFrame {
        /// Line in the file, from 1.
        line: usize,
    },
    /// A position is not a number.
    #[error("line {line}: {column} is {found:?}; expected millimetres, such as 265.5")]
    Position {
        /// Line in the file, from 1.
        line: usize,
        /// `x_mm` or `y_mm`.
        column: &'static str,
        /// What was there.
        found: String,
    },
    /// Two rows give the same frame.
    #[error("line {line}: frame {frame} already has a target in line {first}")]
    Twice {
        /// Line in the file, from 1.
        line: usize,
        /// Line of the first row.
        first: usize,
        /// The frame.
        frame: String,
    },
    /// No row's frame is in the input.
    #[error(
        "none of the {rows} frames with a target is in the input; the first is {frame} (line {line})"
    )]
    NothingMatches {
        /// Rows in the table.
        rows: usize,
        /// The first row's frame.
        frame: String,
        /// The first row's line.
        line: usize,
    },
}

/// Reads a table of targets: `frame,x_mm,y_mm`, a line each.
///
/// `frame` is a file name or a number; a name with a comma stands in double quotes. A first line
/// `frame,x_mm,y_mm` is a header. Empty lines are passed over.
///
/// # Errors
/// [`TargetsError`], naming the first line that is wrong.
pub fn parse_targets(csv: &str) -> Result<Vec<TargetRow>, TargetsError> {
    let mut rows: Vec<TargetRow> = Vec::new();
    let mut first_line_of = std::collections::HashMap::new();
    let csv = csv.strip_prefix('\u{feff}').unwrap_or(csv);
    for (index, text) in csv.lines().enumerate() {
        let line = index + 1;
        if text.trim().is_empty() {
            continue;
        }
        let columns = split_columns(text);
        if rows.is_empty() && columns == ["frame", "x_mm", "y_mm"] {
            continue;
        }
        let [frame, x, y] = columns.as_slice() else {
            return Err(TargetsError::Columns {
                line,
                found: columns.len(),
            });
        };
        if frame.is_empty() {
            return Err(TargetsError::NoFrame { line });
        }
        let position = |column: &'static str, found: &String| {
            found
                .parse::<f32>()
                .ok()
                .filter(|mm| mm.is_finite())
                .ok_or_else(|| TargetsError::Position {
                    line,
                    column,
                    found: found.clone(),
                })
        };
        let target = PointOfRegard {
            x_mm: position("x_mm", x)?,
            y_mm: position("y_mm", y)?,
        };
        if let Some(first) = first_line_of.insert(frame.clone(), line) {
            return Err(TargetsError::Twice {
                line,
                first,
                frame: frame.clone(),
            });
        }
        rows.push(TargetRow {
            line,
            frame: frame.clone(),
            target,
        });
    }
    if rows.is_empty() {
        return Err(TargetsError::Empty);
    }
    Ok(rows)
}

/// The trimmed columns of a line; a column in double quotes may hold commas and doubled quotes.
fn split_columns(text: &str) -> Vec<String> {
    let mut columns = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let column = columns.last_mut().expect("there is always one column");
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                column.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => columns.push(String::new()),
            other => column.push(other),
        }
    }
    for column in &mut columns {
        *column = column.trim().to_owned();
    }
    columns
}

/// Brings rows and frames together: by file name, else by frame number.
///
/// Frames without a row are left out.
///
/// # Errors
/// [`TargetsError::NothingMatches`] when no row has a frame.
pub fn pair(rows: &[TargetRow], frames: &[FrameGaze<'_>]) -> Result<Pairing, TargetsError> {
    let by_name: std::collections::HashMap<&str, usize> = frames
        .iter()
        .enumerate()
        .filter_map(|(index, frame)| Some((frame.name?, index)))
        .collect();
    let by_seq: std::collections::HashMap<u64, usize> = frames
        .iter()
        .enumerate()
        .map(|(index, frame)| (frame.seq, index))
        .collect();
    let mut samples = Vec::with_capacity(rows.len());
    let mut without_frame = Vec::new();
    for row in rows {
        let number = || by_seq.get(&row.frame.parse::<u64>().ok()?);
        match by_name.get(row.frame.as_str()).or_else(number) {
            Some(&index) => samples.push(TargetSample {
                seq: frames[index].seq,
                target: row.target,
                input: frames[index].input,
            }),
            None => without_frame.push(row.clone()),
        }
    }
    if let (true, Some(first)) = (samples.is_empty(), rows.first()) {
        return Err(TargetsError::NothingMatches {
            rows: rows.len(),
            frame: first.frame.clone(),
            line: first.line,
        });
    }
    samples.sort_by_key(|sample| sample.seq);
    Ok(Pairing {
        samples,
        without_frame,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    fn frame(name: Option<&str>, seq: u64) -> FrameGaze<'_> {
        FrameGaze {
            name,
            seq,
            input: None,
        }
    }

    #[test]
    fn a_table_is_read_with_or_without_a_header() {
        let rows = parse_targets("frame,x_mm,y_mm\r\na.png, 10.5,20\r\n\r\n7,-1,2e1\n").unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].line, rows[0].frame.as_str()), (2, "a.png"));
        assert_eq!(
            rows[0].target,
            PointOfRegard {
                x_mm: 10.5,
                y_mm: 20.0
            }
        );
        assert_eq!((rows[1].line, rows[1].frame.as_str()), (4, "7"));
        assert_eq!(
            parse_targets("7,-1,2e1").unwrap()[0].target,
            PointOfRegard {
                x_mm: -1.0,
                y_mm: 20.0
            }
        );
    }

    #[test]
    fn a_name_with_a_comma_stands_in_quotes() {
        let rows = parse_targets("\"a, \"\"b\"\".png\",1,2").unwrap();
        assert_eq!(rows[0].frame, "a, \"b\".png");
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        let refusal = |csv: &str| parse_targets(csv).unwrap_err();
        assert_eq!(refusal("frame,x_mm,y_mm\n"), TargetsError::Empty);
        assert_eq!(
            refusal("a,1,2\nb,1\n"),
            TargetsError::Columns { line: 2, found: 2 }
        );
        assert_eq!(refusal(",1,2"), TargetsError::NoFrame { line: 1 });
        assert_eq!(
            refusal("a,1,NaN"),
            TargetsError::Position {
                line: 1,
                column: "y_mm",
                found: "NaN".to_owned()
            }
        );
        assert_eq!(
            refusal("a,1,2\nb,1,2\na,3,4"),
            TargetsError::Twice {
                line: 3,
                first: 1,
                frame: "a".to_owned()
            }
        );
    }

    #[test]
    fn frames_are_found_by_name_and_then_by_number() {
        let rows = parse_targets("7,1,1\n1,2,2\nnone.png,3,3").unwrap();
        // A file called 7 wins over frame number 7.
        let frames = [
            frame(Some("7"), 0),
            frame(Some("b.png"), 1),
            frame(Some("c.png"), 7),
        ];
        let pairing = pair(&rows, &frames).unwrap();
        let seqs: Vec<u64> = pairing.samples.iter().map(|sample| sample.seq).collect();
        assert_eq!(seqs, [0, 1]);
        assert_eq!(pairing.without_frame[0].frame, "none.png");
    }

    #[test]
    fn a_table_for_other_frames_is_an_error() {
        let rows = parse_targets("x.png,1,1").unwrap();
        assert_eq!(
            pair(&rows, &[frame(Some("y.png"), 0)]),
            Err(TargetsError::NothingMatches {
                rows: 1,
                frame: "x.png".to_owned(),
                line: 1
            })
        );
    }
}
