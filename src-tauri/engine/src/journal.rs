//! Owns the journal of a running host: what is written ahead of every step.
//!
//! Receives entries from every room; emits, for each, when it lies on the disk or when
//! waiting for it is over. A thread of its own writes, and what waits for it shares one
//! write. No step ever fails for its sake: what cannot be written is said, and written
//! later if that becomes possible.

mod medium;
mod writer;

pub use medium::{JournalFile, Medium};

use crate::process;
use crate::registry::{LeaseKind, Registry};
use localport_core::journal::{Entry, Host, Past, Process, format, replay};
use localport_core::time::Timestamp;
use std::future::Future;
use std::mem::replace;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use writer::{Order, Writer};

/// Longest wait for the disk, per step. An ordinary disk takes a few milliseconds.
const PATIENCE: Duration = Duration::from_millis(200);
/// Orders that wait for the disk; a stuck one must not eat the memory.
const WAITING: usize = 1_024;

/// The journal. Clones share it.
#[derive(Clone)]
pub struct Journal {
    orders: Option<mpsc::Sender<Order>>,
    trouble: Arc<watch::Sender<Trouble>>,
    host: Process,
}

/// What is wrong with the disk below the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Why it cannot be written; what it should hold is kept in memory meanwhile.
    pub failed: Option<String>,
    /// Whether it is slower than steps can wait.
    pub slow: bool,
    /// Whether it was stuck for so long that entries had to be dropped.
    pub dropped: bool,
}

/// When a step may go on.
pub struct Ack {
    done: Option<oneshot::Receiver<()>>,
    until: Instant,
    trouble: Arc<watch::Sender<Trouble>>,
}

impl Journal {
    /// One that keeps nothing, for an engine without a home.
    #[must_use]
    pub fn nowhere() -> Self {
        Self { orders: None, trouble: Arc::default(), host: process::this() }
    }

    /// Reads what `medium` holds, and begins a host's life on it, at `at`. To be called
    /// holding the host's lock: a journal has one writer.
    #[must_use]
    pub fn open(medium: Box<dyn Medium>, registry: &Registry, at: Timestamp) -> (Self, Past) {
        let mut medium = medium;
        let trouble = Arc::new(watch::Sender::new(Trouble::default()));
        let past = match medium.read() {
            Ok(bytes) => understood(&bytes),
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be read");
                Past::default()
            }
        };
        let host = process::this();
        let (orders, waiting) = mpsc::channel(WAITING);
        let writer = Writer::new(medium, past.clone(), trouble.clone());
        let lease = registry.lease(LeaseKind::Task, "journal", crate::engine::HOST);
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            writer.run(waiting);
            drop(lease);
        });
        let orders = match thread {
            Ok(_) => Some(orders),
            Err(error) => {
                trouble.send_modify(|trouble| trouble.failed = Some(error.to_string()));
                None
            }
        };
        let journal = Self { orders, trouble, host: host.clone() };
        journal.put(Entry::HostBegan {
            host: Host {
                process: host,
                token: process::token(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                at,
            },
        });
        (journal, past)
    }

    /// Writes `entry` down, without waiting for it: what follows does not depend on it.
    pub fn put(&self, entry: Entry) {
        self.send(vec![entry], None);
    }

    /// Writes `entries` down ahead of a step: it may go on when the result says so.
    #[must_use]
    pub fn order(&self, entries: Vec<Entry>) -> Ack {
        let until = Instant::now() + PATIENCE;
        let mut done = None;
        if !entries.is_empty() {
            let (sender, receiver) = oneshot::channel();
            self.send(entries, Some(sender));
            // The first that waited in vain waited for all until the disk is back.
            done = (!self.trouble.borrow().slow).then_some(receiver);
        }
        Ack { done, until, trouble: self.trouble.clone() }
    }

    /// Writes `entries` down and waits until the step that they announce may go on.
    pub fn ahead(&self, entries: Vec<Entry>) -> impl Future<Output = ()> + use<> {
        let mut ack = self.order(entries);
        async move { ack.wait().await }
    }

    /// What is wrong, as it changes.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Trouble> {
        self.trouble.subscribe()
    }

    /// What of the journal is lost, in words, if anything is.
    #[must_use]
    pub fn loss(&self) -> Option<String> {
        self.trouble.borrow().words()
    }

    /// The life is over: the last entry is written, the file closed. Says what is
    /// lost, as [`Journal::loss`] does.
    pub async fn finish(&self, clean: bool) -> Option<String> {
        if let Some(orders) = &self.orders {
            let (sender, done) = oneshot::channel();
            let entries = vec![Entry::HostEnded { clean }];
            let patience = Instant::now() + PATIENCE;
            let order = Order { entries, done: Some(sender), last: true };
            if orders.try_send(order).is_err() || timeout_at(patience, done).await.is_err() {
                self.trouble.send_modify(|trouble| trouble.slow = true);
            }
        }
        self.loss()
    }

    /// The host that writes, as its children name it.
    pub(crate) fn host(&self) -> &Process {
        &self.host
    }

    fn send(&self, entries: Vec<Entry>, done: Option<oneshot::Sender<()>>) {
        let Some(orders) = &self.orders else { return };
        match orders.try_send(Order { entries, done, last: false }) {
            // Closed: the life is over, and so is its account.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.trouble.send_if_modified(|trouble| !replace(&mut trouble.dropped, true));
            }
        }
    }
}

impl Ack {
    /// Waits until the step may go on. May be dropped and called again.
    pub async fn wait(&mut self) {
        let Some(done) = &mut self.done else { return };
        // An error means that the writer is gone, and has said why.
        if timeout_at(self.until, done).await.is_err() {
            self.trouble.send_if_modified(|trouble| !replace(&mut trouble.slow, true));
        }
        self.done = None;
    }
}

impl Trouble {
    /// In one sentence; none when all is well.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        const COST: &str = "after a crash the next start may not know everything";
        match self {
            Trouble { failed: Some(why), .. } => {
                Some(format!("the journal cannot be written: {why}; {COST}"))
            }
            Trouble { dropped: true, .. } => Some(format!("the journal's disk was stuck; {COST}")),
            Trouble { slow: true, .. } => {
                let ms = PATIENCE.as_millis();
                Some(format!("the journal's disk takes longer than {ms} ms; {COST}"))
            }
            Trouble { .. } => None,
        }
    }
}

fn understood(bytes: &[u8]) -> Past {
    let read = format::decode(bytes);
    if read.unknown > 0 {
        tracing::warn!("{} entries of the journal are of a newer version", read.unknown);
    }
    let mut past = replay(read.entries);
    if read.damaged > 0 {
        tracing::warn!("{} bytes of the journal are damaged and left out", read.damaged);
        past.apply(Entry::Damaged { bytes: read.damaged });
    }
    past
}

#[cfg(test)]
mod tests;
