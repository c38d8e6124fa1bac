//! A tunnel against a node with a real one's habits (G6, S7.1, S7.4).
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may fail; their far side has no owner in the engine"
)]

#[path = "support/node.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used)]
mod node;
#[path = "support/rig.rs"]
mod rig;

use localport_tunnel::{Config, Framing, Reason, StreamError};
use rig::{LIMIT, Rig, backend, pattern, said, within};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

async fn echo(mut socket: TcpStream) {
    let (mut read, mut write) = socket.split();
    drop(tokio::io::copy(&mut read, &mut write).await);
}

/// Sends without end.
async fn flood(mut socket: TcpStream) {
    let chunk = pattern(64 << 10);
    while socket.write_all(&chunk).await.is_ok() {}
}

/// G6: both framings carry bytes both ways, whole and in order.
#[tokio::test(flavor = "multi_thread")]
async fn g6_eight_mebibytes_go_and_come_back() {
    for framing in [Framing::WebSocket, Framing::Raw] {
        let rig = Rig::start(framing, &[(80, backend(echo).await)]).await;
        let sent = pattern(8 << 20);
        let (mut read, mut write) = tokio::io::split(rig.tunnel.stream(80));
        let mut received = vec![0; sent.len()];
        let up = async {
            write.write_all(&sent).await.unwrap();
            write.flush().await.unwrap();
        };
        within(async { tokio::join!(up, read.read_exact(&mut received)) }).await.1.unwrap();
        assert!(received == sent, "bytes were changed on the way");
        assert_eq!(rig.node.switches().sent.load(Ordering::Relaxed), 8 << 20);
        rig.node.switches().assert_lawful();
    }
}

/// G6: the openings, the end of the error stream and the first bytes are one message.
#[tokio::test]
async fn g6_an_opening_and_its_first_bytes_are_one_write() {
    let rig = Rig::start(Framing::WebSocket, &[(80, backend(echo).await)]).await;
    let mut stream = rig.tunnel.stream(80);
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    within(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"hello");
    assert_eq!(rig.node.switches().messages.load(Ordering::Relaxed), 1);
    rig.node.switches().assert_lawful();
}

/// A burst on a fresh tunnel: five workers answer at once, and their replies still come
/// in the order in which they were compressed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s7_1_a_burst_on_a_fresh_tunnel_is_served_whole() {
    let port = backend(echo).await;
    for round in 0..150 {
        let rig = Rig::start(Framing::Raw, &[(80, port)]).await;
        let mut streams: Vec<_> = (0..10).map(|_| rig.tunnel.stream(80)).collect();
        for stream in &mut streams {
            stream.write_all(b"hello").await.unwrap();
        }
        for stream in &mut streams {
            let mut answer = [0; 5];
            let read = within(stream.read_exact(&mut answer)).await;
            read.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        rig.node.switches().assert_lawful();
    }
}

/// Trap 1 and 5: thousands of short connections on one tunnel, by FIN and by RST, cost
/// no slot and leave nothing behind, although the node keeps each for its second of grace.
#[tokio::test(flavor = "multi_thread")]
async fn s7_1_three_thousand_short_connections_are_all_served() {
    let rig = Rig::start(Framing::WebSocket, &[(80, backend(echo).await)]).await;
    let mut set = tokio::task::JoinSet::new();
    for worker in 0..50_u32 {
        let tunnel = rig.tunnel.clone();
        set.spawn(async move {
            for round in 0..60_u32 {
                let word = (worker * 60 + round).to_be_bytes();
                let mut stream = tunnel.stream(80);
                stream.write_all(&word).await.unwrap();
                let mut answer = [0; 4];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(answer, word);
            }
        });
    }
    within(async {
        while let Some(done) = set.join_next().await {
            done.unwrap()
        }
    })
    .await;
    assert_eq!(rig.node.switches().opened.load(Ordering::Relaxed), 3_000);
    let status = rig.tunnel.status();
    assert_eq!((status.streams, status.buffered), (0, 0));
    rig.node.switches().assert_lawful();
}

