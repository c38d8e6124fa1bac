//! Every way to fail has its own problem.

use super::*;

/// A target that does not listen refuses its clients, and serves them as soon as it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_target_is_known_before_a_byte_is_sent() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let port = RefusingPort::take();
    let session = ground.open(sshd.target("127.0.0.1", port.port())).await;
    for _ in 0..3 {
        let (problem, verdict) = refused(&session).await;
        assert_eq!((problem.code, verdict), (Code::TargetRefused, Verdict::Refuse));
        assert!(problem.sentence.contains("connection refused"), "{problem:?}");
        assert_eq!(session.probe().await.unwrap_err().code, Code::TargetRefused);
        session.ping().await.unwrap();
    }
    port.listen();
    session.probe().await.unwrap();
    connect(&session).await;
    assert_eq!(sshd.logins(), 1, "the connection itself is not the target's fault");
}

/// A host name that only the far side could know is refused in its words.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_unknown_over_there_is_told_so() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let session = ground.open(sshd.target("no-such-host.invalid", 80)).await;
    let (problem, verdict) = refused(&session).await;
    assert_eq!((problem.code, verdict), (Code::TargetRefused, Verdict::Refuse));
    assert!(problem.hint.contains("remote_host"), "{problem:?}");
}

/// A server that forbids forwarding says so.
#[tokio::test(flavor = "multi_thread")]
async fn forbidden_forwarding_is_its_own_problem() {
    let sshd = Sshd::start_with("AllowTcpForwarding no");
    let ground = Ground::new(&sshd);
    let session = ground.open(sshd.target("127.0.0.1", 80)).await;
    let (problem, verdict) = refused(&session).await;
    assert_eq!((problem.code, verdict), (Code::SshForwardingForbidden, Verdict::Refuse));
    assert_eq!(session.probe().await.unwrap_err().code, Code::SshForwardingForbidden);
}

/// A server that allows no session at all, not even an empty one, can still be pinged.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_sessions_is_proved_by_the_target() {
    let sshd = Sshd::start_with("MaxSessions 0");
    let ground = Ground::new(&sshd);
    let echo = Server::echo().await;
    let session = ground.open(sshd.target("127.0.0.1", echo.port())).await;
    session.ping().await.unwrap();
    session.ping().await.unwrap();
    assert!(says(&session, "works").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_names_the_methods() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let other = sshd.path("other_key");
    sshd::keygen(&other, "");
    let mut target = sshd.target("127.0.0.1", 80);
    target.key_file = Some(other);
    let problem = failed(&ground, target).await;
    assert_eq!(problem.code, Code::SshAuthRefused);
    assert!(problem.sentence.contains("publickey"), "{problem:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_key_file_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let open = sshd.path("open_key");
    std::fs::copy(sshd.path("user_key"), &open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let locked = sshd.path("locked_key");
    sshd::keygen(&locked, "secret");
    let junk = sshd.path("junk_key");
    std::fs::write(&junk, "no key").unwrap();
    std::fs::set_permissions(&junk, std::fs::Permissions::from_mode(0o600)).unwrap();
    let missing = sshd.path("missing_key");
    for (file, word) in
        [(open, "chmod 600"), (locked, "ssh-add"), (junk, "key_file"), (missing, "key_file")]
    {
        let mut target = sshd.target("127.0.0.1", 80);
        target.key_file = Some(file.clone());
        let problem = failed(&ground, target).await;
        assert_eq!(problem.code, Code::SshKeyFile, "{file:?}: {problem:?}");
        assert!(problem.sentence.contains(file.to_str().unwrap()), "{problem:?}");
        assert!(problem.hint.contains(word), "{problem:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_be_reached_is_its_own_problem() {
    let mut sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    sshd.stop();
    let problem = failed(&ground, sshd.target("127.0.0.1", 80)).await;
    assert_eq!(problem.code, Code::SshUnreachable);
    assert!(problem.sentence.contains("refused"), "{problem:?}");
    let mut target = sshd.target("127.0.0.1", 80);
    target.host = "no-such-host.invalid".into();
    assert_eq!(failed(&ground, target).await.code, Code::SshUnknownHost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_ssh_is_told_what_to_install() {
    let sshd = Sshd::start();
    let ground = Ground::with(SshOptions { ssh: "/nowhere/ssh".into(), ..options(&sshd) });
    let problem = failed(&ground, sshd.target("127.0.0.1", 80)).await;
    assert_eq!(problem.code, Code::SshMissing);
    assert_eq!(ground.leases(LeaseKind::File), 0);
}

async fn failed(ground: &Ground, target: SshTarget) -> Problem {
    match ground.try_open(target).await {
        Ok(_) => panic!("it opened"),
        Err(problem) => problem,
    }
}
