//! The life of a host: start, second start, signals, quit, crash.

use crate::{keys, set};
use localport_tests::host::{DEADLINE, Sandbox, unreachable};
use localport_tests::sshd::Sshd;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
    assert_eq!(keys(&view), set(&["applied", "diagnostics", "files", "pending", "searched"]));
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
        assert_eq!(
            keys(stopped),
            set(&[
                "version", "pid", "reasons", "began", "took_ms", "stages", "released", "forced",
                "left", "slowest", "faults", "checks", "remarks",
            ])
        );
        assert_eq!((&stopped["forced"], &stopped["left"]), (&json!([]), &json!([])));
        let next = sandbox.host();
        assert_eq!(host.end().code, Some(0));
        drop(next);
        // A kill releases the lock as well.
        let said = sandbox.run(["status"]);
        assert_eq!(said.code, Some(4), "{said:?}");
    }
}

/// S3.4: the receipt of the real host, with the client that waits for it still there:
/// everything is accounted for by the system's own view, with traffic and `ssh` before.
#[test]
fn s3_4_the_receipt_of_a_real_host_is_true() {
    let sshd = Sshd::start();
    let server = echo_server();
    let sandbox = Sandbox::behind(&sshd, &[("echo", server)]);
    let host = sandbox.host();
    let status = sandbox.until("serving", |s| s["forwards"][0]["word"] == "serving");
    let local = status["forwards"][0]["local"].as_str().unwrap();
    let mut client = TcpStream::connect(local).unwrap();
    client.write_all(b"hello").unwrap();
    let mut reply = [0; 5];
    client.read_exact(&mut reply).unwrap();
    drop(client);
    let said = sandbox.run(["quit", "--wait", "--json"]);
    let stopped = &said.json()["stopped"];
    assert_eq!(said.code, Some(0), "{stopped:#}");
    let checks = stopped["checks"].as_array().unwrap();
    let whats: Vec<&str> = checks.iter().map(|check| check["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["descriptors", "sockets", "children", "threads", "files"]);
    assert!(checks.iter().all(|check| check["unexplained"] == json!([])), "{stopped:#}");
    let released = stopped["released"].as_array().unwrap();
    let kinds = |kind| released.iter().any(|one| one["kind"] == kind);
    assert!(["listener", "session", "child", "file", "task"].into_iter().all(kinds), "{stopped:#}");
    assert_eq!(stopped["slowest"].as_array().unwrap().len(), 3);
    assert_eq!(host.end().code, Some(0));
}

/// Echoes for ever, on its own threads.
fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || std::io::copy(&mut &client, &mut &client));
        }
    });
    port
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
        let said = host.end();
        assert_eq!(said.code, Some(0), "{said:?}");
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
    let host = sandbox.host();
    host.signal(Signal::HUP);
    // Answered in its turn, after the wish that HUP made.
    assert_eq!(sandbox.run(["reload"]).out, "nothing changed\n");
    host.signal(Signal::TERM);
    assert_eq!(host.end().code, Some(0));
}

/// S2.1: neither tasks that never yield, on every thread of the runtime, nor blocking
/// work that never ends keep a process alive past its deadline.
#[test]
fn s2_1_nothing_keeps_a_process_alive_past_its_deadline() {
    // A second, what a host may need after it, and time for a machine that is busy.
    let limit = Duration::from_secs(1 + 3 + 4);
    for (what, code) in [("nothing", 0), ("blocking", 0), ("tasks", 3)] {
        let sandbox = Sandbox::new();
        let mut process = Command::new(env!("CARGO_BIN_EXE_stuck"))
            .arg(what)
            .env("LOCALPORT_HOME", sandbox.path().join("lp"))
            .current_dir(sandbox.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "started\n", "{what}");
        let asked = Instant::now();
        process.stdin.take().unwrap().write_all(b"end\n").unwrap();
        let status = process.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{what}");
        assert!(asked.elapsed() < limit, "{what}: {:?}", asked.elapsed());
    }
}
