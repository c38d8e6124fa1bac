//! Owns the types of single values: texts, numbers, durations, switches, words
//! out of a list. Each reader complains with the limits and gives none when wrong.

use super::Rule;
use super::cx::{Cx, Text, shown};
use super::fields::{Fields, Read, Value, not_single};
use super::scalars::{integer, number, seconds, switch};
use super::tree::Place;
use super::words::{listed, nearest};
use std::ops::RangeInclusive;
use std::time::Duration;

impl Fields {
    /// A text, with the empty one counting as absent, as `${NAME:}` gives it.
    pub(super) fn text(&mut self, cx: &mut Cx<'_>, key: &'static str) -> Read<String> {
        match self.raw_text(cx, key) {
            Read::Is(text, _) if text.text.is_empty() => Read::Absent,
            Read::Is(text, place) => Read::Is(text.text, place),
            Read::Absent => Read::Absent,
            Read::Wrong => Read::Wrong,
        }
    }

    /// A text as it stands.
    pub(super) fn raw_text(&mut self, cx: &mut Cx<'_>, key: &'static str) -> Read<Text> {
        self.value(cx, key).then(|value, place| match value {
            Value::Text(text) => Some(text),
            other => {
                not_single(cx, place, key, &other);
                None
            }
        })
    }

    /// A whole number within limits.
    pub(super) fn integer(
        &mut self,
        cx: &mut Cx<'_>,
        key: &'static str,
        limits: RangeInclusive<i64>,
    ) -> Read<i64> {
        self.raw_text(cx, key).then(|text, place| {
            let Some(number) = integer(&text.text) else {
                return wrong(
                    cx,
                    place,
                    key,
                    "a whole number",
                    &format!("`{}`", shown(&text.text)),
                );
            };
            if limits.contains(&number) {
                return Some(number);
            }
            out_of_range(
                cx,
                place,
                key,
                &text.text,
                &format!("{} to {}", limits.start(), limits.end()),
            );
            None
        })
    }

    /// A port.
    pub(super) fn port(&mut self, cx: &mut Cx<'_>, key: &'static str) -> Read<u16> {
        self.integer(cx, key, 1..=65535).then(|port, _| u16::try_from(port).ok())
    }

    /// A count that fits 32 bits.
    pub(super) fn count(
        &mut self,
        cx: &mut Cx<'_>,
        key: &'static str,
        limits: RangeInclusive<u32>,
    ) -> Read<u32> {
        let limits = i64::from(*limits.start())..=i64::from(*limits.end());
        self.integer(cx, key, limits).then(|count, _| u32::try_from(count).ok())
    }

    /// A number within limits.
    pub(super) fn number(
        &mut self,
        cx: &mut Cx<'_>,
        key: &'static str,
        limits: RangeInclusive<f64>,
    ) -> Read<f64> {
        self.raw_text(cx, key).then(|text, place| {
            let Some(number) = number(&text.text) else {
                return wrong(cx, place, key, "a number", &format!("`{}`", shown(&text.text)));
            };
            if limits.contains(&number) {
                return Some(number);
            }
            out_of_range(
                cx,
                place,
                key,
                &text.text,
                &format!("{} to {}", limits.start(), limits.end()),
            );
            None
        })
    }

    /// A time in seconds, or with a unit such as `500ms`, `30s`, `2m` or `1h`.
    pub(super) fn duration(
        &mut self,
        cx: &mut Cx<'_>,
        key: &'static str,
        limits: RangeInclusive<f64>,
    ) -> Read<Duration> {
        self.raw_text(cx, key).then(|text, place| {
            let Some(seconds) = seconds(&text.text) else {
                let found = format!("`{}`", shown(&text.text));
                return wrong(
                    cx,
                    place,
                    key,
                    "a number of seconds or a time such as `30s`",
                    &found,
                );
            };
            if limits.contains(&seconds) {
                return Some(Duration::from_secs_f64(seconds));
            }
            let range = format!("{} to {} seconds", limits.start(), limits.end());
            out_of_range(cx, place, key, &text.text, &range);
            None
        })
    }

    /// A switch. LocalPort reads YAML 1.1, where `yes` and `off` are switches, too.
    pub(super) fn switch(&mut self, cx: &mut Cx<'_>, key: &'static str) -> Read<bool> {
        self.raw_text(cx, key).then(|text, place| {
            switch(&text.text).or_else(|| {
                wrong(cx, place, key, "`true` or `false`", &format!("`{}`", shown(&text.text)))
            })
        })
    }

    /// One of a list of words.
    pub(super) fn word<T: Copy>(
        &mut self,
        cx: &mut Cx<'_>,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Read<T> {
        self.raw_text(cx, key).then(|text, place| choose(cx, place, key, &text.text, words))
    }

    /// A list of texts.
    pub(super) fn texts(
        &mut self,
        cx: &mut Cx<'_>,
        key: &'static str,
    ) -> Read<Vec<(String, Place)>> {
        self.value(cx, key).then(|value, place| match value {
            Value::List(items) => {
                let read = items.iter().map(|item| match super::fields::value(cx, item)? {
                    Value::Text(text) => Some((text.text, item.place)),
                    other => wrong(cx, item.place, key, "a list of single values", other.kind()),
                });
                // Every item is read, so that all complaints come at once.
                read.collect::<Vec<_>>().into_iter().collect()
            }
            other => wrong(cx, place, key, "a list, such as `[a, b]`", other.kind()),
        })
    }
}

/// The value that `word` stands for, or a complaint with the nearest.
pub(super) fn choose<T: Copy>(
    cx: &mut Cx<'_>,
    place: Place,
    key: &str,
    word: &str,
    words: &[(&'static str, T)],
) -> Option<T> {
    if let Some((_, value)) = words.iter().find(|(name, _)| *name == word) {
        return Some(*value);
    }
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let hint = match nearest(word, names.iter().copied()) {
        Some(near) => format!("Did you mean `{near}`? Allowed are {}", listed(&names)),
        None => format!("Allowed are {}", listed(&names)),
    };
    let message = format!("`{}` is not a known value of `{key}`", shown(word));
    cx.report(Rule::UnknownValue, place, message, hint);
    None
}

/// Complains of a type; `found` carries its own backticks, if any.
pub(super) fn wrong<T>(
    cx: &mut Cx<'_>,
    place: Place,
    key: &str,
    wanted: &str,
    found: &str,
) -> Option<T> {
    let message = format!("`{key}` must be {wanted}, this is {found}");
    cx.report(Rule::WrongType, place, message, format!("Give `{key}` {wanted}"));
    None
}

fn out_of_range(cx: &mut Cx<'_>, place: Place, key: &str, found: &str, range: &str) {
    let message = format!("`{key}` is `{}`, which is out of range", shown(found));
    cx.report(Rule::OutOfRange, place, message, format!("Give `{key}` a value from {range}"));
}
