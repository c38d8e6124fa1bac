//! Clusters and SSH hosts as a whole, as the command shows them: `cluster status`, `cluster
//! events` and `login`.

use crate::{keys, set};
use localport_tests::apiserver::{ApiServer, Backend, CONTEXT, PodSpec};
use localport_tests::host::{Running, Sandbox};
use localport_tests::ports::free_ports;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// How long anything announced is waited for.
const DEADLINE: Duration = Duration::from_secs(30);

/// A host over a cluster, with one forward into it and one over SSH to nowhere.
struct Scene {
    server: ApiServer,
    sandbox: Sandbox,
    _backend: Backend,
    _host: Running,
}

impl Scene {
    async fn new(contexts: &str) -> Self {
        let server = ApiServer::start().await.unwrap();
        let backend = Backend::start("orders-0").await.unwrap();
        let pod = PodSpec::new("shop", "orders-0").label("app", "orders");
        server.add_pod(pod.port("http", 8080, &backend));
        server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        let node = json!({ "kind": "Node", "apiVersion": "v1", "status": { "conditions": ready } });
        server.put("nodes", "", "node-1", node);
        let event = json!({ "kind": "Event", "apiVersion": "v1", "type": "Warning",
            "reason": "BackOff", "message": "Back-off pulling image", "count": 2,
            "involvedObject": { "kind": "Pod", "name": "orders-0", "namespace": "shop" } });
        server.put("events", "shop", "orders-0.1", event);
        let ports = free_ports(3);
        let text = format!(
            "version: \"1.0\"\n{contexts}services:\n  - {{name: orders, technology: kubectl, \
             local_port: {}, remote_port: 80, connection: {{resource_name: orders, \
             resource_type: service, namespace: shop, context: {CONTEXT}}}}}\n  - {{name: wiki, \
             technology: ssh, local_port: {}, remote_port: 80, connection: {{host: 127.0.0.1, \
             port: {}, user: me, remote_host: wiki}}}}\n",
            ports[0], ports[1], ports[2]
        );
        let sandbox = Sandbox::with_config(&text);
        fs::create_dir(sandbox.path().join(".kube")).unwrap();
        fs::copy(server.kubeconfig(), sandbox.path().join(".kube/config")).unwrap();
        let host = sandbox.host();
        Self { server, sandbox, _backend: backend, _host: host }
    }

    /// Waits until `cluster status --json` says of `name` what `met` asks for.
    fn cluster(&self, name: &str, met: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            let said = self.sandbox.run(["cluster", "status", name, "--json"]);
            assert_eq!(said.code, Some(0), "{said:?}");
            let cluster = said.json()["clusters"][0].clone();
            if met(&cluster) {
                return cluster;
            }
            assert!(Instant::now() < end, "never came: {cluster:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// S5.4: clusters and hosts with reach, latency, nodes and warnings, for people and
/// programs; a name that is not in use is a mistake in the command line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_4_cluster_status_and_events() {
    let scene = Scene::new("").await;
    let seen = scene.cluster(CONTEXT, |cluster| {
        cluster["reach"] == "reachable"
            && cluster["nodes"]["ready"] == 1
            && cluster["warnings"] == 1
    });
    let expected = [
        "name",
        "technology",
        "reach",
        "since_s",
        "latency_ms",
        "checked_s_ago",
        "cached",
        "forwards",
        "up",
        "waiting",
        "nodes",
        "warnings",
        "login",
        "unseen",
        "expires_in_s",
        "problem",
    ];
    assert_eq!(keys(&seen), set(&expected));
    assert!(seen["latency_ms"].as_f64().unwrap() > 0.0);
    let host = scene.sandbox.run(["cluster", "status", "--json"]).json()["clusters"][1].clone();
    assert_eq!((&host["technology"], &host["nodes"]), (&json!("ssh"), &Value::Null));
    let away = scene.cluster(host["name"].as_str().unwrap(), |c| c["reach"] == "unreachable");
    assert_eq!(away["waiting"], json!(["wiki"]));
    let text = scene.sandbox.run(["cluster", "status"]).out;
    for words in ["reachable for", "1 of 1 ready", "unreachable for", "waiting for it: wiki"] {
        assert!(text.contains(words), "{words} in {text}");
    }

    scene.sandbox.until("serving", |status| status["forwards"][0]["word"] == "serving");
    let events = scene.sandbox.run(["cluster", "events", "--json"]).json();
    let event = &events[0]["events"][0];
    assert_eq!((&events[0]["cluster"], &event["reason"]), (&json!(CONTEXT), &json!("BackOff")));
    assert_eq!((&event["count"], &event["forwards"]), (&json!(2), &json!(["orders"])));
    let text = scene.sandbox.run(["cluster", "events", CONTEXT]).out;
    assert!(text.contains("Pod/orders-0 BackOff: Back-off pulling image (2 times)"), "{text}");
    assert!(text.contains("near orders"), "{text}");
    for arguments in [["cluster", "status", "doubel"], ["cluster", "events", "doubel"]] {
        let unknown = scene.sandbox.run(arguments);
        assert_eq!(unknown.code, Some(2), "{unknown:?}");
        assert!(unknown.err.contains("did you mean `double`?"), "{unknown:?}");
    }
}

/// S5.8: the command logs in by the configured command, and says when it cannot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_8_login_runs_the_users_command() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let script = |name: &str, body: String| {
        fs::write(path(name), format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    let credential = "'{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"%s\"}}'";
    script(
        "plugin",
        format!("[ -s {0} ] || exit 1; printf {credential} $(cat {0})", path("token")),
    );
    script(
        "login",
        format!(
            "[ -e {} ] || {{ echo 'wrong telephone' >&2; exit 1; }}; printf fresh > {}",
            path("second-factor"),
            path("token")
        ),
    );
    let contexts =
        format!("cluster_contexts: {{{CONTEXT}: {{login_command: ['{}']}}}}\n", path("login"));
    let scene = Scene::new(&contexts).await;
    scene.server.accept_token("fresh");
    let user = json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1",
        "command": path("plugin"), "interactiveMode": "Never" } });
    scene.server.write_kubeconfig(&user).unwrap();
    fs::copy(scene.server.kubeconfig(), scene.sandbox.path().join(".kube/config")).unwrap();
    scene.server.drop_connections().await.unwrap();
    let seen = scene.cluster(CONTEXT, |cluster| {
        cluster["reach"] == "login-needed"
            && cluster["waiting"] == json!(["orders"])
            && cluster["login"]["command"] != Value::Null
    });
    assert_eq!(seen["login"]["command"], json!(path("login")));
    let text = scene.sandbox.run(["cluster", "status", CONTEXT]).out;
    assert!(text.contains("log in with `localport login double`"), "{text}");

    let failed = scene.sandbox.run(["login", CONTEXT]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.err.contains("wrong telephone"), "{failed:?}");
    fs::write(path("second-factor"), "").unwrap();
    let done = scene.sandbox.run(["login", CONTEXT, "--json"]);
    assert_eq!((done.code, &done.json()["forwards"]), (Some(0), &json!(["orders"])), "{done:?}");
    scene.sandbox.until("serving", |status| status["forwards"][0]["word"] == "serving");
    scene.cluster(CONTEXT, |cluster| cluster["reach"] == "reachable");
    let unknown = scene.sandbox.run(["login", "nowhere"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
}
