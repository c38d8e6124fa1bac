//! Owns the account of everything the engine holds: who, what, since when, on what.
//!
//! Receives claims from the rooms that create resources; emits the list that
//! `resources` shows and that the end of the engine is checked against. A lease is
//! released by dropping it, so an early return or a panic releases too.

mod book;
mod force;
mod tasks;

pub use localport_core::resource::LeaseKind;
pub use tasks::Tasks;

use book::Book;
use force::Handle;
use localport_core::receipt::Held;
use localport_core::release::{Account, Gone, Node};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Parts of the account with a lock each, so that connections of many threads seldom
/// wait for one another. A power of two.
const SHARDS: u64 = 16;

/// Number of a lease, unique in the engine's life; a later lease has a greater one.
pub type LeaseId = u64;

/// One thing held.
#[derive(Clone, Debug, Serialize)]
pub struct LeaseInfo {
    /// Its number.
    pub id: LeaseId,
    /// What kind.
    pub kind: LeaseKind,
    /// Its human name.
    pub name: String,
    /// Whose it is: a forward's name, or the room's.
    pub owner: String,
    /// Age, in milliseconds.
    pub age_ms: u64,
    /// Numbers of the leases that it needs and that are still held.
    pub stands_on: Vec<LeaseId>,
}

struct Entry {
    kind: LeaseKind,
    name: String,
    owner: Arc<str>,
    since: Instant,
    stands_on: Vec<LeaseId>,
    /// Number of the process, where the lease is one.
    process: Option<u32>,
    forced: bool,
    handle: Handle,
}

impl Entry {
    fn held(&self) -> Held {
        Held { kind: self.kind, name: self.name.clone(), owner: self.owner.to_string() }
    }
}

type Shard = Mutex<BTreeMap<LeaseId, Entry>>;

#[derive(Default)]
struct Accounts {
    next: AtomicU64,
    shards: [Shard; SHARDS as usize],
    book: Book,
    /// Every file that was ever claimed: few, and the end looks whether they are gone.
    files: Mutex<BTreeSet<String>>,
    /// Nothing is taken down.
    blind: bool,
}

/// The account. Clones share it.
#[derive(Clone, Default)]
pub struct Registry {
    accounts: Arc<Accounts>,
}

impl Registry {
    /// One that takes nothing down, to measure what taking down costs. Nothing that it
    /// says of an engine is true.
    #[doc(hidden)]
    #[must_use]
    pub fn blind() -> Self {
        Self { accounts: Arc::new(Accounts { blind: true, ..Accounts::default() }) }
    }

    /// Claims a resource until the lease is dropped.
    pub fn lease(
        &self,
        kind: LeaseKind,
        name: impl Into<String>,
        owner: impl Into<Arc<str>>,
    ) -> Lease {
        self.lease_on(kind, name, owner, vec![])
    }

    /// Claims a resource that needs others: they are to be released after it. Only
    /// leases that exist can be named, so nothing can come to need itself.
    pub fn lease_on(
        &self,
        kind: LeaseKind,
        name: impl Into<String>,
        owner: impl Into<Arc<str>>,
        stands_on: Vec<LeaseId>,
    ) -> Lease {
        self.claim(kind, name.into(), owner.into(), stands_on, Handle::default())
    }

    fn claim(
        &self,
        kind: LeaseKind,
        name: String,
        owner: Arc<str>,
        stands_on: Vec<LeaseId>,
        handle: Handle,
    ) -> Lease {
        if self.accounts.blind {
            return Lease { id: 0, registry: self.clone() };
        }
        if kind == LeaseKind::File {
            lock(&self.accounts.files).insert(name.clone());
        }
        let id = self.number();
        let since = Instant::now();
        let (process, forced) = (None, false);
        let entry = Entry { kind, name, owner, since, stands_on, process, forced, handle };
        self.shard(id).insert(id, entry);
        Lease { id, registry: self.clone() }
    }

