//! Sleep and wake over a cluster: what died in the sleep without a word holds nobody up.

use crate::rig::{options, service};
use localport_core::snapshot::Phase;
use localport_engine::adapter::ssh::SshOptions;
use localport_tests::apiserver::{ApiServer, Backend, PodSpec};
use localport_tests::engine::{Engine, echo, forward};
use localport_tests::network::Network;
use std::net::TcpListener;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What a host gives a sleep.
const WITHIN: Duration = Duration::from_secs(4);

/// G2, S5.2: all connections to the API server died in the sleep. The client that came
/// meanwhile is held, not refused, and has its first byte within two seconds of the wake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g2_wake_to_first_byte_over_a_cluster() {
    let server = ApiServer::start().await.unwrap();
    let handle = |mut socket: TcpStream| async move {
        let (mut read, mut write) = socket.split();
        tokio::io::copy(&mut read, &mut write).await.map(drop)
    };
    let backend = Backend::serve(handle).await.unwrap();
    let pod = PodSpec::new("shop", "orders-0").label("app", "orders");
    server.add_pod(pod.port("http", 8080, &backend));
    server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
    let network = Network::to(server.address()).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    network.kubeconfig(&server, &path).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let forwards = vec![forward("orders", port, service("orders", 80))];
    let engine = Engine::start(forwards, SshOptions::default(), options(path));
    engine.serving("orders").await;
    // A connection over the sleep: its tunnel is in use and cannot just be put aside.
    let mut open = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    open.write_all(b"open").await.unwrap();
    open.read_exact(&mut [0; 4]).await.unwrap();

    // Somebody who comes in the sleep shows that it did not come about.
    engine.handle.suspend(WITHIN).await;
    assert_eq!(engine.handle.fresh().await.phase, Phase::Asleep);
    network.forget();
    assert_eq!(echo(port, b"in the sleep").await.expect("held and served"), b"in the sleep");
    engine.handle.wake(None);
    engine.serving("orders").await;

    for what in ["with a connection over the sleep", "without one"] {
        engine.handle.suspend(WITHIN).await;
        network.forget();
        engine.handle.wake(None);
        let woke = Instant::now();
        assert_eq!(echo(port, b"first byte").await.expect("never refused"), b"first byte");
        let took = woke.elapsed();
        println!("wake to first byte over a cluster, {what}: {took:?}");
        assert!(took < Duration::from_secs(5), "{what}: {took:?}");
        engine.serving("orders").await;
        open.shutdown().await.unwrap();
    }
    drop(open);
    engine.stop().await;
}
