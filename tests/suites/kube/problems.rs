//! Each thing that can be wrong with a cluster, by its planted fault: its code, its
//! sentence, its hint.

use crate::rig::{Rig, greeting, named, options, pod, service, target, within};
use localport_core::config::{KubeResource, KubeTarget, Target};
use localport_core::problem::{Code, Problem};
use localport_engine::adapter::kube::KubeAdapter;
use localport_engine::adapter::{Adapter, Verdict};
use localport_engine::registry::Registry;
use localport_tests::apiserver::{Backend, CONTEXT, PodSpec, Tls};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// Asserts the code, and that sentence or hint say every one of `parts`.
#[track_caller]
fn assert_says(problem: &Problem, code: Code, parts: &[&str]) {
    let text = format!("{} / {}", problem.sentence, problem.hint);
    assert_eq!(problem.code, code, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not said in {text:?}");
    }
}

/// One ready pod behind `svc/orders`.
async fn served(rig: &Rig) -> Backend {
    let backend = Backend::start("orders").await.unwrap();
    let pod = PodSpec::new("shop", "orders-0").label("app", "orders");
    rig.server.add_pod(pod.port("http", 8080, &backend));
    rig.server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
    backend
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let rig = Rig::new().await;
    let _backend = served(&rig).await;
    let by_name =
        |resource: fn(String) -> KubeResource| target(resource("gone".into()), named("x"));
    let table = [
        (by_name(KubeResource::Service), "service `gone`"),
        (by_name(KubeResource::Deployment), "deployment `gone`"),
        (by_name(KubeResource::StatefulSet), "statefulset `gone`"),
        (by_name(KubeResource::DaemonSet), "daemonset `gone`"),
        (by_name(KubeResource::ReplicaSet), "replicaset `gone`"),
        (by_name(KubeResource::Pod), "pod `gone`"),
    ];
    for (target, words) in table {
        let problem = rig.problem(&target).await;
        assert_says(&problem, Code::KubeNotFound, &[words, "`shop`", "`double`"]);
        let Target::Kube(mut elsewhere) = target else { unreachable!() };
        elsewhere.namespace = "nowhere".to_owned();
        let problem = rig.problem(&Target::Kube(elsewhere)).await;
        assert_says(&problem, Code::KubeNotFound, &["namespace `nowhere`"]);
    }
}

/// The problem of `target` once it says `words`: the watch of the attempt before tells
/// of changes a moment after they happened.
async fn said(rig: &Rig, target: &Target, words: &str) -> Problem {
    let deadline = tokio::time::Instant::now() + crate::rig::LIMIT;
    loop {
        match rig.open(target).await {
            Err(problem) if problem.sentence.contains(words) => return problem,
            other => assert!(
                tokio::time::Instant::now() < deadline,
                "{words:?} was never said, but {:?}",
                other.err()
            ),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn why_no_pod_is_ready_is_said() {
    let rig = Rig::new().await;
    let orders = |name: &str| PodSpec::new("shop", name).label("app", "orders");
    rig.server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "8080")]);
    let target = service("orders", 80);
    let problem = rig.problem(&target).await;
    assert_says(&problem, Code::KubeNoReadyPod, &["no pod belongs to `svc/orders`"]);

    rig.server.add_pod(orders("a").waiting("CrashLoopBackOff"));
    rig.server.add_pod(orders("b").waiting("ImagePullBackOff"));
    let words = "0 of 2 pods are ready (CrashLoopBackOff, ImagePullBackOff) behind `svc/orders`";
    let problem = said(&rig, &target, words).await;
    assert_says(&problem, Code::KubeNoReadyPod, &[words, "describe pod a"]);

    rig.server.delete_pod("shop", "a");
    rig.server.delete_pod("shop", "b");
    rig.server.add_pod(orders("c").waiting("Pending"));
    let problem = said(&rig, &target, "0 of 1 pod is ready (Pending)").await;
    assert_eq!(problem.code, Code::KubeNoReadyPod);

    rig.server.set_ready("shop", "c", true);
    rig.server.terminate("shop", "c");
    let problem = said(&rig, &pod("c", 8080), "1 terminating").await;
    assert_eq!(problem.code, Code::KubeNoReadyPod);
}

