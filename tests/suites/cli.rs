//! The command and its headless host, as the real binary: exit codes, JSON, signals,
//! the control socket, and what is left after a crash.
#![cfg(unix)]

use localport_tests::host::{DEADLINE, Sandbox, binary, free_ports, unreachable};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Instant;

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().cloned().collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

// Nothing runs

#[test]
fn without_a_host_every_question_says_so_and_how_to_start_one() {
    let sandbox = Sandbox::new();
    for arguments in [
        vec!["status"],
        vec!["start", "--all"],
        vec!["stop", "x"],
        vec!["restart", "--tag", "t"],
        vec!["retry", "--all"],
        vec!["events"],
        vec!["events", "-f"],
        vec!["resources"],
        vec!["logs", "-f"],
        vec!["ssh", "trust", "x"],
        vec!["quit"],
    ] {
        let said = sandbox.run(&arguments);
        assert_eq!(said.code, Some(4), "{arguments:?}: {said:?}");
        assert!(said.err.contains("LocalPort is not running"), "{said:?}");
        assert!(said.err.contains("`localport run`"), "{said:?}");
        assert_eq!(said.out, "");
        let said = sandbox.run(arguments.iter().chain(&["--json"]));
        assert_eq!(said.code, Some(4), "{arguments:?}: {said:?}");
        assert_eq!(said.json()["code"], "not-running");
        assert_eq!(keys(&said.json()), set(&["code", "message", "hint"]));
    }
    let said = sandbox.run(["logs"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "no log is no failure");
}

#[test]
fn wrong_usage_is_two() {
    let sandbox = Sandbox::new();
    for arguments in
        [&["start"][..], &["start", "a", "--all"], &["nonsense"], &["run", "--nonsense"], &[]]
    {
        let said = sandbox.run(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(!said.err.is_empty());
    }
    for arguments in [["--help"], ["--version"]] {
        assert_eq!(sandbox.run(arguments).code, Some(0));
    }
}

#[test]
fn shells_and_man_are_served() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let said = sandbox.run(["completions", shell]);
        assert_eq!(said.code, Some(0));
        assert!(said.out.contains("restart"), "{shell}");
    }
    let said = sandbox.run(["man"]);
    assert!(said.out.starts_with(".") && said.out.contains("localport"), "{}", said.out);
}

// Configuration

/// S4.2: all problems at once, each with its place, rule and hint.
#[test]
fn s4_2_config_check_tells_every_problem_and_exits_two() {
    let sandbox = Sandbox::with_config(
        "version: \"1.0\"\nservices:\n  - name: a\n    technology: ssh\n    local_port: 99999\n    \
         remote_prt: 1\n    connection: {host: h}\n",
    );
    let said = sandbox.run(["config", "check", "--json"]);
    assert_eq!(said.code, Some(2));
    let complaints = said.json();
    let complaints = complaints.as_array().unwrap();
    for complaint in complaints {
        let expected = ["severity", "code", "file", "line", "column", "message", "hint"];
        assert_eq!(keys(complaint), set(&expected));
    }
    let codes: BTreeSet<&str> = complaints.iter().map(|c| c["code"].as_str().unwrap()).collect();
    assert_eq!(codes, BTreeSet::from(["missing-key", "out-of-range", "unknown-key"]));
    let range = complaints.iter().find(|c| c["code"] == "out-of-range").unwrap();
    assert_eq!((&range["line"], &range["column"]), (&json!(5), &json!(17)));
    let said = sandbox.run(["config", "check"]);
    assert_eq!(said.code, Some(2));
    assert!(said.out.contains("localport.yaml:5:17: error:"), "{}", said.out);
    assert!(said.out.contains("2 errors, 1 warning, 0 forwards can run"), "{}", said.out);
    // The same by name, from elsewhere, and with the global flag.
    let file = sandbox.config();
    let elsewhere = Sandbox::new();
    let by_name = elsewhere.run(["config".as_ref(), "check".as_ref(), file.as_os_str()]);
    assert_eq!(by_name.code, Some(2));
    let by_flag =
        elsewhere.run(["-c".as_ref(), file.as_os_str(), "config".as_ref(), "check".as_ref()]);
    assert_eq!(by_flag.out, by_name.out);
}

