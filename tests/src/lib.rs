//! What the whole-system tests share: runs of the real program, and a running daemon.
//!
//! Tests that start the program belong to the package `gaze-host`, although their files are here:
//! cargo then builds the program before them and tells them where it is.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for something that must come; only ever reached by a failing test.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `gazed`, the program at this path, to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run_gazed(program: &str, arguments: &[&str]) -> Ran {
    let output = Command::new(program)
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .expect("the program that was just built starts");
    Ran {
        status: output.status,
        stdout: String::from_utf8(output.stdout).expect("gazed prints UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("gazed prints UTF-8"),
    }
}

/// What a run of `gazed` left.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

/// A running daemon with a socket of its own. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    messages: Lines<BufReader<ChildStderr>>,
    folder: TempDir,
    page: SocketAddr,
}

impl Daemon {
    /// Starts `gazed run`, the program at this path, with these further arguments and waits until
    /// its socket is open.
    ///
    /// # Panics
    /// When it ends before that.
    pub fn start(program: &str, arguments: &[&str]) -> Daemon {
        Daemon::start_as(program, &["run"], arguments)
    }

    /// The same for another command that serves, as `replay`.
    ///
    /// # Panics
    /// When it ends before that.
    pub fn start_as(program: &str, command: &[&str], arguments: &[&str]) -> Daemon {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let mut child = Command::new(program)
            .args(command)
            .arg("--socket")
            .arg(folder.path().join("gazed.sock"))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program that was just built starts");
        let messages = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut daemon = Daemon {
            child,
            messages,
            folder,
            page: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let said = daemon.wait_for_message("live page");
        let address = said
            .rsplit("http://")
            .next()
            .map(|rest| rest.trim_end_matches('/'));
        daemon.page = address
            .and_then(|address| address.parse().ok())
            .expect("an address");
        daemon.wait_for_message("event socket");
        daemon
    }

    /// Path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("gazed.sock")
    }

    /// What `/status` answers.
    ///
    /// # Panics
    /// When the page does not answer with JSON.
    pub fn status(&self) -> Value {
        let mut stream = TcpStream::connect(self.page).expect("the page is open");
        write!(
            stream,
            "GET /status HTTP/1.0\r\nHost: {}\r\n\r\n",
            self.page
        )
        .expect("the page reads");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("the page answers");
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        serde_json::from_str(body).expect("the status is JSON")
    }

    /// Waits until it says something.
    ///
    /// # Panics
    /// When it ends without having said it.
    pub fn wait_for_message(&mut self, part: &str) -> String {
        let mut said = String::new();
        for line in &mut self.messages {
            let line = line.expect("gazed prints UTF-8");
            if line.contains(part) {
                return line;
            }
            said.push_str(&line);
            said.push('\n');
        }
        panic!("gazed ended without saying {part:?}; it said:\n{said}");
    }

    /// A client that subscribes with this message.
    ///
    /// # Panics
    /// When the socket refuses it.
    pub fn connect(&self, message: &str) -> Client {
        let mut client = Client::silent(&self.socket());
        client.send(message);
        client
    }

    /// Sends a signal by name, as `kill` does.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill is there").success());
    }

    /// Waits for its end and gives it with the rest of what it said.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let rest: Vec<String> = (&mut self.messages).map_while(Result::ok).collect();
        (self.child.wait().expect("it is our child"), rest.join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already, or a test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program on the event socket.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    lines: Lines<BufReader<UnixStream>>,
}

impl Client {
    /// Connects and says nothing.
    ///
    /// # Panics
    /// When the socket refuses it.
    pub fn silent(socket: &Path) -> Client {
        let stream = UnixStream::connect(socket).expect("the socket is open");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("the time is not zero");
        let reader = stream.try_clone().expect("descriptors are left");
        Client {
            stream,
            lines: BufReader::new(reader).lines(),
        }
    }

    /// Sends one line.
    ///
    /// # Panics
    /// When the daemon has closed the connection.
    pub fn send(&mut self, line: &str) {
        writeln!(self.stream, "{line}").expect("the daemon reads");
    }

    /// The next record, as text; none when the daemon has closed the connection.
    ///
    /// # Panics
    /// When nothing comes for a minute.
    pub fn line(&mut self) -> Option<String> {
        self.lines.next().map(|line| line.expect("a record comes"))
    }

    /// The next record.
    ///
    /// # Panics
    /// When the connection is closed, or the line is not JSON.
    pub fn record(&mut self) -> Value {
        let line = self.line().expect("the connection is open");
        serde_json::from_str(&line).expect("a record is JSON")
    }

    /// The next record of this type; others are passed over.
    ///
    /// # Panics
    /// When the connection is closed before.
    pub fn record_of(&mut self, kind: &str) -> Value {
        loop {
            let record = self.record();
            if record["type"] == kind {
                return record;
            }
        }
    }
}
