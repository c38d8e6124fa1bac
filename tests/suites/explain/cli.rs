//! The command itself: with a host and without, for people and for programs.

use localport_tests::host::Sandbox;
use localport_tests::servers::RefusingPort;
use localport_tests::sshd::Sshd;
use serde_json::json;
use std::net::TcpListener;

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
