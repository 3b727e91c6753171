//! Where a stream's time 0 lies on the machine's clocks.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureTime {
    /// On the monotonic clock, which all programs of this machine share (`CLOCK_MONOTONIC`; Python:
    /// `time.monotonic()`).
    pub mono_us: u64,
    /// Since 1970-01-01 UTC, by this machine's clock as it stood when the record was made.
    pub unix_us: u64,
}

impl CaptureTime {
    /// Now.
    pub fn now() -> Self {
        CaptureTime {
            mono_us: read_us(ClockId::Monotonic),
            unix_us: read_us(ClockId::Realtime),
        }
    }
}

/// Seconds since 1970-01-01 UTC, for the date in a profile.
pub fn unix_now_s() -> u64 {
    CaptureTime::now().unix_us / 1_000_000
}

/// Year, month and day of a number of days since 1970-01-01 (H. Hinnant, `civil_from_days`).
pub fn civil_date(days: i64) -> [i64; 3] {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    [year, month, day]
}

/// The clocks of one stream: from microseconds since its first frame to [`CaptureTime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamClock {
    zero: Instant,
    zero_mono_us: u64,
}

impl StreamClock {
    /// `zero` is when the stream's time 0 was.
    pub fn new(zero: Instant) -> Self {
        let age_us = zero.elapsed().as_micros() as u64;
        StreamClock {
            zero,
            zero_mono_us: CaptureTime::now().mono_us.saturating_sub(age_us),
        }
    }

    /// When the stream's time 0 was.
    pub fn zero(&self) -> Instant {
        self.zero
    }

    /// The moment `t_us` after the stream's time 0. The same `t_us` always has the same monotonic
    /// time; its Unix time follows corrections of the machine's clock.
    pub fn at(&self, t_us: u64) -> CaptureTime {
        let now = CaptureTime::now();
        let mono_us = self.zero_mono_us + t_us;
        let unix_us = (now.unix_us + mono_us).saturating_sub(now.mono_us);
        CaptureTime { mono_us, unix_us }
    }

    /// How long ago the moment `t_us` after the stream's time 0 was.
    pub fn age(&self, t_us: u64) -> Duration {
        self.zero
            .elapsed()
            .saturating_sub(Duration::from_micros(t_us))
    }
}

fn read_us(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    // Both clocks are positive on every machine that runs this.
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_one_monotonic_time_and_the_clocks_keep_their_distance() {
        let clock = StreamClock::new(Instant::now());
        let (first, second) = (clock.at(1000), clock.at(1000));
        assert_eq!(first.mono_us, second.mono_us);
        assert_eq!(clock.at(501_000).mono_us - first.mono_us, 500_000);
        // Later than the stream's beginning, earlier than an hour from now.
        let now = CaptureTime::now();
        assert!(first.unix_us.abs_diff(now.unix_us) < 3_600_000_000);
        assert!(first.mono_us.abs_diff(now.mono_us) < 3_600_000_000);
    }

    #[test]
    fn the_unix_clock_is_after_this_program_was_written() {
        assert!(
            CaptureTime::now().unix_us > 1_767_225_600_000_000 /* 2026-01-01 */
        );
    }
}
