//! How long each stage takes, and what was counted: read by `/status`, the page and the watchdog.
//!
//! Every stage writes into one shared [`Metrics`] with relaxed atomics: recording takes a few
//! nanoseconds, never waits and never allocates.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::pace::PaceChange;
use crate::vision::Observation;
use crate::vision::light::Light;

/// The numbers of a running daemon.
#[derive(Debug)]
pub struct Metrics {
    latencies: [LatencyHistogram; TimedStage::ALL.len()],
    counters: [AtomicU64; Counter::ALL.len()],
    state: Mutex<State>,
    pace: Mutex<Option<PaceChange>>,
    view: Mutex<Option<View>>,
}

/// Where time is spent on the way from the camera to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedStage {
    /// From exposure until the decoded frame is in the newest-frame slot.
    Capture,
    /// Unpacking a compressed picture; a part of the capture.
    Decoding,
    /// One frame through the networks.
    Vision,
    /// One observation through calibration, filter and events.
    Tracking,
    /// From exposure until the sample is handed to the server.
    EndToEnd,
}

impl TimedStage {
    /// All stages, in the order of the data flow.
    pub const ALL: [TimedStage; 5] = [
        TimedStage::Capture,
        TimedStage::Decoding,
        TimedStage::Vision,
        TimedStage::Tracking,
        TimedStage::EndToEnd,
    ];

    /// Name in `/status`.
    pub const fn name(self) -> &'static str {
        match self {
            TimedStage::Capture => "capture",
            TimedStage::Decoding => "decoding",
            TimedStage::Vision => "vision",
            TimedStage::Tracking => "tracking",
            TimedStage::EndToEnd => "end_to_end",
        }
    }
}

/// What is counted since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Frames that the source delivered.
    FramesCaptured,
    /// Frames that were replaced in the newest-frame slot before the vision stage took them.
    FramesReplaced,
    /// Frames that were passed over because fewer are wanted: see [`crate::pace`].
    FramesPassedOver,
    /// Pictures that could not be read.
    FramesUnreadable,
    /// Frames that have become a sample.
    FramesTracked,
    /// Attempts to open a lost camera again.
    SourceRetries,
    /// Records that were published, samples and events.
    RecordsPublished,
    /// Samples that did not fit the queue from the tracking stage to the server.
    SamplesDropped,
    /// Samples that did not fit the queue of one client; each client counts.
    ClientSamplesDropped,
    /// Pictures that were recorded by somebody and dropped on the way to the recorder.
    PicturesDropped,
    /// Messages from one client to the others that did not fit the queue of one of these.
    ClientMessagesDropped,
    /// Records that did not go to the MQTT broker, because it was away or slow.
    MqttRecordsDropped,
    /// Clients that were admitted.
    ClientsAdmitted,
    /// Clients that were disconnected because they did not read.
    ClientsDropped,
    /// Messages of clients that could not be used.
    MessagesRefused,
    /// Wrong tokens that the page's port was given.
    TokensRefused,
    /// Samples and events that the board's thread had no room for.
    BoardEventsDropped,
    /// Dwells that the scanpath stage was too slow for.
    DwellsDropped,
    /// Turns of the server's once-a-second clock: stands still when the server hangs.
    ServerTurns,
}

impl Counter {
    /// All counters.
    pub const ALL: [Counter; 19] = [
        Counter::FramesCaptured,
        Counter::FramesReplaced,
        Counter::FramesPassedOver,
        Counter::FramesUnreadable,
        Counter::FramesTracked,
        Counter::SourceRetries,
        Counter::RecordsPublished,
        Counter::SamplesDropped,
        Counter::ClientSamplesDropped,
        Counter::PicturesDropped,
        Counter::ClientMessagesDropped,
        Counter::MqttRecordsDropped,
        Counter::ClientsAdmitted,
        Counter::ClientsDropped,
        Counter::MessagesRefused,
        Counter::TokensRefused,
        Counter::BoardEventsDropped,
        Counter::DwellsDropped,
        Counter::ServerTurns,
    ];

    /// Name in `/status`.
    pub const fn name(self) -> &'static str {
        match self {
            Counter::FramesCaptured => "frames_captured",
            Counter::FramesReplaced => "frames_replaced",
            Counter::FramesPassedOver => "frames_passed_over",
            Counter::FramesUnreadable => "frames_unreadable",
            Counter::FramesTracked => "frames_tracked",
            Counter::SourceRetries => "source_retries",
            Counter::RecordsPublished => "records_published",
            Counter::SamplesDropped => "samples_dropped",
            Counter::ClientSamplesDropped => "client_samples_dropped",
            Counter::PicturesDropped => "pictures_dropped",
            Counter::ClientMessagesDropped => "client_messages_dropped",
            Counter::MqttRecordsDropped => "mqtt_records_dropped",
            Counter::ClientsAdmitted => "clients_admitted",
            Counter::ClientsDropped => "clients_dropped",
            Counter::MessagesRefused => "messages_refused",
            Counter::TokensRefused => "tokens_refused",
            Counter::BoardEventsDropped => "board_events_dropped",
            Counter::DwellsDropped => "dwells_dropped",
            Counter::ServerTurns => "server_turns",
        }
    }
}

