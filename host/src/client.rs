//! A Rust program's way to a running daemon's event socket.
//!
//! ```no_run
//! use gaze_host::client::Client;
//! use gaze_host::record::{Record, RecordKind};
//!
//! # fn main() -> Result<(), gaze_host::client::ClientError> {
//! let mut client = Client::connect(None)?;
//! client.subscribe(&[RecordKind::Fixation])?;
//! for record in client {
//!     if let Record::Fixation(fixation) = record?.record {
//!         println!("{} µs at {:?}", fixation.offset_us - fixation.onset_us, fixation.por);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::record::{RecordKind, TimedRecord};
use crate::server::{NoSocketPath, SocketUse, socket_path};

/// Why there is no connection to the daemon.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens.
    #[error(
        "{}: no gazed is running here; start one with `gazed run`, or name its socket with --socket PATH", path.display()
    )]
    NoDaemon {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is not for this user.
    #[error(
        "{}: permission denied; the socket is for the members of its group: `sudo usermod -aG {} $USER`, then log in again", path.display(), crate::server::SERVICE_GROUP
    )]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// Connecting failed for another reason.
    #[error("{}: cannot connect: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// Connects to the daemon's socket.
///
/// # Errors
/// [`ConnectError`]: nobody there, not allowed, or the system's reason.
pub fn connect(path: &Path) -> Result<UnixStream, ConnectError> {
    UnixStream::connect(path).map_err(|source| {
        let path = path.to_path_buf();
        match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ConnectError::NoDaemon { path },
            ErrorKind::PermissionDenied => ConnectError::Forbidden { path },
            _ => ConnectError::Connect { path, source },
        }
    })
}

/// The message that asks for these kinds of record; none named means all.
///
/// # Panics
/// Never: kinds are plain names.
pub fn subscription(kinds: &[RecordKind]) -> String {
    /// In the order in which it is written.
    #[derive(Serialize)]
    struct Subscribe<'a> {
        r#type: &'static str,
        types: &'a [RecordKind],
    }
    let message = Subscribe {
        r#type: "subscribe",
        types: kinds,
    };
    serde_json::to_string(&message).expect("kinds are plain names")
}

/// Why a conversation with the daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no place for a socket.
    #[error(transparent)]
    NoSocketPath(#[from] NoSocketPath),
    /// The daemon cannot be reached.
    #[error(transparent)]
    Daemon(#[from] ConnectError),
    /// The connection broke.
    #[error("{}: the connection to gazed broke: {source}", path.display())]
    Connection {
        /// The socket.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The daemon is newer than this program.
    #[error("gazed sent a record that this program does not know: {source}; use the same version")]
    UnknownRecord {
        /// What was not understood.
        source: serde_json::Error,
    },
}

/// A connection; an iterator of records, which waits for the next and ends when the daemon stops.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to `socket`, or to where the daemon usually is (see [`socket_path`]).
    ///
    /// # Errors
    /// [`ClientError::Daemon`]: nobody there, or not allowed.
    pub fn connect(socket: Option<&Path>) -> Result<Self, ClientError> {
        let path = socket_path(socket, SocketUse::Connect)?;
        let stream = BufReader::new(connect(&path)?);
        Ok(Client { path, stream })
    }

    /// Asks for these kinds of record; none named means all. The header comes first.
    ///
    /// # Errors
    /// [`ClientError::Connection`].
    pub fn subscribe(&mut self, kinds: &[RecordKind]) -> Result<(), ClientError> {
        self.send(&subscription(kinds))
    }

    /// Lets the iterator wait no longer than this for a record; then it gives an error.
    ///
    /// # Errors
    /// [`ClientError::Connection`].
    pub fn wait_at_most(&self, time: Duration) -> Result<(), ClientError> {
        let stream = self.stream.get_ref();
        stream
            .set_read_timeout(Some(time))
            .map_err(|source| ClientError::Connection {
                path: self.path.clone(),
                source,
            })
    }

    /// Sends a message as [`crate::server`] describes them: `scene`, `scene_update`, `time`.
    ///
    /// # Errors
    /// [`ClientError::Connection`].
    pub fn send(&mut self, message: &str) -> Result<(), ClientError> {
        let stream = self.stream.get_mut();
        writeln!(stream, "{message}").map_err(|source| ClientError::Connection {
            path: self.path.clone(),
            source,
        })
    }
}

impl Iterator for Client {
    type Item = Result<TimedRecord, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            // Closed, perhaps in the middle of a line.
            Ok(_) if !line.ends_with('\n') => None,
            Ok(_) => Some(
                serde_json::from_str(&line).map_err(|source| ClientError::UnknownRecord { source }),
            ),
            Err(source) => Some(Err(ClientError::Connection {
                path: self.path.clone(),
                source,
            })),
        }
    }
}
