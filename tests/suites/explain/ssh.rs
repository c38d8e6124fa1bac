//! Faults on the way behind an SSH host.

use crate::{Ground, asks_for_a_page, assert_found, assert_well, forward};
use localport_core::config::{ForwardSpec, SshTarget, Target};
use localport_core::diagnosis::{Diagnosis, Step};
use localport_core::problem::Code;
use localport_engine::adapter::ssh::SshOptions;
use localport_tests::servers::{RefusingPort, Server};
use localport_tests::sshd::{self, Sshd};
use std::path::PathBuf;

fn options(sshd: &Sshd) -> SshOptions {
    SshOptions { extra_args: sshd.client_args(), ..SshOptions::default() }
}

async fn explain(sshd: &Sshd, target: SshTarget) -> Diagnosis {
    with(options(sshd), forward(Target::Ssh(target))).await
}

async fn with(options: SshOptions, spec: ForwardSpec) -> Diagnosis {
    Ground::new(options, PathBuf::from("/nowhere/kubeconfig")).explain(spec).await
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_a_whole_way_behind_a_host_holds_and_leaves_nothing() {
    let sshd = Sshd::start();
    let echo = Server::echo().await;
    let found = explain(&sshd, sshd.target("127.0.0.1", echo.port())).await;
    assert_well(&found);
    let ssh_config = found.steps.iter().find(|walked| walked.step == Step::SshConfig).unwrap();
    assert!(ssh_config.said.contains("line 2"), "which line applies: {ssh_config:?}");
    let config = sshd.path("ssh_config").display().to_string();
    let left = sshd::parents().into_iter().filter(|(pid, _)| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&config))
    });
    assert_eq!(left.count(), 0, "the walk's own ssh has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_programs_files_and_names() {
    let sshd = Sshd::start();
    let missing = SshOptions { ssh: "/nowhere/ssh".into(), ..options(&sshd) };
    let target = || forward(Target::Ssh(sshd.target("127.0.0.1", 80)));
    let found = with(missing, target()).await;
    assert_found(
        &found,
        Step::SshConfig,
        Code::SshMissing,
        &["`/nowhere/ssh` was not found", "ssh -V"],
    );

    let mut elsewhere = sshd.target("127.0.0.1", 80);
    elsewhere.host = "no-such-host.invalid".to_owned();
    let found = explain(&sshd, elsewhere).await;
    assert_found(&found, Step::Dns, Code::SshUnknownHost, &["`no-such-host.invalid`"]);

    sshd.write_client_config("HostNaem x");
    let found = with(options(&sshd), target()).await;
    assert_found(&found, Step::SshConfig, Code::SshFailed, &["line 1", "ssh -G"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_closed_ports_and_silent_servers() {
    let mut sshd = Sshd::start();
    sshd.stop();
    let found = explain(&sshd, sshd.target("127.0.0.1", 80)).await;
    assert_found(&found, Step::Tcp, Code::SshUnreachable, &["refused", "no SSH server listens"]);
    sshd.run();
    sshd.freeze();
    let found = explain(&sshd, sshd.target("127.0.0.1", 80)).await;
    assert_found(&found, Step::Greeting, Code::SshUnreachable, &["says nothing"]);
    sshd.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_host_keys() {
    let mut sshd = Sshd::start();
    sshd.forget_host_key();
    let found = explain(&sshd, sshd.target("127.0.0.1", 80)).await;
    let fingerprint = sshd.fingerprint();
    assert_found(&found, Step::HostKey, Code::SshHostKeyUnknown, &[&fingerprint]);
    sshd.trust_host_key();
    sshd.stop();
    sshd.replace_host_key();
    sshd.run();
    let found = explain(&sshd, sshd.target("127.0.0.1", 80)).await;
    assert_found(
        &found,
        Step::HostKey,
        Code::SshHostKeyChanged,
        &[&sshd.fingerprint(), "instead of"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_logins_and_key_files() {
    let sshd = Sshd::start();
    let other = sshd.path("other_key");
    sshd::keygen(&other, "");
    let mut target = sshd.target("127.0.0.1", 80);
    target.key_file = Some(other);
    let found = explain(&sshd, target).await;
    assert_found(&found, Step::Auth, Code::SshAuthRefused, &["publickey"]);
    let mut target = sshd.target("127.0.0.1", 80);
    target.key_file = Some(sshd.path("missing_key"));
    let found = explain(&sshd, target).await;
    assert_found(&found, Step::Auth, Code::SshKeyFile, &["missing_key", "check `key_file`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_forwarding_targets_and_answers() {
    let strict = Sshd::start_with("AllowTcpForwarding no");
    let found = explain(&strict, strict.target("127.0.0.1", 80)).await;
    assert_found(&found, Step::Forwarding, Code::SshForwardingForbidden, &["AllowTcpForwarding"]);

    let sshd = Sshd::start();
    let port = RefusingPort::take();
    let found = explain(&sshd, sshd.target("127.0.0.1", port.port())).await;
    assert_found(
        &found,
        Step::Target,
        Code::TargetRefused,
        &["connection refused", "ssh -v -N -L"],
    );

    let found = explain(&sshd, sshd.target("no-such-host.invalid", 80)).await;
    assert_found(&found, Step::Target, Code::TargetRefused, &["`remote_host`"]);

    // An echo is no web service.
    let echo = Server::echo().await;
    let mut spec = forward(Target::Ssh(sshd.target("127.0.0.1", echo.port())));
    spec.health_check = Some(asks_for_a_page());
    let found = with(options(&sshd), spec).await;
    assert_eq!(found.finding.as_ref().map(|finding| finding.step), Some(Step::Answer), "{found:?}");
}

/// The way through a jump host names it, and a jump that is down is found as such.
#[tokio::test(flavor = "multi_thread")]
async fn g8_jump_hosts_are_named() {
    let (mut jump, sshd) = (Sshd::start(), Sshd::start());
    let echo = Server::echo().await;
    let more = format!(
        "Host inner\n  HostName 127.0.0.1\n  Port {}\n  ProxyJump outer\nHost outer\n  \
         HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile {}\n",
        sshd.port(),
        jump.port(),
        jump.user(),
        jump.path("user_key").display(),
    );
    sshd.write_client_config(&more);
    std::fs::write(
        sshd.path("known_hosts"),
        format!("{}{}", sshd.known_host_line(), jump.known_host_line()),
    )
    .unwrap();
    let target = || {
        let mut target = sshd.target("127.0.0.1", echo.port());
        (target.host, target.port) = ("inner".to_owned(), None);
        target
    };
    let found = explain(&sshd, target()).await;
    assert_well(&found);
    assert!(found.steps.iter().any(|walked| walked.said.contains("through outer")), "{found:?}");
    jump.stop();
    let found = explain(&sshd, target()).await;
    let place = format!("127.0.0.1:{}", jump.port());
    assert_found(&found, Step::Tcp, Code::SshUnreachable, &[&place, "through outer"]);
}
