//! Owns one forward: performs what its state machine decides.
//!
//! Receives commands, the fate of its attempts and evidence from its clients; emits
//! reports for the engine's snapshot and history.

mod attempt;
mod port;
mod respec;
pub(crate) mod view;

use crate::adapter::{Adapter, Route};
use crate::client::{Evidence, Live, Service};
use crate::engine::rest::Pulse;
use crate::handle::Clock;
use crate::probe::Check;
use crate::probe::scheduler::{Joining, Lost, Schedule, Seat};
use crate::registry::{Registry, Tasks};
use crate::relay::{Buffers, Counters};
use attempt::{Attempt, Mending};
use localport_core::cluster::Sight;
use localport_core::config::{ForwardSpec, RestartPolicy};
use localport_core::event::Kind;
use localport_core::forward::{Conditions, Input, Output, State, step};
use localport_core::health::{self, Verdict};
use localport_core::problem::Problem;
use localport_core::shutdown::Budgets;
use localport_core::snapshot::Forward;
use localport_core::time::Timestamp;
use port::{Limit, Port};
pub(crate) use respec::{Respec, Vacated};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

/// A forward's identity in the life of an engine; names and places may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ForwardId(pub(crate) u64);

/// What is told to a supervisor.
pub(crate) enum Order {
    Start,
    Stop,
    /// Off, with open connections that may finish until the token says to cut them.
    Drain {
        number: u64,
        cut: CancellationToken,
    },
    Restart,
    RetryNow,
    /// Give the bound sockets up.
    Vacate(oneshot::Sender<Vacated>),
    /// Become what the configuration says now.
    Respec(Box<Respec>),
}

/// What the engine wants of all supervisors at once. A level, not an event: none can
/// miss it, however busy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Do as ordered.
    Run,
    /// Close the listener and let open connections finish.
    Drain,
    /// Cut what is open.
    Cut,
}

/// What a supervisor tells the engine.
pub(crate) enum Report {
    /// How the forward looks, and the last drain that it has obeyed.
    View {
        id: ForwardId,
        forward: Box<Forward>,
        drain: u64,
    },
    Event {
        id: ForwardId,
        kind: Kind,
    },
    Forced {
        id: ForwardId,
        clients: usize,
    },
    /// A client came in the sleep.
    Awake,
    Quiet {
        id: ForwardId,
    },
    /// What the monitor sees of the cluster `context` now.
    Sight {
        context: String,
        sight: Box<Sight>,
    },
}

/// What all supervisors of an engine share.
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    pub(crate) tasks: Tasks,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) clock: Clock,
    pub(crate) changed: Arc<Notify>,
    pub(crate) schedule: Schedule,
    /// One turn: searches for the owner of a busy port.
    pub(crate) searches: Semaphore,
    pub(crate) budgets: watch::Receiver<Budgets>,
    pub(crate) wish: watch::Receiver<Wish>,
    pub(crate) pulse: watch::Receiver<Pulse>,
}

/// News from the tasks of this forward.
enum News {
    Opened { generation: u64, result: Result<Live, Problem> },
    Lost { generation: u64, problem: Problem },
    Rerouted { generation: u64, route: Route },
    Mended { generation: u64 },
    Drained { drain: u64, forced: usize },
}

pub(crate) struct Supervisor {
    id: ForwardId,
    spec: ForwardSpec,
    /// The same for those who serve it.
    specs: watch::Sender<Arc<ForwardSpec>>,
    context: String,
    adapter: Arc<dyn Adapter>,
    shared: Arc<Shared>,
    reports: mpsc::Sender<Report>,
    counters: Arc<Counters>,
    state: State,
    since: Timestamp,
    wake_at: Option<Timestamp>,
    /// Switched on again if the engine's end is called off.
    resume: bool,
    /// Number of the last drain obeyed, and what cuts its connections.
    part: u64,
    cut: Option<CancellationToken>,
    port: Port,
    route: Option<Route>,
    check: Arc<Check>,
    seat: Seat,
    sessions: watch::Sender<Option<Live>>,
    /// The session of a sleep, or one that has to prove itself: clients are held
    /// meanwhile, so that none sends its first bytes into a dead one.
    resting: Option<Live>,
    /// The answer to whether it may be offered again.
    trust: Option<oneshot::Receiver<bool>>,
    attempt: Option<Attempt>,
    mending: Option<Mending>,
    news: mpsc::Sender<News>,
    evidence: mpsc::Sender<Evidence>,
}

