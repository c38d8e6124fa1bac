//! Owns the one way out: every end of the process, whoever asks for it, begins here
//! once and is waited for here.
//!
//! Receives requests to quit and the engine's report; emits the exit code.

use localport_core::lifecycle::SessionEnd;
use localport_core::receipt::Receipt;
use localport_core::shutdown::Reason;
use localport_engine::handle::EngineHandle;
use localport_lifecycle::Done;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Exit code when something had to be forced or is left.
pub(crate) const FORCED: i32 = 3;

/// How long the process may stay in the toolkit's last event. Windows ends a process
/// 5 s after the session's end; macOS blames an app that holds a logout much longer
/// than the open connections get.
const LAST_EVENT_BUDGET: Duration =
    if cfg!(windows) { Duration::from_secs(4) } else { Duration::from_secs(9) };

/// What is kept of it for the host to release what is its own.
const LAST_EVENT_RESERVE: Duration = Duration::from_millis(500);

/// The gate that the end waits at.
pub(crate) struct Ending {
    code: Mutex<Option<i32>>,
    finished: Condvar,
    /// What the system waits for.
    session: Mutex<Vec<Done>>,
}

impl Ending {
    /// A gate that nobody has come to yet.
    pub(crate) fn new() -> Self {
        Self { code: Mutex::new(None), finished: Condvar::new(), session: Mutex::default() }
    }

    /// Begins the end. Asking twice is asking once.
    pub(crate) fn begin(&self, engine: &EngineHandle, reason: Reason) {
        engine.quit(reason);
    }

    /// Begins the end of the session, which waits for `done`.
    pub(crate) fn session_ends(
        &self,
        engine: &EngineHandle,
        end: SessionEnd,
        within: Duration,
        done: Done,
    ) {
        engine.quit_within(end.into(), within);
        self.session().push(done);
        if self.code().is_some() {
            // It came when everything was released already.
            self.session().clear();
        }
    }

    /// The session goes on, and so does the engine if only the session asked for its end.
    pub(crate) fn session_goes_on(&self, engine: &EngineHandle) {
        engine.session_goes_on();
        self.session().clear();
    }

    /// Everything is released, or is known not to be.
    pub(crate) fn finish(&self, stopped: &Receipt) -> i32 {
        let code = if stopped.is_clean() { 0 } else { FORCED };
        *self.lock() = Some(code);
        self.finished.notify_all();
        self.session().clear();
        code
    }

    /// The exit code, once everything is released.
    pub(crate) fn code(&self) -> Option<i32> {
        *self.lock()
    }

    /// For the toolkit's last event, after which the process is gone: begins the end
    /// and waits for it, as long as the platform allows; gives the exit code. Must not
    /// be called where the end itself needs this thread.
    pub(crate) fn drain_blocking(&self, engine: &EngineHandle, reason: Reason) -> i32 {
        if let Some(code) = self.code() {
            return code;
        }
        engine.quit_within(reason, LAST_EVENT_BUDGET - LAST_EVENT_RESERVE);
        let code = self.lock();
        let waited = self
            .finished
            .wait_timeout_while(code, LAST_EVENT_BUDGET, |code| code.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        if waited.1.timed_out() {
            tracing::warn!("the process ends before everything is released");
        }
        waited.0.unwrap_or(FORCED)
    }

    fn session(&self) -> MutexGuard<'_, Vec<Done>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Option<i32>> {
        self.code.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use localport_core::receipt::Held;
    use localport_core::resource::LeaseKind;

    fn held(kind: LeaseKind) -> Held {
        Held { kind, name: "planted".to_owned(), owner: "orders".to_owned() }
    }

    #[test]
    fn what_was_forced_is_told_by_the_code() {
        let clean = Receipt { took_ms: 3, ..Receipt::default() };
        let forced = Receipt { forced: vec![held(LeaseKind::Connection)], ..Receipt::default() };
        let left = Receipt { left: vec![held(LeaseKind::Child)], ..Receipt::default() };
        for (stopped, code) in [(clean, 0), (forced, 3), (left, 3)] {
            let ending = Ending::new();
            assert_eq!(ending.code(), None);
            assert_eq!(ending.finish(&stopped), code);
            assert_eq!(ending.code(), Some(code));
        }
    }
}
