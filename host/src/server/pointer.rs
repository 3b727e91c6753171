//! The gaze as a mouse of its own (uinput); on with `outputs.pointer = {}`, and off by default.
//!
//! The kernel gets an absolute pointing device, `gazed pointer`, which works under X11, Wayland and
//! on the console alike. It points at the mean of the fixation that goes on, between fixations at
//! the filtered point of regard, and with `snaps` at the middle of the announced object that is
//! looked at. It stays where it is while the eyes are closed or gaze is uncertain.
//!
//! It clicks by dwelling, as the event stream has it: with `clicks = "objects"` once in each visit
//! to an announced object (`object_enter` to `object_leave`) after `dwell_ms`, with
//! `clicks = "anywhere"` once in each fixation that is known to have lasted that long (which is told four
//! times a second, so the click may be a quarter of a second late, and never comes for one that was shorter),
//! with `clicks = "never"` not at all. The button is pressed with one sample and let go with the next.
//!
//! ```toml
//! [outputs]
//! pointer = { clicks = "objects", dwell_ms = 800, snaps = true }
//! ```
//!
//! `/dev/uinput` is root's. `60-gazed.rules` gives it to the group `gaze-input`, which the service is
//! put into by a drop-in of its own, because whoever can write there can type and click as anybody:
//!
//! ```text
//! # /etc/systemd/system/gazed.service.d/pointer.conf; the package has made the group
//! [Service]
//! SupplementaryGroups=gaze-input
//! DeviceAllow=/dev/uinput rw
//! ```
//!
//! The device spans the whole desktop: with several screens tell the desktop which one it is for
//! (`xinput map-to-output "gazed pointer" HDMI-1`, or the compositor's own setting).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use evdevil::AbsInfo;
use evdevil::event::{Abs, Key};
use evdevil::uinput::{AbsSetup, UinputDevice};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::fan_out::Hub;
use super::resting::Resting;
use super::{Clicks, PointerSettings};
use crate::record::{ObjectVisit, Record, RecordKind, Sample};
use crate::retry::LastProblem;
use crate::scene::SceneTable;

/// Greatest value of both axes.
const FULL: i32 = u16::MAX as i32;

/// Gaze this far outside the screen, as a share, still is on its edge: what a webcam is good to.
const MARGIN: f32 = 0.1;

/// What the pointer follows.
const KINDS: &[RecordKind] = &[
    RecordKind::Sample,
    RecordKind::Fixation,
    RecordKind::EventBegin,
    RecordKind::EventUpdate,
    RecordKind::ObjectEnter,
    RecordKind::ObjectLeave,
];

/// The kernel's end of the device; gone when this is dropped.
#[derive(Debug)]
pub struct Device<W>(W);

impl Device<File> {
    /// Makes the device.
    pub(super) fn create() -> io::Result<Self> {
        let axes = [Abs::X, Abs::Y].map(|axis| AbsSetup::new(axis, AbsInfo::new(0, FULL)));
        let device = UinputDevice::builder()?
            .with_keys([Key::BTN_LEFT])?
            .with_abs_axes(axes)?
            .build("gazed pointer")?;
        Ok(Device(File::from(OwnedFd::from(device))))
    }

    /// Moves the pointer until the daemon stops. `_alive` is held until then.
    pub(super) async fn point(
        mut self,
        settings: PointerSettings,
        hub: Arc<Hub>,
        _alive: mpsc::Sender<()>,
    ) {
        info!("pointer: the gaze moves the mouse pointer");
        let mut pointer = Pointer::new(settings);
        hub.follow("pointer", KINDS, |line| {
            pointer.look_at_scene(&hub);
            let acts = pointer.step(&line.record().record);
            if let Err(error) = self.report(&acts) {
                pointer.complain(&error);
            }
        })
        .await;
        // A button that stays down would hold the whole desktop.
        let _ = self.report(&pointer.let_go());
    }
}

/// Codes of linux/input-event-codes.h: type and code.
const AXIS_X: [u16; 2] = [3, 0];
const AXIS_Y: [u16; 2] = [3, 1];
const LEFT_BUTTON: [u16; 2] = [1, 0x110];
const REPORT: [u16; 2] = [0, 0];

