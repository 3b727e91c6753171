//! `gazed record`, `replay` and `export`.

use std::path::PathBuf;

use clap::Args;

/// `gazed record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Name of the recording; with a / or ending in .gazed: its file
    pub name: String,
    /// Path of the daemon's event socket
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Records every frame's picture too, where the daemon's settings allow it (`recording.frames`)
    #[arg(long, conflicts_with = "from")]
    pub frames: bool,
    /// Lines of records instead of a daemon, as `gazed process` writes them; `-` is standard input
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "socket")]
    pub from: Option<PathBuf>,
    /// Prints the number of records that are safe after each block
    #[arg(long)]
    pub acknowledge: bool,
    /// Folder that holds recordings and profiles
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// `gazed replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Name of the recording, or its file
    pub name: String,
    /// Writes the records as they were to a file and ends; `-` is standard output
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: Option<PathBuf>,
    /// How many times as fast as it was
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    pub speed: f64,
    /// Path of the event socket
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Address of the live page; beyond loopback the settings must name token and TLS
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<std::net::SocketAddr>,
    /// Folder that holds recordings and profiles
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// `gazed export`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("forms").required(true).multiple(true))]
pub struct ExportArgs {
    /// Name of the recording, or its file
    pub name: String,
    /// Writes samples.csv, events.csv and session.json here
    #[arg(long, value_name = "DIR", group = "forms")]
    pub csv: Option<PathBuf>,
    /// Writes samples.parquet, events.parquet and session.json here
    #[arg(long, value_name = "DIR", group = "forms")]
    pub parquet: Option<PathBuf>,
    /// Writes a BIDS dataset here, or adds the subject to the one that is there
    #[arg(long, value_name = "DIR", group = "forms")]
    pub bids: Option<PathBuf>,
    /// Writes the recorded pictures here, named by the number of their frame: a source for `images:DIR`
    #[arg(long, value_name = "DIR", group = "forms")]
    pub frames: Option<PathBuf>,
    /// The subject's name in BIDS, letters and digits
    #[arg(long, default_value = "01", value_name = "NAME")]
    pub subject: String,
    /// The task's name in BIDS, letters and digits
    #[arg(long, default_value = "gaze", value_name = "NAME")]
    pub task: String,
    /// Folder that holds recordings and profiles
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (0.01..=1000.0).contains(&speed) => Ok(speed),
        _ => Err("must be from 0.01 to 1000".to_owned()),
    }
}
