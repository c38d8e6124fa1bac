//! Owns the words between the cluster monitor and what can see a cluster as a whole.

use localport_core::cluster::ClusterEvent;
use localport_core::problem::Problem;
use localport_core::snapshot::{LoginNeeded, Nodes};
use localport_core::time::Timestamp;
use std::time::Duration;

/// A cluster answered.
#[derive(Clone, Debug)]
pub struct Look {
    /// How long it took.
    pub took: Duration,
    /// When the credentials in use end to be accepted, where that is known.
    pub expires: Option<Timestamp>,
}

/// A cluster did not answer, or did not let us in.
#[derive(Clone, Debug)]
pub struct Missed {
    /// How.
    pub problem: Problem,
    /// What a log-in is needed for, if one mends it.
    pub login: Option<LoginNeeded>,
}

/// What can be followed in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Its nodes.
    Nodes,
    /// Its warnings in one namespace.
    Warnings {
        /// The namespace.
        namespace: String,
    },
}

/// What following brings.
#[derive(Clone, Debug)]
pub enum Found {
    /// How the nodes stand.
    Nodes(Nodes),
    /// A warning, new or repeated, under the name that the cluster gives it.
    Warning(String, ClusterEvent),
    /// It may be seen after all.
    Visible,
    /// It may not be seen; the sentence says what and why.
    Unseen(String),
    /// The watch broke off: the cluster may be away.
    Broken,
}
