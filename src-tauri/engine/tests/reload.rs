//! A configuration that changes while forwards carry traffic, against a scripted adapter.

// A test may fail.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "common/scripted.rs"]
mod common;

use common::{DEADLINE, Far, Scripted, echo, echo_server, engine, free_port, spec, stop, until};
use localport_core::command::{Command, Refusal, Selector};
use localport_core::config::{Config, ForwardSpec, Plan, SshTarget, Target};
use localport_core::event::Kind;
use localport_core::shutdown::{Budgets, Reason};
use localport_core::snapshot::{ConfigView, Forward, ForwardState, ListenerState, Phase, Snapshot};
use localport_engine::handle::EngineHandle;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

fn config(forwards: Vec<ForwardSpec>) -> Config {
    Config { forwards, ..Config::default() }
}

async fn apply(engine: &EngineHandle, forwards: Vec<ForwardSpec>) -> Plan {
    let applied = engine.apply(config(forwards), ConfigView::default());
    timeout(DEADLINE, applied).await.unwrap().unwrap()
}

fn named<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a Forward> {
    snapshot.forwards.iter().find(|forward| forward.name == name)
}

async fn serving(engine: &EngineHandle) -> Arc<Snapshot> {
    until(engine, "all serving", |s| {
        !s.forwards.is_empty() && s.forwards.iter().all(|f| f.word(s.at) == "serving")
    })
    .await
}

fn aim(spec: ForwardSpec, remote_port: u16) -> ForwardSpec {
    let Target::Ssh(ssh) = spec.target else { unreachable!() };
    ForwardSpec { target: Target::Ssh(SshTarget { remote_port, ..ssh }), ..spec }
}

/// A connection that has carried bytes both ways and can be asked again.
struct Open(TcpStream);

