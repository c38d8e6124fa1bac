//! Owns the typed configuration: what the engine is told to do.

use super::Diagnostic;
use crate::notify::Settings;
use crate::shutdown::Budgets;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A whole configuration: every forward that can run, and every complaint about the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The files it came from; empty when none was found.
    pub files: Vec<PathBuf>,
    /// The forwards, in the order of the files; services with errors are not among them.
    pub forwards: Vec<ForwardSpec>,
    /// Where each forward is written, by name. Apart from the forwards, so that
    /// one that only moved within its file is still the same.
    pub origins: BTreeMap<String, Origin>,
    /// `defaults.cluster_health`.
    pub cluster_health: ClusterHealth,
    /// `cluster_contexts`: overrides of `cluster_health` by context.
    pub cluster_contexts: BTreeMap<String, ClusterHealth>,
    /// `daemon.shutdown`: how long the stages of an end may take.
    pub shutdown: Budgets,
    /// `notifications`: when a person is told of trouble.
    pub notifications: Settings,
    /// Everything wrong or doubtful, in the order of file, line and column.
    pub diagnostics: Vec<Diagnostic>,
}

/// Where a forward is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Line of its first key, from 1.
    pub line: u32,
}

/// One forward, with `defaults` merged in.
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardSpec {
    /// Unique name.
    pub name: String,
    /// Whether it is switched on at start.
    pub enabled: bool,
    /// Tags for grouping.
    pub tags: Vec<String>,
    /// Free text.
    pub description: Option<String>,
    /// Local port.
    pub local_port: u16,
    /// Addresses to bind; empty means loopback, IPv4 and IPv6.
    pub bind: Vec<IpAddr>,
    /// How long a client is held while there is no session.
    pub hold: Duration,
    /// Where it leads.
    pub target: Target,
    /// How its target is proved; none means a connection through the tunnel.
    pub health_check: Option<HealthCheck>,
    /// When to give up and how long to wait; none means never give up.
    pub restart_policy: Option<RestartPolicy>,
}

/// How long a client is held while there is no session, unless the configuration says otherwise.
pub const DEFAULT_HOLD: Duration = Duration::from_secs(30);

/// Where a forward leads.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Into a Kubernetes cluster.
    Kube(KubeTarget),
    /// Behind an SSH host.
    Ssh(SshTarget),
}

/// A port inside a Kubernetes cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KubeTarget {
    /// Context of the kubeconfig; none means its current context.
    pub context: Option<String>,
    /// Namespace.
    pub namespace: String,
    /// What in the namespace.
    pub resource: KubeResource,
    /// Which of its ports: the service's port for a service, else the container's.
    pub port: PortRef,
    /// The SSH host through which the API server is reached; none means directly.
    pub via: Option<SshHost>,
}

/// An SSH host on the way to something else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SshHost {
    /// Host name, address or alias of the user's ssh_config.
    pub host: String,
    /// Login name; none leaves it to ssh_config.
    pub user: Option<String>,
    /// SSH port; none leaves it to ssh_config.
    pub port: Option<u16>,
    /// Private key, `~` already expanded; none leaves it to ssh_config and the agent.
    pub key_file: Option<PathBuf>,
    /// Password, given to `ssh` through SSH_ASKPASS only.
    pub password: Option<Secret>,
}

/// What in a namespace a forward leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KubeResource {
    /// A service.
    Service(String),
    /// A deployment.
    Deployment(String),
    /// A stateful set.
    StatefulSet(String),
    /// A daemon set.
    DaemonSet(String),
    /// A replica set.
    ReplicaSet(String),
    /// One pod by name.
    Pod(String),
    /// Any ready pod with these labels, such as `app=orders,tier=db`.
    Selector(String),
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortRef {
    /// By number.
    Number(u16),
    /// By name.
    Name(String),
}

