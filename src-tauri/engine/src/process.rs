//! Owns child processes: how they start, how they are known again, how they end.
//!
//! Receives a [`ChildSpec`]; emits the child's stderr lines and its exit. Every child
//! has a lease, a process group of its own and an entry in the journal, so that even an
//! engine that was killed leaves nothing: the operating system ends the children where
//! it can, and [`sweep`] ends the rest at the next start.

mod spawner;
mod sweep;

#[cfg_attr(target_os = "linux", path = "process/linux.rs")]
#[cfg_attr(all(unix, not(target_os = "linux")), path = "process/bsd.rs")]
#[cfg_attr(windows, path = "process/windows.rs")]
mod platform;

#[cfg(unix)]
mod unix;

pub use sweep::{Stray, sweep};

use crate::journal::Journal;
use crate::registry::{Lease, LeaseId, LeaseKind, Mark, Tasks};
use localport_core::journal::{Entry, Process};
use platform::Group;
use spawner::Spawner;
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, Command};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Carries a child's token; its own children inherit it.
pub(crate) const TOKEN_VARIABLE: &str = "LOCALPORT_CHILD";

/// How the names of directories start that belong to one child.
pub(crate) const DIR_PREFIX: &str = "lp-";

/// Lines of stderr kept for finding out why a child ended.
/// The warning about a changed host key alone takes 15.
const TAIL: usize = 40;

/// Longest line of stderr, in bytes; a longer one counts as several.
const LINE_LIMIT: u64 = 2_000;

/// How long the last words of a child are waited for once it has ended: a grandchild
/// may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What to start.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// Human name of the lease, such as `ssh me@bastion`.
    pub name: String,
    /// Whose child it is.
    pub owner: String,
    /// The program, by path or by name.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment variables to set.
    pub env: Vec<(OsString, OsString)>,
    /// A directory that has to go when the child ended and nobody was left to remove it.
    pub dir: Option<PathBuf>,
}

/// Starts children and keeps their account. Clones share it.
#[derive(Clone)]
pub struct Children {
    inner: Arc<Inner>,
}

struct Inner {
    journal: Journal,
    spawner: Spawner,
    tasks: Tasks,
}

/// A running child. Dropping it kills the child's whole group.
pub struct Child {
    pid: u32,
    group: Arc<Group>,
    tail: Tail,
    exit: watch::Receiver<Option<ExitStatus>>,
    abandoned: CancellationToken,
    mark: Mark,
}

/// What a helper printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Whether it ended with success.
    pub success: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Kills a helper's group unless it ended by itself.
struct Abandoned(Option<Group>);

impl Abandoned {
    fn released(mut self) {
        self.0 = None;
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            group.force();
        }
    }
}

type Tail = Arc<Mutex<VecDeque<String>>>;

impl Children {
    /// An account in `journal`; the children are awaited by tasks of `tasks` and
    /// killed when that group is cancelled.
    #[must_use]
    pub fn new(journal: Journal, tasks: Tasks) -> Self {
        Self { inner: Arc::new(Inner { journal, spawner: Spawner::new(), tasks }) }
    }

    /// Starts a child. Its lines of stderr go to the receiver, which must be read or
    /// dropped: a full one makes the child wait.
    ///
    /// # Errors
    /// When the program cannot be started; `NotFound` when there is none of that name.
    pub async fn spawn(&self, spec: ChildSpec) -> io::Result<(Child, mpsc::Receiver<String>)> {
        let token = token();
        let intended = Entry::ChildIntended {
            token: token.clone(),
            program: spec.program.clone(),
            dir: spec.dir.clone(),
            host: self.inner.journal.host().clone(),
        };
        self.inner.journal.ahead(vec![intended]).await;
        let mut command = Command::new(&spec.program);
        command
            .args(&spec.args)
            .envs(spec.env.iter().map(|(key, value)| (key, value)))
            .env(TOKEN_VARIABLE, &token)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        platform::prepare(&mut command);
        match self.start(command).await {
            Ok((child, group)) => Ok(self.adopt(child, group, token, &spec)),
            Err(error) => {
                self.inner.journal.put(Entry::ChildEnded { token });
                Err(error)
            }
        }
    }

