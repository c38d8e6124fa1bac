//! Owns when targets are looked at: one task and one timer for all forwards of an engine.
//!
//! Receives sessions and evidence from the supervisors, performs the looks that are due
//! (a bounded number at once), emits each forward's health. Pausing or stopping ends
//! every look under way at its next await, whatever its interval.

use super::turns::{AT_ONCE, Turns};
use super::{Check, Looked};
use crate::client::Live;
use crate::handle::Clock;
use crate::registry::Tasks;
use futures_util::FutureExt;
use localport_core::health::{Conditions, Health, Input};
use localport_core::problem::Problem;
use localport_core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// Orders that wait before a supervisor waits itself.
const ORDERS: usize = 1024;
/// Orders taken in one go.
const BATCH: usize = 256;
/// Looks that are due this close to each other are begun together.
const SLACK: Duration = Duration::from_millis(500);

/// The one scheduler of an engine. Clones share it.
#[derive(Clone)]
pub(crate) struct Schedule {
    orders: mpsc::Sender<Order>,
    control: Control,
    next: Arc<AtomicU64>,
}

/// Pauses, resumes and stops all looks. Holding it keeps nothing alive.
#[derive(Clone)]
pub(crate) struct Control {
    wish: Arc<watch::Sender<Wish>>,
    orders: mpsc::WeakSender<Order>,
}

/// What is wanted of all looks. A level, not an event: it cannot queue behind orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Run,
    Pause,
    Stop,
}

/// One forward's place in the schedule; dropping it gives the place up.
pub(crate) struct Seat {
    key: u64,
    orders: mpsc::Sender<Order>,
    view: watch::Receiver<View>,
}

/// What is known of one forward's session and target.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The attempt it was learnt through.
    pub(crate) generation: u64,
    pub(crate) health: Health,
    /// The session's last round trip, and when it was measured.
    pub(crate) round_trip: Option<(Duration, Timestamp)>,
    /// Why the session counts as lost, if it did not answer.
    pub(crate) lost: Option<Lost>,
}

/// A session that did not answer.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) problem: Problem,
    /// It did not do so soon enough after a sleep or a change of the network.
    pub(crate) stale: bool,
}

enum Order {
    Join { key: u64, check: Arc<Check>, view: watch::Sender<View> },
    Check { key: u64, check: Arc<Check> },
    Opened { key: u64, live: Live },
    Closed { key: u64 },
    Quiet { key: u64 },
    Prove { key: u64, proved: oneshot::Sender<bool> },
    Told { key: u64, generation: u64, input: Input },
    Restore { saved: BTreeMap<String, Health> },
    Save { reply: oneshot::Sender<BTreeMap<String, Health>> },
}

impl Schedule {
    /// Starts the scheduler's task in `tasks`.
    pub(crate) fn start(tasks: Tasks, clock: Clock) -> Self {
        let (orders, orders_in) = mpsc::channel(ORDERS);
        let (wish, wished) = watch::channel(Wish::Run);
        let (found, found_in) = mpsc::channel(2 * AT_ONCE);
        let control = Control { wish: Arc::new(wish), orders: orders.downgrade() };
        let table = Table {
            looks: tasks.child("probes"),
            tasks: tasks.clone(),
            clock,
            paused: false,
            entries: HashMap::new(),
            queue: BTreeSet::new(),
            turns: Turns::default(),
            runs: 0,
            saved: BTreeMap::new(),
            found,
        };
        tasks.spawn("schedule", table.run(orders_in, found_in, wished));
        Self { orders, control, next: Arc::default() }
    }

    pub(crate) fn control(&self) -> Control {
        self.control.clone()
    }

    /// A place for a forward that is to be checked so, and its announcement, which goes
    /// before anything else is said from there.
    pub(crate) fn join(&self, check: Arc<Check>) -> (Seat, Joining) {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let (view, view_out) = watch::channel(View::default());
        let orders = self.orders.clone();
        let joining = Joining { orders: orders.clone(), order: Order::Join { key, check, view } };
        (Seat { key, orders, view: view_out }, joining)
    }
}

/// A place that is still to be announced.
pub(crate) struct Joining {
    orders: mpsc::Sender<Order>,
    order: Order,
}

impl Joining {
    pub(crate) async fn announce(self) {
        // A scheduler that is gone ends with the engine.
        let _ = self.orders.send(self.order).await;
    }
}

impl Control {
    /// Ends the looks under way and begins none; what is known is kept.
    pub(crate) fn pause(&self) {
        self.want(Wish::Pause);
    }

    /// Looks at everything at once, then by schedule again.
    pub(crate) fn resume(&self) {
        self.want(Wish::Run);
    }

    /// Ends everything for good.
    pub(crate) fn stop(&self) {
        self.want(Wish::Stop);
    }

