//! Owns one channel: its two windows, what waits for the client, and how it ends.
//!
//! Receives messages from [`super::channels`]; emits bytes as `AsyncRead` and
//! `AsyncWrite`.

use super::carrier::Refusal;
use super::channels::{FIRST_WINDOW, Shared, lock};
use super::wire;
use bytes::{Buf, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Largest receive window a fast reader on a long path gets, in bytes: 100 MiB/s at a
/// round trip of 80 ms. A reader that does not keep up never gets it, so that one that
/// stalls from the start holds 2 MiB.
const LAST_WINDOW: u32 = 8 * 1024 * 1024;

/// An empty inbox larger than this is given back, in bytes.
const KEPT_INBOX: usize = 16 * 1024;

pub(super) struct Channel {
    id: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reply: Option<oneshot::Sender<Result<(), Refusal>>>,
    /// The far side's number; none until it confirmed.
    remote: Option<u32>,
    /// The client is gone; a confirmation that still comes is answered with a close.
    dropped: bool,

    inbox: BytesMut,
    /// Bytes the far side may still send.
    granted: u32,
    /// Bytes read by the client and not granted again yet.
    consumed: u32,
    window: u32,
    /// Since when the pace is measured, and what was read since.
    epoch: Option<(Instant, u32)>,
    reader: Option<Waker>,

    /// Bytes we may still send.
    credit: u32,
    max_packet: u32,
    writer: Option<Waker>,

    eof_received: bool,
    eof_sent: bool,
    closed: bool,
    close_sent: bool,
    lost: bool,
    answers: u64,
}

impl Channel {
    pub(super) fn opening(id: u32, reply: oneshot::Sender<Result<(), Refusal>>) -> Self {
        let state = State {
            reply: Some(reply),
            granted: FIRST_WINDOW,
            window: FIRST_WINDOW,
            ..State::default()
        };
        Self { id, state: Mutex::new(state) }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn remote(&self) -> Option<u32> {
        lock(&self.state).remote
    }

    pub(super) fn opened(&self, shared: &Shared, remote: u32, window: u32, max_packet: u32) {
        let mut state = lock(&self.state);
        state.remote = Some(remote);
        state.credit = window;
        state.max_packet = max_packet;
        if state.dropped {
            state.close(shared);
        } else if let Some(reply) = state.reply.take() {
            let _ = reply.send(Ok(()));
        }
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        let mut state = lock(&self.state);
        state.closed = true;
        if let Some(reply) = state.reply.take() {
            let _ = reply.send(Err(refusal));
        }
    }

    pub(super) fn more_credit(&self, more: u32) {
        let mut state = lock(&self.state);
        state.credit = state.credit.saturating_add(more);
        wake(&mut state.writer);
    }

    pub(super) fn received(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = lock(&self.state);
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if size > state.granted {
            let error = "it sent more than the window of the channel allows";
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        state.granted -= size;
        if !state.dropped {
            state.inbox.extend_from_slice(bytes);
            wake(&mut state.reader);
        }
        Ok(())
    }

    pub(super) fn ended_by_peer(&self) {
        let mut state = lock(&self.state);
        state.eof_received = true;
        wake(&mut state.reader);
    }

    pub(super) fn closed_by_peer(&self, shared: &Shared) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.close(shared);
        state.wake_all();
    }

    pub(super) fn answered(&self) {
        let mut state = lock(&self.state);
        state.answers += 1;
        wake(&mut state.reader);
    }

    pub(super) fn lost(&self) {
        let mut state = lock(&self.state);
        state.lost = true;
        state.reply = None;
        state.wake_all();
    }
}

impl State {
    fn close(&mut self, shared: &Shared) {
        if let Some(remote) = self.remote
            && !self.close_sent
            && !self.lost
        {
            self.close_sent = true;
            shared.send(|out| wire::close(out, remote));
        }
    }

    fn wake_all(&mut self) {
        wake(&mut self.reader);
        wake(&mut self.writer);
    }

    /// Grants again what the client read, a quarter of the window at a time.
    fn grant(&mut self, shared: &Shared) {
        let Some(remote) = self.remote else { return };
        if self.consumed < self.window / 4 || self.eof_received || self.closed {
            return;
        }
        let mut more = self.consumed;
        if self.is_starved(shared.round_trip()) {
            more += self.window;
            self.window *= 2;
        }
        self.consumed = 0;
        self.granted += more;
        shared.send(|out| wire::window(out, remote, more));
    }

    /// Whether the window, not the path or the client, sets the pace: the client keeps
    /// up, and one round trip carries more than half a window.
    fn is_starved(&mut self, round_trip: Option<Duration>) -> bool {
        let (since, carried) = *self.epoch.get_or_insert_with(|| (Instant::now(), 0));
        let carried = carried + self.consumed;
        self.epoch = Some((since, carried));
        let Some(round_trip) = round_trip else { return false };
        let passed = since.elapsed();
        // Data comes in bursts: only a whole round trip tells the pace.
        if passed < round_trip {
            return false;
        }
        self.epoch = Some((Instant::now(), 0));
        let pace = f64::from(carried) / passed.as_secs_f64().max(1e-6);
        let in_flight = pace * round_trip.as_secs_f64();
        self.inbox.is_empty()
            && self.window < LAST_WINDOW
            && in_flight > f64::from(self.window) / 2.0
    }
}

/// The client's end of a channel. Dropping it closes the channel; without a shutdown
/// before, the far side learns that the client broke off.
pub(super) struct ChannelStream {
    channel: Arc<Channel>,
    shared: Arc<Shared>,
}

impl ChannelStream {
    pub(super) fn new(channel: Arc<Channel>, shared: Arc<Shared>) -> Self {
        Self { channel, shared }
    }

    /// One question to the far side and its answer: a round trip of the connection.
    pub(super) async fn ask(&self) -> io::Result<()> {
        let asked = {
            let state = lock(&self.channel.state);
            let remote = state.remote.ok_or(io::ErrorKind::NotConnected)?;
            self.shared.send(|out| wire::keepalive(out, remote));
            state.answers
        };
        std::future::poll_fn(|context| {
            let mut state = lock(&self.channel.state);
            if state.answers > asked {
                return Poll::Ready(Ok(()));
            }
            if state.lost || state.closed {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            }
            state.reader = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn reset(&self) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionReset, self.shared.reason())
    }
}

impl AsyncRead for ChannelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = lock(&self.channel.state);
        if !state.inbox.is_empty() {
            let size = state.inbox.len().min(buffer.remaining());
            buffer.put_slice(&state.inbox[..size]);
            state.inbox.advance(size);
            state.consumed = state.consumed.saturating_add(u32::try_from(size).unwrap_or(0));
            state.grant(&self.shared);
            return Poll::Ready(Ok(()));
        }
        if state.eof_received {
            return Poll::Ready(Ok(()));
        }
        if state.lost {
            return Poll::Ready(Err(self.reset()));
        }
        if state.closed {
            // Closed without an end of data: the far side broke off.
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if state.inbox.capacity() > KEPT_INBOX {
            state.inbox = BytesMut::new();
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for ChannelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.channel.state);
        if state.lost {
            return Poll::Ready(Err(self.reset()));
        }
        if state.closed || state.eof_sent {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let Some(remote) = state.remote else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if state.credit == 0 {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let allowed = &bytes[..bytes.len().min(state.credit as usize)];
        let max_packet = state.max_packet.min(wire::MAX_PACKET) as usize;
        let sent = std::task::ready!(self.shared.poll_send(context, remote, allowed, max_packet));
        state.credit -= u32::try_from(sent).unwrap_or(0);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.channel.state);
        if let Some(remote) = state.remote
            && !state.eof_sent
            && !state.closed
            && !state.lost
        {
            state.eof_sent = true;
            self.shared.send(|out| wire::eof(out, remote));
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for ChannelStream {
    fn drop(&mut self) {
        let mut state = lock(&self.channel.state);
        state.dropped = true;
        state.inbox = BytesMut::new();
        state.reader = None;
        state.writer = None;
        // Still opening: closed as soon as the far side confirmed.
        state.close(&self.shared);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
