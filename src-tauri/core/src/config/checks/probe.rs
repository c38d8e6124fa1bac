//! Owns `config` of a health check: what the single types of probe need.

use super::super::cx::{Cx, shown};
use super::super::fields::{Fields, Value};
use super::super::tree::Place;
use super::super::values::wrong;
use super::super::words::listed;
use super::super::{Rule, Secret};
use super::{CheckType, HealthCheckKind, http};
use std::collections::BTreeMap;
use std::time::Duration;

/// Codes that count as healthy when nothing is said.
const HEALTHY_STATUS: [u16; 4] = [200, 201, 202, 204];

/// What the map says, and nothing else.
#[derive(Clone, Debug, Default)]
pub(super) struct ProbePart {
    pub(super) timeout: Option<Duration>,
    /// Place of each port or host named, for a check goes through the forward anyway.
    elsewhere: Vec<Elsewhere>,
    url: Option<String>,
    method: Option<&'static str>,
    expected_status: Option<Vec<u16>>,
    expected_content: Option<String>,
    headers: Option<BTreeMap<String, Secret>>,
    verify_ssl: Option<bool>,
    bootstrap_servers: Option<String>,
    database: Option<String>,
    user: Option<String>,
    password: Option<Secret>,
    sslmode: Option<&'static str>,
}

/// A host or port that a check names.
#[derive(Clone, Debug)]
pub(super) struct Elsewhere {
    pub(super) key: &'static str,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) place: Place,
}

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"];
const SSL_MODES: &[(&str, &str)] = &[
    ("disable", "disable"),
    ("allow", "allow"),
    ("prefer", "prefer"),
    ("require", "require"),
    ("verify-ca", "verify-ca"),
    ("verify-full", "verify-full"),
];

/// The keys of each type.
fn keys(kind: CheckType) -> &'static [&'static str] {
    match kind {
        CheckType::Tcp => &["host", "port", "timeout"],
        CheckType::Http | CheckType::Https => &[
            "url",
            "method",
            "expected_status",
            "expected_status_codes",
            "expected_content",
            "headers",
            "verify_ssl",
            "timeout",
        ],
        CheckType::Kafka => &["bootstrap_servers", "timeout"],
        CheckType::Postgres => {
            &["host", "port", "database", "user", "password", "sslmode", "timeout"]
        }
    }
}

impl ProbePart {
    /// Reads the map for a check of type `kind`, or of any when that is not known.
    pub(super) fn read(cx: &mut Cx<'_>, mut fields: Fields, kind: Option<CheckType>) -> Self {
        if let Some(kind) = kind {
            fields.what = format!("`config` of a check of type `{}`", kind.name());
            reject_foreign(cx, &mut fields, kind);
        }
        let mut part = Self {
            timeout: fields.duration(cx, "timeout", 0.1..=300.0).ok(),
            method: method(cx, &mut fields),
            expected_status: http::expected_status(cx, &mut fields),
            expected_content: fields.text(cx, "expected_content").ok(),
            headers: http::headers(cx, &mut fields),
            verify_ssl: fields.switch(cx, "verify_ssl").ok(),
            bootstrap_servers: servers(cx, &mut fields),
            database: fields.text(cx, "database").ok(),
            user: fields.text(cx, "user").ok(),
            password: fields.text(cx, "password").ok().map(Secret::new),
            sslmode: fields.word(cx, "sslmode", SSL_MODES).ok(),
            ..Self::default()
        };
        if let Some((port, place)) = fields.port(cx, "port").placed() {
            part.elsewhere.push(Elsewhere { key: "port", host: None, port: Some(port), place });
        }
        if let Some((host, place)) = fields.text(cx, "host").placed() {
            part.elsewhere.push(Elsewhere { key: "host", host: Some(host), port: None, place });
        }
        if let Some((url, place)) = fields.text(cx, "url").placed()
            && let Some(elsewhere) = http::check_url(cx, &url, place)
        {
            part.elsewhere.push(elsewhere);
            part.url = Some(url);
        }
        fields.finish(cx, &[("servers", "bootstrap_servers"), ("status", "expected_status")]);
        part
    }

    /// This, and `below` where this says nothing. Places stay with who named them.
    pub(super) fn over(self, below: &Self) -> Self {
        let below = below.clone();
        Self {
            timeout: self.timeout.or(below.timeout),
            elsewhere: self.elsewhere,
            url: self.url.or(below.url),
            method: self.method.or(below.method),
            expected_status: self.expected_status.or(below.expected_status),
            expected_content: self.expected_content.or(below.expected_content),
            headers: self.headers.or(below.headers),
            verify_ssl: self.verify_ssl.or(below.verify_ssl),
            bootstrap_servers: self.bootstrap_servers.or(below.bootstrap_servers),
            database: self.database.or(below.database),
            user: self.user.or(below.user),
            password: self.password.or(below.password),
            sslmode: self.sslmode.or(below.sslmode),
        }
    }

