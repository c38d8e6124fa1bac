//! Owns what is: the one read model of tray, window, command line and notifications.
//!
//! The engine alone writes it. Times are absolute, so that a snapshot stays true
//! while nothing happens; `status` turns them into ages for people and programs.

use crate::config::{Config, Diagnostic};
use crate::notify::Settings;
use crate::problem::Problem;
use crate::progress::Left;
use crate::receipt::Held;
use crate::shutdown::Stage;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// The word that JSON and people see.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

words! {
    /// Where the engine is in its life.
    Phase {
        /// Reading the configuration, binding listeners.
        Starting = "starting",
        /// Serving.
        Running = "running",
        /// The machine sleeps or is about to: listeners stay, nothing is asked or tried.
        Asleep = "asleep",
        /// Listeners closed, open connections finishing.
        Draining = "draining",
        /// Everything released.
        Stopped = "stopped",
    }
}

words! {
    /// Where a forward is in its life.
    ForwardState {
        /// Switched off.
        Stopped = "stopped",
        /// First attempt to open a session.
        Starting = "starting",
        /// Session up, target proved or not yet disproved.
        Running = "running",
        /// Session up, but the target fails.
        Degraded = "degraded",
        /// Waiting for the next attempt.
        BackingOff = "backing-off",
        /// Closing.
        Stopping = "stopping",
        /// A person has to act.
        Failed = "failed",
    }
}

words! {
    /// First fact: the local port.
    ListenerState {
        /// Not bound, because the forward is off.
        Closed = "closed",
        /// Bound and accepting.
        Listening = "listening",
        /// The port is taken or cannot be bound; the bind is retried.
        Conflict = "conflict",
    }
}

words! {
    /// Second fact: the way to the target's side.
    TunnelState {
        /// No session wanted.
        Off = "off",
        /// A session is being opened.
        Connecting = "connecting",
        /// A session is up.
        Up = "up",
        /// No session; the next attempt waits.
        Down = "down",
    }
}

words! {
    /// Third fact: the target itself.
    TargetState {
        /// Never proved, or no way to tell now.
        Unknown = "unknown",
        /// Proved: a probe was accepted or bytes came back.
        Healthy = "healthy",
        /// Refuses or does not answer.
        Failing = "failing",
    }
}

words! {
    /// How the whole stands: the tray icon's shape.
    Overall {
        /// Nothing is switched on.
        Idle = "idle",
        /// Everything switched on serves, with fresh proof.
        Ok = "ok",
        /// Something is connecting or not yet proved.
        Busy = "busy",
        /// Something waits for its other side, or its target fails.
        Degraded = "degraded",
        /// A person has to act.
        Failed = "failed",
    }
}

words! {
    /// Which of the technologies carries a forward.
    Technology {
        /// Kubernetes port-forward; the configuration's word is `kubectl`.
        Kubectl = "kubectl",
        /// OpenSSH.
        Ssh = "ssh",
    }
}

words! {
    /// What a cluster or an SSH host is known to be.
    Reach {
        /// Nothing has been heard of it yet.
        Unknown = "unknown",
        /// It answers and lets us in.
        Reachable = "reachable",
        /// It does not answer, or has too much to do.
        Unreachable = "unreachable",
        /// It answers, but nobody is logged in: a person has to log in.
        LoginNeeded = "login-needed",
        /// It answers or would, but something that a person has to mend keeps us out: a
        /// certificate, a host key, the kubeconfig.
        Refused = "refused",
    }
}

words! {
    /// What kind of thing the trouble of several forwards hangs under.
    CauseKind {
        /// A Kubernetes cluster.
        Cluster = "cluster",
        /// An SSH host.
        Host = "host",
        /// What several forwards share at that place: a target's pods, an SSH master.
        Session = "session",
        /// The forward alone. Never what another one hangs under.
        Forward = "forward",
    }
}

/// Everything there is to know at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Snapshot {
    /// Sequence number of the last event that this snapshot includes.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The engine's version.
    pub version: String,
    /// The engine's process.
    pub pid: u32,
    /// Where the engine is in its life.
    pub phase: Phase,
    /// When the engine started.
    pub started: Timestamp,
    /// How far the end has come, while the engine ends.
    pub ending: Option<Ending>,
    /// The forwards, in the order of the configuration.
    pub forwards: Vec<Forward>,
    /// The Kubernetes contexts and SSH hosts in use.
    pub contexts: Vec<Context>,
    /// What was read, and what is wrong with it.
    pub config: ConfigView,
}

