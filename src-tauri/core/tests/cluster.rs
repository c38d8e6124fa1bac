//! The watch over one cluster: when it counts as away, when it is looked at next, what a
//! pause keeps, and which forwards a warning is near.

#![allow(clippy::unwrap_used)]

use localport_core::cluster::{
    APART, Cluster, ClusterEvent, Conditions, INTERVAL, Input, KEPT, LONGEST, SOON, Settings,
    Warnings,
};
use localport_core::config::{ClusterHealth, Config};
use localport_core::problem::{Code, Problem};
use localport_core::snapshot::{LoginNeeded, Reach};
use localport_core::time::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const START: Timestamp = Timestamp(1_000_000_000);

fn settings() -> Settings {
    Settings::of(&Config::default(), "staging").unwrap()
}

fn at(settings: &Settings, now: Timestamp) -> Conditions<'_> {
    Conditions { now, settings, jitter: 0.5 }
}

fn away() -> Input {
    Input::Failed { problem: Problem::new(Code::KubeUnreachable, "away", "wait"), login: None }
}

fn answered() -> Input {
    Input::Answered { took: Duration::from_millis(4), expires: None }
}

/// Lets `input` happen whenever the cluster is due, `times` times; gives the pauses.
fn looks(settings: &Settings, cluster: &mut Cluster, input: &Input, times: usize) -> Vec<Duration> {
    let mut pauses = vec![];
    for _ in 0..times {
        let now = cluster.due().unwrap();
        let begun = cluster.clone().step(Input::Begun, at(settings, now));
        assert_eq!(begun.due(), None, "one look at a time");
        *cluster = begun.step(input.clone(), at(settings, now));
        pauses.push(cluster.due().unwrap().since(now));
    }
    pauses
}

/// S5.4: one failed try is no outage; the second one is, and looks then come soon, ever
/// more seldom, and never more seldom than the longest pause.
#[test]
fn s5_4_an_outage_is_noticed_after_the_retries_and_looked_at_soon() {
    let settings = settings();
    let mut cluster = Cluster::new(START);
    assert_eq!(looks(&settings, &mut cluster, &answered(), 1), [INTERVAL]);
    assert_eq!(cluster.sight().latency_ms, Some(4.0));
    assert_eq!(looks(&settings, &mut cluster, &away(), 1), [APART]);
    assert_eq!(cluster.sight().reach, Reach::Reachable, "one broken connection");
    assert_eq!(looks(&settings, &mut cluster, &away(), 1), [SOON]);
    assert_eq!(cluster.sight().reach, Reach::Unreachable);
    assert_eq!(cluster.sight().latency_ms, None);
    let pauses = looks(&settings, &mut cluster, &away(), 20);
    assert_eq!(pauses[1], 2 * SOON);
    assert_eq!(pauses.iter().max(), Some(&LONGEST));
    assert_eq!(looks(&settings, &mut cluster, &answered(), 1), [INTERVAL]);
    assert_eq!(cluster.sight().reach, Reach::Reachable);
    assert_eq!(cluster.sight().problem, None);
}

/// S13: `cluster_health` of LocalPort is honoured: a context's own keys over the defaults,
/// thresholds, retries, single checks, and being switched off.
#[test]
fn s13_the_configurations_keys_hold() {
    let commands = |pairs: &[(&str, bool)]| -> BTreeMap<String, bool> {
        pairs.iter().map(|(name, on)| ((*name).to_owned(), *on)).collect()
    };
    let mut config = Config {
        cluster_health: ClusterHealth {
            interval: Some(Duration::from_secs(240)),
            retry_attempts: Some(0),
            failure_threshold: Some(3),
            commands: commands(&[("node_status", false)]),
            ..ClusterHealth::default()
        },
        ..Config::default()
    };
    let own = ClusterHealth {
        interval: Some(Duration::from_secs(90)),
        commands: commands(&[("events_on_failure", false)]),
        login_command: vec!["tsh".to_owned(), "login".to_owned()],
        ..ClusterHealth::default()
    };
    config.cluster_contexts.insert("staging".to_owned(), own);
    let off = ClusterHealth { enabled: Some(false), ..ClusterHealth::default() };
    config.cluster_contexts.insert("quiet".to_owned(), off);
    assert_eq!(Settings::of(&config, "quiet"), None);
    assert_eq!(Settings::of(&config, "other").unwrap().interval, Duration::from_secs(240));
    let settings = Settings::of(&config, "staging").unwrap();
    assert_eq!(settings.interval, Duration::from_secs(90));
    assert_eq!((settings.api, settings.nodes, settings.events), (true, false, false));
    assert_eq!(settings.login_command, ["tsh", "login"]);
    let mut cluster = Cluster::new(START);
    looks(&settings, &mut cluster, &answered(), 1);
    looks(&settings, &mut cluster, &away(), 2);
    assert_eq!(cluster.sight().reach, Reach::Reachable, "two of three failures");
    looks(&settings, &mut cluster, &away(), 1);
    assert_eq!(cluster.sight().reach, Reach::Unreachable);
}

