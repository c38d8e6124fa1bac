//! Owns the handle on a tunnel: opening streams, asking for signs of life, ending it.

use crate::machine::{Machine, Status};
use crate::{Config, Driver, PortStream, Reason};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// How a tunnel's bytes are wrapped on their connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// In binary WebSocket messages: the subprotocol `SPDY/3.1+portforward.k8s.io`.
    WebSocket,
    /// Not at all: an upgrade to `SPDY/3.1`.
    Raw,
}

/// The state, and whoever waits for a change of it.
pub(crate) struct Shared(Mutex<Machine>);

impl Shared {
    /// Works on the state, then wakes whom that concerns.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Machine) -> R) -> R {
        // Whoever panicked inside left at worst one stream in disorder.
        let mut machine = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut machine);
        let wakes = machine.take_wakes();
        drop(machine);
        for waker in wakes {
            waker.wake();
        }
        result
    }
}

/// A handle on a tunnel to one pod. Clones share it. When the last handle and the last
/// stream are gone, the tunnel says farewell and its [`Driver`] ends.
pub struct Tunnel {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").field("status", &self.status()).finish()
    }
}

/// Starts a tunnel on `io`, a connection whose upgrade is done. Nothing is sent before
/// the first stream or ping.
pub fn start<T>(io: T, framing: Framing, config: Config) -> (Tunnel, Driver<T>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let shared = Arc::new(Shared(Mutex::new(Machine::new(config, Instant::now()))));
    (Tunnel { shared: shared.clone() }, Driver::new(io, framing, shared))
}

impl Tunnel {
    /// A stream to `port` of the pod. It is opened by its first write, read or flush,
    /// whichever comes first: an opening and the data behind it go out in one piece.
    #[must_use]
    pub fn stream(&self, port: u16) -> PortStream {
        self.shared.with(|machine| machine.handles += 1);
        PortStream::new(self.shared.clone(), port)
    }

    /// One round trip to the node. It is asked again if need be.
    ///
    /// # Errors
    /// When the tunnel ends first; a silent one does after [`Config::ping_limit`].
    pub async fn ping(&self) -> Result<Duration, Reason> {
        let number = self.shared.with(|machine| machine.ask(Instant::now()));
        poll_fn(|cx| self.shared.with(|machine| machine.poll_answer(number, cx))).await
    }

    /// Says that the path may be dead (the network changed, the machine slept): the
    /// node is asked at once, and silence is judged by [`Config::ping_limit`] alone.
    pub fn suspect(&self) {
        self.shared.with(|machine| machine.suspect(Instant::now()));
    }

    /// Tells of silences that may have their reasons. It does not keep the tunnel.
    #[must_use]
    pub fn doubts(&self) -> Doubts {
        Doubts { shared: self.shared.clone() }
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.with(|machine| machine.status(Instant::now()))
    }

    /// Takes no more streams; ends with the last one that is open.
    pub fn retire(&self) {
        self.shared.with(|machine| machine.retire(Reason::Closed));
    }

    /// Ends it at once: its streams are reset.
    pub fn abandon(&self) {
        self.shared.with(|machine| machine.die(Reason::Closed));
    }

    /// Resolves when it has ended, with the reason.
    pub async fn ended(&self) -> Reason {
        poll_fn(|cx| self.shared.with(|machine| machine.poll_end(cx))).await
    }
}

/// Where bytes wait that a pod may just not be reading, silence proves nothing, and is
/// borne for [`Config::blocked_limit`]. Whoever has another way to learn whether the path
/// is dead listens here, and says so with [`Doubts::suspect`].
pub struct Doubts {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Doubts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doubts").finish_non_exhaustive()
    }
}

impl Doubts {
    /// Resolves when such a silence has lasted for a fifth of [`Config::ping_limit`], and
    /// then once for each such limit that it goes on. None when the tunnel has ended.
    pub async fn next(&self) -> Option<()> {
        poll_fn(|cx| self.shared.with(|machine| machine.poll_doubt(cx))).await
    }

    /// As [`Tunnel::suspect`]: the reasons no longer count.
    pub fn suspect(&self) {
        self.shared.with(|machine| machine.suspect(Instant::now()));
    }
}

impl Clone for Tunnel {
    fn clone(&self) -> Self {
        self.shared.with(|machine| machine.handles += 1);
        Self { shared: self.shared.clone() }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.shared.with(Machine::drop_handle);
    }
}
