//! Sleep, wake and a changed network, over a scripted far side (S5.2, G2).

// A test may fail.
#![allow(clippy::unwrap_used)]

#[path = "common/scripted.rs"]
mod common;

use common::{DEADLINE, Far, Scripted, away, echo, echo_server, engine, first, free_port, spec};
use common::{stop, until};
use localport_core::event::Kind;
use localport_core::shutdown::Reason;
use localport_core::snapshot::{ForwardState, ListenerState, Phase, TargetState};
use localport_engine::handle::EngineHandle;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const WITHIN: Duration = Duration::from_secs(4);

async fn serving(engine: &EngineHandle) {
    until(engine, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;
}

/// A ping and a probe beyond the first `asked`.
async fn more_questions(adapter: &Scripted, asked: usize) {
    let mut count = adapter.asked.subscribe();
    timeout(DEADLINE, count.wait_for(|count| *count >= asked + 2)).await.unwrap().unwrap();
}

/// A client with an open connection through `port` that has carried bytes both ways.
async fn open(port: u16) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    exchange(&mut client, b"first").await;
    client
}

async fn exchange(client: &mut TcpStream, text: &[u8]) {
    let mut got = vec![0; text.len()];
    client.write_all(text).await.unwrap();
    timeout(DEADLINE, client.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, text);
}

/// S5.2: a sleep is quick, keeps listener, open connections and verdict, and asks nothing.
#[tokio::test]
async fn s5_2_a_sleep_keeps_what_is_and_a_wake_proves_it_at_once() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(1));
    serving(&engine).await;
    let mut client = open(port).await;

    let begun = Instant::now();
    engine.suspend(WITHIN).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "took {:?}", begun.elapsed());
    let asleep = engine.fresh().await;
    assert_eq!(asleep.phase, Phase::Asleep);
    assert_eq!(asleep.forwards[0].listener.state, ListenerState::Listening);
    assert_eq!(asleep.forwards[0].target_health.state, TargetState::Healthy);
    assert_eq!(asleep.forwards[0].connections.open, 1);
    exchange(&mut client, b"still here").await;

    let opened = adapter.opened.load(Ordering::Relaxed);
    let asked = *adapter.asked.borrow();
    engine.wake(Some(Duration::from_secs(3600)));
    more_questions(&adapter, asked).await;
    serving(&engine).await;
    assert_eq!(engine.fresh().await.phase, Phase::Running);
    assert_eq!(adapter.opened.load(Ordering::Relaxed), opened, "the session answered: it stays");
    exchange(&mut client, b"and after").await;
    let told = |kind: &Kind| matches!(kind, Kind::Woke { slept_ms: Some(3_600_000) });
    assert!(engine.history().iter().any(|event| told(&event.kind)));
    drop(client);
    stop(&engine).await;
}

/// G2: a session that died in the sleep without a word is replaced, and the client that
/// came while the machine slept is held and served, within 2 s of the wake.
#[tokio::test]
async fn g2_a_dead_session_is_replaced_within_two_seconds_of_the_wake() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(1));
    serving(&engine).await;
    engine.suspend(WITHIN).await;
    adapter.deaden();
    let client = async {
        let reply = echo(port, b"held and served").await.unwrap();
        assert_eq!(reply, b"held and served");
        Instant::now()
    };
    let wake = async {
        until(&engine, "a held client", |s| first(s, |f| f.connections.held == 1)).await;
        let woke = Instant::now();
        engine.wake(None);
        woke
    };
    let (served, woke) = timeout(DEADLINE, async { tokio::join!(client, wake) }).await.unwrap();
    let took = served - woke;
    println!("wake to first byte: {took:?}");
    assert!(took < Duration::from_secs(2), "took {took:?}");
    serving(&engine).await;
    stop(&engine).await;
}

/// S5.2: everything that waits is due at the wake; nothing is tried in the sleep.
#[tokio::test]
async fn s5_2_retries_rest_in_a_sleep_and_are_due_at_the_wake() {
    let adapter = Scripted::new(Far::Away(away()));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(1));
    until(&engine, "backing off", |s| first(s, |f| f.state == ForwardState::BackingOff)).await;
    engine.suspend(WITHIN).await;
    let asleep = engine.fresh().await;
    assert_eq!(asleep.phase, Phase::Asleep);
    assert_eq!(asleep.forwards[0].tunnel.retry_at, None, "no timer runs");
    assert_eq!(asleep.forwards[0].listener.state, ListenerState::Listening);
    let opened = adapter.opened.load(Ordering::Relaxed);
    // What would have been mended is not acted on in the sleep.
    adapter.set(Far::Up(echo_server().await));
    assert!(
        timeout(
            Duration::from_millis(700),
            engine.snapshot().wait_for(|s| { first(s, |f| f.state == ForwardState::Running) })
        )
        .await
        .is_err()
    );
    assert_eq!(adapter.opened.load(Ordering::Relaxed), opened, "nothing is tried in the sleep");
    engine.wake(None);
    serving(&engine).await;
    stop(&engine).await;
}

