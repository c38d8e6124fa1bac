//! Owns how a new configuration comes into force while everything runs.
//!
//! Receives a configuration, moves only what changed, answers with the plan when every
//! port has moved. Ports go in two steps, so that two forwards can swap theirs: first
//! whoever gives a port up hands its sockets over, still bound; what nobody wants is
//! closed; then whoever takes a port is told, with the sockets that are there for it.

use super::Engine;
use super::ahead::Step;
use super::board::Entry;
use crate::adapter::Adapter;
use crate::handle::Apply;
use crate::listener::Pool;
use crate::supervisor::{ForwardId, Order, Respec, Vacated};
use localport_core::command::Refusal;
use localport_core::config::{Config, ForwardSpec, Plan, diff};
use localport_core::event::Kind;
use localport_core::snapshot::ConfigView;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};

/// Orders that one forward may get for one configuration.
const ORDERS_EACH: usize = 3;

/// The configuration that is coming into force, and the one that waits for it.
#[derive(Default)]
pub(super) struct Applying {
    under_way: Option<UnderWay>,
    next: Option<Apply>,
}

struct UnderWay {
    moving: JoinHandle<()>,
    plan: Plan,
    reply: oneshot::Sender<Result<Plan, Refusal>>,
}

impl Applying {
    /// Resolves when every port has moved; never while nothing moves.
    pub(super) async fn moved(&mut self) -> Result<(), JoinError> {
        match &mut self.under_way {
            Some(under_way) => (&mut under_way.moving).await,
            None => std::future::pending().await,
        }
    }
}

/// What is told to whom, in which step.
#[derive(Default)]
struct Moving {
    /// Answers of those who give their sockets up.
    vacated: Vec<oneshot::Receiver<Vacated>>,
    /// Addresses that are listened on afterwards.
    wanted: Vec<SocketAddr>,
    /// Those who become something else.
    changes: Vec<(mpsc::Sender<Order>, Coming)>,
}

struct Coming {
    spec: ForwardSpec,
    adapter: Arc<dyn Adapter>,
    on: Option<bool>,
}

impl Engine {
    pub(super) fn apply(&mut self, ask: Apply) {
        if self.end.is_under_way() {
            // Whoever asked may have gone.
            let _ = ask.reply.send(Err(Refusal::Quitting));
            return;
        }
        if self.applying.under_way.is_some() {
            if let Some(older) = self.applying.next.replace(ask) {
                let sentence = "a newer configuration took its place".to_owned();
                let _ = older.reply.send(Err(Refusal::NotNow { sentence }));
            }
            return;
        }
        let plan = diff(&self.config, &ask.config);
        if let Err(refusal) = self.room_for(&plan) {
            let _ = ask.reply.send(Err(refusal));
            return;
        }
        self.board.config = ask.view;
        if !plan.is_empty() {
            let summary = plan.summary();
            self.announce(None, Kind::ConfigApplied { summary });
        }
        let before = self.switched_on();
        self.ahead.configured(&plan, &ask.config);
        let moving = self.carry_out(&plan, &ask.config, &before);
        let switched = |on| moving.switched(on).collect::<Vec<String>>();
        let renamed = plan.changed.iter().filter(|change| change.is_rename());
        let gone: Vec<String> =
            plan.removed.iter().chain(renamed.map(|change| &change.was)).cloned().collect();
        self.reconfigured(&gone, &switched(true), &switched(false));
        for change in plan.changed.iter().filter(|change| change.is_rename()) {
            self.still_drained(&change.spec.name, change.spec.enabled);
        }
        if self.config.shutdown != ask.config.shutdown {
            self.rebudget(ask.config.shutdown);
        }
        self.config = ask.config;
        self.stale.mark(Duration::ZERO);
        let work = self.supervisors.spawn_to_end("new configuration", moving.run());
        self.applying.under_way = Some(UnderWay { moving: work, plan, reply: ask.reply });
    }

    /// Every port has moved: says so, and goes on with what came meanwhile.
    pub(super) fn applied(&mut self, moved: Result<(), JoinError>) {
        if let Some(UnderWay { plan, reply, .. }) = self.applying.under_way.take() {
            // Whoever is answered reads a snapshot that has it.
            self.publish();
            let answer = moved.map(|()| plan).map_err(|error| Refusal::NotNow {
                sentence: format!("the configuration was not carried out whole: {error}"),
            });
            // Whoever asked may have gone; what was asked stands.
            let _ = reply.send(answer);
        }
        if let Some(next) = self.applying.next.take() {
            self.ahead.after(vec![], Step::Apply(Box::new(next)));
        }
    }

