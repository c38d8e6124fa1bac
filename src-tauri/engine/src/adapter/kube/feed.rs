//! Owns a watch on one kind of object in one namespace, shared by every forward there.
//!
//! Receives the API server's list and watch events, emits a [`View`]: the objects as
//! of now, and what keeps the view from being true. It ends with its last holder.
//!
//! A watch whose path died silently never ends by itself. So each watch request is
//! short and has a read deadline, each list has a deadline, and whoever meets a
//! contradiction (a pod that is gone) can ask for a fresh list at once.

use super::classify::{self, Doing};
use super::cluster::{Cluster, REQUEST_LIMIT};
use crate::registry::{LeaseId, LeaseKind};
use futures_util::{StreamExt, TryStreamExt};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Error, Resource, ResourceExt};
use localport_core::kube::Fault;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Objects per page of a list, as client-go asks for.
const PAGE: u32 = 500;

/// Grace beyond the time a watch was asked to last, before it counts as dead.
const WATCH_GRACE: Duration = Duration::from_secs(5);

/// Pause between looks where the right to watch is missing.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// The first repetition after a failure comes quickly: most failures are one broken
/// connection. Only when it fails too is the view in trouble.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause between attempts. It is what a cluster's return costs at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A fresh list is not fetched sooner after the last one.
const RELIST_PAUSE: Duration = Duration::from_millis(500);

/// What is known.
#[derive(Clone, Debug)]
pub(super) struct View<T> {
    /// Whether a list has been read since the start.
    pub(super) synced: bool,
    /// What keeps the view from being true now.
    pub(super) trouble: Option<Fault>,
    /// The objects by name.
    pub(super) items: Arc<BTreeMap<String, T>>,
}

/// The shared watch. Dropping the last handle ends it.
pub(super) struct Feed<T> {
    view: watch::Receiver<View<T>>,
    doubt: Arc<Notify>,
    end: CancellationToken,
    lease: LeaseId,
}

impl<T: Clone + Send + Sync + 'static> Feed<T> {
    /// Starts watching `resource`, such as `pods`, in `namespace`; or, with `only`,
    /// looking at that one object.
    pub(super) fn start<K>(
        cluster: Arc<Cluster>,
        resource: &'static str,
        namespace: &str,
        only: Option<&str>,
        convert: fn(K) -> Option<(String, T)>,
    ) -> Arc<Self>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let start = View { synced: false, trouble: None, items: Arc::default() };
        let (sender, view) = watch::channel(start);
        let doubt = Arc::new(Notify::new());
        let subject = only.map_or_else(|| resource.to_owned(), |name| format!("{resource}/{name}"));
        let name = format!("{subject} in {namespace} of {}", cluster.context);
        let tasks = cluster.shared.tasks.clone();
        let lease = tasks.lease(LeaseKind::Watch, &name, "kube", vec![]);
        let id = lease.id();
        let watcher = Watcher {
            cluster,
            resource,
            namespace: namespace.to_owned(),
            only: only.map(str::to_owned),
            convert,
            view: sender,
            doubt: doubt.clone(),
        };
        // In the adapter's own group, so that its end waits for this task too.
        let end = tasks.token().child_token();
        let ended = end.clone();
        tasks.spawn_to_end(format!("watch {name}"), async move {
            let _lease = lease;
            ended.run_until_cancelled(watcher.run()).await;
        });
        Arc::new(Self { view, doubt, end, lease: id })
    }

    /// The lease of the watch.
    pub(super) fn lease(&self) -> LeaseId {
        self.lease
    }

    /// What is known now, marked as seen in the receiver that is given back.
    pub(super) fn subscribe(&self) -> watch::Receiver<View<T>> {
        self.view.clone()
    }

    /// What is known now.
    pub(super) fn view(&self) -> View<T> {
        self.view.borrow().clone()
    }

    /// Waits until there is no trouble.
    pub(super) async fn well(&self) {
        let mut view = self.view.clone();
        if view.wait_for(|view| view.synced && view.trouble.is_none()).await.is_err() {
            // The adapter is shutting down.
            std::future::pending::<()>().await;
        }
    }

    /// Something contradicts the view: fetch it anew.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Waits until a list was read or trouble is known.
    pub(super) async fn settled(&self) -> View<T> {
        let mut view = self.view.clone();
        match view.wait_for(|view| view.synced || view.trouble.is_some()).await {
            Ok(view) => view.clone(),
            // The adapter is shutting down.
            Err(_) => self.view(),
        }
    }
}

