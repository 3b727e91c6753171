//! Who uses gaze now. While nobody does, the camera is off and the networks sleep.
//!
//! | user | while |
//! |---|---|
//! | a program on the event socket, on `/events` or on an output's port | it is subscribed |
//! | an output that calls by itself (MQTT) | its setting is there |
//! | the picture on the page | it is shown |
//! | a calibration, a recentring | it has not ended |
//! | a board with a lamp, switch or servo | it answers |
//! | a program with the chain in its own process | it keeps its receiver |
//!
//! `gazed record` and `gazed watch` are subscribers. Reading `/status`, announcing a scene, or being
//! connected without a subscription is no use of gaze.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::stop::StopFlag;

/// Counts users; cloning shares the count.
#[derive(Clone, Debug, Default)]
pub struct Demand(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    users: Mutex<Users>,
    stop: StopFlag,
}

#[derive(Debug)]
struct Users {
    count: BTreeMap<UserKind, usize>,
    /// When the last one left, or when counting began.
    since: Instant,
}

impl Default for Users {
    fn default() -> Self {
        Users {
            count: BTreeMap::new(),
            since: Instant::now(),
        }
    }
}

/// What kind of user; the name in `/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UserKind {
    /// Subscribed to records.
    Subscriber,
    /// The picture is shown.
    Picture,
    /// A calibration is under way.
    Calibration,
    /// A board that acts on gaze.
    Board,
    /// A receiver in this process.
    Receiver,
}

/// One user, until it is dropped.
#[derive(Debug)]
pub struct User {
    demand: Demand,
    kind: UserKind,
}

impl Demand {
    /// Nobody uses gaze yet. `stop` ends [`Demand::wait`].
    pub fn new(stop: StopFlag) -> Self {
        Demand(Arc::new(Shared {
            users: Mutex::default(),
            stop,
        }))
    }

    /// Counts one more, and wakes who waits for it.
    pub fn enter(&self, kind: UserKind) -> User {
        *self.users().count.entry(kind).or_default() += 1;
        self.0.stop.stir();
        User {
            demand: self.clone(),
            kind,
        }
    }

    /// How many there are of each kind.
    pub fn count(&self) -> BTreeMap<UserKind, usize> {
        self.users().count.clone()
    }

    /// For how long there has been nobody; none while there is somebody.
    pub fn unused_for(&self) -> Option<Duration> {
        let users = self.users();
        users.count.is_empty().then(|| users.since.elapsed())
    }

    /// Sleeps until there is somebody, or the stop flag is raised; says whether it was.
    pub fn wait(&self) -> bool {
        self.0.stop.wait_until(|| self.unused_for().is_none())
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        // A count is whole after every statement.
        self.0.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut users = self.demand.users();
        if let Some(count) = users.count.get_mut(&self.kind) {
            *count -= 1;
            if *count == 0 {
                users.count.remove(&self.kind);
            }
        }
        if users.count.is_empty() {
            users.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaze_is_used_from_the_first_user_to_the_last() {
        let demand = Demand::default();
        assert!(demand.unused_for().is_some());
        let one = demand.enter(UserKind::Subscriber);
        let two = demand.enter(UserKind::Subscriber);
        let page = demand.enter(UserKind::Picture);
        assert_eq!(
            demand.count(),
            BTreeMap::from([(UserKind::Subscriber, 2), (UserKind::Picture, 1)])
        );
        drop((one, page));
        assert_eq!(demand.unused_for(), None);
        drop(two);
        assert!(demand.unused_for().is_some() && demand.count().is_empty());
    }

    #[test]
    fn a_user_wakes_the_one_who_waits() {
        let demand = Demand::default();
        let waiter = {
            let demand = demand.clone();
            std::thread::spawn(move || demand.wait())
        };
        let _user = demand.enter(UserKind::Board);
        assert!(!waiter.join().unwrap());
    }

    #[test]
    fn the_stop_flag_ends_the_wait() {
        let stop = StopFlag::new();
        let demand = Demand::new(stop.clone());
        let waiter = std::thread::spawn(move || demand.wait());
        stop.raise();
        assert!(waiter.join().unwrap());
    }
}
