//! Owns the client of one context: made from the kubeconfig, made anew when that changes,
//! when its credentials end and when the server refuses them.
//!
//! Whoever needs the same new client waits for one making of it: a login plugin may open
//! a browser. Connections that an older client made stay open; the server looks at
//! credentials when one is opened.

use super::client;
use super::cluster::Shared;
use super::kubeconfig::{Digest, Entry, Merged};
use super::login;
use super::relogin;
use super::road::{Road, Via};
use super::ways::Ways;
use kube::config::ExecConfig;
use kube::{Client, Config, Error};
use localport_core::kube::{Age, Fault, Server, TlsFault, age, choose_proxy};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// A failed login or an unusable kubeconfig is not tried again sooner, so that fifty
/// forwards of one context do not run its plugin fifty times.
const FAILURE_KEPT: Duration = Duration::from_secs(2);

/// Fresh credentials that are refused too are not replaced again sooner: a login
/// plugin may open a browser.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// Credentials that still hold and could not be replaced are not tried again sooner.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);

/// Sessions that do not answer tell of it within this time of each other.
const SAME_DOUBT: Duration = Duration::from_millis(500);

/// The way to one context's client.
pub(super) struct Gate {
    pub(super) via: Option<Via>,
    context: String,
    shared: Arc<Shared>,
    ways: Arc<Ways>,
    slot: Mutex<Slot>,
    /// Held while a client is being made.
    making: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Slot {
    built: Option<Built>,
    failed: Option<(Instant, Option<Digest>, Fault)>,
    renewed: Option<Instant>,
    /// When credentials that still held were last to be replaced.
    refreshed: Option<Instant>,
    /// When kept connections were last put aside.
    doubted: Option<Instant>,
    generation: u64,
    server: String,
}

struct Built {
    client: Client,
    config: Config,
    road: Road,
    merged: Arc<Merged>,
    digest: Digest,
    obtained: SystemTime,
    expires: Option<SystemTime>,
}

/// A client, and which of the cluster's clients it is.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) client: Client,
    generation: u64,
}

impl Gate {
    pub(super) fn new(
        context: String,
        via: Option<Via>,
        shared: Arc<Shared>,
        ways: Arc<Ways>,
    ) -> Self {
        let (slot, making) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { via, context, shared, ways, slot, making }
    }

    /// Address of the server; empty until it is known.
    pub(super) fn server(&self) -> String {
        self.slot().server.clone()
    }

    /// The client, made when there is none, its part of the kubeconfig changed or its
    /// credentials have ended. Those that end soon are replaced meanwhile.
    pub(super) async fn access(self: &Arc<Self>) -> Result<Access, Fault> {
        let access = self.client().await?;
        if let Some(via) = &self.via {
            // Outside of what limits requests: a login may take its time.
            via.dial.ready(&via.host).await.map_err(|problem| Fault::Via {
                via: via.host.destination(),
                problem: Box::new(problem),
            })?;
        }
        Ok(access)
    }

    async fn client(self: &Arc<Self>) -> Result<Access, Fault> {
        let merged = self.shared.kubeconfigs.read().await?;
        let look = self.slot().look(&merged, &self.context);
        let seen = match look {
            Look::Usable(access) => return Ok(access),
            Look::Ending(access) => {
                self.refresh(access.generation, merged);
                return Ok(access);
            }
            Look::Needed(generation) => generation,
        };
        let _making = self.making.lock().await;
        {
            let slot = self.slot();
            if slot.generation != seen {
                return slot.access();
            }
        }
        self.make(merged).await
    }

    /// A client in the place of `refused`, whose credentials the server refuses.
    pub(super) async fn renew(&self, refused: &Access) -> Result<Access, Fault> {
        let merged = self.shared.kubeconfigs.read().await?;
        let _making = self.making.lock().await;
        {
            let mut slot = self.slot();
            if slot.generation != refused.generation {
                return slot.access();
            }
            let lately = slot.renewed.is_some_and(|at| at.elapsed() < RENEWAL_PAUSE);
            if lately && slot.is_of(&merged, &self.context) {
                return Err(Fault::Unauthorized);
            }
            slot.renewed = Some(Instant::now());
        }
        self.make(merged).await
    }

