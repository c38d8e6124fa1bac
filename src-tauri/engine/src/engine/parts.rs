//! Owns the drains of parts: performs what [`core::parts`](localport_core::parts) decides.
//!
//! Receives wishes and what the supervisors show; emits orders, cuts, events, and a
//! receipt for each drain. While the engine itself ends, a drain under way keeps its own
//! deadline if that is the shorter one, and no new one begins.

use super::ahead::Step;
use super::{Engine, Reply, Reserved};
use crate::supervisor::{ForwardId, Order};
use localport_core::command::{Done, Drain, Refusal, Selector};
use localport_core::event::Kind;
use localport_core::parts::{PartReceipt, Parts, Tell};
use localport_core::shutdown::Stage;
use localport_core::snapshot::{Forward, ForwardState, ListenerState, Snapshot};
use localport_core::time::Timestamp;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A drain that has begun.
pub(crate) struct Begun {
    pub(crate) done: Done,
    pub(crate) over: oneshot::Receiver<PartReceipt>,
}

/// What is wanted of a part, and who hears of it.
pub(super) enum Wanted {
    /// Drain it; answer with what tells the end.
    Drain(Drain, oneshot::Sender<Result<Begun, Refusal>>),
    /// Drain it; nobody waits for the end.
    Start(Drain, Reply),
    /// Switch on again what a drain took of it.
    Resume(Selector, Reply),
}

impl Wanted {
    fn selector(&self) -> &Selector {
        match self {
            Wanted::Drain(drain, _) | Wanted::Start(drain, _) => &drain.selector,
            Wanted::Resume(selector, _) => selector,
        }
    }

    fn refuse(self, refusal: Refusal) {
        // Whoever asked may have gone.
        match self {
            Wanted::Drain(_, reply) => drop(reply.send(Err(refusal))),
            Wanted::Start(_, reply) | Wanted::Resume(_, reply) => drop(reply.send(Err(refusal))),
        }
    }
}

/// The drains, what cuts each of them, and who waits for which.
#[derive(Default)]
pub(super) struct Drains {
    pub(super) parts: Parts,
    cuts: HashMap<String, CancellationToken>,
    waiting: HashMap<u64, oneshot::Sender<PartReceipt>>,
}

impl Drains {
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.parts.wake_at()
    }

    /// Writes into the snapshot which forwards are drained.
    pub(super) fn mark(&self, snapshot: &mut Snapshot) {
        for forward in &mut snapshot.forwards {
            forward.drain = self.parts.view(&forward.name);
        }
    }
}

impl Engine {
    /// Takes a wish on; it is carried out in its turn, after every command before it.
    pub(super) fn ask_part(&mut self, wanted: Wanted) {
        match self.reserve(wanted.selector()) {
            Ok(reserved) => {
                let entries = match &wanted {
                    Wanted::Drain(..) | Wanted::Start(..) => self.ahead.drained(&reserved.forwards),
                    Wanted::Resume(..) => self.ahead.resumed(&reserved.forwards),
                };
                self.ahead.after(entries, Step::Part(wanted, reserved));
            }
            Err(refusal) => wanted.refuse(refusal),
        }
    }

    pub(super) fn perform_part(&mut self, wanted: Wanted, reserved: Reserved) {
        // Whoever asked may have gone; the wish stands all the same.
        match wanted {
            Wanted::Drain(drain, reply) => {
                let _ = reply.send(Ok(self.begin_drain(&drain, reserved)));
            }
            Wanted::Start(drain, reply) => {
                let _ = reply.send(Ok(self.begin_drain(&drain, reserved).done));
            }
            Wanted::Resume(_, reply) => {
                let _ = reply.send(Ok(self.resume_part(reserved)));
            }
        }
    }

    fn begin_drain(&mut self, drain: &Drain, reserved: Reserved) -> Begun {
        let usual = self.budgets.borrow().complete_current;
        let within = drain.within_ms.map_or(usual, Duration::from_millis);
        let begun = self.drains.parts.drain(&reserved.forwards, within, self.clock.now());
        let (waiting, over) = oneshot::channel();
        self.drains.waiting.insert(begun.number, waiting);
        let message = beside(&begun.drained, &begun.off);
        self.tell(begun.tell, reserved);
        Begun { done: Done { forwards: begun.forwards, message }, over }
    }