/// What the daemon is doing, in one word and one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// One word for programs.
    pub activity: Activity,
    /// One sentence for people.
    pub message: String,
}

/// What the daemon is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Opening the source, loading the networks.
    Starting,
    /// Frames flow.
    Streaming,
    /// The source is gone and is being tried again.
    SourceLost,
    /// Deliberately not reading the source.
    Idle,
}

/// What the camera sees, for people who set it up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Columns and rows of its pictures.
    pub size_px: [usize; 2],
    /// Light on the face, or in the whole picture without one.
    pub light: Option<Light>,
    /// Faces that may be people before the screen.
    pub n_faces: usize,
    /// From the camera to the midpoint between the eyes.
    pub face_distance_mm: Option<f32>,
}

impl View {
    /// Of one frame.
    pub fn of(frame: &Frame, observation: &Observation) -> Self {
        let face = observation.face.as_ref();
        View {
            size_px: observation.size_px,
            light: Light::of(frame, face),
            n_faces: observation.n_faces,
            face_distance_mm: face.map(|face| {
                let [x, y, z] = face.head.position_mm;
                (x * x + y * y + z * z).sqrt()
            }),
        }
    }
}

impl Metrics {
    /// Empty histograms, all counters 0, [`Activity::Starting`].
    pub fn new() -> Self {
        Metrics {
            latencies: std::array::from_fn(|_| LatencyHistogram::new()),
            counters: std::array::from_fn(|_| AtomicU64::new(0)),
            state: Mutex::new(State {
                activity: Activity::Starting,
                message: String::from("starting"),
            }),
            pace: Mutex::new(None),
            view: Mutex::new(None),
        }
    }

    /// Adds one measurement.
    pub fn record(&self, stage: TimedStage, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies[stage as usize].record(micros);
    }

    /// Adds one to a counter.
    pub fn count(&self, counter: Counter) {
        self.counters[counter as usize].fetch_add(1, Relaxed);
    }

    /// Adds to a counter.
    pub fn count_many(&self, counter: Counter, n: u64) {
        self.counters[counter as usize].fetch_add(n, Relaxed);
    }

