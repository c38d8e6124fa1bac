//! Owns the seam between a session and the way its bytes take into the cluster.
//!
//! Sessions, choices and problems are the same whatever carries the bytes.

use crate::adapter::Upstream;
use futures_util::future::BoxFuture;
use localport_core::kube::Fault;

/// A pod's port, as a data path needs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Endpoint {
    /// Namespace.
    pub(super) namespace: String,
    /// The pod's name.
    pub(super) pod: String,
    /// The pod's UID: another pod of the same name is another endpoint.
    pub(super) uid: String,
    /// The port inside the pod.
    pub(super) port: u16,
}

/// A way into pods.
pub(super) trait DataPath: Send + Sync {
    /// Its name in routes, such as `spdy-ws`.
    fn name(&self) -> &'static str;

    /// Connects to `endpoint`. When the far side refuses before any byte came back,
    /// the fault says so; a later refusal is a `ConnectionReset` with a problem inside.
    fn dial<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        care: Care,
    ) -> BoxFuture<'a, Result<Box<dyn Upstream>, Fault>>;
}

/// How long a dial waits for a refusal. No protocol here confirms an accepted
/// connection; only the absence of a refusal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// For a client: not longer than needed, where the port lately proved to accept.
    Client,
    /// For a proof: as long as a refusal may take.
    Proof,
}
