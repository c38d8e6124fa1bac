//! Owns the way into Kubernetes clusters.
//!
//! Receives targets, emits sessions: each resolves its target to a ready pod from
//! watches that all forwards of a namespace share, moves to another pod when that one
//! goes, and carries every connection through the API server.

mod change;
mod child;
mod classify;
mod client;
mod cluster;
mod convert;
mod feed;
mod gate;
mod kubeconfig;
mod login;
mod overlook;
mod path;
mod pool;
mod proxy;
mod relogin;
mod replay;
mod road;
mod session;
mod shell;
mod tunnel;
mod upgrade;
mod v4;
pub(crate) mod walk;
mod ways;
mod wire;

pub use road::Dial;
pub use shell::LoginShell;

use super::overlook::{Found, Look, Missed, Subject};
use super::{Adapter, Session, SessionScope};
use crate::registry::{Registry, Tasks};
use cluster::{Cluster, Shared};
use futures_util::future::BoxFuture;
use kubeconfig::Kubeconfigs;
use localport_core::config::{KubeTarget, SshHost, Target};
use localport_core::kube::{Fault, Place, ProxyEnv, problem};
use localport_core::problem::{Code, Problem, Remedy};
use road::Via;
use session::{PodSession, Sight};
use shell::Shell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How the adapter finds and treats clusters.
#[derive(Clone, Debug)]
pub struct Options {
    /// The kubeconfig files, the first one wins; none means `KUBECONFIG`, else the
    /// default place.
    pub kubeconfig: Option<Vec<PathBuf>>,
    /// Which login shell is asked for PATH and KUBECONFIG.
    pub login_shell: LoginShell,
    /// Time a login plugin may take; it may wait for a person in a browser.
    pub plugin_limit: Duration,
    /// The proxies that the environment names; none means those of this process, else of
    /// the login shell.
    pub proxies: Option<ProxyEnv>,
    /// Time a watch request lasts. A watch that died unnoticed ends 5 s later.
    pub watch_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            login_shell: LoginShell::default(),
            plugin_limit: Duration::from_secs(60),
            proxies: None,
            watch_limit: Duration::from_secs(30),
        }
    }
}

/// How long watches outlive a failed attempt or a mending: ample time for the
/// supervisor to take the next step.
const LINGER: Duration = Duration::from_secs(5);

/// What the snapshot calls the context of a forward that names none.
pub(crate) const CURRENT: &str = "current context";

/// Makes aws-lc-rs the process's one TLS provider. To be called once, by `main`,
/// before anything connects.
pub fn install_tls_provider() {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("the TLS provider was installed already");
    }
}

/// Carries forwards into clusters.
pub struct KubeAdapter {
    shared: Arc<Shared>,
    clusters: Arc<Clusters>,
    dial: Option<Arc<dyn Dial>>,
    changed: watch::Sender<u64>,
    followed: OnceLock<()>,
}

/// Those in use, by context and the SSH host on the way.
type Clusters = Mutex<HashMap<(String, Option<SshHost>), Arc<Cluster>>>;

impl KubeAdapter {
    /// An adapter that claims what it holds from `registry`.
    #[must_use]
    pub fn new(registry: &Registry, options: Options) -> Self {
        let shell = Arc::new(Shell::new(options.login_shell, registry.clone()));
        let shared = Shared {
            tasks: Tasks::new("kube", registry),
            kubeconfigs: Kubeconfigs::new(options.kubeconfig, shell.clone()),
            shell,
            plugin_limit: options.plugin_limit,
            watch_limit: options.watch_limit,
            proxies: options.proxies,
        };
        Self {
            shared: Arc::new(shared),
            clusters: Arc::default(),
            dial: None,
            changed: watch::Sender::new(0),
            followed: OnceLock::new(),
        }
    }

    /// Reaches clusters behind SSH hosts through `dial`.
    #[must_use]
    pub fn behind(mut self, dial: Arc<dyn Dial>) -> Self {
        self.dial = Some(dial);
        self
    }

