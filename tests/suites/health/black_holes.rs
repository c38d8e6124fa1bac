//! Ways on which everything vanishes and nothing is said.

use super::*;
use localport_core::config::{KubeResource, KubeTarget, PortRef};
use localport_engine::adapter::kube::LoginShell;
use localport_tests::apiserver::{ApiServer, Backend, CONTEXT, PodSpec};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a proof of these forwards, which are checked every second, is fresh.
const FRESH: Duration = Duration::from_secs(2);

/// Watches a forward for `time` after everything vanished: whenever it is green, a proof
/// from before may still have been fresh.
async fn never_green(engine: &Engine, time: Duration) {
    let vanished = engine.handle.clock().now();
    let end = Instant::now() + time;
    let mut noticed = false;
    while Instant::now() < end {
        let snapshot = engine.handle.fresh().await;
        let now = engine.handle.clock().now();
        let (green, since) = (snapshot.forwards[0].word(now) == "serving", now.since(vanished));
        // One answer may have been on its way.
        assert!(!green || since < FRESH + Duration::from_millis(200), "green after {since:?}");
        noticed |= !green;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(noticed);
}

/// G3: while the SSH server is frozen nothing is green for longer than its proof is fresh.
#[tokio::test(flavor = "multi_thread")]
async fn g3_a_frozen_ssh_server_is_never_green_longer_than_its_deadline() {
    let (sshd, echo) = (Sshd::start(), Server::echo().await);
    let engine = start(&sshd, vec![checked("echo", &sshd, echo.port(), HealthCheckKind::Tcp)]);
    engine.serving("echo").await;
    sshd.freeze();
    never_green(&engine, Duration::from_secs(14)).await;
    sshd.thaw();
    engine.serving("echo").await;
    engine.stop().await;
}

/// Carries bytes to `to` while `open`; else takes them and lets nothing through.
async fn hole(to: SocketAddr, open: watch::Receiver<bool>) -> Server {
    Server::start(move |client| {
        let open = open.clone();
        async move {
            let Ok(server) = TcpStream::connect(to).await else { return };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let up = carry(from_client, to_server, open.clone());
            let down = carry(from_server, to_client, open);
            tokio::select! {
                () = up => {}
                () = down => {}
            }
        }
    })
    .await
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut open: watch::Receiver<bool>,
) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(size @ 1..) = from.read(&mut piece).await {
        if open.wait_for(|open| *open).await.is_err() || to.write_all(&piece[..size]).await.is_err()
        {
            return;
        }
    }
}

/// G3: while the way to the API server swallows everything, nothing is green for longer
/// than its proof is fresh, and it comes back by itself.
#[tokio::test(flavor = "multi_thread")]
async fn g3_a_swallowed_cluster_is_never_green_longer_than_its_deadline() {
    let server = ApiServer::start().await.unwrap();
    let handle = |mut socket: TcpStream| async move {
        let (mut read, mut write) = socket.split();
        tokio::io::copy(&mut read, &mut write).await.map(drop)
    };
    let backend = Backend::serve(handle).await.unwrap();
    server.add_pod(
        PodSpec::new("shop", "orders-0").label("app", "orders").port("http", 8080, &backend),
    );
    let config = std::fs::read_to_string(server.kubeconfig()).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let url = config["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
    let (scheme, address) = url.split_once("://").unwrap();
    let open = watch::Sender::new(true);
    let hole = hole(address.parse().unwrap(), open.subscribe()).await;
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("config");
    config["clusters"][0]["cluster"]["server"] = format!("{scheme}://{}", hole.address()).into();
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let target = Target::Kube(KubeTarget {
        context: Some(CONTEXT.to_owned()),
        namespace: "shop".to_owned(),
        resource: KubeResource::Pod("orders-0".to_owned()),
        port: PortRef::Number(8080),
        via: None,
    });
    let check = HealthCheck {
        kind: HealthCheckKind::Tcp,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
        failure_threshold: 3,
        success_threshold: 1,
        cluster_aware: true,
    };
    let spec = ForwardSpec { health_check: Some(check), ..forward("orders", 0, target) };
    let options = KubeOptions {
        kubeconfig: Some(vec![kubeconfig]),
        login_shell: LoginShell::Never,
        ..KubeOptions::default()
    };
    let engine = Engine::start(vec![spec], SshOptions::default(), options);
    engine.serving("orders").await;
    open.send_replace(false);
    never_green(&engine, Duration::from_secs(14)).await;
    open.send_replace(true);
    engine.serving("orders").await;
    engine.stop().await;
}
