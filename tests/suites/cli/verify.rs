//! What a running host holds, against what the system shows of it.

use localport_tests::host::Sandbox;
use localport_tests::servers::echo_threads;
use localport_tests::sshd::Sshd;
use std::io::{Read, Write};
use std::net::TcpStream;

/// S3.3: a host that serves over real SSH, with clients and a drained forward, has nothing
/// that its leases do not explain, and no lease with nothing behind it.
#[test]
fn s3_3_a_host_at_work_holds_what_it_says() {
    let (sshd, echo) = (Sshd::start(), echo_threads());
    let sandbox = Sandbox::behind(&sshd, &[("a", echo), ("b", echo), ("c", echo)]);
    let host = sandbox.host();
    let status = sandbox.until("all serve", |status| {
        status["forwards"].as_array().unwrap().iter().all(|forward| forward["word"] == "serving")
    });
    let clients: Vec<TcpStream> = (0..8)
        .map(|index| {
            let local = status["forwards"][index % 2]["local"].as_str().unwrap();
            let mut client = TcpStream::connect(local).unwrap();
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
            client
        })
        .collect();
    assert_eq!(sandbox.run(["drain", "c", "--wait"]).code, Some(0));
    for _ in 0..3 {
        let said = sandbox.run(["resources", "--verify"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(said.out.matches("all explained").count(), 5, "{said:?}");
    }
    let said = sandbox.run(["resources", "--verify", "--json"]).json();
    let sockets = said["checks"].as_array().unwrap().iter().find(|it| it["what"] == "sockets");
    let more = |key: &str| sockets.unwrap()[key].as_u64().unwrap();
    // Two listeners on two addresses each, and the clients.
    assert!(more("end") >= more("start") + 4 + 8, "{said:#}");
    drop(clients);
    assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
    assert_eq!(host.end().code, Some(0));
}
