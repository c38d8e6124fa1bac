//! Owns what the clusters warned of, for those who ask later.

use localport_core::cluster::{ClusterEvent, Warnings};
use localport_core::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The warnings of every cluster in use. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Book {
    clusters: Arc<Mutex<BTreeMap<String, Warnings>>>,
}

impl Book {
    /// What `context` warned of lately, the last one first.
    pub(crate) fn events(&self, context: &str, now: Timestamp) -> Vec<ClusterEvent> {
        self.clusters().get(context).map(|warnings| warnings.list(now)).unwrap_or_default()
    }

    pub(super) fn put(&self, context: &str, name: String, event: ClusterEvent) {
        self.clusters().entry(context.to_owned()).or_default().put(name, event);
    }

    /// Forgets what is old; gives how many are left.
    pub(super) fn expire(&self, context: &str, now: Timestamp) -> u32 {
        self.clusters().get_mut(context).map_or(0, |warnings| warnings.expire(now))
    }

    /// Forgets the clusters that are in use no more.
    pub(super) fn keep(&self, used: impl Fn(&str) -> bool) {
        self.clusters().retain(|context, _| used(context));
    }

    fn clusters(&self) -> MutexGuard<'_, BTreeMap<String, Warnings>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
