//! Owns the connection: the one future that reads it, writes it and keeps its time.
//!
//! It starts no task. Whoever drives it owns it, and dropping it ends every stream of
//! the tunnel with a reset.

use crate::frame::Decoder;
use crate::machine::Machine;
use crate::tunnel::Shared;
use crate::websocket::{self, Event, MAX_HEAD, Reader};
use crate::{Framing, Reason};
use bytes::{Bytes, BytesMut};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::io::poll_read_buf;

/// Bytes asked of the network at once, at most; a quiet connection asks for less.
const READ_MOST: usize = 64 * 1024;
const READ_LEAST: usize = 4 * 1024;

/// Rounds of reading and writing before other tasks get their turn.
const ROUNDS: usize = 16;

/// Drives one tunnel. Await it, or give it to a task of your own: nothing moves
/// otherwise. Its output says why the tunnel ended.
///
/// Dropping it breaks the connection and resets the tunnel's streams.
#[must_use = "a tunnel moves only while its driver is awaited"]
pub struct Driver<T> {
    io: T,
    shared: Arc<Shared>,
    decoder: Decoder,
    websocket: Option<Reader>,
    input: BytesMut,
    read_size: usize,
    output: Vec<u8>,
    written: usize,
    unflushed: bool,
    /// WebSocket control frames that wait to be sent.
    answers: Vec<u8>,
    farewell: Farewell,
    sleep: Pin<Box<Sleep>>,
    until: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Farewell {
    No,
    /// GOAWAY goes out, until then.
    Saying(Instant),
    /// So does the WebSocket's close; nothing else is sent any more.
    Closing(Instant),
}

impl<T> std::fmt::Debug for Driver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

impl<T> Driver<T> {
    pub(crate) fn new(io: T, framing: Framing, shared: Arc<Shared>) -> Self {
        Self {
            io,
            shared,
            decoder: Decoder::default(),
            websocket: (framing == Framing::WebSocket).then(Reader::default),
            input: BytesMut::new(),
            read_size: READ_LEAST,
            output: Vec::new(),
            written: 0,
            unflushed: false,
            answers: Vec::new(),
            farewell: Farewell::No,
            sleep: Box::pin(sleep(Duration::ZERO)),
            until: None,
        }
    }

    /// Puts the next batch together. False when nothing is due.
    fn refill(&mut self, machine: &mut Machine, now: Instant) -> bool {
        self.output.clear();
        self.written = 0;
        if matches!(self.farewell, Farewell::Closing(_)) {
            return false;
        }
        if self.websocket.is_none() {
            machine.fill(&mut self.output, now);
            return !self.output.is_empty();
        }
        self.output.resize(MAX_HEAD, 0);
        machine.fill(&mut self.output, now);
        let length = self.output.len() - MAX_HEAD;
        if length == 0 {
            self.output.clear();
        } else {
            let mask = rand::random();
            websocket::apply_mask(&mut self.output[MAX_HEAD..], mask);
            let (head, size) = websocket::message_head(length, mask);
            self.written = MAX_HEAD - size;
            self.output[self.written..MAX_HEAD].copy_from_slice(&head[..size]);
        }
        self.output.append(&mut self.answers);
        !self.output.is_empty()
    }