impl Open {
    async fn through(port: u16) -> Self {
        let mut open = Self(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        open.ask().await;
        open
    }

    async fn ask(&mut self) {
        let mut got = [0; 5];
        self.0.write_all(b"hello").await.unwrap();
        timeout(DEADLINE, self.0.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(&got, b"hello");
    }
}

/// Connects to a port again and again; none may be refused, and each must be served.
struct Visitors {
    going: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Visitors {
    async fn of(port: u16) -> Self {
        let going = Arc::new(AtomicBool::new(true));
        let served = Arc::new(AtomicUsize::new(0));
        let (go, count) = (going.clone(), served.clone());
        let task = tokio::spawn(async move {
            while go.load(Ordering::Relaxed) {
                let reply = timeout(DEADLINE, echo(port, b"visit")).await.unwrap();
                assert_eq!(reply.unwrap(), b"visit", "on port {port}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let visitors = Self { going, served, task };
        visitors.more(1).await;
        visitors
    }

    /// Waits until so many more were served.
    async fn more(&self, count: usize) {
        let enough = self.served.load(Ordering::Relaxed) + count;
        let come = async {
            while self.served.load(Ordering::Relaxed) < enough && !self.task.is_finished() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, come).await.unwrap();
    }

    async fn end(self) {
        self.going.store(false, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

/// S4.3: forwards come and go; what the new configuration does not touch never notices.
#[tokio::test]
async fn s4_3_forwards_come_and_go_beside_traffic() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let (kept, gone, new) = (free_port(), free_port(), free_port());
    let running = vec![spec("gone", gone), spec("kept", kept)];
    let engine = engine(&adapter, running, Duration::from_secs(5));
    serving(&engine).await;
    let sessions = adapter.opened.load(Ordering::Relaxed);
    let mut open = Open::through(kept).await;
    let mut leaving = Open::through(gone).await;
    let visitors = Visitors::of(kept).await;

    let plan = apply(&engine, vec![spec("kept", kept), spec("new", new)]).await;
    assert_eq!(plan.summary(), "1 added, 1 removed, 1 unchanged");
    let snapshot = until(&engine, "gone is stopping", |s| {
        named(s, "gone").is_some_and(|f| f.state == ForwardState::Stopping)
    })
    .await;
    let names: Vec<&str> = snapshot.forwards.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["kept", "new", "gone"]);
    assert!(TcpStream::connect(("127.0.0.1", gone)).await.is_err());
    let refusal = engine.command(Command::Start(Selector::Names(vec!["gone".into()]))).await;
    assert!(matches!(refusal, Err(Refusal::UnknownForward { .. })), "{refusal:?}");
    leaving.ask().await;
    drop(leaving);
    until(&engine, "gone is gone", |s| named(s, "gone").is_none()).await;
    serving(&engine).await;
    assert_eq!(echo(new, b"new").await.unwrap(), b"new");

    visitors.more(3).await;
    visitors.end().await;
    open.ask().await;
    assert_eq!(adapter.opened.load(Ordering::Relaxed), sessions + 1, "one session: the new one");
    drop(open);
    stop(&engine).await;
}

/// S4.3: two forwards swap their ports and no client is refused on either.
#[tokio::test]
async fn s4_3_two_forwards_swap_ports_without_a_refusal() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let (one, two) = (free_port(), free_port());
    let engine = engine(&adapter, vec![spec("a", one), spec("b", two)], Duration::from_secs(5));
    serving(&engine).await;
    let sessions = adapter.opened.load(Ordering::Relaxed);
    let visitors = [Visitors::of(one).await, Visitors::of(two).await];
    let mut open = Open::through(one).await;
    for round in 0..20 {
        let (a, b) = if round % 2 == 0 { (two, one) } else { (one, two) };
        let plan = apply(&engine, vec![spec("a", a), spec("b", b)]).await;
        assert!(plan.changed.iter().all(|change| change.moves.names() == ["port"]));
        let snapshot = engine.fresh().await;
        assert!(snapshot.forwards.iter().all(|f| f.listener.state == ListenerState::Listening));
        assert_eq!(snapshot.forwards[0].local, format!("127.0.0.1:{a}"));
        visitors[round % 2].more(2).await;
    }
    open.ask().await;
    for visitors in visitors {
        visitors.end().await;
    }
    assert_eq!(adapter.opened.load(Ordering::Relaxed), sessions, "no session moved");
    drop(open);
    stop(&engine).await;
}

/// S4.3: a port moves: the old one closes, clients that came over it go on.
#[tokio::test]
async fn s4_3_a_moved_port_keeps_session_clients_and_counters() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let (old, new) = (free_port(), free_port());
    let engine = engine(&adapter, vec![spec("orders", old)], Duration::from_secs(5));
    serving(&engine).await;
    let mut open = Open::through(old).await;
    apply(&engine, vec![spec("orders", new)]).await;
    assert!(TcpStream::connect(("127.0.0.1", old)).await.is_err());
    assert_eq!(echo(new, b"moved").await.unwrap(), b"moved");
    open.ask().await;
    let forward = engine.fresh().await.forwards[0].clone();
    assert_eq!((forward.connections.open, forward.connections.total), (1, 2));
    assert_eq!(adapter.opened.load(Ordering::Relaxed), 1);

    // Only one of the loopbacks: the socket that stays is the same one.
    let narrow = ForwardSpec { bind: vec!["127.0.0.1".parse().unwrap()], ..spec("orders", new) };
    let visitors = Visitors::of(new).await;
    apply(&engine, vec![narrow]).await;
    visitors.more(2).await;
    visitors.end().await;
    assert!(TcpStream::connect(("::1", new)).await.is_err());
    drop(open);
    stop(&engine).await;
}

/// S4.3: another target: new session, same listener; who is connected stays on the old
/// one, which ends with the last of them.
#[tokio::test]
async fn s4_3_another_target_keeps_listener_and_open_connections() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(5));
    serving(&engine).await;
    let mut open = Open::through(port).await;
    let visitors = Visitors::of(port).await;
    apply(&engine, vec![aim(spec("orders", port), 1234)]).await;
    let moved = until(&engine, "serving the new target", |s| {
        named(s, "orders")
            .is_some_and(|f| f.target == "localhost:1234" && f.word(s.at) == "serving")
    })
    .await;
    assert_eq!(moved.forwards[0].since, engine.fresh().await.forwards[0].since);
    assert_eq!(adapter.opened.load(Ordering::Relaxed), 2);
    visitors.more(2).await;
    visitors.end().await;
    open.ask().await;
    let sessions = || {
        let held = engine.resources();
        held.iter().filter(|lease| lease.name.starts_with("session ")).count()
    };
    assert_eq!(sessions(), 2);
    drop(open);
    until(&engine, "no clients", |s| named(s, "orders").unwrap().connections.open == 0).await;
    let ended = async {
        while sessions() > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, ended).await.unwrap();
    stop(&engine).await;
}

/// S4.3: a client that is held stays held over a new target, and is served by it.
#[tokio::test]
async fn s4_3_a_held_client_is_served_by_the_new_target() {
    let adapter = Scripted::new(Far::Blocked);
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(5));
    let client = tokio::spawn(async move { echo(port, b"patient").await });
    until(&engine, "held", |s| named(s, "orders").is_some_and(|f| f.connections.held == 1)).await;
    adapter.set(Far::Up(echo_server().await));
    apply(&engine, vec![aim(spec("orders", port), 1234)]).await;
    assert_eq!(timeout(DEADLINE, client).await.unwrap().unwrap().unwrap(), b"patient");
    stop(&engine).await;
}

/// S4.3: under another name it is the same forward.
#[tokio::test]
async fn s4_3_a_rename_keeps_everything() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("wiki", port)], Duration::from_secs(5));
    serving(&engine).await;
    let mut open = Open::through(port).await;
    let visitors = Visitors::of(port).await;
    apply(&engine, vec![spec("docs", port)]).await;
    let snapshot = until(&engine, "renamed", |s| named(s, "docs").is_some()).await;
    assert_eq!(snapshot.forwards.len(), 1);
    assert_eq!(adapter.opened.load(Ordering::Relaxed), 1);
    visitors.more(2).await;
    visitors.end().await;
    open.ask().await;
    let listeners = engine.resources();
    let owner = listeners.iter().find(|lease| lease.name == format!("port {port}")).unwrap();
    assert_eq!(owner.owner, "docs");
    drop(open);
    stop(&engine).await;
}

