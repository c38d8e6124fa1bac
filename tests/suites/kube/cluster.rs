//! A cluster as a whole, through a whole engine: away, back, its nodes, its warnings, what
//! may not be seen, and log-ins.

use crate::rig::{options, service, until, within};
use localport_core::command::{Command, Refusal};
use localport_core::config::{ClusterHealth, Config, ForwardSpec, RestartPolicy};
use localport_core::event::Kind;
use localport_core::problem::Code;
use localport_core::snapshot::{CauseKind, Context, ForwardState, Nodes, Reach, Snapshot};
use localport_engine::adapter::ssh::SshOptions;
use localport_engine::registry::LeaseKind;
use localport_tests::apiserver::{ApiServer, Backend, CONTEXT, PodSpec};
use localport_tests::engine::{Engine, echo, forward};
use localport_tests::ports::free_ports;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;

/// A cluster with one service, and an engine with `count` forwards to it.
struct Scene {
    server: ApiServer,
    engine: Engine,
    count: usize,
    _backend: Backend,
}

impl Scene {
    async fn new(count: usize) -> Self {
        Self::with(count, |_| {}, |_| {}).await
    }

    async fn with(
        count: usize,
        plant: impl FnOnce(&ApiServer),
        edit: impl FnOnce(&mut Config),
    ) -> Self {
        let server = ApiServer::start().await.unwrap();
        let handle = |mut socket: TcpStream| async move {
            let (mut read, mut write) = socket.split();
            tokio::io::copy(&mut read, &mut write).await.map(drop)
        };
        let backend = Backend::serve(handle).await.unwrap();
        let pod = PodSpec::new("shop", "orders-0").label("app", "orders");
        server.add_pod(pod.port("http", 8080, &backend));
        server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
        plant(&server);
        let mut config = Config { forwards: forwards(count), ..Config::default() };
        edit(&mut config);
        let mut kube = options(server.kubeconfig());
        kube.plugin_limit = Duration::from_secs(2);
        let engine = Engine::configured(config, SshOptions::default(), kube);
        Self { server, engine, count, _backend: backend }
    }

    /// Waits until the context is as `is` says.
    async fn context(&self, what: &str, is: impl Fn(&Context) -> bool) -> Context {
        let snapshot = self.engine.until(what, |s| context(s).is_some_and(&is)).await;
        context(&snapshot).unwrap().clone()
    }

    async fn all_serving(&self) {
        let serving =
            |s: &Snapshot| s.forwards.iter().filter(|f| f.word(s.at) == "serving").count();
        self.engine.until("all serving", |s| serving(s) == self.count).await;
    }

    fn turns(&self) -> Vec<(Reach, Reach)> {
        let events = self.engine.handle.history();
        let turn = |kind: &Kind| match kind {
            Kind::Reach { from, to, .. } => Some((*from, *to)),
            _ => None,
        };
        events.iter().filter_map(|event| turn(&event.kind)).collect()
    }
}

fn forwards(count: usize) -> Vec<ForwardSpec> {
    let ports = free_ports(count).into_iter();
    ports.map(|port| forward(&format!("orders-{port}"), port, service("orders", 80))).collect()
}

fn context(snapshot: &Snapshot) -> Option<&Context> {
    snapshot.contexts.iter().find(|context| context.name == CONTEXT)
}

fn node(ready: bool) -> Value {
    let status = if ready { "True" } else { "Unknown" };
    json!({ "kind": "Node", "apiVersion": "v1",
        "status": { "conditions": [{ "type": "Ready", "status": status }] } })
}

fn event(kind: &str, object: &str, count: u32) -> Value {
    json!({ "kind": "Event", "apiVersion": "v1", "type": kind, "reason": "BackOff",
        "message": "Back-off restarting failed container", "count": count,
        "involvedObject": { "kind": "Pod", "name": object, "namespace": "shop" } })
}

