//! A line to a program on the same machine: a terminal under a name that stays.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fchmod, fchown, fcntl_setfl};
use rustix::process::Gid;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// The near end of the terminal.
pub struct Terminal {
    near: OwnedFd,
    /// Held so that the near end does not fail while nobody is there.
    _far: OwnedFd,
}

impl Terminal {
    /// Makes a terminal that carries bytes as they are, and a link to it at `name`, for `group`.
    pub fn open(name: &Path, group: Option<&str>) -> Result<Terminal> {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)
            .context("the system gives no terminal")?;
        // The device never waits.
        fcntl_setfl(&near, OFlags::NONBLOCK)?;
        grantpt(&near)?;
        unlockpt(&near)?;
        let path = ptsname(&near, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let far = rustix::fs::open(path.as_c_str(), flags, Mode::empty())?;
        let mut settings = tcgetattr(&far)?;
        settings.make_raw();
        tcsetattr(&far, OptionalActions::Now, &settings)?;
        if let Some(group) = group {
            let gid = gid_of(group)?;
            fchown(&far, None, Some(gid)).with_context(|| format!("group {group}"))?;
            fchmod(&far, Mode::from_raw_mode(0o660))?;
        }
        // What an earlier one left.
        if name.is_symlink() {
            fs::remove_file(name)?;
        }
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        std::os::unix::fs::symlink(path, name)
            .with_context(|| format!("cannot make {}", name.display()))?;
        Ok(Terminal { near, _far: far })
    }

    /// Waits for bytes beside the device that owns the terminal.
    pub fn waiter(&self) -> Result<Waiter> {
        Ok(Waiter(self.near.try_clone()?))
    }
}

/// The number of a group, as `/etc/group` has it.
fn gid_of(group: &str) -> Result<Gid> {
    let groups = fs::read_to_string("/etc/group").context("cannot read /etc/group")?;
    let line = groups
        .lines()
        .find_map(|line| line.strip_prefix(group)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split(':').nth(1)?.parse().ok());
    number
        .map(Gid::from_raw)
        .with_context(|| format!("there is no group {group}"))
}

/// Waits for bytes.
pub struct Waiter(OwnedFd);

impl Waiter {
    /// Until a byte comes, or for this long.
    pub fn wait(&self, longest: Duration) -> Result<()> {
        is_ready(&self.0, PollFlags::IN, longest)?;
        Ok(())
    }
}

fn is_ready(terminal: &OwnedFd, what: PollFlags, longest: Duration) -> io::Result<bool> {
    let mut wanted = [PollFd::new(terminal, what)];
    let longest = Timespec {
        tv_sec: 0,
        tv_nsec: longest.subsec_nanos().into(),
    };
    match poll(&mut wanted, Some(&longest)) {
        Ok(_) => Ok(wanted[0].revents().contains(what)),
        // A signal; whoever waits looks at its flag.
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl ErrorType for Terminal {
    type Error = io::Error;
}

impl ReadReady for Terminal {
    fn read_ready(&mut self) -> io::Result<bool> {
        is_ready(&self.near, PollFlags::IN, Duration::ZERO)
    }
}

impl Read for Terminal {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.near, bytes)?)
    }
}

impl WriteReady for Terminal {
    fn write_ready(&mut self) -> io::Result<bool> {
        is_ready(&self.near, PollFlags::OUT, Duration::ZERO)
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::io::write(&self.near, bytes) {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(n) => Ok(n),
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
