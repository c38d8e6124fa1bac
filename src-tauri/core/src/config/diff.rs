//! Owns the difference of two configurations: what comes, what goes, and of what
//! changed, what has to move for it.
//!
//! Receives two configurations, emits a [`Plan`]. What a plan does not name stays as it
//! is: its listener, its session and its clients.

mod words;

use super::{Config, ForwardSpec};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The way from one configuration to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Forwards that come, in the order of the new configuration.
    pub added: Vec<ForwardSpec>,
    /// Names of the forwards that go, in the order of the old one.
    pub removed: Vec<String>,
    /// Forwards that change in place, in the order of the new one.
    pub changed: Vec<Change>,
    /// Names of the forwards that stay as they are.
    pub unchanged: Vec<String>,
    /// Whether forwards that stay come in another order.
    pub reordered: bool,
    /// Whether something changed that belongs to no forward, such as `cluster_health`,
    /// the budgets of an end or the notifications.
    pub general: bool,
    /// The new configuration without its forwards.
    frame: Config,
    /// Names in the order of the new configuration.
    order: Vec<String>,
}

/// A forward that changes in place.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its name before; the same as the new one unless it was renamed.
    pub was: String,
    /// What it becomes.
    pub spec: ForwardSpec,
    /// What has to move for it.
    pub moves: Moves,
    /// Key, old and new value, as `config show` writes them: without secrets.
    pub values: Vec<(String, Value, Value)>,
}

/// What has to move when a forward changes; nothing else does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Name, description or tags: only what is shown.
    pub facts: bool,
    /// Hold, health check or restart policy: from the next client, probe or attempt on.
    pub policy: bool,
    /// The target: a new session; the listener and those who wait at it stay, and open
    /// connections finish on the old session.
    pub session: bool,
    /// Port or addresses: the listener; sockets that are wanted before and after stay
    /// open, and so do all connections.
    pub port: bool,
    /// `enabled`: on or off, unless a person said otherwise.
    pub enabled: bool,
}

/// What it takes to get from `old` to `new`.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Plan {
    let before: BTreeMap<&str, &ForwardSpec> =
        old.forwards.iter().map(|spec| (spec.name.as_str(), spec)).collect();
    let names: BTreeSet<&str> = new.forwards.iter().map(|spec| spec.name.as_str()).collect();
    let mut gone: Vec<&ForwardSpec> =
        old.forwards.iter().filter(|spec| !names.contains(spec.name.as_str())).collect();

    let mut plan = Plan {
        general: old.cluster_health != new.cluster_health
            || old.cluster_contexts != new.cluster_contexts
            || old.shutdown != new.shutdown
            || old.notifications != new.notifications,
        frame: Config { forwards: vec![], ..new.clone() },
        order: new.forwards.iter().map(|spec| spec.name.clone()).collect(),
        ..Plan::default()
    };
    let mut stay = vec![];
    for spec in &new.forwards {
        let known = before.get(spec.name.as_str()).copied();
        let Some(was) = known.or_else(|| renamed(&mut gone, spec)) else {
            plan.added.push(spec.clone());
            continue;
        };
        stay.push(was.name.as_str());
        if was == spec {
            plan.unchanged.push(spec.name.clone());
        } else {
            plan.changed.push(Change::between(was, spec));
        }
    }
    let stay_set: BTreeSet<&str> = stay.iter().copied().collect();
    let earlier = old.forwards.iter().map(|spec| spec.name.as_str());
    plan.reordered = !earlier.filter(|name| stay_set.contains(name)).eq(stay.iter().copied());
    plan.removed = gone.into_iter().map(|spec| spec.name.clone()).collect();
    plan
}

/// The forward among those that are gone which `spec` is under another name: same port
/// and same target.
fn renamed<'a>(gone: &mut Vec<&'a ForwardSpec>, spec: &ForwardSpec) -> Option<&'a ForwardSpec> {
    let same = |old: &&ForwardSpec| {
        old.local_port == spec.local_port && old.bind == spec.bind && old.target == spec.target
    };
    let index = gone.iter().position(same)?;
    Some(gone.remove(index))
}

impl Plan {
    /// Whether nothing that runs changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.changed.is_empty()
            && !self.reordered
            && !self.general
    }

    /// The configuration that this plan makes of `old`, the one it was made for.
    #[must_use]
    pub fn apply(&self, old: &Config) -> Config {
        let mut specs: BTreeMap<&str, &ForwardSpec> =
            old.forwards.iter().map(|spec| (spec.name.as_str(), spec)).collect();
        for name in self.removed.iter().chain(self.changed.iter().map(|change| &change.was)) {
            specs.remove(name.as_str());
        }
        let new = self.added.iter().chain(self.changed.iter().map(|change| &change.spec));
        specs.extend(new.map(|spec| (spec.name.as_str(), spec)));
        let forwards =
            self.order.iter().filter_map(|name| specs.get(name.as_str()).copied().cloned());
        Config { forwards: forwards.collect(), ..self.frame.clone() }
    }

    /// Names in the order of the new configuration.
    #[must_use]
    pub fn order(&self) -> &[String] {
        &self.order
    }

    /// The new configuration without its forwards.
    #[must_use]
    pub fn frame(&self) -> &Config {
        &self.frame
    }
}

impl Change {
    fn between(old: &ForwardSpec, new: &ForwardSpec) -> Self {
        Self {
            was: old.name.clone(),
            spec: new.clone(),
            moves: Moves::between(old, new),
            values: words::values(old, new),
        }
    }

    /// Whether it has another name than before.
    #[must_use]
    pub fn is_rename(&self) -> bool {
        self.was != self.spec.name
    }
}

impl Moves {
    /// What has to move from `old` to `new`.
    #[must_use]
    pub fn between(old: &ForwardSpec, new: &ForwardSpec) -> Self {
        // Named one by one, so that a new field has to find its place here.
        let ForwardSpec {
            name,
            enabled,
            tags,
            description,
            local_port,
            bind,
            hold,
            target,
            health_check,
            restart_policy,
        } = new;
        Self {
            facts: old.name != *name || old.tags != *tags || old.description != *description,
            policy: old.hold != *hold
                || old.health_check != *health_check
                || old.restart_policy != *restart_policy,
            session: old.target != *target,
            port: old.local_port != *local_port || old.bind != *bind,
            enabled: old.enabled != *enabled,
        }
    }
}

impl ForwardSpec {
    /// Every address that this forward listens on.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let bind = if self.bind.is_empty() { &loopback[..] } else { &self.bind };
        bind.iter().map(|address| SocketAddr::new(*address, self.local_port)).collect()
    }
}
