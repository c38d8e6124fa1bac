//! Owns how a configuration is shown: resolved, with `defaults` merged in and
//! secrets covered, in the form of a configuration that could be loaded again.

mod yaml;

use super::checks::without_login;
use super::{
    ClusterHealth, Config, DEFAULT_HOLD, ForwardSpec, HealthCheck, HealthCheckKind, KubeResource,
    KubeTarget, PortRef, RestartPolicy, SshHost, SshTarget, Target, TlsCheck,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

pub(super) const REDACTED: &str = "<redacted>";

impl Config {
    /// The configuration in force, as JSON. Passwords, header values and logins
    /// in URLs read `<redacted>`; a literal `${` reads `$${`, as it would be written.
    #[must_use]
    pub fn show(&self) -> Value {
        let mut top = Map::new();
        top.insert("version".to_owned(), json!("1.0"));
        if self.cluster_health != ClusterHealth::default() {
            let health = json!({ "cluster_health": cluster(&self.cluster_health) });
            top.insert("defaults".to_owned(), health);
        }
        if !self.cluster_contexts.is_empty() {
            let contexts =
                self.cluster_contexts.iter().map(|(name, health)| (escape(name), context(health)));
            top.insert("cluster_contexts".to_owned(), Value::Object(contexts.collect()));
        }
        top.extend(self.shutdown.show().map(|daemon| ("daemon".to_owned(), daemon)));
        let notifications = self.notifications.show();
        top.extend(notifications.map(|shown| ("notifications".to_owned(), shown)));
        let services = self.forwards.iter().map(service).collect();
        top.insert("services".to_owned(), Value::Array(services));
        Value::Object(top)
    }

    /// Its forwards as YAML, without what holds anyway.
    #[must_use]
    pub fn brief_yaml(&self) -> String {
        let mut top = self.show();
        for service in top["services"].as_array_mut().into_iter().flatten() {
            let Some(service) = service.as_object_mut() else { continue };
            let usual = [("enabled", json!(true)), ("hold", seconds(DEFAULT_HOLD))];
            service.retain(|key, value| {
                !usual.iter().any(|(name, usual)| key == name && value == usual)
            });
        }
        let mut text = String::new();
        yaml::write(&mut text, &top, 0);
        text
    }

    /// The configuration in force, as YAML.
    #[must_use]
    pub fn show_yaml(&self) -> String {
        let mut text = String::new();
        yaml::write(&mut text, &self.show(), 0);
        text
    }
}

pub(super) fn service(spec: &ForwardSpec) -> Value {
    let (technology, remote_port, connection) = match &spec.target {
        Target::Kube(target) => ("kubectl", port(&target.port), kube(target)),
        Target::Ssh(target) => ("ssh", json!(target.remote_port), ssh(target)),
    };
    let mut service = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        service.extend(value.map(|value| (key.to_owned(), value)));
    };
    put("name", Some(text(&spec.name)));
    put("technology", Some(json!(technology)));
    put("enabled", Some(json!(spec.enabled)));
    put("description", spec.description.as_deref().map(text));
    put("tags", (!spec.tags.is_empty()).then(|| spec.tags.iter().map(|tag| text(tag)).collect()));
    put("local_port", Some(json!(spec.local_port)));
    put("bind", (!spec.bind.is_empty()).then(|| json!(spec.bind)));
    put("remote_port", Some(remote_port));
    put("connection", Some(connection));
    put("hold", Some(seconds(spec.hold)));
    put("health_check", spec.health_check.as_ref().map(check));
    put("restart_policy", spec.restart_policy.as_ref().map(policy));
    Value::Object(service)
}

fn port(port: &PortRef) -> Value {
    match port {
        PortRef::Number(number) => json!(number),
        PortRef::Name(name) => text(name),
    }
}

