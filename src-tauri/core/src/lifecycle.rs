//! Owns what the operating system may tell LocalPort, in neutral words.

pub mod gap;

use std::time::Duration;

/// What the operating system or a person at a terminal asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// End: a signal, a console event.
    QuitRequested {
        /// Who asked.
        source: QuitSource,
    },
    /// Read the configuration again (HUP in the headless host).
    ReloadRequested,
    /// The login session or the machine ends; the process may be gone after `within`.
    SessionEnding {
        /// Which of the two.
        end: SessionEnd,
        /// Time that is left.
        within: Duration,
    },
    /// The end of the session was called off.
    SessionEndCancelled,
    /// The machine is about to sleep, at the latest after `within`.
    WillSleep {
        /// Time that is left.
        within: Duration,
    },
    /// The machine woke up, or the clock shows that it must have slept.
    DidWake {
        /// How long it slept, where that is known.
        slept: Option<Duration>,
    },
    /// Addresses, routes or the default network changed.
    NetworkChanged,
}

/// Who asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuitSource {
    /// A person at the terminal (INT, Ctrl-C, Ctrl-Break).
    Terminal,
    /// Another process or the service manager (TERM).
    Terminate,
    /// The terminal or console went away.
    Hangup,
    /// The display that the app draws on went away.
    DisplayLost,
}

/// What of the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The user logs out.
    Logout,
    /// The machine goes down or starts again.
    Shutdown,
}
