//! Tells open from closed eyes by how far a person's eyes are usually open.
//!
//! The eye network gives each eye an openness from 0 to 1. How much of it is "open" differs between
//! people and cameras, so the lids are *down* when the eyes are open much less than they usually
//! are, and what is usual is learnt as frames come in. With nothing learnt yet, as in a single
//! picture, it is what the model's manifest says of people in general.
//!
//! Lids also come down when a person looks down, at a keyboard say, and in one frame that looks
//! like a blink. Only time tells them apart: lids that stay down for longer than a blink, with at
//! least one eye not quite shut, belong to a person who looks down.

use gaze_protocol::{Span, Timestamp};

/// The lids are down when the mean opening of the eyes is below this share of the usual one. Of 0.5
/// to 0.65 each finds the same blinks in our clips, so half closed it is, and a little.
const DOWN_SHARE: f32 = 0.6;
/// They are up again above this share; the distance keeps a lid on the edge from flickering.
const UP_SHARE: f32 = 0.75;
/// An eye that is as open as this share of its usual opening means a wink, or a bad guess about
/// the other eye: the lids do not come down …
const WINK_SHARE: f32 = 0.85;
/// … and are up again when one eye has been as open as this for so long: one frame may be a bad guess.
const ONE_UP_SHARE: f32 = 0.95;
const ONE_UP_FOR: Span = Span::from_ms(30);
/// Lids that are down for longer belong to no blink: the longest blink of the event detector's
/// default settings (Caffier et al. 2003).
const LONGEST_BLINK: Span = Span::from_ms(500);
/// Share of the openness of a closed eye (of people in general) that the more open eye of a person
/// who looks down shows at least, and for how long, so that one bad frame does not wake a sleeper.
const LOOKING_DOWN_SHARE: f32 = 0.75;
const LOOKING_DOWN_FOR: Span = Span::from_ms(100);

/// Time constants with which the usual opening follows the opening up and down, s: it settles near
/// the wide end of what an eye shows, within a second, and a long look down hardly moves it.
const USUAL_UP_S: f32 = 0.5;
const USUAL_DOWN_S: f32 = 20.0;
/// After an absence this long somebody else may have come.
const LONGEST_ABSENCE: Span = Span::from_ms(1000);

/// What the lids of one frame do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LidState {
    /// Whether this may be part of a blink: the eyes are shut, or on their way.
    pub are_down: bool,
    /// Whether an eye is open enough to be looked into, in the order of the openness given.
    pub is_open: [bool; 2],
}

/// Follows the lids of one person.
#[derive(Clone, Debug)]
pub struct Lids {
    /// Openness below which an eye of an unknown person counts as closed.
    closed_openness: f32,
    usual: [f32; 2],
    last_at: Option<Timestamp>,
    down_since: Option<Timestamp>,
    /// Since when one eye has been open.
    one_up_since: Option<Timestamp>,
    /// Since when an eye has been open enough for a look down.
    half_open_since: Option<Timestamp>,
    is_looking_down: bool,
}

impl Lids {
    /// Lids of a person of whom nothing is known yet.
    pub fn new(closed_openness: f32) -> Self {
        Lids {
            closed_openness,
            usual: [closed_openness / DOWN_SHARE; 2],
            last_at: None,
            down_since: None,
            one_up_since: None,
            half_open_since: None,
            is_looking_down: false,
        }
    }

    /// Forgets the person.
    pub fn reset(&mut self) {
        *self = Lids::new(self.closed_openness);
    }

    /// Judges the lids of the frame taken at `at` by the openness of both eyes, 0 to 1; none for an
    /// eye that is not seen.
    pub fn step(&mut self, at: Timestamp, openness: [Option<f32>; 2]) -> LidState {
        let mut elapsed = self.last_at.map_or(Span::default(), |last| at.since(last));
        if elapsed > LONGEST_ABSENCE {
            self.reset();
            elapsed = Span::default();
        }
        self.last_at = Some(at);
        let shares: [Option<f32>; 2] =
            std::array::from_fn(|eye| openness[eye].map(|open| (open / self.usual[eye]).min(1.0)));
        self.follow(at, shares, openness);
        self.learn(elapsed, openness);
        let are_down = self.down_since.is_some() && !self.is_looking_down;
        LidState {
            are_down,
            is_open: std::array::from_fn(|eye| {
                let is_wider = shares[eye] >= shares[1 - eye];
                openness[eye]
                    .is_some_and(|open| open >= self.closed_openness || (is_wider && !are_down))
            }),
        }
    }

