//! Owns the walk of a diagnosis: step by step along the way of one forward or context,
//! beside what runs, changing nothing.
//!
//! Receives a [`Subject`]; emits the [`Diagnosis`]. It uses adapters of its own, so that
//! each step is proved afresh and no running session is touched; they end with the walk.
//! Dropping the future ends it, with whatever it started.

mod kube;
mod ssh;

use crate::adapter::kube::{KubeAdapter, Options as KubeOptions};
use crate::adapter::ssh::{SshAdapter, SshOptions};
use crate::adapter::{Adapter, Session, SessionScope};
use crate::handle::EngineHandle;
use crate::home::Home;
use crate::journal::Journal;
use crate::probe::Check;
use crate::registry::{Registry, Tasks};
use k8s_openapi::ByteString;
use localport_core::command::Refusal;
use localport_core::config::{Config, Target};
use localport_core::diagnosis::{Diagnosis, Step, Subject, Walk, blames};
use localport_core::problem::{Code, Problem};
use localport_core::snapshot::{Forward, ListenerState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Longest walk. Jump hosts and slow logins included, and less than a person's patience.
const LIMIT: Duration = Duration::from_secs(60);
/// Time a login plugin has that was not asked for a login of a person.
const QUIET_PLUGIN: Duration = Duration::from_secs(10);
/// Time the walk's own adapters have to end.
const END: Duration = Duration::from_secs(1);
/// Owner of what a walk holds.
const OWNER: &str = "explain";

/// Walks ways.
#[derive(Clone)]
pub struct Explainer {
    home: Home,
    ssh: SshOptions,
    kube: KubeOptions,
    registry: Registry,
    journal: Journal,
    limit: Duration,
    called_off: CancellationToken,
}

/// How a walk ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Walked,
    Late,
    CalledOff,
}

impl Explainer {
    /// One for a running host, whose leases and journal know what a walk starts.
    #[must_use]
    pub fn new(home: &Home, ssh: SshOptions, registry: &Registry, journal: Journal) -> Self {
        Self {
            home: home.clone(),
            ssh,
            kube: KubeOptions::default(),
            registry: registry.clone(),
            journal,
            limit: LIMIT,
            called_off: CancellationToken::new(),
        }
    }

    /// One without a host.
    ///
    /// # Errors
    /// When the private directories cannot be made.
    pub fn alone(home: &Home, ssh: SshOptions) -> io::Result<Self> {
        home.create()?;
        Ok(Self::new(home, ssh, &Registry::default(), Journal::nowhere()))
    }

    /// The same with other clusters' settings.
    #[must_use]
    pub fn with_kube(mut self, kube: KubeOptions) -> Self {
        self.kube = kube;
        self
    }

    /// The same with another limit for the whole walk.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Calls its walks off: they end within a second, with whatever they started.
    #[must_use]
    pub fn called_off(&self) -> CancellationToken {
        self.called_off.clone()
    }

    /// Walks the way of the forward or context called `name`, as `engine` has it in force;
    /// none when it has neither.
    ///
    /// # Errors
    /// [`Refusal::Quitting`] while the engine ends.
    pub async fn ask(
        &self,
        engine: &EngineHandle,
        name: &str,
        login: bool,
    ) -> Result<Option<Diagnosis>, Refusal> {
        let config = engine.in_force().await.ok_or(Refusal::Quitting)?;
        let Some(subject) = Subject::find(name, &config.forwards) else { return Ok(None) };
        let snapshot = engine.fresh().await;
        let live = snapshot.forwards.iter().find(|forward| forward.name == subject.spec.name);
        let origin = origin(&config, &subject);
        Ok(Some(self.explain(subject, live, origin, login).await))
    }

    /// Walks the way of `subject`. `live` is the forward as it stands, where a host runs.
    /// Without `login`, no login plugin runs that is known to open a browser.
    pub async fn explain(
        &self,
        subject: Subject,
        live: Option<&Forward>,
        origin: Option<String>,
        login: bool,
    ) -> Diagnosis {
        let mut walk = Walk::new(subject);
        walk.ok(Step::Config, None, origin.unwrap_or_default());
        listener(&mut walk, live);
        if Box::pin(self.walk(&mut walk, login)).await == Ended::Late {
            walk.late(self.limit);
        }
        walk.finish()
    }

