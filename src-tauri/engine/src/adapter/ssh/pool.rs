//! Owns which master serves which destination: one each, shared, counted, kept a moment
//! after its last user.
//!
//! Receives wishes for a connection; emits [`Use`]s. Openers at the same time share one
//! attempt, and its failure.

use super::Ground;
use super::destination::Destination;
use super::master::{Audience, Ending, Keeper, Master, Seat, unused};
use localport_core::event::Kind;
use localport_core::problem::{Code, Problem};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Least time between two attempts at one destination: many forwards whose retries fall
/// due one after the other share an attempt instead of storming the host.
const PACE: Duration = Duration::from_millis(300);

/// Time a master gets to end by itself when nobody needs it any more.
const PATIENCE: Duration = Duration::from_secs(3);

type Outcome = Option<Result<Arc<Master>, Problem>>;

pub(super) struct Pool {
    ground: Arc<Ground>,
    slots: Mutex<HashMap<Destination, Slot>>,
    patience: Mutex<Duration>,
    closing: CancellationToken,
}

struct Slot {
    audience: Audience,
    users: watch::Sender<usize>,
    state: State,
}

enum State {
    /// No attempt runs; when the last one failed.
    Idle(Option<Instant>),
    Starting(watch::Receiver<Outcome>, Weak<Interest>),
    Up(Arc<Master>),
}

/// Somebody waits for an attempt; when the last one lets go, the attempt is abandoned.
struct Interest(CancellationToken);

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A session's share of a master.
pub(super) struct Use {
    pub(super) master: Arc<Master>,
    users: watch::Sender<usize>,
    _seat: Seat,
}

impl Drop for Use {
    fn drop(&mut self) {
        self.users.send_modify(|users| *users -= 1);
    }
}

impl Pool {
    pub(super) fn new(ground: Arc<Ground>) -> Arc<Self> {
        Arc::new(Self {
            ground,
            slots: Mutex::default(),
            patience: Mutex::new(PATIENCE),
            closing: CancellationToken::new(),
        })
    }

    /// A share of the master to `destination`, which is started if there is none.
    pub(super) async fn obtain(
        self: &Arc<Self>,
        destination: &Destination,
        notes: mpsc::Sender<Kind>,
    ) -> Result<Use, Problem> {
        let (seat, users, mut outcome, _interest) = {
            let mut slots = self.slots();
            let slot = slots.entry(destination.clone()).or_insert_with(Slot::new);
            let seat = slot.audience.join(notes);
            if let State::Up(master) = &slot.state
                && master.is_alive()
            {
                return Ok(slot.share(master.clone(), seat));
            }
            let (outcome, interest) = self.attempt(destination, slot);
            (seat, slot.users.clone(), outcome, interest)
        };
        let result = match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        match result {
            Some(Ok(master)) => {
                // Under the lock, so that a master about to be retired counts it.
                let _slots = self.slots();
                users.send_modify(|users| *users += 1);
                Ok(Use { master, users, _seat: seat })
            }
            Some(Err(problem)) => Err(problem),
            None => Err(super::lost("the attempt to connect was given up".to_owned())),
        }
    }

    /// Resolves when a connection to `destination` is up, or when its unknown host key
    /// may be known by now: the retries of many forwards need not fall due one by one.
    pub(super) async fn mended(
        &self,
        destination: &Destination,
        code: Code,
        mut opened: watch::Receiver<u64>,
    ) {
        loop {
            if self.is_up(destination) {
                return;
            }
            if opened.changed().await.is_err() {
                return std::future::pending().await;
            }
            if code == Code::SshHostKeyUnknown {
                return;
            }
        }
    }

    /// Lets the next attempt start at once.
    pub(super) fn hurry(&self, destination: &Destination) {
        if let Some(slot) = self.slots().get_mut(destination)
            && let State::Idle(failed) = &mut slot.state
        {
            *failed = None;
        }
    }

    /// Gives up the attempts under way: they wait for answers to a machine that slept.
    pub(super) fn doubt(&self) {
        for slot in self.slots().values_mut() {
            if let State::Starting(_, interest) = &slot.state {
                if let Some(interest) = interest.upgrade() {
                    interest.0.cancel();
                }
                slot.state = State::Idle(None);
            }
        }
    }

    /// Gives new sessions another master than `master`, which does not answer. It ends
    /// when it is known to be frozen, or with its last user.
    pub(super) fn forsake(&self, master: &Arc<Master>) {
        let own =
            |slot: &&mut Slot| matches!(&slot.state, State::Up(up) if Arc::ptr_eq(up, master));
        if let Some(slot) = self.slots().values_mut().find(own) {
            slot.state = State::Idle(None);
            // Its users are counted apart from those of the next.
            slot.users = watch::Sender::new(0);
        }
    }