#[test]
fn config_check_of_a_good_file_is_zero_and_of_none_is_two() {
    let sandbox = Sandbox::with_config(&unreachable(&["a", "b"]));
    let said = sandbox.run(["config", "check"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("0 errors, 0 warnings, 2 forwards can run"), "{}", said.out);
    assert_eq!(sandbox.run(["config", "check", "--json"]).json(), json!([]));
    let paths = sandbox.run(["config", "path", "--json"]).json();
    assert_eq!(paths["used"], json!(sandbox.config()));

    let nothing = Sandbox::new();
    let said = nothing.run(["config", "check"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("localport config path"), "{said:?}");
    let said = nothing.run(["config", "check", "gone.yaml", "--json"]);
    assert_eq!(said.code, Some(2));
    assert_eq!(said.json()[0]["code"], "unreadable-file");
    let said = nothing.run(["run", "--config", "gone.yaml"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("gone.yaml"), "{said:?}");
}

// The life of a host

#[test]
fn a_host_says_what_runs_where_and_serves_until_it_is_told_to_end() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha", "beta"]));
    let mut host = sandbox.spawn(["run"]);
    assert!(host.line().contains("runs 2 forwards"));
    assert!(host.line_with("alpha").contains("127.0.0.1:"));
    host.line_with("Configuration:");
    host.line_with("Ctrl-C ends it");
    let said = sandbox.run(["quit", "--wait"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("LocalPort ended in"), "{said:?}");
    assert_eq!(host.end().code, Some(0));
    assert!(!sandbox.socket().exists());
}

#[test]
fn without_a_configuration_a_host_says_where_it_looked() {
    let sandbox = Sandbox::new();
    let mut host = sandbox.spawn(["run"]);
    assert!(host.line().contains("runs 0 forwards"));
    host.line_with("No configuration found");
    let place = host.line();
    assert!(place.trim().ends_with("localport.yaml"), "{place}");
    host.line_with("Ctrl-C ends it");
    assert!(sandbox.run(["status"]).out.contains("no forwards yet"));
}

#[test]
fn errors_of_one_service_leave_the_others_running() {
    let mut config = unreachable(&["good"]);
    config.push_str("  - {name: bad, technology: ssh, connection: {host: h}}\n");
    let sandbox = Sandbox::with_config(&config);
    let mut host = sandbox.spawn(["run"]);
    assert!(host.line().contains("runs 1 forward "));
    host.complaint_with("localport.yaml:4:5: error:");
    let view = sandbox.http("GET /v1/config", "").json();
    assert_eq!(keys(&view), set(&["files", "searched", "diagnostics"]));
    assert_ne!(view["diagnostics"], json!([]));
}

/// The lock: one engine per user; a second start is no failure.
#[test]
fn a_second_start_says_who_runs_and_is_zero() {
    let sandbox = Sandbox::with_config(&unreachable(&["a"]));
    let host = sandbox.host();
    let said = sandbox.run(["run"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let expected = format!("LocalPort already runs: headless host, process `{}`", host.pid());
    assert!(said.out.contains(&expected), "{said:?}");
    let owner = &sandbox.run(["run", "--json"]).json()["already_running"];
    assert_eq!(owner["pid"], host.pid());
    assert_eq!(owner["role"], "headless");
    assert_eq!(owner["control"], json!(sandbox.socket()));
    assert!(owner["since"].as_u64().unwrap() > 0);
    assert_eq!(sandbox.run(["status", "--json"]).json()["pid"], host.pid());
}

#[test]
fn of_many_starts_at_once_exactly_one_runs() {
    let sandbox = Sandbox::with_config(&unreachable(&["a"]));
    let mut starts: Vec<_> = (0..6).map(|_| sandbox.spawn(["run", "--json"])).collect();
    let first: Vec<String> = starts.iter_mut().map(|start| start.line()).collect();
    let running = first.iter().filter(|line| line.contains("\"started\"")).count();
    assert_eq!(running, 1, "{first:?}");
    assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
    for start in starts {
        assert_eq!(start.end().code, Some(0));
    }
}

#[test]
fn after_quit_with_wait_the_next_start_works_at_once() {
    let sandbox = Sandbox::with_config(&unreachable(&["a", "b"]));
    for _ in 0..5 {
        let host = sandbox.host();
        let said = sandbox.run(["quit", "--wait", "--json"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let stopped = &said.json()["stopped"];
        assert_eq!(keys(stopped), set(&["took_ms", "forced", "left"]));
        assert_eq!((&stopped["forced"], &stopped["left"]), (&json!([]), &json!([])));
        let next = sandbox.host();
        assert_eq!(host.end().code, Some(0));
        drop(next);
        // A kill releases the lock as well.
        assert_eq!(sandbox.run(["status"]).code, Some(4));
    }
}

#[test]
fn quit_without_wait_returns_and_the_host_ends() {
    let sandbox = Sandbox::with_config(&unreachable(&["a"]));
    let host = sandbox.host();
    let said = sandbox.run(["quit", "--json"]);
    assert_eq!((said.code, &said.json()["stopped"]), (Some(0), &Value::Null));
    assert_eq!(host.end().code, Some(0));
}

/// G5, S6.1: a crash leaves nothing that keeps the next start from working.
#[test]
fn g5_kill_9_then_start_again_works_at_once() {
    let sandbox = Sandbox::with_config(&unreachable(&["a", "b"]));
    for _ in 0..3 {
        let host = sandbox.host();
        let before = sandbox.run(["status", "--json"]).json();
        host.signal(Signal::KILL);
        let said = host.end();
        assert_eq!(said.code, None, "{said:?}");
        assert!(sandbox.socket().exists(), "a crash leaves its socket");
        assert_eq!(sandbox.run(["status"]).code, Some(4), "a socket without a host is no host");
        let next = sandbox.host();
        let listening = |status: &Value| {
            let forwards = status["forwards"].as_array().unwrap();
            forwards.iter().all(|forward| forward["listener"]["state"] == "listening")
        };
        let after = sandbox.until("every port is bound again", listening);
        assert_eq!(after["pid"], next.pid());
        assert_eq!(before["forwards"][0]["local"], after["forwards"][0]["local"]);
        assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
        next.end();
    }
}

// Signals

/// S1.1: a signal becomes a value, and the host ends in order.
#[test]
fn s1_1_term_and_int_end_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let sandbox = Sandbox::with_config(&unreachable(&["a"]));
        let host = sandbox.host();
        host.signal(signal);
        let said = host.end();
        assert_eq!(said.code, Some(0), "{signal:?}: {said:?}");
        assert!(said.out.contains("\"stopped\""), "{said:?}");
        assert!(!sandbox.socket().exists());
        assert!(sandbox.run(["logs"]).out.contains("engine is stopped"));
    }
}

/// S1.1: a signal in the first instant of a start is not lost.
#[test]
fn s1_1_a_signal_during_the_start_ends_it_in_order() {
    let sandbox = Sandbox::with_config(&unreachable(&["a"]));
    for _ in 0..10 {
        let host = sandbox.spawn(["run", "--json"]);
        // The log directory is the first thing a start makes, after it watches for signals.
        let logs = sandbox.path().join("lp/state/logs/localport.log");
        let end = Instant::now() + DEADLINE;
        while !logs.exists() {
            assert!(Instant::now() < end, "no log file");
            std::thread::yield_now();
        }
        host.signal(Signal::TERM);
        assert_eq!(host.end().code, Some(0));
        fs::remove_file(logs).unwrap();
    }
}

/// S1.2: however many requests, there is one shutdown.
#[test]
fn s1_2_a_burst_of_signals_is_one_shutdown() {
    let sandbox = Sandbox::with_config(&unreachable(&["a"]));
    let host = sandbox.host();
    for _ in 0..2_000 {
        host.signal(Signal::TERM);
        host.signal(Signal::HUP);
    }
    assert_eq!(host.end().code, Some(0));
    let log = sandbox.run(["logs", "-n", "10000"]).out;
    assert_eq!(log.matches("engine is draining").count(), 1, "{log}");
    assert_eq!(log.matches("engine is stopped").count(), 1, "{log}");
}

/// HUP without a lost terminal does not end a host.
#[test]
fn a_hangup_without_a_terminal_is_not_the_end() {
    let sandbox = Sandbox::with_config(&unreachable(&["a"]));
    let mut host = sandbox.host();
    host.signal(Signal::HUP);
    host.complaint_with("HUP");
    assert_eq!(sandbox.run(["status"]).code, Some(0));
}

// What is asked of a host

/// The public names of `status --json`.
#[test]
fn status_json_has_its_names() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha", "beta"]));
    let host = sandbox.host();
    sandbox.until("a retry is waiting", |status| status["forwards"][0]["problem"] != Value::Null);
    let said = sandbox.run(["status", "--json"]);
    let status = said.json();
    let expected = ["phase", "uptime_s", "pid", "version", "summary", "forwards", "contexts"];
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
        "since_s",
    ];
    assert_eq!(keys(forward), set(&expected));
    assert_eq!(keys(&forward["listener"]), set(&["state", "addresses"]));
    let expected = ["state", "path", "endpoint", "rtt_ms", "retry_in_s"];
    assert_eq!(keys(&forward["tunnel"]), set(&expected));
    assert_eq!(keys(&forward["target_health"]), set(&["state", "checked_s_ago"]));
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
        assert_eq!(keys(lease), set(&["id", "kind", "name", "owner", "age_ms"]));
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

// The control socket

#[test]
fn the_socket_and_its_directories_are_private() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let _host = sandbox.host();
    let mode = |path: &str| {
        fs::metadata(sandbox.path().join("lp").join(path)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("run/control.sock"), 0o600);
    assert_eq!(mode("run"), 0o700);
    assert_eq!(mode("state"), 0o700);
    assert_eq!(mode("state/logs"), 0o700);
    assert_eq!(mode("state/logs/localport.log"), 0o600);
    assert_eq!(mode("state/lock"), 0o600);
}

#[test]
fn wrong_requests_get_the_right_status_a_code_and_a_hint() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let _host = sandbox.host();
    let large = format!("{{\"names\":[\"{}\"]}}", "x".repeat(300 * 1024));
    for (head, body, status, code) in [
        ("GET /v1/nothing", "", 404, "unknown-path"),
        ("GET /", "", 404, "unknown-path"),
        ("DELETE /v1/status", "", 405, "unknown-method"),
        ("GET /v1/stop", "", 405, "unknown-method"),
        ("GET /v1/status/nobody", "", 404, "unknown-forward"),
        ("GET /v1/events?limit=many", "", 400, "bad-query"),
        ("POST /v1/stop", "{", 400, "bad-body"),
        ("POST /v1/stop", "{\"name\":\"alpha\"}", 400, "bad-body"),
        ("POST /v1/stop", "{\"names\":[\"nobody\"]}", 404, "unknown-forward"),
        ("POST /v1/stop", "{\"tag\":\"nothing\"}", 404, "unknown-tag"),
        ("POST /v1/stop", &large, 413, "body-too-large"),
        ("POST /v1/quit", "{\"now\":true}", 400, "bad-body"),
        ("POST /v1/window", "", 409, "no-window"),
        ("POST /v1/trust-host-key/nobody", "", 404, "unknown-forward"),
    ] {
        let answer = sandbox.http(head, body);
        assert_eq!(answer.status, status, "{head}: {answer:?}");
        let failure = answer.json();
        assert_eq!(failure["code"], code, "{head}");
        assert_eq!(keys(&failure), set(&["code", "message", "hint"]), "{head}");
        assert_ne!(failure["hint"], "", "{head}");
    }
    assert!(sandbox.http("DELETE /v1/status", "").head.contains("allow: get"));
    assert_eq!(sandbox.http("GET /v1/status/alpha", "").json()["name"], "alpha");
    assert_eq!(sandbox.http("POST /v1/stop", "\"all\"").json()["forwards"], json!(["alpha"]));
}

#[test]
fn what_is_no_http_and_who_is_too_slow_harms_nobody() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let _host = sandbox.host();
    let mut noise = UnixStream::connect(sandbox.socket()).unwrap();
    noise.write_all(b"\x00\xff not http\r\n\r\n").unwrap();
    let mut slow = UnixStream::connect(sandbox.socket()).unwrap();
    slow.write_all(b"GET /v1/status HTTP/1.1\r\n").unwrap();
    slow.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(sandbox.run(["status"]).code, Some(0));
    let begun = Instant::now();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut slow, &mut rest).unwrap();
    assert!(begun.elapsed() < DEADLINE, "a head that does not come ends the connection");
    assert_eq!(sandbox.run(["status"]).code, Some(0));
}

#[test]
fn sse_carries_numbers_and_goes_on_where_a_client_was() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let _host = sandbox.host();
    let mut stream = sandbox.follow("/v1/events?limit=100", "");
    let first = stream.next().unwrap();
    assert_eq!(first.id, first.json()["seq"].as_u64());
    let listening = stream.find(|message| message.json()["kind"] == "listening").unwrap();
    let seen = listening.id.unwrap();
    drop(stream);
    assert_eq!(sandbox.http("POST /v1/stop", "\"all\"").status, 200);
    let stream = sandbox.follow("/v1/events", &format!("last-event-id: {seen}\r\n"));
    let mut numbers = Vec::new();
    for message in stream {
        numbers.push(message.id.unwrap());
        if message.json()["to"] == "stopped" {
            break;
        }
    }
    let expected: Vec<u64> = (seen + 1..=seen + numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "nothing missing, nothing twice");
}

