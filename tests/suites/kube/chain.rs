//! A cluster behind an SSH host: a real `sshd` as the bastion, the double behind it.

use crate::rig::{named, options, target, until};
use localport_core::command::Command;
use localport_core::config::{ForwardSpec, KubeResource, SshHost, SshTarget, Target};
use localport_core::problem::Code;
use localport_core::snapshot::TunnelState;
use localport_engine::adapter::ssh::SshOptions;
use localport_engine::registry::LeaseKind;
use localport_tests::apiserver::{ApiServer, Backend, PodSpec};
use localport_tests::engine::{Engine, echo, forward};
use localport_tests::ports::free_port;
use localport_tests::sshd::Sshd;
use std::collections::HashSet;
use std::fs;
use tokio::net::TcpStream;

async fn echoing() -> Backend {
    let handle = |mut socket: TcpStream| async move {
        let (mut read, mut write) = socket.split();
        tokio::io::copy(&mut read, &mut write).await.map(drop)
    };
    Backend::serve(handle).await.unwrap()
}

fn bastion(sshd: &Sshd) -> SshHost {
    let SshTarget { host, user, port, key_file, password, .. } = sshd.target("", 0);
    SshHost { host, user, port, key_file, password }
}

fn through(via: SshHost, port: u16) -> ForwardSpec {
    let resource = KubeResource::Pod("orders-0".to_owned());
    let Target::Kube(mut kube) = target(resource, named("http")) else { unreachable!() };
    kube.via = Some(via);
    forward("orders", port, Target::Kube(kube))
}

/// Connections of this process to `port`, as the system tells: the far ends, not the
/// double's own.
fn own_connections_to(port: u16) -> usize {
    let mine: HashSet<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?.strip_prefix("socket:[")?.to_owned();
            Some(link.trim_end_matches(']').to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let far = format!(":{port:04X}");
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|columns| columns[2].ends_with(&far) && mine.contains(columns[9])).count()
}

/// S7.4: requests, watches and tunnels go through the bastion and no other way; its end is
/// said as what it is, and its return brings the forward back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_4_a_cluster_behind_a_bastion() {
    let mut sshd = Sshd::start();
    let server = ApiServer::start().await.unwrap();
    let backend = echoing().await;
    server.add_pod(PodSpec::new("shop", "orders-0").port("http", 8080, &backend));
    let (via, port) = (bastion(&sshd), free_port());
    let words = via.destination();
    let ssh = SshOptions { extra_args: sshd.client_args(), ..SshOptions::default() };
    let kube = options(server.kubeconfig());
    let engine = Engine::start(vec![through(via, port)], ssh, kube);

    let serving = engine.serving("orders").await;
    assert_eq!(serving.tunnel.path, Some(format!("spdy-ws via {words}")));
    assert_eq!(serving.tunnel.endpoint.as_deref(), Some("pod orders-0"));
    assert_eq!(echo(port, b"through").await.unwrap(), b"through");
    assert!(server.connections() > 0);
    assert_eq!(own_connections_to(server.address().port()), 0, "some went past the bastion");
    assert_eq!(sshd.logins(), 1, "one login for all of it");
    let leases = engine.handle.resources();
    let child = leases.iter().find(|lease| lease.kind == LeaseKind::Child).unwrap();
    let held = |name: &str| leases.iter().find(|lease| lease.name.contains(name)).cloned();
    let stream = held(&format!("{} via {words}", server.address())).unwrap();
    assert_eq!(stream.stands_on, [child.id], "{leases:?}");

    sshd.stop();
    let down = engine
        .until_forward("orders", "the bastion down", |f, _| {
            f.tunnel.state == TunnelState::Down
                && f.problem.as_ref().is_some_and(|it| it.code == Code::SshUnreachable)
        })
        .await;
    let problem = down.problem.unwrap();
    let begin = format!("context `double` is reached through `{words}`: ");
    assert!(problem.sentence.starts_with(&begin), "{problem:?}");

    sshd.run();
    engine.serving("orders").await;
    assert_eq!(echo(port, b"again").await.unwrap(), b"again");
    assert_eq!(own_connections_to(server.address().port()), 0);
    engine
        .until("no open connection", |s| s.forwards.iter().all(|f| f.connections.open == 0))
        .await;
    engine.stop().await;
}

/// S7.4: a bastion that is not known yet is trusted through the forward behind it, and one
/// that does not reach the server says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_4_the_bastions_own_problems_are_mended_where_they_are() {
    let sshd = Sshd::start();
    sshd.forget_host_key();
    let server = ApiServer::start().await.unwrap();
    let backend = echoing().await;
    server.add_pod(PodSpec::new("shop", "orders-0").port("http", 8080, &backend));
    server.stop().await;
    let port = free_port();
    let ssh = SshOptions { extra_args: sshd.client_args(), ..SshOptions::default() };
    let forwards = vec![through(bastion(&sshd), port)];
    let engine = Engine::start(forwards, ssh, options(server.kubeconfig()));
    let is = |code: Code| {
        move |f: &localport_core::snapshot::Forward, _: &localport_core::snapshot::Snapshot| {
            f.problem.as_ref().is_some_and(|problem| problem.code == code)
        }
    };
    let unknown =
        engine.until_forward("orders", "the unknown host", is(Code::SshHostKeyUnknown)).await;
    let problem = unknown.problem.unwrap();
    assert!(problem.sentence.contains("`double` is reached through"), "{problem:?}");

    engine.handle.command(Command::TrustHostKey("orders".to_owned())).await.unwrap();
    let away = engine.until_forward("orders", "no server", is(Code::KubeUnreachable)).await;
    let problem = away.problem.unwrap();
    assert!(problem.hint.contains(&server.address().to_string()), "{problem:?}");

    server.resume().await.unwrap();
    engine.serving("orders").await;
    assert_eq!(echo(port, b"known").await.unwrap(), b"known");
    until("its own connections to be none", || own_connections_to(server.address().port()) == 0)
        .await;
    engine
        .until("no open connection", |s| s.forwards.iter().all(|f| f.connections.open == 0))
        .await;
    engine.stop().await;
}
