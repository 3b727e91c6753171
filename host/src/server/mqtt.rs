//! MQTT 5: records to a broker on this machine; on with `outputs.mqtt.broker = "127.0.0.1:1883"`.
//!
//! | topic | payload | |
//! |---|---|---|
//! | `gazed/DEVICE/sample`, `…/fixation`, … | the records, as on the socket | samples at most once, events at least once |
//! | `gazed/DEVICE/looking` | `ON` while somebody looks at the screen, else `OFF` | kept |
//! | `gazed/DEVICE/status` | `online`, `offline` (last will) | kept |
//! | `homeassistant/binary_sensor/DEVICE_looking/config` | Home Assistant's discovery | kept |
//!
//! ```python
//! import paho.mqtt.client as mqtt                        # pip install paho-mqtt
//! client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
//! client.on_message = lambda client, data, message: print(message.topic, message.payload.decode())
//! client.connect("127.0.0.1")
//! client.subscribe("gazed/+/fixation")
//! client.loop_forever()
//! ```
//!
//! The broker must be on this machine: gaze leaves it by the broker's own bridge, with the broker's
//! TLS and its rights, which is also how many devices come together in one place. For mosquitto:
//!
//! ```text
//! connection fleet
//! address broker.example.org:8883
//! bridge_cafile /etc/ssl/certs/ca-certificates.crt
//! topic gazed/# out 1
//! ```
//!
//! # Many devices
//!
//! Each device publishes to a broker on itself; the bridge above sends what is wanted on to one broker
//! in the middle, which keeps retained states and last wills of all under `gazed/DEVICE/…`. A bridge
//! that sends events alone (`topic gazed/+/fixation out 1` and the like, or `samples = false` in the
//! settings) sends an eighth of the bytes. A broker of its own (`mqtt_fleet.py` in `tests/clients`;
//! mosquitto 2.0.11, one subscriber to everything, two cores of a shared AMD EPYC virtual machine,
//! broker and load at raised priority beside other work) takes of 1,000 devices:
//!
//! | a device sends | messages/s | MiB/s | broker | its memory | late at the subscriber, median and 99 % |
//! |---|---|---|---|---|---|
//! | events alone | 15,700 | 3.2 | 22 % of a core | 10 MiB | 2 and 12 ms |
//! | events and 30 samples a second | 44,800 | 25 | 40 % of a core | 10 MiB | 5 and 23 ms |
//!
//! Nothing was lost in either. mosquitto uses one core: by its share of it, that is full at about 2,500 such devices with
//! samples, or 4,500 with events alone. Beyond, share them among brokers bridged to each other by topic, or use
//! a broker that clusters (EMQX, VerneMQ, HiveMQ). gazed itself needs no change for that.
//!
//! While the broker is away records for it are dropped and counted (`mqtt_records_dropped` of
//! `/status`), and it is tried again.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::MqttSettings;
use super::fan_out::{Hub, Line};
use crate::metrics::Counter;
use crate::record::{Record, RecordKind, Sample};
use crate::retry::LastProblem;

/// Messages that may wait for the connection to the broker.
const OUTGOING_QUEUE: usize = 64;

/// Between two attempts to reach the broker. Never shorter: of two daemons with one name, each
/// puts the other out by connecting.
const RETRY: Duration = Duration::from_secs(2);

/// The broker says that we are gone after one and a half of these without a word.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The broker has this long to take the last word.
const LAST_WORD: Duration = Duration::from_millis(200);

/// Somebody looks, or does not, when it was so for this long, µs.
const LOOKING_AFTER_US: u64 = 500_000;

/// Gaze this far outside the screen still counts as on it: what a webcam is good to, as a share.
const MARGIN: f32 = 0.1;

/// Sends records to the broker until the daemon stops. `_alive` is held until then.
pub(super) async fn publish(settings: MqttSettings, hub: Arc<Hub>, _alive: mpsc::Sender<()>) {
    let device = settings.device();
    let topics = Topics {
        root: format!("{}/{device}", settings.prefix),
        device,
    };
    let mut options = MqttOptions::new(
        format!("gazed-{}", topics.device),
        settings.broker.ip().to_string(),
        settings.broker.port(),
    );
    options.set_keep_alive(KEEP_ALIVE);
    let will = LastWill::new(topics.of("status"), "offline", QoS::AtLeastOnce, true, None);
    options.set_last_will(will);
    let (client, connection) = AsyncClient::new(options, OUTGOING_QUEUE);
    let link = Arc::new(Link {
        client,
        is_up: AtomicBool::new(false),
        is_looking: Mutex::new(None),
        hub: Arc::clone(&hub),
    });
    let greeting = Greeting {
        topics: topics.clone(),
        home_assistant: settings.home_assistant,
    };
    let connected = tokio::spawn(keep_connected(connection, Arc::clone(&link), greeting));
    let mut looking = Looking::default();
    hub.follow("mqtt", &[], |line| {
        let record = &line.record().record;
        if let Record::Sample(sample) = record {
            link.tell_looking(&topics, looking.step(sample));
        }
        if let Some(kind) = record.kind()
            && (kind != RecordKind::Sample || settings.samples)
        {
            link.pass_on(&topics, kind, line);
        }
    })
    .await;
    link.send(&topics.of("status"), "offline", QoS::AtLeastOnce, true);
    let _ = tokio::time::timeout(LAST_WORD, link.client.disconnect()).await;
    let _ = tokio::time::timeout(LAST_WORD, connected).await;
}

fn on_off(is_on: bool) -> &'static str {
    if is_on { "ON" } else { "OFF" }
}

/// The topics of this device.
#[derive(Clone, Debug)]
struct Topics {
    device: String,
    root: String,
}

impl Topics {
    fn of(&self, what: &str) -> String {
        format!("{}/{what}", self.root)
    }
}

