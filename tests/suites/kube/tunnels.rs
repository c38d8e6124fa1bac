//! The tunnels to pods: which way is taken, how they are shared, and that what happens
//! to one connection touches no other (G6, S7.1, S7.2, S7.4).

use crate::rig::{Rig, greeting, line, pod, service, until, within};
use localport_core::problem::{Code, Problem};
use localport_engine::adapter::{Connection, Session};
use localport_engine::registry::LeaseKind;
use localport_tests::apiserver::{Backend, PodSpec};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

async fn echoing() -> Backend {
    let echo = |mut socket: TcpStream| async move {
        let (mut read, mut write) = socket.split();
        tokio::io::copy(&mut read, &mut write).await.map(drop)
    };
    Backend::serve(echo).await.unwrap()
}

/// Sends without end.
async fn flooding() -> Backend {
    let flood = |mut socket: TcpStream| async move {
        let chunk = vec![7; 64 << 10];
        loop {
            socket.write_all(&chunk).await?;
        }
    };
    Backend::serve(flood).await.unwrap()
}

async fn greeter() -> (Rig, Backend) {
    let rig = Rig::new().await;
    let backend = Backend::start("p").await.unwrap();
    rig.server.add_pod(PodSpec::new("shop", "p").port("x", 80, &backend));
    (rig, backend)
}

async fn connected(session: &Arc<dyn Session>) -> Connection {
    within(session.connect()).await.unwrap()
}

async fn echo(connection: &mut Connection, word: &[u8]) {
    connection.stream.write_all(word).await.unwrap();
    connection.stream.flush().await.unwrap();
    let mut answer = vec![0; word.len()];
    within(connection.stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, word);
}

fn tunnels(rig: &Rig) -> usize {
    rig.server.node().tunnels.load(Ordering::Relaxed)
}

