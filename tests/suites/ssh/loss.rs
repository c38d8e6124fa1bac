//! How the end of a connection is noticed, and that it comes back.

use super::*;
use rustix::process::Signal;

/// Item 4: a killed `ssh` is noticed at once, open connections are reset, and the next
/// session works.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_ssh_is_noticed_at_once() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let silent = Server::silent().await;
    let target = sshd.target("127.0.0.1", silent.port());
    let session = ground.open(target.clone()).await;
    let mut stream = connect(&session).await;
    let killed = Instant::now();
    for pid in ssh_children(&sshd) {
        sshd::signal(pid, Signal::KILL);
    }
    let read = timeout(DEADLINE, stream.read(&mut [0; 16])).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let problem = timeout(DEADLINE, session.lost()).await.unwrap();
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert_eq!(problem.code, Code::SshLost, "{problem:?}");
    assert_eq!(session.lost().await, problem, "it stays ended");
    let (_, verdict) = refused(&session).await;
    assert_eq!(verdict, Verdict::Hold);
    let again = ground.open(target).await;
    connect(&again).await;
    eventually("the dead one's directory is gone", || ground.leases(LeaseKind::File) == 1).await;
}

/// Item 4: a restarted server is noticed and connected to again.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_is_noticed_and_serves_again() {
    let mut sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let echo = Server::echo().await;
    let target = sshd.target("127.0.0.1", echo.port());
    let session = ground.open(target.clone()).await;
    assert!(says(&session, "before").await);
    sshd.stop();
    let problem = timeout(DEADLINE, session.lost()).await.unwrap();
    assert_eq!(problem.code, Code::SshLost, "{problem:?}");
    let problem = ground.try_open(target.clone()).await.err().unwrap();
    assert_eq!(problem.code, Code::SshUnreachable);
    let wrapped = Target::Ssh(target.clone());
    let mended = ground.adapter.mended(&wrapped, &problem);
    sshd.run();
    assert!(says(&ground.open(target.clone()).await, "after").await);
    timeout(DEADLINE, mended).await.expect("the other forwards are not told");
}

/// Item 4: a frozen server is noticed within 15 s, also when nothing moves.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_noticed_while_idle() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let echo = Server::echo().await;
    let session = ground.open(sshd.target("127.0.0.1", echo.port())).await;
    assert!(says(&session, "warm").await);
    let frozen = Instant::now();
    sshd.freeze();
    let problem = timeout(Duration::from_secs(30), session.lost()).await.unwrap();
    let took = frozen.elapsed();
    sshd.thaw();
    assert_eq!(problem.code, Code::SshFrozen, "{problem:?}");
    assert!(took <= Duration::from_secs(15), "{took:?}");
    assert!(took >= Duration::from_secs(5), "a pause is no freeze: {took:?}");
    eventually("the frozen one's process ends", || ssh_children(&sshd).is_empty()).await;
}

/// A ping to a frozen server fails by its own deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_ping_has_a_deadline() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let session = ground.open(sshd.target("127.0.0.1", 80)).await;
    let took = session.ping().await.unwrap();
    assert!(took < Duration::from_secs(1), "{took:?}");
    sshd.freeze();
    let asked = Instant::now();
    let problem = session.ping().await.unwrap_err();
    sshd.thaw();
    assert_eq!(problem.code, Code::SshFrozen);
    assert!(asked.elapsed() <= Duration::from_secs(10), "{:?}", asked.elapsed());
}

/// A pause shorter than the deadlines loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_pause_is_survived() {
    let sshd = Sshd::start();
    let ground = Ground::new(&sshd);
    let echo = Server::echo().await;
    let session = ground.open(sshd.target("127.0.0.1", echo.port())).await;
    let mut stream = connect(&session).await;
    sshd.freeze();
    stream.write_all(b"patience").await.unwrap();
    let mut back = [0; 8];
    let early = timeout(Duration::from_secs(2), stream.read_exact(&mut back)).await;
    assert!(early.is_err(), "a frozen server answered");
    sshd.thaw();
    timeout(DEADLINE, stream.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(&back, b"patience");
    assert!(timeout(Duration::from_millis(10), session.lost()).await.is_err());
}
