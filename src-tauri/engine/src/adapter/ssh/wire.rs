//! Owns the frames of the SSH connection protocol (RFC 4254) as they pass between a
//! multiplexing client and an OpenSSH master in proxy mode: a length, an unused padding
//! length, the message. Pure: bytes in, messages out.

use bytes::{Buf, BufMut, BytesMut};

/// Longest frame a master may send, in bytes: OpenSSH's own bound of one packet.
const FRAME_LIMIT: usize = 256 * 1024;

/// Largest piece of data in one message that we accept, in bytes: OpenSSH's own default.
pub(super) const MAX_PACKET: u32 = 32 * 1024;

const GLOBAL_REQUEST: u8 = 80;
const OPEN: u8 = 90;
const OPEN_CONFIRMATION: u8 = 91;
const OPEN_FAILURE: u8 = 92;
const WINDOW_ADJUST: u8 = 93;
const DATA: u8 = 94;
const EXTENDED_DATA: u8 = 95;
const EOF: u8 = 96;
const CLOSE: u8 = 97;
const REQUEST: u8 = 98;
const SUCCESS: u8 = 99;
const FAILURE: u8 = 100;

/// One message from the far side; `id` is our number of the channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    Opened {
        id: u32,
        remote: u32,
        window: u32,
        max_packet: u32,
    },
    Refused {
        id: u32,
        reason: u32,
        text: String,
    },
    Window {
        id: u32,
        more: u32,
    },
    Data {
        id: u32,
        bytes: &'a [u8],
    },
    Eof {
        id: u32,
    },
    Close {
        id: u32,
    },
    /// An answer to a request of ours on this channel; which one does not matter.
    Answer {
        id: u32,
    },
    /// A request that wants an answer.
    Asked {
        id: u32,
    },
    /// Nothing that concerns us.
    Other,
}

