//! Everything a person and a machine can do, in random order, against a model of what was
//! wished last. Time is the runtime's own and jumps, so hours of it cost nothing.

// A test may fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/scripted.rs"]
mod common;

use common::{Far, Scripted, away, echo_server, engine, free_port, spec};
use localport_core::command::{Command, Done, Drain, Refusal, Selector};
use localport_core::resource::LeaseKind;
use localport_core::shutdown::{Budgets, Reason, Stage};
use localport_core::snapshot::{Forward, ForwardState, ListenerState, Phase, Snapshot};
use localport_engine::handle::EngineHandle;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const FORWARDS: usize = 3;
/// What open connections get at the end.
const DRAIN: Duration = Duration::from_secs(8);
/// Longer than any wish takes to come true, in the runtime's time.
const PATIENCE: Duration = Duration::from_secs(120);
/// What an end may take beyond its budgets, in the runtime's time.
const ALLOWANCE: Duration = Duration::from_millis(250);

/// One thing that is done; forwards are numbers, and none means all.
#[derive(Clone, Debug)]
enum Deed {
    Start(Option<usize>),
    Stop(Option<usize>),
    Restart(Option<usize>),
    Retry(Option<usize>),
    Drain(Option<usize>, u64),
    Resume(Option<usize>),
    Suspend,
    Wake,
    Network,
    Quit,
    QuitWithin(u64),
    Hurry,
    CallOff,
    Away,
    Back,
    Client(usize),
    Hangup,
    Pass(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let which = || prop::option::weighted(0.8, 0..FORWARDS);
    prop_oneof![
        4 => which().prop_map(Deed::Start),
        4 => which().prop_map(Deed::Stop),
        2 => which().prop_map(Deed::Restart),
        2 => which().prop_map(Deed::Retry),
        4 => (which(), 0..5_000u64).prop_map(|(which, within)| Deed::Drain(which, within)),
        4 => which().prop_map(Deed::Resume),
        1 => Just(Deed::Suspend),
        2 => Just(Deed::Wake),
        1 => Just(Deed::Network),
        1 => Just(Deed::Quit),
        1 => (0..20_000u64).prop_map(Deed::QuitWithin),
        1 => Just(Deed::Hurry),
        3 => Just(Deed::CallOff),
        1 => Just(Deed::Away),
        2 => Just(Deed::Back),
        5 => (0..FORWARDS).prop_map(Deed::Client),
        2 => Just(Deed::Hangup),
        4 => prop_oneof![0..50u64, 0..20_000u64].prop_map(Deed::Pass),
    ]
}

/// What was wished last of a forward.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wish {
    On,
    Off,
    Drained,
}

/// Whether the machine sleeps, as far as the engine was told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sleep {
    Awake,
    Asleep,
    /// A client came in it or just before, and a client that comes means that it is over.
    Disturbed,
}

impl Sleep {
    fn allows(self, phase: Phase) -> bool {
        match self {
            Sleep::Awake => phase == Phase::Running,
            Sleep::Asleep => phase == Phase::Asleep,
            Sleep::Disturbed => matches!(phase, Phase::Running | Phase::Asleep),
        }
    }
}

struct Model {
    wishes: [Wish; FORWARDS],
    sleep: Sleep,
    /// A client came at some time: one that has gone may still wait to be accepted.
    visited: bool,
    /// When the end that is under way began, and by when it has to be over.
    end: Option<Instant>,
}

struct World {
    engine: EngineHandle,
    adapter: Scripted,
    server: SocketAddr,
    ports: Vec<u16>,
    clients: Vec<TcpStream>,
    model: Model,
}

impl World {
    async fn new() -> Self {
        let server = echo_server().await;
        let adapter = Scripted::new(Far::Up(server));
        let ports: Vec<u16> = (0..FORWARDS).map(|_| free_port()).collect();
        let specs = ports.iter().enumerate().map(|(index, port)| spec(&name(index), *port));
        let engine = engine(&adapter, specs.collect(), DRAIN);
        let model =
            Model { wishes: [Wish::On; FORWARDS], sleep: Sleep::Awake, visited: false, end: None };
        Self { engine, adapter, server, ports, clients: vec![], model }
    }

    async fn command(&mut self, command: Command) -> Option<Done> {
        match self.engine.command(command).await {
            Ok(done) => {
                assert_eq!(self.model.end, None, "obeyed while it ends");
                Some(done)
            }
            Err(Refusal::Quitting) => {
                assert!(self.model.end.is_some(), "refused although it does not end");
                None
            }
            Err(refusal) => panic!("{refusal}"),
        }
    }

