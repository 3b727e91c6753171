//! While a camera, a board or a broker is missing: longer and longer waits, and why, said once.

use std::time::Duration;

/// Between attempts: doubled from the first to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Waits between attempts to open the same thing.
#[derive(Debug)]
pub(crate) struct Waits {
    next: Duration,
}

impl Waits {
    pub(crate) fn new() -> Self {
        Waits { next: FIRST_WAIT }
    }

    /// Begins with the first again, because the thing did what it is for.
    pub(crate) fn start_over(&mut self) {
        self.next = FIRST_WAIT;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST_WAIT);
        wait
    }
}

/// The problem that was said last, so that it is said once, however often it comes.
#[derive(Debug, Default)]
pub(crate) struct LastProblem(String);

impl LastProblem {
    /// Keeps it, and tells whether it is another than the last.
    pub(crate) fn note(&mut self, problem: &str) -> bool {
        let is_new = self.0 != problem;
        problem.clone_into(&mut self.0);
        is_new
    }

    /// There is none any more: the next is a new one.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over() {
        let mut waits = Waits::new();
        let waits_ms: Vec<_> = (0..7).map(|_| waits.next().as_millis()).collect();
        assert_eq!(waits_ms, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        waits.start_over();
        assert_eq!(waits.next(), FIRST_WAIT);
    }

    #[test]
    fn a_problem_is_new_once() {
        let mut last = LastProblem::default();
        assert!(last.note("no camera"));
        assert!(!last.note("no camera"));
        assert!(last.note("it is busy"));
        last.forget();
        assert!(last.note("it is busy"));
    }
}
