//! Owns the console events of Windows.

use localport_core::lifecycle::{LifecycleEvent, QuitSource};
use std::io;
use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, ctrl_break, ctrl_c, ctrl_close};

/// The console events that are watched. tokio parks the handler's thread on
/// `CTRL_CLOSE`, so that the process has the system's whole window of about 5 s.
pub(crate) struct Sources {
    interrupt: CtrlC,
    stop: CtrlBreak,
    close: CtrlClose,
}

impl Sources {
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self { interrupt: ctrl_c()?, stop: ctrl_break()?, close: ctrl_close()? })
    }

    /// tokio leaves its handler in place as it is.
    pub(crate) fn until_exit(self) {}

    pub(crate) async fn next(&mut self) -> LifecycleEvent {
        let source = tokio::select! {
            Some(()) = self.interrupt.recv() => QuitSource::Terminal,
            Some(()) = self.stop.recv() => QuitSource::Terminal,
            Some(()) = self.close.recv() => QuitSource::Hangup,
            else => std::future::pending().await,
        };
        LifecycleEvent::QuitRequested { source }
    }
}
