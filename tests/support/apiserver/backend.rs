//! Owns the small TCP servers that run "inside" a double's pods.

use localport_engine::registry::{Registry, Tasks};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A TCP server on loopback that names itself in one line, then echoes. It ends when
/// it is dropped.
pub struct Backend {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Backend {
    /// A server that greets with `name` and a line end.
    ///
    /// # Errors
    /// When it cannot bind.
    pub async fn start(name: &str) -> io::Result<Self> {
        let name = name.to_owned();
        Self::serve(move |socket| greet_and_echo(socket, format!("{name}\n"))).await
    }

    /// A server that runs `handle` for each connection.
    ///
    /// # Errors
    /// When it cannot bind.
    pub async fn serve<F, H>(handle: H) -> io::Result<Self>
    where
        H: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let tasks = Tasks::new("backend", &Registry::default());
        let served = Arc::new(AtomicUsize::new(0));
        let (group, count) = (tasks.clone(), served.clone());
        tasks.spawn("accept", async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                group.spawn("connection", handle(socket));
            }
        });
        Ok(Self { address, served, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

async fn greet_and_echo(mut socket: TcpStream, greeting: String) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.write_all(greeting.as_bytes()).await?;
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        match socket.read(&mut buffer).await? {
            0 => return Ok(()),
            count => socket.write_all(&buffer[..count]).await?,
        }
    }
}
