//! Bytes in, messages out: the serial line.

use embedded_io::{Read, ReadReady, Write, WriteReady};
use gaze_protocol::Timestamp;
use gaze_protocol::message::{BoardMessage, FromBoard, FromHost};
use gaze_protocol::wire::{Decoder, MAX_FRAME_BYTES, WireError, encode};
use heapless::Deque;

/// Room for replies and events on the way out, bytes: a dozen of the usual ones.
const OUTGOING_BYTES: usize = 512;

/// Bytes read or written in one turn, so that a busy line does not delay the light.
const TURN_BYTES: usize = 32;

/// A serial line that speaks the protocol.
///
/// A line that fails (an unplugged cable) is a line without bytes: the session's silence deals
/// with it.
#[derive(Debug)]
pub struct Link<Io> {
    io: Io,
    decoder: Decoder,
    outgoing: Deque<u8, OUTGOING_BYTES>,
    incoming: heapless::Vec<u8, TURN_BYTES>,
    next_seq: u32,
    /// Replies and events that found no room.
    pub dropped: u32,
}

impl<Io: Read + Write + ReadReady + WriteReady> Link<Io> {
    /// A quiet line.
    pub const fn new(io: Io) -> Self {
        Link {
            io,
            decoder: Decoder::new(),
            outgoing: Deque::new(),
            incoming: heapless::Vec::new(),
            next_seq: 0,
            dropped: 0,
        }
    }

    /// The next message, or what was wrong with it; none when no whole one has come in this turn.
    pub fn receive(&mut self) -> Option<Result<FromHost, WireError>> {
        while let Some(byte) = self.incoming.pop() {
            let message = self.decoder.push(byte);
            if message.is_some() {
                return message;
            }
        }
        None
    }

    /// Takes bytes from the line, once [`Link::receive`] has given the last ones; to be called once
    /// a turn.
    pub fn read(&mut self) {
        // Asked even when there is no room: it is here that a USB line does its work.
        let is_ready = self.io.read_ready().unwrap_or(false);
        if !is_ready || !self.incoming.is_empty() {
            return;
        }
        let mut bytes = [0; TURN_BYTES];
        let n = self.io.read(&mut bytes).unwrap_or(0);
        // `receive` pops from the end.
        let read = bytes.get(..n).unwrap_or(&[]).iter().rev();
        self.incoming.extend(read.copied());
    }

    /// Queues a message; one without room is dropped and counted.
    pub fn send(&mut self, session: u32, now: Timestamp, message: BoardMessage) {
        let frame = encode(&FromBoard {
            session,
            seq: self.next_seq,
            sent_at: now,
            message,
        });
        self.next_seq = self.next_seq.wrapping_add(1);
        match frame {
            Ok(frame) if self.outgoing.len() + frame.len() <= OUTGOING_BYTES => {
                for &byte in &frame {
                    let _ = self.outgoing.push_back(byte);
                }
            }
            _ => self.dropped = self.dropped.saturating_add(1),
        }
    }

    /// Gives bytes to the line, as many as it takes without waiting.
    pub fn write(&mut self) {
        if self.outgoing.is_empty() || !self.io.write_ready().unwrap_or(false) {
            return;
        }
        let (first, _) = self.outgoing.as_slices();
        let turn = first.get(..first.len().min(TURN_BYTES)).unwrap_or(&[]);
        let n = self.io.write(turn).unwrap_or(0);
        for _ in 0..n {
            self.outgoing.pop_front();
        }
    }
}

const _: () = assert!(OUTGOING_BYTES >= 2 * MAX_FRAME_BYTES);
