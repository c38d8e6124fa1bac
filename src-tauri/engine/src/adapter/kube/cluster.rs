//! Owns the access to one cluster: the client of a context, renewed when its
//! credentials end, and the watches that its forwards share.

use super::classify::{self, Doing};
use super::convert;
use super::feed::Feed;
pub(super) use super::gate::Access;
use super::gate::Gate;
use super::kubeconfig::Kubeconfigs;
use super::path::Endpoint;
use super::pool::{Pool, Spares};
use super::road::Via;
use super::shell::Shell;
use super::v4::Proofs;
use super::ways::Ways;
use crate::registry::Tasks;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Error, Resource};
use localport_core::config::{KubeResource, KubeTarget};
use localport_core::kube::{Fault, Place, Pod, ProxyEnv, Right, Selector, Service, Slice};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Time one request may take; a server that takes longer counts as away.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Time a server has to answer a question whose answer does not matter: many round trips
/// on any path, and part of the 10 s in which a dead one is noticed.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Such an answer is not asked for again sooner, however many want it.
const ANSWER_KEPT: Duration = Duration::from_secs(1);

/// What all clusters of one adapter share.
pub(super) struct Shared {
    pub(super) tasks: Tasks,
    pub(super) kubeconfigs: Kubeconfigs,
    pub(super) shell: Arc<Shell>,
    pub(super) plugin_limit: Duration,
    pub(super) watch_limit: Duration,
    pub(super) proxies: Option<ProxyEnv>,
}

impl Shared {
    /// The proxies that the environment names.
    pub(super) async fn proxies(&self) -> ProxyEnv {
        match &self.proxies {
            Some(given) => given.clone(),
            None => self.shell.proxies().await,
        }
    }
}

/// One context.
pub(super) struct Cluster {
    pub(super) context: String,
    pub(super) shared: Arc<Shared>,
    pub(super) proofs: Arc<Proofs>,
    pub(super) spares: Spares,
    pub(super) ways: Arc<Ways>,
    pub(super) gate: Arc<Gate>,
    pools: Mutex<HashMap<String, Weak<Pool>>>,
    feeds: Mutex<Feeds>,
    /// When the server was last asked for any answer, and whether one came.
    answered: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

#[derive(Default)]
struct Feeds {
    pods: HashMap<(String, Option<String>), Weak<Feed<Pod>>>,
    services: HashMap<(String, Option<String>), Weak<Feed<Service>>>,
    slices: HashMap<String, Weak<Feed<Slice>>>,
}

impl Cluster {
    pub(super) fn new(context: String, via: Option<Via>, shared: Arc<Shared>) -> Self {
        let ways = Arc::<Ways>::default();
        let gate = Arc::new(Gate::new(context.clone(), via, shared.clone(), ways.clone()));
        Self {
            context,
            shared,
            proofs: Arc::default(),
            spares: Spares::default(),
            ways,
            gate,
            pools: Mutex::default(),
            feeds: Mutex::default(),
            answered: tokio::sync::Mutex::default(),
        }
    }

    /// Where a fault about `target` happens.
    pub(super) fn place(&self, target: &KubeTarget) -> Place {
        Place {
            context: self.context.clone(),
            server: self.gate.server(),
            namespace: target.namespace.clone(),
            target: target.resource.to_string(),
        }
    }

    /// Asks the server, within the request limit; refused credentials are replaced
    /// once and the question is put again.
    pub(super) async fn ask<T, F>(
        &self,
        doing: &Doing,
        question: impl Fn(Client) -> F + Send,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let access = self.access().await?;
        match limited(question(access.client.clone())).await? {
            Err(error) if classify::is_unauthorized(&error) => {
                let access = self.renew(&access).await?;
                limited(question(access.client)).await?.map_err(|e| classify::fault(&e, doing))
            }
            answer => answer.map_err(|error| classify::fault(&error, doing)),
        }
    }

