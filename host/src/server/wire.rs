//! A plain connection of the page's port that the fan-out itself writes to.
//!
//! A task that wakes for every record costs each client more than the record: so the fan-out writes to
//! the connection as records come, a whole WebSocket frame at once. Only what the client has no room for
//! waits, and for that alone its task wakes. What HTTP and the WebSocket library write (answers, `pong`)
//! goes the same way, in order, so that no frame ever lies within another.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use super::fan_out::Written;

/// The writing half of a connection, and what waits for it.
#[derive(Debug)]
pub(super) struct Wire {
    writer: OwnedWriteHalf,
    waiting: Mutex<Waiting>,
    /// Wakes the task that writes what is left over.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    pieces: VecDeque<Bytes>,
    /// Bytes of the first piece that are written.
    n_written: usize,
    /// Nothing more will come.
    is_ended: bool,
}

/// What became of the pieces that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flushed {
    All,
    /// The client has no room for the rest.
    Blocked,
    Gone,
}

/// The connection for HTTP and the WebSocket library.
#[derive(Debug)]
pub(super) struct WireStream {
    reader: OwnedReadHalf,
    wire: Arc<Wire>,
}

impl Wire {
    pub(super) fn of(stream: TcpStream) -> (WireStream, Arc<Wire>) {
        let (reader, writer) = stream.into_split();
        let wire = Arc::new(Wire {
            writer,
            waiting: Mutex::default(),
            changed: Notify::new(),
        });
        let stream = WireStream {
            reader,
            wire: Arc::clone(&wire),
        };
        (stream, wire)
    }

    /// Adds a piece, to be written with [`Wire::flush`]; says whether there was room for it among `most`.
    pub(super) fn push(&self, piece: Bytes, most: usize) -> bool {
        if self.n_waiting() >= most {
            self.flush();
        }
        let mut waiting = self.waiting();
        let has_room = waiting.pieces.len() < most;
        if has_room {
            waiting.pieces.push_back(piece);
        }
        has_room
    }

    /// Writes what the client has room for; wakes the task for the rest.
    pub(super) fn flush(&self) {
        if self.write_waiting() != Flushed::All {
            self.changed.notify_one();
        }
    }

    /// Pieces that are not wholly written.
    pub(super) fn n_waiting(&self) -> usize {
        self.waiting().pieces.len()
    }

    /// Nothing more will come from the fan-out.
    pub(super) fn end(&self) {
        self.waiting().is_ended = true;
        self.changed.notify_one();
    }

    /// Writes what is left over, until [`Wire::end`] and all is written, or the client takes nothing for
    /// as long as `patience`.
    pub(super) async fn drain(&self, patience: Duration) -> Written {
        loop {
            match self.write_waiting() {
                Flushed::All if self.waiting().is_ended => return Written::All,
                Flushed::All => self.changed.notified().await,
                Flushed::Blocked => {
                    let writable = tokio::time::timeout(patience, self.writer.writable());
                    if writable.await.is_err() {
                        return Written::Unread;
                    }
                }
                Flushed::Gone => return Written::Gone,
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Whole after every statement.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_waiting(&self) -> Flushed {
        let mut waiting = self.waiting();
        while !waiting.pieces.is_empty() {
            match waiting.write(&self.writer) {
                Ok(n) => waiting.take_off(n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Flushed::Blocked,
                Err(_) => return Flushed::Gone,
            }
        }
        Flushed::All
    }

    /// For those who ask again: ready when nothing waits.
    fn poll_written(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.write_waiting() {
                Flushed::All => return Poll::Ready(Ok(())),
                Flushed::Blocked => ready!(self.writer.as_ref().poll_write_ready(cx))?,
                Flushed::Gone => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            }
        }
    }
}

impl Waiting {
    /// Writes the first piece, alone: several in one call were no sooner with a thousand readers. A larger segment
    /// makes their system put off acknowledging the usual ones, and that is paid for 40 ms later.
    fn write(&self, writer: &OwnedWriteHalf) -> io::Result<usize> {
        writer.try_write(&self.pieces[0][self.n_written..])
    }

    fn take_off(&mut self, n: usize) {
        self.n_written += n;
        if self.n_written == self.pieces[0].len() {
            self.n_written = 0;
            self.pieces.pop_front();
        }
    }
}

impl AsyncRead for WireStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buffer)
    }
}

impl AsyncWrite for WireStream {
    /// Takes all or nothing, and nothing while something waits.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.wire.poll_written(cx))?;
        let piece = Bytes::copy_from_slice(bytes);
        self.wire.waiting().pieces.push_back(piece);
        self.wire.flush();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_written(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The writing half closes the connection when nobody holds it any more.
        self.wire.poll_written(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (WireStream, Arc<Wire>, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (stream, wire) = Wire::of(accepted.unwrap().0);
        (stream, wire, client.unwrap())
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn what_the_client_has_room_for_is_written_at_once() {
        run(async {
            let (_stream, wire, mut client) = pair().await;
            for piece in [&b"one "[..], b"two ", b"three"] {
                assert!(wire.push(Bytes::from_static(piece), 3));
            }
            assert!(wire.n_waiting() == 3);
            wire.flush();
            assert_eq!(wire.n_waiting(), 0);
            let mut heard = [0; 13];
            client.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"one two three");
        });
    }

    #[test]
    fn pieces_stay_whole_and_in_order_when_the_client_is_slow() {
        run(async {
            let (mut stream, wire, mut client) = pair().await;
            let mut sent = Vec::new();
            let mut n_pieces = 0;
            // More than the system holds for a client that does not read.
            while wire.push(Bytes::from(vec![n_pieces; 100_000]), 100) {
                sent.extend(vec![n_pieces; 100_000]);
                n_pieces += 1;
            }
            assert!(n_pieces > 100);
            assert_eq!(wire.n_waiting(), 100);
            let writing = async {
                // As the WebSocket library answers a ping.
                stream.write_all(b"pong").await.unwrap();
                wire.end();
            };
            let draining = wire.drain(Duration::from_secs(60));
            let mut heard = Vec::new();
            let reading = async {
                let mut buffer = vec![0; 50_000];
                while heard.len() < sent.len() + 4 {
                    let n = client.read(&mut buffer).await.unwrap();
                    assert!(n > 0);
                    heard.extend_from_slice(&buffer[..n]);
                }
            };
            let (written, (), ()) = tokio::join!(draining, writing, reading);
            assert!(matches!(written, Written::All));
            sent.extend(b"pong");
            assert!(heard == sent);
        });
    }

    #[test]
    fn patience_with_a_client_that_takes_nothing_ends() {
        run(async {
            let (_stream, wire, client) = pair().await;
            while wire.push(Bytes::from(vec![0; 100_000]), 2) {}
            let written = wire.drain(Duration::from_millis(1)).await;
            assert!(matches!(written, Written::Unread));
            drop(client);
            let written = wire.drain(Duration::from_secs(60)).await;
            assert!(matches!(written, Written::Gone));
        });
    }
}
