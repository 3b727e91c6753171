//! One stream of samples in, its eye-movement events out.

use gaze_protocol::{GazeSample, Timestamp};

use crate::LONGEST_STEP_BACK;
use crate::adaptive::{Adaptive, AdaptiveSettings};
use crate::blink::{BlinkSettings, Continuity, Link, Presence};
use crate::event_buf::EventBuf;
use crate::fixation::UsableSample;
use crate::idt::{Idt, IdtSettings};
use crate::ivt::{Ivt, IvtSettings};
use crate::life::{Lives, Open};
use crate::network::{Network, NetworkSettings};
use crate::noise::Noise;
use crate::runs::RunSettings;
use crate::settings::{SettingProblem, SettingProblems, settings};

/// How fixations are told from saccades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Detector {
    /// The most probable partition of the stream into places of rest. Made for webcams.
    #[default]
    Adaptive,
    /// Velocity threshold: for clean, fast trackers.
    Ivt,
    /// Dispersion threshold: for clean, slow trackers.
    Idt,
    /// A small recurrent network, which also tells pursuit. For trackers of 60 Hz and more.
    Network,
}

settings! {
    /// The running estimate of the noise, which all detectors adapt to.
    pub struct NoiseSettings {
        /// Standard deviation per axis that is assumed until a second of gaze has been seen, deg;
        /// 0.01 to 5. Default 0.5, a good webcam.
        pub first_deg: f32,
        /// The estimate never goes below this, deg; 0.01 to 5. Default 0.3: what noise that is
        /// alike from frame to frame, and so does not show in the estimate, comes to.
        pub smallest_deg: f32,
        /// Nor above this, deg; 0.01 to 10. Default 2: beyond it no saccade of webcam use stands
        /// out.
        pub largest_deg: f32,
    }
}

impl Default for NoiseSettings {
    fn default() -> Self {
        NoiseSettings {
            first_deg: 0.5,
            smallest_deg: 0.3,
            largest_deg: 2.0,
        }
    }
}

impl NoiseSettings {
    /// Every setting that is out of range.
    pub fn check(&self) -> SettingProblems {
        let mut problems = SettingProblems::default();
        problems.range("noise.first_deg", self.first_deg, 0.01, 5.0);
        problems.range("noise.smallest_deg", self.smallest_deg, 0.01, 5.0);
        problems.range("noise.largest_deg", self.largest_deg, 0.01, 10.0);
        if problems.is_empty() {
            let key = "noise.largest_deg";
            problems.range(key, self.largest_deg, self.smallest_deg, 10.0);
        }
        problems
    }
}

settings! {
    /// Everything that the event detector can be told.
    #[derive(Default)]
    pub struct EventSettings {
        /// Which detector decides.
        pub detector: Detector,
        /// Blinks and gaps.
        pub blink: BlinkSettings,
        /// The noise estimate.
        pub noise: NoiseSettings,
        /// Used when `detector` is adaptive.
        pub adaptive: AdaptiveSettings,
        /// Used when `detector` is ivt.
        pub ivt: IvtSettings,
        /// Used when `detector` is idt.
        pub idt: IdtSettings,
        /// Used when `detector` is ivt or idt.
        pub runs: RunSettings,
        /// Used when `detector` is network.
        pub network: NetworkSettings,
    }
}

impl EventSettings {
    /// Every setting that is out of range, those of detectors not in use included.
    pub fn check(&self) -> SettingProblems {
        let mut problems = self.blink.check();
        problems.append(self.noise.check());
        problems.append(self.adaptive.check());
        problems.append(self.ivt.check());
        problems.append(self.idt.check());
        problems.append(self.runs.check());
        problems.append(self.network.check());
        problems
    }
}

/// The detector in use. One per stream, so the size of the largest does not matter.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one per stream, and there is no allocator to box with"
)]
enum FixationDetector {
    Adaptive(Adaptive),
    Ivt(Ivt),
    Idt(Idt),
    Network(Network),
}

/// Finds fixations, saccades, blinks and gaps in a stream of gaze samples.
///
/// Each kind of event comes in the order of its onsets; fixations and saccades do not overlap (a
/// saccade begins with the last sample of one fixation and ends with the first of the next), nor do
/// blinks and gaps. A blink may lie within a fixation: the person kept looking at the same place.
/// A fixation of any length takes the same memory: sums are kept, not samples.
#[derive(Clone, Debug)]
pub struct EventDetector {
    continuity: Continuity,
    fixations: FixationDetector,
    lives: Lives,
    last_at: Option<Timestamp>,
}

