//! The engine without file descriptors. A binary of its own: the limit is the process's.
#![cfg(unix)]

#[path = "common/scripted.rs"]
mod common;

use common::{Far, Scripted, echo, echo_server, engine, first, free_port, spec, stop, until};
use std::fs::File;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// S11.2: out of descriptors a client is told at once instead of hanging, the listener
/// survives, and with descriptors back everything is served again.
#[tokio::test]
async fn s11_2_without_descriptors_clients_are_told_and_the_listener_survives() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(1));
    until(&engine, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;

    let (_, hard) = rlimit::Resource::NOFILE.get().unwrap();
    rlimit::Resource::NOFILE.set(256, hard).unwrap();
    // The client's own socket exists before the last descriptor is taken.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    let mut hoard = vec![];
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    let connected = socket.connect(([127, 0, 0, 1], port).into()).await;
    let told = async {
        // Closed before or after the connect returned: either way it is told.
        let Ok(mut client) = connected else { return };
        let read = client.read(&mut [0; 1]).await;
        assert!(!matches!(read, Ok(1..)), "{read:?}");
    };
    timeout(Duration::from_secs(5), told).await.expect("the client was left hanging");

    drop(hoard);
    rlimit::Resource::NOFILE.set(hard.min(4096), hard).unwrap();
    assert_eq!(echo(port, b"served again").await.unwrap(), b"served again");
    assert!(TcpStream::connect(("::1", port)).await.is_ok());
    stop(&engine).await;
}
