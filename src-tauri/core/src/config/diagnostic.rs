//! Owns one complaint about a configuration file.

use super::Rule;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// What it names does not run.
    Error,
    /// It runs, but probably not as meant.
    Warning,
}

/// One complaint, with its place, the rule it breaks and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable name of the rule, such as `unknown-key`.
    pub code: String,
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// One sentence with the value in backticks.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Diagnostic {
    /// The complaint that `file` could not be read at all; `why` is the system's reason.
    #[must_use]
    pub fn unreadable(file: &Path, why: &impl fmt::Display) -> Self {
        Self {
            severity: Rule::UnreadableFile.severity(),
            code: Rule::UnreadableFile.code().to_owned(),
            file: file.display().to_string(),
            line: 1,
            column: 1,
            message: format!("The file `{}` cannot be read: {why}", file.display()),
            hint: "Check that it exists and that this user may read it".to_owned(),
        }
    }

    /// The complaint that `bytes` of `file` are no UTF-8, with the place of the first that is not.
    #[must_use]
    pub fn not_utf8(file: &Path, bytes: &[u8]) -> Self {
        let good = String::from_utf8_lossy(&bytes[..valid_up_to(bytes)]).into_owned();
        let good = good.strip_prefix('\u{feff}').unwrap_or(&good);
        let last = good.rsplit('\n').next().unwrap_or_default();
        let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        let what = if utf16 { "UTF-16 text" } else { "not UTF-8 text" };
        Self {
            severity: Rule::NotUtf8.severity(),
            code: Rule::NotUtf8.code().to_owned(),
            file: file.display().to_string(),
            line: count(good.matches('\n').count()),
            column: count(last.chars().count()),
            message: format!("The file `{}` is {what}", file.display()),
            hint: "Save it with the encoding UTF-8".to_owned(),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Self { file, line, column, message, code, hint, .. } = self;
        write!(f, "{file}:{line}:{column}: {severity}: {message} [{code}]\n  hint: {hint}")
    }
}

fn valid_up_to(bytes: &[u8]) -> usize {
    std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len)
}

/// A count from 0 as a position from 1.
fn count(before: usize) -> u32 {
    u32::try_from(before).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_first_byte_that_is_not_utf8() {
        let found = Diagnostic::not_utf8(Path::new("a.yaml"), b"version: \"1.0\"\nname: caf\xe9\n");
        assert_eq!((found.line, found.column), (2, 10));
        let found = Diagnostic::not_utf8(Path::new("a.yaml"), b"\xff\xfev\0");
        assert_eq!((found.line, found.column), (1, 1));
        assert!(found.message.contains("UTF-16"), "{found}");
    }
}
