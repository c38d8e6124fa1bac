//! Owns the comparison of the account with the operating system: a baseline at the
//! start of a host, a look at its end.
//!
//! Receives the registry and the home; emits the checks of a receipt. What the system
//! shows is read by one thin file per platform and judged in `core::audit`.

#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "verify/linux.rs")]
#[cfg_attr(target_os = "macos", path = "verify/macos.rs")]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android", target_os = "macos")),
    path = "verify/other.rs"
)]
mod platform;

#[cfg(unix)]
mod socket;

use crate::engine::HOST;
use crate::home::Home;
use crate::registry::{LeaseKind, Registry};
use localport_core::audit::{Explained, Mark, Running, Scope, Thing, View, compare, inspect};
use localport_core::receipt::Check;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Name of the runtime's threads, to be given by whoever builds the runtime.
pub const RUNTIME_THREAD: &str = "lp-runtime";

/// What tokio calls its threads when nobody named them.
const UNNAMED_RUNTIME: &str = "tokio-rt-worker";

/// Where the locks of logind's inhibitors are open.
const INHIBITORS: &str = "/run/systemd/inhibit";

/// How long what has just been released may take to vanish: threads end and sockets
/// close a moment after their owner let go, and the system announces neither.
const SETTLE: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(4);

/// Connections to an API server that come with a watch: its own, and those of requests
/// that are kept for the next one.
const CONNECTIONS_OF_A_WATCH: usize = 4;

/// Threads that are there as long as everything runs: the one that starts children, and
/// the one that watches files.
const THREADS: [&str; 2] = ["lp-spawner", "notify-rs inotify loop"];

/// Name of the tasks that accept clients.
const ACCEPTS: &str = "accept";

/// What there was when the host started.
pub struct Baseline {
    scope: Scope,
    home: Home,
    view: View,
}

impl Baseline {
    /// Looks at the process before the host has anything.
    #[must_use]
    pub fn take(scope: Scope, home: &Home) -> Self {
        let view = look(home, &BTreeSet::new());
        Self { scope, home: home.clone(), view }
    }

    /// Compares with the system until everything is explained, for half a second at
    /// most; what is then unexplained stays.
    pub async fn verify(&self, registry: &Registry) -> Vec<Check> {
        settled(|| self.compare(registry)).await
    }

    /// The same while everything runs: also names the leases with nothing behind them.
    pub async fn inspect(&self, registry: &Registry) -> Vec<Check> {
        settled(|| {
            let files = registry.files();
            let now = look(&self.home, &files);
            let mut explained = self.explained(registry, files);
            explained.runtime.extend(THREADS.map(str::to_owned));
            let running = running(registry);
            inspect(self.scope, &self.view, &now, &explained, &running)
        })
        .await
    }

    /// Says what the system showed at the start and does not show now, such as without
    /// file descriptors to look with: what was not looked at is not well.
    #[must_use]
    pub fn unseen(&self, checks: &[Check]) -> Option<String> {
        let shown = [
            ("descriptors", self.view.descriptors.is_some()),
            ("sockets", self.view.sockets.is_some()),
            ("children", self.view.children.is_some()),
            ("threads", self.view.threads.is_some()),
            ("files", self.view.files.is_some()),
        ];
        let is_missing = |what: &str| !checks.iter().any(|check| check.what == what);
        let missing: Vec<&str> = shown
            .into_iter()
            .filter(|(what, shown)| *shown && is_missing(what))
            .map(|s| s.0)
            .collect();
        (!missing.is_empty()).then(|| {
            format!(
                "{} could not be looked at: the system let nothing be opened",
                missing.join(", ")
            )
        })
    }

    fn compare(&self, registry: &Registry) -> Vec<Check> {
        let files = registry.files();
        let end = look(&self.home, &files);
        compare(self.scope, &self.view, &end, &self.explained(registry, files))
    }

