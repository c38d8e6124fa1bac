//! Owns a session: a target, seen through shared watches, and the pod that serves it.
//!
//! Nothing runs for an idle session: what it is gets computed from the watches when
//! it is asked, and whoever waits is woken by them.

use super::classify::Doing;
use super::cluster::Cluster;
use super::feed::{Feed, View};
use super::path::{Care, DataPath, Endpoint};
use super::pool::Spare;
use super::replay::{Dialled, Replay};
use super::tunnel::TunnelPath;
use crate::adapter::{ConnectError, Connection, Route, Session, Verdict};
use crate::registry::LeaseId;
use futures_util::future::BoxFuture;
use localport_core::config::{KubeResource, KubeTarget};
use localport_core::kube::{
    Fault, Known, Place, Pod, Selector, Service, Slice, Unfit, pods_in, problem, resolve,
    resolve_among,
};
use localport_core::problem::{Code, Problem};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// Time the first lists may take when a session opens.
const SETTLE_LIMIT: Duration = Duration::from_secs(12);

/// Time the API server may take to answer a ping.
const PING_LIMIT: Duration = Duration::from_secs(8);

/// Time a client whose dial failed late may wait for another pod.
const REDIAL_LIMIT: Duration = Duration::from_secs(10);

/// Time it waits for another pod to show before the same one is tried again.
const REDIAL_PAUSE: Duration = Duration::from_millis(250);

/// How long after its last client a forward is worth a spare tunnel.
const SPARE_AFTER_USE: Duration = Duration::from_secs(10 * 60);

/// Pods tried for one client before it is told.
const PODS_TRIED: usize = 3;

/// A target and the watches through which it is seen.
pub(super) struct Sight {
    cluster: Arc<Cluster>,
    target: KubeTarget,
    pods: Pods,
    services: Option<Arc<Feed<Service>>>,
    selector: Selector,
}

/// How the pods are seen.
enum Pods {
    Themselves(Arc<Feed<Pod>>),
    /// As the service's endpoint slices tell, where they may not be listed themselves.
    InSlices(Arc<Feed<Slice>>),
}

impl Sight {
    /// Takes part in the watches that `target` needs, and no more.
    pub(super) async fn gain(cluster: &Arc<Cluster>, target: &KubeTarget) -> Result<Self, Fault> {
        cluster.access().await?;
        let selector = match cluster.workload(target).await {
            Err(Fault::Missing { .. }) if cluster.lacks(&target.namespace).await => {
                return Err(Fault::NamespaceMissing);
            }
            selector => selector?.unwrap_or_default(),
        };
        let namespace = target.namespace.as_str();
        let services = match &target.resource {
            KubeResource::Service(name) => {
                let shared = cluster.services(namespace, None);
                Some(allowed(shared, || cluster.services(namespace, Some(name))).await?)
            }
            _ => None,
        };
        let shared = cluster.pods(namespace, None);
        let pods = match &target.resource {
            KubeResource::Pod(name) => {
                Pods::Themselves(allowed(shared, || cluster.pods(namespace, Some(name))).await?)
            }
            KubeResource::Service(_) => match settled(shared).await {
                Err(Fault::Forbidden { missing }) => match settled(cluster.slices(namespace)).await
                {
                    // Both rights would do; the one that every kind of target needs is named.
                    Err(Fault::Forbidden { .. } | Fault::Missing { .. }) => {
                        return Err(Fault::Forbidden { missing });
                    }
                    slices => Pods::InSlices(slices?),
                },
                pods => Pods::Themselves(pods?),
            },
            _ => Pods::Themselves(settled(shared).await?),
        };
        Ok(Self { cluster: cluster.clone(), target: target.clone(), pods, services, selector })
    }

