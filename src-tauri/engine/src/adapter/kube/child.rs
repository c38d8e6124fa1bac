//! Owns short-lived helpers: the user's login shell and login plugins.
//!
//! A helper runs in a process group of its own without a terminal, and its whole
//! group ends when its time is over or the attempt that needed it is abandoned.

use crate::registry::{LeaseKind, Registry};
use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// Bytes kept of what a helper prints; credentials are a hundred times smaller.
const OUTPUT_LIMIT: usize = 1024 * 1024;

/// How a helper ended.
pub(super) enum Ran {
    /// By itself.
    Ended(Output),
    /// Its time was over; what it had printed to standard error by then.
    TimedOut(Vec<u8>),
}

/// Runs `command` and collects what it prints.
///
/// # Errors
/// Why it could not be started or read.
pub(super) async fn run(
    command: Command,
    name: &str,
    registry: &Registry,
    limit: Duration,
) -> io::Result<Ran> {
    let _lease = registry.lease(LeaseKind::Child, name, "kube");
    let (mut child, mut group) = start(command, Stdio::piped())?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let printed = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let said = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let ended = async {
        let all = tokio::try_join!(collect(printed, &mut stdout), collect(said, &mut stderr));
        all?;
        child.wait().await
    };
    match tokio::time::timeout(limit, ended).await {
        Err(_) => Ok(Ran::TimedOut(stderr)),
        Ok(status) => {
            let status = status?;
            group.0 = None;
            Ok(Ran::Ended(Output { status, stdout, stderr }))
        }
    }
}

/// Reads to the end; beyond the limit, to nowhere.
async fn collect(mut from: impl AsyncRead + Unpin, to: &mut Vec<u8>) -> io::Result<()> {
    let mut part = [0; 4096];
    loop {
        match from.read(&mut part).await? {
            0 => return Ok(()),
            count => {
                let room = OUTPUT_LIMIT.saturating_sub(to.len());
                to.extend_from_slice(&part[..count.min(room)]);
            }
        }
    }
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
