//! Owns the one loop: sole writer of the snapshot.
//!
//! Receives commands from every handle and reports from the supervisors, emits the
//! snapshot and the events. It does no IO and waits for nothing but its channels.

mod ahead;
pub(crate) mod board;
mod ending;
pub(crate) mod parts;
pub(crate) mod rest;

use crate::adapter::Adapter;
use crate::handle::{Ask, Clock, EngineHandle, HISTORY, Request};
use crate::registry::{Registry, Tasks};
use crate::relay::Counters;
use crate::supervisor::{Order, Report, Shared, Supervisor, Wish};
pub use ahead::Memory;

use ahead::{Ahead, Step};
use board::Board;
use ending::End;
use localport_core::command::{Command, Done, Refusal, Selector};
use localport_core::config::{Config, Target};
use localport_core::event::{Event, Kind};
use localport_core::receipt::Receipt;
use localport_core::shutdown::Input;
use localport_core::snapshot::{Phase, Snapshot};
use parts::{Drains, Wanted};
use rest::Rest;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, interval, sleep_until};

/// Time open connections get when the engine quits.
pub const DRAIN: Duration = Duration::from_secs(8);
/// Snapshots are at least this far apart, so that a thousand changes cost one.
const COALESCE: Duration = Duration::from_millis(20);
/// The same for counters, which may change thousands of times a second.
const COALESCE_COUNTERS: Duration = Duration::from_millis(250);
/// How fresh byte counters are while somebody watches them.
const TRAFFIC: Duration = Duration::from_secs(1);
/// Probes under way at once; more would only queue at the hosts.
const PROBES: usize = 64;
/// Orders that wait for one supervisor before it counts as busy.
const ORDERS: usize = 32;
/// Reports taken in one go.
const BATCH: usize = 256;
/// Owner of the leases that outlive the engine: lock, control socket, its clients.
pub const HOST: &str = "host";
/// Owner of the engine's own tasks.
const ENGINE: &str = "engine";

/// What an engine is started with.
pub struct Options {
    /// What to run.
    pub config: Config,
    /// Places looked at for a configuration, for people when none was found.
    pub searched: Vec<PathBuf>,
    /// Carries forwards behind SSH hosts.
    pub ssh: Arc<dyn Adapter>,
    /// Carries forwards into clusters.
    pub kube: Arc<dyn Adapter>,
    /// The account that the adapters claim from as well.
    pub registry: Registry,
    /// How long open connections may finish when a forward or the engine stops.
    pub drain: Duration,
    /// What outlives the engine.
    pub memory: Memory,
}

/// Starts an engine on the current tokio runtime. Forwards that are switched on bind
/// their ports at once.
#[must_use]
pub fn start(options: Options) -> EngineHandle {
    let clock = Clock::start();
    let tasks = Tasks::new(ENGINE, &options.registry);
    let changed = Arc::new(Notify::new());
    let (requests, requests_in) = mpsc::channel(64);
    let (reports, reports_in) = mpsc::channel(1024);
    let events = broadcast::Sender::new(1024);
    let history = Arc::new(Mutex::new(VecDeque::with_capacity(HISTORY)));
    let (stopped, stopped_out) = watch::channel(None);
    let (wish, wished) = watch::channel(Wish::Run);
    let (asks, asks_in) = mpsc::channel(64);
    let (rest, pulse) = Rest::new(options.config.forwards.len());
    let shared = Arc::new(Shared {
        registry: options.registry.clone(),
        tasks: tasks.child("supervisors"),
        buffers: Arc::default(),
        clock,
        changed: changed.clone(),
        probes: Arc::new(Semaphore::new(PROBES)),
        searches: Semaphore::new(1),
        drain: options.drain,
        wish: wished,
        pulse,
    });
    let board = Board::new(&options.config, &options.searched, clock);
    let snapshot = watch::Sender::new(Arc::new(board.snapshot(clock.now())));
    let handle = EngineHandle {
        requests,
        snapshot: snapshot.subscribe(),
        events: events.clone(),
        history: history.clone(),
        watchers: Arc::new(watch::Sender::new(0)),
        asks,
        stopped: stopped_out,
        registry: options.registry.clone(),
        clock,
    };
    let mut engine = Engine {
        adapters: [options.ssh.clone(), options.kube.clone()],
        orders: Vec::with_capacity(options.config.forwards.len()),
        targets: options.config.forwards.iter().map(|spec| spec.target.clone()).collect(),
        registry: options.registry,
        supervisors: shared.tasks.clone(),
        board,
        events,
        history,
        snapshot,
        stale: Stale::default(),
        end: End::new(options.drain, wish, tasks.clone()),
        ahead: Ahead::new(options.memory),
        drains: Drains::default(),
        drain: options.drain,
        rest,
        clock,
    };
    for spec in options.config.forwards {
        engine.supervise(spec, &options.ssh, &options.kube, &shared, &reports);
    }
    drop(reports);
    let inputs = Inputs {
        requests: requests_in,
        reports: reports_in,
        changed,
        watchers: handle.watchers.subscribe(),
        asks: asks_in,
    };
    tasks.spawn_to_end("loop", engine.run(inputs, stopped));
    handle
}

