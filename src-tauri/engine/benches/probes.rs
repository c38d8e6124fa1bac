//! What watching a thousand forwards costs besides the probes' own work: an engine over a
//! far side that answers at once, default checks every 30 s, one minute of rest.

// A bench may fail.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "../tests/common/scripted.rs"]
mod common;

use common::{Far, Scripted, echo_server, engine, free_port, spec};
use localport_core::shutdown::Reason;
use localport_core::snapshot::{Forward, TargetState};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const FORWARDS: usize = 1_000;
const REST: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    // Every forward listens on two sockets.
    #[cfg(unix)]
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let forwards = (0..FORWARDS).map(|n| spec(&format!("f{n}"), free_port())).collect();
    let engine = engine(&adapter, forwards, Duration::from_secs(1));
    let mut snapshots = engine.snapshot();
    let healthy = snapshots.wait_for(|snapshot| {
        let proved = |f: &&Forward| f.target_health.state == TargetState::Healthy;
        snapshot.forwards.iter().filter(proved).count() == FORWARDS
    });
    timeout(Duration::from_secs(60), healthy).await.unwrap().unwrap();
    let (begun, before, probed) = (Instant::now(), busy(), adapter.probed.load(Ordering::Relaxed));
    sleep(REST).await;
    let share = (busy() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    let looks = adapter.probed.load(Ordering::Relaxed) - probed;
    println!(
        "{FORWARDS} forwards, {looks} probes in {} s: {:.2} % of a core",
        REST.as_secs(),
        share * 100.0
    );
    engine.quit(Reason::Person);
    engine.stopped().await;
}

/// Time that the runtime's workers were busy so far.
fn busy() -> Duration {
    let metrics = tokio::runtime::Handle::current().metrics();
    (0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker)).sum()
}
