//! Owns the tunnels to one pod, shared by all forwards and ports of that pod.
//!
//! A connection asks for a tunnel and gets a lease on one; which one, and when another
//! is opened, [`pick`] decides. A tunnel ends with its pool, after a time without use,
//! when it fell silent, or when a refusal has wedged it.

mod open;
mod spare;

pub(super) use open::Stop;
pub(super) use spare::{Spare, Spares};

use super::cluster::Cluster;
use super::path::{Care, Endpoint};
use localport_core::kube::{Pick, PoolLimits, TunnelView, pick};
use localport_tunnel::{Reason, Tunnel};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Time without use after which the last tunnel of a pod ends: opening one costs four
/// round trips, keeping one a ping every 20 s.
const LAST_IDLE: Duration = Duration::from_secs(10 * 60);

/// The same for the others, which a burst needed.
const OTHER_IDLE: Duration = Duration::from_secs(60);

/// While nothing is being opened, a tunnel that stopped being stalled is noticed after
/// this time; nothing announces it.
const STALL_LOOK: Duration = Duration::from_millis(100);

/// The tunnels to one pod. Leases and sessions keep it.
pub(super) struct Pool {
    cluster: Arc<Cluster>,
    namespace: String,
    pod: String,
    uid: String,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    next: u64,
    opening: usize,
    /// Attempts to open that have ended.
    ended: u64,
    /// The last of them that failed.
    failed: Option<(u64, Stop)>,
    /// Ports that somebody is proving: whoever else wants one waits for the outcome.
    proving: HashSet<u16>,
    /// While its tunnel is one that nobody has needed yet.
    spare: Option<spare::Permit>,
}

struct Slot {
    id: u64,
    tunnel: Tunnel,
    leases: usize,
    exclusive: bool,
    idle_since: Instant,
    /// Since when it has to show that it lives.
    doubted: Option<Instant>,
}

impl Pool {
    /// The pool of the pod of `endpoint`.
    pub(super) fn new(cluster: Arc<Cluster>, endpoint: &Endpoint) -> Self {
        Self {
            cluster,
            namespace: endpoint.namespace.clone(),
            pod: endpoint.pod.clone(),
            uid: endpoint.uid.clone(),
            state: Mutex::default(),
            changed: watch::Sender::default(),
        }
    }

