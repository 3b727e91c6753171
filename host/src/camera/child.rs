//! A child process whose standard output carries frames.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use super::error::StreamFault;
use super::{CameraError, StopFlag};

/// Longest wait between two looks at the stop flag.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// How long a child may take to end once its output has ended.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// Longest line of stderr that is kept.
const MAX_LINE_BYTES: usize = 16 << 10;

/// What becomes of the lines that the child writes to stderr.
pub(super) trait StderrLines {
    /// Takes one line, without its line break.
    fn line(&mut self, line: &str);

    /// The last line that may tell why the child died.
    fn last_words(&self) -> &str;
}

/// Keeps the last line that says something.
#[derive(Debug, Default)]
pub(super) struct LastLine(String);

impl StderrLines for LastLine {
    fn line(&mut self, line: &str) {
        if !line.trim().is_empty() {
            self.0.clear();
            self.0.push_str(line.trim());
        }
    }

    fn last_words(&self) -> &str {
        &self.0
    }
}

/// Why reading ended, when it was not the end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interruption {
    Stopped,
    TimedOut,
}

/// A running child. Reading waits for its output, empties its stderr meanwhile, and gives up when
/// the stop flag is raised or nothing comes for too long. Dropping it kills it.
pub(super) struct ChildStream<L> {
    program: String,
    child: Child,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    partial_line: Vec<u8>,
    lines: L,
    stop: StopFlag,
    timeout: Duration,
    interruption: Option<Interruption>,
}

impl<L: StderrLines> ChildStream<L> {
    /// Starts the program.
    pub(super) fn start(
        program: &str,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        lines: L,
        stop: StopFlag,
        timeout: Duration,
    ) -> Result<Self, CameraError> {
        let fault = |source| CameraError::CommandStart {
            program: program.to_owned(),
            source,
        };
        let mut child = Command::new(program)
            .args(arguments)
            .env("AV_LOG_FORCE_NOCOLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own process group: Ctrl-C in the terminal is for us, and we end the child.
            .process_group(0)
            .spawn()
            .map_err(fault)?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take();
        Ok(ChildStream {
            program: program.to_owned(),
            child,
            stdout,
            stderr,
            partial_line: Vec::new(),
            lines,
            stop,
            timeout,
            interruption: None,
        })
    }

    /// Whether somebody wants it to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_raised()
    }

    /// What was made of the child's stderr so far.
    pub(super) fn lines(&mut self) -> &mut L {
        &mut self.lines
    }

    /// Waits for output on stderr, or its end, and takes it. False when nothing came in time.
    pub(super) fn pump_stderr(&mut self, wait: Duration) -> bool {
        let Some(stderr) = &mut self.stderr else {
            return false;
        };
        let mut fds = [PollFd::new(stderr, PollFlags::IN)];
        if !matches!(poll(&mut fds, Some(&timespec(wait))), Ok(1..)) {
            return false;
        }
        let mut bytes = [0; 4096];
        match stderr.read(&mut bytes) {
            Ok(0) => {
                self.stderr = None;
                let rest = std::mem::take(&mut self.partial_line);
                if !rest.is_empty() {
                    self.lines.line(&String::from_utf8_lossy(&rest));
                }
            }
            Ok(count) => self.take_lines(&bytes[..count]),
            Err(_) => self.stderr = None,
        }
        true
    }

    fn take_lines(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n' || byte == b'\r') {
            match piece.split_last() {
                Some((b'\n' | b'\r', text)) => {
                    self.partial_line.extend_from_slice(text);
                    self.lines
                        .line(&String::from_utf8_lossy(&self.partial_line));
                    self.partial_line.clear();
                }
                _ if self.partial_line.len() < MAX_LINE_BYTES => {
                    self.partial_line.extend_from_slice(piece);
                }
                _ => {}
            }
        }
    }

    /// What an error or the end of the stream means. None: the child ended well, or was told to.
    pub(super) fn explain(&mut self, error: Option<io::Error>) -> Option<CameraError> {
        match self.interruption {
            Some(Interruption::Stopped) => return None,
            Some(Interruption::TimedOut) => {
                return Some(CameraError::Timeout {
                    source_name: self.program.clone(),
                    waited: self.timeout,
                });
            }
            None => {}
        }
        if let Some(error) = error {
            return Some(CameraError::Stream {
                source_name: self.program.clone(),
                reason: StreamFault::Read(error.to_string()),
            });
        }
        let status = self.wait_for_end();
        if self.stop.is_raised() || status.is_some_and(|status| status.success()) {
            return None;
        }
        Some(CameraError::CommandEnded {
            program: self.program.clone(),
            status: status.map_or_else(
                || "its output closed, yet still running".to_owned(),
                |status| status.to_string(),
            ),
            last_line: self.lines.last_words().to_owned(),
        })
    }

    /// Why there is not even a first frame.
    pub(super) fn explain_start(&mut self, error: Option<io::Error>) -> CameraError {
        let explained = self.explain(error);
        if self.stop.is_raised() {
            return CameraError::Stopped;
        }
        explained.unwrap_or_else(|| CameraError::Stream {
            source_name: self.program.clone(),
            reason: StreamFault::Empty,
        })
    }

    /// Reaps the child; none when it lives on although its output has ended.
    fn wait_for_end(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + LAST_BREATH;
        while Instant::now() < deadline && !self.stop.is_raised() {
            if self.stderr.is_none() {
                // Nothing to wait on: poll without descriptors is a timer.
                let _ = poll(&mut [], Some(&timespec(TICK)));
            } else {
                self.pump_stderr(TICK);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                // Its last words are in the pipe still; a grandchild may hold that open and talk.
                while Instant::now() < deadline && self.pump_stderr(Duration::ZERO) {}
                return Some(status);
            }
        }
        None
    }
}

