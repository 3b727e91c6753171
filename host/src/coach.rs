//! `gazed calibrate --user NAME`: a live calibration at the terminal, for machines without a
//! browser. Drives the running daemon's session by the same messages as the page; the terminal is
//! the screen, so it has to fill it.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use crate::cli::{CalibrateArgs, SizeMm};
use crate::client::{connect, subscription};
use crate::config::ServerConfig;
use crate::record::{self, Placement, Record, RecordKind, Stage};
use crate::server::{SocketUse, socket_path};
use crate::watch::WatchError;

/// Why there is no calibration.
#[derive(Debug, thiserror::Error)]
pub enum CoachError {
    /// No daemon, or it has gone.
    #[error(transparent)]
    Daemon(#[from] WatchError),
    /// It closed the connection.
    #[error("{}: gazed has stopped: begin again when it is back", path.display())]
    Ended {
        /// The socket.
        path: std::path::PathBuf,
    },
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

/// Calibrates at the terminal, through the socket that is named, else that of the settings.
///
/// # Errors
/// [`CoachError`]; the person's present profile stays as it is then.
pub fn calibrate(arguments: &CalibrateArgs, config: &ServerConfig) -> Result<ExitCode, CoachError> {
    let user = arguments.user.as_deref().ok_or(CoachError::NoUser)?;
    let given = arguments.socket.as_deref().or(config.socket.as_deref());
    let path = socket_path(given, SocketUse::Connect).map_err(WatchError::NoSocketPath)?;
    let stream = connect(&path).map_err(WatchError::Connect)?;
    let mut coach = Coach {
        terminal: Terminal::new(),
        to_daemon: stream.try_clone()?,
        keeps_without_asking: arguments.yes,
        is_own: false,
        has_begun: false,
        last_asked: String::new(),
    };
    let screen = arguments.screen_mm.map(|SizeMm([width_mm, height_mm])| {
        // The terminal does not tell its pixels.
        json!({"width_mm": width_mm, "height_mm": height_mm})
    });
    coach.say(&json!({
        "type": "calibrate", "do": "start", "user": user, "targets": arguments.targets,
        "eyes": gaze_calibration::Eyes::from(arguments.eyes), "slow": arguments.slow,
        "screen": screen, "seed": std::process::id(),
    }))?;
    // After it: who subscribes is told of the session under way first, which is this one now.
    writeln!(
        coach.to_daemon,
        "{}",
        subscription(&[RecordKind::Calibration])
    )?;
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
    Err(CoachError::Ended { path })
}

struct Coach {
    terminal: Terminal,
    to_daemon: UnixStream,
    keeps_without_asking: bool,
    /// Whether a record of this session has come: what comes before is the last one of another.
    is_own: bool,
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
        // Every session begins here.
        self.is_own |= calibration.stage == Stage::Placing;
        if !self.is_own {
            return Ok(None);
        }
        let message = calibration.message.clone().unwrap_or_default();
        match calibration.stage {
            Stage::Placing => self.place(calibration.placement.as_ref())?,
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

    /// Begins when the face is well placed; as soon as there is one, on enter too.
    fn place(&mut self, placement: Option<&Placement>) -> Result<(), CoachError> {
        let Some(placement) = placement else {
            return Ok(self.terminal.line("looking for your face")?);
        };
        if placement.is_good || placement.face.is_none() {
            self.terminal.line(&placement.words)?;
        } else {
            let words = &placement.words;
            self.terminal
                .line(&format!("{words}; or press enter to begin all the same"))?;
        }
        let begins = placement.is_good
            || (placement.face.is_some() && self.terminal.answer_at_once()?.is_some());
        if begins && !self.has_begun {
            self.has_begun = true;
            self.ask("next")?;
        }
        Ok(())
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
        let both = |deg, cm: Option<f32>, px: Option<f32>| {
            let cm = cm.map_or(String::new(), |cm| format!(", {cm:.1} cm"));
            let px = px.map_or(String::new(), |px| format!(", {px:.0} px"));
            format!("{}{cm}{px}", number(deg, "deg"))
        };
        let mut lines = vec![
            result.verdict.clone(),
            format!(
                "accuracy            {}",
                both(result.accuracy_deg, result.accuracy_cm, result.accuracy_px)
            ),
            format!(
                "precision, SD       {}",
                both(
                    result.precision_sd_deg,
                    result.precision_sd_cm,
                    result.precision_sd_px
                )
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
                "  {kind} at {x:3.0} %, {y:3.0} %: accuracy {}; precision {}",
                both(target.accuracy_deg, target.accuracy_cm, target.accuracy_px),
                both(
                    target.precision_sd_deg,
                    target.precision_sd_cm,
                    target.precision_sd_px
                )
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

    /// A line that was typed already; none otherwise, and at the end of the input.
    fn answer_at_once(&mut self) -> std::io::Result<Option<String>> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let stdin = std::io::stdin();
        let mut waited = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut waited, Some(&now))? {
            0 => Ok(None),
            _ => self.answer(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn record(stage: &str, placement: &str) -> record::Calibration {
        let text = format!(
            r#"{{"t_us":null,"purpose":"calibrate","user":"anna","stage":"{stage}","message":null,
                "placement":{placement},"target":null,"result":null}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_session_that_was_before_is_not_taken_for_this_one() {
        let (to_daemon, daemon) = UnixStream::pair().unwrap();
        let mut coach = Coach {
            terminal: Terminal::new(),
            to_daemon,
            keeps_without_asking: true,
            is_own: false,
            has_begun: false,
            last_asked: String::new(),
        };
        let placed = r#"{"is_good":true,"words":"good","face":[0.5,0.5],"distance_mm":600}"#;
        for stage in ["review", "accepted", "discarded"] {
            assert!(coach.follow(&record(stage, "null")).unwrap().is_none());
        }
        coach.follow(&record("placing", "null")).unwrap();
        coach.follow(&record("placing", placed)).unwrap();
        assert!(coach.follow(&record("accepted", "null")).unwrap().is_some());
        drop(coach);
        let said: Vec<serde_json::Value> = BufReader::new(daemon)
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        assert_eq!(said, [json!({"type": "calibrate", "do": "next"})]);
    }
}
