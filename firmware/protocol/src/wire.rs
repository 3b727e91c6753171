//! How messages look on a serial line.
//!
//! ```text
//!  ┌─────────┬────────────────┬──────────┐
//!  │ version │ body           │ CRC-32   │  ──► COBS ──► …, 0
//!  │ 1 byte  │ postcard       │ 4, LE    │
//!  └─────────┴────────────────┴──────────┘
//! ```
//!
//! - Zero ends a frame and occurs nowhere else (COBS, Cheshire & Baker 1999), so a reader that
//!   joins late, or that has lost bytes, is in step again after the next zero.
//! - The checksum is CRC-32/ISO-HDLC (the one of Ethernet and zip) of version and body. Noise
//!   passes for a frame once in 2^32.
//! - The body is [postcard](https://postcard.jamesmunns.com/wire-format)'s form of
//!   [`FromHost`](crate::message::FromHost) or [`FromBoard`](crate::message::FromBoard).
//! - Version, checksum and COBS stay as they are in every version, so that two sides of different
//!   versions can always tell each other so.

use cobs::{decode_in_place, try_encode};
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of the frames and of every message; goes up with any change to them.
pub const PROTOCOL_VERSION: u8 = 1;

/// Longest frame as sent, its ending zero included, bytes.
pub const MAX_FRAME_BYTES: usize = 140;

/// Version and checksum.
const OVERHEAD_BYTES: usize = 1 + CRC_BYTES;
const CRC_BYTES: usize = 4;

/// Longest frame before COBS: that adds one byte for each 254 begun, and the zero.
const MAX_PLAIN_BYTES: usize = MAX_FRAME_BYTES - 2;

/// Without a table it is slower and a kilobyte smaller; a frame takes microseconds.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// A frame as sent.
pub type Frame = heapless::Vec<u8, MAX_FRAME_BYTES>;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Longer than [`MAX_FRAME_BYTES`].
    TooLong,
    /// Not COBS, or too short.
    Framing,
    /// The checksum is wrong.
    Checksum,
    /// A whole frame of another version.
    Version {
        /// The version that it is of.
        found: u8,
    },
    /// A whole frame whose body is no message.
    Body,
}

impl core::fmt::Display for WireError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            WireError::TooLong => f.write_str("a frame is longer than allowed"),
            WireError::Framing => f.write_str("bytes are not a frame"),
            WireError::Checksum => f.write_str("a frame's checksum is wrong"),
            WireError::Version { found } => write!(
                f,
                "the other side speaks protocol version {found}, this one {PROTOCOL_VERSION}"
            ),
            WireError::Body => f.write_str("a frame holds no known message"),
        }
    }
}

impl core::error::Error for WireError {}

/// The frame of a message.
///
/// # Errors
/// [`WireError::TooLong`]: none of this protocol's own messages is.
pub fn encode<T: Serialize>(message: &T) -> Result<Frame, WireError> {
    let mut plain = [0; MAX_PLAIN_BYTES];
    let (version, rest) = plain.split_first_mut().ok_or(WireError::TooLong)?;
    *version = PROTOCOL_VERSION;
    let n_body = postcard::to_slice(message, rest)
        .map_err(|_| WireError::TooLong)?
        .len();
    seal(&mut plain, 1 + n_body)
}

/// Puts the checksum behind `n` bytes of version and body, and encodes them.
fn seal(plain: &mut [u8; MAX_PLAIN_BYTES], n: usize) -> Result<Frame, WireError> {
    let (covered, rest) = plain.split_at_mut_checked(n).ok_or(WireError::TooLong)?;
    rest.get_mut(..CRC_BYTES)
        .ok_or(WireError::TooLong)?
        .copy_from_slice(&CRC.checksum(covered).to_le_bytes());
    let plain = plain.get(..n + CRC_BYTES).ok_or(WireError::TooLong)?;
    let mut frame = Frame::new();
    frame
        .resize(MAX_FRAME_BYTES, 0)
        .map_err(|_| WireError::TooLong)?;
    let n_encoded = try_encode(plain, &mut frame).map_err(|_| WireError::TooLong)?;
    frame.truncate(n_encoded);
    frame.push(0).map_err(|_| WireError::TooLong)?;
    Ok(frame)
}

/// Finds messages in a stream of bytes; never panics, whatever comes.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    frame: Frame,
    /// More bytes came than a frame has; all is dropped up to the next zero.
    is_too_long: bool,
}

impl Decoder {
    /// A decoder that has seen nothing.
    pub const fn new() -> Self {
        Decoder {
            frame: Frame::new(),
            is_too_long: false,
        }
    }

    /// Takes one byte; gives a message, or why there is none, at the end of a frame.
    pub fn push<T: DeserializeOwned>(&mut self, byte: u8) -> Option<Result<T, WireError>> {
        if byte != 0 {
            self.is_too_long |= self.frame.push(byte).is_err();
            return None;
        }
        let result = match (self.is_too_long, self.frame.is_empty()) {
            (true, _) => Some(Err(WireError::TooLong)),
            // Zeros in a row are how a sender begins on a line that may hold half a frame.
            (false, true) => None,
            (false, false) => Some(open(&mut self.frame)),
        };
        self.frame.clear();
        self.is_too_long = false;
        result
    }
}

/// The message in a frame without its zero.
fn open<T: DeserializeOwned>(frame: &mut [u8]) -> Result<T, WireError> {
    let n = decode_in_place(frame).map_err(|_| WireError::Framing)?;
    let plain = frame.get(..n).ok_or(WireError::Framing)?;
    if n < OVERHEAD_BYTES {
        return Err(WireError::Framing);
    }
    let (covered, crc) = plain
        .split_last_chunk::<CRC_BYTES>()
        .ok_or(WireError::Framing)?;
    if CRC.checksum(covered) != u32::from_le_bytes(*crc) {
        return Err(WireError::Checksum);
    }
    let (&found, body) = covered.split_first().ok_or(WireError::Framing)?;
    if found != PROTOCOL_VERSION {
        return Err(WireError::Version { found });
    }
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(WireError::Body),
    }
}