    /// What is said of the configuration's files while what runs stays.
    pub(super) fn say(&mut self, view: ConfigView) {
        if let Some(pending) = &view.pending
            && self.board.config.pending.as_ref() != Some(pending)
        {
            let sentence = pending.sentence.clone();
            self.announce(None, Kind::ConfigPending { sentence });
        }
        self.board.config = view;
        self.stale.mark(Duration::ZERO);
    }

    /// Asked of all before any is told: a refused configuration has moved nothing.
    fn room_for(&self, plan: &Plan) -> Result<(), Refusal> {
        let changed = plan.changed.iter().map(|change| &change.was);
        for name in plan.removed.iter().chain(changed) {
            let entry = self.board.find(name).and_then(|id| self.board.entry(id));
            if entry.is_some_and(|entry| !entry.has_room(ORDERS_EACH)) {
                let sentence = format!("`{name}` is busy with earlier commands");
                return Err(Refusal::NotNow { sentence });
            }
        }
        Ok(())
    }

    /// The forwards that are to run, whether the file or a person says so.
    fn switched_on(&self) -> BTreeSet<ForwardId> {
        let on = |spec: &&ForwardSpec| self.ahead.is_wanted(&spec.name, spec.enabled);
        let names = self.config.forwards.iter().filter(on);
        names.filter_map(|spec| self.board.find(&spec.name)).collect()
    }

    /// Takes the plan over into the board, tells those who give a port up, and gives what
    /// is to follow.
    fn carry_out(&mut self, plan: &Plan, new: &Config, before: &BTreeSet<ForwardId>) -> Moving {
        let mut moving = Moving::default();
        let mut ids: HashMap<&str, ForwardId> = HashMap::new();
        for name in &plan.removed {
            if let Some(entry) = self.board.find(name).and_then(|id| self.board.entry(id)) {
                moving.vacate(entry);
                entry.tell(Order::Stop);
            }
        }
        for name in &plan.unchanged {
            ids.extend(self.board.find(name).map(|id| (name.as_str(), id)));
        }
        for change in &plan.changed {
            let Some(id) = self.board.find(&change.was) else { continue };
            ids.insert(&change.spec.name, id);
            let adapter = self.adapter(&change.spec.target);
            let after = self.ahead.is_wanted(&change.spec.name, change.spec.enabled);
            let Some(entry) = self.board.entry_mut(id) else { continue };
            entry.spec = change.spec.clone();
            if change.moves.port {
                moving.vacate(entry);
            }
            let on = (before.contains(&id) != after).then_some(after);
            moving.then(entry, Coming { spec: change.spec.clone(), adapter, on });
        }
        for spec in &plan.added {
            let id = match self.board.find_leaving(&spec.name) {
                Some(id) => id,
                None => self.supervise(spec.clone()),
            };
            ids.insert(&spec.name, id);
            let adapter = self.adapter(&spec.target);
            let on = Some(self.ahead.is_wanted(&spec.name, spec.enabled));
            let Some(entry) = self.board.entry_mut(id) else { continue };
            entry.spec = spec.clone();
            moving.then(entry, Coming { spec: spec.clone(), adapter, on });
        }
        let order = plan.order().iter().filter_map(|name| ids.get(name.as_str()).copied());
        self.board.arrange(order.collect());
        let on = |spec: &&ForwardSpec| self.ahead.is_wanted(&spec.name, spec.enabled);
        moving.wanted = new.forwards.iter().filter(on).flat_map(ForwardSpec::addresses).collect();
        moving
    }
}

impl Moving {
    fn vacate(&mut self, entry: &Entry) {
        let (reply, vacated) = oneshot::channel();
        entry.tell(Order::Vacate(reply));
        self.vacated.push(vacated);
    }

    fn then(&mut self, entry: &Entry, coming: Coming) {
        self.changes.extend(entry.orders.clone().map(|orders| (orders, coming)));
    }

    /// Names of the forwards that are switched.
    fn switched(&self, on: bool) -> impl Iterator<Item = String> {
        let changes = self.changes.iter().map(|(_, coming)| coming);
        changes.filter(move |coming| coming.on == Some(on)).map(|coming| coming.spec.name.clone())
    }

    async fn run(self) {
        let pool = Pool::default();
        for vacated in self.vacated {
            // A supervisor that is gone holds no socket.
            pool.add(vacated.await.unwrap_or_default());
        }
        // Before anything is bound: a listener on all addresses keeps others from one.
        pool.keep_only(&self.wanted);
        let mut moved = Vec::with_capacity(self.changes.len());
        for (orders, Coming { spec, adapter, on }) in self.changes {
            let (done, is_done) = oneshot::channel();
            let respec = Box::new(Respec { spec, adapter, pool: pool.clone(), on, done });
            // A supervisor that is gone drops its answer, too.
            let _ = orders.send(Order::Respec(respec)).await;
            moved.push(is_done);
        }
        for is_done in moved {
            let _ = is_done.await;
        }
        pool.keep_only(&[]);
    }
}
