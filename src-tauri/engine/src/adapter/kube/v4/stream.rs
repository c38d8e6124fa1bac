//! Owns the bytes of one connection inside `v4.channel.k8s.io` messages.
//!
//! Channel 0 carries data, channel 1 the error text; the first message on each is the
//! port. There is no half-close: whoever closes ends both directions, and the node
//! cuts the reply one second later. So the client's end is held back while bytes still
//! come, and a connection that ends without a word is a reset, never an end of data.

use super::super::cluster::Cluster;
use super::super::path::Endpoint;
use super::life::{Due, Life};
use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use futures_util::{Sink, Stream};
use localport_core::kube::{Fault, Place, problem};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// Bytes per message towards the pod: what nodes read at once, and where uploads
/// were measured to be fastest.
const CHUNK: usize = 32 * 1024;

/// Silence of the pod after which the client's end is passed on, while the client's
/// last bytes have had no answer.
const UNANSWERED_SILENCE: Duration = Duration::from_secs(3);

/// The same once an answer came after the client's last bytes. Most ends are those of
/// clients that have got what they wanted and left, and each one waiting costs the
/// node a connection; an answer that goes on pauses for less.
const ANSWERED_SILENCE: Duration = Duration::from_secs(1);

/// Time the node gets to close after the client's end was passed on: its own grace is 1 s.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

const DATA: u8 = 0;
const ERROR: u8 = 1;

/// What the stream leads to, for its problems.
pub(super) struct Peer {
    pub(super) endpoint: Endpoint,
    pub(super) place: Place,
    pub(super) cluster: Arc<Cluster>,
}

/// One connection.
pub(super) struct V4Stream<S> {
    socket: WebSocketStream<S>,
    peer: Peer,
    /// Data received and not yet read.
    received: Bytes,
    greeted: [bool; 2],
    proved: bool,
    end: Option<End>,
    fin: Fin,
    /// Whether data came after the client's last bytes.
    answered: bool,
    /// Whether data came after the pod was told of the client's end.
    late: bool,
    /// Whether a message waits to be flushed.
    unflushed: bool,
    heard: Instant,
    life: Life,
    /// The question to the server whether the path is dead.
    asking: Option<BoxFuture<'static, bool>>,
    timer: Pin<Box<Sleep>>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone)]
enum End {
    /// The far side closed in good order.
    Closed,
    Failed(Fault),
}