/// How far the end has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Ending {
    /// The stage under way.
    pub stage: Stage,
    /// When it was entered.
    pub since: Timestamp,
    /// When it ends at the latest.
    pub until: Timestamp,
    /// Connections still open.
    pub open: u32,
    /// Whether the end can still be called off.
    pub can_cancel: bool,
    /// What is left, by kind.
    pub left: Vec<Left>,
    /// The first of what is left, by name.
    pub first: Vec<Held>,
    /// How many more there are behind the first.
    pub more: u32,
    /// How many things had to be forced so far.
    pub forced: u32,
}

/// Where the configuration came from and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct ConfigView {
    /// The files read; empty when none was found.
    pub files: Vec<String>,
    /// Places looked at when none was found, first choice first.
    pub searched: Vec<String>,
    /// All problems of the newest text, errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
    /// When the configuration in force was applied.
    pub applied: Timestamp,
    /// The newest text, when it is not the one in force.
    pub pending: Option<Pending>,
    /// When a person is told of trouble. Not sent: only the process that tells needs it.
    #[serde(skip)]
    pub notifications: Arc<Settings>,
}

words! {
    /// Why a newer configuration is not in force.
    PendingWhy {
        /// It has errors.
        Invalid = "invalid",
        /// It is there no more, or holds nothing.
        Empty = "empty",
        /// LocalPort is quitting.
        Ending = "ending",
        /// The engine could not take it on.
        Refused = "refused",
    }
}

/// A newer configuration that is not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Pending {
    /// Why, for programs.
    pub why: PendingWhy,
    /// Why, and what goes on instead.
    pub sentence: String,
    /// What can be done.
    pub hint: String,
}

impl ConfigView {
    /// What is known of `config`, in force since `applied`, looked for in `searched`.
    #[must_use]
    pub fn of(config: &Config, searched: &[PathBuf], applied: Timestamp) -> Self {
        let names = |paths: &[PathBuf]| paths.iter().map(|p| p.display().to_string()).collect();
        Self {
            files: names(&config.files),
            searched: names(searched),
            diagnostics: config.diagnostics.clone(),
            applied,
            pending: None,
            notifications: Arc::new(config.notifications.clone()),
        }
    }
}

/// One place that forwards go through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Context {
    /// Name of the kubeconfig context, or the SSH destination.
    pub name: String,
    /// What it is.
    pub technology: Technology,
    /// Forwards switched on that go through it.
    pub forwards: u32,
    /// Those of them whose tunnel is up.
    pub up: u32,
    /// What it is known to be.
    pub reach: Reach,
    /// Since when it is known to be that.
    pub since: Timestamp,
    /// How long its last answer took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// When it was last asked and the outcome known.
    pub checked: Option<Timestamp>,
    /// Whether nothing is asked just now, while LocalPort ends, sleeps or is paused: all
    /// of this was learnt before.
    pub cached: bool,
    /// Nodes of a cluster; none where they may not be seen, and for SSH hosts.
    pub nodes: Option<Nodes>,
    /// Warnings of the last hour in the namespaces in use.
    pub warnings: u32,
    /// What a log-in is needed for, if one is.
    pub login: Option<LoginNeeded>,
    /// What cannot be seen there and why, one sentence each.
    pub unseen: Vec<String>,
    /// When the credentials in use end to be accepted, where that is known.
    pub expires: Option<Timestamp>,
    /// What is wrong with the place itself, or what all its forwards share.
    pub problem: Option<Problem>,
    /// What the trouble of its forwards hangs under: the place itself, or what some of them
    /// share. Trouble that is one forward's own stands at that forward.
    pub roots: Vec<Root>,
}

impl Context {
    /// A place of which nothing is known yet.
    #[must_use]
    pub fn unknown(name: &str, technology: Technology, now: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            technology,
            forwards: 0,
            up: 0,
            reach: Reach::Unknown,
            since: now,
            latency_ms: None,
            checked: None,
            cached: false,
            nodes: None,
            warnings: 0,
            login: None,
            unseen: vec![],
            expires: None,
            problem: None,
            roots: vec![],
        }
    }
}

