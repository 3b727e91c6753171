//! Why the server cannot start.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::AccessError;

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another gazed answers on the socket.
    #[error(
        "{}: another gazed is running on this socket; stop it, or give this one --socket PATH", path.display()
    )]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is there.
    #[error(
        "{}: exists and is not a socket; remove it, or choose another with --socket PATH", path.display()
    )]
    NotASocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// Unix sockets have short names.
    #[error(
        "{}: a socket's path has at most 107 bytes and this one has {}; choose a shorter one with --socket PATH",
        path.display(), path.as_os_str().len()
    )]
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// Opening the socket failed.
    #[error("{}: cannot open the event socket: {source}; choose another with --socket PATH", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The group does not exist.
    #[error(
        "server.group: there is no group {group:?}; create it with `groupadd --system {group}` or name another"
    )]
    NoSuchGroup {
        /// The name.
        group: String,
    },
    /// The socket cannot be given to the group.
    #[error(
        "{}: cannot give the socket to group {group:?}: {source}; run gazed as a member of it", path.display()
    )]
    SocketGroup {
        /// The socket.
        path: PathBuf,
        /// The group.
        group: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// The page shows a face: not on the network without a token and encryption.
    #[error(
        "server.listen: {address} is not a loopback address, and the page shows the camera picture: that needs {lacks}; or use 127.0.0.1:{} and, from afar, `ssh -L {0}:127.0.0.1:{0}`", address.port()
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
        /// What is missing.
        lacks: &'static str,
    },
    /// Token or TLS.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The port is taken.
    #[error(
        "{address}: the port is taken, perhaps by another gazed; choose another with --listen 127.0.0.1:PORT (0: any free one)"
    )]
    PortInUse {
        /// The address.
        address: SocketAddr,
    },
    /// Opening the port failed.
    #[error("{address}: cannot open the page's port: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// An output is for this machine alone.
    #[error(
        "outputs.{name}: {address} is not a loopback address; this protocol does not ask who connects: use 127.0.0.1:{} and, from afar, `ssh -L {0}:127.0.0.1:{0}`", address.port()
    )]
    OutputNotLoopback {
        /// Its name in the settings.
        name: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The port of an output is taken.
    #[error(
        "outputs.{name}: {address} is taken by another program; stop it or choose another port"
    )]
    OutputPortInUse {
        /// Its name in the settings.
        name: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The port of an output cannot be opened.
    #[error("outputs.{name}: cannot open {address}: {source}")]
    Output {
        /// Its name in the settings.
        name: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// The kernel gives no virtual pointer.
    #[error(
        "outputs.pointer: {source}; `modprobe uinput`, and give /dev/uinput to the group gaze-input (60-gazed.rules) that gazed must be in"
    )]
    Pointer {
        /// The system's words.
        source: std::io::Error,
    },
    /// The runtime failed to start.
    #[error("the server's event loop cannot start: {source}")]
    Runtime {
        /// The system's words.
        source: std::io::Error,
    },
}
