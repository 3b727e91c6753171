//! What there is to know: from a running daemon, or from the camera itself.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gaze_calibration::{Profile, UserName};
use gaze_protocol::Validity;
use serde::Deserialize;

use super::DoctorSettings;
use crate::camera::{self, Captured};
use crate::client::{Client, ClientError, ConnectError};
use crate::config::Config;
use crate::edid::{self, ConnectedScreen};
use crate::frame::Frame;
use crate::machine::Health;
use crate::metrics::{Activity, View};
use crate::record::{Header, Record, RecordKind, StaleRecord};
use crate::server::SERVICE_GROUP;
use crate::setup::{self, SetupError};

/// How long frames are looked at.
const LOOK_FOR: Duration = Duration::from_secs(2);

/// So many frames go through the networks, however slow they are.
const FEWEST_FRAMES: usize = 3;

/// A daemon whose camera is off has so long to open it; one that sends nothing is asked no longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A page that does not answer within this time does not answer.
const PAGE_PATIENCE: Duration = Duration::from_secs(1);

/// Everything that findings are made from.
pub(super) struct Facts {
    pub daemon: DaemonFacts,
    /// What came of looking through the camera, the daemon's or our own; the error in words.
    pub watched: Result<Watched, String>,
    /// Of the profile in use, where it can be read here.
    pub profile: ProfileFacts,
    pub health: Health,
    pub screens: Vec<ConnectedScreen>,
    /// Groups that this user would have to be in, and is not.
    pub missing_groups: Vec<&'static str>,
    /// Ports of the settings that another program has; looked at only while no daemon runs.
    pub taken: Vec<(&'static str, SocketAddr)>,
}

/// Whether a daemon runs.
pub(super) enum DaemonFacts {
    Absent,
    /// It is there and this user may not ask it, or it does not answer.
    Unreachable(String),
    Running(Box<Running>),
}

/// What a running daemon told.
pub(super) struct Running {
    pub header: Option<Header>,
    pub validity: Option<Validity>,
    /// None when its page is elsewhere, or closed to us.
    pub status: Option<Status>,
    pub page: SocketAddr,
    /// Whether the settings ask for a token or encryption on its page, neither of which we offer.
    pub is_page_closed: bool,
}

/// The parts of `/status` that matter here.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub program: String,
    pub state: State,
    pub uptime_s: u64,
    pub pace: Pace,
    pub view: Option<View>,
    stages: Stages,
}