    /// Ends every master within `budget`, asked first and then killed.
    pub(super) async fn shutdown(&self, budget: Duration) {
        let patience = PATIENCE.min(budget / 2);
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = patience;
        self.closing.cancel();
        let tasks = &self.ground.tasks;
        if tokio::time::timeout(budget.mul_f64(0.8), tasks.wait()).await.is_err() {
            tasks.cancel();
            if tokio::time::timeout(budget.mul_f64(0.2), tasks.wait()).await.is_err() {
                tasks.registry().fault("the SSH adapter did not end within its time");
            }
        }
    }

    fn attempt(
        self: &Arc<Self>,
        destination: &Destination,
        slot: &mut Slot,
    ) -> (watch::Receiver<Outcome>, Arc<Interest>) {
        if let State::Starting(outcome, interest) = &slot.state
            && let Some(interest) = interest.upgrade()
        {
            return (outcome.clone(), interest);
        }
        let due = match slot.state {
            State::Idle(Some(failed)) => failed + PACE,
            _ => Instant::now(),
        };
        let (report, outcome) = watch::channel(None);
        let abandoned = CancellationToken::new();
        let interest = Arc::new(Interest(abandoned.clone()));
        slot.state = State::Starting(outcome.clone(), Arc::downgrade(&interest));
        let attempt = Attempt {
            pool: self.clone(),
            destination: destination.clone(),
            audience: slot.audience.clone(),
            users: slot.users.subscribe(),
            abandoned,
            report,
        };
        let name = format!("ssh {}", destination.words());
        self.ground.tasks.spawn_to_end(name, attempt.run(due));
        (outcome, interest)
    }

    fn is_up(&self, destination: &Destination) -> bool {
        self.slots().get(destination).is_some_and(|slot| match &slot.state {
            State::Up(master) => master.is_alive(),
            State::Idle(_) | State::Starting(..) => false,
        })
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Destination, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn patience(&self) -> Duration {
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            audience: Audience::default(),
            users: watch::Sender::new(0),
            state: State::Idle(None),
        }
    }

    fn share(&self, master: Arc<Master>, seat: Seat) -> Use {
        self.users.send_modify(|users| *users += 1);
        Use { master, users: self.users.clone(), _seat: seat }
    }
}

/// The life of one master, from the first attempt to the end of its process.
struct Attempt {
    pool: Arc<Pool>,
    destination: Destination,
    audience: Audience,
    users: watch::Receiver<usize>,
    abandoned: CancellationToken,
    report: watch::Sender<Outcome>,
}

impl Attempt {
    async fn run(self, due: Instant) {
        let start = async {
            sleep_until(due).await;
            Master::start(&self.pool.ground, &self.destination, &self.audience).await
        };
        let started = tokio::select! {
            started = start => started,
            () = self.abandoned.cancelled() => Err(given_up()),
            () = self.pool.closing.cancelled() => Err(given_up()),
            () = self.pool.ground.tasks.token().cancelled() => Err(given_up()),
        };
        match started {
            Ok(keeper) => self.keep(keeper).await,
            Err(problem) => {
                self.settle(State::Idle(Some(Instant::now())));
                self.report.send_replace(Some(Err(problem)));
            }
        }
    }

    async fn keep(self, keeper: Keeper) {
        let master = keeper.master().clone();
        self.settle(State::Up(master.clone()));
        self.report.send_replace(Some(Ok(master)));
        self.pool.ground.announce_opening();
        let ending = self.ending(&keeper).await;
        self.settle(State::Idle(None));
        keeper.end(ending, self.pool.patience()).await;
    }

    async fn ending(&self, keeper: &Keeper) -> Ending {
        let linger = self.pool.ground.options.linger;
        loop {
            let ending = tokio::select! {
                problem = keeper.lost() => return Ending::Lost(problem),
                ending = unused(self.users.clone(), linger, &self.pool.closing) => ending,
                () = self.pool.ground.tasks.token().cancelled() => return Ending::Closing,
            };
            // A session may have come between the last look and this one.
            if matches!(ending, Ending::Closing) || self.retire() {
                return ending;
            }
        }
    }

    /// Takes the master out of the pool unless somebody uses it.
    fn retire(&self) -> bool {
        let mut slots = self.pool.slots();
        let idle = *self.users.borrow() == 0;
        // The place of one that was forsaken may be its successor's.
        if idle && slots.get(&self.destination).is_some_and(|slot| self.owns(slot)) {
            slots.remove(&self.destination);
        }
        idle
    }

    /// Enters `state`, unless a later attempt owns the slot already.
    fn settle(&self, state: State) {
        let mut slots = self.pool.slots();
        let Some(slot) = slots.get_mut(&self.destination) else { return };
        if self.owns(slot) {
            slot.state = state;
        }
    }

    fn owns(&self, slot: &Slot) -> bool {
        match &slot.state {
            State::Idle(_) => false,
            State::Starting(outcome, _) => outcome.same_channel(&self.report.subscribe()),
            State::Up(master) => match &*self.report.borrow() {
                Some(Ok(own)) => Arc::ptr_eq(own, master),
                _ => false,
            },
        }
    }
}

fn given_up() -> Problem {
    super::lost("the attempt to connect was given up".to_owned())
}