    /// The endpoint that serves now; as in [`resolve`].
    fn resolve(&self, current: Option<&str>, avoid: &[String]) -> Result<Endpoint, Fault> {
        let services = self.services.as_ref().map(|feed| feed.view().items).unwrap_or_default();
        let pods = self.known_pods();
        let found = match (&self.pods, &self.target.resource) {
            (Pods::InSlices(_), KubeResource::Service(name)) => {
                resolve_among(&self.target, name, &services, &pods, current, avoid)
            }
            _ => {
                let known = Known { services: &services, pods: &pods, selector: &self.selector };
                resolve(&self.target, known, current, avoid)
            }
        };
        found.map(|choice| Endpoint {
            namespace: self.target.namespace.clone(),
            pod: choice.pod.name.clone(),
            uid: choice.pod.uid.clone(),
            port: choice.port,
        })
    }

    /// Whether a pod of this name and UID exists.
    fn knows(&self, pod: &str, uid: &str) -> bool {
        self.known_pods().get(pod).is_some_and(|pod| pod.uid == uid)
    }

    fn known_pods(&self) -> Arc<BTreeMap<String, Pod>> {
        match (&self.pods, &self.target.resource) {
            (Pods::Themselves(feed), _) => feed.view().items,
            (Pods::InSlices(feed), KubeResource::Service(name)) => {
                Arc::new(pods_in(&feed.view().items, name))
            }
            (Pods::InSlices(_), _) => Arc::default(),
        }
    }

    /// What keeps the watches from being true.
    fn trouble(&self) -> Option<Fault> {
        let services = self.services.as_ref().and_then(|feed| feed.view().trouble);
        services.or_else(|| match &self.pods {
            Pods::Themselves(feed) => feed.view().trouble,
            Pods::InSlices(feed) => feed.view().trouble,
        })
    }

