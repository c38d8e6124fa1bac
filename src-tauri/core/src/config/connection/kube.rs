//! Owns the connection of a service of technology kubectl.

use super::super::cx::{Cx, Text, shown};
use super::super::fields::{Fields, Read, Value, value};
use super::super::tree::{Node, Place};
use super::super::values::{choose, wrong};
use super::super::{KubeResource, KubeTarget, PortRef, Rule};
use super::{REMOTE_PORT_HINT, connection};
use std::rc::Rc;

type Make = fn(String) -> KubeResource;

/// Names of resource types: LocalPort's first, then what kubectl also takes.
const TYPES: &[(&str, Make)] = &[
    ("service", KubeResource::Service),
    ("pod", KubeResource::Pod),
    ("deployment", KubeResource::Deployment),
    ("statefulset", KubeResource::StatefulSet),
    ("daemonset", KubeResource::DaemonSet),
    ("replicaset", KubeResource::ReplicaSet),
    ("services", KubeResource::Service),
    ("svc", KubeResource::Service),
    ("pods", KubeResource::Pod),
    ("po", KubeResource::Pod),
    ("deployments", KubeResource::Deployment),
    ("deploy", KubeResource::Deployment),
    ("statefulsets", KubeResource::StatefulSet),
    ("sts", KubeResource::StatefulSet),
    ("daemonsets", KubeResource::DaemonSet),
    ("ds", KubeResource::DaemonSet),
    ("replicasets", KubeResource::ReplicaSet),
    ("rs", KubeResource::ReplicaSet),
];

/// How many of [`TYPES`] a hint lists; the others are short forms of them.
const LISTED_TYPES: usize = 6;

const HABITS: &[(&str, &str)] = &[
    ("name", "resource_name"),
    ("resource", "resource_name"),
    ("service", "resource_name"),
    ("service_name", "resource_name"),
    ("pod", "resource_name"),
    ("type", "resource_type"),
    ("kind", "resource_type"),
    ("ns", "namespace"),
    ("cluster", "context"),
    ("labels", "selector"),
    ("label_selector", "selector"),
    ("bastion", "via"),
    ("jump_host", "via"),
    ("proxy_jump", "via"),
];

pub(super) fn read(cx: &mut Cx<'_>, service: &mut Fields) -> Option<KubeTarget> {
    let port = service.raw_text(cx, "remote_port").then(|text, place| port(cx, &text, place));
    let port = service.require(cx, "remote_port", port, REMOTE_PORT_HINT);
    let mut fields = connection(cx, service, "`connection: {resource_name: …, namespace: …}`")?;
    let resource = resource(cx, &mut fields);
    let namespace = match fields.text(cx, "namespace") {
        Read::Is(name, place) => label(cx, "namespace", name, place),
        Read::Absent => Some("default".to_owned()),
        Read::Wrong => None,
    };
    let context = fields.text(cx, "context").ok();
    let via = super::ssh::via(cx, &mut fields);
    fields.finish(cx, HABITS);
    let via = via?;
    Some(KubeTarget { context, namespace: namespace?, resource: resource?, port: port?.0, via })
}

/// A port by number, or by name as Kubernetes allows it.
fn port(cx: &mut Cx<'_>, text: &Text, place: Place) -> Option<PortRef> {
    let text = text.text.trim();
    let digits = !text.is_empty()
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    if let Some(number) = super::super::scalars::integer(text) {
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        if port.is_none() {
            let message = format!("`remote_port` is `{}`, which is out of range", shown(text));
            cx.report(
                Rule::OutOfRange,
                place,
                message,
                "Give `remote_port` a value from 1 to 65535",
            );
        }
        return port.map(PortRef::Number);
    }
    let name = text.len() <= 15
        && !digits
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && text.contains(|c: char| c.is_ascii_lowercase())
        && !(text.starts_with('-') || text.ends_with('-') || text.contains("--"));
    if name {
        return Some(PortRef::Name(text.to_owned()));
    }
    wrong(
        cx,
        place,
        "remote_port",
        "a port number or the name of a port",
        &format!("`{}`", shown(text)),
    )
}

