//! What comes and goes behind a session: pods, watches, the API server itself.

use crate::rig::{LIMIT, Rig, greeting, line, pod, service, until, within};
use localport_core::problem::Code;
use localport_engine::adapter::{Adapter, Verdict};
use localport_tests::apiserver::{Backend, PodSpec, Tls};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, interval, timeout};

async fn add(rig: &Rig, name: &str) -> Backend {
    let backend = Backend::start(name).await.unwrap();
    let pod = PodSpec::new("shop", name).label("app", "orders");
    rig.server.add_pod(pod.port("http", 8080, &backend));
    backend
}

async fn rig() -> Rig {
    let rig = Rig::with(Tls::Good, |options| options.watch_limit = Duration::from_secs(2)).await;
    rig.server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
    rig
}

/// Twenty connects a second while the serving pod is told to end, deleted and
/// replaced: every client is served.
#[tokio::test]
async fn a_replaced_pod_costs_no_connection() {
    let rig = rig().await;
    let _old = add(&rig, "orders-0").await;
    let session = rig.opened(&service("orders", 80)).await;
    let opened = || rig.server.node().opened.load(Ordering::Relaxed);
    let clients = async {
        let mut tick = interval(Duration::from_millis(50));
        let mut served = Vec::new();
        for _ in 0..60 {
            tick.tick().await;
            served.push(greeting(&session).await);
        }
        served
    };
    let change = async {
        until("some clients", || opened() >= 10).await;
        let new = add(&rig, "orders-1").await;
        rig.server.terminate("shop", "orders-0");
        until("more clients", || opened() >= 30).await;
        rig.server.delete_pod("shop", "orders-0");
        new
    };
    let (served, new) = tokio::join!(clients, change);
    assert_eq!(served.len(), 60);
    assert!(served[0] == "orders-0" && served[59] == "orders-1", "{served:?}");
    assert!(new.served() >= 30, "{served:?}");
}

/// The same when the pod is killed without a word: no mark, no grace, and the watch
/// silent, so that only the failing dial can tell.
#[tokio::test]
async fn a_killed_pod_costs_no_connection_even_while_the_watch_is_silent() {
    let rig = rig().await;
    let _old = add(&rig, "orders-0").await;
    let _new = add(&rig, "orders-1").await;
    let session = rig.opened(&service("orders", 80)).await;
    let first = greeting(&session).await;
    rig.server.stall_watches(true);
    rig.server.delete_pod("shop", &first);
    for _ in 0..20 {
        assert_ne!(greeting(&session).await, first);
    }
    assert_ne!(session.route().endpoint, format!("pod {first}"));
}

/// A refusal is tried on another pod as well, before the client hears of it.
#[tokio::test]
async fn a_pod_that_refuses_is_passed_over_where_another_accepts() {
    let rig = rig().await;
    let _good = add(&rig, "orders-0").await;
    let dead = PodSpec::new("shop", "orders-1").label("app", "orders");
    rig.server.add_pod(dead.dead_port("http", 8080));
    let session = rig.opened(&service("orders", 80)).await;
    assert_eq!(session.route().endpoint, "pod orders-1", "the younger one is chosen first");
    assert_eq!(greeting(&session).await, "orders-0");
    assert_eq!(session.route().endpoint, "pod orders-0", "what served is kept");
}

#[tokio::test]
async fn a_session_keeps_its_pod_while_it_is_ready_and_moves_when_not() {
    let rig = rig().await;
    let _first = add(&rig, "orders-0").await;
    let session = rig.opened(&service("orders", 80)).await;
    let _second = add(&rig, "orders-1").await;
    assert_eq!(greeting(&session).await, "orders-0");
    let seen = session.route();
    rig.server.set_ready("shop", "orders-0", false);
    assert_eq!(within(session.rerouted(&seen)).await.endpoint, "pod orders-1");
    assert_eq!(greeting(&session).await, "orders-1");
    // A pod that is back does not pull the session back.
    rig.server.set_ready("shop", "orders-0", true);
    assert_eq!(greeting(&session).await, "orders-1");
}

/// Without any ready pod the session is lost and clients are held.
#[tokio::test]
async fn without_a_ready_pod_the_session_is_lost_and_clients_are_held() {
    let rig = rig().await;
    let _backend = add(&rig, "orders-0").await;
    let session = rig.opened(&service("orders", 80)).await;
    rig.server.set_ready("shop", "orders-0", false);
    let problem = within(session.lost()).await;
    assert_eq!(problem.code, Code::KubeNoReadyPod);
    let refused = within(session.connect()).await.err().unwrap();
    assert_eq!((refused.verdict, refused.problem.code), (Verdict::Hold, Code::KubeNoReadyPod));
    rig.server.set_ready("shop", "orders-0", true);
    assert_eq!(within(session.lost()).await, problem, "what was lost stays lost");
}

/// The pod's return is told at once: the next session's first byte comes within a
/// tenth of a second (the median of five returns, on a machine that does other things).
#[tokio::test]
async fn the_return_of_the_only_pod_is_told_at_once() {
    let rig = rig().await;
    let _backend = add(&rig, "orders-0").await;
    let target = service("orders", 80);
    let mut took = Vec::new();
    for _ in 0..5 {
        rig.server.set_ready("shop", "orders-0", false);
        let problem = match rig.open(&target).await {
            Ok(session) => within(session.lost()).await,
            Err(problem) => problem,
        };
        let mut mended = rig.adapter.mended(&target, &problem);
        let early = timeout(Duration::from_millis(100), &mut mended).await;
        assert!(early.is_err(), "nothing has mended yet");
        let start = Instant::now();
        rig.server.set_ready("shop", "orders-0", true);
        within(&mut mended).await;
        assert_eq!(greeting(&rig.opened(&target).await).await, "orders-0");
        took.push(start.elapsed());
    }
    assert_eq!(rig.server.count("list", "pods"), 1, "the watch lives through all of it");
    took.sort();
    println!("first byte after Ready: {took:?}");
    assert!(took[2] < Duration::from_millis(100), "first bytes came {took:?} after Ready");
}

