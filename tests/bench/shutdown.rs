//! How fast and how honestly an end goes, beside LocalPort 0.3.7.3: medians of turns.
//!
//! Each figure is of the real headless host over a real sshd, from the signal to the end
//! of the process as its parent sees it. `LOCALPORT_BEFORE` names the older LocalPort's
//! command; without it only ours is measured.

#[path = "shutdown/before.rs"]
mod before;
#[path = "shutdown/ours.rs"]
mod ours;
#[allow(dead_code)]
#[path = "../suites/chaos/transfer.rs"]
mod transfer;

use before::Before;
use localport_core::resource::LeaseKind;
use localport_core::shutdown::Stage;
use localport_engine::registry::Registry;
use localport_tests::servers::echo_threads;
use localport_tests::sshd::Sshd;
use ours::{Ended, Host, Plan};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use transfer::{Outcome, Transfer, source};

/// Turns of each row.
const TURNS: usize = 5;
/// Transfers that are open when an end begins.
const TRANSFERS: u64 = 200;
/// What open connections get in that row.
const DRAIN: Duration = Duration::from_secs(4);
/// What an end may take beyond its deadline.
const ALLOWANCE: Duration = Duration::from_millis(250);

/// What a row is called, and how it is measured.
type Row = (&'static str, fn(&Sshd));

/// The rows; words on the command line choose among them.
const ROWS: [Row; 4] =
    [("idle", idle), ("announced", announced), ("transfers", transfers), ("account", leases)];

fn main() {
    let sshd = Sshd::start_with("MaxStartups 400\nMaxSessions 1000");
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |row: &str| wanted.is_empty() || wanted.iter().any(|word| word == row);
    for (row, measure) in ROWS {
        if is_wanted(row) {
            measure(&sshd);
        }
    }
}

/// Idle forwards: from TERM to the end of the process.
fn idle(sshd: &Sshd) {
    let before = std::env::var_os("LOCALPORT_BEFORE").map(Before::new);
    println!("idle forwards: TERM to the end of the process, ms (median of {TURNS})");
    println!(
        "{:>9} {:>12} {:>12} {:>10} {:>8}   processes left",
        "forwards", "0.3.7.3", "localport", "receipt", "ratio"
    );
    for count in [1, 10, 100, 1_000] {
        let echo = echo_threads();
        let lives: Vec<Ended> =
            (0..TURNS).map(|_| Host::start(sshd, count, echo, None).end()).collect();
        for life in &lives {
            assert!(life.receipt.is_clean(), "{:#?}", life.receipt);
            assert_eq!(life.receipt.checks.len(), 5, "verified against the system");
        }
        let took = median(lives.iter().map(|life| ms(life.took)));
        let said = median(lives.iter().map(|life| life.receipt.took_ms as f64));
        let theirs = before.as_ref().filter(|_| count <= 100).map(|before| {
            let ends: Vec<_> = (0..TURNS).map(|_| before.end(sshd, count, echo)).collect();
            (median(ends.iter().map(|it| ms(it.took))), ends.iter().map(|it| it.left).max())
        });
        let ours_left = lives.iter().map(|life| life.left).max().unwrap_or_default();
        let (shown, ratio, left) = match theirs {
            Some((theirs, left)) => {
                let left = format!("{}, {ours_left}", left.unwrap_or_default());
                (format!("{theirs:.1}"), format!("{:.3}×", took / theirs), left)
            }
            None => ("-".to_owned(), "-".to_owned(), format!("-, {ours_left}")),
        };
        println!("{count:>9} {shown:>12} {took:>12.1} {said:>10.1} {ratio:>8}   {left}");
        stages(&lives);
    }
}

/// Where the time of an end went.
fn stages(lives: &[Ended]) {
    let stages = Stage::ALL.iter().enumerate().map(|(index, stage)| {
        let took = median(lives.iter().map(|life| life.receipt.stages[index].took_ms as f64));
        format!("{} {took:.0}", stage.as_str())
    });
    println!("{:>9} {}", "", stages.collect::<Vec<_>>().join(", "));
}

/// From TERM to the first announced stage, as a reader of the events sees it.
fn announced(sshd: &Sshd) {
    for count in [1, 1_000] {
        let echo = echo_threads();
        let took = (0..TURNS).map(|_| ms(Host::start(sshd, count, echo, None).announced()));
        println!("{count} forwards: TERM to the first announced stage: {:.2} ms", median(took));
    }
}

/// Transfers of all lengths: what has time is whole, what has none is named.
fn transfers(sshd: &Sshd) {
    let plan = Plan { complete_current: DRAIN };
    let host = Host::start(sshd, 10, source(), Some(plan));
    let longest = DRAIN.mul_f64(1.5);
    let open: Vec<(Duration, Transfer)> = (0..TRANSFERS)
        .map(|index| {
            let pace = longest.mul_f64((index + 1) as f64 / TRANSFERS as f64);
            let forward = usize::try_from(index % 10).unwrap();
            (pace, Transfer::begin(forward, host.ports[forward], 256 << 10, pace))
        })
        .collect();
    let ended = host.end();
    let (mut whole, mut cut) = (0, BTreeMap::<String, usize>::new());
    for (pace, transfer) in open {
        let forward = format!("f{}", transfer.forward);
        match transfer.outcome() {
            Outcome::Whole => whole += 1,
            Outcome::Cut => {
                assert!(pace + Duration::from_millis(500) > DRAIN, "{pace:?} of {DRAIN:?} was cut");
                *cut.entry(forward).or_default() += 1;
            }
        }
    }
    let mut named = BTreeMap::<String, usize>::new();
    for held in ended.receipt.forced.iter().filter(|held| held.kind == LeaseKind::Connection) {
        let count = held.name.split(' ').next().and_then(|count| count.parse().ok());
        *named.entry(held.owner.clone()).or_default() += count.unwrap_or(1);
    }
    assert_eq!(named, cut, "{:#?}", ended.receipt);
    let limit = DRAIN + ALLOWANCE;
    let verdict = if ended.took <= limit { "within" } else { "BEYOND" };
    println!(
        "{TRANSFERS} transfers of up to {longest:?}, {DRAIN:?} to finish: {whole} whole byte by \
         byte, {} cut and named; {:.0} ms, {verdict} {limit:?}",
        cut.values().sum::<usize>(),
        ms(ended.took)
    );
}

/// What the account costs each connection. The journal is not written while bytes flow.
fn leases(_: &Sshd) {
    const ROUNDS: u32 = 200_000;
    let registry = Registry::default();
    let begun = Instant::now();
    for port in 0..ROUNDS {
        let name = format!("client 127.0.0.1:{port}");
        drop(registry.lease(LeaseKind::Connection, name, "forward"));
    }
    let each = begun.elapsed() / ROUNDS;
    println!("account: {each:?} for each connection, nothing for each byte");
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
