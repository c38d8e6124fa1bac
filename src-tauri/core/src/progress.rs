//! Owns how far an end or a drain has come, in the form that people and programs follow.
//!
//! Receives what is held and the snapshot; emits counts by kind, the first names, and the
//! one sentence that tray and terminal show.

use crate::receipt::Held;
use crate::resource::LeaseKind;
use crate::shutdown::Stage;
use crate::snapshot::{Ending, Phase, Snapshot};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Names that are said; the rest is a number.
pub const NAMED: usize = 5;

/// What is left of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Left {
    /// Which kind.
    pub kind: LeaseKind,
    /// How many.
    pub count: u32,
}

/// What is left: by kind, the first by name, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Counts by kind.
    pub left: Vec<Left>,
    /// The first of it, with the connections of one forward as one.
    pub first: Vec<Held>,
    /// How many more there are behind the first.
    pub more: u32,
}

/// What `held` amounts to in `stage`. All of it is counted; named is what the stage waits
/// for. Tasks are no matter of people: what they serve is named.
#[must_use]
pub fn remaining(held: Vec<Held>, stage: Stage) -> Remaining {
    let mut kinds: BTreeMap<LeaseKind, u32> = BTreeMap::new();
    let mut clients: BTreeMap<String, u32> = BTreeMap::new();
    let mut others = vec![];
    for held in held.into_iter().filter(|held| held.kind != LeaseKind::Task) {
        *kinds.entry(held.kind).or_default() += 1;
        if !waits_for(stage, held.kind) {
            continue;
        }
        if held.kind == LeaseKind::Connection {
            *clients.entry(held.owner).or_default() += 1;
        } else {
            others.push(held);
        }
    }
    let mut clients: Vec<(String, u32)> = clients.into_iter().collect();
    clients.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let clients =
        clients.into_iter().map(|(owner, count)| crate::parts::connections(&owner, count));
    let mut first: Vec<Held> = clients.chain(others).collect();
    let more = u32::try_from(first.len().saturating_sub(NAMED)).unwrap_or(u32::MAX);
    first.truncate(NAMED);
    let left = kinds.into_iter().map(|(kind, count)| Left { kind, count }).collect();
    Remaining { left, first, more }
}

fn waits_for(stage: Stage, kind: LeaseKind) -> bool {
    match stage {
        Stage::StopNewWork => kind == LeaseKind::Listener,
        Stage::CompleteCurrent => kind == LeaseKind::Connection,
        Stage::CancelTasks | Stage::ForceCleanup => true,
    }
}

/// How an end and the drains of parts stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Where the engine is in its life.
    pub phase: String,
    /// One sentence over the end; none while there is none.
    pub sentence: Option<String>,
    /// How far the end has come.
    pub ending: Option<EndingProgress>,
    /// The forwards that are being drained.
    pub drains: Vec<DrainProgress>,
}

/// How far the end has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndingProgress {
    /// The stage under way.
    pub stage: Stage,
    /// Milliseconds until it ends at the latest.
    pub left_ms: u64,
    /// Whether the end can still be called off.
    pub can_cancel: bool,
    /// Connections still open.
    pub open: u32,
    /// What is left, by kind.
    pub left: Vec<Left>,
    /// The first of it by name.
    pub first: Vec<Held>,
    /// How many more there are.
    pub more: u32,
    /// How many had to be forced so far.
    pub forced: u32,
}

/// How far the drain of one forward has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainProgress {
    /// The forward.
    pub forward: String,
    /// The stage under way.
    pub stage: Stage,
    /// Milliseconds until it ends at the latest.
    pub left_ms: u64,
    /// Connections still open.
    pub open: u32,
}

impl Progress {
    /// The progress that `snapshot` amounts to at `now`.
    #[must_use]
    pub fn of(snapshot: &Snapshot, now: Timestamp) -> Self {
        let drains = snapshot.forwards.iter().filter_map(|forward| {
            let drain = forward.drain?;
            Some(DrainProgress {
                forward: forward.name.clone(),
                stage: drain.stage?,
                left_ms: millis(drain.until.unwrap_or(now), now),
                open: forward.connections.open,
            })
        });
        Self {
            phase: snapshot.phase.as_str().to_owned(),
            sentence: sentence(snapshot, now),
            ending: snapshot.ending.as_ref().map(|ending| EndingProgress {
                stage: ending.stage,
                left_ms: millis(ending.until, now),
                can_cancel: ending.can_cancel,
                open: ending.open,
                left: ending.left.clone(),
                first: ending.first.clone(),
                more: ending.more,
                forced: ending.forced,
            }),
            drains: drains.collect(),
        }
    }
}

impl EndingProgress {
    /// What is waited for and for how long, `passed` milliseconds after it was written.
    #[must_use]
    pub fn sentence(&self, passed: u64) -> String {
        stage(self.stage, self.open, &self.left, self.left_ms.saturating_sub(passed))
    }
}

