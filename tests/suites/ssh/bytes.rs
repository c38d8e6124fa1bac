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
