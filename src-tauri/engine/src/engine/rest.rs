//! Owns what a sleep of the machine and a change of its network mean for the engine.
//!
//! Receives word of them, and of each supervisor that has gone quiet; emits one level that
//! all supervisors follow, the phase, and the events.

use super::Engine;
use crate::supervisor::ForwardId;
use localport_core::event::Kind;
use localport_core::snapshot::Phase;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// How long the adapters have to put old connections aside before sessions are asked to
/// prove themselves: it takes a moment, unless a login is under way.
const ASIDE: Duration = Duration::from_millis(200);

/// What all supervisors follow. A level, not an event: none can miss it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// Whether the machine sleeps or is about to.
    pub(crate) asleep: bool,
    /// Rises with every wake, once sessions may be asked.
    pub(crate) wakes: u64,
    /// Rises with every change of the network, likewise.
    pub(crate) changes: u64,
}

/// Who still has to go quiet, and who waits for it.
pub(super) struct Rest {
    pulse: watch::Sender<Pulse>,
    /// Those who have not gone quiet yet.
    restless: BTreeSet<ForwardId>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Rest {
    /// Awake.
    pub(super) fn new() -> (Self, watch::Receiver<Pulse>) {
        let (pulse, follow) = watch::channel(Pulse::default());
        (Self { pulse, restless: BTreeSet::new(), waiting: vec![] }, follow)
    }

    /// The supervisor has gone quiet, or has gone.
    pub(super) fn quiet(&mut self, id: ForwardId) {
        self.restless.remove(&id);
        self.tell();
    }

    fn tell(&mut self) {
        if self.restless.is_empty() {
            for waiting in self.waiting.drain(..) {
                // Whoever asked may have gone.
                let _ = waiting.send(());
            }
        }
    }
}

impl Engine {
    pub(super) fn suspend(&mut self, quiet: oneshot::Sender<()>) {
        self.rest.waiting.push(quiet);
        if !self.rest.pulse.borrow().asleep {
            self.rest.restless = self.board.ids().collect();
            self.rest.pulse.send_modify(|pulse| pulse.asleep = true);
            self.show_rest();
        }
        self.rest.tell();
    }

    pub(super) fn wake(&mut self, slept: Option<Duration>) {
        self.clock.catch_up();
        let slept_ms = slept.map(|slept| u64::try_from(slept.as_millis()).unwrap_or(u64::MAX));
        self.announce(None, Kind::Woke { slept_ms });
        self.get_up();
    }

    /// A client came in the sleep: either it never came about, or nobody told of its end.
    pub(super) fn rise(&mut self) {
        if self.rest.pulse.borrow().asleep {
            self.get_up();
        }
    }

    fn get_up(&mut self) {
        self.rest.waiting.clear();
        if self.rest.pulse.borrow().asleep {
            self.rest.pulse.send_modify(|pulse| pulse.asleep = false);
            self.show_rest();
        }
        self.set_aside("wake", |pulse| pulse.wakes += 1);
    }

    pub(super) fn network_changed(&mut self) {
        self.announce(None, Kind::NetworkChanged);
        if !self.rest.pulse.borrow().asleep {
            self.set_aside("network change", |pulse| pulse.changes += 1);
        }
    }

    /// The phase of an engine that does not end.
    pub(super) fn awake_or_asleep(&self) -> Phase {
        if self.rest.pulse.borrow().asleep { Phase::Asleep } else { Phase::Running }
    }

    fn show_rest(&mut self) {
        if !self.end.is_under_way() {
            self.enter(self.awake_or_asleep());
        }
    }

    /// Has the adapters put aside what cannot be trusted any more, then the sessions prove
    /// themselves.
    fn set_aside(&self, name: &'static str, doubt: fn(&mut Pulse)) {
        let ([ssh, kube], pulse) = (self.adapters.clone(), self.rest.pulse.clone());
        self.supervisors.spawn(name, async move {
            let aside = async { tokio::join!(ssh.doubt(), kube.doubt()) };
            // What takes longer goes on without the sessions' waiting for it.
            let _ = timeout(ASIDE, aside).await;
            pulse.send_modify(doubt);
        });
    }
}
