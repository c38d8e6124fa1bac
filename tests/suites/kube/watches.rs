//! What watching costs, and how soon a watch that died without a word is replaced.

use crate::rig::{Rig, greeting, options, service, until, within};
use localport_core::config::{KubeResource, KubeTarget, PortRef, Target};
use localport_core::problem::Code;
use localport_core::snapshot::Snapshot;
use localport_engine::adapter::Adapter;
use localport_engine::adapter::ssh::SshOptions;
use localport_tests::apiserver::{ApiServer, Backend, CONTEXT, PodSpec};
use localport_tests::engine::{Engine, echo, forward};
use localport_tests::network::Network;
use localport_tests::ports::free_ports;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// S7.2: a thousand forwards to services of twenty namespaces have two watches for each
/// namespace, and all that is watched is on two connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_2_a_thousand_forwards_over_twenty_namespaces_share_forty_watches() {
    let server = ApiServer::start().await.unwrap();
    let handle = |mut socket: TcpStream| async move {
        let (mut read, mut write) = socket.split();
        tokio::io::copy(&mut read, &mut write).await.map(drop)
    };
    let backend = Backend::serve(handle).await.unwrap();
    for number in 0..20 {
        let namespace = format!("team-{number}");
        let pod = PodSpec::new(&namespace, "orders-0").label("app", "orders");
        server.add_pod(pod.port("http", 8080, &backend));
        server.add_service(&namespace, "orders", &[("app", "orders")], &[("web", 80, "http")]);
    }
    let ports = free_ports(1_000);
    let forwards = ports.iter().enumerate().map(|(number, port)| {
        let target = KubeTarget {
            context: Some(CONTEXT.to_owned()),
            via: None,
            namespace: format!("team-{}", number % 20),
            resource: KubeResource::Service("orders".to_owned()),
            port: PortRef::Number(80),
        };
        forward(&format!("orders-{number}"), *port, Target::Kube(target))
    });
    let engine =
        Engine::start(forwards.collect(), SshOptions::default(), options(server.kubeconfig()));
    // A busy machine may take its time, as long as it gets on.
    for share in [100, 250, 500, 750, 1_000] {
        let serving =
            |s: &Snapshot| s.forwards.iter().filter(|f| f.word(s.at) == "serving").count();
        engine.until(&format!("{share} serving"), |s| serving(s) >= share).await;
    }
    // What follows targets; the clusters' own state is watched beside it.
    let follows = |resource: &str| matches!(resource, "pods" | "services" | "endpointslices");
    let open = server.open_watches();
    let following = open.iter().filter(|(resource, _)| follows(resource)).count();
    assert_eq!(following, 40, "{open:?}");
    assert_eq!(server.count("list", "pods") + server.count("list", "services"), 40);
    println!(
        "1,000 forwards: {following} watches of {} in all, on {} connections of {} made",
        open.len(),
        server.multiplexed(),
        server.connections()
    );
    // One for each list that began before the first one was known to be shared, and again
    // for the second connection; they end at once.
    assert!(server.multiplexed() <= 2 * 20, "{}", server.multiplexed());
    until("two connections for all watches", || server.multiplexed_now() <= 2).await;
    for port in ports.iter().step_by(100) {
        assert_eq!(within(echo(*port, b"hello")).await.unwrap(), b"hello");
    }
    engine
        .until("no open connection", |s| s.forwards.iter().all(|f| f.connections.open == 0))
        .await;
    engine.stop().await;
}

/// A rig behind a network, with two pods of one service.
async fn behind() -> (Rig, Network, [Backend; 2], TempDir) {
    let server = ApiServer::start().await.unwrap();
    let network = Network::to(server.address()).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    network.kubeconfig(&server, &path).unwrap();
    let rig = Rig::before(server, |options| options.kubeconfig = Some(vec![path]));
    rig.server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
    let backends = [0, 1].map(|number| format!("orders-{number}"));
    let [first, second] = &backends;
    let backends = [Backend::start(first).await.unwrap(), Backend::start(second).await.unwrap()];
    for (number, backend) in backends.iter().enumerate() {
        let pod = PodSpec::new("shop", &format!("orders-{number}")).label("app", "orders");
        rig.server.add_pod(pod.port("http", 8080, backend));
    }
    (rig, network, backends, dir)
}

/// S7.2: without the right to list pods, a service is followed through its endpoint slices:
/// named ports, pods that end, pods that are not ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_2_without_the_right_to_list_pods_a_service_is_seen_through_its_slices() {
    let rig = Rig::new().await;
    rig.server.serve_slices();
    rig.server.forbid("list", "pods");
    let mut backends = Vec::new();
    for (name, port) in [("orders-0", 8080), ("orders-1", 9090)] {
        let backend = Backend::start(name).await.unwrap();
        let pod = PodSpec::new("shop", name).label("app", "orders");
        rig.server.add_pod(pod.port("http", port, &backend));
        backends.push(backend);
    }
    rig.server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
    let session = rig.opened(&service("orders", 80)).await;
    assert_eq!(session.route().endpoint, "pod orders-1");
    assert_eq!(greeting(&session).await, "orders-1");
    until("its watches", || {
        let mut open = rig.server.open_watches();
        open.sort();
        open.into_iter().map(|(resource, _)| resource).eq(["endpointslices", "services"])
    })
    .await;
    let seen = session.route();
    rig.server.terminate("shop", "orders-1");
    assert_eq!(within(session.rerouted(&seen)).await.endpoint, "pod orders-0");
    assert_eq!(greeting(&session).await, "orders-0");
    rig.server.set_ready("shop", "orders-0", false);
    let problem = within(session.lost()).await;
    assert_eq!(problem.code, Code::KubeNoReadyPod);
    assert!(problem.sentence.contains("0 of 2 pods are ready"), "{problem}");
}

/// S7.4: a watch whose path died without a word is replaced within ten seconds, and what
/// happened meanwhile is known then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_4_a_black_holed_watch_is_replaced_within_ten_seconds() {
    let (rig, network, _backends, _dir) = behind().await;
    let session = rig.opened(&service("orders", 80)).await;
    until("the watches", || rig.server.open_watches().len() == 2).await;
    let seen = session.route();
    network.forget();
    let begun = Instant::now();
    rig.server.terminate("shop", seen.endpoint.trim_start_matches("pod "));
    within(session.rerouted(&seen)).await;
    let took = begun.elapsed();
    println!("a black-holed watch was replaced after {took:?}");
    assert!(took <= Duration::from_secs(10), "{took:?}");
    greeting(&session).await;
}

/// S5.2: after a wake or a change of the network nothing is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_2_a_doubted_watch_is_replaced_at_once() {
    let (rig, network, _backends, _dir) = behind().await;
    let session = rig.opened(&service("orders", 80)).await;
    until("the watches", || rig.server.open_watches().len() == 2).await;
    let seen = session.route();
    network.forget();
    rig.server.terminate("shop", seen.endpoint.trim_start_matches("pod "));
    let begun = Instant::now();
    rig.adapter.doubt().await;
    within(session.rerouted(&seen)).await;
    let took = begun.elapsed();
    println!("a doubted watch was replaced after {took:?}");
    assert!(took <= Duration::from_secs(2), "{took:?}");
}
