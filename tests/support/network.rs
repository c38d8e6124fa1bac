//! Owns a network on the way to a server, which loses connections as real ones do: what
//! was made before a moment, or everything, falls silent, and nobody is told.

use crate::apiserver::ApiServer;
use crate::servers::Server;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

/// The network. It ends when it is dropped.
pub struct Network {
    proxy: Server,
    made: Arc<AtomicU64>,
    forgotten: watch::Sender<u64>,
}

impl Network {
    /// A network on the way to `server`.
    pub async fn to(server: SocketAddr) -> Self {
        let (made, forgotten) = (Arc::<AtomicU64>::default(), watch::Sender::new(0));
        let (count, known) = (made.clone(), forgotten.subscribe());
        let proxy = Server::start(move |client| {
            let (number, known) = (count.fetch_add(1, Ordering::Relaxed) + 1, known.clone());
            async move {
                let Ok(server) = TcpStream::connect(server).await else { return };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::select! {
                    () = carry(from_client, to_server, number, known.clone()) => {}
                    () = carry(from_server, to_client, number, known) => {}
                }
            }
        })
        .await;
        Self { proxy, made, forgotten }
    }

    /// Where clients enter it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// Forgets the connections of now, as one does while a machine sleeps: nothing comes
    /// through them any more. New ones are carried.
    pub fn forget(&self) {
        self.forgotten.send_replace(self.made.load(Ordering::Relaxed));
    }

    /// Carries nothing any more.
    pub fn swallow(&self) {
        self.forgotten.send_replace(u64::MAX);
    }

    /// Writes the double's kubeconfig to `path`, with this network on the way.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn kubeconfig(&self, server: &ApiServer, path: &Path) -> io::Result<()> {
        let config = fs::read_to_string(server.kubeconfig())?;
        let (there, here) = (server.address().to_string(), self.address().to_string());
        fs::write(path, config.replace(&there, &here))
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    mut forgotten: watch::Receiver<u64>,
) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(size @ 1..) = from.read(&mut piece).await {
        let known = forgotten.wait_for(|last| number > *last).await.is_ok();
        if !known || to.write_all(&piece[..size]).await.is_err() {
            return;
        }
    }
    // The end of a forgotten connection is not passed on either.
    let _ = forgotten.wait_for(|last| number > *last).await;
}
