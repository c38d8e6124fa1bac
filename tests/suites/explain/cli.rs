//! The command itself: with a host and without, for people and for programs.

use localport_tests::host::Sandbox;
use localport_tests::servers::RefusingPort;
use localport_tests::sshd::{self, Sshd};
use rustix::process::Signal;
use serde_json::json;
use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc;

/// G8: the same answer with a host and without; what is broken exits 1, what is well 0,
/// what does not exist 2.
#[test]
fn g8_the_command_walks_with_and_without_a_host() {
    let sshd = Sshd::start();
    let port = RefusingPort::take();
    let sandbox = Sandbox::behind(&sshd, &[("dead", port.port()), ("live", sshd.port())]);
    let host_key = |well: &serde_json::Value| well["steps"].as_array().unwrap().len();

    let said = sandbox.run(["explain", "live", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let alone = said.json();
    assert_eq!((&alone["well"], &alone["finding"]), (&json!(true), &json!(null)));
    let said = sandbox.run(["explain", "dead"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for words in
        ["  failed   target", "  skipped  listener", "localport.yaml, line 3", "ssh -v -N -L"]
    {
        assert!(said.out.contains(words), "{words:?}: {}", said.out);
    }
    assert_eq!(sandbox.run(["explain", "gone"]).code, Some(2));

    let _host = sandbox.host();
    let said = sandbox.run(["explain", "dead", "--json"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let hosted = said.json();
    assert_eq!(hosted["finding"]["problem"]["code"], "target-refused");
    assert_eq!(host_key(&hosted), host_key(&alone));
    let listener = hosted["steps"].as_array().unwrap().iter().find(|it| it["step"] == "listener");
    assert_eq!(listener.unwrap()["outcome"], "ok");
    let context = format!("{}@127.0.0.1:{}", sshd.user(), sshd.port());
    let said = sandbox.run(["explain", &context]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.starts_with("ssh ") && !said.out.contains("target"), "{}", said.out);
    assert_eq!(sandbox.run(["explain", "gone"]).code, Some(2));
    let api = sandbox.http("GET /v1/explain/live", "");
    assert_eq!((api.status, &api.json()["well"]), (200, &json!(true)));
}

/// G8: who holds the local port is said first, and the rest of the way is walked all the same.
#[test]
fn g8_a_taken_port_is_found_first() {
    let sshd = Sshd::start();
    let sandbox = Sandbox::behind(&sshd, &[("live", sshd.port())]);
    let text = std::fs::read_to_string(sandbox.config()).unwrap();
    let local = text.split("local_port: ").nth(1).unwrap().split(',').next().unwrap();
    let _taken = TcpListener::bind(format!("127.0.0.1:{local}")).unwrap();
    let _host = sandbox.host();
    sandbox.until("the conflict", |status| {
        status["forwards"][0]["listener"]["state"] == "conflict"
            && !status["forwards"][0]["problem"].is_null()
    });
    let found = sandbox.run(["explain", "live", "--json"]).json();
    assert_eq!(found["finding"]["step"], "listener", "{found:#}");
    assert_eq!(found["finding"]["problem"]["code"], "port-in-use");
    let answer = found["steps"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&answer["step"], &answer["outcome"]),
        (&json!("answer"), &json!("ok")),
        "{found:#}"
    );
}

/// G8: Ctrl-C ends the walk at once, and leaves no `ssh` behind.
#[test]
fn g8_a_walk_ends_by_ctrl_c_with_what_it_started() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let (connected, connections) = mpsc::channel();
    std::thread::spawn(move || {
        let mut held = vec![];
        for mut client in server.incoming().map_while(Result::ok) {
            // A server that greets and then says nothing more.
            let _ = client.write_all(b"SSH-2.0-mute\r\n");
            held.push(client);
            let _ = connected.send(());
        }
    });
    let sandbox = Sandbox::with_config(&format!(
        "version: \"1.0\"\nservices:\n  - {{name: mute, technology: ssh, local_port: 15999, \
         remote_port: 80, connection: {{host: 127.0.0.1, port: {port}, remote_host: x}}}}\n"
    ));
    let walk = sandbox.spawn(["explain", "mute", "--json"]);
    // The greeting's connection, then that of `ssh`.
    for _ in 0..2 {
        connections.recv_timeout(localport_tests::host::DEADLINE).unwrap();
    }
    let ours = || -> Vec<u32> {
        let of = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.starts_with("ssh ") && line.contains(&format!("-p {port} "))
        };
        sshd::parents().into_iter().map(|(pid, _)| pid).filter(of).collect()
    };
    assert_eq!(ours().len(), 1, "ssh is on its way");
    let asked = std::time::Instant::now();
    walk.signal(Signal::INT);
    let said = walk.end();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.json()["code"], "called-off");
    assert!(asked.elapsed() < std::time::Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(ours(), Vec::<u32>::new(), "nothing is left");
}