    /// Walks until the end, the limit, or until it is called off; what the walk's adapters
    /// hold ends in any case.
    async fn walk(&self, walk: &mut Walk, login: bool) -> Ended {
        match walk.subject().spec.target.clone() {
            Target::Ssh(target) => {
                let adapter = self.over_ssh();
                let ended = self.bounded(Box::pin(self.ssh(walk, &adapter, &target))).await;
                adapter.shutdown(END).await;
                ended
            }
            Target::Kube(target) => {
                let mut options = self.kube.clone();
                if !login {
                    options.plugin_limit = options.plugin_limit.min(QUIET_PLUGIN);
                }
                let ssh = Arc::new(self.over_ssh());
                let adapter = KubeAdapter::new(&self.registry, options).behind(ssh.clone());
                let ended = self.bounded(Box::pin(self.kube(walk, &adapter, &target, login))).await;
                adapter.shutdown(END).await;
                ssh.shutdown(END).await;
                ended
            }
        }
    }

    async fn bounded(&self, way: impl Future<Output = ()>) -> Ended {
        tokio::select! {
            () = way => Ended::Walked,
            () = sleep(self.limit) => Ended::Late,
            () = self.called_off.cancelled() => Ended::CalledOff,
        }
    }

    fn over_ssh(&self) -> SshAdapter {
        let options = self.ssh.clone();
        SshAdapter::new(&self.registry, &self.home, self.journal.clone(), options)
    }

    fn scope(&self, tasks: &Tasks) -> SessionScope {
        let (notes, _) = mpsc::channel(1);
        SessionScope { forward: OWNER.to_owned(), tasks: tasks.clone(), notes }
    }
}

/// A step that is one act: what it found, and how long it took.
async fn timed<T>(act: impl Future<Output = Result<T, Problem>>) -> (Duration, Result<T, Problem>) {
    let begun = Instant::now();
    // On the heap: the acts of a whole walk are too much for a thread's stack.
    let found = Box::pin(act).await;
    (begun.elapsed(), found)
}

/// The dial through the session, then the answer that the forward's check asks for.
async fn prove(walk: &mut Walk, session: &Arc<dyn Session>, dial: Step) {
    let (took, dialled) = timed(session.probe()).await;
    match dialled {
        Err(problem) => return walk.settle(dial, took, problem),
        Ok(_) => {
            walk.ok(Step::Forwarding, None, "allowed");
            walk.ok(dial, Some(took), format!("{} accepts", session.route().endpoint));
        }
    }
    let check = Check::of(&walk.subject().spec);
    let (took, answered) = timed(check.prove(&**session)).await;
    match answered {
        Ok(_) => walk.ok(Step::Answer, Some(took), format!("the `{}` check holds", check.kind())),
        Err(problem) => walk.fail(Step::Answer, Some(took), problem),
    }
}

/// Where the subject is written.
#[must_use]
pub fn origin(config: &Config, subject: &Subject) -> Option<String> {
    let origin = config.origins.get(&subject.spec.name)?;
    Some(format!("{}, line {}", origin.file.display(), origin.line))
}

fn listener(walk: &mut Walk, live: Option<&Forward>) {
    let Some(forward) = live else {
        return walk.skip(Step::Listener, "LocalPort does not run");
    };
    match forward.listener.state {
        ListenerState::Listening => walk.ok(Step::Listener, None, forward.local.clone()),
        ListenerState::Closed if !forward.wanted => {
            walk.skip(Step::Listener, "the forward is switched off");
        }
        ListenerState::Closed => walk.skip(Step::Listener, "not bound yet"),
        ListenerState::Conflict => {
            let local = &forward.local;
            let problem = forward.problem.clone();
            let problem =
                problem.filter(|it| blames(it.code) == Step::Listener).unwrap_or_else(|| {
                    Problem::new(
                        Code::PortInUse,
                        format!("`{local}` is held by another process"),
                        "End that process, or choose another `local_port`",
                    )
                });
            walk.fail(Step::Listener, None, problem);
        }
    }
}

/// What a host name came to.
fn named(host: &str, addresses: &[SocketAddr]) -> String {
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return format!("{host} is an address");
    }
    let mut shown: Vec<String> = addresses.iter().map(|it| it.ip().to_string()).collect();
    shown.dedup();
    format!("{host} is {}", shown.join(", "))
}

/// A connection to the first of `addresses` that answers; the error of the first one that
/// does not, when none does. They share `limit`.
pub(crate) async fn reach(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut first = None;
    for address in addresses {
        let error = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        first.get_or_insert(error);
    }
    Err(first.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Bytes as base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    // The Kubernetes API's own type for bytes writes itself so.
    match serde_json::to_value(ByteString(bytes.to_vec())) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

/// The bytes behind base64.
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    serde_json::from_value::<ByteString>(text.into()).ok().map(|bytes| bytes.0)
}
