//! Owns what becomes of a configuration that was read while another one is in force.
//!
//! Receives what was read and in which situation, emits a verdict; gives the answer that
//! command line and programs see.

use super::{Config, Diagnostic, Severity};
use crate::snapshot::{Pending, PendingWhy};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why the files were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// They changed.
    File,
    /// HUP.
    Hup,
    /// `localport reload` or the control API.
    Command,
    /// `localport config rollback`.
    Rollback,
    /// LocalPort started.
    Start,
}

impl Who {
    /// The word that people see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Who::File => "saved",
            Who::Hup => "HUP",
            Who::Command => "reload",
            Who::Rollback => "rollback",
            Who::Start => "start",
        }
    }
}

/// What is to be done with a configuration that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It comes into force.
    Apply,
    /// It waits until the end is called off; a newer one takes its place.
    Keep,
    /// What is in force goes on.
    Leave(PendingWhy),
}

/// What becomes of `new`, read because of `who`, while LocalPort is `ending` or not.
#[must_use]
pub fn judge(new: &Config, who: Who, ending: bool) -> Verdict {
    if new.diagnostics.iter().any(|found| found.severity == Severity::Error) {
        return Verdict::Leave(PendingWhy::Invalid);
    }
    // An editor may have emptied the file to write it anew; only a person's own word ends
    // everything, and a file that is gone is nobody's word.
    if new.files.is_empty() || (new.forwards.is_empty() && who == Who::File) {
        return Verdict::Leave(PendingWhy::Empty);
    }
    if ending { Verdict::Keep } else { Verdict::Apply }
}

impl Pending {
    /// What is said of `new`, which does not come into force.
    #[must_use]
    pub fn of(why: PendingWhy, new: &Config, refusal: &str) -> Self {
        let file = new.files.first().map(|file| format!("`{}`", file.display()));
        let file = file.unwrap_or_else(|| "the configuration".to_owned());
        let errors = new.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        let plural = if errors == 1 { "" } else { "s" };
        let (sentence, hint) = match why {
            PendingWhy::Invalid => (
                format!("{file} has {errors} error{plural}; what ran before goes on"),
                "Correct what `localport config check` names; it is then read by itself",
            ),
            PendingWhy::Empty if new.files.is_empty() => (
                "No configuration file is there any more; what ran before goes on".to_owned(),
                "Write the file again, or end LocalPort with `localport quit`",
            ),
            PendingWhy::Empty => (
                format!("{file} holds no service; what ran before goes on"),
                "`localport reload` switches everything off, if that is meant",
            ),
            PendingWhy::Ending => (
                format!("{file} changed while LocalPort is quitting; the change is kept"),
                "It is applied if the end is called off with `localport quit --cancel`",
            ),
            PendingWhy::Refused => {
                (format!("{file} is not in force: {refusal}"), "`localport reload` tries again")
            }
        };
        Self { why, sentence, hint: hint.to_owned() }
    }
}

/// What came of reading the configuration again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reload {
    /// Whether what was read is in force now.
    pub in_force: bool,
    /// One sentence.
    pub sentence: String,
    /// Why it is not in force, and what can be done.
    pub pending: Option<Pending>,
    /// What changes, in lines for people.
    pub lines: Vec<String>,
    /// The same for programs.
    pub plan: Value,
    /// Every complaint about what was read.
    pub diagnostics: Vec<Diagnostic>,
}
