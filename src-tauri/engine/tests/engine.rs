//! The engine against a scripted adapter: real sockets, a far side that does what it is told.

// A test may fail.
#![allow(clippy::unwrap_used)]

#[path = "common/scripted.rs"]
mod common;

use common::{
    DEADLINE, Far, Scripted, away, echo, echo_server, engine, first, free_port, spec, stop, until,
};
use localport_core::command::{Command, Refusal, Selector};
use localport_core::config::{ForwardSpec, RestartPolicy};
use localport_core::event::Kind;
use localport_core::problem::{Code, Problem};
use localport_core::shutdown::{Because, Reason, Stage};
use localport_core::snapshot::{ForwardState, ListenerState, Phase, TargetState, TunnelState};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A client with an open connection through `port` that has carried bytes both ways.
async fn open(port: u16) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut got = [0; 5];
    client.write_all(b"first").await.unwrap();
    client.read_exact(&mut got).await.unwrap();
    client
}

/// G1: held while there is no session, then served; the listener never closes.
#[tokio::test]
async fn g1_a_client_is_held_while_the_far_side_is_away_and_then_served() {
    let adapter = Scripted::new(Far::Away(away()));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(1));
    until(&engine, "backing off", |s| first(s, |f| f.state == ForwardState::BackingOff)).await;

    let client = echo(port, b"held and served");
    let server = echo_server().await;
    let mend = async {
        until(&engine, "a held client", |s| first(s, |f| f.connections.held == 1)).await;
        adapter.set(Far::Up(server));
    };
    let (reply, ()) = tokio::join!(client, mend);
    assert_eq!(reply.unwrap(), b"held and served");

    let snapshot = until(&engine, "counted bytes", |s| {
        first(s, |f| f.bytes.down == 15 && f.bytes.up == 15 && f.connections.open == 0)
    })
    .await;
    assert_eq!(snapshot.forwards[0].connections.total, 1);
    stop(&engine).await;
}

/// G1, S6.5: through ten outages no connect is refused and every client is served.
#[tokio::test]
async fn g1_no_client_is_refused_through_many_outages() {
    let server = echo_server().await;
    let adapter = Scripted::new(Far::Up(server));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(1));
    until(&engine, "listening", |s| first(s, |f| f.listener.state == ListenerState::Listening))
        .await;
    for round in 0..10u32 {
        adapter.set(Far::Away(away()));
        let text = format!("round {round}").into_bytes();
        let client = echo(port, &text);
        let mend = async {
            until(&engine, "a held client", |s| first(s, |f| f.connections.held == 1)).await;
            adapter.set(Far::Up(server));
        };
        let (reply, ()) = tokio::join!(client, mend);
        assert_eq!(reply.unwrap(), text);
    }
    stop(&engine).await;
}

/// G3: green only with proof; a target that refuses is seen, reset to the client and
/// seen again when it is back.
#[tokio::test]
async fn g3_the_target_is_judged_by_proof() {
    let refused =
        Problem::new(Code::TargetRefused, "`localhost:5432` refuses connections", "Start it");
    let adapter = Scripted::new(Far::Blocked);
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(1));
    let up = until(&engine, "a tunnel", |s| first(s, |f| f.tunnel.rtt_ms == Some(7.0))).await;
    assert_eq!(up.forwards[0].target_health.state, TargetState::Unknown);
    assert_ne!(up.forwards[0].word(up.at), "serving");

    adapter.set(Far::Refusing(refused.clone()));
    engine.command(Command::Restart(Selector::All)).await.unwrap();
    until(&engine, "degraded", |s| {
        first(s, |f| f.state == ForwardState::Degraded && f.problem.as_ref() == Some(&refused))
    })
    .await;
    let error = echo(port, b"x").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    adapter.set(Far::Up(echo_server().await));
    let served = until(&engine, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;
    assert_eq!(served.summary(served.at), "1 serving");
    stop(&engine).await;
}

/// A busy port is a state with its owner's name; the bind is retried when it frees.
#[tokio::test]
async fn a_busy_port_is_a_state_and_other_forwards_are_untouched() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (busy, free) = (other.local_addr().unwrap().port(), free_port());
    let forwards = vec![spec("busy", busy), spec("free", free)];
    let engine = engine(&adapter, forwards, Duration::from_secs(1));
    let snapshot = until(&engine, "one conflict, one serving", |s| {
        s.forwards.len() == 2
            && s.forwards[0].listener.state == ListenerState::Conflict
            && s.forwards[1].word(s.at) == "serving"
    })
    .await;
    let problem = snapshot.forwards[0].problem.clone().unwrap();
    assert!(problem.sentence.contains(&std::process::id().to_string()), "{problem}");
    assert_eq!(snapshot.forwards[0].word(snapshot.at), "broken");
    assert_eq!(echo(free, b"untouched").await.unwrap(), b"untouched");

    drop(other);
    until(&engine, "both serving", |s| s.forwards.iter().all(|f| f.word(s.at) == "serving")).await;
    assert_eq!(echo(busy, b"taken over").await.unwrap(), b"taken over");
    stop(&engine).await;
}

