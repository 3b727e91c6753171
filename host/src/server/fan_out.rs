//! Who is connected, what each wants, and the queue in front of each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;
use serde::Serialize;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, watch};
use tracing::{info, warn};

use super::pictures::EveryFrame;
use super::wire::Wire;
use super::{ControlRequest, PathsRequest, ServerSettings};
use crate::demand::{Demand, User, UserKind};
use crate::metrics::{Counter, Metrics};
use crate::record::{ErrorRecord, Record, RecordKind, Stage, TimedRecord};
use crate::scene::SceneTable;

/// Before an output within this process tries again when all clients' places are taken.
const ADMISSION_RETRY: Duration = Duration::from_secs(2);

/// Most records that may wait for a client that is sent a picture: a second of them.
const MOST_BEFORE_PICTURE: usize = 64;

/// A record, and its text when somebody wants it, made once and shared by all clients.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line(Arc<(TimedRecord, OnceLock<Text>)>);

/// The head of a WebSocket frame, a JSON object, a line break: so both transports send it as it is.
#[derive(Debug, PartialEq)]
struct Text {
    bytes: Bytes,
    /// Bytes of the frame's head.
    head: usize,
}

impl Text {
    fn of(object: &str) -> Self {
        // RFC 6455, 5.2: the last frame of a text message, its length in 7, 16 or 64 bits.
        const FINAL_TEXT: u8 = 0x81;
        let length = object.len();
        let mut bytes = Vec::with_capacity(length + 11);
        bytes.push(FINAL_TEXT);
        match (u16::try_from(length), length) {
            (_, ..=125) => bytes.push(length as u8),
            (Ok(length), _) => {
                bytes.push(126);
                bytes.extend(length.to_be_bytes());
            }
            (Err(_), _) => {
                bytes.push(127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        let head = bytes.len();
        bytes.extend(object.as_bytes());
        bytes.push(b'\n');
        Text {
            bytes: bytes.into(),
            head,
        }
    }
}

impl Line {
    pub(super) fn new(record: TimedRecord) -> Self {
        Line(Arc::new((record, OnceLock::new())))
    }

    /// Of a record that is a line already, which is passed on byte for byte.
    fn of_line(record: TimedRecord, line: &str) -> Self {
        Line(Arc::new((record, Text::of(line).into())))
    }

    pub(super) fn error(message: String) -> Self {
        Line::new(TimedRecord {
            record: Record::Error(ErrorRecord { message }),
            at: None,
        })
    }

    /// The record itself, for outputs with words of their own.
    pub(super) fn record(&self) -> &TimedRecord {
        &self.0.0
    }

    fn text(&self) -> &Text {
        self.0.1.get_or_init(|| Text::of(&self.record().to_line()))
    }

    /// With the line break, for the Unix socket.
    pub(super) fn bytes(&self) -> &[u8] {
        let Text { bytes, head } = self.text();
        &bytes[*head..]
    }

    /// A whole frame of a WebSocket.
    pub(super) fn frame(&self) -> Bytes {
        let bytes = &self.text().bytes;
        bytes.slice(..bytes.len() - 1)
    }

    /// Without the line break, for those who frame it themselves.
    pub(super) fn message(&self) -> Utf8Bytes {
        let Text { bytes, head } = self.text();
        let object = bytes.slice(*head..bytes.len() - 1);
        Utf8Bytes::try_from(object).expect("a record's line is text")
    }
}

/// A record on its way from the tracking stage.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// None for a header.
    kind: Option<RecordKind>,
    line: Line,
    /// Whether it is of a calibration that has not ended.
    is_going_on: bool,
}

impl Outgoing {
    pub(super) fn new(record: TimedRecord) -> Self {
        Outgoing {
            kind: record.record.kind(),
            is_going_on: is_going_on(&record.record),
            line: Line::new(record),
        }
    }

    pub(super) fn of_line(record: TimedRecord, line: &str) -> Self {
        Outgoing {
            kind: record.record.kind(),
            is_going_on: is_going_on(&record.record),
            line: Line::of_line(record, line),
        }
    }

    pub(super) fn kind(&self) -> Option<RecordKind> {
        self.kind
    }
}

/// Whether a record is of a calibration that has not ended.
fn is_going_on(record: &Record) -> bool {
    matches!(
        record,
        Record::Calibration(calibration)
            if !matches!(calibration.stage, Stage::Accepted | Stage::Discarded)
    )
}

/// Kinds of record, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KindSet(u32);

impl KindSet {
    /// The kinds listed; all but pictures when the list is empty.
    pub(super) fn of(kinds: &[RecordKind]) -> Self {
        if kinds.is_empty() {
            return KindSet(!(1 << RecordKind::Picture as u8));
        }
        KindSet(kinds.iter().fold(0, |bits, &kind| bits | 1 << kind as u8))
    }

    fn contains(self, kind: RecordKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

/// Where records wait for a client, at most [`ServerSettings::client_queue`].
#[derive(Debug)]
enum Queue {
    /// For its task, which turns them into what the client understands.
    Lines(mpsc::Sender<Line>),
    /// As they are sent; most of them do not wait.
    Wire(Arc<Wire>),
}

/// How sending to a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Everything that was queued is sent.
    All,
    /// The client is gone.
    Gone,
    /// The client took nothing for too long.
    Unread,
}

/// A client as the fan-out knows it.
#[derive(Debug)]
struct Client {
    name: String,
    queue: Queue,
    /// None until it subscribes.
    kinds: Option<KindSet>,
    /// From its first subscription on.
    user: Option<User>,
    /// Subscribed before there was a header.
    awaits_header: bool,
    samples_dropped: u64,
    /// Ends the connection.
    dropped: Arc<Notify>,
}

impl Client {
    /// Queues a record; says whether there was room among `most`.
    fn queue(&self, line: &Line, most: usize) -> bool {
        match &self.queue {
            Queue::Lines(_) if self.n_waiting() >= most => false,
            Queue::Lines(queue) => {
                !matches!(queue.try_send(line.clone()), Err(TrySendError::Full(_)))
            }
            Queue::Wire(wire) => wire.push(line.frame(), most),
        }
    }

    fn wants(&self, kind: RecordKind) -> bool {
        self.kinds.is_some_and(|kinds| kinds.contains(kind))
    }

    /// Sends what was queued, where a task does not see to it.
    fn flush(&self) {
        if let Queue::Wire(wire) = &self.queue {
            wire.flush();
        }
    }

    fn n_waiting(&self) -> usize {
        match &self.queue {
            Queue::Lines(queue) => queue.max_capacity() - queue.capacity(),
            Queue::Wire(wire) => wire.n_waiting(),
        }
    }
}

impl Drop for Client {
    /// What waits is still sent; nothing is added.
    fn drop(&mut self) {
        if let Queue::Wire(wire) = &self.queue {
            wire.end();
        }
    }
}

/// One client in `/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ClientStatus {
    pub(super) name: String,
    pub(super) is_subscribed: bool,
    pub(super) records_waiting: usize,
    pub(super) samples_dropped: u64,
}

/// Everything that connections share.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) settings: ServerSettings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) controls: crossbeam_channel::Sender<ControlRequest>,
    pub(super) paths: crossbeam_channel::Sender<PathsRequest>,
    pub(super) demand: Demand,
    frames: Arc<EveryFrame>,
    /// Turns true when the daemon stops.
    stopping: watch::Receiver<bool>,
    table: Mutex<Table>,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    header: Option<Line>,
    /// The last record of a calibration that is under way.
    calibration: Option<Line>,
    /// The last two samples.
    samples: [Option<Line>; 2],
    clients: BTreeMap<u64, Client>,
    scene: Option<Arc<SceneTable>>,
    /// Number of the scene's last change; 0 before the first.
    scene_change: u64,
}

/// A connection's own end of its queue. The hub alone holds the sending end, so forgetting the
/// client ends the queue.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) id: u64,
    pub(super) waiting: mpsc::Receiver<Line>,
    /// Tells that the client must go.
    pub(super) dropped: Arc<Notify>,
}

