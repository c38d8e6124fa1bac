//! Owns the proofs of targets: what a forward's check asks for, and one look at it.
//!
//! Receives a forward's configuration and a session, emits what a look found. Every
//! probe but `command` goes through the session itself, never through our own listener:
//! that would prove the listener.

mod command;
mod grpc;
mod http;
mod kafka;
mod mysql;
mod postgres;
mod redis;
pub(crate) mod scheduler;
mod secure;
mod tls;
mod turns;
mod words;

use crate::adapter::Session;
use localport_core::config::{ForwardSpec, HealthCheck, HealthCheckKind, KubeResource, Target};
use localport_core::health::Settings;
use localport_core::problem::{Code, Problem};
use secure::{Stream, secure};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use words::Blame;

/// Time between proofs where the configuration has no `health_check`.
const INTERVAL: Duration = Duration::from_secs(30);
/// Time a target has to accept where the configuration has no `health_check`.
const DEADLINE: Duration = Duration::from_secs(10);
/// Time a session has to answer a ping before it counts as lost, whatever the adapter
/// promises: a tunnel that is black-holed must not stay green.
const PING_DEADLINE: Duration = Duration::from_secs(10);

/// Time a session has for it after a sleep or a change of the network: many round trips
/// on any path, and half of what a person waits for the first byte.
const SUSPECT_DEADLINE: Duration = Duration::from_secs(1);

/// What is asked of one forward's target.
#[derive(PartialEq)]
pub(crate) struct Check {
    /// The forward's name.
    pub(crate) forward: String,
    /// How evidence is weighed.
    pub(crate) settings: Settings,
    /// Whether restart attempts are spared while the whole cluster or host is away.
    pub(crate) cluster_aware: bool,
    /// The cluster or host that every look goes through.
    place: Arc<str>,
    kind: HealthCheckKind,
    deadline: Duration,
    target: Target,
    /// The target in words.
    words: String,
    /// The name that its certificate is expected to have.
    host: String,
}

/// What one look found.
pub(crate) enum Looked {
    /// The session does not answer.
    Lost(Problem),
    /// How long the probe took, or what it met.
    Asked(Result<Duration, Problem>),
}

impl Check {
    pub(crate) fn of(spec: &ForwardSpec) -> Self {
        // Without a check, a confirmed no is a no: nobody asked for patience.
        let plain = HealthCheck {
            kind: HealthCheckKind::Tcp,
            interval: INTERVAL,
            timeout: DEADLINE,
            failure_threshold: 1,
            success_threshold: 1,
            cluster_aware: matches!(spec.target, Target::Kube(_)),
        };
        let check = spec.health_check.clone().unwrap_or(plain);
        Self {
            forward: spec.name.clone(),
            settings: Settings {
                interval: check.interval,
                failure_threshold: check.failure_threshold,
                success_threshold: check.success_threshold,
                traffic_counts: check.kind == HealthCheckKind::Tcp,
            },
            cluster_aware: check.cluster_aware,
            place: place(&spec.target).into(),
            deadline: check.timeout,
            kind: check.kind,
            target: spec.target.clone(),
            words: spec.target_words(),
            host: host(&spec.target),
        }
    }

