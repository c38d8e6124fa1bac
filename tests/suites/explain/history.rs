//! What is kept of forwards over time, by the real binary.

use localport_tests::host::Sandbox;
use localport_tests::servers::RefusingPort;
use localport_tests::sshd::Sshd;
use rustix::process::Signal;
use serde_json::{Value, json};

fn standing(status: &Value, words: &[&str]) -> bool {
    status["forwards"][0]["state"].as_str().is_some_and(|state| words.contains(&state))
        && (words != ["running"] || status["forwards"][0]["target_health"]["state"] == "healthy")
}

/// G8: an outage is kept with its cause and its length, over a kill of the host, and is
/// told with a host and without one.
#[test]
fn g8_outages_are_kept_and_survive_a_kill() {
    let mut sshd = Sshd::start();
    let sandbox = Sandbox::behind(&sshd, &[("live", sshd.port())]);
    assert_eq!(sandbox.run(["history", "live"]).code, Some(2), "nothing is kept yet");
    let host = sandbox.host();
    sandbox.until("up", |status| standing(status, &["running"]));
    sshd.stop();
    sandbox.until("down", |status| standing(status, &["backing-off", "failed"]));
    sshd.run();
    sandbox.run(["retry", "--all"]);
    sandbox.until("up again", |status| standing(status, &["running"]));

    let said = sandbox.run(["history", "live", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let told = said.json();
    let outages = told["outages"].as_array().unwrap();
    assert_eq!((outages.len(), &told["standing"]), (1, &json!("up")), "{told:#}");
    assert_eq!(outages[0]["end"], "recovered");
    assert!(outages[0]["length_ms"].as_u64().unwrap() > 0);
    assert!(outages[0]["cause"]["code"].as_str().unwrap().starts_with("ssh-"), "{told:#}");
    assert!(told["uptime"].as_f64().unwrap() > 0.0 && told["uptime"].as_f64().unwrap() < 1.0);

    host.signal(Signal::KILL);
    assert_eq!(host.end().code, None);
    let after = sandbox.run(["history", "live", "--json"]).json();
    assert_eq!(after["outages"], told["outages"], "a kill takes nothing along");

    let host = sandbox.host();
    sandbox.until("up anew", |status| standing(status, &["running"]));
    let cause = outages[0]["cause"]["sentence"].as_str().unwrap();
    let text = sandbox.run(["history", "live", "--since", "1h"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.out.starts_with("live · up · up ") && text.out.contains(cause), "{}", text.out);
    let unknown = sandbox.run(["history", "gone", "--json"]);
    assert_eq!((unknown.code, &unknown.json()["code"]), (Some(2), &json!("unknown-forward")));
    host.signal(Signal::TERM);
    assert_eq!(host.end().code, Some(0), "the record is no trouble for the end");
    let last = sandbox.run(["history", "live", "--json"]).json();
    assert_eq!((&last["standing"], &last["outages"]), (&json!("unwatched"), &told["outages"]));
}

/// G8: round trips and traffic are sampled, and the last of them is kept with the end.
#[test]
fn g8_traffic_is_sampled() {
    let (sshd, port) = (Sshd::start(), RefusingPort::take());
    let sandbox = Sandbox::behind(&sshd, &[("live", sshd.port()), ("dead", port.port())]);
    let _host = sandbox.host();
    sandbox.until("up", |status| standing(status, &["running"]));
    let local = sandbox.run(["status", "live", "--json"]).json();
    let local = local["forwards"][0]["local"].as_str().unwrap().to_owned();
    let mut greeting = [0; 4];
    let mut client = std::net::TcpStream::connect(local).unwrap();
    std::io::Read::read_exact(&mut client, &mut greeting).unwrap();
    assert_eq!(&greeting, b"SSH-");
    // The sample's own clock is the only thing that tells of it.
    let end = std::time::Instant::now() + localport_tests::host::DEADLINE;
    let told = loop {
        let told = sandbox.run(["history", "live", "--json"]).json();
        if told["fine"].as_array().is_some_and(|fine| !fine.is_empty()) {
            break told;
        }
        assert!(std::time::Instant::now() < end, "nothing was sampled: {told:#}");
        std::thread::sleep(std::time::Duration::from_millis(250));
    };
    let sum = |key: &str, grain: &str| -> u64 {
        told[grain].as_array().unwrap().iter().map(|it| it[key].as_u64().unwrap()).sum()
    };
    assert!(sum("down", "fine") >= 4 && sum("down", "coarse") == sum("down", "fine"), "{told:#}");
    assert!(sum("measured", "fine") > 0, "the ping's round trip: {told:#}");
    let dead = sandbox.run(["history", "dead", "--json"]).json();
    assert_eq!(dead["outages"][0]["cause"]["code"], "target-refused", "{dead:#}");
    assert_eq!(dead["outages"][0]["ended"], Value::Null);
}