/// The house is full.
#[derive(Debug)]
pub(super) struct TooManyClients;

impl Hub {
    pub(super) fn new(
        settings: ServerSettings,
        metrics: Arc<Metrics>,
        controls: crossbeam_channel::Sender<ControlRequest>,
        paths: crossbeam_channel::Sender<PathsRequest>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Hub {
            settings,
            metrics,
            controls,
            paths,
            demand: Demand::default(),
            frames: Arc::default(),
            stopping,
            table: Mutex::new(Table::default()),
            next_id: AtomicU64::new(1),
        }
    }

    /// Counts users of gaze where others do.
    pub(super) fn counting_in(mut self, demand: Demand) -> Self {
        self.demand = demand;
        self
    }

    /// Asks for frames there while a client wants pictures.
    pub(super) fn giving(mut self, frames: Arc<EveryFrame>) -> Self {
        self.frames = frames;
        self
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the daemon stops.
    pub(super) async fn stopped(&self) {
        // An error means that the server itself is gone.
        let _ = self
            .stopping
            .clone()
            .wait_for(|is_stopping| *is_stopping)
            .await;
    }

    /// A new client, with an empty queue and no subscription.
    pub(super) fn admit(&self, transport: &str) -> Result<Admission, TooManyClients> {
        let (queue, waiting) = mpsc::channel(self.most_waiting());
        let (id, dropped) = self.enter(transport, Queue::Lines(queue))?;
        Ok(Admission {
            id,
            waiting,
            dropped,
        })
    }

    /// The same for a client that records are written to as they come: its number, and what tells that it
    /// must go.
    pub(super) fn admit_wire(
        &self,
        transport: &str,
        wire: &Arc<Wire>,
    ) -> Result<(u64, Arc<Notify>), TooManyClients> {
        self.enter(transport, Queue::Wire(Arc::clone(wire)))
    }

    fn most_waiting(&self) -> usize {
        self.settings.client_queue.max(1)
    }

    fn enter(&self, transport: &str, queue: Queue) -> Result<(u64, Arc<Notify>), TooManyClients> {
        let mut table = self.table();
        if table.clients.len() >= self.settings.max_clients {
            warn!(
                "a client on the {transport} was turned away: {}",
                self.fullness()
            );
            return Err(TooManyClients);
        }
        let id = self.next_id.fetch_add(1, Relaxed);
        let dropped = Arc::new(Notify::new());
        table.clients.insert(
            id,
            Client {
                name: format!("{transport} {id}"),
                queue,
                kinds: None,
                user: None,
                awaits_header: false,
                samples_dropped: 0,
                dropped: Arc::clone(&dropped),
            },
        );
        self.metrics.count(Counter::ClientsAdmitted);
        Ok((id, dropped))
    }

    /// What a client is told that is turned away.
    pub(super) fn fullness(&self) -> String {
        format!(
            "{} clients are connected, as many as server.max_clients allows",
            self.settings.max_clients
        )
    }

    /// Sets what a client wants and queues the header in front of it.
    pub(super) fn subscribe(&self, id: u64, kinds: KindSet) {
        let mut table = self.table();
        let header = table.header.clone();
        let Some(client) = table.clients.get_mut(&id) else {
            return;
        };
        client.kinds = Some(kinds);
        client
            .user
            .get_or_insert_with(|| self.demand.enter(UserKind::Subscriber));
        client.awaits_header = header.is_none();
        info!("client {} subscribed", client.name);
        self.ask_for_frames(&table);
        if let Some(header) = header {
            self.deliver_or_drop(&mut table, id, &header);
            // A page that is reloaded in the middle of a calibration goes on with it.
            if kinds.contains(RecordKind::Calibration)
                && let Some(calibration) = table.calibration.clone()
            {
                self.deliver_or_drop(&mut table, id, &calibration);
            }
        }
    }

    /// Hands records of these kinds (all when none are listed) to an output within this process, until
    /// the daemon stops. An output that is too slow for an event misses what waits for it, and goes on.
    pub(super) async fn follow(
        &self,
        name: &str,
        kinds: &[RecordKind],
        mut take: impl FnMut(&Line),
    ) {
        let stopped = self.stopped();
        tokio::pin!(stopped);
        loop {
            let Ok(mut admission) = self.admit(name) else {
                tokio::select! {
                    () = &mut stopped => return,
                    () = tokio::time::sleep(ADMISSION_RETRY) => continue,
                }
            };
            self.subscribe(admission.id, KindSet::of(kinds));
            let is_stopping = tokio::select! {
                biased;
                () = &mut stopped => true,
                () = admission.dropped.notified() => false,
                () = async {
                    while let Some(line) = admission.waiting.recv().await {
                        take(&line);
                    }
                } => false,
            };
            if is_stopping {
                return self.forget(admission.id);
            }
        }
    }

    /// Queues a record for one client that must not miss it.
    pub(super) fn deliver(&self, id: u64, line: Line) {
        self.deliver_or_drop(&mut self.table(), id, &line);
    }

    fn deliver_or_drop(&self, table: &mut Table, id: u64, line: &Line) {
        let Some(client) = table.clients.get(&id) else {
            return;
        };
        if client.queue(line, self.most_waiting()) {
            client.flush();
        } else {
            self.drop_client(table, id, "has no room for an event");
        }
    }

    /// Lets frames come while a client wants pictures.
    fn ask_for_frames(&self, table: &Table) {
        let mut clients = table.clients.values();
        self.frames
            .want(clients.any(|client| client.wants(RecordKind::Picture)));
    }

    /// Disconnects a client.
    fn drop_client(&self, table: &mut Table, id: u64, why: &str) {
        let Some(client) = table.clients.remove(&id) else {
            return;
        };
        self.ask_for_frames(table);
        client.dropped.notify_one();
        self.metrics.count(Counter::ClientsDropped);
        warn!(
            "client {} was disconnected because it does not read: {why} ({} samples dropped before)",
            client.name, client.samples_dropped
        );
    }

    /// Notes that a client took nothing for too long; its connection is ending.
    pub(super) fn forget_unread(&self, id: u64) {
        let why = format!(
            "took nothing for {} s",
            self.settings.write_timeout.as_secs_f32()
        );
        self.drop_client(&mut self.table(), id, &why);
    }

    /// Notes that a client's connection has ended.
    pub(super) fn forget(&self, id: u64) {
        let mut table = self.table();
        if let Some(client) = table.clients.remove(&id) {
            info!("client {} left", client.name);
            self.ask_for_frames(&table);
        }
    }

    /// Reads from a client and writes to it until it leaves, must go, or all ends; what was queued before that
    /// is still sent. Tells how sending ended, and what reading gave where that ended first.
    pub(super) async fn attend<R>(
        &self,
        id: u64,
        dropped: &Notify,
        reading: impl Future<Output = R>,
        writing: impl Future<Output = Written>,
    ) -> (Written, Option<R>) {
        tokio::pin!(writing);
        let (written, heard) = tokio::select! {
            biased;
            () = dropped.notified() => (Written::Gone, None),
            written = &mut writing => (written, None),
            heard = reading => {
                self.forget(id);
                (writing.await, Some(heard))
            }
            () = self.stopped() => {
                self.forget(id);
                (writing.await, None)
            }
        };
        match written {
            Written::All | Written::Gone => self.forget(id),
            Written::Unread => self.forget_unread(id),
        }
        (written, heard)
    }

    /// Queues a record for everybody who wants its kind; [`Hub::flush`] sends it.
    pub(super) fn fan_out(&self, outgoing: &Outgoing) {
        let mut table = self.table();
        match outgoing.kind {
            None => self.take_header(&mut table, &outgoing.line),
            Some(kind) => {
                if kind == RecordKind::Calibration {
                    table.calibration = outgoing.is_going_on.then(|| outgoing.line.clone());
                }
                if kind == RecordKind::Sample {
                    table.samples.rotate_left(1);
                    table.samples[1] = Some(outgoing.line.clone());
                }
                self.queue_for_all(&mut table, kind, &outgoing.line);
            }
        }
    }

    fn take_header(&self, table: &mut Table, header: &Line) {
        table.header = Some(header.clone());
        let mut full = Vec::new();
        for (&id, client) in &mut table.clients {
            client.awaits_header = false;
            if client.kinds.is_some() && !client.queue(header, self.most_waiting()) {
                full.push(id);
            }
        }
        self.drop_full(table, &full);
    }

    fn drop_full(&self, table: &mut Table, full: &[u64]) {
        for &id in full {
            self.drop_client(table, id, "has no room for an event");
        }
    }

    fn queue_for_all(&self, table: &mut Table, kind: RecordKind, line: &Line) {
        let mut full = Vec::new();
        let most = match kind {
            RecordKind::Picture => self.most_waiting().min(MOST_BEFORE_PICTURE),
            _ => self.most_waiting(),
        };
        for (&id, client) in &mut table.clients {
            if !client.wants(kind) || client.awaits_header || client.queue(line, most) {
                continue;
            }
            match kind {
                RecordKind::Sample => {
                    client.samples_dropped += 1;
                    self.metrics.count(Counter::ClientSamplesDropped);
                }
                RecordKind::Picture => self.metrics.count(Counter::PicturesDropped),
                _ => full.push(id),
            }
        }
        self.drop_full(table, &full);
    }

    /// Sends what was queued, client by client.
    pub(super) fn flush(&self) {
        self.table().clients.values().for_each(Client::flush);
    }

    /// The header and the last two samples, as far as there are: what a client that comes now may
    /// ask about before it is told anything.
    pub(super) fn newest(&self) -> Vec<Line> {
        let table = self.table();
        let samples = table.samples.iter().flatten();
        table.header.iter().chain(samples).cloned().collect()
    }

    /// Whose gaze it is, as the header says.
    pub(super) fn user(&self) -> Option<String> {
        match &self.table().header.as_ref()?.record().record {
            Record::Header(header) => header.user.clone(),
            _ => None,
        }
    }

    /// Notes another scene.
    pub(super) fn show(&self, scene: Arc<SceneTable>) {
        let mut table = self.table();
        table.scene = Some(scene);
        table.scene_change += 1;
    }

    /// The scene, once one was announced.
    pub(super) fn scene(&self) -> Option<Arc<SceneTable>> {
        self.table().scene.clone()
    }

    /// Number of the scene's last change.
    pub(super) fn scene_change(&self) -> u64 {
        self.table().scene_change
    }

    /// Who is connected.
    pub(super) fn clients(&self) -> Vec<ClientStatus> {
        self.table()
            .clients
            .values()
            .map(|client| ClientStatus {
                name: client.name.clone(),
                is_subscribed: client.kinds.is_some(),
                records_waiting: client.n_waiting(),
                samples_dropped: client.samples_dropped,
            })
            .collect()
    }
}

#[cfg(any(test, fuzzing))]
impl Hub {
    /// A hub without a server, and what its clients ask of the tracking stage.
    pub(super) fn alone(
        settings: ServerSettings,
    ) -> (Self, crossbeam_channel::Receiver<ControlRequest>) {
        let (controls, asked) = crossbeam_channel::bounded(8);
        let (paths, _) = crossbeam_channel::bounded(1);
        let (_, stopping) = watch::channel(false);
        let metrics = Arc::new(Metrics::new());
        let hub = Hub::new(settings, metrics, controls, paths, stopping);
        (hub, asked)
    }
}

#[cfg(test)]
mod tests;
