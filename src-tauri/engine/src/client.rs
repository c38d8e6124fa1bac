//! Owns one client of a forward: held until there is a session, then carried.
//!
//! Receives an accepted socket, emits evidence about the target. A client is never
//! refused because the far side is away; it is closed only when the target itself
//! says no, when its hold is over, or when the forward is switched off.

use crate::adapter::{Connection, Session, Verdict};
use crate::handle::Clock;
use crate::registry::{Lease, LeaseId, LeaseKind, Registry};
use crate::relay::{Buffers, Counters, End, relay, reset};
use localport_core::config::ForwardSpec;
use localport_core::problem::{Code, Problem};
use localport_core::time::Timestamp;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// First and last wait of a held client before it asks the same session again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// A session in use, with the attempt that made it.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) generation: u64,
    pub(crate) session: Arc<dyn Session>,
    /// What its clients stand on.
    pub(crate) lease: LeaseId,
    /// Clients on it: a session that was replaced lives until they are gone.
    pub(crate) users: TaskTracker,
    /// Proof of this session's target; that of another target proves nothing.
    pub(crate) proof: Arc<LastProof>,
}

/// A client's connection through a session.
struct Dialled {
    live: Live,
    connection: Connection,
    _user: TaskTrackerToken,
}

/// What a client learnt.
#[derive(Debug)]
pub(crate) enum Evidence {
    /// A client waits for a session.
    Held,
    /// Bytes came back from the target.
    Answered { generation: u64 },
    /// The target said no.
    Refused { generation: u64, problem: Problem },
    /// The client could not be served.
    Closed { client: SocketAddr, problem: Problem },
}

/// What all clients of one forward share.
pub(crate) struct Service {
    pub(crate) forward: Arc<str>,
    pub(crate) sessions: watch::Receiver<Option<Live>>,
    /// How long clients are held stands here, and may change.
    pub(crate) specs: watch::Receiver<Arc<ForwardSpec>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) registry: Registry,
    /// Lossy when full: the next client says the same again.
    pub(crate) evidence: mpsc::Sender<Evidence>,
    pub(crate) clock: Clock,
    /// Rung when a counter changed that people see.
    pub(crate) changed: Arc<Notify>,
}

/// Why a held client got no connection.
enum Denied {
    /// Nothing came within this time.
    Expired(Duration),
    /// The target said no.
    Refused { generation: u64, problem: Problem },
    /// The forward was switched off.
    Off,
}

impl Service {
    /// Serves one client to its end. `off` ends the hold, `cut` ends everything with a reset.
    pub(crate) async fn serve(
        self: Arc<Self>,
        mut client: TcpStream,
        address: SocketAddr,
        off: CancellationToken,
        cut: CancellationToken,
    ) {
        let lease =
            self.registry.lease(LeaseKind::Connection, format!("client {address}"), &*self.forward);
        self.counters.total.fetch_add(1, Ordering::Relaxed);
        let served = async {
            match self.hold(&off).await {
                Ok(dialled) => self.carry(&mut client, &lease, dialled).await,
                Err(denied) => self.deny(&client, address, denied),
            }
        };
        let is_cut = tokio::select! {
            // What has ended was not cut.
            biased;
            () = served => false,
            () = cut.cancelled() => true,
        };
        if is_cut {
            lease.forced();
            reset(&client);
        }
    }

    async fn hold(&self, off: &CancellationToken) -> Result<Dialled, Denied> {
        let _held = self.count(&self.counters.held);
        if self.sessions.borrow().is_none() {
            self.tell(Evidence::Held);
        }
        let hold = self.specs.borrow().hold;
        let dialled = timeout_at(Instant::now() + hold, self.dial());
        match off.run_until_cancelled(dialled).await {
            Some(Ok(dialled)) => dialled,
            Some(Err(_)) => Err(Denied::Expired(hold)),
            None => Err(Denied::Off),
        }
    }

