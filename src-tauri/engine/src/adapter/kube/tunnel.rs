//! Owns the data path over shared tunnels, with one WebSocket per connection as the way
//! that is left where a cluster serves none.

mod stream;

use super::cluster::{Cluster, REQUEST_LIMIT};
use super::path::{Care, DataPath, Endpoint};
use super::pool::{Lease, Pool, Stop};
use super::v4::V4Path;
use crate::adapter::Upstream;
use futures_util::future::BoxFuture;
use localport_core::kube::{Fault, Place, Way};
use localport_tunnel::StreamError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stream::{Peer, TunnelStream};
use tokio::time::timeout;

/// Wait for a refusal where the port has not proved to accept lately: a hundred times
/// what a node needs for a dial within itself. Where it has, nobody waits: openings and
/// first bytes leave together.
const UNPROVED_WAIT: Duration = Duration::from_millis(100);

/// Wait for a tunnel: two ways that upgrade and carry nothing, and a request.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(20);

/// Tunnels tried for one connection, when one after the other breaks.
const TUNNELS_TRIED: usize = 3;

/// The ways of one session.
pub(super) struct TunnelPath {
    cluster: Arc<Cluster>,
    place: Place,
    v4: V4Path,
    /// The pool of the pod that serves, which lives as long as anybody wants it.
    pool: Mutex<Option<Arc<Pool>>>,
}

impl TunnelPath {
    /// The path of a session at `place`.
    pub(super) fn new(cluster: Arc<Cluster>, place: Place) -> Self {
        let v4 = V4Path::new(cluster.clone(), place.clone());
        Self { cluster, place, v4, pool: Mutex::default() }
    }

    async fn connect(&self, endpoint: &Endpoint, care: Care) -> Result<Box<dyn Upstream>, Fault> {
        if self.cluster.ways.begin() == Way::V4 {
            return self.connect_v4(endpoint, care).await;
        }
        let pool = self.cluster.pool(endpoint);
        *self.pool.lock().unwrap_or_else(PoisonError::into_inner) = Some(pool.clone());
        for _ in 0..TUNNELS_TRIED {
            let acquired = timeout(ACQUIRE_LIMIT, pool.acquire(endpoint, care)).await;
            let lease = match acquired.map_err(|_| Fault::Timeout)? {
                Ok(lease) => lease,
                Err(Stop::NoTunnel) => return self.connect_v4(endpoint, care).await,
                Err(Stop::Fault(fault)) => return Err(fault),
            };
            if let Some(stream) = self.settle(lease, endpoint, care).await? {
                return Ok(Box::new(stream));
            }
        }
        let said = "its tunnels break".to_owned();
        Err(Fault::PodLost { pod: endpoint.pod.clone(), said })
    }

    /// A stream on the leased tunnel, sure of its port; none when the tunnel broke.
    async fn settle(
        &self,
        mut lease: Lease,
        endpoint: &Endpoint,
        care: Care,
    ) -> Result<Option<TunnelStream>, Fault> {
        let mut stream = lease.tunnel.stream(endpoint.port);
        let proved = care == Care::Client && self.cluster.proofs.holds(endpoint);
        if !proved {
            match timeout(REQUEST_LIMIT, stream.settle(UNPROVED_WAIT)).await {
                Ok(Ok(())) => self.cluster.proofs.add(endpoint),
                Ok(Err(StreamError::Tunnel(_) | StreamError::Full)) => return Ok(None),
                Ok(Err(error)) => {
                    self.cluster.proofs.revoke(endpoint);
                    return Err(stream::fault(&error, endpoint));
                }
                Err(_) => {
                    lease.tunnel.suspect();
                    return Err(Fault::Timeout);
                }
            }
            if care == Care::Client {
                lease.settled();
            }
        }
        let peer = Peer {
            endpoint: endpoint.clone(),
            place: self.place.clone(),
            proofs: self.cluster.proofs.clone(),
        };
        Ok(Some(TunnelStream::new(stream, lease, peer)))
    }

    async fn connect_v4(
        &self,
        endpoint: &Endpoint,
        care: Care,
    ) -> Result<Box<dyn Upstream>, Fault> {
        let stream = self.v4.connect(endpoint, care).await?;
        self.cluster.ways.found(Way::V4);
        Ok(stream)
    }
}

impl DataPath for TunnelPath {
    fn name(&self) -> &'static str {
        self.cluster.ways.shown().as_str()
    }

    fn dial<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        care: Care,
    ) -> BoxFuture<'a, Result<Box<dyn Upstream>, Fault>> {
        Box::pin(self.connect(endpoint, care))
    }
}
