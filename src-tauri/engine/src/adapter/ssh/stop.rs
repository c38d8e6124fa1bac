//! Owns SSH hosts that are a stop on the way to something else, such as an API server that
//! only a bastion sees.
//!
//! Receives dials, emits streams. Each stands on the host's connection, which the
//! forwards to that host share, and keeps it while it is open.

use super::SshAdapter;
use super::destination::Destination;
use super::hostkey;
use super::pool::Use;
use super::session::SshSession;
use crate::adapter::kube::Dial;
use crate::adapter::{Session, Upstream};
use crate::registry::LeaseKind;
use futures_util::future::BoxFuture;
use localport_core::config::SshHost;
use localport_core::problem::{Code, Problem};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

/// Whose the leases of streams through a stop are.
const OWNER: &str = "ssh";

impl SshAdapter {
    async fn share(&self, via: &SshHost) -> Result<Use, Problem> {
        // The words of `ssh` are part of the problem; no forward of its own reads them.
        let (notes, _) = mpsc::channel(1);
        self.pool.obtain(&Destination::of_host(via), notes).await
    }

    async fn dial_through(
        &self,
        via: &SshHost,
        host: &str,
        port: u16,
    ) -> Result<Box<dyn Upstream>, Problem> {
        let share = self.share(via).await?;
        let words = format!("{host}:{port} via {}", share.master.words);
        let on = vec![share.master.child];
        let lease = self.ground.tasks.registry().lease_on(LeaseKind::Session, words, OWNER, on);
        let pool = Arc::downgrade(&self.pool);
        let session = SshSession::new(share, pool, host.to_owned(), port, lease);
        match session.connect().await {
            Ok(connection) => {
                Ok(Box::new(Through { stream: connection.stream, _session: session }))
            }
            Err(error) => Err(error.problem),
        }
    }
}

impl Dial for SshAdapter {
    fn ready<'a>(&'a self, via: &'a SshHost) -> BoxFuture<'a, Result<(), Problem>> {
        // It is kept a moment after its last user, and so until the dial.
        Box::pin(async move { self.share(via).await.map(drop) })
    }

    fn dial<'a>(
        &'a self,
        via: &'a SshHost,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn Upstream>, Problem>> {
        Box::pin(self.dial_through(via, host, port))
    }

    fn mended<'a>(&'a self, via: &'a SshHost, code: Code) -> BoxFuture<'a, ()> {
        let opened = self.ground.opened.subscribe();
        Box::pin(async move {
            self.pool.mended(&Destination::of_host(via), code, opened).await;
        })
    }

    fn trust<'a>(&'a self, via: &'a SshHost) -> BoxFuture<'a, Result<String, Problem>> {
        Box::pin(async move {
            let destination = Destination::of_host(via);
            let fingerprint = hostkey::trust(&self.ground, &destination).await?;
            self.pool.hurry(&destination);
            self.ground.announce_opening();
            Ok(fingerprint)
        })
    }
}

/// A stream and what it stands on.
struct Through {
    stream: Box<dyn Upstream>,
    _session: SshSession,
}

impl AsyncRead for Through {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Through {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
