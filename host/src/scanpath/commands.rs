//! `gazed scanpath …`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use gaze_models::ScanpathModels;

use super::drawing::Drawing;
use super::networks::Networks;
use super::sample::predict_files;
use super::score::score_files;
use crate::cli::{ScanpathCommand, ScanpathNetworkArgs};
use crate::config::Config;
use crate::setup::SetupError;
use crate::terminal::say;

/// Runs the command that was given.
///
/// # Errors
/// What the command failed with, one sentence for the person at the terminal.
pub fn run(command: ScanpathCommand, config: &Config) -> Result<ExitCode> {
    match command {
        ScanpathCommand::Score(arguments) => {
            let mut networks = networks(&arguments.networks, config)?;
            score_files(
                &mut networks,
                &arguments.scenes,
                &arguments.paths,
                &arguments.out,
            )?;
        }
        ScanpathCommand::Predict(arguments) => {
            let mut networks = networks(&arguments.networks, config)?;
            predict_files(
                &mut networks,
                &arguments.scenes,
                arguments.samples as usize,
                arguments.seed,
                &arguments.out,
            )?;
        }
        ScanpathCommand::Show(arguments) => {
            let mut networks = networks(&arguments.networks, config)?;
            let beside = arguments.scenes.with_file_name("paths.jsonl.gz");
            let out = arguments
                .out
                .unwrap_or_else(|| Path::new(&format!("{}.svg", arguments.scene)).to_owned());
            let drawing = Drawing {
                scene_id: arguments.scene,
                scenes: arguments.scenes,
                paths: arguments
                    .paths
                    .or_else(|| beside.exists().then_some(beside)),
                people: arguments.people,
                samples: arguments.samples,
                seed: arguments.seed,
            };
            drawing.write(&mut networks, &out)?;
            say(out.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn networks(arguments: &ScanpathNetworkArgs, config: &Config) -> Result<Networks> {
    let models = match &arguments.models {
        Some(folder) => ScanpathModels::load_dir(folder),
        None => ScanpathModels::embedded(),
    };
    let models = models.map_err(SetupError::Models)?;
    let engine = arguments.engine.unwrap_or(config.vision.engine);
    Ok(Networks::new(models, engine).for_task(arguments.model))
}
