//! Passwords from the configuration, on their way to `ssh`.

use super::*;
use localport_tests::password_server::PasswordServer;

fn with_helper(server: &PasswordServer) -> SshOptions {
    SshOptions {
        extra_args: server.client_args(),
        askpass_program: Some(env!("CARGO_BIN_EXE_askpass").into()),
        ..SshOptions::default()
    }
}

/// The right password opens the way, through a server that is not OpenSSH's; no process
/// shows it, and no file holds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_reaches_ssh_and_nobody_else() {
    const PASSWORD: &str = "correct horse battery staple";
    let server = PasswordServer::start(PASSWORD).await;
    let ground = Ground::with(with_helper(&server));
    let echo = Server::echo().await;
    let session = ground.open(server.target(PASSWORD, echo.port())).await;
    assert!(says(&session, "inside").await);
    session.ping().await.unwrap();
    session.probe().await.unwrap();
    let mine: Vec<u32> = sshd::parents()
        .into_iter()
        .filter(|(_, parent)| *parent == std::process::id())
        .map(|(pid, _)| pid)
        .collect();
    assert!(!mine.is_empty());
    for pid in mine {
        for file in ["cmdline", "environ"] {
            let shown = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let shown = String::from_utf8_lossy(&shown).into_owned();
            assert!(!shown.contains(PASSWORD), "{file} of {pid} shows it");
        }
    }
    let mut files = vec![ground.home.path().to_owned()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else if path.is_file() {
            let text = std::fs::read(&path).unwrap();
            assert!(!String::from_utf8_lossy(&text).contains(PASSWORD), "{path:?} holds it");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_once_and_never_asked_for_again() {
    let server = PasswordServer::start("right").await;
    let ground = Ground::with(with_helper(&server));
    let problem = ground.try_open(server.target("wrong", 80)).await.err().unwrap();
    assert_eq!(problem.code, Code::SshAuthRefused, "{problem:?}");
    assert!(!problem.sentence.contains("wrong"), "{problem:?}");
    assert_eq!(ground.leases(LeaseKind::Child), 0);
    assert_eq!(ground.leases(LeaseKind::File), 0);
}

/// The question about an unknown host key is not answered by the password's helper.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_does_not_answer_for_an_unknown_key() {
    let server = PasswordServer::start("right").await;
    let mut options = with_helper(&server);
    options.extra_args.extend(["-o".into(), "UserKnownHostsFile=/dev/null".into()]);
    let ground = Ground::with(options);
    let problem = ground.try_open(server.target("right", 80)).await.err().unwrap();
    assert_eq!(problem.code, Code::SshHostKeyUnknown, "{problem:?}");
    assert!(problem.sentence.contains("SHA256:"), "{problem:?}");
}