/// The way to the broker.
struct Link {
    client: AsyncClient,
    is_up: AtomicBool,
    /// What `looking` says at present, for a broker that was away when it changed.
    is_looking: Mutex<Option<bool>>,
    hub: Arc<Hub>,
}

impl Link {
    fn is_looking(&self) -> MutexGuard<'_, Option<bool>> {
        self.is_looking
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether somebody looks, when that has changed.
    fn tell_looking(&self, topics: &Topics, change: Option<bool>) {
        let Some(is_looking) = change else { return };
        *self.is_looking() = Some(is_looking);
        let (topic, word) = (topics.of("looking"), on_off(is_looking));
        self.send(&topic, word, QoS::AtLeastOnce, true);
    }

    /// Sends a record: samples at most once, events at least once.
    fn pass_on(&self, topics: &Topics, kind: RecordKind, line: &Line) {
        let quality = match kind {
            RecordKind::Sample => QoS::AtMostOnce,
            _ => QoS::AtLeastOnce,
        };
        let topic = topics.of(&crate::recording::word(&kind));
        self.send(&topic, line.message().as_str(), quality, false);
    }

    /// Sends, or drops and counts.
    fn send(&self, topic: &str, payload: &str, quality: QoS, is_kept: bool) {
        let is_sent = self.is_up.load(Relaxed)
            && self
                .client
                .try_publish(topic, quality, is_kept, payload.to_owned())
                .is_ok();
        if !is_sent {
            self.hub.metrics.count(Counter::MqttRecordsDropped);
        }
    }
}

/// What is said at the beginning of every connection.
struct Greeting {
    topics: Topics,
    home_assistant: bool,
}

impl Greeting {
    fn say(&self, link: &Link) {
        let Topics { device, .. } = &self.topics;
        link.send(&self.topics.of("status"), "online", QoS::AtLeastOnce, true);
        let is_looking = *link.is_looking();
        if let Some(is_looking) = is_looking {
            let topic = self.topics.of("looking");
            link.send(&topic, on_off(is_looking), QoS::AtLeastOnce, true);
        }
        if !self.home_assistant {
            return;
        }
        let config = json!({
            "name": "Somebody is looking",
            "unique_id": format!("gazed_{device}_looking"),
            "device_class": "occupancy",
            "state_topic": self.topics.of("looking"),
            "availability_topic": self.topics.of("status"),
            "device": {
                "identifiers": [format!("gazed_{device}")],
                "name": format!("gazed on {device}"),
                "sw_version": env!("CARGO_PKG_VERSION"),
            },
        });
        let topic = format!("homeassistant/binary_sensor/{device}_looking/config");
        link.send(&topic, &config.to_string(), QoS::AtLeastOnce, true);
    }
}

async fn keep_connected(mut connection: EventLoop, link: Arc<Link>, greeting: Greeting) {
    let mut last_problem = LastProblem::default();
    loop {
        match connection.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                info!("mqtt: connected to the broker");
                last_problem.forget();
                link.is_up.store(true, Relaxed);
                greeting.say(&link);
            }
            Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return,
            Ok(_) => {}
            Err(error) => {
                link.is_up.store(false, Relaxed);
                let problem = error.to_string();
                if last_problem.note(&problem) {
                    warn!("mqtt: no connection to the broker: {problem}; trying again");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Whether somebody looks at the screen, without flicker.
#[derive(Debug, Default)]
struct Looking {
    is_looking: Option<bool>,
    /// Since when it has been otherwise.
    otherwise_since_us: Option<u64>,
}

impl Looking {
    /// The new state, when it changes.
    fn step(&mut self, sample: &Sample) -> Option<bool> {
        let is_on = |share: f32| (-MARGIN..=1.0 + MARGIN).contains(&share);
        let por = sample.por.as_ref().filter(|_| sample.validity.is_usable());
        let now = por.is_some_and(|por| is_on(por.x) && is_on(por.y));
        if self.is_looking == Some(now) {
            self.otherwise_since_us = None;
            return None;
        }
        let since_us = *self.otherwise_since_us.get_or_insert(sample.t_us);
        let is_new =
            self.is_looking.is_none() || sample.t_us.saturating_sub(since_us) >= LOOKING_AFTER_US;
        if !is_new {
            return None;
        }
        self.is_looking = Some(now);
        self.otherwise_since_us = None;
        Some(now)
    }
}

#[cfg(test)]
mod tests {
    use gaze_protocol::Validity;

    use super::*;
    use crate::record::{FrameRecord, Por};

    fn sample(t_us: u64, x: Option<f32>) -> Sample {
        Sample {
            seq: 0,
            frame: FrameRecord::Number(0),
            size_px: [640, 480],
            t_us,
            validity: Validity::Valid,
            face: None,
            eyes: None,
            head: None,
            gaze: None,
            features: None,
            por: x.map(|x| Por {
                x_mm: x * 500.0,
                y_mm: 150.0,
                x,
                y: 0.5,
            }),
            latency_us: None,
            error: None,
            drift_deg: None,
        }
    }

    #[test]
    fn a_blink_does_not_end_looking_and_looking_away_does() {
        let mut looking = Looking::default();
        assert_eq!(looking.step(&sample(0, Some(0.5))), Some(true));
        assert_eq!(looking.step(&sample(100_000, None)), None);
        assert_eq!(looking.step(&sample(300_000, Some(0.5))), None);
        assert_eq!(looking.step(&sample(400_000, Some(1.3))), None);
        assert_eq!(looking.step(&sample(800_000, Some(1.3))), None);
        assert_eq!(looking.step(&sample(900_000, None)), Some(false));
        assert_eq!(looking.step(&sample(1_000_000, None)), None);
    }
}
