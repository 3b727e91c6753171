//! Where the board's clock stands, from pings.
//!
//! ```text
//!  host   t1 ──────────────────► t4          offset = ((t2 − t1) + (t3 − t4)) / 2
//!              ╲             ╱               round trip = (t4 − t1) − (t3 − t2)
//!  board        t2 ──── t3 ─╱
//! ```
//!
//! The offset of one ping is wrong by half the difference of its two ways, so pings with a short
//! round trip are right and the others are not used: the line through the best quarter of the last
//! [`KEPT`] gives offset and drift (Cristian 1989; the filter is that of NTP, RFC 5905).

use std::collections::VecDeque;

use gaze_protocol::Timestamp;

/// Pings that are kept: half a minute at eight a second.
const KEPT: usize = 256;

/// Pings before the clock counts as known.
const ENOUGH: usize = 5;

/// Shortest stretch of pings from which a drift is told, µs. A crystal drifts by 50 µs in a second.
const DRIFT_AFTER_US: f64 = 5e6;

/// The four times of a ping.
#[derive(Clone, Copy, Debug)]
pub struct PingTimes {
    /// The host sent it; host's clock.
    pub sent_at: Timestamp,
    /// The board received it; board's clock.
    pub board_received_at: Timestamp,
    /// The board answered; board's clock.
    pub board_sent_at: Timestamp,
    /// The host received the answer; host's clock.
    pub received_at: Timestamp,
}

/// One ping, reduced.
#[derive(Clone, Copy, Debug)]
struct Ping {
    host_us: f64,
    /// Board less host.
    offset_us: f64,
    round_trip_us: f64,
}

/// The line board − host = offset + drift × (host − at).
#[derive(Clone, Copy, Debug)]
struct Fit {
    at_us: f64,
    offset_us: f64,
    drift: f64,
}

/// What is known of the board's clock.
#[derive(Clone, Debug, Default)]
pub struct ClockEstimate {
    pings: VecDeque<Ping>,
    fit: Option<Fit>,
}

impl ClockEstimate {
    /// Forgets everything: the board may have started anew.
    pub fn clear(&mut self) {
        *self = ClockEstimate::default();
    }

    /// Takes a ping; one whose times are not in order is left out.
    pub fn add(&mut self, times: PingTimes) {
        let us = |time: Timestamp| time.as_us() as f64;
        let [t1, t2, t3, t4] = [
            us(times.sent_at),
            us(times.board_received_at),
            us(times.board_sent_at),
            us(times.received_at),
        ];
        let round_trip_us = (t4 - t1) - (t3 - t2);
        if t4 < t1 || t3 < t2 || round_trip_us < 0.0 {
            return;
        }
        if self.pings.len() == KEPT {
            self.pings.pop_front();
        }
        self.pings.push_back(Ping {
            host_us: 0.5 * (t1 + t4),
            offset_us: 0.5 * ((t2 - t1) + (t3 - t4)),
            round_trip_us,
        });
        self.fit = (self.pings.len() >= ENOUGH).then(|| self.best_line());
    }

    /// Whether times can be converted.
    pub fn is_known(&self) -> bool {
        self.fit.is_some()
    }

    /// A host's time on the board's clock; none before the clock is known, or before the board's
    /// zero.
    pub fn to_board(&self, host: Timestamp) -> Option<Timestamp> {
        let fit = self.fit?;
        let host_us = host.as_us() as f64;
        let offset_us = fit.offset_us + fit.drift * (host_us - fit.at_us);
        timestamp(host_us + offset_us)
    }

    /// A board's time on the host's clock.
    pub fn to_host(&self, board: Timestamp) -> Option<Timestamp> {
        let fit = self.fit?;
        let since_us = board.as_us() as f64 - (fit.at_us + fit.offset_us);
        timestamp(fit.at_us + since_us / (1.0 + fit.drift))
    }

    /// How much faster the board's clock runs, parts in a million; 0 until it can be told.
    pub fn drift_ppm(&self) -> Option<f64> {
        self.fit.map(|fit| fit.drift * 1e6)
    }

    /// The shortest round trip seen, µs: twice the largest error of the offset.
    pub fn round_trip_us(&self) -> Option<f64> {
        let trips = self.pings.iter().map(|ping| ping.round_trip_us);
        trips.min_by(f64::total_cmp)
    }

