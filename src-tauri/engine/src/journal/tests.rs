//! The journal on disks that are full, slow, torn and read-only.

use super::*;
use std::io;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

/// A disk that does as it is told.
#[derive(Clone, Default)]
struct Disk(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    writes: usize,
    full: bool,
    stuck: bool,
}

impl Disk {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn past(&self) -> Past {
        replay(format::decode(&self.0.0.lock().unwrap().bytes).entries)
    }

    fn writes(&self) -> usize {
        self.0.0.lock().unwrap().writes
    }

    fn write(&self, bytes: &[u8], anew: bool) -> io::Result<()> {
        let state = self.0.0.lock().unwrap();
        let mut state = self.0.1.wait_while(state, |state| state.stuck).unwrap();
        state.writes += 1;
        if state.full {
            // As a disk does: what fits is written.
            if !anew {
                let half = &bytes[..bytes.len() / 2];
                state.bytes.extend_from_slice(half);
            }
            return Err(io::ErrorKind::StorageFull.into());
        }
        if anew {
            state.bytes.clear();
        }
        state.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

impl Medium for Disk {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.0.0.lock().unwrap().bytes.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes, false)
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes, true)
    }
}

fn open(medium: impl Medium) -> (Journal, Past) {
    Journal::open(Box::new(medium), &Registry::default(), Timestamp(1))
}

fn child(number: usize) -> Entry {
    Entry::ChildIntended {
        token: format!("{number:032}"),
        program: "ssh".into(),
        dir: None,
        host: Process { pid: 1, started: None },
    }
}

async fn trouble(journal: &Journal, is: impl Fn(&Trouble) -> bool) {
    let mut news = journal.trouble();
    let found = timeout(DEADLINE, news.wait_for(|trouble| is(trouble))).await;
    assert!(found.is_ok(), "{:?}", journal.trouble().borrow());
}

/// S8.4: what is told to go on lies on the disk.
#[tokio::test]
async fn s8_4_a_step_goes_on_when_its_entry_is_written() {
    let disk = Disk::default();
    let (journal, past) = open(disk.clone());
    assert_eq!(past, Past::default());
    journal.ahead(vec![Entry::HostReady, child(1)]).await;
    let past = disk.past();
    assert_eq!(past.children.len(), 1);
    assert_eq!(past.last.unwrap().host.process, process::this());
    assert_eq!(journal.finish(true).await, None);
    assert!(disk.past().has_ended());
    let (_, past) = open(disk);
    assert_eq!(past.children.len(), 1, "the next host knows what was left");
}

/// Many at once share a write.
#[tokio::test]
async fn what_waits_for_the_disk_shares_the_next_write() {
    let disk = Disk::default();
    let (journal, _) = open(disk.clone());
    journal.ahead(vec![Entry::HostReady]).await;
    disk.set(|state| state.stuck = true);
    journal.put(child(0));
    let acks: Vec<Ack> = (1..500).map(|number| journal.order(vec![child(number)])).collect();
    disk.set(|state| state.stuck = false);
    for mut ack in acks {
        ack.wait().await;
    }
    assert_eq!(disk.past().children.len(), 500);
    assert!(disk.writes() <= 4, "{} writes", disk.writes());
}

