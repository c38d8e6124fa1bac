//! Owns which connections the requests to an API server share.
//!
//! Lists and watches go over HTTP/2 where the server offers it: one connection for tens of
//! watches, asked for signs of life, so that a path that died silently ends all of them
//! within eight seconds. Upgrades need HTTP/1.1 and a connection of their own.

use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connect, Connection};
use hyper_util::client::legacy::{Client as HttpClient, Error as HttpError, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::{Config, Error};
use rustls::pki_types::ServerName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

/// Time a connection may take to be made, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Silence of a connection with open requests after which it is asked, and time for the
/// answer. Together with a new dial less than the 10 s in which a dead watch is replaced,
/// and one exchange in four seconds for a whole cluster.
const PING_AFTER: Duration = Duration::from_secs(4);
const PING_LIMIT: Duration = Duration::from_secs(4);

/// Watches on one connection. Servers allow 100 streams or more; the rest is for lists
/// and questions.
const WATCHES: usize = 60;

/// Sends a request.
type Sender = Arc<dyn Fn(Request<Body>) -> ResponseFuture + Send + Sync>;

/// The connections of one client. Clones share them.
#[derive(Clone)]
pub(super) struct Wire {
    upgrades: Sender,
    lanes: Arc<Lanes>,
}

struct Lanes {
    make: Box<dyn Fn() -> Sender + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Vec<Sender>,
    /// The lane of each path that was ever watched; there is one for each namespace and
    /// kind in use.
    watched: HashMap<String, usize>,
}

impl Wire {
    /// Connections as `config` describes them, made by `connector`.
    pub(super) fn new<C>(config: &Config, connector: C) -> Result<Self, Error>
    where
        C: Service<http::Uri> + Clone + Send + Sync + 'static,
        C::Response: Connection + hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
        C::Future: Send + 'static,
        C::Error: Into<BoxError>,
    {
        let single = config.rustls_https_connector_with_connector(connector.clone())?;
        let mut shared = HttpsConnectorBuilder::new()
            .with_tls_config(config.rustls_client_config()?)
            .https_or_http();
        // A name that is none was refused just above.
        if let Some(name) = &config.tls_server_name
            && let Ok(name) = ServerName::try_from(name.clone())
        {
            shared = shared.with_server_name_resolver(FixedServerNameResolver::new(name));
        }
        let shared = shared.enable_all_versions().wrap_connector(connector);
        let single = ServiceBuilder::new().timeout(CONNECT_LIMIT).service(single);
        let shared = ServiceBuilder::new().timeout(CONNECT_LIMIT).service(shared);
        let (single, shared) = (single.map_future(Box::pin), shared.map_future(Box::pin));
        let make = Box::new(move || sender(shared.clone()));
        let lanes = Lanes { make, state: Mutex::default() };
        Ok(Self { upgrades: sender(single), lanes: Arc::new(lanes) })
    }
}

fn sender<C>(connector: C) -> Sender
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let client: HttpClient<C, Body> = HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_LIMIT)
        .build(connector);
    Arc::new(move |request| client.request(request))
}

impl Lanes {
    fn of(&self, request: &Request<Body>) -> Sender {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let query = request.uri().query().unwrap_or_default();
        let lane = if query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1") {
            let next = state.watched.len() / WATCHES;
            *state.watched.entry(request.uri().path().to_owned()).or_insert(next)
        } else {
            0
        };
        while state.open.len() <= lane {
            state.open.push((self.make)());
        }
        state.open[lane].clone()
    }
}

impl Service<Request<Body>> for Wire {
    type Response = Response<Incoming>;
    type Error = HttpError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture {
        if request.headers().contains_key(header::UPGRADE) {
            return (self.upgrades)(request);
        }
        (self.lanes.of(&request))(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes() -> Lanes {
        let make = || -> Sender {
            let connector = hyper_util::client::legacy::connect::HttpConnector::new();
            sender(connector)
        };
        Lanes { make: Box::new(make), state: Mutex::default() }
    }

    fn ask(uri: &str) -> Request<Body> {
        Request::get(uri).body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn s7_2_watches_fill_one_connection_before_the_next() {
        let lanes = lanes();
        let first = lanes.of(&ask("http://h/api/v1/namespaces/n/pods"));
        for number in 0..WATCHES {
            let path = format!("http://h/api/v1/namespaces/n{number}/pods?watch=true&x=1");
            for _ in 0..3 {
                assert!(Arc::ptr_eq(&lanes.of(&ask(&path)), &first), "{path}");
            }
        }
        let next = lanes.of(&ask("http://h/api/v1/namespaces/more/pods?x=1&watch=true"));
        assert!(!Arc::ptr_eq(&next, &first));
        assert!(Arc::ptr_eq(&lanes.of(&ask("http://h/version")), &first));
    }
}