impl<W: Write> Device<W> {
    /// Tells the kernel, all at one time.
    fn report(&mut self, acts: &[Act]) -> io::Result<()> {
        if acts.is_empty() {
            return Ok(());
        }
        let mut events = Vec::new();
        let mut push = |[kind, code]: [u16; 2], value: i32| {
            // `struct input_event`: two words for the time, which the kernel sets, then these.
            events.extend([0; 2 * size_of::<usize>()]);
            events.extend(kind.to_ne_bytes());
            events.extend(code.to_ne_bytes());
            events.extend(value.to_ne_bytes());
        };
        for act in acts {
            match *act {
                Act::Move(at) => {
                    for (axis, share) in [AXIS_X, AXIS_Y].into_iter().zip(at) {
                        push(axis, (share.clamp(0.0, 1.0) * FULL as f32).round() as i32);
                    }
                }
                Act::Button(is_down) => push(LEFT_BUTTON, i32::from(is_down)),
            }
        }
        push(REPORT, 0);
        self.0.write_all(&events)
    }
}

/// What the pointer does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    /// To this share of the screen.
    Move([f32; 2]),
    /// Whether the button is down.
    Button(bool),
}

/// Where the pointer is and what it has clicked.
#[derive(Debug)]
struct Pointer {
    settings: PointerSettings,
    resting: Resting,
    scene: Option<Arc<SceneTable>>,
    scene_change: u64,
    /// The object that is looked at, and whether this visit has clicked.
    visit: Option<(ObjectVisit, bool)>,
    /// The last fixation that has clicked.
    clicked: Option<u32>,
    is_down: bool,
    at: Option<[f32; 2]>,
    last_problem: LastProblem,
}

impl Pointer {
    fn new(settings: PointerSettings) -> Self {
        Pointer {
            settings,
            resting: Resting::default(),
            scene: None,
            scene_change: 0,
            visit: None,
            clicked: None,
            is_down: false,
            at: None,
            last_problem: LastProblem::default(),
        }
    }

    fn look_at_scene(&mut self, hub: &Hub) {
        let change = hub.scene_change();
        if change != self.scene_change {
            self.scene_change = change;
            self.scene = hub.scene();
        }
    }

    /// Takes a record; gives what it makes the pointer do.
    fn step(&mut self, record: &Record) -> Vec<Act> {
        self.resting.take(record);
        match record {
            Record::ObjectEnter(visit) => {
                self.visit = Some((visit.clone(), false));
                Vec::new()
            }
            Record::ObjectLeave(left) => {
                self.visit = self
                    .visit
                    .take()
                    .filter(|(visit, _)| visit.object != left.object);
                Vec::new()
            }
            Record::Sample(sample) => self.follow(sample),
            _ => Vec::new(),
        }
    }

    fn follow(&mut self, sample: &Sample) -> Vec<Act> {
        let mut acts = self.let_go();
        let Some(to) = self.aim(sample) else {
            return acts;
        };
        if self.at != Some(to) {
            self.at = Some(to);
            acts.push(Act::Move(to));
        }
        // Let go in one report and pressed in the next, or the two would be one.
        if acts.first() != Some(&Act::Button(false)) && self.is_due(sample) {
            self.is_down = true;
            acts.push(Act::Button(true));
        }
        acts
    }

    /// Where to point; none while gaze is not to be relied on or far from the screen.
    fn aim(&self, sample: &Sample) -> Option<[f32; 2]> {
        let por = sample
            .por
            .as_ref()
            .filter(|_| sample.validity.is_usable())?;
        let is_near = |share: f32| (-MARGIN..=1.0 + MARGIN).contains(&share);
        if !is_near(por.x) || !is_near(por.y) {
            return None;
        }
        if self.settings.snaps
            && let (Some((visit, _)), Some(scene)) = (&self.visit, &self.scene)
            && let Some(place) = scene.place_of(visit.object.as_str())
        {
            let [left, top, width, height] = scene.area(place);
            return Some([left + 0.5 * width, top + 0.5 * height].map(on_screen));
        }
        let rest = self.resting.now(sample);
        let por = rest
            .and_then(|fixation| fixation.por.as_ref())
            .unwrap_or(por);
        Some([por.x, por.y].map(on_screen))
    }

