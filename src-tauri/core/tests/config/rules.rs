//! Single rules of meaning, as tables: variables, defaults, what a service may
//! lack or share, several files, how a configuration is shown.

use crate::machine::Machine;
use localport_core::config::{
    Config, FileState, HealthCheckKind, RestartPolicy, Severity, Source, Target, load,
};
use std::time::Duration;

/// A kubectl service with `extra` lines of its own.
fn service(name: &str, port: u16, extra: &str) -> String {
    format!(
        "  - name: {name}\n    technology: kubectl\n    local_port: {port}\n    remote_port: 80\n    \
         connection: {{resource_name: orders}}\n{extra}"
    )
}

fn file(services: &[String]) -> String {
    format!("version: \"1.0\"\nservices:\n{}", services.concat())
}

fn complaints(config: &Config) -> Vec<(Severity, &str, u32)> {
    config
        .diagnostics
        .iter()
        .map(|found| (found.severity, found.code.as_str(), found.line))
        .collect()
}

fn names(config: &Config) -> Vec<&str> {
    config.forwards.iter().map(|spec| spec.name.as_str()).collect()
}

/// S4.1: every form of a reference, in every style of scalar.
#[test]
fn references_resolve_as_documented() {
    let machine = Machine::bare().var("SET", "v").var("EMPTY", "").var("QUOTES", "a\"b'c: d # e");
    let cases = [
        ("${SET}", Some("v")),
        ("a${SET}b${SET}", Some("avbv")),
        ("${NOT:d}", Some("d")),
        ("${NOT:-d}", Some("d")),
        ("${SET:d}", Some("v")),
        ("${EMPTY:d}", None),
        ("${EMPTY:-d}", Some("d")),
        ("${NOT:-}", None),
        ("${NOT:a:b}", Some("a:b")),
        ("$${SET}", Some("${SET}")),
        ("$${SET:-x} ${SET}", Some("${SET:-x} v")),
        ("$SET", Some("$SET")),
        ("\"${QUOTES}\"", Some("a\"b'c: d # e")),
        ("${QUOTES}", Some("a\"b'c: d # e")),
        ("'${QUOTES}'", Some("a\"b'c: d # e")),
        ("\"${NOT:C:\\\\x}\"", Some("C:\\x")),
        ("'${NOT:it''s}'", Some("it's")),
        ("|-\n      ${SET}\n      ${NOT:d}", Some("v\nd")),
        (">-\n      ${SET}\n      ${NOT:d}", Some("v d")),
    ];
    for (written, expected) in cases {
        let text = file(&[service("a", 15001, &format!("    description: {written}\n"))]);
        let config = machine.load(&text);
        assert_eq!(config.diagnostics, vec![], "{written}");
        assert_eq!(config.forwards[0].description.as_deref(), expected, "{written}");
    }
}

/// S4.1: a reference works in a key, and takes the type of its text where it is plain.
#[test]
fn references_work_in_keys_and_take_types() {
    let machine = Machine::bare().var("KEY", "enabled").var("NO", "false").var("PORT", "15002");
    let with = |line: &str| machine.load(&file(&[service("a", 15001, &format!("    {line}\n"))]));
    assert!(!with("${KEY}: ${NO}").forwards[0].enabled);
    assert!(!with("${MISSING:enabled}: \"${NO}\"").forwards[0].enabled);
    let port = |text: &str| machine.load(&file(&[service("a", 15001, "").replace("15001", text)]));
    for text in ["${PORT}", "\"${PORT}\"", "'15002'", "1500${TWO:2}", "${NOT:15002}"] {
        let config = port(text);
        assert_eq!(config.forwards[0].local_port, 15002, "{text}: {:?}", config.diagnostics);
    }
}

/// A missing variable costs its own service only, wherever in it the reference stands.
#[test]
fn a_missing_variable_is_an_error_of_its_service_only() {
    let text = file(&[
        service(
            "a",
            15001,
            "    health_check: {type: http, config: {headers: {X: \"${NOT_SET}\"}}}\n",
        ),
        service("b", 15002, "    x-notes: ${NOT_SET}\n    unknown: ${NOT_SET}\n"),
    ]);
    let config = Machine::bare().load(&text);
    assert_eq!(names(&config), ["b"]);
    let expected =
        [(Severity::Error, "missing-variable", 8), (Severity::Warning, "unknown-key", 15)];
    assert_eq!(complaints(&config), expected);
}

