//! Owns what the operating system may tell LocalPort, in neutral words.

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
}
