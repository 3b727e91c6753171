//! One flag that ends every thread, and a sleep that it cuts short.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Shared by all threads of a pipeline; cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_raised: Mutex<bool>,
    changed: Condvar,
}

impl StopFlag {
    /// A lowered flag.
    pub fn new() -> Self {
        StopFlag::default()
    }

    /// Raises the flag for good: every thread ends.
    pub fn raise(&self) {
        *self
            .0
            .is_raised
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }

    /// Whether the flag was raised.
    pub fn is_raised(&self) -> bool {
        *self
            .0
            .is_raised
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps for `time`, or until the flag is raised; says whether it was.
    pub fn wait(&self, time: Duration) -> bool {
        let guard = self
            .0
            .is_raised
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (is_raised, _) = self
            .0
            .changed
            .wait_timeout_while(guard, time, |is_raised| !*is_raised)
            .unwrap_or_else(PoisonError::into_inner);
        *is_raised
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_it_ends_a_sleep_in_another_thread() {
        let stop = StopFlag::new();
        let sleeper = {
            let stop = stop.clone();
            std::thread::spawn(move || stop.wait(Duration::from_secs(3600)))
        };
        stop.raise();
        assert!(sleeper.join().unwrap());
        assert!(stop.is_raised());
    }
}