/// S4.5, S5.5: a cluster with forty forwards goes away: one root, forty dependants, told
/// once; no restart attempt is spent; it comes back and everything serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_5_an_outage_of_a_cluster_is_one_root_with_forty_dependants() {
    let scene = Scene::with(
        40,
        |_| {},
        |config| {
            for forward in &mut config.forwards {
                let policy = RestartPolicy { max_attempts: Some(2), ..RestartPolicy::PATIENT };
                forward.restart_policy = Some(policy);
            }
        },
    )
    .await;
    scene.all_serving().await;
    let well = scene.context("reachable", |c| c.reach == Reach::Reachable).await;
    assert_eq!((well.forwards, well.up, well.roots), (40, 40, vec![]));
    scene.context("asked by the monitor", |c| c.latency_ms.is_some() && c.checked.is_some()).await;
    scene.server.stop().await;
    let away = scene
        .context("forty waiting for one root", |c| {
            c.reach == Reach::Unreachable && c.roots.iter().any(|root| root.forwards.len() == 40)
        })
        .await;
    assert_eq!(away.roots.len(), 1, "{:?}", away.roots);
    assert_eq!((away.roots[0].kind, away.roots[0].name.as_str()), (CauseKind::Cluster, CONTEXT));
    assert_eq!(away.problem.as_ref().unwrap().code, Code::KubeUnreachable);
    assert!(away.since >= well.since && away.latency_ms.is_none());
    let snapshot = scene.engine.handle.snapshot().borrow().clone();
    let because = snapshot.forwards.iter().filter_map(|forward| forward.because.as_ref());
    assert_eq!(because.filter(|cause| cause.name == CONTEXT).count(), 40);
    // Long enough for each to have used its two attempts up.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let snapshot = scene.engine.handle.snapshot().borrow().clone();
    let failed: Vec<_> =
        snapshot.forwards.iter().filter(|f| f.state == ForwardState::Failed).collect();
    assert!(failed.is_empty(), "an outage spent restart attempts: {failed:#?}");
    scene.server.resume().await.unwrap();
    scene.all_serving().await;
    let back = scene.context("reachable again", |c| c.reach == Reach::Reachable).await;
    assert!(back.roots.is_empty() && back.since > away.since && back.problem.is_none());
    let flips = [
        (Reach::Unknown, Reach::Reachable),
        (Reach::Reachable, Reach::Unreachable),
        (Reach::Unreachable, Reach::Reachable),
    ];
    assert_eq!(scene.turns(), flips, "each turn is told once");
    scene.engine.stop().await;
}

/// S5.4: nodes are watched, not polled; one that is not ready is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_4_nodes_are_watched_and_the_one_that_is_not_ready_is_named() {
    let scene = Scene::with(
        1,
        |server| {
            server.put("nodes", "", "node-1", node(true));
            server.put("nodes", "", "node-2", node(false));
        },
        |_| {},
    )
    .await;
    let nodes = |ready, not_ready: &[&str]| {
        let not_ready = not_ready.iter().map(|name| (*name).to_owned()).collect();
        Some(Nodes { ready, total: 2, not_ready })
    };
    let one = nodes(1, &["node-2"]);
    scene.context("one of two ready", |c| c.nodes == one).await;
    scene.server.put("nodes", "", "node-2", node(true));
    scene.context("both ready", |c| c.nodes == nodes(2, &[])).await;
    scene.server.remove("nodes", "", "node-1");
    scene.context("one is gone", |c| c.nodes.as_ref().is_some_and(|n| n.total == 1)).await;
    assert_eq!(scene.server.count("list", "nodes"), 1, "one list, then a watch");
    scene.engine.stop().await;
}

/// S5.4: a warning in a namespace in use is seen, counted and near the forwards of its pod;
/// what is no warning, long ago or
/// elsewhere is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_4_warnings_near_the_targets_are_seen() {
    let scene = Scene::with(
        1,
        |server| {
            server.put("events", "shop", "orders-0.1", event("Warning", "orders-0", 3));
            server.put("events", "shop", "orders-0.2", event("Normal", "orders-0", 1));
            server.put("events", "attic", "mouse.1", event("Warning", "mouse", 1));
            let mut old = event("Warning", "orders-0", 9);
            old["lastTimestamp"] = json!("2020-01-01T00:00:00Z");
            server.put("events", "shop", "orders-0.0", old);
        },
        |_| {},
    )
    .await;
    scene.all_serving().await;
    scene.context("one warning", |c| c.warnings == 1).await;
    scene.server.put("events", "shop", "orders-0.1", event("Warning", "orders-0", 4));
    scene.server.put("events", "shop", "cart-0.1", event("Warning", "cart-0", 1));
    scene.context("two warnings", |c| c.warnings == 2).await;
    let events = scene.engine.handle.cluster_events(CONTEXT);
    let name = scene.engine.handle.snapshot().borrow().forwards[0].name.clone();
    let near = events.iter().find(|event| event.object == "Pod/orders-0").unwrap();
    assert_eq!((near.count, near.reason.as_str()), (4, "BackOff"));
    assert_eq!(near.forwards, [name]);
    let far = events.iter().find(|event| event.object == "Pod/cart-0").unwrap();
    assert_eq!(far.forwards, Vec::<String>::new());
    scene.engine.stop().await;
}

