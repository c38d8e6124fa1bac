//! Owns `config` of a health check: what the single types of probe need.

use super::super::cx::{Cx, shown};
use super::super::fields::{Fields, Value};
use super::super::tree::Place;
use super::super::values::wrong;
use super::super::words::listed;
use super::super::{Rule, Secret, TlsCheck};
use super::{CheckType, HealthCheckKind, http};
use std::collections::BTreeMap;
use std::path::PathBuf;
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
    tls: Option<bool>,
    server_name: Option<String>,
    ca_file: Option<String>,
    min_days_left: Option<u32>,
    service: Option<String>,
    command: Option<Vec<String>>,
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
            "server_name",
            "ca_file",
            "timeout",
        ],
        CheckType::Tls => {
            &["verify_ssl", "server_name", "ca_file", "min_days_left", "host", "port", "timeout"]
        }
        CheckType::Redis | CheckType::Mysql => &[
            "user",
            "password",
            "tls",
            "verify_ssl",
            "server_name",
            "ca_file",
            "host",
            "port",
            "timeout",
        ],
        CheckType::Grpc => {
            &["service", "tls", "verify_ssl", "server_name", "ca_file", "host", "port", "timeout"]
        }
        CheckType::Command => &["command", "timeout"],
        CheckType::Kafka => &["bootstrap_servers", "timeout"],
        CheckType::Postgres => &[
            "host",
            "port",
            "database",
            "user",
            "password",
            "sslmode",
            "server_name",
            "ca_file",
            "timeout",
        ],
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
            tls: fields.switch(cx, "tls").ok(),
            server_name: fields.text(cx, "server_name").ok(),
            ca_file: fields.text(cx, "ca_file").ok(),
            min_days_left: fields.count(cx, "min_days_left", 0..=3650).ok(),
            service: fields.text(cx, "service").ok(),
            command: argv(cx, &mut fields, "command"),
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
            tls: self.tls.or(below.tls),
            server_name: self.server_name.or(below.server_name),
            ca_file: self.ca_file.or(below.ca_file),
            min_days_left: self.min_days_left.or(below.min_days_left),
            service: self.service.or(below.service),
            command: self.command.or(below.command),
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
        let other = self.tls.is_some()
            || self.server_name.is_some()
            || self.ca_file.is_some()
            || self.min_days_left.is_some()
            || self.service.is_some()
            || self.command.is_some();
        !(http || database || other || self.timeout.is_some() || !self.elsewhere.is_empty())
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
            CheckType::Tls => HealthCheckKind::Tls {
                min_days_left: self.min_days_left.unwrap_or(0),
                tls: self.certificate(),
            },
            CheckType::Redis => HealthCheckKind::Redis {
                tls: self.encrypted(),
                user: self.user,
                password: self.password,
            },
            CheckType::Mysql => HealthCheckKind::Mysql {
                tls: self.encrypted(),
                user: self.user,
                password: self.password,
            },
            CheckType::Grpc => HealthCheckKind::Grpc {
                tls: self.encrypted(),
                service: self.service.unwrap_or_default(),
            },
            CheckType::Command => {
                HealthCheckKind::Command { argv: self.command.unwrap_or_default() }
            }
            CheckType::Http => self.http("http", local_port),
            CheckType::Https => self.http("https", local_port),
            CheckType::Kafka => HealthCheckKind::Kafka {
                bootstrap_servers: self
                    .bootstrap_servers
                    .unwrap_or_else(|| format!("localhost:{local_port}")),
            },
            CheckType::Postgres => HealthCheckKind::Postgres {
                tls: TlsCheck { verify: true, ..self.certificate() },
                database: self.database.unwrap_or_else(|| "postgres".to_owned()),
                user: self.user.unwrap_or_else(|| "postgres".to_owned()),
                password: self.password,
                sslmode: self.sslmode.map(str::to_owned),
            },
        }
    }

    fn certificate(&self) -> TlsCheck {
        TlsCheck {
            verify: self.verify_ssl.unwrap_or(true),
            server_name: self.server_name.clone(),
            ca_file: self.ca_file.as_ref().map(PathBuf::from),
        }
    }

    /// TLS where it is asked for, in so many words or by saying how.
    fn encrypted(&self) -> Option<TlsCheck> {
        let said =
            self.verify_ssl.is_some() || self.server_name.is_some() || self.ca_file.is_some();
        self.tls.unwrap_or(said).then(|| self.certificate())
    }

    fn http(self, scheme: &str, local_port: u16) -> HealthCheckKind {
        HealthCheckKind::Http {
            tls: self.certificate(),
            url: self.url.unwrap_or_else(|| format!("{scheme}://localhost:{local_port}/health")),
            method: self.method.unwrap_or("GET").to_owned(),
            expected_status: self.expected_status.unwrap_or_else(|| HEALTHY_STATUS.to_vec()),
            expected_content: self.expected_content,
            headers: self.headers.unwrap_or_default(),
        }
    }
}

/// Complains of keys that belong to another type of check.
fn reject_foreign(cx: &mut Cx<'_>, fields: &mut Fields, kind: CheckType) {
    let own = keys(kind);
    let all = [
        CheckType::Tcp,
        CheckType::Http,
        CheckType::Kafka,
        CheckType::Postgres,
        CheckType::Tls,
        CheckType::Redis,
        CheckType::Grpc,
        CheckType::Command,
    ];
    let foreign = |key: &&'static str| !own.contains(key);
    let mut others: Vec<&'static str> =
        all.iter().flat_map(|kind| keys(*kind)).copied().filter(foreign).collect();
    others.sort_unstable();
    others.dedup();
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

/// An argument vector: a list of texts. One text alone would need a shell to split it.
pub(in crate::config) fn argv(
    cx: &mut Cx<'_>,
    fields: &mut Fields,
    key: &'static str,
) -> Option<Vec<String>> {
    const WANTED: &str = "a list of the program and its arguments";
    let read = fields.value(cx, key).then(|value, place| match value {
        Value::List(items) if !items.is_empty() => {
            let texts: Vec<_> = items.iter().map(|item| cx.text(item)).collect();
            let texts: Option<Vec<String>> =
                texts.into_iter().map(|text| text.map(|text| text.text)).collect();
            match texts {
                Some(texts) => Some(texts),
                None => wrong(cx, place, key, WANTED, "something else"),
            }
        }
        Value::List(_) => wrong(cx, place, key, WANTED, "an empty list"),
        other => wrong(cx, place, key, WANTED, other.kind()),
    });
    read.ok()
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}
