//! Owns what happened: the history beside the snapshot.

use crate::problem::Problem;
use crate::progress::Left;
use crate::shutdown::Stage;
use crate::snapshot::{ForwardState, Phase, Reach, Technology};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Event {
    /// Rises by one with each event of this engine's life; a gap means events were missed.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Name of the forward it is about, if it is about one.
    pub forward: Option<String>,
    /// What.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// The engine entered a phase.
    Phase {
        /// The phase entered.
        phase: Phase,
    },
    /// The engine's end entered a stage.
    Stage {
        /// The stage entered.
        stage: Stage,
        /// What was left then, by kind.
        left: Vec<Left>,
        /// How many things had to be forced before.
        forced: u32,
    },
    /// The engine's end was called off; everything listens again.
    EndCancelled,
    /// The machine woke up.
    Woke {
        /// How long it slept, in milliseconds, where that is known.
        #[cfg_attr(feature = "bindings", ts(type = "number | null"))]
        slept_ms: Option<u64>,
    },
    /// Addresses, routes or the default network changed.
    NetworkChanged,
    /// A forward that is being drained has open connections left: they finish, or are cut.
    DrainStage {
        /// The stage entered.
        stage: Stage,
        /// Connections still open.
        open: u32,
    },
    /// A forward is drained; it is off until it is resumed.
    Drained {
        /// How long it took, in milliseconds.
        #[cfg_attr(feature = "bindings", ts(type = "number"))]
        took_ms: u64,
        /// Connections that were cut.
        forced: u32,
    },
    /// A forward that was drained is switched on again.
    Resumed,
    /// A configuration came into force while LocalPort ran.
    ConfigApplied {
        /// What it amounts to, such as `1 added, 2 unchanged`.
        summary: String,
    },
    /// A newer configuration is not in force.
    ConfigPending {
        /// Why, and what goes on instead.
        sentence: String,
    },
    /// A forward changed its state.
    State {
        /// The state left.
        from: ForwardState,
        /// The state entered.
        to: ForwardState,
        /// Why, where something is wrong.
        problem: Option<Problem>,
    },
    /// The local port is bound.
    Listening {
        /// Address and port, such as `127.0.0.1:5432`.
        local: String,
    },
    /// The local port is taken or cannot be bound.
    ListenerConflict {
        /// What holds it, and what can be done.
        problem: Problem,
    },
    /// A session to the target's side is up.
    SessionUp {
        /// The way it takes, such as `ssh-mux`.
        path: String,
        /// Where it ends, such as `pod orders-0`.
        endpoint: String,
    },
    /// A session ended that was up.
    SessionLost {
        /// Why.
        problem: Problem,
    },
    /// A cluster or an SSH host is known to be something else than before.
    Reach {
        /// Name of the context or SSH destination.
        context: String,
        /// What leads there.
        technology: Technology,
        /// What it was.
        from: Reach,
        /// What it is.
        to: Reach,
        /// What is wrong with it, if something is.
        problem: Option<Problem>,
    },
    /// A client could not be served.
    ClientClosed {
        /// The client's address.
        client: String,
        /// Why.
        problem: Problem,
    },
    /// A line that a person may want to read, such as what `ssh` said.
    Note {
        /// The line.
        text: String,
    },
}

impl Kind {
    /// One line for logs and terminals.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Kind::Phase { phase } => format!("engine is {}", phase.as_str()),
            Kind::Stage { stage, left, .. } => {
                let left = left.iter().map(|left| format!("{} {}", left.count, left.kind.as_str()));
                let left: Vec<String> = left.collect();
                let stage = stage.as_str();
                match left.as_slice() {
                    [] => format!("ending: {stage}"),
                    left => format!("ending: {stage}; left: {}", left.join(", ")),
                }
            }
            Kind::EndCancelled => "the end was called off; everything listens again".to_owned(),
            Kind::Woke { slept_ms: Some(slept) } => {
                format!("the machine woke up after {} s", slept / 1000)
            }
            Kind::Woke { slept_ms: None } => "the machine woke up".to_owned(),
            Kind::NetworkChanged => "the network changed".to_owned(),
            Kind::DrainStage { stage: Stage::CompleteCurrent, open } => {
                format!("draining: {} may finish", connections(*open))
            }
            Kind::DrainStage { open, .. } => format!("draining: {} are cut", connections(*open)),
            Kind::Drained { took_ms, forced: 0 } => format!("drained in {took_ms} ms"),
            Kind::Drained { took_ms, forced } => {
                format!("drained in {took_ms} ms; cut: {}", connections(*forced))
            }
            Kind::Resumed => "resumed".to_owned(),
            Kind::ConfigApplied { summary } => format!("configuration applied: {summary}"),
            Kind::ConfigPending { sentence } => sentence.clone(),
            Kind::State { from, to, problem } => {
                let change = format!("{} → {}", from.as_str(), to.as_str());
                match problem {
                    Some(problem) => format!("{change}: {}", problem.sentence),
                    None => change,
                }
            }
            Kind::Listening { local } => format!("listening on {local}"),
            Kind::ListenerConflict { problem } | Kind::SessionLost { problem } => {
                problem.sentence.clone()
            }
            Kind::SessionUp { path, endpoint } => format!("session up: {path} to {endpoint}"),
            Kind::Reach { context, to, problem: Some(problem), .. } => {
                format!("`{context}` is {}: {}", to.as_str(), problem.sentence)
            }
            Kind::Reach { context, to, .. } => format!("`{context}` is {}", to.as_str()),
            Kind::ClientClosed { client, problem } => {
                format!("client {client} closed: {}", problem.sentence)
            }
            Kind::Note { text } => text.clone(),
        }
    }

    /// Whether it reports something wrong.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        match self {
            Kind::ListenerConflict { .. }
            | Kind::SessionLost { .. }
            | Kind::ClientClosed { .. } => true,
            Kind::State { problem, .. } => problem.is_some(),
            Kind::Reach { to, .. } => crate::graph::is_away(*to),
            Kind::ConfigPending { .. } => true,
            Kind::ConfigApplied { .. }
            | Kind::Phase { .. }
            | Kind::Stage { .. }
            | Kind::EndCancelled
            | Kind::Woke { .. }
            | Kind::NetworkChanged
            | Kind::DrainStage { .. }
            | Kind::Drained { .. }
            | Kind::Resumed
            | Kind::Listening { .. }
            | Kind::SessionUp { .. }
            | Kind::Note { .. } => false,
        }
    }
}

fn connections(count: u32) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} open connection{plural}")
}
