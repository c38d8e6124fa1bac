//! Owns the opening of a pool's tunnels: the ways in turn, and the task of each tunnel.

use super::{Pool, Slot, State};
use crate::adapter::kube::path::Endpoint;
use crate::adapter::kube::upgrade::{self, Denied};
use crate::adapter::kube::v4;
use crate::registry::LeaseKind;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use localport_core::kube::{Fault, Refusal, Way, fall_back};
use localport_tunnel::{Config, Doubts, Driver, Reason, Tunnel, start};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Time for the first answer of a way that is not known to work: some proxies and
/// runtimes upgrade and then carry nothing.
const PONG_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no tunnel.
#[derive(Clone, Debug)]
pub(in super::super) enum Stop {
    /// The cluster serves none: one WebSocket per connection is left to try.
    NoTunnel,
    /// For a reason that no other way mends.
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl Pool {
    /// Opens another tunnel in the background.
    pub(super) fn open(self: &Arc<Self>, state: &mut State) {
        state.opening += 1;
        let pool = self.clone();
        let name = format!("open a tunnel to pod {}", self.pod);
        self.cluster.shared.tasks.spawn(name, async move {
            let outcome = pool.try_open().await;
            pool.opened(outcome);
        });
    }

    fn opened(self: &Arc<Self>, outcome: Result<(Tunnel, Driver<TokioIo<Upgraded>>), Stop>) {
        let mut state = self.state();
        state.opening -= 1;
        state.ended += 1;
        match outcome {
            Err(stop) => {
                state.failed = Some((state.ended, stop));
                state.spare = None;
            }
            Ok((tunnel, driver)) => {
                state.next += 1;
                let id = state.next;
                let (idle_since, doubts) = (Instant::now(), tunnel.doubts());
                state.slots.push(Slot {
                    id,
                    tunnel,
                    leases: 0,
                    exclusive: false,
                    idle_since,
                    doubted: None,
                });
                self.drive(id, doubts, driver);
            }
        }
        drop(state);
        self.announce();
    }

    fn drive(self: &Arc<Self>, id: u64, doubts: Doubts, driver: Driver<TokioIo<Upgraded>>) {
        let name = format!("tunnel {id} to pod {} of {}", self.pod, self.cluster.context);
        let tasks = &self.cluster.shared.tasks;
        let lease = tasks.lease(LeaseKind::Tunnel, &name, "kube", vec![]);
        let pool = Arc::downgrade(self);
        tasks.spawn(name, async move {
            let _lease = lease;
            let reason = tokio::select! {
                reason = driver => reason,
                never = tend(&pool, id) => never,
                never = weigh(&pool, doubts) => never,
            };
            if let Some(pool) = pool.upgrade() {
                pool.lost(id, &reason);
            }
        });
    }

    async fn try_open(&self) -> Result<(Tunnel, Driver<TokioIo<Upgraded>>), Stop> {
        let endpoint = Endpoint {
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            uid: self.uid.clone(),
            port: 0,
        };
        let mut way = self.cluster.ways.begin();
        while way != Way::V4 {
            let (refusal, error) = match upgrade::upgrade(&self.cluster, &endpoint, way).await {
                Ok(io) => {
                    let (tunnel, driver) = start(io, upgrade::framing(way), Config::default());
                    match self.check(way, &tunnel, driver).await {
                        Some(driver) => {
                            self.cluster.ways.found(way);
                            return Ok((tunnel, driver));
                        }
                        None => (Refusal::NoPong, None),
                    }
                }
                Err(Denied::Fault(fault)) => return Err(fault.into()),
                Err(Denied::Answer { refusal, error }) => (refusal, Some(error)),
            };
            way = match (fall_back(way, refusal), error) {
                (Some(next), _) => next,
                (None, None) => return Err(Fault::Timeout.into()),
                (None, Some(error)) => {
                    return Err(v4::refused(&self.cluster, &error, &endpoint).await.into());
                }
            };
            tracing::debug!(pod = self.pod, ?refusal, next = way.as_str(), "no tunnel this way");
        }
        Err(Stop::NoTunnel)
    }

    /// The driver, once the tunnel has carried a round trip if its way is not known to
    /// work.
    async fn check(
        &self,
        way: Way,
        tunnel: &Tunnel,
        mut driver: Driver<TokioIo<Upgraded>>,
    ) -> Option<Driver<TokioIo<Upgraded>>> {
        if self.cluster.ways.is_found(way) {
            return Some(driver);
        }
        let answered = async {
            tokio::select! {
                biased;
                _ = &mut driver => false,
                answer = tunnel.ping() => answer.is_ok(),
            }
        };
        let answered = timeout(PONG_LIMIT, answered).await.unwrap_or(false);
        answered.then_some(driver)
    }
}

/// Learns whether the path is dead where a silent tunnel may just have a pod behind it
/// that does not read; never resolves.
async fn weigh(pool: &Weak<Pool>, doubts: Doubts) -> Reason {
    while doubts.next().await.is_some() {
        let Some(cluster) = pool.upgrade().map(|pool| pool.cluster.clone()) else { break };
        if !cluster.answers().await {
            doubts.suspect();
        }
    }
    std::future::pending().await
}

/// Ends a tunnel that nobody has used for long; never resolves.
async fn tend(pool: &Weak<Pool>, id: u64) -> Reason {
    while let Some(due) = pool.upgrade().and_then(|pool| pool.idle_due(id)) {
        sleep_until(due).await;
    }
    std::future::pending().await
}