    /// Everything held now, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<LeaseInfo> {
        let mut leases: Vec<LeaseInfo> = self.collect(|id, entry| LeaseInfo {
            id,
            kind: entry.kind,
            name: entry.name.clone(),
            owner: entry.owner.to_string(),
            age_ms: milliseconds(entry.since.elapsed()),
            stands_on: entry.stands_on.clone(),
        });
        leases.sort_unstable_by_key(|lease| lease.id);
        let ids: Vec<LeaseId> = leases.iter().map(|lease| lease.id).collect();
        for lease in &mut leases {
            lease.stands_on.retain(|id| ids.binary_search(id).is_ok());
        }
        leases
    }

    /// What is held by owners of whom `is_judged` is true.
    #[must_use]
    pub fn held(&self, is_judged: impl Fn(&str) -> bool) -> Vec<Held> {
        self.held_of(|_, owner| is_judged(owner))
    }

    /// The same of whatever is true of kind and owner. What is not wanted costs nothing:
    /// of a thousand forwards most of what is held are tasks.
    #[must_use]
    pub(crate) fn held_of(&self, is_wanted: impl Fn(LeaseKind, &str) -> bool) -> Vec<Held> {
        let wanted = |entry: &Entry| is_wanted(entry.kind, &entry.owner).then(|| entry.held());
        let held = self.collect(|id, entry| wanted(entry).map(|held| (id, held)));
        let mut held: Vec<(LeaseId, Held)> = held.into_iter().flatten().collect();
        held.sort_unstable_by_key(|(id, _)| *id);
        held.into_iter().map(|(_, held)| held).collect()
    }

    /// The lease of this kind and name, if it is held.
    #[must_use]
    pub fn find(&self, kind: LeaseKind, name: &str) -> Option<LeaseId> {
        let found = |id, entry: &Entry| (entry.kind == kind && entry.name == name).then_some(id);
        self.collect(found).into_iter().flatten().next()
    }

    /// The processes that are held, by their number; none where it is not known.
    pub(crate) fn processes(&self) -> Vec<Option<u32>> {
        let of = |_, entry: &Entry| (entry.kind == LeaseKind::Child).then_some(entry.process);
        self.collect(of).into_iter().flatten().collect()
    }

    /// Paths of all files that were ever claimed.
    #[must_use]
    pub fn files(&self) -> BTreeSet<String> {
        lock(&self.accounts.files).clone()
    }

    /// Takes down a fault, such as a panic or an error of a clean-up, for the receipt.
    pub fn fault(&self, what: impl Into<String>) {
        let what = what.into();
        tracing::error!("{what}");
        self.accounts.book.fault(what);
    }

    /// The faults so far, oldest first.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.accounts.book.faults()
    }

    /// From now on what is released is taken down with its time.
    pub(crate) fn begin_release(&self) {
        self.accounts.book.open();
    }

    /// The end was called off: what was taken down is forgotten.
    pub(crate) fn forget_release(&self) {
        self.accounts.book.close();
    }

    /// What was released since [`Registry::begin_release`].
    pub(crate) fn account(&self) -> Account {
        self.accounts.book.account()
    }

    /// Whether anything was released by force since [`Registry::begin_release`].
    pub(crate) fn has_forced(&self) -> bool {
        self.accounts.book.has_forced()
    }

    /// What was released since [`Registry::begin_release`], in that order.
    #[must_use]
    pub fn gone(&self) -> Vec<Gone> {
        self.accounts.book.gone()
    }

    /// A number that nothing else in this account has.
    fn number(&self) -> u64 {
        self.accounts.next.fetch_add(1, Ordering::Relaxed)
    }

    fn nodes(&self, is_judged: impl Fn(&str) -> bool) -> Vec<Node> {
        let node = |id, entry: &Entry| {
            is_judged(&entry.owner).then(|| Node { id, stands_on: entry.stands_on.clone() })
        };
        self.collect(node).into_iter().flatten().collect()
    }

    fn collect<T>(&self, one: impl Fn(LeaseId, &Entry) -> T) -> Vec<T> {
        let mut all = Vec::new();
        for shard in &self.accounts.shards {
            all.extend(lock(shard).iter().map(|(id, entry)| one(*id, entry)));
        }
        all
    }

    fn change(&self, id: LeaseId, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.shard(id).get_mut(&id) {
            change(entry);
        }
    }

    /// Ends the task of this name; false when there is none.
    #[cfg(test)]
    pub(crate) fn abort(&self, task: &str) -> bool {
        let Some(id) = self.find(LeaseKind::Task, task) else { return false };
        let abort = self.shard(id).get(&id).and_then(|entry| entry.handle.abort.clone());
        abort.inspect(tokio::task::AbortHandle::abort).is_some()
    }

    fn is_held(&self, id: LeaseId) -> bool {
        self.shard(id).contains_key(&id)
    }

    #[allow(clippy::indexing_slicing, reason = "the remainder is below the length")]
    fn shard(&self, id: LeaseId) -> MutexGuard<'_, BTreeMap<LeaseId, Entry>> {
        lock(&self.accounts.shards[(id % SHARDS) as usize])
    }
}

