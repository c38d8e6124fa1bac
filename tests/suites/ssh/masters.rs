//! One `ssh` per destination: shared, counted, and gone without a trace.

use super::*;
use futures_util::future::join_all;
use localport_engine::registry::LeaseInfo;

/// S7.2: many forwards to one host share one process and one login.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_forwards_to_one_host_are_one_process() {
    const FORWARDS: u16 = 1_000;
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let echo = Server::echo().await;
    let start = Instant::now();
    let opening = (0..FORWARDS).map(|number| {
        // All but one lead nowhere: what counts is that they are there.
        let port = if number == 500 { echo.port() } else { 10_000 + number };
        ground.open(sshd.target("127.0.0.1", port))
    });
    let sessions = join_all(opening).await;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(ssh_children(&sshd).len(), 1);
    assert_eq!(sshd.logins(), 1);
    assert!(says(&sessions[500], "found").await);
    let pings = join_all(sessions.iter().map(|session| session.ping())).await;
    assert!(pings.iter().all(Result::is_ok));
    assert_eq!(ground.leases(LeaseKind::Session), usize::from(FORWARDS));
}

/// Many clients at once share the one connection, and none is mixed up with another.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_at_once_each_get_their_own_bytes() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let echo = Server::echo().await;
    let session = ground.open(sshd.target("127.0.0.1", echo.port())).await;
    let words: Vec<String> = (0..200).map(|n| format!("client {n} ").repeat(500)).collect();
    let heard = join_all(words.iter().map(|word| says(&session, word))).await;
    assert!(heard.into_iter().all(|right| right));
    assert_eq!(echo.accepted(), 200);
    assert_eq!(ssh_children(&sshd).len(), 1);
}

/// Another user or key is another connection.
#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_another_connection() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let copy = sshd.path("copied_key");
    std::fs::copy(sshd.path("user_key"), &copy).unwrap();
    let first = ground.open(sshd.target("127.0.0.1", 80)).await;
    let mut target = sshd.target("127.0.0.1", 80);
    target.key_file = Some(copy);
    let second = ground.open(target).await;
    assert_eq!(ssh_children(&sshd).len(), 2);
    drop((first, second));
}

/// Openers at the same time share one attempt and its failure: a host that is down is
/// not stormed by its forwards.
#[tokio::test(flavor = "multi_thread")]
async fn openers_share_a_failing_attempt() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let other = sshd.path("other_key");
    sshd::keygen(&other, "");
    let mut target = sshd.target("127.0.0.1", 80);
    target.key_file = Some(other);
    let opening = (0..50).map(|_| ground.try_open(target.clone()));
    let failed = join_all(opening).await;
    assert!(failed.iter().all(|it| it.as_ref().is_err_and(|it| it.code == Code::SshAuthRefused)));
    let attempts = sshd.log().iter().filter(|line| line.starts_with("Connection from")).count();
    assert_eq!(attempts, 1);
}

/// The last session's end ends the process after a moment; a session within that moment
/// keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn an_unused_process_lingers_and_ends() {
    let sshd = Sshd::start();
    let linger = Duration::from_millis(400);
    let ground = Ground::with(SshOptions { linger, ..options(&sshd) });
    let target = sshd.target("127.0.0.1", 80);
    drop(ground.open(target.clone()).await);
    let kept = ground.open(target.clone()).await;
    assert_eq!(sshd.logins(), 1, "a quick return shares the old one");
    let early = timeout(linger * 3, kept.lost()).await;
    assert!(early.is_err(), "it ended under a session");
    let before = Instant::now();
    drop(kept);
    eventually("the unused process ends", || ssh_children(&sshd).is_empty()).await;
    assert!(before.elapsed() >= linger);
    eventually("its directory and lease go", || {
        ground.leases(LeaseKind::File) + ground.leases(LeaseKind::Child) == 0
    })
    .await;
    ground.open(target).await;
    assert_eq!(sshd.logins(), 2);
}

/// An abandoned attempt takes its process along.
#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_attempt_leaves_nothing() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    sshd.freeze();
    let target = Target::Ssh(sshd.target("127.0.0.1", 80));
    let mut attempt = ground.adapter.open(&target, ground.scope());
    let pending = async {
        while ssh_children(&sshd).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = &mut attempt => panic!("a frozen server let us in"),
        done = timeout(DEADLINE, pending) => done.unwrap(),
    }
    drop(attempt);
    eventually("its process ends", || ssh_children(&sshd).is_empty()).await;
    eventually("its directory goes", || ground.leases(LeaseKind::File) == 0).await;
    sshd.thaw();
}

/// S7.3: after the shutdown there is no process, no socket, no directory, no lease; and
/// a frozen server cannot hold it up (S7.4).
#[tokio::test(flavor = "multi_thread")]
async fn shutdown_leaves_nothing_even_of_a_frozen_server() {
    let (well, frozen) = (Sshd::start(), Sshd::start());
    let known = well.known_host_line() + &frozen.known_host_line();
    std::fs::write(well.path("known_hosts"), known).unwrap();
    let ground = Ground::new(&well);
    let silent = Server::silent().await;
    let first = ground.open(well.target("127.0.0.1", silent.port())).await;
    let second = ground.open(frozen.target("127.0.0.1", silent.port())).await;
    let (mut one, mut two) = (connect(&first).await, connect(&second).await);
    let run = ground.home.path().join("run");
    assert_eq!(std::fs::read_dir(&run).unwrap().count(), 2);
    frozen.freeze();
    let start = Instant::now();
    ground.adapter.shutdown(Duration::from_secs(5)).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    frozen.thaw();
    assert!(ssh_children(&well).is_empty());
    assert_eq!(std::fs::read_dir(&run).unwrap().count(), 0);
    let gone = |lease: &LeaseInfo| !matches!(lease.kind, LeaseKind::Child | LeaseKind::File);
    assert!(ground.registry.list().iter().all(gone), "{:?}", ground.registry.list());
    for stream in [&mut one, &mut two] {
        let read = timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert_eq!(first.lost().await.code, Code::SshLost);
    drop((one, two, first, second));
    let left = ground.registry.list();
    assert!(left.is_empty(), "{left:?}");
}

/// What `ssh` says reaches the history of its forwards.
#[tokio::test(flavor = "multi_thread")]
async fn what_ssh_says_is_noted() {
    let sshd = Sshd::start_with("Banner /etc/hostname");
    let mut ground = Ground::new(&sshd);
    let session = ground.open(sshd.target("127.0.0.1", 80)).await;
    for pid in ssh_children(&sshd) {
        sshd::signal(pid, rustix::process::Signal::TERM);
    }
    session.lost().await;
    drop(session);
    let mut notes = Vec::new();
    while let Ok(Kind::Note { text }) = ground.notes.try_recv() {
        notes.push(text);
    }
    let banner = std::fs::read_to_string("/etc/hostname").unwrap();
    assert!(notes.iter().any(|note| note == banner.trim()), "{notes:?}");
    assert!(!notes.iter().any(|note| note.starts_with("Authenticated to")), "{notes:?}");
}