#[derive(Debug, Deserialize)]
pub(super) struct State {
    pub activity: Activity,
    pub message: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Pace {
    pub keep_every: u32,
    pub because: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Stages {
    decoding: Option<Latency>,
    vision: Option<Latency>,
}

#[derive(Debug, Deserialize)]
struct Latency {
    p50_us: u64,
}

/// What was seen through the camera.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Watched {
    /// `v4l2:video0 640x480 YUYV 30/s`.
    pub source: String,
    /// Frames a second, as measured.
    pub rate_per_s: Option<f32>,
    pub view: Option<View>,
    /// Median time to unpack a picture; none when the camera does not compress.
    pub decoding_ms: Option<f32>,
    /// Median time of the networks for a frame.
    pub vision_ms: Option<f32>,
}

/// Whose calibration is in use.
pub(super) enum ProfileFacts {
    /// Nobody's.
    None,
    /// It cannot be used; why, in words.
    Unusable(String),
    Read {
        profile: Box<Profile>,
        /// Held against the screen of the settings and the networks.
        stale: Option<StaleRecord>,
    },
}

impl Facts {
    pub(super) fn gather(config: &Config, settings: DoctorSettings<'_>) -> Self {
        let page = settings.listen.unwrap_or(config.server.listen);
        let (daemon, watched) =
            match Client::connect(settings.socket.or(config.server.socket.as_deref())) {
                Ok(client) => {
                    let is_page_closed =
                        config.server.token_file.is_some() || config.server.tls.is_some();
                    let (running, watched) = ask(client, page, is_page_closed);
                    (DaemonFacts::Running(Box::new(running)), watched)
                }
                Err(ClientError::Daemon(ConnectError::NoDaemon { .. })) => {
                    (DaemonFacts::Absent, look(config))
                }
                Err(error) => (
                    DaemonFacts::Unreachable(error.to_string()),
                    Err("the daemon has the camera".to_owned()),
                ),
            };
        let taken = match daemon {
            DaemonFacts::Absent => taken_ports(config),
            _ => Vec::new(),
        };
        Facts {
            daemon,
            watched,
            profile: profile(config),
            health: Health::read(),
            screens: edid::connected(),
            missing_groups: missing_groups(config),
            taken,
        }
    }
}

/// Asks a daemon: subscribes, so that its camera is on, looks at samples, and reads its status.
fn ask(
    mut client: Client,
    page: SocketAddr,
    is_page_closed: bool,
) -> (Running, Result<Watched, String>) {
    let mut running = Running {
        header: None,
        validity: None,
        status: None,
        page,
        is_page_closed,
    };
    let mut times_us = Vec::new();
    let asked = client
        .wait_at_most(PATIENCE)
        .and_then(|()| client.subscribe(&[RecordKind::Sample]));
    let began = Instant::now();
    if asked.is_ok() {
        for record in client {
            match record.map(|timed| timed.record) {
                Ok(Record::Header(header)) => running.header = Some(header),
                Ok(Record::Sample(sample)) => {
                    times_us.push(sample.t_us);
                    running.validity = Some(sample.validity);
                }
                Ok(_) => {}
                // Nothing came for a while, or it has gone.
                Err(_) => break,
            }
            if began.elapsed() >= LOOK_FOR {
                break;
            }
        }
    }
    running.status = get(page, "/status")
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok());
    let watched = match (&running.status, &running.header) {
        (Some(status), _) if status.state.activity == Activity::SourceLost => {
            Err(status.state.message.clone())
        }
        (status, Some(header)) if !times_us.is_empty() => Ok(Watched {
            source: header.source.clone(),
            rate_per_s: rate(&times_us),
            view: status.as_ref().and_then(|status| status.view),
            decoding_ms: median_of(status, |stages| stages.decoding.as_ref()),
            vision_ms: median_of(status, |stages| stages.vision.as_ref()),
        }),
        _ => Err("the daemon sends no samples".to_owned()),
    };
    (running, watched)
}

fn median_of(status: &Option<Status>, stage: fn(&Stages) -> Option<&Latency>) -> Option<f32> {
    let latency = stage(&status.as_ref()?.stages)?;
    Some(latency.p50_us as f32 * 1e-3)
}

/// One page of the daemon's.
fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PAGE_PATIENCE)?;
    stream.set_read_timeout(Some(PAGE_PATIENCE))?;
    // HTTP/1.0: the answer ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Opens the camera of the settings and looks through it.
fn look(config: &Config) -> Result<Watched, String> {
    let spec = &config.source.source;
    if !spec.is_live() {
        return Err(format!(
            "{spec} is a recording: there is no camera to look through"
        ));
    }
    let in_words = |error: &dyn std::error::Error| error.to_string();
    let models = setup::models(config).map_err(|error| in_words(&error))?;
    let mut vision = setup::vision(config, &models, false).map_err(|error| in_words(&error))?;
    let mut source =
        camera::open(spec, &config.source.settings()).map_err(|error| in_words(&error))?;
    let (mut times_us, mut decoding, mut took) = (Vec::new(), Vec::new(), Vec::new());
    let (mut frame, mut view) = (Frame::new(), None);
    // First the camera alone, whose rate slow networks would hide; then the networks, a few frames at
    // least.
    let began = Instant::now();
    while began.elapsed() < LOOK_FOR || took.len() < FEWEST_FRAMES {
        match source.capture(&mut frame) {
            Ok(Captured::Frame) => {}
            Ok(Captured::EndOfStream) => break,
            Err(error) => return Err(in_words(&error)),
        }
        decoding.extend(frame.decoding);
        if began.elapsed() < LOOK_FOR / 2 {
            times_us.push(frame.captured_at.as_us());
            continue;
        }
        let step_began = Instant::now();
        let observation = vision.step(&frame).map_err(|error| in_words(&error))?;
        took.push(step_began.elapsed());
        view = Some(View::of(&frame, &observation));
    }
    Ok(Watched {
        source: source.description(),
        rate_per_s: rate(&times_us),
        view,
        decoding_ms: median_ms(&mut decoding),
        vision_ms: median_ms(&mut took),
    })
}

