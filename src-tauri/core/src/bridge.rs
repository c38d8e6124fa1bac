//! Owns what crosses between the engine's side and a window: the snapshot in small
//! pieces, and answers that carry their own sentence.
//!
//! Receives two snapshots, emits the difference; receives a refusal, emits what a
//! person reads.

use crate::command::Refusal;
use crate::snapshot::{Context, Ending, Forward, Phase, Snapshot};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One step of a reader's picture of the engine. A reader applies them in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(tag = "update", rename_all = "snake_case")]
pub enum Update {
    /// Everything: the first step, and whenever the set of forwards changed.
    Whole {
        /// The engine's clock at the time of sending.
        now: Timestamp,
        /// Everything there is.
        snapshot: Snapshot,
    },
    /// Only what changed since the step before.
    Changed {
        /// The engine's clock at the time of sending.
        now: Timestamp,
        /// Sequence number of the last event included.
        #[cfg_attr(feature = "bindings", ts(type = "number"))]
        seq: u64,
        /// When the snapshot was written.
        at: Timestamp,
        /// Where the engine is in its life.
        phase: Phase,
        /// How far the end has come.
        ending: Option<Ending>,
        /// The forwards that changed, whole.
        forwards: Vec<Forward>,
        /// All contexts, when one of them changed.
        contexts: Option<Vec<Context>>,
    },
}

impl Update {
    /// The first step of a new reader.
    #[must_use]
    pub fn whole(snapshot: &Snapshot, now: Timestamp) -> Self {
        Update::Whole { now, snapshot: snapshot.clone() }
    }

    /// The step from `seen` to `next`; none when a reader of `seen` has nothing to learn.
    #[must_use]
    pub fn between(seen: &Snapshot, next: &Snapshot, now: Timestamp) -> Option<Self> {
        if !same_shape(seen, next) {
            return Some(Self::whole(next, now));
        }
        let forwards: Vec<Forward> = seen
            .forwards
            .iter()
            .zip(&next.forwards)
            .filter(|(old, new)| old != new)
            .map(|(_, new)| new.clone())
            .collect();
        let contexts = (seen.contexts != next.contexts).then(|| next.contexts.clone());
        let same_end = seen.phase == next.phase && seen.ending == next.ending;
        if forwards.is_empty() && contexts.is_none() && same_end {
            return None;
        }
        let Snapshot { seq, at, phase, .. } = *next;
        let ending = next.ending.clone();
        Some(Update::Changed { now, seq, at, phase, ending, forwards, contexts })
    }
}

fn same_shape(seen: &Snapshot, next: &Snapshot) -> bool {
    seen.pid == next.pid
        && seen.started == next.started
        && seen.config == next.config
        && seen.forwards.len() == next.forwards.len()
        && seen.forwards.iter().zip(&next.forwards).all(|(old, new)| old.name == new.name)
}

/// Why something that the window asked for did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(tag = "declined", rename_all = "snake_case")]
pub enum Declined {
    /// The engine refused the command.
    Command {
        /// Why, for programs.
        refusal: Refusal,
        /// Why, for people.
        sentence: String,
    },
    /// The clipboard did not take the text.
    Clipboard {
        /// Why, for people.
        sentence: String,
    },
}

impl From<Refusal> for Declined {
    fn from(refusal: Refusal) -> Self {
        let sentence = refusal.to_string();
        Declined::Command { refusal, sentence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{
        Bytes, ConfigView, Connections, ForwardState, ListenerFact, ListenerState, TargetFact,
        TargetState, Technology, TunnelFact, TunnelState,
    };

    fn forward(name: &str) -> Forward {
        Forward {
            name: name.to_owned(),
            technology: Technology::Ssh,
            context: "bastion".to_owned(),
            tags: Vec::new(),
            description: None,
            wanted: true,
            drain: None,
            state: ForwardState::Running,
            since: Timestamp(0),
            local: "127.0.0.1:5432".to_owned(),
            target: "db:5432".to_owned(),
            listener: ListenerFact { state: ListenerState::Listening, addresses: Vec::new() },
            tunnel: TunnelFact {
                state: TunnelState::Up,
                path: None,
                endpoint: None,
                rtt_ms: None,
                measured: None,
                retry_at: None,
            },
            target_health: TargetFact { state: TargetState::Healthy, ..TargetFact::default() },
            connections: Connections::default(),
            bytes: Bytes::default(),
            problem: None,
            because: None,
        }
    }

    fn snapshot(names: &[&str]) -> Snapshot {
        Snapshot {
            seq: 1,
            at: Timestamp(1),
            version: "0".to_owned(),
            pid: 1,
            phase: Phase::Running,
            started: Timestamp(0),
            ending: None,
            forwards: names.iter().map(|name| forward(name)).collect(),
            contexts: Vec::new(),
            config: ConfigView::default(),
        }
    }

    #[test]
    fn only_what_moved_is_sent() {
        let seen = snapshot(&["a", "b"]);
        let mut next = seen.clone();
        next.forwards[1].bytes.up = 7;
        let Some(Update::Changed { forwards, contexts: None, .. }) =
            Update::between(&seen, &next, Timestamp(2))
        else {
            panic!("expected a change")
        };
        assert_eq!(forwards, [next.forwards[1].clone()]);
    }

    #[test]
    fn nothing_is_sent_when_only_the_clock_moved() {
        let seen = snapshot(&["a"]);
        let next = Snapshot { seq: 9, at: Timestamp(9), ..seen.clone() };
        assert_eq!(Update::between(&seen, &next, Timestamp(9)), None);
    }

    #[test]
    fn a_new_set_or_order_of_forwards_is_sent_whole() {
        let seen = snapshot(&["a", "b"]);
        for names in [&["b", "a"][..], &["a"], &["a", "b", "c"]] {
            let step = Update::between(&seen, &snapshot(names), Timestamp(2));
            assert!(matches!(step, Some(Update::Whole { .. })), "{names:?}");
        }
    }
}
