//! The SSH adapter against OpenSSH's own server.
#![cfg(unix)]

use localport_core::config::{SshTarget, Target};
use localport_core::event::Kind;
use localport_core::problem::{Code, Problem};
use localport_engine::adapter::ssh::{SshAdapter, SshOptions, Way};
use localport_engine::adapter::{Adapter, Session, SessionScope, Upstream, Verdict};
use localport_engine::home::Home;
use localport_engine::journal::Journal;
use localport_engine::registry::{LeaseKind, Registry, Tasks};
use localport_tests::servers::{RefusingPort, Server};
use localport_tests::sshd::{self, Sshd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

#[path = "ssh/bytes.rs"]
mod bytes;
#[path = "ssh/keys.rs"]
mod keys;
#[path = "ssh/loss.rs"]
mod loss;
#[path = "ssh/masters.rs"]
mod masters;
#[path = "ssh/passwords.rs"]
mod passwords;
#[path = "ssh/refusals.rs"]
mod refusals;
#[path = "ssh/strays.rs"]
mod strays;

/// Nothing here takes this long unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// An adapter with a home of its own.
struct Ground {
    home: TempDir,
    registry: Registry,
    adapter: SshAdapter,
    tasks: Tasks,
    notes: mpsc::Receiver<Kind>,
    sender: mpsc::Sender<Kind>,
}

impl Ground {
    fn new(sshd: &Sshd) -> Self {
        Self::with(options(sshd))
    }

    fn with(options: SshOptions) -> Self {
        let home = tempfile::Builder::new().prefix("lp").tempdir().unwrap();
        let registry = Registry::default();
        let places = Home::under(home.path(), home.path().to_owned());
        places.create().unwrap();
        let adapter = SshAdapter::new(&registry, &places, Journal::nowhere(), options);
        let tasks = Tasks::new("test", &registry);
        let (sender, notes) = mpsc::channel(1024);
        Self { home, registry, adapter, tasks, notes, sender }
    }

    fn scope(&self) -> SessionScope {
        SessionScope {
            forward: "test".into(),
            tasks: self.tasks.clone(),
            notes: self.sender.clone(),
        }
    }

    async fn try_open(&self, target: SshTarget) -> Result<Arc<dyn Session>, Problem> {
        let target = Target::Ssh(target);
        timeout(DEADLINE, self.adapter.open(&target, self.scope())).await.expect("open hangs")
    }

    async fn open(&self, target: SshTarget) -> Arc<dyn Session> {
        self.try_open(target).await.unwrap_or_else(|problem| panic!("{problem:?}"))
    }

    fn leases(&self, kind: LeaseKind) -> usize {
        self.registry.list().iter().filter(|lease| lease.kind == kind).count()
    }
}

fn options(sshd: &Sshd) -> SshOptions {
    SshOptions { extra_args: sshd.client_args(), ..SshOptions::default() }
}

/// One word there and back.
async fn says(session: &Arc<dyn Session>, word: &str) -> bool {
    let mut stream = connect(session).await;
    stream.write_all(word.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut back)).await.expect("no echo").unwrap();
    back == word
}

/// Processes of ours that hold a connection to `sshd`; a jump's own are theirs.
fn ssh_children(sshd: &Sshd) -> Vec<u32> {
    let config = sshd.path("ssh_config").display().to_string();
    sshd::parents()
        .into_iter()
        .filter(|(pid, parent)| {
            *parent == std::process::id()
                && std::fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&config))
        })
        .map(|(pid, _)| pid)
        .collect()
}

/// Waits until `done` holds; the state it looks at is announced by nobody, such as a
/// process's end.
async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn connect(session: &Arc<dyn Session>) -> Box<dyn Upstream> {
    match timeout(DEADLINE, session.connect()).await.expect("connect hangs") {
        Ok(connection) => connection.stream,
        Err(error) => panic!("{error:?}"),
    }
}

async fn refused(session: &Arc<dyn Session>) -> (Problem, Verdict) {
    match timeout(DEADLINE, session.connect()).await.expect("connect hangs") {
        Ok(_) => panic!("it connected"),
        Err(error) => (error.problem, error.verdict),
    }
}
