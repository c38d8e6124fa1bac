//! Owns what only Linux can say and do about processes.

pub(super) use super::unix::Group;

use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal,
};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;

/// Own session, and death with the engine.
pub(super) fn prepare(command: &mut Command) {
    let engine = getpid();
    super::unix::own_session(command, move || {
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // The engine may have died before the line above: then nothing would tell.
        if getppid() == Some(engine) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    });
}

/// When the living process `pid` started: the boot it belongs to and the ticks since.
pub(super) fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also spaces and parentheses.
    let after_name = stat.rsplit_once(')')?.1;
    if after_name.trim_start().starts_with(['Z', 'X']) {
        return None; // Dead, and only waits to be reaped.
    }
    // Field 22 of proc_pid_stat(5); what follows the name starts at field 3.
    let ticks = after_name.split_ascii_whitespace().nth(22 - 3)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{}:{ticks}", boot.trim()))
}

/// A process held by descriptor: the number cannot pass to another one meanwhile.
pub(super) struct Held {
    pub(super) pid: u32,
    fd: OwnedFd,
}

/// Every process that carries one of `tokens` in its environment.
pub(super) fn carrying(tokens: &[&str], _known: &[u32]) -> Vec<Held> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter_map(|pid| hold(pid, tokens))
        .collect()
}

impl Held {
    pub(super) fn ask(&self) {
        let _ = pidfd_send_signal(&self.fd, Signal::TERM);
    }

    pub(super) fn force(&self) {
        let _ = pidfd_send_signal(&self.fd, Signal::KILL);
    }

    /// Waits for its end.
    pub(super) async fn gone(&self) {
        let Ok(copy) = self.fd.try_clone() else { return };
        // SAFETY: an `OwnedFd` gives the same open descriptor for its whole life.
        #[allow(unsafe_code)]
        let fd = unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) };
        if let Ok(fd) = fd {
            let _ = fd.readable().await;
        }
    }
}

fn hold(pid: u32, tokens: &[&str]) -> Option<Held> {
    let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
    carries(pid, tokens).then_some(())?;
    let fd = pidfd_open(raw, PidfdFlags::empty()).ok()?;
    // Looked at again: only now is the number pinned.
    carries(pid, tokens).then_some(Held { pid, fd })
}

fn carries(pid: u32, tokens: &[&str]) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let prefix = format!("{}=", super::TOKEN_VARIABLE);
    environment
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.strip_prefix(prefix.as_bytes()))
        .any(|value| tokens.iter().any(|token| token.as_bytes() == value))
}