    /// Runs `check` now and after every change until it gives something.
    async fn wait<T>(&self, mut check: impl FnMut() -> Option<T>) -> T {
        let mut pods = self.pods.subscribe();
        let mut services = self.services.as_ref().map(|feed| feed.subscribe());
        let mut ways = self.cluster.ways.subscribe();
        loop {
            ways.borrow_and_update();
            pods.see();
            if let Some(services) = &mut services {
                services.borrow_and_update();
            }
            if let Some(found) = check() {
                return found;
            }
            let changed = async {
                match &mut services {
                    None => tokio::select! {
                        changed = pods.changed() => changed,
                        changed = ways.changed() => changed,
                    },
                    Some(services) => tokio::select! {
                        changed = pods.changed() => changed,
                        changed = services.changed() => changed,
                        changed = ways.changed() => changed,
                    },
                }
            };
            if changed.await.is_err() {
                // The adapter is shutting down and will say no more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Resolves when an attempt that failed with `code` is worth repeating: at once
    /// when what it lacked is there by now, else after the view turned from bad
    /// (`was_bad`, as far as is known) to good.
    pub(super) async fn mended(&self, code: Code, was_bad: bool) {
        use Code::{KubeExternalName, KubeNoReadyPod, KubeNoSelector, KubeNotFound, KubePort};
        let lacked = [KubeNoReadyPod, KubeNotFound, KubePort, KubeNoSelector, KubeExternalName];
        let mut was_bad = was_bad || lacked.contains(&code);
        self.wait(|| {
            let good = self.trouble().is_none() && self.resolve(None, &[]).is_ok();
            let mended = good && was_bad;
            was_bad |= !good;
            mended.then_some(())
        })
        .await;
    }

    /// The problem that `fault` is here.
    fn problem(&self, fault: &Fault) -> Problem {
        problem(fault, &self.cluster.place(&self.target))
    }

    /// The endpoint that a session begins at.
    pub(super) async fn first(&self) -> Result<Endpoint, Problem> {
        match self.resolve(None, &[]) {
            Ok(endpoint) => Ok(endpoint),
            Err(fault) => Err(self.unresolved(fault).await),
        }
    }

    /// The problem of a target that cannot be resolved, which may lie higher up.
    async fn unresolved(&self, fault: Fault) -> Problem {
        let empty = matches!(fault, Fault::Missing { .. } | Fault::Unfit(Unfit::NoPods));
        if empty && self.cluster.lacks(&self.target.namespace).await {
            return self.problem(&Fault::NamespaceMissing);
        }
        self.problem(&fault)
    }
}

impl Pods {
    fn subscribe(&self) -> SeenPods {
        match self {
            Pods::Themselves(feed) => SeenPods::Themselves(feed.subscribe()),
            Pods::InSlices(feed) => SeenPods::InSlices(feed.subscribe()),
        }
    }

    fn doubt(&self) {
        match self {
            Pods::Themselves(feed) => feed.doubt(),
            Pods::InSlices(feed) => feed.doubt(),
        }
    }

    fn lease(&self) -> LeaseId {
        match self {
            Pods::Themselves(feed) => feed.lease(),
            Pods::InSlices(feed) => feed.lease(),
        }
    }
}

/// What somebody has seen of the pods.
enum SeenPods {
    Themselves(watch::Receiver<View<Pod>>),
    InSlices(watch::Receiver<View<Slice>>),
}

impl SeenPods {
    fn see(&mut self) {
        match self {
            SeenPods::Themselves(view) => drop(view.borrow_and_update()),
            SeenPods::InSlices(view) => drop(view.borrow_and_update()),
        }
    }

    async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        match self {
            SeenPods::Themselves(view) => view.changed().await,
            SeenPods::InSlices(view) => view.changed().await,
        }
    }
}

/// The session.
pub(super) struct PodSession {
    sight: Sight,
    path: Box<dyn DataPath>,
    chosen: Mutex<Endpoint>,
    ready: Mutex<Readiness>,
    ended: OnceLock<Problem>,
    this: Weak<Self>,
}

/// What is done for the next client before it comes.
#[derive(Default)]
struct Readiness {
    used: Option<Instant>,
    /// The UID of the pod that was last proved, or is being.
    proved: Option<String>,
    /// The pod that would serve in the chosen one's place.
    spare: Option<Spare>,
}

impl PodSession {
    /// A session that begins at `chosen`, which `sight` has just resolved to.
    pub(super) fn start(sight: Sight, chosen: Endpoint) -> Arc<Self> {
        let place = sight.cluster.place(&sight.target);
        let path = Box::new(TunnelPath::new(sight.cluster.clone(), place));
        let (chosen, ready, ended) = (Mutex::new(chosen), Mutex::default(), OnceLock::new());
        Arc::new_cyclic(|this| Self { sight, path, chosen, ready, ended, this: this.clone() })
    }

    /// A client came: what follows is worth preparing for some time.
    fn used(&self, endpoint: &Endpoint) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ready.used.replace(Instant::now());
        let known = ready.proved.as_deref() == Some(endpoint.uid.as_str());
        if !known {
            ready.proved = Some(endpoint.uid.clone());
        }
        drop(ready);
        if !known || before.is_none_or(|at| at.elapsed() > SPARE_AFTER_USE) {
            self.prepare();
        }
    }

    /// Dials the pod that serves from now on before its first client comes, and has a
    /// tunnel open to the one that would serve in its place. For forwards in use alone.
    fn prepare(&self) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.used.is_none_or(|at| at.elapsed() > SPARE_AFTER_USE) {
            ready.spare = None;
            return;
        }
        let Ok(chosen) = self.endpoint(&[]) else { return };
        if ready.proved.as_deref() != Some(chosen.uid.as_str()) {
            ready.proved = Some(chosen.uid.clone());
            let spare = ready.spare.take();
            self.prove_ahead(spare);
        }
        let next = self.sight.resolve(None, &[chosen.uid]).ok();
        let stands = |spare: &Spare| next.as_ref().is_some_and(|next| spare.stands(&next.uid));
        if !ready.spare.as_ref().is_some_and(stands) {
            ready.spare = next.and_then(|next| Spare::open(self.sight.cluster.pool(&next), &next));
        }
    }

    /// `spare` is most likely the one that is needed now, and stays until it is in use.
    fn prove_ahead(&self, spare: Option<Spare>) {
        let Some(this) = self.this.upgrade() else { return };
        self.sight.cluster.shared.tasks.spawn("dial a replacement", async move {
            if let Err(error) = this.dial(Care::Proof, Vec::new()).await {
                tracing::debug!(problem = %error.problem, "the replacement does not serve yet");
            }
            drop(spare);
        });
    }

    /// Whether the pod of `endpoint` is no more.
    fn is_gone(&self, endpoint: &Endpoint) -> bool {
        self.sight.trouble().is_none() && !self.sight.knows(&endpoint.pod, &endpoint.uid)
    }

