//! Owns SPDY/3.1 frames as bytes: what is written, and the types of what is read.
//!
//! Only bytes go in and out here; sockets, tasks and time are elsewhere.

mod decode;

pub use decode::{Decoder, FrameError, MAX_CONTROL, MAX_SETTINGS};

use crate::headers::Header;
use bytes::Bytes;

/// Ends the sender's direction of a stream.
pub const FLAG_FIN: u8 = 0x01;

/// Length of every frame's head, in bytes.
pub const HEAD: usize = 8;

/// The longest data that one frame can carry (24 bits).
pub const MAX_DATA: usize = 0x00ff_ffff;

/// Stream ids and ping ids have 31 bits.
pub const MAX_ID: u32 = 0x7fff_ffff;

/// The status of a RST_STREAM that gives up a stream.
pub const CANCEL: u32 = 5;

/// The status of a RST_STREAM that refuses a stream.
pub const REFUSED_STREAM: u32 = 3;

pub(crate) const SYN_STREAM: u16 = 1;
pub(crate) const SYN_REPLY: u16 = 2;
pub(crate) const RST_STREAM: u16 = 3;
pub(crate) const SETTINGS: u16 = 4;
pub(crate) const PING: u16 = 6;
pub(crate) const GOAWAY: u16 = 7;
pub(crate) const HEADERS: u16 = 8;
pub(crate) const WINDOW_UPDATE: u16 = 9;

/// A frame as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of a stream. A long frame is handed on in pieces as they arrive; only the
    /// last one carries `fin`.
    Data {
        /// The stream.
        stream: u32,
        /// A piece of its data.
        data: Bytes,
        /// Whether the sender's direction ends with it.
        fin: bool,
    },
    /// The peer opens a stream.
    SynStream {
        /// The stream.
        stream: u32,
        /// Its headers.
        headers: Vec<Header>,
        /// Whether the sender's direction is ended already.
        fin: bool,
    },
    /// The peer has taken a stream.
    SynReply {
        /// The stream.
        stream: u32,
        /// Its headers.
        headers: Vec<Header>,
        /// Whether the sender's direction is ended already.
        fin: bool,
    },
    /// More headers of a stream.
    Headers {
        /// The stream.
        stream: u32,
        /// The headers.
        headers: Vec<Header>,
        /// Whether the sender's direction ends with it.
        fin: bool,
    },
    /// The peer gives a stream up.
    Reset {
        /// The stream.
        stream: u32,
        /// Why, as a RST_STREAM status.
        status: u32,
    },
    /// A question, or the answer to one of ours.
    Ping {
        /// Its id; odd when a client asked.
        id: u32,
    },
    /// The peer takes no more streams.
    GoAway {
        /// The last stream that it has taken.
        last: u32,
        /// Why: 0 none, 1 a protocol error, 2 an internal one.
        status: u32,
    },
    /// Settings: id and value.
    Settings(Vec<(u32, u32)>),
    /// Room in a flow control window. Nodes send none and heed none.
    WindowUpdate {
        /// The stream.
        stream: u32,
        /// More bytes.
        delta: u32,
    },
    /// A control frame of another type, which the specification says to ignore.
    Unknown {
        /// Its type.
        kind: u16,
    },
}

/// The head of a data frame.
#[must_use]
pub fn data_head(stream: u32, length: usize, fin: bool) -> [u8; HEAD] {
    let [a, b, c, d] = (stream & MAX_ID).to_be_bytes();
    let [_, x, y, z] = length24(length);
    [a, b, c, d, if fin { FLAG_FIN } else { 0 }, x, y, z]
}

/// A SYN_STREAM of the highest priority, with a header block that is already encoded.
pub fn put_syn(to: &mut Vec<u8>, stream: u32, block: &[u8]) {
    put_head(to, SYN_STREAM, 0, 10 + block.len());
    to.extend_from_slice(&(stream & MAX_ID).to_be_bytes());
    to.extend_from_slice(&[0; 6]); // no associated stream, priority 0, no slot
    to.extend_from_slice(block);
}

/// A RST_STREAM.
pub fn put_reset(to: &mut Vec<u8>, stream: u32, status: u32) {
    put_head(to, RST_STREAM, 0, 8);
    to.extend_from_slice(&(stream & MAX_ID).to_be_bytes());
    to.extend_from_slice(&status.to_be_bytes());
}

/// A PING.
pub fn put_ping(to: &mut Vec<u8>, id: u32) {
    put_head(to, PING, 0, 4);
    to.extend_from_slice(&id.to_be_bytes());
}

/// A GOAWAY.
pub fn put_goaway(to: &mut Vec<u8>, last: u32, status: u32) {
    put_head(to, GOAWAY, 0, 8);
    to.extend_from_slice(&(last & MAX_ID).to_be_bytes());
    to.extend_from_slice(&status.to_be_bytes());
}

fn put_head(to: &mut Vec<u8>, kind: u16, flags: u8, length: usize) {
    let [_, x, y, z] = length24(length);
    let [high, low] = kind.to_be_bytes();
    to.extend_from_slice(&[0x80, 3, high, low, flags, x, y, z]);
}

fn length24(length: usize) -> [u8; 4] {
    u32::try_from(length.min(MAX_DATA)).unwrap_or_default().to_be_bytes()
}