    /// Whether the server answers anything at all, asked over connections that are kept: a
    /// path that forgot the old ones may well carry new ones.
    pub(super) async fn answers(&self) -> bool {
        let mut answered = self.answered.lock().await;
        if let Some((at, answers)) = *answered
            && at.elapsed() < ANSWER_KEPT
        {
            return answers;
        }
        let ask = async {
            let access = self.access().await.ok()?;
            match access.client.apiserver_version().await {
                Ok(_) | Err(Error::Api(_)) => Some(()),
                Err(_) => None,
            }
        };
        let answers = timeout(ANSWER_LIMIT, ask).await.is_ok_and(|answer| answer.is_some());
        *answered = Some((Instant::now(), answers));
        answers
    }

    /// The client; as in [`Gate::access`].
    pub(super) async fn access(&self) -> Result<Access, Fault> {
        self.gate.access().await
    }

    /// A client in the place of `refused`, whose credentials the server refuses.
    pub(super) async fn renew(&self, refused: &Access) -> Result<Access, Fault> {
        self.gate.renew(refused).await
    }

    /// The machine slept or its network changed. Connections that are kept for later
    /// requests are likely dead and would hold the next request up until its deadline, so
    /// the next one makes its own; credentials stay. Watches are read anew.
    pub(super) fn doubt(&self) {
        self.gate.put_aside();
        self.doubt_what_is_shared();
    }

    /// As [`Cluster::doubt`], for a session that did not answer; of many that tell the
    /// same, one counts.
    pub(super) fn forsake(&self) {
        if self.gate.put_aside_once() {
            self.doubt_what_is_shared();
        }
    }

    fn doubt_what_is_shared(&self) {
        self.look_anew();
        self.suspect();
    }

    /// Has every watch read anew: what its client is made from has changed, or may have.
    pub(super) fn look_anew(&self) {
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        for feed in feeds.pods.values().filter_map(Weak::upgrade) {
            feed.doubt();
        }
        for feed in feeds.services.values().filter_map(Weak::upgrade) {
            feed.doubt();
        }
        for feed in feeds.slices.values().filter_map(Weak::upgrade) {
            feed.doubt();
        }
    }

