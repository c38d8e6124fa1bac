//! The history of shutdowns, as the real binary keeps and shows it.

use crate::traffic::host_with_client;
use localport_core::receipt::Receipt;
use localport_core::shutdown::Reason;
use localport_core::time::Timestamp;
use localport_engine::store::Database;
use localport_tests::host::{Sandbox, unreachable};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::thread;
use std::time::Duration;

/// S10.5, G4: every end is in the history, with its reason, whether or not a host runs.
#[test]
fn s10_5_every_end_leaves_a_receipt_that_can_be_looked_up() {
    let sandbox = Sandbox::with_config(&unreachable(&["a", "b"]));
    let none = sandbox.run(["shutdown", "last", "--json"]);
    assert_eq!((none.code, &none.json()["code"]), (Some(1), &Value::from("no-shutdown")));

    let host = sandbox.host();
    let pid = host.pid();
    let answer = sandbox.run(["quit", "--wait", "--json"]).json();
    assert_eq!(host.end().code, Some(0));
    let last = sandbox.run(["shutdown", "last", "--json"]);
    assert_eq!(last.code, Some(0), "{last:?}");
    let last = last.json();
    assert_eq!((&last["pid"], &last["forwards"]), (&Value::from(pid), &Value::from(2)));
    assert_eq!((&last["reasons"][0], &last["id"]), (&Value::from("api"), &Value::from(1)));
    for key in ["began", "took_ms", "stages", "released", "forced", "left", "checks", "remarks"] {
        assert_eq!(last[key], answer["stopped"][key], "{key}");
    }
    let text = sandbox.run(["shutdown", "last"]).out;
    assert!(text.starts_with("Shutdown 1 · ") && text.contains("quit over the control API"));

    let host = sandbox.host();
    let api = sandbox.http("GET /v1/shutdowns?limit=5", "").json();
    assert_eq!(api["shutdowns"], Value::from(vec![last]));
    host.signal(Signal::TERM);
    assert_eq!(host.end().code, Some(0));
    let last = sandbox.run(["shutdown", "last", "--json"]).json();
    assert_eq!((&last["reasons"][0], &last["id"]), (&Value::from("terminate"), &Value::from(2)));
}

/// S10.5: a crash takes nothing of the history along.
#[test]
fn s10_5_the_history_survives_sigkill() {
    let sandbox = Sandbox::with_config(&unreachable(&["a"]));
    for round in 1..=3 {
        let host = sandbox.host();
        assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
        assert_eq!(host.end().code, Some(0));
        let host = sandbox.host();
        host.signal(Signal::KILL);
        assert_eq!(host.end().code, None);
        let last = sandbox.run(["shutdown", "last", "--json"]).json();
        assert_eq!(last["id"], round);
    }
}