#[tokio::test]
async fn services_that_lead_to_no_pod_and_ports_that_do_not_exist() {
    let rig = Rig::new().await;
    let _backend = served(&rig).await;
    rig.server.add_service("shop", "bare", &[], &[("web", 80, "80")]);
    let outside = json!({ "spec": { "type": "ExternalName", "externalName": "db.example" } });
    rig.server.put("services", "shop", "outside", outside);

    let problem = rig.problem(&service("bare", 80)).await;
    assert_says(&problem, Code::KubeNoSelector, &["`svc/bare` has no selector"]);
    let problem = rig.problem(&service("outside", 80)).await;
    assert_says(&problem, Code::KubeExternalName, &["`db.example`"]);
    let problem = rig.problem(&service("orders", 8080)).await;
    assert_says(&problem, Code::KubePort, &["no port `8080`", "`web (80)`"]);
    let by_name = |name| target(KubeResource::Service("orders".to_owned()), named(name));
    let problem = rig.problem(&by_name("grpc")).await;
    assert_says(&problem, Code::KubePort, &["no port `grpc`", "`web (80)`"]);
    let in_pod = target(KubeResource::Pod("orders-0".to_owned()), named("grpc"));
    let problem = rig.problem(&in_pod).await;
    assert_says(&problem, Code::KubePort, &["`orders-0`", "`http (8080)`"]);
    let labels = target(KubeResource::Selector("app in orders".to_owned()), named("x"));
    let problem = rig.problem(&labels).await;
    assert_says(&problem, Code::ConfigInvalid, &["`app in orders`"]);
}

#[tokio::test]
async fn a_refused_port_is_a_refusal_to_the_client_and_to_the_probe() {
    let rig = Rig::new().await;
    rig.server.add_pod(PodSpec::new("shop", "dead").label("app", "x").dead_port("http", 8080));
    let session = rig.opened(&pod("dead", 8080)).await;
    let refused = within(session.connect()).await.err().unwrap();
    assert_eq!(refused.verdict, Verdict::Refuse);
    assert_says(&refused.problem, Code::TargetRefused, &["pod `dead`", "`8080`"]);
    let problem = within(session.probe()).await.unwrap_err();
    assert_says(&problem, Code::TargetRefused, &["pod `dead`"]);
    assert!(within(session.ping()).await.is_ok(), "the cluster itself answers");
}

#[tokio::test]
async fn missing_rights_are_named_by_verb_and_resource() {
    let table = [
        ("list", "pods", service("orders", 80), "`list` on `pods`"),
        (
            "get",
            "deployments",
            target(KubeResource::Deployment("orders".into()), named("http")),
            "`get` on `deployments`",
        ),
    ];
    for (verb, resource, target, words) in table {
        let rig = Rig::new().await;
        let _backend = served(&rig).await;
        rig.server.forbid(verb, resource);
        let problem = rig.problem(&target).await;
        assert_says(&problem, Code::KubeForbidden, &[words, "namespace `shop`", "`double`"]);
    }
}

/// From 1.35 on a WebSocket takes `get` and `create`; which one is missing is asked for.
#[tokio::test]
async fn the_right_to_forward_is_named_exactly() {
    let both = "`get` on `pods/portforward` and `create` on `pods/portforward`";
    let table: [(&[&str], &str); 3] = [
        (&["create"], "no right to `create` on `pods/portforward` in"),
        (&["get"], "no right to `get` on `pods/portforward` in"),
        (&["get", "create"], both),
    ];
    for (verbs, words) in table {
        let rig = Rig::new().await;
        let _backend = served(&rig).await;
        for verb in verbs {
            rig.server.forbid(verb, "pods/portforward");
        }
        let session = rig.opened(&service("orders", 80)).await;
        let error = within(session.connect()).await.err().unwrap();
        assert_eq!(error.verdict, Verdict::Hold);
        assert_says(&error.problem, Code::KubeForbidden, &[words, "1.35"]);
    }
}

#[tokio::test]
async fn without_the_right_to_list_a_named_pod_and_service_are_looked_at_alone() {
    let rig = Rig::new().await;
    let _backend = served(&rig).await;
    rig.server.forbid("list", "pods");
    rig.server.forbid("list", "services");
    let session = rig.opened(&pod("orders-0", 8080)).await;
    assert_eq!(greeting(&session).await, "orders");
}

#[tokio::test]
async fn without_the_right_to_watch_the_list_is_read_again() {
    let rig = Rig::new().await;
    let backend = served(&rig).await;
    rig.server.forbid("watch", "pods");
    let session = rig.opened(&service("orders", 80)).await;
    assert_eq!(greeting(&session).await, "orders");
    let next = PodSpec::new("shop", "orders-1").label("app", "orders");
    rig.server.add_pod(next.port("http", 8080, &backend));
    rig.server.delete_pod("shop", "orders-0");
    // The dial meets the contradiction, so the list is read before its turn, and the
    // client, to whom nothing was delivered, is served by the pod that it shows.
    let start = Instant::now();
    assert_eq!(greeting(&session).await, "orders");
    assert!(start.elapsed() < Duration::from_secs(4), "the list was read in its turn only");
    assert_eq!(session.route().endpoint, "pod orders-1");
}