/// S4.1: `defaults` reach each service that lacks them, key by key.
#[test]
fn defaults_are_merged_key_by_key() {
    let text = format!(
        "version: \"1.0\"\ndefaults:\n  health_check: {{type: http, interval: 11, config: {{url: \"http://localhost/x\", timeout: 3}}}}\n  restart_policy: {{max_attempts: 9}}\nservices:\n{}{}{}{}{}",
        service("all", 15001, ""),
        service("some", 15002, "    health_check: {interval: 12, config: {method: head}}\n"),
        service(
            "other",
            15003,
            "    health_check: {type: tcp}\n    restart_policy: {max_delay: 60}\n"
        ),
        service("none", 15004, "    health_check: false\n"),
        service("off", 15005, "    health_check: {enabled: false}\n"),
    );
    let config = Machine::bare().load(&text);
    assert_eq!(config.diagnostics, vec![]);
    let check = |index: usize| config.forwards[index].health_check.clone();
    let http = |index: usize| match check(index).unwrap().kind {
        HealthCheckKind::Http { url, method, .. } => (url, method),
        other => panic!("{other:?}"),
    };
    let expected = |method: &str| ("http://localhost/x".to_owned(), method.to_owned());
    assert_eq!((http(0), http(1)), (expected("GET"), expected("HEAD")));
    let times = |index: usize| {
        check(index).map(|check| (check.interval.as_secs(), check.timeout.as_secs()))
    };
    assert_eq!([times(0), times(1), times(2)], [Some((11, 3)), Some((12, 3)), Some((11, 5))]);
    assert_eq!(check(2).unwrap().kind, HealthCheckKind::Tcp);
    assert_eq!((check(3), check(4)), (None, None));
    let policy = config.forwards[2].restart_policy.clone().unwrap();
    let patient = RestartPolicy::PATIENT;
    let expected =
        RestartPolicy { max_attempts: Some(9), max_delay: Duration::from_secs(60), ..patient };
    assert_eq!(policy, expected);
}

/// A check of another type takes over nothing that belongs to the type of the
/// default, and a time-out of its own goes first wherever it stands.
#[test]
fn checks_of_another_type_keep_to_themselves() {
    let text = format!(
        "version: \"1.0\"\ndefaults:\n  health_check: {{type: http, timeout: 9, config: {{url: \"http://localhost/x\", timeout: 3}}}}\nservices:\n{}{}{}{}",
        service("other", 15001, "    health_check: {type: https}\n"),
        service("same", 15002, "    health_check: {type: http}\n"),
        service("own", 15003, "    health_check: {timeout: 4}\n"),
        service("inner", 15004, "    health_check: {timeout: 4, config: {timeout: 2}}\n"),
    );
    let config = Machine::bare().load(&text);
    assert_eq!(config.diagnostics, vec![]);
    let check = |index: usize| {
        let check = config.forwards[index].health_check.clone().unwrap();
        let HealthCheckKind::Http { url, .. } = check.kind else { panic!("{:?}", check.kind) };
        (url, check.timeout.as_secs())
    };
    let inherited = "http://localhost/x".to_owned();
    assert_eq!(check(0), ("https://localhost:15001/health".to_owned(), 9));
    assert_eq!(check(1), (inherited.clone(), 3));
    assert_eq!(check(2), (inherited.clone(), 4));
    assert_eq!(check(3), (inherited, 2));
}

/// What is wrong in `defaults` is said once, and the services run without it.
#[test]
fn errors_in_defaults_are_said_once_and_stop_nothing() {
    let text = format!(
        "version: \"1.0\"\ndefaults: {{health_check: {{type: tcp, interval: 0}}}}\nservices:\n{}{}",
        service("a", 15001, ""),
        service("b", 15002, "")
    );
    let config = Machine::bare().load(&text);
    assert_eq!(complaints(&config), [(Severity::Error, "out-of-range", 2)]);
    let interval =
        |index: usize| config.forwards[index].health_check.as_ref().map(|check| check.interval);
    assert_eq!([interval(0), interval(1)], [Some(Duration::from_secs(30)); 2]);
}

