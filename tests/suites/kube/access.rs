//! Who makes a new client, when, and how often; and what goes on meanwhile.

use crate::rig::{Rig, greeting, line, pod, until, within};
use futures_util::future::join_all;
use localport_core::config::Target;
use localport_core::problem::Code;
use localport_engine::adapter::Adapter;
use localport_tests::apiserver::{Backend, CONTEXT, PodSpec, TOKEN, Tls};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};

async fn furnished(rig: &Rig) -> (Backend, Target) {
    let backend = Backend::start("p").await.unwrap();
    rig.server.add_pod(PodSpec::new("shop", "p").port("http", 8080, &backend));
    (backend, pod("p", 8080))
}

/// A login plugin that answers with what lies in `answer`, after as many seconds as lie in
/// `pause`, and notes each run.
struct Plugin {
    dir: TempDir,
}

impl Plugin {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let (runs, pause, answer) = (at("runs"), at("pause"), at("answer"));
        let text = format!("#!/bin/sh\necho run >> {runs}\nsleep $(cat {pause})\ncat {answer}\n");
        fs::write(dir.path().join("login"), text).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir.path().join("login"), mode).unwrap();
        let plugin = Self { dir };
        plugin.takes(0);
        plugin
    }

    fn takes(&self, seconds: u32) {
        fs::write(self.at("pause"), seconds.to_string()).unwrap();
    }

    fn gives(&self, status: &Value) {
        fs::write(self.at("answer"), json!({ "status": status }).to_string()).unwrap();
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.at("runs")).map_or(0, |runs| runs.lines().count())
    }

    fn user(&self) -> Value {
        json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1",
            "command": self.at("login"), "interactiveMode": "Never" } })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// S7.4: many that are refused at the same time wait for one login; each is then served,
/// and connections that are open do not notice.
#[tokio::test]
async fn s7_4_refused_credentials_are_replaced_by_one_login_for_all() {
    let rig = Rig::new().await;
    let plugin = Plugin::new();
    plugin.gives(&json!({ "token": "one" }));
    rig.server.accept_token("one");
    rig.server.write_kubeconfig(&plugin.user()).unwrap();
    let (_backend, target) = furnished(&rig).await;
    let session = rig.opened(&target).await;
    let mut open = within(session.connect()).await.unwrap();
    assert_eq!(line(&mut open).await, "p");
    assert_eq!(plugin.runs(), 1);

    plugin.gives(&json!({ "token": "two" }));
    plugin.takes(1);
    rig.server.accept_token("two");
    let pings = join_all((0..8).map(|_| within(session.ping()))).await;
    assert!(pings.iter().all(Result::is_ok), "{pings:?}");
    assert_eq!(plugin.runs(), 2, "one login for eight");

    open.stream.write_all(b"still here\n").await.unwrap();
    assert_eq!(line(&mut open).await, "still here");
    assert_eq!(greeting(&session).await, "p");
    assert_eq!(session.route().path, "spdy-ws");
}

fn in_seconds(seconds: u64) -> String {
    let at = SystemTime::now() + Duration::from_secs(seconds);
    let at = time::OffsetDateTime::from(at);
    at.format(&time::format_description::well_known::Rfc3339).unwrap()
}

/// S7.4: credentials are replaced while the old ones still hold, and nobody waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_4_credentials_that_end_soon_are_replaced_meanwhile() {
    let rig = Rig::new().await;
    let plugin = Plugin::new();
    // Due in its last quarter, from 9 s on.
    plugin.gives(&json!({ "token": "one", "expirationTimestamp": in_seconds(12) }));
    rig.server.write_kubeconfig(&plugin.user()).unwrap();
    let (_backend, target) = furnished(&rig).await;
    let session = rig.opened(&target).await;
    plugin.gives(&json!({ "token": "two", "expirationTimestamp": in_seconds(3_600) }));
    plugin.takes(2);
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    let token = || rig.server.requests().last().and_then(|seen| seen.token.clone());
    while token().as_deref() != Some("two") {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} runs", plugin.runs());
        let took = within(session.ping()).await.unwrap();
        longest = longest.max(took);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(plugin.runs(), 2);
    assert!(longest < Duration::from_secs(2), "somebody waited {longest:?} for the login");
    assert!(begun.elapsed() > Duration::from_secs(7), "replaced too early");
}

