//! The bytes of one connection: whole, in order, and to their end.

use crate::rig::{Rig, pod, within};
use localport_core::problem::{Code, Problem};
use localport_engine::adapter::Connection;
use localport_tests::apiserver::{Backend, PodSpec};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

async fn connected(backend: &Backend) -> (Rig, Connection) {
    let rig = Rig::new().await;
    rig.server.add_pod(PodSpec::new("shop", "p").port("x", 80, backend));
    let session = rig.opened(&pod("p", 80)).await;
    let connection = within(session.connect()).await.unwrap();
    (rig, connection)
}

/// Bytes that tell when one is missing or out of place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 8)) as u8).collect()
}

#[tokio::test]
async fn eight_mebibytes_go_and_come_back() {
    let echo = |mut socket: TcpStream| async move {
        let (mut read, mut write) = socket.split();
        tokio::io::copy(&mut read, &mut write).await.map(drop)
    };
    let backend = Backend::serve(echo).await.unwrap();
    let (_rig, connection) = connected(&backend).await;
    let sent = pattern(8 << 20);
    let (mut read, mut write) = tokio::io::split(connection.stream);
    let mut received = vec![0; sent.len()];
    let up = async {
        write.write_all(&sent).await.unwrap();
        write.flush().await.unwrap();
    };
    let ((), got) = within(async { tokio::join!(up, read.read_exact(&mut received)) }).await;
    got.unwrap();
    assert!(received == sent, "bytes were changed on the way");
}

/// The reply to a client that has ended its side comes whole, although the node would
/// cut it a second after the client's end.
#[tokio::test]
async fn a_reply_after_the_clients_end_is_complete() {
    let reply = |mut socket: TcpStream| async move {
        let mut request = [0; 4];
        socket.read_exact(&mut request).await?;
        // Slower than the node's grace of one second.
        for piece in pattern(6 * 1024).chunks(1024) {
            sleep(Duration::from_millis(400)).await;
            socket.write_all(piece).await?;
        }
        Ok(())
    };
    let backend = Backend::serve(reply).await.unwrap();
    let (_rig, mut connection) = connected(&backend).await;
    connection.stream.write_all(b"more").await.unwrap();
    connection.stream.shutdown().await.unwrap();
    let mut received = Vec::new();
    within(connection.stream.read_to_end(&mut received)).await.unwrap();
    assert!(received == pattern(6 * 1024), "{} bytes came", received.len());
}

/// The end is passed on after silence, so that a server that waits for it is not
/// kept for ever.
#[tokio::test]
async fn a_clients_end_is_passed_on_after_silence() {
    let (told, mut ended) = tokio::sync::mpsc::channel::<()>(1);
    let wait = move |mut socket: TcpStream| {
        let told = told.clone();
        async move {
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).await?;
            told.send(()).await.map_err(io::Error::other)
        }
    };
    let backend = Backend::serve(wait).await.unwrap();
    let (_rig, mut connection) = connected(&backend).await;
    let start = Instant::now();
    connection.stream.write_all(b"done").await.unwrap();
    connection.stream.shutdown().await.unwrap();
    let mut received = Vec::new();
    within(connection.stream.read_to_end(&mut received)).await.unwrap();
    assert!(received.is_empty());
    within(ended.recv()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(3), "ended after {:?}", start.elapsed());
}

#[tokio::test]
async fn the_servers_end_is_an_end_and_no_reset() {
    let bye = |mut socket: TcpStream| async move { socket.write_all(b"bye").await };
    let backend = Backend::serve(bye).await.unwrap();
    let (_rig, mut connection) = connected(&backend).await;
    let mut received = Vec::new();
    within(connection.stream.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received, b"bye");
}

/// A connection that breaks in the middle is never taken for one that ended.
#[tokio::test]
async fn a_broken_connection_is_a_reset_that_says_why() {
    let talk = |mut socket: TcpStream| async move {
        socket.write_all(b"half").await?;
        std::future::pending().await
    };
    let backend = Backend::serve(talk).await.unwrap();
    let (rig, mut connection) = connected(&backend).await;
    let mut half = [0; 4];
    within(connection.stream.read_exact(&mut half)).await.unwrap();
    rig.server.stop().await;
    let error = within(connection.stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let problem = error.get_ref().and_then(|inner| inner.downcast_ref::<Problem>()).unwrap();
    assert_eq!(problem.code, Code::KubeLost);
    assert!(problem.sentence.contains("pod `p`"), "{problem}");
    let error = connection.stream.write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// A client that leaves takes its connection to the pod along.
#[tokio::test]
async fn a_dropped_connection_ends_at_the_pod() {
    let (told, mut ended) = tokio::sync::mpsc::channel::<usize>(1);
    let wait = move |mut socket: TcpStream| {
        let told = told.clone();
        async move {
            let mut rest = Vec::new();
            let read = socket.read_to_end(&mut rest).await;
            told.send(rest.len()).await.map_err(io::Error::other)?;
            read.map(drop)
        }
    };
    let backend = Backend::serve(wait).await.unwrap();
    let (_rig, mut connection) = connected(&backend).await;
    connection.stream.write_all(b"12345").await.unwrap();
    connection.stream.flush().await.unwrap();
    drop(connection);
    assert_eq!(within(ended.recv()).await, Some(5));
}
