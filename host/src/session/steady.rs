//! Waits until the eyes rest, and keeps the samples of that rest.

use gaze_calibration::{CalibrationInput, TargetSample};
use gaze_protocol::{PointOfRegard, Span, Timestamp};

/// Samples before the appearance of a target plus this are not of it: 200 ms of latency and a
/// large saccade of 120 ms (Carpenter 1988), with time to settle.
const ARRIVAL: Span = Span::from_ms(500);

/// How long the eyes have to rest, as long as ETDQualitizer's validator takes.
const REST: Span = Span::from_ms(1000);

/// After this long without a rest the attempt has failed.
const PATIENCE: Span = Span::from_ms(6000);

/// An attempt fails after at least so many frames: a busy machine that sees one a second gets longer.
const LEAST_FRAMES: usize = 40;

/// Least samples with gaze in a rest: the slowest cameras give five frames a second.
const MIN_SAMPLES: usize = 6;

/// Least share of samples with gaze in a rest.
const MIN_SHARE: f32 = 0.5;

/// A sample is away when it is further than this from the middle of the rest so far (3°) ...
const AWAY_TANGENT: f32 = 0.052;

/// ... and further than this many standard deviations.
const AWAY_SD: f32 = 3.5;

/// So many samples away in a row are a movement of the eyes, fewer are noise.
const AWAY_IN_A_ROW: usize = 3;

/// The two halves of a rest are at the same place when they differ by less than this (2.5°).
const SAME_TANGENT: f32 = 0.044;

/// What one frame showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub at: Timestamp,
    pub seq: u64,
    /// None without gaze.
    pub input: Option<CalibrationInput>,
    /// Slope of the line of gaze against the screen's normal; none without gaze on the plane.
    pub tangent: Option<[f32; 2]>,
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rest {
    /// Not yet; the share of it that is done.
    Going(f32),
    /// The eyes have rested long enough.
    Done,
    /// They did not in all that time.
    Failed(Trouble),
}

/// Why the eyes did not rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Closed, or gone, most of the time.
    NoGaze,
    /// Open, and never at one place.
    Restless,
}

/// The rest of the eyes on one target.
#[derive(Clone, Debug)]
pub(super) struct Steady {
    shown_at: Timestamp,
    /// 1, or 2 for people who need longer.
    pace: u64,
    /// Everything since the rest began.
    rest: Vec<Seen>,
    away_in_a_row: usize,
    n_seen: usize,
    n_without_gaze: usize,
}

impl Steady {
    pub(super) fn new(shown_at: Timestamp, is_slow: bool) -> Self {
        Steady {
            shown_at,
            pace: if is_slow { 2 } else { 1 },
            rest: Vec::new(),
            away_in_a_row: 0,
            n_seen: 0,
            n_without_gaze: 0,
        }
    }

    pub(super) fn step(&mut self, seen: Seen) -> Rest {
        let long = |span: Span| Span(span.as_us() * self.pace);
        let since_shown = seen.at.since(self.shown_at);
        if since_shown < long(ARRIVAL) {
            return Rest::Going(0.0);
        }
        self.n_seen += 1;
        self.n_without_gaze += usize::from(seen.tangent.is_none());
        if self.is_away(&seen) {
            self.away_in_a_row += 1;
        } else if seen.tangent.is_some() {
            self.away_in_a_row = 0;
        }
        self.rest.push(seen);
        if self.away_in_a_row >= AWAY_IN_A_ROW {
            // A new rest began where the eyes went.
            let first = self.first_of_last_with_gaze(AWAY_IN_A_ROW);
            self.rest.drain(..first);
            self.away_in_a_row = 0;
        }
        let lasted = seen.at.since(self.rest[0].at);
        if lasted >= long(REST) {
            if self.is_rest() {
                return Rest::Done;
            }
            // The older half may have been elsewhere or behind closed lids.
            self.rest.drain(..self.rest.len().div_ceil(2));
        }
        if since_shown > long(PATIENCE) && self.n_seen >= LEAST_FRAMES {
            let is_blind = 2 * self.n_without_gaze > self.n_seen;
            return Rest::Failed(if is_blind {
                Trouble::NoGaze
            } else {
                Trouble::Restless
            });
        }
        let share = lasted.as_us() as f32 / long(REST).as_us() as f32;
        Rest::Going(share.clamp(0.0, 1.0))
    }

    /// The samples of the rest.
    pub(super) fn samples(&self, target: PointOfRegard) -> Vec<TargetSample> {
        self.rest
            .iter()
            .map(|seen| TargetSample {
                seq: seen.seq,
                target,
                input: seen.input,
            })
            .collect()
    }

