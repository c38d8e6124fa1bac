//! Owns a WebSocket after its handshake (RFC 6455), as a client sees it: bytes in and
//! out of binary messages. Message bounds mean nothing here; SPDY has frames of its own.

use bytes::{Buf, Bytes};

/// Longest body of a control frame (RFC 6455, 5.5).
const MAX_CONTROL: usize = 125;

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Room for the head of a message: two bytes, a length of eight, a mask of four.
pub const MAX_HEAD: usize = 14;

/// Why a peer's bytes are no WebSocket that carries a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WsError {
    /// A server must not mask.
    #[error("the server masked a WebSocket frame")]
    Masked,
    /// Bits that nobody agreed on.
    #[error("a WebSocket frame used an extension that was not agreed on")]
    Reserved,
    /// A text message or an unknown kind.
    #[error("a WebSocket frame of kind {0} came where binary messages carry the tunnel")]
    Kind(u8),
    /// A control frame that is too long or in pieces.
    #[error("a WebSocket control frame was too long or in pieces")]
    Control,
    /// A length with its highest bit set.
    #[error("a WebSocket frame had an impossible length")]
    Length,
}

/// What the peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece of the tunnel's bytes.
    Bytes(Bytes),
    /// A ping, whose body the pong repeats.
    Ping(Vec<u8>),
    /// The peer closes. Nothing follows.
    Close,
}

/// Reads what a server sends.
#[derive(Debug, Default)]
pub struct Reader {
    head: [u8; 10],
    have: usize,
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Head,
    Body {
        left: u64,
    },
    Control {
        kind: u8,
        length: usize,
        body: Vec<u8>,
    },
}

impl Reader {
    /// Takes what it needs from the front of `input` and gives the next event; none
    /// when `input` is used up.
    ///
    /// # Errors
    /// When the peer breaks the protocol; the connection is of no more use then.
    pub fn read(&mut self, input: &mut Bytes) -> Result<Option<Event>, WsError> {
        loop {
            match &mut self.stage {
                Stage::Head => match self.read_head(input)? {
                    Some(stage) => self.stage = stage,
                    None => return Ok(None),
                },
                Stage::Body { left: 0 } => self.stage = Stage::Head,
                Stage::Body { left } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= count as u64;
                    return Ok(Some(Event::Bytes(input.split_to(count))));
                }
                Stage::Control { kind, length, body } => {
                    let count = (*length - body.len()).min(input.len());
                    body.extend_from_slice(&input.split_to(count));
                    if body.len() < *length {
                        return Ok(None);
                    }
                    let (kind, body) = (*kind, std::mem::take(body));
                    self.stage = Stage::Head;
                    match kind {
                        PING => return Ok(Some(Event::Ping(body))),
                        CLOSE => return Ok(Some(Event::Close)),
                        _ => {}
                    }
                }
            }
        }
    }

    fn read_head(&mut self, input: &mut Bytes) -> Result<Option<Stage>, WsError> {
        loop {
            let need = match (self.have, self.head[1] & 0x7f) {
                (0 | 1, _) => 2,
                (_, 126) => 4,
                (_, 127) => 10,
                _ => 2,
            };
            if self.have == need {
                break;
            }
            if input.is_empty() {
                return Ok(None);
            }
            self.head[self.have] = input.get_u8();
            self.have += 1;
        }
        self.have = 0;
        let [first, second, rest @ ..] = self.head;
        if second & 0x80 != 0 {
            return Err(WsError::Masked);
        }
        if first & 0x70 != 0 {
            return Err(WsError::Reserved);
        }
        let length = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes([rest[0], rest[1]])),
            127 => u64::from_be_bytes(rest),
            short => u64::from(short),
        };
        if length > u64::MAX >> 1 {
            return Err(WsError::Length);
        }
        match first & 0x0f {
            CONTINUATION | BINARY => Ok(Some(Stage::Body { left: length })),
            kind @ (CLOSE | PING | PONG) => match usize::try_from(length) {
                Ok(length @ ..=MAX_CONTROL) if first & 0x80 != 0 => {
                    Ok(Some(Stage::Control { kind, length, body: Vec::new() }))
                }
                _ => Err(WsError::Control),
            },
            kind => Err(WsError::Kind(kind)),
        }
    }
}

/// The head of a binary message of `length` bytes, masked with `mask`.
#[must_use]
pub fn message_head(length: usize, mask: [u8; 4]) -> ([u8; MAX_HEAD], usize) {
    head(BINARY, length, mask)
}

/// Appends a pong that repeats `body`.
pub fn put_pong(to: &mut Vec<u8>, body: &[u8], mask: [u8; 4]) {
    put_control(to, PONG, body, mask);
}

/// Appends a close with status 1000.
pub fn put_close(to: &mut Vec<u8>, mask: [u8; 4]) {
    put_control(to, CLOSE, &1_000_u16.to_be_bytes(), mask);
}

fn put_control(to: &mut Vec<u8>, kind: u8, body: &[u8], mask: [u8; 4]) {
    let body = &body[..body.len().min(MAX_CONTROL)];
    let (bytes, length) = head(kind, body.len(), mask);
    to.extend_from_slice(&bytes[..length]);
    let at = to.len();
    to.extend_from_slice(body);
    apply_mask(&mut to[at..], mask);
}

fn head(kind: u8, length: usize, mask: [u8; 4]) -> ([u8; MAX_HEAD], usize) {
    let mut bytes = [0; MAX_HEAD];
    bytes[0] = 0x80 | kind;
    let long = length as u64;
    let at = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => {
            bytes[1] = 0x80 | short;
            2
        }
        (_, Ok(medium)) => {
            bytes[1] = 0x80 | 126;
            bytes[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        }
        _ => {
            bytes[1] = 0x80 | 127;
            bytes[2..10].copy_from_slice(&long.to_be_bytes());
            10
        }
    };
    bytes[at..at + 4].copy_from_slice(&mask);
    (bytes, at + 4)
}

/// Masks `bytes` in place, the first one with the mask's first byte.
pub fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= mask;
    }
}