/// A held client is closed with a reset and a logged reason when its time is over.
#[tokio::test]
async fn a_hold_ends_with_a_reset_and_a_reason() {
    let adapter = Scripted::new(Far::Away(away()));
    let port = free_port();
    let spec = ForwardSpec { hold: Duration::from_millis(200), ..spec("orders", port) };
    let engine = engine(&adapter, vec![spec], Duration::from_secs(1));
    until(&engine, "listening", |s| first(s, |f| f.listener.state == ListenerState::Listening))
        .await;
    let mut events = engine.events();
    let error = echo(port, b"x").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let closed = async {
        loop {
            if let Kind::ClientClosed { problem, .. } = &events.recv().await.unwrap().kind {
                return problem.code;
            }
        }
    };
    assert_eq!(timeout(DEADLINE, closed).await.unwrap(), Code::HoldExpired);
    stop(&engine).await;
}

/// S8: quitting lets an open connection finish, and cuts with a name what does not.
#[tokio::test]
async fn quitting_drains_open_connections_and_names_what_it_cuts() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let running = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(5));
    until(&running, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;
    let mut client = open(port).await;
    let mut got = [0; 5];
    running.quit(Reason::Person);
    until(&running, "a closed listener", |s| {
        first(s, |f| f.state == ForwardState::Stopping && f.listener.state == ListenerState::Closed)
    })
    .await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    client.write_all(b"later").await.unwrap();
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"later");
    drop(client);
    let stopped = timeout(DEADLINE, running.stopped()).await.unwrap();
    assert!(stopped.forced.is_empty() && stopped.left.is_empty(), "{stopped:?}");

    let running = engine(&adapter, vec![spec("orders", port)], Duration::from_millis(100));
    until(&running, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;
    let mut client = open(port).await;
    running.quit(Reason::Person);
    let stopped = timeout(DEADLINE, running.stopped()).await.unwrap();
    assert_eq!(stopped.forced[0].to_string(), "1 open connection of orders");
    assert!(stopped.left.is_empty(), "{stopped:?}");
    let error = client.read_exact(&mut got).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// Commands name what they apply to, and refuse unknown names without doing anything.
#[tokio::test]
async fn commands_switch_forwards_and_refuse_unknown_names() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let off = ForwardSpec { enabled: false, ..spec("orders", port) };
    let engine = engine(&adapter, vec![off], Duration::from_secs(1));
    until(&engine, "off", |s| first(s, |f| f.word(s.at) == "off")).await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());

    let refusal = engine.command(Command::Start(Selector::Names(vec!["oders".into()]))).await;
    let nearest = Some("orders".to_owned());
    assert_eq!(refusal, Err(Refusal::UnknownForward { name: "oders".into(), nearest }));
    let refusal = engine.command(Command::Start(Selector::Tag("api".into()))).await;
    assert_eq!(refusal, Err(Refusal::UnknownTag { tag: "api".into() }));

    let done = engine.command(Command::Start(Selector::Tag("db".into()))).await.unwrap();
    assert_eq!(done.forwards, ["orders"]);
    until(&engine, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;
    engine.command(Command::Stop(Selector::All)).await.unwrap();
    let off = until(&engine, "off again", |s| {
        first(s, |f| f.state == ForwardState::Stopped && f.tunnel.state == TunnelState::Off)
    })
    .await;
    assert!(!off.forwards[0].wanted);
    stop(&engine).await;
}

