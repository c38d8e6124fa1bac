//! Owns `notifications`: when a person is told of trouble.

use super::cx::{Cx, shown};
use super::fields::Fields;
use super::values::wrong;
use crate::notify::{Quiet, Settings};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// How the quiet hours are written.
const HOURS: &str = "a part of the day such as `22:00-07:00`";

/// What the `notifications` maps of all files say, and nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct NotificationsPart {
    enabled: Option<bool>,
    debounce: Option<Duration>,
    quiet: Option<Quiet>,
    muted: Option<BTreeSet<String>>,
}

impl NotificationsPart {
    /// Reads `notifications`.
    pub(super) fn read(cx: &mut Cx<'_>, mut fields: Fields) -> Self {
        let quiet = fields.text(cx, "quiet_hours").then(|text, place| {
            let found = format!("`{}`", shown(&text));
            Quiet::parse(&text).or_else(|| wrong(cx, place, "quiet_hours", HOURS, &found))
        });
        let muted = fields.texts(cx, "muted").ok();
        let part = Self {
            enabled: fields.switch(cx, "enabled").ok(),
            debounce: fields.duration(cx, "debounce", 1.0..=3600.0).ok(),
            quiet: quiet.ok(),
            muted: muted.map(|muted| muted.into_iter().map(|(name, _)| name).collect()),
        };
        let habits = [("quiet", "quiet_hours"), ("mute", "muted: [CONTEXT]"), ("on", "enabled")];
        fields.finish(cx, &habits);
        part
    }

    /// This, and `below` where this says nothing.
    pub(super) fn over(self, below: &Self) -> Self {
        Self {
            enabled: self.enabled.or(below.enabled),
            debounce: self.debounce.or(below.debounce),
            quiet: self.quiet.or(below.quiet),
            muted: self.muted.or_else(|| below.muted.clone()),
        }
    }

    pub(super) fn build(self) -> Settings {
        let default = Settings::default();
        Settings {
            enabled: self.enabled.unwrap_or(default.enabled),
            debounce: self.debounce.unwrap_or(default.debounce),
            quiet: self.quiet,
            muted: self.muted.unwrap_or_default(),
        }
    }
}

impl Settings {
    /// As the configuration writes it; none when nothing is said.
    pub(super) fn show(&self) -> Option<Value> {
        if *self == Self::default() {
            return None;
        }
        let mut map = Map::new();
        map.insert("enabled".to_owned(), json!(self.enabled));
        map.insert("debounce".to_owned(), super::show::seconds(self.debounce));
        map.extend(self.quiet.map(|quiet| ("quiet_hours".to_owned(), json!(quiet.to_string()))));
        if !self.muted.is_empty() {
            let muted: Vec<Value> = self.muted.iter().map(|name| super::show::text(name)).collect();
            map.insert("muted".to_owned(), Value::Array(muted));
        }
        Some(Value::Object(map))
    }
}