    pub(super) fn says_nothing(&self) -> bool {
        let http = self.url.is_some()
            || self.method.is_some()
            || self.expected_status.is_some()
            || self.expected_content.is_some()
            || self.headers.is_some()
            || self.verify_ssl.is_some();
        let database = self.bootstrap_servers.is_some()
            || self.database.is_some()
            || self.user.is_some()
            || self.password.is_some()
            || self.sslmode.is_some();
        !(http || database || self.timeout.is_some() || !self.elsewhere.is_empty())
    }

    /// Says which hosts and ports of the check are not those it will use.
    pub(super) fn warn_of_other_ports(&self, cx: &mut Cx<'_>, local_port: u16) {
        for named in &self.elsewhere {
            let other_port = named.port.filter(|port| *port != local_port);
            let other_host = named.host.as_ref().filter(|host| !is_loopback(host));
            let other = match (other_host, other_port) {
                (Some(host), _) => format!("the host `{}`", shown(host)),
                (None, Some(port)) => format!("the port `{port}`"),
                (None, None) => continue,
            };
            let key = named.key;
            let message =
                format!("`{key}` names {other}, but a check always goes through its own forward");
            let hint = match key {
                "url" => format!("Write `localhost:{local_port}` in the URL"),
                _ => format!("Leave `{key}` out"),
            };
            cx.report(Rule::CheckElsewhere, named.place, message, hint);
        }
    }

    pub(super) fn build(self, kind: CheckType, local_port: u16) -> HealthCheckKind {
        match kind {
            CheckType::Tcp => HealthCheckKind::Tcp,
            CheckType::Http => self.http("http", local_port),
            CheckType::Https => self.http("https", local_port),
            CheckType::Kafka => HealthCheckKind::Kafka {
                bootstrap_servers: self
                    .bootstrap_servers
                    .unwrap_or_else(|| format!("localhost:{local_port}")),
            },
            CheckType::Postgres => HealthCheckKind::Postgres {
                database: self.database.unwrap_or_else(|| "postgres".to_owned()),
                user: self.user.unwrap_or_else(|| "postgres".to_owned()),
                password: self.password,
                sslmode: self.sslmode.map(str::to_owned),
            },
        }
    }

    fn http(self, scheme: &str, local_port: u16) -> HealthCheckKind {
        HealthCheckKind::Http {
            url: self.url.unwrap_or_else(|| format!("{scheme}://localhost:{local_port}/health")),
            method: self.method.unwrap_or("GET").to_owned(),
            expected_status: self.expected_status.unwrap_or_else(|| HEALTHY_STATUS.to_vec()),
            expected_content: self.expected_content,
            headers: self.headers.unwrap_or_default(),
            verify_ssl: self.verify_ssl.unwrap_or(true),
        }
    }
}

/// Complains of keys that belong to another type of check.
fn reject_foreign(cx: &mut Cx<'_>, fields: &mut Fields, kind: CheckType) {
    let own = keys(kind);
    let all = [CheckType::Tcp, CheckType::Http, CheckType::Kafka, CheckType::Postgres];
    let foreign = |key: &&'static str| !own.contains(key);
    let others: Vec<&'static str> =
        all.iter().flat_map(|kind| keys(*kind)).copied().filter(foreign).collect();
    let why = format!("does nothing in a check of type `{}`", kind.name());
    fields.ignored(cx, &others, &why, &format!("Remove it; such a check knows {}", listed(own)));
}

fn method(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<&'static str> {
    let read = fields.text(cx, "method").then(|text, place| {
        let upper = text.trim().to_ascii_uppercase();
        let words: Vec<(&'static str, &'static str)> =
            METHODS.iter().map(|name| (*name, *name)).collect();
        super::super::values::choose(cx, place, "method", &upper, &words)
    });
    read.ok()
}

/// Brokers as one text, which may be written as a list.
fn servers(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<String> {
    let read = fields.value(cx, "bootstrap_servers").then(|value, place| match value {
        Value::Text(text) => Some(text.text.trim().to_owned()),
        Value::List(items) => {
            let texts = items.iter().map(|item| cx.text(item).map(|text| text.text));
            let texts = texts.collect::<Option<Vec<_>>>();
            match texts {
                Some(texts) => Some(texts.join(",")),
                None => {
                    wrong(cx, place, "bootstrap_servers", "a list of `host:port`", "something else")
                }
            }
        }
        other => wrong(cx, place, "bootstrap_servers", "a list of `host:port`", other.kind()),
    });
    read.ok().filter(|servers| !servers.is_empty())
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}
