//! Owns how one entry of `services` becomes a forward.

use super::checks::CheckPart;
use super::clash::Claim;
use super::connection;
use super::cx::{Cx, shown};
use super::fields::{Fields, Read, Value, value};
use super::load::{Defaults, Entry};
use super::restart::RestartPart;
use super::tree::{Node, Place};
use super::values::{choose, wrong};
use super::{DEFAULT_HOLD, ForwardSpec, Rule, Target};
use std::net::IpAddr;
use std::rc::Rc;

/// Longest name, as LocalPort has it.
const MAX_NAME: usize = 100;
/// Longest time a client is held, in seconds; a browser gives up long before.
const MAX_HOLD: f64 = 3600.0;

/// Which technology carries a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Technology {
    Kubectl,
    Ssh,
}

/// What people write out of habit, and what it is here.
const HABITS: &[(&str, &str)] = &[
    ("port", "local_port"),
    ("target_port", "remote_port"),
    ("type", "technology"),
    ("kind", "technology"),
    ("healthcheck", "health_check"),
    ("restart", "restart_policy"),
    ("labels", "tags"),
    ("bind_address", "bind"),
    ("host", "connection: {host: …}"),
    ("namespace", "connection: {namespace: …}"),
    ("context", "connection: {context: …}"),
];

/// Reads a service. Its errors keep it from running; one that is switched off
/// only gets warnings, and stays listed when it could be switched on.
pub(super) fn read(cx: &mut Cx<'_>, node: &Rc<Node>, defaults: &Defaults) -> Option<Entry> {
    let mark = cx.mark();
    let mut fields = Fields::open(cx, "the service", node)?;
    let enabled = fields.switch(cx, "enabled").ok().unwrap_or(true);
    let name = name(cx, &mut fields);
    if let Some((name, _)) = &name {
        fields.what = format!("service `{}`", shown(name));
    }
    let port = fields.port(cx, "local_port");
    let port =
        fields.require(cx, "local_port", port, "Add `local_port:` with a port of this machine");
    let bind = bind(cx, &mut fields).unwrap_or_default();
    let claim = Claim { place: fields.place, name, port, bind, enabled };
    let found = spec(cx, &mut fields, defaults, &claim);
    finish(cx, fields);
    let found = found.filter(|_| !cx.errors_since(mark));
    let spec =
        found.filter(|(spec, key_file)| machine_allows(cx, spec, &claim, *key_file) || !enabled);
    if !enabled {
        cx.soften(mark);
    }
    Some(Entry { claim, spec: spec.map(|(spec, _)| spec) })
}

/// The forward, and where its key file is named.
fn spec(
    cx: &mut Cx<'_>,
    fields: &mut Fields,
    defaults: &Defaults,
    claim: &Claim,
) -> Option<(ForwardSpec, Option<Place>)> {
    let tags = fields.texts(cx, "tags").ok().unwrap_or_default();
    let description = fields.text(cx, "description").ok();
    let hold = fields.duration(cx, "hold", 0.0..=MAX_HOLD).ok().unwrap_or(DEFAULT_HOLD);
    let target = match technology(cx, fields) {
        Some(technology) => connection::read(cx, fields, technology),
        None => {
            connection::read_unknown(cx, fields);
            None
        }
    };
    let check = health_check(cx, fields, defaults);
    let policy = restart_policy(cx, fields, defaults);
    let (name, _) = claim.name.clone()?;
    let (local_port, _) = claim.port?;
    let (target, key_file) = target?;
    let spec = ForwardSpec {
        name,
        enabled: claim.enabled,
        tags: tags.into_iter().map(|(tag, _)| tag).collect(),
        description,
        local_port,
        bind: claim.bind.clone(),
        hold,
        health_check: check.build(cx, local_port, matches!(target, Target::Kube(_))),
        target,
        restart_policy: policy.build(),
    };
    Some((spec, key_file))
}

