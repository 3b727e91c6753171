//! `gazed scanpath`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::inference::Engine;
use crate::scanpath::ScanpathModel;

/// `gazed scanpath …`.
#[derive(Debug, Subcommand)]
pub enum ScanpathCommand {
    /// Says for every path of a file how well each step was expected
    Score(ScanpathScoreArgs),
    /// Samples paths for every scene of a file
    Predict(ScanpathPredictArgs),
    /// Draws a scene, people's paths and the model's, as SVG
    Show(ScanpathShowArgs),
}

/// `gazed scanpath score`.
#[derive(Debug, Args)]
pub struct ScanpathScoreArgs {
    /// Scenes, JSON Lines; pictures are relative to it
    #[arg(long, value_name = "FILE.jsonl")]
    pub scenes: PathBuf,
    /// People's paths, JSON Lines, also compressed with gzip
    #[arg(long, value_name = "FILE.jsonl")]
    pub paths: PathBuf,
    /// The file to write, one line a path
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: PathBuf,
    /// Which networks
    #[command(flatten)]
    pub networks: ScanpathNetworkArgs,
}

/// `gazed scanpath predict`.
#[derive(Debug, Args)]
pub struct ScanpathPredictArgs {
    /// Scenes, JSON Lines; pictures are relative to it
    #[arg(long, value_name = "FILE.jsonl")]
    pub scenes: PathBuf,
    /// Paths for each scene
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub samples: u32,
    /// The same seed gives the same paths
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The file to write, one line a path
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: PathBuf,
    /// Which networks
    #[command(flatten)]
    pub networks: ScanpathNetworkArgs,
}

/// `gazed scanpath show`.
#[derive(Debug, Args)]
pub struct ScanpathShowArgs {
    /// The scene's scene_id
    pub scene: String,
    /// Scenes, JSON Lines; pictures are relative to it
    #[arg(long, value_name = "FILE.jsonl", default_value = "scenes.jsonl")]
    pub scenes: PathBuf,
    /// People's paths; without it paths.jsonl.gz beside the scenes, where there is one
    #[arg(long, value_name = "FILE.jsonl")]
    pub paths: Option<PathBuf>,
    /// Most paths of people
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub people: usize,
    /// Paths of the model
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub samples: usize,
    /// The same seed gives the same paths
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The file to write; without it SCENE.svg
    #[arg(long, value_name = "FILE.svg")]
    pub out: Option<PathBuf>,
    /// Which networks
    #[command(flatten)]
    pub networks: ScanpathNetworkArgs,
}

/// Which networks `gazed scanpath` uses.
#[derive(Debug, Default, Args)]
pub struct ScanpathNetworkArgs {
    /// auto: free viewing or search as each scene's task says; else one of them for every scene
    #[arg(long, default_value = "auto")]
    pub model: ScanpathModel,
    /// Folder with manifest.toml and networks, instead of those inside the program
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// tract | ort
    #[arg(long)]
    pub engine: Option<Engine>,
}
