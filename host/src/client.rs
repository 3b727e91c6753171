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

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::record::{RecordKind, TimedRecord};
use crate::server::{NoSocketPath, SocketUse, socket_path};
use crate::watch::{self, WatchError};

/// Why a conversation with the daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no place for a socket.
    #[error(transparent)]
    NoSocketPath(#[from] NoSocketPath),
    /// The daemon cannot be reached, or has gone.
    #[error(transparent)]
    Daemon(#[from] WatchError),
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
        let stream = BufReader::new(watch::connect(&path)?);
        Ok(Client { path, stream })
    }

    /// Asks for these kinds of record; none named means all. The header comes first.
    ///
    /// # Errors
    /// [`ClientError::Connection`].
    pub fn subscribe(&mut self, kinds: &[RecordKind]) -> Result<(), ClientError> {
        self.send(&json!({ "type": "subscribe", "types": kinds }).to_string())
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
