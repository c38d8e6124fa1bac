//! What a person switched, over crash and restart.

use localport_tests::host::Sandbox;
use localport_tests::ports::free_ports;
use rustix::process::Signal;
use std::fs;

fn config(ports: &[u16], enabled: [bool; 2]) -> String {
    let mut text = String::from("version: \"1.0\"\nservices:\n");
    for (index, (name, enabled)) in ["a", "b"].iter().zip(enabled).enumerate() {
        text.push_str(&format!(
            "  - {{name: {name}, enabled: {enabled}, technology: ssh, local_port: {}, \
             remote_port: 80, connection: {{host: 127.0.0.1, port: {}}}}}\n",
            ports[index + 1],
            ports[0]
        ));
    }
    text
}

/// Whether `a` and `b` are wanted, as the host says at its start.
fn wanted(sandbox: &Sandbox) -> (bool, bool) {
    let status = sandbox.run(["status", "--json"]).json();
    let of = |name: &str| {
        let forwards = status["forwards"].as_array().unwrap();
        let forward = forwards.iter().find(|forward| forward["name"] == name).unwrap();
        let listens = forward["listener"]["state"] == "listening";
        let is_off = matches!(forward["word"].as_str(), Some("off" | "drained"));
        assert_eq!(!is_off, listens, "{forward:#}");
        listens
    };
    (of("a"), of("b"))
}

/// S8.3, S8.4: a drain outlives a crash and an ordinary restart as a drain: a resume
/// brings back what it took, and not what was stopped.
#[test]
fn s8_3_what_was_drained_stays_drained_until_it_is_resumed() {
    let ports = free_ports(3);
    let sandbox = Sandbox::with_config(&config(&ports, [true, true]));
    let drained = || {
        let status = sandbox.run(["status", "--json"]).json();
        let forwards = status["forwards"].as_array().unwrap();
        forwards.iter().map(|forward| !forward["drain"].is_null()).collect::<Vec<_>>()
    };
    let host = sandbox.host();
    assert_eq!(sandbox.run(["drain", "a", "--wait"]).code, Some(0));
    assert_eq!(sandbox.run(["stop", "b"]).code, Some(0));
    host.signal(Signal::KILL);
    host.end();
    let host = sandbox.host();
    assert_eq!((drained(), wanted(&sandbox).1), (vec![true, false], false), "over a crash");
    assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
    host.end();
    let host = sandbox.host();
    assert_eq!(drained(), [true, false], "over an ordinary restart");
    let again = sandbox.run(["drain", "a", "--wait"]);
    assert!(again.out.contains("drained already: a"), "{again:?}");
    assert_eq!(sandbox.run(["resume", "--all"]).code, Some(0));
    sandbox.until("`a` listens", |s| s["forwards"][0]["listener"]["state"] == "listening");
    assert_eq!((drained(), wanted(&sandbox)), (vec![false, false], (true, false)));
    host.signal(Signal::KILL);
    host.end();
    let host = sandbox.host();
    assert_eq!((drained(), wanted(&sandbox)), (vec![false, false], (true, false)));
    drop(host);
}

/// S6.5: a person's switch outlives a crash and an ordinary restart, until the same
/// switch back or a changed configuration.
#[test]
fn s6_5_what_a_person_switched_stays_switched() {
    let ports = free_ports(3);
    let sandbox = Sandbox::with_config(&config(&ports, [true, false]));
    let restart = |kill: bool, host: localport_tests::host::Running| {
        if kill {
            host.signal(Signal::KILL);
        } else {
            assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
        }
        host.end();
        sandbox.host_and_found()
    };
    let host = sandbox.host();
    assert_eq!(wanted(&sandbox), (true, false));
    assert_eq!(sandbox.run(["stop", "a"]).code, Some(0));
    assert_eq!(sandbox.run(["start", "b"]).code, Some(0));

    let (host, found) = restart(true, host);
    assert_eq!(wanted(&sandbox), (false, true), "over a crash");
    assert_eq!(
        found.as_deref(),
        Some("The last LocalPort was killed while it ran; 1 forward goes on, 1 stays off")
    );
    let (host, found) = restart(false, host);
    assert_eq!((wanted(&sandbox), found), ((false, true), None), "over an ordinary restart");

    assert_eq!(sandbox.run(["start", "--all"]).code, Some(0));
    let (host, _) = restart(true, host);
    assert_eq!(wanted(&sandbox), (true, true), "all were started");
    assert_eq!(sandbox.run(["stop", "b"]).code, Some(0));
    let (host, _) = restart(true, host);
    assert_eq!(wanted(&sandbox), (true, false), "as the configuration says");

    assert_eq!(sandbox.run(["stop", "a"]).code, Some(0));
    fs::write(sandbox.config(), config(&ports, [false, false])).unwrap();
    let (host, _) = restart(false, host);
    assert_eq!(wanted(&sandbox), (false, false));
    fs::write(sandbox.config(), config(&ports, [true, false])).unwrap();
    let (host, _) = restart(false, host);
    assert_eq!(wanted(&sandbox), (true, false), "the configuration is the later word");
    drop(host);
}
