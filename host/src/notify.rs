//! When systemd is told that the daemon is alive.

use std::time::{Duration, Instant};

use crate::metrics::{Activity, Counter, Metrics};

/// Whether a service manager started this process and waits for its word.
pub fn is_supervised() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|address| !address.is_empty())
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
/// Ask [`step`](Watchdog::step) often (twice a second will do); it says yes at half the period that
/// systemd asked for, if frames were tracked (or the source was tried again, or the daemon is
/// idle) and the server turned since it last said so. When nothing moves it says no, and
/// systemd restarts the daemon.
#[derive(Debug)]
pub struct Watchdog {
    interval: Option<Duration>,
    fed_at: Option<Instant>,
    fed_by: Progress,
}

impl Watchdog {
    /// The period that the service manager asks of this process.
    pub fn from_environment() -> Self {
        Watchdog::every(sd_notify::watchdog_enabled())
    }

    /// A watchdog that expects to be fed once in `period`; none: never.
    pub fn every(period: Option<Duration>) -> Self {
        Watchdog {
            interval: period.map(|period| period / 2),
            fed_at: None,
            fed_by: Progress::default(),
        }
    }

    /// Whether it is time to feed and there was progress; then it counts as fed.
    pub fn step(&mut self, progress: Progress, now: Instant) -> bool {
        let Some(interval) = self.interval else {
            return false;
        };
        let is_due = self
            .fed_at
            .is_none_or(|fed_at| now.saturating_duration_since(fed_at) >= interval);
        if !is_due || !progress.moved_since(&self.fed_by) {
            return false;
        }
        self.fed_at = Some(now);
        self.fed_by = progress;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(frames: u64, server_turns: u64) -> Progress {
        Progress {
            frames,
            server_turns,
            ..Progress::default()
        }
    }

    #[test]
    fn the_watchdog_is_fed_at_half_its_period_while_frames_flow() {
        let mut watchdog = Watchdog::every(Some(Duration::from_secs(10)));
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert!(watchdog.step(alive(1, 1), at(0)));
        assert!(!watchdog.step(alive(100, 4), at(4)));
        assert!(watchdog.step(alive(120, 5), at(5)));
        assert!(!Watchdog::every(None).step(alive(1, 1), at(5)));
    }

    #[test]
    fn a_stage_that_hangs_starves_the_watchdog() {
        let mut watchdog = Watchdog::every(Some(Duration::from_secs(2)));
        let start = Instant::now();
        assert!(watchdog.step(alive(1, 1), start));
        let later = start + Duration::from_secs(60);
        assert!(!watchdog.step(alive(1, 60), later));
        assert!(!watchdog.step(alive(1800, 1), later));
    }

    #[test]
    fn a_lost_camera_that_is_retried_and_an_idle_daemon_are_alive() {
        let mut watchdog = Watchdog::every(Some(Duration::from_secs(2)));
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert!(watchdog.step(alive(1, 1), at(0)));
        let retried = Progress {
            source_retries: 3,
            ..alive(1, 2)
        };
        assert!(watchdog.step(retried, at(2)));
        let idle = Progress {
            is_idle: true,
            server_turns: 9,
            ..retried
        };
        assert!(watchdog.step(idle, at(9)));
    }
}