fn kube(target: &KubeTarget) -> Value {
    let (kind, name) = match &target.resource {
        KubeResource::Service(name) => ("service", name),
        KubeResource::Deployment(name) => ("deployment", name),
        KubeResource::StatefulSet(name) => ("statefulset", name),
        KubeResource::DaemonSet(name) => ("daemonset", name),
        KubeResource::ReplicaSet(name) => ("replicaset", name),
        KubeResource::Pod(name) => ("pod", name),
        KubeResource::Selector(labels) => ("", labels),
    };
    let mut connection = Map::new();
    connection.extend(target.context.as_deref().map(|name| ("context".to_owned(), text(name))));
    connection.insert("namespace".to_owned(), text(&target.namespace));
    connection.extend(target.via.as_ref().map(|host| ("via".to_owned(), via(host))));
    if kind.is_empty() {
        connection.insert("selector".to_owned(), text(name));
    } else {
        connection.insert("resource_type".to_owned(), json!(kind));
        connection.insert("resource_name".to_owned(), text(name));
    }
    Value::Object(connection)
}

fn via(host: &SshHost) -> Value {
    let key_file = host.key_file.as_ref().map(|path| text(&path.display().to_string()));
    object([
        ("host", Some(text(&host.host))),
        ("user", host.user.as_deref().map(text)),
        ("port", host.port.map(|port| json!(port))),
        ("key_file", key_file),
        ("password", host.password.as_ref().map(|_| json!(REDACTED))),
    ])
}

fn ssh(target: &SshTarget) -> Value {
    let key_file = target.key_file.as_ref().map(|path| text(&path.display().to_string()));
    let pairs = [
        ("host", Some(text(&target.host))),
        ("user", target.user.as_deref().map(text)),
        ("port", target.port.map(|port| json!(port))),
        ("key_file", key_file),
        ("password", target.password.as_ref().map(|_| json!(REDACTED))),
        ("remote_host", Some(text(&target.remote_host))),
    ];
    object(pairs)
}

fn check(check: &HealthCheck) -> Value {
    let (kind, config) = match &check.kind {
        HealthCheckKind::Tcp => ("tcp", None),
        HealthCheckKind::Http { url, .. } => {
            let tls = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
            (if tls { "https" } else { "http" }, Some(http(&check.kind)))
        }
        HealthCheckKind::Kafka { bootstrap_servers } => {
            ("kafka", Some(json!({ "bootstrap_servers": escape(bootstrap_servers) })))
        }
        HealthCheckKind::Postgres { database, user, password, sslmode, tls } => {
            let config = [
                ("server_name", tls.server_name.as_deref().map(text)),
                ("ca_file", tls.ca_file.as_ref().map(|file| text(&file.display().to_string()))),
                ("database", Some(text(database))),
                ("user", Some(text(user))),
                ("password", password.as_ref().map(|_| json!(REDACTED))),
                ("sslmode", sslmode.as_deref().map(text)),
            ];
            ("postgres", Some(object(config)))
        }
        HealthCheckKind::Tls { tls, min_days_left } => {
            let mut config = certificate(tls);
            config.insert("min_days_left".to_owned(), json!(min_days_left));
            ("tls", Some(Value::Object(config)))
        }
        HealthCheckKind::Redis { user, password, tls } => {
            ("redis", Some(login(user.as_deref(), password.is_some(), tls.as_ref())))
        }
        HealthCheckKind::Mysql { user, password, tls } => {
            ("mysql", Some(login(user.as_deref(), password.is_some(), tls.as_ref())))
        }
        HealthCheckKind::Grpc { service, tls } => {
            let mut config = encrypted(tls.as_ref());
            config.insert("service".to_owned(), text(service));
            ("grpc", Some(Value::Object(config)))
        }
        HealthCheckKind::Command { argv } => {
            let argv: Vec<Value> = argv.iter().map(|word| text(word)).collect();
            ("command", Some(json!({ "command": argv })))
        }
    };
    object([
        ("type", Some(json!(kind))),
        ("interval", Some(seconds(check.interval))),
        ("timeout", Some(seconds(check.timeout))),
        ("failure_threshold", Some(json!(check.failure_threshold))),
        ("success_threshold", Some(json!(check.success_threshold))),
        ("cluster_aware", Some(json!(check.cluster_aware))),
        ("config", config),
    ])
}

