//! Owns how a JSON value is written as YAML that people read.

use serde_json::Value;
use std::fmt::Write;

/// Block style for what holds more, flow style for the rest. JSON texts are YAML texts, too.
pub(super) fn write(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| (rank(key), key.as_str()));
            for (index, (key, value)) in pairs.into_iter().enumerate() {
                // The first key of a list's entry stands behind its dash.
                let pad = if index == 0 && out.ends_with("- ") { 0 } else { indent };
                let _ = write!(out, "{:pad$}{}:", "", scalar(key));
                write_inner(out, value, indent + 2);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                let _ = write!(out, "{:indent$}- ", "");
                write(out, item, indent + 2);
            }
        }
        other => {
            let _ = writeln!(out, "{:indent$}{}", "", flow(other));
        }
    }
}

/// Keys that people write first; the others follow by name.
fn rank(key: &str) -> usize {
    const FIRST: [&str; 14] = [
        "version",
        "defaults",
        "cluster_contexts",
        "name",
        "description",
        "technology",
        "enabled",
        "tags",
        "local_port",
        "bind",
        "remote_port",
        "connection",
        "hold",
        "type",
    ];
    FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len())
}

fn write_inner(out: &mut String, value: &Value, indent: usize) {
    let block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => items.iter().any(Value::is_object),
        _ => false,
    };
    if block {
        out.push('\n');
        write(out, value, indent);
    } else {
        let _ = writeln!(out, " {}", flow(value));
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// A text without quotes where no reader could take it for anything else.
fn scalar(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let special = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(word)
        && !special.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { quote(text) }
}

/// JSON's quotes; what YAML does not print is escaped as well.
fn quote(text: &str) -> String {
    let json = Value::from(text).to_string();
    let mut quoted = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted
}