/// Where the pod is back before anybody asks, the wait is over before it begins.
#[tokio::test]
async fn a_return_between_failure_and_wait_is_not_missed() {
    let rig = rig().await;
    let target = service("orders", 80);
    let problem = rig.problem(&target).await;
    assert_eq!(problem.code, Code::KubeNoReadyPod);
    let _backend = add(&rig, "orders-0").await;
    within(rig.adapter.mended(&target, &problem)).await;
}

#[tokio::test]
async fn a_silent_watch_is_replaced_and_the_view_caught_up() {
    let rig = rig().await;
    let _first = add(&rig, "orders-0").await;
    let session = rig.opened(&pod("orders-0", 8080)).await;
    let open = || rig.server.open_watches().len();
    until("the watch", || open() == 1).await;
    rig.server.stall_watches(true);
    rig.server.set_ready("shop", "orders-0", false);
    let before = rig.server.count("watch", "pods");
    until("another watch", || rig.server.count("watch", "pods") > before).await;
    // The new one is served, although the old one never ended by itself.
    rig.server.stall_watches(false);
    assert_eq!(within(session.lost()).await.code, Code::KubeNoReadyPod);
}

#[tokio::test]
async fn a_history_that_was_forgotten_is_listed_anew() {
    let rig = rig().await;
    let _first = add(&rig, "orders-0").await;
    let session = rig.opened(&service("orders", 80)).await;
    let lists = rig.server.count("list", "pods");
    rig.server.forget_history();
    until("a fresh list", || rig.server.count("list", "pods") > lists).await;
    let seen = session.route();
    let _second = add(&rig, "orders-1").await;
    rig.server.terminate("shop", "orders-0");
    assert_eq!(within(session.rerouted(&seen)).await.endpoint, "pod orders-1");
}

/// More pods than one page holds are all known.
#[tokio::test]
async fn long_lists_are_read_to_their_end() {
    let rig = rig().await;
    for index in 0..520 {
        rig.server.add_pod(PodSpec::new("shop", &format!("a-{index:04}")).label("app", "other"));
    }
    let _last = add(&rig, "zz-last").await;
    let session = rig.opened(&service("orders", 80)).await;
    assert_eq!(greeting(&session).await, "zz-last");
    assert_eq!(rig.server.count("list", "pods"), 2);
}

#[tokio::test]
async fn an_api_server_that_goes_away_is_noticed_and_its_return_is_told() {
    let rig = rig().await;
    let _backend = add(&rig, "orders-0").await;
    let target = service("orders", 80);
    let session = rig.opened(&target).await;
    let mut connection = within(session.connect()).await.unwrap();
    assert_eq!(line(&mut connection).await, "orders-0");

    let start = Instant::now();
    rig.server.stop().await;
    let broken = within(connection.stream.read_u8()).await.unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
    let problem = within(session.lost()).await;
    assert_eq!(problem.code, Code::KubeUnreachable);
    assert!(start.elapsed() < Duration::from_secs(3), "noticed after {:?}", start.elapsed());
    assert_eq!(within(session.ping()).await.unwrap_err().code, Code::KubeUnreachable);
    let held = within(session.connect()).await.err().unwrap();
    assert_eq!(held.verdict, Verdict::Hold);
    drop(session);

    let mended = rig.adapter.mended(&target, &problem);
    let back = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        rig.server.resume().await.unwrap();
    };
    let (done, ()) = tokio::join!(timeout(LIMIT, mended), back);
    done.unwrap();
    let session = rig.opened(&target).await;
    assert_eq!(greeting(&session).await, "orders-0");
}

/// Connections that broke, but a server that is there: nothing is lost but they.
#[tokio::test]
async fn broken_connections_do_not_end_a_session() {
    let rig = rig().await;
    let _backend = add(&rig, "orders-0").await;
    let session = rig.opened(&service("orders", 80)).await;
    assert_eq!(greeting(&session).await, "orders-0");
    rig.server.drop_connections().await.unwrap();
    for _ in 0..20 {
        assert_eq!(greeting(&session).await, "orders-0");
    }
    let lost = timeout(Duration::from_millis(500), session.lost()).await;
    assert!(lost.is_err(), "{lost:?}");
}

/// An open connection outlives its pod's readiness and the session itself.
#[tokio::test]
async fn open_connections_outlive_the_session() {
    let rig = rig().await;
    let _backend = add(&rig, "orders-0").await;
    let session = rig.opened(&service("orders", 80)).await;
    let mut connection = within(session.connect()).await.unwrap();
    assert_eq!(line(&mut connection).await, "orders-0");
    rig.server.terminate("shop", "orders-0");
    within(session.lost()).await;
    drop(session);
    connection.stream.write_all(b"x").await.unwrap();
    connection.stream.flush().await.unwrap();
    assert_eq!(within(connection.stream.read_u8()).await.unwrap(), b'x');
}
