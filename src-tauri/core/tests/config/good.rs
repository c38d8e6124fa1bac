//! Files that load, with the exact result.

use crate::machine::Machine;
use localport_core::config::{
    ClusterHealth, FileState, ForwardSpec, HealthCheck, HealthCheckKind, KubeResource, KubeTarget,
    PortRef, RestartPolicy, Secret, SshTarget, Target, TlsCheck,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn defaults_policy() -> RestartPolicy {
    RestartPolicy {
        enabled: true,
        max_attempts: Some(8),
        initial_delay: 2 * SECOND,
        backoff_multiplier: 1.5,
        max_delay: 90 * SECOND,
    }
}

fn check(kind: HealthCheckKind) -> HealthCheck {
    HealthCheck {
        kind,
        interval: 20 * SECOND,
        timeout: Duration::from_millis(2500),
        failure_threshold: 2,
        success_threshold: 1,
        cluster_aware: true,
    }
}

fn forward(name: &str, local_port: u16, target: Target, kind: HealthCheckKind) -> ForwardSpec {
    ForwardSpec {
        name: name.to_owned(),
        enabled: true,
        tags: Vec::new(),
        description: None,
        local_port,
        bind: Vec::new(),
        hold: 30 * SECOND,
        target,
        health_check: Some(check(kind)),
        restart_policy: Some(defaults_policy()),
    }
}

fn orders() -> ForwardSpec {
    let target = Target::Kube(KubeTarget {
        context: Some("kind-a".to_owned()),
        namespace: "shop".to_owned(),
        resource: KubeResource::StatefulSet("orders".to_owned()),
        port: PortRef::Number(5432),
        via: None,
    });
    let kind = HealthCheckKind::Postgres {
        tls: TlsCheck::default(),
        database: "o".to_owned(),
        user: "o".to_owned(),
        password: Some(Secret::new("none".to_owned())),
        sslmode: Some("prefer".to_owned()),
    };
    let mut orders = forward("orders-db", 15432, target, kind);
    orders.tags = vec!["db".to_owned(), "core".to_owned()];
    orders.description = Some("orders database".to_owned());
    let own =
        HealthCheck { interval: 30 * SECOND, timeout: 4 * SECOND, ..orders.health_check.unwrap() };
    orders.health_check = Some(own);
    orders.restart_policy = Some(RestartPolicy { max_attempts: Some(3), ..defaults_policy() });
    orders
}

fn events() -> ForwardSpec {
    let target = Target::Kube(KubeTarget {
        context: None,
        namespace: "default".to_owned(),
        resource: KubeResource::Pod("broker-0".to_owned()),
        port: PortRef::Number(9092),
        via: None,
    });
    let kind = HealthCheckKind::Kafka { bootstrap_servers: "localhost:19092".to_owned() };
    let mut events = forward("events", 19092, target, kind);
    events.health_check =
        events.health_check.map(|check| HealthCheck { timeout: 8 * SECOND, ..check });
    events
}

fn ssh(host: &str, remote_host: &str, remote_port: u16) -> SshTarget {
    SshTarget {
        host: host.to_owned(),
        user: None,
        port: None,
        key_file: None,
        password: None,
        remote_host: remote_host.to_owned(),
        remote_port,
    }
}

fn wiki() -> ForwardSpec {
    let target = SshTarget {
        user: Some("me".to_owned()),
        port: Some(2222),
        key_file: Some(PathBuf::from("/home/u/.ssh/wiki")),
        ..ssh("jump.example", "wiki.internal", 80)
    };
    let kind = HealthCheckKind::Http {
        url: "http://127.0.0.1:18081/up".to_owned(),
        method: "HEAD".to_owned(),
        expected_status: vec![200, 302],
        expected_content: None,
        headers: BTreeMap::from([("X-Probe".to_owned(), Secret::new("1".to_owned()))]),
        tls: TlsCheck { verify: false, ..TlsCheck::default() },
    };
    forward("wiki", 18081, Target::Ssh(target), kind)
}

fn old_box() -> ForwardSpec {
    let target = Target::Ssh(ssh("10.0.0.9", "localhost", 22));
    ForwardSpec { enabled: false, ..forward("old-box", 18082, target, HealthCheckKind::Tcp) }
}

/// S4.1, S13: a LocalPort file with everything its users write.
#[test]
fn localport_1_0_loads_as_it_is() {
    let machine = Machine::bare().file("/home/u/.ssh/wiki", FileState::Readable);
    let config = machine.load(include_str!("../good/localport-1.0.yaml"));
    assert_eq!(config.diagnostics, vec![]);
    assert_eq!(config.forwards, vec![orders(), events(), wiki(), old_box()]);
    let commands =
        |pairs: &[(&str, bool)]| pairs.iter().map(|(name, on)| ((*name).to_owned(), *on)).collect();
    let everywhere = ClusterHealth {
        enabled: Some(true),
        interval: Some(240 * SECOND),
        timeout: Some(20 * SECOND),
        retry_attempts: Some(1),
        failure_threshold: Some(2),
        commands: commands(&[
            ("cluster_info", true),
            ("pod_status", false),
            ("node_status", true),
            ("events_on_failure", false),
        ]),
        ..ClusterHealth::default()
    };
    let in_kind_a = ClusterHealth {
        interval: Some(90 * SECOND),
        timeout: Some(10 * SECOND),
        commands: commands(&[("node_status", false)]),
        ..ClusterHealth::default()
    };
    assert_eq!(config.cluster_health, everywhere);
    assert_eq!(config.cluster_contexts, BTreeMap::from([("kind-a".to_owned(), in_kind_a)]));
    let lines: Vec<u32> =
        config.forwards.iter().map(|spec| config.origins[&spec.name].line).collect();
    assert_eq!(lines, [15, 25, 31, 37]);
}

fn variables() -> Machine {
    Machine::bare().var("PORT", "15432").var("EMPTY", "").file("/home/u/k", FileState::Readable)
}

/// S4.1: the odd but legal ways in which people write these files.
#[test]
fn every_good_file_loads_without_a_complaint() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good");
    let machine = variables().file("/home/u/.ssh/wiki", FileState::Readable);
    let mut loaded = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let config = machine.load(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(config.diagnostics, vec![], "{}", path.display());
        let ports = config.forwards.iter().map(|spec| (spec.name.clone(), spec.local_port));
        loaded.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), ports.collect());
    }
    let expected: [(&str, &[(&str, u16)]); 8] = [
        ("anchors.yaml", &[("one", 15001), ("two", 15002), ("three", 15003)]),
        ("comments.yaml", &[("commented", 15001)]),
        ("crlf-and-bom.yaml", &[("crlf", 15432)]),
        ("exported.yaml", &[("exported", 15001)]),
        ("flow.yaml", &[("flow", 15432)]),
        (
            "localport-1.0.yaml",
            &[("orders-db", 15432), ("events", 19092), ("wiki", 18081), ("old-box", 18082)],
        ),
        ("old-habits.yaml", &[("yes-and-no", 15001), ("on", 15002)]),
        ("selectors.yaml", &[("text", 15001), ("map", 15002)]),
    ];
    let expected: BTreeMap<String, Vec<(String, u16)>> = expected
        .into_iter()
        .map(|(file, ports)| {
            let ports = ports.iter().map(|(name, port)| ((*name).to_owned(), *port));
            (file.to_owned(), ports.collect())
        })
        .collect();
    assert_eq!(loaded, expected);
}