    /// The endpoint of this moment. The pod is kept while it can serve.
    fn endpoint(&self, avoid: &[String]) -> Result<Endpoint, Fault> {
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.sight.resolve(Some(&chosen.uid), avoid)?;
        if avoid.is_empty() {
            chosen.clone_from(&now);
        }
        Ok(now)
    }

    fn route_to(&self, endpoint: &Endpoint) -> Route {
        let way = self.path.name();
        let path = match &self.sight.cluster.gate.via {
            Some(via) => format!("{way} via {}", via.host.destination()).into(),
            None => way.into(),
        };
        Route { path, endpoint: format!("pod {}", endpoint.pod) }
    }

    /// Connects to a pod whose UID is not among those to `avoid`.
    async fn dial(&self, care: Care, mut avoid: Vec<String>) -> Result<Dialled, ConnectError> {
        let mut last: Option<Fault> = None;
        while avoid.len() < PODS_TRIED {
            let endpoint = match self.endpoint(&avoid) {
                Ok(endpoint) => endpoint,
                Err(fault) => {
                    last.get_or_insert(fault);
                    break;
                }
            };
            match self.path.dial(&endpoint, care).await {
                Ok(stream) => {
                    // The pod that serves is kept from now on.
                    let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
                    chosen.clone_from(&endpoint);
                    return Ok((stream, endpoint));
                }
                Err(fault @ (Fault::TargetRefused { .. } | Fault::PodLost { .. })) => {
                    // The watch may not have told yet; another pod may serve meanwhile.
                    self.doubt_after(&fault);
                    avoid.push(endpoint.uid);
                    last = Some(fault);
                }
                Err(fault) => {
                    self.doubt_after(&fault);
                    return Err(self.refusal(&fault));
                }
            }
        }
        let nothing = Fault::Unfit(Unfit::NoPods);
        Err(self.refusal(last.as_ref().unwrap_or(&nothing)))
    }

    /// Has the list read anew where `fault` says that the watch may have died unnoticed.
    fn doubt_after(&self, fault: &Fault) {
        let contradicts = matches!(
            fault,
            Fault::PodLost { .. } | Fault::Timeout | Fault::Refused | Fault::Unreachable { .. }
        );
        if contradicts {
            self.sight.pods.doubt();
        }
    }

    fn refusal(&self, fault: &Fault) -> ConnectError {
        let verdict = match fault {
            Fault::TargetRefused { .. } => Verdict::Refuse,
            _ => Verdict::Hold,
        };
        ConnectError { problem: self.sight.problem(fault), verdict }
    }

    async fn wait_lost(&self) -> Problem {
        if let Some(problem) = self.ended.get() {
            return problem.clone();
        }
        let check = || self.sight.trouble().or_else(|| self.endpoint(&[]).err());
        let fault = self.sight.wait(check).await;
        let problem = self.sight.problem(&fault);
        self.ended.get_or_init(|| problem).clone()
    }

    async fn ask_server(&self) -> Result<Duration, Problem> {
        let start = Instant::now();
        let doing = Doing::new("get", "/version", "path", "/version");
        let ask = |client: kube::Client| async move { client.apiserver_version().await };
        let answer = timeout(PING_LIMIT, self.sight.cluster.ask(&doing, ask)).await;
        match answer.unwrap_or(Err(Fault::Timeout)) {
            // Whoever may not see the version has got an answer all the same.
            Ok(version) => {
                self.sight.cluster.ways.note_version(&version.git_version);
                Ok(start.elapsed())
            }
            Err(Fault::Forbidden { .. } | Fault::Missing { .. }) => Ok(start.elapsed()),
            Err(fault) => {
                self.sight.cluster.suspect();
                self.doubt_after(&fault);
                Err(self.sight.problem(&fault))
            }
        }
    }
}

