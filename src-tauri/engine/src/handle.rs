//! Owns what the outside holds of a running engine: commands down, snapshot and events up.
//!
//! Tray, window, control API and command line all use this and nothing else.

use crate::deadline::Deadline;
use crate::engine::parts::Begun;
use crate::monitor::Book;
use crate::probe::scheduler::Control;
use crate::registry::{Lease, LeaseInfo, Registry};
use localport_core::cluster::ClusterEvent;
use localport_core::command::{Command, Done, Drain, Refusal};
use localport_core::config::{Config, Plan};
use localport_core::event::Event;
use localport_core::health::Health;
use localport_core::parts::PartReceipt;
use localport_core::receipt::{Held, Receipt};
use localport_core::release::Gone;
use localport_core::resource::LeaseKind;
use localport_core::shutdown::{Budgets, Reason};
use localport_core::snapshot::{ConfigView, Snapshot};
use localport_core::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

/// Events kept for those who come later; at a few hundred bytes each, under 1 MiB.
pub(crate) const HISTORY: usize = 2_000;

/// A running engine. Clones are equal; the engine runs until it is told to quit.
#[derive(Clone)]
pub struct EngineHandle {
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) snapshot: watch::Receiver<Arc<Snapshot>>,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    pub(crate) history: Arc<Mutex<VecDeque<Arc<Event>>>>,
    pub(crate) watchers: Arc<watch::Sender<usize>>,
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) stopped: watch::Receiver<Option<Receipt>>,
    pub(crate) registry: Registry,
    pub(crate) probes: Control,
    pub(crate) clusters: Book,
    pub(crate) clock: Clock,
    pub(crate) deadline: Deadline,
    pub(crate) budgets: watch::Receiver<Budgets>,
}

/// What reaches the engine's loop.
pub(crate) enum Request {
    Command(Command, oneshot::Sender<Result<Done, Refusal>>),
    Drain(Drain, oneshot::Sender<Result<Begun, Refusal>>),
    Fresh(oneshot::Sender<Arc<Snapshot>>),
    InForce(oneshot::Sender<Config>),
    Apply(Box<Apply>),
    Config(Box<ConfigView>),
}

/// A configuration that is to be in force.
pub(crate) struct Apply {
    pub(crate) config: Config,
    pub(crate) view: ConfigView,
    pub(crate) reply: oneshot::Sender<Result<Plan, Refusal>>,
}

/// What is asked about the engine's end.
pub(crate) enum Ask {
    Quit(Reason),
    QuitWithin(Reason, Duration),
    Hurry,
    SessionGoesOn,
    Suspend(oneshot::Sender<()>),
    Wake(Option<Duration>),
    NetworkChanged,
}

/// Wall-clock time that never runs backwards: the wall clock at the start plus
/// monotonic time since, plus what the machine slept. Clones are one clock.
#[derive(Clone, Debug)]
pub struct Clock {
    wall: Timestamp,
    start: Instant,
    /// Milliseconds that passed while the monotonic clock stood still.
    slept: Arc<AtomicU64>,
}

/// Less than this is the two clocks' drift, not a sleep.
const DRIFT: Duration = Duration::from_secs(2);

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { wall: wall(), start: Instant::now(), slept: Arc::default() }
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let slept = Duration::from_millis(self.slept.load(Ordering::Relaxed));
        self.wall + self.start.elapsed() + slept
    }

    /// The machine woke up: catches up with the wall clock, unless that is behind.
    pub(crate) fn catch_up(&self) {
        let behind = wall().since(self.now());
        if behind >= DRIFT {
            let slept = u64::try_from(behind.as_millis()).unwrap_or(0);
            self.slept.fetch_add(slept, Ordering::Relaxed);
        }
    }

    /// The runtime's instant for `at`; this moment when `at` has passed.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Instant {
        Instant::now() + at.since(self.now())
    }
}

fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::default() + since_epoch.unwrap_or(Duration::ZERO)
}

