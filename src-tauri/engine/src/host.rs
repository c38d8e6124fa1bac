//! Owns the life of an engine in a process: one engine per user, its lock, its
//! configuration, its control API. The headless command and the tray app start here.
//!
//! Receives [`HostOptions`], emits a [`RunningHost`] and, at its end, [`Receipt`].

mod adapters;
pub mod configuration;
mod error;
mod holdings;
mod lock;
mod recorder;
mod recovery;
mod verdicts;

pub use adapters::ssh_options;
pub use error::HostError;
pub use lock::{Owner, Role};

use crate::adapter::kube::install_tls_provider;
use crate::adapter::ssh::SshOptions;
use crate::config_store::history::History;
use crate::config_store::{self, ConfigStore, Reloader};
use crate::control::{self, Control};
use crate::deadline::Deadline;
use crate::engine::{self, HOST, Options};
use crate::explain::Explainer;
use crate::handle::EngineHandle;
use crate::home::Home;
use crate::journal::{Journal, JournalFile, Medium};
use crate::logs::{self, Logs};
use crate::registry::{Lease, LeaseKind, Registry, Tasks};
use crate::store::Store;
use crate::verify::Baseline;
use localport_core::audit::Scope;
use localport_core::config::{Config, ForwardSpec};
use localport_core::journal::{Entry, Switches};
use localport_core::receipt::Receipt;
use localport_core::shutdown::Reason;
use localport_core::snapshot::{Forward, ListenerState};
use lock::Lock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Time for every forward to bind its port; a thousand take well under a second.
const SETTLE: Duration = Duration::from_secs(5);

/// What a host is started with.
pub struct HostOptions {
    /// Where it keeps its files.
    pub home: Home,
    /// Configuration files by name; empty means LocalPort's search order.
    pub config_files: Vec<PathBuf>,
    /// What kind of host it is.
    pub role: Role,
    /// The process's logs, for those who follow them over the control API.
    pub logs: Option<Logs>,
    /// How SSH is reached.
    pub ssh: SshOptions,
    /// How long open connections may finish at the end.
    /// As the configuration says when there is none.
    pub drain: Option<Duration>,
    /// Told when an end begins, for those who wait for the process.
    pub deadline: Deadline,
    /// Where the journal lies; none means a file in `home`.
    pub journal: Option<Box<dyn Medium>>,
}

impl HostOptions {
    /// The usual host of `role` in `home`.
    #[must_use]
    pub fn new(home: Home, role: Role) -> Self {
        Self {
            home,
            config_files: Vec::new(),
            role,
            logs: None,
            ssh: adapters::ssh_options(),
            drain: None,
            deadline: Deadline::default(),
            journal: None,
        }
    }
}

/// An engine with its lock and its control API. End it with [`RunningHost::wait`] or
/// [`RunningHost::stop`]: dropping it releases the lock but waits for nothing.
pub struct RunningHost {
    /// The engine.
    pub engine: EngineHandle,
    /// Reads the configuration again.
    pub reload: Reloader,
    /// Who this host is, as a second start reads it.
    pub owner: Owner,
    /// Walks the ways of forwards.
    pub explainer: Explainer,
    /// What the start found of a host that did not end by itself, in one sentence.
    pub found: Option<String>,
    config: ConfigStore,
    open_window: Option<mpsc::Receiver<()>>,
    control: Control,
    store: Store,
    released: watch::Sender<Option<Receipt>>,
    tasks: Tasks,
    journal: Journal,
    lock: Lock,
    registry: Registry,
    baseline: Arc<Baseline>,
    _lock_lease: Lease,
}