/// S5.8: credentials that ended are a state of their own, at once, and no loop.
#[test]
fn s5_8_a_log_in_that_is_needed_is_known_at_once_and_not_asked_for_in_a_loop() {
    let settings = settings();
    let login = LoginNeeded { what: "ended".to_owned(), command: None, running: false };
    let failed = Input::Failed {
        problem: Problem::new(Code::KubeUnauthorized, "ended", "log in"),
        login: Some(login.clone()),
    };
    let mut cluster = Cluster::new(START);
    assert_eq!(looks(&settings, &mut cluster, &failed, 3), [INTERVAL; 3]);
    assert_eq!(cluster.sight().reach, Reach::LoginNeeded);
    assert_eq!(cluster.sight().login, Some(login));
    assert!(!cluster.is_open());
}

/// S5.5: a warning is near the forwards of its target, its pods, and where they end now.
#[test]
fn warnings_are_kept_for_a_while_and_bounded() {
    let event = |n: u64| ClusterEvent {
        at: Timestamp(START.0 + n),
        count: 1,
        reason: "BackOff".to_owned(),
        message: "again".to_owned(),
        namespace: "shop".to_owned(),
        object: "Pod/orders-0".to_owned(),
        forwards: vec![],
    };
    let mut warnings = Warnings::default();
    for n in 0..KEPT as u64 + 50 {
        warnings.put(format!("e{n}"), event(n));
    }
    warnings.put("e249".to_owned(), ClusterEvent { count: 7, ..event(249) });
    let listed = warnings.list(START);
    assert_eq!((listed.len(), listed[0].count), (KEPT, 7), "the last one first, repeated once");
    assert_eq!(warnings.expire(START + Duration::from_secs(2 * 3_600)), 0);
}

proptest! {
    /// S5.4: whatever happens, a paused cluster is never due and keeps what it knew, marked;
    /// one that is not paused is always due unless a look is under way.
    #[test]
    fn a_cluster_is_due_exactly_when_it_may_be_looked_at(
        steps in prop::collection::vec((0_u8..7, 0_u64..100_000), 1..60),
    ) {
        let settings = settings();
        let (mut cluster, mut now) = (Cluster::new(START), START);
        let (mut paused, mut looking) = (false, false);
        for (what, pause) in steps {
            now = Timestamp(now.0 + pause);
            let input = match what {
                0 if !paused && !looking => Input::Begun,
                1 if looking => answered(),
                2 if looking => away(),
                3 => Input::Suspected,
                4 => Input::Paused,
                5 if paused => Input::Resumed,
                _ => Input::Warned(1),
            };
            looking = match input {
                Input::Begun => true,
                Input::Answered { .. } | Input::Failed { .. } | Input::Paused => false,
                _ => looking,
            };
            paused = match input {
                Input::Paused => true,
                Input::Resumed => false,
                _ => paused,
            };
            let reach = cluster.sight().reach;
            let suspected = input == Input::Suspected;
            let evidence = matches!(input, Input::Answered { .. } | Input::Failed { .. });
            cluster = cluster.step(input, at(&settings, now));
            prop_assert!(evidence || cluster.sight().reach == reach);
            if paused {
                prop_assert_eq!(cluster.due(), None);
                prop_assert!(cluster.sight().cached);
            } else if !looking {
                prop_assert!(cluster.due().is_some());
            }
            if suspected && !paused {
                prop_assert!(cluster.due().unwrap().since(now) <= APART);
            }
        }
    }
}
