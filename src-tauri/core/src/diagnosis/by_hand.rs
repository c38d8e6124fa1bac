//! Owns the command that shows a step's failure in a terminal, with the tools people know.

use super::{Step, Subject};
use crate::config::{KubeResource, KubeTarget, SshTarget, Target};
use crate::problem::Code;
use std::fmt::Write;

/// What a person can run to see the same as `step` of `subject` met.
#[must_use]
pub fn command(step: Step, subject: &Subject, code: Code) -> Option<String> {
    match step {
        Step::Config => return Some("localport config check".to_owned()),
        Step::Listener => {
            return Some(format!("localport status {}", quoted(&subject.spec.name)));
        }
        _ => {}
    }
    match &subject.spec.target {
        Target::Kube(kube) => kubectl(step, kube, subject.spec.local_port),
        Target::Ssh(_) if code == Code::SshMissing => Some("ssh -V".to_owned()),
        Target::Ssh(ssh) => self::ssh(step, ssh, subject.spec.local_port),
    }
}

fn kubectl(step: Step, kube: &KubeTarget, local: u16) -> Option<String> {
    let mut base = "kubectl".to_owned();
    if let Some(context) = &kube.context {
        // Writing to a String cannot fail.
        let _ = write!(base, " --context {}", quoted(context));
    }
    let scoped = format!("{base} -n {}", quoted(&kube.namespace));
    let resource = quoted(&kube.resource.to_string());
    let rest = match step {
        Step::Kubeconfig => return Some("kubectl config get-contexts".to_owned()),
        Step::Dns | Step::Tcp | Step::Tls => return Some(format!("{base} get --raw /version")),
        Step::Auth => return Some(format!("{base} auth whoami")),
        Step::Rbac => "auth can-i --list".to_owned(),
        Step::Target | Step::Pod => match &kube.resource {
            KubeResource::Service(name) if step == Step::Pod => {
                format!("get endpointslices -l kubernetes.io/service-name={}", quoted(name))
            }
            KubeResource::Selector(labels) => format!("get pods -l {}", quoted(labels)),
            _ => format!("get {resource} -o wide"),
        },
        Step::Port | Step::Answer => {
            let target = match &kube.resource {
                KubeResource::Selector(labels) => {
                    return Some(format!("{scoped} get pods -l {}", quoted(labels)));
                }
                _ => resource,
            };
            format!("port-forward {target} {local}:{}", quoted(&kube.port.to_string()))
        }
        _ => return None,
    };
    Some(format!("{scoped} {rest}"))
}

fn ssh(step: Step, ssh: &SshTarget, local: u16) -> Option<String> {
    let mut place = String::new();
    if let Some(port) = ssh.port {
        let _ = write!(place, "-p {port} ");
    }
    if let Some(key) = &ssh.key_file {
        let _ = write!(place, "-i {} ", quoted(&key.display().to_string()));
    }
    if let Some(user) = &ssh.user {
        let _ = write!(place, "-l {} ", quoted(user));
    }
    place.push_str(&quoted(&ssh.host));
    match step {
        Step::SshConfig => Some(format!("ssh -G {place}")),
        Step::Forwarding | Step::Target | Step::Port | Step::Answer => {
            let forward = format!("{local}:{}:{}", ssh.remote_host, ssh.remote_port);
            Some(format!("ssh -v -N -L {} {place}", quoted(&forward)))
        }
        _ => Some(format!("ssh -v -N {place}")),
    }
}

/// `text` as one word for a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=,+%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
