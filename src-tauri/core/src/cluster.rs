//! Owns what is known of a cluster as a whole: whether it answers, how its nodes stand, what
//! it warns of, and when it is looked at next.
//!
//! Receives answers, failures and what watches tell; emits the picture that goes into the
//! snapshot. Time is an argument.

mod status;
mod warning;

pub use status::{ClusterEvents, ClusterStatus, Clusters};
pub use warning::{AGE, ClusterEvent, KEPT, Warnings};

use crate::config::{ClusterHealth, Config};
use crate::graph;
use crate::problem::Problem;
use crate::snapshot::{Context, LoginNeeded, Nodes, Reach};
use crate::time::Timestamp;
use std::time::Duration;

/// Time between looks where the configuration gives none. Outages are noticed sooner, by
/// the watches and the forwards.
pub const INTERVAL: Duration = Duration::from_secs(30);
/// Time a look may take where the configuration gives none.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Tries before a look counts as failed where the configuration gives none: most failures
/// are one broken connection.
pub const RETRIES: u32 = 1;
/// First look at a cluster that is away; each further one waits twice as long.
pub const SOON: Duration = Duration::from_secs(2);
/// Longest pause between looks at a cluster that is away.
pub const LONGEST: Duration = Duration::from_secs(30);
/// A look that something gives reason for begins so long after the last one at the
/// earliest.
pub const APART: Duration = Duration::from_secs(1);

/// How a cluster is watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Time between looks at a cluster that answers.
    pub interval: Duration,
    /// Time a look may take.
    pub timeout: Duration,
    /// Tries besides the first before a look counts as failed.
    pub retries: u32,
    /// Failed looks in a row before the cluster counts as unreachable; at least 1.
    pub failure_threshold: u32,
    /// Whether the API server is asked (`cluster_info`).
    pub api: bool,
    /// Whether the nodes are watched (`node_status`).
    pub nodes: bool,
    /// Whether warnings are watched (`events_on_failure`).
    pub events: bool,
    /// Program and arguments that log in; empty when none are configured.
    pub login_command: Vec<String>,
}

impl Settings {
    /// What `config` says of `context`, its own part over the defaults; none when the
    /// cluster is not to be watched.
    #[must_use]
    pub fn of(config: &Config, context: &str) -> Option<Self> {
        let (below, none) = (&config.cluster_health, ClusterHealth::default());
        let own = config.cluster_contexts.get(context).unwrap_or(&none);
        if !own.enabled.or(below.enabled).unwrap_or(true) {
            return None;
        }
        let on = |name: &str| {
            own.commands.get(name).or_else(|| below.commands.get(name)).copied().unwrap_or(true)
        };
        let threshold = own.failure_threshold.or(below.failure_threshold);
        Some(Self {
            interval: own.interval.or(below.interval).unwrap_or(INTERVAL),
            timeout: own.timeout.or(below.timeout).unwrap_or(TIMEOUT),
            retries: own.retry_attempts.or(below.retry_attempts).unwrap_or(RETRIES),
            failure_threshold: threshold.unwrap_or(1).max(1),
            api: on("cluster_info"),
            nodes: on("node_status"),
            events: on("events_on_failure"),
            login_command: own.login_command.clone(),
        })
    }
}

/// What happens to a cluster that is watched.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A look begins.
    Begun,
    /// It answered.
    Answered {
        /// How long it took.
        took: Duration,
        /// When the credentials in use end.
        expires: Option<Timestamp>,
    },
    /// It did not answer, or did not let us in.
    Failed {
        /// How.
        problem: Problem,
        /// What a log-in is needed for, if one mends it.
        login: Option<LoginNeeded>,
    },
    /// How the nodes stand; none when they may not be seen.
    Nodes(Option<Nodes>),
    /// Warnings of the last hour.
    Warned(u32),
    /// What cannot be seen, one sentence each.
    Unseen(Vec<String>),
    /// Something gives reason to look at once: a forward lost it, a watch broke off, the
    /// network changed, a person asks.
    Suspected,
    /// Nothing is asked for now: paused, asleep or ending. What is known is kept.
    Paused,
    /// Asked again, at once.
    Resumed,
}