/// An order with a place in its supervisor's channel.
type Ready = (mpsc::OwnedPermit<Order>, Order);
type Reply = oneshot::Sender<Result<Done, Refusal>>;

/// Everything the loop listens to.
struct Inputs {
    requests: mpsc::Receiver<Request>,
    reports: mpsc::Receiver<Report>,
    changed: Arc<Notify>,
    watchers: watch::Receiver<usize>,
    asks: mpsc::Receiver<Ask>,
}

struct Engine {
    adapters: [Arc<dyn Adapter>; 2],
    orders: Vec<mpsc::Sender<Order>>,
    targets: Vec<Target>,
    registry: Registry,
    supervisors: Tasks,
    board: Board,
    events: broadcast::Sender<Arc<Event>>,
    history: Arc<Mutex<VecDeque<Arc<Event>>>>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    stale: Stale,
    end: End,
    ahead: Ahead,
    drains: Drains,
    drain: Duration,
    rest: Rest,
    clock: Clock,
}

/// Forwards that a command is about, and a place in the queue of each.
#[derive(Default)]
struct Reserved {
    forwards: Vec<String>,
    permits: BTreeMap<String, mpsc::OwnedPermit<Order>>,
}

/// When the snapshot is due to be written again.
#[derive(Default)]
struct Stale {
    due: Option<Instant>,
    written: Option<Instant>,
}

impl Stale {
    /// Something changed that may be shown up to `patience` after the last writing.
    fn mark(&mut self, patience: Duration) {
        let earliest = self.written.map_or_else(Instant::now, |written| written + patience);
        self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
    }

    fn clear(&mut self) {
        *self = Stale { due: None, written: Some(Instant::now()) };
    }
}

impl Engine {
    fn supervise(
        &mut self,
        spec: localport_core::config::ForwardSpec,
        ssh: &Arc<dyn Adapter>,
        kube: &Arc<dyn Adapter>,
        shared: &Arc<Shared>,
        reports: &mpsc::Sender<Report>,
    ) {
        let adapter = match spec.target {
            Target::Ssh(_) => ssh.clone(),
            Target::Kube(_) => kube.clone(),
        };
        let (orders, orders_in) = mpsc::channel(ORDERS);
        let counters = Arc::new(Counters::default());
        self.board.adopt(counters.clone());
        let enabled = self.ahead.wanted(&spec);
        let name = spec.name.clone();
        let index = self.orders.len();
        let (supervisor, inbox) =
            Supervisor::new(index, spec, adapter, shared.clone(), reports.clone(), counters);
        shared.tasks.spawn_to_end(format!("supervisor {name}"), supervisor.run(orders_in, inbox));
        if !enabled {
            self.drains.parts.switched_off(std::slice::from_ref(&name));
        }
        if enabled {
            // The channel is fresh and empty.
            let _ = orders.try_send(Order::Start);
        }
        self.orders.push(orders);
    }

