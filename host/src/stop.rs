//! One flag that ends every thread, a sleep that it cuts short, and the signals that raise it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

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

    /// Wakes whoever sleeps in [`StopFlag::wait_until`], to look again.
    pub fn stir(&self) {
        // Under the lock: a sleeper has either not looked yet, or sleeps already and is woken.
        let _guard = self
            .0
            .is_raised
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.0.changed.notify_all();
    }

    /// Sleeps until `is_over` says so, which is asked at first and after every
    /// [`StopFlag::stir`], or until the flag is raised; says whether it was.
    pub fn wait_until(&self, is_over: impl Fn() -> bool) -> bool {
        let guard = self
            .0
            .is_raised
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *self
            .0
            .changed
            .wait_while(guard, |is_raised| !*is_raised && !is_over())
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

/// SIGTERM and SIGINT (Ctrl-C), which do not end the process from now on.
#[derive(Debug)]
pub struct CaughtSignals(Signals);

impl CaughtSignals {
    /// Catches them; what comes before [`CaughtSignals::raise`] is kept for it.
    ///
    /// # Errors
    /// The system's reason.
    pub fn new() -> io::Result<Self> {
        Signals::new([SIGTERM, SIGINT]).map(CaughtSignals)
    }

    /// Starts the thread that raises the flag at the first signal; it is not waited for.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn raise(mut self, stop: StopFlag) -> io::Result<()> {
        std::thread::Builder::new()
            .name("gaze-signal".to_owned())
            .spawn(move || {
                if self.0.forever().next().is_some() {
                    stop.raise();
                }
            })
            .map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

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
        assert!(stop.wait_until(|| false));
    }

    #[test]
    fn stirring_makes_a_sleeper_look_again() {
        let (stop, is_over) = (StopFlag::new(), Arc::new(AtomicBool::new(false)));
        let sleeper = {
            let (stop, is_over) = (stop.clone(), Arc::clone(&is_over));
            std::thread::spawn(move || stop.wait_until(|| is_over.load(Ordering::SeqCst)))
        };
        stop.stir();
        is_over.store(true, Ordering::SeqCst);
        stop.stir();
        assert!(!sleeper.join().unwrap());
    }

    #[test]
    fn a_signal_that_came_early_is_not_lost() {
        let signals = CaughtSignals::new().unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        let stop = StopFlag::new();
        signals.raise(stop.clone()).unwrap();
        // Ends with the flag; an hour is for ever.
        assert!(stop.wait(Duration::from_secs(3600)));
    }
}