impl<L: StderrLines> Read for ChildStream<L> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let started = Instant::now();
        loop {
            if self.stop.is_raised() {
                self.interruption = Some(Interruption::Stopped);
                return Err(io::ErrorKind::Other.into());
            }
            let waited = started.elapsed();
            if waited >= self.timeout {
                self.interruption = Some(Interruption::TimedOut);
                return Err(io::ErrorKind::TimedOut.into());
            }
            let wait = timespec(TICK.min(self.timeout - waited));
            let (is_output, is_stderr) = match &self.stderr {
                Some(stderr) => {
                    let mut fds = [
                        PollFd::new(&self.stdout, PollFlags::IN),
                        PollFd::new(stderr, PollFlags::IN),
                    ];
                    poll(&mut fds, Some(&wait))?;
                    (!fds[0].revents().is_empty(), !fds[1].revents().is_empty())
                }
                None => {
                    let mut fds = [PollFd::new(&self.stdout, PollFlags::IN)];
                    poll(&mut fds, Some(&wait))?;
                    (!fds[0].revents().is_empty(), false)
                }
            };
            if is_stderr {
                self.pump_stderr(Duration::ZERO);
            }
            if is_output {
                return self.stdout.read(buffer);
            }
        }
    }
}

impl<L> Drop for ChildStream<L> {
    fn drop(&mut self) {
        // The whole group: a shell's own children would keep the camera. Errors mean that it is gone;
        // a child that was waited for may have left its number to a stranger.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// For `poll`.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> ChildStream<LastLine> {
        let timeout = Duration::from_secs(60);
        let lines = LastLine::default();
        ChildStream::start("/bin/sh", ["-c", script], lines, StopFlag::new(), timeout)
            .expect("a shell is everywhere")
    }

    #[test]
    fn dropping_it_kills_and_reaps_the_child() {
        let mut stream = shell("echo up; exec sleep 600");
        let mut up = [0; 3];
        stream.read_exact(&mut up).expect("the child says so");
        let process = format!("/proc/{}", stream.child.id());
        let process = std::path::Path::new(&process);
        let was_there = process.exists();
        drop(stream);
        // Without /proc there is nothing to see.
        assert!(was_there || cfg!(not(target_os = "linux")));
        assert!(!process.exists());
    }

    #[test]
    fn dropping_it_kills_what_a_shell_started() {
        let mut stream = shell("sleep 600 & echo $!; wait");
        let mut line = String::new();
        while !line.ends_with('\n') {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the shell says so");
            line.push(char::from(byte[0]));
        }
        let status = format!("/proc/{}/stat", line.trim());
        let group = format!(" {} ", stream.child.id());
        let is_there = || std::fs::read_to_string(&status).is_ok_and(|stat| stat.contains(&group));
        // Without /proc there is nothing to see.
        assert!(is_there() || cfg!(not(target_os = "linux")));
        drop(stream);
        let started = Instant::now();
        // Its new parent reaps it in its own time; a zombie holds no camera.
        while is_there()
            && !std::fs::read_to_string(&status).is_ok_and(|stat| stat.contains(") Z "))
        {
            assert!(started.elapsed() < Duration::from_secs(60), "still there");
            std::thread::yield_now();
        }
    }

    #[test]
    fn lines_are_put_together_and_over_long_ones_cut() {
        let mut stream = shell("exit 0");
        stream.take_lines(b"one\ntw");
        assert_eq!(stream.lines().last_words(), "one");
        stream.take_lines(b"o\r\n");
        assert_eq!(stream.lines().last_words(), "two");
        for _ in 0..100 {
            stream.take_lines(&[b'x'; 1000]);
        }
        stream.take_lines(b"\n");
        assert!(stream.lines().last_words().len() < MAX_LINE_BYTES + 1000);
    }
}
