//! Owns the form that `cluster status` and the control API give: clusters and SSH hosts with
//! their times turned into ages.

use super::ClusterEvent;
use crate::problem::Problem;
use crate::snapshot::{Context, LoginNeeded, Nodes, Snapshot, Technology};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The clusters and SSH hosts in use; the names are part of the public interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clusters {
    /// In the order of their first forward.
    pub clusters: Vec<ClusterStatus>,
}

/// One cluster or SSH host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Name of the kubeconfig context, or the SSH destination.
    pub name: String,
    /// `kubectl` or `ssh`.
    pub technology: Technology,
    /// `unknown`, `reachable`, `unreachable`, `login-needed` or `refused`.
    pub reach: String,
    /// Seconds since it is that.
    pub since_s: u64,
    /// How long its last answer took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Seconds since it was last asked.
    pub checked_s_ago: Option<u64>,
    /// Whether all this was learnt before a pause.
    pub cached: bool,
    /// Forwards switched on that go through it.
    pub forwards: u32,
    /// Those of them whose tunnel is up.
    pub up: u32,
    /// Those of them that are in trouble because of it.
    pub waiting: Vec<String>,
    /// How its nodes stand.
    pub nodes: Option<Nodes>,
    /// Warnings of the last hour in the namespaces in use.
    pub warnings: u32,
    /// What a log-in is needed for.
    pub login: Option<LoginNeeded>,
    /// What cannot be seen and why.
    pub unseen: Vec<String>,
    /// Seconds until the credentials in use end; 0 when they have.
    pub expires_in_s: Option<u64>,
    /// What is wrong with it, or what all its forwards share.
    pub problem: Option<Problem>,
}

/// What a cluster warned of in the last hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterEvents {
    /// Name of the context.
    pub cluster: String,
    /// The last one first.
    pub events: Vec<ClusterEvent>,
    /// What cannot be seen and why: where warnings are among it, their absence says nothing.
    pub unseen: Vec<String>,
}

impl Clusters {
    /// What `snapshot` amounts to at `now`.
    #[must_use]
    pub fn of(snapshot: &Snapshot, now: Timestamp) -> Self {
        Self { clusters: snapshot.contexts.iter().map(|c| ClusterStatus::of(c, now)).collect() }
    }
}

impl ClusterStatus {
    /// What `context` amounts to at `now`.
    #[must_use]
    pub fn of(context: &Context, now: Timestamp) -> Self {
        let seen = context.clone();
        let roots = context.roots.iter().filter(|root| root.name == context.name);
        Self {
            name: seen.name,
            technology: seen.technology,
            reach: seen.reach.as_str().to_owned(),
            since_s: now.since(seen.since).as_secs(),
            latency_ms: seen.latency_ms,
            checked_s_ago: seen.checked.map(|at| now.since(at).as_secs()),
            cached: seen.cached,
            forwards: seen.forwards,
            up: seen.up,
            waiting: roots.flat_map(|root| root.forwards.iter().cloned()).collect(),
            nodes: seen.nodes,
            warnings: seen.warnings,
            login: seen.login,
            unseen: seen.unseen,
            expires_in_s: seen.expires.map(|at| at.since(now).as_secs()),
            problem: seen.problem,
        }
    }
}
