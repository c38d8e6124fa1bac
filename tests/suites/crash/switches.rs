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
        assert_eq!(forward["word"] != "off", listens, "{forward:#}");
        listens
    };
    (of("a"), of("b"))
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
