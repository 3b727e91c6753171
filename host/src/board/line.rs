//! A serial port as raw bytes.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serial2::SerialPort;

/// Speed of a port that has one; USB ports ignore it.
const BAUD: u32 = 115_200;

/// Longest wait for bytes, and so the longest that anything else waits for the reader.
const PATIENCE: Duration = Duration::from_millis(5);

/// Bytes that may wait for a board that does not read.
const MAX_WAITING_BYTES: usize = 4096;

/// Where the udev rule of the package puts the board.
const UDEV_NAME: &str = "/dev/gazed-board";

/// Why a port cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// No board was found.
    #[error(
        "no board found: {UDEV_NAME} is not there and no port in /dev/serial/by-id is a gazed board; \
         plug it in, or name its port (`--port /dev/ttyACM0`, [board] port); \
         `gazed board flash-help` says how to make one"
    )]
    NoBoard,
    /// The port cannot be opened.
    #[error(
        "{}: cannot be opened: {source}; serial ports belong to the group `dialout`: \
         run `sudo usermod -aG dialout $USER` and log in again", path.display()
    )]
    Permission {
        /// The port.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Opening or setting up failed.
    #[error("{}: cannot be used as a serial port: {source}", path.display())]
    Open {
        /// The port.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Another program has the port.
    #[error("{}: in use by another program; close that program", path.display())]
    Busy {
        /// The port.
        path: PathBuf,
    },
    /// The port went away.
    #[error("{}: the board was unplugged", path.display())]
    Gone {
        /// The port.
        path: PathBuf,
    },
    /// The board takes no bytes.
    #[error("{}: the board does not read", path.display())]
    Stuck {
        /// The port.
        path: PathBuf,
    },
}

/// The board's port: the one that the udev rule names, else the first whose USB name says so.
pub fn find_port() -> Option<PathBuf> {
    let named = PathBuf::from(UDEV_NAME);
    if named.exists() {
        return Some(named);
    }
    let ports = std::fs::read_dir("/dev/serial/by-id").ok()?;
    let mut ours: Vec<PathBuf> = ports
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().contains("gazed_board"))
        .collect();
    ours.sort();
    ours.into_iter().next()
}

/// An open port.
#[derive(Debug)]
pub struct SerialLine {
    port: SerialPort,
    /// Holds the lock that keeps a second gazed away.
    _lock: File,
    path: PathBuf,
    waiting: Vec<u8>,
}

impl SerialLine {
    /// Opens a terminal device and makes it carry bytes as they are.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn open(path: &Path) -> Result<Self, LineError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => LineError::Permission {
                path: path.to_owned(),
                source,
            },
            io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock => LineError::Busy {
                path: path.to_owned(),
            },
            _ => LineError::Open {
                path: path.to_owned(),
                source,
            },
        };
        let mut port = SerialPort::open(path, BAUD).map_err(failed)?;
        port.set_read_timeout(PATIENCE).map_err(failed)?;
        port.set_write_timeout(Duration::ZERO).map_err(failed)?;
        // Two programs on one port would each hear half.
        let lock = File::from(port.as_fd().try_clone_to_owned().map_err(failed)?);
        lock.try_lock().map_err(|error| failed(error.into()))?;
        port.discard_buffers().map_err(failed)?;
        Ok(SerialLine {
            port,
            _lock: lock,
            path: path.to_owned(),
            waiting: Vec::new(),
        })
    }

    /// Adds the bytes that have come to `bytes`; waits a few milliseconds for the first.
    ///
    /// # Errors
    /// [`LineError::Gone`].
    pub fn read(&mut self, bytes: &mut Vec<u8>) -> Result<(), LineError> {
        let mut some = [0; 1024];
        match self.port.read(&mut some) {
            Ok(0) => Err(self.gone()),
            Ok(n) => {
                bytes.extend_from_slice(&some[..n]);
                Ok(())
            }
            Err(error) if is_for_later(&error) => Ok(()),
            Err(_) => Err(self.gone()),
        }
    }

    /// Sends `bytes` and those that still wait, as many as the port takes.
    ///
    /// # Errors
    /// [`LineError::Gone`]; [`LineError::Stuck`] when too many wait.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), LineError> {
        self.waiting.extend_from_slice(bytes);
        while !self.waiting.is_empty() {
            match self.port.write(&self.waiting) {
                Ok(n) => {
                    self.waiting.drain(..n);
                }
                Err(error) if is_for_later(&error) => break,
                Err(_) => return Err(self.gone()),
            }
        }
        if self.waiting.len() > MAX_WAITING_BYTES {
            let path = self.path.clone();
            return Err(LineError::Stuck { path });
        }
        Ok(())
    }

    fn gone(&self) -> LineError {
        LineError::Gone {
            path: self.path.clone(),
        }
    }
}

/// Nothing has come, or nothing more can go, at present.
fn is_for_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
