//! Owns what is kept of each forward over time: how it stood, its outages with cause and
//! length, and samples of its round trip and its traffic.
//!
//! Receives snapshots and what was kept; emits marks and samples to keep, and the account
//! that people read. Time is an argument.

mod account;
mod sample;
mod words;

pub use account::{Account, End, Outage, account};
pub use sample::{COARSE, FINE, Grain, Sample, Sampler, fold};
pub use words::lines;

use crate::problem::Problem;
use crate::snapshot::{
    Forward, ForwardState, ListenerState, Phase, Snapshot, TargetState, TunnelState,
};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a forward stands, as far as an outage is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It carries clients, or would.
    Up,
    /// It does not.
    Down,
    /// It is on its way up.
    Connecting,
    /// It is switched off.
    Off,
    /// Nobody looked: LocalPort did not run, or the machine slept.
    Unwatched,
}

/// From one moment on a forward stands so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Mark {
    /// From when.
    pub at: Timestamp,
    /// How.
    pub standing: Standing,
    /// What is wrong, where something is.
    pub problem: Option<Problem>,
}

/// How `forward` stands.
#[must_use]
pub fn standing(forward: &Forward) -> Standing {
    let taken = forward.listener.state == ListenerState::Conflict;
    match forward.state {
        ForwardState::Stopped | ForwardState::Stopping => Standing::Off,
        ForwardState::BackingOff | ForwardState::Failed | ForwardState::Degraded => Standing::Down,
        _ if taken => Standing::Down,
        ForwardState::Running
            if forward.tunnel.state == TunnelState::Up
                && forward.target_health.state == TargetState::Healthy =>
        {
            Standing::Up
        }
        ForwardState::Starting | ForwardState::Running => Standing::Connecting,
    }
}

/// Turns snapshots into marks: one whenever a forward stands otherwise than before.
#[derive(Clone, Debug, Default)]
pub struct Marker {
    last: BTreeMap<String, Standing>,
}

impl Marker {
    /// The marks that `snapshot` adds, with the names of their forwards.
    pub fn look(&mut self, snapshot: &Snapshot) -> Vec<(String, Mark)> {
        let watched = snapshot.phase == Phase::Running;
        let mut marks = vec![];
        for forward in &snapshot.forwards {
            let now = if watched { standing(forward) } else { Standing::Unwatched };
            let before = self.last.get(&forward.name).copied();
            // What was never on has no history, and what is not watched yet neither.
            let quiet = before.is_none() && matches!(now, Standing::Off | Standing::Unwatched);
            if before == Some(now) || quiet {
                continue;
            }
            self.last.insert(forward.name.clone(), now);
            let problem = forward.problem.clone().filter(|_| now == Standing::Down);
            marks.push((forward.name.clone(), Mark { at: snapshot.at, standing: now, problem }));
        }
        let gone: Vec<String> =
            self.last.keys().filter(|name| !has(snapshot, name)).cloned().collect();
        for name in gone {
            self.last.remove(&name);
            marks.push((name, Mark { at: snapshot.at, standing: Standing::Off, problem: None }));
        }
        marks
    }
}

fn has(snapshot: &Snapshot, name: &str) -> bool {
    snapshot.forwards.iter().any(|forward| forward.name == name)
}

#[cfg(test)]
mod tests;
