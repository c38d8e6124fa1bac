//! A scripted far side, and an engine over it.

// Helpers of a test may fail the test; each binary uses some of them.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, unreachable_pub)]

use futures_util::future::BoxFuture;
use localport_core::config::{Config, DEFAULT_HOLD, ForwardSpec, SshTarget, Target};
use localport_core::problem::{Code, Problem};
use localport_core::shutdown::Reason;
use localport_core::snapshot::{Forward, Snapshot};
use localport_engine::adapter::{
    Adapter, ConnectError, Connection, Route, Session, SessionScope, Verdict,
};
use localport_engine::deadline::Deadline;
use localport_engine::engine::{self, Memory, Options};
use localport_engine::handle::EngineHandle;
use localport_engine::registry::Registry;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

pub const DEADLINE: Duration = Duration::from_secs(10);

/// What the far side does now.
#[derive(Clone, Debug)]
pub enum Far {
    /// Sessions open and clients are carried to this address.
    Up(SocketAddr),
    /// Sessions end and none opens.
    Away(Problem),
    /// Sessions open, but the target says no.
    Refusing(Problem),
    /// Sessions open; the target neither accepts nor refuses.
    Blocked,
    /// Sessions open and answer nothing, not even a ping.
    Silent,
}

/// Where a clean-up panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Nowhere.
    Nothing,
    /// When an attempt that is under way is given up.
    Attempt,
    /// When a client's connection to the target is closed.
    Connection,
    /// When the adapter shuts down.
    Shutdown,
    /// When the adapter shuts down for the second time; the first time it never ends.
    SecondShutdown,
    /// Nowhere, but the adapter never shuts down.
    Hang,
}

#[derive(Clone)]
pub struct Scripted {
    far: watch::Sender<Far>,
    pub opened: Arc<AtomicUsize>,
    pub shutdowns: Arc<AtomicUsize>,
    planted: Planted,
    /// Pings and probes that sessions were asked for.
    pub asked: watch::Sender<usize>,
    /// Sessions up to this number do not answer, and do not say so.
    dead: Arc<AtomicUsize>,
    pub probed: Arc<AtomicUsize>,
}

/// Panics when it is dropped.
struct Bomb(Planted);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("planted in {:?}", self.0);
    }
}

/// A stream whose end is a panic.
struct Doomed(TcpStream, Bomb);

struct ScriptedSession {
    number: usize,
    far: watch::Receiver<Far>,
    asked: watch::Sender<usize>,
    dead: Arc<AtomicUsize>,
    planted: Planted,
    probed: Arc<AtomicUsize>,
}

impl ScriptedSession {
    async fn alive(&self) {
        if self.number <= self.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

impl Scripted {
    pub fn new(far: Far) -> Self {
        Self {
            far: watch::Sender::new(far),
            opened: Arc::default(),
            shutdowns: Arc::default(),
            probed: Arc::default(),
            planted: Planted::Nothing,
            asked: watch::Sender::new(0),
            dead: Arc::default(),
        }
    }

    pub fn planted(self, planted: Planted) -> Self {
        Self { planted, ..self }
    }

    /// The sessions of now answer nothing any more, as after a sleep; new ones do.
    pub fn deaden(&self) {
        self.dead.store(self.opened.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub fn set(&self, far: Far) {
        self.far.send_replace(far);
    }
}

impl Adapter for Scripted {
    fn open<'a>(
        &'a self,
        _target: &'a Target,
        _scope: SessionScope,
    ) -> BoxFuture<'a, Result<Arc<dyn Session>, Problem>> {
        Box::pin(async {
            let number = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
            if self.planted == Planted::Attempt {
                let _bomb = Bomb(self.planted);
                std::future::pending::<()>().await;
            }
            match &*self.far.borrow() {
                Far::Away(problem) => Err(problem.clone()),
                _ => Ok(Arc::new(ScriptedSession {
                    number,
                    far: self.far.subscribe(),
                    asked: self.asked.clone(),
                    dead: self.dead.clone(),
                    planted: self.planted,
                    probed: self.probed.clone(),
                }) as _),
            }
        })
    }

    fn mended<'a>(&'a self, _: &'a Target, _: &'a Problem) -> BoxFuture<'a, ()> {
        let mut far = self.far.subscribe();
        Box::pin(async move {
            let _ = far.wait_for(|far| !matches!(far, Far::Away(_))).await;
        })
    }

    fn trust<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, Result<String, Problem>> {
        Box::pin(async { Ok("SHA256:scripted".to_owned()) })
    }

    fn shutdown(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let earlier = self.shutdowns.fetch_add(1, Ordering::Relaxed);
            match self.planted {
                Planted::Shutdown => panic!("planted in {:?}", self.planted),
                Planted::SecondShutdown if earlier > 0 => panic!("planted in {:?}", self.planted),
                Planted::SecondShutdown | Planted::Hang => std::future::pending().await,
                _ => {}
            }
        })
    }
}

impl AsyncRead for Doomed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Doomed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Session for ScriptedSession {
    fn route(&self) -> Route {
        Route { path: "scripted".into(), endpoint: "far side".to_owned() }
    }