/// The bytes are not what the protocol allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Length of the first frame in `buffer`, its length field included; none while it is
/// not complete.
pub(super) fn frame_length(buffer: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some((field, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*field) as usize;
    if !(2..=FRAME_LIMIT).contains(&length) {
        return Err(Malformed);
    }
    Ok((rest.len() >= length).then_some(4 + length))
}

/// The message in one whole frame.
pub(super) fn parse(frame: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut body = frame.get(5..).ok_or(Malformed)?;
    let kind = take_u8(&mut body)?;
    let body = &mut body;
    Ok(match kind {
        OPEN_CONFIRMATION => Message::Opened {
            id: take_u32(body)?,
            remote: take_u32(body)?,
            window: take_u32(body)?,
            max_packet: take_u32(body)?,
        },
        OPEN_FAILURE => Message::Refused {
            id: take_u32(body)?,
            reason: take_u32(body)?,
            text: String::from_utf8_lossy(take_string(body)?).into_owned(),
        },
        WINDOW_ADJUST => Message::Window { id: take_u32(body)?, more: take_u32(body)? },
        DATA => Message::Data { id: take_u32(body)?, bytes: take_string(body)? },
        EOF => Message::Eof { id: take_u32(body)? },
        CLOSE => Message::Close { id: take_u32(body)? },
        SUCCESS | FAILURE => Message::Answer { id: take_u32(body)? },
        REQUEST => {
            let id = take_u32(body)?;
            take_string(body)?;
            if take_u8(body)? == 0 { Message::Other } else { Message::Asked { id } }
        }
        EXTENDED_DATA | GLOBAL_REQUEST => Message::Other,
        _ => Message::Other,
    })
}

/// Asks the far side to dial `host`:`port`.
pub(super) fn open_direct(out: &mut BytesMut, id: u32, window: u32, host: &str, port: u16) {
    frame(out, OPEN, |out| {
        open_head(out, b"direct-tcpip", id, window);
        put_string(out, host.as_bytes());
        out.put_u32(u32::from(port));
        // The originator is only for the far side's log.
        put_string(out, b"127.0.0.1");
        out.put_u32(0);
    });
}

/// Asks for a session channel, which nothing is run in.
pub(super) fn open_session(out: &mut BytesMut, id: u32) {
    frame(out, OPEN, |out| open_head(out, b"session", id, 0));
}

/// A request on an open channel that every server answers, be it with a failure.
pub(super) fn keepalive(out: &mut BytesMut, remote: u32) {
    frame(out, REQUEST, |out| {
        out.put_u32(remote);
        put_string(out, b"keepalive@openssh.com");
        out.put_u8(1);
    });
}

pub(super) fn window(out: &mut BytesMut, remote: u32, more: u32) {
    frame(out, WINDOW_ADJUST, |out| {
        out.put_u32(remote);
        out.put_u32(more);
    });
}

/// Bytes in front of a frame's data: length, padding, kind, channel, length of the data.
const DATA_HEAD: usize = 4 + 1 + 1 + 4 + 4;

/// What stands in front of `bytes` in a frame of data.
pub(super) fn data_head(remote: u32, bytes: &[u8]) -> [u8; DATA_HEAD] {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let frame = length.saturating_add(DATA_HEAD as u32 - 4);
    let mut head = [0; DATA_HEAD];
    head[0..4].copy_from_slice(&frame.to_be_bytes());
    head[5] = DATA;
    head[6..10].copy_from_slice(&remote.to_be_bytes());
    head[10..14].copy_from_slice(&length.to_be_bytes());
    head
}

pub(super) fn eof(out: &mut BytesMut, remote: u32) {
    frame(out, EOF, |out| out.put_u32(remote));
}

pub(super) fn close(out: &mut BytesMut, remote: u32) {
    frame(out, CLOSE, |out| out.put_u32(remote));
}

pub(super) fn failure(out: &mut BytesMut, remote: u32) {
    frame(out, FAILURE, |out| out.put_u32(remote));
}

fn open_head(out: &mut BytesMut, kind: &[u8], id: u32, window: u32) {
    put_string(out, kind);
    out.put_u32(id);
    out.put_u32(window);
    out.put_u32(MAX_PACKET);
}

fn frame(out: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    sized(out, |out| {
        out.put_u8(0);
        out.put_u8(kind);
        body(out);
    });
}

/// Writes what `body` writes, with its length in front.
pub(super) fn sized(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    body(out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Writes a string with its length in front.
pub(super) fn put_string(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

fn take_u8(body: &mut &[u8]) -> Result<u8, Malformed> {
    body.try_get_u8().map_err(|_| Malformed)
}

fn take_u32(body: &mut &[u8]) -> Result<u32, Malformed> {
    body.try_get_u32().map_err(|_| Malformed)
}

fn take_string<'a>(body: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = take_u32(body)? as usize;
    let (taken, rest) = body.split_at_checked(length).ok_or(Malformed)?;
    *body = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes seen from OpenSSH 9.2 for a refused dial.
    #[test]
    fn a_real_refusal_is_read() {
        let frame = b"\x00\x00\x00\x24\x00\x5c\x00\x00\x00\x0b\x00\x00\x00\x02\
            \x00\x00\x00\x12Connection refused\x00\x00\x00\x00";
        let text = "Connection refused".to_owned();
        assert_eq!(parse(frame), Ok(Message::Refused { id: 11, reason: 2, text }));
    }

    #[test]
    fn data_comes_back_as_it_went() {
        let mut out = BytesMut::new();
        out.put_slice(&data_head(7, b"hello"));
        out.put_slice(b"hello");
        assert_eq!(frame_length(&out), Ok(Some(out.len())));
        assert_eq!(frame_length(&out[..out.len() - 1]), Ok(None));
        assert_eq!(parse(&out), Ok(Message::Data { id: 7, bytes: b"hello" }));
    }

    #[test]
    fn nonsense_is_an_error_and_never_a_panic() {
        assert_eq!(frame_length(&[0xff; 8]), Err(Malformed));
        assert_eq!(frame_length(&[0, 0, 0, 1, 0]), Err(Malformed));
        for kind in 0..=u8::MAX {
            for length in 0..40 {
                let mut frame = vec![0, 0, 0, 2, 0, kind];
                frame.extend(std::iter::repeat_n(0xff, length));
                let _ = parse(&frame);
            }
        }
        // A string that claims to be longer than the frame.
        assert_eq!(parse(b"\0\0\0\x0c\0\x5e\0\0\0\x01\0\0\0\x09abc"), Err(Malformed));
    }
}