impl<T> Drop for Feed<T> {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

struct Watcher<K, T> {
    cluster: Arc<Cluster>,
    resource: &'static str,
    namespace: String,
    only: Option<String>,
    convert: fn(K) -> Option<(String, T)>,
    view: watch::Sender<View<T>>,
    doubt: Arc<Notify>,
}

/// How one turn of the watcher failed.
enum Failed {
    /// While getting a client or reading the list.
    Fault(Fault),
    /// While asking the server.
    Server(&'static str, Error),
    /// The list is too old to watch on from it.
    Gone,
}

impl<K, T> Watcher<K, T>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    async fn run(self) {
        let mut version: Option<String> = None;
        let mut failures = 0_u32;
        loop {
            let pause = match self.turn(&mut version, &mut failures).await {
                Ok(pause) => pause,
                Err(Failed::Gone) => Duration::ZERO,
                Err(failed) => {
                    failures += 1;
                    self.failed(failed, failures)
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.doubt.notified() => version = None,
            }
        }
    }

    /// One list or one watch. Gives the pause before the next turn.
    async fn turn(
        &self,
        version: &mut Option<String>,
        failures: &mut u32,
    ) -> Result<Duration, Failed> {
        let access = self.cluster.access().await.map_err(Failed::Fault)?;
        let outcome = self.look(access.client.clone(), version, failures).await;
        match outcome {
            Err(Failed::Server(_, error)) if classify::is_unauthorized(&error) => {
                self.cluster.renew(&access).await.map_err(Failed::Fault)?;
                Ok(Duration::ZERO)
            }
            outcome => outcome,
        }
    }

    async fn look(
        &self,
        client: Client,
        version: &mut Option<String>,
        failures: &mut u32,
    ) -> Result<Duration, Failed> {
        let api: Api<K> = Api::namespaced(client, &self.namespace);
        if let Some(only) = &self.only {
            self.look_at(&api, only).await?;
            *failures = 0;
            return Ok(LOOK_PAUSE);
        }
        let from = match version.take() {
            Some(from) => from,
            None => self.list(&api).await?,
        };
        // Only a watch is cut short by doubt: a list is the answer to it.
        let begun = Instant::now();
        let followed = tokio::select! {
            followed = self.follow(&api, &from, failures) => followed,
            () = self.doubt.notified() => {
                sleep(RELIST_PAUSE.saturating_sub(begun.elapsed())).await;
                return Ok(Duration::ZERO);
            }
        };
        match followed {
            Ok(next) => {
                *version = Some(next);
                Ok(Duration::ZERO)
            }
            Err(Failed::Server(_, Error::Api(status))) if status.code == 403 => {
                // What may be listed but not watched is listed again and again.
                *failures = 0;
                Ok(LOOK_PAUSE)
            }
            Err(failed) => Err(failed),
        }
    }

    async fn look_at(&self, api: &Api<K>, name: &str) -> Result<(), Failed> {
        let found = limited(api.get_opt(name)).await?.map_err(|e| Failed::Server("get", e))?;
        self.replace(found.and_then(self.convert).into_iter().collect());
        Ok(())
    }

