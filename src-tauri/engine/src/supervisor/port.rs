//! Owns the local port of a forward: bound, in conflict, or draining.

use super::{News, Shared, Wish};
use crate::client::Service;
use crate::listener::{Acceptor, BindError, Listener, Pool, keep_alive};
use crate::registry::Tasks;
use localport_core::config::ForwardSpec;
use localport_core::event::Kind;
use localport_core::problem::{Code, Problem};
use localport_core::snapshot::ListenerState;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How often a busy port is tried again: no system announces that a port is free.
const CONFLICT_RETRY: Duration = Duration::from_secs(1);
/// How often the owner of a busy port is looked for again; the search reads the open
/// files of every process.
const NAMING: Duration = Duration::from_secs(15);
/// A machine that stood still has its timers due before its sockets were read: who has
/// everything by then ends by itself, and is not cut.
const LAST_TURN: Duration = Duration::from_millis(20);

pub(super) struct Port {
    wanted: Vec<SocketAddr>,
    state: PortState,
    /// Bound sockets that another forward, or this one, gave up for the next bind.
    offered: Pool,
    /// Ends those who are held, on whichever listener they came.
    off: CancellationToken,
    clients: Tasks,
    /// Number of the last drain; one that was called off is no longer the last.
    drains: u64,
    /// The drain under way, or the last one that was.
    draining: Option<Arc<Draining>>,
}

/// When the connections of a drain are cut.
#[derive(Clone)]
pub(super) enum Limit {
    /// After the usual time, or when the engine's end says so.
    Usual,
    /// When this says so, or the engine's end.
    Told(CancellationToken),
}

/// A drain under way. It is either called off or cuts, never both, whatever comes first.
struct Draining {
    called_off: CancellationToken,
    decided: AtomicBool,
    limit: watch::Sender<Limit>,
}

impl Draining {
    fn new(limit: Limit) -> Self {
        let (called_off, decided) = (CancellationToken::new(), AtomicBool::new(false));
        Self { called_off, decided, limit: watch::Sender::new(limit) }
    }

    /// Whether nothing was cut and nothing will be.
    fn call_off(&self) -> bool {
        let first = !self.decided.swap(true, Ordering::AcqRel);
        self.called_off.cancel();
        first
    }

    /// Whether it may cut: nobody called it off.
    fn cut(&self) -> bool {
        !self.decided.swap(true, Ordering::AcqRel)
    }
}

enum PortState {
    Closed,
    Bound { addresses: Vec<SocketAddr>, sockets: Vec<Arc<TcpListener>>, accepting: Tasks },
    Conflict { problem: Problem, retry_at: Instant, named: Instant },
}

impl Port {
    pub(super) fn new(spec: &ForwardSpec, shared: &Shared) -> Self {
        Self {
            wanted: vec![shown(spec)],
            state: PortState::Closed,
            offered: Pool::default(),
            off: CancellationToken::new(),
            clients: shared.tasks.child(&spec.name),
            drains: 0,
            draining: None,
        }
    }

    /// Takes the port of `spec` from the next bind on, with the sockets that `pool` has.
    pub(super) fn aim(&mut self, spec: &ForwardSpec, pool: Pool) {
        self.wanted = vec![shown(spec)];
        self.offered = pool;
    }

    /// Stops accepting and gives the sockets up, bound as they are. Clients stay, the held
    /// ones too.
    pub(super) async fn vacate(&mut self) -> Vec<Arc<TcpListener>> {
        match std::mem::replace(&mut self.state, PortState::Closed) {
            PortState::Bound { sockets, accepting, .. } => {
                accepting.cancel();
                accepting.wait().await;
                sockets
            }
            PortState::Closed | PortState::Conflict { .. } => vec![],
        }
    }

