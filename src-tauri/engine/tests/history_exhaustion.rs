//! The history without file descriptors. A binary of its own: the limit is the process's.
#![cfg(unix)]
// A test may fail.
#![allow(clippy::unwrap_used)]

use localport_core::shutdown::Reason;
use localport_engine::home::Home;
use localport_engine::host::{self, HostOptions, Role};
use localport_engine::store::Database;
use std::time::{Duration, Instant};

/// S10.5, S11.2: out of descriptors a host ends all the same, in time, and says that the
/// history is lost; with descriptors back the next end is kept.
#[tokio::test]
async fn s10_5_without_descriptors_the_loss_is_said_and_the_end_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::under(dir.path(), dir.path().to_owned());
    let start = || host::start(HostOptions::new(home.clone(), Role::Headless));
    let first = start().await.unwrap().stop(Reason::Person).await;
    assert_eq!(first.remarks, Vec::<String>::new());

    let host = start().await.unwrap();
    let (soft, hard) = rlimit::Resource::NOFILE.get().unwrap();
    // Numbers below four are taken for good, so whatever the end closes helps nobody.
    rlimit::Resource::NOFILE.set(4, hard).unwrap();
    let begun = Instant::now();
    let ended = host.stop(Reason::Person).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let lost = ended.remarks.iter().any(|remark| remark.contains("is not in the history"));
    assert!(lost, "{ended:?}");

    rlimit::Resource::NOFILE.set(soft, hard).unwrap();
    let third = start().await.unwrap().stop(Reason::Person).await;
    assert_eq!(third.remarks, Vec::<String>::new());
    let history = Database::read(&home.database()).unwrap().unwrap().history(9).unwrap();
    let pids: Vec<u64> = history.shutdowns.iter().map(|shutdown| shutdown.id).collect();
    assert_eq!(pids, [2, 1]);
}
