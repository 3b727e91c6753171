//! `gazed calibrate --user NAME`: a live calibration at the terminal, for machines without a
//! browser. Drives the running daemon's session by the same messages as the page; the terminal is
//! the screen, so it has to fill it.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::{CalibrateArgs, SizeMm};
use crate::record::{self, Record, Stage};
use crate::server::{SocketUse, socket_path};
use crate::watch::{WatchError, connect};

/// Why there is no calibration.
#[derive(Debug, thiserror::Error)]
pub enum CoachError {
    /// No daemon, or it has gone.
    #[error(transparent)]
    Daemon(#[from] WatchError),
    /// The terminal cannot be read or written.
    #[error("the terminal: {0}")]
    Terminal(#[from] std::io::Error),
    /// The daemon does not take the options.
    #[error("{message}")]
    Refused {
        /// Its words.
        message: String,
    },
    /// Options that do not go together.
    #[error("--user NAME is needed")]
    NoUser,
    /// It ended without a profile.
    #[error("no profile was kept: {words}")]
    NotKept {
        /// Why.
        words: String,
    },
}

/// Calibrates at the terminal.
///
/// # Errors
/// [`CoachError`]; the person's present profile stays as it is then.
pub fn calibrate(arguments: &CalibrateArgs) -> Result<ExitCode, CoachError> {
    let user = arguments.user.as_deref().ok_or(CoachError::NoUser)?;
    let path = socket_path(arguments.socket.as_deref(), SocketUse::Connect)
        .map_err(WatchError::NoSocketPath)?;
    let stream = connect(&path)?;
    let mut coach = Coach {
        terminal: Terminal::new(),
        to_daemon: stream.try_clone()?,
        keeps_without_asking: arguments.yes,
        has_begun: false,
        last_asked: String::new(),
    };
    coach.say(&json!({"type": "subscribe", "types": ["calibration"]}))?;
    let screen = arguments.screen_mm.map(|SizeMm([width_mm, height_mm])| {
        // The terminal does not tell its pixels; a tenth of a millimetre stands for one.
        let px = |mm: f32| (10.0 * mm).round() as u32;
        json!({"width_mm": width_mm, "height_mm": height_mm, "width_px": px(width_mm), "height_px": px(height_mm)})
    });
    coach.say(&json!({
        "type": "calibrate", "do": "start", "user": user, "targets": arguments.targets,
        "eyes": arguments.eyes, "slow": arguments.slow, "screen": screen,
        "seed": std::process::id(),
    }))?;
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line?) {
            Ok(Record::Calibration(calibration)) => {
                if let Some(code) = coach.follow(&calibration)? {
                    return Ok(code);
                }
            }
            // By the time that somebody says to go on, it may have gone on by itself.
            Ok(Record::Error(_)) if coach.last_asked == "resume" => {}
            Ok(Record::Error(error)) => {
                return Err(CoachError::Refused {
                    message: error.message,
                });
            }
            // Headers, and kinds of a newer daemon.
            _ => {}
        }
    }
    Err(CoachError::Daemon(WatchError::Ended { path }))
}

struct Coach {
    terminal: Terminal,
    to_daemon: UnixStream,
    keeps_without_asking: bool,
    has_begun: bool,
    last_asked: String,
}

impl Coach {
    fn say(&mut self, message: &serde_json::Value) -> Result<(), CoachError> {
        writeln!(self.to_daemon, "{message}")?;
        Ok(())
    }

    fn ask(&mut self, what: &str) -> Result<(), CoachError> {
        what.clone_into(&mut self.last_asked);
        self.say(&json!({"type": "calibrate", "do": what}))
    }

    /// Shows a record and answers it; the exit code at the end.
    fn follow(
        &mut self,
        calibration: &record::Calibration,
    ) -> Result<Option<ExitCode>, CoachError> {
        let message = calibration.message.clone().unwrap_or_default();
        match calibration.stage {
            Stage::Placing => {
                let placement = calibration.placement.as_ref();
                self.terminal
                    .line(placement.map_or("looking for your face", |p| &p.words))?;
                if placement.is_some_and(|placement| placement.is_good) && !self.has_begun {
                    self.has_begun = true;
                    self.ask("next")?;
                }
            }
            Stage::Target | Stage::Waiting => {
                if let Some(target) = &calibration.target {
                    self.terminal.dot(target)?;
                }
            }
            Stage::Paused => {
                self.terminal
                    .line(&format!("{message}; press enter to go on"))?;
                if self.terminal.answer()?.is_some() {
                    self.ask("resume")?;
                }
            }
            Stage::Review => return self.review(calibration),
            Stage::Accepted => {
                self.terminal.line(&message)?;
                return Ok(Some(ExitCode::SUCCESS));
            }
            Stage::Discarded => return Err(CoachError::NotKept { words: message }),
        }
        Ok(None)
    }

