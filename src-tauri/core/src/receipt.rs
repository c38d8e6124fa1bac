//! Owns the receipt: the account of one shutdown, true against the operating system.

use crate::resource::LeaseKind;
use crate::shutdown::{Passed, Reason};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How one engine ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(default)]
pub struct Receipt {
    /// The engine's version.
    pub version: String,
    /// The engine's process.
    pub pid: u32,
    /// Who or what asked, first first; a later one is here when it shortened the end.
    pub reasons: Vec<Reason>,
    /// When the end began.
    pub began: Timestamp,
    /// How long it took, in milliseconds.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub took_ms: u64,
    /// The stages it went through.
    pub stages: Vec<Passed>,
    /// What was released in good order, by kind.
    pub released: Vec<Released>,
    /// What had to be forced.
    pub forced: Vec<Held>,
    /// What is still held.
    pub left: Vec<Held>,
    /// The three that took longest, slowest first.
    pub slowest: Vec<Slow>,
    /// Panics and errors on the way; none of them stopped the rest.
    pub faults: Vec<String>,
    /// What the operating system says.
    pub checks: Vec<Check>,
    /// What a person may want to know besides, such as that it took longer than usual.
    pub remarks: Vec<String>,
}

/// Leases of one kind that were released in good order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Released {
    /// Which kind.
    pub kind: LeaseKind,
    /// How many.
    pub count: u32,
    /// How long the last of them took from the beginning of the end, in milliseconds.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub took_ms: u64,
}

/// One thing that was or is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Held {
    /// What kind.
    pub kind: LeaseKind,
    /// Its human name.
    pub name: String,
    /// Whose it is: a forward's name, or the room's.
    pub owner: String,
}

/// One thing and how long its release took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Slow {
    /// What.
    #[serde(flatten)]
    pub held: Held,
    /// From the beginning of the end until it was released, in milliseconds.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub took_ms: u64,
}

/// One comparison of the operating system's view with the registry and the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Check {
    /// What was counted: `descriptors`, `sockets`, `children`, `threads`, `files`.
    pub what: String,
    /// How many there were at the start.
    pub start: u32,
    /// How many there are at the end.
    pub end: u32,
    /// What nothing accounts for, by name.
    pub unexplained: Vec<String>,
}

impl Receipt {
    /// Whether everything was released, nothing by force, and the operating system agrees.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.forced.is_empty()
            && self.left.is_empty()
            && self.checks.iter().all(|check| check.unexplained.is_empty())
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.name, self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Held {
        Held { kind: LeaseKind::Child, name: "ssh me@host".into(), owner: "wiki".into() }
    }

    /// S3.4: forced, left or unexplained: none of them is clean.
    #[test]
    fn s3_4_clean_is_only_what_the_system_confirms() {
        let check = Check { what: "sockets".into(), start: 0, end: 1, unexplained: vec![] };
        let clean = Receipt { checks: vec![check.clone()], ..Receipt::default() };
        assert!(clean.is_clean());
        let forced = Receipt { forced: vec![held()], ..clean.clone() };
        let left = Receipt { left: vec![held()], ..clean.clone() };
        let unexplained = Check { unexplained: vec!["127.0.0.1:5432".into()], ..check };
        let leaking = Receipt { checks: vec![unexplained], ..clean };
        assert!([forced, left, leaking].iter().all(|receipt| !receipt.is_clean()));
    }
}
