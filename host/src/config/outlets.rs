//! `[server]`, `[outputs]`, `[recording]`: where records go.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::check_range;
use crate::recording::SyncPolicy;
use crate::server::{AccessSettings, MqttSettings, OutputSettings, PointerSettings, TlsSettings};

/// Sockets and page.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Path of the event socket; unknown means the usual places.
    pub socket: Option<PathBuf>,
    /// Group whose members may connect to the socket.
    pub group: Option<String>,
    /// Address of the page and the WebSocket; beyond loopback `token_file` and `tls` are needed.
    pub listen: SocketAddr,
    /// File that holds the token that the page's port asks for.
    pub token_file: Option<PathBuf>,
    /// Certificate and key of the page's port.
    pub tls: Option<TlsSettings>,
    /// Clients at one time, of all outputs together; 1 to 10000.
    pub max_clients: u32,
    /// Records that may wait for one client; 16 to 65536.
    pub queue_records: u32,
}

/// Pupil's request port, and those that it publishes and listens at.
const PORTS_OF_PUPIL: usize = 3;

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            socket: None,
            group: None,
            listen: crate::server::DEFAULT_LISTEN,
            token_file: None,
            tls: None,
            max_clients: 256,
            queue_records: 512,
        }
    }
}

/// How `gazed record` writes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordingConfig {
    /// A block is written this long after its first record at the latest; 10 to 60000.
    pub block_ms: u32,
    /// When the disk is waited for.
    pub sync: SyncPolicy,
    /// Whether the daemon gives every frame's picture to `gazed record --frames`.
    pub frames: bool,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        RecordingConfig {
            block_ms: 1000,
            sync: SyncPolicy::Block,
            frames: false,
        }
    }
}

impl ServerConfig {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let records = Some(self.queue_records as f32);
        check_range(problems, "server.queue_records", records, [16.0, 65_536.0]);
        let clients = Some(self.max_clients as f32);
        check_range(problems, "server.max_clients", clients, [1.0, 10_000.0]);
        if self
            .socket
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            problems.push("server.socket is empty: give a path, or leave it out".to_owned());
        }
        if !self.listen.ip().is_loopback()
            && let Some(lacks) = self.access().lacks()
        {
            problems.push(format!(
                "server.listen = {}: beyond loopback gaze and picture need {lacks}",
                self.listen
            ));
        }
    }

    /// What the page's port asks of those who connect.
    pub fn access(&self) -> AccessSettings {
        AccessSettings {
            token_file: self.token_file.clone(),
            tls: self.tls.clone(),
        }
    }
}

/// The protocols of other programs, beside the page's port.
pub(super) fn check_outputs(
    outputs: &OutputSettings,
    page: SocketAddr,
    problems: &mut Vec<String>,
) {
    let listening = [
        ("open_gaze", outputs.open_gaze, 1),
        ("pupil", outputs.pupil, PORTS_OF_PUPIL),
        ("eye_tribe", outputs.eye_tribe, 1),
    ];
    // Port 0 is one of the system's choosing.
    let mut taken = vec![("server.listen".to_owned(), page.port())];
    for (key, address, n_ports) in listening {
        let Some(first) = address
            .map(|address| address.port())
            .filter(|&port| port != 0)
        else {
            continue;
        };
        for port in (first..).take(n_ports) {
            if let Some((other, _)) = taken.iter().find(|(_, other)| *other == port) {
                problems.push(format!("outputs.{key}: port {port} is that of {other}"));
            }
            taken.push((format!("outputs.{key}"), port));
        }
    }
    for (key, address, _) in listening {
        if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
            problems.push(format!(
                "outputs.{key} = {address}: must be a loopback address: this protocol does not ask who connects"
            ));
        }
    }
    problems.extend(outputs.mqtt.iter().flat_map(MqttSettings::check));
    problems.extend(outputs.pointer.iter().flat_map(PointerSettings::check));
}

impl RecordingConfig {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let block_ms = Some(self.block_ms as f32);
        check_range(problems, "recording.block_ms", block_ms, [10.0, 60_000.0]);
    }
}
