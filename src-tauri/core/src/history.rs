//! Owns the form of what is kept of the ends of LocalPort.

use crate::receipt::Receipt;
use serde::{Deserialize, Serialize};

/// One shutdown of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Shutdown {
    /// Its number; they rise, and none is given twice.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub id: u64,
    /// How many forwards the engine had.
    pub forwards: u32,
    /// How it went.
    #[serde(flatten)]
    pub receipt: Receipt,
}

/// Sums over every shutdown since the history began, also those that were let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Shutdowns.
    pub shutdowns: u64,
    /// Those of them that were clean.
    pub clean: u64,
    /// What had to be forced.
    pub forced: u64,
    /// What was left.
    pub left: u64,
    /// What the operating system knew of and nothing accounted for.
    pub unexplained: u64,
}

impl Totals {
    /// The sums with `receipt` among them.
    #[must_use]
    pub fn with(self, receipt: &Receipt) -> Self {
        let unexplained: usize = receipt.checks.iter().map(|check| check.unexplained.len()).sum();
        let plus =
            |sum: u64, count: usize| sum.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Self {
            shutdowns: plus(self.shutdowns, 1),
            clean: plus(self.clean, usize::from(receipt.is_clean())),
            forced: plus(self.forced, receipt.forced.len()),
            left: plus(self.left, receipt.left.len()),
            unexplained: plus(self.unexplained, unexplained),
        }
    }
}
