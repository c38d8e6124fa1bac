//! Host keys: unknown, trusted, changed; ssh_config: aliases and jump hosts.

use super::*;
use std::fs;

/// Item 4: an unknown key is shown with its fingerprint, and trusted only when asked.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_shown_trusted_and_known_from_then_on() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    sshd.forget_host_key();
    let echo = Server::echo().await;
    let target = sshd.target("127.0.0.1", echo.port());
    let problem = ground.try_open(target.clone()).await.err().unwrap();
    assert_eq!(problem.code, Code::SshHostKeyUnknown);
    let shown = format!("ssh-ed25519 `{}`", sshd.fingerprint());
    assert!(problem.sentence.contains(&shown), "{problem:?}");
    assert_eq!(sshd.logins(), 0);

    let wrapped = Target::Ssh(target.clone());
    let mended = ground.adapter.mended(&wrapped, &problem);
    let fingerprint = ground.adapter.trust(&wrapped).await.unwrap();
    assert_eq!(fingerprint, sshd.fingerprint());
    timeout(DEADLINE, mended).await.expect("the other forwards are not told");
    assert_eq!(fs::read_to_string(sshd.path("known_hosts")).unwrap(), sshd.known_host_line());
    assert!(says(&ground.open(target).await, "hello").await);
    assert!(ground.adapter.trust(&wrapped).await.is_err(), "nothing waits any more");
}

/// A person who hashes names in known_hosts gets hashed names.
#[tokio::test(flavor = "multi_thread")]
async fn trust_hashes_names_where_ssh_does() {
    let sshd = Sshd::start();
    sshd.write_client_config("HashKnownHosts yes");
    let ground = Ground::new(&sshd);
    // Without an end of line: the new line must not be glued to it.
    fs::write(sshd.path("known_hosts"), "# mine").unwrap();
    let target = sshd.target("127.0.0.1", 80);
    assert!(ground.try_open(target.clone()).await.is_err());
    ground.adapter.trust(&Target::Ssh(target.clone())).await.unwrap();
    let text = fs::read_to_string(sshd.path("known_hosts")).unwrap();
    assert!(text.starts_with("# mine\n|1|"), "{text}");
    ground.open(target).await;
}

/// The key that was shown is the only one that is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_swapped_after_it_was_shown_is_not_trusted() {
    let mut sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    sshd.forget_host_key();
    let target = sshd.target("127.0.0.1", 80);
    assert!(ground.try_open(target.clone()).await.is_err());
    sshd.stop();
    sshd.replace_host_key();
    sshd.run();
    let problem = ground.adapter.trust(&Target::Ssh(target)).await.unwrap_err();
    assert_eq!(problem.code, Code::SshHostKeyChanged);
    assert_eq!(fs::read_to_string(sshd.path("known_hosts")).unwrap(), "");
}

/// A changed key is never trusted, and both fingerprints and the line are told.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_is_never_accepted() {
    let mut sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let old = sshd.fingerprint();
    sshd.stop();
    sshd.replace_host_key();
    sshd.run();
    let target = sshd.target("127.0.0.1", 80);
    let problem = ground.try_open(target.clone()).await.err().unwrap();
    assert_eq!(problem.code, Code::SshHostKeyChanged);
    assert!(problem.sentence.contains(&sshd.fingerprint()), "{problem:?}");
    assert!(problem.sentence.contains(&old), "{problem:?}");
    let line = format!("{}:1", sshd.path("known_hosts").display());
    assert!(problem.hint.contains(&line), "{problem:?}");
    assert!(ground.adapter.trust(&Target::Ssh(target)).await.is_err());
    assert_eq!(sshd.logins(), 0);
}

/// Item 4: a Host alias with its own user, port and key, through a jump host.
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_behind_a_jump_host_works() {
    let (jump, inner, ground) = through_a_jump();
    let echo = Server::echo().await;
    let session = ground.open(alias(echo.port())).await;
    assert!(says(&session, "through two").await);
    assert_eq!(session.route().endpoint, "inner");
    assert_eq!((jump.logins(), inner.logins()), (1, 1));
}

/// The key of the last host and the key of the jump host can both be trusted.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_on_the_way_are_told_apart_and_trusted() {
    let (jump, inner, ground) = through_a_jump();
    fs::write(jump.path("known_hosts"), "").unwrap();
    let target = Target::Ssh(alias(80));
    for host in [&jump, &inner] {
        let problem = ground.try_open(alias(80)).await.err().unwrap();
        assert_eq!(problem.code, Code::SshHostKeyUnknown, "{problem:?}");
        assert!(problem.sentence.contains(&host.fingerprint()), "{problem:?}");
        assert_eq!(ground.adapter.trust(&target).await.unwrap(), host.fingerprint());
    }
    ground.open(alias(80)).await;
}

/// Forwards in the person's own ssh_config are not opened a second time.
#[tokio::test(flavor = "multi_thread")]
async fn local_forwards_of_the_ssh_config_are_left_alone() {
    let sshd = Sshd::start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    sshd.write_client_config(&format!(
        "LocalForward {port} 127.0.0.1:80\nRemoteCommand echo hi\nRequestTTY force"
    ));
    let ground = Ground::new(&sshd);
    let echo = Server::echo().await;
    assert!(says(&ground.open(sshd.target("127.0.0.1", echo.port())).await, "fine").await);
}

/// Two servers, the second reached through the first by an alias.
fn through_a_jump() -> (Sshd, Sshd, Ground) {
    let (jump, inner) = (Sshd::start(), Sshd::start());
    let host = |name: &str, sshd: &Sshd, more: &str| {
        format!(
            "Host {name}\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile {}\n  \
             IdentitiesOnly yes\n{more}",
            sshd.port(),
            sshd.user(),
            sshd.path("user_key").display(),
        )
    };
    let config = host("inner", &inner, "  ProxyJump jump\n") + &host("jump", &jump, "");
    jump.write_client_config(&config);
    let known = jump.known_host_line() + &inner.known_host_line();
    fs::write(jump.path("known_hosts"), known).unwrap();
    let ground = Ground::new(&jump);
    (jump, inner, ground)
}

fn alias(remote_port: u16) -> SshTarget {
    SshTarget {
        host: "inner".into(),
        user: None,
        port: None,
        key_file: None,
        password: None,
        remote_host: "127.0.0.1".into(),
        remote_port,
    }
}
