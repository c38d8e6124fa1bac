//! Owns the one loop: sole writer of the snapshot.
//!
//! Receives commands from every handle and reports from the supervisors, emits the
//! snapshot and the events. It does no IO and waits for nothing but its channels.

mod ahead;
mod apply;
pub(crate) mod board;
mod ending;
mod oversee;
pub(crate) mod parts;
mod places;
pub(crate) mod rest;

use crate::adapter::Adapter;
use crate::deadline::Deadline;
use crate::handle::{Ask, Clock, EngineHandle, HISTORY, Request};
use crate::monitor::{self, Monitor};
use crate::probe::scheduler::{Control, Schedule};
use crate::registry::{Registry, Tasks};
use crate::relay::Counters;
use crate::supervisor::{ForwardId, Order, Report, Shared, Supervisor, Wish};
pub use ahead::Memory;

use ahead::{Ahead, Step};
use apply::Applying;
use board::Board;
use ending::End;
use localport_core::command::{Command, Done, Refusal, Selector};
use localport_core::config::{Config, ForwardSpec, Target};
use localport_core::event::{Event, Kind};
use localport_core::receipt::Receipt;
use localport_core::shutdown::{Budgets, Input};
use localport_core::snapshot::{ConfigView, Phase, Snapshot};
use oversee::Oversight;
use parts::{Drains, Wanted};
use rest::Rest;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, interval, sleep_until};

