//! Owns the end of what a crashed host left: its children and its files.

use super::platform::{self, Held};
use crate::home::Home;
use crate::journal::Journal;
use futures_util::future::join_all;
use localport_core::journal::{Child, Entry, Past};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time a stray gets between being asked and being killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// A process of a crashed host that was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Its process id.
    pub pid: u32,
    /// The program it was started as, or whose child it is.
    pub program: PathBuf,
    /// Whether it had to be killed.
    pub forced: bool,
}

/// Ends the children that a host without a life left behind, and removes its files. To
/// be called at start, holding the host's lock.
///
/// A process is recognised by the token in its environment, and one whose number the
/// journal names also by its start time; the children of a host that still runs are left
/// alone.
pub async fn sweep(home: &Home, past: &Past, journal: &Journal) -> Vec<Stray> {
    let orphaned: Vec<(&String, &Child)> =
        past.children.iter().filter(|(_, child)| !host_runs(child)).collect();
    let strays = end_all(&orphaned).await;
    for (token, child) in orphaned {
        if child.dir.as_ref().is_none_or(|dir| remove(dir, home)) {
            journal.put(Entry::ChildEnded { token: token.clone() });
        }
    }
    if past.last.as_ref().is_none_or(|life| !runs(&life.host.process)) {
        for path in past.files.iter().filter(|path| remove(path, home)) {
            journal.put(Entry::FileGone { path: path.clone() });
        }
    }
    strays
}

/// All at once: each may take its whole patience.
async fn end_all(orphaned: &[(&String, &Child)]) -> Vec<Stray> {
    let tokens: Vec<&str> = orphaned.iter().map(|(token, _)| token.as_str()).collect();
    let known: Vec<u32> = orphaned.iter().filter_map(|(_, child)| pid(child)).collect();
    // Most often the operating system has ended all of them: one look tells.
    if tokens.is_empty() || platform::carrying(&tokens, &known).is_empty() {
        return vec![];
    }
    let ends = orphaned.iter().flat_map(|(token, child)| {
        let known: Vec<u32> = pid(child).into_iter().collect();
        let held = platform::carrying(&[token], &known).into_iter();
        held.filter(|held| is_it(child, held)).map(|held| end(held, &child.program))
    });
    join_all(ends).await
}

fn pid(child: &Child) -> Option<u32> {
    child.process.as_ref().map(|process| process.pid)
}

/// A process whose number the journal names must also have the start time it names;
/// other numbers are the child's own children, known by the inherited token.
fn is_it(child: &Child, held: &Held) -> bool {
    match &child.process {
        Some(process) if process.pid == held.pid => {
            platform::start_time(process.pid) == process.started
        }
        _ => true,
    }
}

fn host_runs(child: &Child) -> bool {
    runs(&child.host)
}

fn runs(host: &localport_core::journal::Process) -> bool {
    host.started.is_some() && platform::start_time(host.pid) == host.started
}

async fn end(held: Held, program: &Path) -> Stray {
    held.ask();
    let forced = tokio::time::timeout(PATIENCE, held.gone()).await.is_err();
    if forced {
        held.force();
        // Even a killed process may hang in the kernel: the start must not.
        let _ = tokio::time::timeout(PATIENCE, held.gone()).await;
    }
    Stray { pid: held.pid, program: program.to_owned(), forced }
}

/// Whether nothing of ours is there any more. Only directories that are ours by their
/// place and their name are removed: the journal is a file, and a file can be edited.
fn remove(dir: &Path, home: &Home) -> bool {
    let named = dir
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(super::DIR_PREFIX));
    let placed =
        dir.parent().is_some_and(|parent| parent == home.runtime || parent == std::env::temp_dir());
    if named && placed && dir.is_dir() && !dir.is_symlink() {
        let removed = std::fs::remove_dir_all(dir);
        if let Err(error) = &removed {
            tracing::warn!(%error, path = %dir.display(), "what a crash left cannot be removed");
        }
        return removed.is_ok();
    }
    true
}
