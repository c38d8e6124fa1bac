//! The Kubernetes adapter against a real API server (1.20) with a kubelet's double behind it.
//!
//! That version knows neither tunnels over WebSocket nor `discovery.k8s.io/v1`, so the ways
//! down from both are real here.

use localport_core::config::{KubeResource, KubeTarget, PortRef, Target};
use localport_core::problem::{Code, Problem};
use localport_engine::adapter::kube::{KubeAdapter, LoginShell, Options};
use localport_engine::adapter::{Adapter, Session, SessionScope};
use localport_engine::registry::{Registry, Tasks};
use localport_tests::apiserver::Backend;
use localport_tests::real_apiserver::{ADMIN, CONTEXT, DEV, RealApiServer};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("a step did not end in time")
}

fn adapter(kubeconfig: PathBuf) -> KubeAdapter {
    let options = Options {
        kubeconfig: Some(vec![kubeconfig]),
        login_shell: LoginShell::Never,
        ..Options::default()
    };
    KubeAdapter::new(&Registry::default(), options)
}

async fn open(adapter: &KubeAdapter, target: &Target) -> Result<Arc<dyn Session>, Problem> {
    let (notes, _) = mpsc::channel(8);
    let tasks = Tasks::new("test", &Registry::default());
    let scope = SessionScope { forward: "test".to_owned(), tasks, notes };
    within(adapter.open(target, scope)).await
}

fn target(resource: KubeResource, port: u16) -> Target {
    Target::Kube(KubeTarget {
        context: Some(CONTEXT.to_owned()),
        namespace: "shop".to_owned(),
        resource,
        port: PortRef::Number(port),
        via: None,
    })
}

fn service() -> Target {
    target(KubeResource::Service("orders".to_owned()), 80)
}

fn pod(name: &str) -> Target {
    target(KubeResource::Pod(name.to_owned()), 8080)
}

/// What a new client is greeted with, after its own line came back.
async fn served(session: &Arc<dyn Session>) -> String {
    let mut connection = within(session.connect()).await.unwrap();
    connection.stream.write_all(b"hello\n").await.unwrap();
    let mut said = Vec::new();
    while said.iter().filter(|byte| **byte == b'\n').count() < 2 {
        said.push(within(connection.stream.read_u8()).await.unwrap());
    }
    let said = String::from_utf8(said).unwrap();
    let (greeting, echo) = said.split_once('\n').unwrap();
    assert_eq!(echo, "hello\n");
    greeting.to_owned()
}

/// G6: a real server passes each way on to its node; what the node of that version does
/// not know leads one further down.
#[tokio::test(flavor = "multi_thread")]
async fn g6_every_way_through_a_real_server() {
    let server = RealApiServer::start().await;
    let backend = Backend::start("a").await.unwrap();
    server.add_pod("orders-a", &backend);
    let ways: [(&[&str], &str); 3] =
        [(&[], "spdy-ws"), (&["spdy-ws"], "spdy"), (&["spdy-ws", "spdy"], "v4")];
    for (refused, way) in ways {
        for refused in refused {
            // An older node's words for a protocol that it does not know.
            server.kubelet.refuse_way(refused, 403, false);
        }
        let adapter = adapter(server.kubeconfig(ADMIN));
        let session = open(&adapter, &service()).await.unwrap();
        for _ in 0..20 {
            assert_eq!(served(&session).await, "a", "{way}");
        }
        assert_eq!(session.route().path, way);
        within(session.ping()).await.unwrap();
        within(session.probe()).await.unwrap();
    }
}

/// S7.4: the real watch tells of pods that come and go.
#[tokio::test(flavor = "multi_thread")]
async fn s7_4_a_real_watch_is_followed() {
    let server = RealApiServer::start().await;
    let (a, b) = (Backend::start("a").await.unwrap(), Backend::start("b").await.unwrap());
    server.add_pod("orders-a", &a);
    server.kubelet.refuse_way("spdy-ws", 403, false);
    let adapter = adapter(server.kubeconfig(ADMIN));
    let session = open(&adapter, &service()).await.unwrap();
    assert_eq!(served(&session).await, "a");
    let seen = session.route();
    assert_eq!(seen.endpoint, "pod orders-a");

    server.add_pod("orders-b", &b);
    server.delete_pod("orders-a");
    assert_eq!(within(session.rerouted(&seen)).await.endpoint, "pod orders-b");
    assert_eq!(served(&session).await, "b");

    server.delete_pod("orders-b");
    assert_eq!(within(session.lost()).await.code, Code::KubeNoReadyPod);
}

