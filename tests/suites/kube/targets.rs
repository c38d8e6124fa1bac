//! Each kind of target carries bytes to the right pod and port.

use crate::rig::{Rig, greeting, line, named, service, target, until, within};
use localport_core::config::{KubeResource, PortRef, Target};
use localport_engine::adapter::Route;
use localport_engine::registry::LeaseKind;
use localport_tests::apiserver::{Backend, PodSpec, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A namespace with every kind of thing in front of one pod.
async fn furnished(rig: &Rig) -> Backend {
    let backend = Backend::start("orders").await.unwrap();
    let pod = PodSpec::new("shop", "orders-0").label("app", "orders");
    rig.server.add_pod(pod.port("http", 8080, &backend));
    rig.server.add_pod(PodSpec::new("shop", "other-0").label("app", "other").dead_port("x", 1));
    rig.server.add_service(
        "shop",
        "orders",
        &[("app", "orders")],
        &[("web", 80, "http"), ("plain", 81, "8080")],
    );
    for resource in ["deployments", "statefulsets", "daemonsets", "replicasets"] {
        rig.server.add_workload(resource, "shop", "orders", &[("app", "orders")]);
    }
    backend
}

#[tokio::test]
async fn every_kind_of_target_carries_bytes() {
    let rig = Rig::new().await;
    let _backend = furnished(&rig).await;
    let name = || "orders".to_owned();
    let number = PortRef::Number;
    let targets = [
        // Service port by number → target port by name → container port.
        (KubeResource::Service(name()), number(80)),
        // Service port by name → target port by name → container port.
        (KubeResource::Service(name()), named("web")),
        // Service port by number → target port by number.
        (KubeResource::Service(name()), number(81)),
        (KubeResource::Deployment(name()), number(8080)),
        (KubeResource::Deployment(name()), named("http")),
        (KubeResource::StatefulSet(name()), number(8080)),
        (KubeResource::DaemonSet(name()), number(8080)),
        (KubeResource::ReplicaSet(name()), named("http")),
        (KubeResource::Pod("orders-0".to_owned()), number(8080)),
        (KubeResource::Selector("app in (orders),!canary".to_owned()), number(8080)),
    ];
    for (resource, port) in targets {
        let target = target(resource, port);
        let session = rig.opened(&target).await;
        let expected = Route { path: "spdy-ws".into(), endpoint: "pod orders-0".to_owned() };
        assert_eq!(session.route(), expected, "{target:?}");
        let mut connection = within(session.connect()).await.unwrap();
        assert_eq!(line(&mut connection).await, "orders", "{target:?}");
        connection.stream.write_all(b"ping").await.unwrap();
        connection.stream.flush().await.unwrap();
        let mut answer = [0; 4];
        within(connection.stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"ping", "{target:?}");
        assert!(within(session.ping()).await.unwrap() > std::time::Duration::ZERO);
        within(session.probe()).await.unwrap();
    }
}

#[tokio::test]
async fn the_current_context_is_meant_when_none_is_named_and_plain_http_works() {
    let rig = Rig::with(Tls::Off, |_| {}).await;
    let _backend = furnished(&rig).await;
    let Target::Kube(mut kube) = service("orders", 80) else { unreachable!() };
    kube.context = None;
    let session = rig.opened(&Target::Kube(kube)).await;
    assert_eq!(greeting(&session).await, "orders");
}

/// S7.2: fifty forwards in one namespace share one watch of each kind, and one client;
/// nothing is held once they are gone.
#[tokio::test]
async fn s7_2_fifty_forwards_share_their_watches() {
    let rig = Rig::new().await;
    let _backend = furnished(&rig).await;
    let target = service("orders", 80);
    let mut sessions = Vec::new();
    for _ in 0..50 {
        sessions.push(rig.opened(&target).await);
    }
    until("two watches", || rig.server.open_watches().len() == 2).await;
    let mut open = rig.server.open_watches();
    open.sort();
    let watch = |resource: &str| (resource.to_owned(), "shop".to_owned());
    assert_eq!(open, [watch("pods"), watch("services")]);
    assert_eq!((rig.server.count("list", "pods"), rig.server.count("watch", "pods")), (1, 1));
    assert_eq!(rig.leases(LeaseKind::Watch).len(), 2);
    assert!(rig.server.connections() <= 4, "{} connections", rig.server.connections());

    drop(sessions);
    until("the end of the watches", || {
        let mut left = rig.registry.list().into_iter();
        // The adapter's own, which lasts as long as it does.
        left.all(|lease| lease.name == "look-out for the kubeconfig")
            && rig.server.open_watches().is_empty()
    })
    .await;
}

/// S7.1: a closed adapter leaves nothing behind, whatever its sessions' holders do.
#[tokio::test]
async fn s7_1_a_shut_down_adapter_holds_no_task_and_no_watch() {
    use localport_engine::adapter::Adapter;
    let rig = Rig::new().await;
    let _backend = furnished(&rig).await;
    let session = rig.opened(&service("orders", 80)).await;
    within(rig.adapter.shutdown(std::time::Duration::from_secs(2))).await;
    assert!(rig.leases(LeaseKind::Watch).is_empty());
    assert!(rig.leases(LeaseKind::Task).is_empty());
    drop(session);
    assert!(rig.registry.list().is_empty());
}

#[tokio::test]
async fn a_selector_that_moves_is_followed() {
    let rig = Rig::new().await;
    let (blue, green) =
        (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    for (color, backend) in [("blue", &blue), ("green", &green)] {
        let pod = PodSpec::new("shop", color).label("color", color);
        rig.server.add_pod(pod.port("http", 8080, backend));
    }
    let ports = [("web", 80, "http")];
    rig.server.add_service("shop", "orders", &[("color", "blue")], &ports);
    let session = rig.opened(&service("orders", 80)).await;
    assert_eq!(greeting(&session).await, "blue");
    let seen = session.route();
    rig.server.add_service("shop", "orders", &[("color", "green")], &ports);
    assert_eq!(within(session.rerouted(&seen)).await.endpoint, "pod green");
    assert_eq!(greeting(&session).await, "green");
}
