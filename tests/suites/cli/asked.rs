//! What is asked of a running host: status, switching, events, logs, resources.

use crate::{keys, set};
use localport_tests::host::{Sandbox, unreachable};
use localport_tests::ports::free_ports;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::process::Stdio;

/// The public names of `status --json`.
#[test]
fn status_json_has_its_names() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha", "beta"]));
    let host = sandbox.host();
    sandbox.until("a retry is waiting", |status| status["forwards"][0]["problem"] != Value::Null);
    let said = sandbox.run(["status", "--json"]);
    let status = said.json();
    let expected =
        ["phase", "uptime_s", "pid", "version", "summary", "pending", "forwards", "contexts"];
    assert_eq!(keys(&status), set(&expected));
    assert_eq!(status["phase"], "running");
    assert_eq!(status["pid"], host.pid());
    let forward = &status["forwards"][0];
    let expected = [
        "name",
        "technology",
        "context",
        "tags",
        "state",
        "word",
        "local",
        "target",
        "listener",
        "tunnel",
        "target_health",
        "connections",
        "bytes",
        "problem",
        "because",
        "drain",
        "since_s",
    ];
    assert_eq!(keys(forward), set(&expected));
    assert_eq!(keys(&forward["listener"]), set(&["state", "addresses"]));
    let expected = ["state", "path", "endpoint", "rtt_ms", "retry_in_s"];
    assert_eq!(keys(&forward["tunnel"]), set(&expected));
    let expected =
        ["state", "checked_s_ago", "check", "proof", "took_ms", "failures", "next_in_s", "cached"];
    assert_eq!(keys(&forward["target_health"]), set(&expected));
    assert_eq!(keys(&forward["connections"]), set(&["open", "held", "total"]));
    assert_eq!(keys(&forward["bytes"]), set(&["up", "down"]));
    assert_eq!(keys(&forward["problem"]), set(&["code", "sentence", "hint"]));
    assert_eq!(forward["technology"], "ssh");
    assert_eq!(forward["listener"]["state"], "listening");

    // By name, for people, and an unknown name.
    let only = sandbox.run(["status", "beta", "--json"]).json();
    assert_eq!(only["forwards"].as_array().unwrap().len(), 1);
    let text = sandbox.run(["status"]);
    let sentence = forward["problem"]["sentence"].as_str().unwrap();
    assert!(text.out.contains("alpha") && text.out.contains(sentence), "{}", text.out);
    let because = format!("because of `{}`", forward["because"]["name"].as_str().unwrap());
    assert!(text.out.contains(&because), "S5.5: {}", text.out);
    assert!(!text.out.contains('\x1b'), "no colour without a terminal: {:?}", text.out);
    let unknown = sandbox.run(["status", "alpa"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("did you mean `alpha`?"), "{unknown:?}");
    assert_eq!(sandbox.run(["-o", "json", "status"]).json()["pid"], host.pid());
}

#[test]
fn forwards_are_switched_by_name_tag_and_all() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha", "beta", "gamma"]));
    let _host = sandbox.host();
    let states = || -> Vec<String> {
        let status = sandbox.run(["status", "--json"]).json();
        let forwards = status["forwards"].as_array().unwrap().clone();
        forwards.iter().map(|f| f["listener"]["state"].as_str().unwrap().to_owned()).collect()
    };
    let off = |index: usize| move |status: &Value| status["forwards"][index]["state"] == "stopped";
    let done = sandbox.run(["stop", "alpha", "--json"]);
    assert_eq!(done.json(), json!({ "forwards": ["alpha"], "message": null }));
    sandbox.until("alpha is off", off(0));
    assert_eq!(states(), ["closed", "listening", "listening"]);
    assert_eq!(sandbox.run(["stop", "--tag", "beta-tag"]).code, Some(0));
    sandbox.until("beta is off", off(1));
    assert_eq!(sandbox.run(["stop", "--all"]).code, Some(0));
    sandbox.until("gamma is off", off(2));
    assert_eq!(sandbox.run(["start", "--all"]).out.trim(), "start: alpha, beta, gamma");
    sandbox.until("all listen", |status| {
        let forwards = status["forwards"].as_array().unwrap();
        forwards.iter().all(|forward| forward["listener"]["state"] == "listening")
    });
    assert_eq!(sandbox.run(["restart", "alpha", "gamma"]).code, Some(0));
    assert_eq!(sandbox.run(["retry", "--all"]).code, Some(0));
    for arguments in [["stop", "nobody"], ["start", "--tag=nothing"]] {
        let said = sandbox.run(arguments);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains("hint:"), "{said:?}");
    }
}

