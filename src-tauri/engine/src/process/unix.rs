//! Owns signals to a child's group, as every Unix has them.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use tokio::process::{Child, Command};

/// A child's process group; its leader is the child.
pub(super) struct Group {
    leader: Pid,
}

impl Group {
    pub(super) fn of(child: &Child) -> io::Result<Self> {
        let leader = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("the child ended before it was known"))?;
        Ok(Self { leader })
    }

    /// Asks every process of the group to end.
    pub(super) fn ask(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends every process of the group, also one that is stopped.
    pub(super) fn force(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // It may have ended meanwhile, which is what was wanted.
        let _ = kill_process_group(self.leader, signal);
    }
}

/// A session of its own: no terminal to ask on, and a group that signals reach alone.
/// Also runs `more` between fork and exec.
pub(super) fn own_session(
    command: &mut Command,
    more: impl Fn() -> io::Result<()> + Send + Sync + 'static,
) {
    let prepare = move || {
        rustix::process::setsid()?;
        more()
    };
    // SAFETY: between fork and exec only async-signal-safe system calls run, and an
    // error carries no allocation.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(prepare);
    }
}