/// Snapshots are at least this far apart, so that a thousand changes cost one.
const COALESCE: Duration = Duration::from_millis(20);
/// The same for counters, which may change thousands of times a second.
const COALESCE_COUNTERS: Duration = Duration::from_millis(250);
/// How fresh byte counters are while somebody watches them.
const TRAFFIC: Duration = Duration::from_secs(1);
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
    /// Told when an end begins, for those who wait for the process.
    pub deadline: Deadline,
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
    let (rest, pulse) = Rest::new();
    let schedule = Schedule::start(tasks.child("probes"), clock.clone());
    let fixed = Some(options.drain).filter(|it| *it != options.config.shutdown.complete_current);
    let budgets = Budgets { complete_current: options.drain, ..options.config.shutdown };
    let (new_budgets, in_force) = watch::channel(budgets);
    let monitor = Monitor::start(monitor::Options {
        adapter: options.kube.clone(),
        tasks: tasks.child("monitor"),
        clock: clock.clone(),
        wish: schedule.control().follow(),
        pulse: pulse.clone(),
        reports: reports.clone(),
    });
    let shared = Arc::new(Shared {
        registry: options.registry.clone(),
        tasks: tasks.child("supervisors"),
        buffers: Arc::default(),
        clock: clock.clone(),
        changed: changed.clone(),
        schedule: schedule.clone(),
        searches: Semaphore::new(1),
        budgets: in_force.clone(),
        wish: wished,
        pulse,
    });
    let view = ConfigView::of(&options.config, &options.searched, clock.now());
    let mut board = Board::new(view, clock.clone());
    let snapshot = watch::Sender::new(Arc::new(board.snapshot(clock.now())));
    let handle = EngineHandle {
        requests,
        snapshot: snapshot.subscribe(),
        events: events.clone(),
        history: history.clone(),
        watchers: Arc::new(watch::Sender::new(0)),
        asks,
        deadline: options.deadline.clone(),
        budgets: in_force,
        stopped: stopped_out,
        registry: options.registry.clone(),
        probes: schedule.control(),
        clusters: monitor.book(),
        clock: clock.clone(),
    };
    let mut engine = Engine {
        adapters: [options.ssh, options.kube],
        registry: options.registry,
        supervisors: shared.tasks.clone(),
        shared,
        reports,
        config: Config::default(),
        applying: Applying::default(),
        board,
        events,
        history,
        snapshot,
        stale: Stale::default(),
        end: End::new(budgets, wish, tasks.clone(), options.deadline.clone()),
        ahead: Ahead::new(options.memory),
        drains: Drains::default(),
        budgets: new_budgets,
        fixed,
        rest,
        probes: schedule.control(),
        oversight: Oversight::new(monitor),
        clock,
    };
    engine.begin_with(options.config);
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
    registry: Registry,
    supervisors: Tasks,
    shared: Arc<Shared>,
    reports: mpsc::Sender<Report>,
    /// The configuration in force.
    config: Config,
    applying: Applying,
    board: Board,
    events: broadcast::Sender<Arc<Event>>,
    history: Arc<Mutex<VecDeque<Arc<Event>>>>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    stale: Stale,
    end: End,
    ahead: Ahead,
    drains: Drains,
    /// For the next end, and for every stop and drain from now on.
    budgets: watch::Sender<Budgets>,
    /// What open connections get, when whoever started the host said so.
    fixed: Option<Duration>,
    rest: Rest,
    probes: Control,
    oversight: Oversight,
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
    /// Takes the first configuration on, before anything runs.
    fn begin_with(&mut self, config: Config) {
        let mut order = vec![];
        for spec in &config.forwards {
            let id = self.supervise(spec.clone());
            order.push(id);
            if !self.ahead.wanted(spec) {
                if self.ahead.is_drained(&spec.name, spec.enabled) {
                    self.drains.parts.restore(&spec.name, self.clock.now());
                } else {
                    self.drains.parts.switched_off(std::slice::from_ref(&spec.name));
                }
            } else if let Some(entry) = self.board.entry(id) {
                entry.tell(Order::Start);
            }
        }
        self.board.arrange(order);
        self.config = config;
    }

    /// A supervisor for `spec`, switched off.
    fn supervise(&mut self, spec: ForwardSpec) -> ForwardId {
        let (orders, orders_in) = mpsc::channel(ORDERS);
        let counters = Arc::new(Counters::default());
        let id = self.board.identify();
        let task = format!("supervisor {}", spec.name);
        let (supervisor, inbox) = Supervisor::new(
            id,
            spec.clone(),
            self.adapter(&spec.target),
            self.shared.clone(),
            self.reports.clone(),
            counters.clone(),
        );
        self.supervisors.spawn_to_end(task, supervisor.run(orders_in, inbox));
        self.board.adopt(id, spec, orders, counters);
        id
    }

    fn adapter(&self, target: &Target) -> Arc<dyn Adapter> {
        match target {
            Target::Ssh(_) => self.adapters[0].clone(),
            Target::Kube(_) => self.adapters[1].clone(),
        }
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
            tokio::select! {
                biased;
                step = self.ahead.next() => self.perform(step),
                Some(ask) = inputs.asks.recv() => self.asked(ask),
                () = until(stage) => self.drive(Input::Due),
                () = until(drain) => self.drains_due(),
                ended = self.end.work_ended() => self.worked(ended),
                Some(request) = inputs.requests.recv() => self.answer(request),
                _ = inputs.reports.recv_many(&mut batch, BATCH) => self.take(&mut batch),
                // After the reports: who is told that all has moved sees it, too.
                moved = self.applying.moved() => self.applied(moved),
                () = inputs.changed.notified() => self.stale.mark(COALESCE_COUNTERS),
                _ = inputs.watchers.changed() => {}
                _ = ticks.tick(), if watched => self.stale.mark(Duration::ZERO),
                () = until(publish) => self.publish(),
            }
            self.end.tell_forwards().await;
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
                self.call_off(reply);
            }
            Request::Command(Command::HurryQuit, reply) => {
                let _ = reply.send(self.hurried());
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
            Request::Apply(ask) => self.ahead.after(vec![], Step::Apply(ask)),
            Request::Config(view) => self.say(*view),
            Request::Command(Command::TrustHostKey(name), reply) => self.trust(&name, reply),
            Request::Command(Command::Login(context), reply) => self.login(context, reply),
            Request::Command(command, reply) => {
                self.obey(command, reply);
            }
            Request::InForce(reply) => {
                let _ = reply.send(self.config.clone());
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
        let (selector, order): (_, fn() -> Order) = match command {
            Command::Start(selector) => (selector, || Order::Start),
            Command::Stop(selector) => (selector, || Order::Stop),
            Command::Restart(selector) => (selector, || Order::Restart),
            Command::RetryNow(selector) => (selector, || Order::RetryNow),
            // All of these have their own way.
            Command::TrustHostKey(_)
            | Command::Login(_)
            | Command::CancelQuit
            | Command::HurryQuit
            | Command::Drain(_)
            | Command::Resume(_) => {
                return Ok((Done::default(), vec![]));
            }
        };
        let reserved = self.reserve(selector)?;
        let forwards = reserved.forwards;
        let orders = reserved.permits.into_values().map(|permit| (permit, order()));
        Ok((Done { forwards, message: None }, orders.collect()))
    }

    /// Asks all before any is told: a refused command has done nothing.
    fn reserve(&self, selector: &Selector) -> Result<Reserved, Refusal> {
        let ids = self.board.select(selector)?;
        let mut reserved = Reserved::default();
        for entry in ids.into_iter().filter_map(|id| self.board.entry(id)) {
            let name = entry.spec.name.clone();
            let Some(orders) = entry.orders.clone() else { continue };
            match orders.try_reserve_owned() {
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
                    self.switched(order, &done.forwards);
                    self.permit(order, &done.forwards);
                }
                for (permit, order) in orders {
                    permit.send(order);
                }
                // Whoever asked may have gone; the command stands all the same.
                let _ = reply.send(Ok(done));
            }
            Step::Part(wish, reserved) => self.perform_part(wish, reserved),
            Step::Enter(stage, now) => self.begin(stage, now),
            Step::Resume(reply) => self.resume(reply),
            Step::Apply(ask) => self.apply(*ask),
            Step::Say(text) => self.announce(None, Kind::Note { text }),
        }
    }

    /// Trusting asks the host again, so it runs beside the loop; the forward then retries.
    fn trust(&self, name: &str, reply: oneshot::Sender<Result<Done, Refusal>>) {
        let id = match self.board.select(&Selector::Names(vec![name.to_owned()])) {
            Ok(ids) if !ids.is_empty() => ids[0],
            Ok(_) => return,
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        let Some(entry) = self.board.entry(id) else { return };
        let adapter = self.adapter(&entry.spec.target);
        let (target, orders) = (entry.spec.target.clone(), entry.orders.clone());
        let name = name.to_owned();
        self.supervisors.spawn(format!("trust {name}"), async move {
            let answer = match adapter.trust(&target).await {
                Ok(fingerprint) => {
                    if let Some(orders) = orders {
                        let _ = orders.send(Order::RetryNow).await;
                    }
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
                Report::View { id, forward, drain } => {
                    self.watch_drain(id, drain, &forward);
                    if self.board.show(id, *forward) {
                        self.rest.quiet(id);
                    }
                }
                Report::Awake => self.rise(),
                Report::Quiet { id } => self.rest.quiet(id),
                Report::Sight { context, sight } => self.seen(context, *sight),
                Report::Event { id, kind } => {
                    let forward = self.board.name(id).map(str::to_owned);
                    self.announce(forward, kind);
                }
                Report::Forced { id, clients } => {
                    let plural = if clients == 1 { "" } else { "s" };
                    let forward = self.board.name(id).unwrap_or("a forward that went");
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
        for turn in std::mem::take(&mut self.board.places.turns) {
            self.announce(None, turn);
            snapshot.seq = self.board.seq;
        }
        snapshot.ending = self.end.view(&snapshot, &self.registry);
        self.drains.mark(&mut snapshot);
        self.oversee(&snapshot);
        self.oversight.mark(&mut snapshot);
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
