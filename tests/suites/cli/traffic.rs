//! Hosts with clients.

use localport_tests::host::{Sandbox, binary, unreachable};
use std::net::TcpStream;
use std::time::Instant;

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
