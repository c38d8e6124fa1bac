//! Owns the snapshot while it is being written: what every supervisor last showed.

use super::places::Places;
use crate::handle::Clock;
use crate::relay::Counters;
use crate::supervisor::{ForwardId, Order, view};
use localport_core::command::{Refusal, Selector};
use localport_core::config::ForwardSpec;
use localport_core::snapshot::{
    Bytes, ConfigView, Connections, Forward, ForwardState, Phase, Snapshot,
};
use localport_core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

pub(super) struct Board {
    pub(super) seq: u64,
    pub(super) phase: Phase,
    pub(super) config: ConfigView,
    started: Timestamp,
    entries: BTreeMap<ForwardId, Entry>,
    /// The forwards of the configuration, in its order; entries that are not among them
    /// are leaving.
    order: Vec<ForwardId>,
    next: u64,
    pub(super) places: Places,
}

/// One forward.
pub(super) struct Entry {
    pub(super) spec: ForwardSpec,
    /// None once the engine ends and waits for the supervisor.
    pub(super) orders: Option<mpsc::Sender<Order>>,
    counters: Arc<Counters>,
    shown: Option<Forward>,
}

impl Entry {
    /// Whether `count` more orders find room.
    pub(super) fn has_room(&self, count: usize) -> bool {
        self.orders.as_ref().is_none_or(|orders| orders.capacity() >= count)
    }

    /// Tells the supervisor; there must be room. One that is gone ends with the engine.
    pub(super) fn tell(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.try_send(order);
        }
    }
}

impl Board {
    pub(super) fn new(config: ConfigView, clock: Clock) -> Self {
        Self {
            seq: 0,
            phase: Phase::Starting,
            config,
            started: clock.now(),
            entries: BTreeMap::new(),
            order: vec![],
            next: 0,
            places: Places::default(),
        }
    }

    /// A new identity.
    pub(super) fn identify(&mut self) -> ForwardId {
        self.next += 1;
        ForwardId(self.next)
    }

    /// Takes a forward on. Where it stands, [`Board::arrange`] says.
    pub(super) fn adopt(
        &mut self,
        id: ForwardId,
        spec: ForwardSpec,
        orders: mpsc::Sender<Order>,
        counters: Arc<Counters>,
    ) {
        let orders = Some(orders);
        self.entries.insert(id, Entry { spec, orders, counters, shown: None });
    }

    /// These are the forwards of the configuration, in this order; all others are leaving.
    pub(super) fn arrange(&mut self, order: Vec<ForwardId>) {
        self.order = order;
    }

    /// Takes down what a forward looks like; whether it has left and is no more.
    pub(super) fn show(&mut self, id: ForwardId, forward: Forward) -> bool {
        let left = forward.state == ForwardState::Stopped && self.is_leaving(id);
        if left {
            // Its supervisor ends with its orders.
            self.entries.remove(&id);
        } else if let Some(entry) = self.entries.get_mut(&id) {
            entry.shown = Some(forward);
        }
        left
    }

    /// Every forward, those that leave among them.
    pub(super) fn ids(&self) -> impl Iterator<Item = ForwardId> {
        self.entries.keys().copied()
    }

    /// Whether every forward is as `is` says; one that has not been shown yet is not.
    pub(super) fn all(&self, is: impl Fn(&Forward) -> bool) -> bool {
        self.entries.values().all(|entry| entry.shown.as_ref().is_some_and(&is))
    }

    /// The name of a forward that is still here.
    pub(super) fn name(&self, id: ForwardId) -> Option<&str> {
        self.entries.get(&id).map(|entry| entry.spec.name.as_str())
    }

