//! Frames and header blocks as bytes: real compressors' blocks, round trips, garbage.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail")]

use bytes::Bytes;
use localport_tunnel::frame::{self, Decoder, Frame, FrameError, MAX_CONTROL};
use localport_tunnel::headers::{HeaderDecoder, HeaderEncoder, HeaderError, MAX_HEADERS};
use localport_tunnel::websocket::{self, Event, Reader};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Three blocks of one stream that zlib 1.2 compressed at level 9 with SPDY/3's
/// dictionary: they point into it and into each other.
#[test]
fn blocks_of_a_real_compressor_are_read() {
    let mut decoder = HeaderDecoder::default();
    let mut read = |block: &str| decoder.decode(&hex(block)).unwrap();
    let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    assert_eq!(
        read("78f9e3c6a7c202253a1c6914bd80e184fb1323613227da1a02000000ffff"),
        [pair("status", "200 OK"), pair("content-type", "text/html"), pair("set-cookie", "a=1")]
    );
    assert_eq!(read("02520c00000000ffff"), []);
    assert_eq!(
        read("02e53514d37851e214946f2b74f35281852da34e6252f228221201000000ffff"),
        [pair("status", "404 Not Found"), pair("x-new", &"abc".repeat(100))]
    );
}

/// A thousand times its own size: refused without being unpacked.
#[test]
fn a_bomb_is_refused() {
    let mut block = vec![0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];
    // Fixed codes: a literal, then matches of 258 bytes at distance 1 for as long as
    // the block goes; 13 bits each.
    let mut bits = vec![false, true, false];
    bits.extend([false, false, true, true, false, false, false, false]);
    for _ in 0..100_000 {
        bits.extend([true, true, false, false, false, true, false, true]); // length 258
        bits.extend([false; 5]); // distance 1
    }
    block.extend(
        bits.chunks(8)
            .map(|byte| byte.iter().enumerate().map(|(at, bit)| u8::from(*bit) << at).sum::<u8>()),
    );
    assert_eq!(HeaderDecoder::default().decode(&block), Err(HeaderError::TooLarge));
}

fn control(kind: u16, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, 3];
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&(u32::from(flags) << 24 | body.len() as u32).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let (mut decoder, mut input) = (Decoder::default(), Bytes::copy_from_slice(bytes));
    let mut frames = Vec::new();
    while let Some(frame) = decoder.decode(&mut input)? {
        frames.push(frame);
    }
    assert!(input.is_empty(), "bytes were left over");
    Ok(frames)
}

#[test]
fn what_a_peer_may_not_send_is_refused() {
    let settings = |count: u32, entries: usize| {
        control(4, 0, &[&count.to_be_bytes()[..], &vec![0; entries * 8]].concat())
    };
    let table: Vec<(&str, Vec<u8>, FrameError)> = vec![
        ("SPDY/2", vec![0x80, 2, 0, 6, 0, 0, 0, 4], FrameError::Version(2)),
        ("a long frame", vec![0x80, 3, 0, 8, 0, 1, 0, 0], FrameError::TooLong(0x1_0000)),
        ("a short ping", control(6, 0, &[0; 3]), FrameError::Length { kind: 6, length: 3 }),
        ("a long ping", control(6, 0, &[0; 5]), FrameError::Length { kind: 6, length: 5 }),
        ("a short reset", control(3, 0, &[0; 4]), FrameError::Length { kind: 3, length: 4 }),
        ("a short goaway", control(7, 0, &[0; 4]), FrameError::Length { kind: 7, length: 4 }),
        ("a short reply", control(2, 0, &[0; 2]), FrameError::Length { kind: 2, length: 2 }),
        ("a short opening", control(1, 0, &[0; 8]), FrameError::Length { kind: 1, length: 8 }),
        ("many settings", settings(65, 65), FrameError::Settings(65)),
        ("settings that lie", settings(4, 3), FrameError::Length { kind: 4, length: 28 }),
        ("settings that overflow", settings(u32::MAX, 0), FrameError::Settings(0xffff_ffff)),
        ("no zlib", control(2, 0, &[0; 12]), FrameError::Headers(HeaderError::NotDeflate)),
    ];
    for (what, bytes, error) in table {
        assert_eq!(decode(&bytes), Err(error), "{what}");
    }
    assert!(decode(&settings(64, 64)).is_ok());
    assert!(decode(&control(99, 0, &vec![0; MAX_CONTROL])).is_ok(), "an unknown type is ignored");
}

fn frames() -> impl Strategy<Value = Vec<(Vec<u8>, Frame)>> {
    let id = 0..=frame::MAX_ID;
    let one = prop_oneof![
        (id.clone(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300)).prop_map(
            |(stream, fin, data)| {
                let bytes = [&frame::data_head(stream, data.len(), fin)[..], &data].concat();
                (bytes, Frame::Data { stream, data: data.into(), fin })
            }
        ),
        (id.clone(), any::<u32>()).prop_map(|(stream, status)| {
            let mut bytes = Vec::new();
            frame::put_reset(&mut bytes, stream, status);
            (bytes, Frame::Reset { stream, status })
        }),
        any::<u32>().prop_map(|id| {
            let mut bytes = Vec::new();
            frame::put_ping(&mut bytes, id);
            (bytes, Frame::Ping { id })
        }),
        (id, any::<u32>()).prop_map(|(last, status)| {
            let mut bytes = Vec::new();
            frame::put_goaway(&mut bytes, last, status);
            (bytes, Frame::GoAway { last, status })
        }),
    ];
    proptest::collection::vec(one, 1..20)
}

