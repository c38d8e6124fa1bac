//! Owns a plan in words: aligned lines for people, JSON for programs. Neither shows a
//! secret: both are made from what `config show` would show.

use super::super::show;
use super::{Change, Moves, Plan};
use crate::config::ForwardSpec;
use serde_json::{Value, json};

/// Key, old and new value of everything that differs.
pub(super) fn values(old: &ForwardSpec, new: &ForwardSpec) -> Vec<(String, Value, Value)> {
    let (before, after) = (leaves(&show::service(old)), leaves(&show::service(new)));
    let mut values = vec![];
    for (key, was) in &before {
        let is = after.iter().find(|(k, _)| k == key).map_or(Value::Null, |(_, is)| is.clone());
        if *was != is {
            values.push((key.clone(), was.clone(), is));
        }
    }
    for (key, is) in after {
        if !before.iter().any(|(known, _)| *known == key) {
            values.push((key, Value::Null, is));
        }
    }
    if values.is_empty() {
        // Both are covered when they are shown.
        let covered = Value::String(show::REDACTED.to_owned());
        values.push(("secret".to_owned(), covered.clone(), covered));
    }
    values
}

/// Every value that is no object, with the path that leads to it.
fn leaves(value: &Value) -> Vec<(String, Value)> {
    fn walk(path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    walk(&format!("{path}{dot}{key}"), value, found);
                }
            }
            Value::Null => {}
            _ => found.push((path.to_owned(), value.clone())),
        }
    }
    let mut found = vec![];
    walk("", value, &mut found);
    found
}

impl Plan {
    /// It in lines for people, names aligned.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let names = self.added.iter().map(|spec| &spec.name).chain(&self.removed);
        let names = names.chain(self.changed.iter().map(|change| &change.spec.name));
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
        let mut lines = vec![];
        for name in &self.removed {
            lines.push(format!("- {name:width$}  goes; its open connections finish"));
        }
        for change in &self.changed {
            lines.extend(change.lines(width));
        }
        for spec in &self.added {
            let address = spec.addresses().first().map(ToString::to_string).unwrap_or_default();
            let off = if spec.enabled { "" } else { " (off)" };
            let (name, target) = (&spec.name, spec.target_words());
            lines.push(format!("+ {name:width$}  {address} → {target}{off}"));
        }
        if self.reordered {
            lines.push("~ the order changes".to_owned());
        }
        if self.general {
            lines.push("~ settings for all forwards change".to_owned());
        }
        lines
    }

    /// What it amounts to, such as `1 added, 2 changed, 3 unchanged`.
    #[must_use]
    pub fn summary(&self) -> String {
        let counts = [
            (self.added.len(), "added"),
            (self.changed.len(), "changed"),
            (self.removed.len(), "removed"),
            (self.unchanged.len(), "unchanged"),
        ];
        let parts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        if parts.is_empty() { "nothing to run".to_owned() } else { parts.join(", ") }
    }

    /// It for programs.
    #[must_use]
    pub fn show(&self) -> Value {
        json!({
            "added": self.added.iter().map(show::service).collect::<Vec<_>>(),
            "removed": self.removed,
            "changed": self.changed.iter().map(Change::show).collect::<Vec<_>>(),
            "unchanged": self.unchanged,
            "reordered": self.reordered,
            "general": self.general,
        })
    }
}

impl Change {
    fn lines(&self, width: usize) -> Vec<String> {
        let name = &self.spec.name;
        let renamed = self.is_rename().then(|| format!("was `{}`; ", self.was));
        let renamed = renamed.unwrap_or_default();
        let mut lines = vec![format!("~ {name:width$}  {renamed}{}", self.moves.sentence())];
        for (key, was, is) in self.values.iter().filter(|(key, ..)| key != "name") {
            lines.push(format!("  {:width$}  {key}: {} → {}", "", brief(was), brief(is)));
        }
        lines
    }

    fn show(&self) -> Value {
        let values: Vec<Value> = self
            .values
            .iter()
            .map(|(key, was, is)| json!({ "key": key, "from": was, "to": is }))
            .collect();
        json!({
            "name": self.spec.name,
            "was": self.is_rename().then_some(&self.was),
            "moves": self.moves.names(),
            "values": values,
        })
    }
}

impl Moves {
    /// The parts that move, as JSON names them.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let Moves { facts, policy, session, port, enabled } = self;
        let parts = [
            (facts, "facts"),
            (policy, "policy"),
            (session, "session"),
            (port, "port"),
            (enabled, "enabled"),
        ];
        parts.into_iter().filter_map(|(moves, name)| moves.then_some(name)).collect()
    }

    /// What moves and what stays, for people.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Moves { port: true, session: true, .. } => {
                "new port and new session; open connections finish"
            }
            Moves { port: true, .. } => "the listener moves; the session and connections stay",
            Moves { session: true, .. } => {
                "new session; the port stays open, open connections finish"
            }
            Moves { enabled: true, .. } => "switched",
            Moves { policy: true, .. } => "listener, session and connections stay",
            Moves { .. } => "only what is shown changes",
        }
    }
}

/// A value as people write it.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
