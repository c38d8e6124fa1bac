//! Owns how connections to an API server are made.
//!
//! The client's own way leaves Nagle's algorithm on, which holds small writes back for
//! a round trip, and asks for no keepalive, so that a path that died while a laptop
//! slept stays "open" for ever.

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::{Client, Config, Error};
use std::time::Duration;
use tower::{BoxError, ServiceBuilder, ServiceExt};

/// Time a connection may take to be made, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Silence after which the kernel asks the peer whether it is there, how often it
/// asks again, and how many times: a dead path ends within 9 s of silence. A limit on
/// unacknowledged bytes would notice more, but also end a pod that reads slowly.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMES: u32 = 2;

/// A client for the cluster that `config` describes.
pub(super) fn build(mut config: Config) -> Result<Client, Error> {
    config.connect_timeout = Some(CONNECT_LIMIT);
    // A busy server is shown at once; the supervisor's backoff does the waiting.
    config.default_retry = false;
    if config.proxy_url.is_some() {
        // The path behind a proxy is the proxy's to watch over.
        return Client::try_from(config);
    }
    let https = config.rustls_https_connector_with_connector(connector())?;
    let timed = ServiceBuilder::new().timeout(CONNECT_LIMIT).service(https).map_future(Box::pin);
    let http: HttpClient<_, Body> =
        HttpClient::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(timed);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE_AFTER));
    connector.set_keepalive_interval(Some(KEEPALIVE_EVERY));
    connector.set_keepalive_retries(Some(KEEPALIVE_TIMES));
    connector
}