#[tokio::test]
async fn an_end_is_an_end_and_every_byte_before_it_counts() {
    let reply = |mut socket: TcpStream| async move {
        drop(socket.write_all(&pattern(3 << 20)).await);
    };
    let rig = Rig::start(Framing::WebSocket, &[(80, backend(reply).await)]).await;
    let mut stream = rig.tunnel.stream(80);
    let mut received = Vec::new();
    within(stream.read_to_end(&mut received)).await.unwrap();
    assert!(received == pattern(3 << 20), "{} bytes came", received.len());
    drop(stream);
    assert_eq!(rig.tunnel.status().streams, 0);
}

/// A refused port is told in the node's words and touches nothing else; without data
/// sent, the tunnel stays good.
#[tokio::test]
async fn a_refused_port_ends_its_stream_only() {
    let rig = Rig::start(Framing::WebSocket, &[(80, backend(echo).await)]).await;
    let mut good = rig.tunnel.stream(80);
    good.write_all(b"a").await.unwrap();
    assert_eq!(within(good.read_u8()).await.unwrap(), b'a');
    for _ in 0..20 {
        let mut refused = rig.tunnel.stream(81);
        let error = within(refused.settle(LIMIT)).await.unwrap_err();
        assert!(matches!(&error, StreamError::Said(text) if text.contains("connection refused")));
        assert!(!refused.has_sent());
        assert_eq!(said(within(refused.read_u8()).await.unwrap_err()), error);
    }
    good.write_all(b"b").await.unwrap();
    assert_eq!(within(good.read_u8()).await.unwrap(), b'b');
    within(rig.tunnel.ping()).await.unwrap();
    rig.node.switches().assert_lawful();
}

/// Trap 2: a refusal after data wedges the node. Its text is told; and the tunnel, which
/// then answers nobody, is found dead and its streams are reset.
#[tokio::test]
async fn a_wedged_tunnel_is_found_dead() {
    let config = Config { ping_limit: Duration::from_millis(600), ..Config::default() };
    let mut rig = Rig::with(Framing::WebSocket, &[(80, backend(echo).await)], config).await;
    let mut refused = rig.tunnel.stream(81);
    refused.write_all(b"too early").await.unwrap();
    let error = said(within(refused.read_u8()).await.unwrap_err());
    assert!(matches!(error, StreamError::Said(_)), "{error:?}");
    assert!(refused.has_sent());
    drop(refused);
    // A few more opens work, then all hang.
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut stream = rig.tunnel.stream(80);
        stream.write_all(b"x").await.unwrap();
        streams.push(stream);
    }
    let start = Instant::now();
    let reason = within(rig.reason()).await;
    assert_eq!(reason, Reason::Silent(Duration::from_millis(600)));
    assert!(start.elapsed() < Duration::from_secs(8), "noticed after {:?}", start.elapsed());
    let mut reset = 0;
    for mut stream in streams {
        reset += usize::from(within(stream.read_to_end(&mut Vec::new())).await.is_err());
    }
    assert_eq!(reset, 100);
}

/// Trap 3: an abandoned download goes on for a second; it is thrown away, not kept.
#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_download_is_thrown_away() {
    let rig =
        Rig::start(Framing::Raw, &[(80, backend(flood).await), (81, backend(echo).await)]).await;
    let mut other = rig.tunnel.stream(81);
    let mut stream = rig.tunnel.stream(80);
    let mut some = vec![0; 1 << 20];
    within(stream.read_exact(&mut some)).await.unwrap();
    drop(stream);
    let start = Instant::now();
    while rig.node.switches().live.load(Ordering::Relaxed) > 1
        || start.elapsed() < Duration::from_millis(300)
    {
        other.write_all(b"x").await.unwrap();
        within(other.read_u8()).await.unwrap();
        assert!(start.elapsed() < LIMIT, "the node never ended the download");
        let status = rig.tunnel.status();
        assert_eq!((status.streams, status.buffered), (1, 0));
    }
    assert!(rig.tunnel.status().discarded > 0);
}

