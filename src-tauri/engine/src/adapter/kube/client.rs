//! Owns how a client of an API server is put together.
//!
//! The client's own way leaves Nagle's algorithm on, which holds small writes back for
//! a round trip, asks for no keepalive, so that a path that died while a laptop slept
//! stays "open" for ever, makes a connection for each watch, and knows no road but its own.

use super::road::Road;
use super::wire::Wire;
use kube::client::ConfigExt;
use kube::{Client, Config, Error};
use tower::{BoxError, ServiceBuilder};

/// A client for the cluster that `config` describes, at the end of `road`.
pub(super) fn build(config: &Config, road: &Road) -> Result<Client, Error> {
    let wire = Wire::new(config, road.connector(config)?)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(wire);
    Ok(Client::new(service, config.default_namespace.clone()))
}
