//! Owns how the operating system is made to wait until LocalPort is done.
//!
//! A source gives each [`Notice`](crate::Notice) something to hold; dropping the [`Done`]
//! lets go of it. Sources let go by themselves when the time they announced is over, so
//! that a host that forgets a `Done` holds nobody up longer than it said.

use std::fmt;
#[cfg(any(windows, target_os = "macos", test))]
use std::sync::Condvar;
use std::sync::{Arc, Mutex, PoisonError};
#[cfg(any(windows, target_os = "macos", test))]
use std::time::Duration;

/// What the system waits for. Letting go twice is letting go once.
pub(crate) trait Hold: Send + Sync {
    fn let_go(&self);
}

/// Keeps the operating system waiting, for the time of the notice at most, until it is
/// dropped.
#[must_use = "dropping it tells the system to go on"]
pub struct Done(Option<Arc<dyn Hold>>);

impl Done {
    /// Nobody waits.
    pub(crate) fn nobody() -> Self {
        Self(None)
    }

    /// The system waits until `hold` is let go of.
    pub(crate) fn holding(hold: Arc<dyn Hold>) -> Self {
        Self(Some(hold))
    }

    /// Whether anybody waits for it.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(hold) = self.0.take() {
            hold.let_go();
        }
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.is_awaited() { "Done(awaited)" } else { "Done" })
    }
}

/// Something that exists until it is let go of, such as the descriptor of a lock.
#[cfg(any(target_os = "linux", test))]
pub(crate) struct Kept<T>(Mutex<Option<T>>);

#[cfg(any(target_os = "linux", test))]
impl<T: Send + 'static> Kept<T> {
    pub(crate) fn new(kept: T) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(kept))))
    }
}

#[cfg(any(target_os = "linux", test))]
impl<T: Send + 'static> Hold for Kept<T> {
    fn let_go(&self) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Outside the lock: closing may take its time.
        drop(kept);
    }
}

/// Where a thread of the system's waits.
#[cfg(any(windows, target_os = "macos", test))]
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

#[cfg(any(windows, target_os = "macos", test))]
impl Gate {
    /// Blocks the calling thread until the gate is opened, for `within` at most. Whether
    /// it was opened.
    pub(crate) fn wait(&self, within: Duration) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.opened.wait_timeout_while(open, within, |open| !*open);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(any(windows, target_os = "macos", test))]
impl Hold for Gate {
    fn let_go(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Instant;

    /// D5: the system's thread goes on when the host is done, not later.
    #[test]
    fn d5_a_gate_opens_when_done_is_dropped() {
        let gate = Arc::new(Gate::default());
        let done = Done::holding(gate.clone());
        assert!(done.is_awaited());
        let waiting = thread::spawn(move || {
            let begun = Instant::now();
            (gate.wait(Duration::from_secs(20)), begun.elapsed())
        });
        drop(done);
        let (opened, took) = waiting.join().expect("the waiting thread");
        assert!(opened && took < Duration::from_secs(10), "opened {opened} after {took:?}");
    }

    /// D5: never longer than the budget, whoever forgets.
    #[test]
    fn d5_a_gate_that_nobody_opens_holds_no_longer_than_its_budget() {
        let gate = Arc::new(Gate::default());
        let done = Done::holding(gate.clone());
        let budget = Duration::from_millis(50);
        let begun = Instant::now();
        assert!(!gate.wait(budget));
        assert!(begun.elapsed() >= budget);
        drop(done);
        assert!(gate.wait(Duration::ZERO), "dropped later it does no harm");
    }

    /// D5: what is kept is dropped exactly once, by whoever comes first.
    #[test]
    fn d5_what_is_kept_goes_with_done() {
        let lock = Arc::new(());
        let kept = Kept::new(lock.clone());
        let done = Done::holding(kept.clone());
        assert_eq!(Arc::strong_count(&lock), 2);
        drop(done);
        assert_eq!(Arc::strong_count(&lock), 1);
        kept.let_go();
        assert!(!Done::nobody().is_awaited());
    }
}