/// What trouble hangs under, and which forwards' trouble that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Root {
    /// What it is.
    pub kind: CauseKind,
    /// Its name: of the context or SSH destination, the session's, such as
    /// `svc/orders · shop`, or the forward's.
    pub name: String,
    /// The context or SSH destination it is at.
    pub place: String,
    /// What leads there.
    pub technology: Technology,
    /// Since when it is in trouble.
    pub since: Timestamp,
    /// What is wrong with it.
    pub problem: Option<Problem>,
    /// The forwards whose trouble it is, in the order of the configuration.
    pub forwards: Vec<String>,
}

/// How the nodes of a cluster stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Nodes {
    /// Nodes whose `Ready` condition holds.
    pub ready: u32,
    /// All nodes.
    pub total: u32,
    /// The first of those that are not ready, by name.
    pub not_ready: Vec<String>,
}

/// A log-in that a person has to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct LoginNeeded {
    /// What ended or is missing, in one sentence.
    pub what: String,
    /// The command that logs in, for people to read; `localport login CONTEXT` runs it.
    /// None where nothing is known that could.
    pub command: Option<String>,
    /// Whether it runs now.
    pub running: bool,
}

/// What a forward's trouble hangs under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Cause {
    /// What it is.
    pub kind: CauseKind,
    /// Its name: of the context or SSH destination, or the session's, such as
    /// `svc/orders · shop`.
    pub name: String,
    /// Since when it is in trouble.
    pub since: Timestamp,
}

/// One forward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Forward {
    /// Unique name.
    pub name: String,
    /// What carries it.
    pub technology: Technology,
    /// Kubernetes context or SSH destination it goes through.
    pub context: String,
    /// Tags from the configuration.
    pub tags: Vec<String>,
    /// Description from the configuration.
    pub description: Option<String>,
    /// Whether it is switched on.
    pub wanted: bool,
    /// How its drain stands, if a person had it drained; none while it is on.
    pub drain: Option<ForwardDrain>,
    /// Where it is in its life.
    pub state: ForwardState,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// Local address for clients, such as `127.0.0.1:5432`.
    pub local: String,
    /// Target in words, such as `svc/orders:5432 · shop` or `wiki.internal:80`.
    pub target: String,
    /// First fact.
    pub listener: ListenerFact,
    /// Second fact.
    pub tunnel: TunnelFact,
    /// Third fact.
    pub target_health: TargetFact,
    /// Clients.
    pub connections: Connections,
    /// Bytes carried since the engine started.
    pub bytes: Bytes,
    /// What is wrong, if something is.
    pub problem: Option<Problem>,
    /// What that hangs under, when it is not the forward's own trouble: the cause is shown
    /// once, and the forward says "because of" it.
    pub because: Option<Cause>,
}

/// A drain of one forward that a person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct ForwardDrain {
    /// When it was asked for.
    pub since: Timestamp,
    /// The stage under way; none once it is drained.
    pub stage: Option<Stage>,
    /// When the stage ends at the latest.
    pub until: Option<Timestamp>,
    /// Connections that were cut.
    pub forced: u32,
}

/// First fact: the local port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct ListenerFact {
    /// Bound or not.
    pub state: ListenerState,
    /// Every address it is bound on.
    pub addresses: Vec<String>,
}

/// Second fact: the way to the target's side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct TunnelFact {
    /// Up or not.
    pub state: TunnelState,
    /// The way it takes: `ssh-mux`, `ssh-socks`, `spdy-ws`, `spdy`, `v4`.
    pub path: Option<String>,
    /// Where it ends, such as `pod orders-0`.
    pub endpoint: Option<String>,
    /// Last measured round trip, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// When the round trip was measured.
    pub measured: Option<Timestamp>,
    /// When the next attempt is due.
    pub retry_at: Option<Timestamp>,
}

