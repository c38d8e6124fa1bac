//! Owns the form that `status --json` and the control API give: a snapshot with
//! its times turned into ages.

use crate::problem::Problem;
use crate::shutdown::Stage;
use crate::snapshot::{
    Bytes, Cause, Connections, Forward, ForwardDrain, Pending, Snapshot, Technology,
};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A snapshot as programs read it; the names are part of the public interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Where the engine is in its life.
    pub phase: String,
    /// Seconds since the engine started.
    pub uptime_s: u64,
    /// The engine's process.
    pub pid: u32,
    /// The engine's version.
    pub version: String,
    /// One sentence over all forwards.
    pub summary: String,
    /// A newer configuration that is not in force.
    #[serde(default)]
    pub pending: Option<Pending>,
    /// The forwards, in the order of the configuration.
    pub forwards: Vec<ForwardStatus>,
    /// The Kubernetes contexts and SSH hosts in use.
    pub contexts: Vec<crate::snapshot::Context>,
}

/// One forward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForwardStatus {
    /// Unique name.
    pub name: String,
    /// `kubectl` or `ssh`.
    pub technology: Technology,
    /// Kubernetes context or SSH destination it goes through.
    pub context: String,
    /// Tags from the configuration.
    pub tags: Vec<String>,
    /// Where it is in its life.
    pub state: String,
    /// The word people see: `serving`, `waiting`, `broken` …
    pub word: String,
    /// Local address for clients.
    pub local: String,
    /// Target in words.
    pub target: String,
    /// First fact.
    pub listener: ListenerStatus,
    /// Second fact.
    pub tunnel: TunnelStatus,
    /// Third fact.
    pub target_health: TargetStatus,
    /// Clients.
    pub connections: Connections,
    /// Bytes carried since the engine started.
    pub bytes: Bytes,
    /// What is wrong, if something is.
    pub problem: Option<Problem>,
    /// What that hangs under, when it is not the forward's own trouble.
    pub because: Option<Cause>,
    /// How its drain stands, if a person had it drained.
    pub drain: Option<DrainStatus>,
    /// Seconds in this state.
    pub since_s: u64,
}

/// A drain of one forward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// `stop_new_work`, `complete_current`, `cancel_tasks`, `force_cleanup`; null once drained.
    pub stage: Option<Stage>,
    /// Seconds since it was asked for.
    pub since_s: u64,
    /// Milliseconds until the stage ends at the latest.
    pub left_ms: Option<u64>,
    /// Connections that were cut.
    pub forced: u32,
}

/// First fact: the local port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// `closed`, `listening` or `conflict`.
    pub state: String,
    /// Every address it is bound on.
    pub addresses: Vec<String>,
}

/// Second fact: the way to the target's side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// `off`, `connecting`, `up` or `down`.
    pub state: String,
    /// The way it takes.
    pub path: Option<String>,
    /// Where it ends.
    pub endpoint: Option<String>,
    /// Last measured round trip, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Seconds until the next attempt.
    pub retry_in_s: Option<u64>,
}

/// Third fact: the target itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// `unknown`, `healthy` or `failing`.
    pub state: String,
    /// Seconds since it was last proved or disproved.
    pub checked_s_ago: Option<u64>,
    /// How it is checked: `tcp`, `http`, `postgres` …
    pub check: String,
    /// What proved it last: the check's name, or `traffic`.
    pub proof: Option<String>,
    /// How long the last probe that succeeded took, in milliseconds.
    pub took_ms: Option<f64>,
    /// Failures in a row.
    pub failures: u32,
    /// Seconds until it is looked at next.
    pub next_in_s: Option<u64>,
    /// Whether this was learnt earlier: through another session, or before a pause.
    pub cached: bool,
}

impl Status {
    /// The status that `snapshot` amounts to at `now`.
    #[must_use]
    pub fn of(snapshot: &Snapshot, now: Timestamp) -> Self {
        Self {
            phase: snapshot.phase.as_str().to_owned(),
            uptime_s: now.since(snapshot.started).as_secs(),
            pid: snapshot.pid,
            version: snapshot.version.clone(),
            summary: snapshot.summary(now),
            pending: snapshot.config.pending.clone(),
            forwards: snapshot.forwards.iter().map(|f| ForwardStatus::of(f, now)).collect(),
            contexts: snapshot.contexts.clone(),
        }
    }
}

impl ForwardStatus {
    /// The status that `forward` amounts to at `now`.
    #[must_use]
    pub fn of(forward: &Forward, now: Timestamp) -> Self {
        let (tunnel, target) = (&forward.tunnel, &forward.target_health);
        Self {
            name: forward.name.clone(),
            technology: forward.technology,
            context: forward.context.clone(),
            tags: forward.tags.clone(),
            state: forward.state.as_str().to_owned(),
            word: forward.word(now).to_owned(),
            local: forward.local.clone(),
            target: forward.target.clone(),
            listener: ListenerStatus {
                state: forward.listener.state.as_str().to_owned(),
                addresses: forward.listener.addresses.clone(),
            },
            tunnel: TunnelStatus {
                state: tunnel.state.as_str().to_owned(),
                path: tunnel.path.clone(),
                endpoint: tunnel.endpoint.clone(),
                rtt_ms: tunnel.rtt_ms,
                retry_in_s: tunnel.retry_at.map(|at| at.since(now).as_secs()),
            },
            target_health: TargetStatus {
                state: target.state.as_str().to_owned(),
                checked_s_ago: target.checked.map(|at| now.since(at).as_secs()),
                check: target.check.clone(),
                proof: target.proof.clone(),
                took_ms: target.took_ms,
                failures: target.failures,
                next_in_s: target.next.map(|at| at.since(now).as_secs()),
                cached: target.cached,
            },
            connections: forward.connections,
            bytes: forward.bytes,
            problem: forward.problem.clone(),
            because: forward.because.clone(),
            drain: forward.drain.as_ref().map(|drain| DrainStatus::of(drain, now)),
            since_s: now.since(forward.since).as_secs(),
        }
    }
}

impl DrainStatus {
    /// The status that `drain` amounts to at `now`.
    #[must_use]
    pub fn of(drain: &ForwardDrain, now: Timestamp) -> Self {
        let left = |until: Timestamp| u64::try_from(until.since(now).as_millis());
        Self {
            stage: drain.stage,
            since_s: now.since(drain.since).as_secs(),
            left_ms: drain.until.map(|until| left(until).unwrap_or(u64::MAX)),
            forced: drain.forced,
        }
    }
}
