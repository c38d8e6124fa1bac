//! Owns what is known of a cluster as a whole, as the monitor sees it.
//!
//! Receives answers and failures; emits the picture that goes into the snapshot.

use crate::problem::Problem;
use crate::snapshot::{Context, LoginNeeded, Nodes, Reach};
use crate::time::Timestamp;

/// What the monitor knows of one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// What it is known to be.
    pub reach: Reach,
    /// When it was last asked and the outcome known.
    pub checked: Option<Timestamp>,
    /// How long its last answer took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// What is wrong with it.
    pub problem: Option<Problem>,
    /// What a log-in is needed for.
    pub login: Option<LoginNeeded>,
    /// How its nodes stand; none where they are not seen.
    pub nodes: Option<Nodes>,
    /// Warnings of the last hour in the namespaces in use.
    pub warnings: u32,
    /// What cannot be seen and why, one sentence each.
    pub unseen: Vec<String>,
    /// When the credentials in use end to be accepted.
    pub expires: Option<Timestamp>,
    /// Whether nothing is asked just now.
    pub cached: bool,
}

impl Default for Sight {
    fn default() -> Self {
        Self {
            reach: Reach::Unknown,
            checked: None,
            latency_ms: None,
            problem: None,
            login: None,
            nodes: None,
            warnings: 0,
            unseen: vec![],
            expires: None,
            cached: false,
        }
    }
}

impl Sight {
    /// Takes this down in what the snapshot says of the place.
    pub fn show(&self, context: &mut Context) {
        let seen = self.clone();
        context.reach = seen.reach;
        context.checked = seen.checked;
        context.latency_ms = seen.latency_ms;
        context.problem = seen.problem.or(context.problem.take());
        context.login = seen.login;
        context.nodes = seen.nodes;
        context.warnings = seen.warnings;
        context.unseen = seen.unseen;
        context.expires = seen.expires;
        context.cached = seen.cached;
    }
}