fn median_ms(times: &mut [Duration]) -> Option<f32> {
    times.sort_unstable();
    let median = times.get(times.len() / 2)?;
    Some(median.as_secs_f32() * 1e3)
}

/// Frames a second between the first and the last.
fn rate(times_us: &[u64]) -> Option<f32> {
    let (first, last) = (times_us.first()?, times_us.last()?);
    let lasted_us = last.checked_sub(*first).filter(|lasted| *lasted > 0)?;
    Some((times_us.len() - 1) as f32 * 1e6 / lasted_us as f32)
}

fn profile(config: &Config) -> ProfileFacts {
    let store = match setup::profiles(config) {
        Ok(store) => store,
        Err(error) => return ProfileFacts::Unusable(error.to_string()),
    };
    let user = match &config.user.name {
        Some(name) => UserName::new(name).map(Some),
        None => store.default_user(),
    };
    match user.and_then(|user| user.map(|user| store.load(&user)).transpose()) {
        Ok(Some(profile)) => held_against(config, profile)
            .unwrap_or_else(|error| ProfileFacts::Unusable(error.to_string())),
        Ok(None) => ProfileFacts::None,
        Err(error) => ProfileFacts::Unusable(error.to_string()),
    }
}

fn held_against(config: &Config, profile: Profile) -> Result<ProfileFacts, SetupError> {
    let networks = setup::networks(&setup::models(config)?);
    let screen = setup::screen(&config.screen, Some(&profile))?;
    let reasons = profile.stale_reasons(&profile.camera, &screen, &networks);
    Ok(ProfileFacts::Read {
        stale: StaleRecord::of(&reasons),
        profile: Box::new(profile),
    })
}

/// The groups of cameras, of the service's socket and of boards: those that are there, that are needed,
/// and that this user is not in. Root needs none.
fn missing_groups(config: &Config) -> Vec<&'static str> {
    if uzers::get_effective_uid() == 0 {
        return Vec::new();
    }
    let mine = uzers::group_access_list().unwrap_or_default();
    let board = config.board.port.is_some().then_some("dialout");
    [Some("video"), Some(SERVICE_GROUP), board]
        .into_iter()
        .flatten()
        .filter(|name| uzers::get_group_by_name(name).is_some())
        .filter(|name| !mine.iter().any(|group| group.name() == *name))
        .collect()
}

/// The ports of the settings on which another program listens.
fn taken_ports(config: &Config) -> Vec<(&'static str, SocketAddr)> {
    let outputs = &config.outputs;
    [
        ("server.listen", Some(config.server.listen)),
        ("outputs.open_gaze", outputs.open_gaze),
        ("outputs.pupil", outputs.pupil),
        ("outputs.eye_tribe", outputs.eye_tribe),
    ]
    .into_iter()
    .filter_map(|(name, address)| Some((name, address?)))
    .filter(|(_, address)| std::net::TcpListener::bind(address).is_err())
    .collect()
}

/// The board's port, if there is one to be seen.
pub(super) fn board_port(config: &Config) -> Option<Option<PathBuf>> {
    let wanted = config.board.port.as_ref()?;
    Some(if wanted.as_os_str() == "auto" {
        crate::board::find_port()
    } else {
        Some(wanted.clone()).filter(|port| port.exists())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::SourceSpec;

    #[test]
    fn a_rate_is_counted_between_the_first_and_the_last_frame() {
        // Three intervals in 100 ms.
        assert_eq!(rate(&[0, 30_000, 60_000, 100_000]), Some(30.0));
        assert_eq!(rate(&[5]), None);
        assert_eq!(rate(&[5, 5]), None);
    }

    #[test]
    fn a_taken_port_is_seen() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let mut config = Config::default();
        config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.outputs.eye_tribe = Some(address);
        assert_eq!(taken_ports(&config), [("outputs.eye_tribe", address)]);
    }

    #[test]
    fn the_synthetic_observer_is_looked_at_like_a_camera() {
        let mut config = Config::default();
        config.source.source = SourceSpec::Synthetic { seed: 1 };
        let watched = look(&config).unwrap();
        assert!(watched.source.starts_with("synthetic:1"), "{watched:?}");
        let view = watched.view.unwrap();
        assert_eq!((view.size_px, view.n_faces), ([640, 480], 1));
        assert!(watched.rate_per_s.is_some() && watched.vision_ms.is_some());
    }
}
