//! The command line.

mod gaze_files;
#[cfg(test)]
mod manual;
mod people;
mod recordings;
mod scanpath;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub use self::gaze_files::{EventsArgs, PlotCommand, PlotEventsArgs};
pub use self::people::{CalibrateArgs, CalibrateCommand, EyesArg, FitArgs, UsersCommand};
pub use self::recordings::{ExportArgs, RecordArgs, ReplayArgs};
pub use self::scanpath::{
    ScanpathCommand, ScanpathNetworkArgs, ScanpathPredictArgs, ScanpathScoreArgs, ScanpathShowArgs,
};
use crate::board::PortChoice;
use crate::camera::SourceSpec;
use crate::config::Config;
use crate::inference::Engine;

/// Gaze events from a camera, for other programs.
#[derive(Debug, Parser)]
#[command(name = "gazed", version, after_help = EXAMPLES)]
pub struct Cli {
    /// Settings file; without it /etc/gazed/gazed.toml where there is one
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do; nothing means `run`
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  gazed                                    first camera, or the synthetic observer
  gazed run --source v4l2:/dev/video0 --user anna
  gazed run --source \"command:rpicam-vid -t 0 --codec mjpeg -o -\"
  gazed watch --json                       what the daemon sees, as JSON Lines
  gazed doctor                             what is not as it should be, and what to do
  gazed process talk.mp4 --out talk.jsonl
  gazed explain frames/ --out why/         which pixels drove the estimates
  gazed record monday                      until Ctrl-C; then: gazed export monday --csv folder/
  gazed events --in gaze.csv --out labels.csv --events events.csv
  gazed calibrate --user anna              live; or on the page, http://127.0.0.1:7880/calibrate
  gazed users list
  gazed report anna
  gazed calibrate fit --input frames/ --targets targets.csv --screen-mm 531x299 --user anna

Set RUST_LOG=debug for more messages.";

const DOCTOR: &str = "\
Exit code: 0 all is fine, 1 something could be better, 2 something does not work.
Works while the daemon runs, which it asks, and while it does not: then it opens the camera for two seconds.";

const COMPLETIONS: &str = "\
The Debian package brings them along. By hand:
  gazed completions bash > ~/.local/share/bash-completion/completions/gazed
  gazed completions zsh > ~/.zfunc/_gazed          (with ~/.zfunc in fpath)
  gazed completions fish > ~/.config/fish/completions/gazed.fish";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts the daemon: live page, event socket
    Run(RunArgs),
    /// Prints samples and events of a running daemon as they happen
    Watch(WatchArgs),
    /// Runs the same chain over a video or a folder of pictures, every frame
    Process(ProcessArgs),
    /// Draws the pixels that drove each estimate of gaze
    Explain(ExplainArgs),
    /// Writes what a running daemon sees to a file that survives whatever happens
    Record(RecordArgs),
    /// Plays a recording to other programs, or writes its records
    Replay(ReplayArgs),
    /// Turns a recording into CSV, Parquet or BIDS
    Export(ExportArgs),
    /// Calibrates a person: live at the terminal, or from a recording with `fit`
    Calibrate(CalibrateArgs),
    /// Looks after people's profiles
    Users {
        /// The folder that holds profiles
        #[arg(long, global = true, value_name = "DIR")]
        state: Option<PathBuf>,
        /// What to do
        #[command(subcommand)]
        command: UsersCommand,
    },
    /// Writes a person's calibration as one HTML page, and as JSON beside it
    Report {
        /// Whose
        name: String,
        /// The folder to write into
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
        /// The folder that holds profiles
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
    },
    /// Labels the eye movements of a recording made by any eye tracker
    Events(EventsArgs),
    /// Draws what a command found
    Plot {
        /// What
        #[command(subcommand)]
        command: PlotCommand,
    },
    /// Predicts where people look on a scene with objects
    Scanpath {
        /// What
        #[command(subcommand)]
        command: ScanpathCommand,
    },
    /// Looks at everything that gaze tracking needs here, and says what to do about what is not fine
    #[command(after_help = DOCTOR)]
    Doctor(DoctorArgs),
    /// Lists cameras with stable names, formats and controls
    ListCameras,
    /// Checks a settings file and lists every mistake in it
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    /// Prints the program's version and its networks
    Version,
    /// Prints what lets a shell complete gazed's commands and options
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// The microcontroller beside the camera
    Board {
        /// What about it
        #[command(subcommand)]
        command: BoardCommand,
    },
}

