//! The Unix socket: JSON Lines in both directions.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::MAX_MESSAGE_BYTES;
use super::fan_out::{Hub, Line, Written};
use super::listener::next_client;
use super::session::ClientSession;

/// How often a client that has closed its sending half is asked whether it is still there.
const PRESENCE_PERIOD: Duration = Duration::from_secs(1);

/// Accepts clients for ever. `alive` is held by each connection until it has ended.
pub(super) async fn accept(listener: UnixListener, hub: Arc<Hub>, alive: mpsc::Sender<()>) {
    loop {
        let (stream, _) = next_client("the event socket", || listener.accept()).await;
        let hub = Arc::clone(&hub);
        let alive = alive.clone();
        tokio::spawn(async move {
            connection(stream, hub).await;
            drop(alive);
        });
    }
}

async fn connection(mut stream: UnixStream, hub: Arc<Hub>) {
    let Ok(mut admission) = hub.admit("socket") else {
        let full = hub.fullness();
        let _ = stream.try_write(Line::error(full).bytes());
        let _ = stream.shutdown().await;
        return;
    };
    let id = admission.id;
    let (reader, writer) = stream.into_split();
    let patience = hub.settings.write_timeout;
    let reading = read(reader, ClientSession::on_socket(Arc::clone(&hub), id));
    let writing = write(writer, &mut admission.waiting, patience);
    hub.attend(id, &admission.dropped, reading, writing).await;
}

/// Reads messages until the client has closed the connection or must go.
async fn read(reader: OwnedReadHalf, mut session: ClientSession) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = MAX_MESSAGE_BYTES as u64 + 1;
        match (&mut reader).take(limit).read_until(b'\n', &mut line).await {
            Ok(0) => break,
            Ok(_) if line.len() > MAX_MESSAGE_BYTES => return session.hear_oversize(),
            Ok(_) => {
                if let ControlFlow::Break(()) = session.hear(&line).await {
                    return;
                }
            }
            Err(_) => return,
        }
    }
    // The client has said all it will say (`echo … | nc -U`); it may go on reading.
    let stream = reader.into_inner();
    while stream
        .ready(Interest::WRITABLE)
        .await
        .is_ok_and(|ready| !ready.is_write_closed())
    {
        tokio::time::sleep(PRESENCE_PERIOD).await;
    }
}

/// Sends what is queued until the queue is closed.
async fn write(
    mut writer: OwnedWriteHalf,
    waiting: &mut mpsc::Receiver<Line>,
    patience: Duration,
) -> Written {
    while let Some(line) = waiting.recv().await {
        let mut rest = line.bytes();
        while !rest.is_empty() {
            match tokio::time::timeout(patience, writer.write(rest)).await {
                Err(_) => return Written::Unread,
                Ok(Err(_)) => return Written::Gone,
                Ok(Ok(n)) => rest = &rest[n..],
            }
        }
    }
    let _ = writer.shutdown().await;
    Written::All
}