/// S4.1: unquoted references inside flow collections, with YAML's own signs in them.
#[test]
fn references_in_flow_collections_mean_nothing_to_yaml() {
    let config = variables().load(include_str!("../good/flow.yaml"));
    let spec = &config.forwards[0];
    assert_eq!(spec.tags, ["x: y, {z", "#1"]);
    let Target::Kube(target) = &spec.target else { panic!("{spec:?}") };
    assert_eq!((target.context.as_deref(), target.namespace.as_str()), (Some("kind-a"), "shop"));
    let Some(HealthCheckKind::Http { url, expected_status, .. }) =
        spec.health_check.as_ref().map(|check| &check.kind)
    else {
        panic!("{spec:?}")
    };
    assert_eq!(url, "http://localhost:15432/up?a=1");
    assert_eq!(expected_status.len(), 100);
}

/// S4.1: anchors, aliases and merge keys; what stands in the map itself wins.
#[test]
fn merge_keys_give_what_the_map_itself_does_not() {
    let config = variables().load(include_str!("../good/anchors.yaml"));
    let ssh = |index: usize| match &config.forwards[index].target {
        Target::Ssh(target) => {
            (target.host.clone(), target.remote_host.clone(), target.remote_port)
        }
        Target::Kube(target) => panic!("{target:?}"),
    };
    assert_eq!(ssh(0), ("jump.example".to_owned(), "localhost".to_owned(), 80));
    assert_eq!(ssh(1), ("jump.example".to_owned(), "localhost".to_owned(), 81));
    assert_eq!(ssh(2), ("jump.example".to_owned(), "db.internal".to_owned(), 82));
    let interval = config.forwards[0].health_check.as_ref().map(|check| check.interval);
    assert_eq!(interval, Some(10 * SECOND));
}