    fn explained(&self, registry: &Registry, mut files: BTreeSet<String>) -> Explained {
        let home = &self.home;
        let mut explained = Explained {
            // Both are written to until after this look.
            places: [home.logs(), home.journal()].map(|path| path.display().to_string()).into(),
            homes: [home.state.display().to_string(), home.runtime.display().to_string()].into(),
            control: (home.control_socket().display().to_string(), 0),
            runtime: [RUNTIME_THREAD.to_owned(), UNNAMED_RUNTIME.to_owned()].into(),
            ..Explained::default()
        };
        for lease in registry.list() {
            match lease.kind {
                LeaseKind::File | LeaseKind::Lock => {
                    files.remove(&lease.name);
                    explained.places.insert(lease.name);
                }
                LeaseKind::Inhibitor => {
                    explained.places.insert(INHIBITORS.to_owned());
                }
                LeaseKind::Connection if lease.owner == HOST => explained.control.1 += 1,
                LeaseKind::Task => {
                    explained.tasks.insert(lease.name);
                }
                _ => {}
            }
        }
        explained.released = files;
        explained
    }
}

/// Looks until everything is explained, for half a second at most.
async fn settled(look: impl Fn() -> Vec<Check>) -> Vec<Check> {
    let end = Instant::now() + SETTLE;
    let mut pause = LOOK_AGAIN;
    loop {
        let checks = look();
        let is_clean = checks.iter().all(|check| check.unexplained.is_empty());
        if is_clean || Instant::now() >= end {
            return checks;
        }
        sleep(pause).await;
        pause *= 2;
    }
}

/// What the leases say is there. A lease names what it is by its kind; what has no name
/// of its own (a pipe, a connection to an API server) is counted against those that need
/// it.
fn running(registry: &Registry) -> Running {
    let mut running = Running::default();
    let (mut files, mut reach, mut accepting) = (0, 0, 0);
    for lease in registry.list() {
        let after = |start| lease.name.strip_prefix(start).map(str::to_owned);
        match lease.kind {
            LeaseKind::Listener => {
                running.ports.extend(after("port ").and_then(|port| port.parse::<u16>().ok()));
            }
            LeaseKind::Connection => running.clients.extend(after("client ")),
            LeaseKind::File => drop(running.files.insert(lease.name)),
            LeaseKind::Watch if lease.owner == HOST => files += 1,
            LeaseKind::Watch => reach += CONNECTIONS_OF_A_WATCH,
            LeaseKind::Tunnel => reach += 1,
            LeaseKind::Task if lease.name == ACCEPTS => accepting += 1,
            _ => {}
        }
    }
    let processes = registry.processes();
    running.children = processes.iter().flatten().map(u32::to_string).collect();
    running.nameless = processes.iter().filter(|process| process.is_none()).count();
    // A client of a cluster may have a connection of its own.
    running.outgoing = if reach > 0 { reach + running.clients.len() } else { 0 };
    let children = processes.len();
    running.spare = [
        ("pipe:[]", 3 * children),
        ("socket:[]", 3 * children),
        ("anon_inode:[pidfd]", children),
        ("anon_inode:inotify", files),
        ("anon_inode:[eventpoll]", files),
        ("anon_inode:[eventfd]", files),
        // Each keeps one in reserve, for a client that comes when there are none left.
        ("/dev/null", accepting),
    ]
    .map(|(kind, count)| (kind.to_owned(), count))
    .into();
    running
}

fn look(home: &Home, claimed: &BTreeSet<String>) -> View {
    let view = platform::look();
    View { files: Some(files(home, claimed)), ..view }
}

/// What is in the runtime directory, and what was claimed elsewhere and still exists.
fn files(home: &Home, claimed: &BTreeSet<String>) -> Vec<Thing> {
    let mut paths: BTreeSet<String> =
        claimed.iter().filter(|path| exists(Path::new(path))).cloned().collect();
    if let Ok(entries) = fs::read_dir(&home.runtime) {
        paths.extend(entries.flatten().map(|entry| entry.path().display().to_string()));
    }
    let thing =
        |path: String| Thing { key: path.clone(), name: path.clone(), mark: Mark::Path(path) };
    paths.into_iter().map(thing).collect()
}

/// Also a link that leads nowhere and a socket that nobody answers on exist.
fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
