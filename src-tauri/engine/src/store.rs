//! Owns the history: what is kept in `localport.db` of each shutdown, and of how each
//! forward stood, for people and programs that ask later.
//!
//! Receives the finished receipt and questions; emits the receipt with what its history
//! says of it. One task does one thing after another with the file, off the runtime's
//! threads. The file is opened for each use: a descriptor held between them would be one
//! more that an end has to account for. Nothing waits for the
//! history longer than it may: without it forwards start, carry and end the same.

mod database;
mod files;
mod record;
mod schema;

pub use database::{Database, History, KEPT};
pub use files::StoreError;
pub use record::Batch;

use crate::engine::HOST;
use crate::home::Home;
use crate::registry::Tasks;
use localport_core::receipt::Receipt;
use localport_core::record::Account;
use localport_core::regression::{RECENT, slower};
use localport_core::time::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Questions that may wait for the one before them.
const WAITING: usize = 32;
/// Time the end may spend on the history: a disk that is slower than this is not waited for.
const SETTLE: Duration = Duration::from_millis(300);

/// The running history. Clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    path: PathBuf,
    jobs: mpsc::Sender<Job>,
    ledger: Arc<Ledger>,
}

/// What waits to be kept of forwards.
#[derive(Default)]
struct Ledger {
    waiting: Mutex<Batch>,
    /// The end has begun: what waits is kept along with the receipt, and not before.
    resting: AtomicBool,
    /// That it could not be kept was said already.
    warned: AtomicBool,
}

impl Ledger {
    fn waiting(&self) -> MutexGuard<'_, Batch> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Job {
    Keep { forwards: u32, receipt: Box<Receipt>, reply: oneshot::Sender<Receipt> },
    Read { limit: u32, reply: oneshot::Sender<Result<History, StoreError>> },
    Flush { reply: oneshot::Sender<()> },
    Tell { ask: Question, reply: oneshot::Sender<Result<Account, StoreError>> },
    Rest { reply: oneshot::Sender<()> },
}

/// What is asked of one forward.
struct Question {
    forward: String,
    since: Timestamp,
    now: Timestamp,
}

impl Store {
    /// Begins to look after the history of `home`; returns before the file is touched.
    pub(crate) fn start(home: &Home, tasks: &Tasks) -> Self {
        let (jobs, queue) = mpsc::channel(WAITING);
        let path = home.database();
        let ledger = Arc::new(Ledger::default());
        tasks.spawn("history", own(path.clone(), ledger.clone(), queue));
        Self { path, jobs, ledger }
    }

    /// Keeps `batch` with the next flush, or with the receipt of the end.
    pub(crate) fn note(&self, batch: Batch) {
        self.ledger.waiting().add(batch);
    }

    /// Writes what was noted, and returns when that is done or has failed.
    pub(crate) async fn flush(&self) {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Flush { reply }).await.is_ok() {
            // Whoever looks after the file may end meanwhile.
            let _ = answer.await;
        }
    }

    /// The end has begun: from here on the file is closed until the receipt is kept.
    /// Takes 300 ms at most.
    pub(crate) async fn rest(&self) {
        self.ledger.resting.store(true, Ordering::Release);
        let (reply, answer) = oneshot::channel();
        let rested = async {
            self.jobs.send(Job::Rest { reply }).await.ok()?;
            answer.await.ok()
        };
        // A disk that is slower than this is not waited for.
        let _ = timeout(SETTLE, rested).await;
    }

    /// What is known of `forward` between `since` and `now`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) async fn account(
        &self,
        forward: &str,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        let (reply, answer) = oneshot::channel();
        let ask = Question { forward: forward.to_owned(), since, now };
        if self.jobs.send(Job::Tell { ask, reply }).await.is_err() {
            return Err(StoreError::gone(&self.path));
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::gone(&self.path)))
    }

    /// Compares the receipt of this engine's end with those before it, keeps it, and
    /// gives it back with what there is to remark. Takes 300 ms at most.
    pub(crate) async fn settle(&self, receipt: Receipt, forwards: usize) -> Receipt {
        let forwards = u32::try_from(forwards).unwrap_or(u32::MAX);
        let (reply, answer) = oneshot::channel();
        let job = Job::Keep { forwards, receipt: Box::new(receipt.clone()), reply };
        let kept = async {
            self.jobs.send(job).await.ok()?;
            answer.await.ok()
        };
        match timeout(SETTLE, kept).await {
            Ok(Some(receipt)) => receipt,
            Ok(None) => lost(receipt, &StoreError::gone(&self.path)),
            Err(_) => lost(receipt, &StoreError::slow(&self.path, SETTLE)),
        }
    }

    /// The last `limit` shutdowns, newest first, and the sums over all.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) async fn history(&self, limit: u32) -> Result<History, StoreError> {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Read { limit, reply }).await.is_err() {
            return Err(StoreError::gone(&self.path));
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::gone(&self.path)))
    }
}

