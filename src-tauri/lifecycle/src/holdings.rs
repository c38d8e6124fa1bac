//! Owns the list of what the sources hold of the system: names on a bus, locks of logind.
//!
//! Receives what a source takes and gives back; emits the list, for the account of the
//! host that watches.

use localport_core::resource::Holding;
#[cfg(target_os = "linux")]
use localport_core::resource::LeaseKind;
use std::collections::BTreeMap;
#[cfg(target_os = "linux")]
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// What is held now, each under a number that nothing else has.
pub type Holdings = BTreeMap<u64, Holding>;

/// The list; clones share it.
#[derive(Clone)]
pub(crate) struct List {
    held: watch::Sender<Holdings>,
    #[cfg(target_os = "linux")]
    next: Arc<AtomicU64>,
}

impl List {
    /// Empty.
    pub(crate) fn new() -> Self {
        Self {
            held: watch::Sender::new(Holdings::new()),
            #[cfg(target_os = "linux")]
            next: Arc::default(),
        }
    }

    pub(crate) fn follow(&self) -> watch::Receiver<Holdings> {
        self.held.subscribe()
    }

    /// Puts something down until what is given back is dropped.
    #[cfg(target_os = "linux")]
    pub(crate) fn hold(&self, kind: LeaseKind, name: impl Into<String>) -> Held {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let holding = Holding { kind, name: name.into() };
        self.held.send_modify(|held| drop(held.insert(number, holding)));
        Held { number, list: self.clone() }
    }

    /// The name that `bus` gave, on the bus that people call `which`.
    #[cfg(target_os = "linux")]
    pub(crate) fn hold_name(&self, bus: &zbus::Connection, which: &str) -> Option<Held> {
        let name = bus.unique_name()?;
        Some(self.hold(LeaseKind::BusName, format!("{name} on the {which} bus")))
    }
}

/// One entry of the list.
#[cfg(target_os = "linux")]
pub(crate) struct Held {
    number: u64,
    list: List,
}

#[cfg(target_os = "linux")]
impl Drop for Held {
    fn drop(&mut self) {
        self.list.held.send_modify(|held| drop(held.remove(&self.number)));
    }
}
