//! A whole engine for the suites: real adapters, its own home, and waiting for what it
//! announces.

use localport_core::config::{Config, DEFAULT_HOLD, ForwardSpec, Target};
use localport_core::receipt::Receipt;
use localport_core::shutdown::Reason;
use localport_core::snapshot::{Forward, Snapshot};
use localport_engine::adapter::kube::{KubeAdapter, Options as KubeOptions};
use localport_engine::adapter::ssh::{SshAdapter, SshOptions};
use localport_engine::deadline::Deadline;
use localport_engine::engine::{self, Memory, Options};
use localport_engine::handle::EngineHandle;
use localport_engine::home::Home;
use localport_engine::journal::Journal;
use localport_engine::registry::Registry;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything announced is waited for.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A running engine with a home of its own.
pub struct Engine {
    /// The engine.
    pub handle: EngineHandle,
    home: TempDir,
}

impl Engine {
    /// Starts `forwards` over the real adapters.
    #[must_use]
    pub fn start(forwards: Vec<ForwardSpec>, ssh: SshOptions, kube: KubeOptions) -> Self {
        Self::configured(Config { forwards, ..Config::default() }, ssh, kube)
    }

    /// Starts what `config` says over the real adapters.
    #[must_use]
    pub fn configured(config: Config, ssh: SshOptions, kube: KubeOptions) -> Self {
        Self::start_with(config, ssh, kube, Registry::default(), |_, _| Journal::nowhere())
    }

    /// The same with an account and a journal of the caller's.
    #[must_use]
    pub fn start_with(
        config: Config,
        ssh: SshOptions,
        kube: KubeOptions,
        registry: Registry,
        journal: impl FnOnce(&Home, &Registry) -> Journal,
    ) -> Self {
        let dir = tempfile::Builder::new().prefix("lp").tempdir().unwrap();
        let home = Home::under(dir.path(), dir.path().to_owned());
        home.create().unwrap();
        let journal = journal(&home, &registry);
        let ssh = Arc::new(SshAdapter::new(&registry, &home, journal.clone(), ssh));
        let kube = Arc::new(KubeAdapter::new(&registry, kube).behind(ssh.clone()));
        let handle = engine::start(Options {
            config,
            searched: vec![],
            ssh,
            kube,
            registry,
            // Longer than the 3 s for which a cluster's stream holds back a client's end.
            drain: Duration::from_secs(6),
            deadline: Deadline::default(),
            memory: Memory { journal, ..Memory::none() },
        });
        Self { handle, home: dir }
    }

    /// Waits until the snapshot is as `is` says, and fails with the last one when it
    /// never comes.
    pub async fn until(&self, what: &str, is: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut snapshots = self.handle.snapshot();
        match timeout(DEADLINE, snapshots.wait_for(|snapshot| is(snapshot))).await {
            Ok(snapshot) => snapshot.unwrap().clone(),
            Err(_) => {
                let last = self.handle.snapshot().borrow().clone();
                let events: Vec<String> =
                    self.handle.history().iter().map(|event| event.kind.line()).collect();
                panic!("never came to {what}\nevents: {events:#?}\nlast: {last:#?}")
            }
        }
    }

    /// Waits until the forward `name` is as `is` says.
    pub async fn until_forward(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&Forward, &Snapshot) -> bool,
    ) -> Forward {
        let found = |snapshot: &Snapshot| {
            snapshot.forwards.iter().find(|forward| forward.name == name).cloned()
        };
        let snapshot =
            self.until(what, |snapshot| found(snapshot).is_some_and(|f| is(&f, snapshot))).await;
        found(&snapshot).unwrap()
    }

    /// Waits until the forward `name` serves.
    pub async fn serving(&self, name: &str) -> Forward {
        self.until_forward(name, "serving", |f, s| f.word(s.at) == "serving").await
    }

    /// Quits and expects nothing forced, nothing left.
    pub async fn stop(self) -> Receipt {
        self.handle.quit(Reason::Person);
        let stopped = timeout(DEADLINE, self.handle.stopped()).await.unwrap();
        assert!(stopped.forced.is_empty() && stopped.left.is_empty(), "{stopped:?}");
        drop(self.home);
        stopped
    }
}

/// A forward of `name` from `port` to `target`, as a configuration without more would
/// make it.
#[must_use]
pub fn forward(name: &str, port: u16, target: Target) -> ForwardSpec {
    ForwardSpec {
        name: name.to_owned(),
        enabled: true,
        tags: vec![],
        description: None,
        local_port: port,
        bind: vec![],
        hold: DEFAULT_HOLD,
        target,
        health_check: None,
        restart_policy: None,
    }
}

/// Sends `text` to the echo server behind `port` and gives what comes back.
pub async fn echo(port: u16, text: &[u8]) -> io::Result<Vec<u8>> {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await?;
    client.write_all(text).await?;
    let mut reply = vec![0; text.len()];
    client.read_exact(&mut reply).await?;
    Ok(reply)
}