    async fn wish(&mut self, command: Command, which: Option<usize>, to: fn(Wish) -> Wish) {
        if self.command(command).await.is_some() {
            for (index, wish) in self.model.wishes.iter_mut().enumerate() {
                if which.is_none_or(|which| which == index) {
                    *wish = to(*wish);
                }
            }
        }
    }

    /// Budgets begin when an end does, and a deadline only shrinks.
    fn ends_within(&mut self, within: Duration) {
        let until = Instant::now() + within;
        self.model.end = Some(self.model.end.map_or(until, |earlier| earlier.min(until)));
    }

    async fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Start(which) => {
                self.wish(Command::Start(selector(which)), which, |_| Wish::On).await;
            }
            Deed::Stop(which) => {
                self.wish(Command::Stop(selector(which)), which, |_| Wish::Off).await;
            }
            Deed::Restart(which) => {
                self.wish(Command::Restart(selector(which)), which, |_| Wish::On).await;
            }
            Deed::Retry(which) => {
                self.wish(Command::RetryNow(selector(which)), which, |wish| wish).await;
            }
            Deed::Drain(which, within) => {
                let drain = Drain { selector: selector(which), within_ms: Some(within) };
                let to = |wish| if wish == Wish::On { Wish::Drained } else { wish };
                self.wish(Command::Drain(drain), which, to).await;
            }
            Deed::Resume(which) => {
                let to = |wish| if wish == Wish::Drained { Wish::On } else { wish };
                self.wish(Command::Resume(selector(which)), which, to).await;
            }
            Deed::Suspend => {
                self.engine.suspend(Duration::from_secs(5)).await;
                let is_calm = !self.model.visited;
                self.model.sleep = if is_calm { Sleep::Asleep } else { Sleep::Disturbed };
            }
            Deed::Wake => {
                self.engine.wake(Some(Duration::from_secs(3_600)));
                self.model.sleep = Sleep::Awake;
            }
            Deed::Network => self.engine.network_changed(),
            Deed::Quit => {
                self.engine.quit(Reason::Person);
                if self.model.end.is_none() {
                    self.ends_within(usual());
                }
            }
            Deed::QuitWithin(ms) => {
                self.engine.quit_within(Reason::Logout, Duration::from_millis(ms));
                self.ends_within(Duration::from_millis(ms).min(usual()));
            }
            // Only whoever asked for the end can want it sooner.
            Deed::Hurry if self.model.end.is_some() => self.engine.hurry(),
            Deed::Hurry => {}
            Deed::CallOff => {
                if self.engine.command(Command::CancelQuit).await.is_ok() {
                    assert!(self.model.end.is_some(), "there was nothing to call off");
                    self.model.end = None;
                }
            }
            Deed::Away => self.adapter.set(Far::Away(away())),
            Deed::Back => self.adapter.set(Far::Up(self.server)),
            Deed::Client(index) => {
                if let Ok(mut client) = TcpStream::connect(("127.0.0.1", self.ports[index])).await {
                    let _ = client.write_all(b"hello").await;
                    self.model.visited = true;
                    if self.model.sleep == Sleep::Asleep {
                        self.model.sleep = Sleep::Disturbed;
                    }
                    self.clients.push(client);
                }
            }
            Deed::Hangup => drop(self.clients.pop()),
            // The end is looked at when it comes.
            Deed::Pass(ms) => {
                let _ = timeout(Duration::from_millis(ms), self.engine.stopped()).await;
            }
        }
    }

    /// What was wished last comes true, is what is shown, and is all that is held.
    async fn settles(&self) {
        let Model { wishes, sleep, .. } = self.model;
        let is_told = |snapshot: &Snapshot| {
            sleep.allows(snapshot.phase)
                && snapshot.ending.is_none()
                && snapshot.forwards.iter().zip(wishes).all(|(forward, wish)| tells(forward, wish))
        };
        let mut snapshots = self.engine.snapshot();
        // What is lent by the snapshot is not kept: the engine would wait for it.
        let told =
            timeout(PATIENCE, snapshots.wait_for(|snapshot| is_told(snapshot))).await.is_ok();
        assert!(
            told,
            "{wishes:?}, {sleep:?}, never came true: {:#?}",
            self.engine.snapshot().borrow()
        );
        // A client that closes while it is held may only have said all it had to say, so it
        // is held on; and nothing announces that a lease went.
        let limit = Instant::now() + PATIENCE;
        while let Some(complaint) = self.without_reason() {
            assert!(Instant::now() < limit, "{complaint}: {:#?}", self.engine.resources());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What is held that nothing wished explains, if anything is.
    fn without_reason(&self) -> Option<String> {
        let held = self.engine.resources();
        for (index, wish) in self.model.wishes.into_iter().enumerate() {
            let own =
                |kind| held.iter().filter(|l| l.kind == kind && l.owner == name(index)).count();
            let (listeners, sessions) = (own(LeaseKind::Listener), own(LeaseKind::Session));
            if listeners != usize::from(wish == Wish::On) || sessions > listeners {
                return Some(format!("{wish:?} with {listeners} listeners, {sessions} sessions"));
            }
            if wish != Wish::On && own(LeaseKind::Connection) > 0 {
                return Some(format!("{wish:?} with clients"));
            }
        }
        let clients = held.iter().filter(|lease| lease.kind == LeaseKind::Connection).count();
        (clients > self.clients.len()).then(|| format!("{clients} clients"))
    }

    /// Ends in its budget, with a receipt that is true.
    async fn ends(mut self) {
        if self.model.end.is_none() {
            self.act(Deed::Quit).await;
        }
        let until = self.model.end.unwrap() + ALLOWANCE;
        let receipt = timeout(PATIENCE, self.engine.stopped()).await.expect("it ends");
        assert!(Instant::now() <= until, "{:?} late: {receipt:#?}", Instant::now() - until);
        let stages: Vec<Stage> = receipt.stages.iter().map(|passed| passed.stage).collect();
        assert_eq!(stages, Stage::ALL);
        assert!(!receipt.reasons.is_empty(), "{receipt:#?}");
        assert_eq!((&receipt.left, &receipt.faults), (&vec![], &vec![]), "{receipt:#?}");
        assert!(self.engine.resources().is_empty(), "{:#?}", self.engine.resources());
        let mut broken = 0;
        for client in &mut self.clients {
            let mut rest = vec![];
            let told = timeout(PATIENCE, client.read_to_end(&mut rest)).await;
            broken += usize::from(told.expect("every client is told").is_err());
        }
        let forced = receipt.forced.iter().filter(|held| held.kind == LeaseKind::Connection);
        let named: usize =
            forced.map(|held| held.name.split(' ').next().unwrap().parse().unwrap_or(1)).sum();
        assert!(named <= broken, "{named} named, {broken} broke off: {receipt:#?}");
        for port in self.ports {
            assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "{port} listens");
        }
    }
}