/// Nothing runs of a file whose version is unknown, and only of that file.
#[test]
fn an_unknown_version_stops_its_file_only() {
    let old = file(&[service("old", 15001, "")]);
    let new = old.replace("1.0", "3.1").replace("old", "new");
    let sources = [Source::new("new.yaml", new), Source::new("old.yaml", old)];
    let config = load(&sources, &Machine::bare());
    assert_eq!(names(&config), ["old"]);
    assert_eq!(complaints(&config), [(Severity::Error, "unsupported-version", 1)]);
}

/// Several files: defaults of earlier ones hold on, complaints keep the order
/// of the files, a clash names the other file.
#[test]
fn several_files_make_one_configuration() {
    let base = format!(
        "version: \"1.0\"\ndefaults: {{restart_policy: {{max_attempts: 4}}, cluster_health: {{interval: 60, timeout: 5}}}}\ncluster_contexts: {{a: {{cluster_health: {{interval: 61}}}}}}\nservices:\n{}",
        service("base", 15001, "    colour: red\n")
    );
    let more = format!(
        "version: \"1.0\"\ndefaults: {{cluster_health: {{interval: 70}}}}\ncluster_contexts: {{a: {{cluster_health: {{timeout: 6}}}}}}\nservices:\n{}{}",
        service("more", 15002, ""),
        service("base", 15003, "")
    );
    let config =
        load(&[Source::new("z.yaml", base), Source::new("a.yaml", more)], &Machine::bare());
    assert_eq!(names(&config), ["base", "more"]);
    let attempts =
        config.forwards.iter().map(|spec| spec.restart_policy.as_ref().unwrap().max_attempts);
    assert_eq!(attempts.collect::<Vec<_>>(), [Some(4); 2]);
    let times = |health: &localport_core::config::ClusterHealth| {
        [health.interval, health.timeout].map(|time| time.map(|time| time.as_secs()))
    };
    assert_eq!(times(&config.cluster_health), [Some(70), Some(5)]);
    assert_eq!(times(&config.cluster_contexts["a"]), [Some(61), Some(6)]);
    let expected =
        [(Severity::Warning, "unknown-key", 10), (Severity::Error, "duplicate-name", 10)];
    assert_eq!(complaints(&config), expected);
    assert!(
        config.diagnostics[1].message.contains("line 5 of `z.yaml`"),
        "{}",
        config.diagnostics[1]
    );
    assert_eq!(config.origins["more"].file.to_str(), Some("a.yaml"));
    assert_eq!(config.origins["more"].line, 5);
}

#[test]
fn no_source_gives_the_empty_configuration() {
    assert_eq!(load(&[], &Machine::bare()), Config::default());
}

/// Of two services with one name the one that is switched off gives way, in either order.
#[test]
fn a_service_switched_off_gives_its_name_away() {
    let (on, off) = (service("a", 15001, ""), service("a", 15002, "    enabled: false\n"));
    for (services, line) in [([on.clone(), off.clone()], 8), ([off, on], 3)] {
        let config = Machine::bare().load(&file(&services));
        assert_eq!(config.forwards.iter().map(|spec| spec.local_port).collect::<Vec<_>>(), [15001]);
        assert_eq!(complaints(&config), [(Severity::Warning, "duplicate-name", line)]);
    }
}

/// What only this machine lacks keeps a service that is switched off listed,
/// so that it can be switched on once it is there.
#[test]
fn a_service_switched_off_stays_listed_when_only_the_machine_forbids_it() {
    let ssh = "  - {name: a, technology: ssh, enabled: false, local_port: 443, remote_port: 80, \
               connection: {host: h, key_file: ~/k}}\n";
    let config = Machine::bare().load(&file(&[ssh.to_owned()]));
    assert_eq!(names(&config), ["a"]);
    let expected =
        [(Severity::Warning, "privileged-port", 3), (Severity::Warning, "key-file-missing", 3)];
    assert_eq!(complaints(&config), expected);
    let may = Machine::bare().privileged().file("/home/u/k", FileState::Readable);
    assert_eq!(may.load(&file(&[ssh.to_owned()])).diagnostics, vec![]);
}

/// A relative key file starts where the configuration stands.
#[test]
fn key_files_are_found_from_the_file_that_names_them() {
    let text = "version: \"1.0\"\nservices:\n  - {name: a, technology: ssh, local_port: 15001, remote_port: 80, \
                connection: {host: h, key_file: keys/id}}\n";
    let machine = Machine::bare().file("/etc/localport/keys/id", FileState::Readable);
    let config = load(&[Source::new("/etc/localport/config.yaml", text)], &machine);
    assert_eq!(config.diagnostics, vec![]);
    let Target::Ssh(target) = &config.forwards[0].target else { panic!("{config:?}") };
    let expected = std::path::Path::new("/etc/localport/keys/id");
    assert_eq!(target.key_file.as_deref(), Some(expected));
}

