//! Owns the control API: HTTP/1.1 with JSON over a local socket that only the user's
//! own processes may use.
//!
//! Receives requests, turns them into commands and reads of the engine, emits answers
//! and streams of events. The routes stand in one table: [`routes`].

mod answer;
mod call;
pub mod client;
mod clusters;
mod diagnosis;
mod handlers;
mod openapi;
mod routes;
mod streams;
#[cfg_attr(windows, path = "control/windows.rs")]
#[cfg_attr(not(windows), path = "control/unix.rs")]
mod transport;

use crate::config_store::Reloader;
use crate::engine::HOST;
use crate::explain::Explainer;
use crate::handle::EngineHandle;
use crate::home::Home;
use crate::host::HostError;
use crate::logs::Logs;
use crate::registry::{Lease, LeaseKind, Tasks};
use crate::store::Store;
use crate::verify::Baseline;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use localport_core::receipt::Receipt;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use transport::{Listener, Stream};

/// Connections served at once; more wait in the socket's backlog.
const CONNECTIONS: usize = 128;
/// Connections among them that may be streams, so that `quit` always finds a place.
const STREAMS: usize = 64;
/// Time for a request's head: a local client that takes longer is stuck.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the last answers when the host ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Pause after a failed accept, such as out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What the answers are made from.
pub(crate) struct Api {
    pub(crate) engine: EngineHandle,
    pub(crate) reload: Reloader,
    pub(crate) home: Home,
    pub(crate) logs: Option<Logs>,
    pub(crate) store: Store,
    /// What the system showed before the host had anything.
    pub(crate) baseline: Arc<Baseline>,
    pub(crate) explainer: Explainer,
    /// Only the desktop app has a window.
    pub(crate) open_window: Option<mpsc::Sender<()>>,
    /// Set when the host has released everything and a new one may start.
    pub(crate) released: watch::Receiver<Option<Receipt>>,
}

/// What every request sees.
struct Shared {
    api: Api,
    streams: Arc<Semaphore>,
    ending: CancellationToken,
}

/// The running control API.
pub(crate) struct Control {
    home: Home,
    closing: CancellationToken,
    ending: CancellationToken,
    connections: Tasks,
    /// The claim to the socket's file, until that is removed.
    socket: Option<Lease>,
}

impl Control {
    /// Listens on the control socket. The caller holds the host's lock, so a socket
    /// file that is already there belongs to nobody.
    pub(crate) fn start(api: Api, tasks: &Tasks) -> Result<Self, HostError> {
        let home = api.home.clone();
        let path = home.control_socket();
        let listener = Listener::bind(&home)
            .map_err(|source| HostError::Control { path: path.clone(), source })?;
        let socket = tasks.registry().lease(LeaseKind::File, path.display().to_string(), HOST);
        let closing = CancellationToken::new();
        let ending = CancellationToken::new();
        let connections = tasks.child(HOST);
        let shared = Arc::new(Shared {
            api,
            streams: Arc::new(Semaphore::new(STREAMS)),
            ending: ending.clone(),
        });
        let accepting = accept(listener, shared, connections.clone());
        let stop = closing.clone();
        connections.spawn_to_end("control listener", async move {
            stop.run_until_cancelled(accepting).await;
        });
        Ok(Self { home, closing, ending, connections, socket: Some(socket) })
    }

    /// Takes no new connections and removes the socket. Open connections go on.
    pub(crate) fn close(&mut self) {
        self.closing.cancel();
        transport::remove(&self.home);
        self.socket = None;
    }

    /// Gives the last answers and ends every connection.
    pub(crate) async fn finish(self) {
        self.ending.cancel();
        if tokio::time::timeout(LAST_ANSWERS, self.connections.wait()).await.is_err() {
            self.connections.cancel();
            self.connections.wait().await;
        }
    }
}

async fn accept(listener: Listener, shared: Arc<Shared>, connections: Tasks) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok(Some(stream)) => {
                let connection = serve(stream, shared.clone());
                let registry = connections.registry();
                let lease = registry.lease(LeaseKind::Connection, "control client", HOST);
                connections.spawn("control client", async move {
                    connection.await;
                    drop(lease);
                    drop(place);
                });
            }
            Ok(None) => tracing::warn!("a process of another user was refused the control API"),
            Err(error) => {
                tracing::warn!("the control API cannot accept a client: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: Stream, shared: Arc<Shared>) {
    let ending = shared.ending.clone();
    let service = service_fn(move |request| respond(request, shared.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        () = ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!("control client: {error}");
    }
}

async fn respond(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<answer::Body>, Infallible> {
    let answer = match routes::find(request.method(), request.uri().path()) {
        Ok((route, name)) => match call::Call::read(request, name).await {
            Ok(call) => (route.handler)(shared, call).await,
            Err(failure) => Err(failure),
        },
        Err(failure) => Err(failure),
    };
    Ok(answer.unwrap_or_else(|failure| failure.response()))
}
