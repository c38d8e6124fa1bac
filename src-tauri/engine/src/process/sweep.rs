//! Owns the end of what a crashed engine left: its children and their directories.

use super::journal::{Entry, Journal};
use super::platform::{self, Held};
use crate::home::Home;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time a stray gets between being asked and being killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// A process of a crashed engine that was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Its process id.
    pub pid: u32,
    /// The program it was started as, or whose child it is.
    pub program: PathBuf,
    /// Whether it had to be killed.
    pub forced: bool,
}

/// Ends the children that an engine without a life left behind, and removes their
/// directories. To be called at start, holding the engine's lock.
///
/// A process is recognised by the token in its environment, and one whose number the
/// journal names also by its start time; the children of an engine that still runs are
/// left alone.
pub async fn sweep(home: &Home) -> Vec<Stray> {
    let journal = Journal::new(home.children());
    let orphaned: Vec<Entry> =
        journal.open_entries().into_iter().filter(|entry| !engine_runs(entry)).collect();
    let mut strays = Vec::new();
    for entry in &orphaned {
        let known: Vec<u32> = entry.process.iter().map(|(pid, _)| *pid).collect();
        for held in platform::carrying(&[&entry.token], &known) {
            if is_it(entry, &held) {
                strays.push(end(held, &entry.program).await);
            }
        }
        if let Some(dir) = &entry.dir {
            remove(dir, home);
        }
        journal.ended(&entry.token);
    }
    journal.compact();
    strays
}

/// A process whose number the journal names must also have the start time it names;
/// other numbers are the child's own children, known by the inherited token.
fn is_it(entry: &Entry, held: &Held) -> bool {
    match &entry.process {
        Some((pid, started)) if *pid == held.pid => platform::start_time(*pid) == *started,
        _ => true,
    }
}

fn engine_runs(entry: &Entry) -> bool {
    let (pid, started) = &entry.engine;
    started.is_some() && platform::start_time(*pid) == *started
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

/// Only directories that are ours by their place or their name: the journal is a file,
/// and a file can be edited.
fn remove(dir: &Path, home: &Home) {
    let named = dir
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(super::DIR_PREFIX));
    if named && (dir.starts_with(&home.runtime) || dir.starts_with(std::env::temp_dir())) {
        let _ = std::fs::remove_dir_all(dir);
    }
}