    async fn cluster(&self, target: &KubeTarget) -> Result<Arc<Cluster>, Problem> {
        self.follow();
        let context = match &target.context {
            Some(context) => context.clone(),
            None => self.shared.kubeconfigs.current().await.map_err(|fault| {
                problem(&fault, &Place { namespace: target.namespace.clone(), ..Place::default() })
            })?,
        };
        let via = target.via.as_ref().map(|host| self.stop(host)).transpose()?;
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Cluster::new(context.clone(), via, self.shared.clone()));
        Ok(clusters.entry((context.clone(), target.via.clone())).or_insert_with(fresh).clone())
    }

    fn stop(&self, host: &SshHost) -> Result<Via, Problem> {
        match &self.dial {
            Some(dial) => Ok(Via { host: host.clone(), dial: dial.clone() }),
            None => Err(Problem::new(
                Code::Internal,
                format!("nothing here leads through `{}`", host.destination()),
                "Report this as a bug",
            )),
        }
    }

    /// Looks out for changes of the kubeconfig from the first use on.
    fn follow(&self) {
        self.followed.get_or_init(|| {
            let clusters = Arc::downgrade(&self.clusters);
            let clusters = move || match clusters.upgrade() {
                Some(clusters) => in_use(&clusters),
                None => Vec::new(),
            };
            let follow = change::follow(self.shared.clone(), clusters, self.changed.clone());
            self.shared.tasks.spawn("look-out for the kubeconfig", follow);
        });
    }

    /// The cluster that `target` lies in.
    async fn place(&self, target: &Target) -> Result<Arc<Cluster>, Problem> {
        self.cluster(kube_target(target)?).await
    }

    async fn open_session(&self, target: &Target) -> Result<Arc<dyn Session>, Problem> {
        let target = kube_target(target)?;
        let cluster = self.cluster(target).await?;
        let sight = Sight::gain(&cluster, target).await;
        let sight = sight.map_err(|fault| problem(&fault, &cluster.place(target)))?;
        match sight.first().await {
            Ok(chosen) => Ok(PodSession::start(sight, chosen)),
            Err(problem) => {
                self.linger(sight);
                Err(problem)
            }
        }
    }

    async fn wait_mended(&self, target: &Target, code: Code) -> Option<()> {
        if reworded_mends(code) {
            return self.wait_reworded(kube_target(target).ok()?).await;
        }
        if let (Target::Kube(KubeTarget { via: Some(via), .. }), Some(dial)) = (target, &self.dial)
            && is_of_ssh(code)
        {
            dial.mended(via, code).await;
            return Some(());
        }
        if !watchable(code) {
            return None;
        }
        let target = kube_target(target).ok()?;
        let cluster = self.cluster(target).await.ok()?;
        // Held through the whole wait, so that the watch goes on looking for the server.
        let pods = cluster.pods(&target.namespace, None);
        let mut was_bad = false;
        loop {
            match Sight::gain(&cluster, target).await {
                Ok(sight) => {
                    sight.mended(code, was_bad).await;
                    self.linger(sight);
                    return Some(());
                }
                // The server is away; whether it is back, the watch will tell.
                Err(_) if away(pods.view().trouble.as_ref()) => {
                    was_bad = true;
                    pods.well().await;
                }
                Err(_) => return None,
            }
        }
    }

    /// Waits until the kubeconfig says something else than when the attempt failed.
    async fn wait_reworded(&self, target: &KubeTarget) -> Option<()> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            // Without a context there was none to be found; a change may bring one.
            if let Ok(cluster) = self.cluster(target).await {
                let before = cluster.gate.tried();
                let context = &cluster.context;
                change::reworded(&self.shared, context, before.as_ref(), changed).await;
                return Some(());
            }
            changed.changed().await.ok()?;
        }
    }

    /// Keeps the watches behind `sight` until what follows (the wait for a mending, the
    /// next attempt) has taken them over, so that it need not list anew.
    fn linger(&self, sight: Sight) {
        self.shared.tasks.spawn("lingering watches", async move {
            tokio::time::sleep(LINGER).await;
            drop(sight);
        });
    }
}

/// Whether a watch can tell that a problem has mended. What concerns the kubeconfig,
/// logins and rights must not be tried in a loop: a login plugin may open a browser.
fn watchable(code: Code) -> bool {
    use Code::{KubeExternalName, KubeNoSelector, KubePort};
    code.remedy() == Remedy::Retry || matches!(code, KubePort | KubeNoSelector | KubeExternalName)
}

