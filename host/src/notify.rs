//! Words to systemd: ready, alive, stopping. Without systemd nothing is sent.
//!
//! The protocol is one datagram of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names
//! (sd_notify(3)), so it needs no library, and a test can stand in for systemd.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::metrics::{Activity, Counter, Metrics};

/// Whether a service manager started this process and waits for its word.
pub fn is_supervised() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|address| !address.is_empty())
}

/// Tells the service manager how the daemon is.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<(UnixDatagram, OsString)>,
}

impl Notifier {
    /// The manager that `NOTIFY_SOCKET` names; none when gazed was started by hand.
    ///
    /// # Errors
    /// No datagram socket could be opened.
    pub fn from_environment() -> io::Result<Self> {
        Notifier::to(std::env::var_os("NOTIFY_SOCKET"))
    }

    /// The manager at a socket: a path, or `@name` in the abstract namespace; none: nobody.
    ///
    /// # Errors
    /// No datagram socket could be opened.
    pub fn to(address: Option<OsString>) -> io::Result<Self> {
        let socket = match address.filter(|address| !address.is_empty()) {
            Some(address) => Some((UnixDatagram::unbound()?, address)),
            None => None,
        };
        Ok(Notifier { socket })
    }

    /// `READY=1`: the sockets are open and the source is being read; also sets the status line.
    ///
    /// # Errors
    /// The manager's socket cannot be written to.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)))
    }

    /// `STATUS=`: the line that `systemctl status` shows.
    ///
    /// # Errors
    /// The manager's socket cannot be written to.
    pub fn status(&self, status: &str) -> io::Result<()> {
        self.send(&format!("STATUS={}", one_line(status)))
    }

    /// `STOPPING=1`: a clean stop has begun.
    ///
    /// # Errors
    /// The manager's socket cannot be written to.
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1")
    }

    /// `WATCHDOG=1`: see [`Watchdog`], which decides when.
    fn alive(&self) -> io::Result<()> {
        self.send("WATCHDOG=1")
    }

    fn send(&self, words: &str) -> io::Result<()> {
        let Some((socket, address)) = &self.socket else {
            return Ok(());
        };
        match address.as_bytes().strip_prefix(b"@") {
            Some(name) => send_to_abstract(socket, words.as_bytes(), name),
            None => socket
                .send_to(words.as_bytes(), Path::new(address))
                .map(|_| ()),
        }
    }
}

/// Sends to a socket in the abstract namespace, which only Linux has.
#[cfg(target_os = "linux")]
fn send_to_abstract(socket: &UnixDatagram, words: &[u8], name: &[u8]) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    socket.send_to_addr(words, &address).map(|_| ())
}

/// Sends to a socket in the abstract namespace, which only Linux has.
#[cfg(not(target_os = "linux"))]
fn send_to_abstract(_: &UnixDatagram, _: &[u8], _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A status is one line of its datagram.
fn one_line(status: &str) -> String {
    status.replace('\n', " ")
}

/// Signs of life; the watchdog is fed when they move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Frames that have become samples.
    pub frames: u64,
    /// Attempts to get a lost source back.
    pub source_retries: u64,
    /// Turns of the server's clock.
    pub server_turns: u64,
    /// Whether the daemon deliberately reads no source.
    pub is_idle: bool,
}

impl Progress {
    /// The signs of life in the daemon's metrics.
    pub fn of(metrics: &Metrics) -> Self {
        Progress {
            frames: metrics.counted(Counter::FramesTracked),
            source_retries: metrics.counted(Counter::SourceRetries),
            server_turns: metrics.counted(Counter::ServerTurns),
            is_idle: metrics.state().activity == Activity::Idle,
        }
    }

    /// Whether the source is alive, handled or deliberately unread, and the server turns.
    fn moved_since(&self, earlier: &Progress) -> bool {
        let source_moved = self.frames != earlier.frames
            || self.source_retries != earlier.source_retries
            || self.is_idle;
        source_moved && self.server_turns != earlier.server_turns
    }
}

/// Feeds systemd's watchdog while the whole chain moves, and only then.
///
/// Call [`step`](Watchdog::step) often (twice a second will do); it feeds at half the period that
/// systemd asked for, if frames were tracked (or the source was tried again, or the daemon is
/// idle) and the server turned since the last feed. When nothing moves it stays silent, and
/// systemd restarts the daemon.
#[derive(Debug)]
pub struct Watchdog {
    interval: Option<Duration>,
    fed_at: Option<Instant>,
    fed_by: Progress,
}

impl Watchdog {
    /// The period in `WATCHDOG_USEC`, if it is meant for this process (`WATCHDOG_PID`).
    pub fn from_environment() -> Self {
        let period = std::env::var_os("WATCHDOG_USEC");
        let pid = std::env::var_os("WATCHDOG_PID");
        Watchdog::every(asked_period(
            period.as_deref(),
            pid.as_deref(),
            std::process::id(),
        ))
    }

    /// A watchdog that expects to be fed once in `period`; none: never.
    pub fn every(period: Option<Duration>) -> Self {
        Watchdog {
            interval: period.map(|period| period / 2),
            fed_at: None,
            fed_by: Progress::default(),
        }
    }