/// Alone on its tunnel, a stream that is not read rests the connection and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_unread_stream_alone_holds_a_bounded_part_and_loses_nothing() {
    let size = 40 << 20;
    let reply = move |mut socket: TcpStream| async move {
        drop(socket.write_all(&pattern(size)).await);
    };
    let config = Config { stalled_limit: Duration::from_millis(200), ..Config::default() };
    let rig = Rig::with(Framing::WebSocket, &[(80, backend(reply).await)], config).await;
    let mut stream = rig.tunnel.stream(80);
    within(stream.settle(LIMIT)).await.unwrap();
    rig.until("stalled", |tunnel| tunnel.status().stalled).await;
    sleep(Duration::from_millis(600)).await;
    assert!(rig.tunnel.status().buffered <= (1 << 20) + (128 << 10), "{:?}", rig.tunnel);
    let mut received = Vec::new();
    within(stream.read_to_end(&mut received)).await.unwrap();
    assert!(received == pattern(size), "{} bytes came", received.len());
}

/// S7.1: a stream that is not read does not delay the others of its tunnel for longer
/// than the limit; then it is reset, and told so.
#[tokio::test(flavor = "multi_thread")]
async fn s7_1_an_unread_stream_never_holds_up_another() {
    let config = Config {
        tunnel_buffer: 4 << 20,
        stalled_limit: Duration::from_millis(300),
        ..Config::default()
    };
    let ports = [(80, backend(flood).await), (81, backend(echo).await)];
    let rig = Rig::with(Framing::WebSocket, &ports, config).await;
    let mut other = rig.tunnel.stream(81);
    other.write_all(b"x").await.unwrap();
    within(other.read_u8()).await.unwrap();
    let mut unread = rig.tunnel.stream(80);
    within(unread.settle(LIMIT)).await.unwrap();
    let mut slowest = Duration::ZERO;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2_500) {
        let asked = Instant::now();
        other.write_all(b"x").await.unwrap();
        within(other.read_u8()).await.unwrap();
        slowest = slowest.max(asked.elapsed());
        assert!(rig.tunnel.status().buffered <= (4 << 20) + (128 << 10));
    }
    assert!(slowest < Duration::from_millis(1_500), "an answer took {slowest:?}");
    let mut rest = Vec::new();
    let error = within(unread.read_to_end(&mut rest)).await.unwrap_err();
    assert_eq!(said(error), StreamError::Unread);
}

/// S7.4: a path that dies without a word is noticed by the ping's deadline, although
/// not one frame comes any more; kept streams are reset, never ended.
#[tokio::test(start_paused = true)]
async fn s7_4_a_dead_path_is_noticed_by_the_clock() {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (tunnel, driver) = localport_tunnel::start(near, Framing::Raw, Config::default());
    let driver = tokio::spawn(driver);
    let mut stream = tunnel.stream(80);
    let start = Instant::now();
    stream.write_all(b"hello").await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(said(error), StreamError::Tunnel(Reason::Silent(Duration::from_secs(5))));
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(7) && took < Duration::from_secs(8), "{took:?}");
    assert_eq!(driver.await.unwrap(), Reason::Silent(Duration::from_secs(5)));
    assert_eq!(
        tunnel.stream(80).write(b"x").await.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    drop(far);
}

/// The same for a tunnel that nobody uses: its keepalive asks.
#[tokio::test(start_paused = true)]
async fn s7_4_an_idle_tunnel_on_a_dead_path_ends() {
    let (near, _far) = tokio::io::duplex(1 << 20);
    let (tunnel, driver) = localport_tunnel::start(near, Framing::WebSocket, Config::default());
    let start = Instant::now();
    assert_eq!(driver.await, Reason::Silent(Duration::from_secs(5)));
    assert_eq!(start.elapsed().as_secs(), 25);
    assert!(tunnel.status().retired);
}

