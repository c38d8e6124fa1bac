//! Owns the way from texts to a configuration: each file in turn, its top
//! level, then its services one by one, so that an error stays with the one
//! service it is in.

use super::checks::CheckPart;
use super::clash::{Claim, Clashes};
use super::cluster::{self, ClusterPart};
use super::cx::{Cx, shown};
use super::fields::{Fields, Read, Value};
use super::notifications::NotificationsPart;
use super::restart::RestartPart;
use super::service;
use super::shutdown::ShutdownPart;
use super::tree::{Kind, Place};
use super::{Config, Env, ForwardSpec, Origin, Rule, Source, SshHost, Target, yaml};
use std::collections::BTreeMap;

/// What holds for every service that does not say otherwise. A file's own
/// `defaults` go before those of the files read before it.
#[derive(Clone, Default)]
pub(super) struct Defaults {
    pub(super) health_check: CheckPart,
    pub(super) restart_policy: RestartPart,
}

/// A service as it was read.
pub(super) struct Entry {
    pub(super) claim: Claim,
    pub(super) spec: Option<ForwardSpec>,
}

/// Reads a configuration from its files, in their order.
///
/// Never fails: what cannot run is left out, and every problem of every file is
/// in [`Config::diagnostics`]. An error in one service leaves the others alone.
/// No source gives the empty configuration.
#[must_use]
pub fn load(sources: &[Source], env: &dyn Env) -> Config {
    let mut cx = Cx::new(sources, env);
    let mut defaults = Defaults::default();
    let mut cluster = ClusterPart::default();
    let mut contexts = BTreeMap::new();
    let mut vias = BTreeMap::new();
    let mut shutdown = ShutdownPart::default();
    let mut notifications = NotificationsPart::default();
    let mut entries = Vec::new();
    for source in 0..sources.len() {
        let Some(mut top) = open(&mut cx, source) else { continue };
        read_defaults(&mut cx, &mut top, &mut defaults, &mut cluster);
        read_contexts(&mut cx, &mut top, &mut contexts, &mut vias);
        read_services(&mut cx, &mut top, &defaults, &mut entries);
        if let Some(daemon) = top.map(&mut cx, "daemon") {
            shutdown = ShutdownPart::read(&mut cx, daemon).over(&shutdown);
        }
        if let Some(fields) = top.map(&mut cx, "notifications") {
            notifications = NotificationsPart::read(&mut cx, fields).over(&notifications);
        }
        ignore_known(&mut cx, &mut top);
        top.finish(
            &mut cx,
            &[("service", "services"), ("forwards", "services"), ("default", "defaults")],
        );
    }
    Clashes::resolve(&mut cx, &mut entries);
    let running = entries.into_iter().filter_map(|entry| Some((entry.spec?, entry.claim.place)));
    let (mut forwards, places): (Vec<_>, Vec<_>) = running.unzip();
    lead(&mut forwards, &vias);
    let origin =
        |place: &Place| Origin { file: sources[place.source].file.clone(), line: place.line };
    Config {
        files: sources.iter().map(|source| source.file.clone()).collect(),
        origins: forwards
            .iter()
            .zip(&places)
            .map(|(spec, at)| (spec.name.clone(), origin(at)))
            .collect(),
        forwards,
        cluster_health: cluster.clone().build(),
        cluster_contexts: contexts.into_iter().map(|(name, part)| (name, part.build())).collect(),
        shutdown: shutdown.build(),
        notifications: notifications.build(),
        diagnostics: cx.finish(),
    }
}

/// The top level of a source, if it is one that can be read.
fn open(cx: &mut Cx<'_>, source: usize) -> Option<Fields> {
    let mark = cx.mark();
    let root = yaml::parse(cx, source);
    let nothing = match &root {
        None => !cx.errors_since(mark),
        Some(node) => {
            matches!(node.kind, Kind::Scalar(_)) && cx.text(node).is_some_and(|text| text.is_null())
        }
    };
    if nothing {
        let place = Place { source, line: 1, column: 1 };
        cx.report(Rule::NoServices, place, "The file holds nothing", "Add a `services:` list");
        return None;
    }
    let mut top = Fields::open(cx, "the file", &root?)?;
    version(cx, &mut top).then_some(top)
}