    /// How long the rest lasted.
    pub(super) fn lasted(&self) -> Span {
        match (self.rest.first(), self.rest.last()) {
            (Some(first), Some(last)) => last.at.since(first.at),
            _ => Span(0),
        }
    }

    fn is_away(&self, seen: &Seen) -> bool {
        let Some(tangent) = seen.tangent else {
            return false;
        };
        let known: Vec<[f32; 2]> = self.rest.iter().filter_map(|seen| seen.tangent).collect();
        if known.len() < 4 {
            return false;
        }
        let middle = middle(&known);
        let apart = |t: &[f32; 2]| (t[0] - middle[0]).hypot(t[1] - middle[1]);
        // The median length of two-dimensional normal errors is 1.18 SD.
        let sd = median(known.iter().map(apart).collect()) / 1.18;
        apart(&tangent) > (AWAY_SD * sd).max(AWAY_TANGENT)
    }

    fn is_rest(&self) -> bool {
        let known: Vec<[f32; 2]> = self.rest.iter().filter_map(|seen| seen.tangent).collect();
        if known.len() < MIN_SAMPLES || (known.len() as f32) < MIN_SHARE * self.rest.len() as f32 {
            return false;
        }
        let (early, late) = known.split_at(known.len() / 2);
        let (early, late) = (middle(early), middle(late));
        (early[0] - late[0]).hypot(early[1] - late[1]) < SAME_TANGENT
    }

    /// Index of the `n`-th last sample with gaze.
    fn first_of_last_with_gaze(&self, n: usize) -> usize {
        let with_gaze = self.rest.iter().enumerate().rev();
        with_gaze
            .filter(|(_, seen)| seen.tangent.is_some())
            .nth(n - 1)
            .map_or(0, |(index, _)| index)
    }
}

/// The median of each axis.
pub(super) fn middle(tangents: &[[f32; 2]]) -> [f32; 2] {
    [0, 1].map(|axis| median(tangents.iter().map(|t| t[axis]).collect()))
}

/// The middle number, of an even count the upper of the two; 0 of none.
fn median(mut numbers: Vec<f32>) -> f32 {
    numbers.sort_unstable_by(f32::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames at 30/s; the tangent of each as `gaze` says.
    fn watch(gaze: impl Fn(u64) -> Option<[f32; 2]>) -> (Rest, Timestamp, Steady) {
        let mut steady = Steady::new(Timestamp(0), false);
        for seq in 0.. {
            let at = Timestamp(seq * 33_333);
            let found = steady.step(Seen {
                at,
                seq,
                input: None,
                tangent: gaze(seq),
            });
            if !matches!(found, Rest::Going(_)) {
                return (found, at, steady);
            }
        }
        unreachable!("patience has an end")
    }

    #[test]
    fn steady_eyes_are_done_a_second_after_their_arrival() {
        let (found, at, steady) = watch(|_| Some([0.1, 0.2]));
        assert_eq!(found, Rest::Done);
        // 0.5 s to arrive and 1 s of rest, to the next frame.
        assert!((1_500_000..1_570_000).contains(&at.as_us()), "{at:?}");
        assert!((30..=32).contains(&steady.samples(PointOfRegard::default()).len()));
    }

    #[test]
    fn eyes_that_come_late_are_waited_for_and_nothing_before_is_kept() {
        // 4.6° away until 1 s.
        let (found, at, steady) = watch(|seq| Some([if seq < 30 { 0.08 } else { 0.0 }, 0.0]));
        assert_eq!(found, Rest::Done);
        assert!((1_990_000..2_100_000).contains(&at.as_us()), "{at:?}");
        assert!(
            steady
                .rest
                .iter()
                .all(|seen| seen.tangent == Some([0.0, 0.0]))
        );
    }

    #[test]
    fn a_blink_is_waited_through_and_single_outliers_do_no_harm() {
        let (found, _, _) = watch(|seq| match seq {
            20..=26 => None,
            30 => Some([0.5, 0.0]),
            _ => Some([0.0, 0.01]),
        });
        assert_eq!(found, Rest::Done);
    }

    #[test]
    fn closed_and_restless_eyes_are_told_apart() {
        assert_eq!(watch(|_| None).0, Rest::Failed(Trouble::NoGaze));
        // A jump of 6° every 0.7 s.
        let restless = |seq: u64| Some([0.1 * (seq / 21 % 2) as f32, 0.0]);
        assert_eq!(watch(restless).0, Rest::Failed(Trouble::Restless));
    }
}
