//! The page is read by the rules of the text format, not compared with itself.

use super::*;
use crate::receipt::{Receipt, Released};
use crate::shutdown::{Because, Passed};
use crate::snapshot::{
    Bytes, ConfigView, Connections, ForwardState, ListenerFact, ListenerState, Phase, TargetFact,
    TargetState, Technology, TunnelFact, TunnelState,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NOW: Timestamp = Timestamp(1_772_360_400_000);

type Key = (String, BTreeMap<String, String>);

/// Every sample of `page` by name and labels; panics where a rule is broken.
fn parse(page: &str) -> BTreeMap<Key, f64> {
    assert!(page.ends_with('\n'));
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let mut family: Option<(&str, &str)> = None;
    let mut helped = "";
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').unwrap().0;
            assert!(families.insert(helped), "{helped} comes twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(name == helped && ["gauge", "counter"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            family = Some((name, kind));
        } else {
            let (name, labels, value) = sample(line);
            assert_eq!(family.map(|(name, _)| name), Some(&*name), "{line}");
            let value: f64 = value.parse().unwrap();
            assert!(value >= 0.0 && value.is_finite(), "{line}");
            assert!(samples.insert((name, labels), value).is_none(), "twice: {line}");
        }
    }
    samples
}

fn is_name(text: &str) -> bool {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, &str) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (key, after) = inside.split_once("=\"").unwrap();
            assert!(is_name(key), "{line}");
            let (value, after) = quoted(after);
            assert!(labels.insert(key.to_owned(), value).is_none(), "{line}");
            inside = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &inside[1..];
    }
    (name.to_owned(), labels, rest.strip_prefix(' ').unwrap())
}

/// The text up to the closing quote without its escapes, and what follows the quote.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().unwrap().1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                c => panic!("unknown escape {c:?} in {text}"),
            },
            c => value.push(c),
        }
    }
    panic!("no closing quote in {text}");
}

fn forward(name: &str) -> Forward {
    Forward {
        name: name.into(),
        technology: Technology::Ssh,
        context: "bastion".into(),
        tags: vec![],
        description: None,
        wanted: true,
        drain: None,
        state: ForwardState::Running,
        since: NOW,
        local: "127.0.0.1:5432".into(),
        target: "wiki:80".into(),
        listener: ListenerFact { state: ListenerState::Listening, addresses: vec![] },
        tunnel: TunnelFact {
            state: TunnelState::Up,
            path: None,
            endpoint: None,
            rtt_ms: None,
            measured: None,
            retry_at: None,
        },
        target_health: TargetFact {
            state: TargetState::Healthy,
            checked: None,
            fresh_until: Some(NOW),
            ..TargetFact::default()
        },
        connections: Connections { open: 2, held: 1, total: 40 },
        bytes: Bytes { up: 1_500, down: 9_000_000_000 },
        problem: None,
        because: None,
    }
}

fn snapshot(forwards: Vec<Forward>) -> Snapshot {
    Snapshot {
        seq: 1,
        at: NOW,
        version: "0.1.0".into(),
        pid: 4711,
        phase: Phase::Running,
        started: Timestamp(NOW.0 - 60_500),
        ending: None,
        forwards,
        contexts: vec![],
        config: ConfigView::default(),
    }
}

fn shutdown(took_ms: u64) -> Shutdown {
    let passed = |stage, took_ms| Passed { stage, took_ms, because: Because::Done };
    let receipt = Receipt {
        began: Timestamp(NOW.0 - 90_000),
        took_ms,
        stages: vec![passed(Stage::StopNewWork, 5), passed(Stage::CancelTasks, took_ms - 5)],
        released: vec![Released { kind: LeaseKind::Child, count: 2, took_ms }],
        ..Receipt::default()
    };
    Shutdown { id: 1, forwards: 1, receipt }
}

fn value(page: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    parse(page).get(&(name.to_owned(), labels)).copied()
}

