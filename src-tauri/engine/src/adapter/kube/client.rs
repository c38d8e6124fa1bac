//! Owns how a client of an API server is put together.
//!
//! The client's own way leaves Nagle's algorithm on, which holds small writes back for
//! a round trip, asks for no keepalive, so that a path that died while a laptop slept
//! stays "open" for ever, and knows no road but its own.

use super::road::Road;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::{Client, Config, Error};
use std::time::Duration;
use tower::{BoxError, ServiceBuilder, ServiceExt};

/// Time a connection may take to be made, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A client for the cluster that `config` describes, at the end of `road`.
pub(super) fn build(config: &Config, road: &Road) -> Result<Client, Error> {
    let https = config.rustls_https_connector_with_connector(road.connector(config)?)?;
    let timed = ServiceBuilder::new().timeout(CONNECT_LIMIT).service(https).map_future(Box::pin);
    let http: HttpClient<_, Body> =
        HttpClient::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(timed);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}