/// S4.5: the file switches on and off, but a person's own switch stays until both agree.
#[tokio::test]
async fn s4_5_the_file_switches_and_a_persons_switch_stays() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let on = spec("orders", port);
    let off = ForwardSpec { enabled: false, ..on.clone() };
    let engine = engine(&adapter, vec![on.clone()], Duration::from_secs(1));
    serving(&engine).await;
    apply(&engine, vec![off.clone()]).await;
    let is_off = |s: &Snapshot| named(s, "orders").unwrap().state == ForwardState::Stopped;
    until(&engine, "off by the file", is_off).await;

    engine.command(Command::Start(Selector::All)).await.unwrap();
    serving(&engine).await;
    apply(&engine, vec![ForwardSpec { tags: vec!["new".into()], ..off.clone() }]).await;
    assert!(engine.fresh().await.forwards[0].wanted, "a person said on");

    apply(&engine, vec![on.clone()]).await;
    assert!(engine.fresh().await.forwards[0].wanted);
    apply(&engine, vec![off.clone()]).await;
    until(&engine, "off by the file again", is_off).await;

    apply(&engine, vec![on.clone()]).await;
    serving(&engine).await;
    engine.command(Command::Stop(Selector::All)).await.unwrap();
    until(&engine, "off by a person", is_off).await;
    apply(&engine, vec![aim(on.clone(), 99)]).await;
    assert!(!engine.fresh().await.forwards[0].wanted, "a person said off");
    stop(&engine).await;
}

/// A forward that comes back while it leaves listens at once, with its open connections.
#[tokio::test]
async fn a_forward_that_comes_back_while_it_leaves_goes_on() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let (port, other) = (free_port(), free_port());
    let both = || vec![spec("orders", port), spec("other", other)];
    let engine = engine(&adapter, both(), Duration::from_secs(60));
    serving(&engine).await;
    let mut open = Open::through(port).await;
    apply(&engine, vec![spec("other", other)]).await;
    until(&engine, "leaving", |s| {
        named(s, "orders").is_some_and(|f| f.state == ForwardState::Stopping)
    })
    .await;
    apply(&engine, both()).await;
    serving(&engine).await;
    open.ask().await;
    assert_eq!(engine.fresh().await.forwards.len(), 2);
    assert_eq!(echo(port, b"back").await.unwrap(), b"back");
    drop(open);
    stop(&engine).await;
}

