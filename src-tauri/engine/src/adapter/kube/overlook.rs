//! Owns the look at a cluster as a whole: whether its API server answers, how its nodes
//! stand, what it warns of.
//!
//! Nodes and warnings are watched, not polled, where the user may watch; what may only be
//! listed is listed now and then; what may not be seen is said.

use super::classify::{self, Doing};
use super::cluster::{Cluster, REQUEST_LIMIT};
use super::relogin;
use crate::adapter::overlook::{Found, Look, Missed, Subject};
use crate::registry::LeaseKind;
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Event, Node};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Client, Error, Resource, ResourceExt};
use localport_core::cluster::ClusterEvent;
use localport_core::kube::{Fault, Place, problem};
use localport_core::snapshot::Nodes;
use localport_core::time::Timestamp;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// Objects per page of a list, as client-go asks for.
const PAGE: u32 = 500;

/// Grace beyond the time a watch was asked to last, before it counts as dead.
const WATCH_GRACE: Duration = Duration::from_secs(5);

/// Pause between lists of what may not be watched.
const LIST_PAUSE: Duration = Duration::from_secs(30);

/// Pause before asking again for what may not be seen: rights are given now and then.
const UNSEEN_PAUSE: Duration = Duration::from_secs(300);

/// Pause after a failure; the monitor meanwhile finds out whether the cluster is away.
const FAILURE_PAUSE: Duration = Duration::from_secs(2);

/// Names of nodes that are not ready, of many.
const NAMED: usize = 5;

/// Asks `/readyz`, and `/version` where that is not served or not allowed.
pub(super) async fn look(cluster: &Cluster, limit: Duration) -> Result<Look, Missed> {
    let begun = Instant::now();
    let mut answer = ask(cluster, "/readyz", limit).await;
    if let Err(Fault::Forbidden { .. } | Fault::Missing { .. } | Fault::Other { .. }) = answer {
        answer = ask(cluster, "/version", limit.saturating_sub(begun.elapsed())).await;
    }
    match answer {
        // A server that refuses the question has answered.
        Ok(took) => Ok(Look { took, expires: expires(cluster) }),
        Err(Fault::Forbidden { .. }) => {
            Ok(Look { took: begun.elapsed(), expires: expires(cluster) })
        }
        Err(fault) => {
            let problem = problem(&fault, &cluster.whole());
            let login = relogin::needed(cluster, &fault, &problem.sentence).await;
            Err(Missed { problem, login })
        }
    }
}

/// Follows `subject` until it is dropped.
pub(super) async fn follow(cluster: &Cluster, subject: Subject, found: mpsc::Sender<Found>) {
    let context = &cluster.context;
    let (name, namespace) = match &subject {
        Subject::Nodes => (format!("nodes of {context}"), None),
        Subject::Warnings { namespace } => {
            (format!("warnings in {namespace} of {context}"), Some(namespace.as_str()))
        }
    };
    let _lease = cluster.shared.tasks.registry().lease(LeaseKind::Watch, name, "monitor");
    match namespace {
        None => {
            let nodes = Nodal { found, nodes: BTreeMap::new(), listing: false };
            Follower {
                cluster,
                resource: "nodes",
                fields: None,
                api: Api::<Node>::all,
                sink: nodes,
            }
            .run()
            .await;
        }
        Some(namespace) => {
            let api = |client| Api::<Event>::namespaced(client, namespace);
            let (fields, sink) = (Some("type=Warning"), Warned { found });
            Follower { cluster, resource: "events", fields, api, sink }.run().await;
        }
    }
}

/// Asks for `path`; gives how long the answer took, a login not counted.
async fn ask(cluster: &Cluster, path: &'static str, limit: Duration) -> Result<Duration, Fault> {
    let doing = Doing::new("get", path, "path", path);
    let access = cluster.access().await?;
    let (begun, answer) = put(&access.client, path, limit).await?;
    let (begun, answer) = match answer {
        Err(error) if classify::is_unauthorized(&error) => {
            let access = cluster.renew(&access).await?;
            put(&access.client, path, limit).await?
        }
        answer => (begun, answer),
    };
    answer.map(|_| begun.elapsed()).map_err(|error| classify::fault(&error, &doing))
}

type Answer = (Instant, Result<String, Error>);

async fn put(client: &Client, path: &'static str, limit: Duration) -> Result<Answer, Fault> {
    let request = http::Request::get(path).body(vec![]);
    let request = request.map_err(|error| Fault::Other { said: error.to_string() })?;
    let begun = Instant::now();
    let answer = timeout(limit, client.request_text(request)).await.map_err(|_| Fault::Timeout)?;
    Ok((begun, answer))
}