/// `Quitting: 3 connections finish, 6 s left`; none while nothing ends.
#[must_use]
pub fn sentence(snapshot: &Snapshot, now: Timestamp) -> Option<String> {
    match (&snapshot.ending, snapshot.phase) {
        (Some(Ending { stage: at, until, open, left, .. }), _) => {
            Some(stage(*at, *open, left, millis(*until, now)))
        }
        (None, Phase::Draining) => Some("Quitting".to_owned()),
        (None, _) => None,
    }
}

fn stage(stage: Stage, open: u32, left: &[Left], left_ms: u64) -> String {
    let count = |kinds: &[LeaseKind]| -> u32 {
        left.iter().filter(|left| kinds.contains(&left.kind)).map(|left| left.count).sum()
    };
    let seconds = left_ms.div_ceil(1_000);
    let what = match stage {
        Stage::StopNewWork => match count(&[LeaseKind::Listener]) {
            0 => return "Quitting: no new clients".to_owned(),
            ports => some(ports, "local port closes", "local ports close"),
        },
        Stage::CompleteCurrent if open == 0 => return "Quitting".to_owned(),
        Stage::CompleteCurrent => some(open, "connection finishes", "connections finish"),
        Stage::CancelTasks | Stage::ForceCleanup if left.is_empty() => {
            return "Quitting: cleaning up".to_owned();
        }
        Stage::CancelTasks => format!("cleaning up {}", kinds(left)),
        Stage::ForceCleanup => format!("forcing {}", kinds(left)),
    };
    format!("Quitting: {what}, {seconds} s left")
}

fn kinds(left: &[Left]) -> String {
    let words = |left: &Left| match left.kind {
        LeaseKind::Listener => some(left.count, "local port", "local ports"),
        LeaseKind::Child => some(left.count, "process", "processes"),
        LeaseKind::Watch => some(left.count, "watch", "watches"),
        LeaseKind::BusName => some(left.count, "bus name", "bus names"),
        kind => some(left.count, kind.as_str(), &format!("{}s", kind.as_str())),
    };
    left.iter().map(words).collect::<Vec<_>>().join(", ")
}

fn some(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn millis(until: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(kind: LeaseKind, name: &str, owner: &str) -> Held {
        Held { kind, name: name.to_owned(), owner: owner.to_owned() }
    }

    /// S10.2: what is left is counted by kind and named by forward; a long list is bounded.
    #[test]
    fn s10_2_what_is_left_is_counted_and_named() {
        let mut all = vec![
            held(LeaseKind::Task, "accept", "a"),
            held(LeaseKind::Child, "ssh me@host", "wiki"),
            held(LeaseKind::Connection, "client 1", "a"),
            held(LeaseKind::Connection, "client 2", "b"),
            held(LeaseKind::Connection, "client 3", "b"),
        ];
        let waiting = remaining(all.clone(), Stage::CompleteCurrent);
        assert_eq!((waiting.first.len(), waiting.left.len()), (2, 2), "{waiting:?}");
        let small = remaining(all.clone(), Stage::CancelTasks);
        let said: Vec<String> = small.first.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            ["2 open connections of b", "1 open connection of a", "ssh me@host of wiki"]
        );
        assert_eq!(small.more, 0);
        let counts: Vec<_> = small.left.iter().map(|left| (left.kind, left.count)).collect();
        assert_eq!(counts, [(LeaseKind::Connection, 3), (LeaseKind::Child, 1)]);
        all.extend((0..15).map(|n| held(LeaseKind::File, &format!("f{n}"), "ssh")));
        let many = remaining(all, Stage::CancelTasks);
        assert_eq!((many.first.len(), many.more), (NAMED, 13));
    }

    /// S10.2: each stage says what it waits for, and for how long at most.
    #[test]
    fn s10_2_each_stage_has_its_words() {
        let left = [Left { kind: LeaseKind::Child, count: 2 }];
        let ports = [Left { kind: LeaseKind::Listener, count: 1 }];
        for (words, said) in [
            (
                stage(Stage::StopNewWork, 0, &ports, 1_900),
                "Quitting: 1 local port closes, 2 s left",
            ),
            (
                stage(Stage::CompleteCurrent, 3, &[], 5_001),
                "Quitting: 3 connections finish, 6 s left",
            ),
            (stage(Stage::CompleteCurrent, 1, &[], 0), "Quitting: 1 connection finishes, 0 s left"),
            (
                stage(Stage::CancelTasks, 0, &left, 14_000),
                "Quitting: cleaning up 2 processes, 14 s left",
            ),
            (stage(Stage::CancelTasks, 0, &[], 14_000), "Quitting: cleaning up"),
            (
                stage(Stage::ForceCleanup, 0, &left, 5_000),
                "Quitting: forcing 2 processes, 5 s left",
            ),
        ] {
            assert_eq!(words, said);
        }
    }
}