    /// Binds and accepts; gives what is worth announcing.
    pub(super) async fn bind(
        &mut self,
        spec: &ForwardSpec,
        service: Arc<Service>,
        shared: &Arc<Shared>,
    ) -> Option<Kind> {
        self.call_off(spec, shared);
        let pool = std::mem::take(&mut self.offered);
        let (bind, port, name) = (&spec.bind, spec.local_port, &spec.name);
        match Listener::bind_from(&pool, bind, port, name, &shared.registry) {
            Ok(listener) => {
                let addresses = listener.addresses().to_vec();
                let local = join(&addresses);
                self.accept(listener, addresses, &service, spec, shared);
                Some(Kind::Listening { local })
            }
            Err(error) => self.conflict(error, shared).await,
        }
    }

    /// Ends a drain that is under way: what is open goes on as if nothing had been.
    fn call_off(&mut self, spec: &ForwardSpec, shared: &Shared) {
        let Some(draining) = self.draining.take() else { return };
        self.drains += 1;
        if !draining.call_off() {
            // The clients of before are cut, or all gone.
            self.clients = shared.tasks.child(&spec.name);
        }
    }

    async fn conflict(&mut self, error: BindError, shared: &Arc<Shared>) -> Option<Kind> {
        let now = Instant::now();
        if let PortState::Conflict { problem, retry_at, named } = &mut self.state {
            *retry_at = now + CONFLICT_RETRY;
            if error.is_conflict() && now < *named + NAMING {
                return None;
            }
            *named = now;
            let current = name(error, shared).await;
            if *problem == current {
                return None;
            }
            *problem = current.clone();
            return Some(Kind::ListenerConflict { problem: current });
        }
        let problem = name(error, shared).await;
        let retry_at = now + CONFLICT_RETRY;
        self.state = PortState::Conflict { problem: problem.clone(), retry_at, named: now };
        Some(Kind::ListenerConflict { problem })
    }

    fn accept(
        &mut self,
        listener: Listener,
        addresses: Vec<SocketAddr>,
        service: &Arc<Service>,
        spec: &ForwardSpec,
        shared: &Arc<Shared>,
    ) {
        if self.off.is_cancelled() {
            self.off = CancellationToken::new();
        }
        let accepting = shared.tasks.child(&spec.name);
        let (sockets, lease) = listener.into_parts();
        let lease = Arc::new(lease);
        for socket in sockets.clone() {
            let (service, off) = (service.clone(), self.off.clone());
            let (clients, lease) = (self.clients.clone(), lease.clone());
            accepting.spawn("accept", async move {
                let _lease = lease;
                let mut acceptor = Acceptor::new(socket);
                loop {
                    let (client, address) = acceptor.accept().await;
                    keep_alive(&client);
                    let cut = clients.token().clone();
                    let serving = service.clone().serve(client, address, off.clone(), cut);
                    clients.spawn_to_end("client", serving);
                }
            });
        }
        self.state = PortState::Bound { addresses, sockets, accepting };
    }

    /// Resolves when a busy port is to be tried again; never while there is no conflict.
    pub(super) async fn due(&self) {
        match &self.state {
            PortState::Conflict { retry_at, .. } => sleep_until(*retry_at).await,
            PortState::Closed | PortState::Bound { .. } => std::future::pending().await,
        }
    }

    /// Closes the listener and held clients at once, gives open ones their time, then
    /// cuts them with a reset and reports.
    pub(super) fn drain(&mut self, shared: &Arc<Shared>, limit: Limit, news: mpsc::Sender<News>) {
        let accepting = match std::mem::replace(&mut self.state, PortState::Closed) {
            PortState::Bound { accepting, .. } => {
                accepting.cancel();
                Some(accepting)
            }
            PortState::Closed | PortState::Conflict { .. } => None,
        };
        self.off.cancel();
        self.drains += 1;
        let draining = Arc::new(Draining::new(limit));
        self.draining = Some(draining.clone());
        let drain = self.drains;
        let clients = self.clients.clone();
        let limit = draining.limit.subscribe();
        let (wish, usual) = (shared.wish.clone(), shared.budgets.borrow().complete_current);
        shared.tasks.spawn_to_end("drain", async move {
            if let Some(accepting) = accepting {
                accepting.wait().await;
            }
            tokio::select! {
                () = clients.wait() => {}
                () = draining.called_off.cancelled() => return,
                () = enough(limit, wish, usual) => {}
            }
            // Nothing of it is an error: either all have ended, or they are cut.
            let _ = timeout(LAST_TURN, clients.wait()).await;
            if !draining.cut() {
                return;
            }
            let forced = clients.len();
            if forced > 0 {
                clients.cancel();
                clients.wait().await;
            }
            // A supervisor that is gone has nothing left to drain for.
            let _ = news.send(News::Drained { drain, forced }).await;
        });
    }