/// S7.4: a server without `discovery.k8s.io/v1` serves services all the same; its slices
/// of the version before can be listed.
#[tokio::test(flavor = "multi_thread")]
async fn s7_4_slices_as_this_version_has_them() {
    let server = RealApiServer::start().await;
    let backend = Backend::start("a").await.unwrap();
    server.add_pod("orders-a", &backend);
    let none = json!(null);
    let (status, _) = server.ask("GET", "/apis/discovery.k8s.io/v1/endpointslices", &none);
    assert_eq!(status, 404);
    let path = "/apis/discovery.k8s.io/v1beta1/namespaces/shop/endpointslices";
    let slice = json!({ "addressType": "IPv4", "ports": [{ "name": "web", "port": 8080 }],
        "metadata": { "name": "orders-1", "labels": { "kubernetes.io/service-name": "orders" } },
        "endpoints": [{ "addresses": ["10.1.0.1"], "conditions": { "ready": true } }] });
    server.made("POST", path, &slice);
    let listed = server.made("GET", path, &none);
    assert_eq!(listed["items"][0]["metadata"]["name"], "orders-1");
    let adapter = adapter(server.kubeconfig(ADMIN));
    let session = open(&adapter, &service()).await.unwrap();
    assert_eq!(served(&session).await, "a");
}

/// S7.4: real refusals: a wrong token, no rights at all, and each right to forward.
#[tokio::test(flavor = "multi_thread")]
async fn s7_4_real_refusals_are_named() {
    let server = RealApiServer::start().await;
    let backend = Backend::start("a").await.unwrap();
    server.add_pod("orders-a", &backend);
    server.kubelet.refuse_way("spdy-ws", 403, false);
    let stranger = adapter(server.kubeconfig("wrong"));
    let problem = open(&stranger, &service()).await.err().unwrap();
    assert_eq!(problem.code, Code::KubeUnauthorized, "{problem:?}");

    let dev = adapter(server.kubeconfig(DEV));
    let problem = open(&dev, &pod("orders-a")).await.err().unwrap();
    assert_eq!(problem.code, Code::KubeForbidden, "{problem:?}");
    assert!(problem.sentence.contains("`list` on `pods`"), "{problem:?}");

    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop";
    let role = |verbs: &[&str]| {
        json!({ "metadata": { "name": "dev" }, "rules": [
            { "apiGroups": [""], "resources": ["pods", "services"],
              "verbs": ["get", "list", "watch"] },
            { "apiGroups": [""], "resources": ["pods/portforward"], "verbs": verbs }] })
    };
    server.made("POST", &format!("{rbac}/roles"), &role(&["get"]));
    let binding = json!({ "metadata": { "name": "dev" },
        "subjects": [{ "kind": "User", "name": "dev" }],
        "roleRef": { "kind": "Role", "name": "dev", "apiGroup": "rbac.authorization.k8s.io" } });
    server.made("POST", &format!("{rbac}/rolebindings"), &binding);
    let session = opened(&dev).await;
    // The node does not know the first way, and the second one takes the right to create.
    let refused = within(session.connect()).await.err().unwrap().problem;
    assert_eq!(refused.code, Code::KubeForbidden, "{refused:?}");
    assert!(refused.sentence.contains("`create` on `pods/portforward`"), "{refused:?}");
    assert!(!refused.sentence.contains("`get` on"), "{refused:?}");

    server.made("PUT", &format!("{rbac}/roles/dev"), &role(&["get", "create"]));
    let greeting = within(async {
        loop {
            // The server's own caches of rights take a moment.
            match session.connect().await {
                Ok(_) => return served(&session).await,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    assert_eq!(greeting.await, "a");
}

/// A session once the rights to it have arrived.
async fn opened(adapter: &KubeAdapter) -> Arc<dyn Session> {
    within(async {
        loop {
            match open(adapter, &pod("orders-a")).await {
                Ok(session) => return session,
                Err(problem) if problem.code == Code::KubeForbidden => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(problem) => panic!("{problem:?}"),
            }
        }
    })
    .await
}
