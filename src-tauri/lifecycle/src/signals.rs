//! Owns the signals of Unix.

use crate::disposition::{Borrowed, Disposition};
use localport_core::lifecycle::{LifecycleEvent, QuitSource};
use std::fs::File;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that are watched. The streams end before the old handlers come back.
pub(crate) struct Sources {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hangup: Option<Signal>,
    had_terminal: bool,
    handlers: Vec<Borrowed>,
}

impl Sources {
    pub(crate) fn install() -> io::Result<Self> {
        let mut handlers = Vec::new();
        let interrupt = listen(SignalKind::interrupt(), &mut handlers)?;
        let terminate = listen(SignalKind::terminate(), &mut handlers)?;
        let hangup = listen(SignalKind::hangup(), &mut handlers)?;
        Ok(Self { interrupt, terminate, hangup, had_terminal: has_terminal(), handlers })
    }

    pub(crate) async fn next(&mut self) -> LifecycleEvent {
        let source = tokio::select! {
            () = received(&mut self.interrupt) => QuitSource::Terminal,
            () = received(&mut self.terminate) => QuitSource::Terminate,
            () = received(&mut self.hangup) => {
                if !self.had_terminal || has_terminal() {
                    return LifecycleEvent::ReloadRequested;
                }
                QuitSource::Hangup
            }
        };
        LifecycleEvent::QuitRequested { source }
    }
}

impl Sources {
    /// Leaves the handlers in place.
    pub(crate) fn until_exit(self) {
        for handler in self.handlers {
            // What it borrowed is this process's, which ends.
            std::mem::forget(handler);
        }
    }
}

/// Listens for `kind`, unless the process was started with it ignored.
fn listen(kind: SignalKind, handlers: &mut Vec<Borrowed>) -> io::Result<Option<Signal>> {
    let before = Disposition::of(kind.as_raw_value())?;
    if before.is_ignored() {
        return Ok(None);
    }
    let stream = signal(kind)?;
    handlers.push(Borrowed::take(kind.as_raw_value(), before)?);
    Ok(Some(stream))
}

async fn received(stream: &mut Option<Signal>) {
    let ended = match stream {
        Some(stream) => stream.recv().await.is_none(),
        None => true,
    };
    if ended {
        std::future::pending().await
    }
}

/// Whether the process has a controlling terminal; after a hang-up it has none.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}
