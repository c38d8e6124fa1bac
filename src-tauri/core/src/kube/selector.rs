//! Owns label selectors: reading them and matching them.

use std::collections::BTreeMap;

/// Labels that a pod must have. Every requirement has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(pub Vec<Requirement>);

/// One requirement on labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The label has one of these values.
    In(String, Vec<String>),
    /// The label has none of these values, or is absent.
    NotIn(String, Vec<String>),
    /// The label is present.
    Exists(String),
    /// The label is absent.
    Missing(String),
}

impl Selector {
    /// Reads kubectl's notation: `app=orders,tier in (db,cache),!canary,zone!=a`.
    ///
    /// # Errors
    /// One sentence that names the part that cannot be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = split_outside_parentheses(text);
        let requirements: Result<Vec<_>, _> = parts
            .iter()
            .map(|part| part.trim())
            .filter(|part| !part.is_empty())
            .map(parse_one)
            .collect();
        match requirements? {
            none if none.is_empty() => Err("a label selector must not be empty".to_owned()),
            some => Ok(Self(some)),
        }
    }

    /// A selector that asks for exactly these labels.
    #[must_use]
    pub fn labels(labels: &BTreeMap<String, String>) -> Self {
        Self(
            labels
                .iter()
                .map(|(key, value)| Requirement::In(key.clone(), vec![value.clone()]))
                .collect(),
        )
    }

    /// Whether `labels` meet every requirement. An empty selector matches nothing:
    /// a service without one has no pods of its own.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.0.is_empty() && self.0.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Requirement::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Missing(key) => !labels.contains_key(key),
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, requirement) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::In(key, values) if values.len() == 1 => {
                    write!(f, "{key}={}", values[0])?;
                }
                Requirement::In(key, values) => write!(f, "{key} in ({})", values.join(","))?,
                Requirement::NotIn(key, values) if values.len() == 1 => {
                    write!(f, "{key}!={}", values[0])?;
                }
                Requirement::NotIn(key, values) => {
                    write!(f, "{key} notin ({})", values.join(","))?;
                }
                Requirement::Exists(key) => f.write_str(key)?,
                Requirement::Missing(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_one(part: &str) -> Result<Requirement, String> {
    let broken = || format!("`{part}` is not a label requirement such as `app=orders`");
    let key_of = |text: &str| match text.trim() {
        "" => Err(broken()),
        key if key.contains(|c: char| c.is_whitespace() || "()=!,".contains(c)) => Err(broken()),
        key => Ok(key.to_owned()),
    };
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(key_of(key)?, vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(key_of(key)?, vec![value.trim().to_owned()]));
    }
    if let Some((head, set)) = part.split_once('(') {
        let values = set.trim().strip_suffix(')').ok_or_else(broken)?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => Ok(Requirement::In(key_of(key)?, values)),
            (Some(key), Some("notin"), None) => Ok(Requirement::NotIn(key_of(key)?, values)),
            _ => Err(broken()),
        };
    }
    match part.strip_prefix('!') {
        Some(key) => Ok(Requirement::Missing(key_of(key)?)),
        None => Ok(Requirement::Exists(key_of(part)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn matches_as_kubectl_does() {
        let table = [
            ("app=orders", "app=orders,tier=db", true),
            ("app==orders", "app=orders", true),
            ("app=orders,tier=web", "app=orders,tier=db", false),
            ("app = orders", "app=orders", true),
            ("tier in (db, cache)", "tier=cache", true),
            ("tier in (db,cache),app=x", "tier=cache,app=y", false),
            ("tier notin (db,cache)", "tier=web", true),
            ("tier notin (db,cache)", "app=x", true),
            ("tier!=db", "app=x", true),
            ("tier!=db", "tier=db", false),
            ("canary", "canary=", true),
            ("!canary", "canary=yes", false),
            ("!canary", "app=x", true),
            ("app.kubernetes.io/name=orders", "app.kubernetes.io/name=orders", true),
        ];
        for (selector, have, expected) in table {
            let parsed = Selector::parse(selector).unwrap();
            assert_eq!(parsed.matches(&labels(have)), expected, "{selector} on {have}");
            let again = Selector::parse(&parsed.to_string()).unwrap();
            assert_eq!(again, parsed, "{selector} does not survive being written out");
        }
    }

    #[test]
    fn unreadable_parts_are_named() {
        for text in ["", " , ", "=x", "tier in db", "tier within (db)", "a b", "tier in (db"] {
            assert!(Selector::parse(text).is_err(), "{text:?} was taken");
        }
        assert!(Selector::parse("app=x,a b").unwrap_err().contains("`a b`"));
    }

    #[test]
    fn an_empty_selector_matches_nothing() {
        assert!(!Selector::default().matches(&labels("app=orders")));
    }
}