    fn resume_part(&mut self, reserved: Reserved) -> Done {
        let now = self.clock.now();
        let (forwards, tell) = self.drains.parts.resume(&reserved.forwards, now);
        self.tell(tell, reserved);
        for name in &forwards {
            self.announce(Some(name.clone()), Kind::Resumed);
        }
        let message = forwards.is_empty().then(|| "nothing of it was drained".to_owned());
        Done { forwards, message }
    }

    /// A person switched forwards on or off by another command.
    pub(super) fn switched(&mut self, order: &Order, names: &[String]) {
        let tell = match order {
            Order::Start | Order::Restart => self.drains.parts.switched_on(names, self.clock.now()),
            Order::Stop => {
                self.drains.parts.switched_off(names);
                vec![]
            }
            Order::RetryNow | Order::Drain { .. } | Order::Vacate(_) | Order::Respec(_) => return,
        };
        self.follow(tell);
    }

    /// A configuration came into force: what it removed or switched is no drain's any more.
    pub(super) fn reconfigured(&mut self, gone: &[String], on: &[String], off: &[String]) {
        let now = self.clock.now();
        let mut tell: Vec<Tell> =
            gone.iter().flat_map(|name| self.drains.parts.forget(name, now)).collect();
        tell.extend(self.drains.parts.switched_on(on, now));
        self.drains.parts.switched_off(off);
        self.follow(tell);
    }

    /// Renamed while it was drained: it stays drained under its new name.
    pub(super) fn still_drained(&mut self, name: &str, enabled: bool) {
        if self.ahead.is_drained(name, enabled) {
            self.drains.parts.restore(name, self.clock.now());
        }
    }

    /// Passes what a forward shows to its drain; `number` is the last drain it obeyed.
    pub(super) fn watch_drain(&mut self, id: ForwardId, number: u64, forward: &Forward) {
        let ended = forward.state == ForwardState::Stopped;
        let closed = forward.listener.state == ListenerState::Closed
            && (ended || forward.state == ForwardState::Stopping);
        let now = self.clock.now();
        let Some(name) = self.board.name(id) else { return };
        let tell = self.drains.parts.shown(name, number, closed, ended, now);
        self.follow(tell);
    }

    pub(super) fn drains_due(&mut self) {
        let tell = self.drains.parts.due(self.clock.now());
        self.follow(tell);
    }

    fn follow(&mut self, tell: Vec<Tell>) {
        self.tell(tell, Reserved::default());
    }

    fn tell(&mut self, tell: Vec<Tell>, mut reserved: Reserved) {
        if tell.is_empty() {
            return;
        }
        self.stale.mark(super::COALESCE);
        for tell in tell {
            match tell {
                Tell::Drain { name, number } => {
                    let cut = CancellationToken::new();
                    self.drains.cuts.insert(name.clone(), cut.clone());
                    reserved.order(&name, Order::Drain { number, cut });
                }
                Tell::Start(name) => {
                    self.drains.cuts.remove(&name);
                    reserved.order(&name, Order::Start);
                }
                Tell::Cut { name, .. } => {
                    if let Some(cut) = self.drains.cuts.remove(&name) {
                        cut.cancel();
                    }
                }
                Tell::Entered(name, stage) => self.say_stage(name, stage),
                Tell::Drained(name, took, forced) => {
                    self.drains.cuts.remove(&name);
                    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                    self.announce(Some(name), Kind::Drained { took_ms, forced });
                }
                Tell::Finished(number, receipt) => {
                    if let Some(waiting) = self.drains.waiting.remove(&number) {
                        // Whoever asked may not wait for the end.
                        let _ = waiting.send(receipt);
                    }
                }
            }
        }
    }

    fn say_stage(&mut self, name: String, stage: Stage) {
        let open = self.board.open(&name);
        if open > 0 && stage <= Stage::CancelTasks {
            self.announce(Some(name), Kind::DrainStage { stage, open });
        }
    }
}

impl Reserved {
    fn order(&mut self, name: &str, order: Order) {
        // Without a permit the supervisor has gone, and ends with the engine.
        if let Some(permit) = self.permits.remove(name) {
            permit.send(order);
        }
    }
}

/// What a drain found besides what it took.
fn beside(drained: &[String], off: &[String]) -> Option<String> {
    let say = |names: &[String], word: &str| {
        (!names.is_empty()).then(|| format!("{word}: {}", names.join(", ")))
    };
    let parts: Vec<String> =
        [say(drained, "drained already"), say(off, "off")].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