/// Third fact: the target itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct TargetFact {
    /// Proved or not.
    pub state: TargetState,
    /// When it was last proved or disproved.
    pub checked: Option<Timestamp>,
    /// Until when the proof counts as fresh; none without a proof through this session.
    pub fresh_until: Option<Timestamp>,
    /// How it is checked: `tcp`, `http`, `postgres` …
    pub check: String,
    /// What proved it last: the check's name, or `traffic` for bytes that came back.
    pub proof: Option<String>,
    /// How long the last probe that succeeded took, in milliseconds.
    pub took_ms: Option<f64>,
    /// Failures in a row.
    pub failures: u32,
    /// When it is looked at next; none while nothing is looked at.
    pub next: Option<Timestamp>,
    /// Whether this was learnt earlier: through another session, or before a pause.
    pub cached: bool,
}

impl Default for TargetFact {
    fn default() -> Self {
        Self {
            state: TargetState::Unknown,
            checked: None,
            fresh_until: None,
            check: String::new(),
            proof: None,
            took_ms: None,
            failures: 0,
            next: None,
            cached: false,
        }
    }
}

/// Clients of a forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Connections {
    /// Being carried now.
    pub open: u32,
    /// Accepted and waiting for a session.
    pub held: u32,
    /// Accepted since the engine started.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub total: u64,
}

/// Bytes carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Bytes {
    /// From clients to the target.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub up: u64,
    /// From the target to clients.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub down: u64,
}

/// Every word that [`Forward::word`] gives, best first.
pub const WORDS: [&str; 9] = [
    "serving",
    "unproved",
    "connecting",
    "degraded",
    "waiting",
    "broken",
    "draining",
    "drained",
    "off",
];

/// How one forward stands, for a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// A person has to act, or the port is taken.
    Broken,
    /// The other side is away, or the target fails.
    Waiting,
    /// Connecting for the first time, closing, or not freshly proved.
    Unproved,
    /// All three facts hold, with fresh proof.
    Serving,
    /// Switched off.
    Off,
}

impl Forward {
    /// How it stands at `now`: serving only when all three facts hold and the
    /// proof of the target is still fresh.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.state == ForwardState::Stopped {
            return Standing::Off;
        }
        if self.state == ForwardState::Failed || self.listener.state == ListenerState::Conflict {
            return Standing::Broken;
        }
        match self.state {
            ForwardState::BackingOff | ForwardState::Degraded => Standing::Waiting,
            ForwardState::Running
                if self.listener.state == ListenerState::Listening
                    && self.tunnel.state == TunnelState::Up
                    && self.target_health.state == TargetState::Healthy
                    && self.target_health.fresh_until.is_some_and(|until| now <= until) =>
            {
                Standing::Serving
            }
            _ => Standing::Unproved,
        }
    }

    /// The word people see for it: never "active", never green without proof.
    #[must_use]
    pub fn word(&self, now: Timestamp) -> &'static str {
        match (self.standing(now), self.state) {
            (Standing::Off, _) if self.drain.is_some() => "drained",
            (Standing::Off, _) => "off",
            (_, ForwardState::Stopping) => "draining",
            (Standing::Broken, _) => "broken",
            (Standing::Waiting, ForwardState::Degraded) => "degraded",
            (Standing::Waiting, _) => "waiting",
            (Standing::Serving, _) => "serving",
            (Standing::Unproved, ForwardState::Running) => "unproved",
            (Standing::Unproved, _) => "connecting",
        }
    }
}

impl Snapshot {
    /// How the whole stands at `now`: the worst of the forwards switched on.
    #[must_use]
    pub fn overall(&self, now: Timestamp) -> Overall {
        match self.forwards.iter().map(|forward| forward.standing(now)).min() {
            None | Some(Standing::Off) => Overall::Idle,
            Some(Standing::Serving) => Overall::Ok,
            Some(Standing::Unproved) => Overall::Busy,
            Some(Standing::Waiting) => Overall::Degraded,
            Some(Standing::Broken) => Overall::Failed,
        }
    }

    /// The one sentence of header and tray, such as `5 serving · 2 waiting · 1 off`.
    #[must_use]
    pub fn summary(&self, now: Timestamp) -> String {
        let parts: Vec<String> = WORDS
            .iter()
            .filter_map(|word| {
                let count = self.forwards.iter().filter(|f| f.word(now) == *word).count();
                (count > 0).then(|| format!("{count} {word}"))
            })
            .collect();
        if parts.is_empty() { "no forwards yet".to_owned() } else { parts.join(" · ") }
    }
}