/// S4.1: YAML 1.1 switches and numbers, nulls, quotes, addresses.
#[test]
fn old_habits_keep_their_meaning() {
    let config = variables().load(include_str!("../good/old-habits.yaml"));
    let [first, second] = config.forwards.as_slice() else { panic!("{config:?}") };
    let Target::Kube(kube) = &first.target else { panic!("{first:?}") };
    assert!(!first.enabled && second.enabled);
    assert_eq!(kube.resource, KubeResource::Service("2024".to_owned()));
    assert_eq!((kube.context.as_ref(), kube.namespace.as_str()), (None, "default"));
    assert_eq!((&first.description, &first.health_check), (&None, &None));
    let expected = SshTarget {
        user: Some("me".to_owned()),
        port: Some(2222),
        ..ssh("fe80::1%eth0", "localhost", 80)
    };
    assert_eq!(second.target, Target::Ssh(expected));
    assert_eq!(second.hold, Duration::from_millis(500));
    assert_eq!(
        second.bind,
        ["127.0.0.2".parse::<std::net::IpAddr>().unwrap(), "::1".parse().unwrap()]
    );
}

#[test]
fn selectors_are_read_from_text_and_from_a_map() {
    let config = variables().load(include_str!("../good/selectors.yaml"));
    let selector = |index: usize| match &config.forwards[index].target {
        Target::Kube(KubeTarget { resource: KubeResource::Selector(labels), .. }) => labels.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(selector(0), "app=orders,tier in (db,cache)");
    assert_eq!(selector(1), "app=orders,tier=db");
}

#[test]
fn block_texts_take_variables_and_keep_hashes() {
    let config = variables().load(include_str!("../good/comments.yaml"));
    let description = config.forwards[0].description.as_deref();
    assert_eq!(description, Some("Folded 15432 # this is text"));
}

/// S5: every type of check, with what it says and what holds otherwise.
#[test]
fn s5_every_type_of_check_is_read() {
    let check = |text: &str| {
        let text = format!(
            "version: \"1.0\"\nservices:\n  - {{name: a, technology: ssh, local_port: 5432, \
             remote_port: 5432, connection: {{host: h}}, health_check: {text}}}\n"
        );
        let config = Machine::bare().load(&text);
        assert!(config.diagnostics.is_empty(), "{:?}", config.diagnostics);
        let shown = config.show_yaml();
        assert!(!shown.contains("s3cret"), "{shown}");
        config.forwards[0].health_check.clone().unwrap().kind
    };
    let secret = || Some(Secret::new("s3cret".to_owned()));
    let ours = TlsCheck {
        verify: true,
        server_name: Some("db.internal".to_owned()),
        ca_file: Some(PathBuf::from("/etc/ca.pem")),
    };
    let table = [
        ("{type: tls}", HealthCheckKind::Tls { tls: TlsCheck::default(), min_days_left: 0 }),
        (
            "{type: tls, config: {min_days_left: 14, server_name: db.internal, ca_file: /etc/ca.pem}}",
            HealthCheckKind::Tls { tls: ours.clone(), min_days_left: 14 },
        ),
        (
            "{type: redis, config: {password: s3cret}}",
            HealthCheckKind::Redis { user: None, password: secret(), tls: None },
        ),
        (
            "{type: mariadb, config: {user: u, password: s3cret, verify_ssl: false}}",
            HealthCheckKind::Mysql {
                user: Some("u".to_owned()),
                password: secret(),
                tls: Some(TlsCheck { verify: false, ..TlsCheck::default() }),
            },
        ),
        (
            "{type: grpc, config: {service: orders, tls: true}}",
            HealthCheckKind::Grpc { service: "orders".to_owned(), tls: Some(TlsCheck::default()) },
        ),
        (
            "{type: command, config: {command: [check, '-x', 'a b']}}",
            HealthCheckKind::Command { argv: ["check", "-x", "a b"].map(str::to_owned).to_vec() },
        ),
    ];
    for (text, kind) in table {
        assert_eq!(check(text), kind, "{text}");
    }
}
