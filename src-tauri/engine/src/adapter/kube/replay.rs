//! Owns one client's connection across a dial that failed late.
//!
//! A port that has proved to accept gets a client's first bytes at once, before the node
//! has dialled. When that dial fails after all (the pod went a moment ago), nothing was
//! delivered: the bytes are kept until the first answer and sent again, to another pod.

use super::path::Endpoint;
use crate::adapter::{ConnectError, Upstream};
use futures_util::future::BoxFuture;
use localport_core::kube::{Fault, Place, problem};
use localport_core::problem::Problem;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a client that are kept until the first answer; a client that sends more
/// before it is no longer tried elsewhere.
const KEPT: usize = 64 * 1024;

/// Dials after the first one, for one client.
const REPLAYS: usize = 3;

/// Inside the error of a stream that ended before the pod sent a byte.
#[derive(Debug)]
pub(super) struct Undelivered {
    /// What happened.
    pub(super) fault: Fault,
    /// The same for a person.
    pub(super) problem: Problem,
    /// Whether the pod has got nothing for sure.
    pub(super) surely: bool,
    /// Whether it was the pod that failed, and not the way to it.
    pub(super) by_pod: bool,
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for Undelivered {}

/// A stream and the endpoint it leads to.
pub(super) type Dialled = (Box<dyn Upstream>, Endpoint);

/// Dials anew after a fault; the endpoint that is at fault is given, if one is.
pub(super) type Redial = Box<
    dyn FnMut(Option<Endpoint>, Fault) -> BoxFuture<'static, Result<Dialled, ConnectError>> + Send,
>;

/// Whether the pod of an endpoint is gone, as far as is known.
pub(super) type Gone = Box<dyn Fn(&Endpoint) -> bool + Send>;

/// The connection.
pub(super) struct Replay {
    stream: Box<dyn Upstream>,
    endpoint: Endpoint,
    redial: Redial,
    gone: Gone,
    /// The client's bytes; none once the pod has answered or they were too many.
    kept: Option<Vec<u8>>,
    /// Bytes of them that the present stream has.
    given: usize,
    ended: bool,
    dialling: Option<BoxFuture<'static, Result<Dialled, ConnectError>>>,
    replays: usize,
    failed: Option<Problem>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Replay {
    pub(super) fn new((stream, endpoint): Dialled, redial: Redial, gone: Gone) -> Self {
        Self {
            stream,
            endpoint,
            redial,
            gone,
            kept: Some(Vec::new()),
            given: 0,
            ended: false,
            dialling: None,
            replays: 0,
            failed: None,
            reader: None,
            writer: None,
        }
    }

    /// Ready when the present stream has all that the client has sent.
    fn poll_level(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(problem) = &self.failed {
                return Poll::Ready(Err(reset(problem)));
            }
            if let Some(dialling) = &mut self.dialling {
                match ready!(dialling.as_mut().poll(cx)) {
                    Ok((stream, endpoint)) => {
                        (self.stream, self.endpoint) = (stream, endpoint);
                        (self.dialling, self.given) = (None, 0);
                    }
                    Err(error) => {
                        (self.dialling, self.failed) = (None, Some(error.problem));
                        self.wake();
                    }
                }
                continue;
            }
            let Some(kept) = self.kept.as_ref().filter(|kept| self.given < kept.len()) else {
                return Poll::Ready(Ok(()));
            };
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &kept[self.given..])) {
                Ok(count) => self.given += count,
                Err(error) => self.failed_with(error)?,
            }
            if self.kept.as_ref().is_some_and(|kept| kept.len() == self.given) {
                if self.ended {
                    // Held by the stream; its outcome shows when reading.
                    let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
                }
                self.wake();
            }
        }
    }

    /// Dials anew where the error allows it.
    fn failed_with(&mut self, error: io::Error) -> io::Result<()> {
        let Some(lost) = error.get_ref().and_then(|inner| inner.downcast_ref::<Undelivered>())
        else {
            return Err(error);
        };
        let harmless =
            self.kept.as_ref().is_some_and(|kept| lost.surely || (kept.is_empty() && !self.ended));
        if !harmless || self.replays == REPLAYS {
            self.failed = Some(lost.problem.clone());
            return Err(reset(&lost.problem));
        }
        self.replays += 1;
        let at_fault = lost.by_pod.then(|| self.endpoint.clone());
        tracing::debug!(pod = self.endpoint.pod, why = %lost.problem, "dialled anew, nothing was delivered");
        self.dialling = Some((self.redial)(at_fault, lost.fault.clone()));
        self.wake();
        Ok(())
    }

    /// What the end of a pod that is gone is: nobody can tell whether it had said all. A
    /// client that has sent nothing and got nothing goes to another pod.
    fn cut(&self) -> io::Error {
        let pod = self.endpoint.pod.clone();
        let fault = Fault::PodLost { pod, said: "it is gone".to_owned() };
        let problem = problem(&fault, &Place::default());
        let kind = io::ErrorKind::ConnectionReset;
        match self.kept {
            None => io::Error::new(kind, problem),
            Some(_) => {
                io::Error::new(kind, Undelivered { fault, problem, surely: false, by_pod: true })
            }
        }
    }

    /// Both directions may be polled by tasks of their own.
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

fn reset(problem: &Problem) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, problem.clone())
}

impl AsyncRead for Replay {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.kept.is_some() && this.poll_level(cx)?.is_pending() {
                this.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let before = buf.filled().len();
            match Pin::new(&mut this.stream).poll_read(cx, buf) {
                Poll::Ready(Ok(()))
                    if buf.filled().len() == before
                        && buf.remaining() > 0
                        && !this.ended
                        && (this.gone)(&this.endpoint) =>
                {
                    let error = this.cut();
                    this.failed_with(error)?;
                }
                Poll::Ready(Ok(())) => {
                    // An answer, or an end in good order.
                    this.kept = None;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => this.failed_with(error)?,
                Poll::Pending => {
                    this.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}

impl AsyncWrite for Replay {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            if this.poll_level(cx)?.is_pending() {
                this.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            match ready!(Pin::new(&mut this.stream).poll_write(cx, buf)) {
                Ok(count) => {
                    match &mut this.kept {
                        Some(kept) if kept.len() + count <= KEPT => {
                            kept.extend_from_slice(&buf[..count]);
                            this.given = kept.len();
                        }
                        _ => this.kept = None,
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) => this.failed_with(error)?,
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.poll_level(cx)?.is_pending() {
                this.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            match ready!(Pin::new(&mut this.stream).poll_flush(cx)) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(error) => this.failed_with(error)?,
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.poll_level(cx)?.is_pending() {
                this.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            match ready!(Pin::new(&mut this.stream).poll_shutdown(cx)) {
                Ok(()) => {
                    this.ended = true;
                    return Poll::Ready(Ok(()));
                }
                Err(error) => this.failed_with(error)?,
            }
        }
    }
}
