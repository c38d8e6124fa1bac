//! Owns the look-out for changes of the kubeconfig: what hangs on it learns at once.
//!
//! Receives what happens in the directories of its files, emits which contexts' clients
//! are of an older one. Whether a change concerns a context is told by what it says.

use super::cluster::{Cluster, Shared};
use super::kubeconfig::Digest;
use crate::config_store::watch::Watch;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// Tools write these files in several steps; the last one is waited for.
const QUIET: Duration = Duration::from_millis(300);

/// Follows the files until the adapter ends. `clusters` are those in use.
pub(super) async fn follow(
    shared: Arc<Shared>,
    clusters: impl Fn() -> Vec<Arc<Cluster>> + Send,
    changed: watch::Sender<u64>,
) {
    let mut files = Watch::new("changes of the kubeconfig are noticed when it is needed next");
    loop {
        files.aim(shared.kubeconfigs.paths().await);
        files.changed().await;
        while timeout(QUIET, files.changed()).await.is_ok() {}
        if let Ok(merged) = shared.kubeconfigs.read().await {
            for cluster in clusters() {
                if cluster.gate.is_outdated(&merged) {
                    tracing::info!(context = cluster.context, "the kubeconfig changed");
                    cluster.look_anew();
                }
            }
        }
        changed.send_modify(|count| *count += 1);
    }
}

/// Resolves when the kubeconfig says something else of `context` than `before`.
pub(super) async fn reworded(
    shared: &Shared,
    context: &str,
    before: Option<&Digest>,
    mut changed: watch::Receiver<u64>,
) {
    loop {
        changed.borrow_and_update();
        let now = shared.kubeconfigs.read().await.ok().and_then(|merged| merged.digest(context));
        if now.is_some() && now.as_ref() != before {
            return;
        }
        if changed.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
