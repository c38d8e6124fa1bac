//! Owns the leases of what the host's sources of events hold of the system.
//!
//! Receives their list as it changes; emits a lease for each entry, as long as it is there.

use super::RunningHost;
use crate::engine::HOST;
use crate::registry::Lease;
use localport_core::resource::Holding;
use std::collections::BTreeMap;
use tokio::sync::watch;

impl RunningHost {
    /// Keeps in the account what the list names, such as names on the message bus.
    pub fn account_for(&self, mut list: watch::Receiver<BTreeMap<u64, Holding>>) {
        let registry = self.registry.clone();
        let mut leases: BTreeMap<u64, Lease> = BTreeMap::new();
        self.tasks.spawn("holdings of the system's", async move {
            loop {
                let held = list.borrow_and_update().clone();
                leases.retain(|number, _| held.contains_key(number));
                for (number, Holding { kind, name }) in held {
                    leases.entry(number).or_insert_with(|| registry.lease(kind, name, HOST));
                }
                if list.changed().await.is_err() {
                    return;
                }
            }
        });
    }
}