impl Supervisor {
    pub(crate) fn new(
        id: ForwardId,
        spec: ForwardSpec,
        adapter: Arc<dyn Adapter>,
        shared: Arc<Shared>,
        reports: mpsc::Sender<Report>,
        counters: Arc<Counters>,
    ) -> (Self, Inbox) {
        let (news, news_in) = mpsc::channel(16);
        let (evidence, evidence_in) = mpsc::channel(64);
        let port = Port::new(&spec, &shared);
        let check = Arc::new(Check::of(&spec));
        let (seat, joining) = shared.schedule.join(check.clone());
        let supervisor = Self {
            id,
            specs: watch::Sender::new(Arc::new(spec.clone())),
            context: view::context(&spec),
            adapter,
            reports,
            counters,
            state: State::default(),
            since: shared.clock.now(),
            wake_at: None,
            resume: false,
            part: 0,
            cut: None,
            port,
            route: None,
            check,
            seat,
            sessions: watch::Sender::new(None),
            resting: None,
            trust: None,
            attempt: None,
            mending: None,
            news,
            evidence,
            spec,
            shared,
        };
        (supervisor, Inbox { news: news_in, evidence: evidence_in, joining })
    }

    /// Runs until the engine drops its end of `orders` and everything is drained.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut inbox: Inbox) {
        let mut quitting = false;
        let mut wish = self.shared.wish.clone();
        let (mut pulse, mut felt) = (self.shared.pulse.clone(), Pulse::default());
        // A supervisor that is new in a sleep or after a wake has missed the change.
        pulse.mark_changed();
        inbox.joining.announce().await;
        self.report().await;
        while !(quitting && matches!(self.state, State::Stopped { .. })) {
            let due = self.wake_at.map(|at| self.shared.clock.instant(at));
            tokio::select! {
                biased;
                order = orders.recv(), if !quitting => match order {
                    Some(order) => self.obey(order).await,
                    None => {
                        quitting = true;
                        self.apply(Input::Stop).await;
                    }
                },
                Ok(()) = wish.changed() => {
                    let wish = *wish.borrow_and_update();
                    self.follow(wish).await;
                }
                Ok(()) = pulse.changed() => {
                    let pulse = *pulse.borrow_and_update();
                    self.feel(std::mem::replace(&mut felt, pulse), pulse).await;
                }
                Some(news) = inbox.news.recv() => self.hear(news).await,
                Some(evidence) = inbox.evidence.recv() => self.weigh(evidence).await,
                () = self.seat.changed() => self.judge().await,
                proved = answered(&mut self.trust) => {
                    self.trust = None;
                    // One that did not answer is replaced: the scheduler says so itself.
                    if proved {
                        self.offer();
                    }
                }
                () = self.port.due() => self.listen().await,
                () = sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {
                    self.wake_at = None;
                    self.apply(Input::Due).await;
                }
            }
        }
        self.close().await;
    }

    async fn obey(&mut self, order: Order) {
        if !matches!(order, Order::Stop) {
            // A person wants to know, and has perhaps mended what made it fall.
            self.seat.tell(self.state.attempt().generation, health::Input::Asked).await;
        }
        let input = match order {
            Order::Vacate(reply) => return self.vacate(reply).await,
            Order::Respec(respec) => return self.respec(*respec).await,
            Order::Start => Input::Start,
            Order::Stop => {
                self.resume = false;
                Input::Stop
            }
            Order::Drain { number, cut } => {
                self.resume = false;
                self.part = number;
                self.cut = Some(cut);
                Input::Stop
            }
            Order::Restart if matches!(self.state, State::Stopped { .. }) => Input::Start,
            Order::Restart => Input::Restart,
            Order::RetryNow => {
                if self.port.in_conflict() {
                    self.listen().await;
                }
                Input::RetryNow
            }
        };
        self.apply(input).await;
        if let Some(cut) = self.cut.take() {
            // It drained already, as for an end that was called off a moment ago.
            self.port.limit(Limit::Told(cut));
        }
    }

    async fn follow(&mut self, wish: Wish) {
        match wish {
            Wish::Run if std::mem::take(&mut self.resume) => self.apply(Input::Start).await,
            Wish::Drain => {
                // Called off and asked again before the first was seen: still on, once.
                self.resume |= self.state.wanted();
                self.apply(Input::Stop).await;
            }
            // The draining task sees the cut itself.
            Wish::Run | Wish::Cut => {}
        }
    }

    async fn feel(&mut self, before: Pulse, now: Pulse) {
        if now.asleep {
            // Told again when a wake in between went by unseen.
            self.apply(Input::Suspend).await;
            self.tell(Report::Quiet { id: self.id }).await;
        } else if now.wakes != before.wakes {
            self.apply(Input::Wake).await;
        } else if now.changes != before.changes {
            self.apply(Input::NetworkChanged).await;
        }
    }

    async fn hear(&mut self, news: News) {
        match news {
            News::Opened { generation, result: Ok(live) } => {
                self.opened(generation, live).await;
            }
            News::Opened { generation, result: Err(problem) } => {
                self.apply(Input::OpenFailed { generation, problem }).await;
            }
            News::Lost { generation, problem } => {
                if self.is_current(generation) {
                    self.announce(Kind::SessionLost { problem: problem.clone() }).await;
                }
                self.apply(Input::Lost { generation, problem }).await;
            }
            News::Rerouted { generation, route } if self.is_current(generation) => {
                self.announce(session_up(&route)).await;
                self.route = Some(route);
                self.report().await;
            }
            News::Mended { generation } => {
                if self.is_current(generation) {
                    self.apply(Input::Due).await;
                }
            }
            News::Drained { drain, forced } => {
                if forced > 0 {
                    self.tell(Report::Forced { id: self.id, clients: forced }).await;
                }
                if self.port.is_drain(drain) {
                    self.apply(Input::Drained).await;
                }
            }
            News::Rerouted { .. } => {}
        }
    }

    async fn weigh(&mut self, evidence: Evidence) {
        match evidence {
            Evidence::Held => {
                if self.shared.pulse.borrow().asleep {
                    // Somebody is awake, whatever the system said.
                    self.tell(Report::Awake).await;
                }
                self.apply(Input::Wanted).await;
            }
            Evidence::Answered { generation } => {
                self.seat.tell(generation, health::Input::Answered).await;
            }
            Evidence::Refused { generation, problem } => {
                self.seat.tell(generation, health::Input::Refused { problem }).await;
            }
            Evidence::Closed { client, problem } => {
                self.announce(Kind::ClientClosed { client: client.to_string(), problem }).await;
            }
        }
    }

    async fn opened(&mut self, generation: u64, live: Live) {
        // One that was given up for a sleep has the same number.
        if !self.is_current(generation) || !matches!(self.state, State::Starting { .. }) {
            return;
        }
        let route = live.session.route();
        self.announce(session_up(&route)).await;
        self.route = Some(route);
        self.seat.opened(live.clone()).await;
        self.resting = None;
        self.trust = None;
        self.sessions.send_replace(Some(live));
        self.apply(Input::Opened { generation }).await;
    }

    /// Takes what the scheduler found as far as it concerns the session in use.
    async fn judge(&mut self) {
        let view = self.seat.view();
        let generation = view.generation;
        if !self.is_current(generation) {
            self.report().await;
        } else if let Some(Lost { problem, stale }) = view.lost {
            if matches!(self.state, State::Running { .. } | State::Degraded { .. }) {
                self.announce(Kind::SessionLost { problem: problem.clone() }).await;
            }
            self.apply(if stale {
                Input::Stale { generation, problem }
            } else {
                Input::Lost { generation, problem }
            })
            .await;
        } else if let Some(problem) = view.health.problem().cloned() {
            // The next bytes that come back are told at once.
            if let Some(live) = self.sessions.borrow().as_ref().or(self.resting.as_ref()) {
                live.proof.forget();
            }
            self.apply(Input::Disproved { generation, problem }).await;
        } else if *view.health.verdict() == Verdict::Healthy && !view.health.is_cached() {
            self.apply(Input::Proved { generation }).await;
        } else {
            self.report().await;
        }
    }

    fn is_current(&self, generation: u64) -> bool {
        self.state.attempt().generation == generation
    }

    async fn apply(&mut self, input: Input) {
        let before = self.state.name();
        self.decide(input).await;
        let waiting = matches!(self.state, State::BackingOff { .. });
        if waiting && self.counters.held.load(Ordering::Relaxed) > 0 {
            // Those who were held before this failure are held still.
            self.decide(Input::Wanted).await;
        }
        if self.state.retry_at().is_some() && self.mending.is_none() {
            self.mending = self.state.problem().map(|problem| Mending::watch(self, problem));
        }
        let after = self.state.name();
        if before != after {
            self.since = self.shared.clock.now();
            let problem = self.state.problem().cloned();
            self.announce(Kind::State { from: before, to: after, problem }).await;
        }
        self.report().await;
    }

    async fn decide(&mut self, input: Input) {
        let policy = self.spec.restart_policy.as_ref().unwrap_or(&RestartPolicy::PATIENT);
        let conditions = Conditions {
            now: self.shared.clock.now(),
            policy,
            jitter: jitter(),
            cluster_aware: self.check.cluster_aware,
        };
        let (state, outputs) = step(std::mem::take(&mut self.state), input, conditions);
        self.state = state;
        for output in outputs {
            self.perform(output).await;
        }
    }

    async fn perform(&mut self, output: Output) {
        match output {
            Output::Listen => self.listen().await,
            Output::Open { generation } => self.open(generation).await,
            Output::Close => self.close().await,
            Output::Drain => self.drain().await,
            Output::WakeAt(at) => self.wake_at = Some(at),
            Output::Rest => {
                self.wake_at = None;
                self.mending = None;
            }
            Output::Quiet => {
                self.withdraw();
                self.trust = None;
                self.seat.quiet().await;
            }
            Output::Prove => {
                self.withdraw();
                self.trust = Some(self.seat.prove().await);
            }
        }
    }

    /// Clients that come from now on are held.
    fn withdraw(&mut self) {
        if let Some(live) = self.sessions.send_replace(None) {
            self.resting = Some(live);
        }
    }

    /// Whether there is a session, offered or resting.
    fn has_session(&self) -> bool {
        self.resting.is_some() || self.sessions.borrow().is_some()
    }

    /// They are served again.
    fn offer(&mut self) {
        if let Some(live) = self.resting.take() {
            self.sessions.send_replace(Some(live));
        }
    }

    async fn listen(&mut self) {
        let service = Arc::new(Service {
            forward: self.spec.name.as_str().into(),
            sessions: self.sessions.subscribe(),
            specs: self.specs.subscribe(),
            counters: self.counters.clone(),
            buffers: self.shared.buffers.clone(),
            registry: self.shared.registry.clone(),
            evidence: self.evidence.clone(),
            clock: self.shared.clock.clone(),
            changed: self.shared.changed.clone(),
        });
        let bound = self.port.bind(&self.spec, service, &self.shared).await;
        if let Some(kind) = bound {
            self.announce(kind).await;
        }
        self.report().await;
    }

    async fn open(&mut self, generation: u64) {
        self.wake_at = None;
        self.mending = None;
        self.close().await;
        self.attempt = Some(Attempt::start(self, generation));
    }

    async fn close(&mut self) {
        self.sessions.send_replace(None);
        self.resting = None;
        self.trust = None;
        self.attempt = None;
        self.route = None;
        self.seat.closed().await;
    }

    async fn drain(&mut self) {
        self.seat.quiet().await;
        self.wake_at = None;
        self.mending = None;
        self.trust = None;
        self.offer();
        if self.sessions.borrow().is_none() {
            self.attempt = None; // An attempt that nobody waits for any more.
        }
        let limit = match self.cut.take() {
            Some(cut) => Limit::Told(cut),
            None => Limit::Usual,
        };
        self.port.drain(&self.shared, limit, self.news.clone());
    }

    async fn announce(&self, kind: Kind) {
        self.tell(Report::Event { id: self.id, kind }).await;
    }

    async fn report(&self) {
        let forward = Box::new(self.view());
        self.tell(Report::View { id: self.id, forward, drain: self.part }).await;
    }

    async fn tell(&self, report: Report) {
        // The engine reads until every supervisor has ended; a closed channel means that
        // its task is gone and there is nobody to tell.
        let _ = self.reports.send(report).await;
    }
}

/// The receiving ends of a supervisor's own channels.
pub(crate) struct Inbox {
    news: mpsc::Receiver<News>,
    evidence: mpsc::Receiver<Evidence>,
    joining: Joining,
}

/// Resolves with the answer, `true` when the question was called off; never without one.
async fn answered(question: &mut Option<oneshot::Receiver<bool>>) -> bool {
    match question {
        Some(answer) => answer.await.unwrap_or(true),
        None => std::future::pending().await,
    }
}

fn session_up(route: &Route) -> Kind {
    Kind::SessionUp { path: route.path.to_string(), endpoint: route.endpoint.clone() }
}

/// A number in 0..1, different for every caller.
pub(crate) fn jitter() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from((random >> 32) as u32) / f64::from(u32::MAX)
}
