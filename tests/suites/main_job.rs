//! The main job with real parts: a whole engine, real far sides, and their loss.

use localport_core::command::{Command, Selector};
use localport_core::config::{KubeResource, KubeTarget, PortRef, Target};
use localport_core::problem::Code;
use localport_core::snapshot::{ForwardState, ListenerState, TargetState, TunnelState};
use localport_engine::adapter::kube::{LoginShell, Options as KubeOptions};
use localport_engine::adapter::ssh::SshOptions;
use localport_tests::apiserver::{ApiServer, Backend, PodSpec};
use localport_tests::engine::{Engine, echo, forward};
use localport_tests::ports::free_port;
use localport_tests::servers::{RefusingPort, Server};
use localport_tests::sshd::{Sshd, parents, signal};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

fn options(sshd: &Sshd) -> SshOptions {
    SshOptions { extra_args: sshd.client_args(), ..SshOptions::default() }
}

fn over_ssh(sshd: &Sshd, forwards: Vec<localport_core::config::ForwardSpec>) -> Engine {
    Engine::start(forwards, options(sshd), KubeOptions::default())
}

/// Children of this process that are `ssh`.
fn masters() -> Vec<u32> {
    let me = std::process::id();
    parents()
        .into_iter()
        .filter(|(_, parent)| *parent == me)
        .map(|(pid, _)| pid)
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "ssh\n")
        })
        .collect()
}

/// A real sshd, an echo server behind it, and an engine that forwards to it as `echo`.
async fn echo_over_ssh() -> (Sshd, Server, u16, Engine) {
    let sshd = Sshd::start();
    let server = Server::echo().await;
    let port = free_port();
    let target = Target::Ssh(sshd.target("127.0.0.1", server.port()));
    let engine = over_ssh(&sshd, vec![forward("echo", port, target)]);
    engine.serving("echo").await;
    (sshd, server, port, engine)
}

/// Connects twenty times a second until `until`, each client sending its own text and
/// expecting it back; gives how many were served and what went wrong with the others.
/// Who holds `gate` alone holds a moment in which no client is in flight: what is in
/// flight on a session that dies is reset, as on any network.
async fn connect_in_a_loop(
    port: u16,
    until: Instant,
    gate: Arc<RwLock<()>>,
) -> (usize, Vec<String>) {
    let mut clients = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(50));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut number = 0u32;
    while Instant::now() < until {
        ticks.tick().await;
        number += 1;
        let text = format!("client {number:>6}").into_bytes();
        let gate = gate.clone();
        clients.spawn(async move {
            let _in_flight = gate.read().await;
            let reply = timeout(Duration::from_secs(40), echo(port, &text)).await;
            match reply {
                Ok(Ok(reply)) if reply == text => Ok(()),
                Ok(Ok(_)) => Err("got another client's bytes".to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("not served in time".to_owned()),
            }
        });
    }
    let results = clients.join_all().await;
    let served = results.iter().filter(|result| result.is_ok()).count();
    (served, results.into_iter().filter_map(Result::err).collect())
}

/// G1: twenty connects a second while the SSH server is gone for ten seconds: none is
/// refused, every client is served.
#[tokio::test(flavor = "multi_thread")]
async fn g1_no_client_is_refused_while_the_ssh_server_is_away() {
    let (sshd, _server, port, engine) = echo_over_ssh().await;
    let (begun, gate) = (Instant::now(), Arc::new(RwLock::new(())));
    let end = begun + Duration::from_secs(14);
    let clients = tokio::spawn(connect_in_a_loop(port, end, gate.clone()));
    tokio::time::sleep_until(begun + Duration::from_millis(1_500)).await;
    let quiet = gate.write().await;
    let stopping = tokio::task::spawn_blocking(move || {
        let mut sshd = sshd;
        sshd.stop();
        sshd
    });
    let mut sshd = stopping.await.unwrap();
    drop(quiet);
    engine.until_forward("echo", "away", |f, _| f.tunnel.state != TunnelState::Up).await;
    tokio::time::sleep_until(begun + Duration::from_millis(11_500)).await;
    sshd.run();
    let (served, wrong) = clients.await.unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(served >= 260, "only {served} clients came to be served");
    engine.serving("echo").await;
    let total = engine.handle.fresh().await.forwards[0].connections.total;
    assert_eq!(total, u64::try_from(served).unwrap());
    engine.stop().await;
}