/// Does one job after another until nobody can ask any more.
async fn own(path: PathBuf, ledger: Arc<Ledger>, mut queue: mpsc::Receiver<Job>) {
    let first = path.clone();
    // It has no result, and a panic in it is the runtime's to report.
    let _ = spawn_blocking(move || prepare(&first)).await;
    while let Some(job) = queue.recv().await {
        let (path, ledger) = (path.clone(), ledger.clone());
        let _ = spawn_blocking(move || perform(&path, &ledger, job)).await;
    }
}

/// Makes the file what it should be, so that the end finds no surprise.
fn prepare(path: &Path) {
    let checked = Database::open(path).and_then(|mut database| {
        database.check()?;
        database.resume()
    });
    match checked {
        Ok(()) => {}
        Err(error) if error.is_damage() => match files::set_aside(path) {
            Ok(aside) => {
                let aside = aside.display();
                tracing::warn!("{error}; it is set aside as `{aside}`, and a new one begins");
            }
            Err(worse) => tracing::warn!("{error}; {worse}"),
        },
        Err(error) => tracing::warn!("{error}; forwards run without it"),
    }
}

fn perform(path: &Path, ledger: &Ledger, job: Job) {
    // Whoever asked may have stopped waiting.
    match job {
        Job::Keep { forwards, receipt, reply } => {
            let (receipt, mut database) = keep(path, forwards, *receipt);
            let _ = reply.send(receipt);
            if let Some(database) = &mut database {
                write(database, ledger);
            }
            // Kept is kept: what the close still does for the disk, the end need not wait for.
            drop(database);
        }
        Job::Read { limit, reply } => {
            let read = Database::read(path).and_then(|database| match database {
                Some(database) => database.history(limit),
                None => Ok(History::default()),
            });
            let _ = reply.send(read);
        }
        Job::Flush { reply } => {
            flush(path, ledger);
            let _ = reply.send(());
        }
        Job::Tell { ask, reply } => {
            flush(path, ledger);
            let Question { forward, since, now } = ask;
            let told = Database::read(path).and_then(|database| match database {
                Some(database) => database.account(&forward, since, now),
                None => Ok(localport_core::record::account(&forward, &[], since, now)),
            });
            let _ = reply.send(told);
        }
        Job::Rest { reply } => {
            let _ = reply.send(());
        }
    }
}

/// Writes what waits, unless the end has begun.
fn flush(path: &Path, ledger: &Ledger) {
    if ledger.resting.load(Ordering::Acquire) || *ledger.waiting() == Batch::default() {
        return;
    }
    match Database::open(path) {
        Ok(mut database) => write(&mut database, ledger),
        Err(error) => unwritten(&error, ledger),
    }
}

/// Writes what waits; what could not be written waits on.
fn write(database: &mut Database, ledger: &Ledger) {
    let batch = std::mem::take(&mut *ledger.waiting());
    if batch == Batch::default() {
        return;
    }
    match database.record(&batch) {
        Ok(()) => ledger.warned.store(false, Ordering::Relaxed),
        Err(error) => {
            let mut waiting = ledger.waiting();
            let newer = std::mem::replace(&mut *waiting, batch);
            waiting.add(newer);
            drop(waiting);
            unwritten(&error, ledger);
        }
    }
}

/// Said once, until it could be written again.
fn unwritten(error: &StoreError, ledger: &Ledger) {
    if !ledger.warned.swap(true, Ordering::Relaxed) {
        tracing::warn!("how forwards stood is not in the history: {error}");
    }
}

/// Keeps `receipt`, in a new file when the old one turns out to be damaged; the receipt
/// as it is kept, and the file, still open.
fn keep(path: &Path, forwards: u32, receipt: Receipt) -> (Receipt, Option<Database>) {
    let attempt = || -> Result<_, StoreError> {
        let mut database = Database::open(path)?;
        let earlier = database.history(RECENT)?.shutdowns;
        let mut receipt = receipt.clone();
        if let Some(slower) = slower(&receipt, forwards, &earlier) {
            tracing::warn!("slow to end: {}", slower.sentence());
            receipt.remarks.push(slower.sentence());
        }
        Ok((database.keep(forwards, receipt)?.receipt, Some(database)))
    };
    let kept = match attempt() {
        Err(error) if error.is_damage() => {
            tracing::warn!("{error}; it is set aside, and a new one begins");
            files::set_aside(path).and_then(|_| attempt())
        }
        kept => kept,
    };
    kept.unwrap_or_else(|error| (lost(receipt, &error), None))
}

/// The receipt that says that it is not kept.
fn lost(mut receipt: Receipt, error: &StoreError) -> Receipt {
    tracing::warn!(owner = HOST, "this shutdown is not in the history: {error}");
    receipt.remarks.push(format!("This shutdown is not in the history: {error}"));
    receipt
}

#[cfg(test)]
mod tests;
