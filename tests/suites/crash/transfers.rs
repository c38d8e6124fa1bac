//! A host is killed while it waits for open connections to finish.

use super::transfer::{Outcome, Transfer, source, try_transfer};
use localport_tests::host::{DEADLINE, Sandbox};
use localport_tests::sshd::{Sshd, parents};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// Transfers that are under way when the host is killed.
const TRANSFERS: usize = 20;
/// Longer than the host has time for before it is killed.
const PACE: Duration = Duration::from_secs(20);

fn serving(status: &Value) -> bool {
    status["forwards"].as_array().unwrap().iter().all(|forward| forward["word"] == "serving")
}

fn port(status: &Value, index: usize) -> u16 {
    let local = status["forwards"][index]["local"].as_str().unwrap();
    local.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Processes of this sandbox that a host started.
fn children(sandbox: &Sandbox) -> BTreeSet<u32> {
    let home = format!("LOCALPORT_HOME={}", sandbox.path().join("lp").display());
    let is_ours = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let has = |start: &str| {
            environment.split(|byte| *byte == 0).any(|one| one.starts_with(start.as_bytes()))
        };
        has("LOCALPORT_CHILD=") && has(&home)
    };
    parents().into_iter().map(|(pid, _)| pid).filter(is_ours).collect()
}

/// S8.4, S6.1: killed in `complete_current` with transfers under way, everybody is told at
/// once, no byte is wrong, and the next start says where it was and serves as before.
#[test]
fn s8_4_killed_while_transfers_finish() {
    let (sshd, remote) = (Sshd::start(), source());
    let sandbox = Sandbox::behind(&sshd, &[("a", remote), ("b", remote)]);
    let host = sandbox.host();
    let status = sandbox.until("both serve", serving);
    let ports = [port(&status, 0), port(&status, 1)];
    let open: Vec<Transfer> = (0..TRANSFERS)
        .map(|index| Transfer::begin(index % 2, ports[index % 2], 1 << 20, PACE))
        .collect();
    assert_eq!(sandbox.run(["quit"]).code, Some(0));
    let mut progress = sandbox.follow("/v1/progress", "");
    let waits = progress.by_ref().any(|message| message.data.contains("\"complete_current\""));
    assert!(waits, "it never came to wait for them");
    host.signal(Signal::KILL);
    host.end();
    for transfer in open {
        assert_eq!(transfer.outcome(), Outcome::Cut, "within {DEADLINE:?}, byte by byte right");
    }

    let (host, found) = sandbox.host_and_found();
    let found = found.expect("it says what it found");
    assert!(found.contains("was killed while connections were finishing"), "{found}");
    assert!(found.contains("2 forwards go on"), "{found}");
    sandbox.until("both serve again", serving);
    assert_eq!(children(&sandbox).len(), 1, "one `ssh`, not two");
    let pace = Duration::from_millis(100);
    for port in ports {
        assert_eq!(try_transfer(port, 1 << 20, pace), Some(Outcome::Whole));
    }
    assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
    assert_eq!(host.end().code, Some(0));
    assert_eq!(children(&sandbox), BTreeSet::new());
}
