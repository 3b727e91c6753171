//! The protocols as clients speak them, for `crate::fuzzing`.

use std::sync::{Arc, Mutex};

use super::eye_tribe::EyeTribe;
use super::fan_out::Hub;
use super::open_gaze::{OpenGaze, OpenGazeShared};
use super::output::Dialect;
use super::pupil::{PupilShared, Speaker, Subscriber};
use super::{ControlRequest, ServerSettings};
use crate::fuzzing::pieces;

/// A hub without clients; the receiver keeps the stage behind it alive.
fn hub() -> (Arc<Hub>, crossbeam_channel::Receiver<ControlRequest>) {
    let (hub, asked) = Hub::alone(ServerSettings::default());
    (Arc::new(hub), asked)
}

/// Lets the client speak until it is sent away, and looks at the clock after every piece.
fn listen(mut dialect: impl Dialect, bytes: &[u8]) {
    let mut out = Vec::new();
    for piece in pieces(bytes) {
        if dialect.hear(piece, &mut out).is_break() {
            return;
        }
        dialect.tick(&mut out);
        out.clear();
    }
}

/// The Open Gaze API.
pub fn open_gaze(bytes: &[u8]) {
    let (hub, _asked) = hub();
    let shared = Arc::new(Mutex::new(OpenGazeShared::default()));
    listen(OpenGaze::new(shared, hub), bytes);
}

/// The Eye Tribe's API.
pub fn eye_tribe(bytes: &[u8]) {
    listen(EyeTribe::new(&hub().0), bytes);
}

/// ZMTP and Pupil's messages, on each of the three ports, with and without a greeting before.
pub fn pupil(bytes: &[u8]) {
    let shared = Arc::new(PupilShared::new(hub().0, 50021, 50022));
    let greeted = |peer: &[u8]| {
        let mut all = vec![bytes.first().copied().unwrap_or_default()];
        all.extend([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0]);
        all.extend(b"NULL");
        all.resize(1 + 64, 0);
        let length = 26 + peer.len() as u8 - 3;
        all.extend([4, length]);
        all.extend(b"\x05READY\x0bSocket-Type");
        all.extend((peer.len() as u32).to_be_bytes());
        all.extend(peer);
        all.extend(bytes.get(1..).unwrap_or_default());
        all
    };
    listen(Speaker::asking(Arc::clone(&shared)), bytes);
    listen(Speaker::asking(Arc::clone(&shared)), &greeted(b"REQ"));
    listen(Subscriber::new(Arc::clone(&shared)), &greeted(b"SUB"));
    listen(Speaker::publishing(shared), &greeted(b"PUB"));
}
