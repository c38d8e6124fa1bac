//! Probes and verdicts of an engine over a scripted far side.

// A test may fail.
#![allow(clippy::unwrap_used)]

#[path = "common/scripted.rs"]
mod common;

use common::{
    DEADLINE, Far, Scripted, away, echo_server, engine, engine_of, first, free_port, spec, stop,
    until,
};
use localport_core::command::{Command, Selector};
use localport_core::config::{
    ForwardSpec, HealthCheck, HealthCheckKind, KubeResource, KubeTarget, PortRef, Target,
};
use localport_core::problem::{Code, Problem};
use localport_core::shutdown::Reason;
use localport_core::snapshot::{Forward, ForwardState, Snapshot, TargetState};
use localport_engine::handle::EngineHandle;
use localport_engine::registry::LeaseInfo;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

fn refused() -> Problem {
    Problem::new(Code::TargetRefused, "`localhost:5432` refuses connections", "Start it")
}

fn checked(name: &str, interval: Duration, down: u32, up: u32) -> ForwardSpec {
    let check = HealthCheck {
        kind: HealthCheckKind::Tcp,
        interval,
        timeout: Duration::from_secs(300),
        failure_threshold: down,
        success_threshold: up,
        cluster_aware: false,
    };
    ForwardSpec { health_check: Some(check), ..spec(name, free_port()) }
}

/// Forwards with a four-minute interval.
fn slow(count: usize) -> Vec<ForwardSpec> {
    let through = |n: usize, mut forward: ForwardSpec| {
        if let Target::Ssh(ssh) = &mut forward.target {
            ssh.host = format!("host-{}", n % 10);
        }
        forward
    };
    let slow = |n: usize| checked(&format!("f{n}"), Duration::from_secs(240), 3, 1);
    (0..count).map(|n| through(n, slow(n))).collect()
}

/// Whether all forwards that there are to be, 20 or 100, are as `is` says.
fn all(snapshot: &Snapshot, is: impl Fn(&Forward) -> bool) -> bool {
    snapshot.forwards.len() >= 20 && snapshot.forwards.iter().all(is)
}

fn probes(engine: &EngineHandle) -> Vec<LeaseInfo> {
    let leases = engine.resources().into_iter();
    leases.filter(|lease| lease.owner == "probes" && lease.name.starts_with("probe ")).collect()
}