/// A port behind an SSH host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SshTarget {
    /// Host name, address or alias of the user's ssh_config.
    pub host: String,
    /// Login name; none leaves it to ssh_config.
    pub user: Option<String>,
    /// SSH port; none leaves it to ssh_config.
    pub port: Option<u16>,
    /// Private key, `~` already expanded; none leaves it to ssh_config and the agent.
    pub key_file: Option<PathBuf>,
    /// Password, given to `ssh` through SSH_ASKPASS only.
    pub password: Option<Secret>,
    /// Host to reach from the SSH host.
    pub remote_host: String,
    /// Port to reach from the SSH host.
    pub remote_port: u16,
}

/// Text that must never be printed, logged or serialised.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// How a target is proved. Kept as written now; the probes act on it.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What kind of probe.
    pub kind: HealthCheckKind,
    /// Time between probes.
    pub interval: Duration,
    /// Time a probe may take.
    pub timeout: Duration,
    /// Failures in a row that make the target failing.
    pub failure_threshold: u32,
    /// Successes in a row that make it healthy again.
    pub success_threshold: u32,
    /// Whether a cluster's outage spares the restart attempts.
    pub cluster_aware: bool,
}

/// How a check treats the target's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCheck {
    /// Whether the certificate is checked.
    pub verify: bool,
    /// Name that the certificate is to have; none means the target's host.
    pub server_name: Option<String>,
    /// Authorities trusted beside the system's, as PEM.
    pub ca_file: Option<PathBuf>,
}

impl Default for TlsCheck {
    fn default() -> Self {
        Self { verify: true, server_name: None, ca_file: None }
    }
}

/// The probe and what only it needs.
#[derive(Clone, Debug, PartialEq)]
pub enum HealthCheckKind {
    /// The target accepts a connection through the tunnel.
    Tcp,
    /// An HTTP request through the tunnel.
    Http {
        /// The URL as written; host and port stand for the forward's own.
        url: String,
        /// Request method.
        method: String,
        /// Codes that count as healthy.
        expected_status: Vec<u16>,
        /// Text that the body must hold.
        expected_content: Option<String>,
        /// Request headers.
        headers: BTreeMap<String, Secret>,
        /// TLS, where the URL asks for it.
        tls: TlsCheck,
    },
    /// A TLS handshake, and the certificate's time.
    Tls {
        /// How the certificate is checked.
        tls: TlsCheck,
        /// Days that the certificate has to be valid from now on.
        min_days_left: u32,
    },
    /// A Redis server's `PONG`.
    Redis {
        /// ACL user; none means the default one.
        user: Option<String>,
        /// Password; none means no login.
        password: Option<Secret>,
        /// TLS; none means none.
        tls: Option<TlsCheck>,
    },
    /// A MySQL or MariaDB server's greeting, and a login where a user is given.
    Mysql {
        /// User; none means that the greeting is proof enough.
        user: Option<String>,
        /// Password.
        password: Option<Secret>,
        /// TLS; none means none.
        tls: Option<TlsCheck>,
    },
    /// A gRPC server's answer to the standard health service.
    Grpc {
        /// Service asked about; empty means the server as a whole.
        service: String,
        /// TLS; none means none.
        tls: Option<TlsCheck>,
    },
    /// A command of the person's own, as an argument vector; exit code 0 is healthy.
    Command {
        /// Program and arguments. No shell sees them.
        argv: Vec<String>,
    },
    /// A Kafka broker's answer.
    Kafka {
        /// Brokers as written.
        bootstrap_servers: String,
    },
    /// A PostgreSQL login.
    Postgres {
        /// Database.
        database: String,
        /// Role.
        user: String,
        /// Password.
        password: Option<Secret>,
        /// libpq's sslmode.
        sslmode: Option<String>,
        /// TLS, where `sslmode` asks for it; `verify-ca` and `verify-full` check.
        tls: TlsCheck,
    },
}