#[tokio::test]
async fn refused_credentials_are_replaced_once_and_then_said() {
    let rig = Rig::new().await;
    let _backend = served(&rig).await;
    rig.server.refuse_credentials(1);
    let session = rig.opened(&service("orders", 80)).await;
    assert_eq!(greeting(&session).await, "orders");

    rig.server.accept_token("another");
    let problem = within(session.ping()).await.unwrap_err();
    assert_says(&problem, Code::KubeUnauthorized, &["`double`", "401"]);

    // A new login writes the kubeconfig anew; that alone mends it.
    rig.server.write_kubeconfig(&json!({ "token": "another", "username": "noted" })).unwrap();
    assert!(within(session.ping()).await.is_ok());
}

#[tokio::test]
async fn a_busy_server_is_not_hidden_behind_retries() {
    for status in [429, 503] {
        let rig = Rig::new().await;
        let _backend = served(&rig).await;
        let session = rig.opened(&service("orders", 80)).await;
        rig.server.be_busy(status, 1_000);
        let problem = within(session.ping()).await.unwrap_err();
        assert_says(&problem, Code::KubeOverloaded, &[&status.to_string(), "`double`"]);
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached() {
    let rig = Rig::new().await;
    let _backend = served(&rig).await;
    rig.server.stop().await;
    let problem = rig.problem(&service("orders", 80)).await;
    let address = rig.server.address().to_string();
    assert_says(&problem, Code::KubeUnreachable, &["refuses", &address]);

    // A name that never resolves (RFC 6761).
    let problem = lonely("https://api.invalid:6443").await;
    assert_says(&problem, Code::KubeUnreachable, &["api.invalid"]);

    // A listener whose queue is never served: the handshake gets no answer.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let problem = lonely(&format!("https://{}", silent.local_addr().unwrap())).await;
    assert_says(&problem, Code::KubeUnreachable, &["does not answer"]);
}

/// The problem of a forward to a server of which there is only the address.
async fn lonely(server: &str) -> Problem {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    let config = json!({ "clusters": [{ "name": "c", "cluster": { "server": server } }],
        "contexts": [{ "name": CONTEXT, "context": { "cluster": "c", "user": "" } }] });
    std::fs::write(&file, config.to_string()).unwrap();
    problem_with(&file).await
}

async fn problem_with(kubeconfig: &Path) -> Problem {
    let registry = Registry::default();
    let adapter = KubeAdapter::new(&registry, options(kubeconfig.to_owned()));
    let tasks = localport_engine::registry::Tasks::new("test", &registry);
    let (notes, _) = tokio::sync::mpsc::channel(1);
    let scope = localport_engine::adapter::SessionScope { forward: "f".into(), tasks, notes };
    within(adapter.open(&service("orders", 80), scope)).await.err().unwrap()
}

#[tokio::test]
async fn certificates_that_cannot_be_trusted() {
    let table = [
        (Tls::UnknownIssuer, "not trusted"),
        (Tls::Expired, "has expired"),
        (Tls::WrongName, "for another name"),
    ];
    for (tls, words) in table {
        let rig = Rig::with(tls, |_| {}).await;
        let problem = rig.problem(&service("orders", 80)).await;
        assert_says(&problem, Code::KubeTls, &[words, "`double`"]);
    }
}

#[tokio::test]
async fn kubeconfigs_and_contexts_that_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    let shown = file.display().to_string();
    assert_says(&problem_with(&file).await, Code::KubeConfig, &["no kubeconfig", &shown]);

    std::fs::write(&file, "clusters: [oh: no").unwrap();
    assert_says(&problem_with(&file).await, Code::KubeConfig, &["cannot be used", &shown]);

    let config = json!({ "contexts": [{ "name": "doubles", "context": { "cluster": "c" } }] });
    std::fs::write(&file, config.to_string()).unwrap();
    let problem = problem_with(&file).await;
    assert_says(&problem, Code::KubeContext, &["no context `double`", "mean `doubles`"]);

    let registry = Registry::default();
    let adapter = KubeAdapter::new(&registry, options(file));
    let current = Target::Kube(KubeTarget {
        context: None,
        namespace: "shop".to_owned(),
        resource: KubeResource::Pod("x".to_owned()),
        port: named("y"),
        via: None,
    });
    let tasks = localport_engine::registry::Tasks::new("test", &registry);
    let (notes, _) = tokio::sync::mpsc::channel(1);
    let scope = localport_engine::adapter::SessionScope { forward: "f".into(), tasks, notes };
    let problem = within(adapter.open(&current, scope)).await.err().unwrap();
    assert_says(&problem, Code::KubeContext, &["no current one", "`doubles`"]);
}

/// Login plugins: found on the login shell's PATH, run once, limited, and named when
/// they are missing or fail.
#[cfg(unix)]
mod plugins {
    use super::*;
    use localport_engine::adapter::kube::LoginShell;
    use localport_tests::apiserver::TOKEN;
    use std::os::unix::fs::PermissionsExt;

    fn script(path: &Path, text: &str) {
        std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn user(command: &str) -> serde_json::Value {
        json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1", "command": command,
            "args": ["token"], "env": [{ "name": "WHO", "value": "me" }],
            "interactiveMode": "IfAvailable", "provideClusterInfo": true } })
    }

    #[tokio::test]
    async fn a_plugin_is_found_where_the_login_shell_has_it_and_runs_once() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let shell = dir.path().join("shell");
        // What a profile does: print a greeting, start an agent that keeps the output
        // open longer than anybody waits, and put a folder on the PATH.
        script(
            &shell,
            &format!(
                "echo hello; sleep 8 & PATH={}:/usr/bin:/bin\n[ \"$1\" = -lic ] && eval \"$2\"",
                bin.display()
            ),
        );
        let log = dir.path().join("runs");
        let answer = json!({ "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential", "status": { "token": TOKEN } });
        script(
            &bin.join("demo-login"),
            &format!(
                "echo \"$WHO $1 $PATH $KUBERNETES_EXEC_INFO\" >> {}\necho '{answer}'",
                log.display()
            ),
        );
        let rig = Rig::with(Tls::Good, |options| options.login_shell = LoginShell::At(shell)).await;
        rig.server.accept_token(TOKEN);
        rig.server.write_kubeconfig(&user("demo-login")).unwrap();
        let _backend = served(&rig).await;
        for _ in 0..3 {
            let session = rig.opened(&service("orders", 80)).await;
            assert_eq!(greeting(&session).await, "orders");
        }
        let runs = std::fs::read_to_string(&log).unwrap();
        assert_eq!(runs.lines().count(), 1, "{runs}");
        assert!(runs.starts_with(&format!("me token {}", bin.display())), "{runs}");
        assert!(runs.contains("\"interactive\":false") && runs.contains("\"server\":"), "{runs}");
    }

    #[tokio::test]
    async fn an_expired_credential_is_replaced_before_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let plugin = dir.path().join("login");
        let log = dir.path().join("runs");
        let answer =
            json!({ "status": { "token": TOKEN, "expirationTimestamp": "2020-01-01T00:00:00Z" } });
        script(&plugin, &format!("echo run >> {}\necho '{answer}'", log.display()));
        let rig = Rig::new().await;
        rig.server.write_kubeconfig(&user(plugin.to_str().unwrap())).unwrap();
        let _backend = served(&rig).await;
        let session = rig.opened(&service("orders", 80)).await;
        let before = std::fs::read_to_string(&log).unwrap().lines().count();
        assert_eq!(greeting(&session).await, "orders");
        assert!(std::fs::read_to_string(&log).unwrap().lines().count() > before);
        assert!(rig.server.requests().iter().all(|seen| seen.token.as_deref() == Some(TOKEN)));
    }

    #[tokio::test]
    async fn a_plugin_that_is_missing_fails_or_hangs_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let failing = dir.path().join("failing");
        script(
            &failing,
            "echo 'warming up' >&2; echo 'session expired, run: demo login' >&2; exit 3",
        );
        let silent = dir.path().join("useless");
        script(&silent, "echo nothing");
        let hanging = dir.path().join("hanging");
        let pid = dir.path().join("pid");
        script(
            &hanging,
            &format!(
                "echo 'open https://login' >&2; sleep 1000 & echo $! > {}; wait",
                pid.display()
            ),
        );
        let table = [
            ("no-such-plugin".to_owned(), "`no-such-plugin` of this context was not found"),
            (failing.display().to_string(), "session expired, run: demo login"),
            (silent.display().to_string(), "no ExecCredential"),
            (
                hanging.display().to_string(),
                "did not end within 1 s, and said last: open https://login",
            ),
        ];
        for (command, words) in table {
            let limit = Duration::from_secs(1);
            let rig = Rig::with(Tls::Good, |options| options.plugin_limit = limit).await;
            rig.server.write_kubeconfig(&user(&command)).unwrap();
            let problem = rig.problem(&service("orders", 80)).await;
            assert_says(&problem, Code::KubeLoginPlugin, &[words, &command]);
            assert!(rig.leases(localport_engine::registry::LeaseKind::Child).is_empty());
        }
        // Its whole group went with it.
        let child = std::fs::read_to_string(pid).unwrap();
        let cmdline = format!("/proc/{}/cmdline", child.trim());
        crate::rig::until("the end of the plugin's own child", || {
            std::fs::read(&cmdline).map_or(true, |text| text.is_empty())
        })
        .await;
    }
}