/// A restart policy ends after its attempts; the listener stays and a person can start over.
#[tokio::test]
async fn a_restart_policy_gives_up_and_a_person_starts_over() {
    let adapter = Scripted::new(Far::Away(away()));
    let port = free_port();
    let policy = RestartPolicy {
        max_attempts: Some(2),
        initial_delay: Duration::from_millis(1),
        ..RestartPolicy::PATIENT
    };
    let spec = ForwardSpec { restart_policy: Some(policy), ..spec("orders", port) };
    let engine = engine(&adapter, vec![spec], Duration::from_secs(1));
    until(&engine, "giving up", |s| {
        first(s, |f| f.problem.as_ref().is_some_and(|p| p.code == Code::AttemptsUsedUp))
    })
    .await;
    assert_eq!(adapter.opened.load(Ordering::Relaxed), 3);
    adapter.set(Far::Up(echo_server().await));
    engine.command(Command::RetryNow(Selector::All)).await.unwrap();
    until(&engine, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;
    stop(&engine).await;
}

/// A thousand forwards listen, and a start and stop leaves nothing held.
#[tokio::test]
async fn s12_a_thousand_forwards_listen_and_are_released() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let _ = rlimit::increase_nofile_limit(8192);
    // Reserved together, so that no two are the same; freed together just before.
    let reserved: Vec<std::net::TcpListener> =
        (0..1000).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = reserved.iter().map(|l| l.local_addr().unwrap().port()).collect();
    drop(reserved);
    let forwards =
        ports.iter().map(|port| spec(&format!("forward-{port}"), *port)).collect::<Vec<_>>();
    let engine = engine(&adapter, forwards, Duration::from_secs(1));
    let listening = until(&engine, "a thousand listeners", |s| {
        s.forwards.iter().filter(|f| f.listener.state == ListenerState::Listening).count() >= 1000
    })
    .await;
    assert_eq!(listening.forwards.len(), 1000);
    until(&engine, "all serving", |s| s.forwards.iter().all(|f| f.word(s.at) == "serving")).await;
    assert_eq!(echo(ports[999], b"the last").await.unwrap(), b"the last");
    stop(&engine).await;
}

/// S8.3: a quit is called off: the listener is back, open connections never noticed.
#[tokio::test]
async fn s8_3_a_quit_can_be_called_off() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let (on, off) = (free_port(), free_port());
    let switched_off = ForwardSpec { enabled: false, ..spec("off", off) };
    let forwards = vec![spec("orders", on), switched_off];
    let engine = engine(&adapter, forwards, Duration::from_secs(5));
    until(&engine, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;
    let mut client = open(on).await;
    let mut got = [0; 5];
    assert!(engine.command(Command::CancelQuit).await.is_err(), "nothing was ending");

    engine.quit(Reason::Person);
    let draining = until(&engine, "waiting for the connection", |s| {
        s.ending.as_ref().is_some_and(|e| e.stage == Stage::CompleteCurrent)
    })
    .await;
    assert_eq!(draining.ending.as_ref().map(|e| (e.open, e.can_cancel)), Some((1, true)));
    assert!(TcpStream::connect(("127.0.0.1", on)).await.is_err());
    let refused = engine.command(Command::Start(Selector::All)).await;
    assert_eq!(refused, Err(Refusal::Quitting));

    engine.command(Command::CancelQuit).await.unwrap();
    until(&engine, "serving again", |s| {
        s.phase == Phase::Running && s.ending.is_none() && first(s, |f| f.word(s.at) == "serving")
    })
    .await;
    assert_eq!(engine.snapshot().borrow().forwards[1].state, ForwardState::Stopped);
    client.write_all(b"later").await.unwrap();
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"later");
    assert_eq!(echo(on, b"a new client").await.unwrap(), b"a new client");
    drop(client);
    stop(&engine).await;
}

/// S1.2: ten thousand requests to quit are one; a person's hurry cuts what is open.
#[tokio::test]
async fn s1_2_many_requests_are_one_and_a_hurry_cuts() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(60));
    until(&engine, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;
    let _client = open(port).await;
    for _ in 0..10_000 {
        engine.quit(Reason::Person);
    }
    until(&engine, "waiting for the connection", |s| {
        s.ending.as_ref().is_some_and(|e| e.stage == Stage::CompleteCurrent)
    })
    .await;
    engine.hurry();
    let stopped = timeout(DEADLINE, engine.stopped()).await.unwrap();
    assert_eq!(stopped.forced[0].to_string(), "1 open connection of orders");
    let passed: Vec<_> = stopped.stages.iter().map(|p| (p.stage, p.because.clone())).collect();
    assert_eq!(
        passed,
        [
            (Stage::StopNewWork, Because::Done),
            (Stage::CompleteCurrent, Because::Hurried),
            (Stage::CancelTasks, Because::Done),
            (Stage::ForceCleanup, Because::Done),
        ]
    );
    let draining =
        engine.history().iter().filter(|e| e.kind.line() == "engine is draining").count();
    assert_eq!(draining, 1);
}

/// S8.2: a deadline from outside shortens an end under way, and it is kept.
#[tokio::test]
async fn s8_2_a_deadline_shortens_the_end() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(60));
    until(&engine, "serving", |s| first(s, |f| f.word(s.at) == "serving")).await;
    let _client = open(port).await;
    engine.quit(Reason::Person);
    engine.quit_within(Reason::Logout, Duration::from_millis(1_300));
    let stopped = timeout(DEADLINE, engine.stopped()).await.unwrap();
    assert_eq!(stopped.stages[1].because, Because::Expired);
    assert_eq!(stopped.forced.len(), 1);
}
