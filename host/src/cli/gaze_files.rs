//! `gazed events` and `gazed plot`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::gaze_file::FileDetector;

/// `gazed events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// CSV with the columns recording,t_us,x_deg,y_deg,valid (others are ignored); degrees from the
    /// screen's centre, x right, y down
    #[arg(long = "in", value_name = "FILE.csv[.gz]")]
    pub input: PathBuf,
    /// The file of labels, one a row: F fixation, S saccade, P pursuit, O oscillation, B blink or
    /// no gaze; each as it was known after the decision delay
    #[arg(long, value_name = "FILE.csv")]
    pub out: PathBuf,
    /// The file of events
    #[arg(long, value_name = "FILE.csv")]
    pub events: Option<PathBuf>,
    /// What decides
    #[arg(long, value_enum, default_value_t)]
    pub detector: FileDetector,
}

/// `gazed plot …`.
#[derive(Debug, Subcommand)]
pub enum PlotCommand {
    /// x, y, velocity and events of one recording, with human labels where the file has them
    Events(PlotEventsArgs),
}

/// `gazed plot events`.
#[derive(Debug, Args)]
pub struct PlotEventsArgs {
    /// CSV as for `gazed events`; a column `label` holds a person's labels
    #[arg(long = "in", value_name = "FILE.csv[.gz]")]
    pub input: PathBuf,
    /// The picture to write
    #[arg(long, value_name = "FILE.svg")]
    pub out: PathBuf,
    /// Which recording of the file; the first if none is named
    #[arg(long, value_name = "NAME")]
    pub recording: Option<String>,
    /// What decides
    #[arg(long, value_enum, default_value_t)]
    pub detector: FileDetector,
}
