//! Owns how `kubectl port-forward` is read.

use super::spec::{addresses, forward, port};
use super::{Import, Refusal};
use crate::config::{KubeResource, KubeTarget, PortRef, Target};
use std::net::IpAddr;

/// Flags that take a value and mean nothing here.
const IDLE: [&str; 6] =
    ["--pod-running-timeout", "--request-timeout", "--v", "-v", "--cache-dir", "--vmodule"];

/// Flags that take a value which the kubeconfig's context has to say here.
const ELSEWHERE: [&str; 15] = [
    "--as",
    "--as-group",
    "--as-uid",
    "--certificate-authority",
    "--client-certificate",
    "--client-key",
    "--cluster",
    "--kubeconfig",
    "--password",
    "--proxy-url",
    "--server",
    "--tls-server-name",
    "--token",
    "--user",
    "--username",
];

#[derive(Default)]
struct Line<'a> {
    namespace: Option<&'a str>,
    context: Option<&'a str>,
    bind: Vec<IpAddr>,
    words: Vec<&'a str>,
}

/// Reads what follows the program's name.
pub(super) fn read(words: &[&str], import: &mut Import) -> Result<(), Refusal> {
    let line = split(words, import)?;
    let (verb, rest) = line.words.split_first().ok_or_else(incomplete)?;
    if *verb != "port-forward" {
        let sentence = format!("`kubectl {verb}` forwards no port");
        return Err(Refusal::new(sentence, "give `kubectl port-forward …`"));
    }
    let (resource, ports) = rest.split_first().ok_or_else(incomplete)?;
    let (resource, name) = named(resource)?;
    if ports.is_empty() {
        return Err(incomplete());
    }
    for text in ports {
        let (local, remote) = pair(text)?;
        let target = KubeTarget {
            context: line.context.map(str::to_owned),
            namespace: line.namespace.unwrap_or("default").to_owned(),
            resource: resource.clone(),
            port: remote,
            via: None,
        };
        let mut spec = forward(name, local, Target::Kube(target));
        spec.bind.clone_from(&line.bind);
        import.forwards.push(spec);
    }
    if line.context.is_none() {
        import.remark(
            "no `--context` is given: the forward follows the kubeconfig's current context"
                .to_owned(),
        );
    }
    Ok(())
}

fn incomplete() -> Refusal {
    Refusal::new(
        "the command names no resource or no port",
        "it reads `kubectl port-forward TYPE/NAME LOCAL:REMOTE`",
    )
}

fn split<'a>(words: &[&'a str], import: &mut Import) -> Result<Line<'a>, Refusal> {
    let mut line = Line::default();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        if word == "&" {
            break;
        }
        let Some((flag, inline)) = flag(word) else {
            line.words.push(word);
            continue;
        };
        let mut value = || {
            inline.or_else(|| words.next()).ok_or_else(|| {
                Refusal::new(format!("`{flag}` has no value"), "copy the whole command line")
            })
        };
        match flag {
            "-n" | "--namespace" => line.namespace = Some(value()?),
            "--context" => line.context = Some(value()?),
            "--address" => {
                line.bind = addresses(value()?).map_err(|address| {
                    Refusal::new(format!("`{address}` is no address"), "give an IP address")
                })?;
            }
            flag if IDLE.contains(&flag) => {
                value()?;
            }
            flag if ELSEWHERE.contains(&flag) || flag == "-s" => {
                value()?;
                import.remark(format!("`{flag}` is left out: put it in a kubeconfig context"));
            }
            flag => import.remark(format!("`{flag}` is left out")),
        }
    }
    Ok(line)
}

/// A flag and its value, where both are one word: `--context=prod`, `-nshop`.
fn flag(word: &str) -> Option<(&str, Option<&str>)> {
    if word.starts_with("--") {
        return Some(
            word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value))),
        );
    }
    if !word.starts_with('-') || word.len() < 2 {
        return None;
    }
    let (name, value) = word.split_at_checked(2)?;
    let value = value.strip_prefix('=').unwrap_or(value);
    Some((name, (!value.is_empty()).then_some(value)))
}

/// `svc/orders`, `deployment.apps/orders`, or a pod's name alone.
fn named(text: &str) -> Result<(KubeResource, &str), Refusal> {
    let (kind, name) = text.split_once('/').unwrap_or(("pod", text));
    let owned = name.to_owned();
    let kind = kind.split('.').next().unwrap_or(kind).to_ascii_lowercase();
    let resource = match kind.as_str() {
        "svc" | "service" | "services" => KubeResource::Service(owned),
        "deploy" | "deployment" | "deployments" => KubeResource::Deployment(owned),
        "sts" | "statefulset" | "statefulsets" => KubeResource::StatefulSet(owned),
        "ds" | "daemonset" | "daemonsets" => KubeResource::DaemonSet(owned),
        "rs" | "replicaset" | "replicasets" => KubeResource::ReplicaSet(owned),
        "po" | "pod" | "pods" => KubeResource::Pod(owned),
        other => {
            return Err(Refusal::new(
                format!("`{other}` is no kind that ports lead to"),
                "services, pods, deployments, stateful, daemon and replica sets are",
            ));
        }
    };
    if name.is_empty() { Err(incomplete()) } else { Ok((resource, name)) }
}

/// `8080:80`, `8080:http`, `80`; and `:80`, where kubectl takes any free port.
fn pair(text: &str) -> Result<(u16, PortRef), Refusal> {
    let (local, remote) = text.split_once(':').unwrap_or((text, text));
    let local = if local.is_empty() { remote } else { local };
    let local = port(local).ok_or_else(|| {
        Refusal::new(
            format!("`{text}` names no local port"),
            "write it as LOCAL:REMOTE, such as `8080:http`",
        )
    })?;
    let remote = match (port(remote), remote.bytes().all(|byte| byte.is_ascii_digit())) {
        (Some(number), _) => PortRef::Number(number),
        (None, true) => {
            let sentence = format!("`{remote}` is no port");
            return Err(Refusal::new(sentence, "ports go from 1 to 65535"));
        }
        (None, false) => PortRef::Name(remote.to_owned()),
    };
    Ok((local, remote))
}