impl HealthCheckKind {
    /// The name that the configuration gives it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            HealthCheckKind::Tcp => "tcp",
            HealthCheckKind::Http { url, .. } => {
                let tls = url.get(..6).is_some_and(|it| it.eq_ignore_ascii_case("https:"));
                if tls { "https" } else { "http" }
            }
            HealthCheckKind::Tls { .. } => "tls",
            HealthCheckKind::Redis { .. } => "redis",
            HealthCheckKind::Mysql { .. } => "mysql",
            HealthCheckKind::Grpc { .. } => "grpc",
            HealthCheckKind::Command { .. } => "command",
            HealthCheckKind::Kafka { .. } => "kafka",
            HealthCheckKind::Postgres { .. } => "postgres",
        }
    }
}

/// When to give up and how long to wait between attempts.
#[derive(Clone, Debug, PartialEq)]
pub struct RestartPolicy {
    /// Whether a lost session is opened again at all.
    pub enabled: bool,
    /// Attempts without proof in between before the forward fails; none means no limit.
    pub max_attempts: Option<u32>,
    /// Delay before the first retry.
    pub initial_delay: Duration,
    /// Factor from one delay to the next.
    pub backoff_multiplier: f64,
    /// Longest delay.
    pub max_delay: Duration,
}

impl RestartPolicy {
    /// What holds where the configuration says nothing: retry for ever, first
    /// after half a second, at most every 15 s.
    pub const PATIENT: RestartPolicy = RestartPolicy {
        enabled: true,
        max_attempts: None,
        initial_delay: Duration::from_millis(500),
        backoff_multiplier: 2.0,
        max_delay: Duration::from_secs(15),
    };
}

/// How a cluster is watched, as it is written; [`crate::cluster::Settings`] says what it
/// amounts to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterHealth {
    /// Whether to watch at all.
    pub enabled: Option<bool>,
    /// Time between checks.
    pub interval: Option<Duration>,
    /// Time a check may take.
    pub timeout: Option<Duration>,
    /// Tries before a check counts as failed.
    pub retry_attempts: Option<u32>,
    /// Failed checks in a row before the cluster counts as unhealthy.
    pub failure_threshold: Option<u32>,
    /// Single checks switched on or off by name.
    pub commands: BTreeMap<String, bool>,
    /// `cluster_contexts.NAME.login_command`: program and arguments that log in to the
    /// cluster; empty when nothing is given.
    pub login_command: Vec<String>,
}

impl ForwardSpec {
    /// Target in words, such as `svc/orders:5432 · shop` or `wiki.internal:80`.
    #[must_use]
    pub fn target_words(&self) -> String {
        match &self.target {
            Target::Kube(kube) => format!("{}:{} · {}", kube.resource, kube.port, kube.namespace),
            Target::Ssh(ssh) => format!("{}:{}", ssh.remote_host, ssh.remote_port),
        }
    }
}

impl SshTarget {
    /// The destination as people write it: `user@host:port`, without what is not given.
    #[must_use]
    pub fn destination(&self) -> String {
        destination(self.user.as_deref(), &self.host, self.port)
    }
}

impl SshHost {
    /// As [`SshTarget::destination`].
    #[must_use]
    pub fn destination(&self) -> String {
        destination(self.user.as_deref(), &self.host, self.port)
    }
}

fn destination(user: Option<&str>, host: &str, port: Option<u16>) -> String {
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{user}{host}{port}")
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortRef::Number(number) => number.fmt(f),
            PortRef::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for KubeResource {
    /// kubectl's short form, such as `svc/orders`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            KubeResource::Service(name) => ("svc", name),
            KubeResource::Deployment(name) => ("deploy", name),
            KubeResource::StatefulSet(name) => ("sts", name),
            KubeResource::DaemonSet(name) => ("ds", name),
            KubeResource::ReplicaSet(name) => ("rs", name),
            KubeResource::Pod(name) => ("pod", name),
            KubeResource::Selector(labels) => ("pods", labels),
        };
        write!(f, "{kind}/{name}")
    }
}
