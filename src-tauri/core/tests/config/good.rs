//! Files that load, with the exact result.

use crate::machine::Machine;
use localport_core::config::{
    ClusterHealth, FileState, ForwardSpec, HealthCheck, HealthCheckKind, KubeResource, KubeTarget,
    PortRef, RestartPolicy, Secret, SshTarget, Target,
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
    });
    let kind = HealthCheckKind::Postgres {
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
        verify_ssl: false,
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