    /// Runs a short helper to its end with `input` on its stdin, and gives what it
    /// printed. Dropping the future kills it.
    ///
    /// # Errors
    /// `TimedOut` when it did not end within `limit`; else why it could not be run.
    pub async fn capture(
        &self,
        spec: ChildSpec,
        input: &[u8],
        limit: Duration,
    ) -> io::Result<Captured> {
        let mut command = Command::new(&spec.program);
        command
            .args(&spec.args)
            .envs(spec.env.iter().map(|(key, value)| (key, value)))
            .env(TOKEN_VARIABLE, token())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        platform::prepare(&mut command);
        let (mut child, group) = self.start(command).await?;
        let lease = self.inner.tasks.registry().lease(LeaseKind::Child, spec.name, spec.owner);
        child.id().inspect(|pid| lease.is_process(*pid));
        let group = Abandoned(Some(group));
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not want the input has its own words about it.
            let _ = stdin.write_all(input).await;
        }
        let output = tokio::time::timeout(limit, child.wait_with_output())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        group.released();
        Ok(Captured {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    async fn start(&self, command: Command) -> io::Result<(tokio::process::Child, Group)> {
        let child = self.inner.spawner.spawn(command).await?;
        let group = Group::of(&child)?;
        Ok((child, group))
    }

    fn adopt(
        &self,
        mut child: tokio::process::Child,
        group: Group,
        token: String,
        spec: &ChildSpec,
    ) -> (Child, mpsc::Receiver<String>) {
        let pid = child.id().unwrap_or_default();
        let process = Process { pid, started: platform::start_time(pid) };
        self.inner.journal.put(Entry::ChildStarted { token: token.clone(), process });
        let group = Arc::new(group);
        let tail = Tail::default();
        let abandoned = CancellationToken::new();
        let (lines, receiver) = mpsc::channel(64);
        let words = child.stderr.take().map(|stderr| {
            let read = read_lines(stderr, tail.clone(), lines);
            self.inner.tasks.spawn_to_end(format!("{}: stderr", spec.name), read)
        });
        let (report, exit) = watch::channel(None);
        let lease = self.claim(spec);
        lease.is_process(pid);
        let mark = lease.mark();
        let reaper = Reaper {
            child,
            group: group.clone(),
            abandoned: abandoned.clone(),
            account: self.inner.clone(),
            token,
            mark: mark.clone(),
        };
        self.inner.tasks.spawn_to_end(format!("{}: reaper", spec.name), async move {
            let status = reaper.reap().await;
            if let Some(words) = words {
                let abort = words.abort_handle();
                if tokio::time::timeout(LAST_WORDS, words).await.is_err() {
                    abort.abort();
                }
            }
            drop(lease);
            report.send_replace(Some(status));
        });
        (Child { pid, group, tail, exit, abandoned, mark }, receiver)
    }

    /// The directory that a child uses goes after it.
    fn claim(&self, spec: &ChildSpec) -> Lease {
        let tasks = &self.inner.tasks;
        let find =
            |dir: &PathBuf| tasks.registry().find(LeaseKind::File, &dir.display().to_string());
        let dir = spec.dir.as_ref().and_then(find);
        tasks.lease(LeaseKind::Child, &*spec.name, &*spec.owner, Vec::from_iter(dir))
    }
}

impl Child {
    /// Its process id; another process may have it once the child has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its lease, for those who stand on it.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.mark.id()
    }

    /// The last lines it wrote to stderr, oldest first.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Waits for its end; may be awaited by several tasks.
    pub async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(status) => (*status).unwrap_or_default(),
            // The reaper is gone only together with the runtime.
            Err(_) => ExitStatus::default(),
        }
    }

    /// Ends it: asks, and after `patience` kills the whole group. True when it had to
    /// be killed.
    pub async fn end(&self, patience: Duration) -> bool {
        if self.exit.borrow().is_some() {
            return false;
        }
        self.group.ask();
        if tokio::time::timeout(patience, self.exited()).await.is_ok() {
            return false;
        }
        self.mark.forced();
        self.group.force();
        self.exited().await;
        true
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.abandoned.cancel();
    }
}

struct Reaper {
    child: tokio::process::Child,
    group: Arc<Group>,
    abandoned: CancellationToken,
    account: Arc<Inner>,
    token: String,
    mark: Mark,
}

impl Reaper {
    async fn reap(mut self) -> ExitStatus {
        let waited = tokio::select! {
            status = self.child.wait() => status,
            () = self.abandoned.cancelled() => self.force().await,
            () = self.account.tasks.token().cancelled() => {
                self.mark.forced();
                self.force().await
            }
        };
        self.account.journal.put(Entry::ChildEnded { token: self.token });
        waited.unwrap_or_else(|error| {
            tracing::warn!(%error, "a child's exit could not be read");
            ExitStatus::default()
        })
    }

    async fn force(&mut self) -> io::Result<ExitStatus> {
        self.group.force();
        self.child.wait().await
    }
}

async fn read_lines(stderr: ChildStderr, tail: Tail, lines: mpsc::Sender<String>) {
    let mut reader = BufReader::new(stderr);
    let mut raw = Vec::new();
    while let Ok(1..) = (&mut reader).take(LINE_LIMIT).read_until(b'\n', &mut raw).await {
        let line = String::from_utf8_lossy(&raw).trim_end().to_owned();
        raw.clear();
        if line.is_empty() {
            continue;
        }
        {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line.clone());
        }
        // Nobody listens any more: the tail still wants the last words.
        let _ = lines.send(line).await;
    }
}

/// This process.
pub(crate) fn this() -> Process {
    let pid = std::process::id();
    Process { pid, started: platform::start_time(pid) }
}

/// A name that no other process carries: 128 bits seeded by the operating system.
pub(crate) fn token() -> String {
    let draw = |salt: u64| {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(salt);
        hasher.finish()
    };
    format!("{:016x}{:016x}", draw(u64::from(std::process::id())), draw(1))
}
