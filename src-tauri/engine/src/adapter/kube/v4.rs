//! Owns the data path of one WebSocket (`v4.channel.k8s.io`) per connection.
//!
//! The node dials the pod's port when the WebSocket opens. It greets with the port
//! number on both channels first, then says nothing when the dial succeeds, and sends
//! one error text when it is refused. The dial is to the pod's own loopback, so a
//! refusal follows the greeting within milliseconds.

mod life;
mod proofs;
mod stream;

pub(super) use proofs::Proofs;

use super::classify::{self, Doing};
use super::cluster::{Access, Cluster, REQUEST_LIMIT};
use super::path::{Care, Endpoint};
use crate::adapter::Upstream;
use kube::Error;
use localport_core::kube::{Fault, Place};
use std::sync::Arc;
use std::time::Duration;
use stream::{Peer, V4Stream};
use tokio::time::timeout;

/// Wait for a refusal where the port has not proved to accept lately: a hundred times
/// what a node needs for a dial within itself.
const UNPROVED_WAIT: Duration = Duration::from_millis(100);

/// Wait for a refusal where it has: two or three times that.
const PROVED_WAIT: Duration = Duration::from_millis(3);

/// One WebSocket per connection.
pub(super) struct V4Path {
    cluster: Arc<Cluster>,
    place: Place,
}

impl V4Path {
    /// The path of a session at `place`.
    pub(super) fn new(cluster: Arc<Cluster>, place: Place) -> Self {
        Self { cluster, place }
    }

    /// A connection to `endpoint`.
    pub(super) async fn connect(
        &self,
        endpoint: &Endpoint,
        care: Care,
    ) -> Result<Box<dyn Upstream>, Fault> {
        let access = self.cluster.access().await?;
        let connection = match upgrade(&access, endpoint).await? {
            Err(error) if classify::is_unauthorized(&error) => {
                let access = self.cluster.renew(&access).await?;
                upgrade(&access, endpoint).await?
            }
            outcome => outcome,
        };
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => return Err(refused(&self.cluster, &error, endpoint).await),
        };
        let peer = Peer {
            endpoint: endpoint.clone(),
            place: self.place.clone(),
            cluster: self.cluster.clone(),
        };
        let proved = care == Care::Client && self.cluster.proofs.holds(endpoint);
        let mut stream = V4Stream::new(connection.into_stream(), peer);
        let wait = if proved { PROVED_WAIT } else { UNPROVED_WAIT };
        timeout(REQUEST_LIMIT, stream.settle(wait)).await.map_err(|_| Fault::Timeout)??;
        Ok(Box::new(stream))
    }
}

/// What a server's refusal to forward to `endpoint` means.
pub(super) async fn refused(cluster: &Cluster, error: &Error, endpoint: &Endpoint) -> Fault {
    let doing = Doing::new("get", "pods/portforward", "pod", &endpoint.pod);
    let fault = classify::fault(error, &doing);
    match (&fault, error) {
        (Fault::Forbidden { .. }, Error::Api(status)) => {
            let missing = cluster.missing_forward_rights(&endpoint.namespace).await;
            if missing.is_empty() {
                // Not a question of rights: an admission rule or a proxy refused.
                return Fault::Other { said: format!("{} (403)", status.message) };
            }
            Fault::Forbidden { missing }
        }
        (Fault::Missing { .. }, _) => {
            Fault::PodLost { pod: endpoint.pod.clone(), said: "it is gone".to_owned() }
        }
        // A pod that no node runs yet, or that its node does not know any more.
        (Fault::Other { said }, Error::Api(status)) if (400..500).contains(&status.code) => {
            Fault::PodLost { pod: endpoint.pod.clone(), said: said.clone() }
        }
        _ => fault,
    }
}

async fn upgrade(
    access: &Access,
    endpoint: &Endpoint,
) -> Result<Result<kube::client::Connection, Error>, Fault> {
    let Endpoint { namespace, pod, port, .. } = endpoint;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/portforward?ports={port}");
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| Fault::Other { said: error.to_string() })?;
    timeout(REQUEST_LIMIT, access.client.connect(request)).await.map_err(|_| Fault::Timeout)
}