    /// The tunnels to the pod of `endpoint`, shared with whoever uses them already.
    pub(super) fn pool(self: &Arc<Self>, endpoint: &Endpoint) -> Arc<Pool> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&endpoint.uid).and_then(Weak::upgrade) {
            return pool;
        }
        let pool = Arc::new(Pool::new(self.clone(), endpoint));
        pools.retain(|_, pool| pool.strong_count() > 0);
        pools.insert(endpoint.uid.clone(), Arc::downgrade(&pool));
        pool
    }

    /// The path to the cluster may have died: its tunnels are asked for a sign of life.
    pub(super) fn suspect(&self) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let live: Vec<Arc<Pool>> = pools.values().filter_map(Weak::upgrade).collect();
        drop(pools);
        for pool in live {
            pool.suspect();
        }
    }

    /// The watch on the pods of `namespace`, shared with whoever holds it already.
    /// With `only`, it asks for this one pod, which takes no right to list.
    pub(super) fn pods(self: &Arc<Self>, namespace: &str, only: Option<&str>) -> Arc<Feed<Pod>> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), only.map(str::to_owned));
        if let Some(feed) = feeds.pods.get(&key).and_then(Weak::upgrade) {
            return feed;
        }
        let feed = Feed::start::<api::Pod>(self.clone(), "pods", namespace, only, convert::pod);
        feeds.pods.retain(|_, feed| feed.strong_count() > 0);
        feeds.pods.insert(key, Arc::downgrade(&feed));
        feed
    }

    /// The watch on the services of `namespace`, shared with whoever holds it already.
    pub(super) fn services(
        self: &Arc<Self>,
        namespace: &str,
        only: Option<&str>,
    ) -> Arc<Feed<Service>> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), only.map(str::to_owned));
        if let Some(feed) = feeds.services.get(&key).and_then(Weak::upgrade) {
            return feed;
        }
        let feed = Feed::start::<api::Service>(
            self.clone(),
            "services",
            namespace,
            only,
            convert::service,
        );
        feeds.services.retain(|_, feed| feed.strong_count() > 0);
        feeds.services.insert(key, Arc::downgrade(&feed));
        feed
    }

    /// The watch on the endpoint slices of `namespace`, shared with whoever holds it already.
    pub(super) fn slices(self: &Arc<Self>, namespace: &str) -> Arc<Feed<Slice>> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.slices.get(namespace).and_then(Weak::upgrade) {
            return feed;
        }
        let feed = Feed::start::<EndpointSlice>(
            self.clone(),
            "endpointslices",
            namespace,
            None,
            convert::slice,
        );
        feeds.slices.retain(|_, feed| feed.strong_count() > 0);
        feeds.slices.insert(namespace.to_owned(), Arc::downgrade(&feed));
        feed
    }

    /// The selector of a workload; none for what is no workload.
    pub(super) async fn workload(&self, target: &KubeTarget) -> Result<Option<Selector>, Fault> {
        let namespace = &target.namespace;
        let selector: LabelSelector = match &target.resource {
            KubeResource::Deployment(name) => {
                self.get::<Deployment>("deployments", "deployment", namespace, name)
                    .await?
                    .spec
                    .selector
            }
            KubeResource::StatefulSet(name) => {
                self.get::<StatefulSet>("statefulsets", "statefulset", namespace, name)
                    .await?
                    .spec
                    .selector
            }
            KubeResource::DaemonSet(name) => {
                self.get::<DaemonSet>("daemonsets", "daemonset", namespace, name)
                    .await?
                    .spec
                    .selector
            }
            KubeResource::ReplicaSet(name) => {
                self.get::<ReplicaSet>("replicasets", "replicaset", namespace, name)
                    .await?
                    .spec
                    .selector
            }
            KubeResource::Selector(text) => {
                return Selector::parse(text).map(Some).map_err(|why| Fault::BadSelector { why });
            }
            KubeResource::Service(_) | KubeResource::Pod(_) => return Ok(None),
        };
        Ok(Some(convert::selector(&selector)))
    }

    async fn get<K>(
        &self,
        resource: &str,
        kind: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<K, Fault>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned + Send,
    {
        let doing = Doing::new("get", resource, kind, name);
        let ask = |client| async move { Api::<K>::namespaced(client, namespace).get(name).await };
        self.ask(&doing, ask).await
    }

    /// Whether the namespace is known not to exist.
    pub(super) async fn lacks(&self, namespace: &str) -> bool {
        let doing = Doing::new("get", "namespaces", "namespace", namespace);
        let ask = |c| async move { Api::<api::Namespace>::all(c).get(namespace).await };
        // Whoever may not ask cannot tell, and the nearer problem stands.
        matches!(self.ask(&doing, ask).await, Err(Fault::Missing { .. }))
    }

    /// Which of the rights to forward ports in `namespace` the user lacks.
    pub(super) async fn missing_forward_rights(&self, namespace: &str) -> Vec<Right> {
        let mut missing = Vec::new();
        for verb in ["get", "create"] {
            if self.allowed(namespace, verb).await == Some(false) {
                missing
                    .push(Right { verb: verb.to_owned(), resource: "pods/portforward".to_owned() });
            }
        }
        missing
    }

    async fn allowed(&self, namespace: &str, verb: &str) -> Option<bool> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(namespace.to_owned()),
                    verb: Some(verb.to_owned()),
                    resource: Some("pods".to_owned()),
                    subresource: Some("portforward".to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let doing = Doing::new("create", "selfsubjectaccessreviews", "review", verb);
        let review = &review;
        let ask = |c| async move {
            Api::<SelfSubjectAccessReview>::all(c).create(&PostParams::default(), review).await
        };
        Some(self.ask(&doing, ask).await.ok()?.status?.allowed)
    }
}

async fn limited<T>(future: impl Future<Output = T>) -> Result<T, Fault> {
    timeout(REQUEST_LIMIT, future).await.map_err(|_| Fault::Timeout)
}
