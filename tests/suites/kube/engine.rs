//! A whole engine over a cluster that loses and regains what it forwards to: no client
//! is refused, every client is served, and the snapshot says what is going on.

use crate::rig::{options, service, until, within};
use localport_core::problem::Code;
use localport_core::snapshot::{ListenerState, TargetState, TunnelState};
use localport_engine::adapter::ssh::SshOptions;
use localport_engine::registry::LeaseKind;
use localport_tests::apiserver::{ApiServer, Backend, PodSpec};
use localport_tests::engine::{Engine, echo, forward};
use std::net::TcpListener;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

async fn echoing() -> Backend {
    let handle = |mut socket: TcpStream| async move {
        let (mut read, mut write) = socket.split();
        tokio::io::copy(&mut read, &mut write).await.map(drop)
    };
    Backend::serve(handle).await.unwrap()
}

fn add(server: &ApiServer, name: &str, backend: &Backend) {
    let pod = PodSpec::new("shop", name).label("app", "orders");
    server.add_pod(pod.port("http", 8080, backend));
}

async fn started() -> (ApiServer, Backend, Engine, u16) {
    let server = ApiServer::start().await.unwrap();
    let backend = echoing().await;
    add(&server, "orders-0", &backend);
    server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let forwards = vec![forward("orders", port, service("orders", 80))];
    let engine = Engine::start(forwards, SshOptions::default(), options(server.kubeconfig()));
    engine.serving("orders").await;
    (server, backend, engine, port)
}

/// Twenty clients a second for `time`, each with its own text that has to come back;
/// gives the count and what went wrong.
async fn clients(port: u16, time: Duration) -> (usize, Vec<String>) {
    let end = Instant::now() + time;
    let mut ticks = interval(Duration::from_millis(50));
    let mut clients = JoinSet::new();
    while Instant::now() < end {
        ticks.tick().await;
        let text = format!("client {:>6}", clients.len()).into_bytes();
        clients.spawn(async move {
            match timeout(Duration::from_secs(30), echo(port, &text)).await {
                Ok(Ok(reply)) if reply == text => None,
                Ok(outcome) => Some(format!("{outcome:?}")),
                Err(_) => Some("not served in time".to_owned()),
            }
        });
    }
    let outcomes = clients.join_all().await;
    (outcomes.len(), outcomes.into_iter().flatten().collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_pod_is_replaced_and_every_client_is_served() {
    let (server, _old, engine, port) = started().await;
    let new = echoing().await;
    let change = async {
        sleep(Duration::from_secs(1)).await;
        server.terminate("shop", "orders-0");
        let down = engine
            .until_forward("orders", "the tunnel down", |f, _| f.tunnel.state == TunnelState::Down)
            .await;
        let problem = down.problem.unwrap();
        assert_eq!(problem.code, Code::KubeNoReadyPod);
        assert_eq!(down.listener.state, ListenerState::Listening);
        sleep(Duration::from_secs(1)).await;
        server.delete_pod("shop", "orders-0");
        sleep(Duration::from_secs(2)).await;
        add(&server, "orders-1", &new);
    };
    let ((count, wrong), ()) = tokio::join!(clients(port, Duration::from_secs(6)), change);
    assert!(wrong.is_empty(), "of {count} clients {} failed: {wrong:?}", wrong.len());
    assert!(count > 100, "{count}");
    let forward = engine.serving("orders").await;
    assert_eq!(forward.tunnel.endpoint.as_deref(), Some("pod orders-1"));
    assert_eq!(forward.tunnel.path.as_deref(), Some("spdy-ws"));
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_is_away_for_three_seconds_and_every_new_client_is_served() {
    let (server, _backend, engine, port) = started().await;
    server.stop().await;
    let away = engine
        .until_forward("orders", "the tunnel down", |f, _| f.tunnel.state == TunnelState::Down)
        .await;
    assert_eq!(away.problem.unwrap().code, Code::KubeUnreachable);
    assert_ne!(away.target_health.state, TargetState::Healthy, "green without proof");
    let back = async {
        sleep(Duration::from_secs(3)).await;
        server.resume().await.unwrap();
    };
    let ((count, wrong), ()) = tokio::join!(clients(port, Duration::from_secs(4)), back);
    assert!(wrong.is_empty(), "of {count} clients {} failed: {wrong:?}", wrong.len());
    engine.serving("orders").await;
    stop(engine).await;
}

/// Waits for the clients' ends to have reached the pod, then quits: nothing is forced.
async fn stop(engine: Engine) {
    engine
        .until("no open connection", |s| s.forwards.iter().all(|f| f.connections.open == 0))
        .await;
    engine.stop().await;
}

/// S7.2: fifty forwards of one namespace share its watches, through the whole engine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_2_fifty_forwards_of_an_engine_share_two_watches() {
    let server = ApiServer::start().await.unwrap();
    let backend = echoing().await;
    add(&server, "orders-0", &backend);
    server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
    let taken: Vec<TcpListener> =
        (0..50).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = taken.iter().map(|port| port.local_addr().unwrap().port()).collect();
    drop(taken);
    let forwards = ports
        .iter()
        .map(|port| forward(&format!("orders-{port}"), *port, service("orders", 80)))
        .collect();
    let engine = Engine::start(forwards, SshOptions::default(), options(server.kubeconfig()));
    engine
        .until("fifty serving", |s| {
            s.forwards.iter().filter(|f| f.word(s.at) == "serving").count() == 50
        })
        .await;
    let targets = || {
        let watches = server.open_watches();
        watches.iter().filter(|(resource, _)| resource == "pods" || resource == "services").count()
    };
    until("two watches", || targets() == 2).await;
    assert_eq!((server.count("list", "pods"), server.count("list", "services")), (1, 1));
    let watches = engine.handle.resources();
    // The cluster monitor has its own, two per cluster.
    let ours = |kind: LeaseKind, owner: &str| kind == LeaseKind::Watch && owner != "monitor";
    assert_eq!(watches.iter().filter(|lease| ours(lease.kind, &lease.owner)).count(), 2);
    for port in ports {
        assert_eq!(within(echo(port, b"hello")).await.unwrap(), b"hello");
    }
    stop(engine).await;
}
