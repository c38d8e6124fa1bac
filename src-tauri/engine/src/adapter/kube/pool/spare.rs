//! Owns spare tunnels: to the pod that would serve next, before it is needed.
//!
//! An open tunnel dials nothing inside the pod, so a spare one costs its pod a ping now
//! and then, and nobody notices it. How many there are is limited for each cluster.

use super::Pool;
use crate::adapter::kube::path::Endpoint;
use localport_core::kube::Way;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Spare tunnels of one cluster: about 50 KiB of memory each here, and a connection at
/// the API server.
const SPARES: usize = 32;

pub(super) type Permit = OwnedSemaphorePermit;

/// How many spare tunnels a cluster may have yet.
pub(in super::super) struct Spares(Arc<Semaphore>);

impl Default for Spares {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SPARES)))
    }
}

/// A claim on the tunnels of a pod that may serve next.
pub(in super::super) struct Spare {
    uid: String,
    pool: Arc<Pool>,
}

impl Spare {
    /// Has a tunnel to the pod of `endpoint` opened, unless there is one; none where the
    /// cluster serves no tunnels or has spare ones enough.
    pub(in super::super) fn open(pool: Arc<Pool>, endpoint: &Endpoint) -> Option<Self> {
        let cluster = &pool.cluster;
        if cluster.ways.begin() == Way::V4 {
            return None;
        }
        let mut state = pool.state();
        let has = state.slots.iter().any(|slot| !slot.tunnel.status().retired);
        if !has && state.opening == 0 {
            state.spare = Some(cluster.spares.0.clone().try_acquire_owned().ok()?);
            pool.open(&mut state);
        }
        drop(state);
        Some(Self { uid: endpoint.uid.clone(), pool })
    }

    /// Whether it is one to the pod with this UID whose tunnel is open or opening.
    pub(in super::super) fn stands(&self, uid: &str) -> bool {
        let state = self.pool.state();
        self.uid == uid && (state.opening > 0 || !state.slots.is_empty())
    }
}
