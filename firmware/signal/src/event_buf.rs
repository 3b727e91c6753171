//! The events that one step completes.

use gaze_protocol::GazeEvent;

/// Room for the events of one step of [`EventDetector`](crate::EventDetector) and one of
/// [`Objects`](crate::Objects) together.
///
/// It cannot overflow as long as it is emptied between steps. The most that one detector step
/// can complete is ten: a hole in the stream ends everything that was open, which is at most four
/// fixations with the three saccades between them, and three blinks or gaps; with the network, which
/// decides up to 16 ticks at such a hole, 19. It can tell of two that begin. A step of `Objects`
/// leaves one object and enters another: two. Most steps have none.
pub const EVENT_BUF_CAPACITY: usize = 24;

/// Completed events, in the order in which they were decided.
#[derive(Clone, Debug, Default)]
pub struct EventBuf {
    events: heapless::Vec<GazeEvent, EVENT_BUF_CAPACITY>,
    lost: u32,
}

impl EventBuf {
    /// An empty buffer.
    pub const fn new() -> Self {
        EventBuf {
            events: heapless::Vec::new(),
            lost: 0,
        }
    }

    /// The events, oldest first.
    pub fn as_slice(&self) -> &[GazeEvent] {
        &self.events
    }

    /// The events, oldest first.
    pub fn iter(&self) -> core::slice::Iter<'_, GazeEvent> {
        self.events.iter()
    }

    /// Whether nothing was completed.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Empties the buffer; to be called before each step.
    pub fn clear(&mut self) {
        self.events.clear();
    }

    /// Events that found no room since the buffer was made: 0 unless a caller forgot to empty it.
    pub const fn lost(&self) -> u32 {
        self.lost
    }

    /// The events from index `first` on.
    pub(crate) fn since(&mut self, first: usize) -> &mut [GazeEvent] {
        self.events.get_mut(first..).unwrap_or_default()
    }

    pub(crate) fn push(&mut self, event: GazeEvent) {
        if self.events.push(event).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }
}

impl<'a> IntoIterator for &'a EventBuf {
    type Item = &'a GazeEvent;
    type IntoIter = core::slice::Iter<'a, GazeEvent>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
