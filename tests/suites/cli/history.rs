//! The history of shutdowns, as the real binary keeps and shows it.

use localport_tests::host::{Sandbox, unreachable};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;

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
