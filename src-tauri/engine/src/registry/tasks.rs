//! Owns groups of tasks: named, counted, cancelled and awaited together; a panic in
//! one is taken down with its text and ends that task alone.

use super::force::Handle;
use super::{Lease, LeaseId, LeaseKind, Registry};
use futures_util::FutureExt;
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A group of tasks with one owner.
#[derive(Clone)]
pub struct Tasks {
    owner: Arc<str>,
    group: u64,
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
            group: registry.number(),
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
            group: self.registry.number(),
            registry: self.registry.clone(),
            tracker: TaskTracker::new(),
            token: self.token.child_token(),
        }
    }

    /// Claims a resource that a task of this group holds: cancelling the group
    /// releases it.
    pub fn lease(
        &self,
        kind: LeaseKind,
        name: impl Into<String>,
        owner: impl Into<Arc<str>>,
        stands_on: Vec<LeaseId>,
    ) -> Lease {
        let handle = Handle { group: Some((self.group, self.token.clone())), abort: None };
        self.registry.claim(kind, name.into(), owner.into(), stands_on, handle)
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
        let lease = self.lease(LeaseKind::Task, name, self.owner.clone(), vec![]);
        let mark = lease.mark();
        let claim = Claim { lease, is_told: false };
        let task = self.tracker.spawn(async move {
            let mut claim = claim;
            match AssertUnwindSafe(future).catch_unwind().await {
                Ok(output) => output,
                Err(panic) => {
                    claim.tell(&text(&*panic));
                    // Whoever awaits the task learns it too.
                    resume_unwind(panic)
                }
            }
        });
        mark.abort_with(task.abort_handle());
        task
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

/// A task's lease, which also sees a panic outside the task's own steps: in the drop of
/// what it held.
struct Claim {
    lease: Lease,
    is_told: bool,
}

impl Claim {
    fn tell(&mut self, panic: &str) {
        self.is_told = true;
        let (task, registry) = (self.lease.held(), &self.lease.registry);
        if let Some(task) = task {
            registry.fault(format!("task `{}` of `{}` panicked: {panic}", task.name, task.owner));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_told {
            self.tell("while it was given up");
        }
    }
}

/// What a panic said.
pub(crate) fn text(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    words
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// S2.4: a panic is taken down with the task's name and its own words, and the
    /// lease is released.
    #[tokio::test]
    async fn s2_4_a_panicking_task_is_named_and_releases_its_lease() {
        let registry = Registry::default();
        let tasks = Tasks::new("test", &registry);
        let task = tasks.spawn("doomed", async { panic!("planted {}", 1) });
        assert!(task.await.is_err_and(|error| error.is_panic()));
        assert!(registry.list().is_empty());
        assert_eq!(registry.faults(), ["task `doomed` of `test` panicked: planted 1"]);
    }

    /// S2.4: also a panic in the drop of what a cancelled task held.
    #[tokio::test]
    async fn s2_4_a_panic_in_a_drop_is_named() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("planted");
            }
        }
        let registry = Registry::default();
        let tasks = Tasks::new("test", &registry);
        tasks.spawn("bearer", async {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        tasks.cancel();
        tasks.wait().await;
        assert!(registry.list().is_empty());
        assert_eq!(registry.faults().len(), 1, "{:?}", registry.faults());
        assert!(registry.faults()[0].starts_with("task `bearer` of `test` panicked"));
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

    /// S2.2, S3.5: force goes in waves; a task that hears nothing is dropped, and what
    /// nothing can end is left.
    #[tokio::test(start_paused = true)]
    async fn s3_5_force_goes_in_waves_and_leaves_what_it_cannot_end() {
        let registry = Registry::default();
        let tasks = Tasks::new("wiki", &registry);
        let ground = Tasks::new("ssh", &registry);
        let child = ground.lease(LeaseKind::Child, "ssh me@host", "ssh", vec![]);
        let session = tasks.lease(LeaseKind::Session, "session 1", "wiki", vec![child.id()]);
        let lost = registry.lease(LeaseKind::File, "/forgotten", "wiki");
        ground.spawn("reaper", async move {
            let _child = child;
            std::future::pending::<()>().await;
        });
        tasks.spawn_to_end("deaf", async move {
            let _session = session;
            std::future::pending::<()>().await;
        });
        registry.begin_release();
        registry.force(|_| true, Duration::from_secs(4)).await;
        let gone = registry.gone();
        assert!(gone.iter().all(|gone| gone.forced), "{gone:?}");
        assert_eq!(localport_core::release::out_of_order(&gone), []);
        assert_eq!(gone.len(), 4);
        let left: Vec<_> = registry.held(|_| true).into_iter().map(|held| held.name).collect();
        assert_eq!(left, ["/forgotten"]);
        drop(lost);
    }
}