#[test]
fn a_busy_port_is_shown_with_its_owner_and_bound_when_it_frees() {
    let port = free_ports(1)[0];
    let other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let config = format!(
        "version: \"1.0\"\nservices:\n  - {{name: busy, technology: ssh, local_port: {port}, \
         remote_port: 80, connection: {{host: 127.0.0.1, port: {port}}}}}\n"
    );
    let sandbox = Sandbox::with_config(&config);
    let _host = sandbox.host();
    let status = sandbox.until("the conflict shows", |status| {
        status["forwards"][0]["listener"]["state"] == "conflict"
    });
    assert_eq!(status["forwards"][0]["problem"]["code"], "port-in-use", "{status:#}");
    let text = sandbox.run(["status"]).out;
    assert!(text.contains(&format!("127.0.0.1:{port} taken")), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "the owner is named: {text}");
    drop(other);
    sandbox.until("the port is bound", |status| {
        status["forwards"][0]["listener"]["state"] == "listening"
    });
}

#[test]
fn events_come_as_they_happen_and_later_from_history() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha", "beta"]));
    let _host = sandbox.host();
    let mut all = sandbox.spawn(["events", "-f", "--json", "-n", "100"]);
    all.line_with("\"listening\"");
    let mut one = sandbox.spawn(["events", "beta", "-f", "-n", "100"]);
    one.line_with("beta: listening on 127.0.0.1:");
    assert_eq!(sandbox.run(["stop", "alpha"]).code, Some(0));
    assert_eq!(sandbox.run(["stop", "beta"]).code, Some(0));
    let line = all.line_with("\"to\":\"stopped\"");
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["forward"], "alpha");
    assert!(one.line_with("stopped").contains("beta"));

    let events = sandbox.run(["events", "--json", "alpha"]).json();
    let events = events.as_array().unwrap();
    assert!(events.len() > 2);
    assert!(events.iter().all(|event| event["forward"] == "alpha"));
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted());
    assert_eq!(sandbox.run(["events", "-n", "1", "--json"]).json().as_array().unwrap().len(), 1);

    assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
    all.line_with("\"phase\":\"stopped\"");
    let said = all.end();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("LocalPort has ended"), "{said:?}");
}

#[test]
fn status_watch_goes_on_until_the_end() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let _host = sandbox.host();
    let mut watch = sandbox.spawn(["status", "--watch", "--json"]);
    watch.line_with("\"listening\"");
    assert_eq!(sandbox.run(["stop", "alpha"]).code, Some(0));
    watch.line_with("\"state\":\"stopped\"");
    assert_eq!(sandbox.run(["quit"]).code, Some(0));
    let said = watch.end();
    assert_eq!(said.code, Some(4), "{said:?}");
}

#[test]
fn logs_are_json_lines_for_each_forward_and_survive_the_host() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha", "beta"]));
    let host = sandbox.host();
    let mut follow = sandbox.spawn(["logs", "-f", "--json", "beta"]);
    follow.line_with("listening");
    assert_eq!(sandbox.run(["stop", "beta"]).code, Some(0));
    let line: Value = serde_json::from_str(&follow.line_with("stopped")).unwrap();
    assert_eq!((&line["forward"], &line["level"]), (&json!("beta"), &json!("INFO")));
    assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
    assert_eq!(follow.end().code, Some(0));
    host.end();

    let all = sandbox.run(["logs"]).out;
    assert!(all.contains("alpha: listening") && all.contains("engine is stopped"), "{all}");
    let own = sandbox.run(["logs", "alpha", "--json"]).out;
    assert!(own.lines().count() > 1);
    for line in own.lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["forward"], "alpha");
    }
    assert_eq!(sandbox.run(["logs", "-n", "2"]).out.lines().count(), 2);
    let dir = sandbox.run(["logs", "--path"]).out;
    assert!(fs::metadata(dir.trim()).unwrap().is_dir());
}

/// S3.1: everything that is held has a kind, a name and an owner.
#[test]
fn s3_1_resources_lists_what_is_held() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let _host = sandbox.host();
    let held = sandbox.run(["resources", "--json"]).json();
    let held = held["resources"].as_array().unwrap();
    for lease in held {
        assert_eq!(keys(lease), set(&["id", "kind", "name", "owner", "age_ms", "stands_on"]));
        assert_ne!(lease["name"], "", "{lease}");
        assert_ne!(lease["owner"], "", "{lease}");
    }
    let kinds: BTreeSet<&str> = held.iter().map(|lease| lease["kind"].as_str().unwrap()).collect();
    for kind in ["lock", "file", "task", "listener"] {
        assert!(kinds.contains(kind), "{kind} in {kinds:?}");
    }
    let listener = held.iter().find(|lease| lease["kind"] == "listener").unwrap();
    assert_eq!(listener["owner"], "alpha");
    assert!(sandbox.run(["resources"]).out.contains("listener"));
}

/// A reader that goes away is no panic and no failure.
#[test]
fn a_closed_pipe_is_no_panic() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let _host = sandbox.host();
    for arguments in [&["status"][..], &["events"], &["status", "--watch"], &["man"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = sandbox.command();
        let output =
            command.args(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {err}");
        assert_eq!(err, "", "{arguments:?}");
    }
}
