//! Owns what the operating system tells LocalPort, as one neutral event.
//!
//! Receives signals and console events, emits [`LifecycleEvent`]. No policy: what
//! an event means for the forwards is the host's affair.

#[cfg(unix)]
#[path = "unix.rs"]
mod platform;
#[cfg(windows)]
#[path = "windows.rs"]
mod platform;

#[cfg(unix)]
mod disposition;

use localport_core::lifecycle::LifecycleEvent;
use std::io;

/// Watches for signals or console events until it is dropped; then the handlers that
/// were there before are back.
pub struct Watch {
    sources: platform::Sources,
}

/// Begins to watch. Needs a tokio runtime with its IO driver.
///
/// Unix: INT and TERM ask for the end; HUP asks for the end when the terminal went
/// away, else for the configuration to be read again. A signal that the process was
/// told to ignore (as `nohup` does with HUP) stays ignored.
/// Windows: Ctrl-C, Ctrl-Break and the closing of the console ask for the end.
///
/// # Errors
/// When the system refuses a handler.
pub fn watch() -> io::Result<Watch> {
    Ok(Watch { sources: platform::Sources::install()? })
}

impl Watch {
    /// The next event. Dropping the future loses none. A burst of one signal may
    /// arrive as one event.
    pub async fn next(&mut self) -> LifecycleEvent {
        self.sources.next().await
    }
}
