//! Where the event socket is: one rule for the daemon and its clients.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Name of the socket's file.
const FILE: &str = "gazed.sock";

/// Where the system's own service has its socket.
const SERVICE_SOCKET: &str = "/run/gazed/gazed.sock";

/// Who asks for the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketUse {
    /// The daemon, to listen.
    Serve,
    /// A client, to connect.
    Connect,
}

/// Why there is no place for the socket.
#[derive(Debug, thiserror::Error)]
pub enum NoSocketPath {
    /// Somebody else has made the folder, or others may write to it.
    #[error(
        "{}: belongs to another user or is open to others, so it is not used for the event socket; remove it, or set XDG_RUNTIME_DIR or --socket PATH", folder.display()
    )]
    NotPrivate {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be made.
    #[error(
        "{}: cannot be made for the event socket: {source}; set XDG_RUNTIME_DIR or --socket PATH", folder.display()
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// The path of the event socket.
///
/// The first of: `given` (`--socket`); `$RUNTIME_DIRECTORY/gazed.sock` (set by systemd); for a
/// client `/run/gazed/gazed.sock`, if it exists; `$XDG_RUNTIME_DIR/gazed.sock`; and where there
/// is none of these (a container, `su`, cron) `gazed-UID/gazed.sock` in the folder for temporary
/// files, in a folder of mode 0700 that belongs to the user, made on the daemon's behalf.
///
/// # Errors
/// [`NoSocketPath`], only for the last of these.
pub fn socket_path(given: Option<&Path>, asked_by: SocketUse) -> Result<PathBuf, NoSocketPath> {
    let surroundings = Surroundings {
        runtime_directory: std::env::var_os("RUNTIME_DIRECTORY"),
        service_socket: PathBuf::from(SERVICE_SOCKET),
        xdg_runtime_dir: std::env::var_os("XDG_RUNTIME_DIR"),
        temporary: std::env::temp_dir(),
        user: uzers::get_effective_uid(),
    };
    surroundings.socket_path(given, asked_by)
}

/// What the rule looks at.
struct Surroundings {
    runtime_directory: Option<OsString>,
    service_socket: PathBuf,
    xdg_runtime_dir: Option<OsString>,
    temporary: PathBuf,
    user: u32,
}

impl Surroundings {
    fn socket_path(
        &self,
        given: Option<&Path>,
        asked_by: SocketUse,
    ) -> Result<PathBuf, NoSocketPath> {
        if let Some(path) = given {
            return Ok(path.to_path_buf());
        }
        if let Some(folder) = first_folder(self.runtime_directory.as_ref()) {
            return Ok(folder.join(FILE));
        }
        if asked_by == SocketUse::Connect && self.service_socket.exists() {
            return Ok(self.service_socket.clone());
        }
        if let Some(folder) = first_folder(self.xdg_runtime_dir.as_ref()) {
            return Ok(folder.join(FILE));
        }
        self.temporary_path(asked_by)
    }

    fn temporary_path(&self, asked_by: SocketUse) -> Result<PathBuf, NoSocketPath> {
        let folder = self.temporary.join(format!("gazed-{}", self.user));
        if asked_by == SocketUse::Serve && fs::symlink_metadata(&folder).is_err() {
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&folder)
                .map_err(|source| NoSocketPath::Folder {
                    folder: folder.clone(),
                    source,
                })?;
        }
        // Anybody may make files in the temporary folder: a socket of somebody else's making is
        // neither used nor connected to.
        match fs::symlink_metadata(&folder) {
            Ok(found)
                if !found.is_dir() || found.uid() != self.user || found.mode() & 0o077 != 0 =>
            {
                Err(NoSocketPath::NotPrivate { folder })
            }
            _ => Ok(folder.join(FILE)),
        }
    }
}

/// The first of a list of folders (systemd separates them by colons); only absolute ones count.
fn first_folder(list: Option<&OsString>) -> Option<PathBuf> {
    let first = std::env::split_paths(list?).next()?;
    first.is_absolute().then_some(first)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::server::tests::Folder;

    fn bare(folder: &Folder) -> Surroundings {
        Surroundings {
            runtime_directory: None,
            service_socket: folder.0.join("service.sock"),
            xdg_runtime_dir: None,
            temporary: folder.0.clone(),
            user: uzers::get_effective_uid(),
        }
    }

    #[test]
    fn the_first_place_that_is_named_counts() {
        let folder = Folder::new("places");
        let path = |surroundings: &Surroundings, given: Option<&str>, asked_by| {
            surroundings
                .socket_path(given.map(Path::new), asked_by)
                .unwrap()
        };
        let mut around = bare(&folder);
        around.xdg_runtime_dir = Some("/run/user/1000".into());
        for asked_by in [SocketUse::Serve, SocketUse::Connect] {
            let found = path(&around, None, asked_by);
            assert_eq!(found, Path::new("/run/user/1000/gazed.sock"));
        }
        fs::write(&around.service_socket, "").unwrap();
        let found = path(&around, None, SocketUse::Connect);
        assert_eq!(found, around.service_socket);
        let found = path(&around, None, SocketUse::Serve);
        assert_eq!(found, Path::new("/run/user/1000/gazed.sock"));
        around.runtime_directory = Some("/run/gazed:/run/other".into());
        let found = path(&around, None, SocketUse::Connect);
        assert_eq!(found, Path::new("/run/gazed/gazed.sock"));
        let found = path(&around, Some("here.sock"), SocketUse::Serve);
        assert_eq!(found, Path::new("here.sock"));
    }

    #[test]
    fn without_any_the_daemon_makes_a_private_folder_that_clients_find() {
        let folder = Folder::new("private");
        let around = bare(&folder);
        let served = around.socket_path(None, SocketUse::Serve).unwrap();
        let parent = served.parent().unwrap();
        assert_eq!(fs::metadata(parent).unwrap().mode() & 0o777, 0o700);
        let sought = around.socket_path(None, SocketUse::Connect).unwrap();
        assert_eq!(served, sought);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let folder = Folder::new("open");
        let around = bare(&folder);
        let served = around.socket_path(None, SocketUse::Serve).unwrap();
        let parent = served.parent().unwrap();
        fs::set_permissions(parent, fs::Permissions::from_mode(0o777)).unwrap();
        for asked_by in [SocketUse::Serve, SocketUse::Connect] {
            let refused = around.socket_path(None, asked_by).unwrap_err();
            assert!(matches!(refused, NoSocketPath::NotPrivate { .. }));
        }
    }
}
