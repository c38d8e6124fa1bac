//! Owns the kernel's word about the network: links, addresses and routes.
//!
//! Receives rtnetlink messages; says that the network changed, once for a burst of them,
//! and only when something is different from before: routers repeat what they announce.

#[path = "network/picture.rs"]
mod picture;

use crate::Notice;
use crate::services::{Say, Unsettled};
use localport_core::lifecycle::LifecycleEvent;
use picture::Picture;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::io;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

/// Changes come in bursts: a link, its addresses, their routes.
const CALM: Duration = Duration::from_millis(500);
/// A burst that does not end is told of all the same.
const PATIENCE: Duration = Duration::from_secs(2);
/// Groups of <linux/rtnetlink.h>: links, IPv4 and IPv6 addresses and routes. Neighbours,
/// which change all the time, are not among them.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// More than the kernel puts into one message (16 KiB in practice).
const BUFFER: usize = 32 * 1024;

/// Says whenever the network changed.
pub(crate) async fn watch(say: Say, busy: Unsettled) {
    if let Err(error) = follow(&say, busy).await {
        tracing::info!("changes of the network are not watched: {error}");
    }
}

async fn follow(say: &Say, busy: Unsettled) -> io::Result<()> {
    let mut kernel = Kernel::open()?;
    drop(busy);
    loop {
        while !kernel.changed().await? {}
        let last = Instant::now() + PATIENCE;
        let mut calm = Instant::now() + CALM;
        while let Ok(changed) = timeout_at(calm.min(last), kernel.changed()).await {
            if changed? {
                calm = Instant::now() + CALM;
            }
        }
        if say.send(Notice::of(LifecycleEvent::NetworkChanged)).await.is_err() {
            return Ok(());
        }
    }
}

struct Kernel {
    socket: AsyncFd<OwnedFd>,
    picture: Picture,
    buffer: Vec<u8>,
}

impl Kernel {
    fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // The family's own protocol, 0, is rtnetlink.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        let socket = super::on_the_runtime(socket)?;
        Ok(Self { socket, picture: Picture::default(), buffer: vec![0; BUFFER] })
    }

    /// Waits for the next messages; whether they change anything. Dropping it loses none.
    async fn changed(&mut self) -> io::Result<bool> {
        let Self { socket, picture, buffer } = self;
        let received = socket
            .async_io(Interest::READABLE, |socket| {
                Ok(recv(socket, &mut buffer[..], RecvFlags::empty())?)
            })
            .await;
        match received {
            Ok((_, size)) => Ok(picture.take(&buffer[..size.min(BUFFER)])),
            // Some were lost in a burst: certainly something changed.
            Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => Ok(true),
            Err(error) => Err(error),
        }
    }
}
