//! Owns how much may be said of one thing: what comes and goes is said to, and then kept
//! quiet about until it is steady.

use crate::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// How long something that came and went must be as it is to be believed.
pub(super) const STEADY: Duration = Duration::from_secs(10 * 60);

/// The time over which messages and alarms are counted.
const WINDOW: Duration = Duration::from_secs(60 * 60);
/// Messages of one key in that time: two outages with their ends, the word that it comes
/// and goes, and the last one.
const MESSAGES: usize = 6;
/// The alarm of this number says that it comes and goes.
const ALARMS: usize = 3;

/// What was said of one key within the window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Past {
    spoken: VecDeque<Timestamp>,
    alarms: VecDeque<Timestamp>,
}

impl Past {
    /// Forgets what is out of the window; whether anything is left.
    pub(super) fn prune(&mut self, at: Timestamp) -> bool {
        for times in [&mut self.spoken, &mut self.alarms] {
            while times.front().is_some_and(|first| *first + WINDOW <= at) {
                times.pop_front();
            }
        }
        !self.spoken.is_empty() || !self.alarms.is_empty()
    }

    /// When there is room for another message, if there is none now.
    pub(super) fn full_until(&self, at: Timestamp) -> Option<Timestamp> {
        let nth = self.spoken.len().checked_sub(MESSAGES)?;
        self.spoken.get(nth).map(|first| *first + WINDOW).filter(|free| *free > at)
    }

    /// A message is shown.
    pub(super) fn speak(&mut self, at: Timestamp) {
        self.spoken.push_back(at);
    }

    /// Trouble is told; whether it has come and gone too often to be told as such.
    pub(super) fn alarm(&mut self, at: Timestamp) -> bool {
        self.alarms.push_back(at);
        self.alarms.len() >= ALARMS
    }

    /// Alarms in the window, and since when.
    pub(super) fn alarms(&self, at: Timestamp) -> (usize, Duration) {
        let first = self.alarms.front().copied().unwrap_or(at);
        (self.alarms.len(), at.since(first))
    }

    /// It has been steady: what was before counts no more.
    pub(super) fn forget_alarms(&mut self) {
        self.alarms.clear();
    }
}
