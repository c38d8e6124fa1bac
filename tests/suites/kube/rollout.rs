//! Rollouts: new connections leave a pod when it begins to end, what replaces it is dialled
//! before it is needed, and whoever is served by the old one stays until it is gone.

use crate::rig::{Rig, greeting, line, options, service, until, within};
use localport_engine::adapter::Session;
use localport_engine::adapter::ssh::SshOptions;
use localport_tests::apiserver::{ApiServer, Backend, PodSpec};
use localport_tests::engine::{Engine, echo, forward};
use localport_tests::ports::free_port;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

fn spec(name: &str, backend: &Backend) -> PodSpec {
    PodSpec::new("shop", name).label("app", "orders").port("http", 8080, backend)
}

async fn add(rig: &Rig, name: &str) -> Backend {
    let backend = Backend::start(name).await.unwrap();
    rig.server.add_pod(spec(name, &backend));
    backend
}

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
    rig
}

/// A session that is followed, as the engine follows each of its own.
async fn followed(rig: &Rig) -> (Arc<dyn Session>, JoinSet<()>) {
    let session = rig.opened(&service("orders", 80)).await;
    let (mut follower, followed) = (JoinSet::new(), session.clone());
    follower.spawn(async move {
        let mut route = followed.route();
        loop {
            route = followed.rerouted(&route).await;
        }
    });
    (session, follower)
}

fn tunnels(rig: &Rig) -> usize {
    rig.server.node().tunnels.load(Ordering::Relaxed)
}

/// S7.4: a thousand connects, a hundred a second, while twenty pods replace each other:
/// none is refused, none is closed unserved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_4_a_thousand_connects_during_twenty_replacements_are_all_served() {
    let server = ApiServer::start().await.unwrap();
    let handle = |mut socket: TcpStream| async move {
        let (mut read, mut write) = socket.split();
        tokio::io::copy(&mut read, &mut write).await.map(drop)
    };
    let mut backends = vec![Backend::serve(handle).await.unwrap()];
    server.add_pod(spec("orders-0", &backends[0]));
    server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
    let port = free_port();
    let forwards = vec![forward("orders", port, service("orders", 80))];
    let engine = Engine::start(forwards, SshOptions::default(), options(server.kubeconfig()));
    engine.serving("orders").await;

    let clients = async {
        let mut ticks = interval(Duration::from_millis(10));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut clients = JoinSet::new();
        for number in 0..1_000 {
            ticks.tick().await;
            let text = format!("client {number:>6}").into_bytes();
            clients.spawn(async move {
                match timeout(Duration::from_secs(30), echo(port, &text)).await {
                    Ok(Ok(reply)) if reply == text => None,
                    Ok(outcome) => Some(format!("client {number}: {outcome:?}")),
                    Err(_) => Some(format!("client {number}: not served in time")),
                }
            });
        }
        clients.join_all().await.into_iter().flatten().collect::<Vec<_>>()
    };
    let replacements = async {
        let mut replaced = Vec::new();
        for number in 1..=20 {
            let new = Backend::serve(handle).await.unwrap();
            let (old, name) = (format!("orders-{}", number - 1), format!("orders-{number}"));
            server.add_pod(spec(&name, &new).unready());
            sleep(Duration::from_millis(100)).await;
            // Now the new one is there first, now the old one is away first.
            if number % 4 == 0 {
                server.terminate("shop", &old);
                sleep(Duration::from_millis(150)).await;
                server.set_ready("shop", &name, true);
            } else {
                server.set_ready("shop", &name, true);
                sleep(Duration::from_millis(50)).await;
                server.terminate("shop", &old);
                sleep(Duration::from_millis(100)).await;
            }
            sleep(Duration::from_millis(200)).await;
            server.delete_pod("shop", &old);
            replaced.push(new);
        }
        replaced
    };
    let (wrong, replaced) = tokio::join!(clients, replacements);
    backends.extend(replaced);
    assert!(wrong.is_empty(), "{} of 1000 failed: {wrong:?}", wrong.len());
    let forward = engine.serving("orders").await;
    assert_eq!(forward.tunnel.endpoint.as_deref(), Some("pod orders-20"));
    server.node().assert_lawful();
    engine
        .until("no open connection", |s| s.forwards.iter().all(|f| f.connections.open == 0))
        .await;
    engine.stop().await;
}