fn expires(cluster: &Cluster) -> Option<Timestamp> {
    let since = cluster.gate.expires()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp(u64::try_from(since.as_millis()).ok()?))
}

/// What takes objects in as they come.
trait Sink<K>: Send {
    /// A list begins: what was known is known no more.
    fn clear(&mut self) {}
    fn put(&mut self, object: K) -> Option<Found>;
    fn remove(&mut self, object: &K) -> Option<Found>;
    /// A list is complete.
    fn listed(&mut self) -> Option<Found> {
        None
    }
    fn found(&self) -> &mpsc::Sender<Found>;
}

/// One watch.
struct Follower<'a, A, S> {
    cluster: &'a Cluster,
    resource: &'static str,
    fields: Option<&'static str>,
    api: A,
    sink: S,
}

enum Failed {
    Fault(Fault),
    Server(&'static str, Error),
}

impl<K, A, S> Follower<'_, A, S>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    A: Fn(Client) -> Api<K> + Send,
    S: Sink<K>,
{
    async fn run(mut self) {
        let mut version = None;
        loop {
            let pause = match self.turn(&mut version).await {
                Ok(pause) => pause,
                Err(failed) => {
                    version = None;
                    self.failed(failed).await
                }
            };
            sleep(pause).await;
        }
    }

    /// One list, or one watch from the last version on. Gives the pause after it.
    async fn turn(&mut self, version: &mut Option<String>) -> Result<Duration, Failed> {
        let access = self.cluster.access().await.map_err(Failed::Fault)?;
        let api = (self.api)(access.client.clone());
        let from = match version.take() {
            Some(from) => from,
            None => {
                let from = self.list(&api).await?;
                self.tell(Some(Found::Visible)).await;
                from
            }
        };
        match self.watch(&api, &from).await {
            Ok(next) => {
                *version = next;
                Ok(Duration::ZERO)
            }
            // What may be listed but not watched is listed again and again.
            Err(Failed::Server(_, Error::Api(status))) if status.code == 403 => Ok(LIST_PAUSE),
            Err(failed) => Err(failed),
        }
    }

    async fn list(&mut self, api: &Api<K>) -> Result<String, Failed> {
        let mut params = ListParams { limit: Some(PAGE), ..ListParams::default() };
        params.field_selector = self.fields.map(str::to_owned);
        self.sink.clear();
        loop {
            let page = limited(api.list(&params)).await?.map_err(|e| Failed::Server("list", e))?;
            for object in page.items {
                let found = self.sink.put(object);
                self.tell(found).await;
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => {
                    let found = self.sink.listed();
                    self.tell(found).await;
                    return Ok(page.metadata.resource_version.unwrap_or_default());
                }
            }
        }
    }

    /// Follows until the server ends the watch. Gives the version to go on from; none when
    /// that is too old.
    async fn watch(&mut self, api: &Api<K>, from: &str) -> Result<Option<String>, Failed> {
        let limit = self.cluster.shared.watch_limit;
        let seconds = u32::try_from(limit.as_secs()).unwrap_or(u32::MAX).max(1);
        let mut params = WatchParams::default().timeout(seconds);
        params.field_selector = self.fields.map(str::to_owned);
        let events = limited(api.watch(&params, from)).await?;
        let events = events.map_err(|error| Failed::Server("watch", error))?;
        let mut events = std::pin::pin!(events.into_stream());
        let mut version = from.to_owned();
        loop {
            let Ok(next) = timeout(limit + WATCH_GRACE, events.next()).await else {
                self.tell(Some(Found::Broken)).await;
                return Ok(Some(version));
            };
            let found = match next {
                None => return Ok(Some(version)),
                Some(Err(error)) if classify::is_gone(&error) => return Ok(None),
                Some(Err(error)) => return Err(Failed::Server("watch", error)),
                Some(Ok(WatchEvent::Error(status))) if status.code == 410 => return Ok(None),
                Some(Ok(WatchEvent::Error(status))) => {
                    return Err(Failed::Server("watch", Error::Api(status)));
                }
                Some(Ok(WatchEvent::Bookmark(mark))) => {
                    version = mark.metadata.resource_version;
                    None
                }
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    version = object.resource_version().unwrap_or(version);
                    self.sink.put(object)
                }
                Some(Ok(WatchEvent::Deleted(object))) => {
                    version = object.resource_version().unwrap_or(version);
                    self.sink.remove(&object)
                }
            };
            self.tell(found).await;
        }
    }

