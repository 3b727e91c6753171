//! ZMTP 3.0 (ZeroMQ's protocol, RFC 23) for one TCP connection, without a security mechanism.
//!
//! A connection is a state machine of bytes in and bytes out, so that it needs no task or queue of
//! its own. Subscriptions are understood both as messages (3.0) and as commands (3.1).

/// Longest message of a client, all parts together; notifications and annotations have hundreds of
/// bytes, and every subscriber is sent them.
const MAX_MESSAGE: usize = 64 << 10;

/// Most parts of a message.
const MAX_PARTS: usize = 64;

/// What the peers of this socket see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketType {
    /// Answers requests.
    Rep,
    /// Sends to subscribers.
    Pub,
    /// Takes from publishers.
    Sub,
}

impl SocketType {
    fn name(self) -> &'static [u8] {
        match self {
            SocketType::Rep => b"REP",
            SocketType::Pub => b"PUB",
            SocketType::Sub => b"SUB",
        }
    }

    /// The peers it talks with.
    fn peers(self) -> &'static [&'static [u8]] {
        match self {
            SocketType::Rep => &[b"REQ", b"DEALER"],
            SocketType::Pub => &[b"SUB", b"XSUB"],
            SocketType::Sub => &[b"PUB", b"XPUB"],
        }
    }
}

/// What a peer says once the connection is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The parts of a message.
    Message(Vec<Vec<u8>>),
    /// It wants what begins with this.
    Subscribe(Vec<u8>),
    /// It does not any more.
    Cancel(Vec<u8>),
}

/// Why a connection ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ZmtpError {
    /// Not ZMTP 3, or with a security mechanism.
    Greeting,
    /// A socket that this one does not talk with.
    Peer,
    /// Too long, too many parts, or not a frame.
    Frame,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket_type: SocketType,
    phase: Phase,
    buffer: Vec<u8>,
    parts: Vec<Vec<u8>>,
    parts_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was heard, and nothing said.
    New,
    Greeting,
    Handshake,
    Open,
}

const GREETING: usize = 64;
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

impl Connection {
    pub(super) fn new(socket_type: SocketType) -> Self {
        Connection {
            socket_type,
            phase: Phase::New,
            buffer: Vec::new(),
            parts: Vec::new(),
            parts_bytes: 0,
        }
    }

