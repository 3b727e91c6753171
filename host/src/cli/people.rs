//! `gazed calibrate` and `gazed users`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use gaze_calibration::Eyes;

use super::{FitChainArgs, SizeMm};

/// `gazed calibrate`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct CalibrateArgs {
    /// From a recording
    #[command(subcommand)]
    pub command: Option<CalibrateCommand>,
    /// Name of the profile
    #[arg(long, value_name = "NAME", required = true)]
    pub user: Option<String>,
    /// 1, 5, 9 or 13
    #[arg(long, default_value_t = 9)]
    pub targets: u32,
    /// Which eyes gaze is taken from
    #[arg(long, value_enum, default_value_t)]
    pub eyes: EyesArg,
    /// Twice the time for each target
    #[arg(long)]
    pub slow: bool,
    /// Path of the running daemon's socket
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Active area of the screen that the terminal fills, millimetres
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    pub screen_mm: Option<SizeMm>,
    /// Keeps a result that can be kept, without asking
    #[arg(long)]
    pub yes: bool,
}

/// Which eyes gaze is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EyesArg {
    /// Whichever is open.
    #[default]
    Both,
    /// The person's left eye alone.
    Left,
    /// The person's right eye alone.
    Right,
}

impl From<EyesArg> for Eyes {
    fn from(eyes: EyesArg) -> Self {
        match eyes {
            EyesArg::Both => Eyes::Both,
            EyesArg::Left => Eyes::Left,
            EyesArg::Right => Eyes::Right,
        }
    }
}

/// `gazed users …`.
#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// Everybody with a profile, the default with a star
    List,
    /// One person's profile and the older ones
    Show {
        /// Whose
        name: String,
    },
    /// Writes a profile to a file that is not there yet; `-` is standard output
    Export {
        /// Whose
        name: String,
        /// The file
        file: PathBuf,
    },
    /// Reads a profile from a file; the present one is kept among the older
    Import {
        /// The file
        file: PathBuf,
        /// Under another name
        #[arg(long = "as", value_name = "NAME")]
        user: Option<String>,
    },
    /// Deletes all profiles of a person for good
    Delete {
        /// Whose
        name: String,
        /// Really
        #[arg(long)]
        yes: bool,
    },
    /// Whose profile is used when nobody is named; says who it is without a name
    Default {
        /// Whose
        name: Option<String>,
    },
    /// Takes an older profile back; the present one is kept among the older
    Undo {
        /// Whose
        name: String,
        /// Number of the older profile; without it the latest
        #[arg(long, value_name = "N")]
        to: Option<u64>,
    },
}

impl UsersCommand {
    /// Whether profiles are others afterwards.
    pub(crate) fn changes_profiles(&self) -> bool {
        match self {
            UsersCommand::List | UsersCommand::Show { .. } | UsersCommand::Export { .. } => false,
            UsersCommand::Default { name } => name.is_some(),
            UsersCommand::Import { .. }
            | UsersCommand::Delete { .. }
            | UsersCommand::Undo { .. } => true,
        }
    }
}

/// `gazed calibrate …`.
#[derive(Debug, Subcommand)]
pub enum CalibrateCommand {
    /// Fits a recorded session: pictures and where the person looked
    Fit(FitArgs),
}

/// `gazed calibrate fit`.
#[derive(Debug, Args)]
pub struct FitArgs {
    /// A video, a folder of pictures, or a source as in `run`
    #[arg(long)]
    pub input: String,
    /// CSV with the columns frame,x_mm,y_mm: file name or frame number, and the target on the screen
    #[arg(long, value_name = "FILE.csv")]
    pub targets: PathBuf,
    /// Name of the profile that is written
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// Pictures a second of a folder
    #[arg(long)]
    pub fps: Option<f32>,
    /// Takes each picture alone: nothing is carried from one to the next
    #[arg(long)]
    pub independent: bool,
    /// Settings that other commands have too
    #[command(flatten)]
    pub chain: FitChainArgs,
}