impl EventDetector {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// The first setting that is out of range; [`EventSettings::check`] finds them all.
    pub fn new(settings: EventSettings) -> Result<Self, SettingProblem> {
        settings.check().into_result()?;
        let limits = settings.noise;
        let noise = Noise::new(
            limits.first_deg.to_radians(),
            limits.smallest_deg.to_radians(),
            limits.largest_deg.to_radians(),
        );
        Ok(EventDetector {
            continuity: Continuity::new(settings.blink),
            fixations: match settings.detector {
                Detector::Adaptive => {
                    FixationDetector::Adaptive(Adaptive::new(settings.adaptive, noise))
                }
                Detector::Ivt => {
                    FixationDetector::Ivt(Ivt::new(settings.ivt, settings.runs, noise))
                }
                Detector::Network => FixationDetector::Network(Network::new(settings.network)),
                Detector::Idt => {
                    FixationDetector::Idt(Idt::new(settings.idt, settings.runs, noise))
                }
            },
            lives: Lives::default(),
            last_at: None,
        })
    }

    /// Turns one sample into what it tells of events, usually nothing, and adds that to `out`: first
    /// those that it completes, then those that begin or change.
    ///
    /// A sample whose time does not advance is passed over; one that steps back by more than a
    /// second ends everything open and starts a new stream. Numbers that are not finite count as
    /// low confidence.
    pub fn step(&mut self, sample: &GazeSample, out: &mut EventBuf) {
        let at = sample.captured_at;
        if let Some(last_at) = self.last_at.filter(|last_at| at <= *last_at) {
            if last_at.since(at) <= LONGEST_STEP_BACK {
                return;
            }
            self.finish(out);
        }
        self.last_at = Some(at);
        let first = out.as_slice().len();
        let presence = Presence::of(sample);
        let link = self.continuity.step(at, presence);
        if link == Link::Broken {
            self.flush(out);
        }
        self.continuity.report(out);
        let gaze = sample.line_of_gaze.filter(|_| presence == Presence::Usable);
        let is_finite =
            |por: &gaze_protocol::PointOfRegard| por.x_mm.is_finite() && por.y_mm.is_finite();
        let usable = gaze.map(|gaze| UsableSample {
            at,
            gaze,
            por: sample.por.filter(is_finite),
        });
        match (&mut self.fixations, &usable) {
            (FixationDetector::Adaptive(adaptive), Some(usable)) => {
                adaptive.step(usable, link, out)
            }
            (FixationDetector::Ivt(ivt), Some(usable)) => ivt.step(usable, link, out),
            (FixationDetector::Idt(idt), Some(usable)) => idt.step(usable, link, out),
            // The network is also told that gaze is missing, as long as it may come back.
            (FixationDetector::Network(network), usable)
                if usable.is_some() || link != Link::Broken =>
            {
                network.step(at, usable.as_ref(), out);
            }
            _ => {}
        }
        let (gaze, absence) = (self.open(), self.continuity.open());
        self.lives.step(out, first, gaze, absence);
    }

    /// Ends the stream: what is open is completed. The next sample starts a new stream.
    pub fn finish(&mut self, out: &mut EventBuf) {
        let first = out.as_slice().len();
        self.flush(out);
        self.continuity.finish();
        self.continuity.report(out);
        self.lives.step(out, first, None, None);
        self.last_at = None;
    }

    /// The noise in the gaze as estimated now: standard deviation per axis, radians, within the
    /// limits of [`NoiseSettings`]; none from the network, which has its own measure.
    pub fn noise_rad(&self) -> Option<f32> {
        match &self.fixations {
            FixationDetector::Adaptive(adaptive) => Some(adaptive.noise_rad()),
            FixationDetector::Ivt(ivt) => Some(ivt.noise_rad()),
            FixationDetector::Idt(idt) => Some(idt.noise_rad()),
            FixationDetector::Network(_) => None,
        }
    }

    fn open(&self) -> Option<Open> {
        match &self.fixations {
            FixationDetector::Adaptive(adaptive) => adaptive.open(),
            FixationDetector::Ivt(ivt) => ivt.open(),
            FixationDetector::Idt(idt) => idt.open(),
            FixationDetector::Network(network) => network.open(),
        }
    }

    fn flush(&mut self, out: &mut EventBuf) {
        match &mut self.fixations {
            FixationDetector::Adaptive(adaptive) => adaptive.flush(out),
            FixationDetector::Ivt(ivt) => ivt.flush(out),
            FixationDetector::Idt(idt) => idt.flush(out),
            FixationDetector::Network(network) => network.flush(out),
        }
    }
}
