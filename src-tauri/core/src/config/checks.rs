//! Owns `health_check`: what a map of it says, laid over what holds by default,
//! and the check that both amount to.

mod http;
mod probe;

pub(super) use self::http::without_login;
pub(super) use self::probe::argv;

use self::probe::ProbePart;
use super::cx::Cx;
use super::fields::Fields;
use super::{HealthCheck, HealthCheckKind};
use std::time::Duration;

/// The type of a check, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckType {
    Tcp,
    Http,
    Https,
    Kafka,
    Postgres,
    Tls,
    Redis,
    Mysql,
    Grpc,
    Command,
}

const TYPES: &[(&str, CheckType)] = &[
    ("tcp", CheckType::Tcp),
    ("http", CheckType::Http),
    ("https", CheckType::Https),
    ("kafka", CheckType::Kafka),
    ("postgres", CheckType::Postgres),
    ("postgresql", CheckType::Postgres),
    ("tls", CheckType::Tls),
    ("redis", CheckType::Redis),
    ("mysql", CheckType::Mysql),
    ("mariadb", CheckType::Mysql),
    ("grpc", CheckType::Grpc),
    ("command", CheckType::Command),
];

/// What a map says, and nothing else.
#[derive(Clone, Debug, Default)]
pub(super) struct CheckPart {
    enabled: Option<bool>,
    kind: Option<CheckType>,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    failure_threshold: Option<u32>,
    success_threshold: Option<u32>,
    cluster_aware: Option<bool>,
    probe: ProbePart,
}

impl CheckType {
    /// The name as messages show it.
    pub(super) fn name(self) -> &'static str {
        TYPES.iter().find(|(_, kind)| *kind == self).map_or("tcp", |(name, _)| name)
    }
}

impl CheckPart {
    /// `health_check: false`.
    pub(super) fn off() -> Self {
        Self { enabled: Some(false), ..Self::default() }
    }

    /// The type it names.
    pub(super) fn kind(&self) -> Option<CheckType> {
        self.kind
    }

    /// Reads a map; `inherited` is the type that holds when it names none.
    pub(super) fn read(cx: &mut Cx<'_>, mut fields: Fields, inherited: Option<CheckType>) -> Self {
        let kind = fields.word(cx, "type", TYPES);
        let known = match &kind {
            super::fields::Read::Is(kind, _) => Some(*kind),
            super::fields::Read::Absent => inherited,
            super::fields::Read::Wrong => None,
        };
        let part = Self {
            enabled: fields.switch(cx, "enabled").ok(),
            kind: kind.ok(),
            interval: fields.duration(cx, "interval", 1.0..=3600.0).ok(),
            timeout: fields.duration(cx, "timeout", 0.1..=300.0).ok(),
            failure_threshold: fields.count(cx, "failure_threshold", 1..=100).ok(),
            success_threshold: fields.count(cx, "success_threshold", 1..=100).ok(),
            cluster_aware: fields.switch(cx, "cluster_aware").ok(),
            probe: fields
                .map(cx, "config")
                .map(|config| ProbePart::read(cx, config, known))
                .unwrap_or_default(),
        };
        fields.finish(cx, &[("url", "config: {url: …}"), ("retries", "failure_threshold")]);
        part
    }

    /// This, and `below` where this says nothing. What only one type of probe
    /// needs is not taken over by a check of another type.
    pub(super) fn over(self, below: &Self) -> Self {
        let same_type = self.kind.is_none() || below.kind.is_none() || self.kind == below.kind;
        let own_timeout = self.probe.timeout;
        let mut probe = if same_type { self.probe.over(&below.probe) } else { self.probe };
        if self.timeout.is_some() {
            // A time-out of its own, in either place, goes before any default.
            probe.timeout = own_timeout;
        }
        Self {
            enabled: self.enabled.or(below.enabled),
            kind: self.kind.or(below.kind),
            interval: self.interval.or(below.interval),
            timeout: self.timeout.or(below.timeout),
            failure_threshold: self.failure_threshold.or(below.failure_threshold),
            success_threshold: self.success_threshold.or(below.success_threshold),
            cluster_aware: self.cluster_aware.or(below.cluster_aware),
            probe,
        }
    }

    fn says_nothing(&self) -> bool {
        let Self {
            enabled,
            kind,
            interval,
            timeout,
            failure_threshold,
            success_threshold,
            cluster_aware,
            probe,
        } = self;
        enabled.is_none()
            && kind.is_none()
            && interval.is_none()
            && timeout.is_none()
            && failure_threshold.is_none()
            && success_threshold.is_none()
            && cluster_aware.is_none()
            && probe.says_nothing()
    }

    /// The check; none when nothing is said, or when it is switched off.
    pub(super) fn build(
        self,
        cx: &mut Cx<'_>,
        local_port: u16,
        in_cluster: bool,
    ) -> Option<HealthCheck> {
        if self.says_nothing() || self.enabled == Some(false) {
            return None;
        }
        let kind = self.kind.unwrap_or(CheckType::Tcp);
        self.probe.warn_of_other_ports(cx, local_port);
        let timeout = self.probe.timeout.or(self.timeout);
        Some(HealthCheck {
            kind: self.probe.build(kind, local_port),
            interval: self.interval.unwrap_or(Duration::from_secs(30)),
            timeout: timeout.unwrap_or(Duration::from_secs(5)),
            failure_threshold: self.failure_threshold.unwrap_or(3),
            success_threshold: self.success_threshold.unwrap_or(1),
            cluster_aware: self.cluster_aware.unwrap_or(in_cluster),
        })
    }
}
