//! Owns the comparison of one shutdown with those before it.
//!
//! Receives a receipt and the history, emits what is usual, and whether this one was
//! slower and what cost it that.

use crate::explain::duration;
use crate::history::Shutdown;
use crate::receipt::Receipt;
use crate::resource::LeaseKind;
use crate::shutdown::Reason;

/// Fewer than these say nothing of what is usual.
pub const SAMPLES: usize = 8;
/// What is usual is what was usual lately: older ones are not looked at.
pub const RECENT: u32 = 100;
/// Slower than usual by less than this is noise of a busy machine.
const NOTICEABLE_MS: u64 = 250;

/// A shutdown that took longer than its like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slower {
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What 95 of 100 of its like stay within.
    pub usual_ms: u64,
    /// How many it was compared with.
    pub samples: usize,
    /// What it waited for longest, in words, and for how many milliseconds.
    pub cost: Option<(String, u64)>,
}

impl Slower {
    /// One sentence for the receipt.
    #[must_use]
    pub fn sentence(&self) -> String {
        let (took, usual) = (duration(self.took_ms), duration(self.usual_ms));
        let samples = self.samples;
        let sentence =
            format!("It took {took}; 95 of 100 like it stay within {usual} ({samples} compared)");
        match &self.cost {
            Some((what, ms)) => format!("{sentence}; {} were spent on {what}", duration(*ms)),
            None => sentence,
        }
    }
}

/// Whether `receipt`, of an engine with `forwards`, was slower than its like in `history`.
#[must_use]
pub fn slower(receipt: &Receipt, forwards: u32, history: &[Shutdown]) -> Option<Slower> {
    let like = |earlier: &&Shutdown| {
        earlier.receipt.is_clean()
            && Class::of(&earlier.receipt) == Class::of(receipt)
            && similar(earlier.forwards, forwards)
    };
    let times: Vec<u64> =
        history.iter().filter(like).map(|earlier| earlier.receipt.took_ms).collect();
    let (samples, took_ms) = (times.len(), receipt.took_ms);
    if samples < SAMPLES {
        return None;
    }
    let usual_ms = percentile(times, 95)?;
    let by_far = took_ms > usual_ms.saturating_add(usual_ms / 2);
    let noticeable = took_ms >= usual_ms.saturating_add(NOTICEABLE_MS);
    (by_far && noticeable).then(|| Slower { took_ms, usual_ms, samples, cost: cost(receipt) })
}

/// The value that `percent` of `values` do not exceed (nearest rank); none without values.
#[must_use]
pub fn percentile(mut values: Vec<u64>, percent: usize) -> Option<u64> {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied()
}

/// Ends that can be compared: those with a deadline hurry, failures take any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Asked,
    Deadline,
    Failure,
}

impl Class {
    fn of(receipt: &Receipt) -> Self {
        let has = |wanted: &[Reason]| receipt.reasons.iter().any(|reason| wanted.contains(reason));
        if has(&[Reason::Failure]) {
            Class::Failure
        } else if has(&[Reason::Logout, Reason::SystemShutdown]) {
            Class::Deadline
        } else {
            Class::Asked
        }
    }
}

/// A few forwards more or less, or up to twice as many.
fn similar(one: u32, other: u32) -> bool {
    one.abs_diff(other) <= (one.max(other) / 2).max(2)
}

/// What the end waited for longest: the longest time in which nothing was released, and
/// what was released, or forced, at its end.
fn cost(receipt: &Receipt) -> Option<(String, u64)> {
    let mut releases: Vec<(u64, String)> = receipt
        .slowest
        .iter()
        .map(|slow| (slow.took_ms, format!("{} `{}`", slow.held.kind.as_str(), slow.held)))
        .collect();
    for released in receipt.released.iter().filter(|released| released.count > 0) {
        // The last of a kind has a name already when it is among the slowest.
        if !releases.iter().any(|(took, _)| *took == released.took_ms) {
            releases.push((released.took_ms, format!("a {}", word(released.kind))));
        }
    }
    let stage = receipt.stages.iter().max_by_key(|passed| passed.took_ms);
    let stage = stage.map(|passed| (format!("`{}`", passed.stage.as_str()), passed.took_ms));
    // Of equals the first named: the slowest come slowest first.
    releases.sort_by_key(|(took, _)| *took);
    let mut before = 0;
    let mut longest: Option<(String, u64)> = None;
    for (took, what) in releases {
        let waited = took - before;
        before = took;
        if longest.as_ref().is_none_or(|(_, ms)| waited > *ms) {
            longest = Some((what, waited));
        }
    }
    // A lease that explains less than half of the longest stage is not what cost it.
    match (longest, stage) {
        (Some(lease), Some(stage)) if lease.1 < stage.1 / 2 => Some(stage),
        (lease, stage) => lease.or(stage),
    }
}

