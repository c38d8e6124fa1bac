//! Owns the words for how LocalPort ended: a kept shutdown as people read it.
//!
//! Receives a shutdown and the words for its time, emits lines of text.

mod account;
mod story;
mod table;

pub use account::account;
pub use story::story;
pub use table::{usual, who};

use crate::history::Shutdown;
use crate::receipt::Receipt;
use crate::resource::LeaseKind;

/// How it went, in a word or a few: `clean`, `2 forced, 1 left`.
#[must_use]
pub fn outcome(receipt: &Receipt) -> String {
    let unexplained: usize = receipt.checks.iter().map(|check| check.unexplained.len()).sum();
    let parts: Vec<String> = [
        (receipt.forced.len(), "forced"),
        (receipt.left.len(), "left"),
        (unexplained, "unexplained"),
        (receipt.faults.len(), if receipt.faults.len() == 1 { "fault" } else { "faults" }),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    if parts.is_empty() { "clean".to_owned() } else { parts.join(", ") }
}

/// Why it ended, as the rest of a sentence that begins with LocalPort.
#[must_use]
pub fn why(receipt: &Receipt) -> String {
    let reasons: Vec<&str> = receipt.reasons.iter().map(|reason| reason.sentence()).collect();
    match reasons.split_last() {
        None => "ended for a reason that was not recorded".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, earlier)) => format!("{}, then {last}", earlier.join(", ")),
    }
}

/// Milliseconds as people say them: `85 ms`, `1.2 s`, `3 min`.
#[must_use]
pub fn duration(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        // In tenths, rounded down, so that 1,999 ms is not the 2.0 s of a budget.
        1_000..=119_999 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min", ms / 60_000),
    }
}

/// `paragraph` in lines of at most `width`, the later ones indented.
#[must_use]
pub fn wrapped(paragraph: &str, width: usize) -> Vec<String> {
    let mut lines = vec![];
    let mut line = String::new();
    for word in paragraph.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, "  ".to_owned()));
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// The first line of every account: which one, when, how it went, how long.
fn heading(shutdown: &Shutdown, when: &str) -> String {
    let Shutdown { id, receipt, .. } = shutdown;
    format!("Shutdown {id} · {when} · {} · {}", outcome(receipt), duration(receipt.took_ms))
}

fn counted(count: u32, kind: LeaseKind) -> String {
    let one = match kind {
        LeaseKind::BusName => "bus name",
        other => other.as_str(),
    };
    match kind {
        _ if count == 1 => format!("1 {one}"),
        LeaseKind::Child => format!("{count} children"),
        LeaseKind::Watch => format!("{count} watches"),
        _ => format!("{count} {one}s"),
    }
}

#[cfg(test)]
mod tests;