impl EngineHandle {
    /// What is. The receiver is marked changed whenever something visible changes;
    /// byte counters alone change it only while a [`TrafficWatch`] is held.
    #[must_use]
    pub fn snapshot(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// What is, with the byte counters of this moment. After the engine's end, the
    /// last snapshot.
    pub async fn fresh(&self) -> Arc<Snapshot> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Fresh(reply)).await.is_ok()
            && let Ok(snapshot) = answer.await
        {
            return snapshot;
        }
        self.snapshot.borrow().clone()
    }

    /// The configuration in force; none after the engine's end.
    pub async fn in_force(&self) -> Option<Config> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::InForce(reply)).await.ok()?;
        answer.await.ok()
    }

    /// What happens from now on. A receiver that lags reads the snapshot again.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// What happened, oldest first, at most the last 2,000 events.
    #[must_use]
    pub fn history(&self) -> Vec<Arc<Event>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Asks for `command` and waits until the engine has taken it on.
    ///
    /// # Errors
    /// The [`Refusal`] when the command cannot apply; nothing happened then.
    pub async fn command(&self, command: Command) -> Result<Done, Refusal> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Command(command, reply)).await.is_err() {
            return Err(Refusal::Quitting);
        }
        answer.await.unwrap_or(Err(Refusal::Quitting))
    }

    /// Drains a part: says what is being drained, and at its end how it went.
    ///
    /// # Errors
    /// The [`Refusal`] when it cannot apply; nothing happened then.
    pub async fn drain(&self, drain: Drain) -> Result<Draining, Refusal> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Drain(drain, reply)).await.is_err() {
            return Err(Refusal::Quitting);
        }
        let Begun { done, over } = answer.await.unwrap_or(Err(Refusal::Quitting))?;
        Ok(Draining { done, over })
    }

    /// Moves what runs from the configuration in force to `config`, and waits until every
    /// port has moved. Gives what changed.
    ///
    /// # Errors
    /// The [`Refusal`] when the engine is ending or too busy; nothing moved then.
    pub async fn apply(&self, config: Config, view: ConfigView) -> Result<Plan, Refusal> {
        let (reply, answer) = oneshot::channel();
        let apply = Box::new(Apply { config, view, reply });
        if self.requests.send(Request::Apply(apply)).await.is_err() {
            return Err(Refusal::Quitting);
        }
        answer.await.unwrap_or(Err(Refusal::Quitting))
    }

    /// Says what is known of the configuration's files while what runs stays as it is.
    pub async fn say_config(&self, view: ConfigView) {
        // An engine that has ended says nothing more.
        let _ = self.requests.send(Request::Config(Box::new(view))).await;
    }

    /// Keeps the byte counters of the snapshot fresh, once a second, while it is held.
    #[must_use]
    pub fn watch_traffic(&self) -> TrafficWatch {
        self.watchers.send_modify(|count| *count += 1);
        TrafficWatch { watchers: self.watchers.clone() }
    }

    /// Begins the end: listeners close, open connections get their time, everything is
    /// released. Asking twice is asking once.
    pub fn quit(&self, reason: Reason) {
        self.deadline.within(self.limit());
        self.ask(Ask::Quit(reason));
    }

    /// Begins the end, or shortens one that has begun: all is to be over `within` this time.
    pub fn quit_within(&self, reason: Reason, within: Duration) {
        self.deadline.within(within.min(self.limit()));
        self.ask(Ask::QuitWithin(reason, within));
    }

    /// What an end that begins now may take, by the configuration in force.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.budgets.borrow().total()
    }

    /// Hurries the end to its next stage: waiting for open connections becomes cutting
    /// them, cleaning up becomes force. For the second request of a person who waits.
    pub fn hurry(&self) {
        self.ask(Ask::Hurry);
    }

    /// The end of the login session was called off: so is the engine's, if that was all
    /// it ended for and nothing was lost yet.
    pub fn session_goes_on(&self) {
        self.ask(Ask::SessionGoesOn);
    }

    /// Prepares for the machine's sleep and resolves when the engine is quiet, after
    /// `within` at the latest: attempts are given up, probes, pings and retries pause.
    /// Listeners, sessions and open connections stay, and who connects is held.
    pub async fn suspend(&self, within: Duration) {
        let (quiet, told) = oneshot::channel();
        self.ask(Ask::Suspend(quiet));
        // Late or gone, the machine sleeps all the same.
        let _ = tokio::time::timeout(within, told).await;
    }

    /// The machine woke up after it `slept`: every retry is due now, and every session
    /// proves itself at once or is replaced. Does no harm when it did not sleep.
    pub fn wake(&self, slept: Option<Duration>) {
        self.ask(Ask::Wake(slept));
    }

    /// Addresses, routes or the default network changed: as [`EngineHandle::wake`], but
    /// what a person has to mend and attempts under way are left alone.
    pub fn network_changed(&self) {
        self.ask(Ask::NetworkChanged);
    }

    fn ask(&self, ask: Ask) {
        // Full, it holds requests enough to end; closed, the engine has ended.
        let _ = self.asks.try_send(ask);
    }

    /// Waits for the end and says how it went.
    pub async fn stopped(&self) -> Receipt {
        let mut stopped = self.stopped.clone();
        match stopped.wait_for(Option::is_some).await {
            Ok(receipt) => receipt.clone().unwrap_or_default(),
            // The engine's task is gone without a receipt: it panicked.
            Err(_) => Receipt {
                reasons: vec![Reason::Failure],
                forced: vec![Held {
                    kind: LeaseKind::Task,
                    name: "loop".to_owned(),
                    owner: "engine".to_owned(),
                }],
                faults: self.registry.faults(),
                ..Receipt::default()
            },
        }
    }

    /// Ends every probe under way and begins none, within 100 ms and whatever their
    /// intervals. Verdicts are kept and shown as cached.
    pub fn pause_probes(&self) {
        self.probes.pause();
    }

    /// Probes every target at once, then by schedule again.
    pub fn resume_probes(&self) {
        self.probes.resume();
    }

    /// What is known of every forward's target, by name, to be written down.
    pub async fn save_health(&self) -> BTreeMap<String, Health> {
        self.probes.save().await
    }

    /// Takes up what [`EngineHandle::save_health`] gave an earlier engine: verdicts and
    /// streaks go on, marked as cached until the first probe.
    pub async fn restore_health(&self, saved: BTreeMap<String, Health>) {
        self.probes.restore(saved).await;
    }

    /// What the cluster `context` warned of in the last hour, the last one first, with the
    /// forwards that each is near.
    #[must_use]
    pub fn cluster_events(&self, context: &str) -> Vec<ClusterEvent> {
        let snapshot = self.snapshot.borrow().clone();
        let mut events = self.clusters.events(context, self.clock.now());
        for event in &mut events {
            let through = snapshot.forwards.iter().filter(|f| f.context == context);
            let near = through.filter(|forward| event.is_near(forward));
            event.forwards = near.map(|forward| forward.name.clone()).collect();
        }
        events
    }

    /// Everything the engine holds now.
    #[must_use]
    pub fn resources(&self) -> Vec<LeaseInfo> {
        self.registry.list()
    }

    /// What was released since the end began, in that order.
    #[must_use]
    pub fn released(&self) -> Vec<Gone> {
        self.registry.gone()
    }

    /// Puts what the host itself holds beside the engine's own, until it is dropped.
    #[must_use]
    pub fn claim(&self, kind: LeaseKind, name: &str) -> Lease {
        self.registry.lease(kind, name, crate::engine::HOST)
    }

    /// The engine's clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }
}

