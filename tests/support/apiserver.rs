//! Owns a double of a Kubernetes API server with a node behind it.
//!
//! It imitates what was measured on a real cluster: list and watch with resource
//! versions, bookmarks and `410 Gone`; port-forward over SPDY and v4 with its greeting,
//! its error frame, its missing half-close and its one second of grace; the Status bodies of
//! refusals. A test changes its state (pods come, get ready, end, go) and plants
//! faults; each pod's port leads to a real local TCP server.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use localport_tests::apiserver::{ApiServer, Backend, PodSpec};
//! let server = ApiServer::start().await?;
//! let backend = Backend::start("orders-0").await?;
//! server.add_pod(PodSpec::new("shop", "orders-0").label("app", "orders").port("http", 8080, &backend));
//! server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
//! // `server.kubeconfig()` names a file whose current context leads here.
//! # Ok(()) }
//! ```

mod backend;
mod certs;
mod faults;
mod forward;
mod http;
mod slices;
mod store;

pub use backend::Backend;
pub use faults::Seen;

use self::faults::Faults;
use self::store::Store;
use crate::node::Switches;
use localport_engine::registry::{Registry, Tasks};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Name of the one context in the kubeconfig that a server writes.
pub const CONTEXT: &str = "double";

/// The token in that kubeconfig.
pub const TOKEN: &str = "double-token";

/// A name that a good certificate holds besides the address; nothing resolves it.
pub const NAME: &str = "api.cluster.test";

/// The one name in the certificate of [`Tls::WrongName`].
pub const ELSEWHERE: &str = "elsewhere.example";

/// How a server shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Plain HTTP.
    Off,
    /// A certificate that the kubeconfig's authority signed.
    Good,
    /// A certificate that another authority signed.
    UnknownIssuer,
    /// A certificate whose time is over.
    Expired,
    /// A certificate for another host.
    WrongName,
    /// A good certificate, and clients are asked for one: `client.pem` and `client.key`
    /// beside the kubeconfig.
    Mutual,
}

/// A running double. Clones share it; it ends with the last one.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

struct Inner {
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    dir: TempDir,
    state: Arc<State>,
    running: Mutex<Option<Tasks>>,
}

/// What connections share.
pub(crate) struct State {
    pub(crate) store: Mutex<Store>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) changed: tokio::sync::watch::Sender<u64>,
    pub(crate) registry: Registry,
    pub(crate) node: Arc<Switches>,
}

impl State {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes watches look at the store and the faults again.
    pub(crate) fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

/// A pod to be added. It is ready unless told otherwise.
#[derive(Clone, Debug)]
pub struct PodSpec {
    namespace: String,
    name: String,
    labels: Vec<(String, String)>,
    ports: Vec<(String, u16)>,
    backends: HashMap<u16, SocketAddr>,
    ready: bool,
    waiting: Option<String>,
}

impl PodSpec {
    /// A ready pod without labels and ports.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: Vec::new(),
            ports: Vec::new(),
            backends: HashMap::new(),
            ready: true,
            waiting: None,
        }
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Declares the container port `number` under `name` and lets `backend` serve it.
    #[must_use]
    pub fn port(mut self, name: &str, number: u16, backend: &Backend) -> Self {
        self.ports.push((name.to_owned(), number));
        self.backends.insert(number, backend.address());
        self
    }

    /// Declares a port that nobody serves.
    #[must_use]
    pub fn dead_port(mut self, name: &str, number: u16) -> Self {
        self.ports.push((name.to_owned(), number));
        self
    }

    /// The pod runs, but is not ready.
    #[must_use]
    pub fn unready(mut self) -> Self {
        self.ready = false;
        self
    }

    /// The pod's container waits for `reason`, such as `CrashLoopBackOff`. With
    /// `Pending` the pod has no node yet.
    #[must_use]
    pub fn waiting(mut self, reason: &str) -> Self {
        self.ready = false;
        self.waiting = Some(reason.to_owned());
        self
    }
}

