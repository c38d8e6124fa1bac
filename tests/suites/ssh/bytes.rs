//! Bytes through a session: both ways, half-closed, refused, broken off.

use super::*;

/// Item 4: real bytes through a real server.
#[tokio::test(flavor = "multi_thread")]
async fn carries_bytes_both_ways() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let echo = Server::echo().await;
    let session = ground.open(sshd.target("localhost", echo.port())).await;
    assert_eq!(session.route().path, "ssh-mux");
    let mut stream = connect(&session).await;
    for word in ["hello", "again"] {
        stream.write_all(word.as_bytes()).await.unwrap();
        let mut back = [0; 5];
        timeout(DEADLINE, stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(back, word.as_bytes());
    }
}

/// The client's end of data reaches the target, whose answer still comes back whole.
#[tokio::test(flavor = "multi_thread")]
async fn half_close_towards_the_target_keeps_the_answer() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let sink = Server::sink().await;
    let session = ground.open(sshd.target("127.0.0.1", sink.port())).await;
    let mut stream = connect(&session).await;
    let size = 5_000_000;
    stream.write_all(&vec![7; size]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, size.to_string());
}

/// The target's end of data reaches the client, who may still send.
#[tokio::test(flavor = "multi_thread")]
async fn half_close_towards_the_client_keeps_the_way_up_open() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let (sender, mut heard) = mpsc::channel(1);
    let server = Server::start(move |mut client| {
        let sender = sender.clone();
        async move {
            client.write_all(b"done").await.unwrap();
            client.shutdown().await.unwrap();
            let mut rest = String::new();
            client.read_to_string(&mut rest).await.unwrap();
            sender.send(rest).await.unwrap();
        }
    })
    .await;
    let session = ground.open(sshd.target("127.0.0.1", server.port())).await;
    let mut stream = connect(&session).await;
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "done");
    stream.write_all(b"and thanks").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(DEADLINE, heard.recv()).await.unwrap().unwrap(), "and thanks");
}

/// A download larger than every window and buffer arrives whole and in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_download_arrives_whole() {
    const SIZE: usize = 20_000_000;
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let source = Server::source(SIZE).await;
    let session = ground.open(sshd.target("127.0.0.1", source.port())).await;
    let mut stream = connect(&session).await;
    let mut all = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut all)).await.unwrap().unwrap();
    assert_eq!(all.len(), SIZE);
    let wrong = all.chunks(64 * 1024).position(|piece| {
        piece.iter().enumerate().any(|(index, byte)| *byte != (index % 256) as u8)
    });
    assert_eq!(wrong, None);
}

/// A client that stops reading delays nobody else on the same connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_client_does_not_delay_another() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let source = Server::source(64_000_000).await;
    let echo = Server::echo().await;
    let bulk = ground.open(sshd.target("127.0.0.1", source.port())).await;
    let session = ground.open(sshd.target("127.0.0.1", echo.port())).await;
    let mut stalled = connect(&bulk).await;
    // What arrives before the stall shows that the flood runs.
    stalled.read_exact(&mut [0; 1000]).await.unwrap();
    for _ in 0..20 {
        let start = Instant::now();
        assert!(says(&session, "quick").await);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    drop(stalled);
    assert!(says(&session, "still").await);
}

/// The target's break-off reaches a client that goes on writing as a reset, and a client
/// that breaks off leaves nothing behind at the target.
#[tokio::test(flavor = "multi_thread")]
async fn breaking_off_is_passed_on() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let resetting = Server::resetting().await;
    let session = ground.open(sshd.target("127.0.0.1", resetting.port())).await;
    let mut stream = connect(&session).await;
    let broken = timeout(DEADLINE, async {
        loop {
            if let Err(error) = stream.write_all(&[0; 4096]).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(broken.await.unwrap().kind(), std::io::ErrorKind::ConnectionReset);

    let (sender, mut ended) = mpsc::channel(1);
    let server = Server::start(move |mut client| {
        let sender = sender.clone();
        async move {
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest).await;
            let _ = sender.send(rest).await;
        }
    })
    .await;
    let session = ground.open(sshd.target("127.0.0.1", server.port())).await;
    let mut stream = connect(&session).await;
    stream.write_all(b"half a word").await.unwrap();
    drop(stream);
    assert_eq!(timeout(DEADLINE, ended.recv()).await.unwrap().unwrap(), b"half a word");
}

/// A server that speaks first is heard without a word from the client.
#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_comes_unasked() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let server = Server::greeter("220 hello\r\n").await;
    let session = ground.open(sshd.target("127.0.0.1", server.port())).await;
    let mut stream = connect(&session).await;
    let mut greeting = [0; 11];
    timeout(DEADLINE, stream.read_exact(&mut greeting)).await.unwrap().unwrap();
    assert_eq!(&greeting, b"220 hello\r\n");
}

/// The way without multiplexing, which Windows takes: SOCKS5 to a real `ssh -D`.
#[tokio::test(flavor = "multi_thread")]
async fn the_socks_way_carries_and_refuses() {
    let sshd = Sshd::start();
    let ground = Ground::with(SshOptions { way: Way::Socks, ..options(&sshd) });
    let echo = Server::echo().await;
    let session = ground.open(sshd.target("localhost", echo.port())).await;
    assert_eq!(session.route().path, "ssh-socks");
    assert!(says(&session, "over socks").await);
    session.ping().await.unwrap();
    session.probe().await.unwrap();
    let closed = RefusingPort::take();
    let session = ground.open(sshd.target("127.0.0.1", closed.port())).await;
    let (problem, verdict) = refused(&session).await;
    assert_eq!((problem.code, verdict), (Code::TargetRefused, Verdict::Refuse));
    assert_eq!(session.probe().await.unwrap_err().code, Code::TargetRefused);
    session.ping().await.unwrap();
    assert_eq!(ssh_children(&sshd).len(), 1);
    ground.adapter.shutdown(Duration::from_secs(5)).await;
    assert!(ssh_children(&sshd).is_empty());
}
