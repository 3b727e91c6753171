//! `gazed process`: the same chain over a recording, every frame, deterministically.

use std::io::{self, IsTerminal};
use std::path::Path;

use gaze_signal::EventBuf;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::camera::{self, CameraError, Captured, SourceSettings, SourceSpec, SpecError};
use crate::config::Config;
use crate::frame::{Frame, FrameName};
use crate::inference::InferenceError;
use crate::output_file::{LinesOut, WriteError};
use crate::record::{Header, Record};
use crate::setup::{self, Chain, SetupError};
use crate::vision::{Observation, Vision};

/// Why an input cannot be processed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The input is named wrongly.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The input has no end.
    #[error("{spec}: has no end of its own: say how many with --frames N")]
    Endless {
        /// What was given.
        spec: String,
    },
    /// Settings, models or profile.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The input cannot be read.
    #[error(transparent)]
    Camera(#[from] CameraError),
    /// A network failed.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// The output cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What is processed, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The input.
    pub spec: SourceSpec,
    /// Pictures a second of a folder.
    pub fps: f32,
    /// Whether each picture is taken alone.
    pub is_independent: bool,
    /// Where to end; none for the input's own end.
    pub n_frames: Option<u64>,
}

impl Input {
    /// Understands the input as it stands on the command line.
    ///
    /// # Errors
    /// [`ProcessError::Spec`], or [`ProcessError::Endless`] for a camera without `n_frames`.
    pub fn new(
        input: &str,
        fps: f32,
        is_independent: bool,
        n_frames: Option<u64>,
    ) -> Result<Self, ProcessError> {
        let spec = SourceSpec::from_name_or_path(input)?;
        let has_end = match spec {
            SourceSpec::Video(_) | SourceSpec::Images(_) | SourceSpec::Command(_) => true,
            SourceSpec::Auto
            | SourceSpec::V4l2(_)
            | SourceSpec::Nokhwa { .. }
            | SourceSpec::Synthetic { .. } => false,
        };
        if !has_end && n_frames.is_none() {
            return Err(ProcessError::Endless {
                spec: spec.to_string(),
            });
        }
        Ok(Input {
            spec,
            fps,
            is_independent,
            n_frames,
        })
    }
}

/// Runs the chain over an input and writes the records to `out`; gives the number of pictures
/// that could not be read.
///
/// The output depends on nothing but the input, the settings and the networks: twice the same gives
/// the same bytes.
///
/// # Errors
/// [`ProcessError`]. A single unreadable picture is none: it has a sample with an `error`, and one
/// line is printed.
pub fn process(config: &Config, input: &Input, out: &Path) -> Result<u64, ProcessError> {
    let Chain {
        mut vision,
        mut tracking,
        mut header,
        ..
    } = setup::chain(config, input.is_independent)?;
    let file = match &input.spec {
        SourceSpec::Video(path) | SourceSpec::Images(path) => Some(path.as_path()),
        _ => None,
    };
    let mut lines = LinesOut::new(out, file.as_slice());
    let unreadable = each_observation(&mut vision, input, |step| {
        let observation = match step {
            Step::Opened {
                description,
                frame_size_px,
            } => {
                header.source = description;
                header.frame_size_px = frame_size_px;
                return Ok(lines.write_line(&Record::Header(header.clone()).to_line())?);
            }
            Step::Seen(observation) => observation,
        };
        let (sample, events) = if input.is_independent {
            (tracking.sample_alone(observation), None)
        } else {
            let tracked = tracking.step(observation);
            (tracked.sample, Some(tracked.events))
        };
        let record = Record::from_sample(observation, &sample, &header.screen, None, None);
        lines.write_line(&record.to_line())?;
        if let Some(events) = events {
            write_events(&mut lines, &events, &header)?;
        }
        Ok(())
    })?;
    write_events(&mut lines, &tracking.finish(), &header)?;
    lines.finish()?;
    Ok(unreadable)
}

fn write_events(
    lines: &mut LinesOut,
    events: &EventBuf,
    header: &Header,
) -> Result<(), WriteError> {
    for event in events.iter() {
        if let Some(record) = Record::from_event(event, &header.screen, None) {
            lines.write_line(&record.to_line())?;
        }
    }
    Ok(())
}

/// What [`each_observation`] hands out.
pub enum Step<'a> {
    /// The input was opened; comes first, once.
    Opened {
        /// For the header.
        description: String,
        /// Where it is known before the first picture.
        frame_size_px: Option<[usize; 2]>,
    },
    /// One picture.
    Seen(&'a Observation),
}

/// Runs the vision stage over an input, with a progress bar where somebody looks; gives the
/// number of pictures that could not be read.
///
/// # Errors
/// [`ProcessError`] of the input or the networks, or what `take` returns.
pub fn each_observation(
    vision: &mut Vision,
    input: &Input,
    mut take: impl FnMut(Step) -> Result<(), ProcessError>,
) -> Result<u64, ProcessError> {
    each_frame(vision, input, |step, _| take(step))
}

/// As [`each_observation`]; `take` also gets the stage that made the observation.
///
/// # Errors
/// Those of [`each_observation`].
pub fn each_frame(
    vision: &mut Vision,
    input: &Input,
    mut take: impl FnMut(Step, &Vision) -> Result<(), ProcessError>,
) -> Result<u64, ProcessError> {
    let settings = SourceSettings {
        fps: f64::from(input.fps),
        ..SourceSettings::unpaced()
    };
    let mut source = camera::open(&input.spec, &settings)?;
    let opened = Step::Opened {
        description: source.description(),
        frame_size_px: source.frame_size().map(|(width, height)| [width, height]),
    };
    take(opened, vision)?;
    let n_frames = input.n_frames.unwrap_or(u64::MAX);
    let progress = progress_bar(source.frame_count().or(input.n_frames));
    let mut frame = Frame::new();
    let mut unreadable = 0;
    for _ in 0..n_frames {
        if source.capture(&mut frame)? == Captured::EndOfStream {
            break;
        }
        if let Some(error) = &frame.error {
            unreadable += 1;
            let name = match &frame.name {
                FrameName::File(name) => name.clone(),
                FrameName::Number => frame.seq.to_string(),
            };
            progress.suspend(|| eprintln!("{name}: {error}"));
        }
        if input.is_independent {
            vision.reset();
        }
        let observation = vision.step(&frame)?;
        take(Step::Seen(&observation), vision)?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(unreadable)
}

fn progress_bar(n_frames: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(n_frames, ProgressDrawTarget::stderr());
    let template = match n_frames {
        Some(_) => "{bar:40} {pos}/{len} frames, {per_sec}, {eta} left",
        None => "{spinner} {pos} frames, {per_sec}",
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the templates above are valid"))
}
