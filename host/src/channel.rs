//! The two kinds of channel: `latest`, a slot of one that is overwritten, and `events`, a bounded
//! queue. Both tell what they drop.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::frame::Frame;

/// Empty frames kept for reuse: one being filled, one unread, one being looked at.
const SPARE_FRAMES: usize = 3;

/// Makes a slot that holds the newest frame only.
///
/// The camera never waits: it replaces a frame that nobody has taken, and is told so. Frames travel
/// back through the slot, so that a steady stream reuses the same buffers.
pub fn latest() -> (FrameSender, FrameReceiver) {
    let slot = Arc::new(Slot::default());
    (FrameSender(Arc::clone(&slot)), FrameReceiver(slot))
}

#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
    changed: Condvar,
}

#[derive(Default)]
struct SlotState {
    newest: Option<Frame>,
    spare: Vec<Frame>,
    sender_is_gone: bool,
    receiver_is_gone: bool,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, SlotState> {
        // The state is whole after every statement, so a panic elsewhere leaves nothing torn.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The camera's end of [`latest`].
pub struct FrameSender(Arc<Slot>);

/// The vision stage's end of [`latest`].
pub struct FrameReceiver(Arc<Slot>);

/// The other end is gone; the thread should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnected;

impl FrameSender {
    /// An empty frame to fill, used before where possible.
    pub fn spare(&self) -> Frame {
        self.0.lock().spare.pop().unwrap_or_default()
    }

    /// Puts the newest frame into the slot; `Ok(true)` says that it replaced one that nobody took.
    ///
    /// # Errors
    /// [`Disconnected`] when nobody will read it.
    pub fn publish(&self, frame: Frame) -> Result<bool, Disconnected> {
        let mut state = self.0.lock();
        if state.receiver_is_gone {
            return Err(Disconnected);
        }
        let unread = state.newest.replace(frame);
        let was_replaced = unread.is_some();
        if let Some(unread) = unread {
            state.recycle(unread);
        }
        self.0.changed.notify_one();
        Ok(was_replaced)
    }
}

impl FrameReceiver {
    /// Waits for a frame, at most `timeout`; `Ok(None)` when none came in that time.
    ///
    /// # Errors
    /// [`Disconnected`] when the slot is empty and the camera's end is gone.
    pub fn take(&self, timeout: Duration) -> Result<Option<Frame>, Disconnected> {
        let (mut state, _) = self
            .0
            .changed
            .wait_timeout_while(self.0.lock(), timeout, |state| {
                state.newest.is_none() && !state.sender_is_gone
            })
            .unwrap_or_else(PoisonError::into_inner);
        let frame = state.newest.take();
        if frame.is_none() && state.sender_is_gone {
            return Err(Disconnected);
        }
        Ok(frame)
    }

    /// Gives an empty frame back for reuse.
    pub fn give_back(&self, frame: Frame) {
        self.0.lock().recycle(frame);
    }
}

impl SlotState {
    fn recycle(&mut self, frame: Frame) {
        if self.spare.len() < SPARE_FRAMES {
            self.spare.push(frame);
        }
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        self.0.lock().sender_is_gone = true;
        self.0.changed.notify_all();
    }
}

impl Drop for FrameReceiver {
    fn drop(&mut self) {
        self.0.lock().receiver_is_gone = true;
        self.0.changed.notify_all();
    }
}

/// Makes a bounded queue whose sender can choose not to wait.
pub fn events<T>(capacity: usize) -> (EventSender<T>, Receiver<T>) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    (EventSender { sender }, receiver)
}

/// The sending end of [`events`].
#[derive(Debug)]
pub struct EventSender<T> {
    sender: Sender<T>,
}

impl<T> Clone for EventSender<T> {
    fn clone(&self) -> Self {
        EventSender {
            sender: self.sender.clone(),
        }
    }
}

impl<T> EventSender<T> {
    /// Sends, waiting for room: nothing is lost, the sender slows down.
    ///
    /// # Errors
    /// [`Disconnected`] when the receiver is gone.
    pub fn send(&self, item: T) -> Result<(), Disconnected> {
        self.sender.send(item).map_err(|_| Disconnected)
    }

    /// Sends if there is room; `Ok(false)` says there was none, and the item is gone.
    ///
    /// # Errors
    /// [`Disconnected`] when the receiver is gone.
    pub fn send_or_drop(&self, item: T) -> Result<bool, Disconnected> {
        match self.sender.try_send(item) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Disconnected(_)) => Err(Disconnected),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(seq: u64) -> Frame {
        Frame {
            seq,
            ..Frame::new()
        }
    }

    #[test]
    fn an_unread_frame_is_replaced_by_the_newest_and_counted() {
        let (sender, receiver) = latest();
        let replaced: Vec<bool> = (0..3)
            .map(|seq| sender.publish(numbered(seq)).unwrap())
            .collect();
        assert_eq!(replaced, [false, true, true]);
        assert_eq!(receiver.take(Duration::ZERO).unwrap().unwrap().seq, 2);
        assert!(receiver.take(Duration::ZERO).unwrap().is_none());
    }

    #[test]
    fn buffers_travel_back_to_the_camera() {
        let (sender, receiver) = latest();
        let mut frame = sender.spare();
        frame.luma = vec![7; 10];
        sender.publish(frame).unwrap();
        receiver.give_back(receiver.take(Duration::ZERO).unwrap().unwrap());
        assert_eq!(sender.spare().luma.len(), 10);
    }

    #[test]
    fn the_last_frame_is_still_delivered_after_the_camera_has_gone() {
        let (sender, receiver) = latest();
        sender.publish(numbered(3)).unwrap();
        drop(sender);
        assert_eq!(receiver.take(Duration::ZERO).unwrap().unwrap().seq, 3);
        assert!(receiver.take(Duration::ZERO).is_err());
    }

    #[test]
    fn a_camera_learns_that_nobody_reads() {
        let (sender, receiver) = latest();
        drop(receiver);
        assert!(sender.publish(numbered(0)).is_err());
    }

    #[test]
    fn a_full_queue_says_so() {
        let (sender, receiver) = events(1);
        assert_eq!(sender.send_or_drop(1), Ok(true));
        assert_eq!(sender.send_or_drop(2), Ok(false));
        assert_eq!(receiver.recv().unwrap(), 1);
        drop(receiver);
        assert_eq!(sender.send(3), Err(Disconnected));
    }
}
