//! Owns the kernel's word about addresses, from a routing socket (route(4)).

use crate::Notice;
use crate::services::{Say, Unsettled};
use localport_core::lifecycle::LifecycleEvent;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};

/// Changes come in bursts.
const CALM: Duration = Duration::from_millis(500);
/// Kinds of <net/route.h>: an address came, an address went. Routes also tell of every
/// neighbour, and a network that matters brings an address.
const NEW_ADDRESS: u8 = 0xc;
const DEL_ADDRESS: u8 = 0xd;
/// Where a message has its kind.
const KIND: usize = 3;

/// Says whenever the addresses changed.
pub(crate) async fn watch(say: Say, busy: Unsettled) {
    if let Err(error) = follow(&say, busy).await {
        tracing::info!("changes of the network are not watched: {error}");
    }
}

async fn follow(say: &Say, busy: Unsettled) -> io::Result<()> {
    let socket = open()?;
    drop(busy);
    loop {
        while !changed(&socket).await? {}
        sleep(CALM).await;
        // What came in the meantime belongs to the same burst.
        while let Ok(more) = timeout(Duration::ZERO, changed(&socket)).await {
            more?;
        }
        if say.send(Notice::of(LifecycleEvent::NetworkChanged)).await.is_err() {
            return Ok(());
        }
    }
}

#[allow(unsafe_code)]
fn open() -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: plain calls; the descriptor is checked, owned from there on, and neither
    // replaced nor closed while the runtime has it.
    unsafe {
        let socket = libc::socket(libc::PF_ROUTE, libc::SOCK_RAW, libc::AF_UNSPEC);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        let flags = libc::fcntl(socket.as_raw_fd(), libc::F_GETFL);
        let nonblocking = flags | libc::O_NONBLOCK;
        if flags < 0
            || libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, nonblocking) < 0
            || libc::fcntl(socket.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) < 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(AsyncFd::register(socket)?)
    }
}

/// Waits for the next message; whether an address came or went.
#[allow(unsafe_code)]
async fn changed(socket: &AsyncFd<OwnedFd>) -> io::Result<bool> {
    let mut message = [0_u8; 2048];
    let size = socket
        .async_io(Interest::READABLE, |socket| {
            // SAFETY: the buffer is writable for the length that is given.
            let size = unsafe {
                libc::recv(socket.as_raw_fd(), message.as_mut_ptr().cast(), message.len(), 0)
            };
            usize::try_from(size).map_err(|_| io::Error::last_os_error())
        })
        .await?;
    Ok(size > KIND && matches!(message[KIND], NEW_ADDRESS | DEL_ADDRESS))
}