/// Whether what a person mends then shows in the kubeconfig.
fn reworded_mends(code: Code) -> bool {
    use Code::{KubeConfig, KubeContext, KubeLoginPlugin, KubeTls, KubeUnauthorized};
    matches!(code, KubeConfig | KubeContext | KubeLoginPlugin | KubeTls | KubeUnauthorized)
}

/// Whether the problem is that of an SSH host.
fn is_of_ssh(code: Code) -> bool {
    code.as_str().starts_with("ssh-")
}

fn in_use(clusters: &Clusters) -> Vec<Arc<Cluster>> {
    clusters.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
}

impl Adapter for KubeAdapter {
    fn open<'a>(
        &'a self,
        target: &'a Target,
        _scope: SessionScope,
    ) -> BoxFuture<'a, Result<Arc<dyn Session>, Problem>> {
        Box::pin(self.open_session(target))
    }

    fn mended<'a>(&'a self, target: &'a Target, problem: &'a Problem) -> BoxFuture<'a, ()> {
        Box::pin(async {
            if self.wait_mended(target, problem.code).await.is_none() {
                // Nothing can tell; the supervisor's backoff decides.
                std::future::pending().await
            }
        })
    }

    fn trust<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<String, Problem>> {
        if let (Target::Kube(KubeTarget { via: Some(via), .. }), Some(dial)) = (target, &self.dial)
        {
            return dial.trust(via);
        }
        let words = match target {
            Target::Kube(kube) => kube.resource.to_string(),
            Target::Ssh(ssh) => ssh.destination(),
        };
        Box::pin(std::future::ready(Err(Problem::new(
            Code::ConfigInvalid,
            format!("`{words}` has no host key: clusters are trusted through the kubeconfig"),
            "Check `certificate-authority` of the cluster in your kubeconfig",
        ))))
    }

    fn doubt(&self) -> BoxFuture<'_, ()> {
        for cluster in in_use(&self.clusters) {
            cluster.doubt();
        }
        Box::pin(std::future::ready(()))
    }

    fn oversees(&self) -> bool {
        true
    }

    fn look<'a>(
        &'a self,
        target: &'a Target,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Look, Missed>> {
        Box::pin(async move {
            let place = self.place(target).await;
            let cluster = place.map_err(|problem| Missed { problem, login: None })?;
            overlook::look(&cluster, limit).await
        })
    }

    fn follow<'a>(
        &'a self,
        target: &'a Target,
        subject: Subject,
        found: mpsc::Sender<Found>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // A cluster that cannot be found is the look's to tell.
            if let Ok(cluster) = self.place(target).await {
                overlook::follow(&cluster, subject, found).await;
            }
        })
    }

    fn login<'a>(
        &'a self,
        target: &'a Target,
        command: &'a [String],
        limit: Duration,
    ) -> BoxFuture<'a, Result<String, Problem>> {
        Box::pin(async move {
            let cluster = self.place(target).await?;
            relogin::run(&cluster, command, limit).await
        })
    }

    fn asked(&self, target: &Target) {
        let Target::Kube(target) = target else { return };
        let meant = |cluster: &Arc<Cluster>| {
            // Which one is current may have changed: then any of them is meant.
            target.context.as_ref().is_none_or(|context| cluster.context == *context)
        };
        for cluster in in_use(&self.clusters).into_iter().filter(meant) {
            cluster.gate.permit();
        }
    }

    fn shutdown(&self, budget: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.tasks.cancel();
            self.clusters.lock().unwrap_or_else(PoisonError::into_inner).clear();
            if tokio::time::timeout(budget, self.shared.tasks.wait()).await.is_err() {
                let registry = self.shared.tasks.registry();
                registry.fault("the Kubernetes adapter did not end within its time");
            }
        })
    }
}

/// Whether `trouble` is that the server is away, and not a missing right.
fn away(trouble: Option<&Fault>) -> bool {
    trouble.is_some_and(|fault| !matches!(fault, Fault::Forbidden { .. }))
}

fn kube_target(target: &Target) -> Result<&KubeTarget, Problem> {
    match target {
        Target::Kube(target) => Ok(target),
        Target::Ssh(_) => Err(problem(
            &Fault::Other { said: "an SSH target came to the Kubernetes adapter".to_owned() },
            &Place::default(),
        )),
    }
}