    /// The line through the quarter of the pings with the shortest round trips.
    fn best_line(&self) -> Fit {
        let mut best: Vec<Ping> = self.pings.iter().copied().collect();
        best.sort_by(|a, b| a.round_trip_us.total_cmp(&b.round_trip_us));
        best.truncate((best.len() / 4).max(1));
        let n = best.len() as f64;
        let at_us = best.iter().map(|ping| ping.host_us).sum::<f64>() / n;
        let offset_us = best.iter().map(|ping| ping.offset_us).sum::<f64>() / n;
        let (mut along, mut across) = (0.0, 0.0);
        let (mut first_us, mut last_us) = (f64::MAX, f64::MIN);
        for ping in &best {
            let since_us = ping.host_us - at_us;
            along += since_us * since_us;
            across += since_us * (ping.offset_us - offset_us);
            first_us = first_us.min(ping.host_us);
            last_us = last_us.max(ping.host_us);
        }
        let is_long = last_us - first_us >= DRIFT_AFTER_US;
        Fit {
            at_us,
            offset_us,
            drift: if is_long { across / along } else { 0.0 },
        }
    }
}

fn timestamp(us: f64) -> Option<Timestamp> {
    (us >= 0.0).then(|| Timestamp(us.round() as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ping(sent_us: u64, out_us: u64, back_us: u64, board: impl Fn(u64) -> u64) -> PingTimes {
        let board_at = board(sent_us + out_us);
        PingTimes {
            sent_at: Timestamp(sent_us),
            board_received_at: Timestamp(board_at),
            board_sent_at: Timestamp(board_at),
            received_at: Timestamp(sent_us + out_us + back_us),
        }
    }

    #[test]
    fn equal_ways_give_the_exact_offset() {
        let mut clock = ClockEstimate::default();
        for n in 0..ENOUGH as u64 {
            assert!(!clock.is_known());
            clock.add(ping(1_000_000 + n * 10_000, 300, 300, |host| {
                host - 900_000
            }));
        }
        let host = Timestamp(5_000_000);
        assert_eq!(clock.to_board(host), Some(Timestamp(4_100_000)));
        assert_eq!(clock.to_host(Timestamp(4_100_000)), Some(host));
        assert_eq!(clock.round_trip_us(), Some(600.0));
        // Before the board's zero there is no board time.
        assert_eq!(clock.to_board(Timestamp(800_000)), None);
    }

    #[test]
    fn times_out_of_order_are_left_out() {
        let mut clock = ClockEstimate::default();
        for n in 0..20_u64 {
            let mut times = ping(1_000_000 + n * 10_000, 300, 300, |host| host);
            times.board_sent_at = times.board_received_at + gaze_protocol::Span(5_000);
            clock.add(times);
        }
        assert!(!clock.is_known());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A USB line with a common way of 0.3 ms and up to 5 ms more in either direction, a board
        /// that drifts by up to 100 ppm, half a minute of pings.
        #[test]
        fn a_line_with_jitter_gives_offset_and_drift(
            drift_ppm in -100.0..100.0_f64,
            offset_us in 0..10_000_000_u64,
            extra_us in prop::collection::vec((0..5_000_u64, 0..5_000_u64), KEPT),
        ) {
            let board = |host: u64| {
                (host as f64 * (1.0 + drift_ppm * 1e-6)) as u64 + offset_us
            };
            let mut clock = ClockEstimate::default();
            for (n, (out_us, back_us)) in extra_us.into_iter().enumerate() {
                let sent_us = 1_000_000 + n as u64 * 125_000;
                clock.add(ping(sent_us, 300 + out_us, 300 + back_us, board));
            }
            let now = 1_000_000 + KEPT as u64 * 125_000;
            let found = clock.to_board(Timestamp(now)).unwrap().as_us() as f64;
            // The best quarter has round trips up to about 3.5 ms longer than the shortest, so an
            // offset is wrong by up to 1.8 ms and their mean by a third of a millisecond (SD).
            prop_assert!((found - board(now) as f64).abs() < 1_500.0);
            prop_assert!((clock.drift_ppm().unwrap() - drift_ppm).abs() < 100.0);
            let back = clock.to_host(Timestamp(board(now))).unwrap().as_us();
            prop_assert!(back.abs_diff(now) < 1_500);
        }
    }
}