/// `gazed board …`. The daemon must not be using the port.
#[derive(Debug, Subcommand)]
pub enum BoardCommand {
    /// Prints what board is there and how good its clock and its line are
    Info(BoardArgs),
    /// Puts the board through its promises; its lamp and switch go on and off
    Test(BoardArgs),
    /// Says how to put the program on a board
    FlashHelp,
}

/// Which board.
#[derive(Debug, Args)]
pub struct BoardArgs {
    /// Its serial port; `auto` looks for it
    #[arg(long, value_name = "PATH", default_value = "auto")]
    pub port: PortChoice,
}

/// `gazed run`.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// auto | v4l2:DEVICE | video:FILE | images:DIR | command:'…' | synthetic
    #[arg(long)]
    pub source: Option<SourceSpec>,
    /// Path of the event socket
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Address of the live page; beyond loopback the settings must name token and TLS
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<std::net::SocketAddr>,
    /// Settings that other commands have too
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// `gazed doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
    /// Path of the daemon's event socket
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Address of the daemon's page
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<std::net::SocketAddr>,
}

/// `gazed watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Path of the event socket
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The records themselves, one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Waits for a daemon that is not there yet
    #[arg(long)]
    pub wait: bool,
}

/// `gazed process`.
#[derive(Debug, Args)]
pub struct ProcessArgs {
    /// A video, a folder of pictures, or a source as in `run`
    pub input: String,
    /// The file to write; `-` is standard output
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: PathBuf,
    /// Takes each picture alone: nothing is carried from one to the next
    #[arg(long)]
    pub independent: bool,
    /// Pictures a second of a folder
    #[arg(long)]
    pub fps: Option<f32>,
    /// Ends after so many frames; needed for `synthetic`, which has no end of its own
    #[arg(long, value_name = "N")]
    pub frames: Option<u64>,
    /// Settings that other commands have too
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// `gazed explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A video, a folder of pictures, or a source as in `run`
    pub input: String,
    /// The folder for the pictures, two PNGs a frame
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Takes each picture alone: nothing is carried from one to the next
    #[arg(long)]
    pub independent: bool,
    /// Ends after so many frames
    #[arg(long, value_name = "N")]
    pub frames: Option<u64>,
    /// Settings that other commands have too
    #[command(flatten)]
    pub chain: FitChainArgs,
}

/// Settings of every command that runs the chain.
#[derive(Debug, Default, Args)]
pub struct ChainArgs {
    /// Whose calibration to use
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Settings without a user
    #[command(flatten)]
    pub rest: FitChainArgs,
}

/// Settings of every command that runs the networks.
#[derive(Debug, Default, Args)]
pub struct FitChainArgs {
    /// Active area of the screen, millimetres
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    pub screen_mm: Option<SizeMm>,
    /// Focal lengths and principal point of the pictures, px
    #[arg(long, value_name = "FX,FY,CX,CY")]
    pub camera_matrix: Option<CameraMatrix>,
    /// Folder with manifest.toml and networks, instead of those inside the program
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// tract | ort
    #[arg(long)]
    pub engine: Option<Engine>,
    /// Folder that holds profiles
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// A width and a height in millimetres, written 531x299.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SizeMm(pub [f32; 2]);

impl FromStr for SizeMm {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<f32>> = text
            .split('x')
            .map(|part| part.trim().parse().ok())
            .collect();
        match numbers.as_deref() {
            Some(&[width, height])
                if (20.0..=10_000.0).contains(&width) && (20.0..=10_000.0).contains(&height) =>
            {
                Ok(SizeMm([width, height]))
            }
            _ => Err(
                "must be WIDTHxHEIGHT in millimetres, each from 20 to 10000, as 531x299".to_owned(),
            ),
        }
    }
}