/// Waits until as many probes are under way as `count` says.
async fn under_way(engine: &EngineHandle, count: usize) {
    let start = Instant::now();
    while probes(engine).len() != count {
        assert!(start.elapsed() < DEADLINE, "{} probes under way", probes(engine).len());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// S5.1: with a four-minute interval and probes that hang, everything is stopped within
/// 100 ms.
#[tokio::test]
async fn s5_1_probes_that_hang_stop_at_once() {
    for moment in [0, 1, 20, 300] {
        let adapter = Scripted::new(Far::Blocked);
        let engine = engine(&adapter, slow(100), Duration::from_secs(1));
        until(&engine, "sessions", |s| all(s, |f| f.tunnel.path.is_some())).await;
        under_way(&engine, 64).await;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let asked = Instant::now();
        engine.pause_probes();
        under_way(&engine, 0).await;
        assert!(asked.elapsed() <= Duration::from_millis(100), "{:?}", asked.elapsed());

        engine.resume_probes();
        under_way(&engine, 64).await;
        let asked = Instant::now();
        engine.quit(Reason::Person);
        timeout(DEADLINE, engine.stopped()).await.unwrap();
        assert!(probes(&engine).is_empty());
        assert!(asked.elapsed() <= Duration::from_millis(500), "{:?}", asked.elapsed());
    }
}

/// S5.2: a pause keeps the verdict, marked as cached and never green; its end is
/// followed by a probe at once, whatever the interval.
#[tokio::test]
async fn s5_2_a_pause_keeps_verdicts_and_its_end_probes_at_once() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let engine = engine(&adapter, slow(20), Duration::from_secs(1));
    until(&engine, "serving", |s| all(s, |f| f.word(s.at) == "serving")).await;
    let probed = adapter.probed.load(Ordering::Relaxed);

    engine.pause_probes();
    let paused = until(&engine, "a pause", |s| all(s, |f| f.target_health.cached)).await;
    for forward in &paused.forwards {
        assert_eq!(forward.target_health.state, TargetState::Healthy, "the old verdict");
        assert_eq!(forward.target_health.next, None);
        assert!(forward.target_health.checked.is_some());
        assert_ne!(forward.word(paused.at), "serving");
    }

    adapter.set(Far::Refusing(refused()));
    engine.resume_probes();
    until(&engine, "first failures", |s| all(s, |f| f.target_health.failures > 0)).await;
    assert_eq!(adapter.probed.load(Ordering::Relaxed), probed + 20, "one probe for each");
    stop(&engine).await;
}

/// S5: the configuration's thresholds hold, in both directions.
#[tokio::test]
async fn s5_thresholds_of_the_configuration_hold() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let spec = checked("orders", Duration::from_secs(1), 3, 2);
    let engine = engine(&adapter, vec![spec], Duration::from_secs(1));
    until(&engine, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;
    adapter.set(Far::Refusing(refused()));
    let twice =
        until(&engine, "two failures", |s| first(s, |f| f.target_health.failures == 2)).await;
    assert_eq!(twice.forwards[0].target_health.state, TargetState::Healthy);
    let failing =
        until(&engine, "failing", |s| first(s, |f| f.target_health.state == TargetState::Failing))
            .await;
    assert_eq!(failing.forwards[0].target_health.failures, 3);
    until(&engine, "degraded", |s| first(s, |f| f.state == ForwardState::Degraded)).await;

    adapter.set(Far::Up(echo_server().await));
    until(&engine, "serving again", |s| first(s, |f| f.word(s.at) == "serving")).await;
    stop(&engine).await;
}

/// S5: bytes that come back are proof, name themselves as such, and put the probe off.
#[tokio::test]
async fn s5_traffic_makes_probes_unnecessary() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let spec = checked("orders", Duration::from_secs(1), 3, 1);
    let port = spec.local_port;
    let engine = engine(&adapter, vec![spec], Duration::from_secs(1));
    until(&engine, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut talk = async || {
        client.write_all(b"word").await.unwrap();
        client.read_exact(&mut [0; 4]).await.unwrap();
    };
    talk().await;
    until(&engine, "traffic", |s| {
        first(s, |f| f.target_health.proof.as_deref() == Some("traffic"))
    })
    .await;
    let probed = adapter.probed.load(Ordering::Relaxed);
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        talk().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let snapshot = engine.fresh().await;
    assert_eq!(snapshot.forwards[0].word(snapshot.at), "serving");
    assert_eq!(adapter.probed.load(Ordering::Relaxed), probed, "probed beside the traffic");
    drop(client);
    stop(&engine).await;
}

/// S5.3: what one engine knew the next takes up: cached, never green, probed at once.
#[tokio::test]
async fn s5_3_verdicts_survive_a_restart() {
    let adapter = Scripted::new(Far::Refusing(refused()));
    let spec = checked("orders", Duration::from_secs(1), 2, 1);
    let earlier = engine(&adapter, vec![spec.clone()], Duration::from_secs(1));
    until(&earlier, "failing", |s| first(s, |f| f.target_health.state == TargetState::Failing))
        .await;
    let saved = earlier.save_health().await;
    stop(&earlier).await;

    adapter.set(Far::Away(away()));
    let later = engine(&adapter, vec![spec], Duration::from_secs(1));
    later.restore_health(saved.clone()).await;
    let restored = until(&later, "the old verdict", |s| first(s, |f| f.target_health.cached)).await;
    let target = &restored.forwards[0].target_health;
    assert_eq!(target.checked, saved["orders"].checked());
    assert_eq!(target.failures, saved["orders"].failures());
    assert_eq!(target.state, TargetState::Unknown, "there is no session to tell by");
    adapter.set(Far::Up(echo_server().await));
    until(&later, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;
    stop(&later).await;
}

/// S5.4: while draining the last result is shown with its age, marked, and never green.
#[tokio::test]
async fn s5_4_results_are_cached_while_draining() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let spec = checked("orders", Duration::from_secs(1), 1, 1);
    let port = spec.local_port;
    let engine = engine(&adapter, vec![spec], Duration::from_secs(5));
    until(&engine, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.write_all(b"open").await.unwrap();
    client.read_exact(&mut [0; 4]).await.unwrap();
    engine.command(Command::Stop(Selector::All)).await.unwrap();
    let draining =
        until(&engine, "draining", |s| first(s, |f| f.state == ForwardState::Stopping)).await;
    let target = &draining.forwards[0].target_health;
    assert!(target.cached && target.checked.is_some());
    assert_eq!((target.state, target.fresh_until, target.next), (TargetState::Healthy, None, None));
    assert_eq!(draining.forwards[0].word(draining.at), "draining");
    let probed = adapter.probed.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(adapter.probed.load(Ordering::Relaxed), probed, "probed while draining");
    drop(client);
    until(&engine, "stopped", |s| first(s, |f| f.state == ForwardState::Stopped)).await;
    stop(&engine).await;
}

/// G3: a session that does not answer its ping is lost at the deadline, whatever the
/// adapter promises.
#[tokio::test(start_paused = true)]
async fn g3_a_session_that_answers_no_ping_is_lost_at_its_deadline() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let engine = engine(&adapter, vec![spec("orders", free_port())], Duration::from_secs(1));
    let mut snapshots = engine.snapshot();
    let served = snapshots.wait_for(|s| first(s, |f| f.word(s.at) == "serving"));
    let served = timeout(Duration::from_secs(120), served).await.unwrap().unwrap().clone();
    adapter.set(Far::Silent);
    let away = snapshots.wait_for(|s| first(s, |f| f.state == ForwardState::BackingOff));
    let away = timeout(Duration::from_secs(600), away).await.unwrap().unwrap().clone();
    assert_eq!(away.forwards[0].problem.as_ref().unwrap().code, Code::SshFrozen);
    let green_until = served.forwards[0].target_health.fresh_until.unwrap();
    assert!(away.at <= green_until, "noticed before the proof was stale");
    assert_ne!(away.forwards[0].word(away.at), "serving");
    adapter.set(Far::Away(common::away()));
    engine.quit(Reason::Person);
    timeout(Duration::from_secs(600), engine.stopped()).await.unwrap();
}

/// S5: a thousand forwards are looked at in a few groups a second,
/// so that the snapshot is written a few times a second and not once for each look.
#[tokio::test]
async fn s5_a_thousand_forwards_wake_the_engine_seldom() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let forwards = (0..1_000).map(|n| {
        let spec = checked(&format!("f{n}"), Duration::from_secs(10), 3, 1);
        ForwardSpec { local_port: 0, ..spec }
    });
    let engine = engine(&adapter, forwards.collect(), Duration::from_secs(1));
    let everybody =
        |s: &Snapshot| s.forwards.len() == 1_000 && all(s, |f| f.word(s.at) == "serving");
    until(&engine, "serving", everybody).await;
    // The first looks came together; the next ones are spread over a tenth of the interval.
    engine.pause_probes();
    until(&engine, "a pause", |s| all(s, |f| f.target_health.cached)).await;
    engine.resume_probes();
    until(&engine, "serving again", everybody).await;
    let mut snapshots = engine.snapshot();
    snapshots.mark_unchanged();
    let (mut written, probed) = (0, adapter.probed.load(Ordering::Relaxed));
    let end = Instant::now() + Duration::from_secs(12);
    while timeout(end - Instant::now(), snapshots.changed()).await.is_ok() {
        snapshots.borrow_and_update();
        written += 1;
    }
    let probed = adapter.probed.load(Ordering::Relaxed) - probed;
    assert!(probed >= 990, "only {probed} looks");
    assert!(written <= 100, "{probed} looks wrote the snapshot {written} times");
    stop(&engine).await;
}

/// S7.4: two hundred forwards through a host that answers nothing do not keep the one
/// through another host from being proved.
#[tokio::test(start_paused = true)]
async fn s7_4_a_silent_host_keeps_no_other_from_its_proof() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let silent = Scripted::new(Far::Silent);
    let mut forwards: Vec<ForwardSpec> =
        (0..200).map(|n| spec(&format!("silent-{n}"), free_port())).collect();
    let cluster = KubeTarget {
        context: Some("fine".to_owned()),
        namespace: "shop".to_owned(),
        resource: KubeResource::Service("orders".to_owned()),
        port: PortRef::Number(5432),
        via: None,
    };
    forwards.push(ForwardSpec { target: Target::Kube(cluster), ..spec("fine", free_port()) });
    let begun = Instant::now();
    let engine = engine_of([&silent, &adapter], forwards, Duration::from_secs(8));
    let is_proved = |forward: &Forward| forward.target_health.state == TargetState::Healthy;
    until(&engine, "the one that answers is proved", |snapshot| {
        snapshot.forwards.len() == 201 && snapshot.forwards.last().is_some_and(is_proved)
    })
    .await;
    // A silent one is given up after ten seconds; nobody waited for that.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    stop(&engine).await;
}
