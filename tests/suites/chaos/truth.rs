//! Owns the comparison of a receipt with what the test itself sees.

use crate::scene::{Scene, ours};
use crate::transfer::{Outcome, Transfer};
use localport_core::history::Shutdown;
use localport_core::receipt::Receipt;
use localport_core::resource::LeaseKind;
use localport_core::shutdown::Stage;
use localport_tests::host::{Said, Sandbox};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// What an end may take beyond its budgets: what the house promises is 250 ms, and a
/// debug build on a machine with other tests gets more.
const ALLOWANCE: Duration = Duration::from_millis(2_000);

/// What a test knows of the clients that were open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing but the end broke one off: the receipt names exactly those.
    ByTheEnd,
    /// The far side broke some off as well: the receipt names no more than broke off.
    ByOthersToo,
}

/// Waits for the end and holds its receipt to what is left of it: nothing. `held_up` is
/// time in which the host could not do anything.
pub(crate) fn ends_true(scene: Scene, cut: Cut, held_up: Duration) -> Receipt {
    let asked = scene.asked.expect("it was asked to end");
    let Scene { budgets, sandbox, host, ports, transfers, .. } = scene;
    let said = host.end();
    let took = asked.elapsed();
    let limit = Duration::from_millis(budgets.iter().sum()) + held_up + ALLOWANCE;
    assert!(took <= limit, "it took {took:?} of {limit:?}: {said:?}");
    let receipt = true_receipt(&said, &sandbox, &ports);
    told_in_time(&receipt, took);
    assert_eq!(released(&receipt, LeaseKind::Listener), ports.len(), "{receipt:#?}");
    clients(transfers, &receipt, cut);
    receipt
}

/// The receipt of an end, held to what is true of every end, whatever was before it.
pub(crate) fn true_receipt(said: &Said, sandbox: &Sandbox, ports: &[u16]) -> Receipt {
    let receipt = receipt(said);
    nothing_left(sandbox, ports, &receipt);
    all_accounted(&receipt);
    assert_eq!(said.code, Some(if receipt.is_clean() { 0 } else { 3 }), "{receipt:#?}");
    kept(sandbox, &receipt);
    receipt
}

/// The history has this receipt and no other, or the receipt says that it has not.
fn kept(sandbox: &Sandbox, receipt: &Receipt) {
    let is_lost = receipt.remarks.iter().any(|remark| remark.contains("is not in the history"));
    let last = sandbox.run(["shutdown", "last", "--json"]);
    if is_lost {
        assert_ne!(last.code, Some(0), "it is there all the same: {last:?}");
        return;
    }
    let kept: Shutdown = serde_json::from_value(last.json()).unwrap();
    assert_eq!((kept.id, &kept.receipt), (1, receipt), "one end, one receipt");
}

/// The one receipt that a host printed.
fn receipt(said: &Said) -> Receipt {
    let stopped: Vec<Value> = said
        .out
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?.get("stopped").cloned())
        .collect();
    let [stopped] = stopped.as_slice() else { panic!("not one receipt: {said:?}") };
    serde_json::from_value(stopped.clone()).unwrap()
}

/// The times of the receipt add up, and are those that the test measured.
fn told_in_time(receipt: &Receipt, took: Duration) {
    let stages: Vec<Stage> = receipt.stages.iter().map(|passed| passed.stage).collect();
    assert_eq!(stages, Stage::ALL);
    let sum: u64 = receipt.stages.iter().map(|passed| passed.took_ms).sum();
    // Each is rounded down by itself.
    assert!(sum <= receipt.took_ms + 4, "{receipt:#?}");
    assert!(Duration::from_millis(receipt.took_ms) <= took + Duration::from_millis(5));
}

/// The test's own look: no process, no listener, no file of the host is left.
fn nothing_left(sandbox: &Sandbox, ports: &[u16], receipt: &Receipt) {
    let processes = ours(sandbox);
    assert!(processes.is_empty(), "left: {processes:?}; {receipt:#?}");
    for port in ports {
        // A child that holds the socket of a listener would keep it, too.
        let free = TcpListener::bind(("127.0.0.1", *port));
        assert!(free.is_ok(), "port {port} is still taken: {free:?}");
    }
    let entries = fs::read_dir(sandbox.path().join("lp/run")).unwrap().flatten();
    let files: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    assert!(files.is_empty(), "left: {files:?}; {receipt:#?}");
}

/// What the receipt says of the account: nothing is left, and the system's own view agrees.
fn all_accounted(receipt: &Receipt) {
    assert!(receipt.left.is_empty(), "{receipt:#?}");
    assert!(receipt.checks.iter().all(|check| check.unexplained.is_empty()), "{receipt:#?}");
    let is_blind = receipt.remarks.iter().any(|remark| remark.contains("could not be looked at"));
    assert_eq!(receipt.checks.len() < 5, is_blind, "{receipt:#?}");
    assert!(receipt.faults.is_empty(), "{receipt:#?}");
}

pub(crate) fn released(receipt: &Receipt, kind: LeaseKind) -> usize {
    receipt.released.iter().filter(|one| one.kind == kind).map(|one| one.count as usize).sum()
}

/// Every client was told, and the receipt names those that the end cut.
fn clients(transfers: Vec<Transfer>, receipt: &Receipt, cut: Cut) {
    let mut broken: BTreeMap<String, usize> = BTreeMap::new();
    let begun = Instant::now();
    for transfer in transfers {
        let forward = format!("f{}", transfer.forward);
        if transfer.outcome() == Outcome::Cut {
            *broken.entry(forward).or_default() += 1;
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "clients hang after the end");
    let named = cut_by_name(receipt);
    match cut {
        Cut::ByTheEnd => assert_eq!(named, broken, "{receipt:#?}"),
        Cut::ByOthersToo => {
            for (forward, count) in named {
                assert!(broken.get(&forward).is_some_and(|seen| *seen >= count), "{receipt:#?}");
            }
        }
    }
}

/// Connections that the receipt says were cut, by forward.
pub(crate) fn cut_by_name(receipt: &Receipt) -> BTreeMap<String, usize> {
    let connections = receipt.forced.iter().filter(|held| held.kind == LeaseKind::Connection);
    let mut named = BTreeMap::new();
    for held in connections {
        let count = held.name.split(' ').next().and_then(|count| count.parse().ok());
        *named.entry(held.owner.clone()).or_default() += count.unwrap_or(1);
    }
    named
}