/// Takes the lock, reads the configuration, starts the engine and the control API.
///
/// # Errors
/// [`HostError::AlreadyRunning`] when another host of this user runs; else what kept
/// this one from running. Errors in the configuration are no error here: the engine
/// runs what can run and shows the rest.
pub async fn start(options: HostOptions) -> Result<RunningHost, HostError> {
    let home = options.home;
    let scope = if options.role == Role::Desktop { Scope::Shared } else { Scope::Whole };
    let baseline = Arc::new(Baseline::take(scope, &home));
    home.create().map_err(|source| HostError::Files { path: home.state.clone(), source })?;
    let (lock, owner) = Lock::take(&home, options.role)?;
    raise_file_limit();
    survive_full_quota();
    install_tls_provider();

    let registry = Registry::default();
    let lock_lease = registry.lease(LeaseKind::Lock, home.lock().display().to_string(), HOST);
    if let Err(error) = History::new(&home).recover() {
        tracing::warn!("a rollback that was interrupted is not completed: {error}");
    }
    let mut loaded = configuration::load(&home, &options.config_files);
    if !options.config_files.is_empty()
        && let Some((path, source)) = loaded.unreadable.pop()
    {
        return Err(HostError::Config { path, source });
    }
    let medium = options.journal.unwrap_or_else(|| Box::new(JournalFile::new(home.journal())));
    let memory = recovery::recover(&home, medium, &registry, &loaded.config, lock.was_left()).await;
    let (journal, found) = (memory.journal.clone(), memory.found.clone());
    let explainer = Explainer::new(&home, options.ssh.clone(), &registry, journal.clone());
    let (ssh, kube) = adapters::both(&registry, &home, journal.clone(), options.ssh);
    let expected = Expected::of(&loaded.config, &memory.switches);
    let drain = options.drain.unwrap_or(loaded.config.shutdown.complete_current);
    let (in_force, texts) = (loaded.config.clone(), std::mem::take(&mut loaded.texts));
    let engine = engine::start(Options {
        config: loaded.config,
        searched: loaded.searched,
        ssh,
        kube,
        registry: registry.clone(),
        drain,
        deadline: options.deadline,
        memory,
    });

    let tasks = Tasks::new(HOST, &registry);
    logs::record(&engine, &tasks);
    verdicts::keep(&engine, home.verdicts(), &tasks);
    let store = Store::start(&home, &tasks);
    recorder::keep(&engine, &store, &tasks);
    let (released, release) = watch::channel(None);
    let (open_window, windows) = mpsc::channel(1);
    let config = config_store::start(
        config_store::Options {
            home: home.clone(),
            named: options.config_files,
            engine: engine.clone(),
            in_force,
            texts,
        },
        &tasks,
    );
    let api = control::Api {
        reload: config.reloader(),
        engine: engine.clone(),
        home,
        logs: options.logs,
        store: store.clone(),
        baseline: baseline.clone(),
        explainer: explainer.clone(),
        open_window: (options.role == Role::Desktop).then_some(open_window),
        released: release,
    };
    let control = match Control::start(api, &tasks) {
        Ok(control) => control,
        Err(error) => {
            engine.quit(Reason::Failure);
            let stopped = engine.stopped().await;
            journal.finish(stopped.is_clean()).await;
            tasks.cancel();
            return Err(error);
        }
    };
    expected.settle(&engine).await;
    journal.put(Entry::HostReady);
    Ok(RunningHost {
        engine,
        reload: config.reloader(),
        config,
        owner,
        explainer,
        found,
        open_window: Some(windows),
        control,
        store,
        released,
        tasks,
        journal,
        lock,
        registry,
        baseline,
        _lock_lease: lock_lease,
    })
}

impl RunningHost {
    /// Requests to open the window, from a second start of the desktop app. Given once.
    pub fn take_open_window(&mut self) -> Option<mpsc::Receiver<()>> {
        self.open_window.take()
    }

    /// Waits until the engine has ended, whoever asked for it, then releases the rest:
    /// control API closed, socket removed, lock free, last answers given.
    pub async fn wait(mut self) -> Receipt {
        let mut stopped = self.engine.stopped().await;
        self.control.close();
        self.config.finish().await;
        self.store.rest().await;
        // While the lock is held: the files of the next host are not ours.
        stopped.checks = self.baseline.verify(&self.registry).await;
        stopped.faults = self.registry.faults();
        stopped.remarks.extend(self.baseline.unseen(&stopped.checks));
        stopped.remarks.extend(self.journal.loss());
        let forwards = self.engine.snapshot().borrow().forwards.len();
        let mut stopped = self.store.settle(stopped, forwards).await;
        // The lock protects the journal: the next host opens it once it is closed.
        let lost = self.journal.finish(stopped.is_clean()).await;
        stopped.remarks.extend(lost.filter(|lost| !stopped.remarks.contains(lost)));
        self.lock.release();
        // Those who asked to wait are answered when a new host may start.
        self.released.send_replace(Some(stopped.clone()));
        self.control.finish().await;
        self.tasks.cancel();
        self.tasks.wait().await;
        stopped
    }

    /// Asks the engine to end, for `reason`, and does as [`RunningHost::wait`].
    pub async fn stop(self, reason: Reason) -> Receipt {
        self.engine.quit(reason);
        self.wait().await
    }
}

/// What the snapshot holds when every forward has been heard of.
struct Expected {
    forwards: usize,
    enabled: usize,
}

impl Expected {
    fn of(config: &Config, switches: &Switches) -> Self {
        let wanted = |forward: &&ForwardSpec| switches.wanted(&forward.name, forward.enabled);
        let enabled = config.forwards.iter().filter(wanted).count();
        Self { forwards: config.forwards.len(), enabled }
    }

    /// Waits until every forward has tried to bind its port, so that a start that is
    /// announced is one: who connects then is not refused.
    async fn settle(&self, engine: &EngineHandle) {
        let mut snapshot = engine.snapshot();
        let settled = snapshot.wait_for(|snapshot| {
            let tried = |forward: &&Forward| forward.listener.state != ListenerState::Closed;
            snapshot.forwards.len() == self.forwards
                && snapshot.forwards.iter().filter(tried).count() >= self.enabled
        });
        // A signal may end the engine meanwhile, and a start must not hang.
        if tokio::time::timeout(SETTLE, settled).await.is_err() {
            tracing::warn!("not every forward has bound its port yet");
        }
    }
}

/// Every client takes two descriptors, and the soft limit is often 1,024.
#[cfg(unix)]
fn raise_file_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
}

/// A file at the limit of its size is an error of the write, not the end of the process.
/// A handler is enough, and children do not inherit it.
#[cfg(unix)]
fn survive_full_quota() {
    let kind = tokio::signal::unix::SignalKind::from_raw(libc::SIGXFSZ);
    if let Err(error) = tokio::signal::unix::signal(kind) {
        tracing::warn!("a limit of file sizes ends LocalPort: {error}");
    }
}

/// Windows has no such signal.
#[cfg(not(unix))]
fn survive_full_quota() {}

/// Windows has no such limit for sockets.
#[cfg(not(unix))]
fn raise_file_limit() {}
