//! Owns the way behind SSH hosts.
//!
//! The system's OpenSSH does the talking, one process per destination; the engine opens
//! a channel per connection on it. Receives targets, emits sessions.

pub mod askpass;
mod birth;
mod carrier;
#[cfg(unix)]
mod channel;
#[cfg(unix)]
mod channels;
mod classify;
mod destination;
mod dir;
mod hostkey;
mod master;
#[cfg(unix)]
mod mux;
mod pool;
mod session;
mod socks;
mod stop;
pub(crate) mod walk;
#[cfg(unix)]
mod wire;

pub use destination::Way;

use super::{Adapter, Session, SessionScope};
use crate::home::Home;
use crate::journal::Journal;
use crate::process::Children;
use crate::registry::{LeaseKind, Registry, Tasks};
use destination::Destination;
use dir::PrivateDir;
use futures_util::future::BoxFuture;
use hostkey::Shown;
use localport_core::config::{SshTarget, Target};
use localport_core::problem::{Code, Problem};
use pool::Pool;
use session::SshSession;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How `ssh` is run.
#[derive(Clone, Debug)]
pub struct SshOptions {
    /// The program, by path or by name.
    pub ssh: PathBuf,
    /// Arguments in front of ours, such as `-F FILE`. OpenSSH takes the first value of
    /// each option.
    pub extra_args: Vec<OsString>,
    /// Program that acts as [`askpass::run_helper`]; none means the running program itself.
    pub askpass_program: Option<PathBuf>,
    /// How connections are carried.
    pub way: Way,
    /// How long a connection is kept after its last session.
    pub linger: Duration,
}

impl Default for SshOptions {
    fn default() -> Self {
        Self {
            ssh: PathBuf::from("ssh"),
            extra_args: Vec::new(),
            askpass_program: None,
            way: Way::of_platform(),
            // Longer than a restart of a forward, shorter than anybody's patience with
            // a process that has nothing to do.
            linger: Duration::from_secs(3),
        }
    }
}

/// Opens sessions behind SSH hosts.
pub struct SshAdapter {
    ground: Arc<Ground>,
    pool: Arc<Pool>,
}

/// What every part of the adapter stands on.
struct Ground {
    tasks: Tasks,
    children: Children,
    journal: Journal,
    options: SshOptions,
    runtime: PathBuf,
    /// Unknown keys that people were shown.
    shown: Mutex<HashMap<Destination, Shown>>,
    /// Rises whenever a way opens: a key was trusted, a connection came up.
    opened: watch::Sender<u64>,
}

impl Ground {
    async fn private_dir(&self) -> io::Result<PrivateDir> {
        PrivateDir::make(&self.runtime, self.tasks.registry(), &self.journal).await
    }

    fn shown(&self, destination: &Destination) -> Option<Shown> {
        self.keys().get(destination).cloned()
    }

    fn show(&self, destination: &Destination, shown: Shown) {
        self.keys().insert(destination.clone(), shown);
    }

    fn forget(&self, destination: &Destination) {
        self.keys().remove(destination);
    }

    fn announce_opening(&self) {
        self.opened.send_modify(|count| *count += 1);
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<Destination, Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SshAdapter {
    /// An adapter that keeps its sockets below `home.runtime`, and the account of what
    /// it makes in `journal`.
    #[must_use]
    pub fn new(registry: &Registry, home: &Home, journal: Journal, options: SshOptions) -> Self {
        let tasks = Tasks::new("ssh", registry);
        let children = Children::new(journal.clone(), tasks.clone());
        let runtime = home.runtime.clone();
        let ground = Arc::new(Ground {
            tasks,
            children,
            journal,
            options,
            runtime,
            shown: Mutex::default(),
            opened: watch::Sender::new(0),
        });
        Self { pool: Pool::new(ground.clone()), ground }
    }

    async fn open_session(
        &self,
        target: &SshTarget,
        scope: SessionScope,
    ) -> Result<Arc<dyn Session>, Problem> {
        let destination = Destination::of(target);
        let share = self.pool.obtain(&destination, scope.notes).await?;
        let words = format!("{} via {}", target.remote_port, share.master.words);
        let registry = self.ground.tasks.registry();
        let on = vec![share.master.child];
        let lease = registry.lease_on(LeaseKind::Session, words, scope.forward, on);
        let host = target.remote_host.clone();
        let pool = Arc::downgrade(&self.pool);
        Ok(Arc::new(SshSession::new(share, pool, host, target.remote_port, lease)))
    }
}

impl Adapter for SshAdapter {
    fn open<'a>(
        &'a self,
        target: &'a Target,
        scope: SessionScope,
    ) -> BoxFuture<'a, Result<Arc<dyn Session>, Problem>> {
        Box::pin(async move { self.open_session(ssh_target(target)?, scope).await })
    }

    fn mended<'a>(&'a self, target: &'a Target, problem: &'a Problem) -> BoxFuture<'a, ()> {
        // Counted from the call, not from the first poll.
        let opened = self.ground.opened.subscribe();
        Box::pin(async move {
            match ssh_target(target) {
                Ok(target) => {
                    self.pool.mended(&Destination::of(target), problem.code, opened).await;
                }
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn trust<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<String, Problem>> {
        Box::pin(async move {
            let destination = Destination::of(ssh_target(target)?);
            let fingerprint = hostkey::trust(&self.ground, &destination).await?;
            self.pool.hurry(&destination);
            self.ground.announce_opening();
            Ok(fingerprint)
        })
    }

    fn doubt(&self) -> BoxFuture<'_, ()> {
        self.pool.doubt();
        Box::pin(std::future::ready(()))
    }

    fn shutdown(&self, budget: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.shutdown(budget))
    }
}

fn ssh_target(target: &Target) -> Result<&SshTarget, Problem> {
    match target {
        Target::Ssh(target) => Ok(target),
        Target::Kube(_) => Err(Problem::new(
            Code::Internal,
            "a Kubernetes target was given to the SSH adapter",
            "report this as a bug",
        )),
    }
}

/// The problem of a connection that is gone.
fn lost(sentence: String) -> Problem {
    Problem::new(
        Code::SshLost,
        sentence,
        "nothing to do: LocalPort connects again by itself; look at the network or the SSH \
         host if it stays down",
    )
}