fn word(kind: LeaseKind) -> &'static str {
    match kind {
        LeaseKind::BusName => "bus name",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::{Held, Released, Slow};
    use crate::shutdown::{Because, Passed, Stage};
    use proptest::prelude::*;

    fn took(took_ms: u64) -> Receipt {
        Receipt { took_ms, reasons: vec![Reason::Person], ..Receipt::default() }
    }

    fn kept(forwards: u32, receipt: Receipt) -> Shutdown {
        Shutdown { id: 1, forwards, receipt }
    }

    fn fast(count: usize) -> Vec<Shutdown> {
        (0..count).map(|index| kept(3, took(20 + index as u64))).collect()
    }

    fn slow(kind: LeaseKind, name: &str, took_ms: u64) -> Slow {
        Slow { held: Held { kind, name: name.into(), owner: "wiki".into() }, took_ms }
    }

    /// S10.3, S10.4: slower than p95 × 1.5 and by 250 ms is said, with what cost it.
    #[test]
    fn s10_3_a_slow_end_after_eight_fast_ones_is_said() {
        let receipt = Receipt {
            slowest: vec![
                slow(LeaseKind::Child, "ssh me@host", 940),
                slow(LeaseKind::Session, "session 1", 931),
                slow(LeaseKind::Listener, "127.0.0.1:5432", 2),
            ],
            ..took(940)
        };
        let said = slower(&receipt, 3, &fast(8)).unwrap();
        assert_eq!((said.usual_ms, said.samples), (27, 8));
        assert_eq!(
            said.sentence(),
            "It took 940 ms; 95 of 100 like it stay within 27 ms (8 compared); \
             929 ms were spent on session `session 1 of wiki`"
        );
    }

    /// S10.3: too few samples, too little difference: nothing is said.
    #[test]
    fn s10_3_the_edges_of_slower() {
        assert_eq!(slower(&took(9_000), 3, &fast(7)), None);
        // p95 of 20..28 is 27: 250 ms more is noticed, less is not.
        assert_eq!(slower(&took(276), 3, &fast(8)), None);
        assert!(slower(&took(277), 3, &fast(8)).is_some());
        // Half as long again has to be exceeded as well.
        let long: Vec<Shutdown> = (0..8).map(|_| kept(3, took(1_000))).collect();
        assert_eq!(slower(&took(1_500), 3, &long), None);
        assert!(slower(&took(1_501), 3, &long).is_some());
    }

    /// S10.3: only its like counts: clean, of the same class, of a similar size.
    #[test]
    fn s10_3_only_the_like_are_compared() {
        let mut other = fast(8);
        other[0].receipt.left = vec![slow(LeaseKind::Child, "x", 1).held];
        assert_eq!(slower(&took(9_000), 3, &other), None);
        let logout = Receipt { reasons: vec![Reason::Api, Reason::Logout], ..took(9_000) };
        assert_eq!(slower(&logout, 3, &fast(8)), None);
        assert_eq!(slower(&took(9_000), 300, &fast(8)), None);
        assert!(slower(&took(9_000), 5, &fast(8)).is_some());
        // TERM and a person are given the same time.
        let term = Receipt { reasons: vec![Reason::Terminate], ..took(9_000) };
        assert!(slower(&term, 3, &fast(8)).is_some());
    }

    /// S10.4: when many wait behind one that is not among the slowest, its kind is named;
    /// when no lease explains it, the stage is.
    #[test]
    fn s10_4_a_cost_without_a_name() {
        let kind = |kind, took_ms| Released { kind, count: 4, took_ms };
        let behind = Receipt {
            slowest: vec![slow(LeaseKind::Child, "ssh", 8_020), slow(LeaseKind::Task, "t", 8_010)],
            released: vec![kind(LeaseKind::Listener, 3), kind(LeaseKind::Connection, 8_000)],
            ..took(8_020)
        };
        assert_eq!(cost(&behind), Some(("a connection".to_owned(), 7_997)));
        let passed = |stage, took_ms| Passed { stage, took_ms, because: Because::Done };
        let stages = vec![passed(Stage::StopNewWork, 5), passed(Stage::CancelTasks, 900)];
        let unnamed = Receipt { stages: stages.clone(), ..took(905) };
        assert_eq!(cost(&unnamed), Some(("`cancel_tasks`".to_owned(), 900)));
        let little = Receipt { stages, slowest: vec![slow(LeaseKind::Task, "t", 8)], ..took(905) };
        assert_eq!(cost(&little), Some(("`cancel_tasks`".to_owned(), 900)));
        assert_eq!(cost(&took(900)), None);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        assert_eq!(percentile(vec![], 95), None);
        assert_eq!(percentile(vec![7], 50), Some(7));
        assert_eq!(percentile((1..=100).rev().collect(), 95), Some(95));
        assert_eq!(percentile((1..=10).collect(), 50), Some(5));
        assert_eq!(percentile((1..=10).collect(), 100), Some(10));
    }

    proptest! {
        /// S10.3: nothing that is no slower than the slowest of its like is ever called slow.
        #[test]
        fn s10_3_never_a_false_alarm(times in prop::collection::vec(0..10_000u64, 8..60)) {
            let history: Vec<Shutdown> = times.iter().map(|ms| kept(1, took(*ms))).collect();
            let p95 = percentile(times, 95).unwrap_or_default();
            prop_assert_eq!(slower(&took(p95), 1, &history), None);
            prop_assert!(slower(&took(p95 * 2 + 300), 1, &history).is_some());
        }
    }
}
