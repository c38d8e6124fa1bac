//! Owns short-lived helpers: the user's login shell and login plugins.
//!
//! A helper runs in a process group of its own without a terminal, and its whole
//! group ends when its time is over or the attempt that needed it is abandoned.

use crate::registry::{LeaseKind, Registry};
use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// Runs `command` and collects what it prints.
///
/// # Errors
/// `TimedOut` when it did not end within `limit`; else why it could not be started.
pub(super) async fn run(
    command: Command,
    name: &str,
    registry: &Registry,
    limit: Duration,
) -> io::Result<Output> {
    let _lease = registry.lease(LeaseKind::Child, name, "kube");
    let (child, mut group) = start(command, Stdio::piped())?;
    let output = tokio::time::timeout(limit, child.wait_with_output()).await;
    let output = output.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    group.0 = None;
    Ok(output)
}

/// Runs `command` until what it printed is `enough`, or it ends. Whatever it started
/// that lives on is left alone.
///
/// # Errors
/// As [`run`].
pub(super) async fn read_until(
    command: Command,
    name: &str,
    registry: &Registry,
    limit: Duration,
    enough: impl Fn(&str) -> bool,
) -> io::Result<String> {
    let _lease = registry.lease(LeaseKind::Child, name, "kube");
    let (mut child, mut group) = start(command, Stdio::null())?;
    let mut stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let read = async {
        let mut printed = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&printed);
            if enough(&text) {
                return io::Result::Ok(text.into_owned());
            }
            if stdout.read_buf(&mut printed).await? == 0 {
                return Ok(String::from_utf8_lossy(&printed).into_owned());
            }
        }
    };
    let outcome = tokio::time::timeout(limit, read).await;
    let printed = outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    group.0 = None;
    Ok(printed)
}

fn start(mut command: Command, errors: Stdio) -> io::Result<(Child, Group)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).kill_on_drop(true);
    own_group(&mut command);
    let child = command.spawn()?;
    let group = Group(child.id());
    Ok((child, group))
}

/// Ends the whole group when dropped, unless its leader ended by itself.
#[cfg_attr(windows, allow(dead_code, reason = "there is no group to end there"))]
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