/// S7.4: a token that says its own end is replaced at that end.
#[tokio::test]
async fn s7_4_a_web_token_without_a_timestamp_is_replaced_when_it_ends() {
    let rig = Rig::new().await;
    let plugin = Plugin::new();
    let claims = json!({ "exp": 1_600_000_000 }).to_string();
    let claims = localport_tests::proxy::base64(claims.as_bytes());
    let token = format!("e30.{}.c2ln", claims.trim_end_matches('='));
    plugin.gives(&json!({ "token": token }));
    rig.server.write_kubeconfig(&plugin.user()).unwrap();
    let (_backend, target) = furnished(&rig).await;
    let session = rig.opened(&target).await;
    let before = plugin.runs();
    within(session.ping()).await.unwrap();
    assert!(plugin.runs() > before);
}

/// S7.4: a login that writes one of several kubeconfig files, in place or by a new file,
/// is noticed at once by those who wait for it, and the attempt after it succeeds.
#[tokio::test]
async fn s7_4_a_new_login_is_noticed_in_every_file_and_however_it_is_written() {
    for renamed in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let users = dir.path().join("users");
        let rig = Rig::with(Tls::Good, |options| {
            if let Some(files) = &mut options.kubeconfig {
                files.insert(0, users.clone());
            }
        })
        .await;
        // The first file wins.
        let write = |token: &str| {
            let text = json!({ "users": [{ "name": CONTEXT, "user": { "token": token } }] });
            if renamed {
                let fresh = dir.path().join(".users.swp");
                fs::write(&fresh, text.to_string()).unwrap();
                fs::rename(fresh, &users).unwrap();
            } else {
                fs::write(&users, text.to_string()).unwrap();
            }
        };
        write("expired");
        rig.server.accept_token(TOKEN);
        let (_backend, target) = furnished(&rig).await;
        let problem = rig.problem(&target).await;
        assert_eq!(problem.code, Code::KubeUnauthorized);
        let mut mended = rig.adapter.mended(&target, &problem);
        assert!(timeout(Duration::from_millis(500), &mut mended).await.is_err(), "nothing changed");
        write(TOKEN);
        within(mended).await;
        assert_eq!(greeting(&rig.opened(&target).await).await, "p");
    }
}

/// S7.4: a session that lost its credentials recovers with the file, without an attempt.
#[tokio::test]
async fn s7_4_a_live_session_recovers_with_the_kubeconfig() {
    let rig = Rig::with(Tls::Good, |options| options.watch_limit = Duration::from_secs(1)).await;
    let (_backend, target) = furnished(&rig).await;
    let session = rig.opened(&target).await;
    rig.server.accept_token("new");
    let problem = within(session.ping()).await.unwrap_err();
    assert_eq!(problem.code, Code::KubeUnauthorized);
    let watches = rig.server.count("watch", "pods");
    rig.server.write_kubeconfig(&json!({ "token": "new" })).unwrap();
    until("a watch with the new token", || rig.server.count("watch", "pods") > watches).await;
    within(session.ping()).await.unwrap();
    assert_eq!(greeting(&session).await, "p");
}

/// S7.4: what other contexts or the choice of the current one change runs no login.
#[tokio::test]
async fn s7_4_a_change_of_another_context_runs_no_login() {
    let rig = Rig::new().await;
    let plugin = Plugin::new();
    plugin.gives(&json!({ "token": TOKEN }));
    rig.server.write_kubeconfig(&plugin.user()).unwrap();
    let (_backend, target) = furnished(&rig).await;
    let session = rig.opened(&target).await;
    let file = rig.server.kubeconfig();
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["current-context"] = json!("other");
    config["contexts"].as_array_mut().unwrap().push(json!({ "name": "other",
        "context": { "cluster": CONTEXT, "user": "nobody" } }));
    fs::write(&file, config.to_string()).unwrap();
    within(session.ping()).await.unwrap();
    assert_eq!(plugin.runs(), 1);
    // What concerns it does.
    config["contexts"][0]["context"]["namespace"] = json!("elsewhere");
    fs::write(&file, config.to_string()).unwrap();
    within(session.ping()).await.unwrap();
    assert_eq!(plugin.runs(), 2);
}

/// S7.4: a wake makes new connections of the same credentials.
#[tokio::test]
async fn s7_4_a_wake_takes_new_connections_and_no_new_login() {
    let rig = Rig::new().await;
    let plugin = Plugin::new();
    plugin.gives(&json!({ "token": TOKEN }));
    rig.server.write_kubeconfig(&plugin.user()).unwrap();
    let (_backend, target) = furnished(&rig).await;
    let session = rig.opened(&target).await;
    within(session.ping()).await.unwrap();
    let before = rig.server.connections();
    within(session.ping()).await.unwrap();
    assert_eq!(rig.server.connections(), before, "a connection is kept");
    within(rig.adapter.doubt()).await;
    within(session.ping()).await.unwrap();
    assert!(rig.server.connections() > before);
    assert_eq!(plugin.runs(), 1);
}