    /// The probe's name, as the configuration writes it.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind.name()
    }

    /// One round trip over the session, or why it counts as lost. A suspect has less time
    /// to answer.
    pub(crate) async fn ping(
        &self,
        session: &dyn Session,
        suspect: bool,
    ) -> Result<Duration, Problem> {
        let patience = if suspect { SUSPECT_DEADLINE } else { PING_DEADLINE };
        match timeout(patience, session.ping()).await {
            Ok(answered) => answered,
            Err(_) => Err(self.silent(patience)),
        }
    }

    /// One probe of the target: how long it took, or what it met.
    pub(crate) async fn prove(&self, session: &dyn Session) -> Result<Duration, Problem> {
        match timeout(self.deadline, self.probe(session)).await {
            Ok(result) => result,
            Err(_) => Err(self.unanswered()),
        }
    }

    async fn probe(&self, session: &dyn Session) -> Result<Duration, Problem> {
        let begun = Instant::now();
        match &self.kind {
            HealthCheckKind::Tcp => return session.probe().await,
            HealthCheckKind::Command { argv } => {
                command::probe(argv, &self.forward, Blame(&self.words)).await?;
            }
            _ => {
                let connection = session.connect().await.map_err(|error| error.problem)?;
                self.ask(connection.stream).await?;
            }
        }
        Ok(begun.elapsed())
    }

    /// Asks the target over a stream of the session.
    async fn ask(&self, stream: Stream) -> Result<(), Problem> {
        let (blame, host) = (Blame(&self.words), self.host.as_str());
        match &self.kind {
            HealthCheckKind::Tcp | HealthCheckKind::Command { .. } => Ok(()),
            HealthCheckKind::Http { .. } => http::probe(stream, &self.kind, host, blame).await,
            HealthCheckKind::Tls { tls, min_days_left } => {
                tls::probe(stream, tls, *min_days_left, host, blame).await
            }
            HealthCheckKind::Postgres { .. } => {
                postgres::probe(stream, &self.kind, host, blame).await
            }
            HealthCheckKind::Kafka { .. } => kafka::probe(stream, blame).await,
            HealthCheckKind::Redis { user, password, tls } => {
                let stream: Stream = match tls {
                    Some(tls) => Box::new(secure(stream, tls, host, &[], blame).await?),
                    None => stream,
                };
                redis::probe(stream, user.as_deref(), password.as_ref(), blame).await
            }
            HealthCheckKind::Mysql { user, password, tls } => {
                let (user, password) = (user.as_deref(), password.as_ref());
                mysql::probe(stream, user, password, tls.as_ref(), host, blame).await
            }
            HealthCheckKind::Grpc { service, tls } => {
                grpc::probe(stream, service, tls.as_ref(), host, blame).await
            }
        }
    }

    /// What a look amounts to that ended by a panic: the target is not to blame.
    pub(crate) fn panicked(&self) -> Looked {
        let sentence =
            format!("The `{}` check of `{}` failed by a fault of its own", self.kind(), self.words);
        let hint = "See the log, and report it as a bug";
        Looked::Asked(Err(Problem::new(Code::Internal, sentence, hint)))
    }

    fn silent(&self, patience: Duration) -> Problem {
        let place = &self.place;
        let code = match &self.target {
            Target::Ssh(_) => Code::SshFrozen,
            Target::Kube(_) => Code::KubeUnreachable,
        };
        let seconds = patience.as_secs();
        Problem::new(
            code,
            format!("`{place}` has not answered for `{seconds}` s"),
            "Check the network and the VPN; the session is opened again by itself",
        )
    }

    fn unanswered(&self) -> Problem {
        let (target, seconds) = (&self.words, self.deadline.as_secs_f64());
        let did = match self.kind {
            HealthCheckKind::Tcp => "did not accept a connection".to_owned(),
            _ => format!("did not answer the `{}` check", self.kind()),
        };
        Problem::new(
            Code::TargetTimeout,
            format!("`{target}` {did} within `{seconds}` s"),
            "Check that the service runs and is not overloaded",
        )
    }
}

/// What `asked` comes to while `connection` moves its bytes. A target that answers and
/// closes ends the connection first; its answer counts all the same.
async fn driven<T, E>(
    asked: impl Future<Output = Result<T, Problem>>,
    connection: impl Future<Output = Result<(), E>>,
    failed: impl FnOnce(E) -> Problem,
) -> Result<T, Problem> {
    let mut asked = pin!(asked);
    let ended = tokio::select! {
        biased;
        asked = &mut asked => return asked,
        ended = connection => ended,
    };
    match (asked.await, ended) {
        // The connection knows better why nothing came.
        (Err(_), Err(error)) => Err(failed(error)),
        (asked, _) => asked,
    }
}

/// The cluster or host that a target is reached through, in words.
fn place(target: &Target) -> String {
    match target {
        Target::Ssh(ssh) => ssh.destination(),
        Target::Kube(kube) => {
            kube.context.clone().unwrap_or_else(|| "the current context".to_owned())
        }
    }
}

/// The host that a target is known by where it runs.
fn host(target: &Target) -> String {
    match target {
        Target::Ssh(ssh) => ssh.remote_host.clone(),
        Target::Kube(kube) => match &kube.resource {
            KubeResource::Service(name) => format!("{name}.{}.svc", kube.namespace),
            _ => "localhost".to_owned(),
        },
    }
}
