//! Owns the table of the history: a line a shutdown, and what is usual.

use super::{duration, outcome};
use crate::history::Shutdown;
use crate::receipt::Receipt;
use crate::regression::percentile;
use crate::shutdown::Reason;

/// Who or what ended it, in a word or two; the first that asked.
#[must_use]
pub fn who(receipt: &Receipt) -> &'static str {
    match receipt.reasons.first() {
        Some(Reason::Person) => "a person",
        Some(Reason::Api) => "control API",
        Some(Reason::Terminate) => "TERM",
        Some(Reason::Hangup) => "hang-up",
        Some(Reason::Logout) => "logout",
        Some(Reason::SystemShutdown) => "system down",
        Some(Reason::Failure) => "failure",
        None => "–",
    }
}

/// What is usual among `shutdowns`: `12 shutdowns, 11 clean · half within 25 ms, 95 of
/// 100 within 312 ms`.
#[must_use]
pub fn usual(shutdowns: &[Shutdown]) -> String {
    let count = shutdowns.len();
    let plural = if count == 1 { "" } else { "s" };
    let clean = shutdowns.iter().filter(|s| outcome(&s.receipt) == "clean").count();
    let times: Vec<u64> = shutdowns.iter().map(|shutdown| shutdown.receipt.took_ms).collect();
    match (percentile(times.clone(), 50), percentile(times, 95)) {
        (Some(half), Some(most)) => format!(
            "{count} shutdown{plural}, {clean} clean · half within {}, 95 of 100 within {}",
            duration(half),
            duration(most)
        ),
        _ => "No shutdown was kept yet".to_owned(),
    }
}
