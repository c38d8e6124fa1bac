//! Owns the seam between a forward and what carries it.
//!
//! A supervisor asks an [`Adapter`] for a [`Session`] and a connection task asks the
//! session for one [`Connection`] per client. Sessions of many forwards may share one
//! master or client behind the adapter; that is the adapter's affair.

pub mod kube;
pub mod overlook;
pub mod ssh;

use crate::registry::{LeaseId, Tasks};
use futures_util::future::BoxFuture;
use localport_core::config::Target;
use localport_core::event::Kind;
use localport_core::problem::{Code, Problem};
use overlook::{Found, Look, Missed, Subject};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Opens sessions for one technology.
pub trait Adapter: Send + Sync + 'static {
    /// Opens a session to `target`. Dropping the future abandons the attempt and
    /// whatever it started.
    fn open<'a>(
        &'a self,
        target: &'a Target,
        scope: SessionScope,
    ) -> BoxFuture<'a, Result<Arc<dyn Session>, Problem>>;

    /// Resolves when what made the last attempt at `target` fail with `problem` has
    /// mended, so that the next attempt is due at once instead of after its backoff.
    /// Await it while backing off only; it never resolves where nothing can tell.
    fn mended<'a>(&'a self, target: &'a Target, problem: &'a Problem) -> BoxFuture<'a, ()> {
        let _ = (target, problem);
        Box::pin(std::future::pending())
    }

    /// Accepts the host key that the last failed attempt at `target` could not verify,
    /// and gives its fingerprint.
    fn trust<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<String, Problem>>;

    /// The machine slept or its network changed: attempts under way and connections that
    /// are kept for later use are put aside. Connections in use stay; their sessions are
    /// asked to prove themselves right after.
    fn doubt(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Whether it can see places as a whole: [`Adapter::look`] and [`Adapter::follow`].
    fn oversees(&self) -> bool {
        false
    }

    /// Asks the place that `target` lies behind whether it answers, for at most `limit`.
    fn look<'a>(
        &'a self,
        target: &'a Target,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Look, Missed>> {
        let _ = (target, limit);
        Box::pin(std::future::pending())
    }

    /// Follows `subject` at the place that `target` lies behind and tells `found`, until it is dropped.
    fn follow<'a>(
        &'a self,
        target: &'a Target,
        subject: Subject,
        found: mpsc::Sender<Found>,
    ) -> BoxFuture<'a, ()> {
        let _ = (target, subject, found);
        Box::pin(std::future::pending())
    }

    /// A person logs in to the place that `target` lies behind, by `command` (program and arguments) or, if
    /// that is empty, by the place's own login plugin, within `limit`. Gives a sentence
    /// about how it went.
    fn login<'a>(
        &'a self,
        target: &'a Target,
        command: &'a [String],
        limit: Duration,
    ) -> BoxFuture<'a, Result<String, Problem>> {
        let _ = (target, command, limit);
        Box::pin(std::future::ready(Err(Problem::new(
            Code::ConfigInvalid,
            "nothing is known that logs in there",
            "Log in the usual way, then `localport retry`",
        ))))
    }

    /// A person asks for the place that `target` lies behind: what is not tried by itself, such as a login
    /// plugin that waits for somebody, may be tried once more.
    fn asked(&self, target: &Target) {
        let _ = target;
    }

    /// Ends everything the adapter still holds (masters, clients, watches), politely
    /// first, by force before `budget` is over.
    fn shutdown(&self, budget: Duration) -> BoxFuture<'_, ()>;
}

/// What a session may use of its forward.
#[derive(Clone)]
pub struct SessionScope {
    /// Name of the forward, for names of tasks and leases.
    pub forward: String,
    /// Where the session's tasks live; ended with the session's generation.
    pub tasks: Tasks,
    /// Lines for the forward's history, such as what `ssh` printed. Lossy when full.
    pub notes: mpsc::Sender<Kind>,
}

/// The way to one target. Dropping the last handle closes it.
pub trait Session: Send + Sync + 'static {
    /// How it goes and where it ends, as of now; a Kubernetes session may move from pod to pod.
    fn route(&self) -> Route;

    /// The leases that it needs, such as its master's process or its watches.
    fn stands_on(&self) -> Vec<LeaseId> {
        vec![]
    }

    /// Carries one client to the target.
    fn connect(&self) -> BoxFuture<'_, Result<Connection, ConnectError>>;

    /// Resolves when the session has ended by itself, with the reason. May be awaited
    /// by several tasks and resolves at once when it already ended.
    fn lost(&self) -> BoxFuture<'_, Problem>;

    /// Resolves when [`Session::route`] has changed since `seen`.
    fn rerouted<'a>(&'a self, seen: &'a Route) -> BoxFuture<'a, Route>;

    /// One proved round trip over the session. An error means that the far side did
    /// not answer before the session's own deadline.
    fn ping(&self) -> BoxFuture<'_, Result<Duration, Problem>>;

    /// Proves that the target accepts a connection: the round trip of a dial that the
    /// far side confirmed, or the problem that a client would meet.
    fn probe(&self) -> BoxFuture<'_, Result<Duration, Problem>>;

    /// The far side did not answer soon enough after a sleep: what opens from now on goes
    /// another way. Connections in use stay until their own end is known.
    fn forsake(&self) {}
}

/// How a session goes and where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The way: `ssh-mux`, `ssh-socks`, `spdy-ws`, `spdy`, `v4`; with the SSH host that is a
    /// stop on it, such as `spdy-ws via bastion`.
    pub path: Cow<'static, str>,
    /// The end, such as `pod orders-0` or `me@bastion`.
    pub endpoint: String,
}

/// Bytes to and from the target for one client.
pub struct Connection {
    /// Both directions. An error of kind `ConnectionReset` is passed on as a reset; when
    /// its inner error is a [`Problem`], the problem is shown. `poll_shutdown` ends the
    /// direction towards the target only, where the transport can.
    pub stream: Box<dyn Upstream>,
}

/// Both directions of a connection.
pub trait Upstream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Upstream for T {}

/// Why a client could not be carried.
#[derive(Clone, Debug)]
pub struct ConnectError {
    /// What is wrong.
    pub problem: Problem,
    /// What the client should be told.
    pub verdict: Verdict,
}

/// What becomes of a client that could not be carried. Nothing was delivered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Hold it and try again soon: another pod or the next session may serve it.
    Hold,
    /// The target itself said no: reset it.
    Refuse,
}
