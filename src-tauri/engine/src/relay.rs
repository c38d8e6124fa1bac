//! Owns the copying of one client's bytes, both ways, in one task.
//!
//! Receives a client and a connection to the target, emits counted bytes and how it
//! ended. A buffer is borrowed only while there is something to read, so an idle
//! connection holds none; half-close is kept, a reset is passed on as a reset.

mod buffer;
mod pump;

pub use buffer::Buffers;

use crate::adapter::Upstream;
use localport_core::problem::Problem;
use pump::Pump;
use socket2::SockRef;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;

/// What a forward's clients have done so far. Written without locks by the tasks that
/// carry them, read by the engine.
#[derive(Debug, Default)]
pub struct Counters {
    /// Clients being carried.
    pub open: AtomicU32,
    /// Clients waiting for a session.
    pub held: AtomicU32,
    /// Clients accepted so far.
    pub total: AtomicU64,
    /// Bytes from clients to the target.
    pub up: AtomicU64,
    /// Bytes from the target to clients.
    pub down: AtomicU64,
}

/// How a relay ended.
#[derive(Debug)]
pub enum End {
    /// Both sides closed in good order.
    Closed,
    /// The client went away.
    Client(io::Error),
    /// The target's side broke off.
    Target(io::Error),
}

impl End {
    /// What the target's side said, when it said more than "reset".
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            End::Target(error) => error.get_ref()?.downcast_ref(),
            End::Closed | End::Client(_) => None,
        }
    }
}

/// Copies until both directions ended. `answered` is called whenever bytes of the target
/// arrive: they are proof that it lives.
pub async fn relay(
    client: &mut TcpStream,
    target: &mut dyn Upstream,
    counters: &Counters,
    buffers: &Buffers,
    mut answered: impl FnMut(),
) -> End {
    let mut up = Pump::new(buffers);
    let mut down = Pump::new(buffers);
    let end = poll_fn(|cx| {
        let moved = up.poll(cx, Pin::new(&mut *client), Pin::new(&mut *target));
        counters.up.fetch_add(up.take_moved(), Ordering::Relaxed);
        if let Poll::Ready(Err(error)) = moved {
            return Poll::Ready(error.blame(End::Client, End::Target));
        }
        let moved = down.poll(cx, Pin::new(&mut *target), Pin::new(&mut *client));
        let received = down.take_moved();
        if received > 0 {
            counters.down.fetch_add(received, Ordering::Relaxed);
            answered();
        }
        if let Poll::Ready(Err(error)) = moved {
            return Poll::Ready(error.blame(End::Target, End::Client));
        }
        if up.is_done() && down.is_done() { Poll::Ready(End::Closed) } else { Poll::Pending }
    })
    .await;
    if let End::Target(_) = end {
        reset(client);
    }
    end
}

/// Makes the close of `client` a reset: the client must not take what it got for whole.
pub fn reset(client: &TcpStream) {
    // A socket that is gone already needs no reset.
    let _ = SockRef::from(client).set_linger(Some(Duration::ZERO));
}
