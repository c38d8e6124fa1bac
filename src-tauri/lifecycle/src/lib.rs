//! Owns what the operating system tells LocalPort, as one neutral event.
//!
//! Receives signals, console events and the words of the system's services; emits
//! [`Notice`]s. No policy: what an event means for the forwards is the host's affair.

mod clock;
#[cfg(windows)]
mod console;
#[cfg(unix)]
mod disposition;
mod done;
mod holdings;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
mod services;
#[cfg(unix)]
mod signals;
#[cfg(windows)]
mod windows;

#[cfg(windows)]
use console as asked;
#[cfg(unix)]
use signals as asked;

pub use done::Done;
pub use holdings::Holdings;

use localport_core::lifecycle::LifecycleEvent;
use services::Services;
use std::io;
use tokio::sync::watch;

/// Something that the system said, and how to tell it that LocalPort is done.
#[derive(Debug)]
pub struct Notice {
    /// What it said.
    pub event: LifecycleEvent,
    /// The system waits until this is dropped, where the event has a time: for the end
    /// of the session and for a sleep.
    pub done: Done,
}

impl Notice {
    /// Word of something that nobody waits with.
    pub(crate) fn of(event: LifecycleEvent) -> Self {
        Self { event, done: Done::nobody() }
    }
}

/// Who watches: a tray app takes part in the desktop's session, a headless host does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// No window and no tray.
    Headless,
    /// The tray app.
    Desktop,
}

/// Watches until it is dropped; then everything is given back, the handlers that were
/// there before among it.
pub struct Watch {
    asked: asked::Sources,
    services: Services,
}

/// Begins to watch. Needs a tokio runtime with its IO and time drivers.
///
/// Everywhere the clocks tell a sleep that nothing else told.
/// Unix: INT and TERM ask for the end; HUP asks for the end when the terminal went
/// away, else for the configuration to be read again. A signal that the process was
/// told to ignore (as `nohup` does with HUP) stays ignored.
/// Linux: logind's sleep and shutdown, held up by a delay lock; the session manager's
/// logout (a tray app only); changes of addresses, routes and links.
/// macOS: the workspace's sleep and wake (a tray app only); changes of addresses.
/// Windows: Ctrl-C, Ctrl-Break, the closing of the console and a polite request to close
/// ask for the end; the end of the session and sleep through a window that is never
/// shown; changes of addresses.
///
/// # Errors
/// When the system refuses a signal handler. A service that is not there (no logind, no
/// session manager) is said once in the log, and the rest is watched.
pub fn watch(host: Host) -> io::Result<Watch> {
    Ok(Watch { asked: asked::Sources::install()?, services: Services::start(host) })
}

impl Watch {
    /// Resolves when every source holds what it will hold (sockets, the lock of logind) or
    /// has given up. What a host holds itself can be told from it after that.
    pub async fn settled(&mut self) {
        self.services.settled().await;
    }

    /// What the sources hold of the system, as it changes: names on a bus, and the lock
    /// that makes the system wait for LocalPort before it sleeps or goes down.
    #[must_use]
    pub fn holdings(&self) -> watch::Receiver<Holdings> {
        self.services.holdings()
    }

    /// Ends the watch of a process that is about to exit: from here on a signal changes
    /// nothing, so that the last one of many cannot take the exit code away. Everything
    /// but the signals is given back.
    pub fn until_exit(self) {
        self.asked.until_exit();
    }

    /// The next event. Dropping the future loses none. A burst of one signal may
    /// arrive as one event.
    pub async fn next(&mut self) -> Notice {
        tokio::select! {
            biased;
            event = self.asked.next() => Notice::of(event),
            notice = self.services.next() => notice,
        }
    }
}
