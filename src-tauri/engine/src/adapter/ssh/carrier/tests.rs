//! The engine's side of the protocol against a scripted far side.
#![cfg(unix)]

use super::*;
use crate::registry::{Registry, Tasks};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(10);

const OPEN: u8 = 90;
const CONFIRMATION: u8 = 91;
const REFUSAL: u8 = 92;
const DATA: u8 = 94;
const EOF: u8 = 96;
const CLOSE: u8 = 97;
const REQUEST: u8 = 98;
const FAILURE: u8 = 100;

/// The master's end of the socket.
struct Far(UnixStream);

impl Far {
    /// Kind and body of the engine's next message.
    async fn hear(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let length = self.0.read_u32().await.unwrap();
            let mut frame = vec![0; length as usize];
            self.0.read_exact(&mut frame).await.unwrap();
            (frame[1], frame[2..].to_vec())
        };
        timeout(DEADLINE, read).await.expect("the engine says nothing")
    }

    /// Our number of the channel that the engine opens next.
    async fn hear_open(&mut self) -> u32 {
        let (kind, body) = self.hear().await;
        assert_eq!(kind, OPEN);
        let name = u32::from_be_bytes(body[..4].try_into().unwrap()) as usize;
        u32::from_be_bytes(body[4 + name..8 + name].try_into().unwrap())
    }

    async fn say(&mut self, kind: u8, words: &[u32], text: &[u8]) {
        let mut frame = vec![0, kind];
        frame.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        frame.extend_from_slice(text);
        self.0.write_u32(u32::try_from(frame.len()).unwrap()).await.unwrap();
        self.0.write_all(&frame).await.unwrap();
    }

    async fn confirm(&mut self, id: u32, window: u32) {
        self.say(CONFIRMATION, &[id, id + 100, window, 32_768], b"").await;
    }

    async fn send(&mut self, id: u32, bytes: &[u8]) {
        self.say(DATA, &[id, u32::try_from(bytes.len()).unwrap()], bytes).await;
    }
}

fn pair() -> (Mux, Far, Tasks) {
    let (near, far) = UnixStream::pair().unwrap();
    let tasks = Tasks::new("test", &Registry::default());
    let mux = Mux::new(Channels::start(near, &tasks), "/nowhere".into());
    (mux, Far(far), tasks)
}

/// A server that closes idle sessions is asked again, not given up.
#[tokio::test]
async fn a_ping_survives_a_closed_session() {
    let (mux, mut far, _tasks) = pair();
    let script = async {
        let first = far.hear_open().await;
        far.confirm(first, 0).await;
        assert_eq!(far.hear().await.0, REQUEST);
        far.say(CLOSE, &[first], b"").await;
        assert_eq!(far.hear().await.0, CLOSE);
        let second = far.hear_open().await;
        far.confirm(second, 0).await;
        assert_eq!(far.hear().await.0, REQUEST);
        far.say(FAILURE, &[second], b"").await;
    };
    let (took, ()) = tokio::join!(mux.ping(), script);
    assert!(took.unwrap().is_some());
}

/// Pings at the same time cost one question.
#[tokio::test]
async fn pings_at_once_share_a_question() {
    let (mux, mut far, _tasks) = pair();
    let script = async {
        let id = far.hear_open().await;
        far.confirm(id, 0).await;
        assert_eq!(far.hear().await.0, REQUEST);
        far.say(FAILURE, &[id], b"").await;
        // The first asked for itself; the others, who came while it waited, share one.
        assert_eq!(far.hear().await.0, REQUEST);
        far.say(FAILURE, &[id], b"").await;
    };
    let many = futures_util::future::join_all((0..100).map(|_| mux.ping()));
    let (pings, ()) = tokio::join!(many, script);
    assert!(pings.into_iter().all(|ping| ping.unwrap().is_some()));
}

/// No more than the far side allows is sent, and the rest as soon as it allows more.
#[tokio::test]
async fn the_far_sides_window_is_kept() {
    let (mux, mut far, _tasks) = pair();
    let script = async {
        let id = far.hear_open().await;
        far.confirm(id, 10).await;
        let (kind, body) = far.hear().await;
        assert_eq!((kind, &body[8..]), (DATA, &b"0123456789"[..]));
        far.say(93, &[id, 3], b"").await;
        let (kind, body) = far.hear().await;
        assert_eq!((kind, &body[8..]), (DATA, &b"abc"[..]));
        assert_eq!(far.hear().await.0, EOF);
        assert_eq!(far.hear().await.0, CLOSE);
    };
    let client = async {
        let mut stream = mux.dial("db", 5432).await.unwrap();
        stream.write_all(b"0123456789abc").await.unwrap();
        stream.shutdown().await.unwrap();
    };
    tokio::join!(client, script);
}

/// What arrived before the end is read before the end is told.
#[tokio::test]
async fn a_lost_connection_is_a_reset_behind_the_data() {
    let (mux, mut far, _tasks) = pair();
    let script = async {
        let id = far.hear_open().await;
        far.confirm(id, 100).await;
        far.send(id, b"last words").await;
        drop(far);
    };
    let (stream, ()) = tokio::join!(mux.dial("db", 5432), script);
    let mut heard = Vec::new();
    let error = timeout(DEADLINE, stream.unwrap().read_to_end(&mut heard)).await.unwrap();
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(heard, b"last words");
    assert!(matches!(mux.dial("db", 5432).await, Err(DialError::Ended(_))));
}

/// A dial that nobody waits for any more is closed when its answer comes.
#[tokio::test]
async fn an_abandoned_dial_is_closed() {
    let (mux, mut far, _tasks) = pair();
    let id = {
        let dial = mux.dial("db", 5432);
        tokio::pin!(dial);
        tokio::select! {
            _ = &mut dial => panic!("nobody answered"),
            id = far.hear_open() => id,
        }
    };
    far.confirm(id, 100).await;
    let (kind, body) = far.hear().await;
    assert_eq!((kind, body), (CLOSE, (id + 100).to_be_bytes().to_vec()));
}

/// A far side that floods past its window, or speaks nonsense, is cut off: memory stays
/// bounded.
#[tokio::test]
async fn a_far_side_that_breaks_the_rules_is_cut_off() {
    for flood in [true, false] {
        let (mux, mut far, _tasks) = pair();
        let script = async {
            let id = far.hear_open().await;
            far.confirm(id, 100).await;
            if flood {
                let piece = vec![0; 128 * 1024];
                for _ in 0..17 {
                    far.send(id, &piece).await;
                }
            } else {
                far.0.write_all(b"\xff\xff\xff\xff nonsense").await.unwrap();
            }
        };
        let (stream, ()) = tokio::join!(mux.dial("db", 5432), script);
        let ended = timeout(DEADLINE, Carrier::Mux(mux).ended()).await.unwrap();
        assert!(ended.sentence.contains("it sent"), "{ended:?}");
        drop(stream);
    }
}

/// A refusal is the far side's own words.
#[tokio::test]
async fn a_refusal_carries_its_words() {
    let (mux, mut far, _tasks) = pair();
    let script = async {
        let id = far.hear_open().await;
        far.say(REFUSAL, &[id, 2, 18], b"Connection refused\0\0\0\0").await;
    };
    let (dial, ()) = tokio::join!(mux.dial("db", 5432), script);
    let Err(DialError::Refused(refusal)) = dial else { panic!("it was not refused") };
    assert_eq!(refusal, Refusal { reason: 2, text: "Connection refused".into() });
}
