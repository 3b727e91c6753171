//! The numbers of `/status`, over the last ten seconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::fan_out::{ClientStatus, Hub};
use crate::demand::UserKind;
use crate::machine::Health;
use crate::metrics::{Counter, LatencyCounts, LatencySummary, Metrics, State, TimedStage, View};
use crate::pace::PaceChange;

/// Time between two looks at the metrics.
const TURN: Duration = Duration::from_secs(1);

/// Looks that are kept: rates and percentiles are over the last ten seconds.
const WINDOW: usize = 10;

/// The metrics at one moment.
#[derive(Debug)]
struct Look {
    at: Instant,
    frames: u64,
    latencies: [LatencyCounts; TimedStage::ALL.len()],
}

impl Look {
    fn at_now(metrics: &Metrics) -> Self {
        Look {
            at: Instant::now(),
            frames: metrics.counted(Counter::FramesTracked),
            latencies: TimedStage::ALL.map(|stage| metrics.latencies(stage)),
        }
    }
}

/// The last looks, so that the difference between now and then can be told.
#[derive(Debug)]
pub(super) struct RecentMetrics {
    metrics: Arc<Metrics>,
    looks: Mutex<VecDeque<Look>>,
    started_at: Instant,
}

/// How many of the camera's frames are taken.
#[derive(Debug, Serialize)]
struct PaceStatus {
    /// Every how many-th; 1: all.
    keep_every: u32,
    /// Why not all, in words.
    because: Option<String>,
}

impl PaceStatus {
    fn of(change: Option<PaceChange>) -> Self {
        PaceStatus {
            keep_every: change.map_or(1, |change| change.keep_every),
            because: change
                .and_then(|change| change.cause)
                .map(|cause| cause.to_string()),
        }
    }
}

/// The answer of `/status`.
#[derive(Debug, Serialize)]
pub(super) struct StatusRecord {
    program: &'static str,
    version: u32,
    state: State,
    uptime_s: u64,
    /// Samples a second over the window; null before the first second is over.
    frame_rate: Option<f32>,
    /// Over the window; null where nothing was measured.
    stages: BTreeMap<&'static str, Option<LatencySummary>>,
    /// Since the start.
    counters: BTreeMap<&'static str, u64>,
    clients: Vec<ClientStatus>,
    pace: PaceStatus,
    machine: Health,
    /// What the camera saw; null before the first frame.
    view: Option<View>,
    /// Who keeps the camera on; empty when nobody does.
    users: BTreeMap<UserKind, usize>,
    /// Goes up when `/scene` has changed.
    scene_change: u64,
}

impl RecentMetrics {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let first = Look::at_now(&metrics);
        RecentMetrics {
            metrics,
            looks: Mutex::new(VecDeque::from([first])),
            started_at: Instant::now(),
        }
    }

    /// Looks at the metrics once a second, for ever.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut turns = tokio::time::interval(TURN);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            self.metrics.count(Counter::ServerTurns);
            let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
            if looks.len() > WINDOW {
                looks.pop_front();
            }
            looks.push_back(Look::at_now(&self.metrics));
        }
    }

    /// The numbers now.
    pub(super) fn status(&self, hub: &Hub) -> StatusRecord {
        let now = Look::at_now(&self.metrics);
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let then = looks.front();
        let frame_rate = then.and_then(|then| {
            let seconds = now.at.saturating_duration_since(then.at).as_secs_f32();
            (seconds >= TURN.as_secs_f32()).then(|| (now.frames - then.frames) as f32 / seconds)
        });
        let stages = TimedStage::ALL.iter().map(|&stage| {
            let since_start = &now.latencies[stage as usize];
            let recent = match then {
                Some(then) => since_start.since(&then.latencies[stage as usize]),
                None => since_start.clone(),
            };
            (stage.name(), recent.summary())
        });
        StatusRecord {
            program: concat!("gazed ", env!("CARGO_PKG_VERSION")),
            version: crate::record::VERSION,
            state: self.metrics.state(),
            uptime_s: self.started_at.elapsed().as_secs(),
            frame_rate,
            stages: stages.collect(),
            counters: self.metrics.counters(),
            clients: hub.clients(),
            pace: PaceStatus::of(self.metrics.pace()),
            machine: Health::read(),
            view: self.metrics.view(),
            users: hub.demand.count(),
            scene_change: hub.scene_change(),
        }
    }
}