impl Session for PodSession {
    fn route(&self) -> Route {
        let endpoint = self.endpoint(&[]);
        match endpoint {
            Ok(endpoint) => self.route_to(&endpoint),
            Err(_) => self.route_to(&self.chosen.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn stands_on(&self) -> Vec<LeaseId> {
        let services = self.sight.services.as_ref().map(|feed| feed.lease());
        services.into_iter().chain([self.sight.pods.lease()]).collect()
    }

    fn connect(&self) -> BoxFuture<'_, Result<Connection, ConnectError>> {
        Box::pin(async {
            let dialled = self.dial(Care::Client, Vec::new()).await?;
            self.used(&dialled.1);
            let (this, other) = (self.this.clone(), self.this.clone());
            let redial = Box::new(move |at_fault, fault| -> BoxFuture<'static, _> {
                Box::pin(redial(this.clone(), at_fault, fault))
            });
            let gone = Box::new(move |endpoint: &Endpoint| {
                other.upgrade().is_some_and(|session| session.is_gone(endpoint))
            });
            Ok(Connection { stream: Box::new(Replay::new(dialled, redial, gone)) })
        })
    }

    fn lost(&self) -> BoxFuture<'_, Problem> {
        Box::pin(self.wait_lost())
    }

    fn rerouted<'a>(&'a self, seen: &'a Route) -> BoxFuture<'a, Route> {
        Box::pin(self.sight.wait(move || {
            self.prepare();
            Some(self.route()).filter(|route| route != seen)
        }))
    }

    fn forsake(&self) {
        self.sight.cluster.forsake();
    }

    fn ping(&self) -> BoxFuture<'_, Result<Duration, Problem>> {
        Box::pin(self.ask_server())
    }

    fn probe(&self) -> BoxFuture<'_, Result<Duration, Problem>> {
        Box::pin(async {
            let start = Instant::now();
            match self.dial(Care::Proof, Vec::new()).await {
                Ok(_) => Ok(start.elapsed()),
                Err(error) => Err(error.problem),
            }
        })
    }
}

/// Another connection for a client to whom `fault` happened before anything was delivered;
/// `at_fault` is the endpoint that failed, if it was one. It waits for a pod, as a new client would be held.
async fn redial(
    session: Weak<PodSession>,
    at_fault: Option<Endpoint>,
    fault: Fault,
) -> Result<Dialled, ConnectError> {
    let gone =
        || ConnectError { problem: problem(&fault, &Place::default()), verdict: Verdict::Hold };
    let session = session.upgrade().ok_or_else(gone)?;
    let mut avoid = Vec::new();
    if let Some(endpoint) = at_fault {
        session.doubt_after(&fault);
        avoid.push(endpoint.uid);
    }
    let deadline = Instant::now() + REDIAL_LIMIT;
    loop {
        match session.dial(Care::Client, avoid.clone()).await {
            Err(error) if error.verdict == Verdict::Hold && Instant::now() < deadline => {
                let resolved = session.sight.wait(|| session.endpoint(&avoid).ok());
                let pause = timeout_at(deadline.min(Instant::now() + REDIAL_PAUSE), resolved);
                // Without another pod in sight the one that failed is worth another try.
                if pause.await.is_err() {
                    avoid.clear();
                }
            }
            outcome => return outcome,
        }
    }
}

/// The shared feed once it is settled; where listing is forbidden, one that looks at
/// a single object and needs no more than `get`.
async fn allowed<T: Clone + Send + Sync + 'static>(
    shared: Arc<Feed<T>>,
    single: impl FnOnce() -> Arc<Feed<T>>,
) -> Result<Arc<Feed<T>>, Fault> {
    match settled(shared).await {
        Err(Fault::Forbidden { missing }) => {
            // Both rights would do; the one that shared watches need is named.
            settled(single()).await.map_err(|fault| match fault {
                Fault::Forbidden { .. } => Fault::Forbidden { missing },
                other => other,
            })
        }
        outcome => outcome,
    }
}

async fn settled<T: Clone + Send + Sync + 'static>(
    feed: Arc<Feed<T>>,
) -> Result<Arc<Feed<T>>, Fault> {
    let view: View<T> = timeout(SETTLE_LIMIT, feed.settled()).await.map_err(|_| Fault::Timeout)?;
    match view.trouble {
        Some(fault) => Err(fault),
        None => Ok(feed),
    }
}