/// Killing the `ssh` process is noticed at once; the listener never closes.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_ssh_process_is_replaced_behind_the_same_listener() {
    let (_sshd, _server, port, engine) = echo_over_ssh().await;
    let before = masters();
    assert_eq!(before.len(), 1);
    let mut events = engine.handle.events();
    signal(before[0], Signal::KILL);
    engine.until_forward("echo", "a lost session", |f, _| f.tunnel.state != TunnelState::Up).await;
    assert_eq!(echo(port, b"held meanwhile").await.unwrap(), b"held meanwhile");
    engine.serving("echo").await;
    assert_ne!(masters(), before);
    while let Ok(event) = events.try_recv() {
        let line = event.kind.line();
        assert!(!line.starts_with("listening"), "the listener was bound anew: {line}");
    }
    engine.stop().await;
}

/// G3: a frozen server is noticed within 15 s, never shown as serving for longer than
/// that, and served again once it answers; a client of meanwhile is held.
#[tokio::test(flavor = "multi_thread")]
async fn g3_a_frozen_server_is_noticed_and_comes_back() {
    let (sshd, _server, port, engine) = echo_over_ssh().await;
    sshd.freeze();
    let noticed = engine.until_forward("echo", "notice", |f, _| f.tunnel.state != TunnelState::Up);
    timeout(Duration::from_secs(15), noticed).await.expect("not noticed within 15 s");
    let client = tokio::spawn(async move { echo(port, b"held").await });
    engine.until_forward("echo", "a held client", |f, _| f.connections.held == 1).await;
    sshd.thaw();
    assert_eq!(client.await.unwrap().unwrap(), b"held");
    let forward = engine.serving("echo").await;
    assert_eq!(forward.listener.state, ListenerState::Listening);
    engine.stop().await;
}

/// A target that refuses is a problem of its own, and its return is noticed.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_target_is_named_and_its_return_noticed() {
    let sshd = Sshd::start();
    let refusing = RefusingPort::take();
    let port = free_port();
    let target = Target::Ssh(sshd.target("127.0.0.1", refusing.port()));
    let engine = over_ssh(&sshd, vec![forward("echo", port, target)]);
    let forward =
        engine.until_forward("echo", "degraded", |f, _| f.state == ForwardState::Degraded).await;
    let problem = forward.problem.unwrap();
    assert_eq!(problem.code, Code::TargetRefused);
    assert!(problem.sentence.contains(&refusing.port().to_string()), "{problem}");
    assert_eq!(forward.target_health.state, TargetState::Failing);
    assert_eq!(forward.tunnel.state, TunnelState::Up);
    let error = echo(port, b"x").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    refusing.listen();
    engine.serving("echo").await;
    engine.stop().await;
}

/// An unknown host key is a problem with its fingerprint; trusting it is all it takes.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_key_waits_for_trust() {
    let sshd = Sshd::start();
    sshd.forget_host_key();
    let server = Server::echo().await;
    let port = free_port();
    let target = Target::Ssh(sshd.target("127.0.0.1", server.port()));
    let engine = over_ssh(&sshd, vec![forward("echo", port, target)]);
    let forward =
        engine.until_forward("echo", "failed", |f, _| f.state == ForwardState::Failed).await;
    let problem = forward.problem.unwrap();
    assert_eq!(problem.code, Code::SshHostKeyUnknown);
    assert!(problem.sentence.contains(&sshd.fingerprint()), "{problem}");
    engine.handle.command(Command::TrustHostKey("echo".to_owned())).await.unwrap();
    engine.serving("echo").await;
    assert_eq!(echo(port, b"trusted").await.unwrap(), b"trusted");
    engine.stop().await;
}

/// S7.2, S7.3: five hundred forwards to one host share one `ssh` and leave none behind.
#[tokio::test(flavor = "multi_thread")]
async fn s7_2_forwards_to_one_host_share_one_master() {
    let sshd = Sshd::start();
    let server = Server::echo().await;
    let mut ports = BTreeSet::new();
    while ports.len() < 500 {
        ports.insert(free_port());
    }
    let forwards = ports
        .iter()
        .map(|port| {
            let target = Target::Ssh(sshd.target("127.0.0.1", server.port()));
            forward(&format!("echo-{port}"), *port, target)
        })
        .collect();
    let engine = over_ssh(&sshd, forwards);
    engine
        .until("all serving", |s| {
            s.forwards.len() == 500 && s.forwards.iter().all(|f| f.word(s.at) == "serving")
        })
        .await;
    assert_eq!(masters().len(), 1);
    assert_eq!(sshd.logins(), 1);
    for port in ports.iter().step_by(100) {
        assert_eq!(echo(*port, b"one of many").await.unwrap(), b"one of many");
    }
    engine.handle.command(Command::Stop(Selector::All)).await.unwrap();
    engine.until("all off", |s| s.forwards.iter().all(|f| f.state == ForwardState::Stopped)).await;
    engine.stop().await;
    assert!(masters().is_empty());
}