    async fn dial(&self) -> Result<Dialled, Denied> {
        let mut sessions = self.sessions.clone();
        let mut pause = FIRST_PAUSE;
        loop {
            let live = match sessions.wait_for(Option::is_some).await {
                Ok(live) => live.clone(),
                Err(_) => return Err(Denied::Off),
            };
            let Some(live) = live else { continue };
            let generation = live.generation;
            let successor = |next: &Option<Live>| {
                next.as_ref().is_none_or(|next| next.generation != generation)
            };
            let user = live.users.token();
            let dialled = tokio::select! {
                dialled = live.session.connect() => Some(dialled),
                _ = live.session.lost() => None,
                // Nothing was sent yet: what does not answer is not waited for.
                _ = sessions.wait_for(successor) => continue,
            };
            let Some(dialled) = dialled else {
                let _ = sessions.wait_for(successor).await;
                continue;
            };
            match dialled {
                Ok(connection) => return Ok(Dialled { live, connection, _user: user }),
                Err(error) if error.verdict == Verdict::Refuse => {
                    return Err(Denied::Refused { generation, problem: error.problem });
                }
                Err(error) => {
                    tracing::debug!(forward = %self.forward, problem = %error.problem, "client held");
                    tokio::select! {
                        () = sleep(pause) => pause = (pause * 2).min(LAST_PAUSE),
                        _ = sessions.wait_for(successor) => pause = FIRST_PAUSE,
                    }
                }
            }
        }
    }

    async fn carry(&self, client: &mut TcpStream, lease: &Lease, dialled: Dialled) {
        let Dialled { live, mut connection, _user } = dialled;
        lease.stand_on(live.lease);
        let _open = self.count(&self.counters.open);
        let generation = live.generation;
        let answered = || {
            if live.proof.renew(self.clock.now()) {
                self.tell(Evidence::Answered { generation });
            }
        };
        let end =
            relay(client, &mut *connection.stream, &self.counters, &self.buffers, answered).await;
        if let Some(problem) = end.problem() {
            self.tell(Evidence::Refused { generation, problem: problem.clone() });
        }
        if let End::Client(error) | End::Target(error) = &end {
            tracing::debug!(forward = %self.forward, %error, "connection broke off");
        }
    }

    fn deny(&self, client: &TcpStream, address: SocketAddr, denied: Denied) {
        reset(client);
        match denied {
            Denied::Off => {}
            Denied::Refused { generation, problem } => {
                self.tell(Evidence::Refused { generation, problem });
            }
            Denied::Expired(hold) => {
                let seconds = hold.as_secs();
                let problem = Problem::new(
                    Code::HoldExpired,
                    format!("Client `{address}` was held for `{seconds}` s and no session came"),
                    "See the forward's own problem; `hold` sets how long clients wait",
                );
                self.tell(Evidence::Closed { client: address, problem });
            }
        }
    }

    fn tell(&self, evidence: Evidence) {
        // A full channel already holds newer evidence than anyone has read.
        let _ = self.evidence.try_send(evidence);
    }

    fn count<'a>(&'a self, counter: &'a AtomicU32) -> Counted<'a> {
        counter.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        Counted { counter, changed: &self.changed }
    }
}

/// Keeps a count right however its scope ends.
struct Counted<'a> {
    counter: &'a AtomicU32,
    changed: &'a Notify,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

/// When bytes last came back that were worth telling of.
#[derive(Debug)]
pub(crate) struct LastProof {
    /// In milliseconds since the Unix epoch.
    at: AtomicU64,
    /// Proof is told this often, however many clients have it. In milliseconds.
    worth: u64,
}

impl LastProof {
    pub(crate) fn new(worth: Duration) -> Self {
        let worth = u64::try_from(worth.as_millis()).unwrap_or(u64::MAX);
        Self { at: AtomicU64::new(0), worth }
    }

    /// Takes the proof down; whether it is worth telling.
    pub(crate) fn renew(&self, now: Timestamp) -> bool {
        let before = self.at.load(Ordering::Relaxed);
        let worth = now.0.saturating_sub(before) >= self.worth;
        worth
            && self.at.compare_exchange(before, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Makes the next proof worth telling.
    pub(crate) fn forget(&self) {
        self.at.store(0, Ordering::Relaxed);
    }
}
