//! Words to systemd: ready, alive. Without it nothing is sent.

use std::ffi::OsString;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Context, Result};

/// Pause between signs of life when nobody asks for them.
const IDLE: Duration = Duration::from_secs(3600);

/// The service manager, if there is one.
pub struct Manager {
    socket: Option<(UnixDatagram, OsString)>,
    /// How often it wants a sign of life: half of what it asked for.
    pub period: Duration,
}

impl Manager {
    /// The one that started this program.
    pub fn from_environment() -> Result<Manager> {
        let period = std::env::var("WATCHDOG_USEC").ok();
        let period = period.and_then(|us| us.parse().ok());
        let socket = match std::env::var_os("NOTIFY_SOCKET") {
            Some(path) => Some((UnixDatagram::unbound()?, path)),
            None => None,
        };
        Ok(Manager {
            socket,
            period: period.map_or(IDLE, |us| Duration::from_micros(us) / 2),
        })
    }

    /// Tells it something; see sd_notify(3).
    pub fn say(&self, words: &str) -> Result<()> {
        if let Some((socket, path)) = &self.socket {
            socket
                .send_to(words.as_bytes(), path)
                .context("the service manager does not listen")?;
        }
        Ok(())
    }
}