fn http(kind: &HealthCheckKind) -> Value {
    let HealthCheckKind::Http { url, method, expected_status, expected_content, headers, tls } =
        kind
    else {
        return Value::Null;
    };
    let covered: Map<String, Value> =
        headers.keys().map(|name| (escape(name), json!(REDACTED))).collect();
    object([
        ("url", Some(text(&without_login(url)))),
        ("method", Some(text(method))),
        ("expected_status_codes", Some(json!(expected_status))),
        ("expected_content", expected_content.as_deref().map(text)),
        ("headers", (!covered.is_empty()).then_some(Value::Object(covered))),
        ("verify_ssl", Some(json!(tls.verify))),
        ("server_name", tls.server_name.as_deref().map(text)),
        ("ca_file", tls.ca_file.as_ref().map(|file| text(&file.display().to_string()))),
    ])
}

fn certificate(tls: &TlsCheck) -> Map<String, Value> {
    let ca_file = tls.ca_file.as_ref().map(|file| text(&file.display().to_string()));
    let mut map = Map::new();
    map.insert("verify_ssl".to_owned(), json!(tls.verify));
    map.extend(tls.server_name.as_deref().map(|name| ("server_name".to_owned(), text(name))));
    map.extend(ca_file.map(|file| ("ca_file".to_owned(), file)));
    map
}

fn encrypted(tls: Option<&TlsCheck>) -> Map<String, Value> {
    let mut map = tls.map(certificate).unwrap_or_default();
    map.insert("tls".to_owned(), json!(tls.is_some()));
    map
}

fn login(user: Option<&str>, password: bool, tls: Option<&TlsCheck>) -> Value {
    let mut map = encrypted(tls);
    map.extend(user.map(|user| ("user".to_owned(), text(user))));
    map.extend(password.then(|| ("password".to_owned(), json!(REDACTED))));
    Value::Object(map)
}

/// A policy without what holds anyway: the patient delays lie outside of what can be written.
fn policy(policy: &RestartPolicy) -> Value {
    let patient = RestartPolicy::PATIENT;
    let delay = |delay: Duration, anyway: Duration| (delay != anyway).then(|| seconds(delay));
    object([
        ("enabled", Some(json!(policy.enabled))),
        ("max_attempts", policy.max_attempts.map(|attempts| json!(attempts))),
        ("initial_delay", delay(policy.initial_delay, patient.initial_delay)),
        ("backoff_multiplier", Some(json!(policy.backoff_multiplier))),
        ("max_delay", delay(policy.max_delay, patient.max_delay)),
    ])
}

fn context(health: &ClusterHealth) -> Value {
    let login: Vec<Value> = health.login_command.iter().map(|word| text(word)).collect();
    object([
        ("cluster_health", Some(cluster(health))),
        ("login_command", (!login.is_empty()).then_some(Value::Array(login))),
    ])
}

fn cluster(health: &ClusterHealth) -> Value {
    let commands = (!health.commands.is_empty()).then(|| json!(health.commands));
    object([
        ("enabled", health.enabled.map(|on| json!(on))),
        ("interval", health.interval.map(seconds)),
        ("timeout", health.timeout.map(seconds)),
        ("retry_attempts", health.retry_attempts.map(|count| json!(count))),
        ("failure_threshold", health.failure_threshold.map(|count| json!(count))),
        ("commands", commands),
    ])
}

fn object<const N: usize>(pairs: [(&str, Option<Value>); N]) -> Value {
    let there = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(there.collect())
}

pub(super) fn seconds(duration: Duration) -> Value {
    if duration.subsec_nanos() == 0 {
        json!(duration.as_secs())
    } else {
        json!(duration.as_secs_f64())
    }
}

pub(super) fn text(text: &str) -> Value {
    Value::String(escape(text))
}

/// As it would have to be written, so that no variable is looked for in it.
fn escape(text: &str) -> String {
    text.replace("${", "$${")
}