/// S10.5: a history that cannot be kept is said, and keeps nothing from starting or ending.
#[test]
fn s10_5_without_a_history_it_runs_and_ends_the_same() {
    let sandbox = Sandbox::with_config(&unreachable(&["a"]));
    let database = sandbox.path().join("lp/state/localport.db");
    fs::create_dir_all(database.join("in the way")).unwrap();
    let host = sandbox.host();
    let said = sandbox.run(["quit", "--wait", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let remark = said.json()["stopped"]["remarks"][0].as_str().unwrap().to_owned();
    assert!(remark.starts_with("This shutdown is not in the history"), "{remark}");
    assert_eq!(host.end().code, Some(0));
    let last = sandbox.run(["shutdown", "last", "--json"]);
    assert_eq!(last.json()["code"], "history-unreadable", "{last:?}");
}

/// S10.3, S10.4, S8.5: after eight fast ends a slow one says so, with what cost it most.
#[test]
fn s10_3_a_planted_slow_end_is_said_and_explained() {
    let (_sshd, sandbox, host, client) = host_with_client();
    let mut database = Database::open(&sandbox.path().join("lp/state/localport.db")).unwrap();
    for began in 1..=8 {
        let fast = Receipt {
            began: Timestamp(1_700_000_000_000 + began),
            took_ms: 20,
            reasons: vec![Reason::Api],
            ..Receipt::default()
        };
        database.keep(1, fast).unwrap();
    }
    drop(database);
    let mut events = sandbox.follow("/v1/events", "");
    let quit = sandbox.spawn(["quit", "--wait", "--json"]);
    let waits = events.find(|event| event.data.contains("complete_current"));
    assert!(waits.is_some(), "the host ended without waiting for its client");
    // The planted slowness: a client that takes its time.
    thread::sleep(Duration::from_millis(600));
    drop(client);
    let said = quit.end();
    assert_eq!((said.code, host.end().code), (Some(0), Some(0)), "{said:?}");
    let remark = said.json()["stopped"]["remarks"][0].as_str().unwrap().to_owned();
    let usual = "95 of 100 like it stay within 20 ms (8 compared)";
    assert!(remark.contains(usual), "{remark}");
    assert!(remark.contains("were spent on connection `"), "{remark}");
    let story = sandbox.run(["shutdown", "explain"]).out;
    assert!(story.contains("complete_current, ") && story.contains("95 of 100"), "{story}");

    let history = sandbox.run(["shutdown", "history", "--json"]).json();
    assert_eq!(history["shutdowns"].as_array().unwrap().len(), 9);
    assert_eq!((&history["p50_ms"], &history["totals"]["shutdowns"]), (&20.into(), &9.into()));
    let table = sandbox.run(["shutdown", "history", "-n", "3"]).out;
    assert!(table.contains(&remark) && table.contains("3 shutdowns, 3 clean · half"), "{table}");
}

/// S8.5: one of many, by its number or the beginning of its time.
#[test]
fn s8_5_a_shutdown_is_found_by_number_or_time() {
    let sandbox = Sandbox::new();
    let state = sandbox.path().join("lp/state");
    fs::create_dir_all(&state).unwrap();
    let mut database = Database::open(&state.join("localport.db")).unwrap();
    for day in 0..4 {
        let began = Timestamp(1_772_366_400_000 + day * 86_400_000);
        database.keep(1, Receipt { began, took_ms: day, ..Receipt::default() }).unwrap();
    }
    let found = |which: &str| {
        let said = sandbox.run(["shutdown", "explain", which, "--json"]);
        (said.code, said.json()["shutdown"]["id"].clone())
    };
    assert_eq!(found("2"), (Some(0), 2.into()));
    assert_eq!(found("2026-03-03"), (Some(0), 3.into()));
    assert_eq!(found("2026-03"), (Some(0), 4.into()));
    assert_eq!(found("7"), (Some(2), Value::Null));
    assert_eq!(found("20"), (Some(2), Value::Null));
    let said = sandbox.run(["shutdown", "explain", "7"]);
    assert!(said.err.contains("no shutdown `7`") && said.err.contains("shutdown history"));
}

/// S10.1: the figures, over the socket and by the command, from a real engine.
#[test]
fn s10_1_the_figures_of_a_host_and_of_the_shutdown_before_it() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha", "be\\ta"]));
    let host = sandbox.host();
    assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
    assert_eq!(host.end().code, Some(0));
    let absent = sandbox.run(["metrics"]);
    assert_eq!(absent.code, Some(4), "{absent:?}");

    let _host = sandbox.host();
    let answer = sandbox.http("GET /v1/metrics", "");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    for line in [
        "localport_shutdowns_total 1",
        "localport_clean_shutdowns_total 1",
        "localport_last_shutdown_clean 1",
        "localport_history_readable 1",
        "localport_leases{kind=\"listener\"} 2",
        "localport_held_clients{forward=\"be\\\\ta\"} 0",
        "# TYPE localport_carried_bytes_total counter",
    ] {
        assert!(answer.body.lines().any(|found| found == line), "no {line} in {}", answer.body);
    }
    let stage = "localport_shutdown_stage_seconds{stage=\"cancel_tasks\",statistic=\"last\"} ";
    assert!(answer.body.contains(stage), "{}", answer.body);
    let said = sandbox.run(["metrics"]);
    let names = |page: &str| -> Vec<String> {
        page.lines().filter(|line| line.starts_with("# TYPE")).map(str::to_owned).collect()
    };
    assert_eq!((said.code, names(&said.out)), (Some(0), names(&answer.body)));
}
