//! Owns short-lived helpers: the user's login shell and login plugins.
//!
//! A helper runs in a process group of its own without a terminal, and its whole
//! group ends when its time is over or the attempt that needed it is abandoned.

use crate::registry::{LeaseKind, Registry};
use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// Runs `command` and collects what it prints.
///
/// # Errors
/// `TimedOut` when it did not end within `limit`; else why it could not be started.
pub(super) async fn run(
    mut command: Command,
    name: &str,
    registry: &Registry,
    limit: Duration,
) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    own_group(&mut command);
    let child = command.spawn()?;
    let _lease = registry.lease(LeaseKind::Child, name, "kube");
    let mut group = Group(child.id());
    let output = tokio::time::timeout(limit, child.wait_with_output()).await;
    let output = output.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    group.0 = None;
    Ok(output)
}

/// Ends the whole group when dropped, unless its leader ended by itself.
struct Group(Option<u32>);

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid
            && let Err(error) =
                rustix::process::kill_process_group(pid, rustix::process::Signal::KILL)
        {
            tracing::debug!(%error, "the helper's process group was gone already");
        }
    }
}

#[cfg(unix)]
fn own_group(command: &mut Command) {
    command.process_group(0);
}

#[cfg(windows)]
fn own_group(command: &mut Command) {
    // No console window flashes up when the tray app starts a plugin.
    const CREATE_NO_WINDOW: u32 = 0x0800_0000;
    command.creation_flags(CREATE_NO_WINDOW);
}