/// G2: a client that connects in a sleep that never came about is served all the same.
#[tokio::test]
async fn g2_a_client_ends_a_sleep_that_did_not_come() {
    let adapter = Scripted::new(Far::Away(away()));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(1));
    until(&engine, "backing off", |s| first(s, |f| f.state == ForwardState::BackingOff)).await;
    engine.suspend(WITHIN).await;
    adapter.set(Far::Up(echo_server().await));
    let reply = timeout(DEADLINE, echo(port, b"anybody there")).await.unwrap().unwrap();
    assert_eq!(reply, b"anybody there");
    engine.wake(None);
    stop(&engine).await;
}

/// S5.2: after a change of the network sessions prove themselves at once, a dead one is
/// replaced, and in the sleep a change is nobody's affair.
#[tokio::test]
async fn s5_2_a_changed_network_is_a_reason_to_ask() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(1));
    serving(&engine).await;
    let asked = *adapter.asked.borrow();
    engine.network_changed();
    more_questions(&adapter, asked).await;

    adapter.deaden();
    let changed = Instant::now();
    engine.network_changed();
    assert_eq!(timeout(DEADLINE, echo(port, b"new way")).await.unwrap().unwrap(), b"new way");
    assert!(changed.elapsed() < Duration::from_secs(2), "took {:?}", changed.elapsed());

    serving(&engine).await;
    engine.suspend(WITHIN).await;
    let asked = *adapter.asked.borrow();
    engine.network_changed();
    engine.fresh().await;
    assert_eq!(*adapter.asked.borrow(), asked);
    engine.wake(None);
    serving(&engine).await;
    stop(&engine).await;
}

/// S8, S5.2: the end works from the sleep, and sleeping during the end changes nothing.
#[tokio::test]
async fn s8_an_engine_that_sleeps_ends_in_good_order() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let running = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(1));
    serving(&running).await;
    running.suspend(WITHIN).await;
    stop(&running).await;

    let running = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(5));
    serving(&running).await;
    let client = open(port).await;
    running.quit(Reason::Person);
    until(&running, "draining", |s| s.phase == Phase::Draining).await;
    running.suspend(WITHIN).await;
    assert_eq!(running.fresh().await.phase, Phase::Draining);
    running.wake(None);
    drop(client);
    let stopped = timeout(DEADLINE, running.stopped()).await.unwrap();
    assert!(stopped.forced.is_empty() && stopped.left.is_empty(), "{stopped:?}");
}

/// D5: a logout that is called off calls the end off, unless a person wanted it too.
#[tokio::test]
async fn d5_a_session_that_goes_on_calls_only_its_own_end_off() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(5));
    serving(&engine).await;
    let client = open(port).await;
    engine.quit_within(Reason::Logout, Duration::from_secs(8));
    until(&engine, "draining", |s| s.phase == Phase::Draining).await;
    engine.session_goes_on();
    until(&engine, "running", |s| {
        s.phase == Phase::Running && first(s, |f| f.word(s.at) == "serving")
    })
    .await;
    assert_eq!(echo(port, b"as if nothing had been").await.unwrap(), b"as if nothing had been");

    engine.quit_within(Reason::SystemShutdown, Duration::from_secs(8));
    engine.quit(Reason::Person);
    engine.session_goes_on();
    drop(client);
    let stopped = timeout(DEADLINE, engine.stopped()).await.unwrap();
    assert_eq!(stopped.reasons, [Reason::SystemShutdown, Reason::Person]);
    assert!(stopped.forced.is_empty() && stopped.left.is_empty(), "{stopped:?}");
}

/// S1.2: sleeps and wakes in a storm; the last word counts.
#[tokio::test]
async fn s1_2_a_storm_of_sleeps_and_wakes_ends_awake_and_serving() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let ports = [free_port(), free_port(), free_port()];
    let forwards = ports.map(|port| spec(&format!("forward-{port}"), port)).to_vec();
    let engine = engine(&adapter, forwards, Duration::from_secs(1));
    for round in 0..200_u32 {
        engine.suspend(WITHIN).await;
        if round % 3 == 0 {
            adapter.deaden();
        }
        engine.wake(None);
        if round % 5 == 0 {
            engine.network_changed();
        }
    }
    until(&engine, "all serving", |s| {
        s.phase == Phase::Running && s.forwards.iter().all(|f| f.word(s.at) == "serving")
    })
    .await;
    for port in ports {
        assert_eq!(echo(port, b"calm").await.unwrap(), b"calm");
    }
    stop(&engine).await;
}