fn orders(port: u16) -> localport_core::config::ForwardSpec {
    forward(
        "orders",
        port,
        Target::Kube(KubeTarget {
            context: None,
            namespace: "shop".to_owned(),
            resource: KubeResource::Service("orders".to_owned()),
            port: PortRef::Name("db".to_owned()),
            via: None,
        }),
    )
}

fn pod(name: &str, backend: &Backend) -> PodSpec {
    PodSpec::new("shop", name).label("app", "orders").port("postgres", 5432, backend)
}

async fn echoing() -> Backend {
    let echo = |mut client: TcpStream| async move {
        let (mut from, mut to) = client.split();
        tokio::io::copy(&mut from, &mut to).await.map(drop)
    };
    Backend::serve(echo).await.unwrap()
}

async fn cluster() -> (ApiServer, KubeOptions) {
    let cluster = ApiServer::start().await.unwrap();
    cluster.add_service("shop", "orders", &[("app", "orders")], &[("db", 80, "postgres")]);
    let options = KubeOptions {
        kubeconfig: Some(vec![cluster.kubeconfig()]),
        login_shell: LoginShell::Never,
        ..KubeOptions::default()
    };
    (cluster, options)
}

/// G1, S7.4: twenty connects a second while the only pod is taken away and its successor
/// gets ready four seconds later: none is refused, every client is served.
#[tokio::test(flavor = "multi_thread")]
async fn g1_no_client_is_refused_while_a_pod_is_replaced() {
    let (cluster, options) = cluster().await;
    let (old, new) = (echoing().await, echoing().await);
    cluster.add_pod(pod("orders-old", &old));
    let port = free_port();
    let engine = Engine::start(vec![orders(port)], SshOptions::default(), options);
    let before = engine.serving("orders").await;
    assert_eq!(before.tunnel.path.as_deref(), Some("spdy-ws"));

    let (begun, gate) = (Instant::now(), Arc::new(RwLock::new(())));
    let end = begun + Duration::from_secs(8);
    let clients = tokio::spawn(connect_in_a_loop(port, end, gate.clone()));
    // As a rollout does it: no longer ready, terminating, gone.
    tokio::time::sleep_until(begun + Duration::from_millis(1_500)).await;
    let quiet = gate.write().await;
    cluster.terminate("shop", "orders-old");
    let waiting = engine.until_forward("orders", "no pod", |f, _| f.problem.is_some()).await;
    assert_eq!(waiting.problem.map(|problem| problem.code), Some(Code::KubeNoReadyPod));
    cluster.delete_pod("shop", "orders-old");
    drop(quiet);
    cluster.add_pod(pod("orders-new", &new).unready());
    tokio::time::sleep_until(begun + Duration::from_millis(5_500)).await;
    cluster.set_ready("shop", "orders-new", true);

    let (served, wrong) = clients.await.unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(served >= 140, "only {served} clients came to be served");
    let after = engine.serving("orders").await;
    assert!(after.tunnel.endpoint.is_some_and(|end| end.contains("orders-new")));
    engine.stop().await;
}

/// The API server goes away and comes back: held, served, and no listener closes.
#[tokio::test(flavor = "multi_thread")]
async fn g1_a_cluster_that_restarts_is_waited_for() {
    let (cluster, options) = cluster().await;
    let backend = echoing().await;
    cluster.add_pod(pod("orders-0", &backend));
    let port = free_port();
    let engine = Engine::start(vec![orders(port)], SshOptions::default(), options);
    engine.serving("orders").await;
    cluster.stop().await;
    let client = tokio::spawn(async move { echo(port, b"held").await });
    engine.until_forward("orders", "a held client", |f, _| f.connections.held == 1).await;
    cluster.resume().await.unwrap();
    assert_eq!(client.await.unwrap().unwrap(), b"held");
    let forward = engine.serving("orders").await;
    assert_eq!(forward.listener.state, ListenerState::Listening);
    engine.stop().await;
}
