//! Owns local ports: binding them, naming who holds a busy one, accepting clients.
//!
//! A listener belongs to its forward and outlives every session. Receives a port,
//! emits clients.

mod owner;

pub use owner::{Owner, owner_of};

use crate::registry::{Lease, LeaseKind, Registry};
use localport_core::problem::{Code, Problem};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Clients the system queues while all tasks are busy; the kernel caps it itself.
const BACKLOG: i32 = 1024;
/// First and last wait after an accept that failed for want of descriptors or memory.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// Bound sockets between two owners: what one forward gives up and another takes on is
/// never closed, so that whoever connects meanwhile waits in its backlog.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<BTreeMap<SocketAddr, Arc<TcpListener>>>>);

impl Pool {
    /// Puts sockets in.
    pub(crate) fn add(&self, sockets: Vec<Arc<TcpListener>>) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for socket in sockets {
            if let Ok(address) = socket.local_addr() {
                pool.insert(address, socket);
            }
        }
    }

    /// Closes every socket but those on `wanted` addresses.
    pub(crate) fn keep_only(&self, wanted: &[SocketAddr]) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.retain(|address, _| wanted.contains(address));
    }

    fn take(&self, address: SocketAddr) -> Option<Arc<TcpListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&address)
    }
}

/// A forward's local port, bound on every address it should answer on.
pub struct Listener {
    sockets: Vec<Arc<TcpListener>>,
    addresses: Vec<SocketAddr>,
    _lease: Lease,
}

impl Listener {
    /// Binds `port` on `bind`, or on the loopback of IPv4 and IPv6 when `bind` is empty.
    /// A machine without IPv6 loopback is served on IPv4 alone.
    ///
    /// # Errors
    /// What keeps the port from being bound; nothing stays bound then.
    pub fn bind(
        bind: &[IpAddr],
        port: u16,
        forward: &str,
        registry: &Registry,
    ) -> Result<Self, BindError> {
        Self::bind_from(&Pool::default(), bind, port, forward, registry)
    }

    /// As [`Listener::bind`], with the sockets that `pool` has for these addresses.
    pub(crate) fn bind_from(
        pool: &Pool,
        bind: &[IpAddr],
        port: u16,
        forward: &str,
        registry: &Registry,
    ) -> Result<Self, BindError> {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let wanted = if bind.is_empty() { &loopback[..] } else { bind };
        let mut sockets = Vec::with_capacity(wanted.len());
        for address in wanted {
            let address = SocketAddr::new(*address, port);
            if let Some(socket) = pool.take(address) {
                sockets.push(socket);
                continue;
            }
            match bind_one(address) {
                Ok(socket) => sockets.push(Arc::new(socket)),
                Err(error) if bind.is_empty() && address.is_ipv6() && lacks_ipv6(&error) => {}
                Err(error) => return Err(BindError { address, error }),
            }
        }
        let addresses: Vec<SocketAddr> =
            sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        let lease = registry.lease(LeaseKind::Listener, format!("port {port}"), forward);
        Ok(Self { sockets, addresses, _lease: lease })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The sockets, for one accepting task each, and the claim that must outlive them.
    pub(crate) fn into_parts(self) -> (Vec<Arc<TcpListener>>, Lease) {
        (self.sockets, self._lease)
    }
}

/// What keeps a port from being bound.
#[derive(Debug)]
pub struct BindError {
    address: SocketAddr,
    error: io::Error,
}

impl BindError {
    /// Whether another process holds the port.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.error.kind() == io::ErrorKind::AddrInUse
    }

    /// It in words. For a conflict this looks for the port's owner among all processes.
    #[must_use]
    pub fn problem(&self) -> Problem {
        problem(self.address, &self.error)
    }
}

/// Accepts on one socket for ever. An error of one accept never ends the listener.
pub(crate) struct Acceptor {
    socket: Arc<TcpListener>,
    spare: Option<File>,
    pause: Duration,
}

impl Acceptor {
    pub(crate) fn new(socket: Arc<TcpListener>) -> Self {
        Self { socket, spare: spare(), pause: FIRST_PAUSE }
    }