/// Whether `forward` is as was wished, and says so.
fn tells(forward: &Forward, wish: Wish) -> bool {
    let is_off =
        forward.state == ForwardState::Stopped && forward.listener.state == ListenerState::Closed;
    match wish {
        Wish::On => {
            let leaves = matches!(forward.state, ForwardState::Stopped | ForwardState::Stopping);
            !leaves
                && forward.wanted
                && forward.listener.state == ListenerState::Listening
                && forward.drain.is_none()
        }
        Wish::Off => is_off && forward.drain.is_none(),
        Wish::Drained => is_off && forward.drain.as_ref().is_some_and(|d| d.stage.is_none()),
    }
}

fn usual() -> Duration {
    let budgets = Budgets::default();
    budgets.stop_new_work + DRAIN + budgets.cancel_tasks + budgets.force_cleanup
}

fn name(index: usize) -> String {
    format!("f{index}")
}

fn selector(which: Option<usize>) -> Selector {
    which.map_or(Selector::All, |index| Selector::Names(vec![name(index)]))
}

fn cases() -> u32 {
    let runs = std::env::var("LOCALPORT_CHAOS_RUNS").ok().and_then(|runs| runs.parse().ok());
    runs.unwrap_or(1_u32).saturating_mul(200)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..ProptestConfig::default()
    })]

    /// S1.2, S3.1, S3.4, S11.3, S11.5: whatever is done in whatever order: no lease without
    /// a reason, the snapshot tells the last wish, and every end is in time and true.
    #[test]
    fn s11_3_any_sequence_of_deeds_is_told_and_ends_true(
        deeds in prop::collection::vec(deed(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for deed in deeds {
                let done = timeout(PATIENCE, world.act(deed.clone())).await;
                assert!(done.is_ok(), "{deed:?} is never answered");
                if world.model.end.is_some() && is_over(&world.engine).await {
                    break;
                }
            }
            if world.model.end.is_none() {
                world.settles().await;
            }
            world.ends().await;
        });
    }
}

/// Whether the engine has ended.
async fn is_over(engine: &EngineHandle) -> bool {
    timeout(Duration::ZERO, engine.stopped()).await.is_ok()
}