    /// Whether messages may be sent.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Takes bytes, answers what the protocol wants answered, and hands out what was said.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut take: impl FnMut(Heard, &mut Vec<u8>),
    ) -> Result<(), ZmtpError> {
        if self.phase == Phase::New {
            out.extend(greeting());
            out.extend(ready(self.socket_type));
            self.phase = Phase::Greeting;
        }
        self.buffer.extend(bytes);
        if self.phase == Phase::Greeting && !self.take_greeting()? {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        while let Some(Frame { flags, body, after }) = frame(rest)? {
            rest = after;
            if flags & COMMAND != 0 {
                self.command(body, out, &mut take)?;
            } else if self.phase == Phase::Open {
                self.message_part(flags, body, out, &mut take)?;
            } else {
                return Err(ZmtpError::Frame);
            }
        }
        self.buffer = rest.to_vec();
        Ok(())
    }

    /// Says whether the greeting is complete.
    fn take_greeting(&mut self) -> Result<bool, ZmtpError> {
        let heard = &self.buffer[..self.buffer.len().min(GREETING)];
        let is_signature = |at: usize, byte: u8| heard.get(at).is_none_or(|found| *found == byte);
        if !is_signature(0, 0xff) || !is_signature(9, 0x7f) {
            return Err(ZmtpError::Greeting);
        }
        if heard.len() < GREETING {
            return Ok(false);
        }
        let is_null = heard[12..32].starts_with(b"NULL\0");
        if heard[10] < 3 || !is_null {
            return Err(ZmtpError::Greeting);
        }
        self.buffer.drain(..GREETING);
        self.phase = Phase::Handshake;
        Ok(true)
    }

    fn command(
        &mut self,
        body: &[u8],
        out: &mut Vec<u8>,
        take: &mut impl FnMut(Heard, &mut Vec<u8>),
    ) -> Result<(), ZmtpError> {
        let (&length, rest) = body.split_first().ok_or(ZmtpError::Frame)?;
        let (name, rest) = rest
            .split_at_checked(usize::from(length))
            .ok_or(ZmtpError::Frame)?;
        match name {
            b"READY" if self.phase == Phase::Handshake => {
                let peer = property(rest, b"Socket-Type").ok_or(ZmtpError::Frame)?;
                if !self.socket_type.peers().contains(&peer) {
                    return Err(ZmtpError::Peer);
                }
                self.phase = Phase::Open;
                if self.socket_type == SocketType::Sub {
                    // Everything, please.
                    push_frame(out, 0, &[1]);
                }
            }
            b"SUBSCRIBE" if self.is_open() => take(Heard::Subscribe(rest.to_vec()), out),
            b"CANCEL" if self.is_open() => take(Heard::Cancel(rest.to_vec()), out),
            b"PING" if self.is_open() => {
                // Two bytes of time to live, then what is to be said back.
                let context = rest.get(2..).unwrap_or_default();
                let mut pong = b"\x04PONG".to_vec();
                pong.extend(context);
                push_frame(out, COMMAND, &pong);
            }
            // ERROR and what later versions bring.
            _ => {}
        }
        Ok(())
    }

    fn message_part(
        &mut self,
        flags: u8,
        body: &[u8],
        out: &mut Vec<u8>,
        take: &mut impl FnMut(Heard, &mut Vec<u8>),
    ) -> Result<(), ZmtpError> {
        self.parts_bytes += body.len();
        if self.parts.len() == MAX_PARTS || self.parts_bytes > MAX_MESSAGE {
            return Err(ZmtpError::Frame);
        }
        self.parts.push(body.to_vec());
        if flags & MORE != 0 {
            return Ok(());
        }
        self.parts_bytes = 0;
        let parts = std::mem::take(&mut self.parts);
        let heard = match (self.socket_type, parts.as_slice()) {
            (SocketType::Pub, [only]) => match only.split_first() {
                Some((1, prefix)) => Heard::Subscribe(prefix.to_vec()),
                Some((0, prefix)) => Heard::Cancel(prefix.to_vec()),
                _ => return Ok(()),
            },
            _ => Heard::Message(parts),
        };
        take(heard, out);
        Ok(())
    }
}

/// Sends a message of these parts.
pub(super) fn push_message(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for (index, part) in parts.iter().enumerate() {
        let flags = if index + 1 < parts.len() { MORE } else { 0 };
        push_frame(out, flags, part);
    }
}

fn push_frame(out: &mut Vec<u8>, flags: u8, body: &[u8]) {
    match u8::try_from(body.len()) {
        Ok(length) => out.extend([flags, length]),
        Err(_) => {
            out.push(flags | LONG);
            out.extend((body.len() as u64).to_be_bytes());
        }
    }
    out.extend(body);
}

fn greeting() -> [u8; GREETING] {
    let mut greeting = [0; GREETING];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    // Version 3.0.
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

fn ready(socket_type: SocketType) -> Vec<u8> {
    let mut body = b"\x05READY\x0bSocket-Type".to_vec();
    let name = socket_type.name();
    body.extend((name.len() as u32).to_be_bytes());
    body.extend(name);
    let mut frame = Vec::new();
    push_frame(&mut frame, COMMAND, &body);
    frame
}

/// A frame, and the bytes behind it.
struct Frame<'a> {
    flags: u8,
    body: &'a [u8],
    after: &'a [u8],
}

