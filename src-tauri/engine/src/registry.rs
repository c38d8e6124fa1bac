//! Owns the account of everything the engine holds: who, what, since when.
//!
//! Receives claims from the rooms that create resources; emits the list that
//! `resources` shows and that the end of the engine is checked against. A lease is
//! released by dropping it, so an early return or a panic releases too.

pub use localport_core::resource::LeaseKind;
use serde::Serialize;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// One thing held.
#[derive(Clone, Debug, Serialize)]
pub struct LeaseInfo {
    /// Unique in the engine's life.
    pub id: u64,
    /// What kind.
    pub kind: LeaseKind,
    /// Its human name.
    pub name: String,
    /// Whose it is: a forward's name, or the room's.
    pub owner: String,
    /// Age, in milliseconds.
    pub age_ms: u64,
}

struct Entry {
    kind: LeaseKind,
    name: String,
    owner: String,
    since: Instant,
}

#[derive(Default)]
struct Account {
    next: AtomicU64,
    entries: Mutex<BTreeMap<u64, Entry>>,
}

/// The account. Clones share it.
#[derive(Clone, Default)]
pub struct Registry {
    account: Arc<Account>,
}

impl Registry {
    /// Claims a resource until the lease is dropped.
    pub fn lease(
        &self,
        kind: LeaseKind,
        name: impl Into<String>,
        owner: impl Into<String>,
    ) -> Lease {
        let id = self.account.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { kind, name: name.into(), owner: owner.into(), since: Instant::now() };
        self.entries().insert(id, entry);
        Lease { id, registry: self.clone() }
    }

    /// Everything held now, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<LeaseInfo> {
        self.entries()
            .iter()
            .map(|(id, entry)| LeaseInfo {
                id: *id,
                kind: entry.kind,
                name: entry.name.clone(),
                owner: entry.owner.clone(),
                age_ms: u64::try_from(entry.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            })
            .collect()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        // A panic while holding the lock leaves the map whole: every use is one map call.
        self.account.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One claim; dropping it releases.
pub struct Lease {
    id: u64,
    registry: Registry,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.registry.entries().remove(&self.id);
    }
}

/// A group of tasks with one owner: named, counted, cancelled and awaited together.
#[derive(Clone)]
pub struct Tasks {
    owner: Arc<str>,
    registry: Registry,
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// A group of its own under `registry`.
    #[must_use]
    pub fn new(owner: &str, registry: &Registry) -> Self {
        Self {
            owner: owner.into(),
            registry: registry.clone(),
            tracker: TaskTracker::new(),
            token: CancellationToken::new(),
        }
    }

    /// A group that ends with this one but can be ended and awaited alone.
    #[must_use]
    pub fn child(&self, owner: &str) -> Self {
        Self {
            owner: owner.into(),
            registry: self.registry.clone(),
            tracker: TaskTracker::new(),
            token: self.token.child_token(),
        }
    }

    /// Runs `future` until it ends or the group is cancelled, whichever is first.
    pub fn spawn<F>(&self, name: impl Into<String>, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let token = self.token.clone();
        self.spawn_to_end(name, async move { token.run_until_cancelled(future).await })
    }

    /// Runs `future` to its own end: it watches [`Tasks::token`] itself, because it has
    /// something to finish.
    pub fn spawn_to_end<F>(&self, name: impl Into<String>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let lease = self.registry.lease(LeaseKind::Task, name, &*self.owner);
        self.tracker.spawn(async move {
            let _lease = lease;
            future.await
        })
    }

    /// The account this group claims from.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Cancelled when the group is to end.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Tells every task of the group, and of the groups below it, to end.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Waits until no task of this group is left. The group takes no part in the wait
    /// of the groups below it.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Tasks of this group that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether no task is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_task_releases_its_lease() {
        let registry = Registry::default();
        let tasks = Tasks::new("test", &registry);
        let task = tasks.spawn("doomed", async { panic!("planted") });
        assert!(task.await.is_err());
        assert!(registry.list().is_empty());
    }

    #[tokio::test]
    async fn cancelling_a_parent_ends_the_child() {
        let registry = Registry::default();
        let parent = Tasks::new("parent", &registry);
        let child = parent.child("child");
        child.spawn("endless", std::future::pending::<()>());
        assert_eq!(registry.list()[0].owner, "child");
        parent.cancel();
        child.wait().await;
        assert!(registry.list().is_empty());
    }
}
