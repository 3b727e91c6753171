//! Where the server listens, how much it queues, and what is spoken besides.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{AccessError, DEFAULT_LISTEN, access};

/// Where the server listens and how much it queues.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Path of the Unix socket (see [`socket_path`](super::socket_path)); none: no socket.
    pub socket: Option<PathBuf>,
    /// Group that the socket is given to; none: the process's own.
    pub socket_group: Option<String>,
    /// Address of the page; beyond loopback it needs both parts of `access`; none: no page.
    pub listen: Option<SocketAddr>,
    /// What the page's port asks of those who connect, and how it is encrypted.
    pub access: AccessSettings,
    /// Records between the tracking stage and the server, at least 1.
    pub record_queue: usize,
    /// Records that wait for one client, at least 1.
    pub client_queue: usize,
    /// A client that takes nothing for this long is disconnected.
    pub write_timeout: Duration,
    /// Whether clients of the Unix socket may have every frame's picture.
    pub gives_frames: bool,
    /// Clients at one time, on the socket, `/events` and the outputs together, at least 1.
    pub max_clients: usize,
    /// What is spoken besides.
    pub outputs: OutputSettings,
}

/// What the page's port asks of those who connect, and how it is encrypted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccessSettings {
    /// File that holds the token; none: no token is asked for.
    pub token_file: Option<PathBuf>,
    /// Certificate and key; none: no TLS.
    pub tls: Option<TlsSettings>,
}

/// The files of TLS, both in PEM.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The certificate, followed by those that signed it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl AccessSettings {
    /// Reads the files, so that mistakes show before anything starts; each names its file and the remedy.
    pub fn mistakes_in_files(&self) -> Vec<AccessError> {
        let tls = self.tls.as_ref().and_then(|tls| access::tls(tls).err());
        let gate = |path| access::Gate::load(path, 0, true).err();
        let token = self.token_file.as_deref().and_then(gate);
        tls.into_iter().chain(token).collect()
    }

    /// What an address beyond this machine lacks, in words; none when nothing.
    pub fn lacks(&self) -> Option<&'static str> {
        match (&self.token_file, &self.tls) {
            (Some(_), Some(_)) => None,
            (None, Some(_)) => Some("server.token_file"),
            (Some(_), None) => Some("server.tls = { certificate, key }"),
            (None, None) => Some("server.token_file and server.tls = { certificate, key }"),
        }
    }
}

/// The protocols of other programs; each is off where its address is none. All addresses must be
/// loopback: none of them asks who connects.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputSettings {
    /// Address of the Open Gaze API; 127.0.0.1:4242 is where clients look for it.
    pub open_gaze: Option<SocketAddr>,
    /// Address of Pupil's request port, 127.0.0.1:50020 for clients; the next two ports as well.
    pub pupil: Option<SocketAddr>,
    /// Address of the Eye Tribe's API; 127.0.0.1:6555 for clients.
    pub eye_tribe: Option<SocketAddr>,
    /// A broker of MQTT.
    pub mqtt: Option<MqttSettings>,
    /// Streams of the Lab Streaming Layer.
    pub lsl: Option<LslSettings>,
    /// The gaze as a mouse.
    pub pointer: Option<PointerSettings>,
}

/// Streams of the Lab Streaming Layer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LslSettings {
    /// Where liblsl is; none: its usual names are tried.
    pub library: Option<PathBuf>,
}

/// The gaze as a mouse.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PointerSettings {
    /// What a dwell clicks on.
    pub clicks: Clicks,
    /// How long a dwell is; 200 to 10000.
    pub dwell_ms: u32,
    /// Whether the pointer is in the middle of the announced object that is looked at.
    pub snaps: bool,
}

/// What a dwell clicks on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clicks {
    /// Nothing: the pointer moves only.
    Never,
    /// Announced objects, once a visit.
    Objects,
    /// Whatever is there, once a fixation.
    Anywhere,
}

impl Default for PointerSettings {
    fn default() -> Self {
        PointerSettings {
            clicks: Clicks::Objects,
            dwell_ms: 800,
            snaps: true,
        }
    }
}

impl PointerSettings {
    /// Every mistake in it.
    pub fn check(&self) -> Vec<String> {
        const ALLOWED_MS: std::ops::RangeInclusive<u32> = 200..=10_000;
        let is_allowed = ALLOWED_MS.contains(&self.dwell_ms);
        let problem = format!(
            "outputs.pointer.dwell_ms = {} is outside 200 to 10000",
            self.dwell_ms
        );
        if is_allowed { vec![] } else { vec![problem] }
    }
}

/// Records to a broker.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSettings {
    /// Address of the broker, on loopback.
    pub broker: SocketAddr,
    /// First part of every topic.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// Second part of every topic; none: the machine's name.
    #[serde(default)]
    pub device: Option<String>,
    /// Whether Home Assistant is told that there is a sensor.
    #[serde(default)]
    pub home_assistant: bool,
    /// Whether samples are sent, or events alone: what many devices on one broker cost.
    #[serde(default = "yes")]
    pub samples: bool,
}

fn yes() -> bool {
    true
}

fn default_prefix() -> String {
    "gazed".to_owned()
}

impl MqttSettings {
    /// The device's name in topics.
    pub(super) fn device(&self) -> String {
        self.device
            .clone()
            .unwrap_or_else(|| machine_name().replace(['/', '+', '#'], "_"))
    }

    /// Every mistake in it.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.broker.ip().is_loopback() {
            problems.push(format!(
                "outputs.mqtt.broker = {}: must be a loopback address: gaze leaves the machine by the broker's own bridge",
                self.broker
            ));
        }
        let device = self.device.as_ref().map(|device| ("device", device));
        for (key, text) in std::iter::once(("prefix", &self.prefix)).chain(device) {
            if text.is_empty() || text.len() > 200 || text.contains(['+', '#', '\0']) {
                problems.push(format!(
                    "outputs.mqtt.{key} = {text:?}: must be 1 to 200 bytes without + and #"
                ));
            }
        }
        problems
    }
}

impl Default for ServerSettings {
    /// No Unix socket, the page at [`DEFAULT_LISTEN`].
    fn default() -> Self {
        ServerSettings {
            socket: None,
            socket_group: None,
            listen: Some(DEFAULT_LISTEN),
            access: AccessSettings::default(),
            record_queue: 1024,
            // 17 s of samples at 30 frames/s: long enough for a client that pauses to think,
            // short enough that a dead one costs half a megabyte at most.
            client_queue: 512,
            write_timeout: Duration::from_secs(10),
            gives_frames: false,
            max_clients: 256,
            outputs: OutputSettings::default(),
        }
    }
}

/// What this machine is called.
pub(super) fn machine_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
