//! Owns whose turn it is to be looked at: so many at once in all, and fewer of them
//! through one cluster or host, so that one that does not answer keeps no other waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Looks under way at once; more would only queue at the hosts.
pub(super) const AT_ONCE: usize = 64;
/// Looks under way at once through one cluster or host.
const AT_ONE_PLACE: usize = 16;

/// Looks that wait, and how many are under way.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: VecDeque<Waiting>,
    under_way: usize,
    by_place: HashMap<Arc<str>, usize>,
}

/// A look that waits.
#[derive(Debug)]
struct Waiting {
    key: u64,
    run: u64,
    place: Arc<str>,
}

impl Turns {
    /// Puts a look behind those that wait.
    pub(super) fn wait(&mut self, key: u64, run: u64, place: Arc<str>) {
        self.waiting.push_back(Waiting { key, run, place });
    }

    /// Nobody waits any more; what is under way stays so.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Key and run of the first look that may begin now. It counts as under way once
    /// [`Turns::begun`] is told so.
    pub(super) fn next(&mut self) -> Option<(u64, u64)> {
        if self.under_way >= AT_ONCE {
            return None;
        }
        let has_room = |waiting: &Waiting| {
            self.by_place.get(&waiting.place).is_none_or(|under_way| *under_way < AT_ONE_PLACE)
        };
        let at = self.waiting.iter().position(has_room)?;
        self.waiting.remove(at).map(|waiting| (waiting.key, waiting.run))
    }

    /// A look through `place` is under way.
    pub(super) fn begun(&mut self, place: Arc<str>) {
        self.under_way += 1;
        *self.by_place.entry(place).or_default() += 1;
    }

    /// A look through `place` has ended.
    pub(super) fn ended(&mut self, place: &str) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(under_way) = self.by_place.get_mut(place) {
            *under_way -= 1;
            if *under_way == 0 {
                self.by_place.remove(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: usize) -> Arc<str> {
        format!("host-{number}").into()
    }

    /// Begins all that may begin now, and gives their keys.
    fn begin(turns: &mut Turns, place_of: impl Fn(u64) -> Arc<str>) -> Vec<u64> {
        let mut begun = Vec::new();
        while let Some((key, _)) = turns.next() {
            turns.begun(place_of(key));
            begun.push(key);
        }
        begun
    }

    /// S5.1, S7.4: a place that does not answer takes its own turns only.
    #[test]
    fn s7_4_one_place_keeps_no_other_waiting() {
        let mut turns = Turns::default();
        let place_of = |key: u64| place(usize::from(key >= 100));
        for key in (0..100).chain(100..103) {
            turns.wait(key, key, place_of(key));
        }
        let begun = begin(&mut turns, place_of);
        assert_eq!(begun, (0..16).chain(100..103).collect::<Vec<u64>>());
        turns.ended(&place(1));
        assert!(begin(&mut turns, place_of).is_empty());
        turns.ended(&place(0));
        assert_eq!(begin(&mut turns, place_of), [16], "first come, first served");
    }

    #[test]
    fn there_is_a_limit_for_all_together() {
        let mut turns = Turns::default();
        let place_of = |key: u64| place(usize::try_from(key).unwrap() % 10);
        for key in 0..1_000 {
            turns.wait(key, 0, place_of(key));
        }
        let begun = begin(&mut turns, place_of);
        assert_eq!(begun, (0..64).collect::<Vec<u64>>());
        for key in begun {
            turns.ended(&place_of(key));
        }
        assert!(turns.by_place.is_empty());
        turns.forget();
        assert!(begin(&mut turns, place_of).is_empty());
    }
}