    /// What is wanted, for whoever asks anything on its own as well.
    pub(crate) fn follow(&self) -> watch::Receiver<Wish> {
        self.wish.subscribe()
    }

    /// What is known of every forward, by name, to be written down.
    pub(crate) async fn save(&self) -> BTreeMap<String, Health> {
        let (reply, answer) = oneshot::channel();
        match self.orders.upgrade() {
            Some(orders) if orders.send(Order::Save { reply }).await.is_ok() => {
                answer.await.unwrap_or_default()
            }
            _ => BTreeMap::new(),
        }
    }

    /// Takes up what was written down; forwards that were looked at since keep what they know.
    pub(crate) async fn restore(&self, saved: BTreeMap<String, Health>) {
        if let Some(orders) = self.orders.upgrade() {
            // A scheduler that is gone has nothing to take up.
            let _ = orders.send(Order::Restore { saved }).await;
        }
    }

    fn want(&self, wish: Wish) {
        self.wish.send_if_modified(|held| {
            let changes = *held != wish && *held != Wish::Stop;
            if changes {
                *held = wish;
            }
            changes
        });
    }
}

impl Seat {
    /// From now on the target is to be proved so; what was learnt otherwise is forgotten.
    pub(crate) async fn check(&self, check: Arc<Check>) {
        self.order(Order::Check { key: self.key, check }).await;
    }

    /// A session is open: prove the target through it.
    pub(crate) async fn opened(&self, live: Live) {
        self.order(Order::Opened { key: self.key, live }).await;
    }

    /// The session is gone.
    pub(crate) async fn closed(&self) {
        self.order(Order::Closed { key: self.key }).await;
    }

    /// No looks at this forward for now, not even the one under way; what is known stays
    /// to be shown.
    pub(crate) async fn quiet(&self) {
        self.order(Order::Quiet { key: self.key }).await;
    }

    /// The session has to prove itself at once: before all others, with little patience.
    /// Gives whether it answered; nothing when the question was called off.
    pub(crate) async fn prove(&self) -> oneshot::Receiver<bool> {
        let (proved, answer) = oneshot::channel();
        self.order(Order::Prove { key: self.key, proved }).await;
        answer
    }

    /// Evidence from a session of `generation`.
    pub(crate) async fn tell(&self, generation: u64, input: Input) {
        self.order(Order::Told { key: self.key, generation, input }).await;
    }