    /// Whether the last client, or the last failure to make one, is of other words than
    /// `merged`.
    pub(super) fn is_outdated(&self, merged: &Merged) -> bool {
        self.tried() != merged.digest(&self.context)
    }

    /// What the last client, or the last failure to make one, was made from.
    pub(super) fn tried(&self) -> Option<Digest> {
        let slot = self.slot();
        let built = slot.built.as_ref().map(|built| built.digest.clone());
        slot.failed.as_ref().map_or(built, |(_, digest, _)| digest.clone())
    }

    /// A person asks: what failed lately may be tried again at once.
    pub(super) fn permit(&self) {
        let mut slot = self.slot();
        (slot.failed, slot.renewed, slot.refreshed) = (None, None, None);
    }

    /// A new client, whose login plugin has `limit`. Meanwhile nobody has to wait for it.
    pub(super) async fn make_anew(&self, limit: Duration) -> Result<(), Fault> {
        let merged = self.shared.kubeconfigs.read().await?;
        let built = self.build(merged, limit).await?;
        let mut slot = self.slot();
        slot.renewed = None;
        slot.put(built);
        Ok(())
    }

    /// When the credentials in use end to be accepted, where that is known.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        self.slot().built.as_ref()?.expires
    }

    /// What its kubeconfig names as login plugin, if it names one.
    pub(super) async fn plugin(&self) -> Option<ExecConfig> {
        let merged = self.shared.kubeconfigs.read().await.ok()?;
        merged.entry(&self.context).ok()?.config.auth_info.exec
    }

    /// Gives the next requests a client without connections.
    pub(super) fn put_aside(&self) {
        self.slot().put_aside();
    }

    /// As [`Gate::put_aside`]; of many that ask for the same, one counts. Whether it was
    /// this one.
    pub(super) fn put_aside_once(&self) -> bool {
        let mut slot = self.slot();
        if slot.doubted.is_some_and(|at| at.elapsed() < SAME_DOUBT) {
            return false;
        }
        slot.put_aside();
        true
    }

    /// Replaces credentials that still hold, in the background.
    fn refresh(self: &Arc<Self>, generation: u64, merged: Arc<Merged>) {
        {
            let mut slot = self.slot();
            let lately = slot.refreshed.is_some_and(|at| at.elapsed() < REFRESH_PAUSE);
            let failed = slot.failed.as_ref();
            let kept = failed.is_some_and(|(at, of, fault)| {
                at.elapsed() < relogin::kept(fault, REFRESH_PAUSE)
                    && *of == merged.digest(&self.context)
            });
            if lately || kept {
                return;
            }
            slot.refreshed = Some(Instant::now());
        }
        let gate = self.clone();
        let name = format!("new credentials for {}", self.context);
        self.shared.tasks.spawn(name, async move {
            let _making = gate.making.lock().await;
            if gate.slot().generation != generation {
                return;
            }
            let digest = merged.digest(&gate.context);
            match gate.build(merged, gate.shared.plugin_limit).await {
                Ok(built) => gate.slot().put(built),
                Err(fault) => {
                    let context = &gate.context;
                    tracing::warn!(
                        context,
                        ?fault,
                        "credentials end soon and could not be replaced"
                    );
                    gate.slot().failed = Some((Instant::now(), digest, fault));
                }
            }
        });
    }

    /// Makes a client, unless that has just failed.
    async fn make(&self, merged: Arc<Merged>) -> Result<Access, Fault> {
        let digest = merged.digest(&self.context);
        if let Some((at, of, fault)) = &self.slot().failed
            && at.elapsed() < relogin::kept(fault, FAILURE_KEPT)
            && *of == digest
        {
            return Err(fault.clone());
        }
        let outcome = self.build(merged, self.shared.plugin_limit).await;
        let mut slot = self.slot();
        match outcome {
            Ok(built) => {
                self.ways.note_road(&built.road.words(&slot.server));
                slot.put(built);
                slot.access()
            }
            Err(fault) => {
                slot.failed = Some((Instant::now(), digest, fault.clone()));
                Err(fault)
            }
        }
    }

    async fn build(&self, merged: Arc<Merged>, limit: Duration) -> Result<Built, Fault> {
        let digest = merged.digest(&self.context).ok_or_else(|| merged.lacks())?;
        let Entry { mut config, proxy } = merged.entry(&self.context)?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        self.slot().server = server;
        let road = self.road(&config, proxy.as_deref(), &merged).await?;
        let obtained = SystemTime::now();
        let mut expires = None;
        if let Some(exec) = config.auth_info.exec.clone() {
            let Shared { shell, tasks, .. } = &*self.shared;
            let credential = login::run(&exec, shell, tasks.registry(), limit).await?;
            expires = credential.expires;
            credential.apply(&mut config.auth_info);
        }
        let client = client::build(&config, &road).map_err(|error| unbuildable(&error))?;
        Ok(Built { client, config, road, merged, digest, obtained, expires })
    }

    /// The road to the server of `config`; `own` is the kubeconfig's `proxy-url`.
    pub(super) async fn road(
        &self,
        config: &Config,
        own: Option<&str>,
        merged: &Merged,
    ) -> Result<Road, Fault> {
        let url = &config.cluster_url;
        let tls = url.scheme_str() != Some("http");
        let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let server = Server { tls, host: url.host().unwrap_or_default(), port };
        let env = self.shared.proxies().await;
        let proxy = choose_proxy(server, own, &env)
            .map_err(|why| Fault::ConfigUnreadable { path: merged.paths(), why })?;
        Ok(Road { proxy, via: self.via.clone() })
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a look at the slot found.
enum Look {
    /// A client.
    Usable(Access),
    /// A client whose credentials end soon.
    Ending(Access),
    /// None that can be used; the generation of the last one.
    Needed(u64),
}

impl Slot {
    fn look(&mut self, merged: &Arc<Merged>, context: &str) -> Look {
        let needed = Look::Needed(self.generation);
        if !self.is_of(merged, context) {
            return needed;
        }
        let Ok(access) = self.access() else { return needed };
        let Some(built) = &mut self.built else { return needed };
        built.merged = merged.clone();
        match built.age() {
            Age::Fresh => Look::Usable(access),
            Age::Ending => Look::Ending(access),
            Age::Ended => needed,
        }
    }

    /// Whether the client was made from what `merged` says of its context. Another
    /// context's change, such as that of the current one, is none of this one's.
    fn is_of(&self, merged: &Arc<Merged>, context: &str) -> bool {
        self.built.as_ref().is_some_and(|built| {
            (Arc::ptr_eq(&built.merged, merged) && built.digest.files_stand())
                || merged.digest(context).as_ref() == Some(&built.digest)
        })
    }

    fn put(&mut self, built: Built) {
        self.generation += 1;
        self.failed = None;
        self.built = Some(built);
    }

    fn put_aside(&mut self) {
        self.doubted = Some(Instant::now());
        let Some(built) = &mut self.built else { return };
        match client::build(&built.config, &built.road) {
            Ok(client) => built.client = client,
            // It could be built before; the old connections end by their keepalive.
            Err(error) => tracing::warn!(%error, "connections to the cluster are kept"),
        }
    }

    fn access(&self) -> Result<Access, Fault> {
        let built = self.built.as_ref().ok_or(Fault::Unauthorized)?;
        Ok(Access { client: built.client.clone(), generation: self.generation })
    }
}

impl Built {
    fn age(&self) -> Age {
        let since = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO)
        };
        age(since(self.obtained), self.expires.map(since), since(SystemTime::now()))
    }
}

fn unbuildable(error: &Error) -> Fault {
    match error {
        Error::RustlsTls(tls) => Fault::Tls(TlsFault::Other(tls.to_string())),
        other => Fault::Other { said: other.to_string() },
    }
}
