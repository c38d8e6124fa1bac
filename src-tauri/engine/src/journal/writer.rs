//! Owns the thread that writes the journal.
//!
//! Receives orders, emits that they are done. Orders that came while the disk was busy
//! share the next write.

use super::{Medium, Trouble};
use localport_core::journal::{Entry, Past, format};
use std::io;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// Size from which what is over is left out, in bytes: some 300 children.
const COMPACT_AT: usize = 64 * 1024;
/// How much larger than its short form a journal has to be, so that one with many
/// children is not written anew all the time.
const WORTH: usize = 4;

/// Entries to write.
pub(super) struct Order {
    pub(super) entries: Vec<Entry>,
    /// Told when they are written, or cannot be.
    pub(super) done: Option<oneshot::Sender<()>>,
    /// Nothing comes after it.
    pub(super) last: bool,
}

pub(super) struct Writer {
    medium: Box<dyn Medium>,
    /// What the medium says, or should say.
    past: Past,
    size: usize,
    compact_at: usize,
    /// Whether the medium may hold less than, or something else than, `past`.
    behind: bool,
    trouble: Arc<watch::Sender<Trouble>>,
}

impl Writer {
    pub(super) fn new(
        medium: Box<dyn Medium>,
        past: Past,
        trouble: Arc<watch::Sender<Trouble>>,
    ) -> Self {
        // The first write is the short form: without the torn tail that a crash left.
        Self { medium, past, size: 0, compact_at: COMPACT_AT, behind: true, trouble }
    }

    /// Writes until the last order, or until nobody can give one.
    pub(super) fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut last = false;
        while !last && let Some(first) = orders.blocking_recv() {
            let mut batch = vec![first];
            while let Ok(order) = orders.try_recv() {
                batch.push(order);
            }
            let entries = batch.iter_mut().flat_map(|order| std::mem::take(&mut order.entries));
            let written = self.write(entries.collect());
            self.judge(written);
            last = batch.iter().any(|order| order.last);
            if last {
                // Closed before the last one is told: the next host may open it then.
                drop(std::mem::replace(&mut self.medium, Box::new(Closed)));
            }
            for done in batch.into_iter().filter_map(|order| order.done) {
                // Who did not wait that long went on without it.
                let _ = done.send(());
            }
        }
    }

    fn write(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut unwritable = None;
        if self.behind {
            // The past as it was comes first: its damage is in it, for the record.
            unwritable = add(&mut bytes, &self.past.entries());
        }
        unwritable = add(&mut bytes, &entries).or(unwritable);
        for entry in entries {
            self.past.apply(entry);
        }
        if self.behind {
            self.medium.replace(&bytes)?;
            self.behind = false;
            self.size = bytes.len();
        } else if self.size + bytes.len() > self.compact_at {
            let mut short = Vec::new();
            unwritable = add(&mut short, &self.past.entries()).or(unwritable);
            self.replace_or_append(&short, &bytes)?;
        } else {
            self.append(&bytes)?;
        }
        unwritable.map_or(Ok(()), Err)
    }

    /// Where there is no room for a second file there may be some in the first.
    fn replace_or_append(&mut self, short: &[u8], bytes: &[u8]) -> io::Result<()> {
        if self.medium.replace(short).is_err() {
            return self.append(bytes);
        }
        self.size = short.len();
        self.compact_at = COMPACT_AT.max(self.size * WORTH);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let appended = self.medium.append(bytes);
        // Half a record may lie there now: the next write is a whole new file.
        self.behind = appended.is_err();
        self.size += bytes.len();
        appended
    }

    fn judge(&mut self, written: io::Result<()>) {
        let failed = written.err().map(|error| error.to_string());
        let before = self.trouble.borrow().clone();
        let now = Trouble { failed, slow: false, ..before.clone() };
        match (before.words(), &now.failed) {
            (Some(_), None) if !now.dropped => {
                tracing::info!("the journal is written again, nothing is missing")
            }
            (_, Some(why)) if before.failed.as_ref() != Some(why) => {
                tracing::warn!("the journal cannot be written: {why}");
            }
            _ => {}
        }
        if before != now {
            self.trouble.send_replace(now);
        }
    }
}

/// Adds the records of `entries`; why one of them is missing, if one is.
fn add(bytes: &mut Vec<u8>, entries: &[Entry]) -> Option<io::Error> {
    let mut missing = None;
    for entry in entries {
        match format::encode(entry) {
            Some(record) => bytes.extend(record),
            None => missing = Some(io::Error::other(format!("`{entry:?}` is no Unicode"))),
        }
    }
    missing
}

/// Takes the place of a medium that has been given back.
struct Closed;

impl Medium for Closed {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn replace(&mut self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}