/// Whether the file's version is one that can be read.
fn version(cx: &mut Cx<'_>, top: &mut Fields) -> bool {
    let hint = "Write `version: \"1.0\"`";
    match top.raw_text(cx, "version") {
        Read::Is(text, place) => match text.text.trim() {
            "1.0" if !text.plain => true,
            "1.0" | "1" => {
                let message = format!("`version` is the number `{}`, not a text", text.text.trim());
                cx.report(Rule::VersionType, place, message, hint);
                true
            }
            other => {
                let message =
                    format!("`{}` is not a version that this release reads", shown(other));
                let hint = "Use a newer LocalPort, or write `version: \"1.0\"` if the file is of that version";
                cx.report(Rule::UnsupportedVersion, place, message, hint);
                false
            }
        },
        Read::Absent => {
            let place = top.key_place("version");
            cx.report(Rule::MissingVersion, place, "The file does not say its `version`", hint);
            true
        }
        Read::Wrong => false,
    }
}

fn read_defaults(
    cx: &mut Cx<'_>,
    top: &mut Fields,
    defaults: &mut Defaults,
    cluster: &mut ClusterPart,
) {
    let Some(mut fields) = top.map(cx, "defaults") else { return };
    if let Some(part) = fields.map(cx, "health_check") {
        defaults.health_check = CheckPart::read(cx, part, None).over(&defaults.health_check);
    }
    if let Some(part) = fields.map(cx, "restart_policy") {
        defaults.restart_policy = RestartPart::read(cx, part).over(&defaults.restart_policy);
    }
    if let Some(part) = fields.map(cx, "cluster_health") {
        *cluster = ClusterPart::read(cx, part).over(cluster);
    }
    fields.finish(cx, &[("restart", "restart_policy"), ("healthcheck", "health_check")]);
}

/// Gives forwards the SSH host that is on the way to all of their context, unless they
/// name their own.
fn lead(forwards: &mut [ForwardSpec], vias: &BTreeMap<String, SshHost>) {
    for spec in forwards {
        if let Target::Kube(target) = &mut spec.target
            && target.via.is_none()
        {
            let context = target.context.as_ref();
            target.via = context.and_then(|context| vias.get(context)).cloned();
        }
    }
}

fn read_contexts(
    cx: &mut Cx<'_>,
    top: &mut Fields,
    contexts: &mut BTreeMap<String, ClusterPart>,
    vias: &mut BTreeMap<String, SshHost>,
) {
    let Some(mut fields) = top.map(cx, "cluster_contexts") else { return };
    for (name, _, node) in fields.rest() {
        let Some((part, via)) = cluster::read_context(cx, &name, &node) else { continue };
        vias.extend(via.map(|via| (name.clone(), via)));
        let earlier = contexts.remove(&name).unwrap_or_default();
        contexts.insert(name, part.over(&earlier));
    }
}

fn read_services(cx: &mut Cx<'_>, top: &mut Fields, defaults: &Defaults, entries: &mut Vec<Entry>) {
    match top.value(cx, "services") {
        Read::Is(Value::List(items), _) => {
            for node in items {
                entries.extend(service::read(cx, &node, defaults));
            }
        }
        Read::Is(other, place) => {
            let message = format!("`services` must be a list, this is {}", other.kind());
            let hint = "Begin each service with `- name:`";
            cx.report(Rule::WrongType, place, message, hint);
        }
        Read::Absent => {
            let hint = "Add a `services:` list, each entry beginning with `- name:`";
            cx.report(
                Rule::NoServices,
                top.key_place("services"),
                "The file has no `services`",
                hint,
            );
        }
        Read::Wrong => {}
    }
}

/// Settings of other releases and of later ones, which must not look like slips.
fn ignore_known(cx: &mut Cx<'_>, top: &mut Fields) {
    let why = "is accepted, but has no effect";
    top.ignored(cx, &["logging"], why, "Remove it, or leave it for other releases");
    top.accept(|key| key.starts_with("x-") || key.starts_with('_') || key.starts_with('.'));
}
