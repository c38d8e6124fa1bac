//! Owns what every test here starts with: a double, an adapter, and short words for both.

use localport_core::config::{KubeResource, KubeTarget, PortRef, Target};
use localport_core::problem::Problem;
use localport_engine::adapter::kube::{KubeAdapter, LoginShell, Options};
use localport_engine::adapter::{Adapter, Connection, Session, SessionScope};
use localport_engine::registry::{LeaseKind, Registry, Tasks};
use localport_tests::apiserver::{ApiServer, CONTEXT, Tls};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

/// What any single step may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) server: ApiServer,
    pub(crate) adapter: Arc<KubeAdapter>,
    pub(crate) registry: Registry,
    tasks: Tasks,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(Tls::Good, |_| {}).await
    }

    pub(crate) async fn with(tls: Tls, edit: impl FnOnce(&mut Options)) -> Self {
        let server = ApiServer::start_with(tls).await.unwrap();
        Self::before(server, edit)
    }

    /// An adapter to `server`.
    pub(crate) fn before(server: ApiServer, edit: impl FnOnce(&mut Options)) -> Self {
        let mut options = options(server.kubeconfig());
        edit(&mut options);
        let registry = Registry::default();
        let adapter = Arc::new(KubeAdapter::new(&registry, options));
        let tasks = Tasks::new("test", &registry);
        Self { server, adapter, registry, tasks }
    }

    pub(crate) fn scope(&self) -> SessionScope {
        let (notes, _) = mpsc::channel(8);
        SessionScope { forward: "test".to_owned(), tasks: self.tasks.clone(), notes }
    }

    pub(crate) async fn open(&self, target: &Target) -> Result<Arc<dyn Session>, Problem> {
        within(self.adapter.open(target, self.scope())).await
    }

    pub(crate) async fn opened(&self, target: &Target) -> Arc<dyn Session> {
        self.open(target).await.unwrap()
    }

    /// The problem that opening `target` meets.
    pub(crate) async fn problem(&self, target: &Target) -> Problem {
        match self.open(target).await {
            Ok(session) => panic!("a session opened to {:?}", session.route()),
            Err(problem) => problem,
        }
    }

    pub(crate) fn leases(&self, kind: LeaseKind) -> Vec<String> {
        let leases = self.registry.list().into_iter();
        leases.filter(|lease| lease.kind == kind).map(|lease| lease.name).collect()
    }
}

pub(crate) fn options(kubeconfig: PathBuf) -> Options {
    Options {
        kubeconfig: Some(vec![kubeconfig]),
        login_shell: LoginShell::Never,
        ..Options::default()
    }
}

pub(crate) fn target(resource: KubeResource, port: PortRef) -> Target {
    Target::Kube(KubeTarget {
        context: Some(CONTEXT.to_owned()),
        namespace: "shop".to_owned(),
        resource,
        port,
        via: None,
    })
}

pub(crate) fn service(name: &str, port: u16) -> Target {
    target(KubeResource::Service(name.to_owned()), PortRef::Number(port))
}

pub(crate) fn pod(name: &str, port: u16) -> Target {
    target(KubeResource::Pod(name.to_owned()), PortRef::Number(port))
}

pub(crate) fn named(name: &str) -> PortRef {
    PortRef::Name(name.to_owned())
}

/// The line that the pod behind `session` greets a new client with.
pub(crate) async fn greeting(session: &Arc<dyn Session>) -> String {
    let mut connection = within(session.connect()).await.unwrap();
    line(&mut connection).await
}

pub(crate) async fn line(connection: &mut Connection) -> String {
    let mut line = Vec::new();
    loop {
        match within(connection.stream.read_u8()).await.unwrap() {
            b'\n' => return String::from_utf8(line).unwrap(),
            byte => line.push(byte),
        }
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("a step did not end in time")
}

/// Waits until `check` holds, looking again at short intervals: for what only the
/// double's counters tell.
pub(crate) async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !check() {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come true in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
