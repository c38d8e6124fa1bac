//! Owns one line of the log: read from JSON, shown to people.

use super::clock;
use localport_core::time::Timestamp;
use serde_json::Value;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was written.
    pub at: Timestamp,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: String,
    /// The room that wrote it.
    pub target: String,
    /// The forward it is about, if it is about one.
    pub forward: Option<String>,
    /// What it says.
    pub message: String,
}

impl Line {
    /// Reads a line of the files; none when it is not one of ours.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(json).ok()?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            at: clock::parse(&text("timestamp")?)?,
            level: text("level")?,
            target: text("target").unwrap_or_default(),
            forward: text("forward"),
            message: text("message").unwrap_or_default(),
        })
    }

    /// The line for a terminal.
    #[must_use]
    pub fn for_people(&self, colour: bool) -> String {
        let time = clock::local_time(self.at);
        let (begin, end) = match (colour, self.level.as_str()) {
            (true, "ERROR") => ("\x1b[31m", "\x1b[0m"),
            (true, "WARN") => ("\x1b[33m", "\x1b[0m"),
            _ => ("", ""),
        };
        let subject = self.forward.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        format!("{time} {begin}{subject}{}{end}", self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"timestamp":"2025-03-01T10:20:30.123456Z","level":"WARN","seq":7,"forward":"db","message":"lost","target":"localport::event"}"#;

    #[test]
    fn reads_what_the_files_hold() {
        let line = Line::parse(JSON).unwrap();
        assert_eq!(line.at, Timestamp(1_740_824_430_123));
        assert_eq!(line.forward.as_deref(), Some("db"));
        assert_eq!(line.level, "WARN");
        assert!(line.for_people(false).ends_with(" db: lost"));
        assert!(line.for_people(true).contains("\x1b[33mdb: lost\x1b[0m"));
    }

    #[test]
    fn a_torn_line_is_none_of_ours() {
        assert_eq!(Line::parse(&JSON[..40]), None);
        assert_eq!(Line::parse("[]"), None);
    }
}