    /// Takes a failure in and gives the pause before the next attempt.
    async fn failed(&self, failed: Failed) -> Duration {
        if let Failed::Server(verb, Error::Api(status)) = &failed
            && status.code == 403
        {
            let (resource, context) = (self.resource, &self.cluster.context);
            let sentence = format!(
                "{resource} of `{context}` cannot be seen: your user has no right to `{verb}` on `{resource}`"
            );
            self.tell(Some(Found::Unseen(sentence))).await;
            return UNSEEN_PAUSE;
        }
        let fault = match failed {
            Failed::Fault(fault) => fault,
            Failed::Server(verb, error) => {
                let doing = Doing::new(verb, self.resource, "context", &self.cluster.context);
                classify::fault(&error, &doing)
            }
        };
        tracing::debug!(resource = self.resource, ?fault, "the cluster cannot be followed");
        self.tell(Some(Found::Broken)).await;
        FAILURE_PAUSE
    }

    async fn tell(&self, found: Option<Found>) {
        if let Some(found) = found {
            // A monitor that is gone has dropped this as well.
            let _ = self.sink.found().send(found).await;
        }
    }
}

/// Which nodes are ready.
struct Nodal {
    found: mpsc::Sender<Found>,
    nodes: BTreeMap<String, bool>,
    /// Whether a list comes in, which counts once.
    listing: bool,
}

impl Nodal {
    fn count(&self) -> Option<Found> {
        let ready = self.nodes.values().filter(|ready| **ready).count();
        let waiting = self.nodes.iter().filter(|(_, ready)| !**ready);
        Some(Found::Nodes(Nodes {
            ready: u32::try_from(ready).unwrap_or(u32::MAX),
            total: u32::try_from(self.nodes.len()).unwrap_or(u32::MAX),
            not_ready: waiting.take(NAMED).map(|(name, _)| name.clone()).collect(),
        }))
    }
}

impl Sink<Node> for Nodal {
    fn clear(&mut self) {
        self.nodes.clear();
        self.listing = true;
    }

    /// Nodes are touched every few seconds; only what changes their standing counts.
    fn put(&mut self, node: Node) -> Option<Found> {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
        let ready = ready.any(|condition| condition.status == "True");
        let before = self.nodes.insert(node.name_any(), ready);
        if self.listing || before == Some(ready) { None } else { self.count() }
    }

    fn remove(&mut self, node: &Node) -> Option<Found> {
        self.nodes.remove(&node.name_any())?;
        self.count()
    }

    fn listed(&mut self) -> Option<Found> {
        self.listing = false;
        self.count()
    }

    fn found(&self) -> &mpsc::Sender<Found> {
        &self.found
    }
}

/// What the cluster warns of.
struct Warned {
    found: mpsc::Sender<Found>,
}

impl Sink<Event> for Warned {
    fn put(&mut self, event: Event) -> Option<Found> {
        // A server that does not know the selector sends all of them.
        if event.type_.as_deref() != Some("Warning") {
            return None;
        }
        let name = event.name_any();
        Some(Found::Warning(name, warning(event)))
    }

    /// The cluster forgets events; what happened has happened.
    fn remove(&mut self, _event: &Event) -> Option<Found> {
        None
    }

    fn found(&self) -> &mpsc::Sender<Found> {
        &self.found
    }
}

fn warning(event: Event) -> ClusterEvent {
    let at = |seconds: i64, rest: i32| {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        Timestamp(seconds * 1_000 + u64::try_from(rest / 1_000_000).unwrap_or(0))
    };
    let series = event.series.as_ref();
    let micro = series.and_then(|s| s.last_observed_time.as_ref()).or(event.event_time.as_ref());
    let last = event.last_timestamp.as_ref().or(event.first_timestamp.as_ref());
    let when = last
        .map(|time| at(time.0.as_second(), time.0.subsec_nanosecond()))
        .max(micro.map(|time| at(time.0.as_second(), time.0.subsec_nanosecond())));
    let count = event.count.or(series.and_then(|series| series.count)).unwrap_or(1);
    let about = event.involved_object;
    ClusterEvent {
        at: when.unwrap_or_else(now),
        count: u32::try_from(count).unwrap_or(1),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        namespace: event.metadata.namespace.or(about.namespace).unwrap_or_default(),
        object: format!("{}/{}", about.kind.unwrap_or_default(), about.name.unwrap_or_default()),
        forwards: vec![],
    }
}

/// For an event without any time of its own.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

async fn limited<O>(future: impl Future<Output = O>) -> Result<O, Failed> {
    timeout(REQUEST_LIMIT, future).await.map_err(|_| Failed::Fault(Fault::Timeout))
}

impl Cluster {
    /// Where a fault of the whole cluster happens.
    fn whole(&self) -> Place {
        Place { context: self.context.clone(), server: self.gate.server(), ..Place::default() }
    }
}
