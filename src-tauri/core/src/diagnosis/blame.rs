//! Owns which step of the way each problem blames.

use super::Step;
use crate::problem::Code;

/// The step that `code` says is broken, when nothing nearer is known.
#[must_use]
pub fn blames(code: Code) -> Step {
    use Code as C;
    match code {
        C::ConfigInvalid | C::AttemptsUsedUp | C::Internal => Step::Config,
        C::PortInUse | C::PortPrivileged | C::BindAddress | C::OutOfFiles | C::HoldExpired => {
            Step::Listener
        }
        C::SshMissing => Step::SshConfig,
        C::SshUnknownHost => Step::Dns,
        C::SshUnreachable => Step::Tcp,
        C::SshHostKeyUnknown | C::SshHostKeyChanged => Step::HostKey,
        C::SshAuthRefused | C::SshKeyFile | C::SshLost | C::SshFrozen | C::SshFailed => Step::Auth,
        C::SshForwardingForbidden => Step::Forwarding,
        C::KubeConfig | C::KubeContext => Step::Kubeconfig,
        C::KubeUnreachable => Step::Tcp,
        C::KubeTls => Step::Tls,
        C::KubeLoginPlugin | C::KubeUnauthorized | C::KubeOverloaded => Step::Auth,
        C::KubeForbidden => Step::Rbac,
        C::KubeNotFound | C::KubeNoSelector | C::KubeExternalName | C::KubePort | C::KubeFailed => {
            Step::Target
        }
        C::KubeNoReadyPod => Step::Pod,
        C::KubeLost | C::TargetRefused | C::TargetTimeout => Step::Port,
        C::TargetAnswer
        | C::TargetClosed
        | C::TargetLogin
        | C::TargetCertificate
        | C::TargetTls
        | C::TargetFlapping
        | C::CheckInvalid
        | C::CheckCommand => Step::Answer,
    }
}