#[derive(Clone, Copy, PartialEq)]
enum Fin {
    /// The client still sends.
    No,
    /// The client has ended; the pod does not know yet.
    Held,
    /// The pod was told.
    Passed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> V4Stream<S> {
    pub(super) fn new(socket: WebSocketStream<S>, peer: Peer) -> Self {
        Self {
            socket,
            peer,
            received: Bytes::new(),
            greeted: [false; 2],
            proved: false,
            end: None,
            fin: Fin::No,
            answered: true,
            late: false,
            unflushed: false,
            heard: Instant::now(),
            life: Life::new(Instant::now()),
            asking: None,
            timer: Box::pin(sleep(Duration::ZERO)),
            reader: None,
            writer: None,
        }
    }

    /// Waits for the greeting and then, for at most `wait`, for a refusal.
    ///
    /// # Errors
    /// The refusal. Nothing was delivered to the pod then.
    pub(super) async fn settle(&mut self, wait: Duration) -> Result<(), Fault> {
        let mut waited = Box::pin(sleep(Duration::MAX));
        let mut greeted = false;
        poll_fn(|cx| {
            loop {
                if !self.received.is_empty() || self.end.is_some() {
                    return Poll::Ready(());
                }
                if !greeted && self.greeted == [true; 2] {
                    greeted = true;
                    waited.as_mut().reset(Instant::now() + wait);
                }
                match self.poll_message(cx) {
                    Poll::Ready(()) => {}
                    Poll::Pending if greeted => return waited.as_mut().poll(cx),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
        match &self.end {
            Some(End::Failed(fault)) => Err(fault.clone()),
            _ => {
                self.prove();
                Ok(())
            }
        }
    }

    /// Takes one message in. Pending when there is none.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let message = ready!(Pin::new(&mut self.socket).poll_next(cx));
        self.heard = Instant::now();
        self.life.hear(self.heard);
        match message {
            Some(Ok(Message::Binary(data))) => self.take(data),
            Some(Ok(Message::Close(_))) => self.finish(End::Closed),
            Some(Ok(_)) => {}
            Some(Err(WsError::ConnectionClosed)) => self.finish(End::Closed),
            Some(Err(error)) => self.lost(&error.to_string()),
            None => self.lost("the API server closed the connection"),
        }
        Poll::Ready(())
    }

    fn take(&mut self, mut message: Bytes) {
        if message.is_empty() {
            return;
        }
        let channel = message.get_u8();
        let Some(greeted) = self.greeted.get_mut(usize::from(channel)) else {
            return self.lost("the node sent data on a channel that does not exist");
        };
        if !*greeted {
            *greeted = true;
            return;
        }
        match channel {
            DATA => {
                self.received = message;
                self.answered = true;
                self.life.answer();
                self.late = self.fin == Fin::Passed;
                self.prove();
            }
            ERROR => self.refused(&String::from_utf8_lossy(&message)),
            _ => {}
        }
    }

    fn refused(&mut self, text: &str) {
        let Endpoint { pod, port, .. } = &self.peer.endpoint;
        self.peer.cluster.proofs.revoke(&self.peer.endpoint);
        // The runtime's text is all there is to tell a closed port from a pod that went.
        let fault = if text.contains("refused") {
            Fault::TargetRefused { pod: pod.clone(), port: *port }
        } else {
            let said: String = text.trim().chars().take(300).collect();
            Fault::PodLost { pod: pod.clone(), said }
        };
        self.finish(End::Failed(fault));
    }

    fn lost(&mut self, said: &str) {
        if self.fin == Fin::Passed && !self.late {
            // Both sides have ended; how the far one hangs up changes nothing.
            return self.finish(End::Closed);
        }
        let pod = self.peer.endpoint.pod.clone();
        self.finish(End::Failed(Fault::PodLost { pod, said: said.to_owned() }));
    }

    fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    fn prove(&mut self) {
        if !self.proved {
            self.proved = true;
            self.peer.cluster.proofs.add(&self.peer.endpoint);
        }
    }

    /// What silence asks for: a sign of life, the held end, or giving up.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = match self.fin {
            Fin::No => return self.poll_life(cx),
            Fin::Held if self.answered => ANSWERED_SILENCE,
            Fin::Held => UNANSWERED_SILENCE,
            Fin::Passed => CLOSE_LIMIT,
        };
        ready!(self.poll_until(self.heard + patience, cx));
        self.heard = Instant::now();
        if self.fin == Fin::Held {
            tracing::debug!(pod = self.peer.endpoint.pod, "the client's end is passed on");
            self.fin = Fin::Passed;
            self.say(Message::Close(None));
        } else {
            self.finish(End::Closed);
        }
        Poll::Ready(())
    }

    /// Asks for signs of life, and ends the connection where none comes.
    fn poll_life(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(asking) = &mut self.asking
            && let Poll::Ready(answers) = asking.as_mut().poll(cx)
        {
            self.asking = None;
            if !answers {
                self.life.suspect();
            }
        }
        let (at, due) = self.life.due(self.unflushed);
        ready!(self.poll_until(at, cx));
        let now = Instant::now();
        match due {
            Due::Ask => {
                self.life.ask(now);
                self.say(Message::Ping(Bytes::new()));
            }
            Due::Doubt => {
                self.life.doubt(now);
                let cluster = self.peer.cluster.clone();
                self.asking = Some(Box::pin(async move { cluster.answers().await }));
            }
            Due::Dead(limit) => {
                let seconds = limit.as_secs();
                self.lost(&format!("it is silent: no answer to a ping within {seconds} s"));
                self.peer.cluster.forsake();
            }
        }
        Poll::Ready(())
    }

    fn poll_until(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.deadline() != due {
            self.timer.as_mut().reset(due);
        }
        self.timer.as_mut().poll(cx)
    }

    fn say(&mut self, message: Message) {
        match Pin::new(&mut self.socket).start_send(message) {
            Ok(()) => self.unflushed = true,
            Err(error) => self.lost(&error.to_string()),
        }
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(End::Failed(fault)) = &self.end {
            // What still waits to be taken will not be.
            return Poll::Ready(Err(self.reset(fault)));
        }
        if self.unflushed {
            let flushed = ready!(Pin::new(&mut self.socket).poll_flush(cx));
            self.unflushed = false;
            if let Err(error) = flushed {
                self.lost(&error.to_string());
            }
            if let Some(writer) = self.writer.take() {
                writer.wake();
            }
        }
        match &self.end {
            Some(End::Failed(fault)) => Poll::Ready(Err(self.reset(fault))),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn reset(&self, fault: &Fault) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionReset, problem(fault, &self.peer.place))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for V4Stream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.received.has_remaining() {
                let count = this.received.len().min(buf.remaining());
                buf.put_slice(&this.received.split_to(count));
                return Poll::Ready(Ok(()));
            }
            match &this.end {
                Some(End::Closed) => return Poll::Ready(Ok(())),
                Some(End::Failed(fault)) => return Poll::Ready(Err(this.reset(fault))),
                None => {}
            }
            if this.poll_message(cx).is_ready() {
                continue;
            }
            if this.poll_silence(cx).is_ready() {
                continue;
            }
            // Whoever only reads must not leave a message lying in the buffer.
            if this.unflushed && this.poll_flushed(cx).is_ready() {
                continue;
            }
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for V4Stream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.fin != Fin::No || matches!(this.end, Some(End::Closed)) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if this.poll_flushed(cx)?.is_pending() {
            this.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = buf.len().min(CHUNK);
        let mut message = Vec::with_capacity(count + 1);
        message.push(DATA);
        message.extend_from_slice(&buf[..count]);
        this.answered = false;
        this.say(Message::Binary(message.into()));
        if this.life.send(count, Instant::now())
            && let Some(reader) = this.reader.take()
        {
            reader.wake();
        }
        // Not waited for: the next write or flush does.
        let _ = this.poll_flushed(cx)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = this.poll_flushed(cx);
        if flushed.is_pending() {
            this.writer = Some(cx.waker().clone());
        }
        flushed
    }

    /// Holds the client's end; [`V4Stream::poll_silence`] passes it on.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_flushed(cx))?;
        if this.fin == Fin::No {
            this.fin = Fin::Held;
            this.heard = Instant::now();
            // The reader waits on a longer timer.
            if let Some(reader) = this.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(()))
    }
}