/// Mute pings alone do not end a tunnel on which frames come: they are signs of life.
#[tokio::test]
async fn any_frame_is_a_sign_of_life() {
    let talk = |mut socket: TcpStream| async move {
        while socket.write_all(b".").await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let config = Config {
        ping_idle: Duration::from_millis(50),
        ping_limit: Duration::from_millis(400),
        ..Config::default()
    };
    let mut rig = Rig::with(Framing::WebSocket, &[(80, backend(talk).await)], config).await;
    rig.node.switches().mute.store(true, Ordering::Relaxed);
    let mut stream = rig.tunnel.stream(80);
    for _ in 0..20 {
        within(stream.read_u8()).await.unwrap();
    }
    drop(stream);
    // The node's second of grace goes on talking; then nothing does.
    assert_eq!(within(rig.reason()).await, Reason::Silent(Duration::from_millis(400)));
}

#[tokio::test]
async fn a_goaway_ends_the_tunnel_behind_its_streams() {
    let mut rig = Rig::start(Framing::WebSocket, &[(80, backend(echo).await)]).await;
    let mut stream = rig.tunnel.stream(80);
    stream.write_all(b"a").await.unwrap();
    within(stream.read_u8()).await.unwrap();
    rig.node.switches().go_away();
    rig.until("retired", |tunnel| tunnel.status().retired).await;
    // Its last good stream is none: this one was not taken, says the node.
    let error = said(within(stream.read_u8()).await.unwrap_err());
    assert_eq!(error, StreamError::Tunnel(Reason::GoAway(0)));
    let error = rig.tunnel.stream(80).write(b"x").await.unwrap_err();
    assert_eq!(said(error), StreamError::Full);
    drop(stream);
    assert_eq!(within(rig.reason()).await, Reason::Closed);
}

/// S7.1: nothing is left of a tunnel whose handles are gone: the driver ends, and the
/// node has nothing open.
#[tokio::test]
async fn s7_1_a_dropped_tunnel_ends_at_the_node() {
    let mut rig = Rig::start(Framing::WebSocket, &[(80, backend(echo).await)]).await;
    let mut stream = rig.tunnel.stream(80);
    stream.write_all(b"a").await.unwrap();
    within(stream.read_u8()).await.unwrap();
    rig.retire_handle();
    // The stream goes on without a handle.
    stream.write_all(b"b").await.unwrap();
    assert_eq!(within(stream.read_u8()).await.unwrap(), b'b');
    drop(stream);
    assert_eq!(within(rig.reason()).await, Reason::Closed);
    within(rig.served()).await;
    rig.node.switches().assert_lawful();
}

#[tokio::test]
async fn a_dropped_driver_resets_its_streams() {
    let mut rig = Rig::start(Framing::Raw, &[(80, backend(echo).await)]).await;
    let mut stream = rig.tunnel.stream(80);
    stream.write_all(b"a").await.unwrap();
    within(stream.read_u8()).await.unwrap();
    rig.abort_driver();
    let error = said(within(stream.read_u8()).await.unwrap_err());
    assert_eq!(error, StreamError::Tunnel(Reason::Dropped));
}

/// S7.1: 100 uploads through one tunnel each get their share.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_share_fairly() {
    let count = |mut socket: TcpStream| async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(1..) = socket.read(&mut buffer).await {}
    };
    let rig = Rig::start(Framing::WebSocket, &[(80, backend(count).await)]).await;
    let mut set = tokio::task::JoinSet::new();
    let until = Instant::now() + Duration::from_secs(2);
    for _ in 0..100 {
        let mut stream = rig.tunnel.stream(80);
        set.spawn(async move {
            let chunk = vec![7; 32 << 10];
            let mut sent = 0_u64;
            while Instant::now() < until {
                stream.write_all(&chunk).await.unwrap();
                sent += chunk.len() as u64;
            }
            sent
        });
    }
    let mut sent = Vec::new();
    while let Some(done) = within(set.join_next()).await {
        sent.push(done.unwrap() as f64);
    }
    let (sum, squares): (f64, f64) = (sent.iter().sum(), sent.iter().map(|x| x * x).sum());
    let jain = sum * sum / (sent.len() as f64 * squares);
    assert!(jain >= 0.95, "Jain's index is {jain:.3}");
}

#[tokio::test]
async fn a_tunnel_that_is_full_says_so() {
    let config = Config { streams: 2, ..Config::default() };
    let rig = Rig::with(Framing::WebSocket, &[(80, backend(echo).await)], config).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = rig.tunnel.stream(80);
        stream.write_all(b"x").await.unwrap();
        kept.push(stream);
    }
    let error = rig.tunnel.stream(80).write(b"x").await.unwrap_err();
    assert_eq!(said(error), StreamError::Full);
    kept.pop();
    rig.tunnel.stream(80).write_all(b"x").await.unwrap();
}
