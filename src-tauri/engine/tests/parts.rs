//! Parts of an engine are drained and resumed while the rest goes on: real sockets, a
//! far side that does what it is told.

// A test may fail.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/scripted.rs"]
mod common;

use common::{DEADLINE, Far, Scripted, echo, echo_server, engine, free_port, spec, stop, until};
use localport_core::command::{Command, Drain, Refusal, Selector};
use localport_core::config::{ForwardSpec, SshTarget, Target};
use localport_core::event::Kind;
use localport_core::shutdown::{Reason, Stage};
use localport_core::snapshot::{Forward, ForwardState, ListenerState, Snapshot};
use localport_engine::handle::EngineHandle;
use localport_engine::registry::LeaseKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(60);

fn names(names: &[&str]) -> Selector {
    Selector::Names(names.iter().map(|name| (*name).to_owned()).collect())
}

fn drain(selector: Selector, within: Duration) -> Drain {
    let within_ms = Some(u64::try_from(within.as_millis()).unwrap());
    Drain { selector, within_ms }
}

fn one<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Forward {
    snapshot.forwards.iter().find(|forward| forward.name == name).unwrap()
}

async fn serving(engine: &EngineHandle) {
    until(engine, "all serving", |s| {
        !s.forwards.is_empty() && s.forwards.iter().all(|f| f.word(s.at) == "serving")
    })
    .await;
}

async fn open(port: u16) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    say(&mut client, b"first").await;
    client
}

async fn say(client: &mut TcpStream, text: &[u8]) {
    let mut got = vec![0; text.len()];
    client.write_all(text).await.unwrap();
    timeout(DEADLINE, client.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, text);
}

/// Three forwards: `a` and `b` share a tag, `b` and `c` a context.
struct Three {
    engine: EngineHandle,
    ports: [u16; 3],
}

async fn three() -> Three {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let ports = [free_port(), free_port(), free_port()];
    let far = |host: &str| SshTarget {
        host: host.to_owned(),
        user: None,
        port: None,
        key_file: None,
        password: None,
        remote_host: "localhost".to_owned(),
        remote_port: 80,
    };
    let forward = |name: &str, port, tag: &str, host: &str| ForwardSpec {
        tags: vec![tag.to_owned()],
        target: Target::Ssh(far(host)),
        ..spec(name, port)
    };
    let forwards = vec![
        forward("a", ports[0], "db", "near"),
        forward("b", ports[1], "db", "far"),
        forward("c", ports[2], "web", "far"),
    ];
    let engine = engine(&adapter, forwards, Duration::from_secs(5));
    serving(&engine).await;
    Three { engine, ports }
}

/// S8.3: by name, by tag, by context; the others do not notice, and a resume of
/// everything brings back exactly what a drain took.
#[tokio::test]
async fn s8_3_a_name_a_tag_a_context_are_drained_and_resumed() {
    let Three { engine, ports } = three().await;
    engine.command(Command::Stop(names(&["c"]))).await.unwrap();
    until(&engine, "c off", |s| one(s, "c").word(s.at) == "off").await;
    for (selector, taken) in [
        (names(&["a"]), &["a"][..]),
        (Selector::Tag("db".into()), &["a", "b"]),
        (Selector::Context("far".into()), &["b"]),
        (Selector::All, &["a", "b"]),
    ] {
        let draining = engine.drain(drain(selector.clone(), LONG)).await.unwrap();
        assert_eq!(draining.done.forwards, taken, "{selector:?}");
        let receipt = timeout(DEADLINE, draining.over()).await.unwrap().unwrap();
        assert!(receipt.is_clean() && receipt.forwards == taken, "{receipt:?}");
        for (name, port) in ["a", "b"].into_iter().zip(ports) {
            if taken.contains(&name) {
                assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
            } else {
                assert_eq!(echo(port, b"untouched").await.unwrap(), b"untouched");
            }
        }
        let shown = until(&engine, "the mark", |s| one(s, taken[0]).drain.is_some()).await;
        let forward = one(&shown, taken[0]);
        assert_eq!((forward.word(shown.at), forward.wanted), ("drained", false));
        let resumed = engine.command(Command::Resume(Selector::All)).await.unwrap();
        assert_eq!(resumed.forwards, taken, "c was stopped, not drained");
        until(&engine, "serving again", |s| {
            ["a", "b"].iter().all(|name| one(s, name).word(s.at) == "serving")
                && s.forwards.iter().all(|f| f.drain.is_none())
        })
        .await;
    }
    let refused = engine.drain(drain(Selector::Context("fa".into()), LONG)).await.err();
    let nearest = Some("far".to_owned());
    assert_eq!(refused, Some(Refusal::UnknownContext { context: "fa".into(), nearest }));
    let nothing = engine.command(Command::Resume(Selector::All)).await.unwrap();
    assert_eq!(nothing.forwards, Vec::<String>::new());
    stop(&engine).await;
}