/// A client that was away for longer than the history reaches is told how much it missed.
#[test]
fn a_client_that_lags_is_told_and_goes_on() {
    let names: Vec<String> = (0..100).map(|number| format!("f{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sandbox = Sandbox::with_config(&unreachable(&names));
    let _host = sandbox.host();
    let oldest = || {
        let events = sandbox
            .http("GET /v1/events?limit=5000 HTTP/1.1\r\naccept: application/json\r\nx:", "");
        events.json()["events"][0]["seq"].as_u64().unwrap()
    };
    while oldest() < 10 {
        for verb in ["stop", "start"] {
            assert_eq!(sandbox.http(&format!("POST /v1/{verb}"), "\"all\"").status, 200);
        }
    }
    let mut stream = sandbox.follow("/v1/events", "last-event-id: 1\r\n");
    let lagged = stream.next().unwrap();
    assert_eq!(lagged.name, "lagged");
    let missed = lagged.json()["missed"].as_u64().unwrap();
    let next = stream.next().unwrap();
    assert_eq!((next.name.as_str(), next.id), ("", Some(1 + missed + 1)));
}

#[test]
fn more_followers_than_places_are_refused_and_quit_still_works() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let host = sandbox.host();
    let mut streams: Vec<_> = (0..64).map(|_| sandbox.follow("/v1/status", "")).collect();
    for stream in &mut streams {
        stream.next().unwrap();
    }
    let refused = sandbox.http("GET /v1/events", "");
    assert_eq!((refused.status, refused.json()["code"].clone()), (503, json!("too-many-streams")));
    assert_eq!(sandbox.run(["status"]).code, Some(0));
    assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
    assert_eq!(host.end().code, Some(0));
}

#[test]
fn the_description_names_every_route_that_answers() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let _host = sandbox.host();
    let document = sandbox.http("GET /v1/openapi.json", "").json();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if path == "/v1/quit" || method != "get" {
                continue;
            }
            let real = path.replace("{name}", "alpha");
            let head = format!("GET {real} HTTP/1.1\r\naccept: application/json\r\nx:");
            let answer = sandbox.http(&head, "");
            assert_eq!(answer.status, 200, "{path}");
            let schema = &operation["responses"]["2XX"]["content"]["application/json"]["schema"];
            let body = answer.body.lines().next().unwrap_or_default();
            let value: Value = serde_json::from_str(body).unwrap();
            check(&document, schema, &value, path);
        }
    }
}