/// S4.3: while the engine ends nothing is applied, and what goes on afterwards is the old.
#[tokio::test]
async fn s4_3_nothing_is_applied_while_the_engine_ends() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let (port, new) = (free_port(), free_port());
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(60));
    serving(&engine).await;
    let open = Open::through(port).await;
    engine.quit(Reason::Person);
    until(&engine, "draining", |s| s.phase == Phase::Draining).await;
    let refused = engine.apply(config(vec![spec("orders", new)]), ConfigView::default()).await;
    assert_eq!(refused, Err(Refusal::Quitting));
    engine.command(Command::CancelQuit).await.unwrap();
    serving(&engine).await;
    assert_eq!(echo(port, b"as before").await.unwrap(), b"as before");
    drop(open);
    stop(&engine).await;
}

/// S4.3, S8.2: budgets are those of the configuration in force, for the next end as for
/// the next stop; what whoever started the engine said stays.
#[tokio::test]
async fn s4_3_budgets_follow_the_configuration() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let usual = Budgets::default();
    let engine = engine(&adapter, vec![spec("orders", port)], usual.complete_current);
    serving(&engine).await;
    assert_eq!(engine.limit(), usual.total());
    let shutdown = Budgets { complete_current: Duration::from_millis(200), ..usual };
    let forwards = || vec![spec("orders", port)];
    let new = Config { shutdown, ..config(forwards()) };
    engine.apply(new, ConfigView::default()).await.unwrap();
    assert_eq!(engine.limit(), shutdown.total());
    let mut open = Open::through(port).await;
    let begun = Instant::now();
    engine.command(Command::Stop(Selector::All)).await.unwrap();
    let cut = timeout(DEADLINE, open.0.read(&mut [0])).await.unwrap();
    assert!(cut.is_err(), "it is cut: {cut:?}");
    assert!(begun.elapsed() < usual.complete_current / 2, "{:?}", begun.elapsed());
    stop(&engine).await;

    let fixed = common::engine(&adapter, forwards(), Duration::from_secs(3));
    let before = fixed.limit();
    let new = Config { shutdown, ..config(forwards()) };
    fixed.apply(new, ConfigView::default()).await.unwrap();
    assert_eq!(fixed.limit(), before);
    stop(&fixed).await;
}

/// Equal configurations move nothing and say nothing.
#[tokio::test]
async fn the_same_configuration_does_nothing() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_secs(1));
    serving(&engine).await;
    let plan = apply(&engine, vec![spec("orders", port)]).await;
    assert!(plan.is_empty());
    let applied = |event: &&Arc<localport_core::event::Event>| {
        matches!(event.kind, Kind::ConfigApplied { .. })
    };
    assert_eq!(engine.history().iter().filter(applied).count(), 0);
    stop(&engine).await;
}

/// S4.3: configurations that come faster than they can be applied end with the last.
#[tokio::test]
async fn s4_3_a_storm_ends_with_the_last() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let (kept, moving) = (free_port(), [free_port(), free_port(), free_port()]);
    let engine = engine(&adapter, vec![spec("kept", kept)], Duration::from_secs(1));
    serving(&engine).await;
    let visitors = Visitors::of(kept).await;
    let mut asks = vec![];
    for round in 0..300usize {
        let other = spec(&format!("other-{}", round % 2), moving[round % 3]);
        let (engine, other) = (engine.clone(), config(vec![other, spec("kept", kept)]));
        asks.push(tokio::spawn(async move { engine.apply(other, ConfigView::default()).await }));
        tokio::task::yield_now().await;
    }
    for ask in asks {
        timeout(DEADLINE, ask).await.unwrap().unwrap().ok();
    }
    let last = vec![spec("other-9", moving[0]), spec("kept", kept)];
    apply(&engine, last).await;
    let end = until(&engine, "the last", |s| {
        s.forwards.len() == 2 && s.forwards.iter().all(|f| f.word(s.at) == "serving")
    })
    .await;
    assert_eq!(end.forwards[0].name, "other-9");
    assert_eq!(echo(moving[0], b"last").await.unwrap(), b"last");
    visitors.end().await;
    stop(&engine).await;
}
