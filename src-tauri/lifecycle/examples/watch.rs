//! Says what the system tells, and lets it wait for a second each time: to see a source
//! work on a system that has no test here. `watch FILE` writes to a file, because a
//! console may be gone by then.

use localport_core::lifecycle::LifecycleEvent;
use localport_lifecycle::{Host, Notice};
use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;
use tokio::time::{Instant, sleep};

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(watch())
}

async fn watch() -> io::Result<()> {
    let mut out: Box<dyn Write> = match std::env::args_os().nth(1) {
        Some(path) => Box::new(File::create(path)?),
        None => Box::new(io::stdout()),
    };
    let mut watch = localport_lifecycle::watch(Host::Desktop)?;
    let begun = Instant::now();
    watch.settled().await;
    writeln!(out, "watching, after {:?}", begun.elapsed())?;
    loop {
        out.flush()?;
        let Notice { event, done } = watch.next().await;
        writeln!(out, "{:?}: {event:?}, {done:?}", begun.elapsed())?;
        if done.is_awaited() {
            sleep(Duration::from_secs(1)).await;
            writeln!(out, "{:?}: done", begun.elapsed())?;
            out.flush()?;
        }
        drop(done);
        if matches!(event, LifecycleEvent::QuitRequested { .. }) {
            return Ok(());
        }
    }
}
