//! What a thread does whose camera, board or broker is not there: it tries again, and says why once.

use std::time::Duration;

/// Waits between attempts: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Attempts to open one thing.
#[derive(Debug)]
pub(crate) struct Retry {
    wait: Duration,
    problem: String,
}

impl Retry {
    pub(crate) fn new() -> Self {
        Retry {
            wait: FIRST_WAIT,
            problem: String::new(),
        }
    }

    /// It is open: whatever goes wrong next is worth saying.
    pub(crate) fn opened(&mut self) {
        self.problem.clear();
    }

    /// It does what it is for, and not just open: the next wait is a short one.
    pub(crate) fn works(&mut self) {
        self.wait = FIRST_WAIT;
    }

    /// Whether this is to be said, being another problem than the last attempt's.
    pub(crate) fn is_news(&mut self, problem: &str) -> bool {
        let is_news = self.problem != problem;
        problem.clone_into(&mut self.problem);
        is_news
    }

    /// How long to wait before the next attempt: twice as long as before the last one.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(LAST_WAIT);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_until_it_works_and_a_problem_is_news_once() {
        let mut retry = Retry::new();
        let waits_ms: Vec<_> = (0..7).map(|_| retry.next_wait().as_millis()).collect();
        assert_eq!(waits_ms, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert!(retry.is_news("no camera"));
        assert!(!retry.is_news("no camera"));
        assert!(retry.is_news("it is busy"));
        retry.opened();
        assert!(retry.is_news("it is busy"));
        assert_eq!(retry.next_wait(), LAST_WAIT);
        retry.works();
        assert_eq!(retry.next_wait(), FIRST_WAIT);
    }
}
