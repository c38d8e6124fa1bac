//! Owns which pods' ports have lately proved to accept connections.

use super::super::path::Endpoint;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a proof counts. A process that crashes meanwhile makes its pod unready,
/// which the watch tells sooner.
const PROOF_AGE: Duration = Duration::from_secs(30);

/// Proofs kept at most; beyond it the outdated ones go.
const PROOFS_KEPT: usize = 4_096;

/// The proofs of one cluster.
#[derive(Default)]
pub(in super::super) struct Proofs(Mutex<HashMap<Endpoint, Instant>>);

impl Proofs {
    /// Whether a proof of `endpoint` still counts.
    pub(in super::super) fn holds(&self, endpoint: &Endpoint) -> bool {
        self.map().get(endpoint).is_some_and(|at| at.elapsed() < PROOF_AGE)
    }

    /// `endpoint` has just accepted.
    pub(in super::super) fn add(&self, endpoint: &Endpoint) {
        let mut map = self.map();
        if map.len() >= PROOFS_KEPT {
            map.retain(|_, at| at.elapsed() < PROOF_AGE);
        }
        map.insert(endpoint.clone(), Instant::now());
    }

    /// `endpoint` has just refused.
    pub(in super::super) fn revoke(&self, endpoint: &Endpoint) {
        self.map().remove(endpoint);
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Endpoint, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
