//! One flag that ends every thread, and a sleep that it interrupts.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Shared by all threads of a pipeline; cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// A flag that is not set.
    pub fn new() -> Self {
        Stop::default()
    }

    /// Asks every thread to end.
    pub fn set(&self) {
        *self.0.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }

    /// Whether the end was asked for.
    pub fn is_set(&self) -> bool {
        *self.0.is_set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps for `time`, or until the end is asked for; says whether it was.
    pub fn wait(&self, time: Duration) -> bool {
        let guard = self.0.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        let (is_set, _) = self
            .0
            .changed
            .wait_timeout_while(guard, time, |is_set| !*is_set)
            .unwrap_or_else(PoisonError::into_inner);
        *is_set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_it_ends_a_sleep_in_another_thread() {
        let stop = Stop::new();
        let sleeper = {
            let stop = stop.clone();
            std::thread::spawn(move || stop.wait(Duration::from_secs(3600)))
        };
        stop.set();
        assert!(sleeper.join().unwrap());
        assert!(stop.is_set());
    }
}
