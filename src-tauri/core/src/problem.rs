//! Owns what is wrong, in a form that people and programs can act on.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What is wrong with a forward, a cluster or the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Problem {
    /// Stable name for programs and for the troubleshooting page.
    pub code: Code,
    /// One sentence with the fact, literals in backticks, no final period.
    pub sentence: String,
    /// What the person can do about it.
    pub hint: String,
}

impl Problem {
    /// A problem with its sentence and its hint.
    pub fn new(code: Code, sentence: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into(), hint: hint.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Problem {}

/// Who has to act before another attempt can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Time or the other side mends it: keep retrying with backoff.
    Retry,
    /// A person has to change something: retry slowly, and at once when asked.
    Person,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $remedy:ident;)*) => {
        /// Stable names of every problem. The text form is what JSON carries.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every code, in the order of their declaration.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The stable text form.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// Who has to act.
            #[must_use]
            pub fn remedy(self) -> Remedy {
                match self { $(Code::$name => Remedy::$remedy,)* }
            }
        }
    };
}

codes! {
    // Listener
    /// Another process holds the local port.
    PortInUse = "port-in-use", Retry;
    /// The local port needs a right this user does not have.
    PortPrivileged = "port-privileged", Person;
    /// The bind address does not exist on this machine.
    BindAddress = "bind-address", Retry;
    /// The process has no file descriptors left.
    OutOfFiles = "out-of-files", Retry;
    /// A held client was closed because no session came in time.
    HoldExpired = "hold-expired", Retry;

    // SSH
    /// The `ssh` program was not found.
    SshMissing = "ssh-missing", Person;
    /// The host name does not resolve.
    SshUnknownHost = "ssh-unknown-host", Retry;
    /// The SSH host cannot be reached.
    SshUnreachable = "ssh-unreachable", Retry;
    /// The host key is not known yet.
    SshHostKeyUnknown = "ssh-host-key-unknown", Person;
    /// The host key is another one than known.
    SshHostKeyChanged = "ssh-host-key-changed", Person;
    /// Every way to authenticate was refused.
    SshAuthRefused = "ssh-auth-refused", Person;
    /// The key file is missing, unreadable, too open or locked.
    SshKeyFile = "ssh-key-file", Person;
    /// The connection ended.
    SshLost = "ssh-lost", Retry;
    /// The peer no longer answers.
    SshFrozen = "ssh-frozen", Retry;
    /// The server forbids forwarding.
    SshForwardingForbidden = "ssh-forwarding-forbidden", Person;
    /// Something else that `ssh` said.
    SshFailed = "ssh-failed", Retry;

    // Kubernetes
    /// No kubeconfig was found, or it cannot be read.
    KubeConfig = "kube-config", Person;
    /// The kubeconfig has no such context.
    KubeContext = "kube-context", Person;
    /// The login plugin is not installed or failed.
    KubeLoginPlugin = "kube-login-plugin", Person;
    /// The API server does not answer.
    KubeUnreachable = "kube-unreachable", Retry;
    /// The API server refused the credentials (401).
    KubeUnauthorized = "kube-unauthorized", Person;
    /// A right is missing (403).
    KubeForbidden = "kube-forbidden", Person;
    /// The namespace, service, workload or pod does not exist (404).
    KubeNotFound = "kube-not-found", Retry;
    /// Nothing behind the target is ready.
    KubeNoReadyPod = "kube-no-ready-pod", Retry;
    /// The service has no selector, so no pod can be found behind it.
    KubeNoSelector = "kube-no-selector", Person;
    /// The service only names a host outside the cluster.
    KubeExternalName = "kube-external-name", Person;
    /// The target has no such port.
    KubePort = "kube-port", Person;
    /// The session to the pod ended.
    KubeLost = "kube-lost", Retry;
    /// The server is overloaded (429, 503).
    KubeOverloaded = "kube-overloaded", Retry;
    /// TLS to the API server failed.
    KubeTls = "kube-tls", Person;
    /// Something else the API server said.
    KubeFailed = "kube-failed", Retry;

    // Target
    /// The target refuses connections on its port.
    TargetRefused = "target-refused", Retry;
    /// The target does not answer in time.
    TargetTimeout = "target-timeout", Retry;
    /// The target accepts connections, but its answer is not what the check asks for.
    TargetAnswer = "target-answer", Retry;
    /// The target closed the connection without an answer.
    TargetClosed = "target-closed", Retry;
    /// The target refused the check's login.
    TargetLogin = "target-login", Retry;
    /// The target's certificate is expired, not trusted or another host's.
    TargetCertificate = "target-certificate", Retry;
    /// TLS with the target failed.
    TargetTls = "target-tls", Retry;
    /// The target answers again but failed too often of late.
    TargetFlapping = "target-flapping", Retry;
    /// The check itself cannot be carried out as it is written.
    CheckInvalid = "check-invalid", Retry;
    /// The check's command failed.
    CheckCommand = "check-command", Retry;

    // Engine
    /// The forward's configuration is wrong.
    ConfigInvalid = "config-invalid", Person;
    /// The attempts that the restart policy allows are used up.
    AttemptsUsedUp = "attempts-used-up", Person;
    /// A task ended by a panic; it is started again.
    Internal = "internal", Retry;
}

impl Code {
    /// Whether it says that the whole cluster or SSH host is away, and nothing of the
    /// single forward.
    #[must_use]
    pub fn is_outage(self) -> bool {
        use Code::{KubeOverloaded, KubeUnreachable, SshFrozen, SshUnknownHost, SshUnreachable};
        matches!(
            self,
            KubeOverloaded | KubeUnreachable | SshFrozen | SshUnknownHost | SshUnreachable
        )
    }
}

/// What a problem is about: who shares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole cluster or SSH host: every forward through it.
    Place,
    /// What forwards to the same end share: a target's pods, a master.
    Session,
    /// The single forward: its local port, its configuration, its target's answers.
    Forward,
}

impl Code {
    /// What it is about.
    #[must_use]
    pub fn scope(self) -> Scope {
        use Code::{
            KubeConfig, KubeContext, KubeExternalName, KubeFailed, KubeForbidden, KubeLoginPlugin,
            KubeLost, KubeNoReadyPod, KubeNoSelector, KubeNotFound, KubeOverloaded, KubeTls,
            KubeUnauthorized, KubeUnreachable, SshAuthRefused, SshFailed, SshFrozen,
            SshHostKeyChanged, SshHostKeyUnknown, SshKeyFile, SshLost, SshMissing, SshUnknownHost,
            SshUnreachable,
        };
        match self {
            SshMissing | SshUnknownHost | SshUnreachable | SshHostKeyUnknown
            | SshHostKeyChanged | SshAuthRefused | SshKeyFile | SshFrozen | KubeConfig
            | KubeContext | KubeLoginPlugin | KubeUnreachable | KubeUnauthorized
            | KubeOverloaded | KubeTls => Scope::Place,
            SshLost | SshFailed | KubeForbidden | KubeNotFound | KubeNoReadyPod
            | KubeNoSelector | KubeExternalName | KubeLost | KubeFailed => Scope::Session,
            _ => Scope::Forward,
        }
    }

    /// Whether a log-in by a person mends it.
    #[must_use]
    pub fn is_login(self) -> bool {
        matches!(self, Code::KubeUnauthorized | Code::KubeLoginPlugin)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