    /// The next client.
    pub(crate) async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((client, address)) => {
                    self.pause = FIRST_PAUSE;
                    if self.spare.is_none() {
                        self.spare = spare();
                    }
                    // Interactive bytes must not wait for more of them.
                    let _ = client.set_nodelay(true);
                    return (client, address);
                }
                Err(error) => self.recover(&error).await,
            }
        }
    }

    /// Out of descriptors, the client at the head of the queue is told so at once by
    /// means of the spare one, instead of hanging until others free theirs.
    async fn recover(&mut self, error: &io::Error) {
        if !is_exhaustion(error) {
            return; // The client gave up before it was accepted.
        }
        tracing::warn!(%error, "cannot accept a client for now");
        if self.spare.take().is_some()
            && let Ok(Ok((client, _))) =
                tokio::time::timeout(Duration::ZERO, self.socket.accept()).await
        {
            drop(client);
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        self.spare = spare();
    }
}

fn spare() -> Option<File> {
    File::open(if cfg!(windows) { "NUL" } else { "/dev/null" }).ok()
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    exclusive(&socket)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Unix: a port whose last connections linger in TIME_WAIT can be bound again.
#[cfg(unix)]
fn exclusive(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Windows: without this another process could bind the same port and take our clients;
/// its SO_REUSEADDR means "share", not "after TIME_WAIT".
#[cfg(windows)]
fn exclusive(socket: &Socket) -> io::Result<()> {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::Networking::WinSock::{
        SO_EXCLUSIVEADDRUSE, SOCKET, SOL_SOCKET, setsockopt,
    };
    let on: u32 = 1;
    // SAFETY: the socket lives through the call, and the option value is a live u32 of
    // the length given.
    #[allow(unsafe_code)]
    let result = unsafe {
        setsockopt(
            socket.as_raw_socket() as SOCKET,
            SOL_SOCKET,
            SO_EXCLUSIVEADDRUSE,
            std::ptr::from_ref(&on).cast(),
            size_of::<u32>() as i32,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error().is_some_and(|code| {
            // EAFNOSUPPORT on Linux, macOS and Windows.
            [97, 47, 10047].contains(&code)
        })
}

fn is_exhaustion(error: &io::Error) -> bool {
    let code = error.raw_os_error().unwrap_or_default();
    if cfg!(windows) {
        code == 10024 || code == 10055 // WSAEMFILE, WSAENOBUFS
    } else {
        // EMFILE, ENFILE, ENOMEM, and ENOBUFS as Linux and macOS number it.
        [24, 23, 12, 105, 55].contains(&code)
    }
}

fn problem(address: SocketAddr, error: &io::Error) -> Problem {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => match owner_of(port) {
            Some(owner) => Problem::new(
                Code::PortInUse,
                format!("Port `{port}` is held by {owner}"),
                "End that process or give the forward another `local_port`; \
                 the port is taken as soon as it is free",
            ),
            None => Problem::new(
                Code::PortInUse,
                format!("Port `{port}` is held by another process that this user may not see"),
                "Give the forward another `local_port`; the port is taken as soon as it is free",
            ),
        },
        io::ErrorKind::PermissionDenied => Problem::new(
            Code::PortPrivileged,
            format!("Port `{port}` needs a right that this user does not have"),
            "Use a port from 1024 up",
        ),
        io::ErrorKind::AddrNotAvailable => Problem::new(
            Code::BindAddress,
            format!("Address `{}` does not exist on this machine", address.ip()),
            "Correct `bind`, or wait until the network that has it is up",
        ),
        _ if is_exhaustion(error) => Problem::new(
            Code::OutOfFiles,
            format!("Port `{port}` cannot be bound: no file descriptors are left"),
            "Raise the limit with `ulimit -n`, or switch forwards off",
        ),
        _ => Problem::new(
            Code::BindAddress,
            format!("`{address}` cannot be bound: {error}"),
            "Give the forward another `local_port` or `bind` address",
        ),
    }
}

/// Keeps a long-idle connection's path open and finds a peer that is gone.
pub(crate) fn keep_alive(client: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
    // A socket that refuses keep-alive still carries bytes.
    let _ = SockRef::from(client).set_tcp_keepalive(&keepalive);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_names_its_owner_and_leaves_nothing_bound() {
        let registry = Registry::default();
        let other = std::net::TcpListener::bind("[::1]:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let problem = Listener::bind(&[], port, "db", &registry).err().unwrap().problem();
        assert_eq!(problem.code, Code::PortInUse);
        let me = std::process::id().to_string();
        assert!(problem.sentence.contains(&me), "{}", problem.sentence);
        assert!(registry.list().is_empty());
        drop(other);
        let listener = Listener::bind(&[], port, "db", &registry).unwrap();
        assert_eq!(listener.addresses().len(), 2);
    }
}