    /// Resolves when there is news; never once the scheduler is gone.
    pub(crate) async fn changed(&mut self) {
        if self.view.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What is known now.
    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    async fn order(&self, order: Order) {
        // A scheduler that is gone ends with the engine.
        let _ = self.orders.send(order).await;
    }
}

/// What a look brings.
struct Found {
    key: u64,
    run: u64,
    what: What,
}

enum What {
    /// The session's round trip.
    Pinged(Duration),
    /// The end.
    Done(Looked),
}

struct Entry {
    check: Arc<Check>,
    view: watch::Sender<View>,
    known: View,
    live: Option<Live>,
    quiet: bool,
    /// Whether the session has to prove itself after a sleep or a change of the network.
    suspect: bool,
    /// Who waits for it to answer.
    proved: Option<oneshot::Sender<bool>>,
    /// The look under way, or waiting for its turn.
    run: Option<u64>,
    look: Option<AbortHandle>,
    queued: Option<Timestamp>,
}

struct Table {
    tasks: Tasks,
    /// The looks under way: one group between two pauses.
    looks: Tasks,
    clock: Clock,
    paused: bool,
    entries: HashMap<u64, Entry>,
    queue: BTreeSet<(Timestamp, u64)>,
    turns: Turns,
    runs: u64,
    /// Taken up for forwards that have not joined yet.
    saved: BTreeMap<String, Health>,
    found: mpsc::Sender<Found>,
}

impl Table {
    async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        mut found: mpsc::Receiver<Found>,
        mut wish: watch::Receiver<Wish>,
    ) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let next = self.queue.first().map(|(at, _)| self.clock.instant(*at));
            tokio::select! {
                biased;
                changed = wish.changed() => {
                    let wish = *wish.borrow_and_update();
                    if changed.is_err() || wish == Wish::Stop {
                        break;
                    }
                    self.pause(wish == Wish::Pause);
                }
                Some(found) = found.recv() => self.hear(found),
                count = orders.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    for order in batch.drain(..) {
                        self.obey(order);
                    }
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    self.take_due();
                }
            }
            self.begin();
        }
        self.looks.cancel();
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Join { key, check, view } => self.join(key, check, view),
            Order::Check { key, check } => self.recheck(key, check),
            Order::Opened { key, live } => {
                self.call_off(key);
                self.change(key, |entry| {
                    entry.known.generation = live.generation;
                    (entry.known.lost, entry.known.round_trip) = (None, None);
                    entry.live = Some(live);
                    std::mem::take(&mut entry.quiet).then_some(Input::Resumed)
                });
                self.step(key, Input::Opened);
            }
            Order::Closed { key } => {
                self.call_off(key);
                self.change(key, |entry| {
                    entry.live = None;
                    std::mem::take(&mut entry.quiet).then_some(Input::Resumed)
                });
                self.step(key, Input::Closed);
            }
            Order::Quiet { key } => {
                self.call_off(key);
                self.change(key, |entry| {
                    entry.quiet = true;
                    Some(Input::Paused)
                });
            }
            Order::Prove { key, proved } => {
                self.call_off(key);
                self.change(key, |entry| {
                    (entry.quiet, entry.suspect) = (false, true);
                    entry.proved = Some(proved);
                    Some(Input::Resumed)
                });
                self.suspect(key);
            }
            Order::Told { key, generation, input } => {
                let current = |entry: &Entry| entry.known.generation == generation;
                if self.entries.get(&key).is_some_and(current) {
                    self.step(key, input);
                }
            }
            Order::Restore { saved } => self.restore(saved),
            Order::Save { reply } => {
                let known = self.entries.values();
                let saved = known.map(|e| (e.check.forward.clone(), e.known.health.clone()));
                // Whoever asked may have gone.
                let _ = reply.send(saved.collect());
            }
        }
    }

    fn join(&mut self, key: u64, check: Arc<Check>, view: watch::Sender<View>) {
        let gone = self.entries.iter().filter(|(_, entry)| entry.view.is_closed());
        let gone: Vec<u64> = gone.map(|(key, _)| *key).collect();
        for key in gone {
            self.call_off(key);
            if let Some(at) = self.entries.remove(&key).and_then(|entry| entry.queued) {
                self.queue.remove(&(at, key));
            }
        }
        let health = self.saved.remove(&check.forward).unwrap_or_default();
        let known = View { health, ..View::default() };
        let entry = Entry {
            check,
            view,
            known,
            live: None,
            quiet: false,
            suspect: false,
            proved: None,
            run: None,
            look: None,
            queued: None,
        };
        self.entries.insert(key, entry);
        if self.paused {
            self.step(key, Input::Paused);
        }
    }

    fn recheck(&mut self, key: u64, check: Arc<Check>) {
        self.call_off(key);
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.check = check;
        self.take_up(key, Health::default());
    }

    fn restore(&mut self, mut saved: BTreeMap<String, Health>) {
        let fresh = |entry: &Entry| entry.known.health.checked().is_none();
        let keys: Vec<u64> = self.entries.keys().copied().collect();
        for key in keys {
            let Some(entry) = self.entries.get(&key).filter(|entry| fresh(entry)) else { continue };
            if let Some(health) = saved.remove(&entry.check.forward) {
                self.take_up(key, health);
            }
        }
        self.saved = saved;
    }

    /// Goes on from `health`, which was not learnt through this session.
    fn take_up(&mut self, key: u64, health: Health) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.known.health = health;
        let (open, quiet) = (entry.live.is_some(), entry.quiet || self.paused);
        if quiet {
            self.step(key, Input::Paused);
        }
        self.step(key, if open { Input::Opened } else { Input::Closed });
    }

    fn pause(&mut self, pause: bool) {
        if self.paused == pause {
            return;
        }
        self.paused = pause;
        if pause {
            // One token for all, so that it takes one turn however many there are.
            self.looks.cancel();
            self.looks = self.tasks.child("probes");
            self.turns.forget();
        }
        let keys: Vec<u64> = self.entries.keys().copied().collect();
        for key in keys {
            self.call_off(key);
            self.change(key, |entry| {
                let input = if pause { Input::Paused } else { Input::Resumed };
                (pause || !entry.quiet).then_some(input)
            });
        }
    }

    /// Ends the look under way, if there is one; what it found is not awaited.
    fn call_off(&mut self, key: u64) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.run = None;
        entry.suspect = false;
        entry.proved = None;
        if let Some(look) = entry.look.take() {
            look.abort();
            self.turns.ended(&entry.check.place);
        }
    }

    /// Changes an entry and lets its health take a step with what that amounts to.
    fn change(&mut self, key: u64, edit: impl FnOnce(&mut Entry) -> Option<Input>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let resumes_into_pause = |input: &Input| self.paused && *input == Input::Resumed;
        if let Some(input) = edit(entry).filter(|input| !resumes_into_pause(input)) {
            self.step(key, input);
        }
    }

    fn step(&mut self, key: u64, input: Input) {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let on = Conditions {
            now,
            settings: &entry.check.settings,
            jitter: crate::supervisor::jitter(),
        };
        entry.known.health = std::mem::take(&mut entry.known.health).step(input, on);
        entry.view.send_replace(entry.known.clone());
        self.queue_next(key);
    }

    /// Puts an entry into the queue at the time its health asks for.
    fn queue_next(&mut self, key: u64) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if let Some(at) = entry.queued.take() {
            self.queue.remove(&(at, key));
        }
        let due = entry.known.health.due().filter(|_| entry.run.is_none());
        if let Some(due) = due {
            let at = coalesced(due, entry.check.settings.interval);
            entry.queued = Some(at);
            self.queue.insert((at, key));
        }
    }

    fn take_due(&mut self) {
        let now = self.clock.now();
        while let Some((at, key)) = self.queue.first().copied().filter(|(at, _)| *at <= now) {
            self.queue.remove(&(at, key));
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            entry.queued = None;
            if entry.view.is_closed() {
                self.call_off(key);
                self.entries.remove(&key);
                continue;
            }
            self.runs += 1;
            entry.run = Some(self.runs);
            self.turns.wait(key, self.runs, entry.check.place.clone());
        }
    }

    /// Begins the looks whose turn it is.
    fn begin(&mut self) {
        while let Some((key, run)) = self.turns.next() {
            if self.entries.get(&key).is_some_and(|entry| entry.run == Some(run)) {
                self.look(key, run);
            }
        }
    }

    /// Looks at a suspect now. No turn is waited for: a thousand sessions are suspects
    /// together.
    fn suspect(&mut self, key: u64) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if self.paused || entry.live.is_none() {
            // Nothing is asked, so nothing speaks against it.
            entry.answered(true);
            return;
        }
        self.runs += 1;
        entry.run = Some(self.runs);
        self.look(key, self.runs);
        self.queue_next(key);
    }

    fn look(&mut self, key: u64, run: u64) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Some(live) = entry.live.clone() else { return };
        let (check, found, suspect) = (entry.check.clone(), self.found.clone(), entry.suspect);
        let look = self.looks.spawn(format!("probe {}", check.forward), async move {
            let looking = async {
                match check.ping(&*live.session, suspect).await {
                    Err(problem) => Looked::Lost(problem),
                    Ok(round_trip) => {
                        tell(&found, key, run, What::Pinged(round_trip)).await;
                        Looked::Asked(check.prove(&*live.session).await)
                    }
                }
            };
            let looked = AssertUnwindSafe(looking).catch_unwind().await;
            let looked = looked.unwrap_or_else(|_| check.panicked());
            tell(&found, key, run, What::Done(looked)).await;
        });
        entry.look = Some(look.abort_handle());
        self.turns.begun(entry.check.place.clone());
    }

    fn hear(&mut self, found: Found) {
        let Found { key, run, what } = found;
        let now = self.clock.now();
        // What was called off is of no account any more.
        let current = |entry: &&mut Entry| entry.run == Some(run);
        let Some(entry) = self.entries.get_mut(&key).filter(current) else { return };
        let looked = match what {
            What::Pinged(round_trip) => {
                entry.answered(true);
                entry.known.round_trip = Some((round_trip, now));
                entry.view.send_replace(entry.known.clone());
                return;
            }
            What::Done(looked) => looked,
        };
        if entry.look.take().is_some() {
            self.turns.ended(&entry.check.place);
        }
        entry.run = None;
        let stale = std::mem::take(&mut entry.suspect);
        entry.answered(!matches!(looked, Looked::Lost(_)));
        let input = match looked {
            Looked::Lost(problem) => {
                if let Some(live) = entry.live.take().filter(|_| stale) {
                    live.session.forsake();
                }
                entry.known.lost = Some(Lost { problem, stale });
                Input::Closed
            }
            Looked::Asked(Ok(round_trip)) => Input::Passed { round_trip },
            Looked::Asked(Err(problem)) => Input::Failed { problem },
        };
        self.step(key, input);
    }
}

impl Entry {
    /// Tells whoever waits for the session to prove itself.
    fn answered(&mut self, proved: bool) {
        if let Some(waiting) = self.proved.take() {
            // Whoever asked may have gone.
            let _ = waiting.send(proved);
        }
    }
}

async fn tell(found: &mpsc::Sender<Found>, key: u64, run: u64, what: What) {
    // A scheduler that is gone has cancelled whoever tells as well.
    let _ = found.send(Found { key, run, what }).await;
}

/// `due`, earlier by so little that looks of about the same time share a wake-up.
fn coalesced(due: Timestamp, interval: Duration) -> Timestamp {
    let slack = (interval / 20).min(SLACK).as_millis();
    let slack = u64::try_from(slack).unwrap_or(u64::MAX).max(1);
    Timestamp(due.0 - due.0 % slack)
}