    pub(super) fn entry(&self, id: ForwardId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn entry_mut(&mut self, id: ForwardId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    /// The forward of the configuration with this name.
    pub(super) fn find(&self, name: &str) -> Option<ForwardId> {
        self.order.iter().copied().find(|id| self.name(*id) == Some(name))
    }

    /// A forward with this name that is leaving.
    pub(super) fn find_leaving(&self, name: &str) -> Option<ForwardId> {
        self.entries.keys().copied().find(|id| self.is_leaving(*id) && self.name(*id) == Some(name))
    }

    fn is_leaving(&self, id: ForwardId) -> bool {
        !self.order.contains(&id)
    }

    /// Lets every supervisor end as soon as it is drained.
    pub(super) fn dismiss(&mut self) {
        for entry in self.entries.values_mut() {
            entry.orders = None;
        }
    }

    /// Connections of this forward that are open now.
    pub(super) fn open(&self, name: &str) -> u32 {
        let entry = self.find(name).and_then(|id| self.entries.get(&id));
        entry.map_or(0, |entry| connections(&entry.counters).open)
    }

    /// The forwards meant, in the order of the configuration.
    pub(super) fn select(&self, selector: &Selector) -> Result<Vec<ForwardId>, Refusal> {
        match selector {
            Selector::All => Ok(self.order.clone()),
            Selector::Tag(tag) => {
                let tagged: Vec<ForwardId> = self
                    .present()
                    .filter(|(_, e)| e.spec.tags.contains(tag))
                    .map(|e| e.0)
                    .collect();
                if tagged.is_empty() {
                    return Err(Refusal::UnknownTag { tag: tag.clone() });
                }
                Ok(tagged)
            }
            Selector::Context(context) => {
                let within = |entry: &Entry| view::context(&entry.spec);
                let ids: Vec<ForwardId> = self
                    .present()
                    .filter(|(_, entry)| within(entry) == *context)
                    .map(|(id, _)| id)
                    .collect();
                if ids.is_empty() {
                    let known: Vec<String> =
                        self.present().map(|(_, entry)| within(entry)).collect();
                    return Err(Refusal::unknown_context(
                        context,
                        known.iter().map(String::as_str),
                    ));
                }
                Ok(ids)
            }
            Selector::Names(names) => {
                let known = || self.present().map(|(_, entry)| entry.spec.name.as_str());
                let find =
                    |name: &String| self.find(name).ok_or_else(|| Refusal::unknown(name, known()));
                let found: BTreeSet<ForwardId> =
                    names.iter().map(find).collect::<Result<_, _>>()?;
                Ok(self.order.iter().copied().filter(|id| found.contains(id)).collect())
            }
        }
    }

    /// The forwards of the configuration, in its order.
    fn present(&self) -> impl Iterator<Item = (ForwardId, &Entry)> {
        self.order.iter().filter_map(|id| Some((*id, self.entries.get(id)?)))
    }

    /// The forwards of the configuration, then those that are leaving.
    fn shown(&self) -> Vec<Forward> {
        let view = |entry: &Entry| {
            let mut forward = entry.shown.clone()?;
            forward.connections = connections(&entry.counters);
            forward.bytes = bytes(&entry.counters);
            Some(forward)
        };
        let mut forwards: Vec<Forward> =
            self.present().filter_map(|(_, entry)| view(entry)).collect();
        if self.entries.len() > self.order.len() {
            let leaving = self.entries.iter().filter(|(id, _)| self.is_leaving(**id));
            for mut forward in leaving.filter_map(|(_, entry)| view(entry)) {
                // It was told so, whatever it showed last.
                forward.wanted = false;
                forward.state = ForwardState::Stopping;
                if forwards.iter().all(|shown| shown.name != forward.name) {
                    forwards.push(forward);
                }
            }
        }
        forwards
    }

    pub(super) fn snapshot(&mut self, now: Timestamp) -> Snapshot {
        let mut forwards = self.shown();
        let contexts = self.places.judge(&mut forwards, now);
        Snapshot {
            seq: self.seq,
            at: now,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            phase: self.phase,
            started: self.started,
            ending: None,
            contexts,
            forwards,
            config: self.config.clone(),
        }
    }
}

pub(crate) fn connections(counters: &Counters) -> Connections {
    Connections {
        open: counters.open.load(Ordering::Relaxed),
        held: counters.held.load(Ordering::Relaxed),
        total: counters.total.load(Ordering::Relaxed),
    }
}

pub(crate) fn bytes(counters: &Counters) -> Bytes {
    Bytes { up: counters.up.load(Ordering::Relaxed), down: counters.down.load(Ordering::Relaxed) }
}
