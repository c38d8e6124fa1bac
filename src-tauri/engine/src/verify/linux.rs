//! Owns what Linux shows of this process, in `/proc/self`.

use super::socket;
use crate::process::TOKEN_VARIABLE;
use localport_core::audit::{Mark, Thing, View};
use std::fs;
use std::os::fd::RawFd;

pub(super) fn look() -> View {
    let (descriptors, sockets) = descriptors().map_or((None, None), |(d, s)| (Some(d), Some(s)));
    View { descriptors, sockets, children: children(), threads: threads(), files: None }
}

fn descriptors() -> Option<(Vec<Thing>, Vec<Thing>)> {
    let own = format!("/proc/{}/fd", std::process::id());
    let (mut descriptors, mut sockets) = (Vec::new(), Vec::new());
    for entry in fs::read_dir("/proc/self/fd").ok()?.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that is closed between the list and this look is gone.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.display().to_string();
        if target == own {
            continue; // The list that is being read.
        }
        if target.starts_with("socket:") {
            sockets.extend(socket_thing(number, target));
        } else {
            descriptors.push(descriptor(number, target));
        }
    }
    Some((descriptors, sockets))
}

fn socket_thing(number: RawFd, target: String) -> Option<Thing> {
    let (name, mark) = socket::describe(number)?;
    Some(Thing { key: target, name, mark })
}

fn descriptor(number: RawFd, target: String) -> Thing {
    let path = target.strip_suffix(" (deleted)").unwrap_or(&target);
    let mark = if path.starts_with('/') { Mark::Path(path.to_owned()) } else { Mark::Unknown };
    Thing { name: format!("{number} → {target}"), key: target, mark }
}

fn threads() -> Option<Vec<Thing>> {
    let thread = |id: String| {
        let name = fs::read_to_string(format!("/proc/self/task/{id}/comm")).ok()?;
        let name = name.trim_end().to_owned();
        Some(Thing { name: format!("{name} ({id})"), key: id, mark: Mark::Thread(name) })
    };
    Some(ids()?.into_iter().filter_map(thread).collect())
}

/// Numbers of the threads.
fn ids() -> Option<Vec<String>> {
    let entries = fs::read_dir("/proc/self/task").ok()?.flatten();
    Some(entries.filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

fn children() -> Option<Vec<Thing>> {
    let listed: Option<Vec<u32>> = ids()?
        .into_iter()
        .map(|id| fs::read_to_string(format!("/proc/self/task/{id}/children")).ok())
        .try_fold(Vec::new(), |mut all, children| {
            all.extend(
                children?.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()),
            );
            Some::<Vec<u32>>(all)
        });
    // Kernels without that list, and a thread that ended while it was read.
    let pids = listed.or_else(by_parent)?;
    Some(pids.into_iter().filter_map(child).collect())
}

fn by_parent() -> Option<Vec<u32>> {
    let own = std::process::id();
    let pids = fs::read_dir("/proc").ok()?.flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Some(pids.filter(|pid| stat(*pid).is_some_and(|(_, parent)| parent == own)).collect())
}

fn child(pid: u32) -> Option<Thing> {
    let (program, _) = stat(pid)?;
    let mark = if carries_token(pid) { Mark::Token } else { Mark::Unknown };
    Some(Thing { key: pid.to_string(), name: format!("process {pid} ({program})"), mark })
}

/// The program's name and the parent, from fields 2 and 4 of proc_pid_stat(5).
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(')')?;
    let program = head.split_once('(')?.1.to_owned();
    Some((program, rest.split_ascii_whitespace().nth(1)?.parse().ok()?))
}

fn carries_token(pid: u32) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let name = TOKEN_VARIABLE.as_bytes();
    environment
        .split(|byte| *byte == 0)
        .any(|variable| variable.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'=')))
}
