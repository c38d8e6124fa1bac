//! Owns what each fuzz target does with its input; an ordinary test runs the same over
//! the corpus. The first byte says into what pieces the rest is cut.

use bytes::Bytes;
use localport_tunnel::frame::{Decoder, Frame, MAX_SETTINGS};
use localport_tunnel::headers::{HeaderDecoder, MAX_BLOCK, MAX_HEADERS};
use localport_tunnel::websocket::{Event, Reader};

fn pieces(input: &[u8]) -> Vec<Bytes> {
    let (size, rest) = input.split_first().unwrap_or((&1, &[]));
    rest.chunks(usize::from(*size).max(1)).map(Bytes::copy_from_slice).collect()
}

/// Frames: read or refused, never more data than came, nothing above a limit.
#[allow(dead_code)]
pub(crate) fn frames(input: &[u8]) {
    let (mut decoder, mut data_bytes) = (Decoder::default(), 0);
    for mut piece in pieces(input) {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(Frame::Data { data, .. })) => data_bytes += data.len(),
                Ok(Some(Frame::Settings(all))) => assert!(all.len() <= MAX_SETTINGS),
                Ok(Some(
                    Frame::SynStream { headers, .. }
                    | Frame::SynReply { headers, .. }
                    | Frame::Headers { headers, .. },
                )) => assert!(headers.len() <= MAX_HEADERS),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(piece.is_empty());
    }
    assert!(data_bytes <= input.len());
}

/// Header blocks of one connection, one a piece.
#[allow(dead_code)]
pub(crate) fn headers(input: &[u8]) {
    let mut decoder = HeaderDecoder::default();
    for piece in pieces(input) {
        match decoder.decode(&piece) {
            Ok(headers) => {
                let size: usize =
                    headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                assert!(headers.len() <= MAX_HEADERS && size <= MAX_BLOCK);
            }
            Err(_) => return,
        }
    }
}

/// WebSocket messages: read or refused, never more bytes than came.
#[allow(dead_code)]
pub(crate) fn websocket(input: &[u8]) {
    let (mut reader, mut bytes) = (Reader::default(), 0);
    for mut piece in pieces(input) {
        loop {
            match reader.read(&mut piece) {
                Ok(Some(Event::Bytes(data))) => bytes += data.len(),
                Ok(Some(Event::Ping(body))) => assert!(body.len() <= 125),
                Ok(Some(Event::Close) | None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(bytes <= input.len());
}