fn resource(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<KubeResource> {
    let make = resource_type(cx, fields);
    let name = fields.text(cx, "resource_name");
    let selector = selector(cx, fields);
    match (name, selector) {
        (Read::Is(..), Read::Is(_, place)) => {
            let message = "`selector` and `resource_name` both say what to reach";
            cx.report(Rule::ConflictingKeys, place, message, "Keep one of the two");
            None
        }
        (_, Read::Is(labels, _)) => {
            if let Some((_, place)) = make.placed().filter(|(make, _)| !is_pod(*make)) {
                let message = "`resource_type` has no effect beside `selector`, which finds pods";
                let hint = "Remove it, or name the resource with `resource_name`";
                cx.report(Rule::IgnoredKey, place, message, hint);
            }
            Some(KubeResource::Selector(labels))
        }
        (_, Read::Wrong) => None,
        (name, Read::Absent) => {
            let hint = "Add `resource_name:`, or `selector:` with the labels of the pods";
            let (name, place) = fields.require(cx, "resource_name", name, hint)?;
            let name = resource_name(cx, name, place);
            match make {
                Read::Is(make, _) => name.map(make),
                Read::Absent => name.map(KubeResource::Service),
                Read::Wrong => None,
            }
        }
    }
}

fn is_pod(make: Make) -> bool {
    matches!(make(String::new()), KubeResource::Pod(_))
}

fn resource_type(cx: &mut Cx<'_>, fields: &mut Fields) -> Read<Make> {
    fields.text(cx, "resource_type").then(|word, place| {
        let lower = word.to_ascii_lowercase();
        let bare = lower.split('.').next().unwrap_or_default();
        match TYPES.iter().find(|(name, _)| *name == bare) {
            Some((_, make)) => Some(*make),
            None => choose(cx, place, "resource_type", &word, &TYPES[..LISTED_TYPES]),
        }
    })
}

fn resource_name(cx: &mut Cx<'_>, name: String, place: Place) -> Option<String> {
    if let Some((kind, rest)) = name.split_once('/') {
        let message = format!("`{}` names a type and a resource", shown(&name));
        let hint =
            format!("Write `resource_type: {}` and `resource_name: {}`", shown(kind), shown(rest));
        cx.report(Rule::BadResourceName, place, message, hint);
        return None;
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    dns(cx, "resource_name", name, place, 253, allowed)
}

fn label(cx: &mut Cx<'_>, key: &str, name: String, place: Place) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    dns(cx, key, name, place, 63, allowed)
}

fn dns(
    cx: &mut Cx<'_>,
    key: &str,
    name: String,
    place: Place,
    longest: usize,
    allowed: impl Fn(char) -> bool,
) -> Option<String> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.len() <= longest
        && name.chars().all(allowed)
        && name.starts_with(edge)
        && name.ends_with(edge);
    if good {
        return Some(name);
    }
    let message = format!("`{}` cannot be a `{key}` in Kubernetes", shown(&name));
    let hint = format!("Use lower-case letters, digits and `-`, at most {longest} characters");
    cx.report(Rule::BadResourceName, place, message, hint);
    None
}

/// Labels as kubectl takes them, or a map of labels, which becomes the same text.
fn selector(cx: &mut Cx<'_>, fields: &mut Fields) -> Read<String> {
    fields.value(cx, "selector").then(|found, place| match found {
        Value::Text(text) => checked_selector(cx, text.text.trim().to_owned(), place),
        Value::Map(node) => {
            let labels = labels(cx, &node)?;
            checked_selector(cx, labels, place)
        }
        other => wrong(
            cx,
            place,
            "selector",
            "labels such as `app=orders` or a map of labels",
            other.kind(),
        ),
    })
}

fn labels(cx: &mut Cx<'_>, node: &Rc<Node>) -> Option<String> {
    let mut fields = Fields::open(cx, "`selector`", node)?;
    let mut labels = Vec::new();
    for (label, _, node) in fields.rest() {
        match value(cx, &node)? {
            Value::Text(text) => labels.push(format!("{label}={}", text.text)),
            other => return wrong(cx, node.place, "selector", "a map of labels", other.kind()),
        }
    }
    Some(labels.join(","))
}

fn checked_selector(cx: &mut Cx<'_>, labels: String, place: Place) -> Option<String> {
    let sign = |c: char| "-_./=!,() ".contains(c);
    let depth = labels.chars().try_fold(0_i32, |depth, c| match c {
        '(' => Some(depth + 1).filter(|depth| *depth == 1),
        ')' => Some(depth - 1).filter(|depth| *depth == 0),
        _ => Some(depth),
    });
    let good = depth == Some(0)
        && labels.chars().all(|c| c.is_ascii_alphanumeric() || sign(c))
        && labels.split(',').all(|part| part.contains(|c: char| c.is_ascii_alphanumeric()));
    if good {
        return Some(labels);
    }
    let message = format!("`{}` is not a label selector", shown(&labels));
    cx.report(Rule::BadSelector, place, message, "Write labels such as `app=orders,tier=db`");
    None
}