/// S5.4: who may see little learns what cannot be seen, and everything else works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_4_what_may_not_be_seen_is_said_and_nothing_breaks() {
    let scene = Scene::with(
        1,
        |server| {
            server.forbid("list", "nodes");
            server.forbid("list", "events");
            server.forbid("get", "/readyz");
            server.forbid("get", "/version");
        },
        |_| {},
    )
    .await;
    scene.all_serving().await;
    let seen = scene
        .context("two things unseen", |c| c.unseen.len() == 2 && c.reach == Reach::Reachable)
        .await;
    assert_eq!(seen.nodes, None);
    assert!(seen.problem.is_none() && seen.roots.is_empty());
    for what in ["`list` on `nodes`", "`list` on `events`"] {
        assert!(seen.unseen.iter().any(|said| said.contains(what)), "{:?}", seen.unseen);
    }
    scene.engine.stop().await;
}

/// S5.4: a pause and a sleep silence the monitor, and what it knew is marked; the end of
/// either asks anew. Its watches are leases, gone while it is silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_4_the_monitor_is_silent_while_paused_and_asleep() {
    let scene = Scene::new(1).await;
    scene.all_serving().await;
    let watches = || {
        let leases = scene.engine.handle.resources();
        leases.iter().filter(|l| l.kind == LeaseKind::Watch && l.owner == "monitor").count()
    };
    scene.context("asked", |c| c.latency_ms.is_some()).await;
    until("nodes and warnings watched", || watches() == 2).await;
    let handle = scene.engine.handle.clone();
    handle.pause_probes();
    let paused = scene.context("marked as cached", |c| c.cached).await;
    assert_eq!(paused.reach, Reach::Reachable, "what is known stays");
    until("no watch", || watches() == 0).await;
    let asked = scene.server.count("get", "/readyz");
    handle.resume_probes();
    scene.context("asked anew", |c| !c.cached).await;
    assert!(scene.server.count("get", "/readyz") > asked);
    until("watched again", || watches() == 2).await;
    handle.suspend(Duration::from_secs(4)).await;
    scene.context("marked in the sleep", |c| c.cached).await;
    until("no watch in the sleep", || watches() == 0).await;
    handle.wake(None);
    scene.context("asked after the wake", |c| !c.cached).await;
    scene.engine.stop().await;
}

#[cfg(unix)]
mod logins {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    /// A login plugin in a directory of its own: it gives the token in `token`, and counts
    /// its runs.
    struct Plugin {
        dir: tempfile::TempDir,
    }

    impl Plugin {
        /// With `before` at the head of its script.
        fn new(before: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name).display().to_string();
            let body = format!(
                "echo run >> {runs}\n{before}\nprintf '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{{\"token\":\"%s\"}}}}' \"$(cat {token})\"",
                runs = at("runs"),
                token = at("token"),
            );
            script(&dir.path().join("plugin"), &body);
            Self { dir }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn text(&self, name: &str) -> String {
            self.path(name).display().to_string()
        }

        fn gives(&self, token: &str) {
            fs::write(self.path("token"), token).unwrap();
        }

        fn runs(&self) -> usize {
            fs::read_to_string(self.path("runs")).unwrap_or_default().lines().count()
        }