/// A full disk stops nothing, is said, and what it missed is written when there is room.
#[tokio::test]
async fn a_full_disk_stops_nothing_and_is_made_up_for() {
    let disk = Disk::default();
    let (journal, _) = open(disk.clone());
    journal.ahead(vec![child(1)]).await;
    disk.set(|state| state.full = true);
    let begun = Instant::now();
    for number in 2..20 {
        journal.ahead(vec![child(number)]).await;
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let words = journal.trouble().borrow().words().unwrap();
    assert!(words.starts_with("the journal cannot be written: "), "{words}");
    assert_eq!(disk.past().children.len(), 1);
    disk.set(|state| state.full = false);
    journal.ahead(vec![child(20)]).await;
    assert_eq!(disk.past().children.len(), 20);
    assert_eq!(journal.trouble().borrow().words(), None);
    assert_eq!(journal.finish(true).await, None);
}

/// A disk that does not answer costs its patience once, not with every step.
#[tokio::test]
async fn a_stuck_disk_costs_its_patience_once() {
    let disk = Disk::default();
    let (journal, _) = open(disk.clone());
    journal.ahead(vec![Entry::HostReady]).await;
    disk.set(|state| state.stuck = true);
    let begun = Instant::now();
    for number in 0..50 {
        journal.ahead(vec![child(number)]).await;
    }
    assert!(begun.elapsed() >= PATIENCE);
    assert!(begun.elapsed() < PATIENCE * 5, "{:?}", begun.elapsed());
    assert!(journal.trouble().borrow().words().unwrap().contains("longer than 200 ms"));
    disk.set(|state| state.stuck = false);
    trouble(&journal, |trouble| *trouble == Trouble::default()).await;
    journal.ahead(vec![child(50)]).await;
    assert_eq!(disk.past().children.len(), 51);
}

/// More than can wait for a stuck disk is dropped, and that is never denied.
#[tokio::test]
async fn what_a_stuck_disk_costs_is_said_for_good() {
    let disk = Disk::default();
    let (journal, _) = open(disk.clone());
    journal.ahead(vec![Entry::HostReady]).await;
    disk.set(|state| state.stuck = true);
    for number in 0..WAITING * 3 {
        journal.put(child(number));
    }
    let begun = Instant::now();
    let words = journal.finish(true).await.unwrap();
    assert!(begun.elapsed() < PATIENCE * 5, "{:?}", begun.elapsed());
    assert!(words.contains("was stuck"), "{words}");
    disk.set(|state| state.stuck = false);
}

fn stored(path: &Path) -> format::Read {
    format::decode(&std::fs::read(path).unwrap())
}

/// S8.4: what a crash tore off is cut, with a record of it.
#[tokio::test]
async fn s8_4_a_torn_tail_is_cut_and_noted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (journal, _) = open(JournalFile::new(path.clone()));
    journal.ahead(vec![child(1), Entry::HostReady]).await;
    drop(journal);
    let mut bytes = std::fs::read(&path).unwrap();
    let torn = format::encode(&child(2)).unwrap();
    bytes.extend_from_slice(&torn[..40]);
    std::fs::write(&path, bytes).unwrap();
    // What a crash in the middle of a compaction leaves.
    std::fs::write(path.with_extension("new"), b"half").unwrap();

    let (journal, past) = open(JournalFile::new(path.clone()));
    assert_eq!((past.children.len(), past.damaged), (1, 40));
    journal.ahead(vec![Entry::HostReady]).await;
    let read = stored(&path);
    assert_eq!(read.damaged, 0);
    assert!(read.entries.contains(&Entry::Damaged { bytes: 40 }), "{read:?}");
    assert_eq!(replay(read.entries).children.len(), 1);
    assert!(!path.with_extension("new").exists());
}

/// What is over is left out before the file grows large.
#[tokio::test]
async fn a_journal_stays_small_however_long_it_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (journal, _) = open(JournalFile::new(path.clone()));
    journal.ahead(vec![child(usize::MAX)]).await;
    for number in 0..2_000 {
        journal.put(child(number));
        journal.put(Entry::ChildEnded { token: format!("{number:032}") });
        if number % 50 == 0 {
            journal.ahead(vec![Entry::HostReady]).await;
            assert!(std::fs::metadata(&path).unwrap().len() < 80_000);
        }
    }
    journal.ahead(vec![Entry::HostReady]).await;
    assert_eq!(replay(stored(&path).entries).children.len(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// A place that cannot be written to is said, and nothing waits for it.
#[tokio::test]
async fn without_a_place_everything_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, past) = open(JournalFile::new(dir.path().join("missing/journal")));
    assert_eq!(past, Past::default());
    journal.ahead(vec![child(1)]).await;
    assert!(journal.finish(true).await.unwrap().contains("cannot be written"));
    let nowhere = Journal::nowhere();
    nowhere.ahead(vec![child(1)]).await;
    assert_eq!(nowhere.finish(true).await, None);
}