/// A drain of a part under way.
pub struct Draining {
    /// What it is about.
    pub done: Done,
    over: oneshot::Receiver<PartReceipt>,
}

impl Draining {
    /// Waits for its end and says how it went; none when the engine ended before it.
    pub async fn over(self) -> Option<PartReceipt> {
        self.over.await.ok()
    }
}

/// Interest in live byte counters; dropping it ends the interest.
pub struct TrafficWatch {
    watchers: Arc<watch::Sender<usize>>,
}

impl Drop for TrafficWatch {
    fn drop(&mut self) {
        self.watchers.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G3: after a night's sleep nothing looks fresh that is a night old.
    #[tokio::test]
    async fn g3_a_clock_that_stood_still_catches_up_and_its_clones_with_it() {
        let night = Duration::from_secs(8 * 3600);
        let clock = Clock { wall: wall() - night, ..Clock::start() };
        let clone = clock.clone();
        assert!(wall().since(clone.now()) >= night - DRIFT);
        clock.catch_up();
        assert!(wall().since(clone.now()) < DRIFT, "the clone is the same clock");
        let ahead = Clock { wall: wall() + night, ..Clock::start() };
        let before = ahead.now();
        ahead.catch_up();
        assert!(ahead.now() >= before && ahead.now().since(before) < DRIFT, "never back, nor on");
    }
}
