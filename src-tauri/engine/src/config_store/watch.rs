//! Owns the watch on every directory where something may change the configuration.
//!
//! Receives the places that matter, emits that something there changed. Directories are
//! watched rather than files: editors write a new file and rename it over the old one.

use super::trail::trail;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

pub(crate) struct Watch {
    watcher: Option<RecommendedWatcher>,
    names: Arc<Mutex<BTreeSet<PathBuf>>>,
    directories: BTreeSet<PathBuf>,
    changed: Arc<Notify>,
}

impl Watch {
    /// A watch on nothing yet. Where the system gives none (out of watches), the log says
    /// `without`: what becomes of changes then.
    pub(crate) fn new(without: &str) -> Self {
        let names = Arc::new(Mutex::new(BTreeSet::new()));
        let changed = Arc::new(Notify::new());
        let (matter, ring) = (names.clone(), changed.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if is_of_account(&event, &matter) {
                ring.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!("{without}: {error}");
            })
            .ok();
        Self { watcher, names, directories: BTreeSet::new(), changed }
    }

    /// Watches what matters for `places` from now on.
    pub(crate) fn aim(&mut self, places: Vec<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let names: BTreeSet<PathBuf> = places.iter().flat_map(|place| trail(place)).collect();
        let directories: BTreeSet<PathBuf> =
            names.iter().filter_map(|name| name.parent()).map(Path::to_owned).collect();
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        for gone in self.directories.difference(&directories) {
            // One that was removed is watched no more anyway.
            let _ = watcher.unwatch(gone);
        }
        // Those that are known are asked for again: one that was removed and made anew has
        // lost its watch, and asking twice does no harm.
        self.directories = directories
            .into_iter()
            .filter(|directory| match watcher.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => true,
                Err(error) => {
                    tracing::debug!("`{}` is not watched: {error}", directory.display());
                    false
                }
            })
            .collect();
    }

    /// Resolves when something changed that matters.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Whether the event is about a name that matters and may have changed what is read.
fn is_of_account(event: &notify::Result<Event>, names: &Mutex<BTreeSet<PathBuf>>) -> bool {
    // Something was missed: better read once too often.
    let Ok(event) = event else { return true };
    let read_only = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    };
    if read_only {
        return false;
    }
    let names = names.lock().unwrap_or_else(PoisonError::into_inner);
    event.need_rescan() || event.paths.iter().any(|path| names.contains(path))
}