/// S7.4: once a forward is used, a tunnel to the pod that would serve next is open, and
/// nothing inside that pod notices. When it has to serve, no connection to the API server
/// is made first.
#[tokio::test]
async fn s7_4_the_next_pod_has_a_tunnel_before_it_is_needed() {
    let rig = rig().await;
    let _first = add(&rig, "orders-0").await;
    let second = add(&rig, "orders-1").await;
    let (session, _follower) = followed(&rig).await;
    assert_eq!(tunnels(&rig), 0, "nothing is opened for a forward that nobody uses");
    let name = greeting(&session).await;
    assert_eq!(name, "orders-1");
    until("a spare tunnel", || tunnels(&rig) == 2).await;
    let spare = second.served();

    let upgrades = rig.server.count("get", "pods/portforward");
    let seen = session.route();
    rig.server.terminate("shop", "orders-1");
    assert_eq!(within(session.rerouted(&seen)).await.endpoint, "pod orders-0");
    assert_eq!(greeting(&session).await, "orders-0");
    assert_eq!(second.served(), spare, "the pod that ends gets no new connection");
    assert_eq!(rig.server.count("get", "pods/portforward"), upgrades);
}

/// The pod that takes over is dialled when it does, not when the next client comes.
#[tokio::test]
async fn s7_4_a_replacement_is_dialled_before_its_first_client() {
    let rig = rig().await;
    let _old = add(&rig, "orders-0").await;
    let (session, _follower) = followed(&rig).await;
    assert_eq!(greeting(&session).await, "orders-0");
    let new = add(&rig, "orders-1").await;
    until("a spare tunnel", || tunnels(&rig) == 2).await;
    assert_eq!(new.served(), 0, "a spare tunnel dials nothing");
    rig.server.terminate("shop", "orders-0");
    until("a proof of the replacement", || new.served() == 1).await;
    assert_eq!(greeting(&session).await, "orders-1");
    assert_eq!(tunnels(&rig), 2);
}

/// Spare tunnels are for forwards in use; there are no more than the cluster's limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_4_spare_tunnels_are_limited_for_each_cluster() {
    let rig = Rig::new().await;
    let backend = Backend::start("any").await.unwrap();
    let mut sessions = Vec::new();
    for number in 0..40 {
        let app = format!("app-{number}");
        for pod in ["a", "b"] {
            let spec = PodSpec::new("shop", &format!("{app}-{pod}")).label("app", &app);
            rig.server.add_pod(spec.port("http", 8080, &backend));
        }
        rig.server.add_service("shop", &app, &[("app", &app)], &[("web", 80, "http")]);
    }
    for number in 0..40 {
        sessions.push(rig.opened(&service(&format!("app-{number}"), 80)).await);
    }
    for session in &sessions {
        assert_eq!(greeting(session).await, "any");
    }
    until("all spare tunnels", || tunnels(&rig) == 40 + 32).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(tunnels(&rig), 40 + 32);
}

/// Connections that are open stay with their pod while it ends; when it is gone they are
/// reset: nobody can tell whether it had said all.
#[tokio::test]
async fn s7_4_open_connections_run_until_their_pod_is_gone_and_are_reset_then() {
    let rig = rig().await;
    let _old = add(&rig, "orders-0").await;
    let (session, _follower) = followed(&rig).await;
    let mut open = within(session.connect()).await.unwrap();
    assert_eq!(line(&mut open).await, "orders-0");
    let _new = add(&rig, "orders-1").await;
    rig.server.terminate("shop", "orders-0");
    until("the next pod", || session.route().endpoint == "pod orders-1").await;
    open.stream.write_all(b"x").await.unwrap();
    open.stream.flush().await.unwrap();
    assert_eq!(within(open.stream.read_u8()).await.unwrap(), b'x');
    rig.server.delete_pod("shop", "orders-0");
    let end = within(open.stream.read_u8()).await.unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset, "{end}");
}

/// A client that has sent nothing and got nothing from a pod that went is carried to the
/// next one.
#[tokio::test]
async fn s7_4_a_client_that_a_dying_pod_never_served_is_carried_to_the_next() {
    let rig = rig().await;
    let silent = |mut socket: TcpStream| async move {
        // Accepts, and says nothing.
        socket.read_to_end(&mut Vec::new()).await.map(drop)
    };
    let old = Backend::serve(silent).await.unwrap();
    rig.server.add_pod(spec("orders-0", &old));
    let (session, _follower) = followed(&rig).await;
    let mut client = within(session.connect()).await.unwrap();
    let mut reader = Box::pin(line(&mut client));
    let early = timeout(Duration::from_millis(300), &mut reader).await;
    assert!(early.is_err(), "{early:?}");
    let _new = add(&rig, "orders-1").await;
    rig.server.delete_pod("shop", "orders-0");
    assert_eq!(reader.await, "orders-1");
}
