//! What wins when two wishes meet: the table in the documentation, row by row, against
//! what an engine does.

// A test may fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/scripted.rs"]
mod common;

use common::{DEADLINE, Far, Scripted, away, echo_server, engine, free_port, spec, until};
use localport_core::command::{Command, Drain, Refusal, Selector};
use localport_core::config::{Config, ForwardSpec};
use localport_core::shutdown::Reason;
use localport_core::snapshot::{ConfigView, Forward, ForwardState, ListenerState, Phase, Snapshot};
use localport_engine::handle::EngineHandle;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Rows that the table has; fewer were lost, more are to be tried here.
const ROWS: usize = 19;
/// Longer than a row takes: nothing here ends because its time is over.
const LONG: Duration = Duration::from_secs(60);

/// The forward that the rows are about, and one beside it that shows when time has passed.
struct Scene {
    engine: EngineHandle,
    adapter: Scripted,
    server: SocketAddr,
    specs: Vec<ForwardSpec>,
    /// Keeps an end waiting.
    client: TcpStream,
}

fn it() -> Selector {
    Selector::Names(vec!["it".to_owned()])
}

fn named<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Forward {
    snapshot.forwards.iter().find(|forward| forward.name == name).unwrap()
}

fn serves(snapshot: &Snapshot, name: &str) -> bool {
    let named = snapshot.forwards.iter().find(|forward| forward.name == name);
    named.is_some_and(|forward| forward.word(snapshot.at) == "serving")
}

/// What is the case, in the table's words.
fn holds(snapshot: &Snapshot) -> &'static str {
    let it = named(snapshot, "it");
    let listens = it.wanted && it.listener.state == ListenerState::Listening;
    match (snapshot.phase, it.state) {
        (Phase::Draining, _) => "the end goes on",
        (Phase::Stopped, _) => "ends",
        (_, ForwardState::Stopped) if it.drain.is_some() => "drained",
        (_, ForwardState::Stopped) if !it.wanted => "off",
        _ if listens => "on",
        _ => "something in between",
    }
}

impl Scene {
    async fn new() -> Self {
        let server = echo_server().await;
        let adapter = Scripted::new(Far::Up(server));
        let ports = [free_port(), free_port()];
        let specs = vec![spec("it", ports[0]), spec("beside", ports[1])];
        let engine = engine(&adapter, specs.clone(), LONG);
        until(&engine, "both serve", |s| serves(s, "it") && serves(s, "beside")).await;
        let mut client = TcpStream::connect(("127.0.0.1", ports[0])).await.unwrap();
        client.write_all(b"x").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        Self { engine, adapter, server, specs, client }
    }

    async fn away(&self) {
        self.adapter.set(Far::Away(away()));
        let waits = |s: &Snapshot| named(s, "beside").state == ForwardState::BackingOff;
        until(&self.engine, "the cluster is away", waits).await;
    }

    async fn back(&self) {
        self.adapter.set(Far::Up(self.server));
        until(&self.engine, "the cluster is back", |s| serves(s, "beside")).await;
    }

    /// Brings about what is the case before.
    async fn begin(&mut self, what: &str) {
        match what {
            "everything runs" => {}
            "LocalPort ends" => {
                self.engine.quit(Reason::Person);
                until(&self.engine, what, |s| s.phase == Phase::Draining).await;
            }
            "LocalPort ends with the session" => {
                self.engine.quit_within(Reason::Logout, LONG);
                until(&self.engine, what, |s| s.phase == Phase::Draining).await;
            }
            "a person switched it off" => {
                self.command(Command::Stop(it())).await.unwrap();
                self.leave("off").await;
            }
            "a person drained it" => {
                self.drain().await.unwrap();
                self.leave("drained").await;
            }
            "its cluster is away" => {
                self.leave_client().await;
                self.away().await;
            }
            "the machine sleeps" => {
                self.leave_client().await;
                self.engine.suspend(DEADLINE).await;
            }
            other => panic!("nobody knows how to bring about {other:?}"),
        }
    }

    async fn command(&self, command: Command) -> Result<(), Refusal> {
        timeout(DEADLINE, self.engine.command(command)).await.unwrap().map(drop)
    }

    async fn drain(&self) -> Result<(), Refusal> {
        self.command(Command::Drain(Drain { selector: it(), within_ms: None })).await
    }

    async fn leave_client(&mut self) {
        self.client.shutdown().await.unwrap();
        let gone = |s: &Snapshot| named(s, "it").connections.open == 0;
        until(&self.engine, "the client has gone", gone).await;
    }

    async fn leave(&mut self, word: &'static str) {
        self.leave_client().await;
        until(&self.engine, word, |s| holds(s) == word).await;
    }

    /// Does what comes, and waits until it had its effect on the forward beside.
    async fn come(&mut self, what: &str) -> Result<(), Refusal> {
        match what {
            "a person switches it on" => self.command(Command::Start(it())).await,
            "a person switches it off" => {
                self.leave_client().await;
                self.command(Command::Stop(it())).await
            }
            "a person drains it" => self.drain().await,
            "a person resumes it" => self.command(Command::Resume(it())).await,
            "a person asks for the end" => {
                self.engine.quit(Reason::Person);
                Ok(())
            }
            "the session goes on" => {
                self.engine.session_goes_on();
                Ok(())
            }
            "the end is called off" => self.command(Command::CancelQuit).await,
            "the configuration changes something else of it" => {
                let mut forwards = self.specs.clone();
                forwards[0].tags = vec!["new".to_owned()];
                let config = Config { forwards, ..Config::default() };
                let applied = self.engine.apply(config, ConfigView::default());
                timeout(DEADLINE, applied).await.unwrap().map(drop)
            }
            "its cluster fails" => {
                self.adapter.set(Far::Away(away()));
                // An end shows nothing of it, so all that waits in line passes first.
                self.engine.fresh().await;
                Ok(())
            }
            "its cluster comes back" => {
                if !matches!(self.engine.fresh().await.phase, Phase::Draining) {
                    self.away().await;
                    self.back().await;
                }
                Ok(())
            }
            other => panic!("nobody knows how {other:?} comes"),
        }
    }

    /// Waits until `word` is the case, as it has to be.
    async fn expect(&self, word: &str, row: &[&str]) {
        if word == "ends" {
            timeout(DEADLINE, self.engine.stopped()).await.expect("it ends");
            return;
        }
        let mut snapshots = self.engine.snapshot();
        let held = timeout(DEADLINE, snapshots.wait_for(|s| holds(s) == word)).await;
        let now = self.engine.snapshot();
        assert!(held.is_ok(), "{row:?}, but it is {:?}: {:#?}", holds(&now.borrow()), now.borrow());
    }
}

/// S4.5: one table for what wins: an end, a person, a drain, a cluster, a configuration.
#[tokio::test]
async fn s4_5_what_wins_is_as_documented() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/shutdown.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let table = docs.split("<!-- rules -->").nth(1).expect("the table is marked");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| while"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), ROWS, "{table}");
    for row in rows {
        let mut scene = Scene::new().await;
        scene.begin(row[0]).await;
        let refused = scene.come(row[1]).await == Err(Refusal::Quitting);
        let (wanted, word) = match row[2].split_once("refused, ") {
            Some((_, rest)) => (true, rest),
            None => (false, row[2]),
        };
        assert_eq!(refused, wanted, "{row:?}");
        scene.expect(word, &row).await;
    }
}