    /// Decides whether the lids are down, and whether that is a look down.
    fn follow(&mut self, at: Timestamp, shares: [Option<f32>; 2], openness: [Option<f32>; 2]) {
        let seen = || shares.into_iter().flatten();
        let widest = seen().fold(0.0, f32::max);
        let mean = seen().sum::<f32>() / seen().count().max(1) as f32;
        self.one_up_since = (widest >= ONE_UP_SHARE).then(|| self.one_up_since.unwrap_or(at));
        if seen().next().is_none() {
            self.down_since = None;
        } else if self.down_since.is_none() {
            self.is_looking_down = false;
            if mean < DOWN_SHARE && widest < WINK_SHARE {
                self.down_since = Some(at);
            }
        } else if mean >= UP_SHARE
            || self
                .one_up_since
                .is_some_and(|since| at.since(since) >= ONE_UP_FOR)
        {
            self.down_since = None;
        }
        let floor = LOOKING_DOWN_SHARE * self.closed_openness;
        if openness.into_iter().flatten().all(|open| open < floor) {
            self.half_open_since = None;
        } else {
            self.half_open_since.get_or_insert(at);
        }
        if let (Some(down), Some(half_open)) = (self.down_since, self.half_open_since)
            && at.since(down) > LONGEST_BLINK
            && at.since(half_open) >= LOOKING_DOWN_FOR
        {
            self.is_looking_down = true;
        }
    }

