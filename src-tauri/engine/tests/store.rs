//! The history under a kill: a real process that writes, ended at any instant.
#![cfg(unix)]
// A test may fail.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use localport_core::receipt::Receipt;
use localport_core::time::Timestamp;
use localport_engine::store::Database;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// In the environment of the writing process: the file to write.
const FILE: &str = "LOCALPORT_TEST_HISTORY";
const NAME: &str = "s10_5_kill_9_during_a_write_leaves_a_whole_history";

/// Keeps receipts until it is killed, and says the number of each once it is kept.
fn write_for_ever(path: &Path) {
    for began in 0.. {
        let receipt = Receipt {
            began: Timestamp(began),
            faults: vec!["x".repeat(20_000)],
            ..Receipt::default()
        };
        let kept = Database::open(path).unwrap().keep(1, receipt).unwrap();
        println!("kept {}", kept.id);
    }
}

/// S10.5: whatever instant the kill comes at, the next start opens the file, finds what
/// was said to be kept, and the sums agree with the rows.
#[test]
fn s10_5_kill_9_during_a_write_leaves_a_whole_history() {
    if let Some(path) = std::env::var_os(FILE) {
        return write_for_ever(Path::new(&path));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("localport.db");
    let mut kept = 0;
    for round in 0..12 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture"])
            .env(FILE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let numbers = lines.map_while(Result::ok).filter_map(|line| {
            line.split_once("kept ").and_then(|(_, number)| number.parse::<u64>().ok())
        });
        // The kill follows a line of the writer, a little later from round to round, so
        // that it meets the next write at different places.
        let mut numbers = numbers.skip(2);
        kept = numbers.next().unwrap_or(kept);
        std::thread::sleep(std::time::Duration::from_micros(round * 400));
        writer.kill().unwrap();
        writer.wait().unwrap();
        kept = numbers.last().unwrap_or(kept);

        let database = Database::open(&path).unwrap();
        database.check().unwrap();
        let history = database.history(u32::MAX).unwrap();
        let newest = history.shutdowns[0].id;
        assert!(newest == kept || newest == kept + 1, "said {kept}, found {newest}");
        assert_eq!(history.totals.shutdowns, newest);
    }
    assert!(kept > 24, "{kept}");
}