    /// A tunnel for one connection to `endpoint`: alone on it, until the port has proved
    /// to accept; else as [`pick`] says.
    ///
    /// # Errors
    /// When none could be opened.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        care: Care,
    ) -> Result<Lease, Stop> {
        let mut changed = self.changed.subscribe();
        let begun = self.state().ended;
        loop {
            changed.borrow_and_update();
            let proved = care == Care::Client && self.cluster.proofs.holds(endpoint);
            if let Some(outcome) = self.take(endpoint.port, proved, begun) {
                return outcome;
            }
            // A missed look is no loss: the pick is made anew.
            let _ = timeout(STALL_LOOK, changed.changed()).await;
        }
    }

    fn take(self: &Arc<Self>, port: u16, proved: bool, begun: u64) -> Option<Result<Lease, Stop>> {
        let mut state = self.state();
        if !proved && state.proving.contains(&port) {
            return None;
        }
        let views: Vec<TunnelView> = state.slots.iter().map(Slot::view).collect();
        match pick(&views, state.opening, proved, PoolLimits::default()) {
            Pick::Lease(id) => Some(Ok(self.lease(&mut state, id, port, proved)?)),
            Pick::Share { id, open } => {
                if open {
                    self.open(&mut state);
                }
                Some(Ok(self.lease(&mut state, id, port, proved)?))
            }
            choice => {
                if let Some((attempt, stop)) = &state.failed
                    && *attempt > begun
                {
                    return Some(Err(stop.clone()));
                }
                if choice == Pick::Open {
                    self.open(&mut state);
                }
                None
            }
        }
    }

    fn lease(
        self: &Arc<Self>,
        state: &mut State,
        id: u64,
        port: u16,
        proved: bool,
    ) -> Option<Lease> {
        let slot = state.slots.iter_mut().find(|slot| slot.id == id)?;
        state.spare = None;
        slot.leases += 1;
        slot.exclusive = !proved;
        let tunnel = slot.tunnel.clone();
        if !proved {
            state.proving.insert(port);
        }
        Some(Lease { pool: self.clone(), id, tunnel, proving: (!proved).then_some(port) })
    }

    /// With `proving`, the port that was being proved: its outcome is known at the same
    /// moment, so that whoever waits for it finds the tunnel idle.
    fn give_back(&self, id: u64, proving: Option<u16>) {
        let mut state = self.state();
        state.settle(id, proving);
        if let Some(slot) = state.slots.iter_mut().find(|slot| slot.id == id) {
            slot.leases -= 1;
            slot.idle_since = Instant::now();
        }
        drop(state);
        self.announce();
    }

    fn settled(&self, id: u64, port: u16) {
        self.state().settle(id, Some(port));
        self.announce();
    }

    /// A tunnel has ended.
    fn lost(&self, id: u64, reason: &Reason) {
        tracing::debug!(pod = self.pod, %reason, "a tunnel ended");
        if matches!(reason, Reason::Silent(_)) {
            // Whatever else goes that way may be dead as well.
            self.cluster.forsake();
        }
        let mut state = self.state();
        state.slots.retain(|slot| slot.id != id);
        if state.slots.is_empty() {
            state.spare = None;
        }
        drop(state);
        self.announce();
    }

    /// When the tunnel may be due to end for want of use; none when it has been told to.
    fn idle_due(&self, id: u64) -> Option<Instant> {
        let state = self.state();
        let last = state.slots.len() == 1;
        let slot = state.slots.iter().find(|slot| slot.id == id)?;
        let limit = if last { LAST_IDLE } else { OTHER_IDLE };
        let since = if slot.leases == 0 { slot.idle_since } else { Instant::now() };
        let due = since + limit;
        if due > Instant::now() {
            return Some(due);
        }
        slot.tunnel.retire();
        None
    }

    /// The path may have died: tunnels without a use end, the others are asked for a sign
    /// of life at once and take nobody before it.
    pub(super) fn suspect(&self) {
        for slot in &mut self.state().slots {
            if slot.leases == 0 {
                slot.tunnel.retire();
            } else {
                slot.tunnel.suspect();
                slot.doubted = Some(Instant::now());
            }
        }
        self.announce();
    }

    fn announce(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn settle(&mut self, id: u64, proving: Option<u16>) {
        let Some(port) = proving else { return };
        self.proving.remove(&port);
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) {
            slot.exclusive = false;
        }
    }
}

impl Slot {
    fn view(&self) -> TunnelView {
        let status = self.tunnel.status();
        let doubted = self.doubted.is_some_and(|at| status.silent >= at.elapsed());
        TunnelView {
            id: self.id,
            streams: self.leases,
            stalled: status.stalled || doubted,
            retired: status.retired,
            exclusive: self.exclusive,
        }
    }
}

/// A connection's hold on a tunnel.
pub(super) struct Lease {
    pool: Arc<Pool>,
    id: u64,
    pub(super) tunnel: Tunnel,
    proving: Option<u16>,
}

impl Lease {
    /// The port has accepted or refused: others may go on, and share the tunnel.
    pub(super) fn settled(&mut self) {
        if let Some(port) = self.proving.take() {
            self.pool.settled(self.id, port);
        }
    }

    /// A dial was refused after data was sent, which wedges a node: the tunnel takes
    /// nobody any more, and is given up as soon as it does not answer.
    pub(super) fn condemn(&self) {
        self.tunnel.retire();
        self.tunnel.suspect();
        self.pool.announce();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.give_back(self.id, self.proving.take());
    }
}
