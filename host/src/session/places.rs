//! Where targets are shown, and in which order.

use std::f32::consts::TAU;

use crate::random::SplitMix64;

/// Shares of the screen for 1, 5, 9 or 13 targets; none for other numbers.
pub(super) fn grid(n: u32) -> Option<Vec<[f32; 2]>> {
    let middle = [[0.5, 0.5]];
    let corners = [[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9]];
    let edges = [[0.5, 0.1], [0.1, 0.5], [0.9, 0.5], [0.5, 0.9]];
    let inner = [[0.3, 0.3], [0.7, 0.3], [0.3, 0.7], [0.7, 0.7]];
    Some(match n {
        1 => middle.to_vec(),
        5 => [&middle[..], &corners].concat(),
        9 => [&middle[..], &corners, &edges].concat(),
        13 => [&middle[..], &corners, &edges, &inner].concat(),
        _ => return None,
    })
}

/// Shares of the screen for validation: at least a tenth away from every place of [`grid`].
pub(super) const VALIDATION: [[f32; 2]; 4] = [[0.2, 0.4], [0.6, 0.25], [0.8, 0.6], [0.4, 0.75]];

/// Where a moving target is after a share of its time: a closed curve over the whole screen, at
/// most 13° a second on a monitor of 53 cm at 60 cm when it takes 30 s.
pub(super) fn on_path(share: f32) -> [f32; 2] {
    let (across, down) = (3.0 * TAU * share, 2.0 * TAU * share);
    [0.5 + 0.4 * across.sin(), 0.5 + 0.4 * down.sin()]
}

/// Puts a list into an order that the seed decides (Fisher and Yates, with SplitMix64).
pub(super) fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut random = SplitMix64(seed);
    for end in (1..list.len()).rev() {
        // The list is short: the bias of the remainder is below 1e-17.
        list.swap(end, (random.draw() % (end as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_is_used_both_to_fit_and_to_judge() {
        for n in [1, 5, 9, 13] {
            let places = grid(n).unwrap();
            assert_eq!(places.len(), n as usize);
            for [x, y] in places {
                for [vx, vy] in VALIDATION {
                    assert!((x - vx).hypot(y - vy) > 0.1);
                }
            }
        }
        assert_eq!(grid(7), None);
    }

    #[test]
    fn the_seed_decides_the_order_and_nothing_is_lost() {
        let order = |seed| {
            let mut list: Vec<u32> = (0..13).collect();
            shuffle(&mut list, seed);
            list
        };
        assert_eq!(order(4), order(4));
        assert_ne!(order(4), order(5));
        let mut sorted = order(4);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..13).collect::<Vec<u32>>());
    }

    #[test]
    fn the_path_stays_on_the_screen_and_reaches_its_edges() {
        let points: Vec<[f32; 2]> = (0..=300u16)
            .map(|i| on_path(f32::from(i) / 300.0))
            .collect();
        let low = points.iter().fold(1f32, |low, p| low.min(p[0]).min(p[1]));
        let high = points.iter().fold(0f32, |high, p| high.max(p[0]).max(p[1]));
        assert!((low - 0.1).abs() < 0.01 && (high - 0.9).abs() < 0.01);
    }
}
