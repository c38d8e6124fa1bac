//! Linux: logind and the session manager over D-Bus, rtnetlink, the clocks.

pub(crate) mod clock;
pub(crate) mod logind;
pub(crate) mod network;
pub(crate) mod session;

use rustix::fd::OwnedFd;
use std::io;
use tokio::io::unix::AsyncFd;

/// `descriptor` on the runtime.
#[allow(unsafe_code)]
fn on_the_runtime(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is open, owned, and neither replaced nor closed before the
    // `AsyncFd` is dropped: an `OwnedFd` cannot be closed through a shared reference.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}