/// S10.1: stages, durations, leases, forwards and sums, in base units.
#[test]
fn s10_1_the_figures_of_a_running_engine() {
    let snapshot = snapshot(vec![forward("wiki"), forward("db")]);
    let shutdowns = [shutdown(300), shutdown(20), shutdown(1_000)];
    let totals = Totals { shutdowns: 7, clean: 5, forced: 3, left: 1, unexplained: 2 };
    let leases = [LeaseKind::Task, LeaseKind::Child, LeaseKind::Task];
    let history = Some((&shutdowns[..], totals));
    let page = page(&Facts { snapshot: &snapshot, now: NOW, leases: &leases, history });
    let is = |name: &str, labels: &[(&str, &str)], expected: f64| {
        assert_eq!(value(&page, name, labels), Some(expected), "{name} {labels:?}\n{page}");
    };
    is("localport_build_info", &[("version", "0.1.0")], 1.0);
    is("localport_start_time_seconds", &[], 1_772_360_339.5);
    is("localport_forwards", &[("state", "serving")], 2.0);
    is("localport_forwards", &[("state", "waiting")], 0.0);
    is("localport_forward_serving", &[("forward", "wiki")], 1.0);
    is("localport_open_connections", &[("forward", "db")], 2.0);
    is("localport_held_clients", &[("forward", "db")], 1.0);
    is("localport_accepted_clients_total", &[("forward", "db")], 40.0);
    let down = [("forward", "db"), ("direction", "down")];
    is("localport_carried_bytes_total", &down, 9_000_000_000.0);
    is("localport_leases", &[("kind", "task")], 2.0);
    is("localport_leases", &[("kind", "listener")], 0.0);
    is("localport_history_readable", &[], 1.0);
    is("localport_shutdowns_total", &[], 7.0);
    is("localport_clean_shutdowns_total", &[], 5.0);
    is("localport_shutdown_forced_total", &[], 3.0);
    is("localport_shutdown_left_total", &[], 1.0);
    is("localport_shutdown_unexplained_total", &[], 2.0);
    is("localport_shutdown_seconds", &[("statistic", "last")], 0.3);
    is("localport_shutdown_seconds", &[("statistic", "p50")], 0.3);
    is("localport_shutdown_seconds", &[("statistic", "p95")], 1.0);
    let stage = [("stage", "cancel_tasks"), ("statistic", "last")];
    is("localport_shutdown_stage_seconds", &stage, 0.295);
    let kind = [("kind", "child"), ("statistic", "p95")];
    is("localport_shutdown_release_seconds", &kind, 1.0);
    is("localport_last_shutdown_clean", &[], 1.0);
    is("localport_last_shutdown_timestamp_seconds", &[], 1_772_360_310.0);
}

/// S10.1: without forwards, shutdowns or a history that can be read, it is still a page.
#[test]
fn s10_1_an_empty_page() {
    let snapshot = snapshot(vec![]);
    let facts = Facts { snapshot: &snapshot, now: NOW, leases: &[], history: None };
    let unread = page(&facts);
    assert_eq!(value(&unread, "localport_history_readable", &[]), Some(0.0));
    assert!(!unread.contains("shutdown_seconds") && !unread.contains("carried_bytes"));
    let none = page(&Facts { history: Some((&[], Totals::default())), ..facts });
    assert_eq!(value(&none, "localport_shutdowns_total", &[]), Some(0.0));
    assert!(!none.contains("localport_last_shutdown_clean"));
}

/// S10.2: the stage under way is marked.
#[test]
fn s10_2_the_stage_under_way() {
    let mut snapshot = snapshot(vec![]);
    snapshot.ending = Some(crate::snapshot::Ending {
        stage: Stage::CompleteCurrent,
        since: NOW,
        until: NOW,
        open: 1,
        can_cancel: true,
        left: vec![],
        first: vec![],
        more: 0,
        forced: 0,
    });
    let page = page(&Facts { snapshot: &snapshot, now: NOW, leases: &[], history: None });
    assert_eq!(value(&page, "localport_ending", &[("stage", "complete_current")]), Some(1.0));
    assert_eq!(value(&page, "localport_ending", &[("stage", "cancel_tasks")]), Some(0.0));
}

proptest! {
    /// S10.1: whatever a forward is called, the page stays readable and says its name.
    #[test]
    fn s10_1_any_name_is_escaped(name in "(?s).{0,40}") {
        let snapshot = snapshot(vec![forward(&name)]);
        let page = page(&Facts { snapshot: &snapshot, now: NOW, leases: &[], history: None });
        let labels = [("forward", name.as_str())];
        prop_assert_eq!(value(&page, "localport_held_clients", &labels), Some(1.0));
    }
}
