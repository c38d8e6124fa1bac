//! Owns which way into a cluster was found to work.
//!
//! Receives findings and the server's version; whoever shows the way is told of changes.

use localport_core::kube::{Verdict, Way, begin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The ways of one cluster.
pub(super) struct Ways {
    start: Instant,
    state: Mutex<State>,
    shown: watch::Sender<Way>,
}

#[derive(Default)]
struct State {
    verdict: Option<Verdict>,
    version: Option<String>,
    road: String,
}

impl State {
    fn begin(&self, now: Duration) -> Way {
        begin(self.verdict.as_ref(), self.version.as_deref(), &self.road, now)
    }

    fn knows(&self, way: Way) -> bool {
        self.verdict.as_ref().is_some_and(|known| known.way == way && known.road == self.road)
    }
}

impl Default for Ways {
    fn default() -> Self {
        let shown = watch::Sender::new(Way::SpdyWs);
        Self { start: Instant::now(), state: Mutex::default(), shown }
    }
}

impl Ways {
    /// The way to begin with.
    pub(super) fn begin(&self) -> Way {
        self.state().begin(self.start.elapsed())
    }

    /// Whether `way` is known to work.
    pub(super) fn is_found(&self, way: Way) -> bool {
        self.state().knows(way)
    }

    /// `way` has just carried something.
    pub(super) fn found(&self, way: Way) {
        let mut state = self.state();
        if state.knows(way) && state.begin(self.start.elapsed()) == way {
            return;
        }
        let found = self.start.elapsed();
        let (version, road) = (state.version.clone(), state.road.clone());
        state.verdict = Some(Verdict { way, version, road, found });
        drop(state);
        let changed = self.shown.send_if_modified(|shown| std::mem::replace(shown, way) != way);
        if changed {
            tracing::info!(way = way.as_str(), "the way into the cluster");
        }
    }

    /// The server is reached over `road` from now on.
    pub(super) fn note_road(&self, road: &str) {
        let mut state = self.state();
        if state.road != road {
            road.clone_into(&mut state.road);
            // It may be another server.
            state.version = None;
        }
    }

    /// The server says that it is of `version`.
    pub(super) fn note_version(&self, version: &str) {
        let mut state = self.state();
        if state.version.as_deref() != Some(version) {
            state.version = Some(version.to_owned());
        }
        if let Some(verdict) = &mut state.verdict {
            // Found before the version was known, and so on this one.
            verdict.version.get_or_insert_with(|| version.to_owned());
        }
    }

    /// The way of the last connection, and the hope before the first one.
    pub(super) fn shown(&self) -> Way {
        *self.shown.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Way> {
        self.shown.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