/// One claim; dropping it releases.
pub struct Lease {
    id: LeaseId,
    registry: Registry,
}

impl Lease {
    /// Its number, for those who stand on it.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// The resource had to be cut, killed or cancelled.
    pub fn forced(&self) {
        self.registry.change(self.id, |entry| entry.forced = true);
    }

    /// The resource is the process of this number.
    pub(crate) fn is_process(&self, pid: u32) {
        self.registry.change(self.id, |entry| entry.process = Some(pid));
    }

    /// It turned out to need `other` as well, which must be older or know nothing of it.
    pub fn stand_on(&self, other: LeaseId) {
        self.registry.change(self.id, |entry| entry.stands_on.push(other));
    }

    fn held(&self) -> Option<Held> {
        self.registry.shard(self.id).get(&self.id).map(Entry::held)
    }

    /// A handle that can say that the resource had to be forced, wherever the lease is.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { id: self.id, registry: self.registry.clone() }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.registry.accounts.blind {
            return;
        }
        // The guard falls at once: the book must not be written under a shard's lock.
        let entry = self.registry.shard(self.id).remove(&self.id);
        if let Some(entry) = entry {
            self.registry.accounts.book.enter(self.id, &entry);
        }
    }
}

/// Says of a lease that its resource did not go in good order.
#[derive(Clone)]
pub struct Mark {
    id: LeaseId,
    registry: Registry,
}

impl Mark {
    /// The lease's number.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// The resource had to be cut, killed or cancelled.
    pub fn forced(&self) {
        self.registry.change(self.id, |entry| entry.forced = true);
    }
}

/// A panic while holding one of these locks leaves the map whole: every use is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_1_a_lease_names_what_it_needs_while_that_is_held() {
        let registry = Registry::default();
        let child = registry.lease(LeaseKind::Child, "ssh me@host", "ssh");
        let session = registry.lease_on(LeaseKind::Session, "session 1", "wiki", vec![child.id()]);
        assert_eq!(registry.list()[1].stands_on, [child.id()]);
        drop(child);
        assert_eq!(registry.list()[0].stands_on, Vec::<LeaseId>::new());
        drop(session);
        assert!(registry.list().is_empty());
    }

    /// S3.4: what goes during the end is taken down; what went before is not.
    #[test]
    fn s3_4_the_end_is_accounted_for_from_its_beginning() {
        let registry = Registry::default();
        drop(registry.lease(LeaseKind::Child, "before", "ssh"));
        let calm = registry.lease(LeaseKind::Child, "calm", "ssh");
        let stuck = registry.lease(LeaseKind::Child, "stuck", "ssh");
        registry.begin_release();
        drop(calm);
        stuck.mark().forced();
        drop(stuck);
        let account = registry.account();
        assert_eq!(account.released.iter().map(|r| r.count).sum::<u32>(), 1);
        assert_eq!(account.forced[0].name, "stuck");
        assert_eq!(account.slowest.len(), 2);
        registry.forget_release();
        assert_eq!(registry.account(), Account::default());
    }
}