    /// The drain under way, if there is one, goes by `limit` from now on.
    pub(super) fn limit(&self, limit: Limit) {
        if let Some(draining) = &self.draining {
            draining.limit.send_replace(limit);
        }
    }

    /// Whether `drain` is the drain under way.
    pub(super) fn is_drain(&self, drain: u64) -> bool {
        self.drains == drain
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, PortState::Closed)
    }

    pub(super) fn in_conflict(&self) -> bool {
        matches!(self.state, PortState::Conflict { .. })
    }

    pub(super) fn problem(&self) -> Option<&Problem> {
        match &self.state {
            PortState::Conflict { problem, .. } => Some(problem),
            PortState::Closed | PortState::Bound { .. } => None,
        }
    }

    pub(super) fn name(&self) -> ListenerState {
        match self.state {
            PortState::Closed => ListenerState::Closed,
            PortState::Bound { .. } => ListenerState::Listening,
            PortState::Conflict { .. } => ListenerState::Conflict,
        }
    }

    /// The addresses it is bound on.
    pub(super) fn addresses(&self) -> Vec<String> {
        match &self.state {
            PortState::Bound { addresses, .. } => {
                addresses.iter().map(ToString::to_string).collect()
            }
            PortState::Closed | PortState::Conflict { .. } => vec![],
        }
    }

    /// The address for clients, bound or not.
    pub(super) fn local(&self) -> String {
        let bound = match &self.state {
            PortState::Bound { addresses, .. } => addresses.first(),
            PortState::Closed | PortState::Conflict { .. } => None,
        };
        bound.or(self.wanted.first()).map(ToString::to_string).unwrap_or_default()
    }
}

/// Resolves when enough was waited for open connections.
async fn enough(
    mut limit: watch::Receiver<Limit>,
    mut wish: watch::Receiver<Wish>,
    usual: Duration,
) {
    let mut until = Instant::now() + usual;
    loop {
        let wished = *wish.borrow_and_update();
        let limited = limit.borrow_and_update().clone();
        let reached = async {
            match (wished, limited) {
                (Wish::Cut, _) => {}
                (_, Limit::Told(cut)) => cut.cancelled_owned().await,
                // While the engine ends, the engine decides.
                (Wish::Drain, Limit::Usual) => std::future::pending().await,
                (Wish::Run, Limit::Usual) => sleep_until(until).await,
            }
        };
        tokio::select! {
            () = reached => return,
            Ok(()) = limit.changed() => {}
            Ok(()) = wish.changed() => {
                // Of an end that was called off this one does not come back: it has its
                // own time, from now on.
                if wished == Wish::Drain {
                    until = Instant::now() + usual;
                }
            }
        }
    }
}

/// The problem in words. Who holds a port is found by reading what every process has
/// open: beside the runtime, and one search at a time.
async fn name(error: BindError, shared: &Arc<Shared>) -> Problem {
    // Never closed; a closed one would only mean that nothing limits the searches.
    let _turn = shared.searches.acquire().await.ok();
    spawn_blocking(move || error.problem()).await.unwrap_or_else(|failed| {
        let sentence = format!("The port cannot be bound, and asking why failed: {failed}");
        Problem::new(Code::Internal, sentence, "Restart LocalPort if the port is free")
    })
}

/// The address that stands for a forward while it is not bound.
fn shown(spec: &ForwardSpec) -> SocketAddr {
    let first = spec.bind.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    SocketAddr::new(first, spec.local_port)
}

fn join(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}