/// A file is bounded in size, in references and in complaints.
#[test]
fn a_file_is_bounded() {
    let machine = Machine::bare().var("A", "a");
    let codes = |text: &str| {
        let found = machine.load(text).diagnostics;
        found.iter().map(|found| found.code.clone()).collect::<Vec<_>>()
    };
    assert_eq!(codes(&"# x\n".repeat(300_000)), ["file-too-large"]);
    assert_eq!(codes(&"# ${A}\n".repeat(70_000)), ["too-many-variables"]);
    let many: String = (0..1_100).map(|index| format!("k{index}: 1\n")).collect();
    let found = codes(&format!("version: \"1.0\"\n{many}services: []\n"));
    assert_eq!(found.len(), 1_001);
    assert_eq!(found.last().map(String::as_str), Some("more-problems"));
    assert_eq!(machine.load("").diagnostics[0].code, "no-services");
}

/// What `config show` prints: resolved, merged, without secrets, and loadable again.
#[test]
fn shown_configurations_load_again() {
    let machine =
        Machine::bare().var("PW", "hunter2").file("/home/u/.ssh/wiki", FileState::Readable);
    let extra = "    description: \"literal $${X}: 'quoted' # é\"\n    bind: [127.0.0.1, \"::1\"]\n    \
                 health_check: {type: https, timeout: 0.5, config: {url: \"https://u:hunter2@localhost/\", headers: {Authorization: \"${PW}\"}}}\n    \
                 restart_policy: {enabled: false}\n";
    let text = include_str!("../good/localport-1.0.yaml").replace("${ORDERS_PW:none}", "${PW}")
        + &service("extra", 15001, extra);
    let config = machine.load(&text);
    assert_eq!(config.diagnostics, vec![]);
    let shown = config.show_yaml();
    assert!(!shown.contains("hunter2") && shown.contains("<redacted>"), "{shown}");
    let again = machine.load(&shown);
    assert_eq!(again.diagnostics, vec![], "{shown}");
    assert_eq!(again.show(), config.show());
    assert_eq!(
        again.forwards[1..4],
        config.forwards[1..4].iter().map(covered).collect::<Vec<_>>()[..]
    );
    assert_eq!(machine.load(&config.show().to_string()).show(), config.show());
}

/// The forward with its header values covered, as they are shown.
fn covered(spec: &localport_core::config::ForwardSpec) -> localport_core::config::ForwardSpec {
    let mut spec = spec.clone();
    if let Some(HealthCheckKind::Http { headers, .. }) =
        spec.health_check.as_mut().map(|check| &mut check.kind)
    {
        for value in headers.values_mut() {
            *value = localport_core::config::Secret::new("<redacted>".to_owned());
        }
    }
    spec
}

/// No file within the size limit makes reading it take long, whatever it repeats.
#[test]
fn reading_is_bounded_in_time() {
    let wide: String = (0..30_000).map(|index| format!("  k{index}: 1\n")).collect();
    let merged = format!("x-a: &a\n{wide}x-b:\n  <<: *a\n{wide}services: []\n");
    let entries: String =
        (0..20_000).map(|index| format!("  - {{<<: *s, name: n{index}}}\n")).collect();
    let services = |common: &str| {
        format!("x-s: &s {{technology: ssh, remote_port: 80, {common}}}\nservices:\n{entries}")
    };
    let files = [
        merged,
        services("connection: {host: h}, local_port: 15000"),
        services("connection: {}, local_port: 15000"),
        format!("services: [{}]\n", "{}, ".repeat(20_000)),
        format!("services:\n{}", "- a\n".repeat(20_000)),
        format!("x: &a [{}]\nservices: [{{tags: *a}}]\n", "${A:1}, ".repeat(60_000)),
    ];
    for text in files {
        assert!(text.len() < 1024 * 1024, "{}", text.len());
        let started = std::time::Instant::now();
        let config = Machine::bare().load(&text);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?} for {}", &text[..40]);
        assert!(config.forwards.len() <= 1);
    }
}
