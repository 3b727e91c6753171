//! Samples become ticks: at most one every 4 ms, so that a fast tracker costs no more than a slow
//! one, and places in whole numbers, whose differences are exact.

use gaze_protocol::{Span, Timestamp};

use crate::fixation::{SampleSums, UsableSample};

/// Places are whole numbers of this many degrees. Samples are rounded to a thousandth of a degree,
/// finer than any tracker; the quarter keeps the mean of two or four samples exact.
pub const DEGREES_PER_UNIT: f32 = 0.25e-3;
/// Samples closer together than this share a tick: 285 Hz and below have a tick for each sample.
const BIN: Span = Span(3_500);

/// The gaze at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// When.
    pub at: Timestamp,
    /// Yaw and pitch from the stream's first place, in [`DEGREES_PER_UNIT`]. While gaze is missing, where it was last.
    pub place: [i32; 2],
    /// Whether there was no gaze.
    pub is_missing: bool,
    /// How many samples it stands for.
    pub samples: u32,
}

/// A tick, and its samples with gaze summed up.
pub type Summed = (Tick, Option<SampleSums>);

/// Samples that will share a tick.
#[derive(Clone, Copy, Debug)]
struct Bin {
    first: Timestamp,
    last: Timestamp,
    sum: [i64; 2],
    seen: u32,
    samples: u32,
    sums: Option<SampleSums>,
}

/// Puts samples into ticks.
#[derive(Clone, Debug, Default)]
pub struct Ticks {
    bin: Option<Bin>,
    last_at: Option<Timestamp>,
    /// The first place seen; all places count from it, so that none is special before it.
    origin: Option<[i32; 2]>,
    last_place: [i32; 2],
}

impl Ticks {
    /// Takes the sample at `at`, which is not before the last one; none while gaze is missing.
    /// `out` gets the ticks that are now complete, at most two.
    pub fn step(
        &mut self,
        at: Timestamp,
        sample: Option<&UsableSample>,
        out: &mut heapless::Vec<Summed, 2>,
    ) {
        let is_slow = self.last_at.is_none_or(|last| at.since(last) >= BIN);
        self.last_at = Some(at);
        let is_over = self.bin.is_some_and(|bin| at.since(bin.first) >= BIN);
        if is_slow || is_over {
            self.close(out);
        }
        let bin = self.bin.get_or_insert(Bin {
            first: at,
            last: at,
            sum: [0; 2],
            seen: 0,
            samples: 0,
            sums: None,
        });
        bin.last = at;
        bin.samples = bin.samples.saturating_add(1);
        if let Some(sample) = sample {
            let place = sample.gaze_rad().map(rounded);
            let origin = *self.origin.get_or_insert(place);
            bin.seen = bin.seen.saturating_add(1);
            bin.sum = [0, 1].map(|axis| bin.sum[axis] + i64::from(place[axis] - origin[axis]));
            let sums = SampleSums::new(sample);
            match &mut bin.sums {
                Some(earlier) => earlier.absorb(&sums),
                None => bin.sums = Some(sums),
            }
        }
        if is_slow {
            // Waiting for the next sample would only cost time.
            self.close(out);
        }
    }

    /// Completes the tick that is open.
    pub fn close(&mut self, out: &mut heapless::Vec<Summed, 2>) {
        let Some(bin) = self.bin.take() else { return };
        if bin.seen > 0 {
            self.last_place = bin.sum.map(|sum| mean(sum, bin.seen));
        }
        let half = bin.last.since(bin.first).as_us() / 2;
        let tick = Tick {
            at: bin.first + Span(half),
            place: self.last_place,
            is_missing: bin.seen == 0,
            samples: bin.samples,
        };
        let added = out.push((tick, bin.sums));
        debug_assert!(added.is_ok(), "a sample completes at most two ticks");
    }
}

/// Rounded to the nearest, halves away from zero: mirrored gaze gives mirrored numbers.
fn mean(sum: i64, count: u32) -> i32 {
    let count = i64::from(count);
    let half = if sum < 0 { -count } else { count };
    ((2 * sum + half) / (2 * count)) as i32
}

/// Usable gaze is within half a turn, so the cast fits.
fn rounded(rad: f32) -> i32 {
    4 * (libm::roundf(rad.to_degrees() * 1e3) as i32)
}

#[cfg(test)]
mod tests {
    use gaze_protocol::GazeAngles;

    use super::*;

    fn ticks(samples: &[(u64, f32)]) -> std::vec::Vec<Tick> {
        let (mut stage, mut all) = (Ticks::default(), std::vec::Vec::new());
        let mut out = heapless::Vec::new();
        for (us, yaw_deg) in samples {
            let sample = UsableSample {
                at: Timestamp(*us),
                gaze: GazeAngles {
                    yaw_rad: yaw_deg.to_radians(),
                    pitch_rad: 0.0,
                },
                por: None,
            };
            stage.step(sample.at, Some(&sample), &mut out);
            all.extend(out.iter().map(|(tick, _)| *tick));
            out.clear();
        }
        stage.close(&mut out);
        all.extend(out.iter().map(|(tick, _)| *tick));
        all
    }

    #[test]
    fn at_250_hz_each_sample_is_a_tick() {
        let found = ticks(&[(0, 1.0), (4_000, 1.5), (8_000, -2.0)]);
        let places: std::vec::Vec<i32> = found.iter().map(|tick| tick.place[0]).collect();
        assert_eq!(places, [0, 2_000, -12_000]);
        assert!(found.iter().all(|tick| tick.samples == 1));
    }

    #[test]
    fn at_1000_hz_four_samples_are_a_tick_in_their_middle() {
        let samples: std::vec::Vec<(u64, f32)> =
            (0..9).map(|ms| (ms * 1000, ms as f32 * 0.01)).collect();
        let found = ticks(&samples);
        // The first stands alone: nothing says yet that more come so soon.
        let counts: std::vec::Vec<u32> = found.iter().map(|tick| tick.samples).collect();
        assert_eq!(counts, [1, 4, 4]);
        // (10 + 20 + 30 + 40) / 4 thousandths, in quarters.
        assert_eq!((found[1].at, found[1].place[0]), (Timestamp(2_500), 100));
    }
}