impl ApiServer {
    /// Starts a server with a good certificate on a free port.
    ///
    /// # Errors
    /// When it cannot bind or write its files.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(Tls::Good).await
    }

    /// Starts a server that shows itself as `tls` says, and writes its kubeconfig.
    ///
    /// # Errors
    /// When it cannot bind or write its files.
    pub async fn start_with(tls: Tls) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let acceptor = certs::acceptor(tls, dir.path())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let state = State {
            store: Mutex::default(),
            faults: Mutex::default(),
            changed: tokio::sync::watch::Sender::new(0),
            registry: Registry::default(),
            node: Arc::default(),
        };
        let inner = Inner {
            address: listener.local_addr()?,
            tls: acceptor,
            dir,
            state: Arc::new(state),
            running: Mutex::default(),
        };
        let server = Self { inner: Arc::new(inner) };
        server.add_namespace("default");
        server.write_kubeconfig(&json!({ "token": TOKEN }))?;
        server.serve(listener);
        Ok(server)
    }

    /// Address of the server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// The kubeconfig file; its current context is [`CONTEXT`].
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.inner.dir.path().join("kubeconfig")
    }

    /// Writes the kubeconfig anew, with `user` as the user's entry.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_kubeconfig(&self, user: &Value) -> io::Result<()> {
        self.write_kubeconfig_with(&json!({}), user)
    }

    /// The same with other keys in the cluster's entry; null takes one away.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_kubeconfig_with(&self, entry: &Value, user: &Value) -> io::Result<()> {
        let scheme = if self.inner.tls.is_some() { "https" } else { "http" };
        let mut cluster = json!({ "server": format!("{scheme}://{}", self.inner.address) });
        if self.inner.tls.is_some() {
            cluster["certificate-authority"] = json!(certs::authority(self.inner.dir.path()));
        }
        for (key, value) in entry.as_object().into_iter().flatten() {
            cluster[key] = value.clone();
        }
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": CONTEXT,
            "clusters": [{ "name": CONTEXT, "cluster": cluster }],
            "users": [{ "name": CONTEXT, "user": user }],
            "contexts": [{ "name": CONTEXT, "context": { "cluster": CONTEXT, "user": CONTEXT } }],
        });
        // JSON is YAML; renamed into place, as tools do that rewrite it.
        let fresh = self.kubeconfig().with_extension("new");
        fs::write(&fresh, config.to_string())?;
        fs::rename(fresh, self.kubeconfig())
    }

    /// Goes away: the listener closes and every connection breaks.
    pub async fn stop(&self) {
        let running = self.running().take();
        if let Some(tasks) = running {
            tasks.cancel();
            tasks.wait().await;
        }
    }

    /// Comes back on the same port, with the same state.
    ///
    /// # Errors
    /// When the port was taken meanwhile.
    pub async fn resume(&self) -> io::Result<()> {
        self.stop().await;
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.inner.address)?;
        self.serve(socket.listen(1_024)?);
        Ok(())
    }

    /// Breaks every open connection and goes on serving.
    ///
    /// # Errors
    /// As [`ApiServer::resume`].
    pub async fn drop_connections(&self) -> io::Result<()> {
        self.resume().await
    }

    /// Adds a namespace. Adding an object adds its namespace by itself.
    pub fn add_namespace(&self, name: &str) {
        self.put("namespaces", "", name, json!({ "kind": "Namespace", "apiVersion": "v1" }));
    }

    /// Adds a pod, under a UID of its own.
    pub fn add_pod(&self, spec: PodSpec) {
        let uid = self.state().store().next_uid();
        let object =
            store::pod(&spec.labels, &spec.ports, spec.ready, spec.waiting.as_deref(), &uid);
        self.state().store().run(&uid, spec.backends);
        self.put("pods", &spec.namespace, &spec.name, object);
    }

    /// Makes a pod ready or not.
    pub fn set_ready(&self, namespace: &str, pod: &str, ready: bool) {
        self.edit("pods", namespace, pod, |object| store::set_ready(object, ready));
    }

    /// Tells a pod to end: it is marked, and serves on until it is deleted.
    pub fn terminate(&self, namespace: &str, pod: &str) {
        self.edit("pods", namespace, pod, |object| {
            object["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
        });
    }

    /// Deletes a pod: new port-forwards fail at once, open ones end after their grace.
    pub fn delete_pod(&self, namespace: &str, pod: &str) {
        self.remove("pods", namespace, pod);
    }

    /// Adds a service. A port is its name, its number, and the pod's port behind it by
    /// name or by number.
    pub fn add_service(
        &self,
        namespace: &str,
        name: &str,
        selector: &[(&str, &str)],
        ports: &[(&str, u16, &str)],
    ) {
        let ports: Vec<Value> = ports.iter().map(|port| store::service_port(*port)).collect();
        let selector: HashMap<&str, &str> = selector.iter().copied().collect();
        let spec = json!({ "type": "ClusterIP", "selector": selector, "ports": ports });
        self.put(
            "services",
            namespace,
            name,
            json!({ "kind": "Service", "apiVersion": "v1", "spec": spec }),
        );
    }

    /// Adds a workload whose pods carry `labels`; `resource` is its plural, such as
    /// `deployments`.
    pub fn add_workload(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
    ) {
        let labels: HashMap<&str, &str> = labels.iter().copied().collect();
        let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [] } });
        let spec = json!({ "selector": { "matchLabels": labels }, "template": template,
            "serviceName": name });
        self.put(resource, namespace, name, json!({ "apiVersion": "apps/v1", "spec": spec }));
    }

    /// Adds or replaces any object; name, namespace, UID and version are filled in.
    pub fn put(&self, resource: &str, namespace: &str, name: &str, object: Value) {
        if !namespace.is_empty() && !self.state().store().has("namespaces", "", namespace) {
            self.add_namespace(namespace);
        }
        self.state().store().put(resource, namespace, name, object);
        self.settle(namespace);
    }

    /// Removes any object.
    pub fn remove(&self, resource: &str, namespace: &str, name: &str) {
        self.state().store().remove(resource, namespace, name);
        self.settle(namespace);
    }

    /// Serves endpoint slices from now on; before, it is a server that is too old for them.
    pub fn serve_slices(&self) {
        self.state().faults().slices = true;
    }

    /// Refuses `verb` on `resource` (such as `create` on `pods/portforward`) from now on.
    pub fn forbid(&self, verb: &str, resource: &str) {
        self.state().faults().forbidden.insert((verb.to_owned(), resource.to_owned()));
    }

    /// Refuses the credentials of the next `count` requests.
    pub fn refuse_credentials(&self, count: usize) {
        self.state().faults().unauthorized = count;
    }

    /// Accepts only this bearer token from now on.
    pub fn accept_token(&self, token: &str) {
        self.state().faults().token = Some(token.to_owned());
    }

    /// Answers the next `count` requests with `status` (429, 503).
    pub fn be_busy(&self, status: u16, count: usize) {
        self.state().faults().busy = Some((status, count));
    }

    /// Lets watches fall silent, or speak again. A silent watch stays open and says
    /// nothing, like one whose path died.
    pub fn stall_watches(&self, stalled: bool) {
        self.state().faults().stalled = stalled;
        self.state().wake();
    }

    /// Lets every answer wait so long first.
    pub fn delay(&self, delay: Duration) {
        self.state().faults().delay = delay;
    }

    /// Answers upgrades to `way` (`spdy-ws`, `spdy`, `v4`) with `status` from now on, as
    /// the API server does (`by_kubernetes`) or as something before it.
    pub fn refuse_way(&self, way: &'static str, status: u16, by_kubernetes: bool) {
        self.state().faults().ways.insert(way, (status, by_kubernetes));
    }

    /// Understands every way again.
    pub fn allow_ways(&self) {
        self.state().faults().ways.clear();
    }

    /// Counters and faults of the node's tunnels.
    #[must_use]
    pub fn node(&self) -> &Switches {
        &self.state().node
    }

    /// Forgets the history: watches from an older version get `410 Gone`, and open
    /// ones end with it.
    pub fn forget_history(&self) {
        self.state().store().forget();
        self.state().wake();
    }

    /// Every request so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.state().faults().seen.clone()
    }

    /// Requests so far of `verb` on `resource`.
    #[must_use]
    pub fn count(&self, verb: &str, resource: &str) -> usize {
        let faults = self.state().faults();
        faults.seen.iter().filter(|seen| seen.verb == verb && seen.resource == resource).count()
    }

    /// Watches that are open now, by resource and namespace.
    #[must_use]
    pub fn open_watches(&self) -> Vec<(String, String)> {
        self.state().faults().watching.clone()
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state().faults().connections
    }

    /// Those of them that speak HTTP/2.
    #[must_use]
    pub fn multiplexed(&self) -> usize {
        self.state().faults().multiplexed
    }

    /// Those that speak HTTP/2 and are open now.
    #[must_use]
    pub fn multiplexed_now(&self) -> usize {
        self.state().faults().multiplexed_now
    }

    fn state(&self) -> &Arc<State> {
        &self.inner.state
    }

    fn running(&self) -> MutexGuard<'_, Option<Tasks>> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edit(&self, resource: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        self.state().store().edit(resource, namespace, name, edit);
        self.settle(namespace);
    }

    /// Lets the controllers and the watches see what changed.
    fn settle(&self, namespace: &str) {
        if self.state().faults().slices {
            self.state().store().slice(namespace);
        }
        self.state().wake();
    }

    fn serve(&self, listener: TcpListener) {
        let tasks = Tasks::new("apiserver", &self.state().registry);
        let connections = tasks.clone();
        let (state, tls) = (self.state().clone(), self.inner.tls.clone());
        tasks.spawn("accept", async move {
            while let Ok((socket, _)) = listener.accept().await {
                state.faults().connections += 1;
                // As Go's servers do; without it each greeting waits for a delayed ACK.
                drop(socket.set_nodelay(true));
                let (state, tls, group) = (state.clone(), tls.clone(), connections.clone());
                connections.spawn("connection", http::serve(socket, tls, state, group));
            }
        });
        *self.running() = Some(tasks);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(tasks) = running.take() {
            tasks.cancel();
        }
    }
}

/// Tells a pod's connections that it is gone.
pub(crate) type Life = CancellationToken;
