//! Owns the verdicts on targets between two lives of the host: one small file.
//!
//! Receives the snapshot, writes the file whenever a verdict changes, and gives the
//! engine at its start what the one before knew.

use crate::handle::EngineHandle;
use crate::registry::Tasks;
use localport_core::health::Health;
use localport_core::snapshot::{Phase, Snapshot, TargetState};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Changes within this time cost one writing.
const PAUSE: Duration = Duration::from_millis(500);

/// Has the engine take up what is written in `path`, then keeps that up to date.
pub(super) fn keep(engine: &EngineHandle, path: PathBuf, tasks: &Tasks) {
    let engine = engine.clone();
    tasks.spawn("verdicts", async move {
        let from = path.clone();
        if let Ok(saved) = spawn_blocking(move || read(&from)).await {
            engine.restore_health(saved).await;
        }
        follow(engine, path).await;
    });
}

async fn follow(engine: EngineHandle, path: PathBuf) {
    let mut snapshots = engine.snapshot();
    let mut written = BTreeMap::new();
    loop {
        let news = |snapshot: &std::sync::Arc<Snapshot>| {
            let ends = snapshot.phase == Phase::Draining || snapshot.phase == Phase::Stopped;
            !ends && verdicts(snapshot) != written
        };
        let Ok(snapshot) = snapshots.wait_for(news).await.map(|snapshot| snapshot.clone()) else {
            return;
        };
        written = verdicts(&snapshot);
        let known = engine.save_health().await;
        let to = path.clone();
        match spawn_blocking(move || write(&to, &known)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!("verdicts cannot be kept in `{}`: {error}", path.display());
            }
            Err(error) => tracing::warn!("verdicts were not kept: {error}"),
        }
        sleep(PAUSE).await;
    }
}

/// What is worth a writing: not that a target is as healthy as it was.
fn verdicts(snapshot: &Snapshot) -> BTreeMap<String, (TargetState, u32)> {
    let forwards = snapshot.forwards.iter();
    let proved = forwards.filter(|forward| forward.target_health.state != TargetState::Unknown);
    proved
        .map(|forward| {
            let target = &forward.target_health;
            (forward.name.clone(), (target.state, target.failures))
        })
        .collect()
}

/// What was written; nothing, with a warning, when it cannot be read.
fn read(path: &Path) -> BTreeMap<String, Health> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            tracing::warn!("earlier verdicts in `{}` cannot be read: {error}", path.display());
            return BTreeMap::new();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!("earlier verdicts in `{}` are damaged: {error}", path.display());
        BTreeMap::new()
    })
}

/// Writes all of it or nothing. It is not flushed to the disk: what a power cut takes is
/// proved anew.
fn write(path: &Path, known: &BTreeMap<String, Health>) -> io::Result<()> {
    let draft = path.with_extension("json.new");
    fs::write(&draft, serde_json::to_vec(known)?)?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use localport_core::health::{Conditions, Input, Settings};
    use localport_core::time::Timestamp;

    /// S5.3: what is written is read; what is damaged or not there is nothing.
    #[test]
    fn s5_3_verdicts_are_written_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("health.json");
        assert!(read(&path).is_empty());
        let settings = Settings {
            interval: Duration::from_secs(30),
            failure_threshold: 3,
            success_threshold: 1,
            traffic_counts: true,
        };
        let on = Conditions { now: Timestamp(5), settings: &settings, jitter: 0.5 };
        let passed = Input::Passed { round_trip: Duration::from_millis(3) };
        let health = Health::default().step(Input::Opened, on).step(passed, on);
        write(&path, &BTreeMap::from([("orders".to_owned(), health.clone())])).unwrap();
        let back = read(&path);
        assert_eq!(back["orders"].verdict(), health.verdict());
        assert_eq!(back["orders"].checked(), Some(Timestamp(5)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
        fs::write(&path, "{").unwrap();
        assert!(read(&path).is_empty());
    }
}