/// Holds `value` against `schema`: the keys, their presence, and their types.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/components/schemas/");
        return check(document, &document["components"]["schemas"][name], value, place);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let null = choices.iter().any(|choice| choice["type"] == "null");
        if !(null && value.is_null()) {
            check(document, &choices[0], value, place);
        }
        return;
    }
    match schema["type"].as_str().unwrap_or_else(|| panic!("no type at {place}: {schema}")) {
        "object" => check_object(document, schema, value, place),
        "array" => {
            for item in value.as_array().unwrap_or_else(|| panic!("{place}: {value}")) {
                check(document, &schema["items"], item, &format!("{place}[]"));
            }
        }
        "string" => assert!(value.is_string(), "{place}: {value}"),
        "integer" => assert!(value.is_u64(), "{place}: {value}"),
        "number" => assert!(value.is_number(), "{place}: {value}"),
        "boolean" => assert!(value.is_boolean(), "{place}: {value}"),
        other => panic!("unknown type {other} at {place}"),
    }
}

fn check_object(document: &Value, schema: &Value, value: &Value, place: &str) {
    let present = keys(value);
    for key in schema["required"].as_array().into_iter().flatten() {
        assert!(present.contains(key.as_str().unwrap()), "{place} lacks {key}: {value}");
    }
    for key in present {
        let property = &schema["properties"][&key];
        if property.is_null() {
            let open = schema["additionalProperties"] != false;
            assert!(open, "{place} has {key}, which the description does not know");
        } else {
            check(document, property, &value[&key], &format!("{place}.{key}"));
        }
    }
}

// With clients

/// A client of a forward without a session is held, and quitting does not wait for it.
#[test]
fn held_clients_show_and_do_not_hold_up_the_end() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let host = sandbox.host();
    let status = sandbox
        .until("it listens", |status| status["forwards"][0]["listener"]["state"] == "listening");
    let client = TcpStream::connect(status["forwards"][0]["local"].as_str().unwrap()).unwrap();
    sandbox.until("the client is held", |status| status["forwards"][0]["connections"]["held"] == 1);
    assert!(sandbox.run(["status"]).out.contains("+1 held"));
    let begun = Instant::now();
    assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
    assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
    assert_eq!(host.end().code, Some(0));
    drop(client);
}

#[test]
fn the_binary_is_the_one_built_here() {
    assert!(binary().is_file());
}
