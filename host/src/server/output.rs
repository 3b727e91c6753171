//! What outputs over TCP have in common: a port on loopback, and a conversation with each client.
//!
//! Each client is a client of the fan-out like any other, with its own bounded queue; its
//! [`Dialect`] turns records into the protocol's words and hears what the client says.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::fan_out::{Admission, Hub, KindSet};
use super::listener::next_client;
use super::{OutputSettings, ServerError};
use crate::record::{RecordKind, TimedRecord};

/// How often a dialect that waits for a time looks at the clock.
const TICK: Duration = Duration::from_millis(20);

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    OpenGaze,
    PupilRemote,
    /// Where Pupil's clients subscribe.
    PupilSub,
    /// Where Pupil's clients publish.
    PupilPub,
    EyeTribe,
}

impl Protocol {
    /// As in the settings.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Protocol::OpenGaze => "open_gaze",
            Protocol::PupilRemote | Protocol::PupilSub | Protocol::PupilPub => "pupil",
            Protocol::EyeTribe => "eye_tribe",
        }
    }
}

/// The open port of an output.
#[derive(Debug)]
pub(super) struct OutputPort {
    listener: std::net::TcpListener,
    address: SocketAddr,
    protocol: Protocol,
}

impl OutputPort {
    /// Opens what the settings ask for.
    pub(super) fn bind_all(settings: &OutputSettings) -> Result<Vec<Self>, ServerError> {
        let mut ports = Vec::new();
        if let Some(address) = settings.open_gaze {
            ports.push(OutputPort::bind(Protocol::OpenGaze, address)?);
        }
        if let Some(address) = settings.pupil {
            // The backbone is on the next two ports, or on any where the first may be any.
            for (offset, protocol) in (0..).zip([
                Protocol::PupilRemote,
                Protocol::PupilSub,
                Protocol::PupilPub,
            ]) {
                let port = match address.port() {
                    0 => 0,
                    port => port.saturating_add(offset),
                };
                let address = SocketAddr::new(address.ip(), port);
                ports.push(OutputPort::bind(protocol, address)?);
            }
        }
        if let Some(address) = settings.eye_tribe {
            ports.push(OutputPort::bind(Protocol::EyeTribe, address)?);
        }
        Ok(ports)
    }

    fn bind(protocol: Protocol, address: SocketAddr) -> Result<Self, ServerError> {
        let name = protocol.name();
        if !address.ip().is_loopback() {
            return Err(ServerError::OutputNotLoopback { name, address });
        }
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::AddrInUse => ServerError::OutputPortInUse { name, address },
            _ => ServerError::Output {
                name,
                address,
                source,
            },
        };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(OutputPort {
            listener,
            address,
            protocol,
        })
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listener for the event loop; must be called inside it.
    pub(super) fn into_async(self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.listener)
    }
}

/// Accepts clients for ever. `alive` is held by each connection until it has ended.
pub(super) async fn accept<F>(
    listener: TcpListener,
    name: &'static str,
    alive: mpsc::WeakSender<()>,
    converse: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let (stream, _) = next_client(name, || listener.accept()).await;
        // Records are small and wait for nobody.
        let _ = stream.set_nodelay(true);
        let alive = alive.upgrade();
        let conversation = converse(stream);
        tokio::spawn(async move {
            conversation.await;
            drop(alive);
        });
    }
}

/// A protocol, as spoken with one client. What is put into `out` is sent.
pub(super) trait Dialect: Send {
    /// Takes what the client has sent, in pieces of any length; breaks when the client must go.
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> ControlFlow<()>;

    /// Takes a record.
    fn tell(&mut self, record: &TimedRecord, out: &mut Vec<u8>);

    /// The records that the client is told of, all when none are named; none: nothing at all.
    fn kinds(&self) -> Option<&'static [RecordKind]> {
        Some(&[])
    }

    /// Whether something is to be done at a certain time, so that [`Self::tick`] must be called.
    fn is_waiting(&self) -> bool {
        false
    }

    /// Looks at the clock.
    fn tick(&mut self, _out: &mut Vec<u8>) {}
}

/// How a conversation ended.
enum Ended {
    Gone,
    /// The client took nothing for too long.
    Unread,
}

/// Talks with one client until one of both leaves.
pub(super) async fn converse(
    stream: TcpStream,
    hub: Arc<Hub>,
    name: &'static str,
    mut dialect: impl Dialect,
) {
    let Ok(mut admission) = hub.admit(name) else {
        return;
    };
    let id = admission.id;
    // Clients ask at once for what comes with the first records: their answers are the newest.
    for line in hub.newest() {
        dialect.tell(line.record(), &mut Vec::new());
    }
    if let Some(kinds) = dialect.kinds() {
        hub.subscribe(id, KindSet::of(kinds));
    }
    match talk(stream, &hub, &mut admission, &mut dialect).await {
        Ended::Gone => hub.forget(id),
        Ended::Unread => hub.forget_unread(id),
    }
}

async fn talk(
    stream: TcpStream,
    hub: &Hub,
    admission: &mut Admission,
    dialect: &mut impl Dialect,
) -> Ended {
    let (mut reader, mut writer) = stream.into_split();
    let mut bytes = [0; 4096];
    let mut out = Vec::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stopped = hub.stopped();
    tokio::pin!(stopped);
    loop {
        let mut is_last = false;
        tokio::select! {
            biased;
            () = admission.dropped.notified() => return Ended::Gone,
            () = &mut stopped => return Ended::Gone,
            read = reader.read(&mut bytes) => match read {
                Ok(0) | Err(_) => return Ended::Gone,
                Ok(n) => is_last = dialect.hear(&bytes[..n], &mut out).is_break(),
            },
            line = admission.waiting.recv() => match line {
                Some(line) => dialect.tell(line.record(), &mut out),
                None => return Ended::Gone,
            },
            _ = ticks.tick(), if dialect.is_waiting() => dialect.tick(&mut out),
        }
        if !out.is_empty() {
            let patience = hub.settings.write_timeout;
            tokio::select! {
                biased;
                () = admission.dropped.notified() => return Ended::Gone,
                written = tokio::time::timeout(patience, writer.write_all(&out)) => match written {
                    Err(_) => return Ended::Unread,
                    Ok(Err(_)) => return Ended::Gone,
                    Ok(Ok(())) => out.clear(),
                },
            }
        }
        if is_last {
            return Ended::Gone;
        }
    }
}
