//! Owns the record of how forwards stand: follows the snapshot, beside everything else.
//!
//! Receives snapshots; emits marks and samples to the store. It looks at figures once per
//! sample, and not at all while the machine sleeps; what is noted is written once a minute,
//! and soon after something changed. A host that is killed loses a minute of samples.

use crate::handle::EngineHandle;
use crate::registry::Tasks;
use crate::store::{Batch, Store};
use localport_core::record::{FINE, Marker, Sampler};
use localport_core::snapshot::{Phase, Snapshot};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

/// Changes within this time cost one writing.
const SOON: Duration = Duration::from_secs(1);
/// Time between writings while nothing changes.
const REGULAR: Duration = Duration::from_secs(60);

/// Keeps the record of `engine` in `store`.
pub(super) fn keep(engine: &EngineHandle, store: &Store, tasks: &Tasks) {
    tasks.spawn("record", follow(engine.clone(), store.clone()));
}

async fn follow(engine: EngineHandle, store: Store) {
    let mut snapshots = engine.snapshot();
    let (mut marker, mut sampler) = (Marker::default(), Sampler::default());
    let mut ticks = interval_at(Instant::now() + FINE.length, FINE.length);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut due = Instant::now() + REGULAR;
    snapshots.mark_changed();
    loop {
        let running = snapshots.borrow().phase == Phase::Running;
        tokio::select! {
            changed = snapshots.changed() => {
                let snapshot = snapshots.borrow_and_update().clone();
                if note(&store, &snapshot, marker.look(&snapshot)) {
                    due = due.min(Instant::now() + SOON);
                }
                // The end's own marks go with its receipt.
                if changed.is_err() || snapshot.phase == Phase::Stopped {
                    return;
                }
            }
            _ = ticks.tick(), if running => {
                let snapshot = engine.fresh().await;
                let samples = sampler.look(&snapshot);
                store.note(Batch { looked: snapshot.at, marks: vec![], samples });
            }
            () = sleep_until(due), if running => {
                store.flush().await;
                due = Instant::now() + REGULAR;
            }
        }
    }
}

/// Whether there was something to note.
fn note(
    store: &Store,
    snapshot: &Snapshot,
    marks: Vec<(String, localport_core::record::Mark)>,
) -> bool {
    let news = !marks.is_empty();
    if news {
        store.note(Batch { looked: snapshot.at, marks, samples: vec![] });
    }
    news
}
