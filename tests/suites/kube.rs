//! The Kubernetes adapter against a double of an API server and its node.

#[path = "kube/rig.rs"]
mod rig;

#[cfg(unix)]
#[path = "kube/access.rs"]
mod access;
#[cfg(unix)]
#[path = "kube/chain.rs"]
mod chain;
#[path = "kube/cluster.rs"]
mod cluster;
#[cfg(unix)]
#[path = "kube/engine.rs"]
mod engine;
#[path = "kube/holes.rs"]
mod holes;
#[path = "kube/problems.rs"]
mod problems;
#[path = "kube/proxies.rs"]
mod proxies;
#[path = "kube/recovery.rs"]
mod recovery;
#[cfg(unix)]
#[path = "kube/rollout.rs"]
mod rollout;
#[path = "kube/sleep.rs"]
mod sleep;
#[path = "kube/stream.rs"]
mod stream;
#[path = "kube/targets.rs"]
mod targets;
#[path = "kube/tunnels.rs"]
mod tunnels;
#[cfg(unix)]
#[path = "kube/watches.rs"]
mod watches;
