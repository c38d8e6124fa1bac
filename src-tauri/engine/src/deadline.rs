//! Owns the moment by which the process is to be over, whatever the runtime does: a task
//! that never yields can keep every other task from running.
//!
//! Receives the ends that are asked for, emits that they took too long. It needs no
//! runtime: `main` waits here while the work runs on a thread of its own.

use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What a host may need after its engine's own budgets: the comparison with the system,
/// the history, the last answers, the end of the runtime.
const GRACE: Duration = Duration::from_secs(3);

/// Its stack: as large as the one that `main` has.
const STACK: usize = 8 * 1024 * 1024;

/// Name of the thread that the work runs on.
const THREAD: &str = "lp-main";

/// Name of the thread that waits beside a toolkit's.
const GUARD: &str = "lp-deadline";

/// The moment, once an end was asked for. Clones share it.
#[derive(Clone, Default)]
pub struct Deadline(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    turned: Condvar,
}

#[derive(Default)]
struct State {
    until: Option<Instant>,
    finished: bool,
}

impl Deadline {
    /// The engine is to end within `budget`. Only shortens.
    pub(crate) fn within(&self, budget: Duration) {
        let until = Instant::now() + budget + GRACE;
        let mut state = self.state();
        state.until = Some(state.until.map_or(until, |earlier| earlier.min(until)));
        self.0.turned.notify_all();
    }

    /// The end was called off.
    pub(crate) fn lift(&self) {
        self.state().until = None;
        self.0.turned.notify_all();
    }

    /// Runs `work` on a thread of its own, to its end or to the deadline; none when the
    /// deadline came first. The thread is then left to the end of the process.
    ///
    /// # Errors
    /// When the thread cannot be started.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Option<T>> {
        let finished = Finished(self.clone());
        let thread =
            thread::Builder::new().name(THREAD.to_owned()).stack_size(STACK).spawn(move || {
                let _finished = finished;
                work()
            })?;
        if !self.wait() {
            return Ok(None);
        }
        match thread.join() {
            Ok(done) => Ok(Some(done)),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Calls `late` when the deadline comes before the guard is dropped: for a process
    /// whose first thread belongs to a toolkit.
    ///
    /// # Errors
    /// When the thread that waits cannot be started.
    pub fn guard(&self, late: impl FnOnce() + Send + 'static) -> io::Result<Guard> {
        let deadline = self.clone();
        let thread = thread::Builder::new().name(GUARD.to_owned()).spawn(move || {
            if !deadline.wait() {
                late();
            }
        })?;
        Ok(Guard { finished: Some(Finished(self.clone())), thread: Some(thread) })
    }

    /// Waits until the work has finished; false when the deadline came first.
    fn wait(&self) -> bool {
        let mut state = self.state();
        loop {
            if state.finished {
                return true;
            }
            state = match state.until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    let waited = self.0.turned.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.0.turned.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The work that a deadline was set for; dropping it says that it is over.
pub struct Guard {
    finished: Option<Finished>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.finished = None;
        if let Some(thread) = self.thread.take() {
            // A panic in what was to be called last has said its words already.
            let _ = thread.join();
        }
    }
}

/// Says that the work is over, also when it panicked.
struct Finished(Deadline);

impl Drop for Finished {
    fn drop(&mut self) {
        self.0.state().finished = true;
        self.0.0.turned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// S2.1: work that ends is awaited; work that does not is left at the deadline; an
    /// end that was called off has none.
    #[test]
    fn s2_1_work_is_waited_for_until_the_deadline() {
        let deadline = Deadline::default();
        assert_eq!(deadline.run(|| 7).unwrap(), Some(7));

        let deadline = Deadline::default();
        deadline.state().until = Some(Instant::now());
        deadline.lift();
        assert_eq!(deadline.run(|| 8).unwrap(), Some(8));

        let (_keep, never) = mpsc::channel::<()>();
        let deadline = Deadline::default();
        deadline.within(Duration::from_secs(60));
        deadline.state().until = Some(Instant::now());
        deadline.within(Duration::from_secs(60));
        assert!(deadline.run(move || never.recv().is_ok()).unwrap().is_none());
    }

    /// S2.1: a guard calls only when it is still held at the deadline.
    #[test]
    fn s2_1_a_guard_calls_at_the_deadline_and_not_after_its_end() {
        let (say, called) = mpsc::channel();
        let deadline = Deadline::default();
        let word = say.clone();
        drop(deadline.guard(move || word.send("early").unwrap()).unwrap());
        let deadline = Deadline::default();
        deadline.state().until = Some(Instant::now());
        let _guard = deadline.guard(move || say.send("late").unwrap()).unwrap();
        assert_eq!(called.recv_timeout(Duration::from_secs(10)), Ok("late"));
    }
}
