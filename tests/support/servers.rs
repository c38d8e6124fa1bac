//! Owns small TCP servers for the far end of forwards: echo, HTTP, bulk, and ports that
//! refuse or never answer.

use localport_engine::registry::{Registry, Tasks};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server on a loopback port of its own; ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Server {
    /// Sends back what it gets, and ends when the client does.
    pub async fn echo() -> Self {
        Self::start(|mut client| async move {
            let (mut from, mut to) = client.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        })
        .await
    }

    /// Answers every HTTP/1.1 request on one connection with `200` and `body`.
    pub async fn http(body: &'static str) -> Self {
        Self::start(move |mut client| async move {
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while let Ok(size @ 1..) = client.read(&mut piece).await {
                request.extend_from_slice(&piece[..size]);
                if !request.ends_with(b"\r\n\r\n") {
                    continue;
                }
                request.clear();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                if client.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    /// Sends `size` bytes of a known pattern, then ends.
    pub async fn source(size: usize) -> Self {
        Self::start(move |mut client| async move {
            let piece: Vec<u8> = (0..=u8::MAX).cycle().take(64 * 1024).collect();
            let mut left = size;
            while left > 0 {
                let now = left.min(piece.len());
                if client.write_all(&piece[..now]).await.is_err() {
                    return;
                }
                left -= now;
            }
            let _ = client.shutdown().await;
        })
        .await
    }

    /// Takes everything until the client ends, then says how many bytes it was.
    pub async fn sink() -> Self {
        Self::start(|mut client| async move {
            let mut total = 0_u64;
            let mut piece = vec![0; 256 * 1024];
            while let Ok(size @ 1..) = client.read(&mut piece).await {
                total += size as u64;
            }
            let _ = client.write_all(total.to_string().as_bytes()).await;
            let _ = client.shutdown().await;
        })
        .await
    }

    /// Greets first, as SMTP and MySQL do, then echoes.
    pub async fn greeter(greeting: &'static str) -> Self {
        Self::start(move |mut client| async move {
            let _ = client.write_all(greeting.as_bytes()).await;
            let (mut from, mut to) = client.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        })
        .await
    }

    /// Accepts, and neither reads nor writes nor ends.
    pub async fn silent() -> Self {
        Self::start(|client| async move {
            std::future::pending::<()>().await;
            drop(client);
        })
        .await
    }

    /// Reads once and then breaks off with a reset.
    pub async fn resetting() -> Self {
        Self::start(|mut client| async move {
            let _ = client.read(&mut [0; 16]).await;
            let socket = socket2::SockRef::from(&client);
            let _ = socket.set_linger(Some(std::time::Duration::ZERO));
        })
        .await
    }

    /// Serves each client with `serve`.
    pub async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let tasks = Tasks::new("server", &Registry::default());
        let (count, clients) = (accepted.clone(), tasks.clone());
        tasks.spawn("accept", async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = client.set_nodelay(true);
                clients.spawn("client", serve(client));
            }
        });
        Self { address, accepted, tasks }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Clients accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Ends it and every client, and waits for that: from then on the port refuses.
    pub async fn stop(self) {
        self.tasks.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

/// A loopback port that refuses and that nobody else can take: bound, not listening.
pub struct RefusingPort {
    socket: Socket,
    port: u16,
}

impl RefusingPort {
    /// Takes one.
    #[must_use]
    pub fn take() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        Self { socket, port }
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Begins to listen, so that connections are accepted from now on.
    pub fn listen(&self) {
        self.socket.listen(16).unwrap();
    }
}

/// Port of a server that gives back what it gets, in threads that end with their clients:
/// for tests without a runtime.
#[must_use]
pub fn echo_threads() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            std::thread::spawn(move || {
                let mut copy = client.try_clone().unwrap();
                std::io::copy(&mut client, &mut copy)
            });
        }
    });
    port
}
