//! Opens the page's port and the event socket, closes them cleanly, and accepts clients.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use tokio_rustls::rustls::ServerConfig;
use tracing::warn;

use super::access::{self, Gate};
use super::{AccessSettings, ServerError};

/// Readable and writable for the owner and the group.
const SOCKET_MODE: u32 = 0o660;

/// Longest path of a Unix socket: `sun_path` has 108 bytes on Linux, one of them the final zero.
const MAX_SOCKET_PATH: usize = 107;

/// Pause after a failed accept, so that running out of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The next client of `name`, however often `accept` fails before.
pub(super) async fn next_client<T, F>(name: &str, accept: impl Fn() -> F) -> T
where
    F: Future<Output = io::Result<T>>,
{
    loop {
        match accept().await {
            Ok(connection) => return connection,
            Err(error) => {
                warn!("a client of {name} could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The open port of the page.
#[derive(Debug)]
pub(super) struct PageListener {
    listener: std::net::TcpListener,
    door: PageDoor,
}

/// How the page's port is guarded.
#[derive(Debug)]
pub(super) struct PageDoor {
    pub(super) address: SocketAddr,
    pub(super) gate: Option<Gate>,
    pub(super) tls: Option<Arc<ServerConfig>>,
}

impl PageListener {
    pub(super) fn bind(address: SocketAddr, access: &AccessSettings) -> Result<Self, ServerError> {
        if !address.ip().is_loopback()
            && let Some(lacks) = access.lacks()
        {
            return Err(ServerError::NotLoopback { address, lacks });
        }
        let tls = access.tls.as_ref().map(access::tls).transpose()?;
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::AddrInUse => ServerError::PortInUse { address },
            _ => ServerError::Listen { address, source },
        };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let token_file = access.token_file.as_deref();
        let gate = token_file
            .map(|path| Gate::load(path, address.port(), tls.is_some()))
            .transpose()?;
        Ok(PageListener {
            listener,
            door: PageDoor { address, gate, tls },
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.door.address
    }

    /// The listener for the event loop, and how it is guarded; must be called inside the loop.
    pub(super) fn into_async(self) -> io::Result<(PageDoor, tokio::net::TcpListener)> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        Ok((self.door, listener))
    }
}

/// The open event socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketListener {
    listener: std::os::unix::net::UnixListener,
    file: SocketFile,
}

impl SocketListener {
    pub(super) fn bind(path: &Path, group: Option<&str>) -> Result<Self, ServerError> {
        let path = path.to_path_buf();
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(ServerError::SocketPathTooLong { path });
        }
        let group = group
            .map(|name| {
                uzers::get_group_by_name(name)
                    .map(|group| (name, group.gid()))
                    .ok_or_else(|| ServerError::NoSuchGroup { group: name.into() })
            })
            .transpose()?;
        let failed = |source| ServerError::Socket {
            path: path.clone(),
            source,
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        clear_the_way(&path)?;
        let listener = std::os::unix::net::UnixListener::bind(&path).map_err(failed)?;
        let file = SocketFile::at(&path).map_err(failed)?;
        if let Some((name, gid)) = group {
            std::os::unix::fs::chown(&path, None, Some(gid)).map_err(|source| {
                ServerError::SocketGroup {
                    path: path.clone(),
                    group: name.into(),
                    source,
                }
            })?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(SocketListener { listener, file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    /// The listener for the event loop, and its file; must be called inside the loop.
    pub(super) fn into_async(self) -> io::Result<(tokio::net::UnixListener, SocketFile)> {
        let listener = tokio::net::UnixListener::from_std(self.listener)?;
        Ok((listener, self.file))
    }
}

/// Removes the socket file of a dead daemon; refuses a living one and anything that is no socket.
fn clear_the_way(path: &Path) -> Result<(), ServerError> {
    let failed = |source| ServerError::Socket {
        path: path.to_path_buf(),
        source,
    };
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed)?,
    };
    if !found.file_type().is_socket() {
        return Err(ServerError::NotASocket {
            path: path.to_path_buf(),
        });
    }
    match UnixStream::connect(path) {
        // Nobody listens: left behind by a daemon that was killed.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(failed(error)),
        _ => Err(ServerError::SocketInUse {
            path: path.to_path_buf(),
        }),
    }
}

/// The socket's file; removed on drop, unless another daemon has put its own in place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(SocketFile {
            path: path.to_path_buf(),
            identity: identity(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // A socket file that stays behind is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::Folder;

    #[test]
    fn the_socket_is_for_owner_and_group_and_goes_with_its_listener() {
        let folder = Folder::new("mode");
        let path = folder.0.join("deeper").join("gazed.sock");
        let listener = SocketListener::bind(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
        assert_eq!(listener.path(), path);
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_living_socket_is_refused_and_goes_on_living() {
        let folder = Folder::new("live");
        let path = folder.0.join("gazed.sock");
        let _listener = SocketListener::bind(&path, None).unwrap();
        let refused = SocketListener::bind(&path, None).unwrap_err();
        assert!(matches!(refused, ServerError::SocketInUse { .. }));
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn the_socket_of_a_dead_daemon_is_replaced() {
        let folder = Folder::new("stale");
        let path = folder.0.join("gazed.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _listener = SocketListener::bind(&path, None).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn the_socket_of_a_successor_is_left_alone() {
        let folder = Folder::new("successor");
        let path = folder.0.join("gazed.sock");
        let first = SocketListener::bind(&path, None).unwrap();
        fs::rename(&path, folder.0.join("moved")).unwrap();
        let _second = SocketListener::bind(&path, None).unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let folder = Folder::new("way");
        let path = folder.0.join("gazed.sock");
        fs::write(&path, "notes").unwrap();
        let refused = SocketListener::bind(&path, None).unwrap_err();
        assert!(matches!(refused, ServerError::NotASocket { .. }));
        assert_eq!(fs::read(&path).unwrap(), b"notes");
        let long = folder.0.join("x".repeat(120));
        let refused = SocketListener::bind(&long, None).unwrap_err();
        assert!(matches!(refused, ServerError::SocketPathTooLong { .. }));
        let refused = SocketListener::bind(&folder.0.join("s"), Some("no-such-group-here"));
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("groupadd --system no-such-group-here")
        );
    }

    #[test]
    fn the_page_is_for_this_machine_alone_and_its_port_for_one_daemon() {
        let open = AccessSettings::default();
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 7880));
        let refused = PageListener::bind(everywhere, &open).unwrap_err();
        let words = refused.to_string();
        for part in [
            "ssh -L 7880:127.0.0.1:7880",
            "server.token_file and server.tls",
        ] {
            assert!(words.contains(part), "{words}");
        }
        let half = AccessSettings {
            token_file: Some("/nowhere".into()),
            tls: None,
        };
        let refused = PageListener::bind(everywhere, &half).unwrap_err();
        assert!(refused.to_string().contains("needs server.tls"));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = PageListener::bind(any, &open).unwrap();
        let refused = PageListener::bind(first.address(), &open).unwrap_err();
        assert!(matches!(refused, ServerError::PortInUse { .. }));
    }
}