/// S8.3: resumed in the middle, what was draining goes on as if nothing had been.
#[tokio::test]
async fn s8_3_a_resume_in_the_middle_goes_on() {
    let Three { engine, ports } = three().await;
    let mut client = open(ports[0]).await;
    let draining = engine.drain(drain(names(&["a"]), LONG)).await.unwrap();
    let seen = until(&engine, "waiting for the connection", |s| {
        one(s, "a").drain.is_some_and(|drain| drain.stage == Some(Stage::CompleteCurrent))
    })
    .await;
    assert_eq!(one(&seen, "a").word(seen.at), "draining");
    assert!(TcpStream::connect(("127.0.0.1", ports[0])).await.is_err());
    say(&mut client, b"still here").await;
    engine.command(Command::Resume(names(&["a"]))).await.unwrap();
    let receipt = timeout(DEADLINE, draining.over()).await.unwrap().unwrap();
    assert_eq!((receipt.resumed, receipt.forced), (vec!["a".to_owned()], vec![]));
    until(&engine, "serving again", |s| one(s, "a").word(s.at) == "serving").await;
    say(&mut client, b"as if nothing had been").await;
    assert_eq!(echo(ports[0], b"a new client").await.unwrap(), b"a new client");
    drop(client);
    stop(&engine).await;
}

/// S8.3: the time-out cuts with a reset and names what it cut; the end's receipt is
/// clean all the same, because the end cut nothing.
#[tokio::test]
async fn s8_3_a_time_out_cuts_and_names() {
    let Three { engine, ports } = three().await;
    let mut events = engine.events();
    let mut client = open(ports[1]).await;
    let mut other = open(ports[0]).await;
    let draining = engine.drain(drain(names(&["b"]), Duration::from_millis(300))).await.unwrap();
    let receipt = timeout(DEADLINE, draining.over()).await.unwrap().unwrap();
    assert!(receipt.took_ms >= 300, "{receipt:?}");
    assert_eq!(receipt.forced.len(), 1);
    assert_eq!(receipt.forced[0].to_string(), "1 open connection of b");
    let cut = client.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(cut.kind(), std::io::ErrorKind::ConnectionReset);
    say(&mut other, b"not this one").await;
    let mut said = vec![];
    while !matches!(said.last(), Some(Kind::Drained { .. })) {
        let event = timeout(DEADLINE, events.recv()).await.unwrap().unwrap();
        if event.forward.as_deref() == Some("b") {
            said.push(event.kind.clone());
        }
    }
    for stage in [Stage::CompleteCurrent, Stage::CancelTasks] {
        assert!(said.contains(&Kind::DrainStage { stage, open: 1 }), "{stage:?}: {said:?}");
    }
    assert!(matches!(said.last(), Some(Kind::Drained { forced: 1, .. })));
    engine.command(Command::Resume(Selector::All)).await.unwrap();
    until(&engine, "serving again", |s| one(s, "b").word(s.at) == "serving").await;
    assert_eq!(echo(ports[1], b"again").await.unwrap(), b"again");
    drop(other);
    stop(&engine).await;
}

/// S8.3: a quit takes a drain over; the shorter deadline counts, and no new one begins.
#[tokio::test]
async fn s8_3_a_quit_takes_a_drain_over() {
    let Three { engine, ports } = three().await;
    let (_drained, _open) = (open(ports[0]).await, open(ports[1]).await);
    let draining = engine.drain(drain(names(&["a"]), LONG)).await.unwrap();
    engine.quit(Reason::Person);
    until(&engine, "waiting for the connections", |s| {
        s.ending.as_ref().is_some_and(|ending| ending.stage == Stage::CompleteCurrent)
    })
    .await;
    let refused = engine.drain(drain(names(&["b"]), LONG)).await.err();
    assert_eq!(refused, Some(Refusal::Quitting));
    engine.hurry();
    let receipt = timeout(DEADLINE, draining.over()).await.unwrap().unwrap();
    assert_eq!(receipt.forced[0].to_string(), "1 open connection of a");
    let stopped = timeout(DEADLINE, engine.stopped()).await.unwrap();
    let mut forced: Vec<String> = stopped.forced.iter().map(ToString::to_string).collect();
    forced.sort_unstable();
    assert_eq!(forced, ["1 open connection of a", "1 open connection of b"]);
    assert!(engine.resources().is_empty(), "{:?}", engine.resources());
}