fn name(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<(String, Place)> {
    let read = fields.raw_text(cx, "name");
    let (text, place) = fields.require(cx, "name", read, "Give it a `name:` of its own")?;
    let name = text.text.trim().to_owned();
    let bad = |why: String| Some((Rule::BadName, why, "Give it a short name such as `orders-db`"));
    let complaint = if name.is_empty() {
        bad("The `name` is empty".to_owned())
    } else if name.chars().count() > MAX_NAME {
        bad(format!("The name `{}` is longer than {MAX_NAME} characters", shown(&name)))
    } else if name.chars().any(char::is_control) {
        bad(format!("The name `{}` holds control characters", shown(&name)))
    } else if name.chars().any(char::is_whitespace) {
        let message = format!("The name `{}` holds blanks", shown(&name));
        Some((
            Rule::NameWithBlanks,
            message,
            "Use `-` instead, so that it needs no quotes on the command line",
        ))
    } else {
        None
    };
    if let Some((rule, message, hint)) = complaint {
        cx.report(rule, place, message, hint);
        if rule == Rule::BadName {
            return None;
        }
    }
    Some((name, place))
}

fn technology(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<Technology> {
    const WORDS: &[(&str, Technology)] =
        &[("kubectl", Technology::Kubectl), ("ssh", Technology::Ssh)];
    let read = fields.raw_text(cx, "technology");
    let hint = "Add `technology: kubectl` or `technology: ssh`";
    let (text, place) = fields.require(cx, "technology", read, hint)?;
    match text.text.as_str() {
        "kubernetes" | "k8s" | "kube" => {
            let message = format!("`{}` is not a known value of `technology`", text.text);
            cx.report(Rule::UnknownValue, place, message, "Write `kubectl`");
            None
        }
        word => choose(cx, place, "technology", word, WORDS),
    }
}

/// The addresses of `bind`; none when one of them is wrong.
fn bind(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<Vec<IpAddr>> {
    let written = match fields.value(cx, "bind") {
        Read::Absent => return Some(Vec::new()),
        Read::Wrong => return None,
        Read::Is(Value::Text(text), place) => vec![Some((text.text, place))],
        Read::Is(Value::List(items), _) => {
            let mut address = |item: &Rc<Node>| match value(cx, item)? {
                Value::Text(text) => Some((text.text, item.place)),
                other => {
                    wrong(cx, item.place, "bind", "an address or a list of addresses", other.kind())
                }
            };
            items.iter().map(&mut address).collect()
        }
        Read::Is(other, place) => {
            return wrong(cx, place, "bind", "an address or a list of addresses", other.kind());
        }
    };
    let parsed: Vec<Option<Vec<IpAddr>>> = written
        .into_iter()
        .map(|text| text.and_then(|(text, place)| addresses(cx, &text, place)))
        .collect();
    let mut all: Vec<IpAddr> =
        parsed.into_iter().collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|address| seen.insert(*address));
    Some(all)
}

fn addresses(cx: &mut Cx<'_>, text: &str, place: Place) -> Option<Vec<IpAddr>> {
    let text = text.trim();
    if text == "localhost" {
        return Some(vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse() {
        return Some(vec![address]);
    }
    let message = format!("`{}` is not an IP address", shown(text));
    let hint = if text == "*" {
        "Write `[\"0.0.0.0\", \"::\"]` for every address of this machine"
    } else {
        "Write an address of this machine such as `127.0.0.1`, without a port; `0.0.0.0` is every IPv4 address"
    };
    cx.report(Rule::BadAddress, place, message, hint);
    None
}

fn health_check(cx: &mut Cx<'_>, fields: &mut Fields, defaults: &Defaults) -> CheckPart {
    let read = fields.value(cx, "health_check");
    let own = match read {
        Read::Is(Value::Text(text), _) if super::scalars::switch(&text.text) == Some(false) => {
            CheckPart::off()
        }
        Read::Is(Value::Map(node), _) => match Fields::open(cx, "`health_check`", &node) {
            Some(part) => CheckPart::read(cx, part, defaults.health_check.kind()),
            None => CheckPart::default(),
        },
        Read::Is(other, place) => {
            let wanted = "a map such as `{type: tcp}`, or `false`";
            wrong(cx, place, "health_check", wanted, other.kind()).unwrap_or_default()
        }
        Read::Absent | Read::Wrong => CheckPart::default(),
    };
    own.over(&defaults.health_check)
}

fn restart_policy(cx: &mut Cx<'_>, fields: &mut Fields, defaults: &Defaults) -> RestartPart {
    let own = fields.map(cx, "restart_policy").map(|part| RestartPart::read(cx, part));
    own.unwrap_or_default().over(&defaults.restart_policy)
}

fn finish(cx: &mut Cx<'_>, mut fields: Fields) {
    let hint =
        "Set it for all services under `defaults`, or for a context under `cluster_contexts`";
    fields.ignored(cx, &["cluster_health"], "has no effect on a single service", hint);
    fields.accept(|key| key.starts_with("x-"));
    fields.finish(cx, HABITS);
}

/// Whether this machine lets the service run; what it lacks is complained of.
fn machine_allows(
    cx: &mut Cx<'_>,
    spec: &ForwardSpec,
    claim: &Claim,
    key_file: Option<Place>,
) -> bool {
    let mark = cx.mark();
    if spec.local_port < 1024 && !cx.env.can_bind_privileged() {
        let place = claim.port.map_or(claim.place, |(_, place)| place);
        let message = format!(
            "The local port `{}` is below 1024, which this user may not bind",
            spec.local_port
        );
        let hint =
            format!("Choose a port from 1024 on, such as `{}`", u32::from(spec.local_port) + 8000);
        cx.report(Rule::PrivilegedPort, place, message, hint);
    }
    if let (Target::Ssh(target), Some(place)) = (&spec.target, key_file) {
        connection::check_key_file(cx, target, place);
    }
    !cx.errors_since(mark)
}
