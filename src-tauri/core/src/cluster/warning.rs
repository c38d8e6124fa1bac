//! Owns the warnings of a cluster: what it says went wrong, near which forwards.

use crate::graph;
use crate::snapshot::{Forward, Technology};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Warnings older than this are forgotten; a cluster keeps them about as long.
pub const AGE: Duration = Duration::from_secs(3_600);
/// Warnings kept per cluster; a crash loop repeats one, it does not add another.
pub const KEPT: usize = 200;

/// One warning of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterEvent {
    /// When it last happened.
    pub at: Timestamp,
    /// How often it happened.
    pub count: u32,
    /// The cluster's own word for it, such as `BackOff`.
    pub reason: String,
    /// What the cluster says.
    pub message: String,
    /// Namespace of what it is about.
    pub namespace: String,
    /// Kind and name of what it is about, such as `Pod/orders-0`.
    pub object: String,
    /// The forwards that lead near it, by name.
    #[serde(default)]
    pub forwards: Vec<String>,
}

impl ClusterEvent {
    /// Whether it is about what `forward` leads to: its target, one of the target's pods,
    /// or the pod that it ends at now.
    #[must_use]
    pub fn is_near(&self, forward: &Forward) -> bool {
        let session = graph::session(forward);
        let Some((resource, namespace)) = session.rsplit_once(" · ") else { return false };
        if forward.technology != Technology::Kubectl || namespace != self.namespace {
            return false;
        }
        let about = self.object.rsplit_once('/').map_or(self.object.as_str(), |(_, name)| name);
        let target = resource.rsplit_once('/').map_or(resource, |(_, name)| name);
        let pod = forward.tunnel.endpoint.as_deref().and_then(|end| end.strip_prefix("pod "));
        pod == Some(about)
            || about == target
            || about.strip_prefix(target).is_some_and(|rest| rest.starts_with('-'))
    }
}

/// The warnings of one cluster, by the name of the event, bounded.
#[derive(Clone, Debug, Default)]
pub struct Warnings {
    events: BTreeMap<(String, String), ClusterEvent>,
}

impl Warnings {
    /// Takes down the event `name`, in the place of what it said before.
    pub fn put(&mut self, name: String, event: ClusterEvent) {
        self.events.insert((event.namespace.clone(), name), event);
        if self.events.len() > KEPT {
            let oldest = self.events.iter().min_by_key(|(_, event)| event.at);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.events.remove(&key);
            }
        }
    }

    /// Forgets what is older than [`AGE`] at `now`, and gives how many are left.
    pub fn expire(&mut self, now: Timestamp) -> u32 {
        self.events.retain(|_, event| now.since(event.at) < AGE);
        u32::try_from(self.events.len()).unwrap_or(u32::MAX)
    }

    /// The warnings at `now`, the last one first.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<ClusterEvent> {
        let recent = self.events.values().filter(|event| now.since(event.at) < AGE);
        let mut events: Vec<ClusterEvent> = recent.cloned().collect();
        events.sort_by_key(|event| std::cmp::Reverse(event.at));
        events
    }
}