/// The first frame; none where it is not complete.
fn frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, ZmtpError> {
    let Some((&flags, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if flags & !(MORE | LONG | COMMAND) != 0 {
        return Err(ZmtpError::Frame);
    }
    let (length, rest) = if flags & LONG == 0 {
        let Some((&length, rest)) = rest.split_first() else {
            return Ok(None);
        };
        (u64::from(length), rest)
    } else {
        let Some((length, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        (u64::from_be_bytes(*length), rest)
    };
    if length > MAX_MESSAGE as u64 {
        return Err(ZmtpError::Frame);
    }
    Ok(rest
        .split_at_checked(length as usize)
        .map(|(body, after)| Frame { flags, body, after }))
}

/// A property of a READY command.
fn property<'a>(mut bytes: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    loop {
        let (&length, rest) = bytes.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(length))?;
        let (length, rest) = rest.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a peer of this type says first.
    fn hello(name: &[u8]) -> Vec<u8> {
        let mut bytes = greeting().to_vec();
        let mut body = b"\x05READY\x0bSocket-Type".to_vec();
        body.extend((name.len() as u32).to_be_bytes());
        body.extend(name);
        body.extend(b"\x08Identity\0\0\0\0");
        push_frame(&mut bytes, COMMAND, &body);
        bytes
    }

    fn heard(connection: &mut Connection, bytes: &[u8]) -> (Vec<Heard>, Vec<u8>) {
        let mut all = Vec::new();
        let mut out = Vec::new();
        connection
            .feed(bytes, &mut out, |heard, _| all.push(heard))
            .unwrap();
        (all, out)
    }

    #[test]
    fn a_request_arrives_in_one_piece_or_byte_by_byte() {
        let mut bytes = hello(b"REQ");
        push_message(&mut bytes, &[b"", b"SUB_PORT"]);
        push_message(&mut bytes, &[b"", &[7; 300]]);
        let expected = vec![
            Heard::Message(vec![vec![], b"SUB_PORT".to_vec()]),
            Heard::Message(vec![vec![], vec![7; 300]]),
        ];
        let mut whole = Connection::new(SocketType::Rep);
        assert_eq!(heard(&mut whole, &bytes).0, expected);
        assert!(whole.is_open());
        let mut single = Connection::new(SocketType::Rep);
        let mut all = Vec::new();
        for byte in bytes {
            all.extend(heard(&mut single, &[byte]).0);
        }
        assert_eq!(all, expected);
    }

    #[test]
    fn the_first_words_are_greeting_and_ready() {
        let mut connection = Connection::new(SocketType::Pub);
        let (_, out) = heard(&mut connection, &[0xff]);
        assert_eq!(&out[..12], [0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0]);
        assert_eq!(&out[64..], b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB");
    }

    #[test]
    fn subscriptions_come_as_messages_and_as_commands() {
        let mut bytes = hello(b"SUB");
        push_message(&mut bytes, &[b"\x01gaze."]);
        push_frame(&mut bytes, COMMAND, b"\x09SUBSCRIBEpupil.");
        push_message(&mut bytes, &[b"\x00gaze."]);
        push_frame(&mut bytes, COMMAND, b"\x06CANCELpupil.");
        let mut connection = Connection::new(SocketType::Pub);
        let (all, _) = heard(&mut connection, &bytes);
        assert_eq!(
            all,
            [
                Heard::Subscribe(b"gaze.".to_vec()),
                Heard::Subscribe(b"pupil.".to_vec()),
                Heard::Cancel(b"gaze.".to_vec()),
                Heard::Cancel(b"pupil.".to_vec()),
            ]
        );
    }

    #[test]
    fn a_ping_is_answered_with_its_context() {
        let mut connection = Connection::new(SocketType::Pub);
        heard(&mut connection, &hello(b"SUB"));
        let mut ping = Vec::new();
        push_frame(&mut ping, COMMAND, b"\x04PING\0\x0aabc");
        let (_, out) = heard(&mut connection, &ping);
        assert_eq!(out, b"\x04\x08\x04PONGabc");
    }

    #[test]
    fn strangers_are_refused() {
        let fed = |socket_type, bytes: &[u8]| {
            Connection::new(socket_type).feed(bytes, &mut Vec::new(), |_, _| {})
        };
        assert_eq!(
            fed(SocketType::Rep, b"GET / HTTP/1.1\r\n"),
            Err(ZmtpError::Greeting)
        );
        assert_eq!(fed(SocketType::Rep, &hello(b"SUB")), Err(ZmtpError::Peer));
        let mut curve = hello(b"REQ");
        curve[12..17].copy_from_slice(b"CURVE");
        assert_eq!(fed(SocketType::Rep, &curve), Err(ZmtpError::Greeting));
        let mut endless = hello(b"REQ");
        endless.extend([LONG, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(fed(SocketType::Rep, &endless), Err(ZmtpError::Frame));
        let mut many = hello(b"REQ");
        for _ in 0..=MAX_PARTS {
            push_frame(&mut many, MORE, b"");
        }
        assert_eq!(fed(SocketType::Rep, &many), Err(ZmtpError::Frame));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_connection_panic(
            is_greeted in any::<bool>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut connection = Connection::new(SocketType::Pub);
            if is_greeted {
                heard(&mut connection, &hello(b"SUB"));
            }
            let _ = connection.feed(&bytes, &mut Vec::new(), |_, _| {});
        }
    }
}
