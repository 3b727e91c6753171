//! From logits to labels that do not flicker: a change needs a margin.

use gaze_protocol::Span;

use super::gru::CLASSES;

/// What one tick is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// The eyes rest.
    Fixation,
    /// The eyes jump.
    Saccade,
    /// The eyes follow something.
    Pursuit,
    /// Closed eyes, no gaze, or gaze that makes no sense.
    Blink,
    /// The eye swings after a saccade; only told apart where ticks hold several samples.
    Oscillation,
}

/// All labels, in the network's order.
const LABELS: [Label; CLASSES] = [
    Label::Fixation,
    Label::Saccade,
    Label::Pursuit,
    Label::Blink,
    Label::Oscillation,
];

// By how much a label's logit has to be above the current label's; found on the clips that the
// configuration in `models/training` calls `val`.

/// From fixation to pursuit, which begin alike.
const TO_PURSUIT: f32 = 0.5;
/// And back.
const TO_FIXATION: f32 = 1.0;
/// Any other change, where ticks are closer together than this.
const FAST: Span = Span::from_ms(10);
const CHANGE: f32 = 0.3;
/// Valid gaze in a blink is rare.
const BLINK: f32 = 0.5;
/// Where ticks hold several samples, people end saccades earlier than the network learnt (Lund2013).
const SACCADE_AT_HIGH_RATES: f32 = 1.0;

/// Keeps the last label.
#[derive(Clone, Debug)]
pub struct Steady {
    last: Option<Label>,
    change: f32,
}

impl Steady {
    /// Nothing labelled yet; `interval` is the time between ticks.
    pub fn new(interval: Span) -> Self {
        Steady {
            last: None,
            change: if interval < FAST { CHANGE } else { 0.0 },
        }
    }

    /// The label of the tick with these logits, which stands for so many samples.
    pub fn step(&mut self, logits: &[f32; CLASSES], samples: u32) -> Label {
        let mut best = (f32::NEG_INFINITY, Label::Fixation);
        for (label, logit) in LABELS.into_iter().zip(logits) {
            let worth = logit - self.margin(label, samples);
            if worth > best.0 {
                best = (worth, label);
            }
        }
        self.last = Some(best.1);
        best.1
    }

    fn margin(&self, to: Label, samples: u32) -> f32 {
        let rarity = match to {
            Label::Blink => BLINK,
            Label::Saccade if samples > 1 => SACCADE_AT_HIGH_RATES,
            _ => 0.0,
        };
        let change = match (self.last, to) {
            (None, _) => 0.0,
            (Some(from), to) if from == to => 0.0,
            (Some(Label::Fixation), Label::Pursuit) => TO_PURSUIT,
            (Some(Label::Pursuit), Label::Fixation) => TO_FIXATION,
            _ => self.change,
        };
        rarity + change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_stays_until_another_is_better_by_the_margin() {
        let mut steady = Steady::new(Span::from_ms(4));
        let mut label = |fixation, saccade, pursuit| {
            steady.step(&[fixation, saccade, pursuit, f32::MIN, f32::MIN], 1)
        };
        assert_eq!(label(1.0, 0.0, 0.0), Label::Fixation);
        assert_eq!(label(1.0, 0.0, 1.4), Label::Fixation);
        assert_eq!(label(1.0, 0.0, 1.6), Label::Pursuit);
        assert_eq!(label(1.9, 0.0, 1.0), Label::Pursuit);
        assert_eq!(label(1.0, 1.2, 1.0), Label::Pursuit);
        assert_eq!(label(1.0, 1.4, 1.0), Label::Saccade);
    }
}
