//! Owns the reading of frames from bytes that arrive in pieces of any size.
//!
//! Data is handed on as it comes and never gathered; only control frames are, up to a
//! limit. So a peer can make this hold [`MAX_CONTROL`] bytes and no more.

use super::{
    FLAG_FIN, Frame, GOAWAY, HEAD, HEADERS, MAX_ID, PING, RST_STREAM, SETTINGS, SYN_REPLY,
    SYN_STREAM, WINDOW_UPDATE,
};
use crate::headers::{HeaderDecoder, HeaderError};
use bytes::{Buf, Bytes};

/// Control frames with a longer body are refused, in bytes.
pub const MAX_CONTROL: usize = 32 * 1024;

/// Settings beyond this number are refused.
pub const MAX_SETTINGS: usize = 64;

/// Why the bytes of a peer are no SPDY/3.1, or too much of it. Nothing that follows
/// can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Another version of the protocol.
    #[error("a frame of SPDY version {0} came where 3 is spoken")]
    Version(u16),
    /// A control frame longer than [`MAX_CONTROL`].
    #[error("a control frame of {0} bytes came where {MAX_CONTROL} are the limit")]
    TooLong(usize),
    /// A control frame whose length does not fit its type.
    #[error("a control frame of type {kind} came with {length} bytes")]
    Length {
        /// Its type.
        kind: u16,
        /// Its length in bytes.
        length: usize,
    },
    /// More than [`MAX_SETTINGS`] settings.
    #[error("{0} settings came where {MAX_SETTINGS} are the limit")]
    Settings(usize),
    /// A header block that cannot be read.
    #[error(transparent)]
    Headers(#[from] HeaderError),
    /// A frame of a stream that nobody opened.
    #[error("a frame came for stream {0}, which was never opened")]
    NoStream(u32),
}

/// Reads the frames of one connection.
#[derive(Debug, Default)]
pub struct Decoder {
    headers: HeaderDecoder,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Head { bytes: [u8; HEAD], have: usize },
    Data { stream: u32, left: usize, fin: bool },
    Control { kind: u16, flags: u8, length: usize, body: Vec<u8> },
}

impl Default for Stage {
    fn default() -> Self {
        Stage::Head { bytes: [0; HEAD], have: 0 }
    }
}

impl Decoder {
    /// Takes what it needs from the front of `input` and gives the next frame; none
    /// when `input` is used up. Call it until it gives none.
    ///
    /// # Errors
    /// When the peer does not speak SPDY/3.1 or passes a limit; the connection is of
    /// no more use then.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Frame>, FrameError> {
        loop {
            match &mut self.stage {
                Stage::Head { bytes, have } => {
                    let count = (HEAD - *have).min(input.len());
                    input.copy_to_slice(&mut bytes[*have..*have + count]);
                    *have += count;
                    if *have < HEAD {
                        return Ok(None);
                    }
                    self.stage = open(*bytes)?;
                }
                Stage::Data { stream, left, fin } => {
                    if *left > 0 && input.is_empty() {
                        return Ok(None);
                    }
                    let data = input.split_to((*left).min(input.len()));
                    *left -= data.len();
                    let last = *left == 0;
                    let frame = Frame::Data { stream: *stream, data, fin: last && *fin };
                    if last {
                        self.stage = Stage::default();
                    }
                    return Ok(Some(frame));
                }
                Stage::Control { kind, flags, length, body } => {
                    let count = (*length - body.len()).min(input.len());
                    body.extend_from_slice(&input.split_to(count));
                    if body.len() < *length {
                        return Ok(None);
                    }
                    let (kind, fin) = (*kind, *flags & FLAG_FIN != 0);
                    let body = std::mem::take(body);
                    self.stage = Stage::default();
                    return self.control(kind, fin, &body).map(Some);
                }
            }
        }
    }

    fn control(&mut self, kind: u16, fin: bool, body: &[u8]) -> Result<Frame, FrameError> {
        let wrong = FrameError::Length { kind, length: body.len() };
        let word = |at: usize| -> Result<u32, FrameError> {
            let bytes = body.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>());
            bytes.map(|bytes| u32::from_be_bytes(*bytes)).ok_or(wrong)
        };
        let exactly = |length| if body.len() == length { Ok(()) } else { Err(wrong) };
        let block = |from: usize| body.get(from..).ok_or(wrong);
        let id = |at| word(at).map(|id| id & MAX_ID);
        Ok(match kind {
            SYN_STREAM => {
                let headers = self.headers.decode(block(10)?)?;
                Frame::SynStream { stream: id(0)?, headers, fin }
            }
            SYN_REPLY => {
                let headers = self.headers.decode(block(4)?)?;
                Frame::SynReply { stream: id(0)?, headers, fin }
            }
            HEADERS => {
                let headers = self.headers.decode(block(4)?)?;
                Frame::Headers { stream: id(0)?, headers, fin }
            }
            RST_STREAM => {
                exactly(8)?;
                Frame::Reset { stream: id(0)?, status: word(4)? }
            }
            PING => {
                exactly(4)?;
                Frame::Ping { id: word(0)? }
            }
            GOAWAY => {
                exactly(8)?;
                Frame::GoAway { last: id(0)?, status: word(4)? }
            }
            WINDOW_UPDATE => {
                exactly(8)?;
                Frame::WindowUpdate { stream: id(0)?, delta: id(4)? }
            }
            SETTINGS => {
                let count = usize::try_from(word(0)?).map_err(|_| wrong)?;
                if count > MAX_SETTINGS {
                    return Err(FrameError::Settings(count));
                }
                exactly(4 + count * 8)?;
                let entry = |at: usize| Ok((word(at)? & 0x00ff_ffff, word(at + 4)?));
                let entries: Result<_, FrameError> = (0..count).map(|n| entry(4 + n * 8)).collect();
                Frame::Settings(entries?)
            }
            kind => Frame::Unknown { kind },
        })
    }
}

fn open(head: [u8; HEAD]) -> Result<Stage, FrameError> {
    let [a, b, c, d, flags, x, y, z] = head;
    let length = usize::try_from(u32::from_be_bytes([0, x, y, z])).unwrap_or(usize::MAX);
    if a & 0x80 == 0 {
        let stream = u32::from_be_bytes([a, b, c, d]);
        return Ok(Stage::Data { stream, left: length, fin: flags & FLAG_FIN != 0 });
    }
    let version = u16::from_be_bytes([a & 0x7f, b]);
    if version != 3 {
        return Err(FrameError::Version(version));
    }
    if length > MAX_CONTROL {
        return Err(FrameError::TooLong(length));
    }
    Ok(Stage::Control { kind: u16::from_be_bytes([c, d]), flags, length, body: Vec::new() })
}