    /// Whether a dwell has lasted long enough that has not clicked yet.
    fn is_due(&mut self, sample: &Sample) -> bool {
        let dwell_us = u64::from(self.settings.dwell_ms) * 1000;
        match self.settings.clicks {
            Clicks::Never => false,
            Clicks::Objects => match &mut self.visit {
                Some((visit, has_clicked))
                    if !*has_clicked && sample.t_us.saturating_sub(visit.onset_us) >= dwell_us =>
                {
                    *has_clicked = true;
                    true
                }
                _ => false,
            },
            Clicks::Anywhere => match self.resting.now(sample) {
                Some(fixation)
                    if self.clicked != Some(fixation.id)
                        // What is known of it: its end may have passed, and be told a moment later.
                        && fixation.until_us.saturating_sub(fixation.onset_us) >= dwell_us =>
                {
                    self.clicked = Some(fixation.id);
                    true
                }
                _ => false,
            },
        }
    }

    /// Lets the button go if it is down.
    fn let_go(&mut self) -> Vec<Act> {
        match std::mem::take(&mut self.is_down) {
            true => vec![Act::Button(false)],
            false => Vec::new(),
        }
    }

    fn complain(&mut self, error: &io::Error) {
        let problem = error.to_string();
        if self.last_problem.note(&problem) {
            warn!("pointer: the kernel does not take what it is told: {problem}");
        }
    }
}

