//! Owns one connection to a pod's port, as bytes.

use crate::StreamError;
use crate::machine::{End, Machine};
use crate::tunnel::Shared;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};

/// One connection to a port of the pod.
///
/// Reading gives what the pod sent, then its end; a stream that ended otherwise gives
/// an error of kind [`ConnectionReset`](io::ErrorKind::ConnectionReset) with a
/// [`StreamError`] inside, after all bytes that came. Shutting down ends the direction
/// towards the pod; a node then cuts the reply about one second later, so shut down
/// only when the reply is complete. Dropping it gives the stream up at once: the node
/// is told, and what it still sends is thrown away.
pub struct PortStream {
    shared: Arc<Shared>,
    port: u16,
    id: Option<u32>,
}

impl std::fmt::Debug for PortStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PortStream").field("port", &self.port).field("id", &self.id).finish()
    }
}

impl PortStream {
    pub(crate) fn new(shared: Arc<Shared>, port: u16) -> Self {
        Self { shared, port, id: None }
    }

    /// Opens the stream, if it is not yet, and waits for the node's reply; then, for
    /// at most `wait`, for a refusal or for first data. No node confirms an accepted
    /// connection: only the absence of a refusal tells.
    ///
    /// Send nothing before: a dial that is refused after data was sent wedges the
    /// tunnel of a real node.
    ///
    /// # Errors
    /// The refusal, or whatever ended the stream.
    pub async fn settle(&mut self, wait: Duration) -> Result<(), StreamError> {
        poll_fn(|cx| self.poll_settled(cx, false)).await?;
        let mut waited = pin!(sleep(wait));
        poll_fn(|cx| match self.poll_settled(cx, true) {
            Poll::Pending => waited.as_mut().poll(cx).map(Ok),
            settled => settled,
        })
        .await
    }

    /// Ready with data or an end; without `strictly` with the node's reply as well.
    fn poll_settled(
        &mut self,
        cx: &mut Context<'_>,
        strictly: bool,
    ) -> Poll<Result<(), StreamError>> {
        let (shared, port, id) = (&self.shared, self.port, &mut self.id);
        shared.with(|machine| {
            let id = open(id, port, machine)?;
            let Some(entry) = machine.stream(id) else { return Poll::Ready(Ok(())) };
            match &entry.end {
                _ if entry.has_data() => Poll::Ready(Ok(())),
                Some(End::Failed(error)) => Poll::Ready(Err(error.clone())),
                Some(End::Clean) => Poll::Ready(Ok(())),
                None if entry.replied && !strictly => Poll::Ready(Ok(())),
                None => {
                    entry.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    /// Whether any byte was sent to the node.
    #[must_use]
    pub fn has_sent(&self) -> bool {
        let Some(id) = self.id else { return false };
        self.shared.with(|machine| machine.stream(id).is_some_and(|entry| entry.sent))
    }
}

fn open(id: &mut Option<u32>, port: u16, machine: &mut Machine) -> Result<u32, StreamError> {
    match id {
        Some(id) => Ok(*id),
        None => {
            let fresh = machine.open(port, Instant::now())?;
            *id = Some(fresh);
            Ok(fresh)
        }
    }
}

impl AsyncRead for PortStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let (port, id) = (this.port, &mut this.id);
        this.shared.with(|machine| {
            let id = open(id, port, machine).map_err(StreamError::into_io)?;
            let first = ready!(machine.poll_read(id, cx, buf.remaining()));
            let mut next = first.map_err(StreamError::into_io)?;
            while let Some(piece) = next {
                buf.put_slice(&piece);
                let rest = buf.remaining();
                next = if rest == 0 { None } else { machine.read_more(id, rest) };
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for PortStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let (port, id) = (this.port, &mut this.id);
        this.shared.with(|machine| {
            let id = open(id, port, machine).map_err(StreamError::into_io)?;
            match ready!(machine.poll_write(id, cx, buf, Instant::now())) {
                Ok(0) if !buf.is_empty() => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                written => Poll::Ready(written.map_err(StreamError::into_io)),
            }
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (port, id) = (this.port, &mut this.id);
        this.shared.with(|machine| {
            let id = open(id, port, machine).map_err(StreamError::into_io)?;
            machine.poll_flush(id, cx).map_err(StreamError::into_io)
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (port, id) = (this.port, &mut this.id);
        this.shared.with(|machine| {
            let id = open(id, port, machine).map_err(StreamError::into_io)?;
            machine.finish(id);
            machine.poll_flush(id, cx).map_err(StreamError::into_io)
        })
    }
}

impl Drop for PortStream {
    fn drop(&mut self) {
        self.shared.with(|machine| {
            if let Some(id) = self.id {
                machine.release(id);
            }
            machine.drop_handle();
        });
    }
}