/// fx, fy, cx, cy in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CameraMatrix(pub [f32; 4]);

impl FromStr for CameraMatrix {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<f32>> = text
            .split(',')
            .map(|part| part.trim().parse().ok())
            .collect();
        match numbers.as_deref() {
            Some(&[fx, fy, cx, cy])
                if fx > 0.0
                    && fy > 0.0
                    && [fx, fy, cx, cy].iter().all(|number| number.is_finite()) =>
            {
                Ok(CameraMatrix([fx, fy, cx, cy]))
            }
            _ => Err(
                "must be FX,FY,CX,CY in pixels with FX and FY above 0, as 640,640,319.5,239.5"
                    .to_owned(),
            ),
        }
    }
}

impl RunArgs {
    /// Lays the command line over the settings.
    pub fn apply(self, config: &mut Config) {
        if let Some(source) = self.source {
            config.source.source = source;
        }
        if let Some(socket) = self.socket {
            config.server.socket = Some(socket);
        }
        if let Some(listen) = self.listen {
            config.server.listen = listen;
        }
        self.chain.apply(config);
    }
}

impl ChainArgs {
    /// Lays the command line over the settings.
    pub fn apply(self, config: &mut Config) {
        if let Some(user) = self.user {
            config.user.name = Some(user);
        }
        self.rest.apply(config);
    }
}

impl FitChainArgs {
    /// Lays the command line over the settings.
    pub fn apply(self, config: &mut Config) {
        if let Some(SizeMm([width_mm, height_mm])) = self.screen_mm {
            config.screen.width_mm = Some(width_mm);
            config.screen.height_mm = Some(height_mm);
        }
        if let Some(CameraMatrix(matrix)) = self.camera_matrix {
            config.vision.camera_matrix_px = Some(matrix);
        }
        if let Some(models) = self.models {
            config.vision.models = Some(models);
        }
        if let Some(engine) = self.engine {
            config.vision.engine = engine;
        }
        if let Some(state) = self.state {
            config.user.state = Some(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn shells_complete_every_command() {
        use clap::CommandFactory;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut command = Cli::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "gazed", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Cli::command().get_subcommands() {
                let name = command.get_name();
                assert!(script.contains(name), "{shell} does not complete {name}");
            }
        }
    }

    #[test]
    fn sizes_and_matrices_are_read_or_refused() {
        assert_eq!("531x299".parse(), Ok(SizeMm([531.0, 299.0])));
        assert_eq!(
            "600,601,320,240".parse(),
            Ok(CameraMatrix([600.0, 601.0, 320.0, 240.0]))
        );
        for wrong in [
            "531",
            "531x",
            "0x5",
            "axb",
            "531x299x1",
            "nanx299",
            "infx299",
        ] {
            assert!(wrong.parse::<SizeMm>().is_err(), "{wrong}");
        }
        for wrong in ["1,2,3", "0,1,2,3", "nan,1,2,3", "1,2,3,4,5"] {
            assert!(wrong.parse::<CameraMatrix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let cli = Cli::try_parse_from(["gazed", "run", "--user", "anna", "--screen-mm", "300x200"])
            .unwrap();
        let Some(Command::Run(run)) = cli.command else {
            panic!("not run")
        };
        let mut config = Config::default();
        run.apply(&mut config);
        assert_eq!(config.user.name.as_deref(), Some("anna"));
        assert_eq!(
            (config.screen.width_mm, config.screen.height_mm),
            (Some(300.0), Some(200.0))
        );
    }
}
