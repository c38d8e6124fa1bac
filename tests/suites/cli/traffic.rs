//! Hosts with clients: bytes through a real sshd, the end with open connections, a crash.

use localport_tests::host::{DEADLINE, Running, Sandbox, unreachable};
use localport_tests::servers::echo_threads;
use localport_tests::sshd::{Sshd, parents};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

/// Whether a process is there; one that only waits to be reaped is not.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().unwrap_or_default();
    !state.is_empty() && !state.starts_with('Z')
}

fn serving(status: &Value) -> bool {
    status["forwards"].as_array().unwrap().iter().all(|forward| forward["word"] == "serving")
}

/// A host whose one forward leads to an echo server, and a client that had its first answer.
pub(crate) fn host_with_client() -> (Sshd, Sandbox, Running, TcpStream) {
    let sshd = Sshd::start();
    let sandbox = Sandbox::behind(&sshd, &[("echo", echo_threads())]);
    let host = sandbox.host();
    let status = sandbox.until("it serves", serving);
    let local = status["forwards"][0]["local"].as_str().unwrap();
    let mut client = TcpStream::connect(local).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    (sshd, sandbox, host, client)
}

#[test]
fn bytes_are_carried_and_counted_and_the_facts_are_proved() {
    let (_sshd, sandbox, _host, client) = host_with_client();
    let status = sandbox.run(["status", "--json"]).json();
    let forward = &status["forwards"][0];
    assert_eq!(forward["word"], "serving", "{forward:#}");
    assert_eq!(forward["state"], "running");
    assert_eq!(forward["tunnel"]["state"], "up");
    assert_eq!(forward["tunnel"]["path"], "ssh-mux");
    assert!(forward["tunnel"]["rtt_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(forward["target_health"]["state"], "healthy");
    assert!(forward["target_health"]["checked_s_ago"].is_u64());
    assert_eq!(forward["bytes"]["up"], 5);
    assert_eq!(forward["bytes"]["down"], 5);
    assert_eq!(forward["connections"]["open"], 1);
    assert_eq!(forward["problem"], Value::Null);
    assert_eq!(status["contexts"][0]["up"], 1);
    let text = sandbox.run(["status"]).out;
    assert!(text.contains("1 serving") && text.contains("5 B / 5 B"), "{text}");
    let kinds = sandbox.run(["resources", "--json"]).out;
    for kind in ["connection", "session", "child"] {
        assert!(kinds.contains(&format!("\"kind\": \"{kind}\"")), "{kind} in {kinds}");
    }
    drop(client);
    sandbox
        .until("the client has gone", |status| status["forwards"][0]["connections"]["open"] == 0);
}

/// A connection that ends within its time is nothing that had to be forced.
#[test]
fn the_end_waits_for_an_open_connection() {
    let (_sshd, _sandbox, mut host, mut client) = host_with_client();
    host.signal(Signal::INT);
    host.complaint_with("Waiting for 1 open connection;");
    client.write_all(b"still").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"still", "served while draining");
    drop(client);
    let said = host.end();
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// S1.2, S8.2: the second request of a person hurries, and what was cut is named.
#[test]
fn s1_2_a_second_ctrl_c_cuts_what_is_open_and_says_so() {
    let (_sshd, sandbox, mut host, mut client) = host_with_client();
    host.signal(Signal::INT);
    host.complaint_with("Waiting for 1 open connection;");
    let waiting = sandbox.spawn(["quit", "--wait"]);
    sandbox.until("it drains", |status| status["phase"] == "draining");
    let begun = Instant::now();
    host.signal(Signal::INT);
    let said = host.end();
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.contains(r#""name":"1 open connection","owner":"echo""#), "{said:?}");
    let mut rest = Vec::new();
    assert!(client.read_to_end(&mut rest).is_err() || rest.is_empty(), "it was cut");
    let quit = waiting.end();
    // Asked before or after the end, it never says that all is well.
    assert!(matches!(quit.code, Some(3 | 4)), "{quit:?}");
}

/// G5, S7.3: a killed host leaves no ssh behind, and the next one serves on the same port.
#[test]
fn g5_kill_9_leaves_no_ssh_and_the_next_start_serves() {
    let (_sshd, sandbox, host, client) = host_with_client();
    let children: Vec<u32> = parents()
        .into_iter()
        .filter(|(_, parent)| *parent == host.pid())
        .map(|(child, _)| child)
        .collect();
    assert!(!children.is_empty(), "the host has an ssh");
    host.signal(Signal::KILL);
    host.end();
    let next = sandbox.host();
    for child in children {
        assert!(!lives(child), "ssh `{child}` is left");
    }
    sandbox.until("it serves again", serving);
    drop((client, next));
}

/// A host key that nobody has seen is shown, asked about, and then accepted.
#[test]
fn an_unknown_host_key_is_trusted_only_when_a_person_says_so() {
    let sshd = Sshd::start();
    sshd.forget_host_key();
    let sandbox = Sandbox::behind(&sshd, &[("echo", echo_threads())]);
    let _host = sandbox.host();
    let status = sandbox.until("the key is asked about", |status| {
        status["forwards"][0]["problem"]["code"] == "ssh-host-key-unknown"
    });
    let sentence = status["forwards"][0]["problem"]["sentence"].as_str().unwrap();
    assert!(sentence.contains(&sshd.fingerprint()), "{sentence}");

    let said = sandbox.run(["ssh", "trust", "echo"]);
    assert_eq!(said.code, Some(2), "without a terminal it is not assumed: {said:?}");
    assert!(said.out.contains(&sshd.fingerprint()) && said.err.contains("--yes"), "{said:?}");
    let known = || std::fs::read_to_string(sshd.path("known_hosts")).unwrap();
    assert_eq!(known(), "");

    let said = sandbox.run(["ssh", "trust", "echo", "--yes"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(known().contains("ssh-"), "{:?}", known());
    sandbox.until("it serves", serving);

    let said = sandbox.run(["ssh", "trust", "echo", "--yes"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("`echo` has no unknown host key"), "{said:?}");
    assert_eq!(sandbox.run(["ssh", "trust", "nobody"]).code, Some(2));
}

/// The demo on a bare machine: real bytes, a server that goes away, a client that is held.
#[test]
fn the_demo_shows_what_it_promises_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command();
    let output = command.args(["demo", "--once", "--json"]).env("TMPDIR", sandbox.path()).output();
    let output = output.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{:?}", String::from_utf8(output.stderr));
    let steps: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "far side",
            "forwarded",
            "visit",
            "visit",
            "visit",
            "facts",
            "away",
            "held",
            "facts",
            "ended"
        ]
    );
    assert!(steps.iter().filter(|step| step["step"] == "visit").all(|step| step["status"] == 200));
    assert!(steps[7]["waited_s"].as_f64().unwrap() >= 1.0, "held until the server was back");
    assert_eq!(steps[7]["visit"]["status"], 200);
    assert!(steps[8]["forward"]["bytes"]["down"].as_u64().unwrap() > 800);
    let left: Vec<_> = std::fs::read_dir(sandbox.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

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

/// S5.3: what was known of a target before a crash is shown by the next host, marked as
/// cached, and is never green.
#[test]
fn s5_3_verdicts_survive_a_crash() {
    let (mut sshd, sandbox, host, client) = host_with_client();
    drop(client);
    let kept = sandbox.path().join("lp/state/health.json");
    let start = Instant::now();
    while !fs::read_to_string(&kept).is_ok_and(|text| text.contains("healthy")) {
        assert!(start.elapsed() < DEADLINE, "the verdict was never written");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    host.signal(Signal::KILL);
    host.end();
    sshd.stop();
    let _next = sandbox.host();
    let status = sandbox.until("the old verdict", |status| {
        status["forwards"][0]["target_health"]["cached"] == true
    });
    let forward = &status["forwards"][0];
    assert_ne!(forward["word"], "serving", "{forward:#}");
    assert!(forward["target_health"]["checked_s_ago"].is_u64(), "{forward:#}");
    sshd.run();
    sandbox.until("it serves", serving);
}