    fn learn(&mut self, elapsed: Span, openness: [Option<f32>; 2]) {
        let floor = self.closed_openness / DOWN_SHARE;
        for (usual, open) in self.usual.iter_mut().zip(openness) {
            let Some(open) = open else { continue };
            let time_constant_s = if open > *usual {
                USUAL_UP_S
            } else {
                USUAL_DOWN_S
            };
            let share = 1.0 - (-elapsed.as_s() / time_constant_s).exp();
            *usual = (*usual + share * (open - *usual)).max(floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: f32 = 0.3;
    const FRAME_US: u64 = 33_333;

    /// The states of a sequence of (frames, right openness, left openness).
    fn states(parts: &[(usize, f32, f32)]) -> Vec<LidState> {
        let mut lids = Lids::new(CLOSED);
        let frames = parts
            .iter()
            .flat_map(|&(n, right, left)| std::iter::repeat_n([right, left], n));
        frames
            .enumerate()
            .map(|(n, open)| lids.step(Timestamp(n as u64 * FRAME_US), open.map(Some)))
            .collect()
    }

    fn down(states: &[LidState]) -> usize {
        states.iter().filter(|state| state.are_down).count()
    }

    #[test]
    fn a_single_picture_is_judged_by_people_in_general() {
        let shut = states(&[(1, 0.1, 0.2)]);
        assert_eq!(
            shut,
            [LidState {
                are_down: true,
                is_open: [false; 2]
            }]
        );
        let narrow = states(&[(1, 0.35, 0.35)]);
        assert_eq!(
            narrow,
            [LidState {
                are_down: false,
                is_open: [true; 2]
            }]
        );
    }

    #[test]
    fn half_closed_lids_are_a_blink_of_wide_eyes_and_the_habit_of_narrow_ones() {
        let wide = states(&[(60, 0.95, 0.95), (4, 0.5, 0.5), (30, 0.95, 0.95)]);
        assert_eq!(down(&wide), 4);
        // Half closed is open enough to look into.
        assert!(wide.iter().all(|state| state.is_open == [true; 2]));
        let narrow = states(&[(94, 0.5, 0.5)]);
        assert_eq!(down(&narrow), 0);
    }

    #[test]
    fn shut_eyes_give_no_gaze() {
        let blink = states(&[(60, 0.9, 0.9), (5, 0.05, 0.1), (30, 0.9, 0.9)]);
        assert_eq!(down(&blink), 5);
        let without = blink.iter().filter(|state| state.is_open == [false; 2]);
        assert_eq!(without.count(), 5);
    }

    #[test]
    fn a_long_look_down_is_no_blink_and_gives_gaze_again() {
        // One eye nearly hidden by its lid, the other one at 0.27, above 0.75 of 0.3.
        let reading = states(&[(60, 0.9, 0.9), (40, 0.27, 0.02), (30, 0.9, 0.9)]);
        // 500 ms and the frame that is later: frames 60 to 75.
        assert_eq!(down(&reading), 16);
        assert!(
            reading[76..100]
                .iter()
                .all(|state| state.is_open == [true, false])
        );
    }

    #[test]
    fn eyes_that_stay_shut_stay_closed() {
        // One frame in the middle looks half open.
        let asleep = states(&[
            (60, 0.9, 0.9),
            (150, 0.05, 0.1),
            (1, 0.3, 0.1),
            (149, 0.05, 0.1),
        ]);
        assert_eq!(down(&asleep), 300);
        let from_the_start = states(&[(90, 0.2, 0.15)]);
        assert_eq!(down(&from_the_start), 90);
        let shut = |state: &&LidState| state.is_open == [false; 2];
        assert_eq!(asleep[60..].iter().filter(shut).count(), 299);
        assert_eq!(from_the_start.iter().filter(shut).count(), 90);
    }

    #[test]
    fn a_wink_leaves_the_other_eye() {
        let wink = states(&[(60, 0.9, 0.9), (6, 0.05, 0.85), (30, 0.9, 0.9)]);
        assert_eq!(down(&wink), 0);
        assert_eq!(wink[62].is_open, [false, true]);
    }

    #[test]
    fn one_frame_of_one_open_eye_does_not_lift_the_lids() {
        let down_and_up = |frames| {
            down(&states(&[
                (60, 0.9, 0.9),
                (5, 0.3, 0.05),
                (frames, 0.9, 0.05),
                (5, 0.3, 0.05),
                (30, 0.9, 0.9),
            ]))
        };
        assert_eq!(down_and_up(1), 11);
        // The first of the three is down still, the other two are up.
        assert_eq!(down_and_up(3), 11);
    }

    #[test]
    fn a_lid_on_the_edge_does_not_flicker() {
        let mut lids = Lids::new(CLOSED);
        let mut changes = 0;
        let mut before = false;
        for n in 0..75u64 {
            // 0.65 of the usual opening, plus and minus 0.03.
            let open = if n < 60 {
                0.9
            } else if n < 63 {
                0.5
            } else {
                0.585 + if n % 2 == 0 { 0.03 } else { -0.03 }
            };
            let state = lids.step(Timestamp(n * FRAME_US), [Some(open); 2]);
            changes += usize::from(state.are_down != before);
            before = state.are_down;
        }
        assert_eq!(changes, 1);
    }

    #[test]
    fn somebody_who_comes_later_is_judged_anew() {
        let mut lids = Lids::new(CLOSED);
        for n in 0..60u64 {
            lids.step(Timestamp(n * FRAME_US), [Some(0.95); 2]);
        }
        let narrow = [Some(0.45); 2];
        assert!(lids.step(Timestamp(60 * FRAME_US), narrow).are_down);
        assert!(!lids.step(Timestamp(5_000_000), narrow).are_down);
    }

    #[test]
    fn hidden_eyes_are_neither_open_nor_down() {
        let mut lids = Lids::new(CLOSED);
        let state = lids.step(Timestamp(0), [None; 2]);
        assert!(!state.are_down && state.is_open == [false; 2]);
        let one = lids.step(Timestamp(FRAME_US), [None, Some(0.8)]);
        assert_eq!(one.is_open, [false, true]);
    }
}