fn on_screen(share: f32) -> f32 {
    share.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use gaze_protocol::{EventKind as GazeKind, Validity};

    use super::*;
    use crate::record::{ClientMessage, FrameRecord, OpenEvent, Por};

    fn pointer(clicks: Clicks, snaps: bool) -> Pointer {
        Pointer::new(PointerSettings {
            clicks,
            snaps,
            dwell_ms: 500,
        })
    }

    fn por(x: f32, y: f32) -> Option<Por> {
        Some(Por {
            x_mm: x * 500.0,
            y_mm: y * 300.0,
            x,
            y,
        })
    }

    fn sample(t_us: u64, por: Option<Por>) -> Record {
        Record::Sample(Sample {
            seq: 0,
            frame: FrameRecord::Number(0),
            size_px: [640, 480],
            t_us,
            validity: if por.is_some() {
                Validity::Valid
            } else {
                Validity::EyeClosed
            },
            face: None,
            eyes: None,
            head: None,
            gaze: None,
            features: None,
            por,
            latency_us: None,
            error: None,
            drift_deg: None,
        })
    }

    fn fixation(id: u32, onset_us: u64, x: f32, y: f32) -> Record {
        Record::EventBegin(OpenEvent {
            id,
            event: GazeKind::Fixation,
            onset_us,
            until_us: onset_us,
            por: por(x, y),
        })
    }

    /// The same, known to last until then.
    fn fixation_until(id: u32, onset_us: u64, until_us: u64) -> Record {
        Record::EventUpdate(OpenEvent {
            id,
            event: GazeKind::Fixation,
            onset_us,
            until_us,
            por: por(0.5, 0.5),
        })
    }

    fn visit(object: &str, onset_us: u64) -> ObjectVisit {
        ObjectVisit {
            object: object.into(),
            onset_us,
            offset_us: onset_us,
            dwell_us: None,
        }
    }

    #[test]
    fn it_rests_on_the_fixation_follows_the_gaze_and_stays_in_a_blink() {
        let mut pointer = pointer(Clicks::Never, false);
        assert_eq!(
            pointer.step(&sample(0, por(0.2, 0.3))),
            [Act::Move([0.2, 0.3])]
        );
        pointer.step(&fixation(1, 0, 0.5, 0.25));
        assert_eq!(
            pointer.step(&sample(1, por(0.52, 0.2))),
            [Act::Move([0.5, 0.25])]
        );
        assert_eq!(pointer.step(&sample(2, por(0.48, 0.3))), []);
        assert_eq!(pointer.step(&sample(3, None)), []);
        // Beside the screen is its edge; far beside it is nowhere.
        let mut pointer = self::pointer(Clicks::Never, false);
        assert_eq!(
            pointer.step(&sample(4, por(1.05, -0.05))),
            [Act::Move([1.0, 0.0])]
        );
        assert_eq!(pointer.step(&sample(5, por(1.5, 0.5))), []);
    }

    #[test]
    fn a_fixation_that_lasts_clicks_once() {
        let mut pointer = pointer(Clicks::Anywhere, false);
        pointer.step(&fixation(7, 0, 0.5, 0.5));
        let mut acts = Vec::new();
        for t_us in (0..2_000_000).step_by(40_000) {
            pointer.step(&fixation_until(7, 0, t_us));
            acts.extend(pointer.step(&sample(t_us, por(0.5, 0.5))));
        }
        assert_eq!(
            acts,
            [Act::Move([0.5, 0.5]), Act::Button(true), Act::Button(false)]
        );
        pointer.step(&fixation(8, 2_000_000, 0.5, 0.5));
        // A sample that comes while the fixation may be over already.
        pointer.step(&fixation_until(8, 2_000_000, 2_499_000));
        assert_eq!(pointer.step(&sample(2_700_000, por(0.5, 0.5))), []);
        pointer.step(&fixation_until(8, 2_000_000, 2_500_000));
        assert_eq!(
            pointer.step(&sample(2_740_000, por(0.5, 0.5))),
            [Act::Button(true)]
        );
        assert_eq!(pointer.let_go(), [Act::Button(false)]);
        assert_eq!(pointer.let_go(), []);
    }

    #[test]
    fn objects_draw_the_pointer_and_click_once_a_visit() {
        let mut pointer = pointer(Clicks::Objects, true);
        let scene = r#"{"type":"scene","scene_id":"s","width_px":100,"height_px":100,
            "objects":[{"id":"yes","box":[20,40,20,20]}]}"#;
        let Ok(ClientMessage::Scene(scene)) = serde_json::from_str(scene) else {
            panic!("no scene")
        };
        pointer.scene = Some(Arc::new(SceneTable::new(&scene).unwrap()));
        pointer.step(&fixation(1, 0, 0.22, 0.41));
        pointer.step(&Record::ObjectEnter(visit("yes", 100_000)));
        let middle = [0.3, 0.5];
        assert_eq!(
            pointer.step(&sample(200_000, por(0.22, 0.41))),
            [Act::Move(middle)]
        );
        assert_eq!(pointer.step(&sample(599_999, por(0.22, 0.41))), []);
        assert_eq!(
            pointer.step(&sample(600_000, por(0.22, 0.41))),
            [Act::Button(true)]
        );
        assert_eq!(
            pointer.step(&sample(640_000, por(0.22, 0.41))),
            [Act::Button(false)]
        );
        assert_eq!(pointer.step(&sample(1_900_000, por(0.22, 0.41))), []);
        pointer.step(&Record::ObjectLeave(visit("yes", 100_000)));
        // The fixation's own mean again, and no click off objects however long.
        assert_eq!(
            pointer.step(&sample(5_000_000, por(0.22, 0.41))),
            [Act::Move([0.22, 0.41])]
        );
        pointer.step(&Record::ObjectEnter(visit("yes", 6_000_000)));
        pointer.step(&sample(6_100_000, por(0.22, 0.41)));
        // Closed eyes do not click.
        assert_eq!(pointer.step(&sample(6_500_000, None)), []);
        assert_eq!(
            pointer.step(&sample(6_540_000, por(0.22, 0.41))),
            [Act::Button(true)]
        );
    }

    #[test]
    fn the_kernel_is_told_in_its_own_words() {
        let mut device = Device(Vec::new());
        device.report(&[]).unwrap();
        device
            .report(&[Act::Move([0.5, 1.0]), Act::Button(true)])
            .unwrap();
        device.report(&[Act::Button(false)]).unwrap();
        // As the kernel reads it.
        const EVENT: usize = size_of::<evdevil::event::InputEvent>();
        let told: Vec<_> = device
            .0
            .chunks(EVENT)
            .map(|event| {
                let (time, rest) = event.split_at(EVENT - 8);
                assert!(time.iter().all(|&byte| byte == 0));
                let half = |at: usize| u16::from_ne_bytes([rest[at], rest[at + 1]]);
                let value = i32::from_ne_bytes(rest[4..].try_into().unwrap());
                (half(0), half(2), value)
            })
            .collect();
        // EV_ABS 3, EV_KEY 1, EV_SYN 0.
        assert_eq!(
            told,
            [
                (3, Abs::X.raw(), 32768),
                (3, Abs::Y.raw(), 65535),
                (1, Key::BTN_LEFT.raw(), 1),
                (0, 0, 0),
                (1, Key::BTN_LEFT.raw(), 0),
                (0, 0, 0)
            ]
        );
    }
}