/// Pieces of data frames put together again, so that cuts do not show.
fn joined(frames: Vec<Frame>) -> Vec<Frame> {
    let mut whole: Vec<Frame> = Vec::new();
    for frame in frames {
        match (whole.last_mut(), frame) {
            (
                Some(Frame::Data { stream: a, data, fin: last @ false }),
                Frame::Data { stream: b, data: more, fin },
            ) if *a == b => {
                *data = [&data[..], &more].concat().into();
                *last = fin;
            }
            (_, frame) => whole.push(frame),
        }
    }
    whole
}

/// Bytes in pieces of the given sizes, over and over.
fn pieces(bytes: &[u8], sizes: &[usize]) -> Vec<Bytes> {
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let (piece, left) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
        pieces.push(Bytes::copy_from_slice(piece));
        rest = left;
    }
    pieces
}

proptest! {
    #[test]
    fn frames_survive_any_cut(frames in frames(), sizes in proptest::collection::vec(1_usize..40, 1..5)) {
        let bytes: Vec<u8> = frames.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let mut decoder = Decoder::default();
        let mut read = Vec::new();
        for mut piece in pieces(&bytes, &sizes) {
            while let Some(frame) = decoder.decode(&mut piece).unwrap() {
                read.push(frame);
            }
        }
        let sent: Vec<Frame> = frames.into_iter().map(|(_, frame)| frame).collect();
        prop_assert_eq!(joined(read), joined(sent));
    }

    #[test]
    fn header_blocks_survive(blocks in proptest::collection::vec(
        proptest::collection::vec(("[a-z]{1,12}", "[ -~]{0,200}"), 0..8), 1..8)) {
        let (mut encoder, mut decoder) = (HeaderEncoder::default(), HeaderDecoder::default());
        for headers in blocks {
            let pairs: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
            let read = decoder.decode(&encoder.encode(&pairs)).unwrap();
            let sent: Vec<_> = pairs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
            prop_assert_eq!(read, sent);
        }
    }

    /// Whatever comes, it is read or refused: no panic, and never more than was sent.
    #[test]
    fn garbage_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), cut in 1_usize..100) {
        let mut decoder = Decoder::default();
        let mut data_bytes = 0;
        'all: for mut piece in pieces(&bytes, &[cut]) {
            loop {
                match decoder.decode(&mut piece) {
                    Ok(Some(Frame::Data { data, .. })) => data_bytes += data.len(),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'all,
                }
            }
        }
        prop_assert!(data_bytes <= bytes.len());
    }

    #[test]
    fn garbage_behind_a_good_start_is_refused(block in proptest::collection::vec(any::<u8>(), 0..400)) {
        let start = [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];
        if let Ok(headers) = HeaderDecoder::default().decode(&[&start[..], &block].concat()) {
            prop_assert!(headers.len() <= MAX_HEADERS);
        }
    }

    /// What is masked here is unmasked by the WebSocket's rule, byte by byte.
    #[test]
    fn masking_is_the_rfcs(data in proptest::collection::vec(any::<u8>(), 0..70), mask: [u8; 4]) {
        let mut masked = data.clone();
        websocket::apply_mask(&mut masked, mask);
        let plain: Vec<u8> = masked.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
        prop_assert_eq!(plain, data);
    }

    #[test]
    fn messages_survive_any_cut(
        messages in proptest::collection::vec((0_u8..4, 0_usize..70_000), 1..6),
        sizes in proptest::collection::vec(1_usize..5_000, 1..5),
    ) {
        let (mut bytes, mut plain, mut pings) = (Vec::new(), Vec::new(), 0);
        for (kind, length) in messages {
            let body: Vec<u8> = (0..length).map(|at| at as u8).collect();
            match kind {
                0 => {
                    bytes.extend([0x89, 5]);
                    bytes.extend(b"hello");
                    pings += 1;
                }
                // A message in two pieces.
                1 => {
                    bytes.extend([0x02, 3, 7, 8, 9, 0x80, 1, 7]);
                    plain.extend([7, 8, 9, 7]);
                }
                _ => {
                    bytes.push(0x82);
                    match length {
                        0..=125 => bytes.push(length as u8),
                        126..=0xffff => {
                            bytes.push(126);
                            bytes.extend((length as u16).to_be_bytes());
                        }
                        _ => {
                            bytes.push(127);
                            bytes.extend((length as u64).to_be_bytes());
                        }
                    }
                    bytes.extend(&body);
                    plain.extend(&body);
                }
            }
        }
        bytes.extend([0x88, 0]);
        let (mut reader, mut read, mut asked, mut closed) = (Reader::default(), Vec::new(), 0, false);
        for mut piece in pieces(&bytes, &sizes) {
            while let Some(event) = reader.read(&mut piece).unwrap() {
                match event {
                    Event::Bytes(piece) => read.extend_from_slice(&piece),
                    Event::Ping(body) => {
                        prop_assert_eq!(body, b"hello".to_vec());
                        asked += 1;
                    }
                    Event::Close => closed = true,
                }
            }
        }
        prop_assert!(closed && asked == pings && read == plain);
    }

    #[test]
    fn websocket_garbage_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let (mut reader, mut input) = (Reader::default(), Bytes::from(bytes));
        while let Ok(Some(_)) = reader.read(&mut input) {}
    }
}
