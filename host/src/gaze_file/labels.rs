//! A label for each row, from the network or from the events of another detector.

use std::collections::VecDeque;

use gaze_protocol::{GazeAngles, GazeEvent, GazeSample, Span, Timestamp, Validity};
use gaze_signal::{
    AdaptiveSettings, Detector, EventBuf, EventDetector, EventSettings, IvtSettings, Label,
    LabelStream, NoiseSettings,
};

use super::rows::Row;

/// How long a label waits where it comes from events: the longest that a detector may take to be
/// sure of a fixation, and that fixation's shortest length.
const EVENT_DELAY: Span = Span::from_ms(400);

/// What decides about a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FileDetector {
    /// The recurrent network: fixation, saccade, pursuit, blink, oscillation.
    #[default]
    Network,
    /// The most probable partition into places of rest.
    Adaptive,
    /// 30 deg/s with the stages of the Tobii filter.
    Ivt,
    /// The same with a threshold that rises with the noise.
    IvtNoise,
    /// Dispersion.
    Idt,
}

impl FileDetector {
    /// What the event detector is told; none for the network, which labels by itself.
    fn settings(self) -> Option<EventSettings> {
        // A laboratory's tracker is far better than the webcam that the defaults stand for.
        let noise = NoiseSettings {
            first_deg: 0.1,
            smallest_deg: 0.01,
            ..NoiseSettings::default()
        };
        let ivt = |noise_factor| IvtSettings {
            noise_factor,
            ..IvtSettings::default()
        };
        let settings = |detector, ivt| EventSettings {
            detector,
            noise,
            // Nor does its gaze settle after a saccade.
            adaptive: AdaptiveSettings {
                settling_share: 0.0,
                ..AdaptiveSettings::default()
            },
            ivt,
            ..EventSettings::default()
        };
        match self {
            FileDetector::Network => None,
            FileDetector::Adaptive => Some(settings(Detector::Adaptive, ivt(0.0))),
            FileDetector::Ivt => Some(settings(Detector::Ivt, ivt(0.0))),
            FileDetector::IvtNoise => Some(settings(
                Detector::Ivt,
                ivt(IvtSettings::default().noise_factor),
            )),
            FileDetector::Idt => Some(settings(Detector::Idt, ivt(0.0))),
        }
    }
}

/// Gives labels to rows, in order.
#[expect(
    clippy::large_enum_variant,
    reason = "one per file, so the size does not matter"
)]
pub(super) enum Labels {
    Network(LabelStream),
    Events(EventLabels),
}

impl Labels {
    pub fn new(detector: FileDetector) -> Self {
        match detector.settings() {
            None => Labels::Network(LabelStream::default()),
            Some(settings) => Labels::Events(EventLabels::new(settings)),
        }
    }

    /// Takes a row; `out` gets the labels that are now decided, oldest first.
    pub fn step(&mut self, row: &Row, out: &mut Vec<Label>) {
        match self {
            Labels::Network(stream) => {
                stream.step(row.at, angles(row), &mut |label, samples| {
                    out.extend(std::iter::repeat_n(label, samples as usize));
                });
            }
            Labels::Events(labels) => labels.step(row, out),
        }
    }

    /// Ends the recording: decides what waits.
    pub fn finish(&mut self, out: &mut Vec<Label>) {
        match self {
            Labels::Network(stream) => stream.finish(&mut |label, samples| {
                out.extend(std::iter::repeat_n(label, samples as usize));
            }),
            Labels::Events(labels) => labels.finish(out),
        }
    }

    /// How long a label waits now.
    pub fn delay(&self) -> Span {
        match self {
            Labels::Network(stream) => stream.delay(),
            Labels::Events(_) => EVENT_DELAY,
        }
    }
}

/// Yaw is positive to the observer's left and pitch up; the file's x to the right and y down.
fn angles(row: &Row) -> Option<GazeAngles> {
    let [x_deg, y_deg] = row.gaze_deg?;
    Some(GazeAngles {
        yaw_rad: (-x_deg.to_radians()) as f32,
        pitch_rad: (-y_deg.to_radians()) as f32,
    })
}

/// Labels from events: a sample is what the events known [`EVENT_DELAY`] later say.
pub(super) struct EventLabels {
    detector: EventDetector,
    waiting: VecDeque<Timestamp>,
    /// Events that may still hold a waiting sample.
    known: VecDeque<(Timestamp, Timestamp, Label)>,
    /// The fixation that goes on.
    open: Option<Timestamp>,
}

impl EventLabels {
    fn new(settings: EventSettings) -> Self {
        EventLabels {
            detector: EventDetector::new(settings).expect("these settings are in range"),
            waiting: VecDeque::new(),
            known: VecDeque::new(),
            open: None,
        }
    }

    fn step(&mut self, row: &Row, out: &mut Vec<Label>) {
        let gaze = angles(row);
        let sample = GazeSample {
            seq: 0,
            captured_at: row.at,
            // A tracker that loses the eye for a moment has seen a blink.
            validity: gaze.map_or(Validity::EyeClosed, |_| Validity::Valid),
            angles: gaze,
            por: None,
            line_of_gaze: gaze,
            sigma_rad: None,
            lids_are_down: false,
        };
        let mut events = EventBuf::new();
        self.detector.step(&sample, &mut events);
        self.note(&events);
        self.waiting.push_back(row.at);
        while let Some(at) = self
            .waiting
            .pop_front_if(|at| row.at.since(*at) >= EVENT_DELAY)
        {
            out.push(self.label(at));
            self.known.retain(|(_, offset, _)| *offset >= at);
        }
    }

    fn finish(&mut self, out: &mut Vec<Label>) {
        let mut events = EventBuf::new();
        self.detector.finish(&mut events);
        self.note(&events);
        while let Some(at) = self.waiting.pop_front() {
            out.push(self.label(at));
        }
        self.known.clear();
        self.open = None;
    }

    fn note(&mut self, events: &EventBuf) {
        for event in events {
            match event {
                GazeEvent::Fixation(fixation) => {
                    self.open = None;
                    let (onset, offset) = (fixation.onset, fixation.offset);
                    self.known.push_back((onset, offset, Label::Fixation));
                }
                // Its onset still belongs to the fixation before; where it lands, the gaze arrived.
                GazeEvent::Saccade(saccade) => {
                    let first = saccade.onset + Span(1);
                    self.known
                        .push_front((first, saccade.offset, Label::Saccade));
                }
                GazeEvent::Begin(open) | GazeEvent::Update(open)
                    if open.kind == gaze_protocol::EventKind::Fixation =>
                {
                    self.open = Some(open.onset);
                }
                _ => {}
            }
        }
    }

    /// What no event holds is undefined.
    fn label(&self, at: Timestamp) -> Label {
        let holds =
            |(onset, offset, _): &&(Timestamp, Timestamp, Label)| (*onset..=*offset).contains(&at);
        let known = self.known.iter().find(holds).map(|(_, _, label)| *label);
        let open = self.open.filter(|onset| *onset <= at);
        known
            .or(open.map(|_| Label::Fixation))
            .unwrap_or(Label::Blink)
    }
}
