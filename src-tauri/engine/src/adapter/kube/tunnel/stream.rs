//! Owns one connection on a tunnel, with what a node's habits ask for.
//!
//! A node ends both directions a second after the client's end, so that end is held
//! back while bytes still come; an error becomes a reset that says why.

use crate::adapter::kube::path::Endpoint;
use crate::adapter::kube::pool::Lease;
use crate::adapter::kube::replay::Undelivered;
use crate::adapter::kube::v4::Proofs;
use localport_core::kube::{Fault, Place, dial_failed, problem};
use localport_tunnel::{PortStream, StreamError};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Silence of the pod after which the client's end is passed on, while the client's
/// last bytes have had no answer; and once they had one. As over a single WebSocket.
const UNANSWERED_SILENCE: Duration = Duration::from_secs(3);
const ANSWERED_SILENCE: Duration = Duration::from_secs(1);

/// Time the node gets to close after the client's end was passed on: its grace is 1 s.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// What the stream leads to.
pub(super) struct Peer {
    pub(super) endpoint: Endpoint,
    pub(super) place: Place,
    pub(super) proofs: Arc<Proofs>,
}

/// One connection.
pub(super) struct TunnelStream {
    // Before the lease: the stream is given up first, then its place.
    inner: PortStream,
    lease: Lease,
    peer: Peer,
    fin: Fin,
    heard: Instant,
    /// Whether the pod has sent anything, and since the client's last bytes.
    spoke: bool,
    answered: bool,
    /// Whether data came after the pod was told of the client's end.
    late: bool,
    /// Only while the client's end is held or passed on.
    timer: Option<Pin<Box<Sleep>>>,
    reader: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fin {
    No,
    Held,
    Passed,
    /// The node did not close in its time.
    Over,
}

impl TunnelStream {
    pub(super) fn new(inner: PortStream, lease: Lease, peer: Peer) -> Self {
        Self {
            inner,
            lease,
            peer,
            fin: Fin::No,
            heard: Instant::now(),
            spoke: false,
            answered: true,
            late: false,
            timer: None,
            reader: None,
        }
    }

    /// What reading and writing give for an error of the stream.
    fn failure(&mut self, error: &io::Error) -> io::Error {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<StreamError>());
        let Some(stream_error) = inner else {
            return io::Error::new(error.kind(), error.to_string());
        };
        let fault = fault(stream_error, &self.peer.endpoint);
        let problem = problem(&fault, &self.peer.place);
        let kind = io::ErrorKind::ConnectionReset;
        if self.spoke {
            return io::Error::new(kind, problem);
        }
        let sent = self.inner.has_sent();
        let mut surely = !sent;
        if let StreamError::Said(text) = stream_error {
            surely |= dial_failed(text);
            // After all that the port had proved.
            self.peer.proofs.revoke(&self.peer.endpoint);
            if sent {
                self.lease.condemn();
            }
        }
        let by_pod = matches!(stream_error, StreamError::Said(_) | StreamError::Reset(_));
        io::Error::new(kind, Undelivered { fault, problem, surely, by_pod })
    }

    /// What silence asks for after the client's end. Pending while there is time.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let patience = match self.fin {
                Fin::No => return Poll::Pending,
                Fin::Over => return Poll::Ready(Ok(())),
                Fin::Held if self.answered => ANSWERED_SILENCE,
                Fin::Held => UNANSWERED_SILENCE,
                Fin::Passed => CLOSE_LIMIT,
            };
            let due = self.heard + patience;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(cx));
            self.heard = Instant::now();
            if self.fin == Fin::Held {
                tracing::debug!(pod = self.peer.endpoint.pod, "the client's end is passed on");
                self.fin = Fin::Passed;
                // Sent by the tunnel; its outcome shows when reading.
                let _ = Pin::new(&mut self.inner).poll_shutdown(cx);
            } else {
                self.fin = Fin::Over;
            }
        }
    }
}

/// What an error of a stream to `endpoint` means.
pub(super) fn fault(error: &StreamError, endpoint: &Endpoint) -> Fault {
    let pod = endpoint.pod.clone();
    match error {
        // The runtime's text is all there is to tell a closed port from a pod that went.
        StreamError::Said(text) if text.contains("refused") => {
            Fault::TargetRefused { pod, port: endpoint.port }
        }
        StreamError::Said(text) => {
            Fault::PodLost { pod, said: text.trim().chars().take(300).collect() }
        }
        other => Fault::PodLost { pod, said: other.to_string() },
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                (this.heard, this.answered) = (Instant::now(), true);
                this.late = this.fin == Fin::Passed;
                if !std::mem::replace(&mut this.spoke, true) {
                    this.peer.proofs.add(&this.peer.endpoint);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            // Both sides have ended; how the far one hangs up changes nothing.
            Poll::Ready(Err(_)) if this.fin == Fin::Passed && !this.late => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(this.failure(&error))),
            Poll::Pending => {
                this.reader = Some(cx.waker().clone());
                this.poll_silence(cx)
            }
        }
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.fin != Fin::No {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match ready!(Pin::new(&mut this.inner).poll_write(cx, buf)) {
            Ok(count) => {
                this.answered = false;
                Poll::Ready(Ok(count))
            }
            Err(error) => Poll::Ready(Err(this.failure(&error))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = ready!(Pin::new(&mut this.inner).poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| this.failure(&error)))
    }

    /// Holds the client's end; [`TunnelStream::poll_silence`] passes it on.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = ready!(Pin::new(&mut this.inner).poll_flush(cx));
        flushed.map_err(|error| this.failure(&error))?;
        if this.fin == Fin::No {
            (this.fin, this.heard) = (Fin::Held, Instant::now());
            // The reader waits without a timer.
            if let Some(reader) = this.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(()))
    }
}
