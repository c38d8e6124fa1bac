//! Owns what every test of a tunnel starts with: a node, a connection to it, a driver.

use super::node::{Node, dial_to};
use localport_tunnel::{Config, Framing, Reason, StreamError, Tunnel, start};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What any single step may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) tunnel: Tunnel,
    pub(crate) node: Node,
    driver: Option<JoinHandle<Reason>>,
    served: Option<JoinHandle<()>>,
}

impl Rig {
    pub(crate) async fn start(framing: Framing, ports: &[(u16, SocketAddr)]) -> Self {
        Self::with(framing, ports, Config::default()).await
    }

    pub(crate) async fn with(
        framing: Framing,
        ports: &[(u16, SocketAddr)],
        config: Config,
    ) -> Self {
        let node = Node::new(dial_to(ports.iter().copied().collect::<HashMap<_, _>>()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        let server = node.clone();
        let served = tokio::spawn(async move {
            match framing {
                Framing::WebSocket => server.serve_websocket(far).await,
                Framing::Raw => server.serve_raw(far).await,
            }
        });
        let (tunnel, driver) = start(near, framing, config);
        let driver = Some(tokio::spawn(driver));
        Self { tunnel, node, driver, served: Some(served) }
    }

    /// Why the driver ended.
    pub(crate) async fn reason(&mut self) -> Reason {
        self.driver.take().unwrap().await.unwrap()
    }

    /// Returns when the node is through with the connection.
    pub(crate) async fn served(&mut self) {
        self.served.take().unwrap().await.unwrap();
    }

    pub(crate) fn abort_driver(&mut self) {
        self.driver.take().unwrap().abort();
    }

    /// Drops the only handle outside the streams.
    pub(crate) fn retire_handle(&mut self) {
        let (spare, driver) = start(tokio::io::duplex(1).0, Framing::Raw, Config::default());
        drop(driver);
        drop(std::mem::replace(&mut self.tunnel, spare));
    }

    /// Waits until `check` holds, looking again at short intervals.
    pub(crate) async fn until(&self, what: &str, check: impl Fn(&Tunnel) -> bool) {
        let deadline = tokio::time::Instant::now() + LIMIT;
        while !check(&self.tunnel) {
            let now = tokio::time::Instant::now();
            assert!(now < deadline, "it did not come to be {what}: {:?}", self.tunnel);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A TCP server on loopback that runs `handle` for each connection.
pub(crate) async fn backend<F, H>(handle: H) -> SocketAddr
where
    H: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            socket.set_nodelay(true).unwrap();
            tokio::spawn(handle(socket));
        }
    });
    address
}

/// Bytes that tell when one is missing or out of place.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 8)) as u8).collect()
}

/// The stream's error inside what reading or writing gave.
pub(crate) fn said(error: io::Error) -> StreamError {
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error:?}");
    error.get_ref().and_then(|inner| inner.downcast_ref::<StreamError>()).unwrap().clone()
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("a step did not end in time")
}
