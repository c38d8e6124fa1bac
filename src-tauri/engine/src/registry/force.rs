//! Owns the end by force: cancels and awaits what is still held, in waves of reverse
//! dependency.

use super::{LeaseId, Mark, Registry};
use localport_core::release::order_together;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// How the holder of a lease is told to let go.
#[derive(Clone, Default)]
pub(super) struct Handle {
    /// The group of tasks that holds it, and what cancels that.
    pub(super) group: Option<(u64, CancellationToken)>,
    /// Ends the task, where the lease is one.
    pub(super) abort: Option<AbortHandle>,
}

impl Registry {
    /// Ends by force what is held by owners of whom `is_judged` is true, within about
    /// `budget`: wave by wave asks, waits, and drops the tasks that do not hear.
    pub(crate) async fn force(&self, is_judged: impl Fn(&str) -> bool, budget: Duration) {
        let nodes = self.nodes(is_judged);
        let order = order_together(&nodes, |id| self.group_of(id));
        for (upper, lower) in &order.broken {
            self.fault(format!("leases `{upper}` and `{lower}` stand on each other"));
        }
        let waves = u32::try_from(order.waves.len()).unwrap_or(u32::MAX).max(1);
        // Half of a wave's time is for those who hear, half for those who do not.
        let patience = budget / waves / 2;
        for wave in order.waves {
            for handle in self.take_by_force(&wave) {
                if let Some((_, token)) = handle.group {
                    token.cancel();
                }
            }
            if self.all_gone(&wave, patience).await {
                continue;
            }
            for handle in self.take_by_force(&wave) {
                if let Some(abort) = handle.abort {
                    abort.abort();
                }
            }
            self.all_gone(&wave, patience).await;
        }
    }

    /// Waits until nobody of whom `is_judged` is true holds anything; false when
    /// somebody still does after `patience`.
    pub(crate) async fn nothing_held(
        &self,
        is_judged: impl Fn(&str) -> bool,
        patience: Duration,
    ) -> bool {
        self.until(patience, || self.nodes(&is_judged).is_empty()).await
    }

    async fn all_gone(&self, wave: &[LeaseId], patience: Duration) -> bool {
        self.until(patience, || !wave.iter().any(|id| self.is_held(*id))).await
    }

    async fn until(&self, patience: Duration, is_met: impl Fn() -> bool) -> bool {
        let end = Instant::now() + patience;
        loop {
            let turned = self.accounts.book.turned.notified();
            tokio::pin!(turned);
            // From here on a release is heard, so none falls between look and wait.
            turned.as_mut().enable();
            if is_met() {
                return true;
            }
            if timeout_at(end, turned).await.is_err() {
                return is_met();
            }
        }
    }

    fn group_of(&self, id: LeaseId) -> Option<u64> {
        Some(self.shard(id).get(&id)?.handle.group.as_ref()?.0)
    }

    /// What is still held of `wave` was forced from now on.
    fn take_by_force(&self, wave: &[LeaseId]) -> Vec<Handle> {
        let mut handles = Vec::new();
        for id in wave {
            self.change(*id, |entry| {
                entry.forced = true;
                handles.push(entry.handle.clone());
            });
        }
        handles
    }
}

impl Mark {
    pub(super) fn abort_with(&self, abort: AbortHandle) {
        self.registry.change(self.id, |entry| entry.handle.abort = Some(abort));
    }
}