        /// The kubeconfig's user.
        fn user(&self) -> Value {
            json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1",
                "command": self.text("plugin"), "interactiveMode": "Never" } })
        }
    }

    fn script(path: &Path, body: &str) {
        fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn login_needed(context: &Context) -> bool {
        context.reach == Reach::LoginNeeded
            && context.login.as_ref().is_some_and(|login| login.command.is_some())
            && context.roots.iter().any(|root| root.forwards.len() == 3)
    }

    /// S5.8: credentials that the server withdrew are a log-in that is needed, not a failure
    /// for ever; the configured command logs in, and everything that waited serves again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn s5_8_refused_credentials_need_a_log_in_that_reconnects_everything() {
        let plugin = Plugin::new("");
        plugin.gives("old");
        script(&plugin.path("login"), &format!("printf new > {}", plugin.text("token")));
        let scene = Scene::with(
            3,
            |server| {
                server.accept_token("old");
                server.write_kubeconfig(&plugin.user()).unwrap();
            },
            |config| {
                let login_command = vec![plugin.text("login")];
                let own = ClusterHealth { login_command, ..ClusterHealth::default() };
                config.cluster_contexts.insert(CONTEXT.to_owned(), own);
            },
        )
        .await;
        scene.all_serving().await;
        scene.server.accept_token("new");
        scene.server.drop_connections().await.unwrap();
        let seen = scene.context("a log-in needed", login_needed).await;
        assert_eq!(seen.roots[0].kind, CauseKind::Cluster);
        let asked = seen.login.unwrap();
        assert!(asked.what.contains("401"), "{}", asked.what);
        assert_eq!(asked.command, Some(plugin.text("login")));
        let login = scene.engine.handle.command(Command::Login(CONTEXT.to_owned()));
        let done = within(login).await.unwrap();
        assert_eq!(done.forwards.len(), 3);
        assert!(done.message.unwrap().contains("logged in to `double`"));
        scene.all_serving().await;
        let back = scene.context("let in", |c| c.reach == Reach::Reachable).await;
        assert!(back.login.is_none() && back.roots.is_empty());
        let port = scene.engine.handle.snapshot().borrow().forwards[0].local.clone();
        let port = port.rsplit_once(':').unwrap().1.parse().unwrap();
        assert_eq!(within(echo(port, b"hello")).await.unwrap(), b"hello");
        scene.engine.stop().await;
    }

    /// S5.8: a plugin that waits for a person is run once and not again, however many
    /// forwards retry; the person's log-in runs it again, with ample time.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn s5_8_a_plugin_that_prompts_is_run_once_until_a_person_asks() {
        let probe = tempfile::tempdir().unwrap();
        let allowed = probe.path().join("allowed");
        let wait = format!("while [ ! -e {} ]; do sleep 0.1; done", allowed.display());
        let plugin = Plugin::new(&wait);
        plugin.gives("new");
        let scene = Scene::with(
            3,
            |server| {
                server.accept_token("new");
                server.write_kubeconfig(&plugin.user()).unwrap();
            },
            |_| {},
        )
        .await;
        let seen = scene.context("a log-in needed", login_needed).await;
        let login = seen.login.unwrap();
        assert_eq!(login.command, Some(plugin.text("plugin")));
        assert!(login.what.contains("did not end within"), "{}", login.what);
        assert_eq!(plugin.runs(), 1);
        // What has everything tried again by itself opens no further browser.
        scene.engine.handle.network_changed();
        scene.engine.handle.wake(None);
        scene.context("asked after the wake", |c| c.reach == Reach::LoginNeeded).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(plugin.runs(), 1, "nobody asked for a log-in");
        let handle = scene.engine.handle.clone();
        let logging_in =
            tokio::spawn(async move { handle.command(Command::Login(CONTEXT.to_owned())).await });
        scene.context("a log-in under way", |c| c.login.as_ref().is_some_and(|l| l.running)).await;
        let twice = scene.engine.handle.command(Command::Login(CONTEXT.to_owned())).await;
        assert!(matches!(twice, Err(Refusal::NotNow { .. })), "{twice:?}");
        // The person takes longer than a plugin may that nobody asked for.
        tokio::time::sleep(Duration::from_secs(3)).await;
        fs::write(&allowed, "").unwrap();
        let done = within(logging_in).await.unwrap().unwrap();
        assert!(done.message.unwrap().contains("logged in"), "{:?}", done.forwards);
        scene.all_serving().await;
        assert_eq!(plugin.runs(), 2);
        scene.engine.stop().await;
    }

    /// S5.8: a log-in command that fails says its own words, and nothing changes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn s5_8_a_log_in_that_fails_says_why() {
        let plugin = Plugin::new("echo 'session expired' >&2; exit 1");
        plugin.gives("never");
        script(&plugin.path("login"), "echo 'no such tenant' >&2; exit 3");
        let scene = Scene::with(
            3,
            |server| server.write_kubeconfig(&plugin.user()).unwrap(),
            |config| {
                let login_command = vec![plugin.text("login")];
                let own = ClusterHealth { login_command, ..ClusterHealth::default() };
                config.cluster_contexts.insert(CONTEXT.to_owned(), own);
            },
        )
        .await;
        let seen = scene.context("a log-in needed", login_needed).await;
        assert!(seen.login.unwrap().what.contains("session expired"));
        let runs = plugin.runs();
        let login = scene.engine.handle.command(Command::Login(CONTEXT.to_owned()));
        let Err(Refusal::NotNow { sentence }) = within(login).await else {
            panic!("the log-in did not fail")
        };
        assert!(sentence.contains("no such tenant"), "{sentence}");
        assert_eq!(plugin.runs(), runs, "a failed command is not followed by the plugin");
        let none = scene.engine.handle.command(Command::Login("nowhere".to_owned())).await;
        assert!(matches!(none, Err(Refusal::UnknownContext { .. })), "{none:?}");
        scene.engine.stop().await;
    }
}