    /// Hands received bytes to the machine.
    fn digest(
        &mut self,
        machine: &mut Machine,
        mut input: Bytes,
        now: Instant,
    ) -> Result<(), Reason> {
        let Some(websocket) = &mut self.websocket else {
            return feed(&mut self.decoder, machine, &mut input, now);
        };
        while let Some(event) = websocket.read(&mut input)? {
            match event {
                Event::Bytes(mut bytes) => feed(&mut self.decoder, machine, &mut bytes, now)?,
                Event::Ping(body) => {
                    // One answer is enough for any number of questions.
                    self.answers.clear();
                    websocket::put_pong(&mut self.answers, &body, rand::random());
                }
                Event::Close => return Err(Reason::PeerClosed),
            }
        }
        Ok(())
    }
}

fn feed(
    decoder: &mut Decoder,
    machine: &mut Machine,
    bytes: &mut Bytes,
    now: Instant,
) -> Result<(), Reason> {
    while let Some(frame) = decoder.decode(bytes)? {
        machine.take(frame, now)?;
    }
    Ok(())
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// Writes until there is nothing to write (true) or the peer takes no more.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let now = Instant::now();
            if self.written < self.output.len() {
                match Pin::new(&mut self.io).poll_write(cx, &self.output[self.written..]) {
                    Poll::Pending => {
                        self.shared.with(|machine| machine.note_write(true, now));
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(wrote) => self.written += wrote?,
                }
                self.unflushed = true;
                continue;
            }
            let shared = self.shared.clone();
            let more = shared.with(|machine| {
                machine.note_write(false, now);
                self.refill(machine, now)
            });
            if !more {
                // An idle tunnel holds no batch.
                self.output = Vec::new();
                break;
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and digests it. Pending when there is nothing to read, or no room.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        if !self.shared.with(|machine| machine.wants_read(Instant::now())) {
            return Poll::Pending;
        }
        let mut end = None;
        self.input.reserve(self.read_size);
        while self.input.len() < self.read_size {
            match poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input) {
                Poll::Ready(Ok(0)) => end = Some(Reason::PeerClosed),
                Poll::Ready(Err(error)) => end = Some(error.into()),
                Poll::Ready(Ok(_)) => continue,
                Poll::Pending => {}
            }
            break;
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
            self.read_size = READ_LEAST;
            return end.map_or(Poll::Pending, |reason| Poll::Ready(Err(reason)));
        }
        if self.input.len() >= self.read_size {
            self.read_size = (self.read_size * 2).min(READ_MOST);
        }
        let input = self.input.split().freeze();
        let shared = self.shared.clone();
        shared.with(|machine| self.digest(machine, input, Instant::now()))?;
        Poll::Ready(end.map_or(Ok(()), Err))
    }

    /// Does what time asks for and arranges to be woken for the next.
    fn poll_time(&mut self, cx: &mut Context<'_>) {
        let now = Instant::now();
        let deadline = self.shared.with(|machine| {
            machine.tick(now);
            machine.deadline()
        });
        let deadline = match self.farewell {
            Farewell::Saying(until) | Farewell::Closing(until) => Some(until),
            Farewell::No => deadline,
        };
        if let Some(deadline) = deadline {
            if self.until != Some(deadline) {
                self.until = Some(deadline);
                self.sleep.as_mut().reset(deadline);
            }
            if self.sleep.as_mut().poll(cx).is_ready() {
                self.until = None;
                cx.waker().wake_by_ref();
            }
        }
    }

    /// One round; ready when the tunnel has ended.
    fn poll_round(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        let now = Instant::now();
        let (ended, unused) = self.shared.clone().with(|machine| {
            let unused = self.farewell == Farewell::No && machine.is_unused();
            if unused {
                machine.farewell();
            }
            (machine.ended().cloned(), unused)
        });
        if let Some(reason) = ended {
            return Poll::Ready(Err(reason));
        }
        if unused {
            let limit = self.shared.with(|machine| machine.config.close_limit);
            self.farewell = Farewell::Saying(now + limit);
        }
        let written = self.poll_output(cx)?;
        match self.farewell {
            Farewell::No => {}
            Farewell::Saying(until) | Farewell::Closing(until) if now >= until => {
                return Poll::Ready(Err(Reason::Closed));
            }
            Farewell::Saying(until) if written.is_ready() => {
                self.farewell = Farewell::Closing(until);
                if self.websocket.is_some() {
                    websocket::put_close(&mut self.output, rand::random());
                }
                return Poll::Ready(Ok(()));
            }
            Farewell::Closing(_) if written.is_ready() => {
                ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
                return Poll::Ready(Err(Reason::Closed));
            }
            Farewell::Saying(_) | Farewell::Closing(_) => {}
        }
        self.poll_input(cx)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Driver<T> {
    type Output = Reason;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reason> {
        let this = self.get_mut();
        this.shared.with(|machine| machine.set_driver(cx.waker()));
        for _ in 0..ROUNDS {
            match this.poll_round(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(reason)) => {
                    this.shared.with(|machine| machine.die(reason.clone()));
                    return Poll::Ready(reason);
                }
                Poll::Pending => {
                    this.poll_time(cx);
                    return Poll::Pending;
                }
            }
        }
        this.poll_time(cx);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.shared.with(|machine| machine.die(Reason::Dropped));
    }
}
