//! Owns `cluster_health`, under `defaults` and under each of `cluster_contexts`.

use super::checks::argv;
use super::cx::Cx;
use super::fields::{Fields, Read, Value};
use super::scalars::switch;
use super::tree::Node;
use super::values::wrong;
use super::{ClusterHealth, SshHost};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Names of the single checks.
const COMMANDS: [&str; 4] = ["cluster_info", "pod_status", "node_status", "events_on_failure"];

/// What a map says, and nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ClusterPart {
    enabled: Option<bool>,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    retry_attempts: Option<u32>,
    failure_threshold: Option<u32>,
    commands: BTreeMap<String, bool>,
    login_command: Option<Vec<String>>,
}

/// Reads one entry of `cluster_contexts`: its health, and the SSH host on the way to it.
pub(super) fn read_context(
    cx: &mut Cx<'_>,
    name: &str,
    node: &Rc<Node>,
) -> Option<(ClusterPart, Option<SshHost>)> {
    let mut fields = Fields::open(cx, &format!("context `{}`", super::cx::shown(name)), node)?;
    let part = fields.map(cx, "cluster_health").map(|part| ClusterPart::read(cx, part));
    let mut part = part.unwrap_or_default();
    part.login_command = argv(cx, &mut fields, "login_command");
    let via = super::connection::via(cx, &mut fields).flatten();
    let habits = ["enabled", "interval", "timeout", "commands"];
    fields.finish(cx, &habits.map(|key| (key, "cluster_health: {…}")));
    Some((part, via))
}

impl ClusterPart {
    pub(super) fn read(cx: &mut Cx<'_>, mut fields: Fields) -> Self {
        let mut part = Self {
            enabled: fields.switch(cx, "enabled").ok(),
            interval: fields.duration(cx, "interval", 60.0..=3600.0).ok(),
            timeout: fields.duration(cx, "timeout", 5.0..=300.0).ok(),
            retry_attempts: fields.count(cx, "retry_attempts", 0..=10).ok(),
            failure_threshold: fields.count(cx, "failure_threshold", 1..=100).ok(),
            commands: BTreeMap::new(),
            login_command: None,
        };
        if let Some(mut commands) = fields.map(cx, "commands") {
            for name in COMMANDS {
                if let Some(on) = command(cx, &mut commands, name) {
                    part.commands.insert(name.to_owned(), on);
                }
            }
            commands.finish(cx, &[]);
        }
        fields.finish(cx, &[]);
        part
    }

    /// This, and `below` where this says nothing.
    pub(super) fn over(self, below: &Self) -> Self {
        let mut commands = below.commands.clone();
        commands.extend(self.commands);
        Self {
            enabled: self.enabled.or(below.enabled),
            interval: self.interval.or(below.interval),
            timeout: self.timeout.or(below.timeout),
            retry_attempts: self.retry_attempts.or(below.retry_attempts),
            failure_threshold: self.failure_threshold.or(below.failure_threshold),
            commands,
            login_command: self.login_command.or(below.login_command.clone()),
        }
    }

    pub(super) fn build(self) -> ClusterHealth {
        ClusterHealth {
            enabled: self.enabled,
            interval: self.interval,
            timeout: self.timeout,
            retry_attempts: self.retry_attempts,
            failure_threshold: self.failure_threshold,
            commands: self.commands,
            login_command: self.login_command.unwrap_or_default(),
        }
    }
}

/// A check's switch, written `name: true` or `name: {enabled: true}`.
fn command(cx: &mut Cx<'_>, commands: &mut Fields, name: &'static str) -> Option<bool> {
    let wanted = "`true`, `false` or `{enabled: …}`";
    let read = commands.value(cx, name);
    let read = read.then(|value, place| match value {
        Value::Text(text) => {
            switch(&text.text).or_else(|| wrong(cx, place, name, wanted, "neither"))
        }
        Value::Map(node) => {
            let mut fields = Fields::open(cx, &format!("`{name}`"), &node)?;
            let on = fields.switch(cx, "enabled");
            let why = "is accepted, but has no effect: the API is asked directly";
            fields.ignored(cx, &["command"], why, "Remove it");
            fields.finish(cx, &[]);
            match on {
                Read::Is(on, _) => Some(on),
                Read::Absent => Some(true),
                Read::Wrong => None,
            }
        }
        other => wrong(cx, place, name, wanted, other.kind()),
    });
    read.ok()
}