    /// How often [`step`](Watchdog::step) wants to feed; none when nobody watches.
    pub fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// Feeds when it is time and there was progress; says whether it fed.
    ///
    /// # Errors
    /// The manager's socket cannot be written to.
    pub fn step(
        &mut self,
        notifier: &Notifier,
        progress: Progress,
        now: Instant,
    ) -> io::Result<bool> {
        let Some(interval) = self.interval else {
            return Ok(false);
        };
        let is_due = self
            .fed_at
            .is_none_or(|fed_at| now.saturating_duration_since(fed_at) >= interval);
        if !is_due || !progress.moved_since(&self.fed_by) {
            return Ok(false);
        }
        notifier.alive()?;
        self.fed_at = Some(now);
        self.fed_by = progress;
        Ok(true)
    }
}

/// The watchdog's period, if it is asked of process `own_pid`.
fn asked_period(period: Option<&OsStr>, pid: Option<&OsStr>, own_pid: u32) -> Option<Duration> {
    if let Some(pid) = pid
        && pid.to_str()?.parse() != Ok(own_pid)
    {
        return None;
    }
    let micros: u64 = period?.to_str()?.parse().ok()?;
    (micros > 0).then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands in for systemd.
    struct Manager {
        socket: UnixDatagram,
        _folder: Folder,
    }

    struct Folder(std::path::PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    impl Manager {
        fn listen(name: &str) -> (Manager, Notifier) {
            let folder =
                std::env::temp_dir().join(format!("gazed-notify-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let path = folder.join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            let notifier = Notifier::to(Some(path.into_os_string())).unwrap();
            (
                Manager {
                    socket,
                    _folder: Folder(folder),
                },
                notifier,
            )
        }

        fn heard(&self) -> Option<String> {
            let mut words = [0; 512];
            let n = self.socket.recv(&mut words).ok()?;
            Some(String::from_utf8_lossy(&words[..n]).into_owned())
        }
    }

    fn alive(frames: u64, server_turns: u64) -> Progress {
        Progress {
            frames,
            server_turns,
            ..Progress::default()
        }
    }

    #[test]
    fn ready_status_and_stopping_reach_the_manager() {
        let (manager, notifier) = Manager::listen("words");
        notifier.ready("640x480, 30/s\npage at …").unwrap();
        assert_eq!(
            manager.heard().unwrap(),
            "READY=1\nSTATUS=640x480, 30/s page at …"
        );
        notifier.status("camera lost").unwrap();
        assert_eq!(manager.heard().unwrap(), "STATUS=camera lost");
        notifier.stopping().unwrap();
        assert_eq!(manager.heard().unwrap(), "STOPPING=1");
    }

    #[test]
    fn without_a_manager_nothing_is_sent_and_nothing_fails() {
        let notifier = Notifier::to(None).unwrap();
        notifier.ready("").unwrap();
        let mut watchdog = Watchdog::every(None);
        assert!(
            !watchdog
                .step(&notifier, alive(1, 1), Instant::now())
                .unwrap()
        );
    }

    #[test]
    fn the_watchdog_is_fed_at_half_its_period_while_frames_flow() {
        let (manager, notifier) = Manager::listen("feeds");
        let mut watchdog = Watchdog::every(Some(Duration::from_secs(10)));
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert!(watchdog.step(&notifier, alive(1, 1), at(0)).unwrap());
        assert_eq!(manager.heard().unwrap(), "WATCHDOG=1");
        assert!(!watchdog.step(&notifier, alive(100, 4), at(4)).unwrap());
        assert!(watchdog.step(&notifier, alive(120, 5), at(5)).unwrap());
    }

    #[test]
    fn a_stage_that_hangs_starves_the_watchdog() {
        let (manager, notifier) = Manager::listen("hangs");
        let mut watchdog = Watchdog::every(Some(Duration::from_secs(2)));
        let start = Instant::now();
        assert!(watchdog.step(&notifier, alive(1, 1), start).unwrap());
        manager.heard().unwrap();
        let later = start + Duration::from_secs(60);
        assert!(!watchdog.step(&notifier, alive(1, 60), later).unwrap());
        assert!(!watchdog.step(&notifier, alive(1800, 1), later).unwrap());
        assert_eq!(manager.heard(), None);
    }

    #[test]
    fn a_lost_camera_that_is_retried_and_an_idle_daemon_are_alive() {
        let (_manager, notifier) = Manager::listen("idle");
        let mut watchdog = Watchdog::every(Some(Duration::from_secs(2)));
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert!(watchdog.step(&notifier, alive(1, 1), at(0)).unwrap());
        let retried = Progress {
            source_retries: 3,
            ..alive(1, 2)
        };
        assert!(watchdog.step(&notifier, retried, at(2)).unwrap());
        let idle = Progress {
            is_idle: true,
            server_turns: 9,
            ..retried
        };
        assert!(watchdog.step(&notifier, idle, at(9)).unwrap());
    }

    #[test]
    fn the_period_is_taken_only_when_it_is_meant_for_this_process() {
        let period = |usec: &str, pid: Option<&str>| {
            asked_period(Some(OsStr::new(usec)), pid.map(OsStr::new), 42)
        };
        assert_eq!(period("3000000", None), Some(Duration::from_secs(3)));
        assert_eq!(period("3000000", Some("42")), Some(Duration::from_secs(3)));
        assert_eq!(period("3000000", Some("41")), None);
        assert_eq!(period("0", None), None);
        assert_eq!(period("soon", None), None);
    }
}