/// What a decision may depend on besides state and input.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// This moment.
    pub now: Timestamp,
    /// How the cluster is watched.
    pub settings: &'a Settings,
    /// A number in 0..1, drawn by the caller, so that many clusters are not asked at once.
    pub jitter: f64,
}

/// A cluster that is watched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    sight: Sight,
    /// Failed looks in a row.
    failures: u32,
    /// Failed tries of the look under way.
    tries: u32,
    begun: Option<Timestamp>,
    due: Option<Timestamp>,
    paused: bool,
}

impl Cluster {
    /// A cluster that is looked at at once.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { due: Some(now), ..Self::default() }
    }

    /// What is known of it.
    #[must_use]
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// When it is to be looked at next; none while paused, while a look is under way, or
    /// where looks are switched off.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Whether its watches are of use: it answered when it was last asked.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.paused && self.sight.reach == Reach::Reachable
    }

    /// What it is after `input`.
    #[must_use]
    pub fn step(mut self, input: Input, on: Conditions<'_>) -> Self {
        match input {
            Input::Begun => (self.begun, self.due) = (Some(on.now), None),
            Input::Answered { took, expires } => self.answered(took, expires, on),
            Input::Failed { problem, login } => self.failed(problem, login, on),
            Input::Nodes(nodes) => self.sight.nodes = nodes,
            Input::Warned(count) => self.sight.warnings = count,
            Input::Unseen(unseen) => self.sight.unseen = unseen,
            Input::Suspected if !self.paused => {
                let earliest = self.begun.map_or(on.now, |begun| begun + APART).max(on.now);
                self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
            }
            Input::Suspected => {}
            Input::Paused => {
                (self.paused, self.due, self.tries) = (true, None, 0);
                self.sight.cached = true;
            }
            Input::Resumed => (self.paused, self.due) = (false, Some(on.now)),
        }
        self
    }

    fn answered(&mut self, took: Duration, expires: Option<Timestamp>, on: Conditions<'_>) {
        (self.failures, self.tries) = (0, 0);
        let known = &mut self.sight;
        (known.reach, known.problem, known.login) = (Reach::Reachable, None, None);
        known.checked = Some(on.now);
        known.latency_ms = Some(took.as_secs_f64() * 1000.0);
        (known.expires, known.cached) = (expires, false);
        self.due = self.later(spread(on.settings.interval, on.jitter), on);
    }

    fn failed(&mut self, problem: Problem, login: Option<LoginNeeded>, on: Conditions<'_>) {
        let reach = match login {
            Some(_) => Reach::LoginNeeded,
            None if problem.code.is_login() => Reach::Refused,
            None => graph::reach(problem.code),
        };
        let outage = reach == Reach::Unreachable;
        if outage && self.tries < on.settings.retries {
            self.due = self.later(doubled(APART, self.tries), on);
            self.tries += 1;
            return;
        }
        self.tries = 0;
        self.failures = self.failures.saturating_add(1);
        self.sight.checked = Some(on.now);
        self.sight.cached = false;
        if !outage || self.failures >= on.settings.failure_threshold {
            let known = &mut self.sight;
            (known.reach, known.problem, known.login) = (reach, Some(problem), login);
            known.latency_ms = None;
        }
        let pause = match outage {
            true => doubled(SOON, self.failures - 1).min(LONGEST).min(on.settings.interval),
            // What a person has to mend is not asked for in a loop.
            false => on.settings.interval,
        };
        self.due = self.later(spread(pause, on.jitter), on);
    }

    fn later(&self, pause: Duration, on: Conditions<'_>) -> Option<Timestamp> {
        (!self.paused).then(|| on.now + pause)
    }
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times.min(16)).unwrap_or(u32::MAX))
}

/// `pause`, a tenth more or less.
fn spread(pause: Duration, jitter: f64) -> Duration {
    pause.mul_f64(0.9 + 0.2 * jitter)
}

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