    async fn run(mut self, mut inputs: Inputs, stopped: watch::Sender<Option<Receipt>>) {
        self.enter(Phase::Running);
        if let Some(text) = self.ahead.found() {
            self.announce(None, Kind::Note { text });
        }
        let mut ticks = interval(TRAFFIC);
        let mut batch = Vec::with_capacity(BATCH);
        while !(self.end.is_over() && self.ahead.is_empty()) {
            let publish = self.stale.due;
            let stage = self.end.wake_at.map(|at| self.clock.instant(at));
            let drain = self.drains.wake_at().map(|at| self.clock.instant(at));
            let watched = *inputs.watchers.borrow() > 0;
            let reports = !inputs.reports.is_closed() || !inputs.reports.is_empty();
            tokio::select! {
                biased;
                step = self.ahead.next() => self.perform(step),
                Some(ask) = inputs.asks.recv() => self.asked(ask),
                () = until(stage) => self.drive(Input::Due),
                () = until(drain) => self.drains_due(),
                ended = self.end.work_ended() => self.worked(ended),
                Some(request) = inputs.requests.recv() => self.answer(request),
                _ = inputs.reports.recv_many(&mut batch, BATCH), if reports => self.take(&mut batch),
                () = inputs.changed.notified() => self.stale.mark(COALESCE_COUNTERS),
                _ = inputs.watchers.changed() => {}
                _ = ticks.tick(), if watched => self.stale.mark(Duration::ZERO),
                () = until(publish) => self.publish(),
            }
            self.look();
        }
        let report = self.report().await;
        self.enter(Phase::Stopped);
        self.publish();
        stopped.send_replace(Some(report));
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Command(Command::CancelQuit, reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.call_off());
            }
            Request::Command(_, reply) if self.end.is_under_way() => {
                let _ = reply.send(Err(Refusal::Quitting));
            }
            Request::Drain(_, reply) if self.end.is_under_way() => {
                let _ = reply.send(Err(Refusal::Quitting));
            }
            Request::Drain(drain, reply) => self.ask_part(Wanted::Drain(drain, reply)),
            Request::Command(Command::Drain(drain), reply) => {
                self.ask_part(Wanted::Start(drain, reply));
            }
            Request::Command(Command::Resume(selector), reply) => {
                self.ask_part(Wanted::Resume(selector, reply));
            }
            Request::Command(Command::TrustHostKey(name), reply) => self.trust(&name, reply),
            Request::Command(command, reply) => {
                self.obey(command, reply);
            }
            Request::Fresh(reply) => {
                self.publish();
                let _ = reply.send(self.snapshot.borrow().clone());
            }
        }
    }

    fn obey(&mut self, command: Command, reply: Reply) {
        match self.accept(&command) {
            Ok((done, orders)) => {
                let switched = self.ahead.switched(&command, &done.forwards);
                self.ahead.after(switched, Step::Obey { orders, done, reply });
            }
            Err(refusal) => {
                // Whoever asked may have gone.
                let _ = reply.send(Err(refusal));
            }
        }
    }

    fn accept(&self, command: &Command) -> Result<(Done, Vec<Ready>), Refusal> {
        let (selector, order) = match command {
            Command::Start(selector) => (selector, Order::Start),
            Command::Stop(selector) => (selector, Order::Stop),
            Command::Restart(selector) => (selector, Order::Restart),
            Command::RetryNow(selector) => (selector, Order::RetryNow),
            // All of these have their own way.
            Command::TrustHostKey(_)
            | Command::CancelQuit
            | Command::Drain(_)
            | Command::Resume(_) => {
                return Ok((Done::default(), vec![]));
            }
        };
        let reserved = self.reserve(selector)?;
        let forwards = reserved.forwards;
        let orders = reserved.permits.into_values().map(|permit| (permit, order.clone()));
        Ok((Done { forwards, message: None }, orders.collect()))
    }

    /// Asks all before any is told: a refused command has done nothing.
    fn reserve(&self, selector: &Selector) -> Result<Reserved, Refusal> {
        let indices = self.board.select(selector)?;
        let mut reserved = Reserved::default();
        for index in indices {
            let name = self.board.name(index).to_owned();
            match self.orders[index].clone().try_reserve_owned() {
                Ok(permit) => drop(reserved.permits.insert(name.clone(), permit)),
                Err(TrySendError::Full(_)) => {
                    let sentence = format!("`{name}` is busy with earlier commands");
                    return Err(Refusal::NotNow { sentence });
                }
                // A supervisor that is gone ends with the engine.
                Err(TrySendError::Closed(_)) => {}
            }
            reserved.forwards.push(name);
        }
        Ok(reserved)
    }

    /// Does what the journal has written down.
    fn perform(&mut self, step: Step) {
        match step {
            Step::Obey { orders, done, reply } => {
                if let Some((_, order)) = orders.first() {
                    let order = order.clone();
                    self.switched(&order, &done.forwards);
                }
                for (permit, order) in orders {
                    permit.send(order);
                }
                // Whoever asked may have gone; the command stands all the same.
                let _ = reply.send(Ok(done));
            }
            Step::Part(wish, reserved) => self.perform_part(wish, reserved),
            Step::Enter(stage, now) => self.begin(stage, now),
            Step::Resume => self.resume(),
            Step::Say(text) => self.announce(None, Kind::Note { text }),
        }
    }

    /// Trusting asks the host again, so it runs beside the loop; the forward then retries.
    fn trust(&self, name: &str, reply: oneshot::Sender<Result<Done, Refusal>>) {
        let index = match self.board.select(&Selector::Names(vec![name.to_owned()])) {
            Ok(indices) if !indices.is_empty() => indices[0],
            Ok(_) => return,
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        let adapter = match self.targets[index] {
            Target::Ssh(_) => self.adapters[0].clone(),
            Target::Kube(_) => self.adapters[1].clone(),
        };
        let (target, orders) = (self.targets[index].clone(), self.orders[index].clone());
        let name = name.to_owned();
        self.supervisors.spawn(format!("trust {name}"), async move {
            let answer = match adapter.trust(&target).await {
                Ok(fingerprint) => {
                    let _ = orders.send(Order::RetryNow).await;
                    let message = Some(format!("the key `{fingerprint}` is trusted from now on"));
                    Ok(Done { forwards: vec![name], message })
                }
                Err(problem) => Err(Refusal::NotNow { sentence: problem.sentence }),
            };
            let _ = reply.send(answer);
        });
    }

    fn take(&mut self, batch: &mut Vec<Report>) {
        for report in batch.drain(..) {
            match report {
                Report::View { index, forward, drain } => {
                    self.watch_drain(index, drain, &forward);
                    self.board.show(index, *forward);
                }
                Report::Quiet { index } => self.rest.quiet(index),
                Report::Event { index, kind } => {
                    let forward = Some(self.board.name(index).to_owned());
                    self.announce(forward, kind);
                }
                Report::Forced { index, clients } => {
                    let plural = if clients == 1 { "" } else { "s" };
                    let forward = self.board.name(index);
                    tracing::info!(forward, "cut {clients} open connection{plural}");
                    let clients = u32::try_from(clients).unwrap_or(u32::MAX);
                    self.drains.parts.forced(forward, clients);
                }
            }
        }
        self.stale.mark(COALESCE);
    }

    fn enter(&mut self, phase: Phase) {
        self.board.phase = phase;
        self.announce(None, Kind::Phase { phase });
        self.stale.mark(Duration::ZERO);
    }

    fn announce(&mut self, forward: Option<String>, kind: Kind) {
        self.board.seq += 1;
        let event = Arc::new(Event { seq: self.board.seq, at: self.clock.now(), forward, kind });
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(event.clone());
        // Nobody has to listen.
        let _ = self.events.send(event);
    }

    fn publish(&mut self) {
        self.stale.clear();
        let mut snapshot = self.board.snapshot(self.clock.now());
        snapshot.ending = self.end.view(&snapshot);
        self.drains.mark(&mut snapshot);
        self.snapshot.send_if_modified(|shown| {
            let same = Snapshot { at: shown.at, ..snapshot.clone() } == **shown;
            *shown = Arc::new(snapshot);
            !same
        });
    }
}

/// Resolves at `at`; never without one.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