    /// Reads the whole list and gives the version to watch from.
    async fn list(&self, api: &Api<K>) -> Result<String, Failed> {
        let mut items = BTreeMap::new();
        let mut params = ListParams { limit: Some(PAGE), ..ListParams::default() };
        loop {
            let page = limited(api.list(&params)).await?.map_err(|e| Failed::Server("list", e))?;
            items.extend(page.items.into_iter().filter_map(self.convert));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => {
                    self.replace(items);
                    return Ok(page.metadata.resource_version.unwrap_or_default());
                }
            }
        }
    }

    /// Follows the changes after version `from` until the server ends the watch, and
    /// gives the version to go on from.
    async fn follow(&self, api: &Api<K>, from: &str, failures: &mut u32) -> Result<String, Failed> {
        let limit = self.cluster.shared.watch_limit;
        let seconds = u32::try_from(limit.as_secs()).unwrap_or(u32::MAX).max(1);
        let params = WatchParams::default().timeout(seconds);
        let events = limited(api.watch(&params, from)).await?;
        let events = events.map_err(|error| refused_watch(error, "watch"))?;
        let mut events = std::pin::pin!(events.into_stream());
        *failures = 0;
        self.clear();
        let mut version = from.to_owned();
        loop {
            let next = timeout(limit + WATCH_GRACE, events.next()).await;
            let Ok(next) = next else {
                return Ok(version);
            };
            match next {
                None => return Ok(version),
                Some(Err(error)) => return Err(refused_watch(error, "watch")),
                Some(Ok(WatchEvent::Error(status))) if status.code == 410 => {
                    return Err(Failed::Gone);
                }
                Some(Ok(WatchEvent::Error(status))) => {
                    return Err(Failed::Server("watch", Error::Api(status)));
                }
                Some(Ok(WatchEvent::Bookmark(mark))) => version = mark.metadata.resource_version,
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    version = object.resource_version().unwrap_or(version);
                    self.change(|items| items.extend((self.convert)(object)));
                }
                Some(Ok(WatchEvent::Deleted(object))) => {
                    version = object.resource_version().unwrap_or(version);
                    self.change(|items| {
                        items.remove(&object.name_any());
                    });
                }
            }
        }
    }

    fn replace(&self, items: BTreeMap<String, T>) {
        self.view.send_replace(View { synced: true, trouble: None, items: Arc::new(items) });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, T>)) {
        self.view.send_modify(|view| change(Arc::make_mut(&mut view.items)));
    }

    fn clear(&self) {
        self.view.send_if_modified(|view| view.trouble.take().is_some());
    }

    /// Takes a failure in and gives the pause before the next attempt.
    fn failed(&self, failed: Failed, failures: u32) -> Duration {
        let fault = match failed {
            Failed::Fault(fault) => fault,
            Failed::Gone => return Duration::ZERO,
            Failed::Server(verb, error) => {
                let name = self.only.as_deref().unwrap_or(&self.namespace);
                classify::fault(&error, &Doing::new(verb, self.resource, "namespace", name))
            }
        };
        // A time-out has waited long enough already.
        let passing =
            matches!(fault, Fault::Refused | Fault::Unreachable { .. } | Fault::Overloaded { .. });
        tracing::debug!(
            resource = self.resource,
            namespace = self.namespace,
            ?fault,
            "no list or watch"
        );
        if !passing || failures > 1 {
            self.view.send_if_modified(|view| {
                let changed = view.trouble.as_ref() != Some(&fault);
                view.trouble = Some(fault);
                changed
            });
        }
        match passing {
            true => (FIRST_PAUSE * 2_u32.saturating_pow(failures.saturating_sub(1).min(8)))
                .min(LONGEST_PAUSE),
            false => LONGEST_PAUSE,
        }
    }
}

fn refused_watch(error: Error, verb: &'static str) -> Failed {
    if classify::is_gone(&error) { Failed::Gone } else { Failed::Server(verb, error) }
}

async fn limited<O>(future: impl Future<Output = O>) -> Result<O, Failed> {
    timeout(REQUEST_LIMIT, future).await.map_err(|_| Failed::Fault(Fault::Timeout))
}