    fn review(
        &mut self,
        calibration: &record::Calibration,
    ) -> Result<Option<ExitCode>, CoachError> {
        let Some(result) = &calibration.result else {
            return Ok(None);
        };
        self.terminal.clear()?;
        let number = |number: Option<f32>, unit| {
            number.map_or("not known".to_owned(), |number| {
                format!("{number:.2} {unit}")
            })
        };
        let mut lines = vec![
            result.verdict.clone(),
            format!("accuracy            {}", number(result.accuracy_deg, "deg")),
            format!("off by              {}", number(result.error_cm, "cm")),
            format!(
                "precision, SD       {}",
                number(result.precision_sd_deg, "deg")
            ),
            format!(
                "precision, RMS-S2S  {}",
                number(result.precision_rms_s2s_deg, "deg")
            ),
            format!(
                "without calibration {}",
                number(result.uncalibrated_deg, "deg")
            ),
        ];
        for target in &result.targets {
            let [x, y] = target.target.map(|share| 100.0 * share);
            let kind = if target.is_validation {
                "judged"
            } else {
                "fitted"
            };
            lines.push(format!(
                "  {kind} at {x:3.0} %, {y:3.0} %: {}",
                number(target.accuracy_deg, "deg")
            ));
        }
        for line in lines {
            self.terminal.line(&line)?;
        }
        if !result.can_accept {
            self.ask("discard")?;
        } else if self.keeps_without_asking {
            self.ask("accept")?;
        } else {
            self.terminal
                .line("keep it? y: yes, r: repeat, anything else: no")?;
            let answer = self.terminal.answer()?.unwrap_or_default();
            self.has_begun = false;
            self.ask(match answer.trim() {
                "y" => "accept",
                "r" => "repeat",
                _ => "discard",
            })?;
        }
        Ok(None)
    }
}

/// The terminal as a screen; when the output is no terminal, lines.
struct Terminal {
    is_screen: bool,
    last: String,
}

impl Terminal {
    fn new() -> Self {
        Terminal {
            is_screen: std::io::stdout().is_terminal(),
            last: String::new(),
        }
    }

    /// A line, once.
    fn line(&mut self, words: &str) -> std::io::Result<()> {
        if words != self.last {
            words.clone_into(&mut self.last);
            writeln!(std::io::stdout(), "{words}\r")?;
        }
        Ok(())
    }

    fn clear(&mut self) -> std::io::Result<()> {
        if self.is_screen {
            // Clears, goes home, shows the cursor.
            write!(std::io::stdout(), "\x1b[2J\x1b[H\x1b[?25h")?;
        }
        std::io::stdout().flush()
    }

    /// The target at its place; smaller as it is done.
    fn dot(&mut self, target: &record::Target) -> std::io::Result<()> {
        if !self.is_screen {
            return self.line(&format!(
                "target {} of {}: {:.0}, {:.0} mm",
                target.index + 1,
                target.of,
                target.x_mm,
                target.y_mm
            ));
        }
        let size = rustix::termios::tcgetwinsize(std::io::stdout())?;
        let cell = |share: f32, cells: u16| {
            let last = f32::from(cells.max(1));
            ((share * last) as u16).min(cells.saturating_sub(1)) + 1
        };
        let (row, column) = (cell(target.y, size.ws_row), cell(target.x, size.ws_col));
        let mark = if target.progress < 0.5 { '●' } else { '•' };
        // Clears, hides the cursor, goes there.
        write!(
            std::io::stdout(),
            "\x1b[2J\x1b[?25l\x1b[{row};{column}H{mark}"
        )?;
        std::io::stdout().flush()
    }

    /// A line that is typed; none at the end of the input.
    fn answer(&mut self) -> std::io::Result<Option<String>> {
        let mut answer = String::new();
        let n = std::io::stdin().lock().read_line(&mut answer)?;
        Ok((n > 0).then_some(answer))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.is_screen {
            // The terminal may be gone; there is nobody to tell.
            let _ = write!(std::io::stdout(), "\x1b[?25h");
        }
    }
}
