//! `gazed doctor`: looks at everything that gaze tracking needs on this machine, and says what to do
//! about what is not fine.
//!
//! While the daemon runs it is asked: its camera is its own. Otherwise the camera is opened for two
//! seconds and seen through the same networks.
//!
//! ```text
//! ask the daemon ─┬─ runs: its records for 2 s, its /status ─┐
//!                 └─ does not: camera and networks for 2 s ──┴─► facts ─► findings, one line each
//! ```

mod facts;
mod findings;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use self::facts::Facts;
use crate::config::{Config, ConfigError};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Fine,
    /// It works, and could be better.
    Doubt,
    /// It does not work.
    Fault,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What: `camera`, `light`, `profile`.
    pub name: &'static str,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; none when it is fine.
    pub remedy: Option<String>,
}

/// Everything that was looked at.
#[derive(Debug, Serialize)]
pub struct Report {
    program: &'static str,
    /// The worst of the findings.
    pub level: Level,
    /// In the order of the data flow.
    pub findings: Vec<Finding>,
}

/// What the command line asks for.
#[derive(Clone, Copy, Debug)]
pub struct DoctorSettings<'a> {
    /// The settings file that is named; none: the usual one.
    pub config: Option<&'a Path>,
    /// The daemon's socket, where it is not the usual one.
    pub socket: Option<&'a Path>,
    /// The address of the daemon's page, where it is not that of the settings.
    pub listen: Option<std::net::SocketAddr>,
}

/// Looks at everything; takes about three seconds.
pub fn examine(settings: DoctorSettings<'_>) -> Report {
    let read = Config::find(settings.config);
    let (config, problem): (Config, Option<ConfigError>) = match read {
        Ok(config) => (config, None),
        // With the defaults everything else can still be looked at.
        Err(error) => (Config::default(), Some(error)),
    };
    let facts = Facts::gather(&config, settings);
    let mut findings = vec![findings::settings(settings.config, problem.as_ref())];
    findings.extend(findings::all(&config, &facts));
    Report {
        program: concat!("gazed ", env!("CARGO_PKG_VERSION")),
        level: findings
            .iter()
            .map(|finding| finding.level)
            .max()
            .unwrap_or(Level::Fine),
        findings,
    }
}

impl Report {
    /// For scripts: 0 all fine, 1 something could be better, 2 something does not work.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.level {
            Level::Fine => 0,
            Level::Doubt => 1,
            Level::Fault => 2,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let mark = match finding.level {
                Level::Fine => "fine ",
                Level::Doubt => "look ",
                Level::Fault => "FAULT",
            };
            writeln!(f, "{mark}  {:<12} {}", finding.name, finding.found)?;
            if let Some(remedy) = &finding.remedy {
                writeln!(f, "{:20}{remedy}", "")?;
            }
        }
        Ok(())
    }
}

impl Finding {
    fn fine(name: &'static str, found: impl Into<String>) -> Self {
        Finding {
            name,
            level: Level::Fine,
            found: found.into(),
            remedy: None,
        }
    }

    fn doubt(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding {
            name,
            level: Level::Doubt,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn fault(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding {
            level: Level::Fault,
            ..Finding::doubt(name, found, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_line_for_each_finding_and_one_for_each_remedy() {
        let report = Report {
            program: "gazed",
            level: Level::Doubt,
            findings: vec![
                Finding::fine("camera", "v4l2:video0 640x480 YUYV 30/s"),
                Finding::doubt("light", "the face is dark", "more light from the front"),
            ],
        };
        assert_eq!(
            report.to_string(),
            "fine   camera       v4l2:video0 640x480 YUYV 30/s\n\
             look   light        the face is dark\n\
             \u{20}                   more light from the front\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["level"], "doubt");
        assert_eq!(json["findings"][1]["remedy"], "more light from the front");
        assert_eq!(json["findings"][0]["remedy"], serde_json::Value::Null);
    }
}