/// G6: what each answer leads to; and what was found is not asked for again.
#[tokio::test]
async fn g6_the_way_falls_where_another_may_do_and_is_kept() {
    type Refused = (&'static str, u16, bool);
    let table: [(&[Refused], &str); 5] = [
        (&[], "spdy-ws"),
        (&[("spdy-ws", 403, false)], "spdy"),
        (&[("spdy-ws", 400, true)], "spdy"),
        (&[("spdy-ws", 502, false), ("spdy", 404, false)], "v4"),
        (&[("spdy-ws", 426, false), ("spdy", 501, false)], "v4"),
    ];
    for (refused, path) in table {
        let (rig, _backend) = greeter().await;
        for (way, status, by_kubernetes) in refused {
            rig.server.refuse_way(way, *status, *by_kubernetes);
        }
        let session = rig.opened(&pod("p", 80)).await;
        let seen = session.route();
        assert_eq!(greeting(&session).await, "p", "{refused:?}");
        assert_eq!(session.route().path, path, "{refused:?}");
        if path != "spdy-ws" {
            assert_eq!(within(session.rerouted(&seen)).await.path, path);
        }
        let count = || {
            let count = |verb| rig.server.count(verb, "pods/portforward");
            count("get") + count("create")
        };
        let before = count();
        for _ in 0..3 {
            assert_eq!(greeting(&session).await, "p");
        }
        // A tunnel is there already; the way of last resort asks once per connection.
        assert_eq!(count() - before, if path == "v4" { 3 } else { 0 }, "{refused:?}");
        // Whoever comes next begins with what was found.
        let other = rig.opened(&pod("p", 80)).await;
        assert_eq!((greeting(&other).await.as_str(), &*other.route().path), ("p", path));
        rig.server.node().assert_lawful();
    }
}

/// G6: what the other ways would be refused with as well is not tried on them.
#[tokio::test]
async fn g6_what_counts_for_all_ways_does_not_fall_back() {
    for (status, code) in [
        (401, Code::KubeUnauthorized),
        (403, Code::KubeFailed),
        (404, Code::KubeLost),
        (429, Code::KubeOverloaded),
        (503, Code::KubeOverloaded),
    ] {
        let (rig, _backend) = greeter().await;
        rig.server.refuse_way("spdy-ws", status, true);
        let session = rig.opened(&pod("p", 80)).await;
        let error = within(session.connect()).await.err().unwrap();
        assert_eq!(error.problem.code, code, "{status}: {}", error.problem);
        assert_eq!(rig.server.count("create", "pods/portforward"), 0, "{status} fell back");
        assert_eq!(session.route().path, "spdy-ws");
    }
}

/// G6: something on the way upgrades and then carries nothing.
#[tokio::test]
async fn g6_a_tunnel_that_answers_no_ping_is_no_way() {
    let (rig, _backend) = greeter().await;
    rig.server.node().mute.store(true, Ordering::Relaxed);
    let session = rig.opened(&pod("p", 80)).await;
    assert_eq!(greeting(&session).await, "p");
    assert_eq!(session.route().path, "v4");
}

/// S7.2: all sessions and ports of a pod share its tunnel while they follow each other.
#[tokio::test]
async fn s7_2_thirty_sessions_and_two_ports_share_one_tunnel() {
    let rig = Rig::new().await;
    let (a, b) = (Backend::start("a").await.unwrap(), Backend::start("b").await.unwrap());
    rig.server.add_pod(PodSpec::new("shop", "p").port("a", 80, &a).port("b", 81, &b));
    let mut sessions = Vec::new();
    for round in 0..30 {
        let (port, name) = if round % 2 == 0 { (80, "a") } else { (81, "b") };
        let session = rig.opened(&pod("p", port)).await;
        assert_eq!(greeting(&session).await, name);
        sessions.push(session);
    }
    assert_eq!(tunnels(&rig), 1);
    assert_eq!(rig.leases(LeaseKind::Tunnel).len(), 1);
    drop(sessions);
    // S7.1: it ends with the last session, not after its idle time.
    until("the tunnel to be gone", || rig.leases(LeaseKind::Tunnel).is_empty()).await;
    rig.server.node().assert_lawful();
}

/// S7.2: a burst is served whole, over few tunnels.
#[tokio::test(flavor = "multi_thread")]
async fn s7_2_a_burst_shares_few_tunnels_and_every_connection_is_served() {
    let rig = Rig::new().await;
    let backend = echoing().await;
    rig.server.add_pod(PodSpec::new("shop", "p").port("x", 80, &backend));
    let session = rig.opened(&pod("p", 80)).await;
    let mut set = tokio::task::JoinSet::new();
    for worker in 0..50_u32 {
        let session = session.clone();
        set.spawn(async move {
            for round in 0..20_u32 {
                let mut connection = session.connect().await.unwrap();
                echo(&mut connection, &(worker * 20 + round).to_be_bytes()).await;
            }
        });
    }
    within(async {
        while let Some(done) = set.join_next().await {
            done.unwrap();
        }
    })
    .await;
    assert_eq!(backend.served(), 1_000);
    assert!(tunnels(&rig) <= 16, "{} tunnels", tunnels(&rig));
    rig.server.node().assert_lawful();
}

/// S7.1: a download that is not read, or a pod that does not read, is nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn s7_1_stalled_streams_delay_no_other() {
    let rig = Rig::new().await;
    let deaf = |socket: TcpStream| async move {
        let _socket = socket;
        std::future::pending::<io::Result<()>>().await
    };
    let deaf = Backend::serve(deaf).await.unwrap();
    let (flood, good) = (flooding().await, echoing().await);
    let spec = PodSpec::new("shop", "p").port("f", 80, &flood).port("e", 81, &good);
    rig.server.add_pod(spec.port("d", 82, &deaf));
    let (down, talk) = (rig.opened(&pod("p", 80)).await, rig.opened(&pod("p", 81)).await);
    let up = rig.opened(&pod("p", 82)).await;
    let mut download = connected(&down).await;
    within(download.stream.read_u8()).await.unwrap();
    let mut upload = connected(&up).await;
    let chunk = vec![1; 1 << 20];
    // Until nothing more is taken.
    while tokio::time::timeout(Duration::from_millis(500), upload.stream.write_all(&chunk))
        .await
        .is_ok()
    {}
    let mut slowest = Duration::ZERO;
    for round in 0..50_u32 {
        let start = Instant::now();
        let mut connection = connected(&talk).await;
        echo(&mut connection, &round.to_be_bytes()).await;
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "an echo took {slowest:?}");
    let mut more = vec![0; 8 << 20];
    within(download.stream.read_exact(&mut more)).await.unwrap();
    assert!(more.iter().all(|byte| *byte == 7));
}