    /// A counter since the start.
    pub fn counted(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Relaxed)
    }

    /// Says what the daemon is doing; shown by `/status` and the page.
    pub fn set_state(&self, activity: Activity, message: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.activity = activity;
        state.message.clear();
        state.message.push_str(message);
    }

    /// What the daemon is doing.
    pub fn state(&self) -> State {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes what the camera sees.
    pub fn set_view(&self, view: View) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
    }

    /// What the camera saw a few seconds ago at most while frames flow; none before the first.
    pub fn view(&self) -> Option<View> {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how many frames are taken.
    pub fn set_pace(&self, change: PaceChange) {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = Some(change);
    }

    /// The last change of how many frames are taken; none before the first.
    pub fn pace(&self) -> Option<PaceChange> {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of one stage's histogram; the difference of two copies is the time between them.
    pub fn latencies(&self, stage: TimedStage) -> LatencyCounts {
        self.latencies[stage as usize].counts()
    }

    /// All counters by name.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        Counter::ALL
            .iter()
            .map(|&counter| (counter.name(), self.counted(counter)))
            .collect()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

/// Bits of the mantissa: 16 buckets an octave, so a bucket is at most 1/16 (6 %) wide.
const MANTISSA_BITS: u32 = 4;
/// Buckets an octave.
const PER_OCTAVE: usize = 1 << MANTISSA_BITS;
/// Longest latency told apart: 2^26 µs = 67 s; longer ones count as that.
const MAX_BITS: u32 = 26;
/// The first 16 buckets are the values 0 to 15 µs, then 16 for each octave.
const BUCKETS: usize = PER_OCTAVE * (MAX_BITS - MANTISSA_BITS + 1) as usize;

/// Latencies in buckets whose width grows with the value.
#[derive(Debug)]
struct LatencyHistogram {
    buckets: [AtomicU64; BUCKETS],
    max_us: AtomicU64,
}

impl LatencyHistogram {
    fn new() -> Self {
        LatencyHistogram {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            max_us: AtomicU64::new(0),
        }
    }

    fn record(&self, micros: u64) {
        self.buckets[bucket_of(micros)].fetch_add(1, Relaxed);
        self.max_us.fetch_max(micros, Relaxed);
    }

    fn counts(&self) -> LatencyCounts {
        LatencyCounts {
            buckets: self.buckets.iter().map(|b| b.load(Relaxed)).collect(),
            max_us: self.max_us.load(Relaxed),
        }
    }
}

/// The bucket of a latency.
fn bucket_of(micros: u64) -> usize {
    let micros = micros.min((1 << MAX_BITS) - 1);
    if micros < PER_OCTAVE as u64 {
        return micros as usize;
    }
    let octave = micros.ilog2() - MANTISSA_BITS;
    let mantissa = (micros >> octave) as usize - PER_OCTAVE;
    PER_OCTAVE * (octave as usize + 1) + mantissa
}

/// The middle of a bucket, µs.
fn middle_of(bucket: usize) -> u64 {
    if bucket < PER_OCTAVE {
        return bucket as u64;
    }
    let octave = (bucket / PER_OCTAVE - 1) as u32;
    let low = ((PER_OCTAVE + bucket % PER_OCTAVE) as u64) << octave;
    low + (1u64 << octave) / 2
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyCounts {
    buckets: Vec<u64>,
    max_us: u64,
}

/// Percentiles of a stage; within 3 % of the exact value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LatencySummary {
    /// Number of measurements.
    pub n: u64,
    /// Median.
    pub p50_us: u64,
    /// 95 of 100 are at most this.
    pub p95_us: u64,
    /// 99 of 100 are at most this.
    pub p99_us: u64,
    /// The longest since the start.
    pub max_us: u64,
}

impl LatencyCounts {
    /// What was recorded after `earlier`, an older copy of the same histogram.
    pub fn since(&self, earlier: &LatencyCounts) -> LatencyCounts {
        LatencyCounts {
            buckets: self
                .buckets
                .iter()
                .zip(&earlier.buckets)
                .map(|(now, then)| now.saturating_sub(*then))
                .collect(),
            max_us: self.max_us,
        }
    }

    /// Percentiles; none when nothing was measured.
    pub fn summary(&self) -> Option<LatencySummary> {
        let n: u64 = self.buckets.iter().sum();
        if n == 0 {
            return None;
        }
        Some(LatencySummary {
            n,
            p50_us: self.percentile(n, 50),
            p95_us: self.percentile(n, 95),
            p99_us: self.percentile(n, 99),
            max_us: self.max_us,
        })
    }

    /// The smallest bucket that has `percent` of `n` measurements at or below it.
    fn percentile(&self, n: u64, percent: u64) -> u64 {
        let rank = (n * percent).div_ceil(100);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        middle_of(bucket.unwrap_or(BUCKETS - 1)).min(self.max_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_latencies_are_exact_and_large_ones_within_three_percent() {
        for micros in (0..16).chain([17, 31, 32, 100, 999, 33_333, 1_000_000, 60_000_000]) {
            let found = middle_of(bucket_of(micros));
            let error = (found as f64 - micros as f64).abs() / (micros as f64).max(1.0);
            assert!(
                error <= 0.034, /* half a bucket: 1/32 */
                "{micros} became {found}"
            );
        }
    }

    #[test]
    fn buckets_are_contiguous_and_in_order() {
        let mut last = 0;
        for micros in 0..200_000 {
            let bucket = bucket_of(micros);
            assert!(bucket == last || bucket == last + 1, "{micros}");
            last = bucket;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_of_one_to_hundred_are_the_numbers_themselves() {
        let metrics = Metrics::new();
        for ms in 1..=100 {
            metrics.record(TimedStage::Vision, Duration::from_millis(ms));
        }
        let summary = metrics.latencies(TimedStage::Vision).summary().unwrap();
        assert_eq!((summary.n, summary.max_us), (100, 100_000));
        for (found, expected) in [
            (summary.p50_us, 50_000.0),
            (summary.p95_us, 95_000.0),
            (summary.p99_us, 99_000.0),
        ] {
            assert!(
                (found as f64 / expected - 1.0).abs() < 0.034 /* half a bucket */
            );
        }
        assert_eq!(metrics.latencies(TimedStage::Capture).summary(), None);
    }

    #[test]
    fn the_difference_of_two_copies_is_what_came_between() {
        let metrics = Metrics::new();
        metrics.record(TimedStage::EndToEnd, Duration::from_micros(5));
        let before = metrics.latencies(TimedStage::EndToEnd);
        metrics.record(TimedStage::EndToEnd, Duration::from_micros(9));
        let between = metrics.latencies(TimedStage::EndToEnd).since(&before);
        let summary = between.summary().unwrap();
        assert_eq!((summary.n, summary.p50_us), (1, 9));
    }

    #[test]
    fn every_counter_has_its_own_place_and_name() {
        let metrics = Metrics::new();
        for (n, &counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(counter as usize, n);
            metrics.count_many(counter, n as u64);
        }
        assert_eq!(metrics.counters().len(), Counter::ALL.len());
        assert_eq!(metrics.counted(Counter::FramesUnreadable), 3);
        for (n, &stage) in TimedStage::ALL.iter().enumerate() {
            assert_eq!(stage as usize, n);
        }
    }
}