    fn connect(&self) -> BoxFuture<'_, Result<Connection, ConnectError>> {
        let (far, planted) = (self.far.borrow().clone(), self.planted);
        Box::pin(async move {
            self.alive().await;
            match far {
                Far::Up(address) if planted == Planted::Connection => {
                    let stream = TcpStream::connect(address).await.unwrap();
                    Ok(Connection { stream: Box::new(Doomed(stream, Bomb(planted))) })
                }
                Far::Up(address) => {
                    let stream = TcpStream::connect(address).await.unwrap();
                    Ok(Connection { stream: Box::new(stream) })
                }
                Far::Away(problem) => Err(ConnectError { problem, verdict: Verdict::Hold }),
                Far::Refusing(problem) => Err(ConnectError { problem, verdict: Verdict::Refuse }),
                Far::Blocked | Far::Silent => std::future::pending().await,
            }
        })
    }

    fn lost(&self) -> BoxFuture<'_, Problem> {
        let mut far = self.far.clone();
        Box::pin(async move {
            match far.wait_for(|far| matches!(far, Far::Away(_))).await.map(|far| far.clone()) {
                Ok(Far::Away(problem)) => problem,
                _ => std::future::pending().await,
            }
        })
    }

    fn rerouted<'a>(&'a self, _: &'a Route) -> BoxFuture<'a, Route> {
        Box::pin(std::future::pending())
    }

    fn ping(&self) -> BoxFuture<'_, Result<Duration, Problem>> {
        let silent = matches!(*self.far.borrow(), Far::Silent);
        Box::pin(async move {
            self.asked.send_modify(|count| *count += 1);
            self.alive().await;
            if silent {
                std::future::pending().await
            }
            Ok(Duration::from_millis(7))
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Duration, Problem>> {
        let far = self.far.borrow().clone();
        self.probed.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            self.asked.send_modify(|count| *count += 1);
            self.alive().await;
            match far {
                Far::Refusing(problem) => Err(problem),
                Far::Blocked | Far::Silent => std::future::pending().await,
                _ => Ok(Duration::from_millis(9)),
            }
        })
    }
}

pub fn away() -> Problem {
    Problem::new(Code::SshUnreachable, "`bastion` does not answer", "Check the VPN")
}

pub fn spec(name: &str, port: u16) -> ForwardSpec {
    ForwardSpec {
        name: name.to_owned(),
        enabled: true,
        tags: vec!["db".to_owned()],
        description: None,
        local_port: port,
        bind: vec![],
        hold: DEFAULT_HOLD,
        target: Target::Ssh(SshTarget {
            host: "bastion".to_owned(),
            user: None,
            port: None,
            key_file: None,
            password: None,
            remote_host: "localhost".to_owned(),
            remote_port: 5432,
        }),
        health_check: None,
        restart_policy: None,
    }
}

/// A port that is free on both loopbacks, below those that the system gives to clients:
/// a forward that lets go of it for a while finds it free again.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 1_100 * 20).unwrap();
    loop {
        let port = 10_000 + (own + NEXT.fetch_add(1, Ordering::Relaxed)) % 22_000;
        let is_free = |address| std::net::TcpListener::bind((address, port)).is_ok();
        if is_free("127.0.0.1") && is_free("::1") {
            return port;
        }
    }
}

pub fn engine(adapter: &Scripted, forwards: Vec<ForwardSpec>, drain: Duration) -> EngineHandle {
    engine_of([adapter, adapter], forwards, drain)
}

/// An engine over one adapter for SSH and one for Kubernetes.
pub fn engine_of(
    [ssh, kube]: [&Scripted; 2],
    forwards: Vec<ForwardSpec>,
    drain: Duration,
) -> EngineHandle {
    engine::start(Options {
        config: Config { forwards, ..Config::default() },
        searched: vec![],
        ssh: Arc::new(ssh.clone()),
        kube: Arc::new(kube.clone()),
        registry: Registry::default(),
        drain,
        deadline: Deadline::default(),
        memory: Memory::none(),
    })
}

pub async fn until(
    engine: &EngineHandle,
    what: &str,
    is: impl Fn(&Snapshot) -> bool,
) -> Arc<Snapshot> {
    let mut snapshots = engine.snapshot();
    match timeout(DEADLINE, snapshots.wait_for(|s| is(s))).await {
        Ok(snapshot) => snapshot.unwrap().clone(),
        Err(_) => panic!("never came to {what}; last: {:#?}", engine.snapshot().borrow()),
    }
}

pub fn first(snapshot: &Snapshot, is: impl Fn(&Forward) -> bool) -> bool {
    snapshot.forwards.first().is_some_and(is)
}

pub async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[allow(clippy::disallowed_methods)] // The far side has no owner in the engine.
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = client.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    address
}

pub async fn echo(port: u16, text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await?;
    client.write_all(text).await?;
    client.shutdown().await?;
    let mut reply = vec![];
    client.read_to_end(&mut reply).await?;
    Ok(reply)
}

pub async fn stop(engine: &EngineHandle) {
    engine.quit(Reason::Person);
    let stopped = timeout(DEADLINE, engine.stopped()).await.unwrap();
    assert!(stopped.forced.is_empty() && stopped.left.is_empty(), "{stopped:?}");
    assert!(engine.resources().is_empty(), "{:?}", engine.resources());
}