/// A port whose server has gone since it proved to accept: the client hears of it, the
/// wedged tunnel is left, and the other port of the pod serves on.
#[tokio::test]
async fn a_wedged_tunnel_is_left_at_once() {
    let rig = Rig::new().await;
    let (bad, good) = (echoing().await, echoing().await);
    rig.server.add_pod(PodSpec::new("shop", "p").port("b", 80, &bad).port("g", 81, &good));
    let (broken, sound) = (rig.opened(&pod("p", 80)).await, rig.opened(&pod("p", 81)).await);
    echo(&mut connected(&broken).await, b"proof").await;
    echo(&mut connected(&sound).await, b"proof").await;
    assert_eq!(tunnels(&rig), 1);
    drop(bad);
    let mut connection = connected(&broken).await;
    connection.stream.write_all(b"too late").await.unwrap();
    let error = within(connection.stream.read_u8()).await.unwrap_err();
    let problem = error.get_ref().and_then(|inner| inner.downcast_ref::<Problem>()).unwrap();
    assert_eq!(problem.code, Code::TargetRefused, "{problem}");
    drop(connection);
    for _ in 0..200 {
        echo(&mut connected(&sound).await, b"as before").await;
    }
    assert_eq!(tunnels(&rig), 2, "the wedged one was left, one other serves");
    until("the wedged tunnel to end", || rig.leases(LeaseKind::Tunnel).len() == 1).await;
}

/// S7.4: a path that dies without a word is noticed within ten seconds, its connection
/// is reset, and the next one goes another way.
#[tokio::test]
async fn s7_4_a_black_hole_is_noticed_and_left() {
    let rig = Rig::new().await;
    let backend = echoing().await;
    rig.server.add_pod(PodSpec::new("shop", "p").port("x", 80, &backend));
    let session = rig.opened(&pod("p", 80)).await;
    let mut connection = connected(&session).await;
    echo(&mut connection, b"well").await;
    rig.server.node().hole_after.store(1, Ordering::Relaxed);
    let start = Instant::now();
    connection.stream.write_all(b"anybody there?").await.unwrap();
    let error = within(connection.stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(error.to_string().contains("silent"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "noticed after {:?}", start.elapsed());
    rig.server.node().hole_after.store(0, Ordering::Relaxed);
    echo(&mut connected(&session).await, b"again").await;
}

/// After a sleep no connection waits for a tunnel that died meanwhile.
#[tokio::test]
async fn s7_4_a_doubted_tunnel_without_use_is_left_at_once() {
    let (rig, _backend) = greeter().await;
    let session = rig.opened(&pod("p", 80)).await;
    assert_eq!(greeting(&session).await, "p");
    rig.server.node().hole_after.store(1, Ordering::Relaxed);
    let adapter: &dyn localport_engine::adapter::Adapter = &*rig.adapter;
    within(adapter.doubt()).await;
    rig.server.node().hole_after.store(0, Ordering::Relaxed);
    let start = Instant::now();
    assert_eq!(greeting(&session).await, "p");
    assert!(start.elapsed() < Duration::from_secs(2), "served after {:?}", start.elapsed());
    assert_eq!(tunnels(&rig), 2);
}

#[tokio::test]
async fn a_goaway_ends_its_connections_and_the_next_are_served() {
    let (rig, _backend) = greeter().await;
    let session = rig.opened(&pod("p", 80)).await;
    let mut connection = connected(&session).await;
    assert_eq!(line(&mut connection).await, "p");
    rig.server.node().go_away();
    let error = within(connection.stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    for _ in 0..5 {
        assert_eq!(greeting(&session).await, "p");
    }
}

/// G1: a client's first bytes, sent to a pod that went a moment ago, arrive at another.
#[tokio::test]
async fn g1_bytes_for_a_pod_that_went_arrive_at_another() {
    let rig = Rig::new().await;
    rig.server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
    let (a, b) = (echoing().await, echoing().await);
    for (name, backend) in [("orders-0", &a), ("orders-1", &b)] {
        let spec = PodSpec::new("shop", name).label("app", "orders");
        rig.server.add_pod(spec.port("http", 8080, backend));
    }
    let session = rig.opened(&service("orders", 80)).await;
    echo(&mut connected(&session).await, b"proof").await;
    assert_eq!(b.served(), 1, "the younger one is chosen first");
    rig.server.stall_watches(true);
    rig.server.delete_pod("shop", "orders-1");
    let mut connections = Vec::new();
    for round in 0..20_u32 {
        let mut connection = connected(&session).await;
        echo(&mut connection, format!("request {round}").as_bytes()).await;
        connections.push(connection);
    }
    assert_eq!((a.served(), b.served()), (20, 1));
}