/// S8.3: a drain's own time-out counts during a quit; called off, what was drained stays so.
#[tokio::test]
async fn s8_3_a_drain_keeps_its_shorter_deadline_during_a_quit() {
    let Three { engine, ports } = three().await;
    let (mut cut, mut kept) = (open(ports[0]).await, open(ports[1]).await);
    let draining = engine.drain(drain(names(&["a"]), Duration::from_millis(200))).await.unwrap();
    engine.quit(Reason::Person);
    let receipt = timeout(DEADLINE, draining.over()).await.unwrap().unwrap();
    assert_eq!(receipt.forced.len(), 1);
    assert!(cut.read(&mut [0; 1]).await.is_err());
    engine.command(Command::CancelQuit).await.unwrap();
    until(&engine, "b and c serving again, a drained", |s| {
        one(s, "a").word(s.at) == "drained"
            && ["b", "c"].iter().all(|name| one(s, name).word(s.at) == "serving")
    })
    .await;
    say(&mut kept, b"kept").await;
    let resumed = engine.command(Command::Resume(Selector::All)).await.unwrap();
    assert_eq!(resumed.forwards, ["a"]);
    drop(kept);
    serving(&engine).await;
    stop(&engine).await;
}

/// A number that is the same in every run and different at every step.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// S8.3: any interleaving of wishes, a client open all the while or not, ends in what the
/// last wish says; and nothing is held that should not be.
#[tokio::test]
async fn s8_3_any_interleaving_ends_as_the_last_wish_says() {
    for seed in 1..=40u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let adapter = Scripted::new(Far::Up(echo_server().await));
        let port = free_port();
        let engine = engine(&adapter, vec![spec("a", port)], Duration::from_millis(50));
        serving(&engine).await;
        let client = open(port).await;
        let (mut on, mut drained, mut said) = (true, false, vec![]);
        for _ in 0..dice.roll(12) + 1 {
            let command = match dice.roll(5) {
                0 => Command::Start(Selector::All),
                1 => Command::Stop(Selector::All),
                2 => Command::Restart(Selector::All),
                3 => Command::Resume(Selector::All),
                _ => Command::Drain(drain(Selector::All, Duration::from_millis(dice.roll(60)))),
            };
            match &command {
                Command::Start(_) | Command::Restart(_) => (on, drained) = (true, false),
                Command::Stop(_) => (on, drained) = (false, false),
                Command::Resume(_) => (on, drained) = (on | drained, false),
                _ => (on, drained) = (false, drained | on),
            }
            said.push(command.clone());
            engine.command(command).await.unwrap();
            if dice.roll(3) == 0 {
                // Somewhere in the middle of it, as far as it gets in this time.
                tokio::time::sleep(Duration::from_millis(dice.roll(80))).await;
            }
            if dice.roll(6) == 0 {
                engine.quit(Reason::Person);
                if engine.command(Command::CancelQuit).await.is_err() {
                    break;
                }
            }
        }
        if engine.snapshot().borrow().ending.is_none() {
            let what = format!("on: {on}, drained: {drained} after {said:?}");
            until(&engine, &what, |s| {
                let forward = one(s, "a");
                s.ending.is_some()
                    || forward.drain.is_some() == drained
                        && if on {
                            forward.word(s.at) == "serving"
                        } else {
                            forward.state == ForwardState::Stopped
                        }
            })
            .await;
            let listeners = engine.resources();
            let listeners = listeners.iter().filter(|l| l.kind == LeaseKind::Listener).count();
            assert_eq!(listeners, usize::from(on), "{what}");
            if on {
                assert_eq!(echo(port, b"served").await.unwrap(), b"served", "{what}");
            } else {
                assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "{what}");
            }
        }
        drop(client);
        engine.quit(Reason::Person);
        timeout(DEADLINE, engine.stopped()).await.unwrap();
        assert!(engine.resources().is_empty(), "{:?}", engine.resources());
        let last = engine.snapshot().borrow().clone();
        assert!(last.forwards.iter().all(|f| f.listener.state == ListenerState::Closed));
    }
}
